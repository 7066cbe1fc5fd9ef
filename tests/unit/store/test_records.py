"""Records and the domain they come from: the same answers, whoever is asked."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter

import pytest

from faultplane import schema
from faultplane.errors import (
    DomainNotFound,
    InvalidName,
    InvalidSetting,
    MissingExtra,
    QueryError,
    StackNotFound,
    StorageError,
)
from faultplane.store import Domain, tables
from faultplane.store.extras import require

ROWS = schema.LANE_ROWS


@pytest.fixture
def store(build_store):
    store = build_store()
    store.write(1, 1100)
    store.write(2, 40)
    return store


@pytest.fixture
def domain(store, attach):
    return attach()


@pytest.fixture
def copied(domain):
    """The records as a table that shares no memory with the files."""
    pa = pytest.importorskip("pyarrow")
    table = domain.records().to_pyarrow(compat=True)
    return pa.ipc.open_stream(pa.BufferReader(serialised(pa, table))).read_all()


def serialised(pa, table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


# ------------------------------------------------------------------------------------- records


def test_rows_need_no_other_package(store, run_python):
    code = """
import json, sys
for name in ("pyarrow", "polars", "duckdb", "numpy"):
    sys.modules[name] = None
from faultplane.store import Domain
with Domain.attach() as domain:
    rows = domain.records().rows(last=2)
print(json.dumps([{k: v for k, v in row.items() if k != "attributes"} for row in rows]))
"""
    rows = json.loads(run_python(code).stdout)
    assert [row["seq"] for row in rows] == [1099, 1100]
    assert rows[1]["message"] == "row 1100 of owner 1: café ≠ thé"
    assert rows[1]["trace_id"] == (1100).to_bytes(16, "little").hex()
    assert rows[1]["kind"] == schema.KINDS[1100 % 15].name


def test_rows_are_what_was_written(store, domain):
    codes = {"kind": schema.KINDS, "category": schema.CATEGORIES}
    names = {name: {t.code: t.name for t in terms} for name, terms in codes.items()}
    expected = []
    for row in store.expected_rows():
        plain = {
            name: value.hex() if any(value) else ""
            for name, value in row.items()
            if name in ("trace_id", "span_id")
        }
        expected.append({**row, **plain, **{name: names[name][row[name]] for name in names}})
    found = domain.records().rows()
    key = lambda row: (row["owner"], row["seq"])  # noqa: E731
    assert sorted(found, key=key) == sorted(expected, key=key)
    times = [row["time_unix_nano"] for row in found]
    assert times == sorted(times)


def test_rows_of_one_fingerprint(store, domain):
    wanted = store.expected_rows()[17]
    rows = domain.records().rows(last=5, fingerprint=wanted["fingerprint"])
    assert {row["seq"] for row in rows} == {wanted["seq"]}
    assert len(rows) == 2  # of both owners
    assert domain.records().rows(fingerprint=0) == []


def test_rows_of_one_operation(store, domain):
    names = Counter(row["operation"] for row in domain.records().rows())
    assert len(names) > 1
    for name, count in names.items():
        rows = domain.records().rows(operation=name)
        assert [row["operation"] for row in rows] == [name] * count
        assert domain.records().rows(2, operation=name) == rows[-2:]
        wanted = rows[0]["fingerprint"]
        both = domain.records().rows(fingerprint=wanted, operation=name)
        assert both == [row for row in rows if row["fingerprint"] == wanted]
    assert domain.records().rows(operation="no such thing") == []


def test_fewer_rows_than_none_are_refused(domain):
    assert domain.records().rows(last=0) == []
    with pytest.raises(ValueError, match="last must be 0 or more, got -1"):
        domain.records().rows(last=-1)


def test_records_say_what_they_are(domain):
    records = domain.records()
    assert repr(records) == "<Records: 1140 rows in 2 batches>"
    assert [len(batch) for batch in records.batches()] == [1100, 40]
    assert repr(records.batches()[0]) == "<Batch: 1100 rows>"
    assert records
    assert not domain.records(records.cursor)


def test_a_cursor_can_be_kept_as_text(store, domain):
    text = str(domain.records().cursor)
    store.write(3, 4)
    assert len(domain.records(text)) == 4
    assert domain.cursor() == domain.records().cursor
    with pytest.raises(InvalidSetting):
        domain.records("yesterday")


# -------------------------------------------------------------------------- polars and DuckDB

QUERIES = [
    "select count(*), sum(seq), min(seq), max(seq), sum(attempt) from {t}",
    "select kind, count(*) from {t} group by 1 order by 1",
    "select type, site, count(*), max(message) from {t} group by 1, 2 order by 1, 2",
    "select message, attributes, trace_id, span_id from {t} order by owner, seq",
    "select seq from {t} where message = 'short 9' or type = 'KeyError' order by owner, seq",
    "select count(*) from {t} where operation like 'Zahlung%' and octet_length(attributes) > 0",
    "select count(distinct a.fingerprint) from {t} a join {t} b using (seq) where b.owner = 2",
    "select epoch_ns(time_unix_nano::timestamp_ns) from {t} order by owner, seq",
]


@pytest.mark.parametrize("sql", QUERIES)
def test_duckdb_answers_as_over_a_copy(sql, domain, copied):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        # The zone is left out on both sides: its type has no nanoseconds.
        index = copied.column_names.index("time_unix_nano")
        times = copied.column(index).cast("timestamp[ns]")
        connection.register("copied", copied.set_column(index, "time_unix_nano", times))
        expected = connection.execute(sql.format(t="copied")).fetchall()
    assert domain.query(sql.format(t="records")).fetchall() == expected
    assert expected


def test_polars_answers_as_over_a_copy(exporter, store, domain, copied):
    pl = pytest.importorskip("polars")
    there, here = domain.records().to_polars(), pl.DataFrame(copied)
    texts = pl.col("type", "site", "operation", "resource").cast(pl.String)
    assert there.with_columns(texts).equals(here)
    for column in ("kind", "type", "operation"):
        groups = [
            frame.with_columns(texts).group_by(column).agg(pl.len(), pl.sum("seq")).sort(column)
            for frame in (there, here)
        ]
        assert groups[0].equals(groups[1])
    chosen = [frame.filter(pl.col("message").str.contains("9")) for frame in (there, here)]
    assert chosen[0]["message"].to_list() == chosen[1]["message"].to_list() != []


def test_polars_of_no_rows(exporter, domain):
    pytest.importorskip("polars")
    assert domain.records(domain.cursor()).to_polars().shape == (0, 20)


def test_a_relation_outlives_the_domain(store, attach):
    pytest.importorskip("duckdb")
    domain = attach()
    relation = domain.query("select count(*) from records")
    domain.close()
    del domain
    assert relation.fetchall() == [(1140,)]


def test_two_queries_do_not_see_each_others_records(store, domain):
    pytest.importorskip("duckdb")
    first = domain.query("select count(*) from records")
    store.write(1, 10)
    second = domain.query("select count(*) from records")
    assert (first.fetchall(), second.fetchall()) == ([(1140,)], [(1150,)])


def test_names_of_kinds_can_be_asked_for(domain):
    pytest.importorskip("duckdb")
    sql = "select distinct kind_name, category_name, severity_name from records where seq = 5"
    assert domain.query(sql).fetchall() == [("Timeout", "Performance", "Low")]
    sql = "select kind, any_value(kind_name) from records group by 1 order by 1"
    assert domain.query(sql).fetchall() == [(term.code, term.name) for term in schema.KINDS]


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_can_be_queried(name, domain):
    pytest.importorskip("duckdb")
    relation = domain.query(f"select * from {name}")
    assert relation.columns == list(tables.TABLES[name])
    assert len(relation.fetchall()) == len(getattr(domain, f"{name}_rows")())


def test_a_query_that_is_refused_names_the_tables(domain):
    pytest.importorskip("duckdb")
    with pytest.raises(QueryError, match=r"(?s)nothing.*records, counts, counters, drops"):
        domain.query("select * from nothing")
    with pytest.raises(QueryError, match="rows"):
        domain.query("select * from rows")  # the name of a function where DuckDB would look
    with pytest.raises(QueryError, match="must be at most"):
        domain.query("select 1 --" + "x" * (1 << 20))


# ------------------------------------------------------------------------------ missing packages

NEEDS = {
    "pyarrow": [
        ("Records.to_pyarrow()", "arrow", lambda domain: domain.records().to_pyarrow()),
        ("Domain.counts()", "arrow", lambda domain: domain.counts()),
        ("Domain.owners()", "arrow", lambda domain: domain.owners()),
    ],
    "polars": [("Records.to_polars()", "query", lambda domain: domain.records().to_polars())],
    "duckdb": [("Domain.query()", "query", lambda domain: domain.query("select 1"))],
}


@pytest.mark.parametrize("package", NEEDS)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, domain, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for feature, extra, call in NEEDS[package]:
        with pytest.raises(MissingExtra) as raised:
            call(domain)
        assert str(raised.value) == f"{feature} needs {package}: pip install 'faultplane[{extra}]'"
        assert isinstance(raised.value, ImportError)


def test_a_package_that_is_broken_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "duckdb.py").write_text("import something_it_needs\n")
    monkeypatch.delitem(sys.modules, "duckdb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs"):
        require("duckdb", "Domain.query()")


def test_duckdb_alone_is_enough_to_query(store, run_python):
    pytest.importorskip("duckdb")
    code = """
import sys
from collections import Counter
for name in ("pyarrow", "polars", "pandas", "numpy", "pytz"):
    sys.modules[name] = None
from faultplane.store import Domain
with Domain.attach() as domain:
    print(domain.query("select count(*), max(time_unix_nano), max(site) from records").fetchall())
    print(domain.query("select * from owners").fetchall())
"""
    out = run_python(code).stdout.splitlines()
    assert out[0].startswith("[(1140, datetime.datetime(2023, 11, 14, 22, 13, 20, ")
    assert out[1] == "[]"


# ---------------------------------------------------------------------------------- the domain


def test_tables_have_the_columns_that_are_promised(domain):
    pytest.importorskip("pyarrow")
    for name, columns in tables.TABLES.items():
        table = getattr(domain, name)()
        assert table.column_names == list(columns)
        assert table.num_rows == len(getattr(domain, f"{name}_rows")())


def test_nested_values_are_json_and_times_that_were_not_are_null():
    rows = [
        {"incarnation": 3, "resource": {"service.name": "ä"}, "time_unix_nano": 0, "how": "exit"}
    ]
    columns = tables.columns("deaths", rows)
    assert columns["resource"] == ['{"service.name":"ä"}']
    assert columns["time_unix_nano"] == columns["store"] == [None]
    assert columns["how"] == ["exit"]


def test_a_missing_domain_names_the_directory_and_those_that_are_there(build_store, tmp_domain_dir):
    build_store(domain="one")
    build_store(domain="two")
    (tmp_domain_dir / "no-domain").mkdir()
    with pytest.raises(DomainNotFound) as raised:
        Domain.attach("three", tmp_domain_dir)
    text = str(raised.value)
    assert "'three'" in text
    assert str(tmp_domain_dir) in text
    assert text.endswith("domains there: one, two")
    with pytest.raises(DomainNotFound, match="there are no domains"):
        Domain.attach("three", tmp_domain_dir / "no-domain")
    with pytest.raises(InvalidName):
        Domain.attach("../three", tmp_domain_dir)


def test_a_domain_of_which_nothing_can_be_read_is_refused(store, tmp_domain_dir):
    os.truncate(store.path / "registry", 10)
    with pytest.raises(StorageError, match=r"default.*1-cython.*registry"):
        Domain.attach("default", tmp_domain_dir)


def test_what_is_not_given_comes_from_the_environment(store, tmp_domain_dir, monkeypatch):
    monkeypatch.setenv("FAULTPLANE_DIR", str(tmp_domain_dir))
    with Domain.attach() as domain:
        assert (domain.name, len(domain.records())) == ("default", 1140)
    monkeypatch.setenv("FAULTPLANE_DOMAIN", "other")
    with pytest.raises(DomainNotFound, match="'other'"):
        Domain.attach()


def test_a_domain_that_is_removed_has_no_rows_and_comes_back(store, domain, build_store):
    cursor = domain.records().cursor
    for path in store.path.iterdir():
        path.unlink()
    store.path.rmdir()
    assert len(domain.records()) == 0
    store.path.parent.rmdir()
    assert len(domain.records(cursor)) == 0
    build_store().write(7, 3)
    assert [row["owner"] for row in domain.records(cursor).rows()] == [7, 7, 7]


def test_a_closed_domain_says_so_and_what_came_from_it_stays(store, attach):
    domain = attach()
    records = domain.records()
    domain.close()
    domain.close()
    assert len(records.rows()) == 1140
    with pytest.raises(StorageError, match="closed"):
        domain.records()


def test_reading_leaves_no_descriptor_behind(store, tmp_domain_dir):
    with Domain.attach("default", tmp_domain_dir) as domain:
        domain.records()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Domain.attach("default", tmp_domain_dir) as domain:
            domain.records().rows(last=1)
            domain.stacks_rows()
            domain.counts_rows()
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_writes_nothing(store, tmp_domain_dir):
    def state():
        return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.path.iterdir()}

    before = state()
    with Domain.attach("default", tmp_domain_dir) as domain:
        domain.records().rows()
        for name in tables.TABLES:
            getattr(domain, f"{name}_rows")()
    assert state() == before


OWN = """
import sys
from collections import Counter
from faultplane import _backend
from faultplane.store import Domain, lifecycle
domain = Domain.own()
print(len(domain.records()), domain.counts_rows(), domain.name)
status = lifecycle.init("svc", "mine", sys.argv[1])
def failure():
    try:
        raise KeyError("sku")
    except KeyError as error:
        return error
_backend.core.record(failure(), operation="buy")
print(status.bound, len(domain.records()), domain)
print([(row["type"], row["count"]) for row in domain.counts_rows()], domain.problems())
"""


def test_a_process_reads_the_domain_that_it_records_into(run_python, tmp_domain_dir):
    lines = run_python(OWN, tmp_domain_dir).stdout.splitlines()
    assert lines == [
        "0 [] ",
        f"True 1 <Domain 'mine' in {tmp_domain_dir}>",
        "[('KeyError', 1)] []",
    ]


def test_without_storage_a_process_still_sees_its_own_counts(run_python, tmp_domain_dir):
    (tmp_domain_dir / "file").write_text("no directory")
    lines = run_python(OWN, tmp_domain_dir / "file").stdout.splitlines()
    assert lines[1:] == ["False 0 <Domain 'mine' without storage>", "[('KeyError', 1)] []"]


def test_values_of_another_type_are_named_with_what_they_must_be(domain):
    rows = domain.records().rows
    number = "must be a whole number, got"
    for call, kind, text in (
        (lambda: domain.query(5), QueryError, "sql must be text, got 5"),
        (lambda: rows(last="x"), TypeError, f"last {number} 'x'"),
        (lambda: rows(last=1.5), TypeError, f"last {number} 1.5"),
        (lambda: rows(fingerprint="7f"), TypeError, f"fingerprint {number} '7f'"),
        (lambda: rows(operation=b"pay"), TypeError, "operation must be text, got b'pay'"),
        (lambda: domain.stack("7f"), TypeError, f"fingerprint {number} '7f'"),
        (lambda: Domain.attach("x", 5), InvalidSetting, "directory must be a path, got 5"),
        (lambda: Domain.attach("x", b"/"), InvalidSetting, "directory must be a path, got b'/'"),
        (lambda: Domain.attach(5), InvalidName, "domain must be .*, got 5"),
    ):
        with pytest.raises(kind, match=f"^{text}$"):
            call()


# -------------------------------------------------------------------------------------- stacks


def stack_text(*lines):
    return "\n".join(lines)


def frame(file, name, line):
    return f"{file}\x1f{name}\x1f{line}\x1fshop"


def test_a_stack_is_found_and_has_its_source(store, domain, tmp_path):
    source = tmp_path / "shop.py"
    source.write_text("def buy():\n    raise KeyError(sku)  # why\n")
    store.stacks.add(
        stack_text(
            "KeyError", "shop:buy:2", "'<str>'", "'a\\nb'",
            frame(source, "main", 9), frame(source, "buy", 2),
        ),
        key=77,
    )  # fmt: skip
    store.stacks.save()
    stack = domain.stack(77)
    assert (stack.type, stack.site, stack.template) == ("KeyError", "shop:buy:2", "'<str>'")
    assert [(f.qualname, f.line, f.source) for f in stack.frames] == [
        ("main", 9, ""),
        ("buy", 2, "raise KeyError(sku)  # why"),
    ]
    assert str(stack) == (
        "Traceback (most recent call last):\n"
        f'  File "{source}", line 9, in main\n'
        f'  File "{source}", line 2, in buy\n'
        "    raise KeyError(sku)  # why\n"
        "KeyError: 'a\nb'"
    )
    assert [row["fingerprint"] for row in domain.stacks_rows()] == [77]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_no_source_is_read_for_a_stack_that_another_user_wrote(store, domain, tmp_path):
    """It may name any file that this user can read and that one cannot."""
    secret = tmp_path / "token"
    secret.write_text("hidden\n")
    store.stacks.add(stack_text("KeyError", "a:b:1", "t", "m", frame(secret, "b", 1)), key=78)
    store.stacks.save()
    assert "hidden" in str(domain.stack(78)), "a control"
    (file,) = (os.path.join(root, name) for root, _, names in os.walk(domain.path)
               for name in names if name.startswith("stacks-"))  # fmt: skip
    os.chown(file, 4321, 4321)
    assert "hidden" not in str(domain.stack(78))
    assert domain.stack(78).frames[0].line == 1


def test_a_chain_and_a_group_read_like_a_traceback(store, domain):
    store.stacks.add(
        stack_text(
            "shop.PayError", "shop:pay:5", "no", "no", frame("/no/such.py", "pay", 5),
            "\x1eelided\x1f12", frame("/no/such.py", "post", 7),
            "\x1ecause\x1fTimeoutError", frame("/no/such.py", "wait", 3),
            "\x1emember\x1fValueError", frame("/no/such.py", "check", 4), "",
        ),
        key=78,
    )  # fmt: skip
    store.stacks.save()
    assert str(domain.stack(78)).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/no/such.py", line 3, in wait',
        "TimeoutError",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "/no/such.py", line 5, in pay',
        "  [12 frames left out]",
        '  File "/no/such.py", line 7, in post',
        "shop.PayError: no",
        "  +---------------- 1 ----------------",
        "  | Traceback (most recent call last):",
        '  |   File "/no/such.py", line 4, in check',
        "  | ValueError",
    ]


def test_a_stack_that_is_not_kept_is_an_error_that_names_it(domain):
    with pytest.raises(StackNotFound, match="00000000000000ff"):
        domain.stack(255)


def test_stacks_of_every_generation_are_found_and_damage_is_a_problem(store, domain):
    store.stacks.add("ValueError", key=1)
    store.stacks.save()
    store.new_generation()
    store.stacks.add(b"\xff\xfe\nsite\n\x1f\x1f\x1f", key=2)
    store.stacks.save()
    assert [domain.stack(key).type for key in (1, 2)] == ["ValueError", "\ufffd\ufffd"]
    assert sorted(row["fingerprint"] for row in domain.stacks_rows()) == [1, 2]
    os.truncate(store.path / "stacks-2", 50)
    assert domain.stack(1).type == "ValueError"
    assert any("stacks-2" in problem for problem in domain.problems())


def test_source_is_read_from_regular_files_of_bounded_size_only(store, domain, tmp_path):
    huge = tmp_path / "huge.py"
    huge.touch()
    os.truncate(huge, 17 << 20)
    lines = [
        frame("/dev/zero", "f", 1),
        frame(huge, "f", 1),
        frame("a\0b", "f", 1),
        frame("", "", "x"),
    ]
    store.stacks.add(stack_text("E", "s", "t", "m", *lines), key=5)
    store.stacks.save()
    assert [f.source for f in domain.stack(5).frames] == [""] * 4
