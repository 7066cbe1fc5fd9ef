"""A server in a process of its own: one queue in order, a fixed rate, and no idea who has left.

What it serves takes no processor time: a request that began at ``t`` is over at ``t + 1 / rate``,
and a server that is woken late answers what is over by then. So a busy machine makes answers late
by as much as the process was kept waiting, which is measured, and takes nothing of the capacity.

Requests are 4 bytes, a number; answers are the number and a status, on a Unix socket.
"""

from __future__ import annotations

import heapq
import os
import random
import selectors
import signal
import socket
import struct
import time
from collections import deque
from contextlib import suppress

from benchmarks.experiments.metastable.model import Scenario, Setup

REQUEST = struct.Struct("<I")
ANSWER = struct.Struct("<IB")
OK, ERROR, BUSY = range(3)

READ_BYTES = 1 << 16
WAKE_SECONDS = 0.05
COUNTED = ("received", "refused", "served", "queue")


class Server:
    """The queue, and the sockets of the clients."""

    def __init__(self, path: str, setup: Setup, scenario: Scenario) -> None:
        self.path, self.setup, self.scenario = path, setup, scenario
        self.counts = {name: [0] * (setup.bins + 1) for name in COUNTED}
        self.late_max = 0.0
        self._random = random.Random(f"{setup.seed} server")
        self._queue: deque[tuple[socket.socket, int]] = deque()
        self._finish = 0.0  # of the first of the queue
        self._late: list[tuple[float, int, socket.socket, bytes]] = []
        self._sent = 0
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._partial: dict[socket.socket, bytes] = {}
        self._triggered = False
        self.start = float("inf")

    # --------------------------------------------------------------------------- sockets

    def listen(self) -> None:
        """Let clients connect."""
        listener = socket.socket(socket.AF_UNIX)
        # Renamed into place: whoever connects meanwhile is refused, as before.
        listener.bind(self.path + ".new")
        listener.listen(128)
        os.replace(self.path + ".new", self.path)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._listener = listener

    def _crash(self) -> None:
        """Refuse connections, and forget everything."""
        assert self._listener is not None
        for one in (self._listener, *self._partial):
            self._selector.unregister(one)
            one.close()
        self._listener = None
        self._partial.clear()
        self._queue.clear()
        self._late.clear()

    def _accept(self, listener: socket.socket, now: float) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._read)
        self._partial[connection] = b""

    def _read(self, connection: socket.socket, now: float) -> None:
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            self._partial.pop(connection)
            connection.close()
            return
        data = self._partial[connection] + data
        whole = len(data) - len(data) % REQUEST.size
        self._partial[connection] = data[whole:]
        for (number,) in REQUEST.iter_unpack(data[:whole]):
            self._receive(connection, number, now)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.send(data)
        except OSError:
            pass  # gone, or reads nothing: it times out there

    # ----------------------------------------------------------------------------- queue

    def _receive(self, connection: socket.socket, number: int, now: float) -> None:
        self._count("received", now)
        if len(self._queue) >= self.setup.queue_max:
            self._count("refused", now)
            self._send(connection, ANSWER.pack(number, BUSY))
            return
        if not self._queue:
            self._finish = now + self._service_seconds()
        self._queue.append((connection, number))

    def _service_seconds(self) -> float:
        factor = self.scenario.capacity_factor if self._triggered else 1.0
        return 1.0 / (self.setup.capacity * factor)

    def _serve(self, now: float) -> None:
        """Answer what is over by now, whether or not somebody waits for it."""
        wrong = self.scenario.error_rate if self._triggered else 0.0
        late = self.scenario.late * self.setup.timeout if self._triggered else 0.0
        while self._queue and self._finish <= now:
            connection, number = self._queue.popleft()
            status = ERROR if self._random.random() < wrong else OK
            answer = ANSWER.pack(number, status)
            if late:
                self._sent += 1
                heapq.heappush(self._late, (self._finish + late, self._sent, connection, answer))
            else:
                self._send(connection, answer)
            self._count("served", now)
            self._finish += self._service_seconds()
        while self._late and self._late[0][0] <= now:
            _, _, connection, answer = heapq.heappop(self._late)
            self._send(connection, answer)

    # ------------------------------------------------------------------------------ time

    def _bin(self, now: float) -> int:
        return self.setup.bin_at(now - self.start)

    def _count(self, name: str, now: float) -> None:
        self.counts[name][self._bin(now)] += 1

    def _change(self, now: float) -> None:
        begin, end = self.setup.trigger
        triggered = begin <= now - self.start < end
        if triggered == self._triggered:
            return
        self._triggered = triggered
        if self.scenario.is_down:
            if triggered:
                self._crash()
            else:
                self.listen()

    def _next(self, now: float) -> float:
        """When it has something to do again."""
        due = [now + WAKE_SECONDS]
        due += [self.start + edge for edge in self.setup.trigger if self.start + edge > now]
        if self._queue:
            due.append(self._finish)
        if self._late:
            due.append(self._late[0][0])
        return min(due)

    def run(self, control) -> None:
        """Serve until ``control``, a pipe, says something a second time; the first is the start."""
        self._selector.register(control, selectors.EVENT_READ)
        now = time.monotonic()
        limit = now + self.setup.end + 120.0
        while now < limit:
            wake = self._next(now)
            ready = self._selector.select(max(0.0, wake - now))
            now = time.monotonic()
            if not ready and self.start < now < self.start + self.setup.end:
                self.late_max = max(self.late_max, now - wake)
            # In the order in which they happened: what is over by now, then what has come since.
            self._change(now)
            self._serve(now)
            for key, _ in ready:
                if key.fileobj is control:
                    if self.start != float("inf"):
                        return
                    self.start = told(control)
                elif key.fileobj in self._partial or key.fileobj is self._listener:
                    key.data(key.fileobj, now)
            self.counts["queue"][self._bin(now)] = len(self._queue)


def told(control) -> float:
    """What whoever started this process says next; it is over where they are gone."""
    try:
        return control.recv()
    except (EOFError, ConnectionError):
        raise SystemExit(1) from None


def serve(control, path: str, setup: Setup, scenario: Scenario) -> None:
    """The process: says "ready", is told the start, and gives its counts when it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    server = Server(path, setup, scenario)
    server.listen()
    control.send("ready")
    server.run(control)
    with suppress(ConnectionError):  # nobody listens where the run was called off
        control.send({**server.counts, "late_max": server.late_max})
