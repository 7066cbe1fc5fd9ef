"""The vocabulary of a classification, and what each kind of error implies.

`KINDS` is the table: a row for every kind, a value for every property. A rule names a kind and
only what differs from its row. The words are those of `faultplane.schema`, which also gives their
codes on disk; tests compare the two.

Two properties are easily confused. ``temporary``: the cause may go away by itself. ``retryable``:
making the same call again is worth a try. A disk that is full is neither, a busy port is temporary
but no reason to call again at once, a reset connection is both.

>>> KINDS[Kind.TRANSPORT].recovery_strategy.value
'RetryWithBackoff'
>>> kind_of_code(99).value
'Internal'
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from faultplane import schema

__all__ = [
    "CATEGORY_CODES",
    "KINDS",
    "KIND_CODES",
    "SEVERITY_NUMBERS",
    "Category",
    "CountsAs",
    "Kind",
    "KindDefaults",
    "Origin",
    "ReachedServer",
    "RecoveryStrategy",
    "Severity",
    "category_of_code",
    "kind_of_code",
    "severity_of_number",
]


class Kind(StrEnum):
    """What sort of error it is."""

    TRANSPORT = "Transport"
    SERIALIZATION = "Serialization"
    CONFIGURATION = "Configuration"
    PROCESSING = "Processing"
    EXPORT = "Export"
    TIMEOUT = "Timeout"
    CONCURRENCY = "Concurrency"
    RESOURCE_EXHAUSTED = "ResourceExhausted"
    VERSION_MISMATCH = "VersionMismatch"
    INTERNAL = "Internal"
    BUSINESS_LOGIC = "BusinessLogic"
    DATA_VALIDATION = "DataValidation"
    PERMISSION = "Permission"
    RATE_LIMIT = "RateLimit"
    DEPENDENCY_SERVICE = "DependencyService"


class Category(StrEnum):
    """The area that an error belongs to."""

    NETWORK = "Network"
    DATA = "Data"
    CONFIGURATION = "Configuration"
    PROCESSING = "Processing"
    EXPORT = "Export"
    PERFORMANCE = "Performance"
    CONCURRENCY = "Concurrency"
    RESOURCE = "Resource"
    COMPATIBILITY = "Compatibility"
    SYSTEM = "System"
    BUSINESS = "Business"
    SECURITY = "Security"
    DEPENDENCY = "Dependency"


class Severity(StrEnum):
    """How bad it is; each word has an OpenTelemetry severity number."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    CRITICAL = "Critical"


class RecoveryStrategy(StrEnum):
    """What helps."""

    RETRY_WITH_BACKOFF = "RetryWithBackoff"
    INCREASE_TIMEOUT = "IncreaseTimeout"
    VALIDATE_CONFIG = "ValidateConfig"
    SCALE_RESOURCES = "ScaleResources"
    CIRCUIT_BREAK = "CircuitBreak"
    FALLBACK = "Fallback"
    FIX_CODE = "FixCode"
    MANUAL_INTERVENTION = "ManualIntervention"


class Origin(StrEnum):
    """Which side of a call the error comes from."""

    CALLER = "caller"
    PATH = "path"
    TARGET = "target"


class ReachedServer(StrEnum):
    """Whether the other side may have received, and acted on, what was sent."""

    NO = "no"
    UNKNOWN = "unknown"
    YES = "yes"


class CountsAs(StrEnum):
    """What the call says about the health of the side that was called."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


class KindDefaults(NamedTuple):
    """What a kind implies unless a rule says otherwise.

    ``retry_after`` is in seconds (None = not said), ``confidence`` from 0 to 1.
    """

    category: Category
    severity: Severity
    retryable: bool
    temporary: bool
    recovery_strategy: RecoveryStrategy
    origin: Origin
    reached_server: ReachedServer
    counts_as: CountsAs
    retry_after: float | None = None
    confidence: float = 1.0


def _defaults(
    category: str,
    severity: str,
    recovery_strategy: str,
    traits: str,
    origin: str,
    reached_server: str,
    counts_as: str,
) -> KindDefaults:
    """One row; ``traits`` holds "retryable" and "temporary" where they apply."""
    said = traits.split()
    return KindDefaults(
        Category(category),
        Severity(severity),
        "retryable" in said,
        "temporary" in said,
        RecoveryStrategy(recovery_strategy),
        Origin(origin),
        ReachedServer(reached_server),
        CountsAs(counts_as),
    )


_BOTH: Final = "retryable temporary"

# A row reads: category, severity, strategy, traits, origin, reached server, counts as.
# counts_as: a refusal on grounds of the request (BusinessLogic) shows a healthy callee; an error
# in what the caller brought along (DataValidation, Permission) shows nothing about it.
KINDS: Final[Mapping[Kind, KindDefaults]] = MappingProxyType(
    {
        Kind.TRANSPORT: _defaults(
            "Network", "High", "RetryWithBackoff", _BOTH, "path", "unknown", "failure"
        ),
        Kind.SERIALIZATION: _defaults(
            "Data", "Medium", "FixCode", "", "caller", "unknown", "failure"
        ),
        Kind.CONFIGURATION: _defaults(
            "Configuration", "High", "ValidateConfig", "", "caller", "no", "failure"
        ),
        Kind.PROCESSING: _defaults(
            "Processing", "High", "FixCode", "", "caller", "unknown", "failure"
        ),
        Kind.EXPORT: _defaults(
            "Export", "Medium", "RetryWithBackoff", _BOTH, "target", "unknown", "failure"
        ),
        Kind.TIMEOUT: _defaults(
            "Performance", "Medium", "IncreaseTimeout", _BOTH, "path", "unknown", "failure"
        ),
        Kind.CONCURRENCY: _defaults(
            "Concurrency", "Medium", "RetryWithBackoff", _BOTH, "caller", "unknown", "failure"
        ),
        Kind.RESOURCE_EXHAUSTED: _defaults(
            "Resource", "Critical", "ScaleResources", "temporary", "caller", "unknown", "failure"
        ),
        Kind.VERSION_MISMATCH: _defaults(
            "Compatibility", "High", "ManualIntervention", "", "caller", "unknown", "failure"
        ),
        Kind.INTERNAL: _defaults("System", "High", "FixCode", "", "caller", "unknown", "failure"),
        Kind.BUSINESS_LOGIC: _defaults(
            "Business", "Low", "Fallback", "", "caller", "yes", "success"
        ),
        Kind.DATA_VALIDATION: _defaults(
            "Data", "Medium", "FixCode", "", "caller", "unknown", "ignored"
        ),
        Kind.PERMISSION: _defaults(
            "Security", "High", "ManualIntervention", "", "caller", "unknown", "ignored"
        ),
        Kind.RATE_LIMIT: _defaults(
            "Dependency", "Medium", "RetryWithBackoff", _BOTH, "target", "yes", "failure"
        ),
        Kind.DEPENDENCY_SERVICE: _defaults(
            "Dependency", "High", "CircuitBreak", _BOTH, "target", "yes", "failure"
        ),
    }
)
"""What each kind implies; every kind of the vocabulary has a row."""

KIND_CODES: Final[Mapping[Kind, int]] = MappingProxyType(
    {Kind(term.name): term.code for term in schema.KINDS}
)
CATEGORY_CODES: Final[Mapping[Category, int]] = MappingProxyType(
    {Category(term.name): term.code for term in schema.CATEGORIES}
)
SEVERITY_NUMBERS: Final[Mapping[Severity, int]] = MappingProxyType(
    {Severity(severity.name): severity.number for severity in schema.SEVERITIES}
)

_KINDS_BY_CODE: Final = {code: kind for kind, code in KIND_CODES.items()}
_CATEGORIES_BY_CODE: Final = {code: category for category, code in CATEGORY_CODES.items()}


def kind_of_code(code: int) -> Kind:
    """Kind with that code on disk; Internal for a code that this version does not know."""
    return _KINDS_BY_CODE.get(code, Kind.INTERNAL)


def category_of_code(code: int) -> Category:
    """Category with that code on disk; System for a code that this version does not know."""
    return _CATEGORIES_BY_CODE.get(code, Category.SYSTEM)


def severity_of_number(severity_number: int) -> Severity:
    """Word for an OpenTelemetry severity number; numbers outside 1 to 24 go to the nearest end.

    >>> [severity_of_number(number).value for number in (1, 13, 20, 24)]
    ['Low', 'Medium', 'High', 'Critical']
    """
    word = Severity.LOW
    for severity, number in SEVERITY_NUMBERS.items():
        if severity_number >= number:
            word = severity
    return word
