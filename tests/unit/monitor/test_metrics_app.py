"""The metrics over WSGI and ASGI: what is asked for, refused, negotiated; forks and threads."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import faultplane as fp
from faultplane.errors import InvalidName, InvalidSetting
from faultplane.monitor.metrics_app import MetricsApp, accepts_gzip, prefers_openmetrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# What Prometheus 2.42 and 3.0 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "text/plain;version=0.0.4;q=0.4,*/*;q=0.2"
)
SERVICE = """
import faultplane as fp
fp.init(service="shop")
fp.record(ValueError("x"), "charge")
"""


@pytest.fixture
def app(tmp_domain_dir):
    app = MetricsApp(directory=str(tmp_domain_dir))
    yield app
    app.close()


def wsgi(app, method="GET", **headers):
    """(Status line, headers, body), everything checked by the reference validator."""
    environ = {"REQUEST_METHOD": method, "QUERY_STRING": "", **headers}
    setup_testing_defaults(environ)
    said = []
    answer = validator(app)(environ, lambda *arguments: said.append(arguments))
    body = b"".join(answer)
    answer.close()
    return said[0][0], dict(said[0][1]), body


def asgi(app, method="GET", headers=(), kind="http"):
    sent = []

    async def send(event):
        sent.append(event)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": kind, "method": method, "path": "/metrics", "headers": list(headers)}
    asyncio.run(app(scope, receive, send))
    return sent


def test_wsgi_and_asgi_give_the_same(app, run_python, parse):
    run_python(SERVICE)
    status, headers, body = wsgi(app)
    assert (status, headers["Content-Type"]) == ("200 OK", TEXT)
    start, rest = asgi(app)
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    assert (start["status"], told["content-type"]) == (200, TEXT)
    assert int(told["content-length"]) == len(rest["body"])
    known, other = parse(body.decode()), parse(rest["body"].decode())
    (key,) = [key for key in known if key[0] == "faultplane_errors_total"]
    assert known[key] == other[key] == 1
    assert known.keys() == other.keys()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/json", TEXT),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.8", TEXT),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("," * 10_000 + ";;;=q;q=1;q=", TEXT),
    ],
)
def test_the_format_is_negotiated(app, run_python, parse, accept, kind):
    run_python(SERVICE)
    _, headers, body = wsgi(app, HTTP_ACCEPT=accept)
    assert headers["Content-Type"] == kind
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert body.endswith(b"# EOF\n") == (kind == OPENMETRICS)
    assert parse(body.decode(), openmetrics=kind == OPENMETRICS)


def test_gzip_is_given_where_it_is_asked_for(app, run_python):
    run_python(SERVICE)
    _, headers, body = wsgi(app, HTTP_ACCEPT_ENCODING="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"faultplane_errors_total" in gzip.decompress(body)
    assert len(body) == int(headers["Content-Length"]) < len(gzip.decompress(body)) / 2
    for encoding in ("", "identity", "gzip;q=0", "gzip;q=nonsense", "br"):
        _, headers, body = wsgi(app, HTTP_ACCEPT_ENCODING=encoding)
        assert "Content-Encoding" not in headers
        assert b"faultplane_errors_total" in body
    assert accepts_gzip("*")
    assert not accepts_gzip("gzip;q=0, *")
    assert not prefers_openmetrics("x" * 1_000_000)


def test_a_head_has_no_body_and_other_methods_are_refused(app, run_python):
    run_python(SERVICE)
    status, headers, body = wsgi(app, "HEAD")
    assert (status, body) == ("200 OK", b"")
    assert int(headers["Content-Length"]) > 100
    _, rest = asgi(app, "HEAD")
    assert rest["body"] == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = wsgi(app, method)
        assert (status, headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
        assert asgi(app, method)[0]["status"] == 405


def test_what_is_not_http_is_told_so(app):
    assert asgi(app, kind="websocket") == [{"type": "websocket.close", "code": 1003}]
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(events)

    async def send(event):
        sent.append(event["type"])

    asyncio.run(app({"type": "lifespan"})(receive, send))  # as for ASGI 2
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(TypeError, match=r"got 0 arguments"):
        app()


def test_a_domain_that_is_not_there_is_down_until_it_is(app, run_python, parse):
    assert parse(app.text())["faultplane_up", ()] == 0
    assert app.problems
    run_python(SERVICE)
    assert parse(app.text())["faultplane_up", ()] == 1
    assert app.problems == []


def test_reading_leaves_no_trace_and_needs_no_init(run_python, tmp_domain_dir):
    run_python(SERVICE)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_domain_dir.rglob("*") if p.is_file())
    code = """
import faultplane as fp, sys
assert "faultplane_up 1" in fp.metrics_app.text()
assert fp.metrics_app is fp.metrics_app
missing = {"pyarrow", "numpy", "duckdb", "http.server"} & set(sys.modules)
assert not missing, missing
from faultplane.store import lifecycle
assert lifecycle.status().domain_path == ""
"""
    run_python(code)
    after = sorted((p, p.stat().st_mtime_ns) for p in tmp_domain_dir.rglob("*") if p.is_file())
    assert after == before


def test_a_forked_child_reads_for_itself(app, run_python):
    run_python(SERVICE)
    assert "faultplane_up 1" in app.text()
    app._lock.acquire()  # as a thread of the parent may have, in the middle of reading
    child = os.fork()
    if child == 0:
        os._exit(0 if "faultplane_up 1" in app.text() else 1)
    assert os.waitpid(child, 0)[1] == 0
    app._lock.release()
    assert "faultplane_up 1" in app.text()


def test_many_who_ask_at_once_are_answered_by_few_readings(app, run_python, monkeypatch):
    run_python(SERVICE)
    app.text()
    read, readings, barrier = app._read, [], threading.Barrier(16)

    def counting():
        readings.append(1)
        # Nobody who asked before this one began may be given what it found.
        return read()

    monkeypatch.setattr(app, "_read", counting)
    bodies = []

    def ask():
        barrier.wait()
        bodies.append(app.text())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 16
    assert all("faultplane_errors_total" in body for body in bodies)
    assert 1 <= len(readings) <= 16


def test_who_asks_is_never_given_what_was_read_before(app, run_python, parse):
    for expected in (1, 2, 3):
        run_python(SERVICE)
        found = parse(app.text())
        assert found["faultplane_service_errors_total", (("service", "shop"),)] == expected


def test_arguments_are_checked_when_they_are_given():
    with pytest.raises(InvalidName):
        MetricsApp(domain="../x")
    with pytest.raises(InvalidSetting, match="fingerprints must be 1 to 10000, got 0"):
        MetricsApp(fingerprints=0)
    assert isinstance(fp.metrics_app, fp.MetricsApp)
    assert "metrics_app" in dir(fp)
