"""What processes were told, kept where the store is not; and the store held against it.

A `Ledger` is `Words` in a file: a process has a line of them, and raises its word there after
``record()``, or ``add()``, returned. A record's message is ``<line> <number>``, so that
whoever reads knows which process wrote which of its records, whatever the row says of its owner.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from torture.words import Words

LINES = 16_384
RECORDED, ADDED = range(2)


class Ledger(Words):
    """Acknowledgements of up to 16,384 processes; shared by all that open the same file."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(LINES, 2, path)

    @staticmethod
    def claim(path: str | Path) -> int:
        """A line that nobody else has, for processes that nobody numbers; from 1 on."""
        descriptor = os.open(f"{path}.lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, b".")
            return os.lseek(descriptor, 0, os.SEEK_CUR)  # where this very write has ended
        finally:
            os.close(descriptor)

    def recorded(self, line: int, number: int) -> None:
        """``number`` records of this process have been acknowledged."""
        self.set(line, RECORDED, number)

    def added(self, line: int, amount: int) -> None:
        """``amount`` has been added in all."""
        self.set(line, ADDED, amount)

    def records(self) -> dict[int, int]:
        """Acknowledged records of each process that has any."""
        return {line: n for line in range(LINES) if (n := self.get(line, RECORDED))}

    def amount(self) -> int:
        """Everything that was added."""
        return self.total(ADDED)


def owners_of(rows: list[dict[str, Any]]) -> dict[int, set[int]]:
    """The owners whose rows each line's messages are in."""
    found: dict[int, set[int]] = {}
    for row in rows:
        found.setdefault(int(row["message"].split()[0]), set()).add(row["owner"])
    return found


def problems(
    ledger: Ledger, domain: Any, *, rows_are_kept: bool = True, threads: int = 1
) -> list[str]:
    """What is wrong with a store whose writers have ended in order; empty when all is exact.

    ``rows_are_kept`` False: rows may have been retired, so only those that are left are looked at.
    The first ``threads`` lines are those of one process.
    """
    table = domain.records().to_pyarrow(compat=True)
    rows = table.select(["owner", "seq", "message"]).to_pylist()
    said = ledger.records()
    wrong = _rows(rows, said, rows_are_kept)
    wrong += _owners(rows, rows_are_kept, threads)
    counted = sum(row["count"] for row in domain.counts_rows())
    if counted != sum(said.values()):
        wrong.append(f"counted {counted} errors, acknowledged {sum(said.values())}")
    hits = sum(row["value"] for row in domain.counters_rows() if row["name"] == "hits")
    if hits != ledger.amount():
        wrong.append(f"counted {hits} hits, acknowledged {ledger.amount()}")
    drops = {row["reason"]: row["count"] for row in domain.drops_rows() if row["count"]}
    if rows_are_kept and drops:
        wrong.append(f"dropped {drops}")
    return wrong + domain.problems()


def _rows(rows: list[dict[str, Any]], said: dict[int, int], all_kept: bool) -> list[str]:
    """Every acknowledged record once, nothing else."""
    found = Counter(row["message"] for row in rows)
    wanted = {f"{line} {n}" for line, last in said.items() for n in range(1, last + 1)}
    wrong = []
    if all_kept and (lost := wanted - found.keys()):
        wrong.append(f"{len(lost)} lost, such as {sorted(lost)[:5]}")
    if strange := found.keys() - wanted:
        wrong.append(f"{len(strange)} never acknowledged, such as {sorted(strange)[:5]}")
    if twice := [message for message, n in found.items() if n > 1]:
        wrong.append(f"{len(twice)} twice, such as {sorted(twice)[:5]}")
    return wrong


def _owners(rows: list[dict[str, Any]], all_kept: bool, threads: int) -> list[str]:
    """Each process has owners of its own, and each owner numbers its rows without a hole."""
    wrong = []
    writers: dict[int, set[int]] = {}
    for line, owners in owners_of(rows).items():
        for owner in owners:
            writers.setdefault(owner, set()).add(0 if line < threads else line)
    wrong += [f"owner {k} is processes {sorted(v)}" for k, v in writers.items() if len(v) > 1]
    seqs: dict[int, list[int]] = {}
    for row in rows:
        seqs.setdefault(row["owner"], []).append(row["seq"])
    for owner, found in seqs.items():
        first = 1 if all_kept else min(found)
        if sorted(found) != list(range(first, first + len(found))):
            wrong.append(f"seq of owner {owner} has holes or is double: {sorted(found)[:12]} …")
    return wrong
