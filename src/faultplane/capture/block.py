"""``capture``: a block or a function whose failures are recorded and whose operation is visible.

While the block runs it holds one of the process's in-flight slots, so that a death record can say
what a killed worker was doing. An exception that leaves the block is recorded once, however many
blocks it passes.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar
from time import monotonic_ns
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

from faultplane._backend import Block, core
from faultplane.capture import user as users
from faultplane.capture.filters import Ignored, ignored_types, is_control_flow

if TYPE_CHECKING:
    from faultplane.classify import Classification

__all__ = ["capture"]

P = ParamSpec("P")
R = TypeVar("R")
# What ``__exit__`` gives: a type checker must know which blocks swallow, because after one that
# does, the code behind a ``return`` inside it is reachable.
Swallows = TypeVar("Swallows", bound=bool)

# Looked up once: a call that ends well should cost little more than its clock and its slot.
_enter: Final[Callable[[str, int], int]] = core.enter
_leave: Final[Callable[[int], None]] = core.leave
_innermost: Final[ContextVar[int]] = core.innermost
_parent: Final = _innermost.get
_be_parent: Final = _innermost.set

# The field of the exception itself: a subclass may define a property of the same name.
_traceback_of: Final[Callable[[BaseException], TracebackType | None]] = BaseException.__dict__[
    "__traceback__"
].__get__

if hasattr(os, "register_at_fork"):
    # A child's slots are its own; the parent's token means nothing there.
    os.register_at_fork(after_in_child=lambda: _innermost.set(0))


class capture(Block, Generic[Swallows]):  # noqa: N801 - a verb, as contextlib.suppress is
    """Record what leaves a block, and show the block as in flight while it runs.

    A context manager (``with`` and ``async with``) and a decorator for functions, coroutine
    functions, generators and asynchronous generators, whose signature, return value and
    ``send``/``throw``/``close`` stay what they were. A decorator takes its own frame off the
    traceback, so what others print of an error is what it would be without it.

    ``operation`` names what the block does; it becomes a series of counts, so it must not hold
    identifiers. ``reraise=False`` swallows an `Exception` after recording it, and a decorated
    function then returns None. ``attributes`` are encoded only if the block fails. ``ignore``
    gives types, or their names, that pass through untouched. ``also`` gives control flow to
    record.

    Cancellation, ``KeyboardInterrupt``, ``SystemExit``, ``GeneratorExit`` and the end of an
    iteration are never swallowed, and recorded only if ``also`` asks for them. Whatever is not an
    `Exception` is never swallowed. An exception that was recorded before, by an inner block or by
    ``record()``, is not recorded again.

    The in-flight slot of a generator is held from its first step to its end. A generator runs in
    the context of whoever resumes it, so operations inside it name the outer operation as their
    parent.

    >>> with capture("charge", reraise=False) as block:
    ...     raise TimeoutError("no answer")
    >>> block.classification.kind.value
    'Timeout'

    Raises ``TypeError`` for an operation that is not a string, which is what a bare ``@capture``
    amounts to.
    """

    __slots__ = ()

    operation: str
    """What the block does."""

    classification: Classification | None
    """What the exception that left the block was taken for; None if none was recorded."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: capture[Literal[False]],
            operation: str,
            reraise: Literal[True] = True,
            attributes: Mapping[str, Any] | None = None,
            ignore: Ignored = (),
            also: Ignored = (),
        ) -> None: ...

        @overload
        def __init__(
            self: capture[bool],
            operation: str,
            reraise: bool,
            attributes: Mapping[str, Any] | None = None,
            ignore: Ignored = (),
            also: Ignored = (),
        ) -> None: ...

        def __init__(
            self,
            operation: str,
            reraise: bool = True,
            attributes: Mapping[str, Any] | None = None,
            ignore: Ignored = (),
            also: Ignored = (),
        ) -> None: ...

        def leave(  # noqa: D102 - of `Block`
            self,
            exc: BaseException | None = None,
            own_frames: int = 0,
            user: Callable[[], users.User] | None = None,
        ) -> Swallows: ...

        def __exit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> Swallows: ...

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Swallows:
        return self.__exit__(exc_type, exc, traceback)

    def failed(
        self,
        exc: BaseException,
        own_frames: int = 0,
        user: Callable[[], users.User] | None = None,
    ) -> bool:
        """Record ``exc`` as a failure of the block, which goes on; whether to swallow it.

        Before the block begins and after its end the failure has no duration.

        The first ``own_frames`` entries of the traceback are the caller's own and taken off: a
        handler that goes on with a bare ``raise`` leaves no trace of itself in what others print.

        ``user`` is asked whose request it is if users are kept and `set_user` has not said; what it
        raises is nobody.
        """
        if user is not None:
            users.suggest(user)
        swallow, self.classification = self._settle(exc, self._duration_nano(), own_frames)
        return swallow

    def follow_span(self) -> None:
        """Be in flight under the trace of the current span, which began after the block did.

        For who enters the block before a tracer has begun its span. Does nothing where
        OpenTelemetry is not loaded. The age that is shown begins anew.
        """
        if not self._slot or "opentelemetry.trace" not in sys.modules:
            return
        outer = 0 if self._before is None else self._before.old_value
        slot = _enter(self.operation, outer if isinstance(outer, int) else 0)
        if slot:
            # Left last: whoever looks in between sees the operation twice rather than not at all.
            _leave(self._slot)
            self._slot = slot
            _be_parent(slot)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Give ``function`` with each call of it captured."""
        decorated: Callable[P, R] = self._decorated(function)
        return decorated

    def __copy__(self) -> Self:
        """The same, as of `__deepcopy__`: two of them would end one operation twice."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same: whoever copies the environ or scope of a request goes on with that request."""
        return self

    def __repr__(self) -> str:
        return f"capture({self.operation!r}, reraise={self._reraise})"

    def _types(self, types: Any) -> tuple[type[BaseException], ...]:
        return ignored_types(types)

    def _settle(
        self, exc: BaseException, duration_nano: int, own_frames: int = 0
    ) -> tuple[bool, Classification | None]:
        """Record ``exc`` if it is an error and new; (whether to swallow it, what it is).

        The first ``own_frames`` of its traceback are of whoever caught it, and taken off.
        """
        kind = type(exc)  # isinstance() would ask the exception for its __class__
        traceback = _traceback_of(exc)
        while own_frames and traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
            own_frames -= 1
            # Through the base class: an exception may forbid assignment, as frozen dataclasses do.
            BaseException.with_traceback(exc, traceback)
        if self._ignore and issubclass(kind, self._ignore):
            return False, None
        control_flow = is_control_flow(exc)
        if control_flow and not (self._also and issubclass(kind, self._also)):
            return False, None
        swallow = not self._reraise and not control_flow and issubclass(kind, Exception)
        if core.seen(exc):
            return swallow, None
        classification = core.record(
            exc,
            operation=self.operation,
            duration_nano=duration_nano,
            attributes=self._attributes,
            handled=swallow,
        )
        return swallow, classification

    # ------------------------------------------------------------------------------ decorators

    def _decorated(self, function: Any) -> Any:
        import inspect

        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self._decorated(function.__func__))
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"capture decorates functions, got {function!r}")
        target = function
        if not inspect.isroutine(function) and not isinstance(function, functools.partial):
            target = type(function).__call__  # an object that is called like a function
        if inspect.isasyncgenfunction(target):
            return self._async_generator(function)
        if inspect.iscoroutinefunction(target):
            return self._coroutine_function(function)
        if inspect.isgeneratorfunction(target):
            return self._generator(function)
        return self._function(function)

    def _function(self, function: Callable[P, R]) -> Callable[P, R | None]:
        operation = self.operation

        @functools.wraps(function)
        def captured(*args: P.args, **kwargs: P.kwargs) -> R | None:
            call = Block(operation)
            try:
                call.enter()
                return function(*args, **kwargs)
            except BaseException as exc:
                duration_nano = call._duration_nano()  # noqa: SLF001 - of our own base
                if not self._settle(exc, duration_nano, own_frames=1)[0]:
                    raise
                return None
            finally:
                call.leave()

        return captured

    def _coroutine_function(self, function: Any) -> Any:
        operation = self.operation

        @functools.wraps(function)
        async def captured(*args: Any, **kwargs: Any) -> Any:
            call = Block(operation)
            try:
                call.enter()
                return await function(*args, **kwargs)
            except BaseException as exc:
                duration_nano = call._duration_nano()  # noqa: SLF001 - of our own base
                if not self._settle(exc, duration_nano, own_frames=1)[0]:
                    raise
                return None
            finally:
                call.leave()

        return captured

    def _generator(self, function: Any) -> Any:
        operation = self.operation

        @functools.wraps(function)
        def captured(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            slot = _enter(operation, _parent())
            start_nano = monotonic_ns()
            try:
                return (yield from function(*args, **kwargs))
            except BaseException as exc:
                if not self._settle(exc, monotonic_ns() - start_nano, own_frames=1)[0]:
                    raise
                return None
            finally:
                _leave(slot)

        return captured

    def _async_generator(self, function: Any) -> Any:
        operation = self.operation

        @functools.wraps(function)
        async def captured(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            slot = _enter(operation, _parent())
            start_nano = monotonic_ns()
            try:
                generator = function(*args, **kwargs)
                step = generator.asend(None)
                while True:
                    try:
                        value = await step
                    except StopAsyncIteration:
                        return
                    thrown: BaseException | None = None
                    sent = None
                    try:
                        sent = yield value
                    except BaseException as exc:  # noqa: BLE001 - handed on as it is
                        thrown = exc
                    # Outside of the handler, or what the generator raises would get a context
                    # that it does not have without us. ``aclose`` comes as a GeneratorExit like
                    # any other.
                    step = generator.asend(sent) if thrown is None else generator.athrow(thrown)
                    thrown = None
            except BaseException as exc:
                if not self._settle(exc, monotonic_ns() - start_nano, own_frames=1)[0]:
                    raise
            finally:
                _leave(slot)

        return captured
