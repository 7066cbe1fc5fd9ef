"""Memory in which processes say what they were told, beside the store and not in it.

A word is stored in one instruction, by one process: whoever looks after a kill finds it as it was
before or as it is after, never half a number. What words mean is said by those who use them.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

WORD_BYTES = 8


class Words:
    """Lines of ``width`` words: one for each process, or for a run.

    Shared by all that are forked afterwards, or, with ``path``, by all that open that file.
    ``words`` are all of them in a row, for loops that have no time for a call.
    """

    def __init__(self, lines: int, width: int, path: str | Path | None = None) -> None:
        self.lines, self.width = lines, width
        self.words = _mapped(lines * width * WORD_BYTES, path)

    def get(self, line: int, word: int) -> int:
        """A word of a line."""
        return self.words[line * self.width + word]

    def set(self, line: int, word: int, value: int) -> None:
        """Store a word of a line, whole."""
        self.words[line * self.width + word] = value

    def total(self, word: int) -> int:
        """The sum of a word over all lines."""
        return sum(self.words[word :: self.width])


def _mapped(size: int, path: str | Path | None) -> memoryview:
    if path is None:
        return memoryview(mmap.mmap(-1, size)).cast("Q")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
        return memoryview(mmap.mmap(descriptor, size)).cast("Q")
    finally:
        os.close(descriptor)
