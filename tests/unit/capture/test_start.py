"""``init`` and the filters, each in a process of its own, looked at through the domain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faultplane.capture.attributes import decode_attributes

Rows = Callable[..., list[dict[str, Any]]]

PRELUDE = """
import json, sys
import faultplane as fp

def fail(text="x", kind=ValueError):
    try:
        raise kind(text)
    except kind as error:
        return error

def rows():
    found = []
    table = fp.attach().records().to_pyarrow(compat=True).drop_columns(["time_unix_nano"])
    for row in table.to_pylist():
        found.append({
            name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()
        })
    print("rows", json.dumps(found))
"""


@pytest.fixture
def rows(run_python: Any) -> Rows:
    """Function: run code after the prelude, and the records of the domain afterwards."""
    pytest.importorskip("pyarrow")

    def run(code: str, **variables: str) -> list[dict[str, Any]]:
        done = run_python(PRELUDE + code + "\nrows()\n", **variables)
        line = next(line for line in done.stdout.splitlines() if line.startswith("rows "))
        return json.loads(line.removeprefix("rows "))  # type: ignore[no-any-return]

    return run


def test_a_block_records_operation_duration_attributes_and_whether_it_was_handled(
    rows: Rows,
) -> None:
    found = rows("""
import time
fp.init(service="shop")
with fp.capture("quiet", reraise=False, attributes={"order": 17, "password": "hunter2"}):
    time.sleep(0.002)  # what is timed
    raise ValueError("x")
start = time.monotonic_ns()
try:
    with fp.capture("loud"):
        raise KeyError("y")
except KeyError as error:
    outside = time.monotonic_ns() - start
fp.record(ValueError("z"), "outside", duration_nano=outside)
""")
    quiet, loud, outside = found
    assert (quiet["operation"], quiet["type"], quiet["message"]) == ("quiet", "ValueError", "x")
    assert (loud["operation"], loud["type"], loud["message"]) == ("loud", "KeyError", "'y'")
    assert quiet["duration_nano"] >= 2_000_000
    assert 0 < loud["duration_nano"] <= outside["duration_nano"]
    assert (quiet["flags"] & 1, loud["flags"] & 1) == (1, 0)
    assert decode_attributes(bytes.fromhex(quiet["attributes"])) == {"order": 17, "password": "***"}
    assert decode_attributes(bytes.fromhex(loud["attributes"] or "")) == {}


def test_attributes_are_redacted_like_messages(rows: Rows) -> None:
    code = """
fp.init(service="shop")
fp.record(fail("mail to a.b@example.com"), attributes={"to": "a.b@example.com", "n": 1})
"""
    for mode, hidden in (("redact", True), ("raw", False)):
        (row,) = rows(code, FAULTPLANE_MESSAGES=mode, FAULTPLANE_DOMAIN=mode)
        attributes = decode_attributes(bytes.fromhex(row["attributes"]))
        assert attributes["n"] == 1
        assert ("a.b@example.com" not in row["message"]) is hidden
        assert (attributes["to"] != "a.b@example.com") is hidden


def test_a_redaction_of_the_users_own_comes_after_the_built_in(rows: Rows) -> None:
    code = """
fp.init(service="shop", redact=lambda text: text.replace("ACME", "<customer>"))
fp.record(fail("ACME wrote to a.b@example.com"), attributes={"who": "ACME"})
"""
    (row,) = rows(code)
    assert row["message"].startswith("<customer> wrote to")
    assert "a.b@" not in row["message"]
    assert decode_attributes(bytes.fromhex(row["attributes"])) == {"who": "<customer>"}


def test_attributes_that_do_not_fit_are_left_out_and_flagged(rows: Rows) -> None:
    (row,) = rows("""
fp.init(service="shop")
fp.record(fail(), attributes={f"k{n}": "x" * 1000 for n in range(10)})
""")
    from faultplane import schema

    assert row["message"] == "x"
    assert not row["attributes"]
    assert row["flags"] & schema.FLAG_NO_ATTRIBUTES


def test_types_are_ignored_by_class_by_name_and_by_environment(rows: Rows) -> None:
    found = rows(
        """
class Late(Exception):
    pass
class Later(Late):
    pass
fp.init(service="shop", ignore=[KeyError, "__main__.Late"])
for kind in (KeyError, Later, BlockingIOError, ValueError, LookupError):
    assert fp.record(fail("x", kind)).kind
with fp.capture("block", reraise=False):
    raise KeyError
""",
        FAULTPLANE_IGNORE="builtins.OSError,not.there.Yet",
    )
    assert [row["type"] for row in found] == ["ValueError", "LookupError"]


def test_a_name_is_ignored_although_its_type_comes_later(rows: Rows) -> None:
    found = rows(
        """
fp.init(service="shop")
import decimal
fp.record(fail("x", decimal.InvalidOperation))
fp.record(fail("x", decimal.DivisionByZero))
""",
        FAULTPLANE_IGNORE="decimal.InvalidOperation",
    )
    assert [row["type"] for row in found] == ["decimal.DivisionByZero"]


def test_switching_off_and_on(rows: Rows) -> None:
    found = rows("""
fp.init(service="shop")
requests = fp.counter("requests")
fp.set_active(False)
assert fp.record(fail("off")).kind
requests.add(5)
fp.init(service="shop")
fp.record(fail("still off"))
fp.set_active(True)
fp.record(fail("on"))
requests.add(2)
assert [(r["name"], r["value"]) for r in fp.attach().counters_rows()] == [("requests", 2)]
assert sum(r["count"] for r in fp.attach().counts_rows()) == 1
""")
    assert [row["message"] for row in found] == ["on"]


def test_the_operators_switch_cannot_be_overruled(run_python: Any, tmp_domain_dir: Path) -> None:
    done = run_python(
        PRELUDE
        + """
domain = fp.init(service="shop")
fp.set_active(True)
answer = fp.record(fail("x", TimeoutError))
fp.counter("x").add()
counted = sum(row["value"] for row in domain.counters_rows())
print(answer.kind, domain.counts_rows(), counted, len(domain.records()))
""",
        FAULTPLANE_DISABLED="1",
    )
    assert done.stdout == "Timeout [] 0 0\n"
    assert list(tmp_domain_dir.iterdir()) == []


def test_an_ignore_that_cannot_be_is_refused_before_anything_is_made(
    run_python: Any, tmp_domain_dir: Path
) -> None:
    run_python("""
import faultplane as fp
for bad in ([3], [int]):
    try:
        fp.init(service="shop", ignore=bad)
    except fp.errors.InvalidSetting as error:
        assert "exception classes or names" in str(error)
    else:
        raise AssertionError
""")
    assert list(tmp_domain_dir.iterdir()) == []


def test_init_is_idempotent_and_gives_the_domain(rows: Rows) -> None:
    found = rows("""
first = fp.init(service="shop")
fp.record(fail())
second = fp.init()
assert len(first.records()) == len(second.records()) == 1
fp.record(fail())
assert len(fp.init(service="shop").owners_rows()) == 1
""")
    assert len(found) == 2


def test_a_forked_child_records_without_another_call(rows: Rows) -> None:
    found = rows("""
import os
fp.init(service="shop")
child = os.fork()
if child == 0:
    with fp.capture("child", reraise=False):
        raise KeyError("in the child")
    os._exit(0)
os.waitpid(child, 0)
""")
    assert [(row["operation"], row["message"]) for row in found] == [("child", "'in the child'")]


def test_the_code_of_an_application_overrules_the_environment(rows: Rows) -> None:
    found = rows(
        """
fp.init()
fp.record(fail("first"))
fp.init(service="from code")
fp.record(fail("second"))
""",
        FAULTPLANE_SERVICE="from the environment",
    )
    services = [json.loads(row["resource"])["service.name"] for row in found]
    assert services == ["from the environment", "from code"]


def test_attaching_to_what_is_not_there_says_so(run_python: Any) -> None:
    run_python("""
import faultplane as fp
try:
    fp.attach("nowhere")
except fp.errors.DomainNotFound as error:
    assert "nowhere" in str(error)
else:
    raise AssertionError
""")


def test_what_cannot_be_is_refused_before_anything_is_changed(
    run_python: Any, tmp_domain_dir: Path
) -> None:
    done = run_python("""
import faultplane as fp
from faultplane.errors import InvalidSetting
for wrong in ({"ignore": 5}, {"ignore": [5]}, {"redact": 5}, {"redact": "x"}):
    try:
        fp.init(service="wrong", **wrong)
    except InvalidSetting as error:
        print(error)
import os
print(os.listdir(os.environ["FAULTPLANE_DIR"]))
domain = fp.init(service="right")
fp.record(ValueError("seen"))
print([row["message"] for row in domain.records().rows()], domain.counts_rows()[0]["service"])
""")
    assert done.stdout.splitlines() == [
        "ignore must hold exception classes or names, got 5",
        "ignore must hold exception classes or names, got 5",
        "redact must be a function of text that gives text, got 5",
        "redact must be a function of text that gives text, got 'x'",
        "[]",
        "['seen'] right",
    ]


def test_types_to_ignore_may_come_from_an_iterator(rows: Rows) -> None:
    found = rows("""
fp.init(service="shop", ignore=iter([KeyError, "OSError"]))
for kind in (KeyError, TimeoutError, ValueError):
    fp.record(fail(kind=kind))
""")
    assert [row["type"] for row in found] == ["ValueError"]
