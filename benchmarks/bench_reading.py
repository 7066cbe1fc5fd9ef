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

CORES = ["cython", "python"]
WORKERS = 16
ROWS_PER_WORKER = 12_800
ROUNDS = 200


def load(core):
    """The package on ``core``; skips the benchmark where that core is not built."""
    os.environ["FAULTPLANE_CORE"] = core
    try:
        import faultplane
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise NotImplementedError(f"the {core} core or pyarrow is not there: {error}") from error
    if faultplane.core != core:
        raise NotImplementedError(f"this process already runs the {faultplane.core} core")
    return faultplane


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


def microseconds(call):
    """The shortest of many calls."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        kept = call()
        best = min(best, time.perf_counter_ns() - start)
        del kept
    return best / 1000


class SixteenWriters:
    """A store filled by 16 live processes, 205 k rows."""

    params = [CORES]
    param_names = ["core"]
    timeout = 120

    def setup(self, core):
        fp = load(core)
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

    def time_wrap_first(self, core):
        """Everything mapped, nothing wrapped yet."""
        fresh = {}
        runs = []
        for run in self.runs:
            columns = fresh.get(id(run.columns))
            if columns is None:
                old = run.columns
                columns = self.arrow.Columns(old.address, old.shape, old.keep)
                fresh[id(old)] = columns
            runs.append(run._replace(columns=columns))
        self.arrow.pyarrow_table(runs)

    def time_wrap_again(self, core):
        self.domain.records().to_pyarrow()

    def time_polars(self, core):
        self.records.to_polars()

    def time_duckdb(self, core):
        sql = "select kind, count(*) from records group by 1"
        self.domain.query(sql).fetchall()

    def track_new_run_of_a_segment_seen_us(self, core):
        run = self.runs[-1]
        return microseconds(lambda: self.arrow.pyarrow_table([run]))

    def track_first_run_of_a_segment_us(self, core):
        columns, strings, start, rows = self.runs[0]
        place = columns.address, columns.shape, columns.keep

        def wrap():
            fresh = self.arrow.Columns(*place)
            return self.arrow.pyarrow_table([self.arrow.Run(fresh, strings, start, rows)])

        return microseconds(wrap)

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

    track_new_run_of_a_segment_seen_us.unit = "us"
    track_first_run_of_a_segment_us.unit = "us"
    track_sealed_segment_seen_us.unit = "us"
