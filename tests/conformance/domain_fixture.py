"""A domain directory made and read with nothing but ``faultplane.schema``.

What the store writes is tested elsewhere; here it must not stand between a core and its bytes.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

from faultplane import schema

RESOURCE = '{"service.name":"checkout"}'
AGGREGATE_BYTES_FIRST = 64 << 10
FORMATS = {"L": "Q", "tsn:UTC": "q", "l": "q", "i": "i", "I": "I", "S": "H", "C": "B"}
DICTIONARY_COLUMNS = ("type", "site", "operation", "resource")


def sealed_header(layout: schema.Layout, magic: str, **fields: object) -> bytearray:
    page = bytearray(layout.size)
    layout.write(page, 0, magic=schema.MAGIC[magic], layout_version=schema.LAYOUT_VERSION, **fields)
    if "crc" in layout.offset:
        layout.write(page, 0, crc=crc32(page[: layout.offset["crc"]]))
    return page


def make(
    path: Path, *, lanes: int = 4, segments_max: int = 8, dictionary_bytes: int = 1 << 17
) -> Path:
    """A domain directory without segments, as the first creator leaves it."""
    path.mkdir(mode=0o700, parents=True)
    registry = bytearray(schema.REGISTRY_BYTES)
    registry[: schema.REGISTRY.size] = sealed_header(
        schema.REGISTRY,
        "registry",
        lanes_per_segment=lanes,
        schema_hash=schema.SCHEMA_HASH,
        segments_max=segments_max,
        owner_slots=64,
        dictionary_bytes=dictionary_bytes,
    )
    for word, value in (("segment_oldest", 1), ("incarnation_next", 1)):
        struct.pack_into("<Q", registry, schema.REGISTRY.offset[word], value)
    (path / "registry").write_bytes(registry)
    (path / "owners").write_bytes(bytes(64 * schema.OWNER.size))
    (path / "locks").write_bytes(b"")
    return path


class Files:
    """Descriptors and mappings of a domain directory, and bindings for a core."""

    def __init__(self, path: Path, core) -> None:
        self.path = Path(path)
        self.core = core
        self.directory_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.locks_fd = os.open(self.path / "locks", os.O_RDWR)
        self.registry = self.map("registry")
        self.owners = self.map("owners")
        self.geometry = {
            name: self.read_registry(name)
            for name in ("lanes_per_segment", "segments_max", "dictionary_bytes")
        }

    def map(self, name: str, reserve: int = 0):
        fd = os.open(self.path / name, os.O_RDWR)
        try:
            return self.core.Mapping(fd, os.fstat(fd).st_size, True, reserve, self.locks_fd)
        finally:
            os.close(fd)

    def read_registry(self, field: str) -> int:
        value = schema.REGISTRY.read(memoryview(self.registry), 0, field)
        return value[0] if isinstance(value, tuple) else value

    def binding(self, slot: int = 0, generation: int = 1, resource: str = RESOURCE):
        """Register in ``slot`` and give what ``core.bind`` takes."""
        fcntl.lockf(self.locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        incarnation = self.registry.add(schema.REGISTRY.offset["incarnation_next"], 1)
        head = sealed_header(
            schema.AGGREGATE, "aggregate", owner_slot=slot, incarnation=incarnation,
            used=schema.AGGREGATE.size,
        )  # fmt: skip
        aggregate_path = self.path / f"agg-{slot}"
        aggregate_path.unlink(missing_ok=True)  # the last owner of the slot may map it still
        aggregate_path.write_bytes(bytes(head).ljust(AGGREGATE_BYTES_FIRST, b"\0"))
        head = sealed_header(
            schema.BREATH, "breath", slots=schema.INFLIGHT_SLOTS, incarnation=incarnation,
            fatal_offset=schema.BREATH_FATAL_OFFSET, file_bytes=schema.BREATH_BYTES,
        )  # fmt: skip
        (self.path / f"breath-{slot}").unlink(missing_ok=True)
        (self.path / f"breath-{slot}").write_bytes(bytes(head).ljust(schema.BREATH_BYTES, b"\0"))
        self.owners.store32(slot * schema.OWNER.size + schema.OWNER.offset["fence"], incarnation)
        word = incarnation << 32 | generation << 8 | schema.OWNER_LIVE
        self.owners.store(slot * schema.OWNER.size, word)
        return SimpleNamespace(
            directory_fd=self.directory_fd,
            locks_fd=self.locks_fd,
            registry=self.registry,
            owners=self.owners,
            owner_slot=slot,
            incarnation=incarnation,
            generation=generation,
            aggregate=self.map(f"agg-{slot}", 1 << 20),
            aggregate_fd=os.open(self.path / f"agg-{slot}", os.O_RDWR),
            breath=self.map(f"breath-{slot}"),
            service="checkout",
            resource=resource,
            aggregate_path=str(self.path / f"agg-{slot}"),
            pid=os.getpid(),
            **self.geometry,
        )

    def fence(self, slot: int = 0) -> None:
        self.owners.store32(slot * schema.OWNER.size + schema.OWNER.offset["fence"], 0)

    def ring(self, tag: str = ""):
        return self.core.Ring(
            self.directory_fd,
            self.locks_fd,
            self.registry,
            *self.geometry.values(),
            tag=tag,
        )


# ------------------------------------------------------------------------------------ reading


@dataclass
class Lane:
    """A lane as it stands on storage."""

    segment: int
    number: int
    state: int
    owner: int
    generation: int
    count: int


class Reader:
    """What any process reads from the directory: rows, strings, counts."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def numbers(self) -> list[int]:
        """Of the segments in use; the next one may have its name before anybody needs it."""
        found = sorted(int(p.name[4:]) for p in self.path.glob("seg-*"))
        return [number for number in found if number <= self.registry("segment_newest")]

    def segment(self, number: int) -> bytes:
        data = (self.path / f"seg-{number}").read_bytes()
        head = schema.SEGMENT.read_all(data)
        shape = schema.segment_shape(head["lanes"])
        assert head["magic"] == schema.MAGIC["segment"]
        assert head["crc"] == crc32(data[: schema.SEGMENT.offset["crc"]])
        assert head["number"] == number
        assert head["file_bytes"] == len(data) == shape.file_bytes
        assert head["column_offsets"][: len(schema.COLUMNS)] == shape.column_offsets
        assert head["arena_offset"] == shape.arena_offset
        assert head["schema_hash"] == schema.SCHEMA_HASH
        assert (head["lane_rows"], head["row_bytes"]) == (schema.LANE_ROWS, schema.ROW_BYTES)
        return data

    def lanes(self, number: int, data: bytes | None = None) -> list[Lane]:
        data = data or self.segment(number)
        found = []
        for lane in range(schema.SEGMENT.read(data, 0, "lanes")):
            at = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
            (word,) = struct.unpack_from("<Q", data, at)
            found.append(
                Lane(
                    number,
                    lane,
                    word >> schema.LANE_STATE_SHIFT,
                    word >> schema.LANE_OWNER_SHIFT & schema.LANE_OWNER_MASK,
                    word >> schema.LANE_GENERATION_SHIFT & schema.LANE_GENERATION_MASK,
                    word & schema.LANE_COUNT_MASK,
                )
            )
        return found

    def all_lanes(self) -> list[Lane]:
        return [lane for n in self.numbers() for lane in self.lanes(n) if lane.state]

    def rows(self, *, decode: bool = True) -> list[dict]:
        """Every published row, by segment, lane and row."""
        found = []
        for number in self.numbers():
            data = self.segment(number)
            head = schema.SEGMENT.read_all(data)
            names = self.names(head["dictionary_generation"]) if decode else []
            for lane in self.lanes(number, data):
                for row in range(lane.count):
                    one = self._row(data, head, lane.number * schema.LANE_ROWS + row)
                    for name in DICTIONARY_COLUMNS if decode else ():
                        one[name] = names[one[name]].decode()
                    found.append(one)
        return found

    def _row(self, data: bytes, head: dict, row: int) -> dict:
        one = {}
        for column, start in zip(schema.COLUMNS, head["column_offsets"], strict=False):
            at = start + row * column.width
            raw = data[at : at + column.width]
            if column.logical == "view":
                one[column.name] = self._view(data, head, raw)
            elif column.arrow in FORMATS:
                (one[column.name],) = struct.unpack("<" + FORMATS[column.arrow], raw)
            else:
                one[column.name] = raw
        one["message"] = one["message"].decode()
        return one

    def _view(self, data: bytes, head: dict, raw: bytes) -> bytes:
        (size,) = struct.unpack_from("<I", raw)
        if size <= 12:
            assert raw[4 + size :] == bytes(12 - size), "padding of a short view must be zero"
            return raw[4 : 4 + size]
        prefix, buffer, start = struct.unpack_from("<4sII", raw, 4)
        at = head["arena_offset"] + start
        text = data[at : at + size]
        assert (prefix, buffer) == (text[:4], 0)
        return text

    def dictionary(self, prefix: str, generation: int) -> list[tuple[int, bytes]]:
        """(Hash, bytes) of every id."""
        if not generation:
            return [(0, b"")]
        data = (self.path / f"{prefix}-{generation}").read_bytes()
        head = schema.DICTIONARY.read_all(data)
        shape = schema.dictionary_shape(len(data))
        assert head["magic"] == schema.MAGIC["dictionary"]
        assert head["crc"] == crc32(data[: schema.DICTIONARY.offset["crc"]])
        assert (head["entries_max"], head["buckets"]) == (shape.entries_max, shape.buckets)
        entries = [(0, b"")]
        for entry in range(1, min(head["next_entry"][0], shape.entries_max)):
            at = shape.entries_offset + entry * schema.DICTIONARY_ENTRY.size
            word, key = struct.unpack_from("<QQ", data, at)
            start = shape.bytes_offset + (word & 0xFFFF_FFFF) - 1
            entries.append((key, data[start : start + (word >> 32)] if word else b""))
        return entries

    def names(self, generation: int) -> list[bytes]:
        return [text for _, text in self.dictionary("dict", generation)]

    def stacks(self, generation: int) -> dict[int, str]:
        return {key: text.decode() for key, text in self.dictionary("stacks", generation)[1:]}

    def cells(self, slot: int = 0) -> list[dict]:
        return read_cells((self.path / f"agg-{slot}").read_bytes())

    def registry(self, field: str) -> int:
        value = schema.REGISTRY.read((self.path / "registry").read_bytes(), 0, field)
        return value[0] if isinstance(value, tuple) else value

    @property
    def rows_retired(self) -> int:
        return self.registry("retired") >> schema.RETIRED_ROWS_SHIFT

    @property
    def segments_retired(self) -> int:
        return self.registry("retired") & ((1 << schema.RETIRED_ROWS_SHIFT) - 1)

    def inflight(self, slot: int = 0) -> list[dict]:
        data = (self.path / f"breath-{slot}").read_bytes()
        found = []
        for i in range(schema.INFLIGHT_SLOTS):
            one = schema.INFLIGHT.read_all(
                data, schema.BREATH_INFLIGHT_OFFSET + i * schema.INFLIGHT.size
            )
            if one["word"]:
                found.append(one | {"slot": i})
        return found


def read_cells(data: bytes) -> list[dict]:
    """The counted series of an aggregate, in order, with their strings."""
    used = schema.AGGREGATE.read(data, 0, "used")
    at, found = schema.AGGREGATE.size, []
    assert schema.AGGREGATE.read(data, 0, "magic") == schema.MAGIC["aggregate"]
    while at < used:
        one = schema.CELL.read_all(data, at)
        place = at + schema.CELL.size
        for name in ("service", "operation", "name"):
            size = one.pop(f"{name}_bytes")
            one[name] = data[place : place + size].decode("utf-8", "replace")
            place += size
        assert one["size"] % 64 == 0 and place <= at + one["size"]
        at += one.pop("size")
        found.append(one)
    return found


def drops(cells: list[dict]) -> dict[str, int]:
    """What was not written, by reason, zeros left out."""
    return {
        one["name"]: one["count"]
        for one in cells
        if one["series"] == schema.SERIES_DROP and one["count"]
    }


def errors(cells: list[dict]) -> dict[tuple[str, str], int]:
    """Count of each (operation, type)."""
    found: dict[tuple[str, str], int] = {}
    for one in cells:
        if one["series"] == schema.SERIES_ERROR:
            key = one["operation"], one["name"]
            found[key] = found.get(key, 0) + one["count"]
    return found


def counters(cells: list[dict]) -> dict[str, int]:
    """Value of each counter."""
    return {one["name"]: one["count"] for one in cells if one["series"] == schema.SERIES_COUNTER}
