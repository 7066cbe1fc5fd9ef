"""Whose request it was that failed: a keyed hash in each record, where a key was given.

The hash is BLAKE2b (RFC 7693) of 8 bytes, keyed with FAULTPLANE_USER_KEY. Who has the records and
not the key cannot tell who a user is, nor try the names that he knows; who has the key can.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias

from faultplane._backend import core

__all__ = ["Cell", "Held", "User", "begin", "configure", "end", "set_user", "suggest"]

Cell = bytearray
"""The eight bytes of a hash. One object for a whole request: who sets the user in a thread or task
that runs for the request sets it for all that belongs to it."""

User: TypeAlias = str | int | None
"""What an application knows somebody by."""

USER_BYTES_MAX: Final = 1024

_current: Final[ContextVar[Cell | None]] = ContextVar("faultplane_user", default=None)
_keyed: Callable[[], Any] | None = None


def configure(key: bytes | None) -> None:
    """Keep users from now on, under hashes with ``key``; None keeps none."""
    global _keyed
    if key is None:
        _keyed = None
        core.hold_users(None, end)
        return
    from hashlib import blake2b  # what no process without a key has to import

    _keyed = blake2b(key=key, digest_size=8, person=b"faultplane").copy
    core.watch_user(_current)
    core.hold_users(begin, end)


def set_user(user: User) -> None:
    """Say whose request this is; each record of the request has the keyed hash of it from then on.

    ``user`` is the identifier that the application knows somebody by (a str, or an int, which
    counts as its decimal digits), at most 1,024 bytes of UTF-8; None takes it back. It holds for
    the outermost `capture` block around it, such as the request that a framework's integration
    began, in all threads and tasks that run for it; outside of blocks, for the thread or task.

    Nothing is kept unless FAULTPLANE_USER_KEY gave a key before ``init()``. In a record it is the
    column ``user``: the first 8 bytes of BLAKE2b keyed with it, as an unsigned integer with the
    least significant byte first, 0 = none.

    >>> set_user("alice@example.com")
    >>> set_user(None)

    Raises TypeError for another type and ValueError for more bytes, with or without a key.
    """
    text = None if user is None else _bytes_of(user)
    if _keyed is None:
        return
    cell = _current.get()
    if cell is None:
        cell = Cell(8)
        _current.set(cell)
    if text is None:
        cell[:] = bytes(8)
        return
    hashed = _keyed()
    hashed.update(text)
    # A hash of zero would be no user: one user in 2**64 shares the hash of another.
    cell[:] = hashed.digest() if any(hashed.digest()) else b"\1" + bytes(7)


def suggest(find: Callable[[], User]) -> None:
    """Take whom ``find`` gives where nobody has said whose request it is.

    For who records a failure and must not add one: what ``find`` raises is nobody.
    """
    cell = _current.get()
    if _keyed is None or (cell is not None and any(cell)):
        return
    with contextlib.suppress(Exception):
        set_user(find())


def _bytes_of(user: object) -> bytes:
    if isinstance(user, bool) or not isinstance(user, (str, int)):
        raise TypeError(f"user must be a str, an int or None, got {type(user).__name__}")
    if isinstance(user, int) and user.bit_length() > 8 * USER_BYTES_MAX // 3:
        raise ValueError(f"user must have at most {USER_BYTES_MAX} bytes, got a larger int")
    text = str(user).encode("utf-8", "surrogatepass")
    if len(text) > USER_BYTES_MAX:
        raise ValueError(f"user must have at most {USER_BYTES_MAX} bytes, got {len(text)}")
    return text


class Held:
    """A span of work that has one user: the outermost block, in every context that it runs in."""

    __slots__ = ("cell", "is_open", "tokens")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.is_open = False
        self.tokens: tuple[Token[Held | None], Token[Cell | None]] | None = None


_held: Final[ContextVar[Held | None]] = ContextVar("faultplane_user_held", default=None)

if hasattr(os, "register_at_fork"):
    # What a child does begins anew, with the user that was set when it was forked.
    os.register_at_fork(after_in_child=lambda: _held.set(None))


def begin() -> Held | None:
    """Begin what has one user: that of around it until another is set.

    None inside of what has begun and not ended, whose user it is then.
    """
    outer = _held.get()
    if outer is not None and outer.is_open:
        return None
    around = _current.get()
    held = Held(Cell(8) if around is None else Cell(around))
    held.tokens = _held.set(held), _current.set(held.cell)
    # Last: where a signal handler has raised before, nobody would end it.
    held.is_open = True
    return held


def end(held: Held) -> None:
    """End it; the user of around it is the current one again. A second call does nothing."""
    held.is_open = False
    if held.tokens is None:
        return
    before, cell_before = held.tokens
    try:
        # Not the other way round: one that has ended may stay in its variable, a user may not.
        _current.reset(cell_before)
        held.tokens = None
        _held.reset(before)
    except RuntimeError:
        held.tokens = None  # it was, and a signal handler raised before this was told
    except ValueError:
        held.tokens = None
        # Ended in another context than it was begun in, where nothing can be reset: the thread
        # there may go on to another request.
        held.cell[:] = bytes(8)
