"""Damaged files through all readers: ``make fuzz``, or ``python -m fuzz`` in ``tests``.

Each kind of file is read by Python readers (guided by coverage with atheris, or blind), and
dictionaries, segments and the registry by the compiled core too (libFuzzer, with the address and
undefined-behaviour sanitizers). A reader may refuse a file; any other exception, a crash, a report
of a sanitizer, a hang or memory without end is a failure, and its case is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fuzz import core_build, worker
from fuzz.stage import make_place

KINDS = (
    "registry", "owners", "dictionary", "stacks", "segment", "counts", "retired", "breath",
    "deaths", "control",
)  # fmt: skip
CORE_KINDS = ("core-dictionary", "core-segment", "core-registry")
PURE_KINDS = ("pure-dictionary", "pure-segment")
EXAMPLE = "make fuzz ARGS='--kind segment --executions 10000000 --seed 1'"
_COVERAGE = re.compile(r"cov: (\d+)")
_EXECUTED = re.compile(r"(?:number_of_executed_units: |^#)(\d+)", re.MULTILINE)


@dataclass
class Run:
    """One kind under one engine: what was asked for, and what came of it."""

    kind: str
    engine: str
    wanted: int
    seed: int
    directory: Path
    place: str
    executions: int = 0
    refused: int = 0
    seconds: float = 0.0
    coverage: int = 0
    failures: list[str] = field(default_factory=list)
    child: Any = None

    def start(self) -> None:
        """Start the process that executes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        words = [self.kind, str(self.wanted), str(self.seed), str(self.directory)]
        environment = dict(os.environ)
        if self.kind in CORE_KINDS:
            words[0] = self.kind.removeprefix("core-")
            environment = core_build.environment()
            command = [sys.executable, "-m", "fuzz.core_worker", *words, self.place]
        else:
            core = "python" if self.kind in PURE_KINDS else "cython"
            environment["FAULTPLANE_CORE"] = environment.get("FAULTPLANE_CORE") or core
            command = [sys.executable, "-m", "fuzz.worker", *words, self.engine, self.place]
        with (self.directory / "log").open("wb") as log:
            self.child = subprocess.Popen(
                command, cwd=Path(__file__).parents[1], env=environment, stdout=log, stderr=log
            )
        self._start = time.monotonic()

    def look(self) -> bool:
        """Bring the numbers up to date; whether it has ended."""
        code = self.child.poll()
        log = self.directory / "log"
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 65_536, 0))
            text = file.read().decode("utf-8", "replace")
        said = worker.read_progress(self.directory)
        found = [int(number) for number in _EXECUTED.findall(text)]
        self.executions = max(said[0], self.executions, found[-1] if found else 0)
        self.refused = said[1]
        self.coverage = max(map(int, _COVERAGE.findall(text)), default=self.coverage)
        if (self.child is not None and code is None) or not self.seconds:
            self.seconds = time.monotonic() - self._start
        kept = self.directory / "failed"
        names = sorted(path.name for path in kept.iterdir()) if kept.is_dir() else []
        self.failures = [str(kept / name) for name in names if not name.startswith("slow-")]
        if code:
            self.failures = self.failures or [f"ended with {code}: see {log}"]
        return code is not None

    def stop(self) -> None:
        """End it, unless it has ended."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def row(self) -> dict[str, Any]:
        """Its numbers."""
        names = ("kind", "engine", "seed", "executions", "refused", "coverage", "failures")
        found = {name: getattr(self, name) for name in names}
        per_second = round(self.executions / max(self.seconds, 0.001))
        return found | {"per_second": per_second, "seconds": round(self.seconds, 1)}


HEAD = ("kind", "engine", "executions", "per_second", "refused", "coverage", "failures")


def table(runs: Iterable[Run]) -> str:
    """A line a kind."""
    rows = [{**run.row(), "failures": len(run.failures)} for run in runs]
    shown = [HEAD, *([f"{row[name]:,}" if isinstance(row[name], int) else str(row[name])
                      for name in HEAD] for row in rows)]  # fmt: skip
    widths = [max(len(line[n]) for line in shown) for n in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if n < 2 else text.rjust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--kind", action="append", choices=(*KINDS, *PURE_KINDS, *CORE_KINDS),
                      help="which kind of file; again for more; default: all")  # fmt: skip
    made.add_argument("--executions", type=int, default=10_000_000, help="of each kind")
    made.add_argument("--seed", type=int, help="the same cases again; default: a new one")
    made.add_argument("--engine", choices=("guided", "blind"),
                      help="of the Python readers; default: guided where atheris is")  # fmt: skip
    made.add_argument("--jobs", type=int, default=2, help="processes at a time; default: 2")
    made.add_argument("--seconds", type=float, help="end each kind after so long")
    made.add_argument("--keep", help="directory for logs, corpus and failed cases")
    made.add_argument("--json", action="store_true", help="print what was found as JSON, alone")
    return made


@contextmanager
def place_of_scenes() -> Iterator[str]:
    """A directory for what workers change, which goes however they and this process end.

    Workers are killed, or end where the fuzzing engine says so: they cannot tidy up themselves.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    place = make_place()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def execute(runs: list[Run], options: argparse.Namespace) -> None:
    """Run all, so many at a time, and say how far they are."""
    waiting, working = list(runs), []
    told = time.monotonic()
    try:
        while waiting or working:
            while waiting and len(working) < options.jobs:
                working.append(waiting.pop(0))
                working[-1].start()
            time.sleep(0.5)
            for run in list(working):
                ended = run.look()
                if not ended and options.seconds and run.seconds > options.seconds:
                    run.stop()
                    run.failures, ended = [], True
                if ended:
                    working.remove(run)
                    say(f"{run.kind}: {run.executions:,} executions, {len(run.failures)} failed")
            if time.monotonic() - told > 30:
                told = time.monotonic()
                say(", ".join(f"{run.kind} {run.executions:,}" for run in working))
    finally:
        for run in working:
            run.stop()


def main(words: list[str]) -> int:
    """Fuzz what the words say; 1 when anything failed."""
    options = parser().parse_args(words)
    kinds = options.kind or [*KINDS, *PURE_KINDS, *CORE_KINDS]
    engine = options.engine or ("guided" if find_spec("atheris") else "blind")
    if any(kind in CORE_KINDS for kind in kinds):
        if core_build.clang() is None and not options.kind:
            say("no clang: the compiled core's own readers are left out")
            kinds = [kind for kind in kinds if kind not in CORE_KINDS]
        else:
            say("building the compiled core with sanitizers")
            core_build.build()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    say(f"seed {seed} (again with --seed {seed})")
    kept = Path(options.keep or tempfile.mkdtemp(prefix="faultplane-fuzz-"))
    with place_of_scenes() as place:
        runs = [
            Run(kind, "libFuzzer" if kind in CORE_KINDS else engine, options.executions, seed,
                (kept / kind).absolute(), place)
            for kind in kinds
        ]  # fmt: skip
        execute(runs, options)
    problems = [failure for run in runs for failure in run.failures]
    problems += [
        f"{run.kind}: no case in {run.seconds:.0f} s" for run in runs if not run.executions
    ]
    if options.json:
        print(json.dumps({"seed": seed, "kinds": [run.row() for run in runs]}))
    else:
        print(table(runs))
        for problem in problems:
            print(f"FAILED: {problem}")
    if not options.keep and not problems:
        shutil.rmtree(kept, ignore_errors=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
