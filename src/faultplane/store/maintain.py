"""One step of maintenance, done by whoever is there: a monitor, a reader, a process that joins.

Under LOCK_MAINTAIN, never waiting for it. For each owner that is found dead: fence, DEAD, close
its lanes, death record, fold, free slot. Every step looks at what is there and may be repeated,
so a maintainer that is killed leaves work, not damage.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final

from faultplane import schema
from faultplane._backend import CORE_NAME, core
from faultplane.errors import CorruptFile, DomainNotFound, FaultplaneError
from faultplane.store import (
    cgroup,
    control,
    deaths,
    domain,
    files,
    fold,
    host,
    lanes,
    location,
    manner,
    owners,
    unowned,
)
from faultplane.store.domain import Store
from faultplane.store.fold import Step, no_step
from faultplane.store.owners import Life, OwnerRow

_DICTIONARY: Final = re.compile(r"(?:dict|stacks)-([0-9]{1,18})")
_GENERATIONS_KEPT: Final = 2
SLOTS_FREE_SHARE: Final = 8
"""With less than one slot in so many free, slots are given back even if a death record could not
be stored."""


class Report:
    """What one step did to one store.

    ``skipped`` says why nothing was done. ``died`` are the death records that were stored,
    ``folded``, ``lanes_closed`` and ``segments_retired`` are numbers, ``removed`` names of files
    and ``problems`` sentences.
    """

    __slots__ = (
        "died",
        "folded",
        "lanes_closed",
        "problems",
        "removed",
        "segments_retired",
        "skipped",
        "store",
    )

    def __init__(self, store: str, skipped: str = "") -> None:
        self.store = store
        self.skipped = skipped
        self.died: list[dict[str, Any]] = []
        self.folded = 0
        self.lanes_closed = 0
        self.segments_retired = 0
        self.removed: list[str] = []
        self.problems: list[str] = []

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Report({values})"


def maintain(domain_path: str) -> list[Report]:
    """One step of maintenance of every store in a domain that this process may write to.

    Raises DomainNotFound when the directory is gone, nothing else: what goes wrong is in the
    reports.
    """
    reports = []
    for path in domain.store_paths(domain_path):
        name = path.rpartition("/")[2]
        if name != location.store_name(CORE_NAME):
            # Compare-and-swap and the pure core's file locks do not exclude each other.
            reports.append(Report(name, skipped=f"not maintained by the {CORE_NAME} core"))
            continue
        try:
            with Store.open(path, writable=True) as store:
                reports.append(maintain_store(store))
        except (FaultplaneError, OSError) as error:
            reports.append(Report(name, skipped=str(error)))
    return reports


def maintain_store(store: Store, step: Step = no_step) -> Report:
    """One step of maintenance of one writable store; never raises for storage.

    ``step`` is called with a name between any two stores that others can see. In a child that a
    signal handler forks meanwhile nothing more is done: it has not the lock.
    """
    report, begun = Report(store.name), files.forks

    def watched(name: str) -> None:
        step(name)
        files.refuse_forked(begun)

    if not store.writable or store.core_name != CORE_NAME:
        report.skipped = "not writable by this process"
        return report
    try:
        taken = store.locks.try_take(schema.LOCK_MAINTAIN)
    except FaultplaneError as error:
        report.skipped = str(error)
        return report
    if not taken:
        report.skipped = "another process is at it"
        return report
    try:
        for part in (_bury, _tidy, _segments):
            try:
                part(store, report, watched)
            except (FaultplaneError, OSError, ValueError) as error:
                report.problems.append(f"{store.path}: {error}")
    finally:
        store.locks.release(schema.LOCK_MAINTAIN)
    return report


# -------------------------------------------------------------------------------------- dead


def _bury(store: Store, report: Report, step: Step) -> None:
    """Find dead owners and take them through to a free slot."""
    begun = files.forks
    if problem := owners.problem(owners.read_owners(store)):
        raise CorruptFile(problem)
    fold.finish_last(store, step)
    me, counts = host.this_process(), manner.Counts()
    dead: dict[int, tuple[OwnerRow, Life]] = {}
    kills, rows = cgroup.own_kills(), owners.read_owners(store)
    _find_dead(store, me, rows, dead, step, begun)
    _note_kills(store, kills, [row for row in rows if row.slot not in dead], step, begun)
    if not dead:
        return
    counts.read(row for row, _ in dead.values())
    # Once more: whoever is not found now lived when the kills were counted.
    _find_dead(store, me, owners.read_owners(store), dead, step, begun)
    pairs = {(row.slot, row.generation) for row, _ in dead.values()}
    report.lanes_closed, problems = lanes.close_lanes(store, pairs)
    report.problems += problems
    step("closed")
    _end_leases(store, dead.values(), report)
    step("leases")
    unrecorded, ways = _record(store, [row for row, _ in dead.values()], counts, report, step)
    scarce = (store.header.owner_slots - len(rows)) * SLOTS_FREE_SHARE < store.header.owner_slots
    now = time.time_ns()
    settled = [
        row
        for row, alive in dead.values()
        if owners.is_settled(row, alive, now) and (scarce or row.incarnation not in unrecorded)
    ]
    if settled:
        report.problems += fold.fold(store, settled, step, ways)
        left = {row.incarnation for row in owners.read_owners(store)}
        report.folded = sum(row.incarnation not in left for row in settled)


def _end_leases(store: Store, dead: Iterable[tuple[OwnerRow, Life]], report: Report) -> None:
    """Give back what the dead held of breakers, budgets and limits; before their slots are."""
    try:
        with control.ControlFile.open_to_change(store) as file:
            file.end_leases((row.slot, row.incarnation) for row, _ in dead)
    except DomainNotFound:
        return  # nobody here has any
    except (FaultplaneError, OSError) as error:
        report.problems.append(f"{store.path}: {control.NAME}: {error}")


def _find_dead(
    store: Store,
    me: host.Process,
    rows: list[OwnerRow],
    dead: dict[int, tuple[OwnerRow, Life]],
    step: Step,
    begun: int,
) -> None:
    """Declare dead whoever of ``rows`` is, and is not among ``dead``, by slot, yet."""
    for row in rows:
        if row.state_code == schema.OWNER_FOLDED or row.slot in dead:
            continue
        alive = owners.life(store, row, me)
        if alive is Life.ALIVE and row.state_code != schema.OWNER_DEAD:
            continue
        # Once DEAD, always DEAD: its process was told to register anew. If it does live, it
        # gets the second that one in another namespace gets.
        alive = Life.SILENT if alive is Life.ALIVE else alive
        marked = _declare_dead(store, row, alive, step, begun)
        if marked is not None:
            dead[row.slot] = (marked, alive)


def _note_kills(
    store: Store, kills: cgroup.Kills, alive: list[OwnerRow], step: Step, begun: int
) -> None:
    """Raise what owners of this cgroup know of its kills: they lived when ``kills`` was read.

    So that none of these is taken for the reason of a later death. Nobody else gives a slot to
    another owner meanwhile: that takes LOCK_MAINTAIN.
    """
    for row in alive:
        if (
            row.state_code == schema.OWNER_LIVE
            and row.cgroup == kills.signature
            and host.is_same_boot(row.boot)
            and row.oom_kills_at_start < kills.killed
        ):
            step("kills")
            owners.write_fields(store, row.slot, begun, oom_kills_at_start=kills.killed)


def _declare_dead(
    store: Store, row: OwnerRow, alive: Life, step: Step, begun: int
) -> OwnerRow | None:
    """Fence a dead owner and mark it, once; its row as it is now, None if it changed meanwhile.

    The fence comes before: whoever sees DEAD knows that the process has been told.
    """
    if not row.is_fenced:
        step("end")
        if not row.end_unix_nano or alive is Life.SILENT:
            # Also the start of the second that a process in another namespace is given.
            owners.write_fields(store, row.slot, begun, end_unix_nano=time.time_ns())
        step("fence")
        owners.set_fence(store, row.slot, begun)
    step("dead")
    if row.state_code == schema.OWNER_LIVE:
        return owners.change_state(store, row, schema.OWNER_DEAD)
    fresh = owners.read_owner(store, row.slot)
    return fresh if fresh.word == row.word else None


def _record(
    store: Store, rows: list[OwnerRow], counts: manner.Counts, report: Report, step: Step
) -> tuple[set[int], dict[int, str]]:
    """Store a death record for each owner that has none.

    Gives the incarnations where that failed, and how each died of which there is a record or was
    to be one.
    """
    known = deaths.recorded(store)
    missing = [
        row for row in rows if row.incarnation not in known and deaths.is_missing(store, row)
    ]
    ways = deaths.ways(store, known & {row.incarnation for row in rows})
    failed = set()
    for death in deaths.describe_all(store, missing, counts):
        ways[death["incarnation"]] = death["how"]
        step("record")
        # A crash behind the append is no second record: `recorded` finds the first.
        try:
            deaths.append(store, death)
        except (OSError, FaultplaneError) as error:
            failed.add(death["incarnation"])
            report.problems.append(f"{store.path}: {deaths.NAME}: {error}")
            continue
        step("recorded")
        report.died.append(death)
    return failed, ways


# ---------------------------------------------------------------------------------- remainder


def _tidy(store: Store, report: Report, step: Step) -> None:
    """Remove what killed processes left and dictionaries that no segment refers to."""
    step("tidy")
    report.removed += files.remove_stale(store.directory_fd)
    report.removed += unowned.remove(store)
    report.removed += _remove_retired(store)
    report.removed += _remove_dictionaries(store)


def _remove_retired(store: Store) -> list[str]:
    """Remove segments that were retired by somebody who was killed before unlinking them."""
    oldest = store.load("segment_oldest")
    names = [f"seg-{number}" for number in store.segments() if number < oldest]
    return [name for name in names if files.remove(store.directory_fd, name)]


def _remove_dictionaries(store: Store) -> list[str]:
    """Remove generations that neither a segment nor the registry names.

    The newest two are kept: a segment that is being published may still name the one before.
    """
    newest = store.load("dictionary_generation")
    wanted = set(range(max(newest - _GENERATIONS_KEPT + 1, 0), newest + 1))
    candidates = {
        name: int(match[1])
        for name in files.names(store.directory_fd)
        if (match := _DICTIONARY.fullmatch(name)) and int(match[1]) < min(wanted)
    }
    if not candidates:
        return []
    for number in store.segments():
        try:
            wanted.add(lanes.dictionary_generation(store, number))
        except DomainNotFound:
            continue  # retired meanwhile
        except FaultplaneError:
            return []  # it may name any of them
    gone = [name for name, generation in candidates.items() if generation not in wanted]
    return [name for name in gone if files.remove(store.directory_fd, name)]


def _segments(store: Store, report: Report, step: Step) -> None:
    """Retire what is over budget and prepare the next segment, so that no writer has to."""
    step("segments")
    header = store.header
    ring = core.Ring(
        store.directory_fd,
        store.locks.descriptor,
        store.registry,
        header.lanes_per_segment,
        header.segments_max,
        header.dictionary_bytes,
        True,
    )
    report.segments_retired = ring.retire_over_budget()
    ring.prepare()
