#!/usr/bin/env python3
"""Compile the C of the compiled core for macOS, with the headers that ``ziglang`` of PyPI brings.

    python tools/macos.py [--machine arm64|x86_64]

There is no Mac to run it on, so it is compiled and not run: what Linux only has is found, as a
header that is not there or a function that was not declared. A file that asks for a header of
Linux must fail, or the headers were this system's. Python's own headers are this system's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wheels

CORE = wheels.ROOT / "src" / "faultplane" / "_core"
ZIG_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
JOBS = 2
FLAGS = ("-std=gnu11", "-O0", "-fvisibility=hidden", "-Wall", "-Werror", "-Wno-unused-function")
OF_LINUX = "#include <sys/epoll.h>\nint main(void) { return epoll_create1(0); }\n"


def translate(tools: Path, place: Path) -> list[Path]:
    """The core's modules as C, in ``place``."""
    modules = sorted(CORE.glob("*.pyx"))
    where = ("-I", CORE.parent.parent, "-o", place)
    wheels.run(tools, "-m", "cython", "-3", "-X", "cdivision=True", *where, *modules)
    return sorted(place.glob("*.c"))


def compile_one(
    tools: Path, source: Path, machine: str, headers: list[str]
) -> subprocess.CompletedProcess[str]:
    """Compile one file for macOS on ``machine``; looked at by who called."""
    zig = (tools, "-m", "ziglang", "cc", "-target", f"{ZIG_MACHINES[machine]}-macos")
    words = (*zig, *FLAGS, "-I", CORE, *headers, "-c", source, "-o", source.with_suffix(".o"))
    cache = str(wheels.PLACE / "zig")
    environment = {"ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache}
    return subprocess.run(
        [str(word) for word in words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def main() -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--machine", choices=sorted(ZIG_MACHINES), default="arm64")
    machine = parser.parse_args().machine
    tools = wheels.make_tools()
    with tempfile.TemporaryDirectory(prefix="faultplane-macos-") as name:
        place = Path(name)
        sources = translate(tools, place)
        control = place / "of_linux.c"
        control.write_text(OF_LINUX)
        headers = ["-I", sysconfig.get_path("include"), *wheels.header_flags(place).split()]
        with ThreadPoolExecutor(JOBS) as pool:
            done = list(
                pool.map(lambda one: compile_one(tools, one, machine, headers), [control, *sources])
            )
        if done.pop(0).returncode == 0:
            print("a header of Linux was found: these are not the headers of macOS")
            return 1
        failed = [
            (source, one) for source, one in zip(sources, done, strict=True) if one.returncode
        ]
    for source, one in failed:
        print(f"{source.name}:\n{one.stderr}", file=sys.stderr)
    compiled = len(sources) - len(failed)
    print(f"macOS {machine}: {compiled} of {len(sources)} modules compiled, none run")
    return 1 if failed or not sources else 0


if __name__ == "__main__":
    raise SystemExit(main())
