"""Who is under fire: processes that write, that maintain, and that take the processor away."""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import resource
import signal
import time
from dataclasses import dataclass

import faultplane
from faultplane._backend import CORE_NAME
from faultplane.store import lifecycle, maintain

from . import content, ledger
from .ledger import Ledger

FORKS_MAX = 6
"""Workers that one may fork, each with a number of its own behind its parent's."""
NUMBERS_EACH = FORKS_MAX + 1
EXIT_REFUSED = 3
CALLS_AT_ONCE = 64


@dataclass(frozen=True)
class Orders:
    """What all processes of one domain are told: its name and place, the seed, who may starve.

    ``ahead`` is how many rows writers may be ahead of the poller, so that it sees nearly all; 0
    for as many as they can, so that segments are retired under everybody's feet.
    """

    domain: str
    directory: str
    seed: int
    starve: bool
    ahead: int

    @property
    def path(self) -> str:
        """The domain's directory."""
        return os.path.join(self.directory, self.domain)

    def chance(self, name: str) -> random.Random:
        """The random source of one process."""
        return random.Random(f"{self.seed}:{self.domain}:{name}")


class Writer:
    """A worker: it records, counts, acknowledges, forks, starves and ends, as chance has it."""

    def __init__(self, orders: Orders, book: Ledger, worker: int, chance: random.Random) -> None:
        self.orders, self.book, self.worker, self.chance = orders, book, worker, chance
        self.last = worker + FORKS_MAX
        self.said = 0
        self.added = 0
        self.starving = False

    def run(self) -> None:
        """Register and work; never returns."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.book.set(self.worker, ledger.PID, os.getpid())
        self.book.set(self.worker, ledger.STATE, ledger.STARTED)
        if self.chance.random() < 0.1:
            os.nice(self.chance.randrange(1, 20))
        if self.chance.random() < 0.05:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        faultplane.init(domain=self.orders.domain, directory=self.orders.directory)
        self.work()

    def work(self) -> None:
        """Record until told to stop, or for as long as chance gives; never returns."""
        status = lifecycle.status()
        if not status.bound:
            self.book.set(self.worker, ledger.STATE, ledger.REFUSED)
            os._exit(EXIT_REFUSED)
        self.book.set(self.worker, ledger.INCARNATION, status.incarnation)
        self.book.set(self.worker, ledger.STATE, ledger.WRITING)
        rounds = int(self.chance.expovariate(1 / 1500)) + 1
        add = faultplane.counter("calls").add
        recorded = self.worker * ledger.WORDS + ledger.RECORDED
        added = recorded - ledger.RECORDED + ledger.ADDED
        words, record, write = self.book.words, faultplane.record, content.write
        base = content.number_of(self.worker, 0)
        while rounds and not words[ledger.STOP]:
            rounds -= 1
            for n in range(self.said + 1, self.said + CALLS_AT_ONCE + 1):
                write(record, base | n)
                words[recorded] = n
            self.said = n
            add(3)
            self.added += 3
            words[added] = self.added
            self._happen()
        self._leave()

    def _leave(self) -> None:
        """End in one of the ways there are."""
        if self.chance.random() < 0.2:
            os._exit(7)  # without a word: a death
        self.book.set(self.worker, ledger.STATE, ledger.LEAVING)
        atexit._run_exitfuncs()
        self.book.set(self.worker, ledger.STATE, ledger.LEFT)
        os._exit(0)

    # ------------------------------------------------------------------------- what may happen

    def _happen(self) -> None:
        drawn = self.chance.random()
        if self.orders.ahead:
            self._wait_for_the_poller()
        if drawn < 0.002:
            self._fork()
        elif self.orders.starve and drawn < (0.1 if self.starving else 0.003):
            self._starve()
        elif drawn < 0.006:
            time.sleep(self.chance.random() * 0.02)  # so that others overtake it

    def _wait_for_the_poller(self) -> None:
        words = self.book.words
        while self.book.total(ledger.RECORDED) - words[ledger.ROWS_READ] > self.orders.ahead:
            if words[ledger.STOP]:
                return
            time.sleep(0.001)

    def _fork(self) -> None:
        """A child goes on as a worker of its own, and its parent too."""
        if self.worker >= self.last:
            return
        taken = self.book.get(self.worker, ledger.CHILDREN)
        number = self.worker + taken + 1
        if number > self.last:
            return
        self.book.set(self.worker, ledger.CHILDREN, taken + 1)
        # The pure core looks for a fork that ran no handlers between chunks of rows only.
        unhandled = CORE_NAME == "cython" and self.chance.random() < 0.4
        if unhandled:
            taken = self.book.get(self.worker, ledger.FORKS_UNHANDLED)
            self.book.set(self.worker, ledger.FORKS_UNHANDLED, taken + 1)
        seed = self.chance.random()
        child = ctypes.PyDLL(None).fork() if unhandled else os.fork()
        if child:
            return
        # A child of a child would need a third number: it forks none.
        self.worker = self.last = number
        self.said = self.added = 0
        self.chance = random.Random(seed)
        self.book.set(number, ledger.PID, os.getpid())
        self.book.set(number, ledger.STATE, ledger.STARTED)
        if unhandled:
            faultplane.counter("forks").add()  # here it finds out, and registers
        self.work()

    def _starve(self) -> None:
        """No descriptor is to be had for a while, or there are some again."""
        self.book.set(self.worker, ledger.STARVED, 1)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.starving = not self.starving
        wanted = 3 if self.starving else min(hard, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def complain(orders: Orders, who: str, wrong: list[str]) -> None:
    """Leave what is wrong where the director finds it, whatever happens to this process."""
    if wrong:
        with open(os.path.join(orders.directory, f"wrong-{orders.domain}"), "a") as file:
            file.write("".join(f"{who}: {sentence}\n" for sentence in wrong[:20]))


def maintainer(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """Bury, fold, retire and prepare, again and again; never returns."""
    while not book.words[ledger.DRAIN]:
        try:
            reports = maintain.maintain(orders.path)
        except faultplane.errors.DomainNotFound:
            reports = []  # no writer has made it yet
        problems = [problem for r in reports for problem in r.problems]
        # In the pure core one that is stopped may hold a lock: what it stands in the way of waits.
        complain(orders, "maintainer", [p for p in problems if "was held for" not in p])
        time.sleep(chance.random() * 0.03)  # so that there is something to do again
    os._exit(0)


def burner(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """Take a processor away from the others, by turns; never returns."""
    while not book.words[ledger.STOP]:
        until = time.monotonic() + chance.random() * 0.05
        while time.monotonic() < until:
            pass
        time.sleep(chance.random() * 0.3)
    os._exit(0)
