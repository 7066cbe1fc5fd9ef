"""Rows as Arrow: batches over mapped segments, without a copy and without a third-party import.

A segment's columns already are Arrow buffers. Wrapping them means writing the structures of the
Arrow C data interface around their addresses, and keeping the mapping alive until the last
consumer has released what it was given. The structures here are arrays of 64-bit words, made once
per segment and copied per export: a batch costs microseconds, whatever its row count.

Consumers take them through the PyCapsule interface. Where pyarrow is loaded, its own objects are
made over the same memory and exported by it: it releases in C++, which no consumer can disturb.

Structures and rules of release: https://arrow.apache.org/docs/format/CDataInterface.html,
CStreamInterface.html and CDataInterface/PyCapsuleInterface.html.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import count, repeat
from typing import Any, Final, NamedTuple, Protocol

from faultplane.schema import ARENA_BYTES_PER_LANE, COLUMNS, SegmentShape, segment_shape

__all__ = [
    "Columns",
    "Run",
    "Strings",
    "array_capsules",
    "compat_table",
    "exports",
    "pyarrow_schema",
    "pyarrow_table",
    "schema_capsule",
    "stream_capsule",
]

WORD: Final = 8
DICTIONARY_COLUMNS: Final = tuple(
    index for index, column in enumerate(COLUMNS) if column.logical == "dictionary"
)
DICTIONARIES: Final = slice(DICTIONARY_COLUMNS[0], DICTIONARY_COLUMNS[0])
"""Where the dictionary columns, which lie behind one another, belong among the others."""
TIME_COLUMN: Final = next(i for i, c in enumerate(COLUMNS) if c.arrow == "tsn:UTC")
NULLABLE: Final = 2
"""ARROW_FLAG_NULLABLE. No value is null, but a field that may not be null is refused where tables
meet others, and outer joins put nulls into it all the same."""


# ----------------------------------------------------------------------------------- structures


class Shape(NamedTuple):
    """Words of an ArrowArray or an ArrowSchema, and of a record batch made of them.

    A batch is one block: the parent, a child per column, a dictionary per dictionary column, and
    the array of pointers to the children.
    """

    words: int
    children: int
    dictionary: int
    release: int
    private: int

    @property
    def pointers(self) -> int:
        """First word of the array of child pointers, behind the structures."""
        return self.words * PARTS

    def every(self, field: int, first: int, last: int) -> slice:
        """The word ``field`` of the structures ``first`` to ``last`` - 1; 0 is the parent."""
        return slice(self.words * first + field, self.words * last, self.words)


FIRST_CHILD: Final = 1
FIRST_DICTIONARY: Final = FIRST_CHILD + len(COLUMNS)
PARTS: Final = FIRST_DICTIONARY + len(DICTIONARY_COLUMNS)

# struct ArrowArray: length, null_count, offset, n_buffers, n_children, buffers, children,
# dictionary, release, private_data. struct ArrowSchema: format, name, metadata, flags,
# n_children, children, dictionary, release, private_data.
LENGTH, OFFSET, BUFFER_COUNT, CHILD_COUNT, BUFFERS = 0, 2, 3, 4, 5
FORMAT, NAME, FLAGS = 0, 1, 3
ARRAY: Final = Shape(words=10, children=6, dictionary=7, release=8, private=9)
SCHEMA: Final = Shape(words=9, children=5, dictionary=6, release=7, private=8)
# struct ArrowArrayStream: get_schema, get_next, get_last_error, release, private_data.
STREAM: Final = Shape(words=5, children=0, dictionary=0, release=3, private=4)


def _words(values: Iterable[int]) -> array[int]:
    """64-bit words; they stay where they are, as the array never changes its length."""
    return array("Q", values)


def _address(words: array[int]) -> int:
    return words.buffer_info()[0]


_api: Final[Any] = getattr(ctypes, "pythonapi", None)  # PyPy has none, and no capsules


def _immortal(thing: Any, kept: list[Any] = []) -> Any:  # noqa: B006 - kept for good is meant
    """``thing``, never freed: C code may look at it while the interpreter goes down."""
    _api.Py_IncRef(ctypes.py_object(thing)) if _api else kept.append(thing)
    return thing


def _text(text: str) -> int:
    """Address of a C string that lives as long as the process."""
    return ctypes.addressof(_immortal(ctypes.create_string_buffer(text.encode())))


# --------------------------------------------------------------------------------------- leases

_keys = count(64, 64)
_leases: Final[dict[int, Any]] = {}
"""What each structure handed out keeps alive, by its private_data. A child that a consumer has
moved out of its parent is found under the parent's key plus its position. Every change is one
operation on the dict: no lock is held when a consumer releases from another thread, from a signal
handler or after a fork."""


def exports() -> int:
    """Structures handed out to consumers and not yet released.

    Capsules that nobody took and nobody holds any more are released first. What pyarrow exports
    is not counted.
    """
    _withdraw()
    return len(_leases)


def _lend(shape: Shape, block: array[int], *keep: object) -> array[int]:
    """Point the structures of ``block`` at one another and keep them until they are released."""
    base, size, key = _address(block), shape.words * WORD, next(_keys)
    block[shape.children] = base + shape.pointers * WORD
    block[shape.pointers :] = _words(range(base + size, base + FIRST_DICTIONARY * size, size))
    for position, column in enumerate(DICTIONARY_COLUMNS, FIRST_DICTIONARY):
        owner = shape.words * (FIRST_CHILD + column)
        block[owner + shape.dictionary] = base + position * size
    block[shape.every(shape.private, 0, PARTS)] = _words(range(key, key + PARTS))
    _leases[key] = (block, keep)
    return block


_print_error: Final = ctypes.PYFUNCTYPE(None)(("PyErr_WriteUnraisable", _api)) if _api else bool
"""Prints the exception that is on its way, if any, and ends it. An object may be dropped while
one is: Python code run from there would find it pending and fail, and a release that fails ends
some consumers' process. Takes None, undeclared: even to convert it would fail then. Only pyarrow
is known to drop things at such a time, and it does not come here (`stream_capsule`)."""


def _releasers(
    shape: Shape, leases: dict[int, Any] = _leases, print_error: Any = _print_error
) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """Release callbacks of a batch, a schema or a stream, and of a child moved out of it.

    They use no name of this module: a consumer may release when the interpreter has cleared it.
    """
    struct = ctypes.c_uint64 * shape.words
    release_word, private, gone = shape.release, shape.private, object()
    children = shape.every(release_word, FIRST_CHILD, FIRST_DICTIONARY)

    def release_parent(address: int) -> None:
        print_error(None)
        words = struct.from_address(address)
        key = words[private]
        words[release_word] = 0
        lease = leases.pop(key, None)
        if type(lease) is not tuple or 0 not in lease[0][children]:
            return
        # The consumer has moved children out: each keeps the lease until it is released itself,
        # unless that has happened already.
        for child, release in enumerate(lease[0][children], key + 1):
            if release == 0 and leases.setdefault(child, lease) is gone:
                leases.pop(child, None)

    def release_child(address: int) -> None:
        print_error(None)
        words = struct.from_address(address)
        key = words[private]
        words[release_word] = 0
        if leases.setdefault(key, gone) is not gone:
            leases.pop(key, None)

    return release_parent, release_child


_Release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Give = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_Describe = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def _callback(prototype: Any, function: Callable[..., Any]) -> int:
    """Address of a C function that calls ``function``."""
    address: int = ctypes.cast(_immortal(prototype(function)), ctypes.c_void_p).value or 0
    return address


# ------------------------------------------------------------------------------------ templates


def _template(shape: Shape) -> array[int]:
    block = _words([0]) * (shape.pointers + len(COLUMNS))
    parent, child = (_callback(_Release, release) for release in _releasers(shape))
    block[shape.every(shape.release, 0, PARTS)] = _words([parent] + [child] * (PARTS - 1))
    block[CHILD_COUNT] = len(COLUMNS)
    return block


def _schema_template(*, utc: bool) -> array[int]:
    block = _template(SCHEMA)
    formats = [column.arrow for column in COLUMNS]
    if not utc:
        formats[TIME_COLUMN] = "tsn:"
    formats = ["+s", *formats, *["u" for _ in DICTIONARY_COLUMNS]]
    names = ["", *[column.name for column in COLUMNS], *["" for _ in DICTIONARY_COLUMNS]]
    block[SCHEMA.every(FORMAT, 0, PARTS)] = _words(map(_text, formats))
    block[SCHEMA.every(NAME, 0, PARTS)] = _words(map(_text, names))
    block[SCHEMA.every(FLAGS, 0, PARTS)] = _words([0] + [NULLABLE] * (PARTS - 1))
    return block


def _array_template() -> array[int]:
    block = _template(ARRAY)
    # Validity and data; views have the arena and its size as well; strings their offsets.
    counts = [4 if column.logical == "view" else 2 for column in COLUMNS]
    block[ARRAY.every(BUFFER_COUNT, 0, PARTS)] = _words(
        [1, *counts, *[3 for _ in DICTIONARY_COLUMNS]]
    )
    block[BUFFERS] = _address(_immortal(_words([0])))
    return block


_SCHEMA_TEMPLATES: Final = {utc: _schema_template(utc=utc) for utc in (True, False)}
_ARRAY_TEMPLATE: Final = _array_template()
_CHILD_BUFFERS: Final = ARRAY.every(BUFFERS, FIRST_CHILD, FIRST_DICTIONARY)
_CHILD_LENGTHS: Final = ARRAY.every(LENGTH, FIRST_CHILD, FIRST_DICTIONARY)
_CHILD_OFFSETS: Final = ARRAY.every(OFFSET, FIRST_CHILD, FIRST_DICTIONARY)
_VALUE_LENGTHS: Final = ARRAY.every(LENGTH, FIRST_DICTIONARY, PARTS)
_VALUE_BUFFERS: Final = ARRAY.every(BUFFERS, FIRST_DICTIONARY, PARTS)


# --------------------------------------------------------------------------- what is exported


class Strings(Protocol):
    """``count`` strings that the codes of dictionary columns stand for, as Arrow ``utf8``.

    ``buffers`` are three words, the addresses of validity (0), offsets and bytes; they and what
    they point to stay as they are for as long as the object lives.
    """

    count: int
    buffers: array[int]

    def __getitem__(self, code: int) -> str: ...

    def to_pyarrow(self) -> Any:
        """A ``pyarrow.StringArray`` of them, made once."""


class Columns:
    """The columns of one mapped segment, ready to be exported.

    ``address`` is where the segment is mapped, ``shape`` where its columns lie, ``keep`` what
    keeps it mapped. Nothing of the segment is read here.
    """

    def __init__(self, address: int, shape: SegmentShape, keep: Any) -> None:
        self.address = address
        self.shape = shape
        self.keep = keep
        self._template: tuple[array[int], array[int]] | None = None
        self._batch: tuple[Strings | None, Any] = (None, None)
        self._arrays: list[Any] = []
        self._codes: Any = None

    def template(self) -> tuple[array[int], array[int]]:
        """The block of an ArrowArray over all rows, and the pointers that it points to."""
        if self._template is None:
            # The arena is the one variadic buffer of the view columns; its size comes first.
            pointers, starts = _words([self.shape.lanes * ARENA_BYTES_PER_LANE]), []
            for column, offset in zip(COLUMNS, self.shape.column_offsets, strict=True):
                starts.append(len(pointers))
                pointers.extend((0, self.address + offset))
                if column.logical == "view":
                    pointers.extend((self.address + self.shape.arena_offset, 0))
            base = _address(pointers)
            for column, start in zip(COLUMNS, starts, strict=True):
                if column.logical == "view":
                    pointers[start + 3] = base
            block = _ARRAY_TEMPLATE[:]
            block[_CHILD_BUFFERS] = _words(base + start * WORD for start in starts)
            self._template = block, pointers
        return self._template

    def to_pyarrow(self, strings: Strings) -> Any:
        """A ``pyarrow.RecordBatch`` over all rows, committed or not: slice it before use.

        Kept until ``strings`` has grown; then only the dictionary columns are made again.
        """
        known, batch = self._batch
        if known is strings:
            return batch
        pa, _, _, record, _ = _pyarrow()
        if not self._arrays:
            self._make_arrays()
        rows = self.shape.rows
        names = pa.DictionaryArray.from_arrays(self._codes, strings.to_pyarrow(), safe=False)
        arrays = list(self._arrays)
        arrays[DICTIONARIES] = [names.slice(n * rows, rows) for n in range(len(DICTIONARY_COLUMNS))]
        # By way of a struct array: RecordBatch.from_arrays takes twice as long.
        whole = pa.Array.from_buffers(record, rows, [None], 0, 0, arrays)
        batch = pa.RecordBatch.from_struct_array(whole)
        self._batch = strings, batch
        return batch

    def _make_arrays(self) -> None:
        """An array for each column, and one of the codes of all dictionary columns."""
        pa = _pyarrow().api
        plan, base = _plan(self.shape.lanes), self.address
        places = [base + offset for offset in plan.offsets]
        *data, arena = map(pa.foreign_buffer, places, plan.sizes, repeat(self.keep))
        buffers = [[None, column] for column in data]
        for view in plan.views:
            buffers[view].append(arena)
        *arrays, codes = map(pa.Array.from_buffers, plan.kinds, plan.lengths, buffers, repeat(0))
        self._arrays, self._codes = arrays, codes


class Run(NamedTuple):
    """``rows`` committed rows of a segment from row ``start`` on: one Arrow batch.

    The caller has loaded the words of the lanes they lie in with acquire order.
    """

    columns: Columns
    strings: Strings
    start: int
    rows: int


def _lend_schema(*, utc: bool) -> array[int]:
    return _lend(SCHEMA, _SCHEMA_TEMPLATES[utc][:])


def _lend_array(run: Run) -> array[int]:
    columns, strings, start, rows = run
    template, pointers = columns.template()
    block = template[:]
    block[LENGTH] = rows
    block[_CHILD_LENGTHS] = _words([rows]) * len(COLUMNS)
    block[_CHILD_OFFSETS] = _words([start]) * len(COLUMNS)
    block[_VALUE_LENGTHS] = _words([strings.count]) * len(DICTIONARY_COLUMNS)
    block[_VALUE_BUFFERS] = _words([_address(strings.buffers)]) * len(DICTIONARY_COLUMNS)
    return _lend(ARRAY, block, pointers, columns.keep, strings)


# ------------------------------------------------------------------------------------- capsules

_NEW = ctypes.PYFUNCTYPE(ctypes.py_object, *[ctypes.c_void_p] * 3)
_capsule_new: Final[Any] = _api and _NEW(("PyCapsule_New", _api))
_SCHEMA_NAME: Final = _text("arrow_schema")
_ARRAY_NAME: Final = _text("arrow_array")
_STREAM_NAME: Final = _text("arrow_array_stream")


class _Offer(NamedTuple):
    """A capsule, the structure in it, and the word of it that a consumer clears on taking it."""

    capsule: Any
    words: array[int]
    release: int


_offers: Final[list[_Offer]] = []
"""Capsules that may still be taken. A destructor in Python would withdraw them sooner, but could
run while an exception is on its way; so each is withdrawn when this list holds the only reference
left, which is looked at whenever another is offered."""


def _offer(block: array[int], name: int, release: int) -> Any:
    if not _api:
        this = sys.implementation.name
        raise NotImplementedError(f"Arrow data is in PyCapsules, which {this} has not: use rows()")
    _withdraw()
    capsule = _capsule_new(_address(block), name, None)
    _offers.append(_Offer(capsule, block, release))
    return capsule


def _references(offer: _Offer) -> int:
    return sys.getrefcount(offer.capsule)


_UNSHARED: Final = _api and _references(_Offer(_capsule_new(_STREAM_NAME, 0, None), _words([]), 0))


def _withdraw() -> None:
    for _ in range(len(_offers)):
        try:
            offer = _offers.pop(0)
        except IndexError:
            return
        if _references(offer) > _UNSHARED:
            _offers.append(offer)
        elif offer.words[offer.release]:
            _Release(offer.words[offer.release])(_address(offer.words))


class _Stream:
    """What a stream still has to give, and the text of its last error."""

    def __init__(self, runs: Iterator[Run], *, utc: bool) -> None:
        self.runs = runs
        self.utc = utc
        self.error = ctypes.create_string_buffer(256)

    def schema(self) -> array[int]:
        return _lend_schema(utc=self.utc)

    def next_array(self) -> array[int]:
        run = next(self.runs, None)
        return _END if run is None else _lend_array(run)


_END: Final = _words([0]) * ARRAY.words


def _stream_of(address: int) -> _Stream:
    key = ctypes.c_uint64.from_address(address + STREAM.private * WORD).value
    stream: _Stream = _leases[key]
    return stream


def _give(address: int, out: int, make: Callable[[_Stream], array[int]], size: int) -> int:
    stream = _stream_of(address)
    try:
        ctypes.memmove(out, _address(make(stream)), size)
    except Exception as error:  # noqa: BLE001  a C caller gets an error code, not an exception
        stream.error.value = repr(error).encode()[:255]
        return errno.EIO
    return 0


def _get_schema(address: int, out: int) -> int:
    return _give(address, out, _Stream.schema, SCHEMA.words * WORD)


def _get_next(address: int, out: int) -> int:
    return _give(address, out, _Stream.next_array, ARRAY.words * WORD)


def _get_last_error(address: int) -> int:
    return ctypes.addressof(_stream_of(address).error)


_STREAM_TEMPLATE: Final = _words([
    _callback(_Give, _get_schema),
    _callback(_Give, _get_next),
    _callback(_Describe, _get_last_error),
    _callback(_Release, _releasers(STREAM)[0]),
    0,
])  # fmt: skip


def _pyarrow_is_loaded() -> bool:
    return hasattr(sys.modules.get("pyarrow"), "Table")


def schema_capsule() -> Any:
    """A capsule ``arrow_schema`` of the record's columns."""
    if _pyarrow_is_loaded():
        return pyarrow_schema().__arrow_c_schema__()
    return _offer(_lend_schema(utc=True), _SCHEMA_NAME, SCHEMA.release)


def array_capsules(run: Run, requested_schema: Any = None) -> tuple[Any, Any]:
    """Capsules ``arrow_schema`` and ``arrow_array`` of one batch.

    ``requested_schema`` is a wish that only pyarrow, where it is loaded, can fulfil.
    """
    if _pyarrow_is_loaded():
        capsules: tuple[Any, Any] = _pyarrow_batch(run).__arrow_c_array__(requested_schema)
        return capsules
    return schema_capsule(), _offer(_lend_array(run), _ARRAY_NAME, ARRAY.release)


def stream_capsule(runs: Sequence[Run], requested_schema: Any = None, *, utc: bool = True) -> Any:
    """A capsule ``arrow_array_stream`` of the batches ``runs``, all with the record's schema.

    ``utc=False`` leaves the time zone out of ``time_unix_nano``: consumers that map a time zone
    to a type of lower resolution keep the nanoseconds then.
    """
    if _pyarrow_is_loaded():
        table = pyarrow_table(runs)
        if not utc:
            times = table.column(TIME_COLUMN).cast("timestamp[ns]")
            table = table.set_column(TIME_COLUMN, COLUMNS[TIME_COLUMN].name, times)
        return table.__arrow_c_stream__(requested_schema)
    block, key = _STREAM_TEMPLATE[:], next(_keys)
    block[STREAM.private] = key
    _leases[key] = _Stream(iter(runs), utc=utc)
    return _offer(block, _STREAM_NAME, STREAM.release)


# -------------------------------------------------------------------------------------- pyarrow


class _Pyarrow(NamedTuple):
    """The package, and the record in its types; that of a dictionary column is ``text``."""

    api: Any
    columns: tuple[Any, ...]
    text: Any
    record: Any
    schema: Any


@cache
def _pyarrow() -> _Pyarrow:
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    named = {
        "L": pa.uint64(),
        "l": pa.int64(),
        "i": text,
        "I": pa.uint32(),
        "S": pa.uint16(),
        "C": pa.uint8(),
        "tsn:UTC": pa.timestamp("ns", "UTC"),
        "w:8": pa.binary(8),
        "w:16": pa.binary(16),
        "vu": pa.string_view(),
        "vz": pa.binary_view(),
    }
    columns = tuple(named[column.arrow] for column in COLUMNS)
    fields = [pa.field(column.name, kind) for column, kind in zip(COLUMNS, columns, strict=True)]
    return _Pyarrow(pa, columns, text, pa.struct(fields), pa.schema(fields))


class _Plan(NamedTuple):
    """What the arrays of a segment are made from, that of all codes last; the arena behind it."""

    kinds: list[Any]
    lengths: list[int]
    offsets: list[int]
    sizes: list[int]
    views: list[int]


@cache
def _plan(lanes: int) -> _Plan:
    shape = segment_shape(lanes)
    plain = [index for index in range(len(COLUMNS)) if index not in DICTIONARY_COLUMNS]
    starts = [shape.column_offsets[index] for index in (*plain, DICTIONARY_COLUMNS[0])]
    codes = len(DICTIONARY_COLUMNS) * shape.rows
    sizes = [*(COLUMNS[index].width * shape.rows for index in plain), 4 * codes]
    return _Plan(
        [*(_pyarrow().columns[index] for index in plain), _pyarrow().api.int32()],
        [*(shape.rows for _ in plain), codes],
        [*starts, shape.arena_offset],
        [*sizes, lanes * ARENA_BYTES_PER_LANE],
        [n for n, index in enumerate(plain) if COLUMNS[index].logical == "view"],
    )


def pyarrow_schema() -> Any:
    """The record's columns as a ``pyarrow.Schema``."""
    return _pyarrow().schema


def _pyarrow_batch(run: Run) -> Any:
    columns, strings, start, rows = run
    return columns.to_pyarrow(strings).slice(start, rows)


def pyarrow_table(runs: Iterable[Run]) -> Any:
    """A ``pyarrow.Table`` over the mapped memory, one chunk a run."""
    batches = [_pyarrow_batch(run) for run in runs]
    return _pyarrow().api.Table.from_batches(batches, _pyarrow().schema)


def compat_table(table: Any) -> Any:
    """A copy of ``table`` that every pyarrow kernel takes: plain strings and plain binaries.

    Views have almost no kernels, and dictionaries can be neither sorted nor matched, nor grouped
    where two chunks bring different ones.
    """
    for index, column in enumerate(COLUMNS):
        if column.logical != "plain":
            plain = "binary" if column.arrow == "vz" else "string"
            table = table.set_column(index, column.name, table.column(index).cast(plain))
    return table
