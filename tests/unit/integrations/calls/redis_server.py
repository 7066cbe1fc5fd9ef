"""A Redis server on loopback, and a line to it that breaks as it is told."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Self

from origin import closed_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
SECONDS_MAX = 30


class Server:
    """A process of its own, with nothing kept on disk."""

    def __init__(self, directory: Path) -> None:
        assert PROGRAM is not None
        self.port = closed_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        words = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(words, cwd=directory, stdout=self._log, stderr=self._log)
        self._wait_until_it_listens(directory)

    def _wait_until_it_listens(self, directory: Path) -> None:
        with socket.socket() as one:
            one.settimeout(SECONDS_MAX)
            while one.connect_ex(("127.0.0.1", self.port)):
                assert self._process.poll() is None, (directory / "log").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(SECONDS_MAX)
        self._log.close()


class Line:
    """A line to a server: what is sent arrives, and of some answers nothing comes back.

    ``lose(n)``: the connection is closed in place of the next ``n`` answers. ``arrived`` is
    released once for each of what was sent to the server, ``sent`` counts it.
    """

    def __init__(self, server: Server, port: int = 0) -> None:
        self._server, self._lost = server, 0
        self.sent = 0
        self.arrived = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, answers: int) -> None:
        self._lost = answers

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server.port))
            self._sockets += [near, far]
            for target, *ends in ((self._there, near, far), (self._back, far, near)):
                threading.Thread(target=target, args=ends, daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := near.recv(1 << 16):
                self.sent += 1
                far.sendall(data)
                self.arrived.release()
        except OSError:
            pass
        _end(far)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(1 << 16):
                if self._lost:
                    self._lost -= 1
                    break
                near.sendall(data)
        except OSError:
            pass
        _end(near)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)
        self._listener.close()
        for one in self._sockets:
            _end(one)
            one.close()


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended
