"""Segments that were unlinked and that a process still maps: who keeps how much memory.

Unlinked is not gone: the kernel frees a segment when the last mapping of it goes. Readers publish
nothing, so the kernel is asked, process by process, as far as the caller may ask: its own user's
processes, everybody's for root. What owners say of themselves in their slot stands in for those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from faultplane import schema
from faultplane.store import host
from faultplane.store.domain import Store
from faultplane.store.owners import OwnerRow

PROCESSES_MAX: Final = 4096
LISTED_MAX: Final = 16
_GONE: Final = " (deleted)"
_LINE: Final = re.compile(
    r"^[0-9a-f]+-[0-9a-f]+ (?P<rights>\S+) \S+ (?P<device>\S+) (?P<inode>[0-9]+) +"
    r"(?P<directory>/.*)/seg-(?P<number>[0-9]{1,18}) \(deleted\)$",
    re.MULTILINE,
)


class Holder(NamedTuple):
    """A process that maps unlinked segments. ``role``: writer where it may change them."""

    pid: int
    role: str
    segments: int
    bytes: int


class Pinned(NamedTuple):
    """What is unlinked and still mapped. ``bytes`` counts each segment once, whoever maps it.

    ``processes_hidden`` may not be looked at, or were past the first 4,096.
    """

    segments: int
    bytes: int
    holders: list[Holder]
    processes_hidden: int


def find(store: Store, alive: Iterable[OwnerRow]) -> Pinned:
    """Who maps segments of ``store`` that were unlinked; ``alive`` are its living owners.

    Reads at most 1 MiB about each of at most 4,096 processes. At most 16 holders are listed, those
    of most bytes first.
    """
    segment_bytes = schema.segment_shape(store.header.lanes_per_segment).file_bytes
    seen: set[tuple[str, str]] = set()
    holders: list[Holder] = []
    looked: set[int] = set()
    pids = _processes()
    hidden = max(len(pids) - PROCESSES_MAX, 0)
    for pid in pids[:PROCESSES_MAX]:
        text = _maps(pid)
        if text is None:
            hidden += 1
            continue
        looked.add(pid)
        mine = dict(_mapped(store, pid, text))
        if mine:
            seen |= mine.keys()
            role = "writer" if any("w" in rights for rights in mine.values()) else "reader"
            holders.append(Holder(pid, role, len(mine), len(mine) * segment_bytes))
    oldest = store.load("segment_oldest")
    for row in alive:
        number = row.mapped_segment_low
        if 0 < number < oldest and row.pid not in looked:
            seen.add(("said", str(number)))
            holders.append(Holder(row.pid, "writer", 1, segment_bytes))
    holders.sort(key=lambda holder: (-holder.bytes, holder.pid))
    return Pinned(len(seen), len(seen) * segment_bytes, holders[:LISTED_MAX], hidden)


def _processes() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(host.PROC) if name.isdigit())
    except OSError:
        return []


def _maps(pid: int) -> str | None:
    """The mappings of a process, "" when it is gone or has none; None when that is not told."""
    try:
        with open(f"{host.PROC}/{pid}/maps", "rb") as file:
            return file.read(host.TEXT_BYTES_MAX).decode("utf-8", "replace")
    except PermissionError:
        return None
    except OSError:
        return ""


def _mount_namespace(pid: int) -> str:
    try:
        return os.readlink(f"{host.PROC}/{pid}/ns/mnt")
    except OSError:
        return ""


def _mapped(store: Store, pid: int, text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """((Device, inode), rights) of each mapping of an unlinked segment of the store."""
    if _GONE not in text:
        return
    device = end = ""
    if _mount_namespace(pid) != _mount_namespace(os.getpid()):
        # In a container the directory may have another path, but lies on the same file system.
        status = os.fstat(store.directory_fd)
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        end = "/".join(("", *store.path.rsplit("/", 2)[1:]))
    for match in _LINE.finditer(text):
        path = match["directory"]
        if path == store.path or (end and path.endswith(end) and match["device"] == device):
            yield (match["device"], match["inode"]), match["rights"]


def as_rows(pinned: Pinned) -> list[dict[str, Any]]:
    """The holders as numbers that can be printed."""
    return [holder._asdict() for holder in pinned.holders]
