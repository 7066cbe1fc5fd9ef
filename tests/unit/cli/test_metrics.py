"""``faultplane metrics``: printed, as JSON, served; what it refuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

ERRORS = 'faultplane_errors_total{service="shop",operation="charge",kind="Transport"} 60'


def test_text_openmetrics_and_json_tell_the_same(command, shop):
    text = command("metrics")
    assert ERRORS in text.lines
    assert text.err == ""
    openmetrics = command("metrics", "--openmetrics")
    assert openmetrics.lines[-1] == "# EOF"
    assert ERRORS in openmetrics.lines
    rows = [json.loads(line) for line in command("metrics", "--json").lines]
    labels = {"service": "shop", "operation": "charge", "kind": "Transport"}
    assert {"name": "faultplane_errors_total", "labels": labels, "value": 60} in rows
    samples = [line for line in text.lines if not line.startswith("#")]
    assert len(rows) == len(samples)


def test_limits_are_options(command, shop):
    lines = command("metrics", "--operations", 1, "--fingerprints", 1).lines
    assert 'faultplane_errors_total{service="shop",operation="other",kind="other"} 4' in lines
    assert "must be a whole number from 1 on" in command("metrics", "--events", 0, status=2).err
    told = command("metrics", "--events", 10_001, status=2).err
    assert "events must be 1 to 10000, got 10001" in told


def test_what_cannot_be_is_said(command):
    assert "was not found" in command("metrics", status=2).err
    for words in (["--json", "--openmetrics"], ["--json", "--serve", "0"]):
        assert "--json goes with neither" in command("metrics", *words, status=2).err
    assert (
        "must be [HOST:]PORT, IPv6 in brackets, got 'x'"
        in command("metrics", "--serve", "x", status=2).err
    )
    assert "port must be 0 to 65535" in command("metrics", "--serve", "70000", status=2).err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = command("metrics", "--serve", port, status=2).err
        assert told.strip() == (
            f"faultplane metrics: cannot serve 127.0.0.1:{port}: Address already in use; "
            "name another port, or 0 for one that is free"
        )
    assert (
        "no interface has that address"
        in command("metrics", "--serve", "192.0.2.1:0", status=2).err
    )


@pytest.fixture
def serve(child_environment):
    """Function ``(*words)``: (server, URL); it is killed afterwards if it still runs."""
    started = []

    def start(*words):
        server = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "faultplane", "metrics", "--serve", "0", *words],
            env=child_environment(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(server)
        return server, server.stderr.readline().split()[1]

    yield start
    for server in started:
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_a_server_ends_in_order(serve, shop, number, status):
    server, url = serve()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert ERRORS in answer.read().decode().splitlines()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as idle,
        socket.create_connection(("127.0.0.1", port), timeout=30) as half,
    ):
        idle.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert idle.recv(10) == b"HTTP/1.1 2"
        half.sendall(b"GET /me")
        server.send_signal(number)
        assert server.wait(30) == status
        assert server.stderr.read() == ""


@pytest.mark.parametrize("read_only", [False, True])
def test_the_dead_are_buried_unless_it_is_forbidden(serve, run_python, read_only):
    code = 'import faultplane as fp, os\nfp.init(service="shop")\nos.kill(os.getpid(), 9)'
    run_python(code, check=False)
    _, url = serve(*(["--read-only"] if read_only else []))
    with urllib.request.urlopen(url, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    died = f'faultplane_deaths_total{{service="shop",how="unknown"}} {0 if read_only else 1}'
    gone = f'faultplane_owners{{service="shop",state="gone"}} {1 if read_only else 0}'
    assert {died, gone} <= set(lines)
