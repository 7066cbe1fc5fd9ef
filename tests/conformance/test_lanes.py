"""Segments and lanes: claimed, filled, closed, retired; nothing lost, doubled or torn."""

from __future__ import annotations

import os

import domain_fixture
import pytest

from faultplane import schema

CLOSED, OPEN = schema.LANE_CLOSED, schema.LANE_OPEN


def test_lanes_are_filled_in_order_across_segments(core_name, child, tmp_domain_dir):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=8)
    reader = domain_fixture.Reader(path)
    records = 3 * 4 * schema.LANE_ROWS + 100
    state = child(core_name, "fill", path, records)
    rows = reader.rows()
    assert [row["seq"] for row in rows] == list(range(1, records + 1))
    assert [row["duration_nano"] for row in rows] == list(range(records))
    lanes = reader.all_lanes()
    assert [(lane.segment, lane.number) for lane in lanes] == [
        (1 + i // 4, i % 4) for i in range(13)
    ]
    assert [lane.count for lane in lanes] == [512] * 12 + [100]
    assert [lane.state for lane in lanes] == [CLOSED] * 12 + [OPEN]
    assert {(lane.owner, lane.generation) for lane in lanes} == {(0, 1)}
    assert (state["lanes_claimed"], state["segments_mapped"], state["rehomed"]) == (13, 4, 0)
    assert reader.registry("segment_newest") == 4


def test_the_oldest_segments_are_retired_and_accounted_for(core_name, child, tmp_domain_dir):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=3)
    reader = domain_fixture.Reader(path)
    records = 10 * 4 * schema.LANE_ROWS
    child(core_name, "fill", path, records)
    rows = reader.rows()
    retired = reader.rows_retired
    assert retired % (4 * schema.LANE_ROWS) == 0
    assert [row["seq"] for row in rows] == list(range(retired + 1, records + 1))
    oldest, newest = reader.registry("segment_oldest"), reader.registry("segment_newest")
    assert reader.numbers() == list(range(oldest, newest + 1))
    assert newest - oldest + 1 <= 3 and newest == 10
    assert reader.segments_retired == oldest - 1 == retired // (4 * 512)
    data = (path / "registry").read_bytes()
    for number in range(1, oldest):
        at = schema.SEGMENT_TABLE_OFFSET + number * schema.SEGMENT_TABLE_ENTRY_BYTES
        noted = int.from_bytes(data[at : at + 8], "little")
        assert noted == number << schema.SEGMENT_TABLE_ROWS_BITS | 4 * 512


def test_a_segment_that_cannot_be_opened_now_is_retired_later_and_counted(
    core_name, child, tmp_domain_dir
):
    """Without a free descriptor it was given up unsealed, and its rows were in no account."""
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=8)
    reader = domain_fixture.Reader(path)
    assert child(core_name, "retired_without_descriptors", path) == [0, 1, 0, 3]
    assert reader.rows_retired == 3 * 4 * schema.LANE_ROWS


@pytest.mark.parametrize("steps", range(3))
def test_rows_are_added_to_the_total_once_by_whoever_comes_next(
    core_name, child, tmp_domain_dir, steps
):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=8)
    reader = domain_fixture.Reader(path)
    assert child(core_name, "retired_by_the_next", path, steps) == 3
    assert (reader.rows_retired, reader.segments_retired) == (3 * 4 * schema.LANE_ROWS, 3)
    assert reader.registry("segment_oldest") == 4


def test_oldest_segments_that_are_gone_or_damaged_are_retired_all_the_same(
    core_name, child, tmp_domain_dir
):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=8)
    reader = domain_fixture.Reader(path)
    assert child(core_name, "retired_damaged", path) == [3, 0]
    assert (reader.registry("segment_oldest"), reader.segments_retired) == (4, 3)
    assert reader.rows_retired == 4 * schema.LANE_ROWS
    assert set(reader.numbers()) - {6} == {4, 5}  # the sixth may have its name ahead of need


def test_a_lane_ends_when_its_arena_is_full(core_name, child, reader):
    lanes = child(core_name, "fill_arena", reader.path)
    rows = reader.rows()
    assert len(rows) == 200
    assert {(row["message"], row["attributes"]) for row in rows} == {
        ("m" * 1000, b"k=" + b"v" * 3000)
    }
    assert lanes == len(reader.all_lanes()) == -(-200 // (49_152 // 4002))


def test_a_record_whose_lane_was_closed_goes_into_another(core_name, child, reader):
    first, again, rehomed = child(core_name, "closed_under_us", reader.path)
    assert (first, again, rehomed) == (10, 0, 1)
    rows, lanes = reader.rows(), reader.all_lanes()
    assert [row["seq"] for row in rows] == list(range(1, 21))
    assert [(lane.state, lane.count) for lane in lanes] == [(CLOSED, 10), (OPEN, 10)]
    assert domain_fixture.errors(reader.cells()) == {("", "ValueError"): 20}


def test_a_record_whose_segment_was_retired_goes_into_another(core_name, child, tmp_domain_dir):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=2)
    reader = domain_fixture.Reader(path)
    retired, rehomed = child(core_name, "sealed_under_us", path)
    assert (retired, rehomed) == (1, 1)
    assert reader.rows_retired == 10
    assert [row["duration_nano"] for row in reader.rows()] == list(range(10, 20))
    assert domain_fixture.errors(reader.cells()) == {("", "ValueError"): 20}


def test_a_segment_prepared_by_others_is_used(core_name, child, reader):
    first, second, names = child(core_name, "prepared_ahead", reader.path)
    assert first and second
    assert "seg-1" in names and "tmp-ready" not in names
    assert not any(name.startswith("tmp-") for name in os.listdir(reader.path))


def test_a_full_dictionary_is_followed_by_another(core_name, child, tmp_domain_dir):
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, dictionary_bytes=1 << 17)
    reader = domain_fixture.Reader(path)
    count = 5000
    child(core_name, "dictionary_generations", path, count)
    rows = reader.rows()
    assert len(rows) == count
    generations = {
        schema.SEGMENT.read(reader.segment(n), 0, "dictionary_generation") for n in reader.numbers()
    }
    assert len(generations) > 1 and reader.registry("dictionary_generation") == max(generations)
    missing = domain_fixture.drops(reader.cells()).get("dictionary_full", 0)
    found = sum(row["operation"] == f"operation-{i:05}-" + "y" * 60 for i, row in enumerate(rows))
    absent = sum(row["operation"] == "" for row in rows)
    # The first record after a change met both dictionaries.
    assert found + absent == count and absent <= missing <= absent + max(generations)
    assert found > count // 4


def test_foreign_bytes_in_the_place_of_a_segment_are_passed_by(core_name, child, reader):
    child(core_name, "foreign_segment", reader.path)
    assert (reader.path / "seg-1").read_bytes() == b"garbage"
    (reader.path / "seg-1").unlink()
    counted = sum(domain_fixture.errors(reader.cells()).values())
    assert counted == 3
    assert len(reader.rows()) + domain_fixture.drops(reader.cells()).get("no_space", 0) == 3


@pytest.mark.fault
def test_a_full_file_system_costs_rows_and_no_counts(core_name, child, small_disk):
    path = domain_fixture.make(small_disk(2) / "d", lanes=8, segments_max=8)
    reader = domain_fixture.Reader(path)
    records = 3 * 8 * schema.LANE_ROWS
    state = child(core_name, "no_space", path, records)
    cells, rows = reader.cells(), reader.rows()
    dropped = domain_fixture.drops(cells)
    assert set(dropped) == {"no_space"} and state["refusal"] == 3
    assert domain_fixture.errors(cells) == {("", "ValueError"): records}
    assert len(rows) == records - dropped["no_space"] > 0
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(cell["suppressed"] for cell in cells) == dropped["no_space"]
    assert not [name for name in os.listdir(path) if name.startswith("tmp-pub")]


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("before", [0, 1])
def test_a_program_out_of_descriptors_is_no_full_disk(
    core_name, child, tmp_domain_dir, before, left
):
    """The first files cannot be made, or not those of names, or not those of another segment."""
    path = domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=8)
    reader = domain_fixture.Reader(path)
    records = 2 * 4 * schema.LANE_ROWS
    child(core_name, "no_descriptors", path, before, left, records)
    cells = reader.cells()
    assert domain_fixture.errors(cells) == {("", "ValueError"): before + records}
    dropped = domain_fixture.drops(cells)
    assert set(dropped) <= {"row_lost"}
    assert len(reader.rows()) == before + records - dropped.get("row_lost", 0)
    if left == 0 or before == 0:
        assert dropped["row_lost"] >= records - 4 * schema.LANE_ROWS
