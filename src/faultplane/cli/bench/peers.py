"""What users would pick instead, each set up as its documentation says, in a process of its own.

Each peer is asked whether it really recorded: a fast answer that recorded nothing is an error.
What a peer captures stands beside its figure, because none captures the same.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from faultplane.cli.bench import failures
from faultplane.cli.bench.measure import calling_nothing, measure

ROUNDS: Final = 40

Case = tuple[Callable[[], Any], Callable[[], bool]]
"""A call, and whether something was recorded."""


def _error() -> BaseException:
    return failures.raised(failures.PaymentError(failures.MESSAGE), 6)


def logging_null() -> Case:
    """Nothing is formatted and nothing kept: the floor of logging."""
    error = _error()
    seen: list[bool] = []

    class Null(logging.NullHandler):
        def handle(self, record: logging.LogRecord) -> bool:
            seen[:] = [record.exc_info is not None]
            return True

    log = logging.getLogger("bench.null")
    log.propagate = False
    log.handlers = [Null()]
    return lambda: log.error("payment failed", exc_info=error), lambda: seen == [True]


def logging_formatted() -> Case:
    """Message, level, time and the formatted traceback with source, kept in memory."""
    error = _error()
    out = io.StringIO()
    log = logging.getLogger("bench.text")
    log.propagate = False
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]

    def call() -> None:
        out.seek(0)
        log.error("payment failed", exc_info=error)

    return call, lambda: "Traceback" in out.getvalue() and failures.MESSAGE in out.getvalue()


def opentelemetry_span() -> Case:
    """Type, message and formatted traceback as an event of a recording span."""
    from opentelemetry.sdk.trace import TracerProvider

    error = _error()
    span: Any = TracerProvider(shutdown_on_exit=False).get_tracer("bench").start_span("s")
    return (
        lambda: span.record_exception(error),
        lambda: failures.MESSAGE in span.events[-1].attributes["exception.stacktrace"],
    )


def structlog_json() -> Case:
    """A JSON line with the formatted traceback, kept in memory."""
    import structlog

    error = _error()
    out = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    )

    def call() -> None:
        out.seek(0)
        log.error("payment failed", exc_info=error)

    return call, lambda: "Traceback" in out.getvalue()


def loguru_plain() -> Case:
    """A line and the formatted traceback, kept in memory."""
    from loguru import logger

    error = _error()
    out = io.StringIO()
    logger.remove()
    logger.add(out, backtrace=False, diagnose=False)

    def call() -> None:
        out.seek(0)
        logger.opt(exception=error).error("payment failed")

    return call, lambda: "Traceback" in out.getvalue()


def _sentry(**settings: Any) -> Case:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    error = _error()
    sent: list[bool] = []

    def keep(_: Any, envelope: Any) -> None:
        event = envelope.get_event()
        sent[:] = [bool(event["exception"]["values"][0]["stacktrace"]["frames"])]

    discard = type("Discard", (Transport,), {"capture_envelope": keep})
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=discard, **settings)
    return lambda: sentry_sdk.capture_exception(error), lambda: sent == [True]


def sentry_defaults() -> Case:
    """Frames with locals and source lines, breadcrumbs, modules; the envelope is discarded."""
    return _sentry()


def sentry_lean() -> Case:
    """Frames without locals or source and without integrations; the envelope is discarded."""
    return _sentry(
        include_local_variables=False, include_source_context=False, default_integrations=False
    )


def prometheus_child() -> Case:
    """One bound child of a counter in multiprocess mode: a file that other processes sum."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="faultplane-bench-")
    import prometheus_client

    counter = prometheus_client.Counter("errors", "errors", ["kind"]).labels("timeout")
    return counter.inc, lambda: counter._value.get() > 0  # noqa: SLF001 - it has no other


def multiprocessing_value() -> Case:
    """A shared integer under its lock."""
    import multiprocessing

    value = multiprocessing.Value("q", 0)

    def call() -> None:
        with value.get_lock():
            value.value += 1

    return call, lambda: value.value > 0


PEERS: Final[dict[str, tuple[str, str, Callable[[], Case]]]] = {
    "logging.exception, NullHandler": ("raw", "", logging_null),
    "logging.exception, formatted": ("raw", "", logging_formatted),
    "structlog, JSON": ("raw", "structlog", structlog_json),
    "loguru": ("raw", "loguru", loguru_plain),
    "OpenTelemetry record_exception": ("raw", "opentelemetry-sdk", opentelemetry_span),
    "sentry_sdk, lean": ("raw", "sentry-sdk", sentry_lean),
    "sentry_sdk, defaults": ("raw", "sentry-sdk", sentry_defaults),
    "multiprocessing.Value, locked": ("counter.add", "", multiprocessing_value),
    "prometheus_client multiprocess": ("counter.add", "prometheus_client", prometheus_child),
}
"""Name → (what of ours it is held against, package, set-up)."""


def run(name: str) -> dict[str, Any]:
    """Timing of one peer; ``missing`` when it is not installed."""
    against, package, make = PEERS[name]
    report: dict[str, Any] = {"peer": name, "against": against, "captured": make.__doc__}
    try:
        report["version"] = version(package) if package else "standard library"
        call, recorded = make()
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        return {**report, "missing": str(error)}
    call()
    if not recorded():
        raise AssertionError(f"{name} recorded nothing")
    block = calling_nothing(call)
    timing = measure({name: block}, ROUNDS)[name]
    if not recorded():
        raise AssertionError(f"{name} stopped recording")
    return {**report, **timing._asdict()}
