"""The bytes of counted series: cells of a live process, and of all that are gone.

A file is a header and entries, each a cell and its three strings. A live process appends
entries and then raises ``used``; it alone changes its counts. ``agg-retired`` is replaced whole.
"""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile
from faultplane.store import files

RETIRED_NAME: Final = "agg-retired"
RETIRED_SLOT: Final = 0xFFFF_FFFF
AGGREGATE_BYTES_FIRST: Final = 64 << 10
"""A process's file starts with room for some four hundred series and grows in such steps."""
AGGREGATE_BYTES_RESERVED: Final = 1 << 20
COUNT_MAX: Final = (1 << 64) - 1
TIME_NANO_MAX: Final = (1 << 63) - 1
"""What a cell has room for; a damaged file may say more, or add up to more."""

_CELL = schema.CELL
_AGGREGATE = schema.AGGREGATE
_HEAD: Final = struct.Struct("<IBBBBQ")
_WHOLE: Final = struct.Struct("<IBBBBQQqqQB15x")
_SIZES: Final = struct.Struct("<IxxBB40xB15x")
_COUNT, _FIRST, _LAST, _SUPPRESSED = (
    _CELL.offset[name]
    for name in ("count", "first_seen_unix_nano", "last_seen_unix_nano", "suppressed")
)
_NAME_BYTES = _CELL.offset["name_bytes"]


class Series(NamedTuple):
    """What a count is of. Strings are UTF-8, at most 255 bytes each."""

    series: int
    kind: int
    fingerprint: int
    service: bytes
    operation: bytes
    name: bytes


class Tally:
    """How often a series occurred, and when first and last (0 = never)."""

    __slots__ = ("count", "first_seen_unix_nano", "last_seen_unix_nano", "suppressed")

    def __init__(
        self,
        count: int = 0,
        first_seen_unix_nano: int = 0,
        last_seen_unix_nano: int = 0,
        suppressed: int = 0,
    ) -> None:
        self.count = count
        self.first_seen_unix_nano = first_seen_unix_nano
        self.last_seen_unix_nano = last_seen_unix_nano
        self.suppressed = suppressed

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"Tally({values})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, other: Self) -> None:
        """Add what ``other`` counted; the order does not matter.

        >>> tally = Tally(1, 50, 60)
        >>> tally.add(Tally(2, 40, 45, 1))
        >>> tally
        Tally(count=3, first_seen_unix_nano=40, last_seen_unix_nano=60, suppressed=1)
        """
        self.count += other.count
        self.suppressed += other.suppressed
        if other.first_seen_unix_nano and (
            not self.first_seen_unix_nano or other.first_seen_unix_nano < self.first_seen_unix_nano
        ):
            self.first_seen_unix_nano = other.first_seen_unix_nano
        self.last_seen_unix_nano = max(self.last_seen_unix_nano, other.last_seen_unix_nano)


Tallies = dict[Series, Tally]


def add(tallies: Tallies, series: Series, tally: Tally) -> None:
    """Add a tally to what ``tallies`` has for its series."""
    known = tallies.get(series)
    if known is None:
        known = tallies[series] = Tally()
    known.add(tally)


def add_all(tallies: Tallies, others: Mapping[Series, Tally]) -> None:
    """Add every tally of ``others``."""
    for series, tally in others.items():
        add(tallies, series, tally)


# ------------------------------------------------------------------------------------ reading


class Aggregate(NamedTuple):
    """What one file holds. ``epoch_or_incarnation`` is the fold epoch in agg-retired."""

    owner_slot: int
    epoch_or_incarnation: int
    folded: tuple[int, ...]
    tallies: Tallies
    problem: str = ""
    """Where the entries stop making sense; those before it are kept."""


def parse(data: bytes, name: str) -> Aggregate:
    """The contents of an aggregate that nobody changes; CorruptFile when it is not one."""
    files.check_header(data, _AGGREGATE, "aggregate", name, len(data))
    used = _AGGREGATE.read(data, 0, "used")

    def tally(position: int) -> Tally:
        return Tally(*_WHOLE.unpack_from(data, position)[6:10])

    return _cut(_parse(data, used, tally, name), used, len(data), name)


def _cut(found: Aggregate, used: int, size: int, name: str) -> Aggregate:
    """``found``, with a word about a file that is shorter than it says."""
    if used <= size or found.problem:
        return found
    return found._replace(problem=f"{name} must have at least {used} bytes, got {size}")


def read_head(directory_fd: int, name: str) -> Aggregate:
    """The header alone of an aggregate that is replaced whole."""
    descriptor, size = files.open_file(directory_fd, name)
    try:
        head = os.pread(descriptor, _AGGREGATE.size, 0)
    finally:
        os.close(descriptor)
    files.check_header(head, _AGGREGATE, "aggregate", name, min(size, len(head)))
    return _parse(head, 0, lambda _: Tally(), name)


def read(directory_fd: int, name: str) -> Aggregate:
    """The contents of the file ``name``, which its owner may be changing.

    Every count is one load, so it is never torn. Raises DomainNotFound or CorruptFile.
    """
    descriptor, size = files.open_file(directory_fd, name)
    try:
        if size < _AGGREGATE.size:
            raise CorruptFile(f"{name} must have at least {_AGGREGATE.size} bytes, got {size}")
        mapping: Any = core.Mapping(descriptor, size, False)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        # Read first: entries below it are complete, and later ones were not there yet.
        used = mapping.load(_AGGREGATE.offset["used"])

        def tally(position: int) -> Tally:
            load = mapping.load
            return Tally(
                load(position + _COUNT),
                min(load(position + _FIRST), TIME_NANO_MAX),
                min(load(position + _LAST), TIME_NANO_MAX),
                load(position + _SUPPRESSED),
            )

        with memoryview(mapping) as view:
            files.check_header(view, _AGGREGATE, "aggregate", name, size)
            found = _parse(view, used, tally, name)
        # It may have grown since; a file that is cut has not.
        return _cut(found, used, os.fstat(descriptor).st_size, name)
    finally:
        os.close(descriptor)
        mapping.close()


def places(data: bytes | memoryview, start: int, end: int, name: str) -> tuple[list[int], int, str]:
    """(Where entries begin from ``start`` on, where the last one ends, a sentence or "").

    Stops where an entry makes no sense, with the sentence, and before one that goes past ``end``:
    the file grew after it was mapped.
    """
    found: list[int] = []
    position, head = start, _SIZES.unpack_from
    while position + _CELL.size <= end:
        size, service, operation, name_bytes = head(data, position)
        if (
            size < _CELL.size
            or size % schema.CACHE_LINE_BYTES
            or _CELL.size + service + operation + name_bytes > size
        ):
            return found, position, f"{name}: the entry at {position} cannot have {size} bytes"
        if position + size > end:
            break
        found.append(position)
        position += size
    return found, position, ""


def series_at(data: bytes | memoryview, position: int) -> Series:
    """What the entry at a position counts."""
    _, kind_of_series, kind, service, operation, fingerprint = _HEAD.unpack_from(data, position)
    text = position + _CELL.size
    middle = text + service
    stop = middle + operation
    return Series(
        kind_of_series,
        kind,
        fingerprint,
        bytes(data[text:middle]),
        bytes(data[middle:stop]),
        bytes(data[stop : stop + data[position + _NAME_BYTES]]),
    )


def _parse(
    data: bytes | memoryview, used: int, tally: Callable[[int], Tally], name: str
) -> Aggregate:
    tallies: Tallies = {}
    found, _, problem = places(data, _AGGREGATE.size, min(used, len(data)), name)
    for position in found:
        add(tallies, series_at(data, position), tally(position))
    count = min(_AGGREGATE.read(data, 0, "folded_count"), schema.FOLD_BATCH_MAX)
    return Aggregate(
        _AGGREGATE.read(data, 0, "owner_slot"),
        _AGGREGATE.read(data, 0, "incarnation"),
        tuple(_AGGREGATE.read(data, 0, "folded")[:count]),
        tallies,
        problem,
    )


# ------------------------------------------------------------------------------------ writing


def entry(series: Series, tally: Tally) -> bytes:
    """Bytes of one entry: the cell, its strings, and zeros up to a multiple of 64."""
    text = series.service + series.operation + series.name
    size = schema.round_up(_CELL.size + len(text), schema.CACHE_LINE_BYTES)
    cell = _WHOLE.pack(
        size,
        series.series,
        series.kind,
        len(series.service),
        len(series.operation),
        series.fingerprint,
        min(tally.count, COUNT_MAX),
        tally.first_seen_unix_nano,
        tally.last_seen_unix_nano,
        min(tally.suppressed, COUNT_MAX),
        len(series.name),
    )
    return (cell + text).ljust(size, b"\0")


def render(
    tallies: Iterable[tuple[Series, Tally]],
    owner_slot: int,
    epoch_or_incarnation: int,
    folded: tuple[int, ...] = (),
) -> bytes:
    """Bytes of a whole aggregate."""
    body = b"".join(entry(series, tally) for series, tally in tallies)
    head = files.header(
        _AGGREGATE,
        "aggregate",
        owner_slot=owner_slot,
        incarnation=epoch_or_incarnation,
        used=_AGGREGATE.size + len(body),
        folded_count=len(folded),
    )
    struct.pack_into(f"<{len(folded)}I", head, _AGGREGATE.offset["folded"], *folded)
    return bytes(head) + body


def empty_retired() -> bytes:
    """``agg-retired`` of a new store: nothing folded yet."""
    return render((), RETIRED_SLOT, 0)


def first_bytes(owner_slot: int, incarnation: int) -> bytes:
    """The file of a new owner: the header and a zero cell for each drop reason, by code."""
    reasons = (
        (Series(schema.SERIES_DROP, 0, 0, b"", b"", term.name.encode()), Tally())
        for term in schema.DROP_REASONS
    )
    return render(reasons, owner_slot, incarnation)
