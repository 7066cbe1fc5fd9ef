"""Damaged, full, locked or foreign files cost rows or names, and never a count."""

from __future__ import annotations

import domain_fixture
import pytest

from faultplane import schema


def overflown(reader, cell=schema.OVERFLOW_CELLS - 1):
    data = (reader.path / "registry").read_bytes()
    return int.from_bytes(data[schema.OVERFLOW_CELLS_OFFSET + 8 * cell :][:8], "little")


def test_counts_from_before_bind_are_carried_over_however_many_they_are(core_name, child, reader):
    child(core_name, "counted_early", reader.path, 1000)
    expected = {f"early {n:04}": n for n in range(1000)} | {"late": 7}
    assert domain_fixture.counters(reader.cells()) == expected


@pytest.mark.fault
def test_series_for_which_the_disk_has_no_room_are_counted_together(core_name, child, small_disk):
    path = domain_fixture.make(small_disk(8) / "d", lanes=4)
    reader = domain_fixture.Reader(path)
    child(core_name, "series_without_room", path, 1500)
    counted = domain_fixture.counters(reader.cells())
    assert counted.pop("after") == 5, "it grows again when there is room"
    assert set(counted.values()) == {2}
    assert len(counted) < 1500
    assert 2 * len(counted) + overflown(reader) == 3000
    assert domain_fixture.drops(reader.cells())["series_overflow"] == 1500 - len(counted)


def test_series_of_a_file_that_the_application_closed_are_counted_together(
    core_name, child, reader
):
    child(core_name, "counts_file_closed", reader.path, 1000)
    counted = domain_fixture.counters(reader.cells())
    assert 0 < len(counted) < 1000
    assert 2 * len(counted) + overflown(reader) == 2000


@pytest.mark.parametrize("how", ["cut", "garbage", "missing", "index", "offsets"])
def test_without_a_dictionary_rows_have_no_names_and_counts_are_exact(
    core_name, child, reader, how
):
    child(core_name, "dictionary_damaged", reader.path, how)
    rows = [row for row in reader.rows(decode=False) if row["owner"] == 2]
    assert [row["message"] for row in rows] == ["number 0", "number 1", "number 2"]
    assert {(row["type"], row["operation"], row["resource"]) for row in rows} == {(0, 0, 0)}
    counted = {key: n for key, n in domain_fixture.errors(reader.cells(1)).items() if n}
    assert counted == {("op", "ValueError"): 3}


def test_names_do_without_a_place_while_their_lock_is_held(core_name, child, reader):
    if core_name != "python":
        pytest.skip("the compiled core appends names without a lock")
    child(core_name, "names_are_locked", reader.path)
    rows = reader.rows()
    assert [row["type"] for row in rows] == ["KeyError", "", "", ""]
    assert domain_fixture.drops(reader.cells())["dictionary_full"] > 0
    assert {n for key, n in domain_fixture.errors(reader.cells()).items()} == {1}
    assert len(domain_fixture.errors(reader.cells())) == 4


def test_a_prepared_file_of_another_size_is_not_used(core_name, child, reader):
    assert child(core_name, "ready_segment_of_another_size", reader.path) == []
    assert len(reader.rows()) == 3


@pytest.mark.parametrize("how", ["used", "entries", "entry"])
def test_a_dictionary_that_says_it_is_full_or_empty_takes_no_names(core_name, child, reader, how):
    """Sums of what it says pass 2**64, and would be small again."""
    child(core_name, "dictionary_damaged", reader.path, how)
    rows = [row for row in reader.rows(decode=False) if row["owner"] == 2]
    assert [row["message"] for row in rows] == ["number 0", "number 1", "number 2"]
    assert how != "used" or {row["operation"] for row in rows} == {0}
    if how != "entry":
        first = next(row for row in reader.rows(decode=False) if row["owner"] == 1)
        assert interned(reader.path / "dict-1", first["type"]) == b"KeyError"


def interned(path, code):
    """The string that a code stands for, whatever the header says of how many there are."""
    data = path.read_bytes()
    shape = schema.dictionary_shape(len(data))
    entry = shape.entries_offset + code * schema.DICTIONARY_ENTRY.size
    word = schema.DICTIONARY_ENTRY.read(data, entry, "word")
    start = shape.bytes_offset + (word & 0xFFFF_FFFF) - 1
    return data[start : start + (word >> 32)]


def test_words_of_a_damaged_registry_cost_no_time_and_raise_nothing(core_name, child, reader):
    closed, *retired = child(core_name, "registry_damaged", reader.path)
    assert closed == 0
    assert all(0 <= number <= 64 for number in retired)


@pytest.mark.parametrize(
    "field",
    ["schema_hash", "number", "lanes", "created_unix_nano", "arena_offset", "column_offsets"],
)
def test_a_whole_segment_that_is_another_is_passed_by(core_name, child, reader, field):
    child(core_name, "foreign_segment_of_the_right_size", reader.path, field)
    foreign = reader.path / "seg-2"
    data = foreign.read_bytes()
    assert data.count(b"number 1") == 0
    foreign.unlink()
    assert [row["message"] for row in reader.rows()] == [
        "first", "number 0", "number 1", "number 2"
    ]  # fmt: skip
    assert domain_fixture.drops(reader.cells(1)) == {}


def test_a_directory_in_the_place_of_a_segment_is_passed_by(core_name, child, reader):
    closed, *retired = child(core_name, "directory_in_place_of_a_segment", reader.path)
    assert (closed, retired) == (0, [1, 0])
    assert reader.registry("segment_oldest") == 2
    assert reader.rows_retired == 0


def test_a_ring_that_may_not_write_does_nothing_and_a_long_tag_is_refused(core_name, child, reader):
    prepared, retired, closed, refused = child(core_name, "rings_that_refuse", reader.path)
    assert (prepared, retired, closed) == (False, 0, 0)
    assert refused == "tag must be at most 31 bytes, got 32"
    assert reader.registry("segment_oldest") == 1
    assert [lane.state for lane in reader.all_lanes()] == [schema.LANE_OPEN]


def test_tracing_that_is_half_there_gives_no_ids_and_no_error(core_name, child, reader):
    pytest.importorskip("opentelemetry.trace")
    child(core_name, "tracing_half_there", reader.path)
    ids = [(row["trace_id"], row["span_id"]) for row in reader.rows()]
    assert ids[:3] == [(bytes(16), bytes(8))] * 3
    assert ids[3] == ((5).to_bytes(16, "big"), (7).to_bytes(8, "big"))


def test_a_counter_says_its_name_and_counts_only_while_active(core_name, child):
    (name, shown, kind, *refused, same), counted = child(core_name, "counter_faces")
    assert (name, shown) == ("shop.charged", "Counter('shop.charged')")
    assert (kind, same) == ("str", "shop.charged")
    assert refused == [
        f"{what} must be a str, got {kind}"
        for what in ("name", "operation", "text")
        for kind in ("int", "NoneType", "bytes")
    ]
    assert counted == {"shop.charged": 4}


def test_what_raises_when_it_is_looked_at_is_an_unknown_error(core_name, child, reader):
    assert child(core_name, "odd_answers", reader.path) == [True, False]
    rows = reader.rows()
    assert [row["type"] for row in rows] == ["ValueError", "ValueError", "MemoryError"]
    assert {(row["kind"], row["severity_number"]) for row in rows} == {(schema.KIND_INTERNAL, 17)}
    assert sum(domain_fixture.errors(reader.cells()).values()) == 3
