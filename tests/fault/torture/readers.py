"""Readers under fire: killed while they hold views, many, one that never advances, one that holds.

Two writers turn the ring of segments over and over while readers follow, holding what they read
last; some are killed and replaced. One holds all that there was at the beginning until the end, one
takes a cursor at the beginning and reads again only at the end. Writers are stopped now and then:
what the file system has given out is then what the store holds, what ``doctor`` says is pinned, and
the segment that is being prepared. All begin with one cursor, taken while the writers rested: at
the end rows seen and rows lost are, for each reader, all rows that came after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from torture import command

WORD: Final = 8
LEDGER_BYTES: Final = 1 << 16
STOP, STAGE = 0, 1
"""Words of the ledger: 1 = writers rest, 2 = everybody ends; what the readers are to do."""
WRITERS: Final = 2
FIRST: Final = 8
"""First word of a process; each has `OWN` of them."""
OWN: Final = 4
DONE, RESTING, LOST, SECOND = range(OWN)
HELD_TABLES: Final = 3
FOLLOW_SECONDS: Final = 0.2
"""Between two readings of one reader: fifty of them leave the writers some of two cores."""
DEADLINE_SECONDS: Final = 120.0
GROWN_BYTES_MAX: Final = 1 << 20
"""What the private memory of two writers may grow by after the first look."""

WRITER: Final = """
import mmap, os, sys, time
import faultplane as fp
from torture.readers import DONE, RESTING, STOP, ledger_of
words = ledger_of(sys.argv[1])
own, pause = int(sys.argv[2]), float(sys.argv[3])
fp.init(service="writer")
try:
    raise ValueError("x" * 60)
except ValueError as caught:
    error = caught
done = 0
while words[STOP] != 2:
    if words[STOP] == 1:
        words[own + RESTING] = 1
        time.sleep(0.002)
        continue
    words[own + RESTING] = 0
    for _ in range(64):
        fp.record(error)
        done += 1
        words[own + DONE] = done
    if pause:
        time.sleep(pause)
"""


def ledger_of(path: str) -> memoryview:
    """Words that all processes of a run share, outside of the store."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), LEDGER_BYTES)).cast("Q")


def wait(condition: Callable[[], object], what: str) -> None:
    """Until a condition holds; the run fails when it does not."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {DEADLINE_SECONDS:.0f} s for {what}")
        time.sleep(0.002)


# ------------------------------------------------------------------------------------ readers


def follow(words: memoryview, own: int, domain: Any, cursor: Any) -> None:
    """Read what comes, hold the last few tables, and account for every row."""
    held: deque[Any] = deque(maxlen=HELD_TABLES)
    seen = lost = 0
    while True:
        last = words[STOP] == 2  # asked before the reading, which then is behind every row
        records = domain.records(cursor)
        cursor = records.cursor
        seen, lost = seen + len(records), lost + records.lost
        held.append(records.to_pyarrow())
        words[own + LOST] = lost
        words[own + DONE] = seen
        if last:
            return
        time.sleep(FOLLOW_SECONDS)


def hold(words: memoryview, own: int, domain: Any, cursor: Any) -> None:
    """Keep what there was at the beginning; it is the same at the end."""
    del cursor
    table = domain.records().to_pyarrow()
    before = _digest(table)
    words[own + DONE] = len(table)
    wait_for_end(words)
    words[own + SECOND] = 1 if _digest(table) == before else 2


def stand_still(words: memoryview, own: int, domain: Any, cursor: Any) -> None:
    """Read only when all is over: seen and lost are all that came."""
    wait_for_end(words)
    records = domain.records(cursor)
    words[own + LOST] = records.lost
    words[own + DONE] = len(records)


def wait_for_end(words: memoryview) -> None:
    while words[STOP] != 2:
        time.sleep(0.01)


def _digest(table: Any) -> bytes:
    told = hashlib.sha256()
    for name in ("seq", "owner", "fingerprint", "message"):
        told.update(repr(table.column(name).to_pylist()).encode())
    return told.digest()


# ------------------------------------------------------------------------------------- the run


class Run:
    """The processes of a run, and what it found."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        import faultplane

        self.options = options
        self.directory = directory
        self.rng = random.Random(command.seed_of(options))
        self.attach = faultplane.attach
        path = directory.with_name(directory.name + ".ledger")
        path.write_bytes(bytes(LEDGER_BYTES))
        self.words = ledger_of(str(path))
        self.ledger = path
        self.problems: list[str] = []
        self.readers: dict[int, tuple[int, Callable[..., None]]] = {}
        self.writers: list[subprocess.Popen[bytes]] = []
        self.killed = self.checks = self.pinned_max = self.used_max = self.holders_max = 0
        self.private: list[int] = []
        self.cursor = ""
        self.rows_before = 0
        self.free_words = deque(FIRST + OWN * n for n in range(WRITERS, 1000))

    def own_of_writer(self, number: int) -> int:
        return FIRST + OWN * number

    def start_writers(self) -> None:
        for number in range(WRITERS):
            words = [
                sys.executable,
                "-c",
                WRITER,
                str(self.ledger),
                str(self.own_of_writer(number)),
                str(self.options.pause),
            ]
            environment = command.environment(
                self.options.core, self.directory, FAULTPLANE_BUDGET_BYTES=self.options.budget
            )
            self.writers.append(subprocess.Popen(words, env=environment))
        for number in range(WRITERS):
            own = self.own_of_writer(number)
            wait(lambda own=own: self.words[own + DONE] >= 2000, "the writers to begin")

    def rows(self) -> int:
        """Rows that the writers were told are recorded."""
        return sum(self.words[self.own_of_writer(n) + DONE] for n in range(WRITERS))

    def take_cursor(self) -> None:
        """Where all readers begin."""
        with self.rest(), self.attach("default", self.directory) as domain:
            self.cursor = str(domain.cursor())
            self.rows_before = self.rows()

    def start_reader(self, role: Callable[..., None]) -> int:
        """Fork a reader: a process of its own that has imported everything already."""
        own = self.free_words.popleft()
        self.words[own : own + OWN] = memoryview(bytes(WORD * OWN)).cast("Q")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with self.attach("default", self.directory) as domain:
                    role(self.words, own, domain, self.cursor)
                status = 0
            finally:
                os._exit(status)
        self.readers[child] = own, role
        return child

    def kill_one(self) -> None:
        """SIGKILL a reader that holds views, and start another in its place."""
        followers = [
            pid
            for pid, (own, role) in self.readers.items()
            if role is follow and self.words[own + DONE]
        ]
        if not followers:
            return
        victim = self.rng.choice(followers)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        own, role = self.readers.pop(victim)
        self.free_words.append(own)
        self.killed += 1
        self.start_reader(role)

    def health(self) -> dict[str, Any]:
        """What ``doctor`` shows of the store."""
        from faultplane.store import health

        (store,) = health.describe(str(self.directory / "default"))
        return store

    def used_bytes(self) -> int:
        status = os.statvfs(self.directory)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def private_bytes(self) -> int:
        """Anonymous memory of both writers, which no number of rows makes larger."""
        if sys.platform != "linux":
            return 0
        statuses = [Path(f"/proc/{writer.pid}/status").read_text() for writer in self.writers]
        lines = [line for status in statuses for line in status.splitlines()]
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Writers stand still, in order, for a look at what is exact then."""
        self.words[STOP] = 1
        for number in range(WRITERS):
            own = self.own_of_writer(number)
            wait(lambda own=own: self.words[own + RESTING], "the writers to rest")
        yield
        if self.words[STOP] == 1:
            self.words[STOP] = 0

    def check_memory(self) -> None:
        """What the file system has given out is what is held and what is pinned."""
        with self.rest():
            for _ in range(200):  # readers go on: until nothing changed while it was looked at
                before = self.used_bytes()
                store = self.health()
                if before == self.used_bytes():
                    break
            # The next segment is prepared in a file without a name, by one writer at a time.
            explained = store["bytes_held"] + store["bytes_pinned"] + store["segment_bytes"]
            self.checks += 1
            self.private.append(self.private_bytes())
            self.pinned_max = max(self.pinned_max, store["bytes_pinned"])
            self.holders_max = max(self.holders_max, len(store["pinned_by"]))
            self.used_max = max(self.used_max, before)
            if self.options.mounted and before > explained:
                self.problems.append(f"{before} bytes are used, doctor explains {explained}")

    def go_on(self) -> None:
        """Until the time is over: kill, look, and say how far it is."""
        progress = command.Progress()
        end = time.monotonic() + self.options.seconds
        kill_at = look_at = time.monotonic()
        while (now := time.monotonic()) < end:
            if now >= kill_at:
                self.kill_one()
                kill_at = now + self.rng.uniform(0.02, 2 * self.options.kill_seconds)
            if now >= look_at:
                self.check_memory()
                look_at = now + self.options.look_seconds
            self.used_max = max(self.used_max, self.used_bytes() if self.options.mounted else 0)
            progress.say(f"{self.rows():,} rows, {self.killed} readers killed, {self.checks} looks")
            time.sleep(0.01)

    def end(self) -> dict[str, object]:
        """Let everybody finish and compare what each of them saw with what there was."""
        with self.rest():
            rows = self.rows()
            self.words[STOP] = 2
        for writer in self.writers:
            if writer.wait(DEADLINE_SECONDS):
                self.problems.append(f"a writer ended with {writer.returncode}")
        lost_most = 0
        held_rows = 0
        for pid, (own, role) in self.readers.items():
            _, status = os.waitpid(pid, 0)
            done, lost = self.words[own + DONE], self.words[own + LOST]
            if status:
                self.problems.append(f"{role.__name__} ended with status {status}")
            if role is hold:
                held_rows = done
                if self.words[own + SECOND] != 1:
                    self.problems.append("what was held has changed")
                continue
            lost_most = max(lost, lost_most)
            if done + lost != rows - self.rows_before:
                came = rows - self.rows_before
                self.problems.append(f"{role.__name__}: {done} seen + {lost} lost of {came} rows")
        self.readers.clear()
        return self._result(rows, lost_most, held_rows)

    def _result(self, rows: int, lost_most: int, held_rows: int) -> dict[str, object]:
        store = self.health()
        with self.attach("default", self.directory) as domain:
            counted = sum(row["count"] for row in domain.counts_rows())
            kept = len(domain.records())
        if counted != rows:
            self.problems.append(f"{rows} rows were acknowledged, {counted} are counted")
        if kept + store["rows_retired"] != rows:
            self.problems.append(f"{kept} kept + {store['rows_retired']} retired, of {rows} rows")
        if max(self.private) > self.private[0] + GROWN_BYTES_MAX:
            told = f"{self.private[0]} at first, {max(self.private)} at most"
            self.problems.append(f"private bytes of the writers have grown: {told}")
        turns = store["segments_retired"] // store["segments_max"]
        if turns < self.options.turns_min:
            least = self.options.turns_min
            self.problems.append(
                f"the ring turned over {turns} times, which proves nothing: it takes {least} "
                f"(--seconds, --turns-min)"
            )
        if self.options.mounted and (used := self.used_bytes()) > store["bytes_held"]:
            self.problems.append(f"{used} bytes are used after all, {store['bytes_held']} held")
        return {
            "rows": rows,
            "turns of the ring": turns,
            "readers at once": self.options.readers,
            "readers killed while holding views": self.killed,
            "rows held throughout, unchanged": held_rows,
            "rows lost by the one that stood still": lost_most,
            "rows retired": store["rows_retired"],
            "rows kept": kept,
            "looks with writers at rest": self.checks,
            "budget in bytes": store["budget_bytes"],
            "most bytes of the file system": self.used_max,
            "most bytes pinned, as doctor says": self.pinned_max,
            "most holders, as doctor says": self.holders_max,
            "private bytes of the writers at first": self.private[0],
            "private bytes of the writers at most": max(self.private),
            "bytes pinned at the end": store["bytes_pinned"],
        }

    def close(self) -> None:
        """End what is still there, after a run that broke off."""
        for pid in self.readers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for writer in self.writers:
            writer.kill()
            writer.wait()
        self.ledger.unlink()


@contextmanager
def own_disk(options: argparse.Namespace, directory: Path) -> Iterator[None]:
    """A file system for this run alone, where it may be mounted: its use is then exact."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={options.disk_mib}m", "torture", str(directory)]
    options.mounted = bool(
        os.geteuid() == 0
        and shutil.which("mount")
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield
    finally:
        if options.mounted:
            subprocess.run(["umount", "-l", str(directory)], check=True)


def main(words: list[str]) -> int:
    """Run it; 0 when everything added up."""
    example = "python -m torture readers --seconds 3600 --readers 4 --pause 0.005"
    parser = command.parser("readers", __doc__ or "", example)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long")
    parser.add_argument("--readers", type=int, default=50, help="that follow at once")
    parser.add_argument("--budget", default="4MiB", help="of the domain")
    parser.add_argument("--kill-seconds", type=float, default=0.5, help="between kills, on average")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds that writers rest after 64 rows"
    )
    parser.add_argument("--look-seconds", type=float, default=5.0, help="between looks at memory")
    parser.add_argument("--disk-mib", type=int, default=1024, help="size of the file system")
    parser.add_argument("--turns-min", type=int, default=100, help="fewer turns prove nothing")
    options = parser.parse_args(words)
    os.environ["FAULTPLANE_CORE"] = options.core
    import_module("pyarrow")  # once, before the readers are forked

    with command.place(options) as directory, own_disk(options, directory):
        run = Run(options, directory)
        try:
            run.start_writers()
            run.take_cursor()
            run.start_reader(hold)
            run.start_reader(stand_still)
            for _ in range(options.readers):
                run.start_reader(follow)
            run.go_on()
            found = run.end()
        finally:
            run.close()
    return command.finish(options, json.loads(json.dumps(found)), run.problems)
