#!/usr/bin/env python3
"""Run every static check, all of them even after one failed, and end with a list of results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
PYTHON_TREES = ("src", "tests", "tools", "benchmarks", "examples", "docs", "setup.py")
NATIVE = ROOT / "native"

Check = tuple[str, list[str], dict[str, str]]


def checks() -> list[Check]:
    """(Name, command, environment) of each check that this tree and machine have a use for."""
    trees = [name for name in PYTHON_TREES if (ROOT / name).exists()]
    module = [sys.executable, "-m"]
    core = ROOT / "src/faultplane/_core"
    cython = [str(path.relative_to(ROOT)) for path in sorted(core.glob("*.py[xd]"))]
    generated = "src/faultplane/_core/layout.pxd"
    found: list[Check] = [
        ("generated files", [sys.executable, "tools/generate.py", "--check"], {}),
        ("ruff check", [*module, "ruff", "check", *trees], {}),
        ("ruff format", [*module, "ruff", "format", "--check", *trees], {}),
        ("mypy --strict", [*module, "mypy"], {}),
        ("mypy --strict tools", [*module, "mypy", "tools"], {"MYPYPATH": "src:tools"}),
        ("mypy --strict typing", [*module, "mypy", "tests/typing"], {}),
        ("pyright", [*module, "pyright"], {}),
        ("cython-lint", ["cython-lint", *(p for p in cython if p != generated)], {}),
    ]
    compiled = sorted(path.name.partition(".")[0] for path in install.compiled_files())
    if compiled:
        names = [f"faultplane._core.{name}" for name in compiled]
        options = ["--mypy-config-file", "pyproject.toml", "--ignore-disjoint-bases"]
        options += ["--allowlist", "tests/typing/stubtest_allowlist.txt"]
        options += ["--ignore-unused-allowlist"]
        stubtest = [*module, "mypy.stubtest", *options, *names]
        found.append(("stubtest", stubtest, {"MYPYPATH": "src"}))
    if (NATIVE / "Cargo.toml").is_file() and shutil.which("cargo"):
        manifest = ["--manifest-path", str(NATIVE / "Cargo.toml")]
        clippy = ["cargo", "clippy", "-q", *manifest, "--all-targets", "--", "-D", "warnings"]
        found.append(("clippy", clippy, {}))
        found.append(("rustfmt", ["cargo", "fmt", *manifest, "--check"], {}))
    return found


def main() -> int:
    """Command line entry; returns 1 when a check failed."""
    results = []
    for name, command, environment in checks():
        print(f"--- {name}", flush=True)
        environment["PATH"] = os.pathsep.join([str(install.PYTHON.parent), os.environ["PATH"]])
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment})
        results.append((name, done.returncode))
    print()
    for name, code in results:
        print(f"{'ok    ' if code == 0 else 'FAILED'} {name}")
    for name, there in (
        ("compiled core", install.compiled_files()),
        ("cargo", shutil.which("cargo")),
    ):
        if not there:
            print(f"left out: what needs the {name}, which is not there")
    return 1 if any(code for _, code in results) else 0


if __name__ == "__main__":
    sys.exit(main())
