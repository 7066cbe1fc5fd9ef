"""From an exception to its classification: user rules first, then the built-in tables.

Order of precedence, which ends at the first answer:

1. User rules. Along the type's method resolution order, so a rule for a class beats one for its
   base; for one class the newest rule first. A rule function that returns None has no opinion.
2. The built-in row for the type itself, of the standard library's table or of a library's.
3. The built-in row of its nearest base that has one.
4. Internal, of low confidence, with the rule ``default``; a ``__cause__`` that is known answers
   for an exception that is not.

A user rule for a base therefore also beats the built-in row of every subclass: a rule for OSError
answers for ConnectionRefusedError as well, unless it returns None.

>>> class OutOfStock(Exception):
...     pass
>>> with register_rule(OutOfStock, kind="BusinessLogic"):
...     judge_exception(OutOfStock())[0].kind.value
'BusinessLogic'
>>> judge_exception(OutOfStock())[0].rule
'default'
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from faultplane import _backend, schema
from faultplane.classify import libraries
from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import BY_TYPE, NEVER, Judgement, Remembered, narrower
from faultplane.classify.judges import UNKNOWN
from faultplane.classify.kinds import Kind
from faultplane.classify.stdlib import BUILT_IN
from faultplane.errors import InvalidSetting

__all__ = [
    "EXAMINED_MAX",
    "RULES_MAX",
    "Answer",
    "Registration",
    "RuleFunction",
    "classify_for_core",
    "judge_exception",
    "register_rule",
    "registered_rules",
    "rule",
    "type_name",
    "unregister_rule",
]

RULES_MAX: Final = 4096
"""User rules that can be registered at one time."""
EXAMINED_MAX: Final = 64
"""Exceptions looked at for one classification, members and causes of members included."""
TYPE_NAME_CHARACTERS_MAX: Final = 512

Answer = Classification | Kind | str | None
RuleFunction = Callable[[Any], Answer]
_Function = TypeVar("_Function", bound=RuleFunction)

# Straight from ``type``: a metaclass can neither answer in its place nor raise.
_mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_module_of: Final[Callable[[type], object]] = type.__dict__["__module__"].__get__
_qualname_of: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__


def type_name(cls: type) -> str:
    """Name of a type as rules and the ``type`` column of a record have it.

    Module and qualified name, ``builtins.`` left off; "?" for a module that is no text.

    >>> type_name(ValueError), type_name(threading.BrokenBarrierError)
    ('ValueError', 'threading.BrokenBarrierError')
    """
    try:
        module = _module_of(cls)
    except AttributeError:
        module = None
    if type(module) is not str:
        module = "?"
    qualname = _qualname_of(cls)
    return qualname if module == "builtins" else f"{module}.{qualname}"


# ------------------------------------------------------------------------------ user rules


class Registration:
    """A user rule in force: what `register_rule` returns.

    ``unregister()`` takes it back; as a context manager it does so at the end of the block.
    ``failures`` counts how often its function raised or returned no answer that can be used,
    ``last_failure`` says how: the exception was then classified as if the rule did not exist.
    """

    __slots__ = (
        "answer", "cacheable", "failures", "function", "last_failure", "serial", "target", "type_",
    )  # fmt: skip

    def __init__(
        self,
        target: str,
        type_: type | None,
        answer: Classification | None,
        function: RuleFunction | None,
        cacheable: bool,
    ) -> None:
        self.target = target
        self.type_ = type_
        self.answer = answer
        self.function = function
        self.cacheable = cacheable
        self.failures = 0
        self.last_failure: str | None = None
        self.serial = 0

    def ask(self, exc: BaseException) -> Classification | None:
        """This rule's answer; None without one, which includes a function that failed."""
        if self.function is None:
            return self.answer
        try:
            said = self.function(exc)
            if said is None:
                return None
            if not isinstance(said, Classification):
                said = Classification(said)
            if not said.rule:
                said = said.replace(rule=_rule_text(self.target))
            return shared(said)
        except Exception as error:  # noqa: BLE001 - user code must not break what records
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        """Count it; the first time, warn. Kept as text: an exception would keep its frames."""
        self.failures += 1
        try:
            self.last_failure = f"{type_name(type(error))}: {error}"[:1000]
        except Exception:  # noqa: BLE001 - its __str__ may raise as well
            self.last_failure = type_name(type(error))
        if self.failures == 1:
            warnings.warn(
                f"classification rule for {self.target} failed and is passed over: "
                f"{self.last_failure}",
                RuntimeWarning,
                stacklevel=2,
            )

    def unregister(self) -> None:
        """Take the rule back. Does nothing the second time."""
        _rules.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unregister()

    def __repr__(self) -> str:
        what = self.function if self.answer is None else self.answer
        return f"<rule for {self.target}: {what!r}>"


def _rule_text(target: str) -> str:
    return f"user:{target}"[:255]


class _Rules:
    """User rules by type. Readers take no lock: each change puts a new table in place."""

    def __init__(self) -> None:
        # Reentrant: a flush may drop the last reference to something whose __del__ registers.
        self._lock = threading.RLock()
        self._serial = 0
        self.version = 0
        # By id(type), which a hostile metaclass cannot hash wrongly, or by name. The
        # registration holds the type, so that its id is not given to another.
        self.table: dict[int | str, tuple[Registration, ...]] = {}

    def __iter__(self) -> Iterator[Registration]:
        found = {entry for entries in self.table.values() for entry in entries}
        return iter(sorted(found, key=lambda entry: -entry.serial))

    def add(self, entry: Registration) -> None:
        with self._lock:
            if sum(map(len, self.table.values())) >= RULES_MAX:
                raise InvalidSetting(f"at most {RULES_MAX} rules can be registered")
            self._serial += 1
            entry.serial = self._serial
            key = self._key(entry)
            self._publish({**self.table, key: (entry, *self.table.get(key, ()))})

    def remove(self, entry: Registration) -> None:
        with self._lock:
            key = self._key(entry)
            left = tuple(kept for kept in self.table.get(key, ()) if kept is not entry)
            table = {**self.table, key: left}
            if not left:
                del table[key]
            self._publish(table)

    def candidates(self, cls: type) -> tuple[Registration, ...]:
        """Rules for exactly ``cls``, newest first."""
        by_type = self.table.get(id(cls), ())
        by_name = self.table.get(type_name(cls), ())
        if by_type and by_name:
            return tuple(sorted(by_type + by_name, key=lambda entry: -entry.serial))
        return by_type or by_name

    @staticmethod
    def _key(entry: Registration) -> int | str:
        return entry.target if entry.type_ is None else id(entry.type_)

    def _publish(self, table: dict[int | str, tuple[Registration, ...]]) -> None:
        self.table = table
        self.version += 1
        # Last: an answer that a core keeps after this was made with the new table.
        _backend.core.flush_caches()


_rules: Final = _Rules()


def register_rule(
    target: type[BaseException] | str,
    function: RuleFunction | None = None,
    *,
    kind: Kind | str | None = None,
    cacheable: bool = False,
    **fields: Any,
) -> Registration:
    """Say how exceptions of a type, and of its subclasses, are classified in this process.

    Args:
        target: the type, or its name as the ``type`` column of a record shows it
            (``"httpx.ReadTimeout"``): by name nothing is imported.
        function: takes the exception; returns a `Classification`, a kind, or None for no opinion.
            It runs while an error is being recorded: it should be quick and must not block.
        kind: instead of a function, the kind; further keywords are fields of `Classification`.
        cacheable: the function promises an answer that depends on nothing but the type and, for an
            OSError, the errno, so it is asked once for each. Without it, it is asked every time.

    Returns:
        The registration: ``unregister()`` takes it back, and ``with`` does at the end of a block.

    Raises:
        TypeError: ``target`` is neither an exception type nor text, or there is not exactly one of
            ``function`` and ``kind``.
        InvalidSetting: (a ``ValueError``) a field outside its vocabulary or bounds, more than
            4,096 rules, or ``retryable=True`` for a type that is not an Exception: cancellation
            and exit are never retried.

    >>> rule = register_rule("shop.errors.Declined", kind="BusinessLogic", severity="Medium")
    >>> rule.unregister()
    """
    if isinstance(target, str):
        name, type_ = target.removeprefix("builtins."), None
        if not name or len(name) > TYPE_NAME_CHARACTERS_MAX:
            raise InvalidSetting(
                f"target must be 1 to {TYPE_NAME_CHARACTERS_MAX} characters, got {len(name)}"
            )
    elif _is_exception_type(target):
        name, type_ = type_name(target), target
    else:
        raise TypeError(f"target must be an exception type or its name, got {target!r}")
    if (function is None) == (kind is None):
        raise TypeError("exactly one of function and kind must be given")
    if function is not None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
        if fields:
            raise TypeError(f"{', '.join(sorted(fields))} can be given with kind only")
        answer = None
    else:
        assert kind is not None
        answer = shared(Classification(kind, **{"rule": _rule_text(name), **fields}))
        if answer.retryable and type_ is not None and not issubclass(type_, Exception):
            raise InvalidSetting(f"retryable must be False for {name}, got True")
        cacheable = True
    entry = Registration(name, type_, answer, function, cacheable)
    _rules.add(entry)
    return entry


def rule(
    target: type[BaseException] | str,
    *more: type[BaseException] | str,
    cacheable: bool = False,
) -> Callable[[_Function], _Function]:
    """Decorate a function to be the rule for one or more exception types.

    The function is returned as it is; ``unregister_rule(function)`` takes the rule back. Arguments
    are those of `register_rule`.

    >>> @rule("shop.errors.Throttled")
    ... def throttled(exc):
    ...     return Classification("RateLimit", retry_after=exc.wait_seconds)
    >>> unregister_rule(throttled)
    1
    """

    def decorate(function: _Function) -> _Function:
        entries: list[Registration] = []
        try:
            entries.extend(
                register_rule(each, function, cacheable=cacheable) for each in (target, *more)
            )
        except BaseException:
            for entry in entries:
                entry.unregister()
            raise
        return function

    return decorate


def unregister_rule(function: RuleFunction) -> int:
    """Take back every rule whose function is ``function``; returns how many there were."""
    entries = [entry for entry in _rules if entry.function is function]
    for entry in entries:
        entry.unregister()
    return len(entries)


def registered_rules() -> list[Registration]:
    """User rules in force, newest first."""
    return list(_rules)


def _is_exception_type(target: object) -> bool:
    return isinstance(target, type) and issubclass(target, BaseException)


# ----------------------------------------------------------------------------- judgement


class _Inquiry:
    """One classification under way: bounded in depth and in how much it looks at."""

    __slots__ = ("_clock", "_left", "_open")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = EXAMINED_MAX
        self._open: list[object] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def judge(self, inner: object) -> Judgement | None:
        """Judgement on ``inner``; None if it is no exception, or a cycle, or nested too deep."""
        # By type(): isinstance() would ask the object for its __class__.
        if not issubclass(type(inner), BaseException):
            return None
        deep = self._left == 0 or len(self._open) > schema.CHAIN_MAX
        if deep or any(outer is inner for outer in self._open):
            return None
        self._left -= 1
        self._open.append(inner)
        found = self._resolve(inner)  # type: ignore[arg-type]
        self._open.pop()
        return found

    def _resolve(self, exc: BaseException) -> Judgement:
        """Judgement on one exception, by the order of precedence in the module's text."""
        line = _mro_of(type(exc))
        remembered: Remembered = BY_TYPE
        if _rules.table:
            for cls in line:
                for entry in _rules.candidates(cls):
                    if not entry.cacheable:
                        remembered = NEVER
                    said = entry.ask(exc)
                    if said is not None:
                        return said, remembered
        for cls in line:
            name = type_name(cls)
            row = BUILT_IN.get(name)
            if row is None:
                try:
                    row = libraries.row_of(name)
                except libraries.Unread:
                    remembered = NEVER
            if row is not None:
                if row.judge is None:
                    return row.answer, remembered
                answer, lasting = row.judge(exc, row.answer, self)
                return answer, narrower(remembered, lasting)
        return UNKNOWN, remembered


def judge_exception(exc: object, clock: Callable[[], float] = time.time) -> Judgement:
    """Classification of ``exc``, and what it may be remembered by.

    The latter as `faultplane.classify.judgement` says. Anything but an exception is unknown.
    ``clock`` gives seconds since the epoch, for waits that are said as a date.
    """
    found = _Inquiry(clock).judge(exc)
    if found is None:
        return UNKNOWN, NEVER
    answer, remembered = found
    # Cancellation and exit are never retried, whatever a rule says. A group counts as what it is.
    if answer.retryable and not issubclass(type(exc), (Exception, BaseExceptionGroup)):
        answer = shared(answer.replace(retryable=False))
    return answer, remembered


_UNDECIDED: Final[Judgement] = (UNKNOWN, NEVER)


def classify_for_core(exc: object) -> Judgement:
    """What the cores call for a type they have no answer for. Never raises.

    The second value says what the answer may be remembered by, see
    `faultplane.classify.judgement`. Where a hostile exception gets in the way, or the interpreter
    runs out of stack or memory, the answer is Internal and not to be remembered.
    """
    try:
        return judge_exception(exc)
    except BaseException:  # noqa: BLE001 - recording an error must not raise another
        return _UNDECIDED
