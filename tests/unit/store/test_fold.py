"""Counts of the dead move into the totals exactly once, wherever the folder is killed."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from faultplane import schema
from faultplane.errors import StorageError
from faultplane.store import aggregate, counts, fold, owners
from faultplane.store.aggregate import Series, Tally


def counter(store, name="hits"):
    found = {row.name: row.value for row in counts.read_counters(store)}
    return found.get(name, 0)


def dead(one):
    """The row of an owner that has been declared dead."""
    return owners.change_state(one.store, one.die(), schema.OWNER_DEAD)


def test_a_fold_moves_counts_and_gives_the_slot_back(store, owner):
    first, second = owner(hits=3), owner(hits=4, other=1)
    assert counter(store) == 7
    assert fold.fold(store, [dead(first)]) == []
    assert counter(store) == 7
    assert [row.slot for row in owners.read_owners(store)] == [1]
    assert not os.path.exists(f"{store.path}/agg-0")
    assert not os.path.exists(f"{store.path}/breath-0")
    head = fold.read_head(store)
    assert (head.epoch_or_incarnation, head.folded) == (1, (first.registration.incarnation,))
    assert store.load("fold_epoch") == 1
    fold.fold(store, [dead(second)])
    assert counter(store) == 7
    assert counter(store, "other") == 1
    assert owners.read_owners(store) == []


def test_batches_are_as_many_as_it_takes(make_store, own_class):
    store = make_store(budget_bytes=8 << 20)
    many = [own_class(store, hits=1) for _ in range(2 * schema.FOLD_BATCH_MAX + 1)]
    fold.fold(store, [dead(one) for one in many])
    assert counter(store) == 49
    assert owners.read_owners(store) == []
    assert fold.read_head(store).epoch_or_incarnation == 3


def test_drop_reasons_are_folded_too_and_keep_their_names(store, owner):
    one = owner()
    place = schema.AGGREGATE.size + 128 * 2 + schema.CELL.offset["count"]  # no_space
    one.registration.aggregate.store(place, 11)
    fold.fold(store, [dead(one)])
    found = {row.reason: row.count for row in counts.read_drops(store)}
    assert found["no_space"] == 11
    assert sum(found.values()) == 11


def test_a_series_without_a_service_gets_the_owners(store, owner):
    one = owner(hits=2)
    assert counts.read_counters(store)[0].service == "svc"
    fold.fold(store, [dead(one)])
    assert [(row.service, row.value) for row in counts.read_counters(store)] == [("svc", 2)]


def test_owners_listed_by_the_last_fold_are_finished_first(store, owner):
    """As after a kill behind the flip: counted in the totals, still DEAD, file still there."""
    one = owner(hits=5)
    row = dead(one)

    def stop(name):
        if name == "mark":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fold.fold(store, [row], stop)
    assert owners.read_owner(store, 0).state == "dead"
    assert os.path.exists(f"{store.path}/agg-0")
    assert counter(store) == 5
    assert fold.finish_last(store) == 1
    assert counter(store) == 5
    assert owners.read_owners(store) == []


def test_a_live_file_in_the_place_of_the_dead_ones_is_not_taken_for_it(store, owner):
    """Negative control: the incarnation in the file decides, not its name."""
    one = owner(hits=5)
    row = dead(one)
    other = aggregate.render([(Series(2, 0, 0, b"", b"", b"hits"), Tally(100))], 0, 999)
    with open(f"{store.path}/agg-0", "wb") as file:
        file.write(other)
    problems = fold.fold(store, [row])
    assert problems == [f"{store.path}: agg-0 must be of owner 1, got 999"]
    assert counter(store) == 0


def test_bad_files_are_reported_and_never_stop_the_rest(store, owner):
    rows = [dead(owner(hits=1)) for _ in range(3)]
    os.unlink(f"{store.path}/agg-0")
    with open(f"{store.path}/agg-1", "r+b") as file:
        file.write(b"nonsense")
    problems = fold.fold(store, rows)
    assert problems[0] == f"{store.path}: agg-0 of owner 1 is missing"
    assert "agg-1 must start with" in problems[1]
    assert counter(store) == 1
    assert owners.read_owners(store) == []


def refuse(monkeypatch, name):
    """Whoever opens that file is refused, as root too; a list to empty when that is over."""
    refused, opened = [name], os.open

    def open_file(path, *args, **options):
        if path in refused:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", open_file)
    return refused


def test_counts_that_may_not_be_read_now_keep_their_slot_and_the_rest_is_folded(
    store, owner, monkeypatch
):
    first, second = owner(hits=3), owner(hits=4)
    rows = [dead(first), dead(second)]
    refused = refuse(monkeypatch, "agg-0")
    (told,) = fold.fold(store, rows)
    assert told == f"{store.path}: agg-0 cannot be opened: Permission denied"
    assert [row.slot for row in owners.read_owners(store)] == [0]
    assert counter(store) == 4
    assert counts.snapshot(store).problems == [told]
    assert fold.fold(store, rows[:1]) == [told]
    assert fold.read_head(store).epoch_or_incarnation == 1, "nothing was written anew for nothing"
    refused.clear()
    assert counter(store) == 7
    assert fold.fold(store, rows[:1]) == []
    assert counter(store) == 7


def test_totals_that_may_not_be_read_now_are_not_replaced(store, owner, monkeypatch):
    first, second = owner(hits=3), owner(hits=4)
    fold.fold(store, [dead(first)])
    row = dead(second)
    refused = refuse(monkeypatch, "agg-retired")
    with pytest.raises(StorageError, match="agg-retired cannot be opened: Permission denied"):
        fold.fold(store, [row])
    assert counter(store) == 4, "the living and the dead that are not folded are summed"
    assert "agg-retired cannot be opened" in counts.snapshot(store).problems[0]
    refused.clear()
    assert counter(store) == 7
    fold.fold(store, [row])
    assert counter(store) == 7


def test_missing_totals_are_reported_and_begin_anew(store, owner):
    one = owner(hits=2)
    os.unlink(f"{store.path}/agg-retired")
    assert counts.snapshot(store).problems == [f"{store.path}: agg-retired is missing"]
    assert fold.fold(store, [dead(one)]) == [f"{store.path}: agg-retired is missing"]
    assert counter(store) == 2


# --------------------------------------------------------------------------------- the cap


def series(number, kind=1):
    return Series(schema.SERIES_ERROR, kind, number + 1, b"s", b"op", b"Error")


def test_past_the_cap_the_oldest_errors_merge_into_one_per_operation_and_kind():
    tallies = {series(n, 1 + n % 2): Tally(10, n + 1, n + 1, 1) for n in range(20)}
    tallies[Series(schema.SERIES_DROP, 0, 0, b"", b"", b"no_space")] = Tally(7)
    before = sum(tally.count for tally in tallies.values())
    assert fold.merge_over(tallies, 11) == 12
    assert len(tallies) == 11
    assert sum(tally.count for tally in tallies.values()) == before
    merged = Series(schema.SERIES_ERROR, 1, 0, b"s", b"op", b"")
    assert tallies[merged] == Tally(60, 1, 11, 6)
    assert {one.fingerprint for one in tallies if one.fingerprint} == set(range(13, 21))


def sums(tallies, *fields):
    found = Counter()
    for one, tally in tallies.items():
        found[tuple(getattr(one, field) for field in fields)] += tally.count
    return found


def test_merging_leaves_the_sums_of_operations_that_have_several_series_alone(rng):
    tallies = {
        Series(schema.SERIES_ERROR, 1 + n % 2, n + 1, b"s", b"op%d" % (n % 3), b"E"): Tally(
            rng.randrange(1, 99), n + 1, n + 1
        )
        for n in range(60)
    }
    before = sums(tallies, "service", "operation", "kind")
    assert fold.merge_over(tallies, 6) == 60
    assert sums(tallies, "service", "operation", "kind") == before
    assert {one.fingerprint for one in tallies} == {0}


def test_merging_leaves_the_sums_of_services_alone_while_there_is_room_for_their_names(rng):
    tallies = {
        Series(schema.SERIES_ERROR, 1, n + 1, b"s%d" % (n % 4), b"op%d" % n, b"E"): Tally(
            rng.randrange(1, 99), n + 1, n + 1
        )
        for n in range(100)
    }
    before = sums(tallies, "service", "kind")
    assert fold.merge_over(tallies, 50) > 50
    assert len(tallies) == 50
    assert sums(tallies, "service", "kind") == before
    # The youngest are told apart still.
    assert {one.operation for one in tallies} >= {b"op%d" % n for n in range(60, 100)}
    fold.merge_over(tallies, 1)
    assert list(tallies) == [Series(schema.SERIES_ERROR, 1, 0, b"", b"", b"")]
    assert sums(tallies) == Counter({(): before.total()})


def test_deaths_that_merge_lose_their_service_and_not_how():
    tallies = {
        Series(schema.SERIES_DEATH, 0, 0, b"s%d" % n, b"", b"oom"): Tally(2) for n in range(9)
    }
    assert fold.merge_over(tallies, 1) == 9
    merged = Series(schema.SERIES_DEATH, 0, 0, b"", b"", b"oom")
    assert tallies == {merged: Tally(18)}


def test_counters_merge_after_errors_and_drop_reasons_never():
    tallies = {series(n): Tally(1) for n in range(2)}
    tallies |= {
        Series(schema.SERIES_COUNTER, 0, 0, b"", b"", b"%d" % n): Tally(1) for n in range(3)
    }
    tallies |= {Series(schema.SERIES_DROP, 0, 0, b"", b"", b"%d" % n): Tally(1) for n in range(9)}
    assert fold.merge_over(tallies, 3) == 7  # an error goes two ways: to its service, then on
    assert len(tallies) == 11
    assert sum(tally.count for tally in tallies.values()) == 14
    assert fold.merge_over(tallies, 20) == 0


def test_the_cap_follows_from_the_budget(make_store):
    assert fold.series_max(make_store("a")) == 512
    assert fold.series_max(make_store("b", 64 << 20)) == schema.RETIRED_SERIES_MAX


def test_a_store_stays_within_its_cap_and_loses_no_count(store, owner):
    most = fold.series_max(store)
    one = owner()
    for number in range(most // 2):
        one.count(
            "E", 1, schema.SERIES_ERROR, kind=3, fingerprint=number + 1, times=(number + 1,) * 2
        )
    fold.fold(store, [dead(one)])
    two = owner()
    for number in range(most // 2 + 50):
        two.count("F", 1, schema.SERIES_ERROR, kind=4, fingerprint=(1 << 32) + number)
    fold.fold(store, [dead(two)])
    assert sum(row.count for row in counts.read_counts(store)) == most + 50
    assert len(fold.read_retired(store)[0].tallies) == most


@pytest.mark.parametrize("damaged", [b"", b"x" * 100, b"x" * 5000, aggregate.empty_retired()[:128]])
def test_damaged_totals_hide_no_live_counts_and_keep_no_slot(store, owner, damaged):
    first, second = owner(hits=3), owner(hits=4)
    with open(f"{store.path}/agg-retired", "wb") as file:
        file.write(damaged)
    assert counter(store) == 7
    (problem,) = counts.snapshot(store).problems
    assert problem.startswith(f"{store.path}: agg-retired must ")
    assert fold.fold(store, [dead(first)]) == [problem]
    assert counter(store) == 7
    assert [row.slot for row in owners.read_owners(store)] == [1]
    assert fold.fold(store, [dead(second)]) == []
    assert counter(store) == 7


def test_absurd_numbers_of_a_dead_owner_are_folded_as_the_most_there_can_be(store, owner):
    one, other = owner(hits=1), owner(hits=1)
    for each in (one, other):
        start = schema.AGGREGATE.size + 128 * len(schema.DROP_REASONS)
        for field in ("count", "suppressed", "first_seen_unix_nano", "last_seen_unix_nano"):
            each.registration.aggregate.store(start + schema.CELL.offset[field], (1 << 64) - 1)
    assert fold.fold(store, [dead(one), dead(other)]) == []
    assert counter(store) == (1 << 64) - 1
    assert owners.read_owners(store) == []
