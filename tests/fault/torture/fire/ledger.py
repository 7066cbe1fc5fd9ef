"""What workers were told was done, kept where no kill can tear it: outside the store.

Memory that the director shares with all that it forks. A word is stored in one instruction by one
process, so whoever looks after a kill sees the one before or the new one.
"""

from __future__ import annotations

import mmap

import numpy as np

WORDS = 8
(
    RECORDED,  # n of the last call of record() that returned
    ADDED,  # sum of the calls of add() that returned
    INCARNATION,  # under which the worker began; 0 before it had registered
    PID,
    STATE,
    STARVED,  # it was kept from opening files, so rows may be missing, and counted as dropped
    CHILDREN,  # workers that it forked
    FORKS_UNHANDLED,  # of those, past the interpreter's and libc's handlers
) = range(WORDS)
STARTED, WRITING, LEAVING, LEFT, REFUSED = range(1, 6)
"""STATE: forked; registered; ends in order; said so; found no slot and counted nothing."""

# Words of worker 0, which is nobody: the run's own.
STOP, DRAIN, SURVEYS, CLOSED_SEEN, SAMPLES, SCANS, ROWS_SCANNED, ROWS_READ = range(WORDS)


class Ledger:
    """Words by worker and name; ``workers`` bounds how many there may be."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * WORDS * 8)
        self.words = memoryview(self._memory).cast("Q")
        self.table = np.frombuffer(self._memory, np.uint64).reshape(-1, WORDS)
        self.workers = workers

    def get(self, worker: int, word: int) -> int:
        """A word of a worker."""
        return self.words[worker * WORDS + word]

    def set(self, worker: int, word: int, value: int) -> None:
        """Store a word of a worker; only that worker does, and its parent before it exists."""
        self.words[worker * WORDS + word] = value

    def raise_by(self, word: int, n: int) -> None:
        """Add to a word of the run; each has one writer."""
        self.words[word] += n

    def sum(self, word: int) -> int:
        """Sum of a word over all workers."""
        return int(self.table[1:, word].sum())
