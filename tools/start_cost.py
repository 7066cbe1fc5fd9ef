"""What it costs to start with this library: time and private memory.

    python tools/start_cost.py [--rounds N]

Starts interpreters in turn, with and without the library, and prints the difference: the least
and the median of the rounds. Processor time, because it does not grow when others use the machine.
Private memory is ``Private_Clean`` and ``Private_Dirty`` of ``/proc/self/smaps_rollup`` (Linux),
once in a bare interpreter and once in one that has the usual modules of an application loaded.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

USUAL: str = (
    "import asyncio, contextvars, dataclasses, datetime, enum, inspect, json, logging, math, "
    "platform, re, shutil, socket, ssl, struct, subprocess, tempfile, threading, typing, uuid, zlib"
)
STEPS: dict[str, str] = {
    "import": "import faultplane as fp",
    "init": "fp.init(service='start')",
    "first error": "fp.record(TimeoutError('no answer'), 'charge')",
    "second error": "fp.record(KeyError('x'), 'charge')",
}
WATCH: str = """
import time
def private():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
def step(source):
    started = time.process_time_ns()
    exec(source, globals())
    return (time.process_time_ns() - started) // 1000
private()
"""


def processor_ms(code: str) -> float:
    """Milliseconds of processor time that an interpreter takes for ``code``, start and end too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return 1000 * used


def steps_of(prologue: str, initialise: bool) -> list[tuple[int, int]]:
    """(µs of processor time, KiB of private memory since the first) of each step."""
    steps = [source for name, source in STEPS.items() if initialise or name != "init"]
    body = "".join(f"\nt = step({source!r}); print(t, private() - base)" for source in steps)
    code = f"{prologue}\n{WATCH}\nbase = private()" + body
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(int(spent), int(kept)) for spent, kept in rows]


def print_steps(title: str, prologue: str, rounds: int, *, initialise: bool = True) -> None:
    """Medians of the steps of one kind of process."""
    runs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            os.environ["FAULTPLANE_DIR"] = directory
            runs.append(steps_of(prologue, initialise))
    names = [name for name in STEPS if initialise or name != "init"]
    for name, found in zip(names, zip(*runs, strict=True), strict=True):
        spent = statistics.median(row[0] for row in found) / 1000
        kept = statistics.median(row[1] for row in found) / 1024
        print(f"{title:24}{name:14}{spent:8.2f} ms   {kept:6.2f} MiB private since the start")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nor would an installed package compile again
    processor_ms("import faultplane")
    plain, imported = [], []
    for _ in range(rounds):
        plain.append(processor_ms("pass"))
        imported.append(processor_ms("import faultplane"))
    more = [whole - empty for whole, empty in zip(imported, plain, strict=True)]
    print(f"import faultplane: {statistics.median(more):.1f} ms, the median of {rounds} rounds")
    print_steps("bare interpreter", "pass", max(rounds // 4, 1))
    print_steps("application", USUAL, max(rounds // 4, 1))
    print_steps("without init()", USUAL, max(rounds // 4, 1), initialise=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
