"""A reader that is too slow for the budget: what it does not see is counted, to the row."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from faultplane.store import Domain
from faultplane.store.domain import Store
from faultplane.store.reader import StoreReader

WRITERS = 2
ROWS = {"cython": 400_000, "python": 30_000}
WRITER = """
import os, sys, time
import faultplane
from faultplane.store import lifecycle
lifecycle.init("svc", "default")
print("ready", flush=True)
sys.stdin.readline()
try:
    raise ValueError("x" * 50)
except ValueError as error:
    kept = error
for _ in range(int(sys.argv[1])):
    faultplane.record(kept)
"""


@pytest.fixture
def writers(core_name, core, child_environment):
    """Processes that wait for a line, then write faster than 4 MiB can hold."""
    environment = child_environment(
        core_name, FAULTPLANE_MESSAGES="raw", FAULTPLANE_BUDGET_BYTES="4MiB"
    )
    command = [sys.executable, "-c", WRITER, str(ROWS[core_name])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(WRITERS)]
    try:
        assert [writer.stdout.readline() for writer in started] == ["ready\n"] * WRITERS
        yield started
    finally:
        for writer in started:
            writer.kill()
            writer.communicate()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("attempt", range(3))
def test_rows_seen_and_rows_lost_are_all_rows(attempt, writers, core_name, tmp_domain_dir, rng):
    total = WRITERS * ROWS[core_name]
    with Domain.attach("default", tmp_domain_dir) as domain:
        records = domain.records()
        reader = domain._readers[f"1-{core_name}"]
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        seen = lost = 0
        last: dict[int, int] = {}
        over = False
        while not over:
            over = all(writer.poll() is not None for writer in writers)
            records = domain.records(rng.choice([records.cursor, str(records.cursor)]))
            seen, lost = seen + len(records), lost + records.lost
            table = records.to_pyarrow()
            columns = (table.column(name).to_pylist() for name in ("owner", "seq"))
            for owner, seq in zip(*columns, strict=True):
                assert seq > last.get(owner, 0), "a row came twice or out of order"
                last[owner] = seq
            # The first time long enough for certain; a machine may be as fast as it likes.
            segments = reader.store.header.segments_max
            due = reader.newest() + (rng.randrange(2 * segments) if lost else segments + 2)
            while reader.newest() < due and any(writer.poll() is None for writer in writers):
                threading.Event().wait(0.001)
        assert sum(row["count"] for row in domain.counts_rows()) == total
        assert [row for row in domain.drops_rows() if row["count"]] == []
        assert domain.problems() == []
    assert lost > 0, "the reader was never too slow: nothing was tested"
    assert seen + lost == total
    with StoreReader(Store.open(f"{tmp_domain_dir}/default/1-{core_name}")).store as store:
        kept = range(store.load("segment_oldest"), store.load("segment_newest") + 1)
        # The next one may have its name ahead of need.
        assert set(store.segments()) - {kept.stop} == set(kept), "a segment nobody looks at"
