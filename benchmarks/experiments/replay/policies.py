"""What decides on a retry: the library's own code, at the time that it is in the replay."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import faultplane as fp
from benchmarks.experiments.replay.errors import MAKERS
from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.resilience import policy
from faultplane.resilience.clock import Clock
from faultplane.resilience.dependency import Asked
from faultplane.store import control, files

_LEASES = layout.CONTROL_CELL.size + layout.LEASE.size
_START_MS = 1_000_000


class _Time(Clock):
    """The time of the replay, and its dice."""

    def __init__(self, seed: int) -> None:
        self.seconds = 0.0
        self._dice = random.Random(seed)

    @property
    def ms(self) -> int:
        """As cells have it."""
        return _START_MS + int(1000 * self.seconds)

    def now(self) -> float:
        return self.seconds

    def random(self) -> float:
        return self._dice.random()


class _Cell:
    """A cell that is asked at the time of the replay."""

    def __init__(self, cell: Any, clock: _Time) -> None:
        self._cell, self._clock = cell, clock
        self.retry_micros = cell.retry_micros

    def retries_of_kind(self, kind: int) -> Any:
        return self._cell.retries_of_kind(kind, self._clock.ms)

    def retries_of_type(self, tag: int) -> Any:
        return self._cell.retries_of_type(tag, self._clock.ms)


class Policy:
    """A `Retry` and a cell of its own."""

    def __init__(self, retry: fp.Retry, seed: int) -> None:
        self._retry = retry
        self._clock = _Time(seed)
        memory = core.Mapping.anonymous(_LEASES + layout.LEASE.size)
        control.configure(memory, 0, policy.config(retry, None, None), files.forks)
        self._cell = core.Cell(
            lambda cell: cell.use(memory, 0, _LEASES, 1, layout.CONTROL_CELL.size, 0, 1)
        )
        place: Any = SimpleNamespace(reclaim=None)
        self._asked = Asked(place, retry, self._clock, _Cell(self._cell, self._clock))
        self._learns = retry.adaptive or retry.learn is not None
        self._errors = {name: make() for name, make in MAKERS.items()}
        self._answers = {name: fp.classify(error) for name, error in self._errors.items()}

    def at(self, seconds: float) -> None:
        """It is that time now."""
        self._clock.seconds = seconds

    def begun(self) -> None:
        """A call is tried for the first time."""
        if self._retry.budget is not None:
            self._cell.deposit(self._clock.ms)

    def ended(self, reason: int, helped: bool, took: float) -> None:
        """A retry has ended that was made for that reason."""
        if self._learns and reason:
            micros = int(took * 1e6) if helped else 0
            self._cell.retried(reason, helped, micros, self._clock.ms)

    def failed(self, name: str, attempt: int, previous: float) -> tuple[float, int]:
        """Seconds until the next try, less than 0 where there is none; and what it is for.

        The steps of `Guard`, which times its calls by the clock of the machine.
        """
        error, answer = self._errors[name], self._answers[name]
        on = self._retry.caught
        if not (answer.retryable if on is None else isinstance(error, on)):
            return -1.0, 0
        if attempt >= self._retry.attempts:
            return -1.0, 0
        wait = self._asked.delay(error, answer, attempt, previous)
        if wait < 0.0:
            return -1.0, 0
        reason = self._asked.reason(error, answer) if self._learns else 0
        if self._retry.budget is not None and not self._cell.hold(self._clock.ms):
            return -1.0, 0
        return wait, reason

    def sent(self) -> bool:
        """A retry goes out; False where nothing is left to pay for it."""
        return self._retry.budget is None or bool(self._cell.send())
