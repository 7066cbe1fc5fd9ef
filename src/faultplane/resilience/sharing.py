"""Where a dependency's cell lies: with the store that this process writes to, else in the process.

A cell is given memory when it is first used, and anew after a fork, or when the process has joined
a domain or left one. Where the store has no cell to give, or cannot be reached, the process keeps
one for itself: guarded calls go on, and `problem` says why nobody shares it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import FaultplaneError
from faultplane.store import control, files, lifecycle
from faultplane.store.control import ControlFile
from faultplane.store.domain import Store

_HEALTH_WORDS: Final = 4
_LOCAL_HIGH: Final = layout.CONTROL_CELL.size
_LOCAL_LEASES: Final = _LOCAL_HIGH + layout.LEASE.size
_LOCAL_BYTES: Final = _LOCAL_LEASES + layout.LEASE.size

_lock = threading.Lock()
_opened: tuple[Store, ControlFile] | None = None


class Place:
    """Where the cell of one name is, and what was declared of it.

    ``shared``: other processes use it, too. ``problem`` says why not, "" where that was wanted.
    ``governing`` is the declaration that governs, as JSON: another process's, if that is newer.
    ``keyed``: one of many, which must leave cells to others.
    """

    def __init__(
        self, name: str, config: dict[str, int], text: str, time_unix_nano: int, *, host: bool
    ) -> None:
        """Declare nothing yet: that comes with the first call."""
        self.name, self.config, self.text, self.host = name, config, text, host
        self.time_unix_nano = time_unix_nano
        self.keyed = False
        self.shared = False
        self.problem = "" if host else "declared for this process alone"
        self.governing = text
        self._index = -1
        self._file: ControlFile | None = None
        self._memory: Any = None
        # By the forks before it: what a thread of the parent checks keeps no child from checking.
        self._checking: dict[int, object] = {}

    def attach(self, cell: Any) -> None:
        """Give ``cell`` memory; raises nothing because of storage."""
        owned = lifecycle.owned() if self.host else None
        if owned is None:
            self._be_local(cell, "" if self.host else self.problem)
            return
        store, registration = owned
        try:
            file = _control_file(store)
            most = file.cells_max // 2 if self.keyed else file.cells_max
            index = file.take(self.name, most)
            if index is None:
                rest = ": keys get no more" if self.keyed else ""
                taken = f"{most} of {file.cells_max} cells of {store.path} are taken"
                self._be_local(cell, taken + rest)
                return
            file.attend(registration.slot)
            self.governing = file.declare(
                index, self.config, self.text, self.time_unix_nano, registration.incarnation
            )
        except (FaultplaneError, OSError) as error:
            self._be_local(cell, str(error))
            return
        cell.use(
            file.mapping,
            file.cell_offset(index),
            file.lease_offset(index),
            file.owner_slots,
            file.owners_high_offset,
            registration.slot,
            registration.incarnation,
        )
        self._file, self._index, self._memory = file, index, file.mapping
        self.shared, self.problem = True, ""

    def _be_local(self, cell: Any, problem: str) -> None:
        memory = core.Mapping.anonymous(_LOCAL_BYTES)
        control.configure(memory, 0, self.config, files.forks)
        cell.use(memory, 0, _LOCAL_LEASES, 1, _LOCAL_HIGH, 0, os.getpid())
        self._file, self._index, self._memory = None, -1, memory
        self.shared, self.problem = False, problem
        self.governing = self.text

    def health(self) -> list[int]:
        """The words of the health; those of a cell that has memory."""
        at, memory = self._health_offset(), self._memory
        return [memory.load(at + 8 * index) for index in range(_HEALTH_WORDS)]

    def store_health(self, words: list[int], begun: int) -> None:
        """Replace them, the first word last; whoever calls has the turn to check.

        Raises StorageError in a child forked since `files.forks` was ``begun``.
        """
        at, memory = self._health_offset(), self._memory
        for index in reversed(range(_HEALTH_WORDS)):
            files.refuse_forked(begun)
            memory.store(at + 8 * index, words[index])

    def _health_offset(self) -> int:
        base = 0 if self._file is None else self._file.cell_offset(self._index)
        return base + int(layout.CONTROL_CELL.offset["health"])

    @contextmanager
    def turn_to_check(self) -> Iterator[bool]:
        """Whether nobody else of the host checks meanwhile, for a block.

        The kernel ends the turn of a process that dies.
        """
        file, byte = self._file, layout.LOCK_HEALTH + self._index
        if file is None:
            begun, me = files.forks, object()
            mine = self._checking.setdefault(begun, me) is me
            try:
                yield mine
            finally:
                if mine:
                    del self._checking[begun]
            return
        locks = file.store.locks
        mine = locks.try_take(byte)
        try:
            yield mine
        finally:
            if mine:
                locks.release(byte)

    def reclaim(self, cell: Any) -> bool:
        """End what the dead hold of ``cell``; whether they held something."""
        file = self._file
        if file is None:
            return False
        try:
            dead = file.dead_holders(self._index)
            return bool(sum(cell.reclaim(slot, incarnation) for slot, incarnation in dead))
        except (FaultplaneError, OSError):
            return False


def _control_file(store: Store) -> ControlFile:
    """The control file of a store, opened once for all cells of this process."""
    global _opened
    known = _opened
    if known is not None and known[0] is store:
        return known[1]
    with _lock:
        if _opened is None or _opened[0] is not store:
            before, _opened = _opened, (store, ControlFile.open_or_create(store))
            if before is not None:
                before[1].close()  # cells that still lie there keep it mapped
        return _opened[1]


def _forget_parent() -> None:
    """In a forked child: the store is opened anew, by a lock that no thread of the parent holds."""
    global _lock, _opened
    _lock = threading.Lock()
    if _opened is not None:
        _opened[1].close()
        _opened = None


os.register_at_fork(after_in_child=_forget_parent)
