"""What a request costs more under ``faultplane run``, from its application's call to its answer.

    python -m benchmarks.peers.in_process                   each service, 5 sets of 40 rounds
    python -m benchmarks.peers.in_process --services flask aiohttp --sets 9
    python -m benchmarks.peers.in_process --way inside      requests that record an error each
    python -m benchmarks.peers.in_process --json

Over sockets two equal servers differ by more than what is looked for here (see
``benchmarks.peers.frameworks``), so the servers are left out: a process calls the application, as
gunicorn or uvicorn would, or gives the bytes of a request to the protocol of aiohttp's server.
Each service runs in three processes, two of them without and one below ``faultplane run``. In a
round each of them in turn answers 200 requests, in an order that changes from round to round; of
those the median counts. Several sets of three are started. A line gives the median request
without, ``added`` (the median over the sets of the median difference of a round, then its least and
most), ``noise`` (the same of the two without), and the 99th percentiles of all requests. Needs the
extra ``interop``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import io
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.peers.frameworks import below, domain_directory, parser_of, summary, table

APPLICATIONS: Final = {
    "wsgi": ("wsgi", "plain_service", "serve", "application"),
    "flask": ("wsgi", "flask_service", "application", "application"),
    "django": ("wsgi", "django_service", "application", "application"),
    "django-asgi": ("asgi", "django_service", "asgi_application", "asgi_application"),
    "asgi": ("asgi", "plain_service", "serve_async", "asgi_application"),
    "fastapi": ("asgi", "fastapi_service", "application", "application"),
    "starlette": ("asgi", "starlette_service", "application", "application"),
    "aiohttp": ("aiohttp", "aiohttp_service", "application", "application"),
}
"""How each service is called, its module, and the application's name in there without and with."""

ROUNDS: Final = 40
WARM_UP: Final = 5
IN_A_ROW: Final = 200


def main(words: list[str]) -> int:
    """Command line entry."""
    parser = parser_of(__doc__, "in_process", list(APPLICATIONS), ROUNDS)
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)  # what a process is told
    options = parser.parse_args(words)
    if options.answer:
        service, observed, way = options.answer
        answer_rounds(service, f"/{way}/7", observed=observed == "1")
        return 0
    return table(parser, options, compared)


def compared(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds of a request of one service with and without."""
    times: tuple[list[int], list[int], list[int]] = ([], [], [])
    sets = []
    random_order = random.Random(7)
    for _ in range(options.sets):
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(process(name, options.way, observed=observed))
                for observed in (False, False, True)
            ]
            order, rounds = [0, 1, 2], []
            for number in range(WARM_UP + options.rounds):
                random_order.shuffle(order)
                medians = [0.0, 0.0, 0.0]
                for which in order:
                    spent = processes[which]()
                    medians[which] = statistics.median(spent)
                    if number >= WARM_UP:
                        times[which].extend(spent)
                if number >= WARM_UP:
                    rounds.append((medians[0], medians[1], medians[2]))
            sets.append(rounds)
    return summary(name, options.way, sets, times)


@contextlib.contextmanager
def process(name: str, way: str, *, observed: bool) -> Iterator[Callable[[], list[int]]]:
    """Function that has a process answer a round and returns the nanoseconds of each request."""
    command = [sys.executable, "-m", "benchmarks.peers.in_process"]
    command += ["--answer", name, "1" if observed else "0", way]
    with domain_directory() as (_, environment):
        child = subprocess.Popen(
            below(command, observed),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        asked, told = child.stdin, child.stdout

        def a_round() -> list[int]:
            asked.write("\n")
            asked.flush()
            words = told.readline()
            if not words:
                raise SystemExit(f"{name} ended with {child.wait()}")
            spent: list[int] = json.loads(words)
            return spent

        try:
            yield a_round
        finally:
            asked.close()
            child.wait(20)
            told.close()


# ------------------------------------------------------------------------- in the process itself


def answer_rounds(name: str, path: str, *, observed: bool) -> None:
    """Answer a round for each line that is read, and print what each request took."""
    way, module, without, with_ = APPLICATIONS[name]
    application = getattr(importlib.import_module(module), with_ if observed else without)
    if way == "wsgi":
        for _ in sys.stdin:
            print(json.dumps([call(application, path) for _ in range(IN_A_ROW)]), flush=True)
    else:
        asyncio.run((call_async if way == "asgi" else call_aiohttp)(application, path))


def call(application: Any, path: str) -> int:
    """Nanoseconds from the call of a WSGI application until its body is closed."""
    started: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_ACCEPT_ENCODING": "identity",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    start = time.perf_counter_ns()
    body = application(environ, lambda status, headers, info=None: started.append(status))
    for _ in body:
        pass
    if hasattr(body, "close"):
        body.close()
    spent = time.perf_counter_ns() - start
    if not started[0].startswith("200"):
        raise SystemExit(f"{path} was answered with {started}")
    return spent


async def call_async(application: Any, path: str) -> None:
    """The rounds of an ASGI application: nanoseconds from its call until it returns."""
    statuses: list[int] = []
    bodies: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        return await asyncio.get_running_loop().create_future()  # the client stays

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def one() -> int:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:8000"), (b"accept-encoding", b"identity")],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8000),
        }
        bodies[:] = [{"type": "http.request", "body": b"", "more_body": False}]
        start = time.perf_counter_ns()
        await application(scope, receive, send)
        spent = time.perf_counter_ns() - start
        if statuses.pop() != 200:
            raise SystemExit(f"{path} was not answered with 200")
        return spent

    for _ in sys.stdin:
        print(json.dumps([await one() for _ in range(IN_A_ROW)]), flush=True)


async def call_aiohttp(application: Any, path: str) -> None:
    """The rounds of an aiohttp application: nanoseconds from a request's bytes to its answer's."""
    from aiohttp import web

    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    assert runner.server is not None
    protocol = runner.server()
    transport = Answers()
    protocol.connection_made(transport)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept-Encoding: identity\r\n\r\n"
    await asyncio.sleep(0)

    async def one() -> int:
        transport.answered = asyncio.get_running_loop().create_future()
        start = time.perf_counter_ns()
        protocol.data_received(request.encode())
        await transport.answered
        spent = time.perf_counter_ns() - start
        if not transport.answered.result().startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path} was answered with {transport.answered.result()!r}")
        # The server ends with the request after its answer was sent: that is part of the next.
        return spent

    for _ in sys.stdin:
        print(json.dumps([await one() for _ in range(IN_A_ROW)]), flush=True)
    await runner.cleanup()


class Answers(asyncio.Transport):
    """A connection whose answers are written into a future."""

    answered: asyncio.Future[bytes]

    def write(self, data: Any) -> None:
        if not self.answered.done():
            self.answered.set_result(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
