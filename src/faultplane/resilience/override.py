"""A breaker is put into another state by hand, for all processes of the host at once.

The core that the store belongs to does it, as it makes every transition, so that nothing that a
call does at the same moment is lost. Each change leaves a record in the domain, under the name of
the dependency: who, on which host, what, the state before and after.
"""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import (
    DependencyNotFound,
    DomainNotFound,
    FaultplaneError,
    InvalidSetting,
    StorageError,
)
from faultplane.store import Domain, lifecycle
from faultplane.store.control import CellState, ControlFile
from faultplane.store.domain import Store
from faultplane.store.owners import Registration

__all__ = [
    "ACTIONS",
    "REASON_CHARS_MAX",
    "BreakerOverridden",
    "Forgotten",
    "Override",
    "forget",
    "override",
]

REASON_CHARS_MAX: Final = 255


class Action(NamedTuple):
    """What a change is: the state that it leads to, what the transition says, what it is for."""

    state: int
    cause: int
    meaning: str


ACTIONS: Final = {
    "force-open": Action(
        layout.BREAKER_FORCED_OPEN, layout.CAUSE_FORCED, "rejects every call until it is reset"
    ),
    "disable": Action(
        layout.BREAKER_DISABLED, layout.CAUSE_FORCED, "lets every call through, and looks at none"
    ),
    "metrics-only": Action(
        layout.BREAKER_METRICS_ONLY,
        layout.CAUSE_FORCED,
        "lets every call through, and counts them without ever opening",
    ),
    "reset": Action(layout.BREAKER_CLOSED, layout.CAUSE_RESET, "closed, with an empty window"),
}


class BreakerOverridden(FaultplaneError):
    """Somebody put a breaker into another state by hand. It is recorded, and never raised.

    >>> print(BreakerOverridden("payments", "closed", "forced-open", "alice", "they are down"))
    payments: closed -> forced-open, by alice: they are down
    """

    def __str__(self) -> str:
        name, before, after, who, reason = self.args
        return f"{name}: {before} -> {after}, by {who}" + (f": {reason}" if reason else "")


class Override(NamedTuple):
    """What came of it. ``changed``: it was in another state before, or was reset.

    ``record`` is the ``seq`` of the record that tells of it, by owner ``incarnation``; None where
    nothing was changed, or no record could be written.
    """

    store: str
    name: str
    action: str
    before: str
    after: str
    changed: bool
    generation: int
    incarnation: int
    record: int | None


def override(name: str, action: str, reason: str = "") -> Override:
    """Put the breaker of ``name`` into another state, in the store that this process writes to.

    ``action`` is one of `ACTIONS`; all but "reset" do nothing where it is in that state already.
    ``reason`` (at most 255 characters) is kept with the record.

    Raises:
        InvalidSetting: another action, a longer reason, or a dependency without a breaker.
        StorageError: this process has no storage, so that others would not see it.
        DependencyNotFound: the store has no dependency of that name.
    """
    if action not in ACTIONS:
        raise InvalidSetting(f"action must be one of {', '.join(ACTIONS)}, got {action!r}")
    if len(reason) > REASON_CHARS_MAX:
        raise InvalidSetting(
            f"reason must be at most {REASON_CHARS_MAX} characters, got {len(reason)}"
        )
    owned = lifecycle.owned()
    if owned is None:
        raise StorageError(f"{name} cannot be changed from here: {lifecycle.status().reason}")
    store, registration = owned
    _find(store, name)
    with ControlFile.open_or_create(store) as file:
        index = file.find(name)
        if index is None:  # replaced in between: it is of another start of the host
            raise DependencyNotFound(f"{store.path} has no dependency {name!r}")
        cell = _cell(file, index, registration)
        state, cause, _ = ACTIONS[action]
        now = cell.state()
        if now == state and action != "reset":
            word = layout.BREAKER_STATES[now]
            return Override(store.name, name, action, word, word, False, 0, 0, None)
        before = cell.move(state, cause)
    return _told(store, name, action, before, reason)


class Forgotten(NamedTuple):
    """What was known of retries of a dependency: of how many kinds and types of error."""

    store: str
    name: str
    kinds: int
    types: int


def forget(name: str) -> Forgotten:
    """Have what retries of ``name`` have come to begin anew, in the store of this process.

    Raises StorageError and DependencyNotFound as `override` does.
    """
    owned = lifecycle.owned()
    if owned is None:
        raise StorageError(f"{name} cannot be changed from here: {lifecycle.status().reason}")
    store, registration = owned
    known = _known(store, name).retried
    with ControlFile.open_or_create(store) as file:
        index = file.find(name)
        if index is not None:
            _cell(file, index, registration).forget_retries()
    return Forgotten(store.name, name, len(known.kinds), len(known.types))


def _find(store: Store, name: str) -> None:
    """Raise where there is no breaker of that name; makes nothing."""
    if not _known(store, name).config["probes"]:
        raise InvalidSetting(f"{name} has no breaker: the declaration that governs it has none")


def _known(store: Store, name: str) -> CellState:
    """The cell of that name as it is, or DependencyNotFound; makes nothing."""
    try:
        with ControlFile.open(store) as file:
            index = file.find(name) if file.same_boot else None
            found = None if index is None else file.read(index)
    except DomainNotFound:
        found = None
    if found is None:
        raise DependencyNotFound(f"{store.path} has no dependency {name!r}")
    return found


def _cell(file: ControlFile, index: int, registration: Registration) -> Any:
    """The cell as this core changes it, without a declaration of our own."""

    def attach(cell: Any) -> None:
        cell.use(
            file.mapping,
            file.cell_offset(index),
            file.lease_offset(index),
            file.owner_slots,
            file.owners_high_offset,
            registration.slot,
            registration.incarnation,
        )

    return core.Cell(attach)


def _told(store: Store, name: str, action: str, word: int, reason: str) -> Override:
    """Record what was done, and look whether the record is there."""
    states = layout.BREAKER_STATES
    before = states[min(word >> layout.BREAKER_STATE_SHIFT, len(states) - 1)]
    after = states[ACTIONS[action].state]
    generation = (word >> layout.BREAKER_GENERATION_SHIFT) + 1 & layout.BREAKER_GENERATION_MASK
    told: dict[str, str | int] = {
        "faultplane.breaker.action": action,
        "faultplane.breaker.before": before,
        "faultplane.breaker.after": after,
        "faultplane.breaker.generation": generation,
        "process.user.id": os.getuid(),
        "process.owner": _user(),
        "process.pid": os.getpid(),
        "host.name": os.uname().nodename,
    }
    if reason:
        told["faultplane.breaker.reason"] = reason
    domain = Domain.own()
    since = domain.cursor()
    who = f"{told['process.owner']} (uid {told['process.user.id']}) on {told['host.name']}"
    core.record(BreakerOverridden(name, before, after, who, reason), name, attributes=told)
    incarnation = lifecycle.status().incarnation
    seqs = [
        row["seq"]
        for row in domain.records(since).rows(operation=name)
        if row["owner"] == incarnation and row["type"].endswith(BreakerOverridden.__name__)
    ]
    record = seqs[-1] if seqs else None
    return Override(store.name, name, action, before, after, True, generation, incarnation, record)


def _user() -> str:
    """Name of the user, or its number where it has none, as in many containers."""
    uid = os.getuid()
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)
