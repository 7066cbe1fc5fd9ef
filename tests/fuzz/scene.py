"""A real store in memory, one file of which is changed from case to case."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from faultplane import schema
from fuzz import bases
from fuzz.cases import Damage


class Scene:
    """The store of ``core`` below a directory of its own; use it in a ``with`` statement.

    ``path`` is the store's directory. `put` makes one of its files what a case says, and is
    cheap: only what differs from the case before is written.
    """

    def __init__(self, core: str) -> None:
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._place = tempfile.mkdtemp(prefix="faultplane-fuzz-", dir=shared)
        self.domain = Path(self._place, "fuzz")
        self.path = self.domain / f"{schema.LAYOUT_VERSION}-{core}"
        self.path.mkdir(parents=True, mode=0o700)
        self.domain.chmod(0o700)
        self.contents = dict(bases.load(core))
        for name, data in self.contents.items():
            (self.path / name).write_bytes(data)
            (self.path / name).chmod(0o600)
        self._open: dict[str, int] = {}
        self._dirty: dict[str, list[tuple[int, int]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        shutil.rmtree(self._place, ignore_errors=True)

    def put(self, name: str, damage: Damage | None) -> None:
        """Make the file ``name`` what a case made of it, or the base again."""
        descriptor = self._open.get(name)
        if descriptor is None:
            descriptor = self._open[name] = os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC)
        base = self.contents[name]
        data, dirty = damage if damage is not None else (base, [])
        before = self._dirty.get(name, [])
        size = len(base)
        if len(data) != size or any(end > size for _, end in before):
            os.ftruncate(descriptor, len(data))
            os.pwrite(descriptor, data, 0)
            self._dirty[name] = dirty if len(data) == size else [(0, size + 1)]
            return
        if sum(end - start for start, end in before) + sum(e - s for s, e in dirty) > size // 4:
            os.pwrite(descriptor, data, 0)
        else:
            for start, end in (*before, *dirty):
                os.pwrite(descriptor, data[start:end], start)
        self._dirty[name] = dirty

    def replace(self, name: str, data: bytes) -> None:
        """Have other contents as the base of a file."""
        if self.contents[name] != data:
            self.contents[name] = data
            (self.path / name).write_bytes(data)

    def spoil(self, name: str) -> None:
        """Say that a reader changed the file: it is written whole next time."""
        self._dirty[name] = [(0, len(self.contents[name]))]
