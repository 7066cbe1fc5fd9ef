"""The names of a dictionary as Arrow strings that grow where they are; for readers alone."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from typing import Any

from faultplane import schema
from faultplane.store.dictionaries import DictionaryFile


class StringValues:
    """Strings as an Arrow ``utf8`` array that grows where it is.

    Room for ``count_max`` strings of ``bytes_max`` bytes together is taken at once and never
    moves, so every `Strings` taken before an append stays valid and shares the memory.

    >>> values = StringValues(4, 64)
    >>> values.append(b""), values.append(b"KeyError")
    (True, True)
    >>> values.strings()[1]
    'KeyError'
    """

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.count = 0
        self.offsets = array("i", bytes(4 * (count_max + 1)))
        # Pages come when they are first used: room that is never used costs nothing.
        self.bytes = mmap.mmap(-1, max(bytes_max, 1))
        data = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        self.buffers = array("Q", (0, self.offsets.buffer_info()[0], data))
        self._latest: Strings | None = None

    def append(self, text: bytes) -> bool:
        """Add one string; False, with an empty one added in its place, when it does not fit.

        Bytes that are not UTF-8 become U+FFFD: some consumers stop the process on others.
        Raises ValueError past ``count_max``.
        """
        if self.count >= self.count_max:
            raise ValueError(f"strings must be at most {self.count_max}, got one more")
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode(errors="replace").encode()
        start = self.offsets[self.count]
        fits = start + len(text) <= self.bytes_max
        end = start + len(text) if fits else start
        self.bytes[start:end] = text[: end - start]
        self.offsets[self.count + 1] = end
        self.count += 1
        return fits

    def strings(self) -> Strings:
        """What there is now; the same object as long as nothing was added."""
        if self._latest is None or self._latest.count != self.count:
            self._latest = Strings(self)
        return self._latest


class Strings:
    """The strings that a `StringValues` had when this was made; "" for any other code."""

    __slots__ = ("_pyarrow", "_values", "buffers", "count")

    def __init__(self, values: StringValues) -> None:
        self._values = values
        self._pyarrow: Any = None
        self.count = values.count
        self.buffers = values.buffers

    def __getitem__(self, code: int) -> str:
        if not 0 <= code < self.count:
            return ""
        start, end = self._values.offsets[code], self._values.offsets[code + 1]
        return self._values.bytes[start:end].decode()

    def to_pyarrow(self) -> Any:
        """A ``pyarrow.StringArray`` over the same memory, made once."""
        if self._pyarrow is None:
            import pyarrow as pa

            offsets, data = pa.py_buffer(self._values.offsets), pa.py_buffer(self._values.bytes)
            self._pyarrow = pa.StringArray.from_buffers(self.count, offsets, data, None, 0)
        return self._pyarrow


class Names:
    """The names of one dictionary generation, brought up to date when asked."""

    def __init__(self, file: DictionaryFile) -> None:
        self._file = file
        self._unpublished: list[int] = []
        self._values = self._fresh()

    def _fresh(self) -> StringValues:
        # A byte that is not UTF-8 grows to three.
        values = StringValues(self._file.entries_max, 3 * self._file.bytes_max)
        values.append(b"")  # code 0, which is never published
        return values

    def strings(self) -> Strings:
        """Every name there is: at least all that committed rows seen before refer to."""
        if any(self._file.get(code) is not None for code in self._unpublished):
            # Published after younger ones were copied: the copy starts over, at another place.
            self._values = self._fresh()
            self._unpublished = []
        first = self._values.count
        names = [self._file.get(code) for code in range(first, len(self._file))]
        # The last ones are about to be published: no row that was seen refers to them yet.
        while names and names[-1] is None:
            names.pop()
        for code, name in enumerate(names, first):
            if name is None:
                self._unpublished.append(code)
            self._values.append(name or b"")
        return self._values.strings()


class NoNames:
    """An empty string for every code of a dictionary that cannot be read."""

    def __init__(self, dictionary_bytes: int) -> None:
        values = StringValues(schema.dictionary_shape(dictionary_bytes).entries_max, 0)
        values.count = values.count_max
        self._strings = values.strings()

    def strings(self) -> Strings:
        """As many empty strings as there may be codes."""
        return self._strings
