#!/usr/bin/env python3
"""Run the test suite once for each core that is there, and end with pytest's own closing lines.

    python tools/tests.py all [pytest arguments]     everything
    python tools/tests.py quick [pytest arguments]   unit and architecture tests, one core
    python tools/tests.py coverage [arguments]       everything, with the coverage of the last run

The last two run as many tests at a time as there are processors (``-n 1``: one after the other).
A core is chosen per process, so two cores are two runs. What does not depend on the core is part
of the first run only. Coverage is that of the pure core's run, where every line of the package is
one that can be measured: it doubles what each process takes that a test starts.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
PER_CORE = ("unit", "conformance", "interop", "fault", "fuzz")
QUICK = ("unit", "architecture")
WORKERS_MAX = 4


def paths(names: tuple[str, ...]) -> list[str]:
    """Those of the ``names`` under ``tests`` that exist."""
    return [f"tests/{name}" for name in names if (ROOT / "tests" / name).is_dir()]


def run_pytest(core: str, arguments: list[str], *, coverage: bool) -> tuple[int, str]:
    """(Exit code, last line) of one run; its output is passed on as it comes."""
    runner = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
    colour = "yes" if sys.stdout.isatty() else "no"
    command = [sys.executable, *runner, f"--core={core}", f"--color={colour}", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line.strip() or last
    return child.returncode, last


def is_whole(path: Path) -> bool:
    """Whether a file of coverage data can be read to its end."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as data:
            data.execute("select version from coverage_schema")
            return bool(data.execute("pragma integrity_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def combine(directory: Path) -> int:
    """Put the coverage of all processes together; the exit code of ``coverage``.

    The tests kill processes, and some in the middle of writing theirs: those are left out, since
    coverage ends at the first that turns out to be damaged and takes the others' data with it.
    """
    damaged = [path for path in directory.glob(".coverage.*") if not is_whole(path)]
    for path in damaged:
        path.unlink()
    if damaged:
        print(
            f"left out: coverage of {len(damaged)} processes that were killed while they wrote it"
        )
    command = [sys.executable, "-m", "coverage", "combine", "-q"]
    return subprocess.run(command, cwd=directory).returncode


def main(arguments: list[str]) -> int:
    """Command line entry; returns the exit code."""
    mode, *rest = arguments or ["all"]
    if mode not in {"all", "quick", "coverage"}:
        raise SystemExit(f"mode must be all, quick or coverage, got {mode!r}")
    cores = install.cores()
    if not cores:
        raise SystemExit("faultplane: no core can be imported; run tools/install.py test")
    if mode == "quick":
        cores = cores[:1]
        rest = ["-m", "not slow and not fault", *(rest or ["-q"])]
    if mode != "all":
        rest = ["-n", str(min(WORKERS_MAX, os.cpu_count() or 1)), *rest]
    if mode == "coverage":
        subprocess.run([sys.executable, "-m", "coverage", "erase"], cwd=ROOT)
    named = any((ROOT / word.split("::")[0]).exists() for word in rest)
    results = []
    for index, core in enumerate(cores):
        measured = mode == "coverage" and core == cores[-1]
        where = paths(QUICK) if mode == "quick" else paths(PER_CORE) if index else []
        print(f"\n--- {core} core", flush=True)
        code, line = run_pytest(core, [*rest, *([] if named else where)], coverage=measured)
        results.append((core, code, line))
    if mode == "coverage":
        code = combine(ROOT)
        report = subprocess.run([sys.executable, "-m", "coverage", "report"], cwd=ROOT)
        results.append(("coverage", code or report.returncode, "see the table above"))
    print()
    if "cython" not in cores:
        print("The compiled core is not there; this was the pure-Python core alone.")
    for name, code, line in results:
        print(f"{name}: {'passed' if code == 0 else f'FAILED ({code})'}: {line}")
    return max(code for _, code, _ in results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
