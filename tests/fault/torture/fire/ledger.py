"""What workers were told was done: words that the director shares with all that it forks."""

from __future__ import annotations

import numpy as np

from torture.words import Words

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


class Ledger(Words):
    """A line a worker, of whom there may be ``workers``; ``table`` is the same to numpy."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, WORDS)
        self.table = np.frombuffer(self.words, np.uint64).reshape(-1, WORDS)
        self.workers = workers

    def raise_by(self, word: int, n: int) -> None:
        """Add to a word of the run; each has one writer."""
        self.words[word] += n

    def total(self, word: int) -> int:
        """Sum of a word over all workers, of whom there may be tens of thousands."""
        return int(self.table[1:, word].sum())
