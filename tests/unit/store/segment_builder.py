"""Stores made by hand, byte by byte from ``schema.py``, by writers that never existed.

Nothing of the library but the layout is used here, so that a reader that passes agrees with the
layout and not with the library's writers. Rows are a function of their number (`expected`): tests
know what every one must hold. Everything behind the committed rows of a lane is filled with bytes
that no reader may show: dictionary codes that are out of range and views that point nowhere.
"""

from __future__ import annotations

import json
import os
import struct
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import numpy as np

from faultplane import schema

TYPES = ["ValueError", "KeyError", "ConnectionResetError", "billing.errors.CardDeclined"]
SITES = ["shop.cart:add:12", "shop.pay:charge:88", "shop.pay:refund:140"]
OPERATIONS = ["checkout", "refund", "Zahlung prüfen"]
START_UNIX_NANO = 1_700_000_000_000_000_000
HOLE = 0xEE

NUMPY = {
    "L": "<u8", "l": "<i8", "tsn:UTC": "<i8", "i": "<i4", "I": "<u4", "S": "<u2", "C": "u1",
}  # fmt: skip


def expected(number: int, owner: int) -> dict[str, object]:
    """The row with that number, of that owner, as Python values."""
    message = f"row {number} of owner {owner}: café ≠ thé"
    return {
        "seq": number,
        "time_unix_nano": START_UNIX_NANO + number * 1001,
        "mono_nano": number * 1000,
        "duration_nano": number % 7,
        "fingerprint": 1 + (number * 0x9E37_79B9_7F4A_7C15) % (1 << 63),
        "user": number % 5,
        "span_id": bytes(8) if number % 4 else number.to_bytes(8, "big"),
        "trace_id": bytes(16) if number % 4 else number.to_bytes(16, "little"),
        "message": message if number % 3 else f"short {number % 1000}",
        "attributes": b"" if number % 2 else struct.pack("<Q", number) * 3,
        "type": TYPES[number % len(TYPES)],
        "site": SITES[number % len(SITES)],
        "operation": OPERATIONS[number % len(OPERATIONS)],
        "resource": resource(owner),
        "owner": owner,
        "attempt": number % 4,
        "severity_number": 9 + number % 4,
        "kind": 1 + number % len(schema.KINDS),
        "category": 1 + number % len(schema.CATEGORIES),
        "flags": number % 64,
    }


def resource(owner: int) -> str:
    return json.dumps({"service.name": f"service-{owner}"})


class Dictionary:
    """A dictionary file under construction; also one of stacks, where the hash is given."""

    def __init__(self, path: Path, generation: int, size: int = 128 << 10) -> None:
        self.path = path
        self.shape = schema.dictionary_shape(size)
        self.data = bytearray(size)
        self.codes: dict[bytes, int] = {b"": 0}
        self.next_code, self.next_byte, self.saved = 1, 0, 0
        head = schema.DICTIONARY
        head.write(
            self.data,
            0,
            magic=schema.MAGIC["dictionary"],
            layout_version=schema.LAYOUT_VERSION,
            entries_max=self.shape.entries_max,
            generation=generation,
            buckets=self.shape.buckets,
            entries_offset=self.shape.entries_offset,
            buckets_offset=self.shape.buckets_offset,
            bytes_offset=self.shape.bytes_offset,
            file_bytes=size,
        )
        head.write(self.data, 0, crc=crc32(self.data[: head.offset["crc"]]))

    def add(self, text: str | bytes, key: int | None = None, published: bool = True) -> int:
        """Code of a string; an unpublished one is taken by a writer that has not finished."""
        data = text.encode() if isinstance(text, str) else text
        if key is None and data in self.codes:
            return self.codes[data]
        code, offset = self.next_code, self.next_byte
        self.next_code, self.next_byte = code + 1, offset + len(data)
        self.codes[data] = code
        start = self.shape.bytes_offset + offset
        self.data[start : start + len(data)] = data
        if key is None:
            key = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
        self.entry(code, len(data) << 32 | (offset + 1) if published else 0, key)
        return code

    def entry(self, code: int, word: int, key: int) -> None:
        place = self.shape.entries_offset + code * schema.DICTIONARY_ENTRY.size
        schema.DICTIONARY_ENTRY.write(self.data, place, word=word, hash=key)

    def publish(self, text: str) -> None:
        """Finish what `add` with ``published=False`` began."""
        data = text.encode()
        offset = bytes(self.data).index(data, self.shape.bytes_offset) - self.shape.bytes_offset
        self.entry(self.codes[data], len(data) << 32 | (offset + 1), 1)

    def save_if_grown(self) -> None:
        if self.next_code != self.saved:
            self.save()

    def save(self) -> None:
        self.saved = self.next_code
        offset = schema.DICTIONARY.offset
        struct.pack_into("<Q", self.data, offset["next_entry"], self.next_code)
        struct.pack_into("<Q", self.data, offset["next_byte"], self.next_byte)
        write_in_place(self.path, self.data)


def write_in_place(path: Path, data: bytes | bytearray) -> None:
    """Whoever has the file mapped sees the new bytes, as with a real writer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        file.write(data)


@dataclass
class Writer:
    """An owner and the lane that it has open."""

    owner: int
    next_number: int = 1
    lane: tuple[int, int] | None = None
    rows: list[dict[str, object]] = field(default_factory=list)


class SegmentFile:
    """A segment, mapped writable, whose unused rows are full of traps."""

    def __init__(self, path: Path, number: int, lanes: int, generation: int) -> None:
        self.path, self.number, self.lanes = path, number, lanes
        self.shape = schema.segment_shape(lanes)
        head = bytearray(schema.SEGMENT.size)
        schema.SEGMENT.write(
            head,
            0,
            magic=schema.MAGIC["segment"],
            layout_version=schema.LAYOUT_VERSION,
            lanes=lanes,
            schema_hash=schema.SCHEMA_HASH,
            number=number,
            dictionary_generation=generation,
            created_unix_nano=START_UNIX_NANO,
            lane_rows=schema.LANE_ROWS,
            row_bytes=schema.ROW_BYTES,
            arena_offset=self.shape.arena_offset,
            arena_bytes_per_lane=schema.ARENA_BYTES_PER_LANE,
            file_bytes=self.shape.file_bytes,
            column_count=len(schema.COLUMNS),
        )
        offsets = (*self.shape.column_offsets, *[0] * (32 - len(schema.COLUMNS)))
        struct.pack_into("<32Q", head, schema.SEGMENT.offset["column_offsets"], *offsets)
        schema.SEGMENT.write(head, 0, crc=crc32(head[: schema.SEGMENT.offset["crc"]]))
        data = np.zeros(self.shape.file_bytes, np.uint8)
        data[self.shape.column_offsets[0] :] = HOLE
        data[: len(head)] = np.frombuffer(head, np.uint8)
        path.write_bytes(data.tobytes())
        self.memory = np.memmap(path, np.uint8, "r+")
        self.columns = {}
        for column, offset in zip(schema.COLUMNS, self.shape.column_offsets, strict=True):
            flat = self.memory[offset : offset + column.width * self.shape.rows]
            kind = NUMPY.get(column.arrow)
            self.columns[column.name] = flat.view(kind) if kind else flat.reshape(-1, column.width)
        self.words = self.memory[schema.LANE_WORDS_OFFSET :]
        self.words = self.words[: lanes * schema.LANE_WORD_STRIDE].view("<u8")[:: 128 // 8]
        self.arena_used = [0] * lanes

    def state(self, value: int) -> None:
        struct.pack_into("<Q", self.memory, schema.SEGMENT.offset["state"], value)

    def open_lane(self, owner: int) -> int | None:
        """A free lane for an owner, None when all are taken."""
        for lane in range(self.lanes):
            if int(self.words[lane]) >> 62 == schema.LANE_FREE:
                self.words[lane] = schema.LANE_OPEN << 62 | owner << 48 | 1 << 32
                return lane
        return None

    def count(self, lane: int) -> int:
        return int(self.words[lane]) & schema.LANE_COUNT_MASK

    def has_room(self, lane: int) -> bool:
        is_open = int(self.words[lane]) >> 62 == schema.LANE_OPEN
        return is_open and self.count(lane) < schema.LANE_ROWS

    def close_lane(self, lane: int) -> None:
        self.words[lane] = int(self.words[lane]) & ~(3 << 62) | schema.LANE_CLOSED << 62

    def close_all(self) -> None:
        for lane in range(self.lanes):
            self.close_lane(lane)

    def put(self, lane: int, row: dict[str, object], codes: dict[str, int]) -> None:
        """Write a row behind the last of the lane, and publish it last."""
        index = lane * schema.LANE_ROWS + self.count(lane)
        for column in schema.COLUMNS:
            target, value = self.columns[column.name], row[column.name]
            if column.logical == "dictionary":
                target[index] = codes[column.name]
            elif column.logical == "view":
                data = value.encode() if isinstance(value, str) else value
                target[index] = np.frombuffer(self.view(lane, data), np.uint8)
            elif isinstance(value, bytes):
                target[index] = np.frombuffer(value, np.uint8)
            else:
                target[index] = value
        self.words[lane] += np.uint64(1)

    def view(self, lane: int, data: bytes) -> bytes:
        if len(data) <= 12:
            return struct.pack("<i12s", len(data), data)
        offset = lane * schema.ARENA_BYTES_PER_LANE + self.arena_used[lane]
        self.arena_used[lane] += len(data)
        assert self.arena_used[lane] <= schema.ARENA_BYTES_PER_LANE
        start = self.shape.arena_offset + offset
        self.memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
        return struct.pack("<i4sii", len(data), data[:4], 0, offset)


class StoreBuilder:
    """A store directory ``<base>/<domain>/1-<core>`` with any number of writers.

    ``write(owner, rows)`` appends rows as that owner; `expected_rows` are all that are committed
    and not retired, by segment, lane and row.
    """

    def __init__(
        self,
        base: Path,
        domain: str = "default",
        core: str = "cython",
        lanes: int = 4,
        segments_max: int = 8,
    ) -> None:
        self.path = Path(base) / domain / f"{schema.LAYOUT_VERSION}-{core}"
        self.path.mkdir(parents=True, mode=0o700)
        os.chmod(self.path.parent, 0o700)
        self.lanes, self.segments_max, self.owner_slots = lanes, segments_max, 32
        self.segments: dict[int, SegmentFile] = {}
        self.rows: dict[tuple[int, int], list[dict[str, object]]] = {}
        self.writers: dict[int, Writer] = {}
        self.generation = 0
        self._registry()
        (self.path / "owners").write_bytes(bytes(self.owner_slots * schema.OWNER.size))
        (self.path / "locks").write_bytes(b"")
        self._retired_counts()
        self.new_generation()
        self.new_segment()

    def _registry(self) -> None:
        data = bytearray(schema.REGISTRY_BYTES)
        layout = schema.REGISTRY
        layout.write(
            data,
            0,
            magic=schema.MAGIC["registry"],
            layout_version=schema.LAYOUT_VERSION,
            lanes_per_segment=self.lanes,
            schema_hash=schema.SCHEMA_HASH,
            created_unix_nano=time.time_ns(),
            budget_bytes=schema.BUDGET_BYTES_MIN,
            segments_max=self.segments_max,
            owner_slots=self.owner_slots,
            dictionary_bytes=128 << 10,
        )
        layout.write(data, 0, crc=crc32(data[: layout.offset["crc"]]))
        struct.pack_into("<Q", data, layout.offset["segment_oldest"], 1)
        (self.path / "registry").write_bytes(data)
        self.registry = np.memmap(self.path / "registry", "<u8", "r+")

    def _retired_counts(self) -> None:
        data = bytearray(schema.AGGREGATE.size)
        schema.AGGREGATE.write(
            data,
            0,
            magic=schema.MAGIC["aggregate"],
            layout_version=schema.LAYOUT_VERSION,
            owner_slot=0xFFFF_FFFF,
            used=schema.AGGREGATE.size,
        )
        (self.path / "agg-retired").write_bytes(data)

    def word(self, field: str, value: int | None = None) -> int:
        index = schema.REGISTRY.offset[field] // 8
        if value is not None:
            self.registry[index] = value
        return int(self.registry[index])

    # -------------------------------------------------------------------------------- writing

    def new_generation(self) -> None:
        self.generation += 1
        self.names = Dictionary(self.path / f"dict-{self.generation}", self.generation)
        self.stacks = Dictionary(self.path / f"stacks-{self.generation}", self.generation)
        self.names.save()
        self.stacks.save()
        self.word("dictionary_generation", self.generation)

    def new_segment(self) -> SegmentFile:
        number = self.word("segment_newest") + 1
        path = self.path / f"seg-{number}"
        segment = SegmentFile(path, number, self.lanes, self.generation)
        self.segments[number] = segment
        self.word("segment_newest", number)
        return segment

    def write(self, owner: int, rows: int) -> None:
        writer = self.writers.setdefault(owner, Writer(owner))
        for _ in range(rows):
            segment, lane = self._lane(writer)
            row = expected(writer.next_number, owner)
            codes = {
                column.name: self.names.add(str(row[column.name]))
                for column in schema.COLUMNS
                if column.logical == "dictionary"
            }
            self.names.save_if_grown()
            segment.put(lane, row, codes)
            self.rows.setdefault((segment.number, lane), []).append(row)
            writer.next_number += 1

    def _lane(self, writer: Writer) -> tuple[SegmentFile, int]:
        if writer.lane is not None:
            number, lane = writer.lane
            segment = self.segments.get(number)
            if segment is not None and segment.has_room(lane):
                return segment, lane
        segment = self.segments[self.word("segment_newest")]
        lane = segment.open_lane(writer.owner)
        if lane is None:
            segment = self.new_segment()
            lane = segment.open_lane(writer.owner)
        writer.lane = segment.number, lane
        return segment, lane

    def retire_oldest(self) -> int:
        """Close, seal, account for and unlink the oldest segment; the rows that it had."""
        number = self.word("segment_oldest")
        segment = self.segments.pop(number)
        segment.close_all()
        segment.state(schema.SEGMENT_SEALED)
        rows = sum(segment.count(lane) for lane in range(segment.lanes))
        self.note_retired(number, rows)
        segment.path.unlink()
        self.word("segment_oldest", number + 1)
        self.word("retired", self.word("retired") + (rows << schema.RETIRED_ROWS_SHIFT) + 1)
        for key in [key for key in self.rows if key[0] == number]:
            del self.rows[key]
        return rows

    def note_retired(self, number: int, rows: int) -> None:
        """Put the rows of a retired segment into the registry's table."""
        entry = schema.SEGMENT_TABLE_OFFSET // 8 + number % schema.SEGMENT_TABLE_SIZE
        self.registry[entry] = number << schema.SEGMENT_TABLE_ROWS_BITS | rows

    def expected_rows(self) -> list[dict[str, object]]:
        return [row for key in sorted(self.rows) for row in self.rows[key]]
