"""Beside other agents: inside of the spans of OpenTelemetry, and in nobody's reports.

A span covers what runs inside of the middleware that began it. In there a request that is in flight
and a record of its failure have the trace id; outside of it the span has not begun, or is over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["place_inside_tracing", "told_of"]


def place_inside_tracing(entries: Sequence[Any]) -> int:
    """The first place behind what is OpenTelemetry's: classes, objects, functions or their paths.

    >>> place_inside_tracing(["opentelemetry.shop.Middleware", "shop.Middleware"])
    1
    >>> place_inside_tracing(["shop.Middleware"])
    0
    """
    place = 0
    for index, entry in enumerate(entries, 1):
        module = entry if isinstance(entry, str) else getattr(entry, "__module__", "") or ""
        if module.startswith("opentelemetry."):
            place = index
    return place


def told_of(signal: Any, function: Callable[..., Any]) -> None:
    """Call ``function`` with what is sent by ``signal``, before its receivers.

    A second call with the same function changes nothing.

    It is no receiver itself: ddtrace makes a span of each receiver of Flask's signals, sentry-sdk
    one of each of Django's, and ours are none of their user's.
    """
    previous = signal.send
    if getattr(previous, "told", None) is function:
        return

    @functools.wraps(previous)
    def send(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        try:
            return previous(*args, **kwargs)
        except BaseException as exc:  # a receiver's own, with no trace of this function
            traceback = exc.__traceback__
            if traceback is not None:
                BaseException.with_traceback(exc, traceback.tb_next)
            raise

    send.told = function  # type: ignore[attr-defined]
    signal.send = send
