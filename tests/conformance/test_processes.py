"""Several processes in one domain; forks, fences and in-flight slots."""

from __future__ import annotations

import domain_fixture

from faultplane import schema

SLOT_MASK = 0x1FF
"""Of a token of enter(): slot + 1; above it is the number of the entry."""


def test_two_processes_interleave_and_lose_nothing(core_name, child, tmp_domain_dir):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=36, segments_max=8)
    reader = domain_fixture.Reader(path)
    records = 20_000
    assert child(core_name, "two_writers", path, records) == [0, 0]
    rows = reader.rows()
    assert len(rows) == 2 * records
    for slot, owner in ((1, {row["owner"] for row in rows}), (2, None)):
        cells = reader.cells(slot)
        assert domain_fixture.errors(cells) == {("", "ValueError"): records}
        assert domain_fixture.drops(cells) == {}
        assert owner is None or len(owner) == 2
    for owner in {row["owner"] for row in rows}:
        mine = sorted((row["seq"], row["duration_nano"]) for row in rows if row["owner"] == owner)
        assert mine == [(i + 1, i) for i in range(records)]
    assert {row["message"] for row in rows} == {"filling"}
    assert all(lane.state == schema.LANE_CLOSED for lane in reader.all_lanes())
    names = reader.names(1)
    assert len(names) == len(set(names))


def test_a_forked_child_writes_as_an_owner_of_its_own(core_name, child, reader):
    assert child(core_name, "forked", reader.path) == 0
    rows = reader.rows()
    by_owner = {}
    for row in rows:
        by_owner.setdefault(row["owner"], []).append(row["seq"])
    assert by_owner == {1: [1, 2, 3, 4, 5, 6], 2: [1, 2]}
    assert domain_fixture.errors(reader.cells(0)) == {("", "ValueError"): 6}
    assert domain_fixture.errors(reader.cells(1)) == {("", "ValueError"): 2}
    assert domain_fixture.counters(reader.cells(0)) == {"n": 5}
    assert domain_fixture.counters(reader.cells(1)) == {"n": 7}


def test_a_child_forked_before_bind_does_not_inherit_counts(core_name, child, reader):
    assert child(core_name, "forked_before_bind", reader.path) == 0
    assert domain_fixture.errors(reader.cells(0)) == {("", "ValueError"): 5}
    assert domain_fixture.errors(reader.cells(1)) == {("", "ValueError"): 1}


def test_a_fenced_owner_whose_slot_has_another_registers_anew_before_it_writes(
    core_name, child, reader
):
    assert child(core_name, "fenced_and_replaced", reader.path) == [False]
    assert [(row["owner"], row["seq"]) for row in reader.rows()] == [(1, 1), (3, 1)]
    assert reader.cells(0) == []
    assert domain_fixture.counters(reader.cells(1)) == {"n": 10}
    assert domain_fixture.errors(reader.cells(1)) == {("", "ValueError"): 1}


def test_a_fenced_owner_registers_anew_before_it_writes(core_name, child, reader):
    assert child(core_name, "fenced", reader.path) == [False]
    rows = reader.rows()
    assert [(row["owner"], row["seq"]) for row in rows] == [(1, 1), (2, 1)]
    first, second = reader.cells(0), reader.cells(1)
    assert domain_fixture.counters(first) == {"n": 1}
    assert domain_fixture.counters(second) == {"n": 10}
    assert domain_fixture.errors(first) == domain_fixture.errors(second) == {("", "ValueError"): 1}


def test_a_failing_rebind_is_asked_once_a_second_and_counts_stay_exact(core_name, child, reader):
    asked, dropped, counted = child(core_name, "rebind_refused", reader.path)
    assert asked <= 2
    assert dropped == {"no_storage": 50} and counted == {"/ValueError": 50}
    assert reader.rows() == []


def test_in_flight_slots_say_what_is_being_done(core_name, child, reader):
    outer, entered, refused, again = child(core_name, "inflight", reader.path)
    outer, again = outer & SLOT_MASK, again & SLOT_MASK
    slots = {slot["slot"] + 1: slot for slot in reader.inflight()}
    assert set(slots) == {outer, again}
    assert entered == schema.INFLIGHT_SLOTS - 2 and refused == 1
    assert slots[outer]["operation"][: slots[outer]["operation_bytes"]] == b"outer"
    assert slots[again]["operation"][: slots[again]["operation_bytes"]] == b"again"
    assert (slots[outer]["parent"], slots[again]["parent"]) == (0, outer)
    assert slots[outer]["start_unix_nano"] > 0 and slots[outer]["start_mono_nano"] > 0
    assert domain_fixture.drops(reader.cells()) == {"inflight_overflow": 1}


def test_operations_that_end_while_recording_is_off_have_ended(core_name, child, reader):
    assert child(core_name, "inflight_off", reader.path) == 2 * schema.INFLIGHT_SLOTS
    assert reader.inflight() == []
    assert domain_fixture.drops(reader.cells()) == {}
