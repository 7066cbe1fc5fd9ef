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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from faultplane import schema
from faultplane.errors import CorruptFile, DomainNotFound, LayoutMismatch, StorageError
from faultplane.store import aggregate, files, owners
from faultplane.store.aggregate import Series, Tallies, Tally
from faultplane.store.domain import Store
from faultplane.store.owners import OwnerRow

Step = Callable[[str], None]
SHARE_OF_BUDGET: Final = 32
"""agg-retired takes at most one part in so many of the budget, at 128 bytes a series."""
_SERIES_BYTES: Final = 128
TEMPORARY_KIND: Final = "fold-"
MERGED_OPERATION: Final = b"other"
"""What stands for operations that were merged; an operation called so is one of them."""
_MERGE_PASSES: Final = 3
"""From a fingerprint to its operation, from there to the service, from there to the kind."""


def no_step(name: str) -> None:
    """The hook between two stores, for tests that stop there; does nothing."""
    del name


def series_max(store: Store) -> int:
    """Series kept for processes that are gone, from the budget; at most RETIRED_SERIES_MAX."""
    fits = store.header.budget_bytes // SHARE_OF_BUDGET // _SERIES_BYTES
    return min(schema.RETIRED_SERIES_MAX, fits)


def death_series(row: OwnerRow, how: str) -> Series:
    """What the death of an owner is counted in, once it is folded."""
    service = row.service.encode("utf-8", "replace")[: schema.NAME_BYTES_MAX]
    return Series(schema.SERIES_DEATH, 0, 0, service, b"", how.encode())


def merge_over(tallies: Tallies, most: int) -> int:
    """Merge series until there are ``most``; how many were merged. What they counted stays.

    Errors first, those that were seen longest ago before others: a fingerprint joins the others of
    its service, operation and kind, one that is alone those of its service and kind, and only when
    that is not enough those of the kind. Then counters, into one without a name, then deaths, which
    lose their service. Drop reasons are never merged.

    So a service keeps its sum, and an operation as long as it is more than one series: to whoever
    watches a sum, one that goes down looks like a restart.
    """
    merged = 0
    for _ in range(_MERGE_PASSES):
        merged += _merge_errors(tallies, most)
    rest = [s for s in tallies if s.series in (schema.SERIES_COUNTER, schema.SERIES_DEATH)]
    for series in sorted(rest, key=lambda s: (s.series, tallies[s].last_seen_unix_nano)):
        if len(tallies) <= most:
            break
        how = series.name if series.series == schema.SERIES_DEATH else b""
        merged += _move(tallies, series, series._replace(service=b"", name=how))
    return merged


def _merge_errors(tallies: Tallies, most: int) -> int:
    """Move each error, oldest first, to where it is told apart less; how many were moved."""
    if len(tallies) <= most:
        return 0
    merged = 0
    victims = [series for series in tallies if series.series == schema.SERIES_ERROR]
    members = Counter(map(_of_operation, victims))
    for series in sorted(victims, key=lambda s: tallies[s].last_seen_unix_nano):
        if len(tallies) <= most:
            break
        group = _of_operation(series)
        if series != group and members[group] > 1:
            merged += _move(tallies, series, group)
        elif series != (wider := group._replace(operation=MERGED_OPERATION)) and series.service:
            merged += _move(tallies, series, wider)
        else:
            merged += _move(tallies, series, group._replace(service=b"", operation=b""))
    return merged


def _of_operation(series: Series) -> Series:
    """The series of a service, an operation and a kind, whatever the fingerprint."""
    return series._replace(fingerprint=0, name=b"")


def _move(tallies: Tallies, series: Series, target: Series) -> int:
    if series == target:
        return 0
    aggregate.add(tallies, target, tallies.pop(series))
    return 1


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


def fold(
    store: Store,
    settled: Sequence[OwnerRow],
    step: Step = no_step,
    ways: Mapping[int, str] | None = None,
) -> list[str]:
    """Fold owners that nobody writes for any more; a sentence for each file that was bad.

    ``ways`` says, by incarnation, how those of them died that are to be counted as deaths. The
    caller holds LOCK_MAINTAIN and has made sure that each is DEAD or EXITED and settled. Raises
    StorageFull, having folded whole batches or nothing, and StorageError where the totals are there
    and cannot be read.
    """
    problems: list[str] = []
    with store.locks.held(schema.LOCK_FOLD):
        files.remove_kind(store.directory_fd, TEMPORARY_KIND)
        finish_last(store, step)
        for start in range(0, len(settled), schema.FOLD_BATCH_MAX):
            batch = settled[start : start + schema.FOLD_BATCH_MAX]
            problems += _fold_batch(store, batch, step, ways or {})
    return problems


def _fold_batch(
    store: Store, batch: Sequence[OwnerRow], step: Step, ways: Mapping[int, str]
) -> list[str]:
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
        if how := ways.get(row.incarnation):
            aggregate.add(retired.tallies, death_series(row, how), Tally(1))
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
