"""A case: a real file and what is changed in it, as a few bytes.

    base u8 | flags u8 | [size u24, with RESIZED] | change | change | …
    change = WRITE  offset u24, length u8, that many bytes
             COPY   to u24, from u24, length u16
             FILL   offset u24, length u16, value u8
             INSERT offset u24, length u8, that many bytes
             CUT    offset u24, length u16

All numbers are little-endian. Any bytes are a case: numbers are taken modulo what there is, and a
change that ends early has what is left. With REPAIRED the checksum is made right afterwards, so
that a change passes the first check of a reader.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Final, NamedTuple

REPAIRED: Final = 1
RESIZED: Final = 2
WRITE, COPY, FILL, INSERT, CUT = range(5)
CHANGES_MAX: Final = 24
GROWTH_MAX: Final = 8192


Buffer = bytearray | mmap.mmap
"""What changes are made to: a copy of a file, or the file itself."""


class Change(NamedTuple):
    """One change; what its operation has no use for is 0 or empty."""

    operation: int
    offset: int
    source: int = 0
    length: int = 0
    data: bytes = b""


class Case(NamedTuple):
    """What bytes mean. ``size`` is -1 where the size stays."""

    base: int
    flags: int
    size: int
    changes: tuple[Change, ...]


def decode(data: bytes) -> Case:
    """The case that any bytes stand for."""
    number = int.from_bytes
    base, flags = data[:1], data[1:2]
    at, size = 2, -1
    flag = flags[0] if flags else 0
    if flag & RESIZED:
        size, at = number(data[2:5], "little"), 5
    changes = []
    end = len(data)
    while at < end and len(changes) < CHANGES_MAX:
        operation = data[at] % 5
        offset = number(data[at + 1 : at + 4], "little")
        at += 4
        if operation in (WRITE, INSERT):
            length = data[at] if at < end else 0
            changes.append(Change(operation, offset, data=data[at + 1 : at + 1 + length]))
            at += 1 + length
        elif operation == COPY:
            source, length = number(data[at : at + 3], "little"), data[at + 3 : at + 5]
            changes.append(Change(operation, offset, source, number(length, "little")))
            at += 5
        else:
            length = number(data[at : at + 2], "little")
            value = data[at + 2 : at + 3] if operation == FILL else b""
            if operation == FILL and not value:
                length, value = 0, b"\0"  # ends early, and may not be the last for ever
            changes.append(Change(operation, offset, 0, length, value))
            at += 2 + (operation == FILL)
    return Case(base[0] if base else 0, flag, size, tuple(changes))


def encode(case: Case) -> bytes:
    """Bytes that `decode` gives that case for."""
    out = bytearray((case.base & 0xFF, case.flags & 0xFF))
    if case.flags & RESIZED:
        out += (case.size & 0xFF_FFFF).to_bytes(3, "little")
    for operation, offset, source, length, data in case.changes:
        out.append(operation)
        out += (offset & 0xFF_FFFF).to_bytes(3, "little")
        if operation in (WRITE, INSERT):
            out.append(min(len(data), 255))
            out += data[:255]
        elif operation == COPY:
            out += (source & 0xFF_FFFF).to_bytes(3, "little") + (length & 0xFFFF).to_bytes(
                2, "little"
            )
        else:
            out += (length & 0xFFFF).to_bytes(2, "little")
            out += data[:1] if operation == FILL else b""
    return bytes(out)


class Damage(NamedTuple):
    """A file as a case makes it.

    ``dirty`` are the parts that are not the base's, apart from a new end that is cut or zeros.
    """

    data: bytearray
    dirty: list[tuple[int, int]]


def keeps_places(case: Case) -> bool:
    """Whether what is not changed stays where it is, so that a file can be changed in place."""
    return case.size < 0 and all(change[0] not in (INSERT, CUT) for change in case.changes)


def overwrite(data: Buffer, change: Change) -> tuple[int, int]:
    """Make a change that moves nothing; the part that it wrote."""
    operation, wanted, source, length, new = change
    size = len(data)
    start = wanted % (size + 1)
    if operation == COPY:
        source %= size + 1
        new = data[source : source + length]
    elif operation == FILL:
        new = new * length
    end = min(start + len(new), size)
    data[start:end] = new[: end - start]
    return start, end


def apply(
    case: Case, bases: tuple[bytes, ...], repair: Callable[[Buffer], tuple[int, int]]
) -> tuple[int, Damage]:
    """(Number of the base, the changed file). ``repair`` gives the part that it wrote."""
    index = case.base % len(bases)
    data = bytearray(bases[index])
    dirty: list[tuple[int, int]] = []
    moved = False
    for change in case.changes:
        offset = change.offset % (len(data) + 1)
        if change.operation == INSERT:
            data[offset:offset] = change.data
            moved = True
        elif change.operation == CUT:
            del data[offset : offset + change.length]
            moved = True
        else:
            dirty.append(overwrite(data, change))
    if case.size >= 0:
        size = case.size % (len(bases[index]) + GROWTH_MAX)
        if size < len(data):
            del data[size:]
        else:
            data += bytes(size - len(data))
    if case.flags & REPAIRED:
        dirty.append(repair(data))
    return index, Damage(data, [(0, len(data))] if moved else dirty)
