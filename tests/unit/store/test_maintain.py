"""Maintenance: whoever is there does what is due, once, and is never in the way."""

from __future__ import annotations

import os
import time

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.store import counts, deaths, domain, location, maintain, owners


def test_nothing_due_changes_nothing(store, owner):
    owner(hits=1)
    report = maintain.maintain_store(store)
    assert (report.skipped, report.died, report.folded, report.problems) == ("", [], 0, [])
    assert len(owners.read_owners(store)) == 1


def test_dead_owners_are_buried_and_live_ones_are_not(store, owner):
    living, died, left = owner(hits=1), owner(hits=2), owner(hits=4)
    died.write(pid=0)
    died.die()
    left.write(pid=0)
    left.leave()
    (report,) = maintain.maintain(store.domain_path)
    assert (report.folded, len(report.died), report.problems) == (2, 1, [])
    assert [row.slot for row in owners.read_owners(store)] == [living.registration.slot]
    assert counts.read_counters(store)[0].value == 7


def test_a_second_maintainer_does_not_wait(store, owner):
    owner().die()
    assert store.locks.try_take(schema.LOCK_MAINTAIN)
    assert maintain.maintain_store(store).skipped == "another process is at it"
    store.locks.release(schema.LOCK_MAINTAIN)
    assert maintain.maintain_store(store).folded == 1


def test_a_reader_and_another_core_leave_a_store_alone(store, owner, tmp_domain_dir):
    owner().die()
    with domain.Store.open(store.path) as reader:
        assert maintain.maintain_store(reader).skipped == "not writable by this process"
    other = "python" if CORE_NAME == "cython" else "cython"
    base = location.Base(str(tmp_domain_dir), "given")
    domain.open_or_create(base, "default", other, 2 << 20, False).close()
    reports = {report.store: report for report in maintain.maintain(store.domain_path)}
    assert reports[f"1-{other}"].skipped == f"not maintained by the {CORE_NAME} core"
    assert reports[f"1-{CORE_NAME}"].folded == 1


def test_a_store_that_cannot_be_opened_is_reported(store):
    os.truncate(f"{store.path}/registry", 10)
    (report,) = maintain.maintain(store.domain_path)
    assert "registry must have at least" in report.skipped


def test_descriptors_that_the_application_closed_are_reported(store):
    os.close(store.locks.descriptor)
    assert "closed by the application" in maintain.maintain_store(store).skipped


def test_an_owner_of_another_namespace_is_fenced_and_given_a_second(store, owner):
    one = owner(hits=3)
    one.write(pid_namespace=7)
    one.die()
    report = maintain.maintain_store(store)
    row = owners.read_owner(store, 0)
    assert (row.state, row.fence, report.folded, len(report.died)) == ("dead", 0, 0, 1)
    one.count("late", 1)  # it may still count while it has not noticed
    owners.write_fields(store, 0, end_unix_nano=time.time_ns() - 2 * owners.SETTLE_NANO)
    report = maintain.maintain_store(store)
    assert (report.folded, report.died) == (1, [])
    assert [row.value for row in counts.read_counters(store)] == [3, 1]


def test_an_owner_that_was_declared_dead_by_mistake_stays_dead_and_is_folded_later(store, owner):
    one = owner(hits=3)
    owners.set_fence(store, 0)
    owners.write_fields(store, 0, end_unix_nano=time.time_ns())
    assert owners.change_state(store, one.row, schema.OWNER_DEAD)
    assert maintain.maintain_store(store).folded == 0  # it lives, and has a second to notice
    owners.write_fields(store, 0, end_unix_nano=time.time_ns() - 2 * owners.SETTLE_NANO)
    assert maintain.maintain_store(store).folded == 1


@pytest.mark.parametrize("owners_alive", [1, 31])
def test_a_record_that_cannot_be_stored_keeps_the_slot_while_there_are_others(
    store, owner, monkeypatch, owners_alive
):
    for _ in range(owners_alive):
        owner()
    one = owner(hits=3)
    one.write(pid=0)
    one.die()

    def full(*_):
        raise OSError(28, "no room for a death record")

    monkeypatch.setattr(deaths, "append", full)
    report = maintain.maintain_store(store)
    assert "no room for a death record" in report.problems[0]
    assert report.folded == (1 if owners_alive == 31 else 0)
    monkeypatch.undo()
    report = maintain.maintain_store(store)
    assert len(report.died) == (0 if owners_alive == 31 else 1)
    assert counts.read_counters(store)[0].value == 3


def test_a_part_that_fails_does_not_stop_the_others(store, owner, monkeypatch):
    owner().die()
    old = time.time() - 120
    for name in ("tmp-1-x", "tmp-ready"):
        with open(f"{store.path}/{name}", "wb"):
            pass
        os.utime(f"{store.path}/{name}", (old, old))

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(maintain.fold, "finish_last", fail)
    report = maintain.maintain_store(store)
    assert report.problems == [f"{store.path}: [Errno 5] Input/output error"]
    assert report.removed == ["tmp-1-x"]


def test_what_a_dead_owner_was_preparing_goes_with_its_slot(store, owner):
    owner()
    died = owner()
    for name in ("tmp-next-0", "tmp-next-1", "tmp-dict-2-1"):
        with open(f"{store.path}/{name}", "wb"):
            pass
    died.write(pid=0)
    died.die()
    maintain.maintain_store(store)
    left = {name for name in os.listdir(store.path) if name.startswith("tmp-")}
    assert left - {"tmp-ready"} == {"tmp-next-0"}


def test_dictionaries_that_no_segment_names_go_but_for_the_newest_two(store):
    for generation in range(1, 6):
        for kind in ("dict", "stacks"):
            with open(f"{store.path}/{kind}-{generation}", "wb"):
                pass
    with open(f"{store.path}/dict-x", "wb"):
        pass
    store.registry.store(schema.REGISTRY.offset["dictionary_generation"], 5)
    report = maintain.maintain_store(store)
    assert set(report.removed) == {f"{kind}-{n}" for kind in ("dict", "stacks") for n in (1, 2, 3)}
    # A segment that cannot be read may name any of them.
    with open(f"{store.path}/dict-2", "wb"), open(f"{store.path}/seg-1", "wb"):
        pass
    assert maintain.maintain_store(store).removed == []
