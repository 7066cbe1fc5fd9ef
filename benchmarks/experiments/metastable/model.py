"""What is simulated: the server, its clients, what goes wrong, and what clients do about it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

BIN_SECONDS = 0.1
"""What is counted is counted for each tenth of a second."""

CLIENTS_MAX = 64
RATE_MAX = 5_000.0
SECONDS_MAX = 3_600.0


@dataclass(frozen=True)
class Setup:
    """Numbers of one run. Times are seconds, rates are requests a second.

    The server answers ``capacity`` requests a second, in order, and keeps ``queue_max`` that wait;
    one more is told at once that it is busy. It does not know which of them a client still waits
    for. ``clients`` processes send ``load`` of that capacity together, as a Poisson process that
    does not slow down when answers are late; each try is given up after ``timeout``. After
    ``window`` seconds comes the trigger, for ``trigger_windows`` times as long, and then ``after``
    seconds are watched. The breaker's window and open time are ``window``; each time that probes
    fail it is open ``open_factor`` times as long, ``open_windows_max`` windows at most. Both are
    those of `Breaker`, to scale.
    """

    capacity: float = 200.0
    queue_max: int = 400
    load: float = 0.7
    clients: int = 6
    attempts: int = 3
    timeout: float = 0.5
    window: float = 5.0
    trigger_windows: float = 1.0
    open_factor: float = 2.0
    open_windows_max: float = 10.0
    after: float = 25.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("capacity", 10.0, RATE_MAX),
            ("load", 0.05, 0.95),
            ("timeout", 0.05, 60.0),
            ("window", 1.0, 300.0),
            ("trigger_windows", 0.1, 20.0),
            ("open_factor", 1.0, 10.0),
            ("open_windows_max", 1.0, 100.0),
            ("after", 1.0, SECONDS_MAX),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value!r}")
        for name, least, most in (
            ("queue_max", 1, 100_000),
            ("clients", 1, CLIENTS_MAX),
            ("attempts", 1, 10),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be {least} to {most}, got {value!r}")

    @property
    def base(self) -> float:
        """Requests a second of all clients together, when nothing is wrong."""
        return self.capacity * self.load

    @property
    def trigger(self) -> tuple[float, float]:
        """When the trigger begins and ends, from the start."""
        return self.window, self.window * (1 + self.trigger_windows)

    @property
    def end(self) -> float:
        """When the last request is made."""
        return self.trigger[1] + self.after

    @property
    def bins(self) -> int:
        """Tenths of a second that are counted."""
        return math.ceil(self.end / BIN_SECONDS)

    def bin_at(self, seconds: float) -> int:
        """Which one counts what happens then; one past the last for all that comes later."""
        return min(int(max(seconds, 0.0) / BIN_SECONDS), self.bins)

    @property
    def limit(self) -> int:
        """Calls under way at once that use half of the capacity if all of them time out."""
        return max(1, round(self.capacity * self.timeout / 2))

    def with_seed(self, seed: int) -> Setup:
        """The same with another seed."""
        return replace(self, seed=seed)

    def described(self) -> dict[str, float]:
        """As plain values by name."""
        return asdict(self)


@dataclass(frozen=True)
class Scenario:
    """What goes wrong for one window; what is 1 or 0 is as ever."""

    name: str
    title: str
    capacity_factor: float = 1.0
    arrival_factor: float = 1.0
    late: float = 0.0
    """Timeouts that each answer comes late, without taking anything of the capacity."""
    error_rate: float = 0.0
    is_down: bool = False


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("capacity", "a quarter of the capacity", capacity_factor=0.25),
        Scenario("burst", "three times the arrivals", arrival_factor=3.0),
        Scenario("slow", "answers come two timeouts late", late=2.0),
        Scenario("outage", "connections are refused", is_down=True),
        Scenario("errors", "six of ten answers are errors", error_rate=0.6),
    )
}


@dataclass(frozen=True)
class Mode:
    """What clients do: retries, and which of the mechanisms; shared by all of them or not."""

    name: str
    title: str
    retries: bool = True
    budget: bool = False
    breaker: bool = False
    bulkhead: bool = False
    shared: bool = True


MODES = {
    one.name: one
    for one in (
        Mode("none", "no retries", retries=False),
        Mode("retries", "retries alone"),
        Mode("budget", "retries, budget", budget=True),
        Mode("breaker", "retries, breaker", breaker=True),
        Mode("bulkhead", "retries, bulkhead", bulkhead=True),
        Mode("both", "retries, budget, breaker", budget=True, breaker=True),
        Mode("all", "retries, budget, breaker, bulkhead", budget=True, breaker=True, bulkhead=True),
        Mode("budget-apart", "retries, a budget for each process", budget=True, shared=False),
        Mode(
            "both-apart", "retries, both for each process", budget=True, breaker=True, shared=False
        ),
    )
}
"""By name. The last two are what libraries do whose state is the process's own."""
