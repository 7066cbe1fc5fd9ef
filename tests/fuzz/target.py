"""One execution: a case is applied to its file, and everything that reads such files reads it."""

from __future__ import annotations

from typing import Self

from faultplane import schema
from fuzz import readers
from fuzz.bases import CORES
from fuzz.cases import apply, decode
from fuzz.kinds import KINDS, Files
from fuzz.scene import Scene


class Target:
    """The readers of one kind over a store of each core; use it in a ``with`` statement."""

    def __init__(self, kind: str, thorough: bool = False) -> None:
        self.kind = KINDS[kind]
        self.files = Files(self.kind)
        if not self.files.names:
            raise ValueError(f"the bases have no file of kind {kind}")
        self.scenes = {core: Scene(core) for core in CORES}
        for (core, name), data in zip(self.files.names, self.files.contents, strict=True):
            self.scenes[core].replace(name, data)
        self.benches = {core: readers.Bench(scene, thorough) for core, scene in self.scenes.items()}
        self.executions = 0
        self.refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bench in self.benches.values():
            bench.close()
        for scene in self.scenes.values():
            scene.__exit__(None, None, None)

    def run(self, data: bytes) -> None:
        """Execute one case; raises what a reader should not raise."""
        self.executions += 1
        case = decode(data)
        index, damage = apply(case, self.files.contents, self.kind.repair)
        core, name = self.files.names[index]
        scene, bench = self.scenes[core], self.benches[core]
        scene.put(name, damage)
        self.refused += readers.refuses(self.kind.read, bench, name, damage.data)
        if len(damage.data) < len(scene.contents[name]) and name in ("registry", "owners"):
            # Mapped by the bench for as long as it lives: a page that is cut off is a signal.
            scene.put(name, None)


LAYOUT = f"{schema.LAYOUT_VERSION}-{schema.SCHEMA_HASH:016x}"
