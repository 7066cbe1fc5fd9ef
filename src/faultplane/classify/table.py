"""Tables whose rows are made when they are first asked for.

The tables of this package have hundreds of rows, of which a process meets a few. So a table keeps
what is written in the source, and makes a `Classification` of it, once, for the row that is
wanted: a process that classifies two errors pays for two.

>>> answers = Table({"a": 1, "b": 2}, lambda key, written: f"{key}{written}")
>>> answers["b"], answers.get("c"), "a" in answers, len(answers)
('b2', None, True, 2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar, overload

from faultplane.classify.classification import Classification, shared

__all__ = ["Answers", "Row", "Table", "answers_by_word"]

Key = TypeVar("Key")
Written = TypeVar("Written")
Made = TypeVar("Made")
Other = TypeVar("Other")

Row = tuple[str, dict[str, Any]]
"""What is written of an answer: its kind, and what differs from what the kind implies."""


class Table(Mapping[Key, Made], Generic[Key, Written, Made]):
    """``written`` by key; ``make(key, what is written)`` gives the row, which is then kept."""

    __slots__ = ("_made", "_make", "_written")

    def __init__(self, written: dict[Key, Written], make: Callable[[Key, Written], Made]) -> None:
        self._written: Final = written
        self._make: Final = make
        self._made: Final[dict[Key, Made]] = {}

    def __getitem__(self, key: Key) -> Made:
        made = self._made.get(key)
        if made is None:
            # Two threads may make it at once: the first to be kept is what both give.
            made = self._made.setdefault(key, self._make(key, self._written[key]))
        return made

    @overload
    def get(self, key: Key, default: None = None, /) -> Made | None: ...

    @overload
    def get(self, key: Key, default: Other, /) -> Made | Other: ...

    def get(self, key: Key, default: Other | None = None, /) -> Made | Other | None:
        """The row of ``key``, or ``default``. No exception is raised on the way to it."""
        return self[key] if key in self._written else default

    def __contains__(self, key: object) -> bool:
        return key in self._written

    def __iter__(self) -> Iterator[Key]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)


Answers = Table[Key, Row, Classification]


def answers_by_word(prefix: str, rows: dict[str, Row]) -> Answers[str]:
    """Answers by word, from rows whose key may hold several; the rule is ``prefix[word]``."""
    return Table(
        {word: row for words, row in rows.items() for word in words.split()},
        lambda word, row: shared(Classification(row[0], rule=f"{prefix}[{word}]", **row[1])),
    )
