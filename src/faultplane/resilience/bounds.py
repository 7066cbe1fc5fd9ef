"""How long a block may take: the deadline around it, and the timeout of a try.

What encloses a block is entered and left by hand, by `Block` and by an attempt: the call is told
how its try ended between the two, while `time_left` still says how much there is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.classify.evidence import traceback_of
from faultplane.errors import InvalidSetting
from faultplane.resilience.deadline import deadline, late, no_answer, say
from faultplane.resilience.permits import begun, begun_async

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

_TIMEOUTS: Final = layout.TOTALS.index("timeouts")


def refuse_timeout(dependency: Dependency, what: str, instead: str) -> None:
    """InvalidSetting where the dependency has a timeout and nobody can interrupt ``what``."""
    if dependency.timeout is not None:
        raise InvalidSetting(
            f"{dependency.name}: timeout bounds coroutines, and {what} cannot be interrupted: "
            f"{instead}"
        )


def refuse_hedge(dependency: Dependency, what: str) -> None:
    """InvalidSetting where the dependency has a hedge, and ``what`` is not made twice."""
    if dependency.hedge is not None:
        raise InvalidSetting(
            f"{dependency.name}: hedge is for coroutine functions, and {what} cannot be made once "
            "more and cancelled"
        )


class Bounds:
    """What bounds one block. ``with`` begins and ends; ``async with`` cancels as well."""

    __slots__ = ("_deadline", "_dependency", "_timeout")

    def __init__(self, dependency: Dependency) -> None:
        refuse_hedge(dependency, "a block")
        self._dependency = dependency
        self._deadline: deadline | None = None
        self._timeout: asyncio.Timeout | None = None

    def begin(self, seconds: float | None) -> None:
        """Begin a block with a deadline of so many seconds, None for none."""
        refuse_timeout(self._dependency, "a block of `with`", "use `async with`")
        if seconds is not None:
            self._deadline = deadline(seconds)
            self._deadline.__enter__()

    def end(self) -> None:
        """End it."""
        scope, self._deadline = self._deadline, None
        if scope is not None:
            scope.__exit__(None, None, None)

    async def begin_async(self, seconds: float | None) -> None:
        """Begin a block that is cancelled at its deadline."""
        if seconds is not None:
            scope = deadline(seconds)
            await scope.__aenter__()
            self._deadline = scope

    async def begin_try(self) -> None:
        """Begin a try that is cancelled when it has taken too long."""
        if self._dependency.timeout is not None:
            scope = asyncio.timeout(self._dependency.timeout)
            await scope.__aenter__()
            self._timeout = scope

    async def end_try(self, error: BaseException | None) -> BaseException | None:
        """End it; what it came to: a TimeoutError where it was cancelled for that."""
        scope, self._timeout = self._timeout, None
        if scope is None:
            return error
        try:
            await scope.__aexit__(*_parts(error))
        except TimeoutError as timed_out:
            say(timed_out, no_answer(self._dependency.timeout or 0.0))
            error = timed_out
        if scope.expired():
            self._dependency.cell.total(_TIMEOUTS)
        return error

    async def end_async(self, error: BaseException | None) -> None:
        """End the block; raises TimeoutError where it was cancelled at its deadline."""
        scope, self._deadline = self._deadline, None
        if scope is not None:
            await scope.__aexit__(*_parts(error))


def _parts(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if error is None else (type(error), error, traceback_of(error))


class Block:
    """A block of a dependency: guarded, tried once. ``is_open`` until it is left."""

    __slots__ = ("_bounds", "_call", "_dependency", "is_open")

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._bounds = Bounds(dependency)
        self._call: Any = None
        self.is_open = True

    def enter(self) -> None:
        """Begin it; raises a rejection."""
        self._bounds.begin(self._dependency.deadline)
        try:
            self._call = begun(self._dependency)
        except BaseException:
            self._bounds.end()
            raise

    def leave(self, error: BaseException | None) -> None:
        """It ended, with that error if there was one."""
        try:
            self._tell(error)
        finally:
            self._bounds.end()

    async def enter_async(self) -> None:
        """Begin it; raises a rejection, or TimeoutError if no permit came before the deadline."""
        await self._bounds.begin_async(self._dependency.deadline)
        try:
            self._call = await begun_async(self._dependency)
            await self._bounds.begin_try()
        except BaseException as error:
            if self._call is not None:
                self._call.ignored()
            await self._bounds.end_async(error)
            raise

    async def leave_async(self, error: BaseException | None) -> None:
        """It ended; raises TimeoutError where it was cancelled because of its time."""
        failure = await self._bounds.end_try(error)
        try:
            self._tell(failure)
        finally:
            await self._bounds.end_async(failure)
        if failure is not None and failure is not error:
            raise failure

    def _tell(self, error: BaseException | None) -> None:
        if error is None:
            self._call.succeeded()
        else:
            self._call.failed(late(error), last=True)
