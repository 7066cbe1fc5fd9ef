"""Counts read again and again are those of `counts.snapshot`, whatever happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.store import aggregate, counting, counts, deaths, domain, fold, maintain, owners
from faultplane.store.counting import Counting


def counted(counting):
    """Series -> total, without those that came to nothing."""
    pairs = zip(counting.ledger.series, counting.ledger.totals, strict=True)
    return {series: total for series, total in pairs if total}


def snapshot(store):
    return {s: t.count for s, t in counts.snapshot(store).tallies.items() if t.count}


@pytest.fixture
def reader(store):
    """A second, read-only opening of the store, as another process has it."""
    with domain.Store.open(store.path) as opened:
        yield opened


@pytest.fixture
def again(reader):
    """Function: read once more; the same Counting each time."""
    kept = Counting()

    def read():
        problems = kept.read([reader])
        return counted(kept), problems

    read.counting = kept
    yield read
    kept.close()


def test_what_is_read_again_is_what_a_snapshot_has(store, owner, again):
    one, two = owner(hits=3), owner(hits=4, other=1)
    assert again() == (snapshot(store), [])
    one.count("later", 7)
    two.count("boom", 2, series=schema.SERIES_ERROR, kind=1, fingerprint=9, times=(5, 6))
    assert again() == (snapshot(store), [])
    fold.fold(store, [owners.change_state(store, one.die(), schema.OWNER_DEAD)])
    three = owner(hits=100)  # takes the slot of the first
    assert three.row.slot == 0
    assert again() == (snapshot(store), [])
    assert sum(again()[0].values()) == 3 + 4 + 1 + 7 + 2 + 100


def test_a_file_that_grows_is_mapped_anew(store, child_environment, again):
    code = """
from faultplane._backend import core
from faultplane.store import lifecycle
import sys
lifecycle.init(service="svc")
for number in range(2000):
    core.Counter(f"c{number}").add(number)
    if number in (3, 1000, 1999):
        print(number, flush=True)
        sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], env=child_environment(CORE_NAME), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        for number in (3, 1000, 1999):
            assert int(child.stdout.readline()) == number
            assert again() == (snapshot(store), [])
            assert sum(again()[0].values()) == number * (number + 1) // 2
            child.stdin.write("\n")
            child.stdin.flush()


def test_first_times_are_the_earliest(owner, again):
    error = {"series": schema.SERIES_ERROR, "kind": 1, "fingerprint": 9}
    owner().count("E", 1, times=(50, 60), **error)
    owner().count("E", 1, times=(40, 70), **error)
    owner().count("E", 0, times=(0, 0), **error)
    again()
    ledger = again.counting.ledger
    (number,) = [n for n, s in enumerate(ledger.series) if s.series == schema.SERIES_ERROR]
    assert ledger.first_seen_unix_nano[number] == 40
    changed = ledger.times_changed
    again()
    assert ledger.times_changed == changed


def test_what_cannot_be_read_any_more_counts_as_before(store, owner, again, reader, monkeypatch):
    one, two = owner(hits=3), owner(hits=4)
    fold.fold(store, [owners.change_state(store, owner(hits=10).die(), schema.OWNER_DEAD)])
    assert sum(again()[0].values()) == 17
    # The totals of the dead are damaged, a file of the living is gone, another is cut.
    os.truncate(f"{store.path}/agg-retired", 7)
    os.rename(f"{store.path}/agg-{one.row.slot}", f"{store.path}/moved")
    os.truncate(f"{store.path}/agg-{two.row.slot}", 64)
    found, problems = again()
    assert sum(found.values()) == 17
    assert len(problems) == 3
    # A reader that begins now has never read them.
    fresh = Counting()
    assert len(fresh.read([reader])) == 3
    assert sum(fresh.ledger.totals) == 0
    fresh.close()


def test_a_table_of_descriptors_that_is_full_is_no_restart(store, owner, again, monkeypatch):
    owner(hits=3)
    assert sum(again()[0].values()) == 3

    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(counting.owners, "read_owners", refuse)
    found, problems = again()
    assert (sum(found.values()), problems) == (3, [f"{store.path}: [Errno 24] Too many open files"])


def test_a_death_counts_once_it_is_recorded_and_once_after_it_is_folded(store, owner, again):
    owner(hits=1).die()
    owner(hits=1).leave()  # in order: no death

    def died():
        found, problems = again()
        assert problems == []
        return {s.name: n for s, n in found.items() if s.series == schema.SERIES_DEATH}

    seen = []
    store_step = {"record": {}, "recorded": {b"exec": 1}, "flipped": {b"exec": 1}}

    def step(name):
        if name in store_step:
            seen.append(name)
            assert died() == store_step[name], name

    assert died() == {}
    maintain.maintain_store(store, step)
    assert seen == ["record", "recorded", "flipped"]
    assert died() == {b"exec": 1}
    maintain.maintain_store(store)
    owner().die()
    maintain.maintain_store(store)
    assert died() == {b"exec": 2}
    assert store.load("deaths_recorded") == 2


def test_deaths_outlive_their_records(store, owner, again):
    """The file of records is bounded; the count of deaths is not what it happens to hold."""
    for _ in range(3):
        owner().die()
        maintain.maintain_store(store)
        os.unlink(f"{store.path}/{deaths.NAME}")
    found, _ = again()
    assert sum(n for s, n in found.items() if s.series == schema.SERIES_DEATH) == 3


def test_a_ledger_of_numbers_that_came_to_nothing_begins_anew(store, owner, again, monkeypatch):
    monkeypatch.setattr(counting, "SERIES_KEPT_MAX", 40)
    one = owner(**{f"c{number}": 1 for number in range(50)})
    assert sum(again()[0].values()) == 50
    one.die()
    monkeypatch.setattr(fold, "series_max", lambda store: 12)
    maintain.maintain_store(store)
    again()
    epoch = again.counting.ledger.epoch
    found, problems = again()
    assert (found, problems) == (snapshot(store), [])
    assert again.counting.ledger.epoch == epoch + 1
    assert len(again.counting.ledger.series) < 40


def test_damaged_entries_are_left_out_and_said(store, owner, again):
    one = owner(hits=3, other=4)
    with open(f"{store.path}/agg-{one.row.slot}", "r+b") as file:
        file.seek(len(aggregate.first_bytes(0, 1)) + 128)
        file.write(b"\xff\xff\xff\xff")
    found, problems = again()
    assert found == snapshot(store)
    assert sum(found.values()) == 3
    assert "cannot have 4294967295 bytes" in problems[0]
