"""What a request costs more under ``faultplane run``, on the servers that services run on.

    python -m benchmarks.peers.frameworks                  each service, 5 sets of 60 rounds
    python -m benchmarks.peers.frameworks --services flask aiohttp --rounds 500 --sets 9
    python -m benchmarks.peers.frameworks --in-a-row 1     three servers that are never warm
    python -m benchmarks.peers.frameworks --json

Each service runs three times at once, twice without and once with, one worker each, on loopback.
In a round one client asks each of them 25 times in a row, as a server under load is asked, over
connections that stay open, in an order that changes from round to round, so that what else the
machine does meets all.
Where the system puts a process makes some microseconds for as long as it lives, so several sets of
three are started. A line gives the median of a request, and by how much the median of a round with
differs from that without: ``added`` is the median over the sets of the medians of those
differences, then its least and most; ``noise`` is the same of the two that run without, and says
below what ``added`` tells nothing. Then the 99th percentiles of all requests. Needs the extra
``interop``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

SERVICES: Final = Path(__file__).parents[2] / "tests" / "interop" / "services"
GUNICORN: Final = (
    "-m gunicorn -w 1 --no-control-socket --keep-alive 60 -k gthread --threads 1 -b 127.0.0.1:{}"
)
UVICORN: Final = "-m uvicorn --host 127.0.0.1 --port {} --log-level critical"
SERVERS: Final = {
    "wsgi": f"{GUNICORN} plain_service",
    "flask": f"{GUNICORN} flask_service",
    "django": f"{GUNICORN} django_service",
    "asgi": f"{UVICORN} plain_service:asgi_application",
    "fastapi": f"{UVICORN} --loop uvloop fastapi_service:application",
    "starlette": f"{UVICORN} starlette_service:application",
    "aiohttp": f"{SERVICES}/aiohttp_service.py {{}}",
}
"""Command line of each service after the interpreter, with a place for the port."""

ROUNDS: Final = 60
IN_A_ROW: Final = 25
SETS: Final = 5
ROUNDS_MIN: Final = 10
WARM_UP: Final = 8
START_SECONDS_MAX: Final = 30.0


def main(words: list[str]) -> int:
    """Command line entry."""
    parser = parser_of(__doc__, "frameworks", list(SERVERS), ROUNDS)
    parser.add_argument(
        "--in-a-row", type=int, default=IN_A_ROW, help=f"requests of one server ({IN_A_ROW})"
    )
    options = parser.parse_args(words)
    if options.in_a_row < 1:
        parser.error(f"--in-a-row must be at least 1, got {options.in_a_row}")
    return table(parser, options, compared)


def parser_of(
    doc: str | None, name: str, services: list[str], rounds: int
) -> argparse.ArgumentParser:
    """The options of a command that compares services, which `table` goes by."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.peers.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--services", nargs="+", choices=services, default=services)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"of a set ({rounds})")
    parser.add_argument("--sets", type=int, default=SETS, help=f"of three processes ({SETS})")
    parser.add_argument(
        "--way",
        choices=("ok", "inside"),
        default="ok",
        help="a request that is well, or one that records an error (ok)",
    )
    parser.add_argument("--json", action="store_true")
    return parser


def table(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    compare: Callable[[str, argparse.Namespace], dict[str, Any]],
) -> int:
    """Compare each service, and print a line or, at the end, JSON; the exit status."""
    if options.rounds < ROUNDS_MIN:
        parser.error(f"--rounds must be at least {ROUNDS_MIN}, got {options.rounds}")
    if options.sets < 1:
        parser.error(f"--sets must be at least 1, got {options.sets}")
    rows = []
    for name in options.services:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows.append(compare(name, options))
        if not options.json:
            print(line(rows[-1], first=len(rows) == 1), flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


def compared(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds of a request of one service with and without."""
    times: tuple[list[int], list[int], list[int]] = ([], [], [])
    sets = []
    for _ in range(options.sets):
        with (
            served(name, run=False) as plain,
            served(name, run=False) as other,
            served(name, run=True) as observed,
        ):
            sets.append(asked((plain, other, observed), options, times))
    return summary(name, options.way, sets, times)


def summary(
    name: str,
    way: str,
    sets: list[list[tuple[float, float, float]]],
    times: tuple[list[int], list[int], list[int]],
) -> dict[str, Any]:
    """A row of the table: from the medians of each round of each set, and all requests' times."""
    added = [statistics.median(c - a for a, _, c in rounds) / 1e3 for rounds in sets]
    noise = [statistics.median(b - a for a, b, _ in rounds) / 1e3 for rounds in sets]
    keys = ("without", "other", "run")
    columns = dict(zip(keys, map(sorted, times), strict=True))
    return {
        "service": name,
        "way": way,
        "requests": len(times[0]),
        "added_micros": statistics.median(added),
        "added_micros_of_sets": added,
        "noise_micros": statistics.median(noise),
        "noise_micros_of_sets": noise,
        "p50_micros": {key: statistics.median(column) / 1e3 for key, column in columns.items()},
        "p99_micros": {
            key: column[len(column) * 99 // 100] / 1e3 for key, column in columns.items()
        },
    }


def asked(
    ports: tuple[int, int, int],
    options: argparse.Namespace,
    times: tuple[list[int], list[int], list[int]],
) -> list[tuple[float, float, float]]:
    """Medians of (without, another without, with), a tuple a round; each request into ``times``."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for port in ports]
    path = f"/{options.way}/7"
    order = [0, 1, 2]
    random_order = random.Random(7)
    rounds = []
    for number in range(WARM_UP + options.rounds):
        random_order.shuffle(order)
        medians = [0.0, 0.0, 0.0]
        for which in order:
            spent = [ask(connections[which], path) for _ in range(options.in_a_row)]
            medians[which] = statistics.median(spent)
            if number >= WARM_UP:
                times[which].extend(spent)
        if number >= WARM_UP:
            rounds.append((medians[0], medians[1], medians[2]))
    for connection in connections:
        connection.close()
    return rounds


def ask(connection: http.client.HTTPConnection, path: str) -> int:
    """Nanoseconds of one request; a connection that was closed is opened before, unmeasured."""
    if connection.sock is None:
        connection.connect()  # which sets TCP_NODELAY
    start = time.perf_counter_ns()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    spent = time.perf_counter_ns() - start
    if response.status != 200:
        raise SystemExit(f"{path} was answered with {response.status}")
    return spent


@contextlib.contextmanager
def served(name: str, *, run: bool) -> Iterator[int]:
    """The port of a service while it runs, below ``faultplane run`` or alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *SERVERS[name].format(port).split()]
    with domain_directory() as (directory, environment):
        log = directory / "server.log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                below(command, run), env=environment, stdout=file, stderr=file
            )
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not answers(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} did not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield port
        finally:
            server.terminate()
            server.wait(20)


def below(command: list[str], run: bool) -> list[str]:
    """A command, below ``faultplane run`` or as it is."""
    return [sys.executable, "-m", "faultplane", "run", "--", *command] if run else command


@contextlib.contextmanager
def domain_directory() -> Iterator[tuple[Path, dict[str, str]]]:
    """A directory for what a service records, and its environment; removed afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="faultplane-bench-", dir=shared_memory(), ignore_cleanup_errors=True
    ) as directory:
        path = os.pathsep.join([str(SERVICES), os.environ.get("PYTHONPATH", "")])
        yield Path(directory), {**os.environ, "PYTHONPATH": path, "FAULTPLANE_DIR": directory}


def answers(port: int) -> bool:
    """Whether anybody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def shared_memory() -> str | None:
    """Where shared memory is, if it is there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def line(row: dict[str, Any], *, first: bool) -> str:
    """A line of the table, under its heading."""
    heading = "µs a request      p50   added (least to most)   noise (least to most) | p99 "
    words = [heading + "without   other     run\n" if first else ""]
    words.append(f"{row['service']:12} {row['p50_micros']['without']:8.1f}")
    for key in ("added", "noise"):
        sets = row[f"{key}_micros_of_sets"]
        spread = f"({min(sets):.1f} to {max(sets):.1f})"
        words.append(f"{row[f'{key}_micros']:8.1f} {spread:>14}")
    words.append(" |   " + "".join(f"{value:9.1f}" for value in row["p99_micros"].values()))
    return "".join(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
