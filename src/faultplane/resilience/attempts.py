"""The tries of a block of code: a loop whose body is what is tried."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from faultplane.errors import Rejected
from faultplane.resilience.permits import begun, begun_async

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency


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

    __slots__ = ("_call", "_dependency", "_done", "_last", "_wait")

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
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
        if self._call is None:
            self._call = begun(self._dependency)
            return Attempt(self, 1)
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
        if self._done:
            raise StopAsyncIteration
        if self._call is None:
            self._call = await begun_async(self._dependency)
            return Attempt(self, 1)
        if self._wait > 0:
            try:
                await self._dependency.clock.sleep_async(self._wait)
            except BaseException:
                self._call.ignored()
                raise
        return self._again()

    def _again(self) -> Attempt:
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
