"""What is not an error: control flow, and the types that a user asked to leave out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeGuard, cast

from faultplane.classify import type_name
from faultplane.errors import InvalidSetting

__all__ = ["IGNORE_MAX", "Ignored", "ignored_types", "is_control_flow"]

Ignored: TypeAlias = "type[BaseException] | str | Iterable[type[BaseException] | str]"
"""What ``ignore=`` takes: a class, its name as records show it, or several of either."""

IGNORE_MAX: Final = 256
"""Types in one ``ignore=``."""

_GROUP_DEPTH_MAX: Final = 8

# By type() and from the base types throughout: an exception may say that it is of another class,
# and put a property, or a metaclass one, in the place of what is asked.
_mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_members_of: Final[Callable[[BaseException], tuple[BaseException, ...]]] = (
    BaseExceptionGroup.__dict__["exceptions"].__get__
)

_CONTROL_FLOW: Final = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
)
_CONTROL_FLOW_NAMES: Final = {
    "asyncio.exceptions.CancelledError",
    "trio.Cancelled",
    "gevent._greenlet_primitives.GreenletExit",
    "greenlet.GreenletExit",
}
"""Matched by name, because naming the class would import the package. ``asyncio`` alone costs
more than everything this library imports."""


def is_control_flow(exc: BaseException) -> bool:
    """Whether ``exc`` ends something on purpose: it is neither recorded nor swallowed.

    Those are KeyboardInterrupt, SystemExit, GeneratorExit, the two ends of an iteration, the
    cancellation of asyncio, trio and gevent, and a group of nothing else.

    >>> is_control_flow(KeyboardInterrupt()), is_control_flow(KeyError())
    (True, False)
    """
    kind = type(exc)
    if issubclass(kind, _CONTROL_FLOW):
        return True
    if issubclass(kind, BaseExceptionGroup):
        return _only_control_flow(exc, _GROUP_DEPTH_MAX)
    if issubclass(kind, Exception):
        return False
    return any(type_name(base) in _CONTROL_FLOW_NAMES for base in _mro_of(kind))


def _only_control_flow(group: BaseException, depth: int) -> bool:
    if not depth:
        return False
    for member in _members_of(group):
        if issubclass(type(member), BaseExceptionGroup):
            if not _only_control_flow(member, depth - 1):
                return False
        elif not is_control_flow(member):
            return False
    return True


class _Named(type):
    """Metaclass of classes that stand for every type of one of some names.

    The core asks once for each type that it has not seen, so this is not on the path of a record.
    """

    names: frozenset[str]

    def __subclasscheck__(cls, subclass: type) -> bool:
        return any(type_name(base) in cls.names for base in _mro_of(subclass))

    def __instancecheck__(cls, instance: Any) -> bool:
        return cls.__subclasscheck__(type(instance))


def _named(names: frozenset[str]) -> type[BaseException]:
    named = _Named("Named", (BaseException,), {"names": names})
    return cast("type[BaseException]", named)


def ignored_types(ignore: Ignored) -> tuple[type[BaseException], ...]:
    """Types for ``isinstance`` from classes and names (``"KeyError"``, ``"ssl.SSLError"``).

    A name whose module is not imported yet is matched when an exception of it turns up, so that
    nothing has to be imported to be ignored. At most `IGNORE_MAX`. Anything but a class of
    exceptions or a name raises `InvalidSetting`.

    >>> issubclass(FileNotFoundError, ignored_types(["OSError", KeyError]))
    True
    """
    given: object = ignore  # whatever a caller without a type checker gave
    if not isinstance(given, (str, type, Iterable)):
        raise InvalidSetting(f"ignore must hold exception classes or names, got {given!r}")
    wanted = [ignore] if isinstance(ignore, (str, type)) else list(ignore)
    if len(wanted) > IGNORE_MAX:
        raise InvalidSetting(f"ignore must have at most {IGNORE_MAX} types, got {len(wanted)}")
    types: list[type[BaseException]] = []
    names: set[str] = set()
    for entry in wanted:
        if isinstance(entry, str):
            kind = _imported(entry)
            if kind is None:
                names.add(entry.removeprefix("builtins."))
            else:
                types.append(kind)
        elif _is_exception_type(entry):
            types.append(entry)
        else:
            raise InvalidSetting(f"ignore must hold exception classes or names, got {entry!r}")
    if names:
        types.append(_named(frozenset(names)))
    return tuple(types)


def _imported(name: str) -> type[BaseException] | None:
    """The class of that name, where its module is already imported."""
    module, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(module or "builtins"), attribute, None)
    return kind if _is_exception_type(kind) else None


def _is_exception_type(value: object) -> TypeGuard[type[BaseException]]:
    return isinstance(value, type) and issubclass(value, BaseException)
