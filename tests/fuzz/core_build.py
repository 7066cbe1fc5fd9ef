"""Builds the compiled core with sanitizers and coverage, and the readers of it for libFuzzer.

python -m fuzz.core_build       in ``tests``; needs clang, makes ``build/fuzz``
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "core"
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
FUZZER = BUILD / "libfuzzer.so"
SANITIZE = "-fsanitize=address,undefined,fuzzer-no-link"
FLAGS = ["-g", "-O1", SANITIZE, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# Cython's own output calls functions through pointers of a neighbouring type.
FLAGS += ["-fno-sanitize=function", "-Wno-unknown-warning-option"]


def clang() -> str | None:
    """The clang that is there, if one is."""
    names = ("clang", *(f"clang-{version}" for version in range(21, 13, -1)))
    return next((name for name in names if shutil.which(name)), None)


def runtime(name: str) -> Path:
    """A library of clang's runtime, such as ``asan-x86_64.so``."""
    command = [clang() or "clang", f"-print-file-name=libclang_rt.{name}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not found.is_file():
        raise SystemExit(f"{found} is missing: Debian has it in libclang-rt-<version>-dev")
    return found


def _run(*words: object, **environment: str) -> None:
    command = [str(word) for word in words]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)


def build() -> None:
    """Build everything that has changed."""
    compiler = clang()
    if compiler is None:
        raise SystemExit("clang is missing: the compiled core is fuzzed with its libFuzzer")
    machine = os.uname().machine
    LIBRARY.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "src" / "faultplane").rglob("*.py"):
        target = LIBRARY / path.relative_to(ROOT / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _run(
        sys.executable, "setup.py", "-q", "build_ext", "--build-lib", LIBRARY,
        "--build-temp", BUILD / "objects",
        CC=compiler, LDSHARED=f"{compiler} -shared", CFLAGS=" ".join(FLAGS),
        LDFLAGS=SANITIZE, FAULTPLANE_REQUIRE_CORE="1",
    )  # fmt: skip
    _run(
        compiler, "-shared", "-fPIC", "-O2", "-g", HERE / "cases.c", "-o", FUZZER,
        "-Wl,--whole-archive", runtime(f"fuzzer_no_main-{machine}.a"),
        "-Wl,--no-whole-archive", "-lstdc++", "-lm", "-lpthread",
    )  # fmt: skip
    source = BUILD / "core_readers.c"
    _run(
        sys.executable, "-m", "cython", "-3", "-I", ROOT / "src", HERE / "core_readers.pyx",
        "-o", source, "-X", "cdivision=True",
    )  # fmt: skip
    target = LIBRARY / ("core_readers" + (sysconfig.get_config_var("EXT_SUFFIX") or ".so"))
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'src/faultplane/_core'}"]
    _run(
        compiler, "-shared", "-fPIC", "-std=gnu11", *FLAGS, *include, f"-I{HERE}", source,
        "-o", target,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """What a process that imports ``core_readers`` runs with."""
    preload = f"{FUZZER} {runtime(f'asan-{os.uname().machine}.so')}"
    here = str(Path(__file__).resolve().parent.parent)
    return {
        **os.environ,
        "LD_PRELOAD": preload,
        "PYTHONPATH": os.pathsep.join([str(LIBRARY), here]),
        "PYTHONMALLOC": "malloc",
        "FAULTPLANE_CORE": "cython",
        # libFuzzer comes first: its hooks replace the runtime's empty ones.
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


if __name__ == "__main__":
    build()
