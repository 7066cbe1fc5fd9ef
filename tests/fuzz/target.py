"""One execution: a case is applied to its file, and everything that reads such files reads it."""

from __future__ import annotations

from typing import Self

from faultplane import schema
from fuzz import readers
from fuzz.bases import CORES
from fuzz.cases import REPAIRED, Case, apply, decode, keeps_places, overwrite
from fuzz.kinds import KINDS, Files
from fuzz.scene import Scene


class Target:
    """The readers of one kind over a store of each core; use it in a ``with`` statement."""

    def __init__(self, kind: str, thorough: bool = False, place: str | None = None) -> None:
        self.kind = KINDS[kind]
        self.files = Files(self.kind)
        if not self.files.names:
            raise ValueError(f"the bases have no file of kind {kind}")
        self.scenes = {core: Scene(core, place) for core in CORES}
        for (core, name), data in zip(self.files.names, self.files.contents, strict=True):
            self.scenes[core].replace(name, data)
        self.benches = {core: readers.Bench(scene, thorough) for core, scene in self.scenes.items()}
        self.executions = 0
        self.refused = 0
        self.was_read = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bench in self.benches.values():
            bench.close()
        for scene in self.scenes.values():
            scene.__exit__(None, None, None)

    def run(self, data: bytes) -> None:
        """Execute one case; raises what a reader should not raise."""
        self.execute(decode(data))

    def execute(self, case: Case) -> None:
        """As `run`, for a case that was not made from bytes."""
        self.executions += 1
        core, name = self.files.names[case.base % len(self.files.names)]
        scene, bench = self.scenes[core], self.benches[core]
        size = len(scene.contents[name])
        if keeps_places(case) and not self.kind.is_text:
            memory = scene.clean(name)
            parts = [overwrite(memory, change) for change in case.changes]
            if case.flags & REPAIRED:
                parts.append(self.kind.repair(memory))
            scene.changed(name, parts)
        else:
            _, damage = apply(case, self.files.contents, self.kind.repair)
            scene.put(name, damage)
            size = len(damage.data)
        self.was_read = not readers.refuses(self.kind.read, bench, name, size)
        self.refused += not self.was_read
        if size < len(scene.contents[name]) and name in ("registry", "owners"):
            # Mapped by the bench for as long as it lives: a page that is cut off is a signal.
            scene.put(name, None)


LAYOUT = f"{schema.LAYOUT_VERSION}-{schema.SCHEMA_HASH:016x}"
