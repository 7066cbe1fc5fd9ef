"""A memory cgroup for the demo's server, in which the kernel kills whoever takes too much.

As the limit of a container does. Version 2 or 1, wherever below the group of this process or those
around it one may be made: as root, or in what systemd hands over to a user's session.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

__all__ = ["MemoryCgroup", "NotPermitted"]

_ROOT: Final = Path("/sys/fs/cgroup")
_LEVELS_MAX: Final = 32
_REMOVE_SECONDS_MAX: Final = 10.0
_NO_SWAP: Final = (("memory.swap.max", "0"), ("memory.swappiness", "0"))


class NotPermitted(Exception):
    """No memory cgroup can be made here; the text says what refused it."""


class MemoryCgroup:
    """A group with ``limit_bytes`` of memory and no swap, removed at the end of a ``with``.

    Raises `NotPermitted`.
    """

    def __init__(self, name: str, limit_bytes: int) -> None:
        refused = f"there is no memory cgroup in {_ROOT}"
        for around, limit in _groups_around():
            self.path = around / name
            try:
                self.path.mkdir()
            except OSError as error:
                refused = f"{around}: {error.strerror}"
                continue
            try:
                self._limit(around, limit, limit_bytes)
            except OSError as error:
                refused = f"{self.path / limit}: {error.strerror}"
                self.path.rmdir()
                continue
            return
        raise NotPermitted(refused)

    def _limit(self, around: Path, limit: str, limit_bytes: int) -> None:
        if limit == "memory.max" and not (self.path / limit).exists():
            (around / "cgroup.subtree_control").write_text("+memory")
        (self.path / limit).write_text(str(limit_bytes))
        # Swapping is not dying. A kernel without swap has no such file.
        for name, value in _NO_SWAP:
            with contextlib.suppress(OSError):
                (self.path / name).write_text(value)
        with self.entrance.open("w"):
            pass  # may it be entered?

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it; the kernel takes a moment to let go of its last process."""
        deadline = time.monotonic() + _REMOVE_SECONDS_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.05)

    @property
    def entrance(self) -> Path:
        """The file to which a process writes its pid to be in the group, with what it starts."""
        return self.path / "cgroup.procs"


def _groups_around() -> Iterator[tuple[Path, str]]:
    """(Directory, name of the limit's file) of this process's group, then of those around it."""
    for line in _memberships():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if "memory" in controllers.split(","):
            root, limit = _ROOT / "memory", "memory.limit_in_bytes"
        elif number == "0" and not controllers:
            root, limit = _ROOT, "memory.max"
        else:
            continue
        steps = [part for part in path.split("/") if part not in ("", ".", "..")][:_LEVELS_MAX]
        for depth in range(len(steps), -1, -1):
            around = root.joinpath(*steps[:depth])
            if (around / "cgroup.procs").exists():
                yield around, limit


def _memberships() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
