"""Recorded traces: how the other side answered, by the time at which it was asked.

A trace is JSON lines, gzipped: first a line about it, then one for each request::

    {"trace":"outage","dependency":"bank","seconds":60.0,"over":40.0}
    {"at":0.04,"took":0.0011}
    {"at":20.08,"took":0.0009,"error":"ConnectionResetError"}
    {"at":20.12,"took":0.0012,"error":"Denied","of_request":true}

``at`` and ``took`` are seconds, ``over`` when the last trouble ends, None where it never does.
``of_request``: the same request failed again when all else was well, so whoever tries it again
fails again.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.experiments.replay.errors import MAKERS

FOLDER = Path(__file__).parent / "traces"
ROWS_MAX = 1_000_000


@dataclass(frozen=True)
class Answer:
    """What came of one request: the error's name, "" for none, after ``took`` seconds."""

    took: float
    error: str = ""
    of_request: bool = False


class TraceRefused(ValueError):
    """A file is no trace."""


class Trace:
    """A trace as the other side: whoever asks gets what the nearest request in time got.

    What the replay asks does not change the answers, however much it asks.
    """

    def __init__(
        self, name: str, dependency: str, seconds: float, over: float | None,
        rows: Iterable[tuple[float, Answer]],
    ) -> None:  # fmt: skip
        self.name, self.dependency, self.seconds, self.over = name, dependency, seconds, over
        self.rows = sorted(rows, key=lambda row: row[0])
        if not self.rows:
            raise TraceRefused(f"{name} must have a request at least")
        self._times = [at for at, _ in self.rows]

    def answer(self, at: float) -> Answer:
        """What a request at that time gets."""
        after = bisect_left(self._times, at)
        near = [one for one in (after - 1, after) if 0 <= one < len(self.rows)]
        return self.rows[min(near, key=lambda one: abs(self._times[one] - at))][1]

    def write(self, folder: Path) -> Path:
        """Write it; the same trace gives the same bytes."""
        head = {
            "trace": self.name, "dependency": self.dependency, "seconds": self.seconds,
            "over": self.over,
        }  # fmt: skip
        lines = [head]
        for at, answer in self.rows:
            told = {"at": round(at, 4), **asdict(answer), "took": round(answer.took, 5)}
            lines.append({name: value for name, value in told.items() if value or name == "at"})
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        path = folder / f"{self.name}.jsonl.gz"
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        return path

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read one; TraceRefused says what is wrong with a line."""
        with gzip.open(path, "rt", encoding="utf-8") as file:
            try:
                head = json.loads(next(file))
                rows = [_row(line) for line, _ in zip(file, range(ROWS_MAX), strict=False)]
                return cls(
                    head["trace"], head["dependency"], float(head["seconds"]), head["over"], rows
                )
            except (StopIteration, KeyError, TypeError, ValueError, EOFError) as error:
                raise TraceRefused(f"{path.name} is no trace: {error!r}") from error


def _row(line: str) -> tuple[float, Answer]:
    told = json.loads(line)
    at, took, error = float(told["at"]), float(told.get("took", 0.0)), told.get("error", "")
    if error and error not in MAKERS:
        raise TraceRefused(f"error must be one of {', '.join(MAKERS)}, got {error!r}")
    if not (0 <= at <= 86_400 and 0 <= took <= 86_400):
        raise TraceRefused(f"at and took must be 0 to 86400 seconds, got {at} and {took}")
    return at, Answer(took, error, bool(told.get("of_request", False)))


def stored() -> dict[str, Trace]:
    """The traces that lie beside this file, by name."""
    found = map(Trace.read, sorted(FOLDER.glob("*.jsonl.gz")))
    return {trace.name: trace for trace in found}
