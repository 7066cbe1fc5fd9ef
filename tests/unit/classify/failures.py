"""Failures of the standard library that really happen, by name.

Each function decorated with `failure` makes something fail and lets the exception out. The golden
table ``tests/golden/classification_stdlib.json`` holds what each is to be classified as.

Run as a program, prints how the core that this process runs classifies each of them, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import sys
import threading
import warnings
from pathlib import Path

FAILURES = {}
HERE = Path(__file__).resolve().parent
WAIT_SECONDS_MAX = 20.0


def failure(name):
    """Register a function that fails; pytest never sees it."""

    def decorate(function):
        assert name not in FAILURES, name
        FAILURES[name] = function
        return function

    return decorate


def load():
    """Every failure by name, those of the sibling files included."""
    from importlib import import_module

    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    for sibling in sorted(HERE.glob("failures_*.py")):
        import_module(sibling.stem)
    return import_module("failures").FAILURES


class NotPossible(Exception):
    """This host cannot make it fail that way; the text says why."""


def caught(name):
    """The exception that the failure of that name raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load()[name]()
        except NotPossible:
            raise
        except BaseException as error:
            return error
    raise AssertionError(f"{name} did not fail")


def in_child(function):
    """Run ``function`` in a forked child and raise here what it raised there."""
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 3.12 warns of fork where other threads run
        pid = os.fork()
    if pid == 0:
        try:
            os.close(readable)
            try:
                function()
                answer = None
            except BaseException as error:
                answer = error
            os.write(writable, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        answer = pickle.loads(pipe.read())
    os.waitpid(pid, 0)
    if answer is not None:
        raise answer


def as_nobody(function):
    """Run ``function`` as a user without rights, and raise here what it raised."""
    if os.getuid() != 0:
        function()
        return

    def unprivileged():
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        function()

    in_child(unprivileged)


@contextlib.contextmanager
def server(*conversations):
    """A loopback server: each accepted connection is handed to the next of ``conversations``.

    Yields the address. The last conversation serves every further connection.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(WAIT_SECONDS_MAX)
    waiting = list(conversations)
    done = threading.Event()

    def serve():
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(WAIT_SECONDS_MAX)
                (waiting.pop(0) if len(waiting) > 1 else waiting[0])(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        done.set()
        # A closed listener does not wake accept(); a connection does.
        with contextlib.suppress(OSError):
            socket.create_connection(listener.getsockname(), 1).close()
        thread.join(WAIT_SECONDS_MAX)
        listener.close()


def says(*lines):
    """A conversation: greet with the first line, answer each line received with the next."""

    def converse(connection):
        with connection.makefile("rb") as received:
            for number, line in enumerate(lines):
                if number and not received.readline():
                    return
                connection.sendall(line.encode() + b"\r\n")
            received.readline()

    return converse


def answers(reply: bytes):
    """A conversation: read an HTTP request's head, send ``reply``, close."""

    def converse(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65536)
            if not chunk:
                return
            head += chunk
        connection.sendall(reply)

    return converse


def main():
    from faultplane.classify import classify

    answers = {}
    for name in sorted(load()):
        try:
            error = caught(name)
        except NotPossible:
            continue
        answers[name] = classify(error).to_dict()
    print(json.dumps(answers))


if __name__ == "__main__":
    # As the module that the siblings import, not as a second copy of it.
    sys.path.insert(0, str(HERE))
    from failures import main as run

    run()
