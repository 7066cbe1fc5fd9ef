"""RQ: jobs are in flight, and what they raise is recorded under the name of their function.

>>> from faultplane.integrations import rq as faultplane_rq
>>> faultplane_rq.wire()

A work horse that is killed is a death of its process: its record says which job it was at.
"""

from __future__ import annotations

import functools
from typing import Any

from rq.job import Job

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
