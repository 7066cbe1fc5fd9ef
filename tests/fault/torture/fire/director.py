"""Who decides, from a seed, which process is killed or stopped next, and starts others instead.

All processes of a domain are forked by the director. It writes to no store, and is their reaper.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from faultplane.errors import FaultplaneError
from faultplane.store.domain import Store, store_paths

from . import ledger, readers, roles, witness
from .found import Found
from .ledger import Ledger
from .roles import Orders

SET_CHILD_SUBREAPER = 36
SET_DEATH_SIGNAL = 1
STALLED_SECONDS = 60
STOP_SECONDS_MAX = 3.0
NEVER_UNDER_FIRE = ("witness", "burner")
# How often a process is hit, compared with others.
WEIGHTS = {"maintainer": 3, "poller": 2, "follower": 2, "scanner": 2}
ROLES: dict[str, Callable[[Orders, Ledger, random.Random], None]] = {
    "maintainer": roles.maintainer,
    "burner": roles.burner,
    "poller": readers.poller,
    "follower": readers.follower,
    "scanner": readers.scanner,
    "witness": witness.witness,
}


@dataclass(frozen=True)
class Plan:
    """What is to happen to one domain: rows to record, processes to kill, processes to stop."""

    rows: int
    kills: int
    stops: int
    cast: dict[str, int]


@dataclass
class Process:
    """A process, and when it is woken up if it is stopped.

    ``is_forked``: by a worker, whose child it is; the director knows it while it is stopped.
    """

    pid: int
    role: str
    worker: int = 0
    wake_at: float = 0.0
    wake_segment: int = 0
    is_forked: bool = False


class Director:
    """Runs one domain from its first writer to the last."""

    def __init__(self, orders: Orders, book: Ledger, plan: Plan) -> None:
        self.orders, self.book, self.plan = orders, book, plan
        self.chance = orders.chance("director")
        self.found = Found()
        self.processes: dict[int, Process] = {}
        self._killed: set[int] = set()
        self._next_worker = 1
        self._serial = 0
        self._store: Store | None = None
        # Grandchildren, whose parent was killed, are reaped here too.
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    # ------------------------------------------------------------------------------- starting

    def start(self, role: str) -> None:
        """Fork a process of that role."""
        self._serial += 1
        worker = 0
        if role == "writer":
            worker = self._next_worker
            if worker + roles.NUMBERS_EACH > self.book.workers:
                raise RuntimeError(f"more than {self.book.workers} workers")
            self._next_worker += roles.NUMBERS_EACH
        director = os.getpid()
        pid = os.fork()
        if pid == 0:
            _end_with(director)
            faulthandler.register(signal.SIGUSR1)
            self._become(role, worker)
        self.found.started += 1
        self.processes[pid] = Process(pid, role, worker)

    def _become(self, role: str, worker: int) -> None:
        try:
            chance = self.orders.chance(f"{role}:{self._serial}")
            if role == "writer":
                roles.Writer(self.orders, self.book, worker, chance).run()
            else:
                ROLES[role](self.orders, self.book, chance)
        except BaseException:  # whatever it is, the director's code must not go on here
            roles.complain(self.orders, role, traceback.format_exc().splitlines()[-6:])
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(readers.EXIT_WRONG)

    def _fill(self) -> None:
        """Start those who are missing."""
        there = dict.fromkeys(self.plan.cast, 0)
        for process in self.processes.values():
            there[process.role] += not process.is_forked
        for role, wanted in self.plan.cast.items():
            for _ in range(wanted - there[role]):
                self.start(role)

    # ------------------------------------------------------------------------------ directing

    def run(self) -> None:
        """Until rows, kills and stops are as planned; then let everybody come to an end."""
        try:
            self._direct()
            self._end()
        finally:
            self.book.set(0, ledger.STOP, 1)
            self.book.set(0, ledger.DRAIN, 1)
            for pid in self.processes:
                _signal(pid, signal.SIGKILL)
            if self._store is not None:
                self._store.close()

    def _direct(self) -> None:
        plan, found = self.plan, self.found
        events = plan.kills + plan.stops
        done = 0
        due = 0.0
        last, moved_at = 0, time.monotonic()
        while True:
            self._reap()
            self._wake()
            self._fill()
            rows = self.book.total(ledger.RECORDED)
            if rows != last:
                last, moved_at = rows, time.monotonic()
            if time.monotonic() - moved_at > STALLED_SECONDS:
                found.wrong.append(f"stalled: no record for {STALLED_SECONDS} s at {rows:,}")
                self._ask_where()
                break
            left = plan.kills - found.kills, plan.stops - found.stops
            if left[0] <= 0 and left[1] <= 0 and rows >= plan.rows:
                break
            if sum(left) > 0 and rows >= due and self._strike(*left):
                done += 1
                due = plan.rows * (done + self.chance.random()) / events
            time.sleep(0.0005)  # what it looks for is in shared memory, which wakes nobody

    def _strike(self, kills: int, stops: int) -> bool:
        """Kill or stop somebody; False when there was nobody."""
        kind = self.chance.choices(("kill", "stop"), (max(kills, 0), max(stops, 0)))[0]
        able = [p for p in self.processes.values() if p.role not in NEVER_UNDER_FIRE]
        able += self._forked(able)
        if kind == "stop":
            awake = [p for p in able if not p.wake_at]
            writers = sum(p.role == "writer" for p in awake)
            able = [p for p in awake if p.role != "writer" or writers > 1]
        if not able:
            return False
        process = self.chance.choices(able, [self._weight(p) for p in able])[0]
        try:
            return self._kill(process) if kind == "kill" else self._stop(process)
        except ProcessLookupError:
            return False

    def _weight(self, process: Process) -> int:
        """How likely a process is hit: a writer that has begun most of all."""
        if process.role == "writer":
            return 8 if self.book.get(process.worker, ledger.STATE) == ledger.WRITING else 1
        return WEIGHTS[process.role]

    def _forked(self, parents: list[Process]) -> list[Process]:
        """Workers that workers forked, as long as their parents live."""
        found: list[Process] = []
        for parent in parents:
            if parent.role != "writer":
                continue
            for n in range(self.book.get(parent.worker, ledger.CHILDREN)):
                number = parent.worker + n + 1
                pid = self.book.get(number, ledger.PID)
                alive = self.book.get(number, ledger.STATE) == ledger.WRITING
                if pid and alive and pid not in self.processes and pid not in self._killed:
                    found.append(Process(pid, "writer", number, is_forked=True))
        return found

    def _kill(self, process: Process) -> bool:
        os.kill(process.pid, signal.SIGKILL)
        self._killed.add(process.pid)
        self.found.kills += 1
        self.found.kills_of_stopped += process.wake_at > 0
        self.found.writers_killed += process.role == "writer"
        return True

    def _stop(self, process: Process) -> bool:
        """Stop a process: for moments, until the ring has turned over, or for a second and more."""
        os.kill(process.pid, signal.SIGSTOP)
        self.found.stops += 1
        drawn, seconds = self.chance.random(), 0.0
        if drawn < 0.6:
            seconds = self.chance.random() * 0.005
        elif drawn < 0.8:
            seconds = self.chance.random() * 0.1
        elif drawn < 0.95:
            seconds = STOP_SECONDS_MAX
            process.wake_segment = self._segment() + self._segments_max() + 2
            self.found.stops_past_the_ring += 1
        else:
            seconds = 1.1 + self.chance.random() * 0.4
            self.found.stops_past_a_second += 1
        process.wake_at = time.monotonic() + seconds
        self.processes[process.pid] = process
        return True

    def _opened(self) -> Store | None:
        if self._store is None:
            try:
                self._store = Store.open(store_paths(self.orders.path)[0])
            except (FaultplaneError, OSError, IndexError):
                return None
        return self._store

    def _segment(self) -> int:
        store = self._opened()
        return store.load("segment_newest") if store else 0

    def _segments_max(self) -> int:
        store = self._opened()
        return store.header.segments_max if store else 0

    def _wake(self, everybody: bool = False) -> None:
        now, newest = time.monotonic(), self._segment()
        for process in list(self.processes.values()):
            turned = process.wake_segment and newest >= process.wake_segment
            if process.wake_at and (everybody or turned or now >= process.wake_at):
                process.wake_at = process.wake_segment = 0
                _signal(process.pid, signal.SIGCONT)
                if process.is_forked:
                    del self.processes[process.pid]  # its parent looks after it

    # --------------------------------------------------------------------------------- ending

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self.processes.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            self.found.refused += code == roles.EXIT_REFUSED
            expected = code in (0, 7, roles.EXIT_REFUSED) or pid in self._killed
            if not expected:
                role = process.role if process else "forked writer"
                self.found.wrong.append(f"died: a {role} ended with {code}")

    def _end(self) -> None:
        """First the writers, then those who look at what they wrote, to the end."""
        self._wake(everybody=True)
        self.book.set(0, ledger.STOP, 1)
        self._wait(lambda: not self._has("writer") and not self._orphans())
        self.book.set(0, ledger.DRAIN, 1)
        self._wait(lambda: not self.processes)
        for name in ("poller", "follower"):
            if name in self.plan.cast and not readers.read_state(self.orders, name)["over"]:
                self.start(name)
        self._wait(lambda: not self.processes)

    def _has(self, role: str) -> bool:
        return any(process.role == role for process in self.processes.values())

    def _orphans(self) -> list[int]:
        """Workers that others forked and that are still there."""
        states = self.book.table[1:, ledger.STATE]
        numbers = (1 + (states == ledger.WRITING).nonzero()[0]).tolist()
        pids = [self.book.get(number, ledger.PID) for number in numbers]
        return [pid for pid in pids if pid not in self._killed and _is_running(pid)]

    def _ask_where(self) -> None:
        """Have everybody who is left say on standard error where he is.

        Nothing tells when they have: the run has failed, and gives them a second.
        """
        for pid in [*self.processes, *self._orphans()]:
            _signal(pid, signal.SIGUSR1)
        time.sleep(1)

    def _wait(self, over: Callable[[], bool]) -> None:
        until = time.monotonic() + STALLED_SECONDS
        while not over():
            self._reap()
            self._wake(everybody=True)
            if time.monotonic() > until:
                left = sorted(process.role for process in self.processes.values())
                left += [f"forked writer {pid}" for pid in self._orphans()]
                self.found.wrong.append(f"stalled: {', '.join(left)} did not end")
                self._ask_where()
                for pid in [*self.processes, *self._orphans()]:
                    _signal(pid, signal.SIGKILL)
                    self._killed.add(pid)
                until += STALLED_SECONDS
            time.sleep(0.001)


def _signal(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _end_with(parent: int) -> None:
    """Be killed when the director is; what it forked must not go on without it."""
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(readers.EXIT_WRONG)


def _is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that its parent has not looked at."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
