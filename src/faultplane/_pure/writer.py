"""Lanes: claim, write, commit. One writer a process, used under the process lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from struct import Struct
from typing import Final, Literal
from zlib import crc32

from faultplane.errors import CorruptFile, StorageError
from faultplane.schema import (
    ARENA_BYTES_PER_LANE,
    COLUMNS,
    DROP_REASONS,
    LANE_COUNT_MASK,
    LANE_FREE,
    LANE_ROWS,
    LAYOUT_VERSION,
    MAGIC,
    PAGE_BYTES,
    SCHEMA_HASH,
    SEGMENT,
    SEGMENT_ACTIVE,
    SegmentShape,
)

from . import files
from .memory import Mapping, fence, let_go, order
from .ring import (
    NEXT_LANE_AT,
    STATE_AT,
    WORD_MAX,
    Segments,
    closed_word,
    is_closed,
    lane_tag,
    lane_word_at,
    open_word,
)

__all__: list[str] = []

DROP: Final = {reason.name: reason.code for reason in DROP_REASONS}
CHUNK_ROWS: Final = 64
"""Between two chunks of rows there is time for a slice of housekeeping."""
PREPARE_BYTES_PER_CHUNK: Final = 16 * PAGE_BYTES
ATTEMPTS_MAX: Final = 256
RETRY_NANO: Final = 1_000_000_000
"""How long a refusal of storage stands before it is tried again."""

CLAIM_OK: Final = 0
CLAIM_NEW_DICTIONARY: Final = -1
"""There is a row, but codes are of another dictionary generation than those at hand."""

_CODES: Final[dict[str, Literal["Q", "q", "i", "I", "H", "B"]]] = {
    "L": "Q", "tsn:UTC": "q", "l": "q", "i": "i", "I": "I", "S": "H", "C": "B",
}  # fmt: skip
"""How memoryview names the Arrow types of fixed width; the others are bytes."""
_SHORT_VIEW: Final = Struct("<I12s")
_LONG_VIEW: Final = Struct("<I4sII")
_SHORT_BYTES: Final = 12
_STATE: Final = STATE_AT // 8
_CRC_AT: Final = SEGMENT.offset["crc"]


def _say_nothing(number: int) -> None:
    """What a writer without a slot says of the segment that it maps."""
    del number


class Codes:
    """What all rows of one error have in common."""

    __slots__ = ("category", "fingerprint", "kind", "operation", "severity", "site", "type")

    fingerprint: int
    type: int
    site: int
    operation: int
    severity: int
    kind: int
    category: int


class Lane:
    """The columns of one lane, its part of the arena, and how far it is written.

    ``columns`` is in the order of `schema.COLUMNS`; ``is_torn`` while the next row is written.
    """

    __slots__ = (
        "arena_at",
        "arena_base",
        "arena_used",
        "columns",
        "expected",
        "is_torn",
        "limit",
        "row",
        "word",
    )

    def __init__(self, memory: memoryview, shape: SegmentShape, lane: int, word: int) -> None:
        self.columns = []
        for column, offset in zip(COLUMNS, shape.column_offsets, strict=True):
            size = column.width * LANE_ROWS
            start = offset + lane * size
            code = _CODES.get(column.arrow, "B")
            self.columns.append(memory[start : start + size].cast(code))
        self.word = lane_word_at(lane) // 8
        self.expected = word
        self.row = 0
        self.limit = CHUNK_ROWS
        self.is_torn = False
        self.arena_base = lane * ARENA_BYTES_PER_LANE
        self.arena_at = shape.arena_offset + self.arena_base
        self.arena_used = 0

    def clear_row(self) -> None:
        """Zero the next row: a signal handler that raised has left part of a record in it."""
        for column, layout in zip(self.columns, COLUMNS, strict=True):
            items = layout.width // column.itemsize
            for item in range(self.row * items, (self.row + 1) * items):
                column[item] = 0

    def release(self) -> None:
        """Let go of the mapping."""
        let_go(*self.columns)


class Writer:
    """The open lane of this process and the segment it is in.

    ``incarnation`` and ``resource`` (a code of the current dictionary) stand in every row; `seq`
    is the number of the last one. ``refusal`` is the drop reason while storage is refused.
    ``is_between_chunks``: the next record claims a lane, or a chunk of one. ``say_mapped`` tells
    others which segment this process keeps in memory.
    """

    def __init__(self, segments: Segments, slot: int, generation: int, incarnation: int) -> None:
        self.segments = segments
        self.incarnation = incarnation
        self.resource = 0
        self.seq = 0
        self.dictionary_generation = segments.load("dictionary_generation")
        self.segment_number = 0
        self.lanes_claimed = 0
        self.segments_mapped = 0
        self.rehomed = 0
        self.refusal = 0
        self.say_mapped: Callable[[int], object] = _say_nothing
        self._tag = open_word(lane_tag(slot, generation))
        self._retry_mono_nano = 0
        self._next_is_ready = False
        self._memory: Mapping | None = None
        self._bytes = self._words = memoryview(b"")
        self._lane: Lane | None = None
        self.is_between_chunks = True

    # ---------------------------------------------------------------------------------- a row

    def room(self, arena_bytes: int) -> int:
        """Make sure of a free row and of room in the arena.

        Gives CLAIM_OK, CLAIM_NEW_DICTIONARY or the code of a drop reason.
        """
        lane = self._lane
        if lane is not None and lane.arena_used + arena_bytes > ARENA_BYTES_PER_LANE:
            return self._renew()
        return self._advance() if self.is_between_chunks else CLAIM_OK

    def put(
        self,
        codes: Codes,
        time_unix_nano: int,
        mono_nano: int,
        duration_nano: int,
        message: bytes,
        attributes: bytes | None,
        ids: bytes | None,
        user: int,
        attempt: int,
        flags: int,
    ) -> bool:
        """Write and publish one row; False when the lane was closed under its owner.

        After `room` only. Cells of the row are zero before, so what is absent is not stored.
        """
        lane = self._lane
        assert lane is not None
        if lane.is_torn:
            lane.clear_row()
        lane.is_torn = True
        row, seq = lane.row, self.seq + 1
        (
            seqs, times, monos, durations, fingerprints, users, span_ids, trace_ids, messages,
            attribs, types, sites, operations, resources, owners, attempts, severities, kinds,
            categories, flagses,
        ) = lane.columns  # fmt: skip
        seqs[row] = seq
        times[row] = time_unix_nano
        monos[row] = mono_nano
        fingerprints[row] = codes.fingerprint
        types[row] = codes.type
        sites[row] = codes.site
        operations[row] = codes.operation
        resources[row] = self.resource
        owners[row] = self.incarnation
        severities[row] = codes.severity
        kinds[row] = codes.kind
        categories[row] = codes.category
        flagses[row] = flags
        self._put_view(lane, messages, message)
        if duration_nano:
            durations[row] = duration_nano
        if attempt:
            attempts[row] = attempt
        if user:
            users[row] = user
        if attributes:
            self._put_view(lane, attribs, attributes)
        if ids is not None:
            trace_ids[16 * row : 16 * row + 16] = ids[:16]
            span_ids[8 * row : 8 * row + 8] = ids[16:]
        words, expected = self._words, lane.expected
        if words[lane.word] != expected:
            return False
        order()
        # Published last: a reader that sees the count sees the row. What this process knows of
        # the lane changes with it: a signal handler that raises can come in before or after.
        words[lane.word] = expected + 1
        lane.expected = expected + 1
        lane.row = row + 1
        lane.is_torn = False
        self.seq = seq
        self.is_between_chunks = row + 1 == lane.limit
        fence()
        return words[_STATE] == SEGMENT_ACTIVE or self._settle(lane)

    def _put_view(self, lane: Lane, column: memoryview, text: bytes) -> None:
        """Store an Arrow string view: short strings in place, longer ones in the arena."""
        size, used = len(text), lane.arena_used
        if size <= _SHORT_BYTES:
            _SHORT_VIEW.pack_into(column, 16 * lane.row, size, text)
            return
        start = lane.arena_at + used
        self._bytes[start : start + size] = text
        _LONG_VIEW.pack_into(column, 16 * lane.row, size, text[:4], 0, lane.arena_base + used)
        lane.arena_used = used + size

    def _settle(self, lane: Lane) -> bool:
        """Whether a row counts that was committed into a segment that is being retired.

        Whoever seals reads the lane words after it changed the segment's state, so a commit that
        sees the old state was read. One that sees the new state may have been: then the word is
        closed with its count. Otherwise it has overwritten a closed word, which is restored.
        """
        with self.segments.exclusive():
            word = self._words[lane.word]
            counts = is_closed(word) and word & LANE_COUNT_MASK == lane.row
            if not is_closed(word):
                self._words[lane.word] = closed_word(lane.expected - 1)
        if not counts:
            self.seq -= 1
        self._forget_lane()
        return counts

    # -------------------------------------------------------------------------------- claiming

    def _advance(self) -> int:
        """At the end of a chunk or a lane: housekeeping in slices, then room for a record."""
        lane = self._lane
        if lane is not None:
            # Only the one who prepares works at every chunk; the others look once a lane.
            if self.segments.is_preparing or lane.row == LANE_ROWS:
                self._prepare_ahead()
            if lane.row < LANE_ROWS:
                lane.limit += CHUNK_ROWS
                self.is_between_chunks = False
                return CLAIM_OK
        return self._renew()

    def _renew(self) -> int:
        """Claim another lane, unless storage was refused a moment ago."""
        if not self.segments.are_open():
            self._forget_lane()
            return DROP["no_storage"]  # a daemon closes all descriptors: others are to be opened
        if self.refusal and time.monotonic_ns() < self._retry_mono_nano:
            return self.refusal
        try:
            self.refusal = 0
            return self._claim()
        except FileNotFoundError:
            self.refusal = DROP["no_storage"]
        except OSError as error:
            full = error.errno in (ENOSPC, EDQUOT)
            self.refusal = DROP["no_space" if full else "row_lost"]
        except StorageError:  # a lock was not to be had, or no lane
            self.refusal = DROP["row_lost"]
        self._retry_mono_nano = time.monotonic_ns() + RETRY_NANO
        return self.refusal

    def _prepare_ahead(self) -> None:
        """Keep the next segment a little further than this one is used up."""
        if self._next_is_ready:
            return
        segments = self.segments
        if not segments.prepare_begin():
            self._next_is_ready = segments.is_ready()
            return
        used = self._words[NEXT_LANE_AT // 8]
        wanted = segments.shape.file_bytes * (used + 2) // segments.lanes * 5 // 4
        try:
            segments.prepare_up_to(wanted, PREPARE_BYTES_PER_CHUNK)
        except OSError:
            return
        self._next_is_ready = not segments.is_preparing

    def _claim(self) -> int:
        """A new lane, in a new segment where this one has none left; raises when refused."""
        self.leave_lane()
        for _ in range(ATTEMPTS_MAX):
            if self._memory is not None and self._take_lane():
                generation = SEGMENT.read(self._bytes, 0, "dictionary_generation")
                if generation != self.dictionary_generation:
                    self.dictionary_generation = generation
                    return CLAIM_NEW_DICTIONARY
                return CLAIM_OK
            self._next_segment()
        raise CorruptFile(f"no lane was free in {ATTEMPTS_MAX} segments")

    def _take_lane(self) -> bool:
        """Claim a lane of the mapped segment; False when it has none left for this process."""
        words, segments = self._words, self.segments
        generation = SEGMENT.read(self._bytes, 0, "dictionary_generation")
        with segments.exclusive():
            while (
                words[NEXT_LANE_AT // 8] < segments.lanes
                and words[_STATE] == SEGMENT_ACTIVE
                and generation == segments.load("dictionary_generation")
            ):
                lane = words[NEXT_LANE_AT // 8]
                words[NEXT_LANE_AT // 8] = lane + 1
                if words[lane_word_at(lane) // 8] == LANE_FREE:
                    words[lane_word_at(lane) // 8] = self._tag
                    self._lane = Lane(self._bytes, segments.shape, lane, self._tag)
                    self.is_between_chunks = False
                    self.lanes_claimed += 1
                    return True
        return False

    # -------------------------------------------------------------------------------- segments

    def _next_segment(self) -> None:
        """Map the newest segment, or publish another to be mapped next time; raises OSError."""
        segments = self.segments
        newest = segments.load("segment_newest")
        if newest > self.segment_number and newest >= segments.load("segment_oldest"):
            try:
                self._map_segment(newest)
                return
            except (OSError, CorruptFile):
                pass  # present but not ours to write (garbage, another layout): go past it
        number = (newest + 1) & WORD_MAX
        try:
            self._map_segment(number)  # its publisher stopped before it said so
        except FileNotFoundError:
            segments.publish(number)
        except CorruptFile:
            pass
        if number < segments.load("segment_oldest"):
            # This process slept while others published and retired that many: rows written here
            # would be shown to nobody. Look again.
            self._leave_segment()
            return
        segments.raise_newest(number)
        segments.retire_over_budget()

    def _map_segment(self, number: int) -> None:
        """Map segment ``number`` and check that it is what this process writes."""
        shape = self.segments.shape
        name = f"seg-{number}"
        memory = files.map_file(self.segments.directory_fd, name, shape.file_bytes)
        expected = {
            "magic": MAGIC["segment"],
            "layout_version": LAYOUT_VERSION,
            "schema_hash": SCHEMA_HASH,
            "lanes": self.segments.lanes,
            "number": number,
            "file_bytes": shape.file_bytes,
            "crc": crc32(memory[:_CRC_AT]),
        }
        for field, value in expected.items():
            found = SEGMENT.read(memory, 0, field)
            if found != value:
                memory.close()
                raise CorruptFile(f"{name}: {field} must be {value!r}, got {found!r}")
        view = memoryview(memory)
        words = view[: lane_word_at(self.segments.lanes)].cast("Q")
        self._leave_segment()
        self._memory, self._bytes, self._words = memory, view, words
        self.segment_number = number
        self.segments_mapped += 1
        self.say_mapped(number)
        self._next_is_ready = False

    # --------------------------------------------------------------------------------- leaving

    def leave_lane(self) -> None:
        """Close the lane: its rows are final, the rest of it is never shown."""
        lane = self._lane
        if lane is None:
            return
        if self._words[lane.word] == lane.expected:
            with self.segments.exclusive():
                if self._words[lane.word] == lane.expected:
                    self._words[lane.word] = closed_word(lane.expected)
        self._forget_lane()

    # Each of these lets go first and tidies up after: a signal handler may raise in between.

    def _forget_lane(self) -> None:
        lane, self._lane = self._lane, None
        self.is_between_chunks = True
        if lane is not None:
            lane.release()

    def _leave_segment(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            self._forget_lane()
            let_go(self._words, self._bytes, memory)

    def stop(self) -> None:
        """Leave in order: close the lane, give back what was being prepared, unmap."""
        try:
            self.leave_lane()
            self.segments.prepare_abandon()
        except (OSError, StorageError):
            pass  # storage is gone, or busy: whoever maintains closes the lane
        self.forget()

    def forget(self) -> None:
        """In a forked child: drop what belongs to the parent without touching it.

        Whoever is in the middle of a change, that a signal handler came into which forked, finds
        no directory any more.
        """
        self.segments.prepare_forget()
        self.segments.directory_fd = -1
        self._leave_segment()
