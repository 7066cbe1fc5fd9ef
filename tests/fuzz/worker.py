"""One process that executes cases of one kind: guided by coverage (atheris), or blind.

    python -m fuzz.worker KIND EXECUTIONS SEED DIRECTORY guided|blind PLACE

The files that are changed are made below ``PLACE``, which whoever calls removes. ``DIRECTORY``
gets ``progress`` (numbers, while it runs), ``corpus`` and, if a reader fails, the case below
``failed``.
"""

from __future__ import annotations

import gc
import mmap
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz.cases import Case
    from fuzz.target import Target

PROGRESS = struct.Struct("<QQd")
EVERY = 64
SECONDS_MAX = 20
"""A hang: no reader takes a hundredth of it."""
MEMORY_MB_MAX = 1024
CASE_BYTES_MAX = 512
GARBAGE_MAX = 50_000


class Progress:
    """Executions, refusals and seconds of a worker, in a file that others read while it runs."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(PROGRESS.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), PROGRESS.size)
        self._start = time.monotonic()

    def say(self, executions: int, refused: int) -> None:
        PROGRESS.pack_into(self._memory, 0, executions, refused, time.monotonic() - self._start)


def read_progress(directory: Path) -> tuple[int, int, float]:
    """(Executions, refused, seconds) of a worker; zeros before it began."""
    try:
        data = (directory / "progress").read_bytes()
    except FileNotFoundError:
        data = b""
    return PROGRESS.unpack(data) if len(data) == PROGRESS.size else (0, 0, 0.0)


def _one(target: Target, progress: Progress) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        target.run(data)
        if target.executions % EVERY == 0:
            progress.say(target.executions, target.refused)

    return run


def guided(kind: str, executions: int, seed: int, directory: Path, place: str) -> None:
    """Run under libFuzzer; ends the process: 0, or 77 with the case that failed."""
    import atheris
    from atheris.import_hook import AtherisMetaPathFinder

    # Branches alone: what is compared is known from the layout, and tracing it halves the speed.
    finder = AtherisMetaPathFinder({"faultplane"}, set(), True, False)
    sys.meta_path.insert(0, finder)
    import faultplane.cli.deaths
    import faultplane.store.reading  # noqa: F401
    from fuzz import target as targets

    sys.meta_path.remove(finder)

    from fuzz import seeds
    from fuzz.mutation import Mutator

    corpus, failed = directory / "corpus", directory / "failed"
    for path in (corpus, failed):
        path.mkdir(exist_ok=True)
    for number, case in enumerate(seeds.load(kind)):
        (corpus / f"seed-{number:04}").write_bytes(case)
    target = targets.Target(kind, place=place)
    files = target.files
    rng = random.Random(seed)
    mutator = Mutator(files.contents, files.places, rng, target.kind.is_text)
    progress = Progress(directory / "progress")
    run = _one(target, progress)

    def mutate(data: bytes, size: int, _: int) -> bytes:
        return mutator.mutate(
            bytes(data), min(size, CASE_BYTES_MAX), lambda raw: atheris.Mutate(raw, size)
        )

    def cross(one: bytes, other: bytes, size: int, _: int) -> bytes:
        return mutator.cross(bytes(one), bytes(other), min(size, CASE_BYTES_MAX))

    arguments = [
        f"fuzz-{kind}", f"-runs={executions}", f"-seed={seed % (1 << 32) or 1}",
        f"-max_len={CASE_BYTES_MAX}", f"-timeout={SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}", f"-artifact_prefix={failed}/", "-print_final_stats=1",
        "-len_control=0", "-reload=0", str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, run, custom_mutator=mutate, custom_crossover=cross)
    import atexit

    atexit.register(lambda: progress.say(target.executions, target.refused))
    atheris.Fuzz()


def by_cost(cases: list[Case], target: Target) -> list[Case]:
    """The cases, each as often as suits its cost: one of the cheap eight times, the dearest once.

    Calls are counted, not time: the same seed has to give the same cases.
    """
    calls = [0]

    def count(frame: object, event: str, argument: object) -> None:
        calls[0] += 1

    costs = []
    for case in cases:
        calls[0] = 0
        sys.setprofile(count)
        try:
            target.execute(case)
        finally:
            sys.setprofile(None)
        costs.append(calls[0])
    middle = sorted(costs)[len(costs) // 2]
    shares = [max(1, min(round(4 * middle / cost), 8)) for cost in costs]
    return [case for case, share in zip(cases, shares, strict=True) for _ in range(share)]


def blind(kind: str, executions: int, seed: int, directory: Path, place: str) -> int:
    """Such cases without a look at what they reach; 1 when a reader failed."""
    from fuzz import seeds
    from fuzz.cases import REPAIRED, Case, decode, encode
    from fuzz.mutation import Mutator
    from fuzz.target import Target

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB_MAX << 20, MEMORY_MB_MAX << 20))
    # Everything here is freed by counting: looking for cycles is a tenth of the time.
    gc.set_threshold(GARBAGE_MAX)
    rng = random.Random(seed)
    with Target(kind, place=place) as target:
        files = target.files
        mutator = Mutator(files.contents, files.places, rng, target.kind.is_text)
        progress = Progress(directory / "progress")
        known = [
            *(Case(base, REPAIRED, -1, ()) for base in range(len(files.names))),
            *map(decode, seeds.load(kind)),
        ]
        known = by_cost(known, target)
        target.executions = target.refused = 0
        for case in islice(mutator.walk(known, lambda: target.was_read), executions):
            try:
                target.execute(case)
            except Exception:
                traceback.print_exc()
                (directory / "failed").mkdir(exist_ok=True)
                (directory / "failed" / f"crash-{target.executions}").write_bytes(encode(case))
                return 1
            if target.executions % EVERY == 0:
                progress.say(target.executions, target.refused)
        progress.say(target.executions, target.refused)
    return 0


def main(words: list[str]) -> int:
    """Run what the words say."""
    kind, executions, seed, where, engine, place = words
    directory = Path(where)
    directory.mkdir(parents=True, exist_ok=True)
    if engine == "guided":
        guided(kind, int(executions), int(seed), directory, place)
        return 0
    return blind(kind, int(executions), int(seed), directory, place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
