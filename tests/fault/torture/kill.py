"""Writers, readers and maintainers are killed and stopped at random; then every row is checked.

Domain after domain: processes record into it, some are killed (SIGKILL), some stopped for a while
(SIGSTOP), fork, or get no descriptors or processor time, at moments that follow from the seed as
far as they can. What `record()` returned from is in a ledger outside the store; in the end rows,
counts, deaths and files are compared with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from faultplane import schema

from . import command

FULL = {"cython": (10_000_000, 1000, 1000), "python": (1_000_000, 200, 200)}
DOMAINS_MAX = 100
"""Further ones make up for rows that were dropped in the last."""
DOMAINS = {"cython": 10, "python": 4}
BUDGETS = {"cython": (2, 4, 8, 16, 32, 64), "python": (2, 4, 8)}
"""MiB: the smallest keep 6,144 rows, so that segments are retired all the time."""
EXAMPLE = "python -m torture kill --core python --rows 100000 --kills 50 --stops 50 --seed 7"


def parser() -> argparse.ArgumentParser:
    """The command line; a run calls itself with ``--one``, a process a domain."""
    made = command.parser("kill", __doc__.splitlines()[0], EXAMPLE)
    made.add_argument("--rows", type=int, help="to record, in all; default: 10 M (pure core: 1 M)")
    made.add_argument("--kills", type=int, help="SIGKILLs; default: 1,000 (pure core: 200)")
    made.add_argument("--stops", type=int, help="SIGSTOPs; default: 1,000 (pure core: 200)")
    made.add_argument("--domains", type=int, help="one after another; default: 10 (pure core: 4)")
    made.add_argument("--writers", type=int, default=4, help="at a time")
    made.add_argument("--budget", type=int, help="MiB of each domain; default: others each time")
    made.add_argument("--one", help=argparse.SUPPRESS)
    return made


def main(words: list[str]) -> int:
    """Run all domains; 1 when anything is wrong."""
    options = parser().parse_args(words)
    if options.one:
        return one(json.loads(options.one))
    full = FULL[options.core]
    rows, kills, stops = (
        given if given is not None else default
        for given, default in zip((options.rows, options.kills, options.stops), full, strict=True)
    )
    domains = options.domains or DOMAINS[options.core]
    seed = command.seed_of(options)
    chance = random.Random(seed)
    totals: dict[str, int] = {}
    problems: list[str] = []
    start = time.monotonic()
    with command.place(options) as directory:
        for number in range(DOMAINS_MAX):
            if number >= domains and totals["rows"] >= rows:
                break
            starve = number % 3 == 0 and number + 1 < domains
            budget = options.budget or chance.choice(BUDGETS[options.core])
            ahead = 0
            if number % 2 and not options.budget:
                budget = BUDGETS[options.core][-1]
                ahead = _ring_rows(budget) // 4
            given = {
                "domain": f"fire-{number}",
                "directory": str(directory),
                "seed": seed,
                "rows": rows * min(number + 1, domains) // domains - totals.get("rows", 0),
                "kills": _share(kills, number, domains),
                "stops": _share(stops, number, domains),
                "writers": options.writers,
                "starve": starve,
                "ahead": ahead,
            }
            found = _run_one(options.core, directory, given, budget)
            problems += [f"fire-{number}: {sentence}" for sentence in found.pop("wrong")]
            for name, value in found.items():
                totals[name] = totals.get(name, 0) + value
            command.say(
                f"{time.monotonic() - start:6.0f} s  domain {number + 1} of {domains}, "
                f"{budget} MiB: {totals['rows']:,} rows, {totals['kills']:,} kills, "
                f"{totals['stops']:,} stops, {len(problems)} wrong"
            )
    totals["seconds"] = round(time.monotonic() - start)
    return command.finish(options, {"core": options.core, "seed": seed, **totals}, problems)


def _ring_rows(budget: int) -> int:
    """Rows that a domain of so many MiB keeps."""
    shape = schema.geometry(budget << 20)
    return shape.segments_max * shape.lanes_per_segment * schema.LANE_ROWS


def _share(total: int, number: int, of: int) -> int:
    """Part ``number`` of a total that is dealt out to so many; 0 for those behind."""
    return total * (number + 1) // of - total * number // of if number < of else 0


def _run_one(core: str, directory: Path, given: dict, budget: int) -> dict:
    """One domain, in a process that has this core and forks all the others."""
    variables = {"FAULTPLANE_BUDGET_BYTES": f"{budget}MiB", "FAULTPLANE_MESSAGES": "raw"}
    variables["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    done = subprocess.run(
        [sys.executable, "-m", "torture", "kill", "--one", json.dumps(given)],
        env=command.environment(core, directory, **variables),
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"rows": 0, "kills": 0, "stops": 0, "wrong": [f"ended with {done.returncode}"]}
    return json.loads(done.stdout)


def one(given: dict) -> int:
    """Run one domain and print what was found as JSON."""
    # Here, because it brings the core that the environment names, and numpy.
    from .fire import director, verdict
    from .fire.ledger import Ledger
    from .fire.roles import NUMBERS_EACH, Orders

    names = ("domain", "directory", "seed", "starve", "ahead")
    orders = Orders(**{name: given[name] for name in names})
    book = Ledger((given["kills"] * 4 + given["rows"] // 2000 + 1000) * NUMBERS_EACH)
    cast = {"witness": 1, "writer": given["writers"], "maintainer": 2, "burner": 1}
    cast |= {"poller": 1, "follower": 1, "scanner": 1}
    plan = director.Plan(given["rows"], given["kills"], given["stops"], cast)
    gc.collect()
    gc.freeze()  # forked processes would otherwise copy what the collector touches
    directing = director.Director(orders, book, plan)
    directing.run()
    found = directing.found
    verdict.judge(orders, book, found)
    for name in ("poller", "follower"):
        os.unlink(f"{given['directory']}/log-{given['domain']}-{name}")
    print(json.dumps(dataclasses.asdict(found)))
    return 0
