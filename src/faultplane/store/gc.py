"""Removing domains that nobody writes to any more.

A store goes only under its domain lock, which every process holds while it registers, only if it
is still the directory that its path names, and never while one of its owners lives.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from faultplane import schema, settings
from faultplane.errors import DomainBusy, DomainNotFound, FaultplaneError, StorageError
from faultplane.store import domain, files, health, host, location, owners
from faultplane.store.domain import Store
from faultplane.store.owners import Life

DOMAINS_MAX: Final = 65_536
"""Domains looked at in one go; how many there are beyond is said."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of one store. ``action``: removed, would be removed, or kept and why.

    Of all that were past `DOMAINS_MAX` one says: not looked at.
    """

    domain: str
    store: str
    path: str
    action: str
    reason: str
    bytes_held: int


def gc(base_path: str, name: str | None = None, dry_run: bool = False) -> list[Removal]:
    """Remove every dead domain below ``base_path``, or only the one called ``name``.

    With ``dry_run`` nothing changes. Raises DomainNotFound when there is no such directory;
    what cannot be removed is kept, with the reason.
    """
    base_fd = location.open_directory(base_path)
    try:
        if name is not None:
            location.check_domain_name(name)
            if name not in os.listdir(base_fd):
                raise DomainNotFound(f"domain {name!r} was not found in {base_path}")
        names = [name] if name is not None else _domain_names(base_fd)
        removals = []
        for domain_name in names[:DOMAINS_MAX]:
            removals += _collect(base_fd, base_path, domain_name, dry_run)
        if (beyond := len(names) - DOMAINS_MAX) > 0:
            reason = f"{beyond} more than the {DOMAINS_MAX} looked at in one go"
            removals.append(Removal("…", "", base_path, "not looked at", reason, 0))
        return removals
    finally:
        os.close(base_fd)


def _domain_names(base_fd: int) -> list[str]:
    """Names below a base that can be domains: not links, not temporary."""
    with os.scandir(base_fd) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and settings.DOMAIN_NAME.fullmatch(entry.name)
        )


def _collect(base_fd: int, base_path: str, name: str, dry_run: bool) -> list[Removal]:
    path = os.path.join(base_path, name)
    removals = []
    try:
        domain_fd = location.open_directory(name, base_fd)
    except StorageError as error:
        return [Removal(name, "", path, "kept", str(error), 0)]
    try:
        if not dry_run and os.fstat(domain_fd).st_uid == os.geteuid():
            domain.remove_stale_directories(domain_fd)
        for entry in files.names(domain_fd):
            if not location.STORE_NAME.fullmatch(entry):
                continue
            store_path = os.path.join(path, entry)
            try:
                held = remove_store(domain_fd, store_path, dry_run)
            except (FaultplaneError, OSError) as error:
                reason = str(error).removeprefix(f"{store_path} ")
                size = _size(domain_fd, entry)
                removals.append(Removal(name, entry, store_path, "kept", reason, size))
                continue
            action = "would be removed" if dry_run else "removed"
            removals.append(Removal(name, entry, store_path, action, "no owner lives", held))
    finally:
        os.close(domain_fd)
    if not dry_run and any(removal.action == "removed" for removal in removals):
        try:
            os.rmdir(name, dir_fd=base_fd)
        except OSError:
            pass  # another store is in it, or one was made just now
    return removals


def _size(domain_fd: int, name: str) -> int:
    """Bytes that a store which is kept takes, whatever is in it; 0 where that cannot be told."""
    try:
        directory_fd = location.open_directory(name, domain_fd)
    except StorageError:
        return 0
    try:
        return health.bytes_held(directory_fd)
    except OSError:
        return 0
    finally:
        os.close(directory_fd)


def remove_store(domain_fd: int, path: str, dry_run: bool = False) -> int:
    """Remove one store; bytes that it held.

    Raises DomainBusy while an owner lives, and StorageError when the store cannot be looked at
    or is being made or removed by another process.
    """
    with Store.open(path, writable=True) as store, store.locks.held(schema.LOCK_DOMAIN):
        if not store.in_place():
            raise DomainBusy(f"{path} was replaced meanwhile")
        me = host.this_process()
        living = [
            row
            for row in owners.read_owners(store)
            if row.state_code in (schema.OWNER_LIVE, schema.OWNER_EXITED)
            and owners.life(store, row, me) is Life.ALIVE
        ]
        if living:
            pids = ", ".join(str(row.pid) for row in living[:8])
            owned = f"{len(living)} live owner{'s' if len(living) > 1 else ''}"
            raise DomainBusy(f"{path} has {owned}: pid {pids}")
        if dry_run:
            return health.bytes_held(store.directory_fd)
        # Out of its place first: from here on its path names nothing, or a new store.
        temporary = f"{location.TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
        os.rename(store.name, temporary, src_dir_fd=domain_fd, dst_dir_fd=domain_fd)
    return domain.remove_tree(domain_fd, temporary)
