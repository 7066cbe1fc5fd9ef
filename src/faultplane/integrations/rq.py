"""RQ: jobs are in flight, and what they raise is recorded under the name of their function.

>>> from faultplane.integrations import rq as faultplane_rq
>>> faultplane_rq.wire()

A work horse that is killed is a death of its process: its record says which job it was at. One that
has performed its job ends by ``os._exit``, in order all the same.
"""

from __future__ import annotations

import functools
from typing import Any

from rq.job import Job
from rq.worker import Worker

import faultplane as fp

__all__ = ["wire"]

_wired = False


def wire() -> None:
    """Observe the jobs that this process performs; a second call changes nothing."""
    global _wired
    if _wired:
        return
    _wired = True
    previous = Job.perform

    @functools.wraps(previous)
    def perform(self: Job) -> Any:
        block = fp.capture(self.func_name or "rq.job").enter()
        try:
            result = previous(self)
        except BaseException as exc:
            block.leave(exc, own_frames=1)
            raise
        block.leave()
        return result

    Job.perform = perform
    # The class of its own that has it, from version 3 on another than Worker.
    owner: Any = next(kind for kind in Worker.__mro__ if "perform_job" in vars(kind))
    perform_job = owner.perform_job

    @functools.wraps(perform_job)
    def perform_and_end(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return perform_job(self, *args, **kwargs)
        finally:
            if self.is_horse:
                fp.shutdown()

    owner.perform_job = perform_and_end
