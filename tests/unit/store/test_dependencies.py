"""Dependencies as rows: what real processes left in their cells, on each core."""

from __future__ import annotations

import os
import time
from zlib import crc32

import pytest

from faultplane import control_schema as layout
from faultplane.store import Domain, control, dependencies, tables

SHOP = """
import sys
import faultplane as fp
from faultplane.resilience.backoff import constant
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Retry, RetryBudget

fp.init(service="shop")
budget = RetryBudget(ratio=0.5, floor=0, capacity=10)
pay = Dependency(
    "payments",
    retry=Retry(attempts=3, backoff=constant(0), budget=budget),
    breaker=Breaker(calls_min=int(sys.argv[1]), open_for=60),
    limit=7,
)
stock = Dependency("stock", limit=4)

@pay
def charge(order):
    if order % 2:
        raise TimeoutError("no answer")

stock.call(len, "")
for order in range(12):
    try:
        charge(order)
    except Exception:
        pass
"""


@pytest.fixture
def shop(run_python, tmp_domain_dir):
    """Function ``(calls_min=5, core=None) -> Domain`` of what a shop left behind."""
    opened = []

    def run(calls_min=5, core=None):
        run_python(SHOP, calls_min, core=core)
        opened.append(Domain.attach("default", tmp_domain_dir))
        return opened[-1]

    yield run
    for domain in opened:
        domain.close()


def of(domain, name):
    (row,) = [row for row in domain.dependencies_rows() if row["name"] == name]
    return row


def control_file(domain):
    (store,) = domain.stores()
    return os.path.join(store.path, control.NAME)


def damage(domain, offset, data):
    """Write into the cell of payments, which was used second."""
    with open(control_file(domain), "r+b") as file:
        file.seek(layout.CONTROL.size + layout.CONTROL_CELL.size + offset)
        file.write(data)


def test_a_row_says_what_opened_the_breaker_when_and_who_declared_it(core_name, shop):
    before = time.time_ns()
    domain = shop(core=core_name)
    row = of(domain, "payments")
    assert (row["state"], row["cause"], row["generation"]) == ("open", "failure rate", 1)
    assert before < row["since_unix_nano"] < time.time_ns()
    assert 0 < row["time_left_seconds"] <= 60
    assert (row["probes_max"], row["permits"], row["permits_max"]) == (3, 0, 7)
    # Twelve calls: 0 succeeds, 1 fails three times, 2 succeeds, 3 fails and is the end of it.
    assert (row["failures"], row["opened"], row["retries"]) == (4, 1, 2)
    assert row["rejected"] == 1 + 8
    assert (row["window_calls"], row["window_failures"]) == (0, 0)
    assert row["tokens_max"] == 10
    assert row["tokens"] == 10 - 2 + 2 * 0.5  # the first two calls found it full
    assert (row["declared_service"], row["differs"], row["other"]) == ("shop", 0, None)
    assert row["declared_pid"] > 1
    assert row["declaration"]["breaker"]["calls_min"] == 5


def test_what_a_dependency_does_not_have_is_none(shop):
    row = of(shop(), "stock")
    assert (row["state"], row["cause"], row["since_unix_nano"]) == ("", "", 0)
    nothing = ("time_left_seconds", "probes_max", "tokens", "tokens_max", "other")
    assert {row[name] for name in nothing} == {None}
    assert row["permits_max"] == 4


def test_transitions_have_the_window_that_decided_and_the_process(core_name, shop):
    domain = shop(core=core_name)
    (row,) = domain.transitions_rows()
    assert (row["name"], row["before"], row["after"]) == ("payments", "closed", "open")
    assert (row["calls"], row["failures"], row["slow"]) == (6, 4, 0)
    assert (row["service"], row["cause"]) == ("shop", "failure rate")
    assert row["pid"] == of(domain, "payments")["declared_pid"]


def test_both_declarations_are_there_where_they_differ(shop):
    shop(5)
    row = of(shop(6), "payments")
    assert row["differs"] == 1
    assert row["declaration"]["breaker"]["calls_min"] == 6
    assert row["other"]["breaker"]["calls_min"] == 5
    assert row["other_by"] < row["declared_by"]
    assert row["other_unix_nano"] < row["declared_unix_nano"]


def test_each_store_has_a_row_of_its_own(shop):
    for core in ("cython", "python"):
        domain = shop(core=core)
    rows = domain.dependencies_rows()
    assert [(row["name"], row["store"]) for row in rows] == [
        ("payments", "1-cython"), ("payments", "1-python"),
        ("stock", "1-cython"), ("stock", "1-python"),
    ]  # fmt: skip
    times = [row["time_unix_nano"] for row in domain.transitions_rows()]
    assert times == sorted(times)
    assert len(times) == 2


def test_rows_have_the_fields_that_are_promised(shop):
    domain = shop()
    for name, fields, rows in (
        ("dependencies", dependencies.FIELDS, domain.dependencies_rows()),
        ("transitions", dependencies.TRANSITION_FIELDS, domain.transitions_rows()),
    ):
        assert list(rows[0]) == list(fields) == list(tables.TABLES[name])


def test_why_did_it_open_is_a_query(shop):
    pytest.importorskip("duckdb")
    domain = shop()
    answer = domain.query(
        "select t.name, t.cause, t.failures, r.type, count(*) from transitions t "
        "join records r on r.operation = t.name where t.after = 'open' group by all"
    )
    assert answer.fetchall() == [("payments", "failure rate", 4, "TimeoutError", 4)]
    (told,) = domain.query("select tokens, other from dependencies where state = 'open'").fetchall()
    assert told == (9.0, None)


def test_a_process_whose_slot_was_given_back_is_not_known_any_more(run_python, shop):
    domain = shop()
    assert of(domain, "payments")["declared_service"] == "shop"
    run_python("import faultplane as fp; fp.init(service='next')")
    row = of(domain, "payments")
    assert (row["declared_service"], row["declared_pid"]) == ("", 0)
    assert row["declared_by"] > 0


def test_a_domain_without_a_dependency_has_no_rows(run_python, tmp_domain_dir):
    run_python("import faultplane as fp; fp.init()")
    with Domain.attach("default", tmp_domain_dir) as domain:
        assert domain.dependencies_rows() == domain.transitions_rows() == []
        assert domain.problems() == []


def test_a_file_that_is_damaged_is_named_and_the_rest_is_shown(shop):
    domain = shop()
    with open(control_file(domain), "r+b") as file:
        file.seek(layout.CONTROL.offset["file_bytes"])
        file.write(b"\xff")
    assert domain.dependencies_rows() == domain.transitions_rows() == []
    (problem,) = domain.dependency_problems()
    assert "control: crc must be" in problem
    assert problem in domain.problems()
    assert len(domain.records()) == 4


def test_cells_from_before_the_last_start_of_the_host_are_nobodys(shop):
    domain = shop()
    with open(control_file(domain), "r+b") as file:
        head = bytearray(file.read(layout.CONTROL.size))
        layout.CONTROL.write(head, 0, boot_id=b"another boot id.")
        crc = crc32(head[: layout.CONTROL.offset["crc"]])
        layout.CONTROL.write(head, 0, crc=crc)
        file.seek(0)
        file.write(head)
    assert domain.dependencies_rows() == []
    assert domain.dependency_problems() == []


def test_between_a_transition_and_its_note_nothing_is_said_of_when(shop):
    domain = shop()
    assert of(domain, "payments")["since_unix_nano"] > 0
    damage(domain, layout.CONTROL_CELL.offset["transitions"] + layout.TRANSITION.size, bytes(8))
    row = of(domain, "payments")
    assert (row["state"], row["since_unix_nano"], row["cause"]) == ("open", 0, "")
    assert domain.transitions_rows() == []


def test_the_note_of_an_earlier_transition_says_nothing_of_the_state_that_it_is_in(
    run_python, shop
):
    domain = shop()
    run_python(
        "import faultplane as fp; from faultplane.resilience.override import override;"
        "fp.init(); override('payments', 'reset')"
    )
    assert of(domain, "payments")["cause"] == "reset"
    at = layout.CONTROL_CELL.offset["transitions"] + 2 * layout.TRANSITION.size
    damage(domain, at, bytes(8))
    row = of(domain, "payments")
    assert (row["state"], row["since_unix_nano"], row["cause"]) == ("closed", 0, "")
    assert [one["cause"] for one in domain.transitions_rows()] == ["failure rate"]


def test_a_process_that_died_is_known_by_its_death_record(run_python, tmp_domain_dir):
    killed = run_python(f"{SHOP}\nimport os\nos.kill(os.getpid(), 9)", 5, check=False)
    assert killed.returncode == -9
    run_python("import faultplane as fp; fp.init(service='next')")
    with Domain.attach("default", tmp_domain_dir) as domain:
        (death,) = domain.deaths_rows()
        assert death["incarnation"] not in {row["incarnation"] for row in domain.owners_rows()}
        row = of(domain, "payments")
        assert (row["declared_service"], row["declared_pid"]) == ("shop", death["pid"])
        assert [one["pid"] for one in domain.transitions_rows()] == [death["pid"]]


def test_a_declaration_that_is_no_json_is_none(shop):
    domain = shop()
    size = layout.DECLARATION_BYTES_MAX
    for text in (b"[" * size, b'{"a":NaN}', b"\xff" * 9, b'{"a":"\\ud800"}', b"[]"):
        damage(domain, layout.CONTROL_CELL.offset["text"], text.ljust(size))
        assert of(domain, "payments")["declaration"] == {}


BOUNDS = {"u64": (0, (1 << 64) - 1), "i64": (-(1 << 63), (1 << 63) - 1)}
DAMAGED = 150


def test_whatever_is_in_the_cells_the_tables_have_room_for_it(shop, rng):
    domain = shop()
    with open(control_file(domain), "rb") as file:
        good = file.read()
    cells = range(layout.CONTROL.size, layout.CONTROL.size + 3 * layout.CONTROL_CELL.size, 8)
    leases = range(layout.leases_offset(layout.cells_for(1024)), len(good), 8)[: 2 * 512]
    counts = range(layout.CONTROL.offset["cells_used"], layout.CONTROL.size, 8)[:16]
    shown = 0
    for _ in range(DAMAGED):
        data = bytearray(good)
        for at in rng.choices([*cells, *leases, *counts], k=rng.choice((1, 8, 64))):
            data[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8)))
        with open(control_file(domain), "r+b") as file:
            file.write(data)
        for name in ("dependencies", "transitions"):
            found = getattr(domain, f"{name}_rows")()
            shown += len(found)
            for column, values in tables.columns(name, found).items():
                low, high = BOUNDS.get(tables.TABLES[name][column].replace("time", "i64"), (0, 0))
                for value in values:
                    assert not isinstance(value, int) or low <= value <= high, (column, value)
                    assert not isinstance(value, str) or value.encode()[:0] == b""
    assert shown > 2 * DAMAGED


def test_reading_leaves_the_file_as_it_is_and_no_descriptor_open(shop):
    domain = shop()
    with open(control_file(domain), "rb") as file:
        before = file.read()
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self") else 0
    for _ in range(3):
        domain.dependencies_rows()
        domain.transitions_rows()
    assert not opened or len(os.listdir("/proc/self/fd")) == opened
    with open(control_file(domain), "rb") as file:
        assert file.read() == before
