"""Where the fields of a real file are: what a change is worth most at."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from faultplane import control_schema, schema

ROWS_LISTED = 4


class Place(NamedTuple):
    """A field: where it is and how many bytes it takes."""

    offset: int
    width: int


def of_layout(layout: schema.Layout, base: int = 0) -> Iterator[Place]:
    """Each field of a structure; each word of an array of them."""
    for field in layout.fields:
        offset, width = base + layout.offset[field.name], layout.width(field.name)
        if field.code.endswith("s"):
            yield Place(offset, width)
            continue
        unit = struct.calcsize("<" + field.code[-1])
        words = 1 if field.code == schema.HOT_WORD else width // unit
        yield from (Place(offset + unit * n, unit) for n in range(words))


def registry(data: bytes) -> Iterator[Place]:
    """Header and words, overflow cells, the table of retired segments."""
    yield from of_layout(schema.REGISTRY)
    for cell in range(schema.OVERFLOW_CELLS):
        yield Place(schema.OVERFLOW_CELLS_OFFSET + 8 * cell, 8)
    for entry in range(8):
        yield Place(schema.SEGMENT_TABLE_OFFSET + 8 * entry, 8)


def owners(data: bytes) -> Iterator[Place]:
    """Every field of every slot, and the text of the resource byte by byte."""
    for base in range(0, len(data), schema.OWNER.size):
        yield from of_layout(schema.OWNER, base)
        text = base + schema.OWNER.offset["resource"]
        yield from (Place(text + n, 1) for n in range(24))


def dictionary(data: bytes) -> Iterator[Place]:
    """Header, the entries in use, the buckets that lead to them, the bytes."""
    shape = schema.dictionary_shape(len(data))
    yield from of_layout(schema.DICTIONARY)
    (taken,) = struct.unpack_from("<Q", data, schema.DICTIONARY.offset["next_entry"])
    for code in range(min(taken + 2, shape.entries_max)):
        base = shape.entries_offset + code * schema.DICTIONARY_ENTRY.size
        yield from of_layout(schema.DICTIONARY_ENTRY, base)
        yield Place(base + 4, 4)  # the length, without the offset
    for bucket in range(shape.buckets):
        place = shape.buckets_offset + 4 * bucket
        if any(data[place : place + 4]):
            yield Place(place, 4)
    for offset in range(shape.bytes_offset, min(shape.bytes_offset + 2048, len(data)), 13):
        yield Place(offset, 8)


def segment(data: bytes) -> Iterator[Place]:
    """Header, lane words and their counts, and the first rows of every column."""
    yield from of_layout(schema.SEGMENT)
    (lanes,) = struct.unpack_from("<I", data, schema.SEGMENT.offset["lanes"])
    shape = schema.segment_shape(lanes)
    for lane in range(lanes):
        word = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
        yield from (Place(word, 8), Place(word, 4), Place(word + 4, 4))
    for column, start in zip(schema.COLUMNS, shape.column_offsets, strict=True):
        for row in range(ROWS_LISTED):
            place = start + row * column.width
            yield Place(place, column.width)
            if column.logical == "view":
                yield from (Place(place + 4 * n, 4) for n in range(4))
    yield from (Place(shape.arena_offset + 16 * n, 8) for n in range(32))


def aggregate(data: bytes) -> Iterator[Place]:
    """Header and cells, and the strings behind them."""
    yield from of_layout(schema.AGGREGATE)
    (used,) = struct.unpack_from("<Q", data, schema.AGGREGATE.offset["used"])
    base = schema.AGGREGATE.size
    while base + schema.CELL.size <= min(used, len(data)):
        yield from of_layout(schema.CELL, base)
        (size,) = struct.unpack_from("<I", data, base)
        yield from (Place(base + n, 4) for n in range(schema.CELL.size, size, 16))
        base += max(size, schema.CELL.size)


def breath(data: bytes) -> Iterator[Place]:
    """Header, the first slots, the fatal slot and its text."""
    yield from of_layout(schema.BREATH)
    for slot in (*range(6), schema.INFLIGHT_SLOTS - 1):
        base = schema.BREATH_INFLIGHT_OFFSET + slot * schema.INFLIGHT.size
        yield from of_layout(schema.INFLIGHT, base)
    yield from of_layout(schema.FATAL, schema.BREATH_FATAL_OFFSET)
    text = schema.BREATH_FATAL_OFFSET + schema.FATAL_HEAD_BYTES
    yield from (Place(text + n, 4) for n in range(0, 256, 8))


def control(data: bytes) -> Iterator[Place]:
    """Header, the cells that were taken with a text each, their transitions, the first leases."""
    head, cell = control_schema.CONTROL, control_schema.CONTROL_CELL
    yield from of_layout(head)
    (used,) = struct.unpack_from("<Q", data, head.offset["cells_used"])
    (leases,) = struct.unpack_from("<I", data, head.offset["leases_offset"])
    (slots,) = struct.unpack_from("<I", data, head.offset["owner_slots"])
    for index in range(used):
        base = head.size + index * cell.size
        yield from of_layout(cell, base)
        yield from (Place(base + cell.offset["text"] + n, 1) for n in range(0, 200, 5))
        row = leases + index * control_schema.lease_row_bytes(slots)
        yield from (Place(row + 8 * n, 8) for n in range(2 * slots))


def deaths(data: bytes) -> Iterator[Place]:
    """The values of the JSON: every place behind a mark of its syntax."""
    for offset, byte in enumerate(data):
        if byte in b':,[]{}"\n':
            yield Place(offset + 1, 1)
