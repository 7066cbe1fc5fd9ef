"""Lanes of the dead: closed once, with their counts, and read without a reader's machinery."""

from __future__ import annotations

import os
import struct

import pytest

from faultplane import schema
from faultplane.store import files, lanes

SHAPE = schema.segment_shape(4)


@pytest.fixture
def segment(store):
    """Function ``(place_number, words, **header) -> path``: a segment with those lane words."""
    assert store.header.lanes_per_segment == 4

    def make(place_number, words=(), **header):
        head = files.header(
            schema.SEGMENT,
            "segment",
            lanes=4,
            schema_hash=schema.SCHEMA_HASH,
            arena_offset=SHAPE.arena_offset,
            file_bytes=SHAPE.file_bytes,
            lane_rows=schema.LANE_ROWS,
            row_bytes=schema.ROW_BYTES,
            arena_bytes_per_lane=schema.ARENA_BYTES_PER_LANE,
            column_count=len(schema.COLUMNS),
            **{"number": place_number, "dictionary_generation": 1, **header},
        )
        data = bytearray(head)
        start = schema.SEGMENT.offset["column_offsets"]
        struct.pack_into(f"<{len(SHAPE.column_offsets)}Q", data, start, *SHAPE.column_offsets)
        parts = [(0, bytes(data))]
        for lane, word in enumerate(words):
            place = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
            parts.append((place, struct.pack("<Q", word)))
        os.close(files.create(store.directory_fd, f"seg-{place_number}", SHAPE.file_bytes, parts))
        return f"{store.path}/seg-{place_number}"

    return make


def word(state, slot, generation, count):
    return lanes.lane_tag(slot, generation, state) | count


def words(path):
    with open(path, "rb") as file:
        data = file.read()
    return [
        struct.unpack_from("<Q", data, schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE)[0]
        for lane in range(4)
    ]


def test_only_open_lanes_of_the_dead_are_closed_and_keep_their_count(store, segment):
    mine = word(schema.LANE_OPEN, 3, 7, 100)
    others = [
        word(schema.LANE_OPEN, 3, 8, 5),
        word(schema.LANE_OPEN, 2, 7, 6),
        word(schema.LANE_CLOSED, 3, 7, 512),
    ]
    path = segment(1, [mine, *others])
    second = segment(2, [0, mine])
    # Generations are compared as lane words hold them: sixteen bits.
    assert lanes.close_lanes(store, {(3, 7 + (1 << 16))}) == (2, [])
    assert words(path) == [word(schema.LANE_CLOSED, 3, 7, 100), *others]
    assert words(second) == [0, word(schema.LANE_CLOSED, 3, 7, 100), 0, 0]
    assert lanes.close_lanes(store, {(3, 7)}) == (0, [])


def test_bad_segments_are_reported_and_the_rest_is_closed(store, segment):
    mine = word(schema.LANE_OPEN, 0, 0, 1)
    segment(1, [mine], number=9)
    with open(f"{store.path}/seg-2", "wb") as file:
        file.write(b"short")
    good = segment(3, [mine])
    closed, problems = lanes.close_lanes(store, {(0, 0)})
    assert closed == 1
    assert words(good)[0] == word(schema.LANE_CLOSED, 0, 0, 1)
    assert [problem.partition(": ")[2] for problem in problems] == [
        "seg-1: number must be 1, got 9",
        f"seg-2 must have {SHAPE.file_bytes} bytes, got 5",
    ]


def put(path, lane, row, **values):
    with open(path, "r+b") as file:
        for column, offset in zip(schema.COLUMNS, SHAPE.column_offsets, strict=True):
            if column.name in values:
                file.seek(offset + (lane * schema.LANE_ROWS + row) * column.width)
                file.write(values[column.name])


def test_the_last_rows_of_one_owner_come_in_order_from_several_lanes(store, segment):
    path = segment(
        4, [word(schema.LANE_CLOSED, 1, 0, 3), word(schema.LANE_OPEN, 1, 0, 2),
            word(schema.LANE_OPEN, 2, 0, 1)]
    )  # fmt: skip
    inline = struct.pack("<I12s", 5, b"hello")
    arena = struct.pack("<I4sII", 20, b"long", 0, 64)
    with open(path, "r+b") as file:
        file.seek(SHAPE.arena_offset + 64)
        file.write(b"long enough to be in")
    for lane, row, seq, owner in (
        (0, 0, 1, 5), (0, 1, 2, 5), (0, 2, 3, 5), (1, 0, 4, 5), (1, 1, 5, 99), (2, 0, 9, 5),
    ):  # fmt: skip
        put(
            path, lane, row, seq=struct.pack("<Q", seq), owner=struct.pack("<I", owner),
            message=arena if seq == 4 else inline, kind=b"\6", type=struct.pack("<i", 77),
            trace_id=b"\xab" * 16,
        )  # fmt: skip
    rows = lanes.last_rows(store, 1, 0, 5, 3)
    assert [row["seq"] for row in rows] == [2, 3, 4]
    assert [row["message"] for row in rows] == ["hello", "hello", "long enough to be in"]
    assert {row["kind"] for row in rows} == {"Timeout"}
    assert {row["type"] for row in rows} == {""}, "without a dictionary there are no names"
    assert {row["trace_id"] for row in rows} == {"ab" * 16}


def test_what_cannot_be_read_is_left_out(store, segment):
    path = segment(1, [word(schema.LANE_OPEN, 0, 0, 600)])
    put(path, 0, 511, seq=struct.pack("<Q", 7), owner=struct.pack("<I", 1),
        message=struct.pack("<IIII", 5_000, 0, 0, 0), kind=b"\xff")  # fmt: skip
    put(path, 0, 510, seq=struct.pack("<Q", 6), owner=struct.pack("<I", 1),
        message=struct.pack("<IIII", 900, 0, 0, 1 << 31))  # fmt: skip
    with open(f"{store.path}/seg-2", "wb") as file:
        file.write(b"garbage")
    rows = lanes.last_rows(store, 0, 0, 1, 10)
    assert [(row["seq"], row["message"], row["kind"]) for row in rows] == [(6, "", ""), (7, "", "")]


def test_a_segment_tells_its_dictionary(store, segment):
    segment(1, dictionary_generation=3)
    assert lanes.dictionary_generation(store, 1) == 3
