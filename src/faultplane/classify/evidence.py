"""Reading somebody else's objects, exceptions above all, without trusting them.

A subclass may define attributes as it likes, and a metaclass may answer for a type.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, cast

__all__ = [
    "args_of",
    "attribute_of",
    "cause_of",
    "errno_of",
    "int_of",
    "members_of",
    "shown",
    "text_of",
    "traceback_of",
]

# Straight from the base types, so that a subclass cannot put a property in the way; the compiled
# core reads the same C fields.
errno_of: Final[Callable[[BaseException], object]] = OSError.__dict__["errno"].__get__
cause_of: Final[Callable[[BaseException], object]] = BaseException.__dict__["__cause__"].__get__
traceback_of: Final[Callable[[BaseException], TracebackType | None]] = BaseException.__dict__[
    "__traceback__"
].__get__
args_of: Final[Callable[[BaseException], tuple[object, ...]]] = BaseException.__dict__[
    "args"
].__get__
members_of: Final[Callable[[BaseException], tuple[BaseException, ...]]] = (
    BaseExceptionGroup.__dict__["exceptions"].__get__
)


def attribute_of(owner: object, name: str) -> Any:
    """Attribute of somebody else's object, or None where reading it fails in whatever way."""
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def shown(value: object) -> str:
    """Somebody's value as a message shows it.

    >>> shown("name"), shown(10**9999)
    ("'name'", 'a value of type int')
    """
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything; that of a huge int does
        return f"a value of type {type(value).__name__}"


def int_of(value: object) -> int | None:
    """``value`` if it is an int (HTTPStatus included), else None."""
    # By type(): isinstance() would ask the object for its __class__.
    if type(value) is bool or not issubclass(type(value), int):
        return None
    return int.__index__(cast("int", value))


def text_of(args: tuple[object, ...]) -> str:
    """The first of ``args`` as text, at most 512 characters; "" if it is neither str nor bytes."""
    first = args[0] if args else None
    if type(first) is bytes:
        return first[:512].decode("latin-1")
    return first[:512] if type(first) is str else ""
