"""The reading side of a store: segments mapped read-only, and their committed rows as runs.

A reader needs no permission to write and leaves no trace. It loads a lane's word with acquire
order, and the rows that the word counts never change after that; what lies behind them is never
shown. A segment that is mapped stays readable after it was retired, for as long as anything made
from it lives.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from faultplane import schema
from faultplane._backend import core
from faultplane.arrow import Columns, Run
from faultplane.errors import CorruptFile, DomainNotFound, FaultplaneError
from faultplane.store import files, segment_header
from faultplane.store.cursor import NUMBER_MAX, Position
from faultplane.store.dictionaries import DictionaryFile
from faultplane.store.domain import REGISTRY_NAME, Store
from faultplane.store.strings import Names, NoNames, Strings

_SEGMENT: Final = schema.SEGMENT
_ROWS: Final = schema.LANE_ROWS
_NUMBERS_MORE: Final = 256
"""Segments past twice the budget that writers may have left to retire."""


class Segment:
    """One segment, mapped read-only.

    Raises DomainNotFound when the file is not there, CorruptFile, LayoutMismatch or StorageError
    when it cannot be used.
    """

    def __init__(self, directory_fd: int, number: int) -> None:
        name = f"seg-{number}"
        descriptor, size = files.open_file(directory_fd, name)
        try:
            if size < _SEGMENT.size:
                raise CorruptFile(f"{name} must have at least {_SEGMENT.size} bytes, got {size}")
            self.mapping: Any = core.Mapping(descriptor, size, False)
        finally:
            os.close(descriptor)
        self.number = number
        with memoryview(self.mapping) as view:
            self.lanes = segment_header.check(view, name, number, size)
            self.generation: int = _SEGMENT.read(view, 0, "dictionary_generation")
        self.columns = Columns(self.mapping.address, segment_header.shape(self.lanes), self.mapping)
        self.complete = False
        """Whether no lane can take another row: each is closed, or full."""
        self._counts: tuple[int, ...] = ()
        self._spans: list[tuple[int, int]] | None = None

    def counts(self) -> tuple[int, ...]:
        """Committed rows of each lane; CorruptFile when one has more than a lane can hold.

        Whoever is in a lane has finished those it was in before. So that no row is shown without
        the rows that its writer committed before it, lanes in use are loaded once more.
        """
        if self.complete:
            return self._counts
        words = core.lane_words(self.mapping, self.lanes)
        for lane, word in enumerate(words):
            if 0 < word & schema.LANE_COUNT_MASK < _ROWS:
                offset = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
                words[lane] = self.mapping.load(offset)
        counts = tuple([word & schema.LANE_COUNT_MASK for word in words])
        if max(counts) > _ROWS:
            raise CorruptFile(
                f"seg-{self.number}: rows of a lane must be at most {_ROWS}, got {max(counts)}"
            )
        self._counts = counts
        self.complete = all(
            count == _ROWS or word >> schema.LANE_STATE_SHIFT == schema.LANE_CLOSED
            for count, word in zip(counts, words, strict=True)
        )
        return counts

    def spans(self, seen: tuple[int, ...] = ()) -> list[tuple[int, int]]:
        """`spans` of the counts loaded last; those of a complete segment are kept."""
        if seen or not self.complete:
            return list(spans(self._counts, seen))
        if self._spans is None:
            self._spans = list(spans(self._counts))
        return self._spans


def spans(counts: Sequence[int], seen: Sequence[int] = ()) -> Iterator[tuple[int, int]]:
    """(First row, rows) of the runs of rows that lanes have beyond ``seen``.

    A run goes on over every full lane and ends behind the first that is not.

    >>> list(spans((512, 512, 3, 0, 5), (512, 10)))
    [(522, 505), (2048, 5)]
    """
    start = end = -1
    for lane, count in enumerate(counts):
        had = seen[lane] if lane < len(seen) else 0
        first = lane * _ROWS + had
        if count <= had:
            continue
        if first != end:
            if end > start:
                yield start, end - start
            start = first
        end = lane * _ROWS + count
    if end > start:
        yield start, end - start


@dataclass(frozen=True, slots=True)
class Reading:
    """New rows of one store, where the reader is now, and the rows it came too late for."""

    runs: list[Run]
    position: Position
    lost: int


class StoreReader:
    """The records of one store. Takes over ``store``, which `close` closes.

    Mappings and wraps of segments are kept while the segments are in the store. Threads may
    share it. ``problems`` says, by file name, what could not be read; the rest is read.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.problems: dict[str, str] = {}
        self._segments: dict[int, Segment] = {}
        self._names: dict[int, Names | NoNames] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of everything; what was made from it lives on."""
        self._segments.clear()
        self._names.clear()
        self.store.close()

    def newest(self) -> int:
        """Number of the newest segment, 0 when there is none."""
        return self.store.load("segment_newest")

    def map_new(self, since: Position | None) -> int:
        """Map every segment that ``since`` has not finished; the number of the newest.

        A reader that does this often loses no rows to retirement between two readings.
        """
        with self._lock:
            newest, oldest = self.newest(), self.store.load("segment_oldest")
            first = max(self._segments, default=0) + 1
            floor = since.floor if since is not None else oldest
            for number in self._numbers(max(first, oldest, floor), newest):
                self._segment(number)
            return newest

    def read(self, since: Position | None) -> Reading:
        """Rows committed since a position; everything in the store without one.

        A position of a store that was removed and made again counts as none.
        """
        with self._lock:
            return self._read(since)

    def _read(self, since: Position | None) -> Reading:
        created = self.store.header.created_unix_nano
        oldest, rows_retired = self.store.retired()
        newest = self.newest()
        if since is None or since.created_unix_nano != created or since.floor > newest + 1:
            since = Position(created, oldest, rows_retired, {})
        held = sorted(n for n in self._segments if since.floor <= n < oldest)
        floor, rows_before = since.floor, since.rows_before
        if floor < oldest:
            floor, rows_before = oldest, rows_retired
        numbers = [*held, *self._numbers(floor, newest)]
        # The newest first, for the same reason that lanes in use are loaded twice.
        loaded = {number: self._load(number) for number in reversed(numbers)}
        read = {number: sum(counts) for number in held if (counts := loaded[number][1]) is not None}
        lost = self._lost(since, oldest, rows_retired, read)
        found: list[tuple[Segment, tuple[int, ...]]] = []
        seen: dict[int, tuple[int, ...]] = {}
        for number in numbers:
            had = since.seen.get(number, ())
            segment, counts = loaded[number]
            if segment is not None and counts is not None and counts != had:
                found.append((segment, had))
            if number < floor:
                continue
            complete = counts is not None and segment is not None and segment.complete
            if complete and number == floor:
                floor, rows_before = number + 1, rows_before + sum(counts or ())
            elif known := had if counts is None else counts:
                seen[number] = known
        runs = self._runs(found)
        self._forget(oldest)
        # A damaged registry may have counted as far as a word goes: cursors go no further.
        floor, rows_before = min(floor, NUMBER_MAX), min(rows_before, NUMBER_MAX)
        return Reading(runs, Position(created, floor, rows_before, seen), lost)

    def _runs(self, found: list[tuple[Segment, tuple[int, ...]]]) -> list[Run]:
        """Rows beyond those seen.

        Names come after all counts, and are the same for all runs of a generation: pyarrow does
        not group over chunks whose dictionaries differ.
        """
        generations = {segment.generation for segment, _ in found}
        strings = {generation: self._strings(generation) for generation in generations}
        return [
            Run(segment.columns, strings[segment.generation], start, rows)
            for segment, had in found
            for start, rows in segment.spans(had)
        ]

    # ------------------------------------------------------------------------------- keeping

    def _segment(self, number: int) -> Segment | None:
        segment = self._segments.get(number)
        if segment is None:
            try:
                segment = Segment(self.store.directory_fd, number)
            except DomainNotFound as error:
                # Retired since the registry was read: its rows are accounted for next time. Or
                # removed by somebody else.
                if number >= self.store.load("segment_oldest"):
                    self.problems[f"seg-{number}"] = str(error)
                return None
            except (FaultplaneError, OSError) as error:
                self.problems[f"seg-{number}"] = str(error)
                return None
            self._segments[number] = segment
        return segment

    def _numbers(self, first: int, newest: int) -> Iterable[int]:
        """Segments from ``first`` to the newest.

        A damaged registry may say more than writers can have left: then only those are looked for
        whose names are there.
        """
        bound = first + 2 * self.store.header.segments_max + _NUMBERS_MORE
        if newest <= bound:
            return range(first, newest + 1)
        self.problems[REGISTRY_NAME] = (
            f"segment_newest of {REGISTRY_NAME} must be at most {bound}, got {newest}"
        )
        return [number for number in self.store.segments() if first <= number <= newest]

    def _load(self, number: int) -> tuple[Segment | None, tuple[int, ...] | None]:
        """A segment and its counts, each None if it cannot be read."""
        segment = self._segment(number)
        if segment is None:
            return None, None
        try:
            return segment, segment.counts()
        except CorruptFile as error:
            self.problems[f"seg-{number}"] = str(error)
            return segment, None

    def _strings(self, generation: int) -> Strings:
        """The names that rows refer to whose lane words have been loaded."""
        names = self._names.get(generation)
        if names is None:
            name = f"dict-{generation}"
            try:
                names = Names(DictionaryFile(self.store.directory_fd, name))
            except (FaultplaneError, OSError) as error:
                self.problems[name] = str(error)
                names = NoNames(self.store.header.dictionary_bytes)
            self._names[generation] = names
        return names.strings()

    def _forget(self, oldest: int) -> None:
        """Drop what the store no longer has."""
        for number in [n for n in self._segments if n < oldest]:
            del self._segments[number]
        kept = {segment.generation for segment in self._segments.values()}
        for generation in [g for g in self._names if g not in kept]:
            del self._names[generation]
        for name in [n for n in self.problems if n.startswith("seg-") and int(n[4:]) < oldest]:
            del self.problems[name]

    # ------------------------------------------------------------------------------- losing

    def _lost(
        self, since: Position, oldest: int, rows_retired: int, held: Mapping[int, int]
    ) -> int:
        """Rows of segments retired since a position that were never seen and are not held.

        ``held`` has the rows of those that are read now, though they were retired. From the
        registry's table of final row counts, which remembers the last 1023 segments; for those
        before, from the total of all rows retired.
        """
        if since.floor >= oldest:
            return 0
        # One entry less than the table has: whoever retires the oldest notes it before it moves on.
        remembered = schema.SEGMENT_TABLE_SIZE - 1
        final = self.store.final_rows
        rows_of = {n: final(n) for n in range(max(since.floor, oldest - remembered), oldest)}
        # Those before were forgotten, some perhaps while the table was read.
        forgotten = max(self.store.load("segment_oldest"), oldest) - remembered
        first = min(max(since.floor, forgotten), oldest)
        had = {number: sum(counts) for number, counts in since.seen.items()}
        lost = sum(
            max(rows_of[number] - had.get(number, 0), 0)
            for number in range(first, oldest)
            if number not in held
        )
        if since.floor < first:
            rows = rows_retired - sum(rows_of[number] for number in range(first, oldest))
            seen = sum(rows for number, rows in {**had, **held}.items() if number < first)
            lost += max(rows - since.rows_before - seen, 0)
        return lost
