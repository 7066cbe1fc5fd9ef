"""Log records that carry an exception become error records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from faultplane._backend import core
from faultplane.capture.filters import is_control_flow

__all__ = ["RecordingHandler", "recording_factory"]

_WRAPPER: Final = ("billiard.einfo", "ExceptionWithTraceback")
"""What Celery logs in the place of an error of its pool, which has been recorded then."""

_recording: Final[ContextVar[bool]] = ContextVar("faultplane_recording_log", default=False)


class RecordingHandler(logging.Handler):
    """A logging handler that records the exception of a log record (``exc_info``).

    ``level`` is the lowest that is looked at. Log records without an exception are left alone, and
    so are exceptions that were recorded before. The operation is the logger's name, and the record
    counts as handled: somebody caught the exception to log it. What user code logs while an
    exception is being recorded is not recorded itself, so there is no loop.

    >>> logger = logging.getLogger("shop")
    >>> logger.addHandler(RecordingHandler())
    """

    def __init__(self, level: int | str = logging.ERROR) -> None:
        super().__init__(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Record the exception of ``record``, if it has one."""
        _record_logged(record.exc_info, record.name)


def recording_factory(
    previous: Callable[..., logging.LogRecord],
    is_on: Callable[[], bool],
    level: int = logging.ERROR,
) -> Callable[..., logging.LogRecord]:
    """A log record factory that records exceptions logged at ``level`` or above.

    It sees what any logger logs, also one that does not propagate, and no handler or filter has
    to be changed.
    """

    def factory(name: Any, levelno: Any, *args: Any, **kwargs: Any) -> logging.LogRecord:
        log_record = previous(name, levelno, *args, **kwargs)
        if log_record.exc_info and is_on() and isinstance(levelno, int) and levelno >= level:
            _record_logged(log_record.exc_info, log_record.name)
        return log_record

    return factory


def _record_logged(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | None,
    logger_name: str,
) -> None:
    # Whoever makes a log record may put anything in the place of three values and an exception.
    exc: Any = exc_info[1] if type(exc_info) is tuple and len(exc_info) == 3 else None
    if type(exc).__name__ == _WRAPPER[1] and type(exc).__module__ == _WRAPPER[0]:
        exc = getattr(exc, "exc", None)
    if not issubclass(type(exc), BaseException) or _recording.get():
        return
    if is_control_flow(exc) or core.seen(exc):
        return
    token = _recording.set(True)
    try:
        core.record(exc, operation=logger_name, handled=True)
    finally:
        _recording.reset(token)
