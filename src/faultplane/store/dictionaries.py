"""Dictionaries as readers see them: the published entries of a file.

A dictionary only grows. Whoever has seen a row committed can read the names that it refers to,
because they were published before; so a reader that loads lane words first and names second never
meets a code without its string.
"""

from __future__ import annotations

import os
from typing import Any, Final

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile
from faultplane.store import files

_DICTIONARY: Final = schema.DICTIONARY
_ENTRY_WORDS: Final = schema.DICTIONARY_ENTRY.size // 8
_OFFSET_MASK: Final = 0xFFFF_FFFF


class DictionaryFile:
    """One mapped dictionary; ``name`` is the file's, ``user`` the uid that it belongs to.

    Raises DomainNotFound, CorruptFile, LayoutMismatch or StorageError when it cannot be used.
    """

    def __init__(self, directory_fd: int, name: str) -> None:
        self.name = name
        descriptor, size = files.open_file(directory_fd, name)
        try:
            if size < _DICTIONARY.size:
                raise CorruptFile(f"{name} must have at least {_DICTIONARY.size} bytes, got {size}")
            self._mapping: Any = core.Mapping(descriptor, size, False)
            self.user = os.fstat(descriptor).st_uid
        finally:
            os.close(descriptor)
        with memoryview(self._mapping) as view:
            files.check_header(view, _DICTIONARY, "dictionary", name, size)
            head = _DICTIONARY.read_all(view)
        shape = schema.dictionary_shape(size)
        for field in ("entries_max", "entries_offset", "bytes_offset", "file_bytes"):
            if head[field] != (expected := getattr(shape, field)):
                raise CorruptFile(f"{field} of {name} must be {expected}, got {head[field]}")
        self.entries_max = shape.entries_max
        self.bytes_max = size - shape.bytes_offset
        self._view = memoryview(self._mapping)
        end = shape.entries_offset + shape.entries_max * schema.DICTIONARY_ENTRY.size
        self._entries = self._view[shape.entries_offset : end].cast("Q")
        self._bytes_offset = shape.bytes_offset

    def __len__(self) -> int:
        """Ids handed out; the last of them may not be published yet."""
        taken: int = self._mapping.load(_DICTIONARY.offset["next_entry"])
        return min(taken, self.entries_max)

    def keys(self) -> list[int]:
        """Hash of each entry, or its fingerprint in a dictionary of stacks, by code."""
        return self._entries[1 : len(self) * _ENTRY_WORDS : _ENTRY_WORDS].tolist()

    def get(self, code: int) -> bytes | None:
        """Bytes of an entry; None while it is not published."""
        word = self._entries[code * _ENTRY_WORDS]
        if word == 0:
            return None
        size, offset = word >> 32, (word & _OFFSET_MASK) - 1
        if size > schema.STRING_BYTES_MAX or offset < 0 or offset + size > self.bytes_max:
            return b""
        start = self._bytes_offset + offset
        return bytes(self._view[start : start + size])
