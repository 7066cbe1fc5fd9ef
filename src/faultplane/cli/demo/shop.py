"""The demo's service: a WSGI application that charges customers through an upstream.

Each request asks for one way to fail: the failure happens in real sockets, TLS or parsing. The
application answers what it was told was recorded: that is the acknowledgement.
"""

from __future__ import annotations

import ctypes
import io
import json
import logging
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from urllib.parse import parse_qs

import faultplane as fp

UPSTREAM_SECONDS_MAX: Final = 0.3
LINGER_SECONDS: Final = 3.0
HOARD_BYTES_MAX: Final = 1 << 30
HOARD_STEP_BYTES: Final = 4 << 20
PRICE_ROUNDS: Final = 40
PRICE_CALLS: Final = 50

StartResponse = Callable[..., Any]

_charged = fp.counter("shop.charged")
_declined = fp.counter("shop.declined")


def _tracer() -> Any:
    try:
        from opentelemetry.sdk.trace import TracerProvider
    except ModuleNotFoundError:
        return None
    return TracerProvider().get_tracer("shop")


_TRACER: Final = _tracer()


def _span(name: str) -> AbstractContextManager[Any]:
    """A span of OpenTelemetry where it is installed, so that requests have a trace id."""
    return nullcontext() if _TRACER is None else _TRACER.start_as_current_span(name)


def _url(mode: str, environ: dict[str, Any]) -> str:
    port = os.environ["DEMO_UPSTREAM_PORT"]
    urls = {
        "refused": f"http://127.0.0.1:{os.environ['DEMO_UNUSED_PORT']}/ok",
        "tls": f"https://127.0.0.1:{port}/ok",
        "dns": "http://payments.invalid/ok",
    }
    return urls.get(mode, f"http://127.0.0.1:{port}/{mode}")


def charge(mode: str, environ: dict[str, Any]) -> dict[str, Any]:
    """Ask the upstream for a charge; raises what really goes wrong."""
    url = _url(mode, environ)
    with urllib.request.urlopen(url, timeout=UPSTREAM_SECONDS_MAX) as answer:  # noqa: S310 - ours
        found: dict[str, Any] = json.loads(answer.read())["charge"]
    return found


def _charge(mode: str, environ: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic_ns()
    try:
        answer = charge(mode, environ)
    except (OSError, ValueError) as error:
        _declined.add()
        spent = time.monotonic_ns() - started
        known = fp.record(error, f"charge.{mode}", duration_nano=spent, attributes={"mode": mode})
        return {"recorded": mode, "kind": str(known.kind), "retry_after": known.retry_after}
    _charged.add()
    return {"charged": answer["id"]}


def _crash(mode: str, environ: dict[str, Any]) -> dict[str, Any]:  # pragma: no cover
    # The process ends in it, and what was measured of it with it.
    ctypes.string_at(0)
    return {}


def _hang(mode: str, environ: dict[str, Any]) -> dict[str, Any]:  # pragma: no cover
    # Waits for a lock that it holds itself, in C and with the interpreter's lock kept: no Python
    # runs in this process any more, no signal handler either, until it is killed.
    library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
    return {}


def _hoard(mode: str, environ: dict[str, Any]) -> dict[str, Any]:  # pragma: no cover
    # Twice what the cgroup has, in case there is none: the process is not to take the machine's.
    kept: list[bytes] = []
    while len(kept) * HOARD_STEP_BYTES < HOARD_BYTES_MAX:
        kept.append(b"x" * HOARD_STEP_BYTES)
        time.sleep(0.004)
    return {}


def _linger(start_response: StartResponse) -> Iterable[bytes]:
    """Say at once who answers, and take long to finish: somebody to kill in mid-request."""
    start_response("200 OK", [("Content-Type", "application/json")])
    with _span("GET /linger"), fp.capture("GET /linger"):
        yield json.dumps({"pid": os.getpid()}).encode() + b"\n"
        time.sleep(LINGER_SECONDS)


def _price(mode: str, environ: dict[str, Any]) -> dict[str, Any]:
    """What one record() costs in this very process, beside logging.exception."""
    log = logging.getLogger("shop.price")
    log.propagate = False
    log.handlers = [logging.StreamHandler(io.StringIO())]
    log.handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    best = {"record": float("inf"), "logging": float("inf")}
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["DEMO_UNUSED_PORT"])), 1.0)
    except OSError as error:
        for _ in range(PRICE_ROUNDS):
            start = time.perf_counter_ns()
            for _ in range(PRICE_CALLS):
                fp.record(error, "price")
            middle = time.perf_counter_ns()
            log.exception("charge failed")
            end = time.perf_counter_ns()
            best["record"] = min(best["record"], (middle - start) / PRICE_CALLS)
            best["logging"] = min(best["logging"], end - middle)
    return {"record_nano": best["record"], "logging_nano": best["logging"]}


def _who(mode: str, environ: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid(), "core": fp.core}


_ROUTES: Final = {
    "/charge": _charge,
    "/crash": _crash,
    "/hoard": _hoard,
    "/hang": _hang,
    "/price": _price,
    "/who": _who,
}


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request; its route and its trace are in flight while it runs."""
    path = environ["PATH_INFO"]
    if path == "/linger":
        return _linger(start_response)
    mode = parse_qs(environ.get("QUERY_STRING", "")).get("mode", ["ok"])[0]
    handler = _ROUTES[path]
    name = f"{environ['REQUEST_METHOD']} {path}"
    with _span(name), fp.capture(name):
        answer = handler(mode, environ)
    body = json.dumps({**answer, "pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
