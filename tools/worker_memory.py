"""What recording takes of memory in each of 1, 4, 16 and 64 workers: their own, and shared.

    python tools/worker_memory.py [--workers 1,4,16,64] [--errors N] [--core cython|python]

Starts that many processes that have the usual modules of an application loaded, with this library
and without, has each record so many errors, and reads ``/proc/<pid>/smaps`` of all while they live
(Linux). Once as processes that each started by themselves, once as forks of a master that had
called ``init()``, as ``gunicorn --preload`` makes them. A row is the mean over the workers:

own       private memory outside of the domain's files, more than a worker without the library
mapped    pages of the domain's files that a worker has mapped and touched
share     the same, each page divided by the number of processes that have it mapped (PSS)
of all    own and share together, times the number of workers
domain    what the domain takes of its file system, whoever has it mapped
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from start_cost import USUAL

WORKER = """
def work(errors):
    if with_library:
        fp.init(service="shop")
        kinds = (TimeoutError, KeyError, ValueError, ConnectionResetError, PermissionError)
        for number in range(errors):
            with fp.capture(f"operation {number % 20}"):
                try:
                    raise kinds[number % len(kinds)](f"order {number} did not come through")
                except Exception as error:
                    fp.record(error)
    os.write(1, b"ready\\n")
    sys.stdin.read()
"""
PROGRAM = """
import os, sys
with_library, forks, errors = sys.argv[1] == "with", int(sys.argv[2]), int(sys.argv[3])
if with_library:
    import faultplane as fp
%(usual)s
%(worker)s
if not forks:
    work(errors)
    sys.exit()
if with_library:
    fp.init(service="shop")
for _ in range(forks):
    if not os.fork():
        work(errors)
        os._exit(0)
with open(f"/proc/self/task/{os.getpid()}/children") as file:
    os.write(1, f"{file.read()}\\n".encode())
for _ in range(forks):
    os.wait()
"""
KIB = 1024


class Memory(NamedTuple):
    """Bytes of one process: private outside the domain's files, and of those mapped and PSS."""

    own: int
    mapped: int
    share: int


def memory(pid: int, directory: str) -> Memory:
    """What the kernel says of a process."""
    own = mapped = share = 0
    inside = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            head, _, rest = line.partition(" ")
            if "-" in head and not head.endswith(":"):
                inside = directory in line
            elif head == "Rss:" and inside:
                mapped += int(rest.split()[0])
            elif head == "Pss:" and inside:
                share += int(rest.split()[0])
            elif head in ("Private_Clean:", "Private_Dirty:") and not inside:
                own += int(rest.split()[0])
    return Memory(own * KIB, mapped * KIB, share * KIB)


def held(directory: str) -> int:
    """Bytes that the files below a directory take."""
    return sum(path.stat().st_blocks * 512 for path in Path(directory).rglob("*") if path.is_file())


def measure(library: bool, workers: int, forked: bool, errors: int) -> tuple[list[Memory], int]:
    """(Memory of each worker, bytes of the domain) while all of them live."""
    program = PROGRAM % {"usual": USUAL, "worker": WORKER}
    choice = "with" if library else "without"
    words = [sys.executable, "-c", program, choice]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        environment = {**os.environ, "FAULTPLANE_DIR": directory}
        started = [
            subprocess.Popen(
                [*words, str(workers if forked else 0), str(errors)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(1 if forked else workers)
        ]  # fmt: skip
        pids = [one.pid for one in started]
        said = [line for one in started for line in _lines(one, workers + 1 if forked else 1)]
        if forked:
            (pids,) = ([int(pid) for pid in line.split()] for line in said if line != "ready\n")
        found = [memory(pid, directory) for pid in pids], held(directory)
        for one in started:
            one.communicate()
            if one.returncode:
                raise SystemExit(f"a worker ended with {one.returncode}")
    return found


def _lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(number)]


def row(workers: int, forked: bool, errors: int) -> str:
    """One line of the table."""
    bare, _ = measure(False, workers, forked, errors)
    found, domain = measure(True, workers, forked, errors)
    own = statistics.mean(one.own for one in found) - statistics.mean(one.own for one in bare)
    mapped = statistics.mean(one.mapped for one in found)
    share = statistics.mean(one.share for one in found)
    way = "forked" if forked else "started"
    sizes = (own, mapped, share, workers * (own + share), domain)
    return f"| {workers} {way} | " + " | ".join(f"{size / KIB / KIB:.1f}" for size in sizes) + " |"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", default="1,4,16,64", help="numbers of workers (%(default)s)")
    parser.add_argument("--errors", type=int, default=2000, help="of each worker (%(default)s)")
    parser.add_argument("--core", choices=("cython", "python"), default="cython")
    options = parser.parse_args()
    os.environ["FAULTPLANE_CORE"] = options.core
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    measure(True, 1, False, 1)  # so that what an installed package has compiled is compiled
    print(f"MiB a worker, {options.errors:,} errors each, {options.core} core, budget 64 MiB\n")
    print("| workers | own | mapped | share | of all | domain |")
    print("| --- | --- | --- | --- | --- | --- |")
    for forked in (False, True):
        for workers in map(int, options.workers.split(",")):
            print(row(workers, forked, options.errors), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
