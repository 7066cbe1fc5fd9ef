"""The witness: looks at lane words themselves, of retired segments too, and at rows again.

It is not under fire. What it holds mapped stays, so a process that wakes up in a segment that was
unlinked long ago, and writes there, is seen.
"""

from __future__ import annotations

import mmap
import os
import random
import time
import zlib

import numpy as np

from faultplane import schema
from faultplane.store.domain import Store, store_paths

from . import ledger
from .ledger import Ledger
from .readers import attach
from .roles import Orders, complain

KEPT_BEHIND = 24
"""Retired segments that stay mapped."""
SAMPLES = 8
_COUNT = np.uint64(schema.LANE_COUNT_MASK)
_STATE = np.uint64(schema.LANE_STATE_SHIFT)
_OWNER = (1 << schema.LANE_STATE_SHIFT) - 1 ^ schema.LANE_COUNT_MASK
_WORD_AT = schema.LANE_WORD_STRIDE // 8
_MESSAGE, _ATTRIBUTES = (
    [column.name for column in schema.COLUMNS].index(name) for name in ("message", "attributes")
)


class Watched:
    """A segment, mapped until the witness lets go of it, and what its lane words were."""

    def __init__(self, path: str, number: int, lanes: int) -> None:
        self.number, self.shape = number, schema.segment_shape(lanes)
        descriptor = os.open(f"{path}/seg-{number}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.memory = mmap.mmap(descriptor, self.shape.file_bytes, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        start = schema.LANE_WORDS_OFFSET
        words = np.frombuffer(self.memory, np.uint64, lanes * _WORD_AT, start)
        self._now = words.reshape(lanes, _WORD_AT)[:, 0]
        self.words = self._now.copy()
        self.samples: list[tuple[int, int, int]] = []

    def look(self) -> list[str]:
        """Compare the lane words with those before; a sentence for each that moved wrongly."""
        before, now = self.words, self._now.copy()
        self.words = now
        moved = np.flatnonzero(before != now)
        if not len(moved):
            return []
        wrong = []
        for lane in moved:
            was, word = int(before[lane]), int(now[lane])
            if not _may_follow(was, word):
                wrong.append(f"moved: lane {lane} of seg-{self.number}: {was:#x} became {word:#x}")
        return wrong

    def sample(self, chance: random.Random) -> list[str]:
        """Look again at rows that were seen, and remember others."""
        wrong = []
        for lane, rows, known in self.samples:
            if self._digest(lane, rows) != known:
                wrong.append(f"changed: rows 0 to {rows} of lane {lane} of seg-{self.number}")
        counts = (self.words & _COUNT).astype(np.int64)
        filled = np.flatnonzero(counts)
        if len(filled) and len(self.samples) < SAMPLES:
            lane = int(chance.choice(filled))
            self.samples.append((lane, int(counts[lane]), self._digest(lane, int(counts[lane]))))
        return wrong

    def _digest(self, lane: int, rows: int) -> int:
        """Of every column of the first rows of a lane, and of the texts that they refer to."""
        found = 0
        first = lane * schema.LANE_ROWS
        for column, offset in zip(schema.COLUMNS, self.shape.column_offsets, strict=True):
            start = offset + first * column.width
            found = zlib.crc32(self.memory[start : start + rows * column.width], found)
        base = self.shape.arena_offset
        for column in (_MESSAGE, _ATTRIBUTES):
            start = self.shape.column_offsets[column] + 16 * first
            views = np.frombuffer(self.memory, np.uint32, 4 * rows, start).reshape(rows, 4)
            for size, _, _, offset in views[views[:, 0] > 12].tolist():
                found = zlib.crc32(self.memory[base + offset : base + offset + size], found)
        return found


def _may_follow(was: int, word: int) -> bool:
    """Whether a lane word may become another: open ones only grow, closed ones are final."""
    states = was >> schema.LANE_STATE_SHIFT, word >> schema.LANE_STATE_SHIFT
    if states[0] == schema.LANE_FREE:
        return states[1] in (schema.LANE_OPEN, schema.LANE_CLOSED)
    if states[0] != schema.LANE_OPEN or states[1] == schema.LANE_FREE:
        return False
    return (
        not (was ^ word) & _OWNER and word & schema.LANE_COUNT_MASK >= was & schema.LANE_COUNT_MASK
    )


def witness(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """Survey until told that nobody writes any more; never returns."""
    attach(orders, book).close()
    store = Store.open(store_paths(orders.path)[0])
    lanes = store.header.lanes_per_segment
    watched: dict[int, Watched] = {}
    over = False
    while not over:
        over = bool(book.words[ledger.DRAIN])  # one more look after the last writer has gone
        oldest, newest = store.load("segment_oldest"), store.load("segment_newest")
        for number in range(max(oldest, max(watched, default=0) + 1), newest + 1):
            try:
                watched[number] = Watched(store.path, number, lanes)
            except FileNotFoundError:
                continue  # retired meanwhile
        for number in [n for n in watched if n < oldest - KEPT_BEHIND]:
            del watched[number]
        moved, changed = [], []
        for segment in watched.values():
            moved += segment.look()
        if watched:
            segment = watched[chance.choice(list(watched))]
            book.raise_by(ledger.SAMPLES, len(segment.samples))
            changed = segment.sample(chance)
        book.raise_by(ledger.SURVEYS, 1)
        complain(orders, "witness", moved + changed)
        time.sleep(0.001)  # leave the two processors to those who are looked at
    closed = sum(int((w.words >> _STATE == schema.LANE_CLOSED).sum()) for w in watched.values())
    book.raise_by(ledger.CLOSED_SEEN, closed)
    os._exit(0)
