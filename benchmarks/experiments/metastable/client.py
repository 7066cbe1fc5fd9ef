"""A client in a process of its own: requests come whether or not the last was answered."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from collections import Counter

import faultplane as fp
from benchmarks.experiments.metastable.model import BIN_SECONDS, Mode, Scenario, Setup
from benchmarks.experiments.metastable.server import ANSWER, BUSY, OK, REQUEST, told

NAME = "backend"
COUNTED = ("arrivals", "tries", "answered", "goodput", "open")
READY_SECONDS = 60.0
DRAIN_SECONDS = 15.0
READ_BYTES = 1 << 16


class Link:
    """One connection to the server for all requests of this process; made again when it is lost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._partial = b""
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._numbers = 0

    async def ask(self) -> None:
        """One request; raises ConnectionError, also where the answer is one."""
        link = self._connected()
        self._numbers = number = (self._numbers + 1) % (1 << 32)
        answer = self._waiting[number] = self._loop.create_future()
        try:
            try:
                link.send(REQUEST.pack(number))
            except OSError as error:
                self.close()
                raise ConnectionResetError("the server is gone") from error
            status = await answer
        finally:
            self._waiting.pop(number, None)
        if status != OK:
            raise ConnectionError("the server is busy" if status == BUSY else "the server failed")

    def _connected(self) -> socket.socket:
        if self._socket is None:
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(self._path)  # of this host: it is there or it is refused, at once
            except OSError:
                link.close()
                raise
            link.setblocking(False)
            self._loop.add_reader(link, self._read)
            self._socket = link
        return self._socket

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        data = self._partial + data
        whole = len(data) - len(data) % ANSWER.size
        self._partial = data[whole:]
        for number, status in ANSWER.iter_unpack(data[:whole]):
            answer = self._waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_result(status)

    def close(self) -> None:
        """Everybody who waits is told that the connection is lost."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket, self._partial = None, b""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the server is gone"))


def dependency(setup: Setup, mode: Mode) -> fp.Dependency:
    """What guards the server: the defaults of each policy, with the window of this run."""
    retry = None
    if mode.retries:
        retry = fp.Retry(attempts=setup.attempts, budget=fp.RetryBudget() if mode.budget else None)
    breaker = None
    if mode.breaker:
        breaker = fp.Breaker(
            window=setup.window,
            open_for=setup.window,
            open_factor=setup.open_factor,
            open_max=setup.open_windows_max * setup.window,
        )
    return fp.Dependency(
        NAME,
        retry=retry,
        breaker=breaker,
        limit=setup.limit if mode.bulkhead else None,
        timeout=setup.timeout,
        scope="host" if mode.shared else "process",
    )


def arrivals(setup: Setup, scenario: Scenario, index: int) -> list[float]:
    """When this client's requests come, from the start: the same for every mode."""
    chance = random.Random(f"{setup.seed} client {index}")
    begin, end = setup.trigger
    found: list[float] = []
    for since, until, factor in (
        (0.0, begin, 1.0),
        (begin, end, scenario.arrival_factor),
        (end, setup.end, 1.0),
    ):
        rate = setup.base / setup.clients * factor
        now = since + chance.expovariate(rate)
        while now < until:
            found.append(now)
            now += chance.expovariate(rate)
    return found


class Client:
    """Makes its requests, and counts what becomes of them."""

    def __init__(self, link: Link, guard: fp.Dependency, setup: Setup, start: float) -> None:
        self._link, self._guard, self._setup, self._start = link, guard, setup, start
        self.counts = {name: [0] * (setup.bins + 1) for name in COUNTED}
        self.errors: Counter[str] = Counter()
        self.late_max = 0.0
        self._guarded = guard(self._try)

    def _bin(self, now: float) -> int:
        return self._setup.bin_at(now - self._start)

    async def _try(self) -> None:
        self.counts["tries"][self._bin(time.monotonic())] += 1
        await self._link.ask()

    async def _request(self) -> None:
        # By when it is made, not by when it was due: its first try is counted at the same time.
        arrived = self._bin(time.monotonic())
        self.counts["arrivals"][arrived] += 1
        try:
            await self._guarded()
        except (fp.errors.Rejected, TimeoutError, ConnectionError) as error:
            self.errors[type(error).__name__] += 1
            return
        self.counts["answered"][arrived] += 1
        self.counts["goodput"][self._bin(time.monotonic())] += 1

    async def run(self, times: list[float]) -> None:
        """All requests, to the end of the last."""
        tasks: set[asyncio.Task[None]] = set()
        watching = asyncio.create_task(self._watch())
        for at in times:
            due = self._start + at
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.late_max = max(self.late_max, time.monotonic() - due)
            task = asyncio.create_task(self._request())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(set(tasks), timeout=DRAIN_SECONDS)
        if tasks:
            raise RuntimeError(f"{len(tasks)} requests have no end after {DRAIN_SECONDS:g} s")
        watching.cancel()

    async def _watch(self) -> None:
        """Note in which tenths of a second the breaker was not closed."""
        states = self.counts["open"]
        for index in range(self._setup.bins):
            wait = self._start + index * BIN_SECONDS - time.monotonic()
            await asyncio.sleep(max(wait, 0.0))
            if self._guard.breaker is not None:
                states[index] = int(self._guard.state != "closed")


async def _run(control, path: str, index: int, setup: Setup, scenario: Scenario, mode: Mode):
    times = arrivals(setup, scenario, index)
    link = Link(path)
    guard = dependency(setup, mode)
    # Beforehand: the server answers, however long a busy machine takes, and the cell is joined.
    async with asyncio.timeout(READY_SECONDS):
        await link.ask()
    await guard.acall(asyncio.sleep, 0)
    control.send("ready")
    client = Client(link, guard, setup, told(control))
    try:
        await client.run(times)
    finally:
        link.close()
    return {
        **client.counts,
        "errors": dict(client.errors),
        "late_max": client.late_max,
        "shared": guard.shared,
    }


def send(control, path: str, directory: str, index: int, *what) -> None:
    """The process: says "ready", is told the start, and gives its counts at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    fp.init(service="metastable", directory=directory)
    random.seed(f"{what[0].seed} jitter {index}")
    control.send(asyncio.run(_run(control, path, index, *what)))
