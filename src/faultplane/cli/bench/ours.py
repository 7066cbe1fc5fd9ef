"""What recording costs with the core of this process."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from itertools import count, repeat
from typing import Any, Final

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import failures
from faultplane.cli.bench.amounts import Amounts
from faultplane.cli.bench.measure import (
    Block,
    Calls,
    Case,
    calling,
    calling_nothing,
    catching,
    handling,
    looping,
    measure,
    middle,
    spread,
)

LONG_RUN_BLOCK: Final = 1_000
RAW_CASES: Final = (
    "raw", "raw, messages differ", "30 frames", "60 frames", "with a cause", "KeyError",
    "OSError", "the same object again", "operation and attempt", "attributes", "counter.add",
    "classify", "capture block",
)  # fmt: skip
REDACTED_CASES: Final = (
    "redacted", "redacted, messages differ", "a secret, redacted",
)  # fmt: skip
NOT_RECORDING: Final = ("counter.add", "classify", "capture block")
LOADED: Final = "raw, OpenTelemetry loaded"
SPAN: Final = "a new span each time"
_set: list[str] = []
"""What is kept of messages, as the last block left it: raw or redact."""


def run(amount: Amounts) -> dict[str, Any]:
    """Everything about this core, in nanoseconds; asserts that rows and counts are the calls."""
    calls = Calls()
    found = cases(calls)
    raw = {name: case for name, case in found.items() if name not in REDACTED_CASES}
    timings = measure(raw, amount.rounds)
    timings |= measure({name: found[name] for name in REDACTED_CASES}, amount.rounds)
    report: dict[str, Any] = {
        "core": fp.core,
        "cases": {},
        "first_sighting": first_sighting(amount.first_sightings, calls),
        "run": long_run(amount.long_run, calls),
        "quantiles": _quantiles(amount.samples, calls, time.perf_counter_ns),
        # Without what a scheduler gave to others meanwhile: the stalls of a record's own making.
        "own_quantiles": _quantiles(amount.samples, calls, time.thread_time_ns),
    }
    # Last: once OpenTelemetry is loaded, every record looks for a span.
    timings |= measure(span_cases(calls), amount.rounds)
    report["cases"] = {name: timing._asdict() for name, timing in timings.items()}
    return report | check(calls)


def check(calls: Calls) -> dict[str, Any]:
    """Rows written and errors counted by this process; both must be the calls made."""
    with fp.attach("bench") as domain:
        counted = sum(row["count"] for row in domain.counts_rows())
    written = _backend.core.writer_state()["seq"]
    if not counted == written == calls.made:
        raise AssertionError(f"{calls.made} calls, {written} rows, {counted} counted")
    return {"calls": calls.made, "rows": written, "counted": counted}


def cases(calls: Calls | None = None) -> dict[str, Case]:
    """Every measured call and its floor, in a process that records into the domain ``bench``."""
    fp.init(service="bench", domain="bench")
    counted = (calls or Calls()).counted
    falling = failures.falling
    record = fp.record
    raised = {
        "raw": failures.pay,
        "raw, messages differ": failures.pay_anew,
        "30 frames": falling(30, failures.decline),
        "60 frames": falling(60, failures.decline),
        "with a cause": falling(6, failures.decline_because),
        "KeyError": falling(6, failures.miss_key),
        "OSError": falling(6, failures.be_refused),
        "redacted": failures.pay,
        "redacted, messages differ": failures.pay_anew,
        "a secret, redacted": falling(6, failures.tell_secrets),
    }
    known = failures.caught(failures.pay)
    fresh = catching(failures.pay)
    found = {
        name: Case(counted(handling(fail, record)), catching(fail)) for name, fail in raised.items()
    }
    found["the same object again"] = Case(counted(calling(record, known)), looping)
    found["operation and attempt"] = Case(counted(_with_operation), fresh)
    found["attributes"] = Case(counted(_with_attributes), fresh)
    found["counter.add"] = Case(calling_nothing(fp.counter("bench.events").add), looping)
    found["classify"] = Case(calling(fp.classify, known), looping)
    found["capture block"] = Case(_capturing, looping)
    _set.clear()
    return {
        name: _in_mode("redact" if name in REDACTED_CASES else "raw", case)
        for name, case in found.items()
    }


def _in_mode(messages: str, case: Case) -> Case:
    """The case with that setting of messages; changing it empties caches, so not each time."""

    def block(calls: int) -> int:
        if _set != [messages]:
            _backend.core.configure(messages=messages)
            _set[:] = [messages]
        return case.block(calls)

    return case._replace(block=block)


def _with_operation(calls: int) -> int:
    record, fail = fp.record, failures.pay
    start = time.perf_counter_ns()
    for number in range(calls):
        try:
            fail(number)
        except Exception as error:  # noqa: BLE001 - what ``fail`` raises
            record(error, operation="charge", attempt=1)
    return time.perf_counter_ns() - start


def _with_attributes(calls: int) -> int:
    record, fail = fp.record, failures.pay
    attributes = {"order.id": 1712, "customer.tier": "gold", "retry": False}
    start = time.perf_counter_ns()
    for number in range(calls):
        try:
            fail(number)
        except Exception as error:  # noqa: BLE001 - what ``fail`` raises
            record(error, attributes=attributes)
    return time.perf_counter_ns() - start


def _capturing(calls: int) -> int:
    capture = fp.capture
    times = repeat(None, calls)
    start = time.perf_counter_ns()
    for _ in times:
        with capture("charge"):
            pass
    return time.perf_counter_ns() - start


def span_cases(calls: Calls) -> dict[str, Case]:
    """Recording with OpenTelemetry loaded, outside of spans and in another span each time.

    The floor of the latter changes the span, raises and catches.
    """
    try:
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import TracerProvider
    except ModuleNotFoundError:
        return {}
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    spans = [trace.set_span_in_context(tracer.start_span("s")) for _ in range(64)]
    fail = failures.pay

    def recording(calls: int) -> int:
        record = fp.record
        start = time.perf_counter_ns()
        for number in range(calls):
            token = context.attach(spans[number % 64])
            try:
                fail(number)
            except Exception as error:  # noqa: BLE001 - what ``fail`` raises
                record(error)
            context.detach(token)
        return time.perf_counter_ns() - start

    def catching_only(calls: int) -> int:
        start = time.perf_counter_ns()
        for number in range(calls):
            token = context.attach(spans[number % 64])
            try:
                fail(number)
            except Exception as error:  # noqa: BLE001, F841, S110 - bound as for a call
                pass
            context.detach(token)
        return time.perf_counter_ns() - start

    loaded = Case(calls.counted(handling(fail, fp.record)), catching(fail))
    changing = Case(calls.counted(recording), catching_only)
    return {LOADED: _in_mode("raw", loaded), SPAN: _in_mode("raw", changing)}


def first_sighting(places: int, calls: Calls | None = None) -> dict[str, float]:
    """The first record of errors from places that nobody has seen."""
    spent = []
    for error in failures.new_places(places):
        start = time.perf_counter_ns()
        fp.record(error)
        spent.append(time.perf_counter_ns() - start)
    if calls is not None:
        calls.made += places
    return {"minimum": min(spent), "median": middle(spent)}


def long_run(records: int, calls: Calls | None = None) -> dict[str, float]:
    """What a record costs in the long run, with lane claims, pages and segments.

    ``nano`` is the mean and ``median`` the middle of blocks of 1,000 records, on the wall; ``own``
    is the mean of the processor's time, which others do not lengthen. All are net of the floor, on
    the wall of its median.
    """
    _backend.core.configure(messages="raw")
    size = min(LONG_RUN_BLOCK, records)
    block, floor = handling(failures.pay, fp.record), catching(failures.pay)
    spent = [
        (*_both_clocks(block, size), *_both_clocks(floor, size)) for _ in range(records // size)
    ]
    if calls is not None:
        calls.made += len(spent) * size
    wall, own, floor_wall, floor_own = (list(times) for times in zip(*spent, strict=True))
    return {
        "records": len(spent) * size,
        "nano": (sum(wall) / len(wall) - middle(floor_wall)) / size,
        "own": (sum(own) - sum(floor_own)) / len(own) / size,
        "median": (middle(wall) - middle(floor_wall)) / size,
    }


def _both_clocks(block: Block, calls: int) -> tuple[int, int]:
    before = time.thread_time_ns()
    return block(calls), time.thread_time_ns() - before


def clock_cost(clock: Callable[[], int]) -> float:
    """What reading a clock twice shows of itself."""
    own = []
    for _ in range(2_000):
        start = clock()
        own.append(clock() - start)
    return middle(own)


def _quantiles(records: int, calls: Calls, clock: Callable[[], int]) -> dict[str, float]:
    """Single records timed one by one, each of an error raised for it."""
    record, fail = fp.record, failures.pay
    own = clock_cost(clock)
    spent: list[int] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    numbers = count()
    while len(spent) < records:
        try:
            fail(next(numbers))
        except failures.PaymentError as error:
            start = clock()
            record(error)
            spent.append(clock() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    calls.made += records
    return {
        **spread(spent, own),
        "switches_voluntary": after.ru_nvcsw - before.ru_nvcsw,
        "switches_involuntary": after.ru_nivcsw - before.ru_nivcsw,
    }
