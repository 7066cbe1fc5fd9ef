"""The other side of guarded calls, as it saw them: who came in, who went out, and when.

Every process appends a line to one file for each, with one system call: what was told is there
when its process has been killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Note(NamedTuple):
    """One line; ``nano`` is of the monotonic clock, which all processes of a host share."""

    nano: int
    pid: int
    thread: int
    what: str
    detail: int


class OtherSide:
    """What is called. ``visit`` is one call, the rest looks back at all of them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def note(self, what: str, detail: int = 0) -> None:
        """Add a line."""
        line = f"{time.monotonic_ns()} {os.getpid()} {threading.get_native_id()} {what} {detail}\n"
        os.write(self._descriptor, line.encode())

    def notes(self) -> list[Note]:
        """All lines, in the order of their times."""
        size = os.fstat(self._descriptor).st_size
        text = os.pread(self._descriptor, size, 0).decode()
        found = []
        for line in text.splitlines():
            nano, pid, thread, what, detail = line.split()
            found.append(Note(int(nano), int(pid), int(thread), what, int(detail)))
        return sorted(found)

    def seen(self) -> Counter[str]:
        """How many lines of each kind there are."""
        return Counter(note.what for note in self.notes())


def most_at_once(notes: Iterable[Note], killed: dict[int, int] | None = None) -> int:
    """How many were in at the same time at most.

    What is noted inside of a call lies within the time for which it holds what it was given, so
    one too many here is one too many. ``killed`` says when processes were, at the latest before it:
    what they noted after that is left out, or one that came in then would stay for ever.
    """
    killed = killed or {}
    alive = dict(killed)
    inside: Counter[tuple[int, int]] = Counter()
    most = 0
    for note in notes:
        if note.what not in {"in", "out"}:
            continue
        for pid, nano in list(alive.items()):
            if nano <= note.nano:
                for key in [key for key in inside if key[0] == pid]:
                    del inside[key]
                del alive[pid]
        if killed.get(note.pid, note.nano + 1) <= note.nano:
            continue
        inside[note.pid, note.thread] += 1 if note.what == "in" else -1
        most = max(most, inside.total())
    return most
