"""Exact counts: the sum over totals of the dead, files of the living, and overflow cells.

Readers hold no lock. They read ``agg-retired`` first, then the files of owners that it does not
list as folded, and look again whether it was replaced meanwhile: if it was, they start over. So
every owner is in the sum exactly once, whatever a folder does at the same time.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import StorageError
from faultplane.store import aggregate, fold, lanes, owners
from faultplane.store.aggregate import Series, Tallies, Tally
from faultplane.store.domain import Store

ATTEMPTS_MAX: Final = 64
_NAMELESS: Final = Series(0, 0, 0, b"", b"", b"")


class CountRow(NamedTuple):
    """How often one error occurred. ``type`` is "" where the series was merged or overflowed."""

    service: str
    operation: str
    kind: str
    type: str
    fingerprint: int
    count: int  # type: ignore[assignment]  # nobody counts in a row
    first_seen_unix_nano: int
    last_seen_unix_nano: int
    suppressed: int
    """Of these, how many were counted without a row."""


class CounterRow(NamedTuple):
    """The value of one counter in one service; the name is "" where it overflowed."""

    service: str
    name: str
    value: int
    first_seen_unix_nano: int
    last_seen_unix_nano: int


class DropRow(NamedTuple):
    """How many details were not written, for one reason of `schema.DROP_REASONS`."""

    reason: str
    count: int  # type: ignore[assignment]  # nobody counts in a row


class Snapshot(NamedTuple):
    """Everything counted, at one moment. ``problems`` names files that could not be read."""

    tallies: Tallies
    problems: list[str]


# ---------------------------------------------------------------------------------- gathering


def snapshot(store: Store) -> Snapshot:
    """Everything that a store has counted; needs permission to read only.

    A file that cannot be opened is among the problems, and the others are summed. Raises
    StorageError when folders replaced the totals 64 times in the meantime.
    """
    for _ in range(ATTEMPTS_MAX):
        retired, problems = read_retired(store)
        tallies = retired.tallies
        listed = set(retired.folded)
        rows = owners.read_owners(store)
        if text := owners.problem(rows):
            problems.append(f"{store.path}: {text}")
        for row in rows:
            if row.state_code == schema.OWNER_FOLDED or row.incarnation in listed:
                continue
            try:
                found, problem = fold.read_tallies(store, row)
            except StorageError as error:
                problems.append(f"{store.path}: {error}")
                continue
            aggregate.add_all(tallies, found)
            problems += [problem] if problem else []
        # Read last: a file that was folded and unlinked in between left its mark here.
        if read_epoch(store) == retired.epoch_or_incarnation:
            _add_overflow(store, tallies)
            return Snapshot(tallies, problems)
    raise StorageError(f"{store.path}: agg-retired was replaced {ATTEMPTS_MAX} times while read")


def read_retired(store: Store) -> tuple[aggregate.Aggregate, list[str]]:
    """The totals of the dead, and what is wrong with them; nothing where they may not be read."""
    try:
        return fold.read_retired(store)
    except StorageError as error:
        # For who sums up, that is; who folds must not replace what it could not read.
        nothing = aggregate.parse(aggregate.empty_retired(), aggregate.RETIRED_NAME)
        return nothing, [f"{store.path}: {error}"]


def read_epoch(store: Store) -> int:
    """The fold epoch that the totals have now, 0 where they may not be read."""
    try:
        return fold.read_head(store).epoch_or_incarnation
    except StorageError:
        return 0


def overflow(store: Store) -> Iterator[tuple[Series, int]]:
    """What the registry's cells count, which processes share that had no cell of their own."""
    for index in range(schema.OVERFLOW_CELLS):
        count = store.registry.load(schema.OVERFLOW_CELLS_OFFSET + 8 * index)
        if count:
            yield _overflow_series(index), count


def _add_overflow(store: Store, tallies: Tallies) -> None:
    for series, count in overflow(store):
        aggregate.add(tallies, series, Tally(count))


def _overflow_series(index: int) -> Series:
    last = index == schema.OVERFLOW_CELLS - 1
    return _NAMELESS._replace(
        series=schema.SERIES_COUNTER if last else schema.SERIES_ERROR,
        kind=0 if last else index,
    )


def own_snapshot() -> Snapshot:
    """What this process has counted since it had storage, or ever, when it has none."""
    data = bytes(core.own_cells())
    if not data:
        return Snapshot({}, [])
    found = aggregate.parse(data, "own cells")
    for index, count in enumerate(core.own_overflow()):
        if count:
            aggregate.add(found.tallies, _overflow_series(index), Tally(count))
    return Snapshot(found.tallies, [found.problem] if found.problem else [])


def add_to_overflow(store: Store, tallies: Tallies) -> int:
    """Add counts to the shared overflow cells by kind, atomically; how much was added.

    For a process that never got a slot, at its end. Drop reasons have no overflow cell.
    """
    added = 0
    for series, tally in tallies.items():
        if not tally.count or series.series == schema.SERIES_DROP:
            continue
        last = schema.OVERFLOW_CELLS - 1
        index = last if series.series == schema.SERIES_COUNTER else min(series.kind, last - 1)
        store.registry.add(schema.OVERFLOW_CELLS_OFFSET + 8 * index, tally.count)
        added += tally.count
    return added


# ------------------------------------------------------------------------------------- tables


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _shown(count: int) -> int:
    """A count as tables have room for it: damaged files may add up to more."""
    return min(count, aggregate.COUNT_MAX)


def count_rows(tallies: Tallies) -> list[CountRow]:
    """The errors among ``tallies``, most frequent first; series never counted are left out."""
    rows = [
        CountRow(
            _text(series.service),
            _text(series.operation),
            lanes.kind_name(series.kind),
            _text(series.name),
            series.fingerprint,
            _shown(tally.count),
            tally.first_seen_unix_nano,
            tally.last_seen_unix_nano,
            _shown(tally.suppressed),
        )
        for series, tally in tallies.items()
        if series.series == schema.SERIES_ERROR and tally.count
    ]
    return sorted(rows, key=lambda row: (-row.count, row.service, row.type, row.fingerprint))


def counter_rows(tallies: Tallies) -> list[CounterRow]:
    """The counters among ``tallies``, by service and name."""
    rows = [
        CounterRow(
            _text(series.service),
            _text(series.name),
            _shown(tally.count),
            tally.first_seen_unix_nano,
            tally.last_seen_unix_nano,
        )
        for series, tally in tallies.items()
        if series.series == schema.SERIES_COUNTER
    ]
    return sorted(rows, key=lambda row: (row.service, row.name))


def drop_rows(tallies: Tallies) -> list[DropRow]:
    """Every drop reason in order of its code, with 0 for those that did not occur."""
    counted = {
        _text(series.name): _shown(tally.count)
        for series, tally in tallies.items()
        if series.series == schema.SERIES_DROP
    }
    names = [term.name for term in schema.DROP_REASONS]
    names += sorted(set(counted) - set(names))
    return [DropRow(name, counted.get(name, 0)) for name in names]


def read_counts(store: Store) -> list[CountRow]:
    """Errors counted in a store; raises as `snapshot` does."""
    return count_rows(snapshot(store).tallies)


def read_counters(store: Store) -> list[CounterRow]:
    """Counters of a store; raises as `snapshot` does."""
    return counter_rows(snapshot(store).tallies)


def read_drops(store: Store) -> list[DropRow]:
    """What a store's processes did not write, by reason; raises as `snapshot` does."""
    return drop_rows(snapshot(store).tallies)
