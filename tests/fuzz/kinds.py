"""The kinds of files: their real files, what is where in them, and what reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final, NamedTuple
from zlib import crc32

from faultplane import control_schema, schema
from faultplane.store import host
from fuzz import bases, places, readers
from fuzz.cases import Buffer


def _header_crc(layout: schema.Layout) -> Callable[[Buffer], tuple[int, int]]:
    """Makes the checksum of a header right."""
    at = layout.offset["crc"]

    def repair(data: Buffer) -> tuple[int, int]:
        if len(data) < layout.size:
            return 0, 0
        data[at : at + 4] = crc32(data[:at]).to_bytes(4, "little")
        return at, at + 4

    return repair


def _no_crc(data: Buffer) -> tuple[int, int]:
    """These files have no checksum: counts change all the time."""
    return 0, 0


def _line_crcs(data: Buffer) -> tuple[int, int]:
    """Makes the checksum of each line of a file of death records right."""
    lines = []
    for line in bytes(data).split(b"\n"):
        stamp, space, text = line.partition(b" ")
        lines.append(b"%08x %s" % (crc32(text), text) if space and len(stamp) == 8 else line)
    data[:] = b"\n".join(lines)
    return 0, len(data)


def unused(segment: bytes) -> bytes:
    """A segment as it was when it was published: whoever writes finds lanes to claim."""
    data = bytearray(segment)
    at = schema.SEGMENT.offset["next_lane"]
    data[at : at + 8] = bytes(8)
    (lanes,) = struct.unpack_from("<I", data, schema.SEGMENT.offset["lanes"])
    for lane in range(lanes):
        word = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
        data[word : word + 8] = bytes(8)
    return bytes(data)


def of_this_boot(control: bytes) -> bytes:
    """A control file of this start of the host: one of another is nobody's, and not read."""
    data = bytearray(control)
    control_schema.CONTROL.write(data, 0, boot_id=host.boot_id())
    _header_crc(control_schema.CONTROL)(data)
    return bytes(data)


class Kind(NamedTuple):
    """One kind of file. ``prefix`` begins the names of its files in a store.

    ``core`` is the only one whose files are read, "" for both; ``change`` is made to each file
    first.
    """

    name: str
    prefix: str
    read: readers.Reader
    list_places: Callable[[bytes], Iterator[places.Place]]
    repair: Callable[[Buffer], tuple[int, int]]
    is_text: bool = False
    core: str = ""
    change: Callable[[bytes], bytes] = bytes


class Files:
    """The real files of one kind, of both cores, in the order that cases count them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.names: tuple[tuple[str, str], ...] = tuple(
            (core, name)
            for core in bases.CORES
            if kind.core in {"", core}
            for name in bases.load(core)
            if name == kind.prefix or (kind.prefix.endswith("-") and _numbered(name, kind.prefix))
        )
        self.contents = tuple(kind.change(bases.load(core)[name]) for core, name in self.names)

    @cached_property
    def places(self) -> list[list[places.Place]]:
        """Places of each file."""
        return [list(self.kind.list_places(data)) for data in self.contents]


def _numbered(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) :].isdigit()


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("registry", "registry", readers.read_registry, places.registry,
             _header_crc(schema.REGISTRY)),
        Kind("owners", "owners", readers.read_owners, places.owners, _no_crc),
        Kind("dictionary", "dict-", readers.read_dictionary, places.dictionary,
             _header_crc(schema.DICTIONARY)),
        Kind("stacks", "stacks-", readers.read_stacks, places.dictionary,
             _header_crc(schema.DICTIONARY)),
        Kind("segment", "seg-", readers.read_segment, places.segment,
             _header_crc(schema.SEGMENT)),
        Kind("counts", "agg-", readers.read_counts, places.aggregate, _no_crc),
        Kind("retired", "agg-retired", readers.read_retired, places.aggregate, _no_crc),
        Kind("breath", "breath-", readers.read_breath, places.breath, _no_crc),
        Kind("control", "control", readers.read_control, places.control,
             _header_crc(control_schema.CONTROL), change=of_this_boot),
        Kind("pure-dictionary", "dict-", readers.read_pure_dictionary, places.dictionary,
             _header_crc(schema.DICTIONARY), core="python"),
        Kind("pure-segment", "seg-", readers.read_pure_segment, places.segment,
             _header_crc(schema.SEGMENT), core="python", change=unused),
        Kind("deaths", "deaths", readers.read_deaths, places.deaths, _line_crcs, is_text=True),
    )
}  # fmt: skip
"""By name; the ``deaths-old`` of a store is read as ``deaths`` is."""
