"""The parts of the demo: what it prints of a domain, and its service, in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading

import pytest

import faultplane as fp
from faultplane.cli.demo import load, report, upstream


@pytest.fixture
def charged(run_python, tmp_domain_dir):
    """The domain ``demo``: 5 charges refused, 2 reset, one of each other failure; all are gone."""
    run_python(
        "import os, sys, faultplane as fp; fp.init(domain='demo')\n"
        "for n in range(5): fp.record(ConnectionRefusedError(n), 'charge.refused')\n"
        "fp.record(ValueError(), 'elsewhere'); fp.record(ValueError(), 'charge')\n"
        "block = fp.capture('GET /tidy').enter()"
    )
    run_python(
        "import os, faultplane as fp; fp.init(domain='demo')\n"
        "for n in range(2): fp.record(ConnectionResetError(n), 'charge.reset')\n"
        "for mode in ('slow', 'busy', 'truncated', 'tls', 'dns'):\n"
        "    fp.record(ValueError(mode), f'charge.{mode}')\n"
        "os.kill(os.getpid(), 9)",
        check=False,
    )
    with fp.attach("demo", str(tmp_domain_dir)) as domain:
        yield domain


def a_load(**modes):
    """As if so many requests had been sent and answered, by mode; one where nothing is said."""
    done = load.Load(1, 0, 0)
    for mode in set(load.MODES) - {"ok"}:
        done.injected[mode], done.acknowledged[mode] = modes.get(mode, (1, 1))
        done.kinds[mode] = "Transport"
    return done


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [((5, 5), "yes"), ((9, 3), "yes"), ((4, 4), "NO"), ((9, 6), "NO"), ((9, 0), "NO")],
)
def test_the_ledger_adds_up_only_between_acknowledged_and_injected(charged, refused, verdict):
    lines, right = report.ledger(charged, a_load(refused=refused, reset=(2, 2)))
    assert right is (verdict == "yes")
    cells = {line.split()[0]: line.split() for line in lines[:-1]}
    injected, acknowledged = refused
    assert cells["refused"][1:] == ["Transport", str(injected), str(acknowledged), "5", verdict]
    assert cells["reset"][-1] == "yes"
    assert cells["all"][-2:] == ["12", verdict]
    below = "≤" if acknowledged + 7 <= 12 else ">"
    above = "≤" if injected + 7 >= 12 else ">"
    told = f"{acknowledged + 7} acknowledged {below} 12 counted {above} {injected + 7} injected"
    assert lines[-1] == told + ("" if right else "; not in order: refused")


@pytest.mark.parametrize("kinds", [{}, {"refused": "-"}])
def test_the_ledger_wants_a_kind_for_each_failure(charged, kinds):
    done = a_load(refused=(5, 5), reset=(2, 2))
    del done.kinds["refused"]
    done.kinds |= kinds
    lines, right = report.ledger(charged, done)
    assert not right
    assert lines[-1].endswith("not in order: refused")


def test_a_load_that_sent_nothing_does_not_add_up(charged):
    lines, right = report.ledger(charged, load.Load(1, 0, 0))
    assert not right
    assert lines[-1].startswith("0 acknowledged ≤ 12 counted > 0 injected")


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
    for missing in (None, load.Answer(500, {})):
        assert list(report.price(missing)) == ["the service did not answer"]
    (line,) = report.price(load.Answer(200, {"record_nano": 200.0, "logging_nano": 8000.0}))
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


ANSWERS = {
    "broken": b"",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    "wrong": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nsorry",
    "no JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsorry",
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def a_server(answer):
    """The port of a server that gives each request the same bytes, and closes the connection."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.wfile.write(answer)

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "status"), [("broken", None), ("cut", None), ("wrong", 500), ("no JSON", 200)]
)
def test_a_request_that_broke_off_is_not_one_that_was_answered_with_an_error(name, status):
    with a_server(ANSWERS[name]) as port, load.Load(port, 2, 7) as asking:
        while asking.broken + asking.unexpected.total() < 9:
            asking._stop.wait(0.01)
    assert asking.acknowledged.total() == 0
    lines, right = report.answers(asking, 3)
    assert not right
    if status is None:
        assert not asking.unexpected
        assert lines == [f"{asking.broken} requests broke off; 3 deaths account for 6 at most"]
        assert report.answers(asking, asking.broken)[1]
    else:
        assert (asking.broken, set(asking.unexpected)) == (0, {status})
        told = f"{asking.unexpected[status]} requests were answered with status {status}"
        assert lines[1].startswith(told)


@pytest.mark.parametrize(("broken", "right"), [(0, True), (6, True), (7, False)])
def test_each_death_accounts_for_few_requests_that_broke_off(broken, right):
    done = load.Load(1, 0, 0)
    done.broken = broken
    assert report.answers(done, 3)[1] is right


def test_a_server_that_is_not_there_answers_nothing():
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
    assert done.stderr.startswith("faultplane demo: the demo needs gunicorn: ")
    assert "faultplane[demo]" in done.stderr


def test_a_server_that_does_not_start_is_told_with_its_last_words(command, tmp_path):
    (tmp_path / "gunicorn.py").write_text("raise SystemExit('no gunicorn today')")
    path = os.pathsep.join([str(tmp_path), os.path.dirname(next(iter(fp.__path__)))])
    error = command("demo", status=2, PYTHONPATH=path).err
    assert "the demo's server did not start" in error
    assert "no gunicorn today" in error
    assert "Traceback" not in error
