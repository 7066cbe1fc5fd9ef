"""The service that the shop calls, failing for real over real sockets.

Paths: ``/ok`` answers, ``/busy`` says 503 with Retry-After, ``/truncated`` sends half a JSON
document, ``/slow`` answers too late, ``/reset`` closes the connection with a reset.
"""

from __future__ import annotations

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

SLOW_SECONDS: Final = 1.5
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    stopping = threading.Event()

    def do_GET(self) -> None:
        """Answer as the path says."""
        if self.path == "/busy":
            self._answer(503, b'{"error": "busy"}', {"Retry-After": "2"})
        elif self.path == "/truncated":
            self._answer(200, b'{"charge": {"id": "ch_81", "amount": 12')
        elif self.path == "/reset":
            # Closing with a linger of zero seconds sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.connection.close()
        else:
            if self.path == "/slow":
                self.stopping.wait(SLOW_SECONDS)
            self._answer(200, b'{"charge": {"id": "ch_81", "amount": 1200}}')

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            return  # the caller did not wait for a slow answer

    def finish(self) -> None:
        """Flush, unless the connection was reset."""
        try:
            super().finish()
        except (OSError, ValueError):
            return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what this server is for."""

    def shutdown_request(self, request: Any) -> None:
        """Close, unless it was reset."""
        try:
            super().shutdown_request(request)
        except OSError:
            return


class Upstream:
    """The server on a port of loopback that the kernel chose; use it in a ``with`` statement."""

    def __enter__(self) -> Self:
        """Start serving."""
        _Handler.stopping.clear()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        _Handler.stopping.set()
        self._server.shutdown()
        self._server.server_close()


def unused_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
