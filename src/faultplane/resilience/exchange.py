"""Calls whose answer may be a failure without an exception, and that last until its body ends.

A client of HTTP gives an answer with the status 503, and raises nothing. So an answer is judged:
the error that it stands for is told to the guard, and whoever called gets the answer as it came.
The call is given back with it, under way: whoever hands out the body says how it ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import Rejected
from faultplane.resilience.deadline import deadline
from faultplane.resilience.guarded import timed
from faultplane.resilience.permits import begun, begun_async

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

__all__ = ["Call", "Exchange"]

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Repeatable = bool | Callable[[], bool]

_FALLBACKS: Final = layout.TOTALS.index("fallbacks")


class Call(Protocol):
    """A try under way: the core's. What is said of one that has ended changes nothing."""

    def succeeded(self) -> None:
        """It ended well."""

    def failed(self, error: BaseException, last: bool = False) -> float:
        """It raised ``error``."""

    def ignored(self) -> None:
        """It says nothing of the other side."""


def _no_failure(answer: object) -> None:
    return None


def _nothing(answer: object) -> None:
    return None


class Exchange(Generic[Request, Answer]):
    """How requests are sent and answers judged, for the requests of one client.

    >>> import faultplane as fp
    >>> answers = iter([503, 200])
    >>> def judge(status):
    ...     return ConnectionError(status) if status == 503 else None
    >>> exchange = fp.Exchange(lambda request: next(answers), judge)
    >>> bank = fp.Dependency("bank", retry=fp.Retry(attempts=2, backoff=fp.constant(0)))
    >>> status, call = exchange.run(bank, "GET /", repeatable=True)
    >>> call.succeeded()
    >>> status
    200

    Args:
        send: sends a request and gives the answer, or raises; awaited by `run_async`.
        judge: the error that an answer stands for, None for one that is no failure.
        drop: closes an answer that nobody gets, before the next try; awaited by `run_async` if it
            gives something to wait for.
        sleep: waits, where that is not the dependency's clock's.
        bounds_itself: whether an awaited ``send`` keeps to the timeout of the dependency, so that
            it need not be cancelled for it.
    """

    __slots__ = ("_bounds_itself", "_drop", "_judge", "_send", "_sleep")

    def __init__(
        self,
        send: Callable[[Request], Any],
        judge: Callable[[Answer], Exception | None] = _no_failure,
        drop: Callable[[Answer], Any] = _nothing,
        sleep: Callable[[float], object] | None = None,
        bounds_itself: bool = False,
    ) -> None:
        self._send, self._judge, self._drop, self._sleep = send, judge, drop, sleep
        self._bounds_itself = bounds_itself

    def begin(self, dependency: Dependency) -> Call:
        """Begin a call that is tried once, for who is told of its end elsewhere.

        Waits for a permit as long as the limit says. Raises a rejection.
        """
        call: Call = begun(dependency, self._sleep or dependency.clock.sleep)
        return call

    def run(
        self, dependency: Dependency, request: Request, *, repeatable: Repeatable
    ) -> tuple[Answer, Call | None]:
        """Send ``request`` until its answer is no failure, or there is no other try.

        One that is not ``repeatable`` is sent again only if it has not reached the other side; a
        function is asked after each try that failed. What is raised is what ``send`` raised last,
        or a rejection. The call is under way until it is told how it ended; there is none where the
        fallback answered.
        """
        tries = _Tries(dependency, self._judge, repeatable)
        dependency.degraded = False
        sleep = self._sleep or dependency.clock.sleep
        try:
            with _within(dependency):
                self._try(tries, request, sleep)
        except Exception as error:
            if not tries.is_answered_otherwise(error):
                raise
            return tries.fall_back(error, request), None
        if tries.judged is not None and tries.is_answered_otherwise(tries.judged):
            answer = tries.fall_back(tries.judged, request)
            self._drop(tries.answer)
            return answer, None
        return tries.answer, tries.call

    def _try(self, tries: _Tries, request: Request, sleep: Callable[[float], object]) -> None:
        tries.begin(sleep)
        while True:
            try:
                answer = self._send(request)
            except BaseException as error:
                wait = tries.raised(error)
                if wait < 0:
                    raise
            else:
                wait = tries.answered(answer)
                if wait < 0:
                    return
            try:
                if wait > 0:
                    sleep(wait)
                is_admitted = tries.again()
            except BaseException:
                tries.call.ignored()
                if tries.judged is not None:
                    self._drop(tries.answer)
                raise
            if not is_admitted:
                tries.raise_last()
                return
            if tries.judged is not None:
                self._drop(tries.answer)

    async def run_async(
        self, dependency: Dependency, request: Request, *, repeatable: Repeatable
    ) -> tuple[Answer, Call | None]:
        """The same, where sending is awaited; cancellation is told, and leaves nothing behind."""
        tries = _Tries(dependency, self._judge, repeatable)
        dependency.degraded = False
        try:
            if dependency.deadline is None:
                await self._try_async(tries, request)
            else:
                async with deadline(dependency.deadline):
                    await self._try_async(tries, request)
        except Exception as error:
            if not tries.is_answered_otherwise(error):
                raise
            return await _awaited(tries.fall_back(error, request)), None
        if tries.judged is not None and tries.is_answered_otherwise(tries.judged):
            answer = await _awaited(tries.fall_back(tries.judged, request))
            await _awaited(self._drop(tries.answer))
            return answer, None
        return tries.answer, tries.call

    async def _try_async(self, tries: _Tries, request: Request) -> None:
        dependency = tries.dependency
        send: Callable[[Request], Awaitable[Any]] = self._send
        if dependency.timeout is not None and not self._bounds_itself:
            send = timed(dependency, dependency.timeout, send)
        sleep = dependency.clock.sleep_async
        await tries.begin_async(sleep)
        while True:
            try:
                answer = await send(request)
            except BaseException as error:
                wait = tries.raised(error)
                if wait < 0:
                    raise
            else:
                wait = tries.answered(answer)
                if wait < 0:
                    return
            try:
                if wait > 0:
                    await sleep(wait)
                is_admitted = tries.again()
            except BaseException:
                tries.call.ignored()
                if tries.judged is not None:
                    await _awaited(self._drop(tries.answer))
                raise
            if not is_admitted:
                tries.raise_last()
                return
            if tries.judged is not None:
                await _awaited(self._drop(tries.answer))


class _Tries:
    """What the tries of one request have come to.

    ``answer`` is the last, ``judged`` the error that it stands for; ``call`` is under way unless
    that was told.
    """

    __slots__ = ("_judge", "_raised", "_repeatable", "answer", "call", "dependency", "judged")

    def __init__(
        self,
        dependency: Dependency,
        judge: Callable[[Any], Exception | None],
        repeatable: Repeatable,
    ) -> None:
        self.dependency = dependency
        self._judge, self._repeatable = judge, repeatable
        self.call: Any = None
        self.answer: Any = None
        self.judged: Exception | None = None
        self._raised: BaseException | None = None

    def begin(self, sleep: Callable[[float], object]) -> None:
        """Begin the first try, waiting for a permit as long as the limit says."""
        self.call = begun(self.dependency, sleep)

    async def begin_async(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """The same without keeping others from running."""
        self.call = await begun_async(self.dependency, sleep)

    def _is_last(self, error: BaseException) -> bool:
        may = self._repeatable
        if may is True or (callable(may) and may()):
            return False
        return bool(core.classify(error).reached_server != "no")

    def raised(self, error: BaseException) -> float:
        """The try raised; the seconds until the next, less than 0 where there is none."""
        self.answer = self.judged = None
        wait = float(self.call.failed(error, self._is_last(error)))
        # Not kept for longer than it is needed: its frames lead back to here.
        self._raised = error if wait >= 0 else None
        return wait

    def answered(self, answer: Any) -> float:
        """The try was answered; less than 0 where that is what whoever called gets."""
        self.answer = answer
        self.judged = self._judge(answer)
        if self.judged is None:
            return -1.0
        return float(self.call.failed(self.judged, self._is_last(self.judged)))

    def again(self) -> bool:
        """Begin the next try; False where it is rejected, and the last one is what counts."""
        try:
            self.call.again()
        except Rejected:
            return False
        self._raised = None
        return True

    def raise_last(self) -> None:
        """Raise what the last try raised, as it was; return if it was answered."""
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised

    def is_answered_otherwise(self, error: BaseException) -> bool:
        """Whether the fallback answers for ``error``."""
        return self.dependency.fallback is not None and self.dependency.is_failure(error)

    def fall_back(self, error: BaseException, request: Any) -> Any:
        """What the fallback answers."""
        dependency = self.dependency
        assert dependency.fallback is not None
        answer = dependency.fallback.serve(error, (request,), {})
        dependency.cell.total(_FALLBACKS)
        dependency.degraded = True
        return answer


def _within(dependency: Dependency) -> AbstractContextManager[object]:
    return nullcontext() if dependency.deadline is None else deadline(dependency.deadline)


async def _awaited(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
