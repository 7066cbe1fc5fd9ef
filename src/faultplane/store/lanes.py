"""A dead owner's lanes: closing them, and the last rows that it wrote."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile, FaultplaneError
from faultplane.store import files, segment_header
from faultplane.store.dictionaries import DictionaryFile
from faultplane.store.domain import Store

_SEGMENT = schema.SEGMENT
_STATE_MASK: Final = 3 << schema.LANE_STATE_SHIFT
_COLUMNS: Final = {column.name: index for index, column in enumerate(schema.COLUMNS)}


def lane_tag(slot: int, generation: int, state: int = schema.LANE_OPEN) -> int:
    """The lane word of an owner without its count."""
    return (
        state << schema.LANE_STATE_SHIFT
        | (slot & schema.LANE_OWNER_MASK) << schema.LANE_OWNER_SHIFT
        | (generation & schema.LANE_GENERATION_MASK) << schema.LANE_GENERATION_SHIFT
    )


@contextmanager
def _segment(store: Store, number: int, whole: bool) -> Iterator[Any]:
    """A checked mapping of a segment: all of it to read, or its lane words to change."""
    name = f"seg-{number}"
    descriptor, size = files.open_file(store.directory_fd, name, writable=not whole)
    try:
        shape = segment_header.shape(store.header.lanes_per_segment)
        if size != shape.file_bytes:
            raise CorruptFile(f"{name} must have {shape.file_bytes} bytes, got {size}")
        head = schema.LANE_WORDS_OFFSET + shape.lanes * schema.LANE_WORD_STRIDE
        if whole:
            mapping = core.Mapping(descriptor, size, False)
        else:
            mapping = core.Mapping(descriptor, head, True, locks_fd=store.locks.descriptor)
    finally:
        os.close(descriptor)
    try:
        with memoryview(mapping) as view:
            if whole:
                segment_header.check(view, name, number, size)
            files.check_header(view, _SEGMENT, "segment", name, size)
            found = _SEGMENT.read(view, 0, "number")
            if found != number:
                raise CorruptFile(f"{name}: number must be {number}, got {found}")
        yield mapping
    finally:
        mapping.close()


def dictionary_generation(store: Store, number: int) -> int:
    """Generation of the names that the rows of a segment refer to."""
    with _segment(store, number, whole=True) as mapping, memoryview(mapping) as view:
        generation: int = _SEGMENT.read(view, 0, "dictionary_generation")
        return generation


# ------------------------------------------------------------------------------------ closing


def close_lanes(store: Store, dead: set[tuple[int, int]]) -> tuple[int, list[str]]:
    """Close the open lanes of dead owners, given as (slot, generation).

    Gives how many were closed, and a sentence for each segment that could not be looked at. Safe
    at any time in the compiled core: an owner that lives after all finds out at its next commit.
    """
    tags = {lane_tag(slot, generation) for slot, generation in dead}
    closed, problems = 0, []
    for number in store.segments():
        try:
            with _segment(store, number, whole=False) as mapping:
                closed += _close_in(mapping, store.header.lanes_per_segment, tags)
        except FileNotFoundError:
            continue  # retired meanwhile
        except (FaultplaneError, OSError) as error:
            problems.append(f"{store.path}: {error}")
    return closed, problems


def _close_in(mapping: Any, lanes: int, tags: set[int]) -> int:
    closed = 0
    for lane, first in enumerate(core.lane_words(mapping, lanes)):
        word = first
        offset = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
        while word & ~schema.LANE_COUNT_MASK in tags:
            # The swap keeps the count: rows below it stay, and no commit can follow.
            new = word & ~_STATE_MASK | schema.LANE_CLOSED << schema.LANE_STATE_SHIFT
            if mapping.cas(offset, word, new):
                closed += 1
                break
            word = mapping.load(offset)
    return closed


# ------------------------------------------------------------------------------------ reading


def last_rows(
    store: Store, slot: int, generation: int, incarnation: int, rows_max: int
) -> list[dict[str, Any]]:
    """The newest rows of one owner, at most ``rows_max``, oldest first.

    Looks into segments from the newest until it has enough; what cannot be read is left out.
    """
    found: list[dict[str, Any]] = []
    for number in reversed(store.segments()):
        try:
            with _segment(store, number, whole=True) as mapping:
                found += _rows_in(store, mapping, slot, generation, incarnation, rows_max)
        except (FaultplaneError, OSError, ValueError, IndexError, struct.error):
            continue
        if len(found) >= rows_max:
            break
    found.sort(key=lambda row: row["seq"])
    return found[-rows_max:]


def _rows_in(
    store: Store, mapping: Any, slot: int, generation: int, incarnation: int, rows_max: int
) -> list[dict[str, Any]]:
    tags = {lane_tag(slot, generation, state) for state in (schema.LANE_OPEN, schema.LANE_CLOSED)}
    lanes = store.header.lanes_per_segment
    places: list[tuple[int, int]] = []
    words = core.lane_words(mapping, lanes)
    with memoryview(mapping) as view:
        offsets = _SEGMENT.read(view, 0, "column_offsets")
        column = offsets[_COLUMNS["owner"]], offsets[_COLUMNS["seq"]]
        for lane, word in enumerate(words):
            if word & ~schema.LANE_COUNT_MASK not in tags:
                continue
            count = min(word & schema.LANE_COUNT_MASK, schema.LANE_ROWS)
            for row in range(max(count - rows_max, 0), count):
                index = lane * schema.LANE_ROWS + row
                (owner,) = struct.unpack_from("<I", view, column[0] + 4 * index)
                if owner == incarnation:
                    (seq,) = struct.unpack_from("<Q", view, column[1] + 8 * index)
                    places.append((seq, index))
        places.sort()
        texts = _Texts(store, _SEGMENT.read(view, 0, "dictionary_generation"))
        return [_row(view, offsets, index, texts) for _, index in places[-rows_max:]]


def _row(view: memoryview, offsets: tuple[int, ...], index: int, texts: _Texts) -> dict[str, Any]:
    def scalar(name: str, code: str) -> int:
        place = offsets[_COLUMNS[name]] + struct.calcsize("<" + code) * index
        value: int = struct.unpack_from("<" + code, view, place)[0]
        return value

    trace = offsets[_COLUMNS["trace_id"]] + 16 * index
    kind = scalar("kind", "B")
    return {
        "seq": scalar("seq", "Q"),
        "time_unix_nano": scalar("time_unix_nano", "q"),
        "kind": kind_name(kind),
        "type": texts.get(scalar("type", "i")),
        "site": texts.get(scalar("site", "i")),
        "operation": texts.get(scalar("operation", "i")),
        "message": _message(view, offsets, index),
        "fingerprint": f"{scalar('fingerprint', 'Q'):016x}",
        "trace_id": hex_or_empty(bytes(view[trace : trace + 16])),
        "severity_number": scalar("severity_number", "B"),
    }


def kind_name(code: int) -> str:
    """Name of a kind, "" for 0 and what this version does not know."""
    return schema.KINDS[code - 1].name if 1 <= code <= len(schema.KINDS) else ""


def hex_or_empty(identifier: bytes) -> str:
    """Hexadecimal digits of a trace id, "" for all zeros."""
    return identifier.hex() if any(identifier) else ""


def _message(view: memoryview, offsets: tuple[int, ...], index: int) -> str:
    """Text of an Arrow string view: up to 12 bytes in place, longer ones in the arena."""
    start = offsets[_COLUMNS["message"]] + 16 * index
    size, _, _, offset = struct.unpack_from("<IIII", view, start)
    if size > schema.MESSAGE_BYTES_MAX:
        return ""
    place = start + 4 if size <= 12 else _SEGMENT.read(view, 0, "arena_offset") + offset
    return bytes(view[place : place + size]).decode("utf-8", "replace")


class _Texts:
    """Strings of one dictionary generation, each read when asked for."""

    def __init__(self, store: Store, generation: int) -> None:
        self._known: dict[int, str] = {0: ""}
        self._file: DictionaryFile | None = None
        try:
            self._file = DictionaryFile(store.directory_fd, f"dict-{generation}")
        except (FaultplaneError, OSError):
            return

    def get(self, code: int) -> str:
        """The string behind ``code``, "" when it is not there."""
        if code not in self._known:
            file = self._file
            found = file.get(code) if file is not None and 0 < code < len(file) else b""
            self._known[code] = (found or b"").decode("utf-8", "replace")
        return self._known[code]
