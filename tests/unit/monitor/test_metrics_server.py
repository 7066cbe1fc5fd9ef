"""The server that no client can hold up: slow, half-open, greedy, silent or wrong ones."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading

import pytest

from faultplane.errors import InvalidSetting
from faultplane.monitor import metrics_server
from faultplane.monitor.metrics_app import MetricsApp
from faultplane.monitor.metrics_server import MetricsServer, parse_address

SERVICE = """
import faultplane as fp
fp.init(service="shop")
for number in range(300):
    fp.record(ValueError("x"), f"charge {number}")
"""
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def port(tmp_domain_dir, run_python):
    """Port of a server in a thread, stopped afterwards."""
    run_python(SERVICE)
    app = MetricsApp(directory=str(tmp_domain_dir))
    server, loop, ready = MetricsServer(app), asyncio.new_event_loop(), threading.Event()
    task = None

    def serve():
        nonlocal task
        asyncio.set_event_loop(loop)
        task = loop.create_task(server.run(lambda _: ready.set()))
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(30)
    yield int(server.url.rpartition(":")[2].partition("/")[0])
    loop.call_soon_threadsafe(task.cancel)
    thread.join(30)
    app.close()


@pytest.fixture
def connect(port):
    """Function: a new connection, closed afterwards."""
    opened = []

    def make():
        opened.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def read_response(connection):
    """(Status line, headers, body) of one response; the body by its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(65536)
    return status, headers, body


def ask(connection, request):
    connection.sendall(request)
    return read_response(connection)


def test_one_connection_serves_many_requests(connect):
    one = connect()
    for _ in range(3):
        status, headers, body = ask(one, GET)
        assert (status, headers["Connection"]) == ("HTTP/1.1 200 OK", "keep-alive")
        assert b"faultplane_service_errors_total" in body
    accept = b"Accept-Encoding: gzip\r\nAccept: application/openmetrics-text\r\n\r\n"
    _, headers, body = ask(one, GET[:-2] + accept)
    assert gzip.decompress(body).endswith(b"# EOF\n")
    assert headers["Content-Type"].startswith("application/openmetrics-text")


def test_what_is_there_was_read_before_anybody_can_ask(tmp_domain_dir, run_python):
    run_python(SERVICE)
    read = []

    class App(MetricsApp):
        def respond(self, *words):
            answer = super().respond(*words)
            read.append(answer.body.count(b"faultplane_errors_total{"))
            return answer

    async def main():
        app = App(directory=str(tmp_domain_dir))
        done = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(MetricsServer(app).run(lambda _: done.set_result(read[:])))
        assert await done == read == [201], "200 operations, and the others"
        serving.cancel()
        app.close()

    asyncio.run(main())


def test_two_requests_in_one_packet_are_answered_in_order(connect):
    one = connect()
    one.sendall(GET + b"GET /nothing HTTP/1.1\r\n\r\n")
    data = b""
    while b"only /metrics is here" not in data:
        data += one.recv(65536)
    assert data.index(b"200 OK") < data.index(b"404 Not Found")


@pytest.mark.parametrize(
    ("request_line", "status", "closes"),
    [
        (b"GET / HTTP/1.1", "200 OK", False),
        (b"GET /metrics?x=1 HTTP/1.1", "200 OK", False),
        (b"GET /metrics HTTP/1.0", "200 OK", True),
        (b"GET /metrics HTTP/1.1\r\nConnection: close", "200 OK", True),
        (b"GET /metrics HTTP/1.0\r\nConnection: keep-alive", "200 OK", False),
        (b"GET /metrics/ HTTP/1.1", "404 Not Found", False),
        (b"GET /../etc/passwd HTTP/1.1", "404 Not Found", False),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3", "405 Method Not Allowed", True),
        (b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked", "200 OK", True),
        (b"DELETE /metrics HTTP/1.1", "405 Method Not Allowed", False),
        (b"GET /metrics HTTP/2.0", "400 Bad Request", True),
        (b"GET /metrics", "400 Bad Request", True),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400 Bad Request", True),
        (b"GET /metrics HTTP/1.1\r\nNo colon", "400 Bad Request", True),
        (b"GET /metrics HTTP/1.1\r\nName : x", "400 Bad Request", True),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, "431", True),
    ],
)
def test_each_request_gets_the_answer_of_its_kind(connect, request_line, status, closes):
    one = connect()
    found, headers, _ = ask(one, request_line + b"\r\n\r\n")
    assert found.startswith(f"HTTP/1.1 {status}")
    assert headers["Connection"] == ("close" if closes else "keep-alive")
    if closes:
        try:
            assert one.recv(10) == b""
        except ConnectionResetError:
            pass  # what it had not read yet is thrown away
    else:
        assert ask(one, GET)[0] == "HTTP/1.1 200 OK"


def test_a_head_has_no_body(connect):
    one = connect()
    one.sendall(b"HEAD /metrics HTTP/1.1\r\n\r\n" + b"GET /nothing HTTP/1.1\r\n\r\n")
    data = b""
    while b"only /metrics is here" not in data:
        data += one.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert rest.startswith(b"HTTP/1.1 404 Not Found")


def test_clients_that_say_nothing_half_or_do_not_read_hold_up_nobody(connect):
    silent = [connect() for _ in range(20)]
    half = [connect() for _ in range(20)]
    for one in half:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHos")
    deaf = [connect() for _ in range(20)]
    for one in deaf:
        one.sendall(GET * 100)
    one = connect()
    for _ in range(3):
        assert ask(one, GET)[0] == "HTTP/1.1 200 OK"
    assert len(silent) == 20


def test_one_more_than_there_may_be_ends_the_oldest(connect):
    oldest = connect()
    assert ask(oldest, GET)[0] == "HTTP/1.1 200 OK"
    more = [connect() for _ in range(metrics_server.CONNECTIONS_MAX)]
    assert ask(more[-1], GET)[0] == "HTTP/1.1 200 OK"
    assert oldest.recv(10) == b""


def test_who_is_too_slow_is_left(connect, monkeypatch):
    monkeypatch.setattr(metrics_server, "HEAD_SECONDS_MAX", 0.2)
    monkeypatch.setattr(metrics_server, "WRITE_SECONDS_MAX", 0.2)
    silent, half = connect(), connect()
    half.sendall(b"GET /metrics")
    assert silent.recv(10) == b""
    assert half.recv(10) == b""
    assert ask(connect(), GET)[0] == "HTTP/1.1 200 OK"


def test_a_client_that_goes_away_in_the_middle_is_forgotten(connect):
    for request in (b"", b"GET", GET, GET * 50):
        one = connect()
        one.sendall(request)
        one.close()
    assert ask(connect(), GET)[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("80", ("127.0.0.1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":80", "x", "1:x", "65536", "-1", "1:65536", "٣", "9" * 5000, "::1:80", "[]:80", "[:80",
     "http://127.0.0.1:80"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidSetting, match=r"must be"):
        parse_address(text)
