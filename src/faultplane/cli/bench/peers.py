"""What users would pick instead, each set up as its documentation says, in a process of its own.

Each peer is given an error raised for the call, through the frames that our own cases use, and
counts what it recorded: a call of which nothing was kept fails the run. What a peer captures stands
beside its figure, because none captures the same.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

from faultplane.cli.bench import failures
from faultplane.cli.bench.failures import Fail
from faultplane.cli.bench.measure import (
    Calls,
    Case,
    calling_nothing,
    catching,
    handling,
    looping,
    measure,
)

INNERMOST: Final = "in _ask_bank"
"""A traceback that says this and the message has all frames: it was formatted to its end."""


class Peer(NamedTuple):
    """A peer that is set up."""

    case: Case
    recorded: Callable[[], int]
    """How many calls were recorded, looked up where the peer keeps them."""


class Contender(NamedTuple):
    """What a peer is held against."""

    against: str
    goal: int
    """How many times as much it is to cost."""
    package: str
    set_up: Callable[[], Peer]


def _nothing(_: Exception) -> None:
    """What a function around a peer's call costs by itself; taken off with the floor."""


def _handled(
    record: Callable[[Exception], Any], recorded: Callable[[], int], fail: Fail = failures.pay
) -> Peer:
    """A peer whose call is wrapped in a function, as one that takes no exception has to be."""
    return Peer(Case(handling(fail, record), handling(fail, _nothing)), recorded)


class _Tracebacks(io.StringIO):
    """A stream in memory that keeps the last text, and counts those with a whole traceback."""

    text = ""
    count = 0

    def write(self, text: str, /) -> int:
        if INNERMOST in text and failures.MESSAGE in text:
            self.count += 1
        self.text = text
        return len(text)


def logging_null() -> Peer:
    """A LogRecord with the exception, which nothing formats or keeps: the floor of logging."""

    class Null(logging.NullHandler):
        count = 0

        def handle(self, record: logging.LogRecord) -> bool:
            if record.exc_info:
                self.count += 1
            return True

    handler = Null()
    log = logging.getLogger("bench.null")
    log.propagate = False
    log.handlers = [handler]

    def record(_: Exception) -> None:
        log.exception("payment failed")  # noqa: LOG004

    return _handled(record, lambda: handler.count)


def logging_formatted() -> Peer:
    """Message, level, time and the formatted traceback with source lines, kept in memory."""
    out = _Tracebacks()
    log = logging.getLogger("bench.text")
    log.propagate = False
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    return _handled(lambda _: log.exception("payment failed"), lambda: out.count)  # noqa: LOG004


def structlog_json() -> Peer:
    """A JSON line with level, time and the formatted traceback, kept in memory."""
    import structlog

    out = _Tracebacks()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger()
    return _handled(lambda _: log.exception("payment failed"), lambda: out.count)  # noqa: LOG004


def loguru_plain() -> Peer:
    """A line and the formatted traceback, without the values of variables, kept in memory."""
    from loguru import logger

    out = _Tracebacks()
    logger.remove()
    logger.add(out, backtrace=False, diagnose=False)
    return _handled(lambda _: logger.exception("payment failed"), lambda: out.count)


def opentelemetry_span() -> Peer:
    """Type, message and formatted traceback as an event of a recording span."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    count = 0

    def block(calls: int) -> int:
        # A span of its own for each block, not timed: a span keeps its last 128 events.
        nonlocal count
        span: Any = tracer.start_span("payment")
        nano = handling(failures.pay, span.record_exception)(calls)
        span.end()
        count += sum(
            INNERMOST in event.attributes["exception.stacktrace"]
            and event.attributes["exception.message"] == failures.MESSAGE
            for event in span.events
        )
        return nano

    return Peer(Case(block, catching(failures.pay)), lambda: count)


def _sentry(**settings: Any) -> Peer:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    count = 0

    def keep(_: Any, envelope: Any) -> None:
        nonlocal count
        (value,) = envelope.get_event()["exception"]["values"]
        count += len(value["stacktrace"]["frames"]) == 6

    discard = type("Discard", (Transport,), {"capture_envelope": keep})
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=discard, **settings)
    # What looks like the error before it is dropped: every message is another.
    fail = failures.pay_anew
    return Peer(Case(handling(fail, sentry_sdk.capture_exception), catching(fail)), lambda: count)


def sentry_defaults() -> Peer:
    """Six frames with locals and source lines, the packages installed; envelope discarded.

    It reads the source file of every frame each time: long files and many packages cost more.
    """
    return _sentry()


def sentry_lean() -> Peer:
    """Six frames without locals or source, no integrations; envelope discarded."""
    return _sentry(
        include_local_variables=False, include_source_context=False, default_integrations=False
    )


def prometheus_child() -> Peer:
    """One bound child of a counter in multiprocess mode: a file that other processes sum."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="prometheus-")
    import prometheus_client
    from prometheus_client import multiprocess

    child = prometheus_client.Counter("errors", "errors", ["kind"]).labels("timeout")

    def recorded() -> int:
        registry = prometheus_client.CollectorRegistry()
        collect: Any = multiprocess.MultiProcessCollector  # it says no types
        collect(registry)
        return int(registry.get_sample_value("errors_total", {"kind": "timeout"}) or 0)

    return Peer(Case(calling_nothing(child.inc), looping), recorded)


def multiprocessing_value() -> Peer:
    """A shared integer under its lock."""
    import multiprocessing

    value = multiprocessing.Value("q", 0)

    def block(calls: int) -> int:
        times = repeat(None, calls)
        start = perf_counter_ns()
        for _ in times:
            with value.get_lock():
                value.value += 1
        return perf_counter_ns() - start

    return Peer(Case(block, looping), lambda: value.value)


PEERS: Final = {
    "logging.exception, NullHandler": Contender("raw", 25, "", logging_null),
    "logging.exception, formatted": Contender("raw", 700, "", logging_formatted),
    "structlog, JSON": Contender("raw", 0, "structlog", structlog_json),
    "loguru": Contender("raw", 0, "loguru", loguru_plain),
    "OpenTelemetry record_exception": Contender(
        "raw", 600, "opentelemetry-sdk", opentelemetry_span
    ),
    "sentry_sdk, lean": Contender("raw", 1_200, "sentry-sdk", sentry_lean),
    "sentry_sdk, defaults": Contender("raw", 8_000, "sentry-sdk", sentry_defaults),
    "multiprocessing.Value, locked": Contender("counter.add", 15, "", multiprocessing_value),
    "prometheus_client multiprocess": Contender(
        "counter.add", 25, "prometheus_client", prometheus_child
    ),
}


def run(name: str, rounds: int) -> dict[str, Any]:
    """Timing of one peer; ``missing`` when it is not installed."""
    against, goal, package, set_up = PEERS[name]
    captured = " ".join((set_up.__doc__ or "").split())
    report = {"peer": name, "against": against, "goal": goal, "captured": captured}
    try:
        report["version"] = version(package) if package else "standard library"
        (block, floor), recorded = set_up()
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        return {**report, "missing": str(error)}
    calls = Calls()
    timing = measure({name: Case(calls.counted(block), floor)}, rounds)[name]
    if recorded() != calls.made:
        raise AssertionError(f"{name} recorded {recorded()} of {calls.made} calls")
    return {**report, **timing._asdict(), "calls_made": calls.made, "recorded": recorded()}
