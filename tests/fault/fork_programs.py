"""What the processes of ``test_fork.py`` do: a function each, run by ``python fork_programs.py``.

Every process records with its own line of the ledger and acknowledges after the call returned.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ledger import Ledger

import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.capture import start  # noqa: F401 - forks come between no imports
from faultplane.store import domain as domains
from faultplane.store import lifecycle

LIBC = ctypes.PyDLL(None)
OURS = ctypes.PyDLL(os.environ["FORKS_LIBRARY"]) if "FORKS_LIBRARY" in os.environ else None

FORKS: dict[str, Callable[[], int]] = {
    "os": os.fork,
    "libc": lambda: int(LIBC.fork()),
    "_Fork": lambda: int(LIBC._Fork()),
    "clone": lambda: int(OURS.bare_clone()),
    "announced": lambda: int(OURS.announced_fork()),
}


class Lost(Exception):
    """What is recorded here."""


class Worker:
    """One process's line of the ledger."""

    def __init__(self, ledger: Ledger, line: int) -> None:
        self.ledger = ledger
        self.line = line
        self.records = self.hits = 0

    def record(self, times: int = 1) -> None:
        """Record, then say so; the same with the counter."""
        for _ in range(times):
            try:
                raise Lost(f"{self.line} {self.records + 1}")
            except Lost as error:
                fp.record(error, "work")
            self.records += 1
            self.ledger.recorded(self.line, self.records)
            HITS.add(3)
            self.hits += 3
            self.ledger.added(self.line, self.hits)

    def capture(self) -> None:
        """The same through a block that swallows."""
        with fp.capture("block", reraise=False):
            raise Lost(f"{self.line} {self.records + 1}")
        self.records += 1
        self.ledger.recorded(self.line, self.records)


HITS = fp.counter("hits")


def child(fork: Callable[[], int], work: Callable[[], Any]) -> int:
    """The process id of a child that does ``work`` and ends."""
    pid = fork()
    if pid:
        return pid
    status = 97
    try:
        work()
        status = 0
    except BaseException:  # whatever it is, the parent's code must not go on here
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def wait(*pids: int) -> None:
    """Collect children, all of which must have ended well."""
    ends = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
    assert not any(ends.values()), f"children ended with {ends}"


def owner() -> tuple[int, int]:
    """(Slot, incarnation) of this process; it must have one."""
    status = lifecycle.status()
    assert status.bound, status
    return status.owner_slot, status.incarnation


def descriptors() -> dict[int, str]:
    """What the descriptors of this process stand for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


# ----------------------------------------------------------------------------------- programs


def midlane(ledger: Ledger, rng: random.Random, how: str, generations: int) -> None:
    """Fork with a part of a lane written, inside blocks; children do the same again."""
    me = Worker(ledger, 0)
    fp.init(service="fork")
    me.record(rng.randrange(1, 700))
    before = owner()

    def generation(worker: Worker, depth: int) -> None:
        with ExitStack() as stack:
            for k in range(rng.randrange(3)):
                stack.enter_context(fp.capture(f"outer {k}"))
            mine = owner() if worker.records else None
            line = worker.line * 2 + 1
            pids = []
            for k in range(2 if depth else 0):
                fresh = Worker(ledger, line + k)

                def work(fresh: Worker = fresh, depth: int = depth) -> None:
                    fresh.record(rng.randrange(1, 200))
                    assert owner()[1] != before[1]
                    fresh.capture()
                    generation(fresh, depth - 1)
                    fresh.record(rng.randrange(1, 200))

                pids.append(child(FORKS[how], work))
                worker.record(rng.randrange(1, 200))
            wait(*pids)
            worker.record(rng.randrange(1, 80))
            assert mine in (None, owner()), "the parent registered anew"

    generation(me, generations)
    assert owner() == before


def preparing(ledger: Ledger, rng: random.Random, how: str) -> None:
    """Fork while the next segment is half prepared, and record past its end on both sides."""
    me = Worker(ledger, 0)
    fp.init(service="fork")

    def is_preparing() -> bool:
        # In a file without a name, or of this one.
        return any("/#" in target or "tmp-next" in target for target in descriptors().values())

    while not is_preparing():
        me.record(16)
    before = owner()
    fresh = Worker(ledger, 1)
    pid = child(FORKS[how], lambda: fresh.record(8_000))
    assert is_preparing(), "the fork took away what the parent prepared"
    me.record(8_000)
    wait(pid)
    assert owner() == before


def before_init(ledger: Ledger, rng: random.Random, how: str) -> None:
    """What was counted before init() is the parent's, also when only the child calls it first."""
    me, fresh = Worker(ledger, 0), Worker(ledger, 1)
    # Counted in the process: without rows.
    errors = rng.randrange(2, 50)
    for _ in range(errors):
        try:
            raise Lost("early")
        except Lost as error:
            fp.record(error, "early")
    HITS.add(errors)
    me.hits = errors
    ledger.added(0, errors)

    def work() -> None:
        fp.init(service="fork")
        fresh.record(10)

    wait(child(FORKS[how], work))
    fp.init(service="fork")
    me.record(10)
    print(errors)


def among_threads(ledger: Ledger, rng: random.Random, how: str, forks: int, threads: int) -> None:
    """Fork again and again while threads of this process record."""
    fp.init(service="fork")
    before = owner()
    sys.setswitchinterval(1e-5)
    stop = threading.Event()
    workers = [Worker(ledger, line) for line in range(threads)]

    def thread(worker: Worker) -> None:
        while not stop.is_set():
            worker.record(3)
            stop.wait(0.002)

    running = [threading.Thread(target=thread, args=(worker,)) for worker in workers]
    for one in running:
        one.start()
    pids: list[int] = []
    try:
        for k in range(forks):
            fresh = Worker(ledger, threads + k)
            pids.append(child(FORKS[how], lambda fresh=fresh: fresh.record(fresh.line % 5 + 1)))
            if len(pids) == 4:
                wait(*pids)
                pids = []
        wait(*pids)
    finally:
        stop.set()
        for one in running:
            one.join()
    workers[0].record()
    assert owner() == before


def in_handlers(ledger: Ledger, rng: random.Random, how: str, forks: int) -> None:
    """Fork in a signal handler, wherever in a record it comes in."""
    fp.init(service="fork")
    before = owner()
    me = Worker(ledger, 0)
    pids: list[int] = []
    parent = os.getpid()
    inside = False

    def handler(number: int, frame: object) -> None:
        nonlocal inside
        del number, frame
        if inside or os.getpid() != parent or len(pids) >= forks:
            return
        inside = True
        fresh = Worker(ledger, 1 + len(pids))
        pids.append(child(FORKS[how], lambda: fresh.record(3)))
        inside = False
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 1e-3))

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    collected = 0
    while len(pids) < forks:
        me.record(3)
        while collected < len(pids) - 4:
            wait(pids[collected])
            collected += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    wait(*pids[collected:])
    me.record(3)
    assert owner() == before


def handlers_in_init(ledger: Ledger, rng: random.Random, rounds: int) -> None:
    """Fork in a signal handler that comes in while a process registers; both go on from there."""
    line = 0
    for _ in range(rounds):
        both = Worker(ledger, line), Worker(ledger, line + 1)
        line += 2

        def work(both: tuple[Worker, Worker] = both) -> None:
            parent, forked = os.getpid(), []
            signal.signal(signal.SIGALRM, lambda *_: forked.append(os.fork()))
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 6e-3))
            fp.init(service="fork")
            while not forked:
                signal.pause()
            me = both[os.getpid() != parent]
            me.record(5)
            if me is both[0]:
                wait(forked[0])

        wait(child(os.fork, work))


def at_moments(ledger: Ledger, rng: random.Random, which: int | str, own: str = "") -> None:
    """Fork in a signal handler at a moment of registering, each time at another.

    ``which``: at so many of them, or, as in "3/40", at each 40th from the third on. With ``own``,
    each time in a domain of its own, which has to be made, and is looked at and removed; with
    "left", by a process that leaves another for it. Prints at how many moments it forked, and how
    many there are.
    """
    answers, held = os.pipe(), os.pipe()
    OURS.interrupted.argtypes = ctypes.c_int, ctypes.py_object
    OURS.interrupt_at.argtypes = ctypes.c_long, ctypes.py_object

    def work(line: int, moment: int) -> None:
        parent, forked = os.getpid(), []

        domain = f"{own}{line}" if own else None
        if own == "left":
            fp.init(service="fork")
        signal.signal(signal.SIGALRM, OURS.interrupted)
        OURS.interrupt_at(moment, lambda: forked.append(os.fork()))
        fp.init(service="fork", domain=domain)
        seen = OURS.interrupt_no_more()
        me = Worker(ledger, line + (os.getpid() != parent))
        me.record(3)
        if os.getpid() == parent:
            wait(*forked)
            os.write(answers[1], b"%d\n" % (moment if forked else seen))

    def at(line: int, moment: int) -> int:
        """How many moments there were up to the fork, or in all if there was none."""
        wait(child(os.fork, lambda: work(line, moment)))
        seen = int(file.readline())
        if own:
            look_at_own(f"{own}{line}", line, 2 if seen == moment else 1)
        return seen

    def hold() -> None:
        fp.init(service="fork")
        os.read(held[0], 1)

    # It has slot 0: to write a 0 as text looks for no signals.
    holder = child(os.fork, hold)
    try:
        with os.fdopen(answers[0]) as file:
            total = at(0, 1 << 40)
            if isinstance(which, int):
                moments = sorted(rng.sample(range(1, total + 1), which))
            else:
                first, step = map(int, which.split("/"))
                moments = list(range(first, total + 1, step))
            came = [at(2 * k, moment) == moment for k, moment in enumerate(moments, 1)]
    finally:
        os.write(held[1], b"x")
        wait(holder)
    print(came.count(True), total)


def look_at_own(name: str, first: int, processes: int) -> None:
    """The domain ``name`` must hold what that many workers recorded; it is removed then."""
    lines = range(first, first + processes)
    directory = Path(os.environ["FAULTPLANE_DIR"]) / name
    with fp.attach(name) as domain:
        table = domain.records().to_pyarrow(compat=True)
        found = sorted(zip(*(table[key].to_pylist() for key in ("message", "seq")), strict=True))
        assert found == [(f"{line} {n}", n) for line in lines for n in (1, 2, 3)], (name, found)
        numbers = set(table["owner"].to_pylist())
        assert len(numbers) == processes, (name, numbers)
        assert sum(row["count"] for row in domain.counts_rows()) == 3 * processes, name
        assert not domain.problems(), (name, domain.problems())
    (path,) = domains.store_paths(str(directory))
    with domains.Store.open(path) as store:
        # Else the next two processes would be these two once more.
        assert store.registry.load(schema.REGISTRY.offset["incarnation_next"]) > max(numbers)
    shutil.rmtree(directory)


def at_moments_unseen(ledger: Ledger, rng: random.Random, which: int | str) -> None:
    """The same with a pure core that does not look whether it was forked in the middle."""
    from faultplane._pure import memory

    forget = memory.forget_parent

    def unseen() -> None:
        forget()
        memory.forks = 0

    memory.forget_parent = unseen
    at_moments(ledger, rng, which)


def mappings() -> int:
    """Lines of the map of this process that are files of a store."""
    with open("/proc/self/maps") as file:
        return sum("/1-" in line for line in file)


def leaks(ledger: Ledger, rng: random.Random, forks: int, depth: int) -> None:
    """Fork many times in a row, and child from child; what each process has open and mapped."""
    del rng
    fp.init(service="fork")
    me = Worker(ledger, 0)
    me.record(10)
    before = owner()
    seen = set()
    for k in range(forks):
        fresh = Worker(ledger, 1 + k)
        wait(child(os.fork, lambda fresh=fresh: fresh.record(1)))
        me.record(1)
        if k >= forks // 10:
            seen.add((len(descriptors()), mappings()))
    assert owner() == before
    said, say = os.pipe()

    def generation(level: int) -> None:
        fresh = Worker(ledger, 1 + forks + level)
        fresh.record(1)
        os.write(say, b"%d %d\n" % (len(descriptors()), mappings()))
        if level < depth:
            wait(child(os.fork, lambda: generation(level + 1)))

    wait(child(os.fork, lambda: generation(0)))
    os.close(say)
    with open(said) as file:
        chain = [tuple(map(int, line.split())) for line in file]
    assert len(chain) == depth + 1
    print(sorted(seen), sorted(set(chain[2:])), sep="\n")


def beside(ledger: Ledger, rng: random.Random, times: int) -> None:
    """Start other programs (vfork, posix_spawn, fork and exec): the slot and its lock stay ours."""
    fp.init(service="fork")
    before = owner()
    me = Worker(ledger, 0)
    maintain = "import faultplane as fp; fp.init(service='other')"
    for k in range(times):
        me.record(rng.randrange(1, 20))
        subprocess.run(["true"], check=True, close_fds=bool(k % 2))
        pid = os.posix_spawn("/bin/true", ["true"], os.environ)
        wait(pid)
        fresh = Worker(ledger, Ledger.claim(sys.argv[2]))
        subprocess.run(["true"], check=True, preexec_fn=lambda fresh=fresh: fresh.record(2))
        if k % 8 == 0:
            # Joins, and so maintains: whoever it takes for dead is buried.
            subprocess.run([sys.executable, "-c", maintain], check=True)
    assert owner() == before
    with fp.attach() as domain:
        states = {row["incarnation"]: row["state"] for row in domain.owners_rows()}
    assert states[before[1]] == "live", states


def until_full(ledger: Ledger, rng: random.Random, how: str) -> None:
    """Fork while the file system is full: nobody has rows, everybody counts."""
    fp.init(service="fork")
    me = Worker(ledger, 0)
    filler = Path(os.environ["FAULTPLANE_DIR"]) / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass
    me.record(3_000)
    for k in range(4):
        fresh = Worker(ledger, 1 + k)
        wait(child(FORKS[how], lambda fresh=fresh: fresh.record(rng.randrange(1, 50))))
    me.record(1)
    filler.unlink()
    for k in range(4):
        fresh = Worker(ledger, 5 + k)
        wait(child(FORKS[how], lambda fresh=fresh: fresh.record(rng.randrange(1, 50))))


_mine: dict[int, Worker] = {}


def worker(path: str) -> Worker:
    """The worker of this process, by whatever way it came to be."""
    if os.getpid() not in _mine:
        _mine[os.getpid()] = Worker(Ledger(path), Ledger.claim(path))
    return _mine[os.getpid()]


def task(path: str) -> int:
    """What a process of a pool does."""
    fp.init(service="fork")
    me = worker(path)
    me.record(3)
    me.capture()
    return os.getpid()


def pools(ledger: Ledger, rng: random.Random, method: str, tasks: int) -> None:
    """Pools and single processes of multiprocessing; workers are replaced every few tasks."""
    del ledger, rng
    path = sys.argv[2]
    context = multiprocessing.get_context(method)
    fp.init(service="fork")
    worker(path).record(5)
    before = owner()
    with context.Pool(3, maxtasksperchild=2) as pool:
        pids = set(pool.map(task, [path] * tasks, chunksize=1))
        pool.close()
        pool.join()
    singles = [context.Process(target=task, args=(path,)) for _ in range(3)]
    for one in singles:
        one.start()
    for one in singles:
        one.join()
        assert one.exitcode == 0
    worker(path).record(5)
    assert owner() == before and len(pids) >= 2


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application whose every request fails twice; loaded before the workers are forked."""
    del environ
    me = worker(os.environ["LEDGER"])
    me.record()
    me.capture()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


if "LEDGER" in os.environ:
    # Preloaded: the process that forks the workers is an owner, and has written part of a lane.
    fp.init(service="fork")
    worker(os.environ["LEDGER"]).record(3)


def main() -> None:
    """``fork_programs.py PROGRAM LEDGER SEED ARGUMENT…``: numbers are numbers."""
    name, path, seed, *rest = sys.argv[1:]
    values = [int(word) if word.isdigit() else word for word in rest]
    globals()[name](Ledger(Path(path)), random.Random(int(seed)), *values)
    assert fp.core == core.NAME


if __name__ == "__main__":
    main()
