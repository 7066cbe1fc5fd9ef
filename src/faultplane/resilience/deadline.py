"""How much time is left for what is being done: a deadline that calls inside of it can see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, Self

from faultplane.resilience.policy import SECONDS_MAX, number

AT: Final[ContextVar[float | None]] = ContextVar("faultplane_deadline", default=None)
"""When what is being done must have ended, by `time.monotonic`; None = there is no such time."""

CANCELLED: Final = "cancelled at its deadline"
"""What the TimeoutError of a deadline says."""


def time_left(clock: Callable[[], float] = time.monotonic) -> float | None:
    """Seconds until the innermost deadline, less than 0 past it; None where there is none.

    For the timeout of a client that cannot be interrupted, which takes none that is less than 0:
    ``requests.get(url, timeout=min(2.0, max(0.01, time_left())))`` inside of a deadline.

    >>> time_left() is None
    True
    >>> with deadline(60.0):
    ...     59.0 < time_left() <= 60.0
    True
    """
    at = AT.get()
    return None if at is None else at - clock()


def late(error: BaseException) -> BaseException:
    """What a try failed with: one that is cancelled at its deadline was too slow an answer."""
    # By type(): isinstance() would ask the error for its __class__.
    if issubclass(type(error), asyncio.CancelledError):
        left = time_left()
        if left is not None and left <= 0:
            return TimeoutError(CANCELLED)
    return error


def no_answer(seconds: float) -> str:
    """What the TimeoutError of a try says that was cancelled after so many seconds.

    >>> no_answer(1.5)
    'no answer within its timeout of 1.5 s'
    """
    return f"no answer within its timeout of {seconds:g} s"


def say(error: TimeoutError, text: str) -> None:
    """Give a message to the TimeoutError of `asyncio.timeout`, which has none."""
    if not error.args:
        error.args = (text,)


class deadline:  # noqa: N801 - a scope, as asyncio.timeout is
    """A block that has ``seconds`` (0 to 86,400) to end; one around it that ends sooner holds.

    ``with`` bounds what asks for it: no retry of a dependency begins past it, and `time_left` says
    how much there is. ``async with`` cancels the block at the end of its time as well, and raises
    TimeoutError, as `asyncio.timeout` does.

    Raises InvalidSetting for seconds out of bounds.
    """

    __slots__ = ("_seconds", "_timeout", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = number("seconds", seconds, 0.0, SECONDS_MAX)
        self._token: Token[float | None] | None = None
        self._timeout: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        at, outer = time.monotonic() + self._seconds, AT.get()
        try:
            self._token = AT.set(at if outer is None else min(at, outer))
        except BaseException:  # a signal handler's: what has not begun bounds nothing
            AT.set(outer)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            try:
                AT.reset(token)
            except ValueError:  # left in another context, which knows nothing of it
                pass

    async def __aenter__(self) -> Self:
        self.__enter__()
        try:
            self._timeout = asyncio.timeout(max(time_left() or 0.0, 0.0))
            await self._timeout.__aenter__()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        timeout, self._timeout = self._timeout, None
        self.__exit__(None, None, None)
        if timeout is None:
            return
        try:
            await timeout.__aexit__(exc_type, exc, traceback)
        except TimeoutError as error:
            say(error, CANCELLED)
            raise
