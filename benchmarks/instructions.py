#!/usr/bin/env python3
"""How many instructions a call of the compiled core takes, counted by valgrind's callgrind.

    python benchmarks/instructions.py            table; exit code 1 where a bound is exceeded
    python benchmarks/instructions.py --update   write the bounds anew: what was measured + 10 %
    python benchmarks/instructions.py --json     the same figures as JSON

Nanoseconds differ by 40 % from one hour to the next on a shared host, instructions by less than
1 %: these are what continuous integration can hold. A figure is the difference between 256 calls
and 128 in a warm lane, a 128th of it, less the same of its floor: the loop around it, and where an
error is raised for each call, raising and catching it. What the interpreter spends on the call
itself is in it. System calls count as the instructions before them and none of their own.

Interpreters differ, so ``instructions.json`` has bounds for each version that was measured. Another
version is held to the highest of them + 25 %.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TABLE = Path(__file__).with_name("instructions.json")
MARGIN = 1.10
MARGIN_UNKNOWN = 1.25
CALLS = 128  # 3 + 128 + 256 calls are fewer than the rows of a lane
LANE_ROWS = 512
ALONE = (
    "raw", "30 frames", "with a cause", "KeyError", "OSError", "the same object again",
    "operation and attempt", "attributes", "redacted", "a secret, redacted",
    "counter.add", "classify", "capture block", "guarded call", "guarded call, rejected",
)  # fmt: skip
SPAN = "a new span each time"
MARK = "getppid"  # a function of the C library that nothing else calls meanwhile


# ------------------------------------------------------------------------------- the measured


def child(group):
    """Run every case of a group between marks, twice the calls the second time."""
    if group == "alone":
        # A process that has OpenTelemetry loaded asks it for a span in every case.
        sys.modules["opentelemetry"] = None
    import faultplane
    from faultplane import _backend
    from faultplane.cli.bench import guarded, measure, ours

    if faultplane.core != "cython":
        raise SystemExit("instructions are counted of the compiled core, which is not there")
    measure.refuse_debug_build()
    calls = measure.Calls()
    found = ours.cases(calls) | guarded.Guarded(guarded.guards()).cases
    if group == "span":
        found = ours.span_cases(calls)
    gc.collect()
    gc.disable()
    state = _backend.core.writer_state
    silent = {*ours.NOT_RECORDING, guarded.SUCCEEDS, guarded.REJECTED}
    for name in cases(group):
        case = found.get(name)
        if case is None:
            continue
        while name not in silent and state()["seq"] % LANE_ROWS != 1:
            case.block(1)  # up to the first row of a lane, so that none is claimed below
        case.block(3)
        before = state()["lanes_claimed"]
        for block in (case.floor, case.block):
            for number in (CALLS, 2 * CALLS):
                os.getppid()
                block(number)
                os.getppid()
        if state()["lanes_claimed"] != before:
            raise AssertionError(f"a lane was claimed while {name} was counted")
        print(name, flush=True)


def cases(group):
    """The cases of a group, in the order of their marks."""
    return ALONE if group == "alone" else (SPAN,)


# ------------------------------------------------------------------------------- the counting


def count(group):
    """{case: instructions a call} of one group, by one run of valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is not installed: `apt-get install valgrind`")
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="faultplane-bench-", dir=shared) as place:
        out = Path(place, "callgrind")
        # Nor what would measure the coverage of the child: its instructions come among the others.
        others = ("FAULTPLANE_", "COVERAGE_")
        kept = {name: os.environ[name] for name in os.environ if not name.startswith(others)}
        done = subprocess.run(
            [
                valgrind, "--tool=callgrind", f"--callgrind-out-file={out}",
                f"--dump-before={MARK}", sys.executable, __file__, "--child", group,
            ],
            env={
                **kept,
                "FAULTPLANE_CORE": "cython",
                "FAULTPLANE_DIR": place,
                "FAULTPLANE_BUDGET_BYTES": "64MiB",
                "FAULTPLANE_DETAIL_PER_SECOND": "0",
                "PYTHONHASHSEED": "0",
            },
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{done.stdout}{done.stderr}")
        names = done.stdout.splitlines()
        # A dump holds what ran since the one before: of eight for each case, every second is of a
        # block: the floor's two, then the call's two.
        totals = [total(Path(f"{out}.{i}")) for i in range(2, 8 * len(names) + 1, 2)]
    return {name: net(*totals[4 * i : 4 * i + 4]) for i, name in enumerate(names)}


def net(floor_once, floor_twice, once, twice):
    """Instructions of a call, from those of blocks of calls and of their floors."""
    return (twice - once - (floor_twice - floor_once)) / CALLS


def total(dump):
    """Instructions in one dump."""
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{dump} has no totals: was it written by callgrind?")
    return int(found[1])


# --------------------------------------------------------------------------------- the bounds


def here():
    """What bounds depend on: the interpreter's version and the machine."""
    return f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


def bounds_for(table, name):
    """Bounds of an interpreter; of one that was never measured, those of all with a margin."""
    if name in table:
        return table[name]
    every = {case for known in table.values() for case in known}
    return {
        case: math.ceil(MARGIN_UNKNOWN * max(known.get(case, 0) for known in table.values()))
        for case in every
    }


def exceeded(found, bounds):
    """The cases that take more instructions than they may, or for which there is no bound."""
    return [case for case, n in found.items() if n > bounds.get(case, 0)]


def main(arguments=None):
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the bounds anew")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", choices=("alone", "span"), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        child(asked.child)
        return 0
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    found = count("alone") | count("span")
    if asked.update:
        table[here()] = {case: math.ceil(MARGIN * n) for case, n in found.items()}
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n")
    bounds = bounds_for(table, here())
    over = exceeded(found, bounds)
    if asked.json:
        print(json.dumps({"python": here(), "instructions": found, "bounds": bounds}))
        return 1 if over else 0
    print(f"instructions a call, {here()}{'' if here() in table else ' (bounds of others)'}")
    for case, n in found.items():
        print(f"{case:24} {n:8.0f}  of {bounds.get(case, 0):6}{'  EXCEEDED' * (case in over)}")
    if SPAN not in found:
        print(f"{SPAN}: not counted, opentelemetry-sdk is not installed")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
