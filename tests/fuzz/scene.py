"""A real store in memory, one file of which is changed from case to case."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from faultplane import schema
from fuzz import bases
from fuzz.cases import Damage
from fuzz.stage import make_place


class Scene:
    """The store of ``core`` below a directory of its own; use it in a ``with`` statement.

    ``path`` is the store's directory. `put` makes one of its files what a case says, and is
    cheap: only what differs from the case before is written. The directory is made below
    ``place``, which outlives a process that is killed; without one it is the scene's own.
    """

    def __init__(self, core: str, place: str | None = None) -> None:
        self._place = tempfile.mkdtemp(dir=place) if place else make_place()
        self.domain = Path(self._place, "fuzz")
        self.path = self.domain / f"{schema.LAYOUT_VERSION}-{core}"
        self.path.mkdir(parents=True, mode=0o700)
        self.domain.chmod(0o700)
        self.contents = dict(bases.load(core))
        for name, data in self.contents.items():
            (self.path / name).write_bytes(data)
            (self.path / name).chmod(0o600)
        self._open: dict[str, tuple[int, mmap.mmap]] = {}
        self._size: dict[str, int] = {}
        self._alone: dict[str, int] = {}
        self._dirty: dict[str, list[tuple[int, int]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor, memory in self._open.values():
            memory.close()
            os.close(descriptor)
        for directory_fd in self._alone.values():
            os.close(directory_fd)
        shutil.rmtree(self._place, ignore_errors=True)

    def clean(self, name: str) -> mmap.mmap:
        """The file ``name``, made the base again and mapped: stores cost no system call."""
        base = self.contents[name]
        file = self._open.get(name)
        if file is None:
            descriptor = os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC)
            file = self._open[name] = descriptor, mmap.mmap(descriptor, len(base))
            self._size[name] = len(base)
        descriptor, memory = file
        size = self._size[name]
        for start, end in self._dirty.get(name, ()):
            end = min(end, size, len(base))
            memory[start:end] = base[start:end]
        if size != len(base):
            os.ftruncate(descriptor, len(base))
            memory[size:] = base[size:]
            self._size[name] = len(base)
        self._dirty[name] = []
        return memory

    def changed(self, name: str, parts: list[tuple[int, int]]) -> None:
        """Say which parts of what `clean` gave are not the base's any more."""
        self._dirty[name] = parts

    def put(self, name: str, damage: Damage | None) -> None:
        """Make the file ``name`` what a case made of it, or the base again."""
        if damage is not None and damage.dirty == [(0, len(damage.data))] and name in self._open:
            self._put_whole(name, damage)
            return
        memory = self.clean(name)
        if damage is None:
            return
        descriptor, size = self._open[name][0], len(memory)
        data, dirty = damage
        if len(data) != size:
            os.ftruncate(descriptor, len(data))
            self._size[name] = len(data)
        for start, end in dirty:
            end = min(end, len(data))
            if end <= size:
                memory[start:end] = data[start:end]
            else:
                os.pwrite(descriptor, data[start:end], start)
        self._dirty[name] = dirty

    def _put_whole(self, name: str, damage: Damage) -> None:
        """Write a file whose parts have moved: nothing of it has to be made clean first."""
        descriptor, size = self._open[name][0], len(damage.data)
        if size < self._size[name]:
            os.ftruncate(descriptor, size)
        os.pwrite(descriptor, damage.data, 0)
        self._size[name] = size
        self._dirty[name] = damage.dirty

    def alone(self, name: str, size: int) -> int:
        """Descriptor of a directory with one segment ``name``, and no room for another.

        Where a segment is refused, no other can be published, and the next is prepared (``size``
        bytes) as it is: that is what takes time.
        """
        directory_fd = self._alone.get(name)
        if directory_fd is None:
            place = Path(self._place, f"alone-{name}")
            place.mkdir()
            for other in (name, *(n for n in self.contents if n.startswith(("dict-", "stacks-")))):
                os.link(self.path / other, place / other)
            (place / f"seg-{int(name[4:]) + 1}").mkdir()
            (place / "tmp-ready").write_bytes(bytes(size))
            directory_fd = self._alone[name] = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        return directory_fd

    def replace(self, name: str, data: bytes) -> None:
        """Have other contents as the base of a file."""
        if self.contents[name] != data:
            self.contents[name] = data
            (self.path / name).write_bytes(data)

    def spoil(self, name: str, size: int) -> None:
        """Say that what reads a file also writes to its first ``size`` bytes."""
        self._dirty[name] = [*self._dirty[name], (0, size)]
