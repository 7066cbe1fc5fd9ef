"""Recording traces: a server on loopback with episodes of failure, and a client that asks it."""

from __future__ import annotations

import http.server
import random
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

from benchmarks.experiments.replay.errors import Busy, Denied, name_of
from benchmarks.experiments.replay.trace import Answer, Trace

TIMEOUT = 0.25
WORKERS = 32
LATER = 86_400.0
"""A time at which no episode is on."""
APPLICATION = {520: Busy, 521: Denied}
"""Statuses that the client raises errors of its own for, as clients of an application do."""


@dataclass(frozen=True)
class Episode:
    """From ``begin`` to ``end`` (seconds) a ``share`` of the requests fails as ``what`` says.

    "reset": the connection is; "late": the answer comes after the client has given up; a status:
    that; "521 of request": the same requests each time. ``slow``: answers take so much longer, more
    and more from the beginning to the end.
    """

    begin: float
    end: float
    what: str
    share: float = 1.0
    slow: float = 0.0


def again(first: float, every: float, length: float, until: float, **how) -> list[Episode]:
    """The same episode again and again."""
    found, begin = [], first
    while begin < until:
        found.append(Episode(begin, begin + length, **how))
        begin += every
    return found


EPISODES: dict[str, tuple[float | None, list[Episode]]] = {
    "blips": (None, again(3.0, 4.0, 0.3, 58.0, what="reset")),
    "outage": (40.0, [Episode(20.0, 40.0, "reset")]),
    "flaky": (None, [Episode(0.0, 60.0, "503", 0.3)]),
    "brownout": (40.0, [Episode(15.0, 40.0, "503", 0.85, slow=0.15)]),
    "alternation": (None, again(6.0, 12.0, 6.0, 58.0, what="reset")),
    "busy": (None, [Episode(0.0, 60.0, "520", 0.3)]),
    "denied": (None, [Episode(0.0, 60.0, "521 of request", 0.2)]),
    "busy-and-denied": (
        None,
        [Episode(0.0, 60.0, "520", 0.2), Episode(0.0, 60.0, "521 of request", 0.2)],
    ),
    "busy-down-then-flaky": (
        30.0,
        [Episode(10.0, 30.0, "520"), Episode(30.0, 60.0, "520", 0.2)],
    ),
    "late": (None, [Episode(0.0, 60.0, "late of request", 0.15)]),
}
"""When the last trouble ends, and the episodes, of each trace that is recorded."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that has given up is no news."""


def _handler(episodes: list[Episode], seed: int):
    dice = random.Random(seed)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            at, request = float(asked["at"][0]), asked["request"][0]
            status = 200
            for one in episodes:
                of_request = one.what.endswith(" of request")
                chance = random.Random(f"{seed} {request}").random() if of_request else None
                if not of_request and not one.begin <= at < one.end:
                    continue
                passed = (at - one.begin) / (one.end - one.begin)
                time.sleep(one.slow * min(max(passed, 0.0), 1.0))
                if (dice.random() if chance is None else chance) < one.share:
                    status = self.fails(one.what.partition(" ")[0])
                    if not status:
                        return
            self.send_response(status)
            self.end_headers()

        def fails(self, what: str) -> int:
            """Fail as it says; the status of the answer, 0 where there is none."""
            if what == "late":
                time.sleep(2 * TIMEOUT)
                return 200
            if what == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                return 0
            return int(what)

        def log_message(self, *_):
            pass

    return Handler


def ask(port: int, at: float, request: int) -> Answer:
    """One request, and what came of it."""
    begun = time.monotonic()
    error = ""
    try:
        url = f"http://127.0.0.1:{port}/?at={at}&request={request}"
        urllib.request.urlopen(url, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as status:
        status.close()
        mine = APPLICATION.get(status.code)
        error = name_of(mine() if mine else status)
    except urllib.error.URLError as told:
        error = name_of(told.reason)
    except (TimeoutError, ConnectionResetError) as told:
        error = name_of(told)
    except ConnectionError:
        error = "ConnectionResetError"
    return Answer(time.monotonic() - begun, error)


def record(name: str, seconds: float = 60.0, rate: float = 25.0, seed: int = 1) -> Trace:
    """Ask a server with the episodes of that name ``rate`` times a second.

    Each request that failed is sent once more when all is over: one that fails then, too, fails
    because of what it asks.
    """
    over, episodes = EPISODES[name]
    with _Server(("127.0.0.1", 0), _handler(episodes, seed)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port, begun = server.server_address[1], time.monotonic()

        def timed(number: int) -> tuple[float, Answer]:
            at = number / rate
            time.sleep(max(0.0, begun + at - time.monotonic()))
            at = time.monotonic() - begun
            answer = ask(port, at, number)
            if answer.error and ask(port, LATER, number).error:
                answer = replace(answer, of_request=True)
            return at, answer

        with ThreadPoolExecutor(WORKERS) as pool:
            rows = list(pool.map(timed, range(round(seconds * rate))))
        server.shutdown()
    return Trace(name, "loopback", seconds, over, rows)
