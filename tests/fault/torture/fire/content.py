"""A record that says who wrote it: every column of a row follows from one number.

The number, ``worker << 32 | n`` for the n-th call of a worker, stands in ``duration_nano``. A row
that is made of two records, or of half a one, contradicts itself in some column.
"""

from __future__ import annotations

import numpy as np

import faultplane
from faultplane import schema

MESSAGE_LENGTHS = (
    0, 1, 5, 12, 13, 15, 16, 17, 20, 24, 24, 28, 30, 30, 32, 32, 32, 36, 36, 40, 40, 40, 40, 44,
    44, 44, 48, 48, 48, 48, 50, 50, 50, 52, 52, 52, 56, 56, 56, 60, 60, 60, 64, 64, 64, 70, 70, 72,
    76, 80, 80, 84, 90, 96, 100, 110, 120, 130, 150, 180, 250, 600, 1024, 1100,
)  # fmt: skip
"""Bytes of messages, drawn alike: in place, in the arena, at the limit and past it."""
OPERATIONS = tuple(f"operation-{n}" for n in range(5))
_SPREAD = 0x9E37_79B9_7F4A_7C15
_WORD = (1 << 64) - 1


class Refused(ValueError):
    """One kind of error."""


class Late(TimeoutError):
    """Another."""


class Cut(ConnectionError):
    """A third."""


CLASSES = (Refused, Late, Cut)


def number_of(worker: int, n: int) -> int:
    """The number of a worker's n-th call."""
    return worker << 32 | n


def write(record, number: int) -> None:
    """Record the error of that number; returns when ``record`` has."""
    mixed = (number * _SPREAD & _WORD) >> 34
    text = f"{number:016x}" * 69
    attributes = None
    if not mixed & 15:
        attributes = {"number": number, "pad": text[: mixed >> 4 & 127]}
    try:
        raise CLASSES[mixed % 3](text[: MESSAGE_LENGTHS[mixed >> 24 & 63]])
    except (ValueError, OSError) as error:
        record(
            error,
            OPERATIONS[mixed % 5],
            attempt=mixed >> 8 & 0xFFFF,
            duration_nano=number,
            attributes=attributes,
            handled=bool(mixed & 64),
        )


# ------------------------------------------------------------------------------------ checking

_VIEW = np.dtype([("size", "<u4"), ("head", "S4"), ("buffer", "<u4"), ("offset", "<u4")])
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(60, -4, -4, dtype=np.uint64)
_LENGTHS = np.minimum(MESSAGE_LENGTHS, schema.MESSAGE_BYTES_MAX)
_CUT = np.array(MESSAGE_LENGTHS) > schema.MESSAGE_BYTES_MAX
_SITE = f"{__name__}:write:"
NAMELESS, UNKNOWN = -1, -2
CLOCKS_APART_NANO = 10_000_000_000


class Checked:
    """Rows that were checked: ``numbers``, ``owners``, ``seqs``, and ``wrong``, a sentence each."""

    def __init__(self, table) -> None:
        self.numbers = _whole(table, "duration_nano").astype(np.uint64)
        self.owners = _whole(table, "owner")
        self.seqs = _whole(table, "seq")
        self.wrong: list[str] = []
        self.nameless = 0
        self._mixed = (self.numbers * np.uint64(_SPREAD)) >> np.uint64(34)

    def __len__(self) -> int:
        return len(self.numbers)

    def expect(self, name: str, good) -> None:
        """Note rows where ``good`` is not true."""
        if not np.all(good):
            bad = np.flatnonzero(~good)
            row = bad[0]
            self.wrong.append(
                f"torn: {name} of {len(bad)} of {len(self)} rows, the first: number "
                f"{int(self.numbers[row]):#x}, owner {self.owners[row]}, seq {self.seqs[row]}"
            )

    def bits(self, shift: int, mask: int):
        """Part of the mixed number of each row."""
        return self._mixed >> np.uint64(shift) & np.uint64(mask)

    def modulo(self, n: int):
        """The mixed number of each row modulo ``n``."""
        return (self._mixed % np.uint64(n)).astype(np.int64)


class Checker:
    """Checks rows against their numbers; learns once what depends on the type alone."""

    def __init__(self) -> None:
        self._learned: dict[tuple[str, int], object] = {}
        answers = [faultplane.classify(cls("")) for cls in CLASSES]
        kinds = {term.name: term.code for term in schema.KINDS}
        categories = {term.name: term.code for term in schema.CATEGORIES}
        severities = {severity.name: severity.number for severity in schema.SEVERITIES}
        self._kind = np.array([kinds[a.kind.value] for a in answers])
        self._category = np.array([categories[a.category.value] for a in answers])
        self._severity = np.array([severities[a.severity.value] for a in answers])
        self._flags = np.array([
            schema.FLAG_RETRYABLE * a.retryable | schema.FLAG_TEMPORARY * a.temporary
            for a in answers
        ])  # fmt: skip
        self._types = [f"{cls.__module__}.{cls.__qualname__}" for cls in CLASSES]

    def check(self, table) -> Checked:
        """Every column of every row of a ``pyarrow.Table`` of records."""
        rows = Checked(table)
        if len(rows):
            which = rows.modulo(3)
            self._scalars(rows, table, which)
            self._names(rows, table, which)
            self._messages(rows, table)
            self._attributes(rows, table)
        return rows

    def _scalars(self, rows: Checked, table, which) -> None:
        def whole(name):
            return _whole(table, name)

        rows.expect("number", (rows.numbers >> np.uint64(32) > 0) & (rows.seqs > 0))
        rows.expect("owner", rows.owners > 0)
        rows.expect("attempt", whole("attempt") == rows.bits(8, 0xFFFF))
        rows.expect("kind", whole("kind") == self._kind[which])
        rows.expect("category", whole("category") == self._category[which])
        rows.expect("severity_number", whole("severity_number") == self._severity[which])
        length = rows.bits(24, 63).astype(np.int64)
        flags = self._flags[which] | np.where(_CUT[length], schema.FLAG_TRUNCATED, 0)
        flags |= np.where(rows.bits(6, 1) > 0, schema.FLAG_HANDLED, 0)
        rows.expect("flags", whole("flags") == flags)
        rows.expect("user", whole("user") == 0)
        for name in ("trace_id", "span_id"):
            for chunk in table.column(name).chunks:
                width = chunk.type.byte_width
                start = chunk.offset * width
                data = np.frombuffer(chunk.buffers()[1], np.uint8)[start:]
                if data[: len(chunk) * width].any():
                    rows.wrong.append(f"torn: {name} is not zero")
        offset = _whole(table, "time_unix_nano").view(np.int64) - whole("mono_nano")
        middle = self._learned.setdefault(("offset", 0), int(np.median(offset)))
        # One that is stopped between its looks at the two clocks has them that far apart.
        rows.expect("times", np.abs(offset - middle) < CLOCKS_APART_NANO)
        prints = whole("fingerprint")
        for kind in range(3):
            mine = prints[which == kind]
            if len(mine):
                known = self._learned.setdefault(("fingerprint", kind), int(mine[0]))
                rows.expect("fingerprint", (prints == known) | (which != kind))

    def _names(self, rows: Checked, table, which) -> None:
        for name, known, expected in (
            ("type", self._types, which),
            ("operation", OPERATIONS, rows.modulo(5)),
        ):
            found = _codes(table, name, lambda word, known=known: _index(known, word))
            # A dictionary that is full, or cannot be opened, costs names and says so.
            rows.nameless += int(np.count_nonzero(found == NAMELESS))
            rows.expect(name, (found == expected) | (found == NAMELESS))
        found = _codes(
            table, "site", lambda word: 0 if word.startswith(_SITE) else _index((), word)
        )
        rows.expect("site", (found == 0) | (found == NAMELESS))

    def _messages(self, rows: Checked, table) -> None:
        length = _LENGTHS[rows.bits(24, 63).astype(np.int64)]
        if not _views_are_sane(rows, table, "message", length):
            return  # to follow them would leave the arena
        text = table.column("message").cast("large_string").combine_chunks()
        offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset :][: len(rows) + 1]
        data = np.frombuffer(text.buffers()[2] or b"", np.uint8)
        padded = np.concatenate([data[: offsets[-1]], np.zeros(16, np.uint8)])
        starts = offsets[:-1]
        rows.expect("length of message", np.diff(offsets) == length)
        places = starts[:, None] + np.arange(16)
        digits = _HEX[(rows.numbers[:, None] >> _SHIFTS & np.uint64(15)).astype(np.int64)]
        head = (padded[places] == digits) | (np.arange(16) >= length[:, None])
        rows.expect("message", head.all(axis=1))
        # The rest repeats the first sixteen bytes.
        same = padded[16:] == padded[:-16]
        inside = np.ones(len(padded), bool)
        inside[places] = False
        bad = np.flatnonzero(~same & inside[16:]) + 16
        bad = bad[bad < offsets[-1]]
        if len(bad):
            torn = np.unique(np.searchsorted(starts, bad, "right") - 1)
            good = np.ones(len(rows), bool)
            good[torn[length[torn] > 16]] = False
            rows.expect("rest of message", good)

    def _attributes(self, rows: Checked, table) -> None:
        wanted = rows.bits(0, 15) == 0
        sizes = _views(table, "attributes")["size"]
        rows.expect("absence of attributes", (sizes == 0) | wanted)
        rows.expect("attributes", (sizes > 0) | ~wanted)
        pads = rows.bits(4, 127)
        if not wanted.any() or not _views_are_sane(
            rows, table, "attributes", np.minimum(sizes, 256)
        ):
            return
        texts = table.column("attributes").cast("large_binary").combine_chunks()
        for row in np.flatnonzero(wanted & (sizes > 0)):
            number = int(rows.numbers[row])
            good = {"number": number, "pad": (f"{number:016x}" * 8)[: int(pads[row])]}
            if faultplane.decode_attributes(texts[row].as_py()) != good:
                rows.wrong.append(f"torn: attributes of number {number:#x}")


def _whole(table, name: str):
    """A column of fixed width as one array."""
    chunks = [np.asarray(chunk) for chunk in table.column(name).chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, np.int64)


def _index(known, word: str) -> int:
    """Where a word stands among those that are known."""
    if word in known:
        return known.index(word)
    return UNKNOWN if word else NAMELESS


def _codes(table, name: str, index):
    """A dictionary column as what ``index`` makes of its words."""
    found = []
    for chunk in table.column(name).chunks:
        words = np.array([index(word) for word in chunk.dictionary.to_pylist()] or [NAMELESS])
        codes = np.asarray(chunk.indices)
        sane = (codes >= 0) & (codes < len(words))
        found.append(np.where(sane, words[np.where(sane, codes, 0)], UNKNOWN))
    return np.concatenate(found)


def _views(table, name: str):
    """The raw string views of a column."""
    return np.concatenate([
        np.frombuffer(chunk.buffers()[1], _VIEW)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in table.column(name).chunks
    ])  # fmt: skip


def _views_are_sane(rows: Checked, table, name: str, length) -> bool:
    views = _views(table, name)
    before = len(rows.wrong)
    rows.expect(f"view of {name}", views["size"] == length)
    short = views["size"] <= 12
    arena = min(chunk.buffers()[2].size for chunk in table.column(name).chunks)
    end = views["offset"].astype(np.int64) + views["size"]
    rows.expect(f"place of {name}", short | ((views["buffer"] == 0) & (end <= arena)))
    return len(rows.wrong) == before
