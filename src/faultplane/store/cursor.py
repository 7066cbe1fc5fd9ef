"""Where a reader of records is: which rows of which segments it has seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from faultplane.errors import InvalidSetting
from faultplane.store import location

TEXT_MAX: Final = 1 << 20
LANES_MAX: Final = 16_383
NUMBER_MAX: Final = (1 << 64) - 1
_VERSION: Final = "1"
_COUNTS: Final = re.compile(r"[0-9]{1,5}(?:x[0-9]{1,5})?(?:\.[0-9]{1,5}(?:x[0-9]{1,5})?)*")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader is in one store.

    ``created_unix_nano`` tells the store from another that took its place. Of segments below
    ``floor`` nothing more will come; together they had ``rows_before`` rows. ``seen`` has, by
    segment number, how many rows of each lane were seen.
    """

    created_unix_nano: int
    floor: int
    rows_before: int
    seen: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a reader is: a `Position` for each store of the domain, by the store's name.

    Its text can be kept and given to another process:

    >>> text = str(Cursor({"1-cython": Position(7, 3, 90, {3: (512, 512, 4)})}))
    >>> text
    '1;1-cython:7:3:90:3=512x2.4'
    >>> Cursor.parse(text).positions["1-cython"].seen[3]
    (512, 512, 4)
    """

    positions: Mapping[str, Position] = field(default_factory=dict)

    def __str__(self) -> str:
        return ";".join([_VERSION, *(_store(*item) for item in sorted(self.positions.items()))])

    @classmethod
    def of(cls, since: Cursor | str | None) -> Cursor | None:
        """A cursor given as one or as its text; InvalidSetting for anything else."""
        if since is None or isinstance(since, Cursor):
            return since
        if isinstance(since, str):
            return cls.parse(since)
        raise InvalidSetting(f"since must be a cursor or its text, got {since!r}")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `str` made ``text`` of; InvalidSetting for any other text."""
        if len(text) > TEXT_MAX:
            raise InvalidSetting(f"cursor must be at most {TEXT_MAX} characters, got {len(text)}")
        version, *stores = text.split(";")
        if version != _VERSION:
            raise InvalidSetting(f"cursor must start with {_VERSION};, got {text[:40]!r}")
        try:
            return cls(dict(map(_parse_store, stores)))
        except ValueError as error:
            raise InvalidSetting(f"cursor must be as a reader wrote it: {error}") from error


def _store(name: str, position: Position) -> str:
    segments = (f"{number}={_pack(counts)}" for number, counts in position.seen.items())
    numbers = (position.created_unix_nano, position.floor, position.rows_before)
    return ":".join([name, *map(str, numbers), ",".join(segments)])


def _pack(counts: tuple[int, ...]) -> str:
    """Runs of equal counts, as ``countxlength``.

    >>> _pack((512, 512, 7, 0, 0))
    '512x2.7.0x2'
    """
    runs = ((count, len(list(same))) for count, same in groupby(counts))
    return ".".join(f"{count}x{length}" if length > 1 else str(count) for count, length in runs)


def _parse_store(text: str) -> tuple[str, Position]:
    name, created, floor, rows_before, segments = text.split(":")
    if not location.STORE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a store")
    seen = {}
    for segment in segments.split(",") if segments else ():
        number, _, counts = segment.partition("=")
        seen[_number(number)] = tuple(_unpack(counts))
    return name, Position(_number(created), _number(floor), _number(rows_before), seen)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > NUMBER_MAX:
        raise ValueError(f"{text[:40]!r} must be 0 to {NUMBER_MAX}")
    return int(text)


def _unpack(text: str) -> Iterator[int]:
    if not _COUNTS.fullmatch(text):
        raise ValueError(f"{text[:40]!r} must be counts of lanes")
    lanes = 0
    for run in text.split("."):
        count, _, length = run.partition("x")
        lanes += int(length or 1)
        if lanes > LANES_MAX:
            raise ValueError(f"lanes must be at most {LANES_MAX}")
        yield from (int(count) for _ in range(int(length or 1)))
