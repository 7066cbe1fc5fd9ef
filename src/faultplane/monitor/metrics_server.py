"""A small HTTP server for `MetricsApp`, which no client can hold up, fill or end.

One thread. A connection has so many seconds for the head of a request and for taking its answer,
and waits so long for another; there are so many at a time, and for one more the oldest ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from faultplane.errors import InvalidSetting
from faultplane.monitor.metrics_app import MetricsApp, Response, answer

CONNECTIONS_MAX: Final = 64
HEAD_BYTES_MAX: Final = 16 << 10
HEAD_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 120.0
WRITE_SECONDS_MAX: Final = 30.0
PATH: Final = "/metrics"
LOOPBACK: Final = "127.0.0.1"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``; InvalidSetting for anything else.

    >>> parse_address("9464"), parse_address("0.0.0.0:80"), parse_address("[::1]:0")
    (('127.0.0.1', 9464), ('0.0.0.0', 80), ('::1', 0))
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host.replace(":", "/")
    if (
        bool(colon) != bool(bare)
        or set(bare) & set("/[]")
        or not (port.isascii() and port.isdigit())
    ):
        raise InvalidSetting(f"an address must be [HOST:]PORT, IPv6 in brackets, got {text!r}")
    host = bare or LOOPBACK
    if len(port) > 5 or int(port) > 65_535:
        raise InvalidSetting(f"port must be 0 to 65535, got {port}")
    return host, int(port)


class MetricsServer:
    """Serves ``app`` at ``/metrics`` of an address; port 0 is one that is free."""

    def __init__(self, app: MetricsApp, host: str = LOOPBACK, port: int = 0) -> None:
        self._app = app
        self._host, self._port = host, port
        self._open: dict[asyncio.Task[None], None] = {}
        self.url = ""

    async def run(self, started: Callable[[str], None] | None = None) -> None:
        """Serve until cancelled; ``started`` is told the URL. Raises OSError for the address.

        What the domain has counted until now is read before, so that no scrape waits for that.
        """
        server = await asyncio.start_server(
            self._talk, self._host, self._port, limit=HEAD_BYTES_MAX, start_serving=False
        )
        try:
            # The first answer reads every name that there is, as no later one does.
            self._app.respond("GET")
            await server.start_serving()
            host, port = server.sockets[0].getsockname()[:2]
            shown = f"[{host}]" if server.sockets[0].family == socket.AF_INET6 else host
            self.url = f"http://{shown}:{port}{PATH}"
            if started is not None:
                started(self.url)
            await asyncio.get_running_loop().create_future()
        finally:
            # Connections that are open do not keep it: whoever runs the loop cancels them.
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        if len(self._open) >= CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[me] = None
        # What was written is taken when `drain` returns: nothing is left to be waited for.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            wait_seconds = HEAD_SECONDS_MAX
            while await self._serve_one(reader, writer, wait_seconds):
                wait_seconds = IDLE_SECONDS_MAX
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, took too long, or made room for another
        finally:
            self._open.pop(me, None)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_seconds: float
    ) -> bool:
        """Answer one request; whether another may come."""
        async with asyncio.timeout(wait_seconds):
            first = await reader.readexactly(1)
        try:
            async with asyncio.timeout(HEAD_SECONDS_MAX):
                head = first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await _send(writer, answer(status, b"the head is too long\n"), last=True)
            return False
        request = _parse(head)
        if request is None:
            await _send(writer, answer(HTTPStatus.BAD_REQUEST, b"not HTTP/1\n"), last=True)
            return False
        method, path, version, headers = request
        response = self._answer(method, path, headers)
        asked = headers.get("connection", "").lower()
        # A body is not read: what follows would be taken for a request.
        last = (
            "close" in asked
            or (version == "HTTP/1.0" and "keep-alive" not in asked)
            or headers.get("content-length", "0") != "0"
            or "transfer-encoding" in headers
        )
        await _send(writer, response, last=last, head=method == "HEAD")
        return not last

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> Response:
        path = path.partition("?")[0]
        if path == PATH:
            return self._app.respond(
                method, headers.get("accept", ""), headers.get("accept-encoding", "")
            )
        if path == "/":
            return answer(HTTPStatus.OK, f"faultplane: metrics are at {PATH}\n".encode())
        return answer(HTTPStatus.NOT_FOUND, f"only {PATH} is here\n".encode())


def _parse(head: bytes) -> tuple[str, str, str, dict[str, str]] | None:
    """(Method, path, version, headers by lower-case name) of a request, None for no request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or not words[0].isalpha():
        return None
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        known = headers.get(name.lower())
        headers[name.lower()] = f"{known},{value.strip()}" if known else value.strip()
    return words[0], words[1], words[2], headers


async def _send(
    writer: asyncio.StreamWriter, response: Response, *, last: bool, head: bool = False
) -> None:
    """Write a response; TimeoutError when the client does not take it."""
    lines = [
        f"HTTP/1.1 {response.line}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Connection: {'close' if last else 'keep-alive'}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if head else response.body))
    async with asyncio.timeout(WRITE_SECONDS_MAX):
        await writer.drain()
