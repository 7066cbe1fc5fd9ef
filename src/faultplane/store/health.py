"""The state of a domain's storage, as numbers: fill, limits, owners, what is pinned."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from faultplane import schema
from faultplane.errors import FaultplaneError
from faultplane.store import domain as domains
from faultplane.store import files, host, owners, pinned
from faultplane.store.domain import Store


def describe(domain_path: str) -> list[dict[str, Any]]:
    """Numbers of every store in a domain directory; see `describe_store`.

    Stores that cannot be read are left out: `Domain.problems` names them. Raises DomainNotFound.
    """
    stores, _ = domains.open_stores(domain_path)
    found = []
    for store in stores:
        with store:
            found.append(describe_store(store))
    return found


def describe_store(store: Store) -> dict[str, Any]:
    """Limits, fill and owners of one store.

    ``bytes_held`` counts every file; ``segments_pinned`` are segments that were unlinked and that
    a process still maps, so that their ``bytes_pinned`` are not free yet; ``pinned_by`` says who,
    as far as this process may know (see `pinned.find`).
    """
    header = store.header
    oldest, rows_retired = store.retired()
    newest = store.load("segment_newest")
    segments = [number for number in store.segments() if number <= newest]
    rows = owners.read_owners(store)
    lives = [owners.life(store, row).value for row in rows]
    alive = [row for row, life in zip(rows, lives, strict=True) if life == "alive"]
    here = host.pid_namespace()
    held = pinned.find(store, alive)
    return {
        "store": store.name,
        "path": store.path,
        "budget_bytes": header.budget_bytes,
        "bytes_held": bytes_held(store.directory_fd),
        "segments": len(segments),
        "segments_max": header.segments_max,
        "segment_bytes": schema.segment_shape(header.lanes_per_segment).file_bytes,
        "segments_retired": max(oldest - 1, 0),
        "segments_pinned": held.segments,
        "bytes_pinned": held.bytes,
        "pinned_by": pinned.as_rows(held),
        "processes_hidden": held.processes_hidden,
        "rows_retired": rows_retired,
        "lanes_per_segment": header.lanes_per_segment,
        "owner_slots": header.owner_slots,
        "owners_alive": len(alive),
        "owners_not_buried": len(rows) - len(alive),
        "owners_in_other_namespaces": sum(row.pid_namespace != here for row in alive),
        "dictionary_generation": store.load("dictionary_generation"),
        "fold_epoch": store.load("fold_epoch"),
        "same_boot": host.is_same_boot(header.boot_id[:8]),
    }


def fill(store: Store) -> dict[str, int]:
    """How full a store is: what can be told in some hundred microseconds, for a look every second.

    bytes, budget_bytes, available_bytes (of its file system), owner_slots, rows, rows_max (those of
    whole segments) and rows_retired.
    """
    header = store.header
    status = os.fstatvfs(store.directory_fd)
    _, rows_retired = store.retired()
    return {
        "bytes": bytes_held(store.directory_fd),
        "budget_bytes": header.budget_bytes,
        "available_bytes": status.f_bavail * status.f_frsize,
        "owner_slots": header.owner_slots,
        "rows": sum(_rows(store, number) for number in store.segments()),
        "rows_max": header.segments_max * header.lanes_per_segment * schema.LANE_ROWS,
        "rows_retired": rows_retired,
    }


def _rows(store: Store, number: int) -> int:
    """Rows committed in a segment, 0 for one that is retired meanwhile or cannot be read.

    Read, not mapped: a segment that is mapped would be kept when it is retired.
    """
    lanes, stride = store.header.lanes_per_segment, schema.LANE_WORD_STRIDE
    try:
        descriptor, _ = files.open_file(store.directory_fd, f"seg-{number}")
    except FaultplaneError:
        return 0
    try:
        data = os.pread(descriptor, lanes * stride, schema.LANE_WORDS_OFFSET)
    finally:
        os.close(descriptor)
    words = memoryview(data[: len(data) // 8 * 8]).cast("Q")[:: stride // 8]
    return sum(min(word & schema.LANE_COUNT_MASK, schema.LANE_ROWS) for word in words)


def bytes_held(directory_fd: int) -> int:
    """Bytes that the files of a store take, those left out that are removed meanwhile."""
    total = 0
    with os.scandir(directory_fd) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
