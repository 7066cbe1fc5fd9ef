"""Services in the frameworks themselves, below ``faultplane run``, on the servers that run them.

Each is asked the same with and without: every error is counted once under its route, and statuses,
bodies and what the server logs are the same.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from launching import LAUNCH, ended, unused_port

SERVICES = Path(__file__).parent / "services"
CLIENTS = 4
EACH = 25
WAYS = ("ok", "fail", "refused", "stream", "inside", "missing")
START_SECONDS_MAX = 30


class Service(NamedTuple):
    """A server, what it needs, and the route of each way to fail as its framework writes it."""

    needs: str
    command: str
    fail: str
    stream: str


def gunicorn(target: str, *words: str) -> str:
    """The command; a worker that misses its SIGTERM is waited for five seconds, not thirty.

    gunicorn loses a signal that it sends to a worker between the fork and its handlers.
    """
    command = "-m gunicorn -w 2 --no-control-socket --graceful-timeout 5 -b 127.0.0.1:{port}"
    return " ".join([command, *words, target])


UVICORN = "-m uvicorn --host 127.0.0.1 --port {port} --workers 2 --no-use-colors"
FLASK = ("GET /fail/<int:n>", "GET /stream/<int:n>")
DJANGO = ("GET /fail/<int:n>", "GET /stream/<int:n>")
FASTAPI = ("GET /fail/{n}", "GET /stream/{n}")
STARLETTE = ("GET /fail/{n:int}", "GET /stream/{n:int}")
SERVED = {
    "flask-sync": Service("flask", gunicorn("flask_service"), *FLASK),
    "flask-gthread": Service("flask", gunicorn("flask_service", "--threads 4"), *FLASK),
    "flask-preload": Service("flask", gunicorn("flask_service", "--preload"), *FLASK),
    "flask-recycled": Service("flask", gunicorn("flask_service", "--max-requests 20"), *FLASK),
    "flask-gevent": Service("flask gevent", gunicorn("flask_service", "-k gevent"), *FLASK),
    "django-sync": Service("django", gunicorn("django_service"), *DJANGO),
    "django-asgi": Service("django", f"{UVICORN} django_service:asgi_application", *DJANGO),
    "fastapi": Service("fastapi", f"{UVICORN} fastapi_service:application", *FASTAPI),
    "fastapi-uvloop": Service(
        "fastapi uvloop", f"{UVICORN} --loop uvloop fastapi_service:application", *FASTAPI
    ),
    "starlette": Service("starlette", f"{UVICORN} starlette_service:application", *STARLETTE),
    "aiohttp": Service(
        "aiohttp", f"{SERVICES}/aiohttp_service.py {{port}}", r"GET /fail/{n}", r"GET /stream/{n}"
    ),
    "wsgi": Service("gunicorn", gunicorn("plain_service"), "fail", "stream"),
    "asgi": Service("uvicorn", f"{UVICORN} plain_service:asgi_application", "fail", "stream"),
}


def ask(port: int, path: str) -> tuple[int, bytes]:
    """(Status, body); what came of a body that broke off is its beginning."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        try:
            return response.status, response.read()
        except http.client.IncompleteRead as broken:
            return response.status, broken.partial
    finally:
        connection.close()


@contextmanager
def served(
    service: Service,
    environment: dict[str, str],
    log: Path,
    *,
    run: bool = False,
    below: Sequence[str] = (),
) -> Iterator[int]:
    """The port of a service while it runs; ended as its operator would.

    ``below`` are the words of other programs that start it.
    """
    port = unused_port()
    words = [*below, sys.executable, *service.command.format(port=port).split()]
    if run:
        words = [sys.executable, "-c", LAUNCH, *words]
        environment = {**environment, "PROGRAM_PYTHONPATH": environment["PYTHONPATH"]}
    with log.open("wb") as file:
        server = subprocess.Popen(words, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                ask(port, "/ok/0")
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield port
    finally:
        ended(server)


def load(port: int) -> Counter[tuple[str, int, bytes]]:
    """What several clients at once were answered: (way, status, body) -> count."""

    def client(number: int) -> Counter[tuple[str, int, bytes]]:
        answers: Counter[tuple[str, int, bytes]] = Counter()
        for index in range(EACH):
            for way in WAYS:
                answers[way, *ask(port, f"/{way}/{number * EACH + index}")] += 1
        return answers

    with ThreadPoolExecutor(CLIENTS) as clients:
        return sum(clients.map(client, range(CLIENTS)), Counter())


TIMES = re.compile(r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[^\]\s]*( [+-]\d{4})?\]?")


def told(log: Path) -> Counter[str]:
    """Lines of a log without times, process ids, addresses and ports."""
    text = TIMES.sub("<time>", log.read_text())
    text = re.sub(r"\[\d+\]|pid:? ?\d+|process \[?\d+|0x[0-9a-f]+|127\.0\.0\.1:\d+", "<n>", text)
    text = re.sub(r"\b\d+\b", "<n>", text)
    return Counter(line for line in text.splitlines() if is_about_requests(line))


def is_about_requests(line: str) -> bool:
    """Not which of the workers came and went: recycled ones do so by chance."""
    return not re.search(r"worker|Worker|Auto ?restart|Maximum request|Child process|parent", line)


def error_of_a_body(name: str) -> str:
    """What an OSError leaves as: before it knew better, Starlette raised the group of its tasks."""
    if name.startswith(("fastapi", "starlette")):
        from starlette import _utils

        if not hasattr(_utils, "create_collapsing_task_group"):
            return "ExceptionGroup"
    return "OSError"


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_every_error_is_counted_once_and_nothing_else_changes(
    name, environment, recorded, tmp_path
):
    service = SERVED[name]
    for needed in service.needs.split():
        pytest.importorskip(needed)
    variables = environment(SERVICES)
    with served(service, variables, tmp_path / "plain.log", run=False) as port:
        expected = load(port)
    before = recorded()
    # What is recorded by hand and by a middleware that is there either way.
    assert sum(before.values()) in (CLIENTS * EACH, 0, 3 * CLIENTS * EACH)
    with served(service, variables, tmp_path / "run.log", run=True) as port:
        answers = load(port)
    assert answers == expected
    total = CLIENTS * EACH
    found: Counter[tuple[str, str]] = Counter()
    for (_, operation, kind), count in recorded().items():
        found[operation, kind] += count
    for (_, operation, kind), count in before.items():
        found[operation, kind] -= count
    assert +found == {
        (service.fail, "KeyError"): total,
        (service.stream, error_of_a_body(name)): total,
        ("inside", "TimeoutError"): total,
    }
    assert told(tmp_path / "run.log") == told(tmp_path / "plain.log")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "--workers 2"])
def test_uvicorn_that_is_stopped_has_not_died(words, environment, tmp_path, tmp_domain_dir):
    """It shuts down and ends by the signal that it was sent, past ``atexit``."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    import faultplane as fp

    command = f"-m uvicorn --host 127.0.0.1 --port {{port}} {words} fastapi_service:application"
    service = SERVED["fastapi"]._replace(command=command)
    with served(service, environment(SERVICES), tmp_path / "run.log", run=True) as port:
        assert ask(port, "/inside/1")[0] == 200
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        assert domain.counts_rows()[0]["count"] == 1
        assert domain.deaths_rows() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_names_its_request(environment, tmp_path, tmp_domain_dir):
    """The in-flight slot of Flask's request: what a worker was at when it was killed."""
    pytest.importorskip("flask")
    import faultplane as fp

    (tmp_path / "hanging.py").write_text(
        "import flask, os, time\napplication = flask.Flask('shop')\n"
        "@application.get('/hang/<int:n>')\ndef hang(n):\n"
        "    open(os.environ['SAID'], 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
        "@application.get('/ok/<int:n>')\ndef ok(n):\n    return {}\n"
    )
    said = tmp_path / "said"
    service = SERVED["flask-sync"]._replace(command=gunicorn("hanging:application"))
    variables = {**environment(tmp_path), "SAID": str(said)}
    with served(service, variables, tmp_path / "run.log", run=True) as port:

        def hang() -> None:
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(port, "/hang/7")

        asking = threading.Thread(target=hang)
        asking.start()
        deadline = time.monotonic() + 20
        while not (said.exists() and said.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = int(said.read_text())
        os.kill(pid, signal.SIGKILL)
        asking.join(20)
        with fp.attach(directory=str(tmp_domain_dir)) as domain:
            while not (rows := [row for row in domain.deaths_rows() if row["pid"] == pid]):
                assert time.monotonic() < deadline
                time.sleep(0.1)
    (row,) = rows
    assert [flight["operation"] for flight in row["in_flight"]] == ["GET /hang/7"]
