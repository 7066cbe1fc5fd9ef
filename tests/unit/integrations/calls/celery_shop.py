"""Tasks that are guarded, for a worker, which count what they do in the server BROKER."""

from __future__ import annotations

import os
from typing import Any

import celery
import redis
from celery import signals
from celery_broker import connect

import faultplane as fp
from faultplane.integrations import celery as faultplane_celery
from faultplane.integrations.celery_retries import GuardedTask

REDIS = os.environ["BROKER"]
app = celery.Celery("shop")
connect(app, REDIS, ".")
app.conf.worker_hijack_root_logger = False
NOW = fp.constant(0)


class Busy(Exception):
    """The other side says when to come back."""

    retry_after = 0.25


def done(what: str) -> int:
    """Count an execution, and who does it; how many there are by now."""
    with redis.Redis.from_url(REDIS) as counts:
        counts.sadd("pids", os.getpid())
        return int(counts.incr(what))


@signals.task_retry.connect
def told(request: Any, reason: Any, **_: Any) -> None:
    with redis.Redis.from_url(REDIS) as counts:
        counts.rpush(f"waits:{request.id}", f"{type(reason.exc).__name__} {reason.when}")


budget = fp.RetryBudget(ratio=0, floor=0, capacity=5)
bank = fp.Dependency("bank", retry=fp.Retry(attempts=10, backoff=NOW, budget=budget))
stock = fp.Dependency("stock", retry=fp.Retry(attempts=3, backoff=NOW))
slow = fp.Dependency("slow", retry=fp.Retry(attempts=3, on=Busy, backoff=fp.constant(60)))
breaker = fp.Breaker(failure_rate=None, consecutive=1, open_for=1.5, probes=1)
mail = fp.Dependency("mail", retry=fp.Retry(attempts=2, backoff=NOW), breaker=breaker)
shut = fp.Dependency("shut", retry=fp.Retry(attempts=1), breaker=fp.Breaker(consecutive=1))


@app.task(base=GuardedTask, dependency=bank)
def charge() -> None:
    done("charge")
    raise TimeoutError("no answer")


@app.task(base=GuardedTask, dependency=stock)
def count(well_at: int, key: str) -> int:
    if (times := done(key)) < well_at:
        raise ConnectionResetError(104, "reset")
    return times


@app.task(base=GuardedTask, dependency=stock, bind=True)
def count_by_hand(self: Any, well_at: int, key: str) -> int:
    try:
        if (times := done(key)) < well_at:
            raise ConnectionResetError(104, "reset")
    except ConnectionError as error:
        raise self.retry(exc=error) from error
    return times


@app.task(base=GuardedTask, dependency=slow)
def ask(key: str) -> int:
    if (times := done(key)) == 1:
        raise Busy
    return times


@app.task(base=GuardedTask, dependency=mail)
def send(well_at: int, key: str) -> int:
    if (times := done(key)) < well_at:
        raise TimeoutError("no answer")
    return times


@app.task(base=GuardedTask, dependency=shut, rejections_max=0)
def knock() -> None:
    done("knock")
    raise TimeoutError("no answer")


@app.task
def rows() -> list[Any]:
    """What the domain of the workers has counted."""
    with fp.attach() as domain:
        totals = ("failures", "retries", "recovered", "gave_up", "budget_exhausted", "rejected")
        dependencies = {
            row["name"]: {name: row[name] for name in totals} for row in domain.dependencies_rows()
        }
        counts = [[row["operation"], row["type"], row["count"]] for row in domain.counts_rows()]
    return [dependencies, counts]


fp.init(service="shop")
faultplane_celery.wire()
