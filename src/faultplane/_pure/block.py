"""Operations in flight: their slots, and the bounds of a block that holds one."""

from __future__ import annotations

import sys
from contextvars import Context, ContextVar
from time import monotonic_ns

from . import memory
from .message import utf8_of
from .recorder import DROP, state
from .trace import trace_ids

TYPE_CHECKING = False  # `typing` takes longer to import than the core
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType
    from typing import Any, Final, Self

__all__ = ["Block", "enter", "hold_users", "innermost", "leave"]

innermost: Final[ContextVar[int]] = ContextVar("faultplane_innermost_operation", default=0)
"""The token of the innermost operation of this thread or asyncio task: the parent of the next."""

_begin_user: Callable[[], Any] | None = None
_end_user: Callable[[Any], object]


def enter(operation: str, parent: int = 0) -> int:
    """Say that an operation has begun; a token for leave(), 0 when no slot is free.

    ``parent`` is the token of the operation that it is a part of, 0 = none.
    """
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a str, got {type(operation).__name__}")
    try:
        text = utf8_of(operation)
    except MemoryError:
        return 0
    return take(text, parent)


def take(text: bytes, parent: int) -> int:
    """A slot for the operation of that name in UTF-8; its token, 0 when none is free."""
    if not state.live[0] or state.fence[0] != state.incarnation:
        if state.rebind is None and state.binding is None and state.image[0]:
            return 0  # nobody has called init() here, so there is nothing to wake
        if not state.wake():
            return 0
    ids = trace_ids()
    token = 0
    try:
        with memory.process_lock:
            breath = state.breath
            if breath is None:
                return 0
            token = breath.enter(text, ids, parent)
            if token == 0:
                state.aggregate.drop(DROP["inflight_overflow"])
    except BaseException:  # a signal handler's, when the lock was let go
        leave(token)
        raise
    return token


def leave(token: int) -> None:
    """Say that the operation of ``token`` has ended; 0 and tokens of another process do nothing."""
    with memory.process_lock:
        if token and state.breath is not None:
            state.breath.leave(token)


def hold_users(begin: Callable[[], Any] | None, end: Callable[[Any], object]) -> None:
    """Have each block begin with ``begin()`` and end with ``end(held)``, if that gave anything.

    Without ``begin`` (None) blocks that begin from now on hold nobody.
    """
    global _begin_user, _end_user
    _begin_user, _end_user = begin, end


def _none(_block: object) -> int:
    return 0  # where objects have no such count, the collector has found each of them


_references: Final[Callable[[object], int]] = getattr(sys, "getrefcount", _none)


class _Dropped:
    """Says what the count is in the ``__del__`` of what nobody holds any more."""

    def __del__(self) -> None:
        global _DROPPED
        _DROPPED = _references(self)


_DROPPED = -1
_Dropped()


class Block:
    """The bounds of a block of code: it is in flight from `enter` to `leave`.

    What it does with a failure is its subclass's: ``failed(exc, own_frames, user)`` says whether it
    is swallowed, and ``_types`` which types ``ignore`` and ``also`` are, where they are not one.
    """

    __slots__ = (
        "_also",
        "_attributes",
        "_before",
        "_ignore",
        "_outer_entries",
        "_reraise",
        "_slot",
        "_start_nano",
        "_user",
        "classification",
        "operation",
    )

    operation: str
    classification: Any

    if TYPE_CHECKING:

        def failed(self, exc: BaseException, own_frames: int, user: Any) -> bool: ...
        def _types(self, types: Any) -> Any: ...

    def __init__(
        self,
        operation: str,
        reraise: bool = True,
        attributes: Any = None,
        ignore: Any = (),
        also: Any = (),
    ) -> None:
        self._start_nano = 0  # before anything can raise: `__del__` looks at it
        self.operation = operation if type(operation) is str else _plain_text(operation)
        self._reraise = reraise
        self._attributes = attributes
        self._ignore = self._types_of(ignore) if ignore else ()
        self._also = self._types_of(also) if also else ()
        self._before: Token[int] | None = None
        self._slot = 0
        self._user: Any = None
        self._outer_entries: list[tuple[int, Token[int] | None, int, Any]] | None = None
        self.classification = None

    def enter(self) -> Self:
        """Begin the block, for who leaves it in another function and cannot write ``with``.

        Keep it until then: a block that nobody can leave any more has ended.
        """
        # All that may raise, as a signal handler does, comes before anything of the block changes.
        slot = enter(self.operation, innermost.get())
        held = None
        if _begin_user is not None:
            try:
                held = _begin_user()
            except BaseException:
                leave(slot)
                raise
        if self._start_nano:
            self._keep_outer_entry()
        self._user = held
        self._slot = slot
        self._start_nano = monotonic_ns()
        if slot:
            # Without a slot (none free, or no domain) the enclosing operation stays the parent.
            self._before = innermost.set(slot)
        return self

    def leave(
        self,
        exc: BaseException | None = None,
        own_frames: int = 0,
        user: Callable[[], str | int | None] | None = None,
    ) -> bool:
        """End the block, with ``exc`` if it failed (`failed`); whether to swallow that."""
        swallowed = False
        try:
            if exc is not None:
                swallowed = self.failed(exc, own_frames, user)
        finally:
            self._end()
        return swallowed

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Nobody can leave it any more, as with the body of an answer that a server dropped. What a
        # process was doing when it ended stays.
        # What could not be made has no such fields, and a signal handler may have come between two.
        is_open = getattr(self, "_slot", 0) or getattr(self, "_start_nano", 0)
        if is_open and not is_finalizing():
            if _references(self) == _DROPPED:
                self._end_all()
            else:
                # The garbage collector comes at any time, in the middle of a change of the context
                # too, whose table up to CPython 3.11 must not change then; and what this thread
                # does now has long been something else.
                Context().run(self._end_all)

    def __enter__(self) -> Self:
        return Block.enter(self)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None:
            self._end()
            return False
        return self.leave(exc)

    def _duration_nano(self) -> int:
        """Nanoseconds since the block began; 0 before that and after its end."""
        return monotonic_ns() - self._start_nano if self._start_nano else 0

    def _types_of(self, types: Any) -> Any:
        is_one = isinstance(types, type) and issubclass(types, BaseException)
        return (types,) if is_one else self._types(types)

    def _end(self) -> None:
        before, held = self._before, self._user
        leave(self._slot)
        self._slot = 0
        self._before = self._user = None
        self._start_nano = 0
        try:
            if before is not None:
                innermost.reset(before)
        except ValueError:
            pass  # left in another context than it was entered in, as a generator may be
        finally:
            if self._outer_entries:
                self._slot, self._before, self._start_nano, self._user = self._outer_entries.pop()
            if held is not None:
                try:
                    _end_user(held)
                except BaseException:  # a signal handler's, before the end or in the middle of it
                    _end_user(held)
                    raise

    def _end_all(self) -> None:
        while self._slot or self._start_nano:
            self._end()

    def _keep_outer_entry(self) -> None:
        """Let the entries of one object that is entered again before it was left nest."""
        if self._outer_entries is None:
            self._outer_entries = []
        self._outer_entries.append((self._slot, self._before, self._start_nano, self._user))
        self._before = self._user = None


def _plain_text(operation: object) -> str:
    """An operation that is a string of a subclass, such as an enum's, as a plain one."""
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a string, got {operation!r}: write @capture('name')")
    return str.__str__(operation)
