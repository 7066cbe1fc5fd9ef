"""Segments: prepare, publish, retire; and closing the lanes of the dead.

A segment is written once and never reused. A lane, 512 rows of it, has one writer, whose commit
raises the count in the lane word. The next segment is prepared in slices at the boundaries of
64-row chunks, by whoever holds LOCK_PREPARE, so no single record pays for a whole one.

Without a compare-and-swap, whoever closes a lane holds LOCK_CLAIM, and a writer that commits in
the same instant finds out right after: `writer` has its side of this.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import AbstractContextManager
from typing import Final
from zlib import crc32

from faultplane.errors import CorruptFile
from faultplane.schema import (
    ARENA_BYTES_PER_LANE,
    COLUMNS,
    LANE_CLOSED,
    LANE_COUNT_MASK,
    LANE_GENERATION_MASK,
    LANE_GENERATION_SHIFT,
    LANE_OPEN,
    LANE_OWNER_MASK,
    LANE_OWNER_SHIFT,
    LANE_ROWS,
    LANE_STATE_SHIFT,
    LANE_WORD_STRIDE,
    LANE_WORDS_OFFSET,
    LAYOUT_VERSION,
    LOCK_CLAIM,
    LOCK_PREPARE,
    MAGIC,
    PAGE_BYTES,
    REGISTRY,
    RETIRED_ROWS_SHIFT,
    ROW_BYTES,
    SCHEMA_HASH,
    SEGMENT,
    SEGMENT_SEALED,
    SEGMENT_SEALING,
    SEGMENT_TABLE_ENTRY_BYTES,
    SEGMENT_TABLE_OFFSET,
    SEGMENT_TABLE_ROWS_BITS,
    SEGMENT_TABLE_SIZE,
    segment_shape,
)

from . import files, memory
from .intern import Dictionary
from .intern import create as create_dictionary
from .memory import FileLock, Mapping, fence

__all__ = ["Ring"]

ZEROS: Final = bytes(65_536)
RESERVE_STEP_BYTES: Final = 1 << 20
RETIRED_AT_ONCE_MAX: Final = 64
NUMBERS_MORE: Final = 256
"""Segments past twice the budget that writers may have left to retire."""
WORD_MAX: Final = (1 << 64) - 1
"""Words of a damaged registry wrap round, as they do in the compiled core."""
LATER: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""A segment that cannot be opened for want of these is there, and has rows to account for."""
READY_NAME: Final = "tmp-ready"
"""The segment that is prepared and waits to be published."""

STATE_AT: Final = SEGMENT.offset["state"]
NEXT_LANE_AT: Final = SEGMENT.offset["next_lane"]
_CRC_AT: Final = SEGMENT.offset["crc"]
_RETIRED_SEGMENTS_MASK: Final = (1 << RETIRED_ROWS_SHIFT) - 1
_STATE_MASK: Final = 3 << LANE_STATE_SHIFT


def lane_word_at(lane: int) -> int:
    """Offset of a lane's word in its segment."""
    return LANE_WORDS_OFFSET + lane * LANE_WORD_STRIDE


def lane_tag(slot: int, generation: int) -> int:
    """The part of a lane word that says whose it is."""
    return (slot & LANE_OWNER_MASK) << LANE_OWNER_SHIFT | (
        generation & LANE_GENERATION_MASK
    ) << LANE_GENERATION_SHIFT


def open_word(tag: int) -> int:
    """Word of an open lane without rows."""
    return tag | LANE_OPEN << LANE_STATE_SHIFT


def closed_word(word: int) -> int:
    """The word of the same lane, closed."""
    return word & ~_STATE_MASK | LANE_CLOSED << LANE_STATE_SHIFT


def is_closed(word: int) -> bool:
    """Whether the rows of a lane are final."""
    return word >> LANE_STATE_SHIFT == LANE_CLOSED


class Segments:
    """The segments of one domain directory, and the one that this process prepares."""

    def __init__(
        self,
        directory_fd: int,
        locks_fd: int,
        registry: Mapping,
        lanes: int,
        segments_max: int,
        dictionary_bytes: int,
        tag: str,
    ) -> None:
        self.directory_fd = directory_fd
        self.locks_fd = locks_fd
        self.registry = registry
        self.lanes = lanes
        self.shape = segment_shape(lanes)
        self._segments_max = segments_max
        self._dictionary_bytes = dictionary_bytes
        self._tag = tag
        self._prepare_lock = FileLock(locks_fd, LOCK_PREPARE)
        self._prepare_name = f"tmp-next-{tag}"
        self._prepare_fd = -1
        self._prepared_bytes = 0
        self._identity = files.identity(directory_fd)
        self._prepare_identity = (0, 0)
        self._prepare_forks = 0

    def are_open(self) -> bool:
        """Whether the directory is still the one that it was, not closed by the application."""
        return files.is_still(self.directory_fd, self._identity)

    def exclusive(self) -> AbstractContextManager[None]:
        """Held for every read-modify-write of lane words and of the registry's words."""
        return FileLock(self.locks_fd, LOCK_CLAIM).held()

    def load(self, field: str) -> int:
        """A word of the registry."""
        return self.registry.load(REGISTRY.offset[field])

    def _store(self, field: str, value: int, begun: int) -> None:
        at = REGISTRY.offset[field]
        memory.store_unless_forked(self.registry, at, value & WORD_MAX, begun)

    # ------------------------------------------------------------------------------ preparing

    @property
    def is_preparing(self) -> bool:
        """Whether this process prepares the next segment."""
        return self._prepare_fd >= 0

    def is_ready(self) -> bool:
        """Whether the next segment is prepared."""
        return files.exists(self.directory_fd, READY_NAME)

    def prepare_begin(self) -> bool:
        """Become the one who prepares the next segment; False when nobody needs to."""
        if self.is_preparing:
            return True
        begun = memory.forks
        if self.is_ready() or not self._prepare_lock.try_take():
            return False
        try:
            files.remove(self.directory_fd, self._prepare_name)
            memory.refuse_forked(begun)
            self._prepare_fd = files.create(self.directory_fd, self._prepare_name)
        except OSError:
            self._prepare_lock.give_back()
            return False
        self._prepare_forks = begun
        self._prepare_identity = files.identity(self._prepare_fd)
        self._prepared_bytes = 0
        return True

    def prepare_abandon(self) -> None:
        """Give back what was being prepared, and the right to do so."""
        if not self.is_preparing:
            return
        self.prepare_forget()
        if self.are_open() and self._prepare_forks == memory.forks:
            files.remove(self.directory_fd, self._prepare_name)
            self._prepare_lock.give_back()

    def prepare_forget(self) -> None:
        """Close what is being prepared, unless the application has closed it already.

        In a forked child, file and lock are the parent's.
        """
        if files.is_still(self._prepare_fd, self._prepare_identity):
            os.close(self._prepare_fd)
        self._prepare_fd = -1

    def prepare_up_to(self, bytes_wanted: int, step: int) -> None:
        """Write at most ``step`` more zeros; raises OSError, and has given up then.

        Zeros are written rather than reserved: that allocates and clears a page in one go, where
        a reserved one is cleared again at its first touch.
        """
        size = self.shape.file_bytes
        end = min(self._prepared_bytes + step, bytes_wanted, size)
        if not files.is_still(self._prepare_fd, self._prepare_identity):
            self.prepare_abandon()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            while self._prepared_bytes < end:
                part = ZEROS[: end - self._prepared_bytes]
                memory.refuse_forked(self._prepare_forks)  # else it is a live segment by now
                self._prepared_bytes += os.pwrite(self._prepare_fd, part, self._prepared_bytes)
        except OSError:
            self.prepare_abandon()
            raise
        if self._prepared_bytes == size:
            memory.refuse_forked(self._prepare_forks)
            self._rename(self._prepare_name, READY_NAME)
            self.prepare_forget()
            self._prepare_lock.give_back()

    def prepare_whole(self) -> None:
        """Write all the zeros that are missing."""
        self.prepare_up_to(self.shape.file_bytes, self.shape.file_bytes)

    def _rename(self, source: str, target: str) -> None:
        os.rename(source, target, src_dir_fd=self.directory_fd, dst_dir_fd=self.directory_fd)

    # ----------------------------------------------------------------------------- publishing

    def publish(self, number: int) -> None:
        """Make segment ``number`` visible unless somebody else does; raises OSError."""
        name, segment, begun = f"tmp-pub-{self._tag}", f"seg-{number}", memory.forks
        try:
            fd = self._take_prepared(name, segment, begun)
        except FileExistsError:
            return
        try:
            header = self._header(number, begun)
            memory.refuse_forked(begun)
            os.pwrite(fd, header, 0)
            # Linked only when complete, and never over another: a half-made segment is never
            # visible.
            files.link_once(self.directory_fd, name, segment)
            if number < self.load("segment_oldest"):
                # This process slept while others published that number and retired it.
                files.remove(self.directory_fd, segment)
        finally:
            os.close(fd)
            if begun == memory.forks:
                files.remove(self.directory_fd, name)

    def _header(self, number: int, begun: int) -> bytes:
        page = bytearray(PAGE_BYTES)
        columns = self.shape.column_offsets
        SEGMENT.write(
            page,
            0,
            magic=MAGIC["segment"],
            layout_version=LAYOUT_VERSION,
            lanes=self.lanes,
            schema_hash=SCHEMA_HASH,
            number=number,
            dictionary_generation=self._generation_for_new_segment(begun),
            created_unix_nano=time.time_ns(),
            lane_rows=LANE_ROWS,
            row_bytes=ROW_BYTES,
            arena_offset=self.shape.arena_offset,
            arena_bytes_per_lane=ARENA_BYTES_PER_LANE,
            file_bytes=self.shape.file_bytes,
            column_count=len(COLUMNS),
        )
        at = SEGMENT.offset["column_offsets"]
        page[at : at + 8 * len(columns)] = b"".join(c.to_bytes(8, "little") for c in columns)
        SEGMENT.write(page, 0, crc=crc32(page[:_CRC_AT]))
        return bytes(page)

    def _take_prepared(self, name: str, segment: str, begun: int) -> int:
        """An allocated, all-zero file called ``name``; FileExistsError when ``segment`` is."""
        self._remove(name, begun)
        size = self.shape.file_bytes
        if self.is_preparing:
            self.prepare_whole()
        memory.refuse_forked(begun)
        try:
            os.rename(READY_NAME, name, src_dir_fd=self.directory_fd, dst_dir_fd=self.directory_fd)
        except FileNotFoundError:
            pass
        else:
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.directory_fd)
            status = os.fstat(fd)
            if status.st_size == size and status.st_nlink == 1:
                return fd
            os.close(fd)
            self._remove(name, begun)
        # Nothing was prepared in time: reserve one here, in steps, and stop when another is first.
        fd = files.create(self.directory_fd, name)
        try:
            for start in range(0, size, RESERVE_STEP_BYTES):
                if files.exists(self.directory_fd, segment):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), segment)
                files.reserve(fd, start, min(RESERVE_STEP_BYTES, size - start))
        except OSError:
            os.close(fd)
            self._remove(name, begun)
            raise
        return fd

    def _remove(self, name: str, begun: int) -> None:
        """Remove a file of this process, which is another's in a child forked since ``begun``."""
        memory.refuse_forked(begun)
        try:
            os.unlink(name, dir_fd=self.directory_fd)
        except FileNotFoundError:
            pass

    def _generation_for_new_segment(self, begun: int) -> int:
        """Current dictionary generation; a new one when the current one is nearly full.

        Raises OSError when there is none and none can be made.
        """
        generation = self.load("dictionary_generation")
        if generation and not any(
            self._is_nearly_full(prefix, generation) for prefix in ("dict", "stacks")
        ):
            return generation
        following = (generation + 1) & WORD_MAX
        try:
            for prefix in ("dict", "stacks"):
                create_dictionary(
                    self.directory_fd, prefix, following, self._dictionary_bytes, self._tag, begun
                )
        except OSError:
            if generation:
                return generation
            raise
        with self.exclusive():
            if self.load("dictionary_generation") == generation:
                self._store("dictionary_generation", following, begun)
        return self.load("dictionary_generation")

    def _is_nearly_full(self, prefix: str, generation: int) -> bool:
        try:
            dictionary = Dictionary(self.directory_fd, self.locks_fd, prefix, generation)
        except (OSError, CorruptFile):
            return False
        full = dictionary.is_nearly_full()
        dictionary.close()
        return full

    def raise_newest(self, number: int) -> None:
        """Say that segment ``number`` is published."""
        begun = memory.forks
        with self.exclusive():
            if self.load("segment_newest") < number:
                self._store("segment_newest", number, begun)

    # ------------------------------------------------------------------------------- retiring

    def retire_over_budget(self) -> int:
        """Retire the oldest segments until the budget holds; how many were retired."""
        retired = 0
        if not self.are_open():
            return 0  # segments would be taken for gone, with all of their rows
        while retired < RETIRED_AT_ONCE_MAX:
            # The oldest first: the newest only grows, so the one that is over the budget now
            # stays so however late it is retired.
            oldest = self.load("segment_oldest")
            if self.load("segment_newest") + 1 <= oldest + self._segments_max:
                break
            if not self._retire(oldest):
                break
            retired += 1
        return retired

    def _retire(self, number: int) -> bool:
        """Close, seal, account for and unlink a segment; False when it has to wait.

        Every step may be repeated, and be late: only what is still the oldest is retired.
        """
        entry = SEGMENT_TABLE_OFFSET + number % SEGMENT_TABLE_SIZE * SEGMENT_TABLE_ENTRY_BYTES
        begun = memory.forks
        with self.exclusive():
            if self.load("segment_oldest") != number:
                return True  # another was faster
            noted = self.registry.load(entry)
            if noted >> SEGMENT_TABLE_ROWS_BITS == number:
                rows = noted & ((1 << SEGMENT_TABLE_ROWS_BITS) - 1)
            else:
                try:
                    rows = self._seal(number)
                except (OSError, CorruptFile) as error:
                    if isinstance(error, OSError) and error.errno in LATER:
                        return False
                    rows = 0  # gone, or not a segment of ours
                noted = (number << SEGMENT_TABLE_ROWS_BITS | rows) & WORD_MAX
                memory.store_unless_forked(self.registry, entry, noted, begun)
            # The total says how many segments are in it: whoever comes after one that died here
            # adds what is missing, once.
            retired = self.load("retired")
            if (retired ^ (number - 1)) & _RETIRED_SEGMENTS_MASK == 0:
                total = (retired >> RETIRED_ROWS_SHIFT) + rows
                retired = total << RETIRED_ROWS_SHIFT | number & _RETIRED_SEGMENTS_MASK
                self._store("retired", retired, begun)
            self._store("segment_oldest", number + 1, begun)
            # Unlinked last: whoever finds the name free can see that its number has been used.
            try:
                files.remove(self.directory_fd, f"seg-{number}")
            except OSError:
                pass
        return True

    def _map_head(self, number: int) -> Mapping:
        """The part of a segment that says who wrote how much."""
        return files.map_file(
            self.directory_fd, f"seg-{number}", self.shape.file_bytes, lane_word_at(self.lanes)
        )

    def _seal(self, number: int) -> int:
        """Close every lane of a segment and give the rows that were published."""
        head = self._map_head(number)
        head.store(STATE_AT, SEGMENT_SEALING)
        # A commit that the loads below do not see must see this.
        fence()
        rows = 0
        for lane in range(self.lanes):
            word = head.load(lane_word_at(lane))
            if not is_closed(word):
                head.store(lane_word_at(lane), closed_word(word))
            rows += word & LANE_COUNT_MASK
        head.store(STATE_AT, SEGMENT_SEALED)
        head.close()
        return rows

    def close_lanes_of(self, slot: int, generation: int) -> int:
        """Close every open lane of an owner; how many rows they hold."""
        tag = open_word(lane_tag(slot, generation))
        rows = 0
        oldest, newest = self.load("segment_oldest"), self.load("segment_newest")
        # A damaged registry may say that there are 2**64 of them.
        most = 2 * self._segments_max + NUMBERS_MORE
        for number in range(oldest, min(newest + 1, oldest + most)):
            try:
                head = self._map_head(number)
            except (OSError, CorruptFile):
                continue
            with self.exclusive():
                for lane in range(self.lanes):
                    word = head.load(lane_word_at(lane))
                    if word & ~LANE_COUNT_MASK == tag:
                        head.store(lane_word_at(lane), closed_word(word))
                        rows += word & LANE_COUNT_MASK
            head.close()
        return rows


class Ring:
    """Segments of one domain directory, for maintenance by whoever is there.

    The descriptors and the registry must stay open as long as the Ring. ``writable=False``
    makes every method do nothing.
    """

    def __init__(
        self,
        directory_fd: int,
        locks_fd: int,
        registry: Mapping,
        lanes_per_segment: int,
        segments_max: int,
        dictionary_bytes: int,
        writable: bool = True,
        tag: str = "",
    ) -> None:
        tag = tag or f"m{os.getpid()}"
        if len(tag.encode()) > 31:
            raise ValueError(f"tag must be at most 31 bytes, got {len(tag.encode())}")
        self.writable = bool(writable)
        self._segments = Segments(
            directory_fd, locks_fd, registry, lanes_per_segment, segments_max, dictionary_bytes, tag
        )

    def prepare(self) -> bool:
        """Prepare the next segment wholly unless one is ready; say whether one is.

        Raises OSError when there is no room for it.
        """
        if not self.writable:
            return False
        if self._segments.prepare_begin():
            self._segments.prepare_whole()
        return self._segments.is_ready()

    def retire_over_budget(self) -> int:
        """Retire the oldest segments until the budget holds; how many were retired."""
        return self._segments.retire_over_budget() if self.writable else 0

    def close_lanes_of(self, slot: int, generation: int) -> int:
        """Close every open lane of a dead owner; how many rows they hold.

        Safe at any time: an owner that is alive after all finds out at its next commit and
        writes the record again into a new lane.
        """
        return self._segments.close_lanes_of(slot, generation) if self.writable else 0
