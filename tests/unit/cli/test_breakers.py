"""``faultplane breakers``: what is called, in what state, and states that are set by hand."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
from pathlib import Path

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane.cli import breakers_view

CLEAR = "\x1b[H\x1b[2J"
SHOP = """
import sys
import faultplane as fp
fp.init(service="shop")
pay = fp.Dependency(
    "payments",
    retry=fp.Retry(attempts=3, backoff=fp.constant(0), budget=fp.RetryBudget(floor=0)),
    breaker=fp.Breaker(calls_min=int(sys.argv[1]), open_for=600),
    limit=10,
)
stock = fp.Dependency("stock", limit=4)

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
def shop(run_python):
    """Function ``(calls_min=5, **options)``: a process that called two dependencies and left."""
    return lambda calls_min=5, **options: run_python(SHOP, calls_min, **options)


LEARNED = """
import time
import faultplane as fp
from faultplane import control_schema as layout
fp.init(service="shop")
class Odd(Exception):
    pass
pay = fp.Dependency("payments", retry=fp.Retry(learn="unknown", adaptive=True))
fp.record(Odd())
reason = layout.type_tag("__main__.Odd") << layout.REASON_TYPE_SHIFT | fp.classify(Odd()).kind_code
# A moment ahead of who reads: it is not halved before that has read.
later = time.monotonic_ns() // 1_000_000 + layout.RETRIED_EPOCH_MS
for _ in range(3):
    pay.cell.retried(reason, True, 0, later)
"""


@pytest.fixture
def both_cores(child_environment):
    """Skips where one of them is not there."""
    for name in ("cython", "python"):
        child_environment(name)


def rows(answer):
    return {(row["store"], row["name"]): row for row in map(json.loads, answer.lines)}


# ------------------------------------------------------------------------------------- the table


def test_the_table_says_state_cause_and_what_is_shared(command, shop):
    shop()
    head, pay, stock = command("breakers").lines
    assert head.split() == [
        "name", "state", "since", "why", "left", "permits", "tokens", "retries", "rejected",
        "declared", "by",
    ]  # fmt: skip
    assert pay.startswith("payments  open ")
    assert "  failure rate, 4 of 6  " in pay
    # 1 is retried twice, and 3 is the end of it: its retry and eight calls more are rejected.
    assert pay.split()[8:14] == ["10.0", "min", "0/10", "8.4/10", "2", "9"]
    assert " shop pid " in pay
    assert stock.split()[:2] == ["stock", "-"]


def test_columns_that_say_nothing_are_left_out_and_come_when_they_do(command, run_python):
    run_python("import faultplane as fp; fp.init(); fp.Dependency('a', limit=3).call(len, '')")
    assert command("breakers").lines[0].split() == [
        "name",
        "state",
        "why",
        "permits",
        "declared",
        "by",
    ]


def test_json_has_every_field_of_each(command, shop):
    shop()
    found = rows(command("breakers", "--json"))
    pay = found["1-" + fp.core, "payments"]
    from faultplane.store import dependencies

    assert list(pay) == list(dependencies.FIELDS)
    assert (pay["state"], pay["budget_exhausted"], pay["permits_max"]) == ("open", 0, 10)
    assert found["1-" + fp.core, "stock"]["state"] == ""


@pytest.mark.parametrize("columns", [80, 100, 120, 40])
def test_lines_fit_the_terminal_and_keep_name_state_and_why(command, shop, columns):
    shop()
    lines = command("breakers", COLUMNS=str(columns)).lines
    assert max(map(len, lines)) <= columns
    assert {"name", "state", "why"} <= set(lines[0].split())
    whole = command("breakers").lines[0].split()
    assert [head for head in whole if head in lines[0].split()] == lines[0].split()


def test_two_declarations_are_told_of_and_verbose_shows_both(command, shop):
    shop(5)
    shop(6)
    told = "payments is declared in two ways, which --verbose shows: breaker.calls_min"
    assert f"! {told}" in command("breakers").lines
    lines = command("breakers", "--verbose").lines
    assert "  ! breaker.calls_min: 6, not 5" in lines
    governs, other = (line for line in lines if line.strip().startswith("breaker: failure_rate"))
    assert " calls_min=6 " in governs
    assert " calls_min=5 " in other
    (head,) = (line for line in lines if "another declaration, met once" in line)
    # Its process left before the other began, and its slot was given back.
    assert "that does not govern: by process 1, " in head
    assert "  totals: failures 4, rejected 21, opened 1, retries 2, gave_up 1" in lines


def test_dependencies_of_several_stores_have_a_column_for_it(command, shop):
    for core in ("cython", "python"):
        shop(core=core)
    lines = command("breakers").lines
    assert lines[0].split()[:3] == ["name", "store", "state"]
    assert [line.split()[1] for line in lines[1:]] == ["1-cython", "1-python"] * 2
    (pay,) = command("breakers", "--store", "1-python", "--json").lines[:1]
    assert json.loads(pay)["store"] == "1-python"
    error = command("breakers", "--store", "2-python", status=2).err
    assert "--store must be one of 1-cython, 1-python, got '2-python'" in error


def test_a_domain_without_dependencies_says_so(command, run_python):
    run_python("import faultplane as fp; fp.init()")
    assert command("breakers").out == "No process has called a dependency.\n"
    assert command("breakers", "--json").out == ""
    error = command("breakers", "--reset", "payments", status=2).err
    assert error.endswith("has no dependency 'payments'; no process has called one\n")


def test_a_file_that_cannot_be_read_is_named_and_status_is_1(command, shop, tmp_domain_dir):
    shop()
    os.truncate(tmp_domain_dir / "default" / f"1-{fp.core}" / "control", 100)
    answer = command("breakers", status=1)
    assert "control must have at least" in answer.err
    assert answer.out == "No process has called a dependency.\n"


def test_the_table_is_repeated_in_place_until_told_to_stop(terminal, shop):
    shop()
    screen = terminal("breakers", "--follow", "--interval", "0.1")
    screen.wait_for("failure rate")
    while screen.shown.count(CLEAR) < 3:
        screen.wait_for(CLEAR)
    screen.press("\x03")
    assert screen.finish() == 130
    assert all("2 dependencies" in table for table in screen.shown.split(CLEAR)[1:3])
    assert "\x1b[31mpayments" in screen.shown


def test_a_state_that_changes_is_seen_by_who_follows(terminal, command, shop):
    shop()
    screen = terminal("breakers", "--follow", "--interval", "0.1")
    screen.wait_for("failure rate")
    command("breakers", "--force-open", "payments")
    screen.wait_for("forced-open")
    screen.press("\x03")
    assert screen.finish() == 130


def test_following_ends_by_time(command, shop):
    shop()
    answer = command("breakers", "--follow", "--seconds", "0.3", "--interval", "0.1", "--json")
    assert len(answer.lines) % 2 == 0
    assert len(answer.lines) >= 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seconds", "1"), "--seconds goes with --follow only"),
        (("--reason", "x"), "--reason goes with --force-open, --disable, --metrics-only, --reset"),
        (("--reset", "x", "--follow"), "--follow shows the table: set the state without it"),
        (("--forget", "x", "--reason", "y"), "--reason goes with --force-open, --disable"),
        (("--reset", "x", "--disable", "x"), "not allowed with argument --reset"),
    ],
)
def test_options_that_do_not_go_together_are_refused(command, shop, words, told):
    shop()
    assert told in command("breakers", *words, status=2).err


# ------------------------------------------------------------------------------ set by hand


def trace(tmp_domain_dir, store):
    """The record of a change: of one store, whose process is not known in others."""
    with fp.attach("default", str(tmp_domain_dir)) as domain:
        row = domain.records().rows(1, operation="payments")[0]
        (one,) = [one for one in domain.stores() if one.name == store]
        from faultplane.store import owners

        names = {owner.incarnation: owner.service for owner in owners.read_owners(one)}
        assert names[row["owner"]] == "faultplane"
        return fp.decode_attributes(row["attributes"])


def test_what_retries_came_to_is_told_at_length_and_forgotten(command, run_python, both_cores):
    for core in ("cython", "python"):
        run_python(LEARNED, core=core)
    told = ["  retries after Internal: 3 of 3 helped lately",
            "  retries after __main__.Odd: 3 of 3 helped lately"]  # fmt: skip
    lines = command("breakers", "--verbose").lines
    assert [line for line in lines if line.startswith("  retries")] == told * 2
    found = rows(command("breakers", "--json"))["1-python", "payments"]
    assert found["retries_by_type"] == [{"type": "__main__.Odd", "helped": 3, "failed": 0}]
    forgotten = "forgotten what retries came to of 1 kind, 1 type"
    assert command("breakers", "--forget", "payments", "--store", "1-python").lines == [
        f"payments in 1-python: {forgotten}"
    ]
    lines = command("breakers", "--verbose").lines
    assert [line for line in lines if line.startswith("  retries")] == told
    answer = command("breakers", "--forget", "payments", "--json").lines
    assert [json.loads(line)["types"] for line in answer] == [1, 0]
    assert rows(command("breakers", "--json"))["1-cython", "payments"]["retries_by_type"] == []
    assert "no dependency 'stock'" in command("breakers", "--forget", "stock", status=2).err


@pytest.mark.parametrize("mine", ["cython", "python"])
@pytest.mark.parametrize("theirs", ["cython", "python"])
def test_a_state_is_set_by_the_core_that_the_store_belongs_to(
    command, shop, tmp_domain_dir, both_cores, mine, theirs
):
    shop(core=theirs)
    store = f"1-{theirs}"
    answer = command("breakers", "--force-open", "payments", FAULTPLANE_CORE=mine)
    assert answer.err == ""
    assert answer.out.startswith(f"payments in {store}: open -> forced-open; record ")
    # No store of the core that the command happened to have was made.
    assert os.listdir(tmp_domain_dir / "default") == [store]
    found = trace(tmp_domain_dir, store)
    assert found["process.user.id"] == os.getuid()
    assert found["faultplane.breaker.before"] == "open"
    assert found["faultplane.breaker.after"] == "forced-open"
    (row,) = [row for row in rows(command("breakers", "--json")).values() if row["state"]]
    assert (row["state"], row["cause"]) == ("forced-open", "forced")


def test_the_lock_of_the_pure_core_is_waited_for(command, shop, tmp_domain_dir, both_cores):
    shop(core="python")
    with open(tmp_domain_dir / "default" / "1-python" / "locks", "r+b") as locks:
        flock = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, layout.LOCK_CELLS, 1, 0)
        fcntl.fcntl(locks, fcntl.F_SETLK, flock)
        error = command("breakers", "--reset", "payments", status=2, FAULTPLANE_CORE="cython").err
        assert f"byte {layout.LOCK_CELLS} of the lock file was held" in error
        (row,) = [row for row in rows(command("breakers", "--json")).values() if row["state"]]
        assert row["state"] == "open"
    command("breakers", "--reset", "payments", FAULTPLANE_CORE="cython")


def test_each_action_leads_to_its_state_in_every_store(command, shop):
    for core in ("cython", "python"):
        shop(core=core)
    for action, state in (
        ("disable", "disabled"), ("metrics-only", "metrics-only"), ("reset", "closed"),
        ("force-open", "forced-open"),
    ):  # fmt: skip
        found = rows(command("breakers", f"--{action}", "payments", "--json"))
        assert {row["after"] for row in found.values()} == {state}
        assert [store for store, _ in found] == ["1-cython", "1-python"]
    lines = command("breakers", "--force-open", "payments", "--store", "1-python").lines
    assert lines == ["payments in 1-python is forced-open already"]


def test_the_reason_is_kept(command, shop, tmp_domain_dir):
    shop()
    reason = "they asked: 'stop' --now"
    command("breakers", "--disable=payments", "--reason", reason)
    assert trace(tmp_domain_dir, f"1-{fp.core}")["faultplane.breaker.reason"] == reason
    shown = command("tail", "-n", "1", "--no-follow").out
    assert "payments: open -> disabled, by " in shown
    assert reason in shown
    error = command("breakers", "--reset=payments", "--reason", "x" * 256, status=2).err
    assert error == "faultplane breakers: reason must be at most 255 characters, got 256\n"


def test_an_unknown_name_lists_the_known_ones(command, shop):
    shop()
    error = command("breakers", "--reset", "paymnts", status=2).err
    assert error == (
        "faultplane breakers: domain 'default' has no dependency 'paymnts'; known are payments, "
        "stock\n"
    )


@pytest.mark.parametrize("core", ["cython", "python"])
def test_a_dependency_without_a_breaker_is_not_changed(command, shop, core):
    shop(core=core)
    error = command("breakers", "--force-open", "stock", status=2).err
    assert error == (
        "faultplane breakers: stock has no breaker: the declaration that governs it has none\n"
    )


@pytest.mark.parametrize("core", ["cython", "python"])
def test_what_does_not_record_does_not_change(command, shop, core):
    shop(core=core)
    error = command("breakers", "--reset", "payments", status=2, FAULTPLANE_DISABLED="1").err
    assert error.startswith("faultplane breakers: payments cannot be changed: ")
    assert error.endswith("FAULTPLANE_DISABLED is set\n")
    assert "  open  " in command("breakers").out


@pytest.mark.parametrize("core", ["cython", "python"])
def test_a_change_without_a_record_is_told_of(command, shop, core):
    shop(core=core)
    ignored = {"FAULTPLANE_IGNORE": "faultplane.resilience.override.BreakerOverridden"}
    answer = command("breakers", "--reset", "payments", status=1, **ignored)
    assert answer.out.endswith(": open -> closed\n")
    assert "no record of it could be written" in answer.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_domain_of_another_user_is_not_changed(command, shop, tmp_domain_dir):
    shop()
    os.chown(tmp_domain_dir / "default" / f"1-{fp.core}", 12_345, -1)
    before = sorted(os.listdir(tmp_domain_dir / "default" / f"1-{fp.core}"))
    error = command("breakers", "--reset", "payments", status=2).err
    assert error.endswith("must belong to uid 0, got uid 12345\n")
    assert sorted(os.listdir(tmp_domain_dir / "default" / f"1-{fp.core}")) == before
    assert "  open  " in command("breakers").out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_where_one_store_is_of_another_user_none_is_changed(command, shop, tmp_domain_dir):
    for core in ("cython", "python"):
        shop(core=core)
    os.chown(tmp_domain_dir / "default" / "1-python", 12_345, -1)
    command("breakers", "--reset", "payments", status=2)
    found = rows(command("breakers", "--json"))
    assert {found[store, "payments"]["state"] for store in ("1-cython", "1-python")} == {"open"}
    command("breakers", "--reset", "payments", "--store", "1-cython")


def test_a_core_that_is_not_there_is_named(command, shop, tmp_path):
    shop(core="cython")
    package = Path(fp.__file__).parent
    shutil.copytree(package, tmp_path / "faultplane", ignore=shutil.ignore_patterns("*.so"))
    error = command(
        "breakers",
        "--reset",
        "payments",
        status=2,
        PYTHONPATH=str(tmp_path),
        FAULTPLANE_CORE="auto",
    ).err
    assert error.startswith(
        "faultplane breakers: payments is in 1-cython, which only the cython core may change: "
        "FAULTPLANE_CORE=cython, but the compiled core was not built"
    )
    assert len(error.splitlines()) == 1


# ----------------------------------------------------------------------------------- the view


def a_row(**values):
    """A row of a dependency of which nothing happened yet."""
    nothing = dict.fromkeys(layout.TOTALS, 0)
    row = {
        "store": "1-cython", "name": "payments", "state": "closed", "since_unix_nano": 0,
        "time_left_seconds": None, "window_calls": 0, "window_failures": 0, "window_slow": 0,
        "probes_under_way": 0, "probes_max": 3, "permits": 0, "permits_max": None, "tokens": None,
        "tokens_held": 0, "tokens_max": None, "declared_service": "", "declared_pid": 0,
        "declared_by": 0, "transition": None, "health": "", "checks": 0,
        "retries_by_kind": [], "retries_by_type": [], "rate": None, "rate_tokens": None,
    }  # fmt: skip
    return {**row, **nothing, **values}


def test_health_is_shown_where_it_was_checked():
    row = a_row(
        health="unhealthy", checks=1201, checks_failed=7, health_age_seconds=2.0,
        health_since_unix_nano=1, declared_unix_nano=1, declaration={}, other=None,
    )  # fmt: skip
    head, line = breakers_view.lines([row])
    assert head.split() == ["name", "state", "why", "health"]
    assert line.split() == ["payments", "closed", "-", "unhealthy"]
    told = [one for one in breakers_view.details(row) if "health" in one]
    assert len(told) == 1 and "1,201 checks, 7 failed, the last 2.0 s ago" in told[0]


def test_probes_are_shown_while_they_are_under_way():
    row = a_row(state="half-open", probes_under_way=2, time_left_seconds=1.5)
    head, line = breakers_view.lines([row])
    assert head.split() == ["name", "state", "why", "left", "probes"]
    assert line.split() == ["payments", "half-open", "-", "1.5", "s", "2/3"]
    assert breakers_view.left(a_row(state="open", time_left_seconds=0.0)) == "over"


def test_totals_that_are_not_zero_have_columns():
    row = a_row(window_calls=1200, window_failures=7, window_slow=2, budget_exhausted=5, full=6)
    head, line = breakers_view.lines([row])
    assert head.split()[3:] == ["calls", "failed", "slow", "exhausted", "full"]
    assert line.split()[3:] == ["1,200", "7", "2", "5", "6"]


def test_a_name_that_somebody_wrote_into_the_file_commands_no_terminal():
    (_, line) = breakers_view.lines([a_row(name="a\x1b[31mb")])
    assert line.startswith("a\\x1b[31mb  closed")


def test_what_is_older_than_a_day_has_its_date():
    assert len(breakers_view.since(1_700_000_000 * 10**9)) == len("2023-11-14")
    assert breakers_view.since(0) == "-"
