"""Health: somebody asks a dependency now and then, and every process of the host knows the answer.

One process checks at a time: whoever is due first and gets the kernel's lock of that dependency,
which the kernel gives back when it dies, so that the next one to look goes on. No thread is started
unless that is asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import FaultplaneError, InvalidSetting
from faultplane.resilience.deadline import deadline, time_left
from faultplane.resilience.policy import SECONDS_MAX, number, whole
from faultplane.store import files

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency
    from faultplane.resilience.sharing import Place

RESULTS_MAX: Final = 1000
INTERVALS_KNOWN: Final = 3
"""After so many intervals without a check nothing is known any more."""
_TURNS: Final = 10
"""While another process has the turn, it is looked for so often in an interval."""
_WORD: Final = layout.CONTROL_CELL_HEALTH
_CHECKS: Final = layout.CONTROL_CELL_CHECKS
_FAILED: Final = layout.CONTROL_CELL_CHECKS_FAILED
_CHANGED: Final = layout.CONTROL_CELL_HEALTH_CHANGED
_WORD_MAX: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Health:
    """How a dependency is checked, and how many results in a row it takes to believe them.

    ``check`` is a function, or a coroutine function, without arguments. It fails by raising an
    exception, by giving False, and by taking longer than ``timeout`` seconds (0.001 to 86,400); a
    function sees that as its `time_left` and cannot be interrupted. Every ``interval`` seconds
    (0.01 to 86,400) one process of the host makes it. ``fall`` failures in a row make unhealthy
    what was healthy or unknown, ``rise`` good results in a row make it healthy again (each 1 to
    1,000); the first good one does where nothing is known.

    With ``opens``, each check that finds the dependency unhealthy and its breaker closed opens the
    breaker for its ``open_for``.

    >>> Health(lambda: True, rise=0)
    Traceback (most recent call last):
    faultplane.errors.InvalidSetting: rise must be a whole number from 1 to 1000, got 0
    """

    check: Callable[[], object]
    interval: float = 10.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
    opens: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        if not callable(self.check):
            raise InvalidSetting(f"check must be a function, got {self.check!r}")
        put = object.__setattr__
        put(self, "interval", number("interval", self.interval, 0.01, SECONDS_MAX))
        put(self, "timeout", number("timeout", self.timeout, 0.001, SECONDS_MAX))
        whole("rise", self.rise, 1, RESULTS_MAX)
        whole("fall", self.fall, 1, RESULTS_MAX)
        if not isinstance(self.opens, bool):
            raise InvalidSetting(f"opens must be True or False, got {self.opens!r}")

    @property
    def numbers(self) -> dict[str, float]:
        """What is declared of it: all but the function, whose name may be as long as it likes."""
        names = ("interval", "timeout", "rise", "fall", "opens")
        return {name: getattr(self, name) for name in names}


def next_word(word: int, is_good: bool, policy: Health, now_ms: int) -> int:
    """The word of the health after a result.

    >>> policy, word, found = Health(bool, rise=2, fall=2), 0, []
    >>> for is_good in (True, False, True, False, False, True, True):
    ...     word = next_word(word, is_good, policy, now_ms=5)
    ...     found.append(layout.HEALTH_STATES[word >> layout.HEALTH_STATE_SHIFT])
    >>> found[3:]
    ['healthy', 'unhealthy', 'unhealthy', 'healthy']
    """
    state = word >> layout.HEALTH_STATE_SHIFT
    against = word >> layout.HEALTH_STREAK_SHIFT & layout.HEALTH_STREAK_MASK
    if is_good:
        wanted, most = layout.HEALTH_GOOD, policy.rise if state == layout.HEALTH_BAD else 1
    else:
        wanted, most = layout.HEALTH_BAD, policy.fall
    against = 0 if state == wanted else against + 1
    if against >= most:
        state, against = wanted, 0
    return (
        state << layout.HEALTH_STATE_SHIFT
        | against << layout.HEALTH_STREAK_SHIFT
        | now_ms & layout.HEALTH_CHECKED_MASK
    )


def health_state(words: Sequence[int], policy: Health | None) -> str:
    """The state by name; "unknown" too where the last check is older than it may be."""
    word = words[_WORD]
    if policy is not None:
        known_seconds = INTERVALS_KNOWN * policy.interval + policy.timeout
        if _now_ms() - (word & layout.HEALTH_CHECKED_MASK) > 1000 * known_seconds:
            return layout.HEALTH_STATES[layout.HEALTH_UNKNOWN]
    code = word >> layout.HEALTH_STATE_SHIFT
    return layout.HEALTH_STATES[code if code < len(layout.HEALTH_STATES) else 0]


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Checked:
    """The health checks of one dependency, as any process makes them."""

    def __init__(self, dependency: Dependency, place: Place, policy: Health) -> None:
        if policy.opens and dependency.breaker is None:
            raise InvalidSetting("health that opens the breaker needs a breaker, got None")
        self.dependency, self.policy = dependency, policy
        self._place = place
        self.is_async = inspect.iscoroutinefunction(policy.check)

    def look(self) -> float:
        """Check if it is due, and nobody else does; the seconds until it is worth a look again.

        What the check raises is a result, unless it ends the program. Storage that fails is passed
        over: the next look is an interval later.
        """
        begun = files.forks
        with self._turn() as is_mine:
            if is_mine:
                self._tell(begun, *self._result())
        return self._wait(is_mine)

    async def look_async(self) -> float:
        """The same for a coroutine function, which is cancelled when it takes too long."""
        begun = files.forks
        with self._turn() as is_mine:
            if is_mine:
                self._tell(begun, *await self._result_async())
        return self._wait(is_mine)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Whether it is due and this process's turn, for a block."""
        try:
            self.dependency.cell.state()  # which gives the cell memory where it has none
            turn = self._place.turn_to_check()
            is_mine = turn.__enter__()
        except (FaultplaneError, OSError):
            yield False
            return
        try:
            yield is_mine and self._due_in() <= 0
        finally:
            with suppress(OSError):
                turn.__exit__(None, None, None)

    def _due_in(self) -> float:
        words = self._place.health()
        if not words[_CHECKS]:
            return 0.0
        since_ms = _now_ms() - (words[_WORD] & layout.HEALTH_CHECKED_MASK)
        return self.policy.interval - since_ms / 1000

    def _wait(self, was_mine: bool) -> float:
        interval = self.policy.interval
        if was_mine:
            return interval
        return min(max(self._due_in(), interval / _TURNS), interval)

    def _result(self) -> tuple[bool, Exception | None]:
        try:
            with deadline(self.policy.timeout):
                answer = self.policy.check()
                is_late = (time_left() or 0.0) <= 0
        except Exception as error:  # noqa: BLE001 - whatever it raises is the result
            return False, error
        return answer is not False and not is_late, None

    async def _result_async(self) -> tuple[bool, Exception | None]:
        check: Callable[[], Any] = self.policy.check
        try:
            async with deadline(self.policy.timeout):
                answer = await check()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the result
            return False, error
        return answer is not False, None

    def _tell(self, begun: int, is_good: bool, error: Exception | None) -> None:
        """Say what came of a check: others see it, and the first of an illness is recorded.

        A child that was forked meanwhile says nothing: the turn is its parent's.
        """
        dependency = self.dependency
        words = self._place.health()
        before = words[_WORD] >> layout.HEALTH_STATE_SHIFT
        words[_WORD] = next_word(words[_WORD], is_good, self.policy, _now_ms())
        state = words[_WORD] >> layout.HEALTH_STATE_SHIFT
        words[_CHECKS] = words[_CHECKS] + 1 & _WORD_MAX
        words[_FAILED] = words[_FAILED] + (not is_good) & _WORD_MAX
        if state != before:
            words[_CHANGED] = time.time_ns()
        try:
            self._place.store_health(words, begun)
            if state == layout.HEALTH_BAD and self.policy.opens and dependency.breaker:
                open_ms = round(dependency.breaker.open_for * 1000)
                dependency.cell.open_for(open_ms, layout.CAUSE_HEALTH)
        except FaultplaneError:
            return
        if state == layout.HEALTH_BAD != before and error is not None:
            core.record(error, dependency.name)


class HealthChecks:
    """Makes the health checks of some dependencies, in a way of its caller's choice.

    `run` does so in the thread that calls it, `arun` in a task, `start` in one thread that it
    starts. In each process that may check: they take turns, and go on where one of them dies. After
    a fork the child has no such thread.

    >>> import faultplane as fp
    >>> bank = fp.Dependency("bank", health=fp.Health(lambda: True))
    >>> checks = fp.HealthChecks(bank)
    >>> bank.health, checks.look(), bank.health
    ('unknown', 10.0, 'healthy')

    Raises InvalidSetting for a dependency without `Health`, and for none at all.
    """

    def __init__(self, *dependencies: Dependency) -> None:
        if not dependencies:
            raise InvalidSetting("health checks need a dependency, got none")
        for one in dependencies:
            if not isinstance(getattr(one, "checked", None), Checked):
                raise InvalidSetting(f"{getattr(one, 'name', one)!s} has no health to be checked")
        self._checked = [one.checked for one in dependencies if one.checked is not None]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> float:
        """Make the checks that are due, one after the other; the seconds until the next one."""
        self._refuse_coroutines()
        return min(one.look() for one in self._checked)

    def run(self) -> None:
        """Make checks until `stop` is called. One that hangs keeps the others waiting."""
        self._refuse_coroutines()
        while not self._stopping.is_set():
            self._stopping.wait(self.look())

    async def arun(self) -> None:
        """Make checks until the task is cancelled; none keeps another waiting."""
        async with asyncio.TaskGroup() as group:
            for one in self._checked:
                group.create_task(_run(one))

    def start(self) -> Self:
        """Make checks in a daemon thread, which this starts, until `stop` is called."""
        self._refuse_coroutines()
        if self._thread is not None and self._thread.is_alive():
            raise InvalidSetting("health checks were started already")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="faultplane health", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Have `run` return, and wait for the thread of `start`."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _refuse_coroutines(self) -> None:
        for one in self._checked:
            if one.is_async:
                raise InvalidSetting(f"{one.dependency.name}: a coroutine is checked by arun()")


async def _run(checked: Checked) -> None:
    look = checked.look_async if checked.is_async else None
    while True:
        wait = await look() if look else await asyncio.to_thread(checked.look)
        await asyncio.sleep(wait)
