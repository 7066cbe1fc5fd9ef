"""Beside OpenTelemetry, Datadog's and Sentry's agents in one process: all of them still work.

Real services, real agents, and a receiver for each: what an agent reports of a request, to the
stacks of its errors, is the same with faultplane and without.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sinks
from launching import LAUNCH, unused_port
from test_frameworks import SERVICES, Service, ask, served, told

import faultplane as fp

pytestmark = pytest.mark.slow
EACH = 3
REPORT_SECONDS_MAX = 30
SAID_BY_CHANCE = re.compile(
    "Sentry is attempting|Waiting up to|Press Ctrl-C|is not supported by ddtrace"
    # ddtrace, where two threads give it their first spans at once.
    "|failed to start writer service"
)
WAYS = ("ok", "fail", "refused", "stream", "inside", "missing")
OURS = "faultplane"
COMMANDS = {"otel": "opentelemetry-instrument", "datadog": "ddtrace-run"}
TOLD: dict[str, Callable[[sinks.Sink], Counter[Any]]] = {
    "otel": sinks.otlp_told,
    "datadog": sinks.datadog_told,
    "sentry": sinks.sentry_told,
}
NEEDS = {"otel": "opentelemetry.exporter.otlp.proto.http", "datadog": "ddtrace",
         "sentry": "sentry_sdk"}  # fmt: skip
GUNICORN = "-m gunicorn --no-control-socket -b 127.0.0.1:{port} watched_service"
UVICORN = "-m uvicorn --host 127.0.0.1 --port {port} --no-use-colors watched_service:application"
SERVED = {
    "flask": Service("flask", GUNICORN, "GET /fail/<int:n>", "GET /stream/<int:n>"),
    "django": Service("django", GUNICORN, "GET /fail/<int:n>", "GET /stream/<int:n>"),
    "fastapi": Service("fastapi", UVICORN, "GET /fail/{n}", "GET /stream/{n}"),
    "starlette": Service("starlette", UVICORN, "GET /fail/{n:int}", "GET /stream/{n:int}"),
    "aiohttp": Service(
        "aiohttp", f"{SERVICES}/aiohttp_service.py {{port}}", "GET /fail/{n}", "GET /stream/{n}"
    ),
}


class Seen(NamedTuple):
    """What a run of a service came to: answers, log, and what each agent reported."""

    answers: list[tuple[int, bytes]]
    log: Counter[str]
    told: dict[str, Counter[Any]]
    traces: dict[str, str]


def instrumented(name: str) -> str:
    package = {"aiohttp": "aiohttp_server"}.get(name, name)
    return f"opentelemetry.instrumentation.{package}"


def script_of(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed beside this interpreter")
    return path


def below(order: tuple[str, ...]) -> list[str]:
    """Words that start a program with those agents, outermost first."""
    words: list[str] = []
    for tool in order:
        words += [sys.executable, "-c", LAUNCH] if tool == OURS else [script_of(COMMANDS[tool])]
    return words


def variables_of(tools: tuple[str, ...], sink: sinks.Sink, service: str) -> dict[str, str]:
    """What the agents are told: where their receiver is, and to report at the end at the latest."""
    here = f"http://127.0.0.1:{sink.port}"
    variables = {
        "SERVICE": f"{service}_service",
        "DJANGO_SETTINGS_MODULE": "django_settings",
        "OTEL_SERVICE_NAME": "shop",
        # By its full name: ddtrace sends there too, instead of to its agent, when it reads "otlp".
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": here,
        "DD_SERVICE": "shop",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2",
        # Wraps a view when it has been called for a while, which lengthens its later stacks.
        "DD_CODE_ORIGIN_FOR_SPANS_ENABLED": "false",
        "DD_TRACE_AGENT_URL": here,
    }
    if "sentry" in tools:
        variables["SENTRY_DSN"] = f"http://key@127.0.0.1:{sink.port}/1"
    return variables


def await_last(sink: sinks.Sink, tools: tuple[str, ...]) -> None:
    """Wait until each agent has reported the last request."""
    deadline = time.monotonic() + REPORT_SECONDS_MAX
    for tool in tools:
        # Sentry is told of errors, of which those of bodies are the last.
        last = "/stream/" if tool == "sentry" else f"/{WAYS[-1]}/"
        while sum(n for report, n in TOLD[tool](sink).items() if last in str(report)) < EACH:
            assert time.monotonic() < deadline, f"{tool} has not reported all of {last}"
            time.sleep(0.1)


def log_of_service(log: Path) -> Counter[str]:
    """What was logged, but for what an agent says once a process, or when it ends busy."""
    lines = map(sinks.without_chance, told(log).elements())
    return Counter(line for line in lines if not SAID_BY_CHANCE.search(line))


def seen(
    name: str, tools: tuple[str, ...], order: tuple[str, ...], environment: Any, log: Path
) -> Seen:
    """Ask a service everything, below the commands of ``order``, outermost first."""
    for tool in tools:
        pytest.importorskip(NEEDS[tool])
    service = SERVED[name]
    pytest.importorskip(service.needs)
    if "otel" in tools:
        pytest.importorskip(instrumented(name))
    with sinks.Sink() as sink:
        variables = environment | variables_of(tools, sink, name)
        with served(service, variables, log, below=below(order)) as port:
            answers = [ask(port, f"/{way}/{n}") for n in range(EACH) for way in WAYS]
            # uvicorn ends by the signal that it was sent, with what its agents still hold.
            await_last(sink, tools)
        return Seen(
            answers,
            log_of_service(log),
            {tool: TOLD[tool](sink) for tool in tools},
            sinks.otlp_traces(sink),
        )


@pytest.fixture(scope="module")
def without() -> dict[tuple[str, tuple[str, ...]], Seen]:
    """What each service and its agents did without faultplane, once found out."""
    return {}


ALL = ("otel", "datadog", "sentry")


CASES = (
    ("flask", ("otel",), (OURS, "otel")),
    ("flask", ("otel",), ("otel", OURS)),
    ("flask", ("datadog",), (OURS, "datadog")),
    ("flask", ("datadog",), ("datadog", OURS)),
    ("flask", ("sentry",), (OURS,)),
    ("flask", ALL, (OURS, "otel", "datadog")),
    ("django", ALL, (OURS, "otel", "datadog")),
    ("fastapi", ALL, (OURS, "otel", "datadog")),
    ("fastapi", ALL, ("otel", OURS, "datadog")),
    ("starlette", ("otel",), ("otel", OURS)),
    ("aiohttp", ("otel",), (OURS, "otel")),
)


@pytest.mark.parametrize(
    ("name", "tools", "order"),
    [
        pytest.param(
            *case,
            id=f"{case[0]}-below-{'-'.join(case[2])}-with-{'-'.join(case[1])}",
            marks=pytest.mark.xdist_group(f"{case[0]} {case[1]}"),
        )
        for case in CASES
    ],
)
def test_agents_report_the_same_beside_us(
    name, tools, order, without, environment, entry_point, tmp_path, tmp_domain_dir
):
    key = name, tools
    if key not in without:
        alone = environment(SERVICES, entry_point, FAULTPLANE_DISABLED="1")
        plain_order = tuple(tool for tool in order if tool != OURS)
        without[key] = seen(name, tools, plain_order, alone, tmp_path / "plain.log")
    plain = without[key]
    found = seen(name, tools, order, environment(SERVICES, entry_point), tmp_path / "run.log")
    assert found.answers == plain.answers
    assert found.log == plain.log
    for tool in tools:
        assert found.told[tool] == plain.told[tool], tool
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        rows = [
            row for row in domain.records().rows() if not row["operation"].startswith("ddtrace")
        ]
    service = SERVED[name]
    ways = {"fail": service.fail, "stream": service.stream, "inside": "inside"}
    assert Counter(row["operation"] for row in rows) == dict.fromkeys(ways.values(), EACH)
    for way in ways if "otel" in tools else ():
        traces = {row["trace_id"] for row in rows if row["operation"] == ways[way]}
        # When a body is streamed, the spans of Flask and Django are over.
        over = way == "stream" and name in {"flask", "django"}
        assert traces == ({""} if over else found.traces[way]), way


HANGING = """
import flask, os, time
application = flask.Flask("shop")
@application.get("/hang/<int:n>")
def hang(n):
    with open(os.environ["SAID"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
@application.get("/ok/<int:n>")
def ok(n):
    return {}
"""


def test_a_worker_killed_beside_opentelemetry_names_the_trace_of_its_request(
    environment, entry_point, tmp_path, tmp_domain_dir
):
    pytest.importorskip(instrumented("flask"))
    (tmp_path / "hanging.py").write_text(HANGING)
    said = tmp_path / "said"
    service = SERVED["flask"]._replace(
        command=GUNICORN.replace("watched_service", "hanging:application")
    )
    trace = "0af7651916cd43dd8448eb211c80319c"
    with sinks.Sink() as sink:
        variables = environment(tmp_path, entry_point) | variables_of(("otel",), sink, "flask")
        variables["SAID"] = str(said)
        log = tmp_path / "log"
        with served(service, variables, log, below=below((OURS, "otel"))) as port:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as asking:
                parent = f"traceparent: 00-{trace}-b7ad6b7169203331-01"
                asking.sendall(f"GET /hang/7 HTTP/1.1\r\nHost: x\r\n{parent}\r\n\r\n".encode())
                deadline = time.monotonic() + REPORT_SECONDS_MAX
                while not (said.exists() and said.read_text()):
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                pid = int(said.read_text())
                os.kill(pid, signal.SIGKILL)
                assert asking.recv(1) == b""
            with fp.attach(directory=str(tmp_domain_dir)) as domain:
                while not (rows := [row for row in domain.deaths_rows() if row["pid"] == pid]):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
    (flight,) = rows[0]["in_flight"]
    assert (flight["operation"], flight["trace_id"]) == ("GET /hang/7", trace)


@pytest.mark.parametrize(
    ("way", "order"), [("sync", ("otel", OURS)), ("aio", (OURS, "otel"))], ids=["sync", "aio"]
)
def test_what_a_grpc_method_raises_beside_opentelemetry_has_its_trace(
    way, order, environment, entry_point, tmp_path, tmp_domain_dir
):
    pytest.importorskip(instrumented("grpc"))
    import grpc

    port, log = unused_port(), tmp_path / "log"
    with sinks.Sink() as sink, log.open("wb") as file:
        variables = environment(SERVICES, entry_point) | variables_of(("otel",), sink, "grpc")
        words = [*below(order), sys.executable, f"{SERVICES}/grpc_service.py", str(port), way]
        server = subprocess.Popen(words, env=variables, stdout=file, stderr=file)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(REPORT_SECONDS_MAX)
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary("/shop.Orders/One")(b"fail 1")
                with pytest.raises(grpc.RpcError):
                    list(channel.unary_stream("/shop.Orders/Many")(b"fail 2"))
            deadline = time.monotonic() + REPORT_SECONDS_MAX
            while len(spans := sinks.otlp_spans(sink)) < 2:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        finally:
            server.terminate()
            server.wait(20)
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        found = {(row["operation"], row["trace_id"]) for row in domain.records().rows()}
    assert found == {(span.name, span.trace_id.hex()) for span in spans}
