"""Files beside a slot that nobody owns.

Whoever registers makes the files of a slot before it owns it, and they are removed before the slot
is free again. So beside a free slot are only those of a process that was killed while it
registered, which had counted nothing: maintenance removes them. Counts beside a free slot mean that
the table of owners is not what it was: they stay, and readers are told.
"""

import os
import re
from collections.abc import Iterator
from typing import Final

from faultplane import schema
from faultplane.errors import DomainNotFound, FaultplaneError
from faultplane.store import aggregate, files, owners
from faultplane.store.domain import OWNERS_NAME, Store

_OF_SLOT: Final = re.compile(r"(?:agg|breath)-(0|[1-9][0-9]{0,4})")


def remove(store: Store) -> list[str]:
    """Remove files of free slots that hold no counts; their names.

    Under the slot's byte, which whoever is registering there holds until it owns the slot.
    """
    removed = []
    for name, slot in _beside_free_slots(store):
        if not store.locks.try_take(slot):
            continue
        try:
            if _is_free(store, slot) and _has_counts(store, slot) is False:
                removed += [name] if files.remove(store.directory_fd, name) else []
        except (IsADirectoryError, PermissionError):
            continue  # not of our making
        finally:
            store.locks.release(slot)
    return removed


def problems(store: Store) -> list[str]:
    """A sentence for each file of counts that no owner has: they are in no sum."""
    found = []
    for name, slot in _beside_free_slots(store):
        if name != owners.aggregate_name(slot):
            continue
        before = _inode(store, name)
        # In this order: a file with counts is unlinked before its slot is free.
        if _has_counts(store, slot) and _is_free(store, slot) and _inode(store, name) == before:
            found.append(
                f"{store.path}: {name} has counts that are in no sum, since {OWNERS_NAME} says "
                f"that slot {slot} is free"
            )
    return found


def _beside_free_slots(store: Store) -> Iterator[tuple[str, int]]:
    found = [(name, _OF_SLOT.fullmatch(name)) for name in files.names(store.directory_fd)]
    words = owners.slot_words(store)
    for name, match in found:
        slot = int(match[1]) if match else len(words)
        if slot < len(words) and words[slot] & 0xFF == schema.OWNER_FREE:
            yield name, slot


def _is_free(store: Store, slot: int) -> bool:
    word: int = store.owners.load(slot * schema.OWNER.size)
    return word & 0xFF == schema.OWNER_FREE


def _has_counts(store: Store, slot: int) -> bool | None:
    """Whether anything was counted for a slot; None when its file cannot be read."""
    try:
        found = aggregate.read(store.directory_fd, owners.aggregate_name(slot))
    except DomainNotFound:
        return False
    except FaultplaneError:
        return None
    return any(tally.count for tally in found.tallies.values())


def _inode(store: Store, name: str) -> int:
    try:
        return os.stat(name, dir_fd=store.directory_fd, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0
