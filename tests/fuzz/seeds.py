"""The corpus: cases as lines of hexadecimal digits, one file a kind.

``corpus/<kind>.txt`` has what reaches something that no other line reaches; ``corpus/failed`` has
what once failed, each with the reason behind a ``#``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fuzz.bases import CORPUS

FAILED = CORPUS / "failed"


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    texts = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [bytes.fromhex(text) for text in texts if text]


def failed(kind: str) -> list[bytes]:
    """Cases of a kind that failed once."""
    return _lines(FAILED / f"{kind}.txt")


def load(kind: str) -> list[bytes]:
    """Every case of a kind, those that failed first."""
    return [*failed(kind), *_lines(CORPUS / f"{kind}.txt")]


def save(kind: str, cases: Iterable[bytes]) -> Path:
    """Write the corpus of a kind anew."""
    path = CORPUS / f"{kind}.txt"
    path.write_text("".join(f"{case.hex()}\n" for case in sorted(set(cases), key=_order)))
    return path


def _order(case: bytes) -> tuple[int, bytes]:
    return len(case), case
