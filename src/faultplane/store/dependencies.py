"""Dependencies of a store as rows: what state each is in, since when, why, and who said so.

Read without a lock, from any process. Cells that were left from before the last start of the host
are nobody's, and are not shown.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from faultplane import control_schema as layout
from faultplane.errors import DomainNotFound, FaultplaneError
from faultplane.store import deaths, owners, retried
from faultplane.store.control import CellState, ControlFile, Transition
from faultplane.store.domain import Store

_TIMED: Final = ("open", "half-open")

FIELDS: Final = {
    "store": "name of the store directory",
    "name": "name of the dependency",
    "state": "of the breaker: closed, open, half-open, forced-open, disabled or metrics-only; "
    '"" = it has none',
    "since_unix_nano": "when it came into that state; 0 = it was never in another",
    "cause": 'why, one of `control_schema.CAUSES`; "" = it was never in another',
    "time_left_seconds": "until probes are let through, or the next ones; None = no such time",
    "generation": "transitions so far, modulo 2**18",
    "window_seconds": "length of the breaker's window; None = it is of calls, or there is none",
    "window_calls": "calls in the window",
    "window_failures": "of these, failures",
    "window_slow": "of these, slow",
    "failures_in_a_row": "counted where the breaker asks for them",
    "probes_under_way": "probes that have not ended",
    "probes_max": "probes that it takes to close; None = it has no breaker",
    "permits": "calls under way",
    "permits_max": "calls that may be under way at once; None = any number",
    "tokens": "tokens in the retry budget; None = it has none",
    "tokens_held": "of these, held by retries that wait",
    "tokens_max": "tokens that it keeps at most; None = it has no budget",
    "rate": "calls a second that may be made; None = any number",
    "rate_tokens": "calls that may be made at once now; None = any number",
    "failures": "exact total since the dependency was first used: calls that failed",
    "slow": "total of calls that were slow",
    "ignored": "total of calls that said nothing of the other side",
    "rejected": "total of calls that the breaker did not let through",
    "late": "total of results that came after the breaker had changed",
    "probes": "total of probes",
    "opened": "times the breaker opened",
    "closed": "times it closed",
    "retries": "total of retries sent",
    "recovered": "total of calls that a retry helped",
    "budget_exhausted": "total of retries that the budget did not allow",
    "full": "total of calls that the limit did not let through",
    "timeouts": "total of tries that took too long",
    "gave_up": "total of calls that failed in their last try",
    "fallbacks": "total of calls that a fallback answered",
    "reclaimed": "total of what dead processes held and others took back",
    "rate_limited": "total of calls that the rate limit did not let through",
    "health": 'what health checks say: healthy or unhealthy; "" = none was made',
    "health_since_unix_nano": "when they came to say so; 0 = never",
    "health_age_seconds": "since the last check; None = none was made",
    "checks": "total of health checks",
    "checks_failed": "of these, failed",
    "retries_by_kind": "of each kind of error retries that helped lately and that did not, where a "
    "backoff is adaptive",
    "retries_by_type": "the same of types of error, where they are learned of; one that no error "
    "is counted of any more is the hash of its name",
    "retry_seconds_recent": "what retries took that ended well, lately; None = none did",
    "retry_seconds_usual": "what they usually take",
    "declared_unix_nano": "when the declaration that governs was made",
    "declared_by": "incarnation of the process that made it",
    "declared_service": 'its service, as far as it is still known, else ""',
    "declared_pid": "its process id, as far as it is still known, else 0",
    "declaration": "what it declares",
    "differs": "times that another declaration was met",
    "other_unix_nano": "when the last of these was made",
    "other_by": "incarnation of the process that made it",
    "other_service": "its service, as far as it is still known",
    "other_pid": "its process id, as far as it is still known",
    "other": "what that one declares; None = there is no other",
}
"""What a row of `rows` holds. Totals are of all processes together, the dead included."""

TRANSITION_FIELDS: Final = {
    "store": "name of the store directory",
    "name": "name of the dependency",
    "generation": "number of the transition, modulo 2**18",
    "before": "state that the breaker was in",
    "after": "state that it came into",
    "cause": "why, one of `control_schema.CAUSES`",
    "time_unix_nano": "when",
    "incarnation": "of the process whose call it was, as in the owner column of records; 0 = of "
    "none that shares the store",
    "service": 'service of that process, as far as it is still known, else ""',
    "pid": "its process id, as far as it is still known, else 0",
    "calls": "calls in the window then; 0 where they were not what decided",
    "failures": "of these, failures",
    "slow": "of these, slow",
}
"""What a row of `transition_rows` holds."""


class Process(NamedTuple):
    """Who a process was; "" and 0 where that is not known any more."""

    service: str = ""
    pid: int = 0


def cells(store: Store) -> list[CellState]:
    """The cells of a store in the order in which they were taken, which stays the same.

    None where no dependency was used since the host started.

    Raises what says that the file is there and cannot be read: FaultplaneError or OSError.
    """
    try:
        with ControlFile.open(store) as file:
            return list(map(file.read, range(file.cells_used if file.same_boot else 0)))
    except DomainNotFound:
        return []


def problems(store: Store) -> list[str]:
    """Why the dependencies of a store cannot be read, a sentence; none where they can."""
    try:
        cells(store)
    except (FaultplaneError, OSError) as error:
        return [f"{store.path}: {error}"]
    return []


def _readable(store: Store) -> list[CellState]:
    try:
        return cells(store)
    except (FaultplaneError, OSError):
        return []  # `problems` says so


def processes(store: Store, incarnations: Collection[int]) -> dict[int, Process]:
    """Who these owners were: those that have a slot, or whose death is recorded."""
    wanted = set(incarnations) - {0}
    found = {
        row.incarnation: Process(row.service, row.pid)
        for row in (owners.read_owners(store) if wanted else ())
        if row.incarnation in wanted
    }
    if wanted - found.keys():
        for row in deaths.read_deaths(store):
            if row["incarnation"] in wanted:
                found.setdefault(row["incarnation"], Process(row["service"], row["pid"]))
    return found


def rows(store: Store, now_ms: int | None = None) -> list[dict[str, Any]]:
    """Every dependency of a store by name, with `FIELDS`; times left are counted from ``now_ms``.

    What cannot be read is left out: `problems` says so.
    """
    now = time.monotonic_ns() // 1_000_000 if now_ms is None else now_ms
    found = sorted(_readable(store), key=lambda cell: cell.name)
    who = processes(store, [by for cell in found for by in (cell.declared_by, cell.other_by)])
    names = retried.type_names(store) if any(cell.retried.types for cell in found) else {}
    return [
        _row(store.name, cell, who, retried.as_rows(cell.retried, names), now) for cell in found
    ]


def _row(
    store: str, cell: CellState, who: dict[int, Process], retries: dict[str, Any], now_ms: int
) -> dict[str, Any]:
    config = cell.config
    last = last_transition(cell)
    declared, other = (who.get(by, Process()) for by in (cell.declared_by, cell.other_by))
    timed = cell.state in _TIMED and config["probes"]
    return {
        "store": store,
        "name": cell.name,
        "state": state(cell),
        "since_unix_nano": last.time_unix_nano if last else 0,
        "cause": last.cause if last else "",
        "time_left_seconds": max(cell.until_ms - now_ms, 0) / 1000 if timed else None,
        "generation": cell.generation,
        "window_seconds": config["window_ms"] / 1000 or None,
        "window_calls": cell.calls,
        "window_failures": cell.failures,
        "window_slow": cell.slow,
        "failures_in_a_row": cell.streak,
        "probes_under_way": cell.probes,
        "probes_max": config["probes"] or None,
        "permits": cell.permits,
        "permits_max": config["limit"] or None,
        "tokens": cell.tokens if config["capacity_milli"] else None,
        "tokens_held": cell.tokens_held,
        "tokens_max": config["capacity_milli"] / layout.MILLI or None,
        "rate": config["rate_milli"] / layout.MILLI or None,
        "rate_tokens": cell.rate_tokens if config["rate_milli"] else None,
        **cell.totals,
        "health": cell.health if cell.checks else "",
        "health_since_unix_nano": cell.health_unix_nano,
        "health_age_seconds": max(now_ms - cell.checked_ms, 0) / 1000 if cell.checks else None,
        "checks": cell.checks,
        "checks_failed": cell.checks_failed,
        **retries,
        "declared_unix_nano": cell.declared_unix_nano,
        "declared_by": cell.declared_by,
        "declared_service": declared.service,
        "declared_pid": declared.pid,
        "declaration": cell.declaration,
        "differs": cell.differs,
        "other_unix_nano": cell.other_unix_nano,
        "other_by": cell.other_by,
        "other_service": other.service,
        "other_pid": other.pid,
        "other": cell.other,
    }


def state(cell: CellState) -> str:
    """The state of the breaker by name; "" where the declaration that governs has none."""
    return cell.state if cell.config["probes"] else ""


def last_transition(cell: CellState) -> Transition | None:
    """The transition that led to the state that it is in; None where there was none.

    None, too, for the moment between a transition and its note.
    """
    last = cell.transitions[-1] if cell.transitions else None
    return last if last is not None and last.generation == cell.generation else None


def transition_rows(store: Store) -> list[dict[str, Any]]:
    """The last 16 transitions of each breaker of a store, oldest first.

    Their fields are `TRANSITION_FIELDS`. What cannot be read is left out: `problems` says so.
    """
    found = _readable(store)
    who = processes(store, [one.owner for cell in found for one in cell.transitions])
    made = [
        _transition(store.name, cell.name, one, who) for cell in found for one in cell.transitions
    ]
    return sorted(made, key=lambda row: int(row["time_unix_nano"]))


def _transition(store: str, name: str, one: Transition, who: dict[int, Process]) -> dict[str, Any]:
    by = who.get(one.owner, Process())
    return {
        "store": store,
        "name": name,
        "generation": one.generation,
        "before": one.before,
        "after": one.after,
        "cause": one.cause,
        "time_unix_nano": one.time_unix_nano,
        "incarnation": one.owner,
        "service": by.service,
        "pid": by.pid,
        "calls": one.calls,
        "failures": one.failures,
        "slow": one.slow,
    }
