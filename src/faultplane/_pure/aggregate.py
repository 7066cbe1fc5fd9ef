"""Exact counts: one cell a series, one writer a cell.

A process counts into its own file, append-only entries of a cell and its three strings. Before it
has one it counts into private memory of the same form, which is then copied: offsets stay valid,
so whoever kept one never looks it up again.
"""

from __future__ import annotations

from typing import Final

from faultplane.schema import (
    AGGREGATE,
    CELL,
    DROP_REASONS,
    LAYOUT_VERSION,
    MAGIC,
    NAME_BYTES_MAX,
    SERIES_DROP,
    SERIES_MAX,
    round_up,
)

from . import files
from . import memory as shared
from .memory import Mapping, order
from .message import cut_utf8

__all__: list[str] = []

RESERVE_BYTES: Final = 1 << 20
GROW_BYTES: Final = 1 << 16
DROP_CELL_BYTES: Final = 128
COUNT_MAX: Final = (1 << 64) - 1

_USED: Final = AGGREGATE.offset["used"] // 8
_COUNT: Final = CELL.offset["count"] // 8
_FIRST_SEEN: Final = CELL.offset["first_seen_unix_nano"] // 8
_LAST_SEEN: Final = CELL.offset["last_seen_unix_nano"] // 8
_SUPPRESSED: Final = CELL.offset["suppressed"] // 8
_DROPS: Final = AGGREGATE.size // 8
_DROP_WORDS: Final = DROP_CELL_BYTES // 8


class Aggregate:
    """The counted series of this process. ``used`` is in bytes, as offsets of cells are."""

    def __init__(self) -> None:
        self._memory = Mapping.anonymous(RESERVE_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        # At hand, so that letting go of a file needs no memory that may not be there.
        self._spare: Mapping | None = None
        self._fd = -1
        self._identity = (0, 0)
        self._index: dict[tuple[int, int, int, bytes, bytes], int] = {}
        self.used = AGGREGATE.size
        with memoryview(self._memory) as view:
            AGGREGATE.write(view, 0, magic=MAGIC["aggregate"], layout_version=LAYOUT_VERSION)
        for reason in DROP_REASONS:
            self.series(SERIES_DROP, 0, 0, b"", reason.name.encode())

    @property
    def series_count(self) -> int:
        """How many series there are."""
        return len(self._index)

    def count(self, offset: int, n: int = 1) -> int:
        """Add to a cell, and give the sum. Only this process writes it, under the process lock.

        Past 2**64 - 1 it begins at zero again, as in the compiled core.
        """
        words, at = self._words, offset // 8 + _COUNT
        try:
            words[at] = total = words[at] + n
        except ValueError:
            words[at] = total = words[at] + n & COUNT_MAX
        return total

    def count_at(self, offset: int, time_unix_nano: int, reason: int = 0) -> None:
        """Count one and keep the times; with the code of a reason, say that it has no row."""
        words, cell = self._words, offset // 8
        if reason:
            words[_DROPS + (reason - 1) * _DROP_WORDS + _COUNT] += 1
            words[cell + _SUPPRESSED] += 1
        words[cell + _COUNT] += 1
        words[cell + _LAST_SEEN] = time_unix_nano
        if not words[cell + _FIRST_SEEN]:
            words[cell + _FIRST_SEEN] = time_unix_nano

    def suppress(self, offset: int, reason: int) -> None:
        """Say that one of those counted (in a cell, or in none: 0) has no row, and why."""
        words = self._words
        words[_DROPS + (reason - 1) * _DROP_WORDS + _COUNT] += 1
        if offset:
            words[offset // 8 + _SUPPRESSED] += 1

    def drop(self, reason: int, n: int = 1) -> None:
        """Count details that are not written, by the code of their reason."""
        self._words[_DROPS + (reason - 1) * _DROP_WORDS + _COUNT] += n

    def series(
        self, series: int, kind: int, fingerprint: int, operation: bytes, name: bytes
    ) -> int:
        """Offset of the cell of a series, made when new; 0 when there is no room for it."""
        operation = cut_utf8(operation, NAME_BYTES_MAX)
        name = cut_utf8(name, NAME_BYTES_MAX)
        key = series, kind, fingerprint, operation, name
        known = self._index.get(key)
        if known is not None:
            return known
        size = CELL.size + round_up(len(operation) + len(name), 64)
        entry = bytearray(size)
        CELL.write(
            entry,
            0,
            size=size,
            series=series,
            kind=kind,
            operation_bytes=len(operation),
            fingerprint=fingerprint,
            name_bytes=len(name),
        )
        strings = operation + name
        entry[CELL.size : CELL.size + len(strings)] = strings
        offset = self._append(entry) if len(self._index) < SERIES_MAX else 0
        if offset:
            self._index[key] = offset
        return offset

    def _append(self, entry: bytearray) -> int:
        """Offset of a new entry; 0 when there is no room for it."""
        size = len(entry)
        while self._make_room(self.used + size):
            memory, bytes_mapped = self._memory, self._memory.size
            with memoryview(memory) as view:
                # Between these lines nothing is called, so no signal handler comes in that needs
                # an entry of its own.
                offset = self.used
                end = offset + size
                if end <= bytes_mapped and memory is self._memory:
                    self.used = end
                    view[offset:end] = entry
                    order()
                    # Published last: a reader walks entries up to here.
                    self._words[_USED] = self.used
                    return offset
        return 0

    def _make_room(self, end: int) -> bool:
        """Make sure that the first ``end`` bytes may be touched."""
        size = self._memory.size
        if end <= size:
            return True
        if end > RESERVE_BYTES or not files.is_still(self._fd, self._identity):
            return False
        try:
            files.reserve(self._fd, size, GROW_BYTES)
            self._use(Mapping(self._fd, size + GROW_BYTES, True))
        except OSError:
            return False
        return True

    def _use(self, memory: Mapping) -> None:
        self._words.release()
        self._memory = memory
        # A mapping has whole words only where the file has.
        with memoryview(memory) as view:
            self._words = view[: memory.size & ~7].cast("Q")

    def move(self, memory: Mapping, fd: int, *, keep: bool, begun: int | None = None) -> None:
        """Go on counting in ``memory``, at the same offsets; from zero unless ``keep``.

        Raises OSError when the file ``fd`` cannot hold what has been counted, and in a child that
        a signal handler forked meanwhile, or since `memory.forks` was ``begun``: nothing has
        changed then.
        """
        head = AGGREGATE.size
        if begun is None:
            begun = shared.forks
        if self.used > memory.size:
            files.reserve(fd, 0, RESERVE_BYTES)
            memory = Mapping(fd, RESERVE_BYTES, True)
        identity, whole = files.identity(fd), memory.size & ~7
        with memoryview(memory) as view, memoryview(self._memory) as old:
            words = view[:whole].cast("Q")
            while True:
                shared.refuse_forked(begun)
                used = self.used
                view[head:used] = old[head:used]
                if not keep:
                    self._clear(words)
                order()
                # From here on nothing is called, so no signal handler comes in.
                shared.refuse_forked(begun)
                if used != self.used:
                    continue
                before = self._words
                if self._fd < 0:
                    self._spare = self._memory
                self._fd, self._identity = fd, identity
                self._memory, self._words = memory, words
                words[_USED] = used
                break
        before.release()

    def detach(self, *, keep: bool = False, begun: int | None = None) -> None:
        """Go on counting in private memory: from zero, unless what was counted comes along.

        Else it stays in the file. ``begun``, and what it raises, as in `move`.
        """
        memory, self._spare = self._spare or Mapping.anonymous(RESERVE_BYTES), None
        with memoryview(memory) as view, memoryview(self._memory) as old:
            view[: AGGREGATE.size] = old[: AGGREGATE.size]
        file = self._memory
        self.move(memory, -1, keep=keep, begun=begun)
        if keep:
            # Whoever finds the file, wherever it was moved to, does not count this a second time.
            words = memoryview(file)[: file.size & ~7].cast("Q")
            self._clear(words)
            words.release()

    def is_in_place(self, path: str, root: tuple[int, int]) -> bool:
        """Whether the file that is counted into is where others look for it."""
        return files.is_in_place(path, self._identity, root)

    def _clear(self, words: memoryview) -> None:
        for offset in self._index.values():
            for field in (_COUNT, _FIRST_SEEN, _LAST_SEEN, _SUPPRESSED):
                words[offset // 8 + field] = 0

    def cells(self) -> bytes:
        """The bytes of header and entries."""
        with memoryview(self._memory) as view:
            return bytes(view[: self.used])
