"""Rows of a domain as a reader holds them: Arrow batches over the mapped files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from heapq import nlargest
from typing import Any, Final

from faultplane import arrow, schema
from faultplane.arrow import Run
from faultplane.store.cursor import Cursor
from faultplane.store.extras import require

_INLINE_BYTES_MAX: Final = 12
_TIME, _FINGERPRINT, _OPERATION = (
    [column.name for column in schema.COLUMNS].index(name)
    for name in ("time_unix_nano", "fingerprint", "operation")
)
_VIEW: Final = struct.Struct("<iIII")
_BYTES_MAX: Final = {
    "message": schema.MESSAGE_BYTES_MAX,
    "attributes": schema.ATTRIBUTES_BYTES_MAX,
}
_CODES: Final = {
    "L": "Q", "l": "q", "tsn:UTC": "q", "i": "i", "I": "I", "S": "H", "C": "B",
}  # fmt: skip


class Batch:
    """One run of rows, as an Arrow record batch (``__arrow_c_array__``)."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __len__(self) -> int:
        return self._run.rows

    def __repr__(self) -> str:
        return f"<Batch: {len(self)} rows>"

    def __arrow_c_schema__(self) -> Any:
        return arrow.schema_capsule()

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return arrow.array_capsules(self._run, requested_schema)


class Records:
    """Rows that were committed when they were read; they stay, whatever becomes of the files.

    ``len()`` is the number of rows. Any consumer of the Arrow PyCapsule interface takes the object
    as it is: ``pyarrow.table(records)``, ``polars.DataFrame(records)``. Nothing is copied on the
    way: the batches lie in the mapped segments and keep them mapped, and with them their memory,
    until the last of what was made from them is gone. Rows come in the order of stores, segments
    and lanes; sort by ``time_unix_nano``, or by ``owner`` and ``seq``.

    ``cursor`` is what to give to ``records(since=…)`` to get what comes after. ``lost`` says how
    many rows were written and retired between ``since`` and now without being seen.
    """

    __slots__ = ("_runs", "_table", "cursor", "lost")

    def __init__(self, runs: Sequence[Run], cursor: Cursor, lost: int = 0) -> None:
        self._runs = tuple(runs)
        self._table: Any = None
        self.cursor = cursor
        self.lost = lost

    def __len__(self) -> int:
        return sum(run.rows for run in self._runs)

    def __repr__(self) -> str:
        lost = f", {self.lost} lost before" if self.lost else ""
        return f"<Records: {len(self)} rows in {len(self._runs)} batches{lost}>"

    def __arrow_c_schema__(self) -> Any:
        return arrow.schema_capsule()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return arrow.stream_capsule(self._runs, requested_schema)

    def batches(self) -> list[Batch]:
        """The runs of rows, each an Arrow record batch."""
        return [Batch(run) for run in self._runs]

    def without_time_zone(self) -> LocalTimeRecords:
        """The same rows with ``time_unix_nano`` as a timestamp that says nothing of UTC.

        For consumers whose type with a time zone has no nanoseconds.
        """
        return LocalTimeRecords(self._runs)

    def to_pyarrow(self, compat: bool = False) -> Any:
        """A ``pyarrow.Table`` over the mapped memory; one chunk a run of lanes.

        With ``compat`` a copy whose texts are plain ``string`` and ``binary``: the views and
        dictionaries of the other have few of pyarrow's kernels, and a view keeps ``filter`` and
        ``take`` from the whole table. Raises MissingExtra without pyarrow.
        """
        require("pyarrow", "Records.to_pyarrow()")
        if self._table is None:
            self._table = arrow.pyarrow_table(self._runs)
        return arrow.compat_table(self._table) if compat else self._table

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``; dictionary codes and fixed-size bytes are copied, the rest not.

        Raises MissingExtra without polars.
        """
        return require("polars", "Records.to_polars()").DataFrame(self)

    def rows(
        self,
        last: int | None = None,
        fingerprint: int | None = None,
        operation: str | None = None,
    ) -> list[dict[str, Any]]:
        """The newest ``last`` rows by time, oldest first, as plain values; all without ``last``.

        With ``fingerprint``, and with ``operation``, only the rows that have it. Needs no other
        package, and takes some 20 µs a row. ``kind`` and ``category`` are names, ``trace_id`` and
        ``span_id`` hexadecimal, "" where there is none; times are integers. Raises ValueError for a
        negative ``last``, and TypeError where one is of another type.
        """
        for name, given in (("last", last), ("fingerprint", fingerprint)):
            if given is not None and not hasattr(given, "__index__"):
                raise TypeError(f"{name} must be a whole number, got {given!r}")
        text: object = operation  # whatever a caller without a type checker gave
        if text is not None and not isinstance(text, str):
            raise TypeError(f"operation must be text, got {text!r}")
        if last is not None and last < 0:
            raise ValueError(f"last must be 0 or more, got {last}")
        decoders = [_Decoder(run) for run in self._runs]
        places = (
            (time_unix_nano, number, row)
            for number, decoder in enumerate(decoders)
            for time_unix_nano, row in decoder.places(fingerprint, operation)
        )
        chosen = sorted(places) if last is None else nlargest(last, places)[::-1]
        return [decoders[number].row(row) for _, number, row in chosen]


class LocalTimeRecords:
    """`Records.without_time_zone`."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return arrow.stream_capsule(self._runs, requested_schema, utc=False)


class _Decoder:
    """Rows of one run as dicts, read from the mapped bytes."""

    def __init__(self, run: Run) -> None:
        columns, self._strings, self._start, rows = run
        self._end = self._start + rows
        self._memory = memoryview(columns.keep)
        shape = columns.shape
        self._arena = self._memory[shape.arena_offset :]
        self._columns: list[tuple[schema.Column, Any]] = []
        for column, offset in zip(schema.COLUMNS, shape.column_offsets, strict=True):
            view: Any = self._memory[offset : offset + column.width * shape.rows]
            if column.arrow in _CODES:
                view = view.cast(_CODES[column.arrow])
            self._columns.append((column, view))

    def places(self, fingerprint: int | None, operation: str | None) -> Iterator[tuple[int, int]]:
        """(Time, row) of every row of the run, or of those with a fingerprint or an operation."""
        times, fingerprints, operations = (
            self._columns[column][1] for column in (_TIME, _FINGERPRINT, _OPERATION)
        )
        is_it: dict[int, bool] = {}
        for row in range(self._start, self._end):
            if fingerprint is not None and fingerprints[row] != fingerprint:
                continue
            if operation is not None:
                code = operations[row]
                if code not in is_it:
                    # Each name is looked up once, however many rows have it.
                    is_it[code] = self._strings[code] == operation
                if not is_it[code]:
                    continue
            yield times[row], row

    def row(self, index: int) -> dict[str, Any]:
        return {column.name: self._value(column, view, index) for column, view in self._columns}

    def _value(self, column: schema.Column, view: Any, index: int) -> Any:
        if column.logical == "dictionary":
            return self._strings[view[index]]
        if column.name in _TERMS:
            return _TERMS[column.name].get(view[index], "")
        if column.arrow in _CODES:
            return view[index]
        data = bytes(view[index * column.width : (index + 1) * column.width])
        if column.logical == "plain":
            return data.hex() if any(data) else ""
        data = self._view(data, _BYTES_MAX[column.name])
        return data.decode(errors="replace") if column.arrow == "vu" else data

    def _view(self, view: bytes, bytes_max: int) -> bytes:
        """Bytes that a view stands for; none for a view that no writer stores."""
        size, _, _, offset = _VIEW.unpack(view)
        if 0 <= size <= _INLINE_BYTES_MAX:
            return view[4 : 4 + size]
        # A longer one would let each row of a damaged segment be as large as all of its texts.
        return bytes(self._arena[offset : offset + size]) if 0 <= size <= bytes_max else b""


_TERMS: Final = {
    "kind": {term.code: term.name for term in schema.KINDS},
    "category": {term.code: term.name for term in schema.CATEGORIES},
}
