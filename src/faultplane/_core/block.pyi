"""Operations in flight: their slots, and the bounds of a block that holds one."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

innermost: ContextVar[int]
"""The token of the innermost operation of this thread or asyncio task: the parent of the next."""

def enter(operation: str, parent: int = 0) -> int:
    """Say that an operation has begun; a token for leave(), 0 when no slot is free.

    ``parent`` is the token of the operation that it is a part of, 0 = none.
    """

def leave(token: int) -> None:
    """Say that the operation of ``token`` has ended; 0 and tokens of another process do nothing."""

def hold_users(begin: Callable[[], Any] | None, end: Callable[[Any], object]) -> None:
    """Have each block begin with ``begin()`` and end with ``end(held)``, if that gave anything.

    Without ``begin`` (None) blocks that begin from now on hold nobody.
    """

class Block:
    """The bounds of a block of code: it is in flight from `enter` to `leave`.

    What it does with a failure is its subclass's: ``failed(exc, own_frames, user)`` says whether it
    is swallowed, and ``_types`` which types ``ignore`` and ``also`` are, where they are not one.
    """

    operation: str
    classification: Any
    _reraise: bool
    _attributes: Any
    _ignore: Any
    _also: Any
    _before: Token[int] | None
    _user: Any
    _outer_entries: list[tuple[int, Token[int] | None, int, Any]] | None
    _slot: int
    _start_nano: int

    def __init__(
        self,
        operation: str,
        reraise: bool = True,
        attributes: Any = None,
        ignore: Any = (),
        also: Any = (),
    ) -> None: ...
    def enter(self) -> Self:
        """Begin the block, for who leaves it in another function and cannot write ``with``.

        Keep it until then: a block that nobody can leave any more has ended.
        """

    def leave(
        self,
        exc: BaseException | None = None,
        own_frames: int = 0,
        user: Callable[[], str | int | None] | None = None,
    ) -> bool:
        """End the block, with ``exc`` if it failed (`failed`); whether to swallow that."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...
    def _duration_nano(self) -> int:
        """Nanoseconds since the block began; 0 before that and after its end."""
