"""Folding: the counts of processes that are gone move into ``agg-retired``, exactly once.

The new file holds the old totals, the counts of a batch of dead owners and, in its header, their
incarnations. Renaming it over the old one is the flip: before it none of the batch is counted
there, after it all are, and readers leave out live files of owners that the header lists. Only
the last batch is listed, so a folder first finishes the batch before.

    read totals and files | write a temporary file | rename it: the flip |
    for each owner: FOLDED, unlink its files, FREE

A crash before the flip leaves a temporary file and nothing folded. A crash after it leaves owners
that the header lists, or FOLDED ones: the next folder takes them up where they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from faultplane import schema
from faultplane.errors import CorruptFile, DomainNotFound, LayoutMismatch, StorageError
from faultplane.store import aggregate, files, owners
from faultplane.store.aggregate import Series, Tallies
from faultplane.store.domain import Store
from faultplane.store.owners import OwnerRow

Step = Callable[[str], None]
SHARE_OF_BUDGET: Final = 32
"""agg-retired takes at most one part in so many of the budget, at 128 bytes a series."""
_SERIES_BYTES: Final = 128
TEMPORARY_KIND: Final = "fold-"


def no_step(name: str) -> None:
    """The hook between two stores, for tests that stop there; does nothing."""
    del name


def series_max(store: Store) -> int:
    """Series kept for processes that are gone, from the budget; at most RETIRED_SERIES_MAX."""
    fits = store.header.budget_bytes // SHARE_OF_BUDGET // _SERIES_BYTES
    return min(schema.RETIRED_SERIES_MAX, fits)


def merge_over(tallies: Tallies, most: int) -> int:
    """Merge series past ``most`` into one per kind; how many were merged.

    The errors that were seen longest ago go first, then counters, into one without a name. What
    they counted stays; drop reasons are never merged.
    """
    excess = len(tallies) - most
    if excess <= 0:
        return 0
    nameless = Series(0, 0, 0, b"", b"", b"")
    victims = [
        series
        for series in tallies
        if series.series != schema.SERIES_DROP
        and series != nameless._replace(series=series.series, kind=series.kind)
    ]
    victims.sort(key=lambda s: (s.series, tallies[s].last_seen_unix_nano))
    merged = 0
    for series in victims:
        if len(tallies) <= most:
            break
        tally = tallies.pop(series)
        aggregate.add(tallies, nameless._replace(series=series.series, kind=series.kind), tally)
        merged += 1
    return merged


def finish_last(store: Store, step: Step = no_step) -> int:
    """Give back the slots of owners whose counts are folded already; how many.

    The caller holds LOCK_MAINTAIN.
    """
    listed = set(read_head(store).folded)
    done = 0
    for row in owners.read_owners(store):
        folded = row.state_code == schema.OWNER_FOLDED
        ended = row.state_code in (schema.OWNER_DEAD, schema.OWNER_EXITED)
        if folded or (ended and row.incarnation in listed):
            _give_back(store, row, step)
            done += 1
    return done


def fold(store: Store, settled: Sequence[OwnerRow], step: Step = no_step) -> list[str]:
    """Fold owners that nobody writes for any more; a sentence for each file that was bad.

    The caller holds LOCK_MAINTAIN and has made sure that each is DEAD or EXITED and settled.
    Raises StorageFull, having folded whole batches or nothing, and StorageError where the totals
    are there and cannot be read.
    """
    problems: list[str] = []
    with store.locks.held(schema.LOCK_FOLD):
        files.remove_kind(store.directory_fd, TEMPORARY_KIND)
        finish_last(store, step)
        for start in range(0, len(settled), schema.FOLD_BATCH_MAX):
            batch = settled[start : start + schema.FOLD_BATCH_MAX]
            problems += _fold_batch(store, batch, step)
    return problems


def _fold_batch(store: Store, batch: Sequence[OwnerRow], step: Step) -> list[str]:
    step("read")
    retired, problems = read_retired(store)
    read = []
    for row in batch:
        try:
            tallies, problem = read_tallies(store, row)
        except StorageError as error:
            # Its counts are there, and not for us to read now: it keeps its slot until they are.
            problems.append(f"{store.path}: {error}")
            continue
        read.append(row)
        aggregate.add_all(retired.tallies, tallies)
        problems += [problem] if problem else []
    if not read:
        return problems
    merge_over(retired.tallies, series_max(store))
    epoch = (retired.epoch_or_incarnation + 1) & aggregate.COUNT_MAX
    data = aggregate.render(
        retired.tallies.items(),
        aggregate.RETIRED_SLOT,
        epoch,
        tuple(row.incarnation for row in read),
    )
    step("write")
    descriptor = files.create(
        store.directory_fd,
        aggregate.RETIRED_NAME,
        len(data),
        [(0, data)],
        replace=True,
        kind=TEMPORARY_KIND,
    )
    os.close(descriptor)
    step("flipped")
    store.registry.store(schema.REGISTRY.offset["fold_epoch"], epoch)
    for row in read:
        _give_back(store, row, step)
    return problems


def read_tallies(store: Store, row: OwnerRow) -> tuple[Tallies, str]:
    """What an owner has counted, and a sentence when its file is not wholly readable.

    A series without a service, as those counted before ``init()``, gets the owner's.
    """
    name = owners.aggregate_name(row.slot)
    try:
        found = aggregate.read(store.directory_fd, name)
    except DomainNotFound:
        return {}, f"{store.path}: {name} of owner {row.incarnation} is missing"
    except (CorruptFile, LayoutMismatch) as error:
        return {}, f"{store.path}: {error}"
    if found.epoch_or_incarnation != row.incarnation:
        return {}, f"{store.path}: {name} must be of owner {row.incarnation}, got " + str(
            found.epoch_or_incarnation
        )
    service = row.service.encode("utf-8", "replace")[: schema.NAME_BYTES_MAX]
    tallies: Tallies = {}
    for series, tally in found.tallies.items():
        if not series.service and series.series != schema.SERIES_DROP:
            series = series._replace(service=service)  # noqa: PLW2901
        aggregate.add(tallies, series, tally)
    return tallies, found.problem and f"{store.path}: {found.problem}"


def read_head(store: Store) -> aggregate.Aggregate:
    """The header of the totals: the fold epoch and what the last fold added."""
    try:
        return aggregate.read_head(store.directory_fd, aggregate.RETIRED_NAME)
    except (DomainNotFound, CorruptFile, LayoutMismatch):
        return aggregate.parse(aggregate.empty_retired(), aggregate.RETIRED_NAME)


def read_retired(store: Store) -> tuple[aggregate.Aggregate, list[str]]:
    """(Totals of the processes that are gone, a sentence for what is wrong with the file).

    Of a file that cannot be read they are zero, and the next fold replaces it: it must neither
    hide the counts of the living nor keep the slots of the dead.
    """
    name = aggregate.RETIRED_NAME
    try:
        retired = aggregate.parse(files.read_file(store.directory_fd, name), name)
    except DomainNotFound:
        missing = f"{store.path}: {name} is missing"
        return aggregate.parse(aggregate.empty_retired(), name), [missing]
    except (CorruptFile, LayoutMismatch) as error:
        return aggregate.parse(aggregate.empty_retired(), name), [f"{store.path}: {error}"]
    return retired, [f"{store.path}: {retired.problem}"] if retired.problem else []


def _give_back(store: Store, row: OwnerRow, step: Step) -> None:
    """Free the slot of an owner whose counts are in agg-retired; each step may be repeated."""
    step("mark")
    marked: OwnerRow | None = row
    if row.state_code != schema.OWNER_FOLDED:
        # From here no reader looks at its file, nor at the list of the last batch for it.
        marked = owners.change_state(store, row, schema.OWNER_FOLDED)
    if marked is None:
        return
    step("unlink")
    files.remove(store.directory_fd, owners.aggregate_name(row.slot))
    step("unlink breath")
    files.remove(store.directory_fd, owners.breath_name(row.slot))
    files.remove_of_slot(store.directory_fd, row.slot)
    step("free")
    owners.change_state(store, marked, schema.OWNER_FREE)
    step("freed")
