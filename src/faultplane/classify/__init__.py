"""What an exception is: its kind, how bad it is, and what helps.

`classify` answers for one exception. `register_rule` and `rule` say how the application's own
exceptions are to be classified; packages do so by an entry point in the group
``faultplane.rules``, which `load_entry_points` (called by ``init()``) loads.

Importing this package makes its rules those of the core that this process runs, and reads none of
them: `load` does, which ``init()`` calls, and else the first error of the process. The tables of
other people's libraries are read by then for those that the program has loaded, and for others
with their first error.
"""

from __future__ import annotations

from _thread import get_ident

from faultplane import _backend

TYPE_CHECKING = False  # `typing` alone takes longer to import than this package does
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from faultplane.classify.classification import Classification
    from faultplane.classify.entry_points import load_entry_points
    from faultplane.classify.judgement import Judgement
    from faultplane.classify.kinds import (
        KINDS,
        Category,
        CountsAs,
        Kind,
        KindDefaults,
        Origin,
        ReachedServer,
        RecoveryStrategy,
        Severity,
        category_of_code,
        kind_of_code,
        severity_of_number,
    )
    from faultplane.classify.rules import (
        Registration,
        register_rule,
        registered_rules,
        rule,
        type_name,
        unregister_rule,
    )

__all__ = [
    "KINDS",
    "Category",
    "Classification",
    "CountsAs",
    "Kind",
    "KindDefaults",
    "Origin",
    "ReachedServer",
    "RecoveryStrategy",
    "Registration",
    "Severity",
    "category_of_code",
    "classify",
    "classify_for_core",
    "kind_of_code",
    "load",
    "load_entry_points",
    "register_rule",
    "registered_rules",
    "rule",
    "severity_of_number",
    "type_name",
    "unregister_rule",
]

_LAZY = {
    "classification": "Classification",
    "entry_points": "load_entry_points",
    "kinds": "KINDS Category CountsAs Kind KindDefaults Origin ReachedServer RecoveryStrategy "
    "Severity category_of_code kind_of_code severity_of_number",
    "rules": "Registration register_rule registered_rules rule type_name unregister_rule",
}
_MODULES = {name: module for module, names in _LAZY.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_read(_MODULES[name]), name)
    globals()[name] = value
    return value


_readers: set[int] = set()
"""The threads that import a module of this package at this moment."""


def _read(module: str) -> Any:
    from importlib import import_module

    me = get_ident()
    outermost = me not in _readers
    try:
        _readers.add(me)
        return import_module(f"{__name__}.{module}")
    finally:
        if outermost:
            _readers.discard(me)


_judge: Callable[[object], Judgement] | None = None


def load() -> Callable[[object], Judgement]:
    """Read the rules, once a process; what answers for an exception.

    ``init()`` does, so that no error has to: one that is about too many open files, or that comes
    after the process has changed its root directory, could not.

    What a signal handler or a finalizer records meanwhile is unknown: an import from within an
    import breaks both.
    """
    global _judge
    if _judge is None:
        if get_ident() in _readers:
            return _undecided
        rules = _read("rules")
        _read("libraries").prepare()
        _judge = rules.classify_for_core
        _backend.core.configure(unclassified=rules.UNKNOWN)
    return _judge


def classify_for_core(exc: object) -> Judgement:
    """What the cores call for a type they have no answer for; see the function in ``rules``."""
    return (_judge or load())(exc)


class _Unknown:
    """The classification of an unknown error, before the rules could be read.

    Only for a process whose first error finds no stack or memory left, or comes while the rules are
    read. The codes are those of Internal, which the cores take where they find none.
    """

    def __getattr__(self, name: str) -> Any:
        if get_ident() in _readers:
            raise AttributeError(f"{name} is not known before the rules are read")
        return getattr(_read("judges").UNKNOWN, name)


_UNKNOWN: Any = _Unknown()


def _undecided(exc: object) -> Judgement:
    """The answer while this thread reads the rules; it is not remembered."""
    del exc
    return _UNKNOWN, 0


_backend.core.configure(classify=classify_for_core, unclassified=_UNKNOWN)

# The core's own function and no wrapper around it: a call costs as much as the answer.
classify: Callable[[BaseException], Classification] = _backend.core.classify
