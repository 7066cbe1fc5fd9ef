"""Traffic for the demo: a fixed number of clients, one ledger of what was asked and answered."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Self

MODES: Final = ("ok", "refused", "reset", "slow", "busy", "truncated", "tls", "dns")
_WEIGHTS: Final = (6, 3, 2, 1, 3, 2, 1, 1)
ANSWER_SECONDS_MAX: Final = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; ``said`` is empty unless it is what was asked for."""

    status: int
    said: dict[str, Any]


class Load:
    """``clients`` threads that send requests until stopped.

    ``injected`` counts requests by the failure they ask for, before they are sent;
    ``acknowledged`` counts answers that say the failure was recorded. ``broken`` counts requests
    whose connection broke, ``unexpected`` those that were answered by something else, by status.
    ``seed`` decides the order.
    """

    def __init__(self, port: int, clients: int, seed: int) -> None:
        """Aim at a port of loopback."""
        self.injected: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.kinds: dict[str, str] = {}
        self.broken = 0
        self.unexpected: Counter[int] = Counter()
        self._port = port
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(self._chance(seed + i),), daemon=True)
            for i in range(clients)
        ]

    def __enter__(self) -> Self:
        """Start the clients."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every client finish the request it is at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS_MAX)

    @staticmethod
    def _chance(seed: int) -> random.Random:
        return random.Random(seed)  # noqa: S311 - the order of failures is no secret

    def _run(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            (mode,) = chance.choices(MODES, _WEIGHTS)
            if mode != "ok":
                with self._lock:
                    self.injected[mode] += 1
            answer = ask(self._port, f"/charge?mode={mode}")
            with self._lock:
                if answer is None:
                    self.broken += 1
                elif not answer.said:
                    self.unexpected[answer.status] += 1
                elif (recorded := answer.said.get("recorded")) is not None:
                    self.acknowledged[recorded] += 1
                    self.kinds[recorded] = answer.said["kind"]
            self._stop.wait(0.002)


def ask(port: int, path: str, seconds: float = ANSWER_SECONDS_MAX) -> Answer | None:
    """One request; None when the connection broke before the answer was whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    try:
        return Answer(response.status, json.loads(body) if response.status == 200 else {})
    except ValueError:
        return Answer(response.status, {})


def somebody_at_work(port: int) -> int | None:
    """Process id of a worker that is in the middle of a request, and stays there a while."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", "/linger")
        return int(json.loads(connection.getresponse().readline())["pid"])
    except (OSError, http.client.HTTPException, ValueError):
        return None
