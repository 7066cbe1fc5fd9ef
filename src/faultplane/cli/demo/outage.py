"""An upstream that goes down for a while, called by four processes: without policies and with them.

Both runs are the same but for what is done about failures: retries alone, then retries with a
budget and a breaker that the processes share. What reaches the upstream is counted there.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import faultplane as fp
from faultplane.cli.output import table
from faultplane.store.control import CellState, ControlFile
from faultplane.store.domain import open_stores

CALLERS: Final = 4
CALLS_PER_SECOND: Final = 40
SECONDS: Final = 6.0
DOWN_FROM, DOWN_UNTIL = 1.5, 3.5
PROBES: Final = 3
NAME: Final = "upstream"
ANSWER_SECONDS_MAX: Final = 5.0
START_SECONDS_MAX: Final = 30.0


class Outcome(NamedTuple):
    """What came of one run; times in seconds, ``recovered_after`` from the end of the outage."""

    asked: int
    succeeded: int
    rejected: int
    tries: int
    tries_while_down: int
    recovered_after: float
    cell: CellState | None


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Count the try and answer whether the upstream is up."""
        self.rfile.readline()
        up = self.server.counted()  # type: ignore[attr-defined]
        self.wfile.write(b"ok\n" if up else b"down\n")


class FlakyUpstream(socketserver.ThreadingTCPServer):
    """Answers on a port of loopback, and is down when it is told; counts what reaches it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.up = True
        self.tries = self.tries_while_down = 0
        self._lock = threading.Lock()

    def counted(self) -> bool:
        """Count a try; whether it is answered."""
        with self._lock:
            self.tries += 1
            self.tries_while_down += not self.up
            return self.up


@contextmanager
def _upstream() -> Iterator[FlakyUpstream]:
    with FlakyUpstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


# ------------------------------------------------------------------------------------- callers


def _ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX) as connection:
        connection.sendall(b"charge\n")
        if connection.recv(16) != b"ok\n":
            raise ConnectionAbortedError("the upstream is down")


def _dependency(*, policies: bool) -> fp.Dependency:
    retry = fp.Retry(attempts=4, backoff=fp.full_jitter(0.01, 0.05))
    if not policies:
        return fp.Dependency(NAME, retry=retry)
    budget = fp.RetryBudget(ratio=0.1, floor=1.0, capacity=10.0)
    return fp.Dependency(
        NAME,
        retry=fp.Retry(attempts=4, backoff=fp.full_jitter(0.01, 0.05), budget=budget),
        breaker=fp.Breaker(
            failure_rate=0.5, window=1.0, calls_min=20, probes=PROBES, open_for=0.3, open_factor=1.0
        ),
    )


def caller(port: int, policies: bool) -> None:
    """One process: calls at a steady rate, and says what came of them on stdout."""
    fp.init(service="caller")
    dependency = _dependency(policies=policies)
    told = {"asked": 0, "succeeded": 0, "rejected": 0}
    good: list[float] = []
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    for turn in range(int(SECONDS * CALLS_PER_SECOND)):
        at = begin + turn / CALLS_PER_SECOND
        time.sleep(max(at - time.monotonic(), 0.0))
        told["asked"] += 1
        try:
            dependency.call(_ask, port)
        except fp.errors.Rejected:
            told["rejected"] += 1
        except OSError:
            continue
        else:
            told["succeeded"] += 1
            good.append(time.monotonic() - begin)
    print(json.dumps({**told, "good": good}), flush=True)


def main() -> None:
    """What the demo starts in each of its processes: the port, then whether there are policies."""
    caller(int(sys.argv[1]), sys.argv[2] == "policies")


# ------------------------------------------------------------------------------------ the runs


def run(directory: Path, *, policies: bool) -> Outcome:
    """One run of all callers; the domain is left in ``directory``."""
    domain = "outage-policies" if policies else "outage"
    environment = {
        **os.environ, "FAULTPLANE_DIR": str(directory), "FAULTPLANE_DOMAIN": domain,
    }  # fmt: skip
    code = "from faultplane.cli.demo.outage import main; main()"
    with _upstream() as upstream, tempfile.TemporaryFile() as errors:
        words = [sys.executable, "-c", code, str(upstream.server_address[1])]
        callers = [
            subprocess.Popen(
                [*words, "policies" if policies else "none"], env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )
            for _ in range(CALLERS)
        ]  # fmt: skip
        try:
            told = _conduct(callers, upstream)
        finally:
            for one in callers:
                one.kill()
                one.communicate()
        tries, while_down = upstream.tries, upstream.tries_while_down
    return Outcome(
        asked=sum(one["asked"] for one in told),
        succeeded=sum(one["succeeded"] for one in told),
        rejected=sum(one["rejected"] for one in told),
        tries=tries,
        tries_while_down=while_down,
        recovered_after=_recovery([at for one in told for at in one["good"]]),
        cell=_cell(directory / domain),
    )


def _conduct(callers: list[subprocess.Popen[str]], upstream: FlakyUpstream) -> list[dict[str, Any]]:
    for one in callers:
        assert one.stdout is not None
        one.stdout.readline()
    begin = time.monotonic() + 0.2
    for one in callers:
        assert one.stdin is not None
        one.stdin.write(f"{begin}\n")
        one.stdin.flush()
    for at, up in ((DOWN_FROM, False), (DOWN_UNTIL, True)):
        time.sleep(max(begin + at - time.monotonic(), 0.0))
        upstream.up = up
    return [json.loads(one.communicate(timeout=START_SECONDS_MAX + SECONDS)[0]) for one in callers]


def _recovery(good: list[float]) -> float:
    """Seconds from the end of the outage until nine of ten calls in a tenth succeed again."""
    wanted = 0.9 * CALLERS * CALLS_PER_SECOND / 10
    for tenth in range(int((SECONDS - DOWN_UNTIL) * 10)):
        begin = DOWN_UNTIL + tenth / 10
        if sum(begin <= at < begin + 0.1 for at in good) >= wanted:
            return tenth / 10
    return SECONDS - DOWN_UNTIL


def _cell(domain_path: Path) -> CellState | None:
    """The dependency as its processes left it."""
    stores, _ = open_stores(str(domain_path))
    for store in stores:
        with store, ControlFile.open(store) as file:
            index = file.find(NAME)
            if index is not None:
                return file.read(index)
    return None


def lines(without: Outcome, policies: Outcome) -> Iterator[str]:
    """The two runs side by side."""
    rows = []
    for name, one in (("retries alone", without), ("budget and breaker", policies)):
        asked = max(one.asked, 1)
        rows.append(
            [
                name,
                one.asked,
                f"{one.succeeded / asked:.0%}",
                one.tries,
                f"{one.tries / asked:.2f}",
                one.tries_while_down,
                one.rejected,
                f"{one.recovered_after:.1f} s",
            ]
        )
    header = [
        "calls of 4 processes", "asked", "succeeded", "tries", "tries a call", "while down",
        "not made", "well again after",
    ]  # fmt: skip
    yield from table(header, rows, tuple(header[1:]))
    yield (
        f"while it was down it was asked {policies.tries_while_down:,} times, not "
        f"{without.tries_while_down:,}: what is not made fails at once, and spares it"
    )
    cell = policies.cell
    if cell is None:
        return
    episodes = [one for one in cell.transitions if one.after == "half-open"]
    yield (
        f"the breaker, one for all {CALLERS}: {cell.state} now, opened "
        f"{cell.totals['opened']} times, half-open {len(episodes)} times, "
        f"{cell.totals['probes']} probes let through, {PROBES} at most each time"
    )


def adds_up(without: Outcome, policies: Outcome) -> bool:
    """Whether the upstream was spared, and the last probes were as many as were declared."""
    cell = policies.cell
    if cell is None:
        return False
    times = sum(one.after == "half-open" for one in cell.transitions)
    spared = policies.tries_while_down < without.tries_while_down / 2
    return spared and cell.state == "closed" and cell.totals["probes"] <= PROBES * max(times, 1)
