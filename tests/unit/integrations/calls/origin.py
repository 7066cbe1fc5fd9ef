"""An HTTP server on loopback that answers as it is told, and keeps what it was asked.

``origin.tell("/orders", Answer(503), Answer(200))`` has it answer two requests of that path so, and
those after them well. Whatever it holds back goes on, and ends, with the server.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

HELD_SECONDS_MAX = 60


@dataclass
class Answer:
    """What a request is answered.

    ``sent``: so many bytes of the body go out, then the connection is reset; with 0 not even a
    status goes out. ``held``: nothing does before that is set. ``rest_held``: the first half of the
    body goes out, the other half when that is set.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"well"
    sent: int | None = None
    held: threading.Event | None = None
    rest_held: threading.Event | None = None


class Asked(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    body: bytes
    port: int  # of the client: the same one is the same connection


class Origin:
    """The server, on a port of its own."""

    def __enter__(self) -> Self:
        self.asked: list[Asked] = []
        self.arrived = threading.Semaphore(0)
        self._told: dict[str, list[Answer]] = defaultdict(list)
        self._held: list[threading.Event] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for event in self._held:
            event.set()
        self._server.shutdown()
        self._server.server_close()

    def tell(self, path: str, *answers: Answer) -> None:
        """Have the next requests of ``path`` answered so."""
        self._held += [e for a in answers for e in (a.held, a.rest_held) if e is not None]
        self._told[path].extend(answers)

    def count(self, path: str) -> int:
        """How many requests of ``path`` have arrived."""
        return sum(one.path == path for one in self.asked)

    def wait(self) -> None:
        """Wait until one more request than those that were waited for has arrived."""
        assert self.arrived.acquire(timeout=HELD_SECONDS_MAX)

    def _handler(origin) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # who asked has gone
                    self.close_connection = True

            def answer(self) -> None:
                body = self.sent_body()
                path = self.path.partition("?")[0]
                origin.asked.append(Asked(self.command, path, body, self.client_address[1]))
                told = origin._told[path].pop(0) if origin._told[path] else Answer()
                origin.arrived.release()
                if told.held is not None:
                    told.held.wait(HELD_SECONDS_MAX)
                if told.sent == 0:
                    self.reset()
                    return
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                half = len(told.body) // 2 if told.rest_held is not None else len(told.body)
                self.wfile.write(told.body[: half if told.sent is None else told.sent])
                self.wfile.flush()
                if told.sent is not None:
                    self.reset()
                elif told.rest_held is not None:
                    told.rest_held.wait(HELD_SECONDS_MAX)
                    self.wfile.write(told.body[half:])

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

            def reset(self) -> None:
                self.close_connection = True
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.connection.close()
                self.wfile = self.rfile  # nothing is to be flushed

            def sent_body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
