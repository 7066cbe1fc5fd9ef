"""A simulated server: what it is asked costs it time, so retries are part of its trouble."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.experiments.replay.trace import Answer

TIMEOUT = 0.5


@dataclass(frozen=True)
class Mood:
    """How a server is at some time; what is 1 or 0 is as ever.

    ``error`` is what its failures are called, ``of_request`` whether the same requests fail when
    they are sent again.
    """

    capacity_factor: float = 1.0
    error_rate: float = 0.0
    is_down: bool = False
    error: str = "HTTPError 503"
    of_request: bool = False


WELL = Mood()


class Server:
    """Answers ``capacity`` requests a second in order, and keeps ``queue_max`` that wait.

    It works on what a client has given up, as it does not know. A client gives up after TIMEOUT.
    """

    def __init__(
        self, mood: Callable[[float], Mood], seed: int, capacity: float = 40.0, queue_max: int = 80
    ) -> None:
        self._mood, self._capacity, self._queue_max = mood, capacity, queue_max
        self._dice = random.Random(seed)
        self._free_at = 0.0

    def answer(self, at: float) -> Answer:
        """What a request at that time gets; times do not go back."""
        mood = self._mood(at)
        if mood.is_down:
            return Answer(0.001, "ConnectionResetError")
        each = 1.0 / (self._capacity * mood.capacity_factor)
        waits = max(0.0, self._free_at - at)
        if waits >= self._queue_max * each:
            return Answer(0.001, "HTTPError 503")
        failed = self._dice.random() < mood.error_rate
        self._free_at = at + waits + each
        took = waits + each
        if took > TIMEOUT:
            return Answer(TIMEOUT, "TimeoutError")
        return Answer(took, mood.error if failed else "", failed and mood.of_request)
