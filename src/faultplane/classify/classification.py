"""The answer to "what is this error?": one immutable, hashable value.

>>> declined = Classification("BusinessLogic", rule="card declined")
>>> declined.retryable, declined.severity.value, declined.counts_as.value
(False, 'Low', 'success')
>>> declined.replace(severity="Medium").severity_number
13
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, NoReturn, final

from faultplane import schema
from faultplane.classify.kinds import (
    CATEGORY_CODES,
    KIND_CODES,
    KINDS,
    SEVERITY_NUMBERS,
    Category,
    CountsAs,
    Kind,
    Origin,
    ReachedServer,
    RecoveryStrategy,
    Severity,
)
from faultplane.errors import InvalidSetting

__all__ = ["FIELDS", "RETRY_AFTER_SECONDS_MAX", "RULE_CHARACTERS_MAX", "Classification", "shared"]

FIELDS: Final = (
    "kind", "category", "severity", "retryable", "temporary", "recovery_strategy", "retry_after",
    "origin", "reached_server", "counts_as", "confidence", "rule",
)  # fmt: skip
"""What a classification says, in order; equality and hash are over these."""

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
"""Longest wait that ``retry_after`` can ask for; parsers cut longer ones to it."""
RULE_CHARACTERS_MAX: Final = 255
SHARED_MAX: Final = 4096
"""Derived classifications kept so that equal ones are one object."""

_WORDS: Final[dict[str, dict[object, Any]]] = {
    name: {member.value: member for member in vocabulary}
    for name, vocabulary in (
        ("kind", Kind),
        ("category", Category),
        ("severity", Severity),
        ("recovery_strategy", RecoveryStrategy),
        ("origin", Origin),
        ("reached_server", ReachedServer),
        ("counts_as", CountsAs),
    )
}
"""Members of each vocabulary by their text; a member equals its text, so it finds itself."""


def _word(name: str, value: object) -> Any:
    """Member of the vocabulary of field ``name`` that ``value`` (it, or its text) stands for."""
    try:
        return _WORDS[name][value]
    except (KeyError, TypeError):
        words = ", ".join(map(str, _WORDS[name]))
        raise InvalidSetting(f"{name} must be one of {words}, got {value!r}") from None


def _flag(name: str, value: object) -> bool:
    if type(value) is not bool:
        raise InvalidSetting(f"{name} must be True or False, got {value!r}")
    return value


def _number(name: str, value: Any, bound: float) -> float:
    if type(value) not in (int, float) or not 0 <= value <= bound:  # NaN is refused as well
        raise InvalidSetting(f"{name} must be 0 to {bound:g}, got {value!r}")
    return float(value)


@final
class Classification:
    """What is known about one error. What is left out follows from ``kind``.

    Args:
        kind: one of `Kind`, or its text. The words of the other fields may be text too.
        category: the area it belongs to.
        severity: Low, Medium, High or Critical; ``severity_number`` is its OpenTelemetry number.
        retryable: making the same call again is worth a try.
        temporary: the cause may go away by itself.
        recovery_strategy: what helps.
        retry_after: seconds to wait before the next try, 0 to 86,400; None = not said.
        origin: caller, path or target.
        reached_server: no, unknown or yes: whether the other side may have acted on the call.
        counts_as: success, failure or ignored: what it says about the health of the other side.
        confidence: 0 to 1.
        rule: which rule said so, at most 255 characters.

    Raises:
        InvalidSetting: (a ``ValueError``) a value outside its vocabulary or bounds.
    """

    __slots__ = (*FIELDS, "_hash", "category_code", "flag_bits", "kind_code", "severity_number")

    kind: Kind
    category: Category
    severity: Severity
    retryable: bool
    temporary: bool
    recovery_strategy: RecoveryStrategy
    retry_after: float | None
    origin: Origin
    reached_server: ReachedServer
    counts_as: CountsAs
    confidence: float
    rule: str
    severity_number: int
    kind_code: int
    category_code: int
    flag_bits: int
    _hash: int

    def __init__(
        self,
        kind: Kind | str,
        *,
        category: Category | str | None = None,
        severity: Severity | str | None = None,
        retryable: bool | None = None,
        temporary: bool | None = None,
        recovery_strategy: RecoveryStrategy | str | None = None,
        retry_after: float | None = None,
        origin: Origin | str | None = None,
        reached_server: ReachedServer | str | None = None,
        counts_as: CountsAs | str | None = None,
        confidence: float | None = None,
        rule: str = "",
    ) -> None:
        put = object.__setattr__
        implied = KINDS[_word("kind", kind)]
        put(self, "kind", _word("kind", kind))
        for name, given in (
            ("category", category),
            ("severity", severity),
            ("recovery_strategy", recovery_strategy),
            ("origin", origin),
            ("reached_server", reached_server),
            ("counts_as", counts_as),
        ):
            put(self, name, getattr(implied, name) if given is None else _word(name, given))
        for name, said in (("retryable", retryable), ("temporary", temporary)):
            put(self, name, getattr(implied, name) if said is None else _flag(name, said))
        for name, number, bound in (
            ("retry_after", retry_after, RETRY_AFTER_SECONDS_MAX),
            ("confidence", confidence, 1.0),
        ):
            known = getattr(implied, name) if number is None else _number(name, number, bound)
            put(self, name, known)
        if type(rule) is not str or len(rule) > RULE_CHARACTERS_MAX:
            raise InvalidSetting(
                f"rule must be text of at most {RULE_CHARACTERS_MAX} characters, got {rule!r:.300}"
            )
        put(self, "rule", rule)
        put(self, "severity_number", SEVERITY_NUMBERS[self.severity])
        put(self, "kind_code", KIND_CODES[self.kind])
        put(self, "category_code", CATEGORY_CODES[self.category])
        bits = schema.FLAG_RETRYABLE if self.retryable else 0
        put(self, "flag_bits", bits | (schema.FLAG_TEMPORARY if self.temporary else 0))
        put(self, "_hash", hash(_values(self)))

    def replace(self, **changes: Any) -> Classification:
        """Copy with some fields changed; None brings back what the kind implies."""
        if unknown := changes.keys() - set(FIELDS):
            raise TypeError(f"Classification has no field {', '.join(sorted(unknown))}")
        return Classification(**{**dict(zip(FIELDS, _values(self), strict=True)), **changes})

    __replace__ = replace

    def to_dict(self) -> dict[str, str | bool | float | None]:
        """Every field by name, as plain text, numbers, truth values and None."""
        return {
            name: value.value if isinstance(value, StrEnum) else value
            for name, value in zip(FIELDS, _values(self), strict=True)
        }

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Classification:
            return NotImplemented
        return self._hash == other._hash and _values(self) == _values(other)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        kind, *rest = self.to_dict().items()
        return f"Classification({kind[1]!r}, {', '.join(f'{n}={v!r}' for n, v in rest)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Classification is immutable; use replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Classification is immutable; {name} cannot be deleted")

    def __reduce__(self) -> tuple[Callable[..., Classification], tuple[dict[str, Any]]]:
        return _rebuild, (self.to_dict(),)


_values: Final[Callable[[Classification], tuple[Any, ...]]] = attrgetter(*FIELDS)


def _rebuild(values: dict[str, Any]) -> Classification:
    return Classification(**values)


_shared: dict[Classification, Classification] = {}


def shared(answer: Classification) -> Classification:
    """The one object that stands for all classifications equal to ``answer``.

    At most ``SHARED_MAX`` are remembered; then the memory starts anew.
    """
    known = _shared.get(answer)
    if known is not None:
        return known
    if len(_shared) >= SHARED_MAX:
        _shared.clear()
    return _shared.setdefault(answer, answer)
