"""Celery: a task is tried again as the policy of a `Dependency` says, by all workers together.

>>> import celery
>>> import faultplane as fp
>>> from faultplane.integrations.celery_retries import GuardedTask
>>> app = celery.Celery("shop")
>>> answers = iter([TimeoutError("no answer"), "paid"])
>>> retry = fp.Retry(attempts=4, budget=fp.RetryBudget(), backoff=fp.constant(0))
>>> @app.task(base=GuardedTask, dependency=fp.Dependency("bank", retry=retry, breaker=fp.Breaker()))
... def charge(order):
...     answer = next(answers)
...     if isinstance(answer, Exception):
...         raise answer
...     return answer
>>> charge.apply(("A-17",)).get()
'paid'

A try that failed goes back to the queue by Celery's own ``retry()``, with the wait as its
countdown: no worker waits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from celery import Task
from celery.exceptions import TaskPredicate

import faultplane as fp
from faultplane.integrations.outgoing import without_our_frames

__all__ = ["GuardedTask"]

REJECTIONS: Final = "faultplane_rejections"
"""Header of a task that says how often it was put back without a try."""
_CALL: Final = "_faultplane_call"
"""Attribute of a request under which its call is."""
_ATTEMPT_MAX: Final = 0xFFFF
"""The largest number that a try has."""


class GuardedTask(Task):
    """A base for tasks, each execution of which is one try of a call of ``dependency``.

    ``app.task(base=GuardedTask, dependency=bank)``. What a task raises is tried again where the
    policy says so, ``attempts`` counted over all workers, as long as the budget has tokens, which
    the processes of a host share. The countdown is what the other side has asked for, as
    Retry-After does, or the backoff. ``self.retry(exc=error)`` asks the same policy; a
    ``countdown`` or ``eta`` that it is given says when, not whether.

    A task that the breaker or the limit rejects, or that raises such a rejection, was not tried:
    it is put back until the breaker lets calls through, and a backoff more, ``rejections_max``
    times at most (0 to 65,535). Then it fails with the rejection.

    Celery's ``max_retries`` is no limit here unless the task says one, and counts both. A task that
    is called as a function is tried once.

    Raises InvalidSetting, when it is bound to its application, for a dependency without a
    ``retry``, and for one with a ``deadline``, ``timeout``, ``fallback`` or ``hedge``.
    """

    abstract = True
    dependency: fp.Dependency
    max_retries: int | None = None
    rejections_max: int = 100

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Celery's: see whether the task can be guarded."""
        dependency = getattr(cls, "dependency", None)
        if not isinstance(dependency, fp.Dependency) or dependency.retry is None:
            raise fp.errors.InvalidSetting(
                f"{cls.name}: dependency must be a Dependency with a retry, got {dependency!r}"
            )
        for what in ("deadline", "timeout", "fallback", "hedge"):
            if getattr(dependency, what) is not None:
                raise fp.errors.InvalidSetting(
                    f"{cls.name}: {what} of {dependency.name} cannot be kept by a task: Celery has "
                    "expires, soft_time_limit and link_error"
                )
        if not 0 <= cls.rejections_max <= _ATTEMPT_MAX:
            raise fp.errors.InvalidSetting(
                f"{cls.name}: rejections_max must be 0 to {_ATTEMPT_MAX}, got {cls.rejections_max}"
            )
        super().on_bound(app)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's: execute the task, or call its function."""
        request = self.request
        try:
            if request.called_directly:
                call = self.dependency.guard.begin()
                return self._tried(call, super().__call__, args, kwargs, self._fail)
            try:
                call = self.dependency.guard.begin(self._attempt_of(request))
                setattr(request, _CALL, call)
                return self._tried(call, self.run, args, kwargs, self._retry)
            except fp.errors.Rejected as error:
                rejection = error
            raise self._put_back(request, rejection)
        except BaseException as error:
            without_our_frames(error)
            raise

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: Any = None,
        max_retries: Any = None,
        **options: Any,
    ) -> Any:
        """Celery's: have the task tried again, where the policy says so; else raise the error."""
        error = exc or sys.exc_info()[1]
        call = getattr(self.request, _CALL, None)
        if call is not None and isinstance(error, fp.errors.Rejected):
            raise error  # which puts it back
        if call is not None and isinstance(error, Exception):
            wait = self._wait(call, error, max_retries)
            if wait < 0:
                raise error
            if eta is None and countdown is None:
                countdown = wait
        return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)

    # ------------------------------------------------------------------------------- one try

    def _tried(
        self,
        call: Any,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        fail: Callable[[Any, Exception], None],
    ) -> Any:
        try:
            answer = function(*args, **kwargs)
        except (TaskPredicate, fp.errors.Rejected):
            call.ignored()  # unless it was told before, by retry()
            raise
        except Exception as error:
            fail(call, error)
            raise
        except BaseException as error:
            call.failed(error, last=True)
            raise
        call.succeeded()
        return answer

    def _fail(self, call: Any, error: Exception) -> None:
        call.failed(error, last=True)

    def _retry(self, call: Any, error: Exception) -> None:
        """Raise Celery's Retry where there is another try."""
        wait = self._wait(call, error, None)
        if wait >= 0:
            raise super().retry(exc=error, countdown=wait, throw=False)

    def _wait(self, call: Any, error: Exception, max_retries: int | None) -> float:
        """Seconds until the next try, which is paid for; less than 0 where there is none."""
        most = self.max_retries if max_retries is None else max_retries
        is_last = most is not None and self.request.retries >= most
        wait = float(call.failed(error, last=is_last))
        return wait if wait >= 0 and call.hand_on() else -1.0

    # ---------------------------------------------------------------------------- rejections

    def _attempt_of(self, request: Any) -> int:
        return min(max(request.retries + 1 - _rejections(request), 1), _ATTEMPT_MAX)

    def _put_back(self, request: Any, rejection: fp.errors.Rejected) -> BaseException:
        """Celery's Retry for a task that was not tried, or the rejection itself."""
        times, dependency = _rejections(request), self.dependency
        most = self.max_retries
        if times >= self.rejections_max or (most is not None and request.retries >= most):
            return rejection
        assert dependency.retry is not None
        # Not all at one time: whoever comes first is a probe, and the others are rejected again.
        more = dependency.retry.backoff.delay(times + 1, 0.0, dependency.clock.random)
        put_back: BaseException = super().retry(
            exc=rejection,
            throw=False,
            countdown=rejection.retry_after + more,
            headers={**(request.headers or {}), REJECTIONS: times + 1},
        )
        return put_back


def _rejections(request: Any) -> int:
    """How often a task was put back; Celery has headers beside what a request is, or among it."""
    times = getattr(request, REJECTIONS, None)
    if times is None:
        times = (request.headers or {}).get(REJECTIONS)
    return times if isinstance(times, int) else 0
