"""The parts of the demo: what it prints of a domain, and its service, in a process of their own."""

from __future__ import annotations

import json
import os

import pytest

import faultplane as fp
from faultplane.cli.demo import load, report, upstream


@pytest.fixture
def charged(run_python, tmp_domain_dir):
    """The domain ``demo``, in which 5 charges were refused and 2 reset by processes now gone."""
    run_python(
        "import os, sys, faultplane as fp; fp.init(domain='demo')\n"
        "for n in range(5): fp.record(ConnectionRefusedError(n), 'charge.refused')\n"
        "fp.record(ValueError(), 'elsewhere'); fp.record(ValueError(), 'charge')\n"
        "fp.capture('GET /tidy').__enter__()"
    )
    run_python(
        "import os, faultplane as fp; fp.init(domain='demo')\n"
        "for n in range(2): fp.record(ConnectionResetError(n), 'charge.reset')\n"
        "os.kill(os.getpid(), 9)",
        check=False,
    )
    with fp.attach("demo", str(tmp_domain_dir)) as domain:
        yield domain


def a_load(**modes):
    """As if so many requests had been sent and answered, by mode."""
    done = load.Load(1, 0, 0)
    for mode, (injected, acknowledged) in modes.items():
        done.injected[mode], done.acknowledged[mode] = injected, acknowledged
    return done


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [((5, 5), "yes"), ((9, 3), "yes"), ((4, 4), "NO"), ((9, 6), "NO")],
)
def test_the_ledger_adds_up_only_between_acknowledged_and_injected(charged, refused, verdict):
    lines, right = report.ledger(charged, a_load(refused=refused, reset=(2, 2)))
    assert right is (verdict == "yes")
    cells = {line.split()[0]: line.split() for line in lines}
    injected, acknowledged = map(str, refused)
    assert cells["refused"][1:] == ["-", injected, acknowledged, "5", verdict]
    assert cells["reset"][-1] == "yes"
    assert cells["all"][-2:] == ["7", verdict]


def test_who_left_in_order_is_not_among_the_deaths(charged, tmp_path):
    log = tmp_path / "gunicorn.log"
    (death,) = [row for row in charged.deaths_rows() if row["how"] != "exit"]
    pid = death["pid"]
    log.write_text(
        f"Booting worker with pid: {pid}\nWorker (pid:{pid}) was sent SIGKILL!\npid:{pid}1\n"
    )
    shown = list(report.deaths_side_by_side(charged, log))
    assert f"  Worker (pid:{pid}) was sent SIGKILL!" in shown
    assert not any("Booting" in line for line in shown)
    assert sum("faultplane deaths:" in line for line in shown) == 1
    assert not any("GET /tidy" in line for line in shown)
    log.write_text("nothing of it\n")
    assert "  (nothing)" in list(report.deaths_side_by_side(charged, log))


def test_the_query_of_the_demo_joins_records_with_deaths(charged, run_python):
    pytest.importorskip("duckdb")
    assert any("charge.reset" in line and " 2 " in line for line in report.query(charged))


def test_without_duckdb_the_demo_says_what_would_answer(charged, run_python, tmp_domain_dir):
    code = """
import sys
sys.modules["duckdb"] = None  # as if it were not installed
import faultplane as fp
from faultplane.cli.demo import report
with fp.attach("demo") as domain:
    print("\\n".join(report.query(domain)))
"""
    assert "faultplane[query]" in run_python(code).stdout


def test_the_price_is_a_ratio_or_said_to_be_missing():
    assert list(report.price(None)) == ["the service did not answer"]
    (line,) = report.price({"record_nano": 200.0, "logging_nano": 8000.0})
    assert "record() 200 ns" in line
    assert ": 40 times" in line


def test_a_request_that_lingers_is_in_flight_until_it_ends(run_python):
    code = """
import json
import faultplane as fp
from faultplane._backend import core
from faultplane.cli.demo import shop
from faultplane.store import deaths, lifecycle, owners

def in_flight():
    store = lifecycle._process.store
    (row,) = owners.read_owners(store)
    return [entry["operation"] for entry in deaths.describe(store, row)["in_flight"]]

fp.init()
shop.LINGER_SECONDS = 0.0
answer = shop.application({"PATH_INFO": "/linger"}, print)
first = next(answer)
during = in_flight()
rest = list(answer)
print(json.dumps([json.loads(first), during, rest, in_flight()]))
"""
    done = run_python(code)
    status, answer = done.stdout.splitlines()
    assert status.startswith("200 OK")
    first, during, rest, after = json.loads(answer)
    assert first["pid"] > 0
    assert (during, rest, after) == (["GET /linger"], [], [])


@pytest.mark.parametrize("tracing", [True, False])
def test_a_charge_that_fails_is_answered_with_what_was_recorded(run_python, tracing):
    if tracing:
        pytest.importorskip("opentelemetry.sdk")
    code = """
import sys
if sys.argv[1] == "False":
    sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
import json, os
import faultplane as fp
from faultplane.cli.demo import shop, upstream
fp.init()
with upstream.Upstream() as one:
    os.environ["DEMO_UPSTREAM_PORT"] = str(one.port)
    os.environ["DEMO_UNUSED_PORT"] = str(upstream.unused_port())
    for query in ("", "mode=refused", "mode=reset", "mode=busy", "mode=truncated", "mode=slow"):
        environ = {"PATH_INFO": "/charge", "QUERY_STRING": query, "REQUEST_METHOD": "GET"}
        (body,) = shop.application(environ, lambda status, headers: None)
        print(body.decode())
rows = fp.attach().records().rows()
print(json.dumps([[row["operation"], row["trace_id"]] for row in rows]))
"""
    *answers, rows = map(json.loads, run_python(code, tracing).stdout.splitlines())
    assert answers[0]["charged"] == "ch_81"
    assert [answer["recorded"] for answer in answers[1:]] == [
        "refused", "reset", "busy", "truncated", "slow"
    ]  # fmt: skip
    assert {answer["kind"] for answer in answers[1:]} >= {"Transport", "Timeout"}
    assert answers[3]["retry_after"] == 2
    assert [operation for operation, _ in rows] == [
        f"charge.{answer['recorded']}" for answer in answers[1:]
    ]
    assert all(bool(trace.strip("0")) is tracing for _, trace in rows)


def test_requests_that_break_off_are_counted_as_broken():
    with load.Load(upstream.unused_port(), 1, 7) as asking:
        while asking.broken < 3:
            asking._stop.wait(0.01)
    assert asking.acknowledged.total() == 0
    assert load.somebody_at_work(upstream.unused_port()) is None
    assert load.ask(upstream.unused_port(), "/who") is None


def test_without_gunicorn_the_demo_names_what_to_install(run_python):
    code = """
import sys
sys.modules["gunicorn"] = None  # as if it were not installed
from faultplane.cli import main
sys.exit(main(["demo"]))
"""
    done = run_python(code, check=False)
    assert done.returncode == 2
    assert "faultplane[demo]" in done.stderr


def test_a_server_that_does_not_start_is_told_with_its_last_words(command, tmp_path):
    (tmp_path / "gunicorn.py").write_text("raise SystemExit('no gunicorn today')")
    path = os.pathsep.join([str(tmp_path), os.path.dirname(next(iter(fp.__path__)))])
    error = command("demo", status=2, PYTHONPATH=path).err
    assert "the demo's server did not start" in error
    assert "no gunicorn today" in error
    assert "Traceback" not in error
