"""New rows as they come, for ``for`` and ``async for``."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self

from faultplane._backend import CORE_NAME, core
from faultplane.errors import FaultplaneError, InvalidSetting
from faultplane.store import location, maintain
from faultplane.store.cursor import Cursor
from faultplane.store.domain import Store, store_paths
from faultplane.store.records import Records

WATCH_SECONDS_MAX: Final = 0.01
"""Longest look away from a domain that is followed: a burst after silence overruns 64 MiB of
segments within some tens of milliseconds."""
WATCH_SECONDS_MIN: Final = 0.0002
LOOKS_PER_SEGMENT: Final = 8
MAINTAIN_SECONDS: Final = 1.0
REOPEN_SECONDS: Final = 0.1
POLL_SECONDS_MAX: Final = 3600.0


class Source(Protocol):
    """What can be followed: a `Domain`."""

    path: str

    def records(self, since: Cursor | str | None = None) -> Records:
        """Rows since a cursor."""

    def map_new(self, since: Cursor) -> dict[str, tuple[int, int]]:
        """Map new segments; (newest number, segments kept) of each store."""


class Keeper:
    """Keeps the next segment of a domain ready, so that no writer has to make it.

    Allocating and clearing its pages costs more than everything else a record does; here it
    costs the reader. Does nothing without permission to write, and only for the store that this
    process's core maintains. What goes wrong ends it until the next `maintain`: writers do without.
    """

    def __init__(self, domain_path: str) -> None:
        self._domain_path = domain_path
        self._store: Store | None = None
        self._ring: Any = None
        self._open()

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return self._ring is not None

    def _open(self) -> None:
        wanted = location.store_name(CORE_NAME)
        try:
            paths = [p for p in store_paths(self._domain_path) if os.path.basename(p) == wanted]
            if not paths or not os.access(paths[0], os.W_OK):
                return
            self._store = Store.open(paths[0], writable=True)
            header = self._store.header
            self._ring = core.Ring(
                self._store.directory_fd,
                self._store.locks.descriptor,
                self._store.registry,
                header.lanes_per_segment,
                header.segments_max,
                header.dictionary_bytes,
                True,
            )
        except (FaultplaneError, OSError):
            self.close()

    def prepare(self) -> None:
        """Prepare the next segment if none is ready, and retire what is over budget."""
        if self._ring is None:
            return
        try:
            self._ring.prepare()
            self._ring.retire_over_budget()
        except (FaultplaneError, OSError):
            self.close()

    def maintain(self) -> None:
        """One step of maintenance: bury the dead, fold, tidy.

        Opens the store when it was made, or made again, or given up meanwhile.
        """
        if self._store is None or not self._store.in_place():
            self.close()
            self._open()
        if self._store is None:
            return
        try:
            maintain.maintain_store(self._store)
        except (FaultplaneError, OSError):
            self.close()

    def close(self) -> None:
        """Stop; idempotent."""
        self._ring = None
        if self._store is not None:
            self._store.close()
            self._store = None


def _is_within(seconds: Any, most: float) -> bool:
    """Whether that is a number from 0 to ``most``, whatever a caller gave."""
    try:
        return bool(0 <= seconds <= most)
    except TypeError:
        return False


class Follow:
    """Iterator over `Records` with new rows, until it is closed or its time is over.

    New rows are handed out at most ``poll_seconds`` after they were committed, and sooner when
    so many come that waiting would lose some. ``timeout_seconds`` bounds the whole iteration;
    what was committed before the end is still handed out. ``cursor`` is where it is, ``lost``
    the sum of rows lost so far. Use it in a ``with`` statement, or `close` it: from any thread.
    """

    def __init__(
        self,
        source: Source,
        since: Cursor | str | None = None,
        poll_seconds: float = 0.1,
        timeout_seconds: float | None = None,
        maintain: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise InvalidSetting for ``poll_seconds`` below 0 or over an hour, and for no number.

        ``maintain=None`` keeps segments ready and buries the dead where there is permission,
        False never does.
        """
        if not _is_within(poll_seconds, POLL_SECONDS_MAX):
            raise InvalidSetting(
                f"poll_seconds must be 0 to {POLL_SECONDS_MAX:.0f}, got {poll_seconds!r}"
            )
        if timeout_seconds is not None and not _is_within(timeout_seconds, math.inf):
            raise InvalidSetting(f"timeout_seconds must be at least 0, got {timeout_seconds!r}")
        self.cursor = Cursor.of(since)
        self.lost = 0
        self._source = source
        self._poll_seconds = poll_seconds
        self._clock = clock
        now = clock()
        self._deadline = None if timeout_seconds is None else now + timeout_seconds
        self._read_at = self._looked_at = self._maintain_at = now
        self._pause_seconds = WATCH_SECONDS_MIN
        self._newest: dict[str, int] = {}
        self._read_newest: dict[str, int] = {}
        self._closed = threading.Event()
        self._keeper = None if maintain is False else Keeper(source.path)

    # ------------------------------------------------------------------------------ iterating

    def __iter__(self) -> Follow:
        return self

    def __next__(self) -> Records:
        while True:
            records, over = self._look()
            if records is not None:
                return records
            if over:
                self.close()
                raise StopIteration
            self._closed.wait(self._pause())

    def __aiter__(self) -> Follow:
        return self

    async def __anext__(self) -> Records:
        import asyncio  # whoever awaits has it; a process that only writes must not pay for it

        while True:
            records, over = self._look()
            if records is not None:
                # An `async for` whose body awaits nothing must not starve the other tasks.
                await asyncio.sleep(0)
                return records
            if over:
                self.close()
                raise StopAsyncIteration
            await asyncio.sleep(self._pause())

    def close(self) -> None:
        """End the iteration, at once for the one who is waiting; idempotent."""
        self._closed.set()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------- looking

    def _look(self) -> tuple[Records | None, bool]:
        """(New records if there are any and it is time, whether the iteration is over)."""
        if self._closed.is_set():
            return None, True
        now = self._clock()
        over = self._deadline is not None and now >= self._deadline
        self._keep(now)
        pressed = self._watch(now)
        if not (pressed or over or now >= self._read_at):
            return None, False
        records = self._source.records(self.cursor)
        self.cursor = records.cursor
        self.lost += records.lost
        self._read_newest = dict(self._newest)
        self._read_at = now + self._poll_seconds
        if over:
            # Others may go on writing for ever: what is here now is the last that is handed out.
            self._closed.set()
        return (records, False) if len(records) or records.lost else (None, over)

    def _keep(self, now: float) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        keeper.prepare()
        if now >= self._maintain_at:
            keeper.maintain()
            pause_seconds = MAINTAIN_SECONDS if keeper.active else REOPEN_SECONDS
            self._maintain_at = now + pause_seconds

    def _watch(self, now: float) -> bool:
        """Map what is new; whether a quarter of what a store keeps is new since the last reading.

        Looks again after an eighth of the time that a segment lasted, so that each is mapped, and
        its successor prepared, in time.
        """
        pressed = False
        published = 0
        for store, (newest, kept_max) in self._source.map_new(self.cursor or Cursor()).items():
            published += max(newest - self._newest.get(store, newest), 0)
            self._newest[store] = newest
            pressed |= newest - self._read_newest.setdefault(store, newest) >= max(kept_max // 4, 1)
        elapsed, self._looked_at = now - self._looked_at, now
        if published:
            self._pause_seconds = elapsed / published / LOOKS_PER_SEGMENT
        else:
            self._pause_seconds *= 2
        return pressed

    def _pause(self) -> float:
        most = min(self._poll_seconds, WATCH_SECONDS_MAX)
        seconds = min(max(self._pause_seconds, WATCH_SECONDS_MIN), most)
        self._pause_seconds = max(seconds, WATCH_SECONDS_MIN)
        if self._deadline is not None:
            seconds = min(seconds, max(self._deadline - self._clock(), 0.0))
        return seconds
