"""Rows as Arrow: nothing is copied, nothing is freed too early, nothing is kept too long."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

import pytest

from faultplane import arrow, schema

pa = pytest.importorskip("pyarrow")

VIEWS = [column.name for column in schema.COLUMNS if column.logical == "view"]
DICTIONARIES = [column.name for column in schema.COLUMNS if column.logical == "dictionary"]


@pytest.fixture
def store(build_store):
    """A store of three owners: full lanes, partial lanes, a free lane, two segments."""
    store = build_store()
    store.write(1, 1100)
    store.write(2, 40)
    store.write(3, 513)
    return store


@pytest.fixture
def records(store, attach):
    return attach().records()


def mapped(path):
    """(First, last) address of each mapping of a file below ``path``, deleted or not."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5].startswith(str(path)):
                first, _, last = fields[0].partition("-")
                found.append((int(first, 16), int(last, 16)))
    return found


def buffers(table):
    """(Column, buffer) of every buffer of a table, values of dictionaries aside."""
    for name in table.column_names:
        for chunk in table.column(name).chunks:
            array = chunk.indices if isinstance(chunk, pa.DictionaryArray) else chunk
            for buffer in array.buffers():
                if buffer is not None:
                    yield name, buffer


def assert_in_files(table, path):
    ranges = mapped(path)
    columns = set()
    for name, buffer in buffers(table):
        end = buffer.address + buffer.size
        assert any(first <= buffer.address and end <= last for first, last in ranges), name
        columns.add(name)
    assert columns == {column.name for column in schema.COLUMNS}


def values(table):
    """Rows of a table as the builder has them."""
    index = table.column_names.index("time_unix_nano")
    times = table.column(index).cast(pa.int64())
    return table.set_column(index, "time_unix_nano", times).to_pylist()


# ------------------------------------------------------------------------------------ zero copy


def test_every_buffer_lies_in_a_mapping_of_the_domains_files(store, records):
    assert_in_files(records.to_pyarrow(), store.path)


def test_every_buffer_a_consumer_gets_through_capsules_lies_there_too(exporter, store, records):
    assert_in_files(pa.table(records), store.path)
    for batch in records.batches():
        assert_in_files(pa.Table.from_batches([pa.record_batch(batch)]), store.path)


def test_a_copied_table_is_told_from_one_that_is_not(store, records):
    """Negative control: the address test fails for a table that was copied."""
    copied = pa.concat_tables([records.to_pyarrow()]).combine_chunks()
    with pytest.raises(AssertionError):
        assert_in_files(copied, store.path)


def test_tables_are_valid_and_hold_the_rows(exporter, store, records):
    for table in (records.to_pyarrow(), pa.table(records)):
        table.validate(full=True)
        assert values(table) == store.expected_rows()


def test_the_rows_behind_the_committed_ones_would_not_be_valid(store, records):
    """Negative control: the builder fills them with codes and views that lead nowhere."""
    run = records._runs[0]
    with pytest.raises(pa.ArrowInvalid):
        run.columns.to_pyarrow(run.strings).validate(full=True)


def test_the_schema_is_the_records(exporter, records):
    found = pa.schema(records)
    assert found == records.to_pyarrow().schema == pa.schema(records.batches()[0])
    assert found.names == [column.name for column in schema.COLUMNS]
    assert found.field("type").type == pa.dictionary(pa.int32(), pa.string())
    assert found.field("time_unix_nano").type == pa.timestamp("ns", "UTC")
    assert found.field("message").type == pa.string_view()
    assert found.field("attributes").type == pa.binary_view()
    assert found.field("trace_id").type == pa.binary(16)


def test_the_capsules_of_both_ways_agree(monkeypatch, records):
    theirs = pa.table(records)
    monkeypatch.setattr(arrow, "_pyarrow_is_loaded", lambda: False)
    ours = pa.table(records)
    assert ours.equals(theirs)
    assert ours.schema == theirs.schema


def test_chunks_share_one_dictionary(records):
    chunks = records.to_pyarrow().column("type").chunks
    assert len(chunks) > 1
    assert len({chunk.dictionary.buffers()[2].address for chunk in chunks}) == 1
    assert records.to_pyarrow().group_by("type").aggregate([("seq", "count")]).num_rows == 4


def test_a_schema_that_a_consumer_asks_for_is_a_wish(exporter, records):
    wanted = pa.schema(records).remove(0).__arrow_c_schema__()
    try:
        capsule = records.__arrow_c_stream__(wanted)
    except (pa.ArrowInvalid, ValueError):
        assert exporter == "pyarrow"
    else:
        assert pa.RecordBatchReader._import_from_c_capsule(capsule).read_all().num_rows == 1653


def test_no_rows_are_a_table_without_rows(exporter, build_store, attach):
    build_store(domain="empty")
    records = attach("empty").records()
    assert len(records) == 0
    assert pa.table(records).schema == records.to_pyarrow().schema
    assert pa.table(records).num_rows == records.to_pyarrow(compat=True).num_rows == 0


def test_times_without_a_zone_keep_their_nanoseconds(exporter, store, records):
    table = pa.table(records.without_time_zone())
    assert table.schema.field("time_unix_nano").type == pa.timestamp("ns")
    assert_in_files(table, store.path)
    times = table.column("time_unix_nano").cast(pa.int64()).to_pylist()
    assert times == [row["time_unix_nano"] for row in store.expected_rows()]


# --------------------------------------------------------------------------------------- compat

KERNELS = {
    "equal": lambda c, t: c.equal(t["message"], t["type"]),
    "is_in": lambda c, t: c.is_in(t["operation"], pa.array(["refund"])),
    "match": lambda c, t: c.match_substring(t["type"], "Error"),
    "length": lambda c, t: c.utf8_length(t["site"]),
    "unique": lambda c, t: c.unique(t["message"]),
    "min_max": lambda c, t: c.min_max(t["type"]),
    "sort": lambda c, t: t.sort_by([("type", "ascending"), ("message", "descending")]),
    "filter": lambda c, t: t.filter(c.equal(t["kind"], 2)),
    "take": lambda c, t: t.take(pa.array([5, 3])),
    "group": lambda c, t: t.group_by(["type", "message"]).aggregate([("seq", "max")]),
    "join": lambda c, t: t.select(["type", "seq"]).join(pa.table({"type": ["KeyError"]}), "type"),
    "combine": lambda c, t: t.combine_chunks(),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_compat_table_works_with_every_kernel(kernel, records):
    compute = pytest.importorskip("pyarrow.compute")
    assert KERNELS[kernel](compute, records.to_pyarrow(compat=True)) is not None


def test_the_plain_table_does_not_which_is_why_there_is_another(records):
    """Negative control."""
    with pytest.raises(pa.ArrowNotImplementedError):
        records.to_pyarrow().filter(pa.compute.equal(records.to_pyarrow()["kind"], 2))


def test_the_compat_table_holds_the_same_rows(store, records):
    table = records.to_pyarrow(compat=True)
    assert values(table) == store.expected_rows()
    kinds = {str(table.schema.field(name).type) for name in (*VIEWS, *DICTIONARIES)}
    assert kinds == {"string", "binary"}


# ------------------------------------------------------------------------------------ lifetimes


@pytest.fixture
def own(monkeypatch):
    """Exports made by this library, none of which is left over at the end."""
    monkeypatch.setattr(arrow, "_pyarrow_is_loaded", lambda: False)
    gc.collect()
    assert arrow.exports() == 0
    yield
    gc.collect()
    assert arrow.exports() == 0


def test_each_batch_is_released_once_and_by_the_last_consumer(own, records):
    table = pa.table(records)
    assert arrow.exports() == len(records.batches()) > 1
    column = table.column("message")
    del table
    assert arrow.exports() == len(records.batches())
    chunk = column.chunk(0).slice(3, 2)
    del column
    assert arrow.exports() == 1
    assert chunk.to_pylist() == ["row 4 of owner 1: café ≠ thé", "row 5 of owner 1: café ≠ thé"]
    del chunk
    assert arrow.exports() == 0


def test_a_capsule_is_taken_once(own, records):
    capsule = records.__arrow_c_stream__()
    assert pa.RecordBatchReader._import_from_c_capsule(capsule).read_all().num_rows == 1653
    with pytest.raises(pa.ArrowInvalid, match="released"):
        pa.RecordBatchReader._import_from_c_capsule(capsule)
    schema_capsule, array_capsule = records.batches()[0].__arrow_c_array__()
    assert len(pa.RecordBatch._import_from_c_capsule(schema_capsule, array_capsule)) == 1100
    with pytest.raises(pa.ArrowInvalid, match="released"):
        pa.RecordBatch._import_from_c_capsule(schema_capsule, array_capsule)


def test_a_capsule_that_nobody_takes_is_withdrawn(own, records):
    stream, pair = records.__arrow_c_stream__(), records.batches()[0].__arrow_c_array__()
    assert arrow.exports() == 3
    del pair
    assert arrow.exports() == 1
    assert pa.RecordBatchReader._import_from_c_capsule(stream).read_all().num_rows == 1653


def test_a_stream_can_be_left_in_the_middle(own, records):
    reader = pa.RecordBatchReader.from_stream(records)
    assert reader.read_next_batch().num_rows == 1100
    assert arrow.exports() == 1  # the batch is gone, the stream is not


def test_a_stream_that_fails_says_why(own, records):
    capsule = arrow.stream_capsule([*records._runs[:1], "no run"])
    reader = pa.RecordBatchReader._import_from_c_capsule(capsule)
    reader.read_next_batch()
    with pytest.raises(OSError, match="too many values to unpack"):
        reader.read_next_batch()


class Array(ctypes.Structure):
    """struct ArrowArray, as a consumer in C sees it."""


RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))
Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "nulls", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", ctypes.POINTER(Array)),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]


def pointer_of(capsule, name):
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return get(capsule, name)


def moved(array):
    """A copy that the consumer owns; the original counts as released."""
    copy = Array.from_buffer_copy(array)
    array.release = RELEASE()
    return copy


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_child_that_was_moved_out_lives_on_by_itself(own, store, attach, parent_first):
    batch = attach().records().batches()[0]
    capsule = batch.__arrow_c_array__()[1]
    parent = moved(Array.from_address(pointer_of(capsule, b"arrow_array")))
    seq, kind = moved(parent.children[0].contents), moved(parent.children[10].contents)
    assert parent.length == seq.length == 1100
    for array in (parent, seq, kind) if parent_first else (seq, parent, kind):
        assert arrow.exports() > 0
        numbers = ctypes.cast(kind.buffers[1], ctypes.POINTER(ctypes.c_int32))
        assert numbers[kind.offset] == 1
        array.release(array)
        assert not array.release
    assert arrow.exports() == 0


def test_releases_come_from_any_thread(own, records):
    tables = [pa.table(records) for _ in range(20)]

    def drop():
        while True:
            try:
                tables.pop()
            except IndexError:
                return

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert arrow.exports() == 0


def test_data_outlive_the_domain_and_its_files(exporter, store, attach):
    domain = attach()
    table = pa.table(domain.records())
    expected = store.expected_rows()
    domain.close()
    for path in store.path.iterdir():
        path.unlink()
    del domain
    gc.collect()
    assert values(table) == expected


def mappings_of(path):
    gc.collect()
    return len(mapped(f"{path}/seg-"))


def test_the_mapping_goes_with_the_last_consumer(exporter, store, attach):
    before = mappings_of(store.path)  # the builder's own
    domain = attach()
    table = pa.table(domain.records())
    column = table.column("seq").chunk(0)
    domain.close()
    del domain
    assert mappings_of(store.path) == before + 2
    del table
    assert mappings_of(store.path) == before + 1
    del column
    assert mappings_of(store.path) == before


def test_a_filtered_polars_frame_keeps_what_it_needs(exporter, store, attach):
    polars = pytest.importorskip("polars")
    domain = attach()
    frame = domain.records().to_polars().filter(polars.col("owner") == 3)
    domain.close()
    for path in store.path.iterdir():
        path.unlink()
    del domain
    gc.collect()
    rows = [row for row in store.expected_rows() if row["owner"] == 3]
    assert frame["message"].to_list() == [row["message"] for row in rows]
    assert frame["attributes"].to_list() == [row["attributes"] for row in rows]
    assert frame["trace_id"].to_list() == [row["trace_id"] for row in rows]


def test_polars_copies_neither_numbers_nor_texts(exporter, build_store, attach):
    pl = pytest.importorskip("polars")
    store = build_store()
    store.write(1, 700)
    frame = attach().records().to_polars()
    ranges = mapped(store.path)
    for column in ("seq", "fingerprint", "duration_nano", "owner", "kind", "message", "attributes"):
        array = frame[column].to_arrow(compat_level=pl.CompatLevel.newest())
        for buffer in filter(None, array.buffers()):
            assert any(first <= buffer.address < last for first, last in ranges), column


CONSUMERS = {
    "polars": "import polars; kept = polars.DataFrame(records)",
    "pyarrow": "import pyarrow; kept = pyarrow.table(records)",
    "pyarrow, ours": """
import pyarrow
from faultplane import arrow
arrow._pyarrow_is_loaded = lambda: False
kept = pyarrow.table(records)
reader = pyarrow.RecordBatchReader.from_stream(records)
""",
    "duckdb": "kept = domain.query('select type from records'); kept.fetchall()",
    "unused": "kept = records.__arrow_c_stream__(), records.batches()[0].__arrow_c_array__()",
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_process_may_end_while_consumers_hold_data(consumer, store, run_python):
    pytest.importorskip(consumer.split(",")[0] if consumer != "unused" else "pyarrow")
    code = f"""
from faultplane.store import Domain
domain = Domain.attach("default")
records = domain.records()
{CONSUMERS[consumer]}
print(len(records))
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("1653\n", "")


def test_a_release_amid_an_exception_does_not_end_the_process(store, run_python):
    """pyarrow drops what it imported while its exception is on its way, and checks the release."""
    code = """
import pyarrow as pa
from faultplane import arrow
from faultplane.store import Domain
arrow._pyarrow_is_loaded = lambda: False
records = Domain.attach("default").records()
fields = [(name, pa.int8()) for name in pa.schema(records).names]
try:
    pa.table(records, schema=pa.schema(fields))
except (SystemError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
    print("survived", arrow.exports())
"""
    assert run_python(code).stdout == "survived 0\n"


def test_a_forked_child_may_drop_what_its_parent_got(store, run_python):
    code = """
import os, sys
import polars
from faultplane import arrow
from faultplane.store import Domain
frame = polars.DataFrame(Domain.attach("default").records())
child = os.fork()
if child == 0:
    held = arrow.exports()
    del frame
    os._exit(0 if held and arrow.exports() == 0 else 1)
print(os.waitpid(child, 0)[1], arrow.exports() > 0)
"""
    pytest.importorskip("polars")
    assert run_python(code, flags=["-W", "ignore"]).stdout == "0 True\n"


# -------------------------------------------------------------------------- what is not imported


def test_importing_the_package_imports_neither_numpy_nor_pyarrow_nor_this(run_python):
    code = """
import sys
import faultplane
names = ["numpy", "pyarrow", "polars", "duckdb", "ctypes", "faultplane.arrow"]
print([name for name in names if name in sys.modules])
"""
    assert run_python(code).stdout == "[]\n"


def test_consumers_need_no_pyarrow(store, run_python):
    polars = pytest.importorskip("polars")
    code = """
import sys
sys.modules["pyarrow"] = None
from faultplane import arrow
from faultplane.store import Domain
domain = Domain.attach("default")
frame = domain.records().to_polars()
assert arrow.exports() > 0
print(frame.shape, frame["message"].to_list()[:2], frame["type"].cast(str).to_list()[:2])
"""
    if polars.__version__:
        assert run_python(code).stdout == (
            "(1653, 20) ['row 1 of owner 1: café ≠ thé', 'row 2 of owner 1: café ≠ thé'] "
            "['KeyError', 'ConnectionResetError']\n"
        )


def test_the_module_imports_only_the_schema():
    loaded = [name for name, module in vars(arrow).items() if getattr(module, "__spec__", None)]
    assert {name for name in loaded if name not in sys.stdlib_module_names} == set()


WITHOUT_CAPSULES = """
import ctypes
del ctypes.pythonapi
import faultplane as fp
domain = fp.init(service="shop")
fp.record(KeyError("x"), "charge")
records = domain.records()
print(records.rows()[0]["type"], domain.counts_rows()[0]["count"])
try:
    records.__arrow_c_stream__()
except NotImplementedError as error:
    print(error)
"""


def test_without_capsules_as_on_pypy_rows_are_read_and_arrow_is_refused(run_python):
    assert run_python(WITHOUT_CAPSULES, core="cython").stdout.splitlines() == [
        "KeyError 1",
        "Arrow data is in PyCapsules, which cpython has not: use rows()",
    ]
