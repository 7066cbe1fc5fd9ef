"""Counts: the sum over the living, the dead and the overflow cells, at any moment."""

from __future__ import annotations

import os
import threading

import pytest

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import StorageError
from faultplane.store import aggregate, counts, fold, owners
from faultplane.store.aggregate import Series, Tally


def test_the_sum_is_over_owners_totals_and_overflow_cells(store, owner):
    first, second = owner(hits=3), owner(hits=4)
    second.count(
        "ValueError", 2, schema.SERIES_ERROR, kind=12, fingerprint=77, times=(1_000, 2_000)
    )
    first.count("ValueError", 1, schema.SERIES_ERROR, kind=12, fingerprint=77, times=(500, 600))
    store.registry.add(schema.OVERFLOW_CELLS_OFFSET + 8 * 6, 5)
    store.registry.add(schema.OVERFLOW_CELLS_OFFSET + 8 * 31, 9)
    assert counts.read_counts(store) == [
        counts.CountRow("", "", "Timeout", "", 0, 5, 0, 0, 0),
        counts.CountRow("svc", "", "DataValidation", "ValueError", 77, 3, 500, 2_000, 0),
    ]
    assert counts.read_counters(store) == [
        counts.CounterRow("", "", 9, 0, 0),
        counts.CounterRow("svc", "hits", 7, 0, 0),
    ]
    fold.fold(store, [owners.change_state(store, first.die(), schema.OWNER_DEAD)])
    assert [row.count for row in counts.read_counts(store)] == [5, 3]


def test_every_drop_reason_has_a_row(store):
    rows = counts.read_drops(store)
    assert [row.reason for row in rows] == [term.name for term in schema.DROP_REASONS]
    assert {row.count for row in rows} == {0}


def test_drop_reasons_of_a_later_version_are_shown_too():
    tallies = {Series(schema.SERIES_DROP, 0, 0, b"", b"", b"newer"): Tally(3)}
    assert counts.drop_rows(tallies)[-1] == counts.DropRow("newer", 3)


def test_a_process_adds_to_the_shared_cells_by_kind(store):
    tallies = {
        Series(schema.SERIES_ERROR, 6, 1, b"s", b"o", b"t"): Tally(4),
        Series(schema.SERIES_ERROR, 200, 1, b"s", b"o", b"t"): Tally(1),
        Series(schema.SERIES_COUNTER, 0, 0, b"s", b"", b"c"): Tally(2),
        Series(schema.SERIES_DROP, 0, 0, b"", b"", b"no_storage"): Tally(8),
        Series(schema.SERIES_ERROR, 7, 0, b"", b"", b""): Tally(0),
    }
    assert counts.add_to_overflow(store, tallies) == 7
    assert counts.add_to_overflow(store, tallies) == 7
    found = {
        cell: store.registry.load(schema.OVERFLOW_CELLS_OFFSET + 8 * cell)
        for cell in range(schema.OVERFLOW_CELLS)
    }
    assert {cell: value for cell, value in found.items() if value} == {6: 8, 30: 2, 31: 4}


def test_own_counts_are_those_of_this_process():
    before = {row.name: row.value for row in counts.counter_rows(counts.own_snapshot().tallies)}
    core.Counter("test_counts.own").add(3)
    rows = {row.name: row.value for row in counts.counter_rows(counts.own_snapshot().tallies)}
    assert rows["test_counts.own"] == before.get("test_counts.own", 0) + 3


def test_a_reader_that_totals_overtake_starts_over(store, owner, monkeypatch):
    """A fold between the totals and the files would hide the folded owner's counts."""
    one, _ = owner(hits=3), owner(hits=4)
    row = owners.change_state(store, one.die(), schema.OWNER_DEAD)
    read_owners, calls = owners.read_owners, []

    def fold_first(which):
        calls.append(which)
        if len(calls) == 1:
            fold.fold(store, [row])
        return read_owners(which)

    monkeypatch.setattr(counts.owners, "read_owners", fold_first)
    assert [found.value for found in counts.read_counters(store)] == [7]
    # Once by the reader, twice by the folder within its turn, once again by the reader.
    assert len(calls) >= 2


def test_a_reader_gives_up_after_a_bounded_number_of_attempts(store, monkeypatch):
    epochs = iter(range(1, 10_000))

    def replaced(which):
        data = aggregate.render((), aggregate.RETIRED_SLOT, next(epochs))
        return aggregate.parse(data, "agg-retired")

    monkeypatch.setattr(fold, "read_head", replaced)
    with pytest.raises(StorageError, match="replaced 64 times"):
        counts.snapshot(store)


def test_sums_never_go_back_nor_beyond_while_owners_die_and_are_folded(make_store, own_class):
    """A reader beside a folder: every sum is that of some moment between two readings."""
    store = make_store(budget_bytes=8 << 20)
    alive = [own_class(store, hits=1) for _ in range(60)]
    done = threading.Event()
    seen: list[int] = []

    def read():
        with type(store).open(store.path) as reader:
            while not done.is_set() or len(seen) < 3:
                seen.append(sum(row.value for row in counts.read_counters(reader)))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for one in alive:
            fold.fold(store, [owners.change_state(store, one.die(), schema.OWNER_DEAD)])
    finally:
        done.set()
        thread.join()
    assert set(seen) == {60}
    assert store.load("fold_epoch") == 60


def test_a_missing_file_of_a_living_owner_is_a_problem_not_an_error(store, owner):
    owner(hits=1)
    os.unlink(f"{store.path}/agg-0")
    found = counts.snapshot(store)
    assert found.problems == [f"{store.path}: agg-0 of owner 1 is missing"]
