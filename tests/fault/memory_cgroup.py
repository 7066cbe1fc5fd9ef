"""A memory cgroup of a test's own, in whichever version this machine has."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class MemoryCgroup:
    """A group that kills whoever takes more than ``limit_bytes``. Raises OSError where that is
    not allowed."""

    def __init__(self, name, limit_bytes):
        version_1 = ROOT / "memory"
        self.is_version_1 = version_1.is_dir()
        self.path = (version_1 if self.is_version_1 else ROOT) / name
        if not self.is_version_1:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        self.path.mkdir()
        try:
            self._write("memory.limit_in_bytes", "memory.max", limit_bytes)
            # Swapping is not dying: without swap the file is not there, or it takes a zero.
            with suppress(OSError):
                self._write("memory.memsw.limit_in_bytes", "memory.swap.max", limit_bytes)
        except OSError:
            self.path.rmdir()
            raise

    def _write(self, name_1, name_2, value):
        name = name_1 if self.is_version_1 else name_2
        (self.path / name).write_text(str(0 if name == "memory.swap.max" else value))

    @property
    def entrance(self):
        """The file to which a process writes its pid to be in the group."""
        return self.path / "cgroup.procs"

    def kills(self):
        """What the kernel says of it, read here once more in a test's own way."""
        name = "memory.oom_control" if self.is_version_1 else "memory.events"
        lines = (self.path / name).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self):
        """Gone as soon as the kernel has taken the last of its processes out."""
        end = time.monotonic() + 30
        while True:
            try:
                return os.rmdir(self.path)
            except OSError:
                if time.monotonic() > end:
                    raise
