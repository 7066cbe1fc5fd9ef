"""Readers die, stand still, come in numbers, hold what they read: writers go on, all adds up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faultplane.store import Domain, health

pytestmark = pytest.mark.fault

HERE = Path(__file__).parent
TURNS = {"cython": 20, "python": 2}


@pytest.mark.slow
def test_readers_are_killed_hold_and_stand_still_and_every_row_is_seen_or_lost(
    core_name, core, tmp_path
):
    """A short run of ``make torture ARGS=readers``."""
    pytest.importorskip("pyarrow")  # of the extra `arrow`: what is held are its tables
    words = ["--core", core_name, "--turns-min", str(TURNS[core_name]), "--budget", "2MiB"]
    words += ["--seconds", "3", "--readers", "6", "--kill-seconds", "0.2", "--look-seconds", "0.7"]
    done = subprocess.run(
        [sys.executable, "-m", "torture", "readers", "--json", *words],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["readers killed while holding views"] >= 2
    assert found["rows lost by the one that stood still"] > 0
    assert found["most bytes pinned, as doctor says"] > 0
    assert found["bytes pinned at the end"] == 0


WRITER = """
import sys
import faultplane as fp
fp.init(service="writer")
try:
    raise ValueError("x" * 60)
except ValueError as caught:
    error = caught
for line in sys.stdin:
    for _ in range(int(line)):
        fp.record(error)
    print("done", flush=True)
"""

# Keeps every table it ever read, which is what a reader must not do.
HOARDER = """
import sys
import faultplane as fp
kept, cursor = [], None
with fp.attach() as domain:
    print("ready", flush=True)
    for line in sys.stdin:
        records = domain.records(cursor)
        cursor = records.cursor
        kept.append(records.to_pyarrow())
        print(sum(map(len, kept)), flush=True)
"""


def start(code, environment):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)


def tell(child, word):
    child.stdin.write(f"{word}\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def state(disk):
    (store,) = health.describe(f"{disk}/default")
    with Domain.attach("default", disk) as domain:
        counted = sum(row["count"] for row in domain.counts_rows())
        dropped = {row["reason"]: row["count"] for row in domain.drops_rows() if row["count"]}
    return store, counted, dropped


def test_a_reader_that_keeps_everything_is_named_and_costs_rows_but_no_count(
    core_name, core, child_environment, small_disk
):
    pytest.importorskip("pyarrow")  # of the extra `arrow`: what is held are its tables
    disk = small_disk(12)
    environment = child_environment(
        core_name, FAULTPLANE_DIR=str(disk), FAULTPLANE_BUDGET_BYTES="2MiB"
    )
    writer, total = start(WRITER, environment), 0
    try:
        total += 1000
        assert tell(writer, 1000) == "done"
        hoarder = start(HOARDER, environment)
        try:
            assert hoarder.stdout.readline() == "ready\n"
            dropped = {}
            while "no_space" not in dropped:
                assert total < 200_000, "the disk is never full"
                tell(hoarder, "read")
                total += 900
                assert tell(writer, 900) == "done"
                store, counted, dropped = state(disk)
                assert counted == total
            assert store["bytes_pinned"] > store["budget_bytes"]
            (holder,) = [who for who in store["pinned_by"] if who["pid"] == hoarder.pid]
            assert holder["role"] == "reader"
            doctor = subprocess.run(
                [sys.executable, "-m", "faultplane", "doctor"],
                env=environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert doctor.returncode == 1
            assert f"by pid {hoarder.pid}, a reader" in doctor.stdout
            assert "must let go of old tables" in doctor.stdout
        finally:
            hoarder.kill()
            hoarder.communicate()
        store, counted, before = state(disk)
        assert (counted, store["bytes_pinned"] <= 2 * store["segment_bytes"]) == (total, True)
        end = time.monotonic() + 30
        while True:  # the writer tries again after a second
            assert time.monotonic() < end, "the writer does not go on"
            total += 100
            assert tell(writer, 100) == "done"
            _, counted, after = state(disk)
            assert counted == total
            if after == before:
                break
            before = after
    finally:
        writer.kill()
        writer.communicate()


MAPPED = """
import os, sys
import faultplane as fp
from faultplane.store import health, lifecycle, owners
fp.init(service="writer")
try:
    raise ValueError("x" * 60)
except ValueError as caught:
    error = caught
store = lifecycle._process.store

def said():
    return owners.read_owner(store, 0).mapped_segment_low

def mapped():
    with open("/proc/self/maps") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if "/seg-" in line}
    return min(int(path.removesuffix(" (deleted)").rpartition("-")[2]) for path in paths)

assert said() == 0
seen = set()
for _ in range(30_000 if sys.argv[1] == "cython" else 12_000):
    fp.record(error)
    if _ % 16 == 0:
        assert said() == mapped(), (said(), mapped())
        seen.add(said())
assert len(seen) > 3
lifecycle._leave(0)
assert said() == 0
print("right")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process maps")
def test_an_owner_says_which_segment_it_keeps_in_memory(core_name, core, run_python):
    done = run_python(MAPPED, core_name, core=core_name, FAULTPLANE_BUDGET_BYTES="2MiB")
    assert done.stdout == "right\n"
