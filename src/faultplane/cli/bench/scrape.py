"""A scrape of many workers: ours, and prometheus_client's in multiprocess mode, of the same counts.

Workers are processes of their own and stay alive while the scraper reads what they have counted;
in every other scrape each of them has counted each of its groups once more in between. Then all of
them are killed, and the scraper reads on.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import faultplane as fp
from faultplane.cli.bench.measure import middle
from faultplane.monitor.metrics import Limits

GROUPS: Final = 10_000
OPERATIONS: Final = 100


class Crowd(NamedTuple):
    """How many workers there are, and how many of the groups each has counted."""

    workers: int
    each: int


class Way(Protocol):
    """One way to count in many processes and to scrape them all."""

    def begin(self) -> None:
        """In a worker, once."""

    def count(self, group: int) -> None:
        """In a worker: count one error of a group."""

    def scrape(self) -> bytes:
        """In the scraper: everything as text."""

    def total(self, text: bytes) -> int:
        """Errors that a scrape tells."""

    def files(self) -> tuple[int, int]:
        """How many files the counts are in, and bytes that they take."""


class Ours:
    """faultplane: types, operations and fingerprints as an application has them."""

    def __init__(self, shown: int | None = None) -> None:
        limits = Limits() if shown is None else Limits(operations=shown, fingerprints=shown)
        self._app = fp.MetricsApp(maintain=True, **limits._asdict())
        self._types: dict[int, type[Exception]] = {}

    def begin(self) -> None:
        """Record into the domain of the environment."""
        fp.init(service="shop")

    def count(self, group: int) -> None:
        """Raise and record an error of that group."""
        kind = self._types.get(group)
        if kind is None:
            kind = self._types[group] = type(f"Error{group}", (Exception,), {})
        try:
            raise kind("failed")
        except Exception as error:  # noqa: BLE001 - the one just raised
            fp.record(error, f"operation {group % OPERATIONS}")

    def scrape(self) -> bytes:
        """The answer to a GET."""
        return self._app.respond("GET").body

    def total(self, text: bytes) -> int:
        """Sum over fingerprints."""
        return _sum(text, b"faultplane_fingerprint_errors_total{")

    def files(self) -> tuple[int, int]:
        """Those that hold counts."""
        with fp.attach() as domain:
            (store,) = domain.stores()
            return _files(store.path, "agg-")


class PrometheusClient:
    """prometheus_client in multiprocess mode, as its documentation says."""

    def __init__(self) -> None:
        self._place = tempfile.mkdtemp(prefix="prometheus-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = self._place
        import prometheus_client
        from prometheus_client import multiprocess

        self._client, self._multiprocess = prometheus_client, multiprocess
        names = ["service", "operation", "kind", "type", "fingerprint"]
        self._counter = prometheus_client.Counter("errors", "Errors.", names)

    def begin(self) -> None:
        """Its files are made when something is counted."""

    def count(self, group: int) -> None:
        """Count in the child of the same labels."""
        operation = f"operation {group % OPERATIONS}"
        self._counter.labels("shop", operation, "Internal", f"Error{group}", f"{group:016x}").inc()

    def scrape(self) -> bytes:
        """A registry of its own, as is asked for."""
        registry = self._client.CollectorRegistry()
        collect: Any = self._multiprocess.MultiProcessCollector  # it says no types
        collect(registry)
        return self._client.generate_latest(registry)

    def total(self, text: bytes) -> int:
        """Sum over all labels."""
        return _sum(text, b"errors_total{")

    def files(self) -> tuple[int, int]:
        """Those of its directory."""
        return _files(self._place, "")


def _sum(text: bytes, start: bytes) -> int:
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return int(sum(float(line.rpartition(b" ")[2]) for line in lines))


def _files(place: str, prefix: str) -> tuple[int, int]:
    with os.scandir(place) as entries:
        sizes = [entry.stat().st_blocks * 512 for entry in entries if entry.name.startswith(prefix)]
    return len(sizes), sum(sizes)


class _Workers:
    """Processes that count their groups at each word, until they are killed."""

    def __init__(self, way: Way, crowd: Crowd) -> None:
        self._words: list[int] = []
        self._pids: list[int] = []
        self._said, said = os.pipe()
        for number in range(crowd.workers):
            word, words = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.close(words)
                    first = number * GROUPS // crowd.workers
                    groups = [(first + step) % GROUPS for step in range(crowd.each)]
                    _work(way, groups, word, said)
                finally:
                    os._exit(1)
            os.close(word)
            self._words.append(words)
            self._pids.append(pid)
        os.close(said)
        self._wait()

    def _wait(self) -> None:
        """Until each has counted."""
        left = len(self._pids)
        while left:
            said = os.read(self._said, left)
            if not said:
                raise AssertionError("a worker ended")
            left -= len(said)

    def count(self) -> None:
        """Have each worker count each of its groups once more."""
        for words in self._words:
            os.write(words, b".")
        self._wait()

    def kill(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for descriptor in (*self._words, self._said):
            os.close(descriptor)
        self._pids, self._words = [], []


def _work(way: Way, groups: Sequence[int], word: int, said: int) -> None:
    way.begin()
    while True:
        for group in groups:
            way.count(group)
        os.write(said, b".")
        if not os.read(word, 1):
            return


WAYS: Final[dict[str, tuple[str, Callable[[], Way]]]] = {
    "faultplane": ("", Ours),
    "faultplane, every group shown": ("", lambda: Ours(GROUPS)),
    "prometheus_client multiprocess": ("prometheus_client", PrometheusClient),
}
"""Name → (package that it needs, how it is made)."""


class Scrape(NamedTuple):
    """One scrape: bytes of the answer, nanoseconds that passed, and of the processor."""

    body_bytes: int
    nano: int
    own_nano: int


def run(name: str, crowd: Crowd, rounds: int) -> dict[str, Any]:
    """Figures of one way; ``missing`` where its package is not installed."""
    found: dict[str, Any] = {**crowd._asdict(), "groups": GROUPS}
    try:
        way = WAYS[name][1]()
    except ModuleNotFoundError as error:
        return {**found, "missing": str(error)}
    workers = _Workers(way, crowd)
    counted = crowd.workers * crowd.each
    try:
        found["first_nano"] = _timed(way, counted).nano
        found["files"], found["file_bytes"] = way.files()
        still, moved = [], []
        for _ in range(rounds):
            still.append(_timed(way, counted))
            workers.count()
            counted += crowd.workers * crowd.each
            moved.append(_timed(way, counted))
    finally:
        workers.kill()
    _timed(way, counted)  # buries the dead, where that is done
    dead = [_timed(way, counted) for _ in range(rounds)]
    for when, scrapes in (("still", still), ("moved", moved), ("dead", dead)):
        found[f"{when}_nano"] = middle([scrape.nano for scrape in scrapes])
        found[f"{when}_own_nano"] = middle([scrape.own_nano for scrape in scrapes])
    found["body_bytes"] = max(scrape.body_bytes for scrape in still + moved)
    found["dead_files"], found["dead_file_bytes"] = way.files()
    return found


def _timed(way: Way, counted: int) -> Scrape:
    """A scrape; AssertionError where it tells another number of errors than were counted."""
    start, own = time.perf_counter_ns(), time.thread_time_ns()
    body = way.scrape()
    own_nano, nano = time.thread_time_ns() - own, time.perf_counter_ns() - start
    if (told := way.total(body)) != counted:
        raise AssertionError(f"{counted} errors were counted, and {told} scraped")
    return Scrape(len(body), nano, own_nano)
