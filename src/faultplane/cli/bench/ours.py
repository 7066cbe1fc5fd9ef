"""What recording costs with the core of this process."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
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


RAW_CASES: Final = (
    "raw", "30 frames", "60 frames", "with a cause", "KeyError", "OSError",
    "operation and attempt", "attributes", "counter.add", "classify", "capture block",
)  # fmt: skip
REDACTED_CASES: Final = ("redacted", "a secret, redacted")
NOT_RECORDING: Final = ("counter.add", "classify", "capture block")
SPAN: Final = "a new span each time"
ONLY_SPAN: Final = "a new span, nothing recorded"


def run() -> dict[str, Any]:
    """Everything about this core, in nanoseconds; asserts that rows and counts are the calls."""
    calls = Calls()
    compiled = fp.core == "cython"
    rounds = ROUNDS if compiled else PURE_ROUNDS
    cases = blocks(calls)
    raw = {name: block for name, block in cases.items() if name not in REDACTED_CASES}
    timings = measure(raw, rounds)
    timings |= measure({name: cases[name] for name in REDACTED_CASES}, rounds)
    if ONLY_SPAN in timings:
        alone, recorded = timings.pop(ONLY_SPAN), timings[SPAN]
        timings[SPAN] = recorded._replace(
            minimum=recorded.minimum - alone.minimum, median=recorded.median - alone.median
        )
    report: dict[str, Any] = {
        "core": fp.core,
        "cases": {name: timing._asdict() for name, timing in timings.items()},
    }
    report["first_sighting"] = first_sighting(calls)
    report["run"] = long_run(LONG_RUN if compiled else PURE_LONG_RUN, calls)
    samples = SAMPLES if compiled else SAMPLES // 10
    report["quantiles"] = _quantiles(calls, samples, time.perf_counter_ns)
    # Without what a scheduler gave to others meanwhile: the stalls of a record's own making.
    report["own_quantiles"] = _quantiles(calls, samples, time.thread_time_ns)
    report |= calls.check()
    return report


class Calls:
    """Counts what is handed to ``record``, so that it can be held against the domain."""

    def __init__(self) -> None:
        self.made = 0

    def counted(self, block: Block) -> Block:
        """The same block, its calls counted."""

        def counting(calls: int) -> int:
            self.made += calls
            return block(calls)

        return counting

    def check(self) -> dict[str, Any]:
        """Rows written and errors counted by this process; both must be the calls made."""
        with fp.attach("bench") as domain:
            counted = sum(row["count"] for row in domain.counts_rows())
        written = _backend.core.writer_state()["seq"]
        if not counted == written == self.made:
            raise AssertionError(f"{self.made} calls, {written} rows, {counted} counted")
        return {"calls": self.made, "rows": written, "counted": counted}


def blocks(calls: Calls | None = None) -> dict[str, Block]:
    """Every measured call as a block, in a process that records into the domain ``bench``."""
    fp.init(service="bench", domain="bench")
    count = (calls or Calls()).counted
    modes: list[str] = []
    record = fp.record
    known = _payment_error(6)
    telling = "login of alice@example.org failed, password=hunter2 was refused"
    errors = {
        "raw": known,
        "30 frames": _payment_error(30),
        "60 frames": _payment_error(60),
        "with a cause": failures.chained(),
        "KeyError": failures.raised(KeyError("order"), 6),
        "OSError": failures.raised(ConnectionRefusedError(111, "Connection refused"), 6),
        "redacted": _payment_error(6),
        "a secret, redacted": failures.raised(failures.PaymentError(telling), 6),
    }
    found = {name: count(calling(record, error)) for name, error in errors.items()}
    found["operation and attempt"] = count(_with_operation(known))
    found["attributes"] = count(_with_attributes(known))
    found["counter.add"] = calling_nothing(fp.counter("bench.events").add)
    found["classify"] = calling(fp.classify, known)
    found["capture block"] = _capturing
    found |= _spans(known, count)
    return {
        name: _in_mode("redact" if name in REDACTED_CASES else "raw", modes, block)
        for name, block in found.items()
    }


def _payment_error(frames: int) -> BaseException:
    return failures.raised(failures.PaymentError(failures.MESSAGE), frames)


def _in_mode(messages: str, modes: list[str], block: Block) -> Block:
    """The block with that setting of messages; changing it empties caches, so not each time."""

    def run_block(calls: int) -> int:
        if modes != [messages]:
            _backend.core.configure(messages=messages)
            modes[:] = [messages]
        return block(calls)

    return run_block


def _with_operation(error: BaseException) -> Block:
    record = fp.record

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            record(error, operation="charge", attempt=1)
        return time.perf_counter_ns() - start

    return block


def _with_attributes(error: BaseException) -> Block:
    record = fp.record
    attributes = {"order.id": 1712, "customer.tier": "gold", "retry": False}

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in times:
            record(error, attributes=attributes)
        return time.perf_counter_ns() - start

    return block


def _capturing(calls: int) -> int:
    capture = fp.capture
    times = repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in times:
        with capture("charge"):
            pass
    return time.perf_counter_ns() - start


def _spans(known: BaseException, count: Callable[[Block], Block]) -> dict[str, Block]:
    """Recording in another span each time, and changing the span alone."""
    try:
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import TracerProvider
    except ModuleNotFoundError:
        return {}
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    spans = [trace.set_span_in_context(tracer.start_span("s")) for _ in range(64)]

    def changing(function: Callable[[BaseException], object]) -> Block:
        def block(calls: int) -> int:
            start = time.perf_counter_ns()
            for number in range(calls):
                token = context.attach(spans[number % 64])
                function(known)
                context.detach(token)
            return time.perf_counter_ns() - start

        return block

    # `id` is a built-in that takes one argument and does next to nothing.
    return {SPAN: count(changing(fp.record)), ONLY_SPAN: changing(id)}


def first_sighting(calls: Calls | None = None) -> dict[str, float]:
    """The first record of errors from places that nobody has seen."""
    spent = []
    for error in failures.new_places(FIRST_SIGHTINGS):
        start = time.perf_counter_ns()
        fp.record(error)
        spent.append(time.perf_counter_ns() - start)
    if calls is not None:
        calls.made += FIRST_SIGHTINGS
    return {"minimum": min(spent), "median": middle(spent)}


def long_run(count: int, calls: Calls | None = None) -> dict[str, float]:
    """All that a record costs in the long run: lane claims, pages, segments."""
    _backend.core.configure(messages="raw")
    error = _payment_error(6)
    record = fp.record
    times = repeat(None, count)
    start = time.perf_counter_ns()
    for _ in times:
        record(error)
    spent = time.perf_counter_ns() - start
    if calls is not None:
        calls.made += count
    return {"records": count, "nano": spent / count}


def _quantiles(calls: Calls, count: int, clock: Callable[[], int]) -> dict[str, float]:
    """Single calls timed one by one, the clock's own cost taken off."""
    error = _payment_error(6)
    record = fp.record
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
