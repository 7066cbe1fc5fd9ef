"""``python -m benchmarks.experiments.metastable``: run it, print tables, draw pictures."""

from __future__ import annotations

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from benchmarks.experiments.metastable import plot, report
from benchmarks.experiments.metastable.measure import Figures, verdict
from benchmarks.experiments.metastable.model import MODES, SCENARIOS, Setup
from benchmarks.experiments.metastable.run import Run, RunFailed
from benchmarks.experiments.metastable.run import run as make_run
from faultplane.cli import ends_in_order

DESCRIPTION = """\
A simulated server with a queue, clients in processes of their own, and a trigger that ends: which
of retry budget, breaker and bulkhead get it up again. Five scenarios, each mechanism alone and
together. Everything is on this host. A run takes a window, the trigger, --seconds, and a few more.
The exit code is 1 where retries alone did not stay collapsed, or budget and breaker together did
not bring the offered load back within two windows, and 2 where a run failed.
"""
EXAMPLES = """\
examples:
  python -m benchmarks.experiments.metastable --scenario capacity --mode retries --mode both
  python -m benchmarks.experiments.metastable --seeds 3 --jobs 2 --json > runs.json
  python -m benchmarks.experiments.metastable --from runs.json --plot docs/images
  python -m benchmarks.experiments.metastable --window 30 --seconds 90 --scenario capacity
"""
SEEDS_MAX = 1000
JOBS_MAX = 16


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments.metastable",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, default = found.add_argument, Setup()
    add("--scenario", action="append", choices=SCENARIOS, help="only this one; may be repeated")
    add("--mode", action="append", choices=MODES, help="only this one; may be repeated")
    add("--seed", type=int, default=default.seed, help="the first seed (%(default)s)")
    add("--seeds", type=int, default=1, help="how many seeds, one after the other (%(default)s)")
    add("--jobs", type=int, default=1, help="runs at a time (%(default)s)")
    add("--json", action="store_true", help="print everything that was counted as JSON")
    add(
        "--from",
        dest="sources",
        action="append",
        type=Path,
        metavar="FILE",
        help="take the runs of such a file and run nothing; may be repeated",
    )
    add(
        "--plot",
        type=Path,
        metavar="FOLDER",
        help="draw PNGs into this folder; needs matplotlib (extra bench)",
    )
    for name, kind, text in (
        ("capacity", float, "requests a second that the server answers"),
        ("load", float, "part of it that clients ask for"),
        ("clients", int, "processes of clients"),
        ("attempts", int, "tries of a request at most"),
        ("timeout", float, "seconds until a try is given up"),
        ("queue_max", int, "requests that wait at most"),
        ("window", float, "seconds of the breaker's window and of its open time"),
        ("trigger_windows", float, "windows that the trigger takes"),
        ("open_factor", float, "how the open time grows each time that probes fail"),
        ("open_windows_max", float, "windows that the open time may grow to"),
    ):
        words = f"--{name.replace('_', '-')}"
        add(words, type=kind, default=getattr(default, name), help=f"{text} (%(default)s)")
    add(
        "--seconds",
        dest="after",
        type=float,
        default=default.after,
        help="seconds that are watched after the trigger (%(default)s)",
    )
    return found


def plan(options: argparse.Namespace) -> list[tuple[Setup, str, str]]:
    """What is run, in order."""
    for name, most in (("seeds", SEEDS_MAX), ("jobs", JOBS_MAX)):
        if not 1 <= getattr(options, name) <= most:
            raise ValueError(f"{name} must be 1 to {most}, got {getattr(options, name)}")
    setup = Setup(**{one.name: getattr(options, one.name) for one in fields(Setup)})
    return [
        (setup.with_seed(options.seed + number), scenario, mode)
        for number in range(options.seeds)
        for scenario in options.scenario or SCENARIOS
        for mode in options.mode or MODES
    ]


def run_all(planned: list[tuple[Setup, str, str]], jobs: int) -> list[Run]:
    """Run it, and say on standard error how far it is; those that failed are missing."""
    lock, called_off, done = threading.Lock(), threading.Event(), 0

    def one(what: tuple[Setup, str, str]) -> Run | None:
        nonlocal done
        setup, scenario, mode = what
        try:
            found = make_run(setup, SCENARIOS[scenario], MODES[mode], called_off)
        except RunFailed as error:
            found, text = None, f"FAILED: {error}"
        else:
            text = said(found)
        with lock:
            done += 1
            where = f"{done} of {len(planned)}: {scenario}, {MODES[mode].title}, seed {setup.seed}"
            print(f"{where}: {text}", file=sys.stderr, flush=True)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, what) for what in planned]
        try:
            return [found for future in futures if (found := future.result()) is not None]
        except BaseException:
            called_off.set()
            for future in futures:
                future.cancel()
            raise


def said(found: Run) -> str:
    """A run in a line."""
    figures = Figures.of(found)
    back = "never" if figures.load_back is None else f"after {figures.load_back:.1f} s"
    disturbed = f"; DISTURBED by {found.late_max:.2f} s" if found.disturbed else ""
    answered = f"{figures.available_after:.0%} answered after the trigger"
    return f"{answered}, load back {back}{disturbed}"


def main(arguments: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    words = parser()
    options = words.parse_args(arguments)
    try:
        planned = plan(options)
    except ValueError as error:
        words.error(str(error))
    if options.plot is not None and find_spec("matplotlib") is None:
        words.error("--plot needs matplotlib: in a checkout pip install '.[bench]'")
    try:
        if options.sources:
            runs = [run for path in options.sources for run in report.from_json(path.read_text())]
            planned = []
        else:
            with ends_in_order():
                runs = run_all(planned, options.jobs)
    except OSError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    print(report.as_json(runs) if options.json else report.markdown(runs))
    if options.plot is not None:
        for path in plot.draw(runs, options.plot):
            print(path, file=sys.stderr)
    wrong = verdict(runs)
    for line in wrong:
        print(line, file=sys.stderr)
    return 2 if len(runs) < len(planned) else int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
