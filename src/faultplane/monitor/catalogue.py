"""The metrics of a domain: name, kind, unit, labels and what each says.

The table of docs/prometheus.md is made from it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from faultplane import schema
from faultplane.control_schema import BREAKER_STATES

PREFIX: Final = "faultplane_"
_SERVICES: Final = "services + 1"
_STORES: Final = "stores"
_DEPENDENCIES: Final = "stores × dependencies + 1"


class Metric(NamedTuple):
    """What a metric is. ``bound`` says how many series it has at most."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    bound: str
    unit: str


def _metric(name: str, kind: str, labels: str, told: str, bound: str, unit: str = "") -> Metric:
    return Metric(PREFIX + name, kind, tuple(labels.split()), told, bound, unit)


METRICS: Final = (
    _metric("up", "gauge", "", "Whether the domain could be read.", "1"),
    _metric(
        *("build", "info", "version core domain"),
        "The faultplane that was scraped, and the domain that it read.",
        "1",
    ),
    _metric(
        *("service", "info", "service"),
        "Resource attributes of the processes that live, each set once.",
        "100",
    ),
    _metric(
        *("service_errors", "counter", "service"),
        "Errors by service; 0 from the start of its first process on.",
        _SERVICES,
    ),
    _metric(
        *("errors", "counter", "service operation kind"),
        "Errors by service, operation and kind.",
        "services × (operations + 1) + 16",
    ),
    _metric(
        *("fingerprint_errors", "counter", "service kind type fingerprint"),
        "Errors by service and fingerprint, which faultplane show explains.",
        "services × (fingerprints + 1) + 1",
    ),
    _metric(
        *("newest_fingerprint_timestamp_seconds", "gauge", "service"),
        "When the youngest fingerprint of a service was first seen; 0 is never.",
        "services",
        "seconds",
    ),
    _metric(
        *("events", "counter", "service name"),
        "What the application counted with faultplane.counter(name).",
        "services × (events + 1) + 1",
    ),
    _metric(
        *("deaths", "counter", "service how"),
        "Processes whose death is recorded, by how: exit (in order, with operations left), "
        "signal, oom, exec or unknown (SIGKILL, unhandled SIGTERM).",
        "services × 5 + 6",
    ),
    _metric(
        *("drops", "counter", "reason"),
        "Details that were not written; what they were of is counted all the same.",
        str(len(schema.DROP_REASONS)),
    ),
    _metric(
        *("breaker_state", "gauge", "dependency state"),
        "Whether the breaker of a dependency is in that state: closed, open, half-open, "
        "forced-open, disabled or metrics-only. A domain of both cores has two, and their sum.",
        f"({_DEPENDENCIES}) × {len(BREAKER_STATES)}",
    ),
    _metric(
        *("breaker_transitions", "counter", "dependency state"),
        "Times that the breaker came into that state: open or closed.",
        f"({_DEPENDENCIES}) × 2",
    ),
    _metric(
        *("dependency_failures", "counter", "dependency"),
        "Tries of guarded calls that failed.",
        _DEPENDENCIES,
    ),
    _metric(
        *("dependency_retries", "counter", "dependency"),
        "Retries that were sent.",
        _DEPENDENCIES,
    ),
    _metric(
        *("dependency_rejections", "counter", "dependency reason"),
        "Calls and retries that were not made, by reason: breaker (a call), limit (a call), rate "
        "(a call) or budget (a retry).",
        f"({_DEPENDENCIES}) × 4",
    ),
    _metric(
        *("dependency_healthy", "gauge", "dependency"),
        "Whether the dependency is healthy, as health checks last found it: 1 or 0. A domain of "
        "both cores has their sum.",
        _DEPENDENCIES,
    ),
    _metric(
        *("retry_budget_tokens", "gauge", "dependency"),
        "Tokens in the retry budget of a dependency; each is a retry.",
        _DEPENDENCIES,
    ),
    _metric(
        *("retry_budget_tokens_max", "gauge", "dependency"),
        "Tokens that it keeps at most.",
        _DEPENDENCIES,
    ),
    _metric(
        *("owners", "gauge", "service state"),
        "Processes that record, by state: alive; gone, while nobody has tidied up; silent "
        "(of another PID namespace, seemingly gone).",
        "services × 3 + 3",
    ),
    _metric("owner_slots", "gauge", "store", "Processes that a store has room for.", _STORES),
    _metric("store_bytes", "gauge", "store", "Bytes that its files take.", _STORES, "bytes"),
    _metric("store_budget_bytes", "gauge", "store", "Bytes that it may take.", _STORES, "bytes"),
    _metric(
        *("store_available_bytes", "gauge", "store"),
        "Bytes that its file system has left.",
        _STORES,
        "bytes",
    ),
    _metric("store_rows", "gauge", "store", "Rows of errors that it keeps.", _STORES),
    _metric("store_rows_max", "gauge", "store", "Rows that its segments have room for.", _STORES),
    _metric(
        *("store_rows_retired", "counter", "store"),
        "Rows that made room for newer ones.",
        _STORES,
    ),
    _metric(
        *("hidden_series", "gauge", "metric"),
        "Series of a metric that are summed as other, so that their number stays bounded.",
        "12",
    ),
    _metric(
        *("read_problems", "gauge", ""),
        "Files that could not be read, wholly or in part; faultplane doctor names them.",
        "1",
    ),
    _metric(
        *("scrape_duration_seconds", "gauge", ""),
        "Time that reading the domain took.",
        "1",
        "seconds",
    ),
)
