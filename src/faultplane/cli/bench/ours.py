"""What recording costs with the core of this process."""

from __future__ import annotations

import resource
import time
from itertools import repeat
from typing import Any, Final

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import failures
from faultplane.cli.bench.measure import (
    Block,
    calling,
    calling_nothing,
    measure,
    middle,
    quantile,
)

ROUNDS: Final = 400
PURE_ROUNDS: Final = 60
LONG_RUN: Final = 1_000_000
PURE_LONG_RUN: Final = 20_000
SAMPLES: Final = 100_000
FIRST_SIGHTINGS: Final = 400


def run() -> dict[str, Any]:
    """Everything about this core, in nanoseconds; asserts that rows and counts are the calls."""
    fp.init(service="bench", domain="bench")
    compiled = fp.core == "cython"
    calls = _Calls()
    cases = _cases(calls)
    timings = measure(cases, ROUNDS if compiled else PURE_ROUNDS)
    report: dict[str, Any] = {
        "core": fp.core,
        "cases": {name: timing._asdict() for name, timing in timings.items()},
    }
    report["cases"] |= _redacted(calls, compiled)
    report["first_sighting"] = _first_sighting(calls)
    report["run"] = _long_run(calls, LONG_RUN if compiled else PURE_LONG_RUN)
    report["quantiles"] = _quantiles(calls, SAMPLES if compiled else SAMPLES // 10)
    report |= calls.check()
    return report


class _Calls:
    """Counts what is handed to ``record``, so that it can be held against the domain."""

    def __init__(self) -> None:
        self.made = 0

    def recording(self, error: BaseException, **arguments: Any) -> Block:
        """A block of calls of ``record`` that are counted."""
        if arguments:
            block = calling_nothing(lambda: fp.record(error, **arguments))
        else:
            block = calling(fp.record, error)

        def counted(calls: int) -> int:
            self.made += calls
            return block(calls)

        return counted

    def check(self) -> dict[str, Any]:
        """Rows written and errors counted by this process; both must be the calls made."""
        with fp.attach("bench") as domain:
            counted = sum(row["count"] for row in domain.counts_rows())
        written = _backend.core.writer_state()["seq"]
        if not counted == written == self.made:
            raise AssertionError(f"{self.made} calls, {written} rows, {counted} counted")
        return {"calls": self.made, "rows": written, "counted": counted}


def _cases(calls: _Calls) -> dict[str, Block]:
    _backend.core.configure(messages="raw")
    counter = fp.counter("bench.events")
    known = failures.raised(failures.PaymentError(failures.MESSAGE), 6)
    cases = {
        "record": calls.recording(known),
        "record, 30 frames": calls.recording(
            failures.raised(failures.PaymentError(failures.MESSAGE), 30)
        ),
        "record, 60 frames": calls.recording(
            failures.raised(failures.PaymentError(failures.MESSAGE), 60)
        ),
        "record, with a cause": calls.recording(failures.chained()),
        "record, KeyError": calls.recording(failures.raised(KeyError("order"), 6)),
        "record, OSError": calls.recording(
            failures.raised(ConnectionRefusedError(111, "Connection refused"), 6)
        ),
        "record, operation and attempt": calls.recording(known, operation="charge", attempt=1),
        "counter.add": calling_nothing(counter.add),
        "classify": calling(fp.classify, known),
    }
    try:
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import TracerProvider
    except ModuleNotFoundError:
        return cases
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    spans = [trace.set_span_in_context(tracer.start_span("s")) for _ in range(64)]

    def each_in_its_span(count: int) -> int:
        calls.made += count
        spent = 0
        for number in range(count):
            token = context.attach(spans[number % 64])
            start = time.perf_counter_ns()
            fp.record(known)
            middle_time = time.perf_counter_ns()
            spent += 2 * middle_time - start - time.perf_counter_ns()
            context.detach(token)
        return spent

    return {**cases, "record, a new span each time": each_in_its_span}


def _redacted(calls: _Calls, compiled: bool) -> dict[str, Any]:
    """The same with redaction, interleaved with raw messages."""
    _backend.core.configure(messages="redact")
    telling = "login of alice@example.org failed, password=hunter2 was refused"
    cases = {
        "record, redacted": calls.recording(
            failures.raised(failures.PaymentError(failures.MESSAGE), 6)
        ),
        "record, a secret in it": calls.recording(
            failures.raised(failures.PaymentError(telling), 6)
        ),
    }
    timings = measure(cases, ROUNDS if compiled else PURE_ROUNDS)
    return {name: timing._asdict() for name, timing in timings.items()}


def _first_sighting(calls: _Calls) -> dict[str, float]:
    spent = []
    for error in failures.new_places(FIRST_SIGHTINGS):
        start = time.perf_counter_ns()
        fp.record(error)
        spent.append(time.perf_counter_ns() - start)
    calls.made += FIRST_SIGHTINGS
    return {"minimum": min(spent), "median": middle(spent)}


def _long_run(calls: _Calls, count: int) -> dict[str, float]:
    """All that a record costs in the long run: lane claims, pages, segments."""
    _backend.core.configure(messages="raw")
    error = failures.raised(failures.PaymentError(failures.MESSAGE), 6)
    record = fp.record
    times = repeat(None, count)
    start = time.perf_counter_ns()
    for _ in times:
        record(error)
    spent = time.perf_counter_ns() - start
    calls.made += count
    return {"records": count, "nano": spent / count}


def _quantiles(calls: _Calls, count: int) -> dict[str, float]:
    """Single calls timed one by one, the clock's own cost taken off."""
    error = failures.raised(failures.PaymentError(failures.MESSAGE), 6)
    record, clock = fp.record, time.perf_counter_ns
    own = []
    for _ in range(2_000):
        start = clock()
        own.append(clock() - start)
    spent = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(count):
        start = clock()
        record(error)
        spent.append(clock() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    calls.made += count
    net = middle(own)
    return {
        **{f"p{share:g}": quantile(spent, share / 100) - net for share in (50, 99, 99.9, 99.99)},
        "maximum": max(spent) - net,
        "switches_voluntary": after.ru_nvcsw - before.ru_nvcsw,
        "switches_involuntary": after.ru_nivcsw - before.ru_nivcsw,
    }
