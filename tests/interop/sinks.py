"""Receivers on loopback for what other tools send, and what they were sent in comparable form.

Each parses with the format's own library: OTLP with ``opentelemetry-proto``, envelopes with
``sentry_sdk``, traces for the Datadog agent with ``msgpack``. Left out of what is compared is what
differs from run to run: ids, times, ports, processes.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

OTLP = "/v1/traces"
SENTRY = "/api/1/envelope/"
DATADOG = "/v0.5/traces"
SPAN_KIND_SERVER = 2
DATADOG_OLDER = "/v0.4/traces"
_DATADOG_SAYS = {"endpoints": [DATADOG, DATADOG_OLDER], "client_drop_p0s": False}
_DIFFERS = ("port", "peer", "host", "pid", "process", "runtime-id", "tracestate", "_dd.", "thread")
_CHANCE = re.compile(r"127\.0\.0\.1:\d+|\b[0-9a-f]{12}\b")  # ports, and addresses of objects


class Sink:
    """An HTTP server on a port of loopback that keeps every body it is sent, by path."""

    def __enter__(self) -> Self:
        self.bodies: list[tuple[str, bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(sink) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                body = self.body()
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.bodies.append((self.path, body))
                self.answer()

            do_PUT = do_POST

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def answer(self) -> None:
                said = _DATADOG_SAYS if self.path == "/info" else {}
                text = b"" if self.path == OTLP else json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def sent(self, path: str) -> list[bytes]:
        return [body for where, body in self.bodies if where == path]


def without_chance(value: object) -> str:
    return _CHANCE.sub("<chance>", str(value))


def _kept(attributes: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted(
            (name, without_chance(value))
            for name, value in attributes.items()
            if not any(part in name for part in _DIFFERS)
        )
    )


# ------------------------------------------------------------------------------- OpenTelemetry


def otlp_spans(sink: Sink) -> list[Any]:
    """Spans as protobuf messages."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    requests = [ExportTraceServiceRequest.FromString(body) for body in sink.sent(OTLP)]
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(message: Any) -> dict[str, Any]:
    found = {}
    for pair in message.attributes:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, kind) if kind else None
    return found


def otlp_traces(sink: Sink) -> dict[str, set[str]]:
    """Way of each request that was served -> trace ids of its spans, in hexadecimal."""
    found: dict[str, set[str]] = {}
    for span in otlp_spans(sink):
        said = _attributes(span)
        # Older names and the newer one: which of them is chosen differs between instrumentations.
        path = said.get("http.target") or said.get("url.path") or ""
        if span.kind == SPAN_KIND_SERVER:
            found.setdefault(path.split("/")[1], set()).add(span.trace_id.hex())
    return found


def otlp_told(sink: Sink) -> Counter[Any]:
    """Spans with their events, stacks included."""
    return Counter(
        (
            span.name,
            span.kind,
            span.status.code,
            span.status.message,
            _kept(_attributes(span)),
            tuple((event.name, _kept(_attributes(event))) for event in span.events),
        )
        for span in otlp_spans(sink)
    )


# -------------------------------------------------------------------------------------- Sentry


def sentry_told(sink: Sink) -> Counter[Any]:
    """Events with the frames of their exceptions, and transactions."""
    from sentry_sdk.envelope import Envelope

    found: Counter[Any] = Counter()
    for body in sink.sent(SENTRY):
        for item in Envelope.deserialize(body).items:
            event = item.get_event() or item.get_transaction_event()
            if event is None:
                continue
            exceptions = tuple(
                (
                    value["type"],
                    without_chance(value["value"]),
                    value["mechanism"]["type"],
                    value["mechanism"]["handled"],
                    tuple(
                        (frame["module"], frame["function"], frame["lineno"])
                        for frame in value["stacktrace"]["frames"]
                    ),
                )
                for value in event.get("exception", {}).get("values", ())
            )
            found[
                item.type,
                event.get("transaction"),
                without_chance(event.get("request", {}).get("url")),
                event.get("level"),
                event.get("contexts", {}).get("trace", {}).get("status"),
                len(event.get("spans", ())),
                exceptions,
            ] += 1
    return found


# ------------------------------------------------------------------------------------- Datadog


def _datadog_spans(sink: Sink) -> list[dict[str, Any]]:
    import msgpack

    spans = []
    for body in sink.sent(DATADOG_OLDER):
        for trace in msgpack.unpackb(body, strict_map_key=False):
            spans += trace
    fields = ("service", "name", "resource", "trace_id", "span_id", "parent_id", "start",
              "duration", "error", "meta", "metrics", "type")  # fmt: skip
    for body in sink.sent(DATADOG):
        texts, traces = msgpack.unpackb(body, strict_map_key=False)
        for trace in traces:
            for row in trace:
                span = dict(zip(fields, row, strict=True))
                for name in ("service", "name", "resource", "type"):
                    span[name] = texts[span[name]]
                span["meta"] = {texts[k]: texts[v] for k, v in span["meta"].items()}
                spans.append(span)
    return spans


def datadog_told(sink: Sink) -> Counter[Any]:
    """Spans with what they say of their error, stacks included."""
    return Counter(
        (span["name"], span["resource"], span["type"], span["error"], _kept(span["meta"]))
        for span in _datadog_spans(sink)
        if OTLP not in span["resource"]  # of the other agents' own reports, as many as it happens
    )
