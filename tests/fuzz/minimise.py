"""Keeps the cases that reach something, from the corpora of guided runs: ``corpus/<kind>.txt``.

    python -m fuzz.minimise DIRECTORY [KIND …]      DIRECTORY as given to ``--keep``

First the shortest cases that together take every step from line to line of the library that any
takes; then, up to a number, others that libFuzzer kept for the sake of how often steps are taken.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any
from zlib import crc32

from fuzz import seeds
from fuzz.kinds import KINDS
from fuzz.target import Target

CASES_MAX = 64
CASE_BYTES_MAX = 160


def lines_of(target: Target, case: bytes) -> frozenset[tuple[str, int, int]]:
    """Steps from line to line of the library that a case makes its readers take."""
    seen: set[tuple[str, int, int]] = set()
    before = [0]

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if "/faultplane/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            seen.add((frame.f_code.co_filename, before[0], frame.f_lineno))
            before[0] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        target.run(case)
    finally:
        sys.settrace(None)
    return frozenset(seen)


def minimise(kind: str, found: list[bytes]) -> list[bytes]:
    """At most `CASES_MAX` of the cases, those first without which a step is not taken."""
    kept: list[bytes] = []
    others: list[bytes] = []
    known: set[tuple[str, int, int]] = set()
    with Target(kind, thorough=True) as target:
        for case in sorted(set(found), key=lambda case: (len(case), crc32(case))):
            steps = lines_of(target, case)
            if not steps <= known:
                known |= steps
                kept.append(case)
            elif len(case) <= CASE_BYTES_MAX:
                others.append(case)
    return [*kept, *sorted(others, key=crc32)][:CASES_MAX]


def main(words: list[str]) -> None:
    """Write the corpora of the kinds, or of all that a run kept."""
    place = Path(words[0])
    for kind in words[1:] or list(KINDS):
        found = [path.read_bytes() for path in (place / kind / "corpus").glob("*")]
        kept = minimise(kind, [*found, *seeds.load(kind)])
        print(f"{seeds.save(kind, kept)}: {len(kept)} of {len(found)}")


if __name__ == "__main__":
    main(sys.argv[1:])
