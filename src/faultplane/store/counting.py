"""Counts that are read again and again, as by a scraper: only what can change is read again.

What an entry counts never changes, so it is looked at once, and each count after that is one load.
The totals of the dead are read when a fold replaced them. The sum is as exact as that of
`counts.snapshot`: every owner is in it once, whatever a folder does at the same time.
"""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import Any, Final

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile, DomainNotFound, FaultplaneError, StorageError
from faultplane.store import aggregate, counts, deaths, files, fold, host, owners
from faultplane.store.aggregate import Series
from faultplane.store.domain import Store
from faultplane.store.owners import Life, OwnerRow

SERIES_KEPT_MAX: Final = 1 << 18
"""Past so many numbers, of which most have come to nothing, a ledger begins anew."""
_AGGREGATE = schema.AGGREGATE
_CELL = schema.CELL
_COUNT_WORD: Final = _CELL.offset["count"] // 8
_FIRST_WORD: Final = _CELL.offset["first_seen_unix_nano"] // 8
_CHANGING: Final = slice(_CELL.offset["count"], _CELL.offset["name_bytes"])


class Ledger:
    """Series and their numbers, which stay the same from reading to reading.

    ``series`` and ``first_seen_unix_nano`` (0 = never) are by number, and so are ``totals``, the
    sums of the last reading. ``epoch`` grows when all numbers become invalid, ``times_changed``
    when a first time does.
    """

    def __init__(self) -> None:
        self.epoch = self.times_changed = 0
        self.clear()

    def clear(self) -> None:
        """Forget all numbers."""
        self.epoch += 1
        self.series: list[Series] = []
        self.first_seen_unix_nano: list[int] = []
        self.totals: list[int] = []
        self._numbers: dict[Series, int] = {}
        self._seen: dict[bytes, dict[tuple[bytes, bytes], int]] = {}

    def number(self, series: Series) -> int:
        """The number of a series."""
        known = self._numbers.get(series)
        if known is None:
            known = self._numbers[series] = len(self.series)
            self.series.append(series)
            self.first_seen_unix_nano.append(0)
        return known

    def numbers_in(self, data: bytes, found: list[int], service: bytes = b"") -> list[int]:
        """Numbers of the entries at the positions ``found``.

        Those of errors and counters without a service, as a live process has them, get this one.
        """
        seen = self._seen.setdefault(service, {})
        numbers = []
        for position, end in zip(found, [*found[1:], len(data)], strict=True):
            key = data[position : position + _CHANGING.start], data[position + _CHANGING.stop : end]
            number = seen.get(key)
            if number is None:
                series = aggregate.series_at(data, position)
                if not series.service and series.series != schema.SERIES_DROP:
                    series = series._replace(service=service)
                number = seen[key] = self.number(series)
            numbers.append(number)
        return numbers

    def note_first_seen(self, number: int, time_unix_nano: int) -> None:
        """Keep the earliest time of a series; 0 is none."""
        known = self.first_seen_unix_nano[number]
        if time_unix_nano and not 0 < known <= time_unix_nano:
            self.times_changed += 1
            self.first_seen_unix_nano[number] = min(time_unix_nano, aggregate.TIME_NANO_MAX)


class _LiveFile:
    """The counts of one process that has not been folded, mapped."""

    def __init__(self, store: Store, row: OwnerRow, ledger: Ledger) -> None:
        """Raises DomainNotFound, CorruptFile or LayoutMismatch."""
        self.incarnation = row.incarnation
        self.name = owners.aggregate_name(row.slot)
        self._ledger = ledger
        self._service = row.service.encode("utf-8", "replace")[: schema.NAME_BYTES_MAX]
        self._numbers: list[int] = []
        self._words: list[int] = []
        self._counts: list[int] = []
        self._unseen: list[tuple[int, int]] = []
        self._read_to = _AGGREGATE.size
        self.problem = ""
        self._mapping: Any = None
        self._view: memoryview | None = None
        self._map(store)

    def _map(self, store: Store) -> None:
        """Map the file, which may have grown; where that fails, what was mapped stays."""
        descriptor, size = files.open_file(store.directory_fd, self.name)
        try:
            if size < _AGGREGATE.size:
                raise CorruptFile(
                    f"{self.name} must have at least {_AGGREGATE.size} bytes, got {size}"
                )
            status = os.fstat(descriptor)
            size -= size % 8
            mapping = core.Mapping(descriptor, size, False)
        finally:
            os.close(descriptor)
        try:
            with memoryview(mapping) as data:
                files.check_header(data, _AGGREGATE, "aggregate", self.name, size)
                found = _AGGREGATE.read(data, 0, "incarnation")
            if found != self.incarnation:
                raise CorruptFile(f"{self.name} must be of owner {self.incarnation}, got {found}")
        except BaseException:
            mapping.close()
            raise
        self.close()
        self._mapping, self._view = mapping, memoryview(mapping).cast("Q")
        self._size, self._identity = size, (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Unmap; idempotent."""
        view, self._view = self._view, None
        mapping, self._mapping = self._mapping, None
        if view is not None:
            view.release()
        if mapping is not None:
            mapping.close()

    def take_from(self, sums: list[int]) -> None:
        """Take what `read` added off again."""
        for number, count in zip(self._numbers, self._counts, strict=False):
            sums[number] -= count
        self._counts = []

    def read(self, store: Store, sums: list[int]) -> None:
        """Load every count, and add to ``sums``, by number, what it is more than the last time.

        Raises as making one does; ``sums`` has then what it had.
        """
        # Looked at first: what is mapped past the end of a file that was cut must not be touched.
        try:
            status = os.stat(self.name, dir_fd=store.directory_fd, follow_symlinks=False)
        except FileNotFoundError as error:
            raise DomainNotFound(f"{self.name} does not exist") from error
        except OSError as error:
            raise files.storage_error(self.name, error) from error
        if (status.st_dev, status.st_ino) != self._identity or status.st_size < self._size:
            raise CorruptFile(f"{self.name} was replaced or cut")
        used = self._mapping.load(_AGGREGATE.offset["used"])
        if used > self._size < status.st_size - status.st_size % 8:
            self._map(store)
        if used > self._read_to and not self.problem:
            self._read_more(used)
        view = self._view
        assert view is not None
        sums.extend([0] * (len(self._ledger.series) - len(sums)))
        before, self._counts = self._counts, list(map(view.__getitem__, self._words))
        if before != self._counts:
            for number, old, new in zip_longest(self._numbers, before, self._counts, fillvalue=0):
                if new != old:
                    sums[number] += new - old
        if self._unseen:
            self._look_again(view)
        if used > status.st_size:
            raise CorruptFile(f"{self.name} must have at least {used} bytes, got {status.st_size}")

    def _read_more(self, used: int) -> None:
        """Number the entries that came since; those below ``used`` are complete."""
        start, end = self._read_to, min(used, self._size)
        with memoryview(self._mapping) as data:
            copied = bytes(data[start:end])
        found, stop, self.problem = aggregate.places(copied, 0, end - start, self.name)
        numbers = self._ledger.numbers_in(copied[:stop], found, self._service)
        self._read_to = start + stop
        self._numbers += numbers
        words = [(start + position) // 8 + _COUNT_WORD for position in found]
        self._words += words
        self._unseen += [
            pair
            for pair in zip(numbers, words, strict=True)
            if self._ledger.series[pair[0]].series == schema.SERIES_ERROR
        ]

    def _look_again(self, view: memoryview) -> None:
        """Times of first errors, which are there once something was counted."""
        left = []
        for number, word in self._unseen:
            first = view[word - _COUNT_WORD + _FIRST_WORD]
            self._ledger.note_first_seen(number, first)
            if not first:
                left.append((number, word))
        self._unseen = left


class _RetiredFile:
    """The totals of the processes that are gone, kept until a fold replaces them."""

    def __init__(self) -> None:
        self.stamp: tuple[int, int, int] | None = None
        self.epoch = -1
        self.folded: frozenset[int] = frozenset()
        self.problems: list[str] = []
        self._numbers: list[int] = []
        self._counts: list[int] = []

    def refresh(self, store: Store, ledger: Ledger) -> None:
        """Read the file if it is another one than last time."""
        stamp = self._look(store)
        if stamp is not None and stamp == self.stamp:
            return
        retired, self.problems = counts.read_retired(store)
        if self.problems and self._numbers:
            # What was read before stays: a sum that goes down looks like a restart.
            self.epoch, self.stamp = retired.epoch_or_incarnation, None
            return
        self.epoch, self.folded = retired.epoch_or_incarnation, frozenset(retired.folded)
        self._numbers = [ledger.number(series) for series in retired.tallies]
        self._counts = [tally.count for tally in retired.tallies.values()]
        for number, tally in zip(self._numbers, retired.tallies.values(), strict=True):
            ledger.note_first_seen(number, tally.first_seen_unix_nano)
        # What stands for a file that could not be read must not be kept.
        self.stamp = None if self.problems else stamp

    @staticmethod
    def _look(store: Store) -> tuple[int, int, int] | None:
        """What another file of the same name would not have in common with this one."""
        try:
            status = os.stat(
                aggregate.RETIRED_NAME, dir_fd=store.directory_fd, follow_symlinks=False
            )
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def add_to(self, totals: list[int]) -> None:
        for number, count in zip(self._numbers, self._counts, strict=True):
            totals[number] += count


class StoreCounts:
    """The counts of one store, for a reader that comes back. Threads must not share it."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self.store = store
        self.rows: list[OwnerRow] = []
        """The owners that were there at the last reading."""
        self.lives: dict[int, Life] = {}
        """By incarnation, whether each of them lived."""
        self.problems: list[str] = []
        self._ledger = ledger
        self._epoch = ledger.epoch
        self._last: list[int] = []
        self._live: dict[int, _LiveFile] = {}
        self._sums: list[int] = []
        self._retired = _RetiredFile()

    def close(self) -> None:
        """Let go of what is mapped; not of the store."""
        for file in self._live.values():
            file.close()
        self._live, self._sums = {}, []

    def add_to(self, totals: list[int]) -> None:
        """Add what the store has counted to ``totals``, by number.

        What cannot be read counts as much as when it last could: a sum that goes down looks like
        a restart. ``problems`` says so.
        """
        if self._epoch != self._ledger.epoch:
            self.close()
            self._retired, self._last, self._epoch = _RetiredFile(), [], self._ledger.epoch
        try:
            self._last = self._sum()
        except (FaultplaneError, OSError) as error:
            self.problems = [f"{self.store.path}: {error}"]
        totals.extend([0] * (len(self._ledger.series) - len(totals)))
        for number, count in enumerate(self._last):
            totals[number] += count

    def _sum(self) -> list[int]:
        """Everything counted, at one moment; StorageError when folders do not let it be."""
        for _ in range(counts.ATTEMPTS_MAX):
            found, died = self._read()
            # Read last: a file that was folded and unlinked in between left its mark here.
            if counts.read_epoch(self.store) == self._retired.epoch:
                break
            self._retired.stamp = None
        else:
            raise StorageError(f"agg-retired was replaced {counts.ATTEMPTS_MAX} times while read")
        for series, count in counts.overflow(self.store):
            self._add(found, series, count)
        for series in died:
            self._add(found, series, 1)
        return found

    def _read(self) -> tuple[list[int], list[Series]]:
        store, ledger, retired = self.store, self._ledger, self._retired
        retired.refresh(store, ledger)
        problems = list(retired.problems)
        rows = owners.read_owners(store)
        if text := owners.problem(rows):
            problems.append(f"{store.path}: {text}")
        me, gone, kept = host.this_process(), [], set()
        self.lives = {}
        for row in rows:
            if row.state_code == schema.OWNER_FOLDED or row.incarnation in retired.folded:
                continue
            alive = self.lives[row.incarnation] = owners.life(store, row, me)
            if alive is not Life.ALIVE or row.state_code == schema.OWNER_DEAD:
                gone.append(row)
            file = self._live.get(row.slot)
            try:
                if file is None or file.incarnation != row.incarnation:
                    self._drop(row.slot)
                    file = self._live[row.slot] = _LiveFile(store, row, ledger)
                file.read(store, self._sums)
                problems += [f"{store.path}: {file.problem}"] if file.problem else []
            except (FaultplaneError, OSError) as error:
                problems.append(f"{store.path}: {error}")
            kept.add(row.slot)
        for slot in self._live.keys() - kept:
            self._drop(slot)
        self.rows, self.problems = rows, problems
        found = self._sums + [0] * (len(ledger.series) - len(self._sums))
        retired.add_to(found)
        return found, self._died(gone)

    def _drop(self, slot: int) -> None:
        """Forget the file of a slot, whose owner it is of no more."""
        file = self._live.pop(slot, None)
        if file is not None:
            file.take_from(self._sums)
            file.close()

    def _died(self, gone: list[OwnerRow]) -> list[Series]:
        """Deaths that are recorded and not folded: the next fold counts them, not the file."""
        if not gone:
            return []
        ways = deaths.ways(self.store, {row.incarnation for row in gone})
        return [
            fold.death_series(row, ways[row.incarnation]) for row in gone if row.incarnation in ways
        ]

    def _add(self, found: list[int], series: Series, count: int) -> None:
        number = self._ledger.number(series)
        found.extend([0] * (number + 1 - len(found)))
        found[number] += count


class Counting:
    """The counts of several stores as one sum. Threads must not share it.

    ``ledger`` has the series; `read` brings its totals up to date.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.stores: list[StoreCounts] = []

    def close(self) -> None:
        """Let go of what is mapped."""
        for counted in self.stores:
            counted.close()
        self.stores = []

    def read(self, stores: list[Store]) -> list[str]:
        """Sum what ``stores`` have counted; a sentence for each thing that could not be read."""
        ledger = self.ledger
        if len(ledger.series) > SERIES_KEPT_MAX and ledger.totals.count(0) * 2 > len(ledger.totals):
            ledger.clear()
        known = {id(counted.store): counted for counted in self.stores}
        self.stores = [
            known.pop(id(store)) if id(store) in known else StoreCounts(store, ledger)
            for store in stores
        ]
        for counted in known.values():
            counted.close()
        totals = [0] * len(ledger.series)
        problems: list[str] = []
        for counted in self.stores:
            counted.add_to(totals)
            problems += counted.problems
        totals.extend([0] * (len(ledger.series) - len(totals)))
        ledger.totals = totals
        return problems
