"""The ``locks`` file of a store: byte locks that the kernel drops when a process dies.

POSIX record locks belong to the process, not to the descriptor: they survive no death, are not
inherited by a forked child, and vanish when the process closes *any* descriptor of the file. So
the file is open once a process, whoever asks, and stays open while the process owns a slot.
A process always obtains its own locks, so threads are kept apart by a table of their own.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from faultplane import schema
from faultplane.errors import DomainNotFound, StorageError
from faultplane.store import files, location

NAME: Final = "locks"
WAIT_SECONDS_MAX: Final = 2.0
"""Longest wait for a lock that its holder has for milliseconds, unless it was stopped."""

_FLOCK: Final = "@qqihh" if sys.platform == "darwin" else "@hhqqi4x"
_open_files: dict[tuple[int, int], LockFile] = {}
_table = threading.Lock()


class LockFile:
    """The lock file of one store, shared by everything in this process that has it open."""

    def __init__(self, identity: tuple[int, int]) -> None:
        self._identity = identity
        self._descriptors: list[int] = []
        self.users = 0
        self._kept = False
        self._guard = threading.Lock()
        self._busy: set[int] = set()
        self.was_held_at_fork = False
        self.writable = False

    @classmethod
    def open(cls, directory_fd: int, writable: bool) -> LockFile:
        """The lock file of a store directory; pair with `close`."""
        with _table:
            try:
                status = os.stat(NAME, dir_fd=directory_fd, follow_symlinks=False)
            except FileNotFoundError as error:
                raise DomainNotFound(f"{NAME} does not exist") from error
            # Looked up before it is opened: closing a second descriptor would drop our locks.
            known = _open_files.get((status.st_dev, status.st_ino))
            if known is not None and not known.is_open():
                # Closed by the application: whoever still has it must not close a number that
                # is about to be used again.
                del _open_files[known.identity]
                known.abandon()
                known = None
            if known is None or (writable and not known.writable):
                known = cls._add(directory_fd, writable)
            known.users += 1
            return known

    @classmethod
    def _add(cls, directory_fd: int, writable: bool) -> LockFile:
        descriptor, _ = files.open_file(directory_fd, NAME, writable=writable)
        identity = location.identity(descriptor)
        known = _open_files.get(identity)
        if known is None:
            descriptor = location.raise_descriptor(descriptor)
            known = _open_files[identity] = cls(identity)
        known._descriptors.append(descriptor)
        if writable and not known.writable:
            known._descriptors.insert(0, known._descriptors.pop())
            known.writable = True
        return known

    @property
    def descriptor(self) -> int:
        """The process-wide descriptor; StorageError when the application closed it."""
        if not self.is_open():
            raise StorageError(f"the descriptor of {NAME} was closed by the application")
        return self._descriptors[0]

    def is_open(self) -> bool:
        """Whether the descriptor is still that of the file, and not of the application's own."""
        try:
            return location.identity(self._descriptors[0]) == self._identity
        except (IndexError, OSError):
            return False

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same for everything in this process that means this store."""
        return self._identity

    def abandon(self) -> None:
        """Forget the descriptors: the application has closed them."""
        self._descriptors = []

    def keep(self) -> None:
        """Never close it: from now on this process holds a lock in it for life."""
        self._kept = True

    def close(self) -> None:
        """Give back one `open`; the last one closes the file unless it is kept."""
        with _table:
            self.users -= 1
            if self.users > 0 or self._kept:
                return
            if _open_files.get(self._identity) is self:
                del _open_files[self._identity]
            for descriptor in self._descriptors:
                location.close_same(descriptor, self._identity)
            self._descriptors = []

    def is_held(self, byte: int) -> bool:
        """Whether another process holds ``byte``; needs no write permission."""
        if sys.platform == "darwin":
            request = struct.pack(_FLOCK, byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
        else:
            request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(self.descriptor, fcntl.F_GETLK, request))
        kind = answer[3] if sys.platform == "darwin" else answer[0]
        return bool(kind != fcntl.F_UNLCK)

    def try_take(self, byte: int, *, shared: bool = False) -> bool:
        """Take ``byte`` without waiting; False when a process or thread has it."""
        with self._guard:
            if byte in self._busy:
                return False
            operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.lockf(self.descriptor, operation | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):
                return False
            except OSError as error:
                raise files.storage_error(f"{NAME} byte {byte}: no lock", error) from error
            self._busy.add(byte)
            return True

    def release(self, byte: int) -> None:
        """Give back ``byte``."""
        with self._guard:
            self._busy.discard(byte)
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)

    def forget_held(self) -> None:
        """In a forked child: it holds no byte, whatever its parent held.

        `was_held_at_fork`: its parent was in the middle of what the domain's bytes stand for.
        """
        self._guard = threading.Lock()
        self.was_held_at_fork = any(byte >= schema.LOCK_DOMAIN for byte in self._busy)
        self._busy.clear()

    @contextmanager
    def held(
        self, byte: int, *, shared: bool = False, wait_seconds_max: float = WAIT_SECONDS_MAX
    ) -> Iterator[None]:
        """Hold ``byte`` for a block; StorageError when it stays taken for ``wait_seconds_max``."""
        deadline = time.monotonic() + wait_seconds_max
        pause_seconds = 0.0005
        while not self.try_take(byte, shared=shared):
            if time.monotonic() >= deadline:
                raise StorageError(f"byte {byte} of {NAME} was held for {wait_seconds_max} s")
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, 0.02)
        try:
            yield
        finally:
            self.release(byte)


def forget_parent() -> None:
    """Locks are not inherited, and a thread that held a table is not there to give it back."""
    global _table
    _table = threading.Lock()
    for lock_file in _open_files.values():
        lock_file.forget_held()


os.register_at_fork(after_in_child=forget_parent)
