"""The tries of a block of code: a loop whose body is what is tried."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from faultplane.errors import Rejected
from faultplane.resilience.bounds import Bounds, refuse_timeout
from faultplane.resilience.deadline import late
from faultplane.resilience.permits import begun, begun_async

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency


class Attempt:
    """One try: a context manager, ``with`` and ``async with``; ``number`` counts from 1."""

    __slots__ = ("_bounds", "_tries", "number")

    def __init__(self, tries: Attempts, bounds: Bounds, number: int) -> None:
        self._tries, self._bounds, self.number = tries, bounds, number

    def __enter__(self) -> Self:
        try:
            self._bounds.begin(self._tries.left())
        except BaseException:
            self._tries.given_up()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            return self._tries.ended(exc)
        finally:
            self._bounds.end()

    async def __aenter__(self) -> Self:
        try:
            await self._bounds.begin_async(self._tries.left())
            await self._bounds.begin_try()
        except BaseException as error:
            self._tries.given_up()
            await self._bounds.end_async(error)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        failure = await self._bounds.end_try(exc)
        is_swallowed = False
        try:
            is_swallowed = self._tries.ended(failure)
        finally:
            await self._bounds.end_async(None if is_swallowed else failure)
        if failure is None or failure is exc or is_swallowed:
            return is_swallowed
        raise failure


class Attempts:
    """The tries of one block, for one ``for`` or ``async for``."""

    __slots__ = ("_call", "_dependency", "_done", "_last", "_until", "_wait")

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._call: Any = None
        self._last: BaseException | None = None
        self._until: float | None = None
        self._wait = 0.0
        self._done = False

    def left(self) -> float | None:
        """Seconds that are left for all tries, None for any number."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def ended(self, exc: BaseException | None) -> bool:
        """How the try ended; whether its error is swallowed, because there is another."""
        if exc is None:
            self._done = True
            self._call.succeeded()
            return False
        self._wait = self._call.failed(late(exc))
        if self._wait < 0:
            self._done = True
            return False
        self._last = exc
        return True

    def given_up(self) -> None:
        """The try is not made, and there is no other."""
        self._done = True
        self._call.ignored()

    def __iter__(self) -> Self:
        refuse_timeout(self._dependency, "the block of `for`", "use `async for` and `async with`")
        return self

    def __next__(self) -> Attempt:
        if self._done or self._ends_untried():
            raise StopIteration
        if self._call is None:
            self._begin_time()
            self._call = begun(self._dependency)
            return self._attempt()
        if self._wait > 0:
            try:
                self._dependency.clock.sleep(self._wait)
            except BaseException:
                self._call.ignored()
                raise
        return self._again()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._done or self._ends_untried():
            raise StopAsyncIteration
        if self._call is None:
            self._begin_time()
            bounds = Bounds(self._dependency)
            await bounds.begin_async(self.left())
            try:
                self._call = await begun_async(self._dependency)
            except BaseException as error:
                await bounds.end_async(error)
                raise
            await bounds.end_async(None)
            return self._attempt()
        if self._wait > 0:
            try:
                await self._dependency.clock.sleep_async(self._wait)
            except BaseException:
                self._call.ignored()
                raise
        return self._again()

    def _ends_untried(self) -> bool:
        """Whether the body was left without its try as often as there are tries: it may for ever.

        What it was given is let go.
        """
        if self._call is None or self._last is not None:
            return False
        retry = self._dependency.retry
        ends: bool = self._call.attempt >= (1 if retry is None else retry.attempts)
        if ends:
            self.given_up()
        return ends

    def _begin_time(self) -> None:
        if self._dependency.deadline is not None:
            self._until = time.monotonic() + self._dependency.deadline

    def _attempt(self) -> Attempt:
        return Attempt(self, Bounds(self._dependency), self._call.attempt)

    def _again(self) -> Attempt:
        last, self._last = self._last, None
        try:
            self._call.again()
        except Rejected:
            self._done = True
            if last is None:  # the body was left without a try
                raise
        else:
            return self._attempt()
        raise last
