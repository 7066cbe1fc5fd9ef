"""Strings interned for every process of a domain: append-only.

A string is appended first and the hash bucket set to its id last, so whoever reads needs no lock
and a process that dies in between blocks nobody. Appending takes `LOCK_INTERN`.
"""

from __future__ import annotations

import os
import time
from typing import Final
from zlib import crc32

from faultplane.errors import CorruptFile, StorageError
from faultplane.schema import (
    DICTIONARY,
    DICTIONARY_ENTRY,
    LAYOUT_VERSION,
    LOCK_INTERN,
    MAGIC,
    PAGE_BYTES,
    dictionary_shape,
)

from . import files, memory
from .digest import digest_of
from .memory import FileLock, let_go, order

__all__: list[str] = []

PROBES_MAX: Final = 128
RETRY_NANO: Final = 1_000_000_000
_CRC_AT: Final = DICTIONARY.offset["crc"]
_NEXT_ENTRY: Final = DICTIONARY.offset["next_entry"] // 8
_NEXT_BYTE: Final = DICTIONARY.offset["next_byte"] // 8
_ENTRY_WORDS: Final = DICTIONARY_ENTRY.size // 8


def create(
    directory_fd: int,
    prefix: str,
    generation: int,
    file_bytes: int,
    tag: str,
    begun: int | None = None,
) -> None:
    """Make the file of a generation unless it is there; raises OSError. ``tag`` is unique.

    So in a child that was forked since `memory.forks` was ``begun``: it has its parent's tag.
    """
    begun = memory.forks if begun is None else begun
    name = f"{prefix}-{generation}"
    temporary = f"tmp-{name}-{tag}"
    shape = dictionary_shape(file_bytes)
    page = bytearray(PAGE_BYTES)
    DICTIONARY.write(
        page,
        0,
        magic=MAGIC["dictionary"],
        layout_version=LAYOUT_VERSION,
        entries_max=shape.entries_max,
        generation=generation,
        buckets=shape.buckets,
        entries_offset=shape.entries_offset,
        buckets_offset=shape.buckets_offset,
        bytes_offset=shape.bytes_offset,
        file_bytes=file_bytes,
    )
    DICTIONARY.write(page, 0, crc=crc32(page[:_CRC_AT]))
    page[8 * _NEXT_ENTRY] = 1  # id 0 is the empty string
    memory.refuse_forked(begun)
    files.remove(directory_fd, temporary)
    fd = files.create(directory_fd, temporary)
    try:
        files.reserve(fd, 0, file_bytes)
        memory.refuse_forked(begun)
        os.pwrite(fd, page, 0)
        files.link_once(directory_fd, temporary, name)
    finally:
        os.close(fd)
        if begun == memory.forks:
            files.remove(directory_fd, temporary)


class Dictionary:
    """The mapped file of one generation; ``prefix`` is dict or stacks.

    Raises OSError when it is missing, CorruptFile when it is not what it says.
    """

    def __init__(self, directory_fd: int, locks_fd: int, prefix: str, generation: int) -> None:
        name = f"{prefix}-{generation}"
        self._locks_fd = locks_fd
        self._retry_mono_nano = 0
        self._memory = files.map_file(directory_fd, name)
        size = self._memory.size
        view = memoryview(self._memory)
        head = DICTIONARY.read_all(
            bytes(view[:PAGE_BYTES] if size >= 2 * PAGE_BYTES else PAGE_BYTES)
        )
        shape = dictionary_shape(size)
        expected = {
            "magic": MAGIC["dictionary"],
            "layout_version": LAYOUT_VERSION,
            "generation": generation,
            "file_bytes": size,
            "crc": crc32(view[:_CRC_AT]),
            "entries_max": shape.entries_max,
            "buckets": shape.buckets,
            "entries_offset": shape.entries_offset,
            "buckets_offset": shape.buckets_offset,
            "bytes_offset": shape.bytes_offset,
        }
        for field, value in expected.items():
            if head[field] != value:
                view.release()
                self._memory.close()
                raise CorruptFile(f"{name}: {field} must be {value!r}, got {head[field]!r}")
        self._entries_max = shape.entries_max
        self._mask = shape.buckets - 1
        self._words = view[: shape.buckets_offset].cast("Q")
        buckets_end = shape.buckets_offset + 4 * shape.buckets
        self._buckets = view[shape.buckets_offset : buckets_end].cast("I")
        self._text = view[shape.bytes_offset :]
        view.release()

    def close(self) -> None:
        """Unmap."""
        let_go(self._words, self._buckets, self._text, self._memory)

    def intern(self, text: bytes) -> int:
        """Id of a string, appended when it is new; -1 when there is no room for it."""
        return self._intern(digest_of(text), text, by_hash=False) if text else 0

    def intern_stack(self, fingerprint: int, text: bytes) -> int:
        """The same for a stack, which its fingerprint alone identifies."""
        return self._intern(fingerprint, text, by_hash=True)

    def _intern(self, key: int, text: bytes, *, by_hash: bool) -> int:
        found, _ = self._probe(key, text, by_hash)
        if found >= 0:
            return found
        if time.monotonic_ns() < self._retry_mono_nano:
            return -1
        try:
            with FileLock(self._locks_fd, LOCK_INTERN).held():
                found, bucket = self._probe(key, text, by_hash)
                return found if found >= 0 else self._append(bucket, key, text)
        except (OSError, StorageError):
            # Its holder was stopped: strings do without a place rather than wait for it again.
            self._retry_mono_nano = time.monotonic_ns() + RETRY_NANO
            return -1

    def _probe(self, key: int, text: bytes, by_hash: bool) -> tuple[int, int]:
        """(Id of the string or -1, the free bucket where it would go or -1)."""
        bucket = key & self._mask
        for _ in range(PROBES_MAX):
            taken = self._buckets[bucket]
            if taken == 0:
                return -1, bucket
            if self._holds(taken - 1, key, text, by_hash):
                return taken - 1, -1
            bucket = (bucket + 1) & self._mask
        return -1, -1

    def _holds(self, entry: int, key: int, text: bytes, by_hash: bool) -> bool:
        at = PAGE_BYTES // 8 + entry * _ENTRY_WORDS
        if entry >= self._entries_max or self._words[at + 1] != key:
            return False
        word = self._words[at]
        if by_hash or word == 0:
            return word != 0
        start = (word & 0xFFFF_FFFF) - 1
        return self._text[start : start + (word >> 32)] == text

    def _append(self, bucket: int, key: int, text: bytes) -> int:
        entry, start = self._words[_NEXT_ENTRY], self._words[_NEXT_BYTE]
        end = start + len(text)
        if bucket < 0 or not 0 < entry < self._entries_max or end > len(self._text):
            return -1
        at = PAGE_BYTES // 8 + entry * _ENTRY_WORDS
        self._words[_NEXT_ENTRY] = entry + 1
        if self._words[at] != 0:
            return -1  # damaged: what has a string keeps it
        self._words[_NEXT_BYTE] = end
        self._text[start:end] = text
        self._words[at + 1] = key
        order()
        # Published after the bytes and the hash; the bucket comes last of all.
        self._words[at] = len(text) << 32 | (start + 1)
        order()
        self._buckets[bucket] = entry + 1
        return entry

    def is_nearly_full(self) -> bool:
        """Whether more than seven eighths of the ids or of the bytes are used."""
        entries, used = self._words[_NEXT_ENTRY], self._words[_NEXT_BYTE]
        return entries * 8 > self._entries_max * 7 or used * 8 > len(self._text) * 7
