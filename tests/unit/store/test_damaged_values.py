"""What damaged files say is refused, or shown as what there is room for; it never takes over."""

from __future__ import annotations

import json
import os
import struct
from zlib import crc32

import pytest

from faultplane import schema
from faultplane.errors import CorruptFile
from faultplane.store import (
    aggregate,
    counts,
    death_lines,
    deaths,
    dictionaries,
    domain,
    files,
    fold,
    reader,
    resource,
    stacks,
)
from faultplane.store.aggregate import Series, Tally
from faultplane.store.cursor import Cursor

LAST = (1 << 64) - 1


def store_word(store, field, value):
    store.registry.store(schema.REGISTRY.offset[field], value)


@pytest.mark.parametrize("newest", [1 << 12, 1 << 40, LAST])
def test_a_registry_that_names_segments_without_end_costs_a_look_at_the_directory(store, newest):
    found = reader.StoreReader(store)
    store_word(store, "segment_newest", newest)
    assert found.read(None).runs == []
    assert found.map_new(None) == newest
    bound = 1 + 2 * store.header.segments_max + 256
    assert found.problems["registry"] == (
        f"segment_newest of registry must be at most {bound}, got {newest}"
    )


def test_as_many_segments_as_writers_may_leave_are_looked_for_one_by_one(store):
    found = reader.StoreReader(store)
    store_word(store, "segment_newest", 1 + 2 * store.header.segments_max + 256)
    found.read(None)
    assert "registry" not in found.problems


def test_a_cursor_of_a_damaged_registry_can_be_read_again(store):
    for field in ("segment_newest", "segment_oldest", "retired"):
        store_word(store, field, LAST)
    cursor = Cursor({store.name: reader.StoreReader(store).read(None).position})
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(("field", "least", "most"), [(n, *b) for n, b in domain.BOUNDS.items()])
def test_numbers_of_a_registry_have_bounds(store, field, least, most):
    layout = schema.REGISTRY
    code = {field.name: field.code for field in layout.fields}[field]
    path = f"{store.path}/registry"

    def opened(value):
        with open(path, "r+b") as file:
            data = bytearray(file.read())
            layout.write(data, 0, **{field: value})
            layout.write(data, 0, crc=crc32(data[: layout.offset["crc"]]))
            file.seek(0)
            file.write(data)
        return store._read_header()

    assert getattr(opened(most), field) == most
    assert getattr(opened(least), field) == least
    width = 8 * struct.calcsize(code)
    too_much = [least - 1] if least or code.islower() else []
    too_much += [most + 1] if most + 1 < 1 << (width - code.islower()) else []
    assert too_much
    for value in too_much:
        with pytest.raises(CorruptFile, match=f"{field} of registry must be {least} to {most}"):
            opened(value)


def test_counts_that_add_up_to_more_than_a_table_holds_are_the_most_it_holds():
    series = Series(schema.SERIES_ERROR, 6, 7, b"s", b"o", b"t")
    tallies = {series: Tally(LAST, 0, 0, LAST)}
    aggregate.add(tallies, series, Tally(2, 0, 0, 2))
    (row,) = counts.count_rows(tallies)
    assert (row.count, row.suppressed) == (LAST, LAST)
    tallies = {series._replace(series=schema.SERIES_COUNTER): Tally(LAST + 1)}
    assert counts.counter_rows(tallies)[0].value == LAST


def test_the_epoch_of_the_totals_starts_anew_where_it_ends(store, owner):
    data = aggregate.render((), aggregate.RETIRED_SLOT, LAST)
    os.close(
        files.create(
            store.directory_fd, aggregate.RETIRED_NAME, len(data), [(0, data)], replace=True
        )
    )
    one = owner(hits=3)
    one.leave()
    fold.fold(store, [one.row])
    assert [row.value for row in counts.read_counters(store)] == [3]
    assert fold.read_head(store).epoch_or_incarnation == 0


def test_stacks_that_share_their_bytes_are_not_more_than_the_file(store):
    size = 64 << 10
    shape = schema.dictionary_shape(size)
    data = bytearray(size)
    schema.DICTIONARY.write(
        data, 0, magic=schema.MAGIC["dictionary"], layout_version=schema.LAYOUT_VERSION,
        entries_max=shape.entries_max, generation=1, buckets=shape.buckets,
        entries_offset=shape.entries_offset, buckets_offset=shape.buckets_offset,
        bytes_offset=shape.bytes_offset, file_bytes=size,
    )  # fmt: skip
    schema.DICTIONARY.write(data, 0, crc=crc32(data[: schema.DICTIONARY.offset["crc"]]))
    struct.pack_into("<Q", data, schema.DICTIONARY.offset["next_entry"], shape.entries_max)
    for code in range(1, shape.entries_max):
        place = shape.entries_offset + code * schema.DICTIONARY_ENTRY.size
        struct.pack_into("<QQ", data, place, schema.STRING_BYTES_MAX << 32 | 1, code)
    os.close(files.create(store.directory_fd, "stacks-1", size, [(0, bytes(data))]))
    file = dictionaries.DictionaryFile(store.directory_fd, "stacks-1")
    assert shape.entries_max > 500
    assert len(list(stacks.read_all(file))) == file.bytes_max // schema.STRING_BYTES_MAX == 3


# -------------------------------------------------------------------------------- death records


def test_every_declared_field_of_a_death_has_a_type():
    assert death_lines.TYPES.keys() == deaths.FIELDS.keys()


@pytest.mark.parametrize(
    "damage",
    [
        {"time_unix_nano": "x"}, {"time_unix_nano": 1 << 63}, {"time_unix_nano": 1.5},
        {"frames": 7}, {"frames": [7]}, {"in_flight": [{}]}, {"in_flight": None},
        {"records": [{"message": 1}]}, {"service": None}, {"service": "\ud800"}, {"pid": True},
        {"resource": {"a": {"b": 1}}}, {"resource": {"a": float("nan")}}, {"signal": -(1 << 64)},
        {"incarnation": -1}, {"incarnation": "x"}, {"added later": {"deep": [1]}},
        {"age": float("inf")},
    ],
)  # fmt: skip
def test_a_line_with_values_of_other_types_is_no_record(damage):
    line = {"incarnation": 3, "time_unix_nano": 5, **damage}
    assert death_lines.parse(json.dumps(line).encode()) is None


@pytest.mark.parametrize("text", [b"[" * 50_000, b'{"incarnation":' * 9_000, b"\xff", b"7", b""])
def test_what_is_no_json_is_no_record(text):
    assert death_lines.parse(text) is None


def test_a_line_of_another_version_keeps_what_it_added_and_gets_what_it_lacks():
    found = death_lines.parse(b'{"incarnation":3,"how":"oom","added":["x",1]}')
    assert (found["added"], found["how"], found["records"], found["pid"]) == (
        ["x", 1],
        "oom",
        [],
        0,
    )


def test_the_end_of_a_file_that_is_too_large_is_read(store):
    deaths.append(store, {"incarnation": 1, "time_unix_nano": 1})
    with open(f"{store.path}/deaths", "r+b") as file:
        line = file.read()
        file.seek(5 << 20)
        file.write(b"\n" + line.replace(b"1", b"1"))
    assert [found["incarnation"] for found in deaths.read_deaths(store)] == [1]
    assert len(files.read_end(store.directory_fd, "deaths", 10)) == 10


@pytest.mark.parametrize(
    "text",
    ['{"a":"\\ud800"}', '{"a":NaN}', '{"a":[[1]]}', '{"a":1e999}', f'{{"a":{1 << 64}}}', "[", "7"],
)
def test_a_resource_that_no_process_wrote_is_empty(text):
    assert resource.parse(text) == {}
    assert resource.parse('{"a":"\\u00e9","b":[1,null]}') == {"a": "é", "b": [1, None]}
