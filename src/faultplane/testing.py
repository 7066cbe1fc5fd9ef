"""What tests of an application need: guarded calls that do not wait, and what was recorded.

Everything here changes the process that calls it, and is undone at the end of its ``with`` block.

>>> import faultplane as fp
>>> from faultplane import testing
>>> @fp.retry(on=TimeoutError, attempts=5)
... def ask():
...     raise TimeoutError("no answer")
>>> with testing.set_testing(attempts=2):  # two tries, and no wait in between
...     try:
...         ask()
...     except TimeoutError as error:
...         print(error)
no answer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faultplane.errors import StorageError
from faultplane.resilience import testing_mode
from faultplane.resilience.clock import Clock
from faultplane.resilience.policy import ATTEMPTS_MAX, whole
from faultplane.store import Domain, lifecycle

__all__ = ["FakeClock", "recorded", "set_active", "set_testing"]


@contextmanager
def set_testing(attempts: int = 1) -> Iterator[None]:
    """Have every dependency try ``attempts`` times at most (1 to 1,000), and never wait.

    A dependency that would try fewer times does so. Raises InvalidSetting for a number out of
    bounds.
    """
    most = whole("attempts", attempts, 1, ATTEMPTS_MAX)
    before = testing_mode.change(testing_mode.current._replace(attempts=most, waits=False))
    try:
        yield
    finally:
        testing_mode.change(before)


@contextmanager
def set_active(active: bool) -> Iterator[None]:
    """Have every dependency guard its calls, or make each of them as if it were not there.

    Deadlines, timeouts and fallbacks stay.
    """
    before = testing_mode.change(testing_mode.current._replace(active=bool(active)))
    try:
        yield
    finally:
        testing_mode.change(before)


class FakeClock(Clock):
    """A clock for ``Dependency(clock=…)`` whose waits take no time, and which remembers them.

    ``waits`` has each wait in seconds; ``chance`` is what jitter throws, 0.5 at first. Breakers and
    budgets go on by the clock of the host, which other processes share.

    >>> from faultplane.resilience.dependency import Dependency
    >>> from faultplane.resilience.policy import Retry
    >>> clock = FakeClock()
    >>> pay = Dependency("payments", retry=Retry(attempts=3), clock=clock)
    >>> answers = iter([TimeoutError(), TimeoutError(), "paid"])
    >>> def charge():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> pay.call(charge), clock.waits
    ('paid', [0.05, 0.1])
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.chance = 0.5

    def sleep(self, seconds: float) -> None:
        """Remember the wait."""
        self.waits.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Remember the wait."""
        self.waits.append(seconds)

    def random(self) -> float:
        """What ``chance`` is."""
        return self.chance


@contextmanager
def recorded() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Function: the rows that processes of the domain have recorded since the block began.

    Oldest first, each a dict as `Records.rows` gives it. This process must have called `init`.

    >>> import faultplane as fp
    >>> domain = fp.init()
    >>> with recorded() as rows:
    ...     answer = fp.record(TimeoutError("no answer"), operation="charge")
    ...     [(row["operation"], row["message"]) for row in rows()]
    [('charge', 'no answer')]

    Raises StorageError where this process has no domain to record into.
    """
    if lifecycle.owned() is None:
        reason = lifecycle.status().reason
        raise StorageError(f"recorded() needs a domain that this process records into: {reason}")
    with Domain.own() as domain:
        since = domain.cursor()
        yield lambda: list(domain.records(since=since).rows())
