"""What the other side does to a call, as the name of an error that a client raises for it."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from email.message import Message


class Busy(Exception):
    """An error of an application that no rule of classification knows."""


class Denied(Exception):
    """Another one."""


def _status(code: int) -> Exception:
    return urllib.error.HTTPError("http://loopback/", code, "Reason", Message(), None)


MAKERS: dict[str, Callable[[], Exception]] = {
    "ConnectionResetError": lambda: ConnectionResetError(104, "reset"),
    "TimeoutError": lambda: TimeoutError("timed out"),
    "HTTPError 503": lambda: _status(503),
    "Busy": Busy,
    "Denied": Denied,
}
"""Exceptions that stand in traces, by name."""


def name_of(error: BaseException) -> str:
    """The name that a trace has for an exception; KeyError for one that it has none for."""
    name = type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        name = f"HTTPError {error.code}"
    MAKERS[name]
    return name
