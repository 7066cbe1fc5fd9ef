"""Whether a process that calls `init` here could record: tried, with nothing that stays.

The same checks as a writer makes, in its order. What it would make is tried with a directory or a
file of another name in the same place, which goes at once: not everything that refuses, such as a
full table of inodes or a file system that takes no directories, can be told by looking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.errors import FaultplaneError, StorageError, StorageFull
from faultplane.settings import Settings
from faultplane.store import aggregate, domain, files, location
from faultplane.store.domain import Store

_OWNER_BYTES: Final = aggregate.AGGREGATE_BYTES_FIRST + schema.BREATH_BYTES
"""What the files take that a process makes when it registers."""


class Obstacle(NamedTuple):
    """Why a process would have no storage. ``full``: for want of space, whoever it is."""

    reason: str
    full: bool = False


def obstacle(name: str, directory: str | None, found: Settings) -> Obstacle | None:
    """What `init` would run into with the domain ``name`` in ``directory``; None when nothing.

    Without a directory it is tried where writers look for one. Never raises for storage.
    """
    try:
        base = _base(directory, found.runtime_directory)
        _try_domain(base, location.check_domain_name(name), found.budget_bytes)
    except (FaultplaneError, OSError, ValueError) as error:
        return Obstacle(str(error), isinstance(error, StorageFull))
    return None


def _base(directory: str | None, runtime_directory: str | None) -> location.Base:
    """The base that a writer would take, as `location.writable_base` finds it."""
    if directory is not None:
        return location.Base(os.path.abspath(directory), "given")
    refused: list[str] = []
    for base in location.candidates(runtime_directory):
        try:
            if os.path.lexists(base.path):
                os.close(location.open_safe(base.path, None, base.path))
            else:
                with _made(os.path.dirname(base.path), base.path):
                    pass
        except StorageError as error:
            refused.append(str(error))
            continue
        return base
    raise StorageError("; ".join(["no directory can be shared", *refused]))


def _try_domain(base: location.Base, name: str, budget_bytes: int) -> None:
    if not os.path.lexists(base.path):
        _try_space(_nearest(base.path), base.path, budget_bytes)
        return
    base_fd = location.open_safe(base.path, None, base.path, base.origin == "given")
    try:
        path = os.path.join(base.path, name)
        if not os.path.lexists(path):
            _try_space(base.path, path, budget_bytes)
            return
        domain_fd = location.open_safe(name, base_fd, path)
    finally:
        os.close(base_fd)
    try:
        store = location.store_name(CORE_NAME)
        if not domain.is_whole(domain_fd, store):
            _try_space(path, os.path.join(path, store), budget_bytes)
            return
    finally:
        os.close(domain_fd)
    with Store.open(os.path.join(path, store), writable=True) as opened:
        _try_owner(opened)


def _nearest(path: str) -> str:
    """The nearest directory above ``path`` that is there."""
    parent = os.path.dirname(path)
    while not os.path.lexists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    return parent


def _try_space(parent: str, path: str, budget_bytes: int) -> None:
    """Raise StorageError unless a store can be made at ``path``, missing below ``parent``."""
    with _made(parent, path) as descriptor:
        domain.budget_allowed(descriptor, budget_bytes)


@contextmanager
def _made(parent: str, path: str) -> Iterator[int]:
    """A descriptor of a directory in ``parent`` for the time of a block.

    ``path`` is what the errors (StorageError, StorageFull) are about.
    """
    trial = os.path.join(parent, _name())
    try:
        os.mkdir(trial, 0o700)
    except OSError as error:
        raise files.storage_error(f"{path} cannot be made", error) from error
    try:
        descriptor = location.open_directory(trial)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        os.rmdir(trial)


def _try_owner(store: Store) -> None:
    """Raise StorageError unless the files of one more owner can be made in a store."""
    name, descriptor = _name(), -1
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=store.directory_fd)
        files.reserve(descriptor, _OWNER_BYTES)
    except OSError as error:
        what = f"{store.path}: files of an owner cannot be made"
        raise files.storage_error(what, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
            files.remove(store.directory_fd, name)


def _name() -> str:
    return f"{location.TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
