"""What reading costs: wrapping runs of lanes as Arrow, whatever their row count.

A store that 16 processes have filled and still write to is attached, wrapped and wrapped again.
``track_`` results are microseconds for one run of lanes or one segment, the smallest of many
rounds; the number of rows must make no difference to them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from importlib.util import find_spec

from .cores import CORES, load

WORKERS = 16
ROWS_PER_WORKER = 12_800
ROUNDS = 200


def with_arrow(core):
    """The package on ``core``; skips the benchmark where pyarrow is not there."""
    if find_spec("pyarrow") is None:
        raise NotImplementedError("pyarrow is not there")
    return load(core)


def work(fp, directory, number, ready):
    """One worker: its share of rows, in turns with the others, then silence."""
    fp.init(service=f"worker-{number}", directory=directory)
    try:
        raise ValueError("x" * 55)
    except ValueError as error:
        kept = error
    for turn in range(16):
        for _ in range(ROWS_PER_WORKER // 16):
            fp.record(kept)
        time.sleep(0.0005 * ((number + turn) % 4))
    os.write(ready, b".")
    signal.pause()


def produce(fp, directory, rows):
    """Record one exception over and over; waits until somebody is there to read."""
    fp.init(service="producer", directory=directory)
    try:
        raise ValueError("x" * 55)
    except ValueError as error:
        kept = error
    while not os.path.exists(os.path.join(directory, "go")):
        time.sleep(0.001)
    record = fp.record
    for _ in range(rows):
        record(kept)


def microseconds(call):
    """The shortest of many calls."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        kept = call()
        best = min(best, time.perf_counter_ns() - start)
        del kept
    return best / 1000


def fresh(arrow, runs):
    """The same runs over columns that nobody has wrapped yet, kept while the result is."""
    columns = {}
    for run in runs:
        old = run.columns
        new = columns.setdefault(old, arrow.Columns(old.address, old.shape, old.keep))
        yield run._replace(columns=new)


class ProcessToProcess:
    """One process records as fast as it can, another holds every row as Arrow."""

    params = [CORES]
    param_names = ["core"]
    timeout = 120

    def setup(self, core):
        os.environ["FAULTPLANE_MESSAGES"] = "raw"
        os.environ["FAULTPLANE_BUDGET_BYTES"] = "512MiB"
        self.fp = with_arrow(core)
        self.rows = 3_000_000 if core == "cython" else 100_000
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.mkdtemp(prefix="faultplane-bench-", dir=shared)
        self.producer = os.fork()
        if self.producer == 0:
            try:
                produce(self.fp, self.directory, self.rows)
            finally:
                os._exit(0)

    def teardown(self, core):
        os.waitpid(self.producer, 0)
        shutil.rmtree(self.directory, ignore_errors=True)

    def track_records_per_second(self, core):
        """From the first row to the last one held; nothing lost, nothing out of order."""
        while not os.path.isdir(os.path.join(self.directory, "default")):
            time.sleep(0.001)
        expected = 1
        with self.fp.attach("default", self.directory) as domain:
            follow = domain.follow(poll_seconds=0.02, timeout_seconds=60)
            with open(os.path.join(self.directory, "go"), "x"):
                pass
            start = time.perf_counter()
            for records in follow:
                table = records.to_pyarrow()
                for seq in table.column("seq").chunks:
                    assert seq[0].as_py() == expected
                    expected += len(seq)
                    assert seq[-1].as_py() == expected - 1
                if expected > self.rows:
                    break
            seconds = time.perf_counter() - start
            follow.close()
        assert follow.lost == 0
        assert expected == self.rows + 1
        return self.rows / seconds

    track_records_per_second.unit = "records/s"


class SixteenWriters:
    """A store filled by 16 live processes, 205 k rows."""

    params = [CORES]
    param_names = ["core"]
    timeout = 120

    def setup(self, core):
        fp = with_arrow(core)
        from faultplane import arrow

        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.mkdtemp(prefix="faultplane-bench-", dir=shared)
        readable, writable = os.pipe()
        self.workers = []
        for number in range(WORKERS):
            child = os.fork()
            if child == 0:
                try:
                    work(fp, self.directory, number, writable)
                finally:
                    os._exit(1)
            self.workers.append(child)
        os.close(writable)
        waiting = WORKERS
        while waiting and (said := os.read(readable, waiting)):
            waiting -= len(said)
        os.close(readable)
        self.arrow, self.attach = arrow, lambda: fp.attach("default", self.directory)
        self.domain = self.attach()
        self.records = self.domain.records()
        self.runs = self.records._runs
        assert len(self.records) > WORKERS * ROWS_PER_WORKER * 0.9
        assert self.records.to_pyarrow().num_rows == len(self.records)

    def teardown(self, core):
        for worker in self.workers:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        self.domain.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def time_attach_and_wrap(self, core):
        with self.attach() as domain:
            domain.records().to_pyarrow()

    def time_wrap_again(self, core):
        self.domain.records().to_pyarrow()

    def time_polars(self, core):
        self.records.to_polars()

    def time_duckdb(self, core):
        sql = "select kind, count(*) from records group by 1"
        self.domain.query(sql).fetchall()

    def track_run_of_a_new_segment_us(self, core):
        """Its columns have never been wrapped before."""
        runs = self.runs

        def wrap():
            return [
                run.columns.to_pyarrow(run.strings).slice(run.start, run.rows)
                for run in fresh(self.arrow, runs)
            ]

        return microseconds(wrap) / len(runs)

    def track_run_of_a_segment_seen_us(self, core):
        columns, strings, start, rows = self.runs[-1]
        return microseconds(lambda: columns.to_pyarrow(strings).slice(start, rows))

    def track_table_of_new_segments_us(self, core):
        return microseconds(lambda: self.arrow.pyarrow_table(fresh(self.arrow, self.runs)))

    def track_sealed_segment_seen_us(self, core):
        reader = next(iter(self.domain._readers.values()))
        sealed = [segment for segment in reader._segments.values() if segment.complete]
        strings = self.runs[0].strings

        def wrap():
            return self.arrow.pyarrow_table(
                self.arrow.Run(segment.columns, strings, start, rows)
                for segment in sealed
                if segment.counts()
                for start, rows in segment.spans()
            )

        return microseconds(wrap) / len(sealed)

    track_run_of_a_new_segment_us.unit = "us"
    track_run_of_a_segment_seen_us.unit = "us"
    track_table_of_new_segments_us.unit = "us"
    track_sealed_segment_seen_us.unit = "us"
