"""A breaker that is put into another state by hand, and the record of who did it."""

from __future__ import annotations

import os

import pytest

import faultplane as fp
from faultplane.errors import BreakerOpen, DependencyNotFound, InvalidSetting, StorageError
from faultplane.resilience import override as overriding
from faultplane.resilience.override import ACTIONS, override
from faultplane.store import lifecycle

GUARDED = fp.Breaker(calls_min=2, open_for=60)


@pytest.fixture
def pay(name, fails):
    """A dependency whose breaker two failures opened."""
    pay = fp.Dependency(name, breaker=GUARDED)
    failing = fails(*[TimeoutError("no answer")] * 2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            pay.call(failing)
    assert pay.state == "open"
    return pay


def last_record(name):
    return fp.init().records().rows(1, operation=name)[0]


def test_a_breaker_that_is_forced_open_rejects_until_it_is_reset(pay, seen):
    override(pay.name, "reset")
    assert pay.call(len, "ab") == 2
    told = override(pay.name, "force-open")
    assert (told.before, told.after, told.changed) == ("closed", "forced-open", True)
    with pytest.raises(BreakerOpen):
        pay.call(len, "ab")
    assert override(pay.name, "reset").before == "forced-open"
    assert pay.call(len, "ab") == 2
    assert [one.cause for one in seen(pay).transitions] == [
        "failure rate", "reset", "forced", "reset",
    ]  # fmt: skip


def test_a_breaker_that_is_disabled_lets_every_call_through_and_counts_none(pay, seen, fails):
    override(pay.name, "disable")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            pay.call(fails(TimeoutError("no answer")))
    cell = seen(pay)
    assert (cell.state, cell.calls, cell.failures) == ("disabled", 0, 0)


def test_a_breaker_for_metrics_only_counts_and_never_opens(pay, seen, fails):
    override(pay.name, "metrics-only")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            pay.call(fails(TimeoutError("no answer")))
    cell = seen(pay)
    assert (cell.state, cell.calls, cell.failures) == ("metrics-only", 3, 3)


def test_a_reset_begins_with_an_empty_window(pay, seen, fails):
    override(pay.name, "reset")
    with pytest.raises(TimeoutError):
        pay.call(fails(TimeoutError("no answer")))
    assert (seen(pay).failures, pay.state) == (1, "closed")
    override(pay.name, "reset")
    assert (seen(pay).failures, pay.state) == (0, "closed")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_record_says_who_did_what_and_the_state_before_and_after(pay, seen, action):
    told = override(pay.name, action, "the bank called")
    row = last_record(pay.name)
    assert (row["seq"], row["owner"]) == (told.record, told.incarnation)
    assert row["type"] == "faultplane.resilience.override.BreakerOverridden"
    assert row["message"].startswith(f"{pay.name}: open -> {told.after}, by ")
    assert row["message"].endswith(": the bank called")
    found = fp.decode_attributes(row["attributes"])
    states = [found.pop(f"faultplane.breaker.{when}") for when in ("before", "after")]
    assert states == ["open", seen(pay).state]
    assert found.pop("process.owner") in row["message"]
    assert found == {
        "faultplane.breaker.action": action,
        "faultplane.breaker.generation": seen(pay).generation,
        "faultplane.breaker.reason": "the bank called",
        "process.user.id": os.getuid(),
        "process.pid": os.getpid(),
        "host.name": os.uname().nodename,
    }
    assert (row["kind"], row["severity_number"], row["flags"] & 6) == ("Configuration", 9, 0)
    last = seen(pay).transitions[-1]
    assert (last.owner, last.generation) == (told.incarnation, told.generation)


def test_what_is_so_already_is_neither_changed_nor_recorded(pay, seen):
    override(pay.name, "disable")
    before, row = seen(pay), last_record(pay.name)
    told = override(pay.name, "disable")
    assert (told.changed, told.record, told.before, told.after) == (
        False, None, "disabled", "disabled",
    )  # fmt: skip
    assert seen(pay).generation == before.generation
    assert last_record(pay.name) == row


def test_the_declaration_stays_what_it_was(pay, seen):
    before = seen(pay)
    override(pay.name, "reset")
    after = seen(pay)
    assert after.declaration == before.declaration != {}
    assert (after.config, after.differs) == (before.config, 0)


def test_a_change_that_could_not_be_recorded_says_so(pay):
    fp.set_active(False)
    try:
        told = override(pay.name, "reset")
    finally:
        fp.set_active(True)
    assert (told.changed, told.record) == (True, None)


def test_what_cannot_be_is_refused_and_changes_nothing(pay, name, seen):
    limited = fp.Dependency(f"{name} limited", limit=3)
    limited.call(len, "")
    before = seen(pay)
    for arguments, error, text in (
        ((pay.name, "open"), InvalidSetting, "action must be one of force-open, .* got 'open'"),
        ((pay.name, "reset", "x" * 256), InvalidSetting, "at most 255 characters, got 256"),
        ((limited.name, "reset"), InvalidSetting, "has no breaker"),
        (("no such", "reset"), DependencyNotFound, "has no dependency 'no such'"),
    ):
        with pytest.raises(error, match=text):
            override(*arguments)
    assert seen(pay) == before


def test_a_user_without_a_name_is_a_number(pay, monkeypatch):
    pwd = pytest.importorskip("pwd")

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    override(pay.name, "reset")
    found = fp.decode_attributes(last_record(pay.name)["attributes"])
    assert found["process.owner"] == str(os.getuid())


WITHOUT = """
import faultplane as fp
from faultplane.resilience.override import override
from faultplane.errors import StorageError, DependencyNotFound
try:
    override("payments", "reset")
except StorageError as error:
    print(error)
fp.init()
try:
    override("payments", "reset")
except DependencyNotFound as error:
    print(error)
import os
print(sorted(os.listdir(os.path.join(os.environ["FAULTPLANE_DIR"], "default", f"1-{fp.core}"))))
"""


def test_without_storage_and_without_a_dependency_nothing_is_made(run_python, core_name):
    no_storage, no_name, left = run_python(WITHOUT, core=core_name).stdout.splitlines()
    assert no_storage == "payments cannot be changed from here: init() was not called"
    assert no_name.endswith("has no dependency 'payments'")
    assert "'control'" not in left


def test_other_processes_see_it_at_once(run_python, core_name):
    code = """
import subprocess, sys
import faultplane as fp
from faultplane.errors import BreakerOpen
fp.init(service="shop")
pay = fp.Dependency("payments", breaker=fp.Breaker())
pay.call(len, "")
other = (
    "import faultplane as fp; from faultplane.resilience.override import override;"
    "fp.init(service='operator'); print(override('payments', sys.argv[1]).before)"
)
for action in ("force-open", "reset"):
    done = subprocess.run(
        [sys.executable, "-c", "import sys;" + other, action], capture_output=True, text=True
    )
    print(done.stdout.strip(), done.stderr)
    try:
        print(pay.call(len, "abc"), pay.state)
    except BreakerOpen as error:
        print(error)
"""
    assert run_python(code, core=core_name).stdout.split("\n")[:4] == [
        "closed ", "payments: the breaker is open", "forced-open ", "3 closed",
    ]  # fmt: skip


def test_the_check_for_a_record_finds_none_of_another_owner(pay, monkeypatch):
    """Negative control: where the record is another process's, none is told of."""
    status = lifecycle.status()
    monkeypatch.setattr(
        overriding.lifecycle, "status", lambda: status._replace(incarnation=1 << 31)
    )
    assert override(pay.name, "reset").record is None


def test_a_process_without_storage_cannot_change_what_others_share(pay, monkeypatch):
    monkeypatch.setattr(overriding.lifecycle, "owned", lambda: None)
    with pytest.raises(StorageError, match="cannot be changed from here"):
        override(pay.name, "reset")
    assert pay.state == "open"
