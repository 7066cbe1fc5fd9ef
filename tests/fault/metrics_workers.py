"""Workers that record until they are killed: ``python metrics_workers.py PATH WORKERS``.

Each line of standard input kills the worker of that number by SIGKILL, waits for it and starts
another in its place; "ok" says so. PATH gets two words a worker: attempted and acknowledged.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time

WORDS_MAX = 1 << 16


def record(words, place, seed, parent):
    """A few frequent errors, and some that come up now and then, as long as the parent lives."""
    import random

    import faultplane as fp

    rng = random.Random(seed)
    fp.init(service=f"shop-{seed % 3}")
    hits = fp.counter("hits")
    kinds = [type(f"E{number}", (Exception,), {}) for number in range(12)]
    while os.getppid() == parent:
        number = min(int(rng.expovariate(0.5)), 11)
        words[2 * place] += 1
        fp.record(kinds[number]("x"), f"op{(number + seed) % 9}")
        hits.add()
        words[2 * place + 1] += 1
        time.sleep(0.001)  # the scraper shares the processors with them


def main(path, workers):
    from faultplane.capture import block, start  # forked workers need not import them again

    assert block
    assert start
    with open(path, "r+b") as file:
        words = memoryview(mmap.mmap(file.fileno(), WORDS_MAX * 8)).cast("Q")
    started, pids = 0, {}

    def start_worker(slot):
        nonlocal started
        place = started
        started += 1
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                record(words, place, place, parent)
            finally:
                os._exit(1)
        pids[slot] = pid, place
        while not words[2 * place + 1]:
            time.sleep(0.001)

    for slot in range(workers):
        start_worker(slot)
    print("ok", flush=True)
    for line in sys.stdin:
        slot = int(line)
        os.kill(pids[slot][0], signal.SIGKILL)
        os.waitpid(pids[slot][0], 0)
        start_worker(slot)
        print("ok", flush=True)
    for pid, _ in pids.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
