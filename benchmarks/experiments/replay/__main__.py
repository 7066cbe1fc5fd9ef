"""``python -m benchmarks.experiments.replay``: replay, print tables, record traces."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.experiments.replay import record, report
from benchmarks.experiments.replay.measure import Figures, by_what, middle, wrong_defaults
from benchmarks.experiments.replay.model import SCENARIOS
from benchmarks.experiments.replay.run import run

DESCRIPTION = """\
Do retries that follow what retries have come to do better? Recorded traces and a simulated server
are called with the library's own policies, static and adaptive, in time of their own: nobody waits.
The figures are medians over the seeds. The exit code is 1 where the library has something on by
default that does not win here over all.
"""
EXAMPLES = """\
examples:
  python -m benchmarks.experiments.replay
  python -m benchmarks.experiments.replay --seeds 3 --scenario delay-outage --scenario delay-down
  python -m benchmarks.experiments.replay --json | jq .wins
  python -m benchmarks.experiments.replay --record /tmp/traces --trace outage
"""
SEEDS_MAX = 1000


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments.replay",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--scenario", action="append", choices=SCENARIOS, metavar="NAME",
        help="only this one; may be repeated. Any of " + ", ".join(SCENARIOS))  # fmt: skip
    add("--seeds", type=int, default=9, help="how many seeds (%(default)s)")
    add("--json", action="store_true", help="print the figures as JSON")
    add("--record", type=Path, metavar="FOLDER",
        help="record traces of a server on loopback into this folder for a minute")  # fmt: skip
    add("--trace", action="append", choices=record.EPISODES, metavar="NAME",
        help="with --record: only this one. Any of " + ", ".join(record.EPISODES))  # fmt: skip
    return found


def replayed(names: list[str], seeds: int) -> dict[str, dict[str, Figures]]:
    """The figures of each scenario and policy, and on standard error how far it is."""
    found: dict[str, dict[str, Figures]] = {}
    for number, name in enumerate(names, 1):
        scenario = SCENARIOS[name]
        found[name] = {
            policy: middle(
                [Figures.of(run(scenario, policy, seed), scenario.over) for seed in range(seeds)]
            )
            for policy in scenario.policies
        }
        print(f"{number} of {len(names)}: {name}", file=sys.stderr, flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    words = parser()
    options = words.parse_args(arguments)
    if not 1 <= options.seeds <= SEEDS_MAX:
        words.error(f"--seeds must be 1 to {SEEDS_MAX}, got {options.seeds}")
    if options.trace and options.record is None:
        words.error("--trace goes with --record only")
    if options.record is not None:
        if not options.record.is_dir():
            words.error(f"--record must be a folder, got {options.record}")
        names = options.trace or list(record.EPISODES)
        with ThreadPoolExecutor(len(names)) as pool:
            for trace in pool.map(record.record, names):
                print(trace.write(options.record))
        return 0
    found = replayed(options.scenario or list(SCENARIOS), options.seeds)
    print(report.as_json(found, options.seeds) if options.json else report.markdown(found))
    wrong = wrong_defaults(by_what(found))
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
