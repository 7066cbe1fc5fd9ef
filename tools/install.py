#!/usr/bin/env python3
"""Make ``.venv`` ready for one of the repository's commands, and say what is missing.

    python tools/install.py install|demo|test|interop|fuzz|bench|docs|lint
    python tools/install.py --cores      print the cores that this installation can run

The package is installed in place, so an edited Python file needs no second run; a changed C or
Rust source is built again by the next command. Without a C compiler the pure-Python core is
installed, without cargo the native kernels are left out, and both are said with what helps. Needs
Python 3.11 and nothing else; pip fetches the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "faultplane-installed.json"
CORE = ROOT / "src" / "faultplane" / "_core"
NATIVE = ROOT / "native"
PURPOSES = {
    # What the command needs of pyproject.toml's extras, and of the native kernels. Measured is
    # what users get; the tests take the build that is there sooner; the rest can do without.
    "install": ("demo", "dev"),
    "demo": ("demo", ""),
    "test": ("test", "dev"),
    "interop": ("interop", "dev"),
    "fuzz": ("fuzz", ""),
    "bench": ("bench", "release"),
    "docs": ("docs", ""),
    "lint": ("lint", ""),
}
PYTHON_MIN = (3, 11)

NO_COMPILER = """\
faultplane: no C compiler (tried {tried}): the pure-Python core runs instead, which writes the
  same files, more slowly. To get the compiled one, install a compiler
  (Debian: apt-get install gcc python3-dev · Fedora: dnf install gcc python3-devel · Alpine:
  apk add gcc musl-dev python3-dev · macOS: xcode-select --install) and run the command again."""
NO_HEADERS = """\
faultplane: no Python.h in {include}: the pure-Python core runs instead. Install the headers of
  this Python (Debian: apt-get install python3-dev · Fedora: dnf install python3-devel) and run
  the command again."""
NO_CORE = """\
faultplane: the compiled core was not built (see the compiler's message above): the pure-Python
  core runs instead. FAULTPLANE_REQUIRE_CORE=1 makes this an error."""
NO_CARGO = """\
faultplane: no cargo: the native kernels are left out and their Python twins run instead. To get
  them, install Rust (https://rustup.rs, or Debian: apt-get install cargo) and run again."""
NO_NATIVE = """\
faultplane: the native kernels could not be built (cargo said why when it was tried): their Python
  twins run instead. `make clean` has it tried again."""
NO_VENV = """\
faultplane: this Python cannot make virtual environments. Install its venv module (Debian:
  apt-get install python3-venv) or name another interpreter: make PYTHON=/path/to/python3.11"""


def say(text: str) -> None:
    """Print to standard error, so that what a command prints stays its own."""
    print(text, file=sys.stderr, flush=True)


def run(*command: object, **environment: str) -> int:
    """Exit code of ``command``, run in the repository with ``environment`` added."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}).returncode


def pip(*arguments: object, **environment: str) -> int:
    """Exit code of pip in the virtual environment."""
    quiet = ("-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-input")
    return run(PYTHON, *quiet, *arguments, PIP_ROOT_USER_ACTION="ignore", **environment)


def build_inputs() -> Iterator[Path]:
    """Files whose change asks for a new build."""
    yield ROOT / "pyproject.toml"
    yield ROOT / "setup.py"
    for pattern in ("*.pyx", "*.pxd", "*.h"):
        yield from sorted(CORE.glob(pattern))
    if NATIVE.is_dir():
        yield from (path for path in sorted(NATIVE.glob("*.toml")))
        yield from sorted((NATIVE / "src").rglob("*.rs"))


def fingerprint() -> str:
    """Hash of everything a build depends on, compiler and cargo being there included."""
    digest = hashlib.blake2b(digest_size=16)
    for path in build_inputs():
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    switches = [os.environ.get(name, "") for name in ("FAULTPLANE_SKIP_CORE", "FAULTPLANE_DEBUG")]
    digest.update(repr((switches, bool(compiler()), bool(shutil.which("cargo")))).encode())
    return digest.hexdigest()


def compilers() -> list[str]:
    """Commands that would compile C, most wanted first."""
    configured = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return list(dict.fromkeys([configured.split()[0], "cc", "gcc", "clang"]))


def compiler() -> str | None:
    """The C compiler that is there, if one is."""
    return next((name for name in compilers() if shutil.which(name)), None)


def make_environment() -> None:
    """Create the virtual environment unless it is there and new enough."""
    if PYTHON.exists():
        probe = f"import sys; sys.exit(sys.version_info < {PYTHON_MIN})"
        if run(PYTHON, "-c", probe) == 0 and run(PYTHON, "-c", "import pip") == 0:
            return
        say(f"faultplane: {VENV} is not usable and made anew")
        shutil.rmtree(VENV)
    say(f"faultplane: making {VENV} with Python {sys.version.split()[0]}")
    # What it says when it fails is not what helps; NO_VENV is.
    command = [sys.executable, "-m", "venv", str(VENV)]
    if subprocess.run(command, capture_output=True).returncode == 0:
        return
    # Debian ships the venv module without ensurepip; a pip outside can fill the environment.
    shutil.rmtree(VENV, ignore_errors=True)
    bare = run(sys.executable, "-m", "venv", "--without-pip", VENV)
    if bare != 0 or run(sys.executable, "-m", "pip", "--python", PYTHON, "install", "-q", "pip"):
        shutil.rmtree(VENV, ignore_errors=True)
        raise SystemExit(NO_VENV)


def install_package(extra: str) -> None:
    """Install the package in place, with one of its extras."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        requirements = tomllib.load(file)["build-system"]["requires"]
    # pip 23, which comes with Python 3.11, finds no versions for OpenTelemetry's instrumentations,
    # which pin each other, though there are some.
    if pip("-U", *requirements, "wheel", "pip>=25"):
        raise SystemExit("faultplane: the build tools could not be installed (see pip above)")
    environment = {}
    if core_is_optional() and (not compiler() or not headers()):
        environment["FAULTPLANE_SKIP_CORE"] = "1"
        for path in compiled_files():  # built from sources that may have changed since
            path.unlink()
    if pip("--no-build-isolation", "-e", f"{ROOT}[{extra}]", **environment):
        raise SystemExit(f"faultplane: faultplane[{extra}] could not be installed (see pip above)")


def core_is_optional() -> bool:
    """Whether a missing compiled core is said rather than an error."""
    return os.environ.get("FAULTPLANE_REQUIRE_CORE", "") != "1"


@cache
def configuration() -> dict[str, str]:
    """How the virtual environment's Python was built, which may not be the one that runs this."""
    probe = (
        "import json, sysconfig as s; print(json.dumps({"
        "'include': s.get_path('include'), 'suffix': s.get_config_var('EXT_SUFFIX') or '.so'}))"
    )
    answer = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, check=True)
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def headers() -> bool:
    """Whether the C headers of this Python are there."""
    return (Path(configuration()["include"]) / "Python.h").exists()


def compiled_files() -> list[Path]:
    """Compiled modules in the tree that this Python would load."""
    return sorted(CORE.glob("*" + configuration()["suffix"]))


def install_native(profile: str) -> str:
    """Build the Rust kernels where cargo is, with the crate's ``profile``; what to say if not."""
    if not (NATIVE / "Cargo.toml").is_file():
        return ""
    if not shutil.which("cargo"):
        return NO_CARGO
    if pip("maturin>=1.9,<2"):
        return NO_NATIVE
    say(f"faultplane: building the native kernels ({profile} profile)")
    wheels = ROOT / "build" / "native"
    shutil.rmtree(wheels, ignore_errors=True)
    build = (VENV / "bin" / "maturin", "build", "--quiet", "--profile", profile)
    where = ("--manifest-path", NATIVE / "Cargo.toml", "--interpreter", PYTHON, "--out", wheels)
    if run(*build, *where) or pip("--no-deps", "--force-reinstall", *wheels.glob("*.whl")):
        return NO_NATIVE
    return ""


def cores() -> list[str]:
    """Cores that the installed package can run, compiled first."""
    found = []
    for name in ("cython", "python"):
        probe = [str(PYTHON), "-c", "import faultplane._backend"]
        environment = {**os.environ, "FAULTPLANE_CORE": name}
        quiet = subprocess.DEVNULL
        if subprocess.run(probe, cwd=ROOT, env=environment, stderr=quiet).returncode == 0:
            found.append(name)
    return found


def report_core() -> str:
    """What to say about the compiled core: nothing when it runs."""
    if "cython" in cores():
        return ""
    if os.environ.get("FAULTPLANE_SKIP_CORE") == "1":
        return "faultplane: FAULTPLANE_SKIP_CORE=1: the pure-Python core runs."
    if not compiler():
        return NO_COMPILER.format(tried=", ".join(compilers()))
    if not headers():
        return NO_HEADERS.format(include=configuration()["include"])
    return NO_CORE


def prepare(purpose: str) -> None:
    """Everything ``purpose`` needs, unless the stamp says that it is there."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        stamp = {}
    current = fingerprint()
    if stamp.get("inputs") != current:
        stamp = {"inputs": current, "purposes": [], "profile": "", "core": "", "native": ""}
    extra, profile = PURPOSES[purpose]
    if purpose not in stamp["purposes"]:
        make_environment()
        say(f"faultplane: installing what `make {purpose}` needs into {VENV}")
        install_package(extra)
        stamp["core"] = report_core()
        stamp["purposes"].append(purpose)
    if profile and stamp["profile"] not in {profile, "release"}:
        stamp["native"] = install_native(profile)
        stamp["profile"] = profile
    STAMP.write_text(json.dumps(stamp))
    for note in filter(None, (stamp["core"], stamp["native"])):
        say(note)


def main(arguments: Iterable[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    if sys.version_info < PYTHON_MIN:
        raise SystemExit(f"faultplane needs Python 3.11 or newer, got {sys.version.split()[0]}")
    parser = argparse.ArgumentParser(description="prepare .venv for a command")
    parser.add_argument("purpose", nargs="?", choices=list(PURPOSES), default="install")
    parser.add_argument("--cores", action="store_true", help="print the cores that run")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.cores:
        print(*cores())
        return 0
    prepare(options.purpose)
    return 0


if __name__ == "__main__":
    sys.exit(main())
