"""The tries of a block of code: a loop whose body is what is tried."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from faultplane.errors import Rejected
from faultplane.resilience.clock import Clock


class Attempt:
    """One try: a context manager, ``with`` and ``async with``; ``number`` counts from 1."""

    __slots__ = ("_tries", "number")

    def __init__(self, tries: Attempts, number: int) -> None:
        self._tries, self.number = tries, number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self._tries.ended(exc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self._tries.ended(exc)


class Attempts:
    """The tries of one block, for one ``for`` or ``async for``."""

    __slots__ = ("_call", "_clock", "_done", "_guard", "_last", "_wait")

    def __init__(self, guard: Any, clock: Clock) -> None:
        self._guard, self._clock = guard, clock
        self._call: Any = None
        self._last: BaseException | None = None
        self._wait = 0.0
        self._done = False

    def ended(self, exc: BaseException | None) -> bool:
        """How the try ended; whether its error is swallowed, because there is another."""
        if exc is None:
            self._done = True
            self._call.succeeded()
            return False
        self._wait = self._call.failed(exc)
        if self._wait < 0:
            self._done = True
            return False
        self._last = exc
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._done:
            raise StopIteration
        if self._call is not None and self._wait > 0:
            self._interruptible(self._clock.sleep)
        return self._begin()

    def _interruptible(self, sleep: Any) -> None:
        try:
            sleep(self._wait)
        except BaseException:
            self._call.ignored()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._done:
            raise StopAsyncIteration
        if self._call is not None and self._wait > 0:
            try:
                await self._clock.sleep_async(self._wait)
            except BaseException:
                self._call.ignored()
                raise
        return self._begin()

    def _begin(self) -> Attempt:
        if self._call is None:
            self._call = self._guard.begin()
            return Attempt(self, 1)
        last, self._last = self._last, None
        try:
            self._call.again()
        except Rejected:
            self._done = True
            if last is None:  # the body was left without a try
                raise
        else:
            return Attempt(self, self._call.attempt)
        raise last
