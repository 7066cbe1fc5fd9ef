"""Celery: tasks are in flight, and what they raise is recorded under their name.

>>> from faultplane.integrations import celery as faultplane_celery
>>> faultplane_celery.wire()

It listens to Celery's signals in the worker. A failure that is retried is recorded with the number
of its attempt, as handled; Retry, Ignore and Reject are control flow. A child of the pool that is
killed is a death of its process, and a ``WorkerLostError`` in the parent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from billiard.exceptions import TimeLimitExceeded
from celery import signals
from celery.exceptions import Ignore, Reject, Retry

import faultplane as fp

__all__ = ["wire"]

TIMED_OUT_MAX: Final = 1_024
"""Tasks past their time whose second report is awaited."""

_running: dict[str, fp.capture[Any]] = {}
_timed_out: OrderedDict[str, bool] = OrderedDict()


def wire() -> None:
    """Observe the tasks of every application of this process; a second call changes nothing."""
    signals.task_prerun.connect(_started, weak=False)
    signals.task_failure.connect(_failed, weak=False)
    signals.task_retry.connect(_retried, weak=False)
    signals.task_postrun.connect(_ended, weak=False)
    signals.worker_init.connect(_work_begins, weak=False)
    signals.worker_process_shutdown.connect(_process_ends, weak=False)


def _process_ends(**_: Any) -> None:
    """A child of the pool that was told to end does so by ``os._exit``."""
    fp.shutdown()


def _work_begins(**_: Any) -> None:
    """Behind whoever listens by now: OpenTelemetry begins the span of a task so."""
    signals.task_prerun.connect(_in_span, weak=False)


def _in_span(task_id: str, **_: Any) -> None:
    block = _running.get(task_id)
    if block is not None:
        block.follow_span()


def _started(task_id: str, task: Any, **_: Any) -> None:
    _running[task_id] = fp.capture(task.name).enter()


def _failed(
    task_id: str,
    exception: BaseException,
    sender: Any = None,
    traceback: Any = None,
    **_: Any,
) -> None:
    if isinstance(exception, (Ignore, Reject, Retry)):
        return
    block = _running.get(task_id)
    if block is not None:
        block.failed(exception)
    elif not (isinstance(exception, TimeLimitExceeded) and _is_second_report(task_id, traceback)):
        # In the parent of a pool: a child is gone, or its time was over.
        fp.record(exception, getattr(sender, "name", None), handled=False)


def _is_second_report(task_id: str, traceback: Any) -> bool:
    """Whether the pool and the request have both said now that the time of a task was over.

    Celery's later versions do, in either order, each with an exception of its own: one has the text
    of a traceback, the other a traceback.
    """
    is_text = isinstance(traceback, str)
    if _timed_out.get(task_id, is_text) is not is_text:
        del _timed_out[task_id]
        return True
    _timed_out[task_id] = is_text
    if len(_timed_out) > TIMED_OUT_MAX:
        _timed_out.popitem(last=False)
    return False


def _retried(request: Any, reason: Any, sender: Any = None, **_: Any) -> None:
    exc = getattr(reason, "exc", None)
    if isinstance(exc, BaseException) and not _is_told(sender, exc):
        fp.record(exc, getattr(sender, "name", None), attempt=request.retries + 1, handled=True)


def _is_told(task: Any, exc: BaseException) -> bool:
    """Whether the dependency of a task has it on record, or has counted it as a rejection."""
    if not isinstance(getattr(task, "dependency", None), fp.Dependency):
        return False
    return isinstance(exc, fp.errors.Rejected) or fp.classify(exc).counts_as == "failure"


def _ended(task_id: str, **_: Any) -> None:
    block = _running.pop(task_id, None)
    if block is not None:
        block.leave()
