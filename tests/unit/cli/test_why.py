"""``faultplane why``: each change of a breaker, and the errors behind it."""

from __future__ import annotations

import json
import os

import pytest

import faultplane as fp
from faultplane.cli import why

SHOP = """
import sys
import faultplane as fp
fp.init(service="shop")
pay = fp.Dependency(
    "payments", breaker=fp.Breaker(calls_min=6, failure_rate=0.5, open_for=0.001, probes=1)
)

def charge(how):
    if how == "timeout":
        raise TimeoutError("no answer")
    if how == "refused":
        raise ConnectionRefusedError(111, "refused")
    if how == "other":
        raise ZeroDivisionError("of another operation")

try:
    charge("other")
except ZeroDivisionError as error:
    fp.record(error, "elsewhere")
for how in sys.argv[1:]:
    if how == "wait":
        # Until probes are let through, and not longer: no call is made meanwhile.
        while pay.cell.wait_ms():
            pass
        continue
    try:
        pay.call(charge, how)
    except (TimeoutError, ConnectionRefusedError):
        pass
"""
OPENED = ("well", "well", "timeout", "refused", "timeout", "timeout")


@pytest.fixture
def shop(run_python):
    """Function ``(*calls, **options)``: a process whose calls end so, and leave."""
    return lambda *calls, **options: run_python(SHOP, *calls, **options)


def reports(answer):
    return [json.loads(line) for line in answer.lines]


def counts(report):
    return {one["type"]: one["count"] for one in report["behind"]["counts"]}


def test_what_opened_it_is_told_with_times_calls_process_and_errors(core_name, command, shop):
    shop(*OPENED, core=core_name)
    lines = command("why", "payments").lines
    assert lines[0].startswith(f"payments in 1-{core_name}: open since ")
    at = lines.index(next(line for line in lines if line.startswith("time ")))
    assert lines[at].split() == ["time", "change", "why", "calls", "failed", "slow", "process"]
    assert "  closed -> open  failure rate      6       4     0  shop pid " in lines[at + 1]
    behind = lines.index(next(line for line in lines if line.startswith("errors behind the ")))
    assert [line.split() for line in lines[behind + 2 : behind + 4]] == [
        ["3", "Timeout", "TimeoutError"], ["1", "Transport", "ConnectionRefusedError"],
    ]  # fmt: skip
    assert lines[behind + 4] == "the last: TimeoutError: no answer"
    assert lines[behind + 6] == "last records"
    assert len(lines) == behind + 8 + 4
    assert "another operation" not in "\n".join(lines)


def test_json_has_what_the_table_has_and_more(core_name, command, shop):
    shop(*OPENED, core=core_name)
    (report,) = reports(command("why", "payments", "--json", "--records", "2"))
    (one,) = report["transitions"]
    assert (one["before"], one["after"], one["service"]) == ("closed", "open", "shop")
    assert (one["calls"], one["failures"], one["slow"]) == (6, 4, 0)
    assert one["pid"] == json.loads(report["records"][0]["resource"])["process.pid"]
    behind = report["behind"]
    assert behind["until_unix_nano"] == one["time_unix_nano"] == report["since_unix_nano"]
    assert behind["until_unix_nano"] - behind["since_unix_nano"] == 30 * 10**9
    assert counts(report) == {"TimeoutError": 3, "ConnectionRefusedError": 1}
    assert behind["last"] == report["records"][-1]
    assert [row["type"] for row in report["records"]] == ["TimeoutError"] * 2
    assert report["state"] == "open"


def test_changes_come_newest_last_and_those_without_a_window_have_no_numbers(command, shop):
    shop(*OPENED, "wait", "well", "well")
    lines = command("why", "payments").lines
    head = next(number for number, line in enumerate(lines) if line.startswith("time "))
    changes = [line.split("  ") for line in lines[head + 1 : head + 4]]
    assert [[part.strip() for part in line if part][1:3] for line in changes] == [
        ["closed -> open", "failure rate"],
        ["open -> half-open", "open time over"],
        ["half-open -> closed", "probes succeeded"],
    ]
    assert lines[head + 3].split()[-6:-3] == ["-", "-", "-"]
    assert lines[0].startswith(f"payments in 1-{fp.core}: closed since ")
    # What opened it is still told.
    assert any(line.split()[:1] == ["3"] for line in lines)


def test_a_probe_that_failed_is_what_is_behind_the_last_change(core_name, command, shop):
    shop(*OPENED, "wait", "refused", core=core_name)
    (report,) = reports(command("why", "payments", "--json"))
    assert [one["cause"] for one in report["transitions"]] == [
        "failure rate", "open time over", "probe failed",
    ]  # fmt: skip
    assert report["behind"]["generation"] == 3
    assert counts(report) == {"ConnectionRefusedError": 1}
    assert report["behind"]["last"]["type"] == "ConnectionRefusedError"


def test_changes_by_hand_are_told_and_are_not_errors_behind(command, shop):
    shop(*OPENED)
    command("breakers", "--reset", "payments", "--reason", "fixed")
    (report,) = reports(command("why", "payments", "--json"))
    assert [one["cause"] for one in report["transitions"]] == ["failure rate", "reset"]
    # Both processes are gone, and their slots were given back to the one or the other.
    assert [one["service"] for one in report["transitions"]] == ["shop", "faultplane"]
    assert report["records"][-1]["message"].endswith(": fixed")
    assert sum(counts(report).values()) == 4
    assert report["behind"]["last"]["type"] == "TimeoutError"
    shop(*OPENED)
    (report,) = reports(command("why", "payments", "--json"))
    assert report["behind"]["generation"] == 3
    assert counts(report) == {"TimeoutError": 3, "ConnectionRefusedError": 1}


def test_more_changes_than_are_kept_are_counted(command, shop):
    shop(*OPENED, *(["wait", "refused"] * 10))
    (report,) = reports(command("why", "payments", "--json"))
    assert len(report["transitions"]) == 16
    assert report["generation"] == 21
    assert "5 changes before these are not kept" in command("why", "payments").lines


def test_each_store_has_a_report_of_its_own_records(command, shop):
    shop(*OPENED, core="python")
    shop("refused", "well", core="cython")
    compiled, pure = reports(command("why", "payments", "--json", "--records", "99"))
    assert (compiled["store"], compiled["transitions"], compiled["behind"]) == (
        "1-cython",
        [],
        None,
    )
    assert [row["type"] for row in compiled["records"]] == ["ConnectionRefusedError"]
    assert (pure["store"], len(pure["records"])) == ("1-python", 4)
    text = command("why", "payments").out
    assert "Its state has never changed.\n" in text
    assert "\n\npayments in 1-python: open since " in text


def test_a_dependency_without_a_breaker_says_so(command, run_python):
    run_python("import faultplane as fp; fp.init(); fp.Dependency('stock').call(len, '')")
    assert command("why", "stock").lines == [f"stock in 1-{fp.core}: it has no breaker"]


def test_an_unknown_name_lists_the_known_ones(command, shop):
    shop("well")
    error = command("why", "paymnts", status=2).err
    assert error == (
        "faultplane why: domain 'default' has no dependency 'paymnts'; known are payments\n"
    )


def test_a_file_that_cannot_be_read_is_named(command, shop, tmp_domain_dir):
    shop(*OPENED, core="python")
    shop("well", core="cython")
    os.truncate(tmp_domain_dir / "default" / "1-cython" / "control", 100)
    answer = command("why", "payments", status=1)
    assert "1-cython: " in answer.err
    assert "control must have at least" in answer.err
    assert answer.lines[0].startswith("payments in 1-python: open since ")


def test_rows_that_are_not_kept_are_said_to_be_missing(command, shop):
    shop(*OPENED, FAULTPLANE_IGNORE="TimeoutError,ConnectionRefusedError")
    lines = command("why", "payments").lines
    assert lines[-1] == "No row of them is kept."
    assert "last records" not in lines


def test_lines_fit_80_columns(command, shop):
    shop(*OPENED, "wait", "well")
    command("breakers", "--force-open", "payments")
    lines = command("why", "payments", COLUMNS="80").lines
    assert max(map(len, lines[1:])) <= 80


# -------------------------------------------------------------------------------- what is behind


def an_error(time_unix_nano, owner=1, kind="TimeoutError"):
    return {
        "time_unix_nano": time_unix_nano, "owner": owner, "type": kind, "kind": "Timeout",
        "message": str(time_unix_nano),
    }  # fmt: skip


def opened(time_unix_nano, **values):
    found = {
        "time_unix_nano": time_unix_nano, "incarnation": 1, "cause": "failure rate", "calls": 9,
        "failures": 3, "slow": 0, "generation": 1,
    }  # fmt: skip
    return {**found, **values}


SECOND = 10**9


def test_as_many_records_as_were_counted_are_looked_for_behind_the_change():
    at = 100 * SECOND
    errors = [an_error(at - 1), an_error(at + 1), an_error(at + 2), an_error(at + 3)]
    found = why.behind({"window_seconds": 30.0}, [opened(at)], errors)
    assert sum(one["count"] for one in found["counts"]) == 3
    assert found["last"] == errors[2]
    # All of them were written before: those that come then have nothing to do with it.
    found = why.behind({"window_seconds": 30.0}, [opened(at, failures=1)], errors)
    assert found["last"] == errors[0]
    # Too late to be that of a call that ended then.
    late = [an_error(at + SECOND + 1)]
    assert why.behind({"window_seconds": 30.0}, [opened(at)], late)["last"] is None


def test_the_window_ends_at_the_change_before_and_is_no_longer_than_it_is():
    at = 100 * SECOND
    errors = [an_error(at - 31 * SECOND), an_error(at - 20 * SECOND), an_error(at - SECOND)]
    changes = [opened(at - 10 * SECOND, cause="probes succeeded"), opened(at, failures=1)]
    assert why.behind({"window_seconds": 30.0}, changes, errors)["counts"][0]["count"] == 1
    assert why.behind({"window_seconds": 30.0}, changes[1:], errors)["counts"][0]["count"] == 2
    assert why.behind({"window_seconds": None}, changes[1:], errors)["counts"][0]["count"] == 3


def test_the_last_is_of_the_process_that_made_the_change():
    at = 100 * SECOND
    errors = [an_error(at - 2), an_error(at - 1, owner=2)]
    found = why.behind({"window_seconds": 30.0}, [opened(at, failures=2)], errors)
    assert found["last"] == errors[0]


def test_slow_calls_have_no_errors_behind_them():
    at = 100 * SECOND
    slow = opened(at, cause="slow call rate", failures=0, slow=5)
    found = why.behind({"window_seconds": 30.0}, [slow], [an_error(at + 1)])
    assert (found["counts"], found["last"]) == ([], None)


def test_changes_that_no_failure_made_have_nothing_behind_them():
    assert why.behind({"window_seconds": 30.0}, [opened(SECOND, cause="forced")], []) is None
    assert why.behind({"window_seconds": 30.0}, [], []) is None
