"""Celery, with its broker in the directory that BROKER names."""

import os
import signal
import time
from pathlib import Path

import celery

import faultplane as fp

where = Path(os.environ.get("BROKER", "."))
for name in ("queue", "control", "results"):
    (where / name).mkdir(exist_ok=True)
application = celery.Celery("shop", broker="filesystem://", backend=f"file://{where}/results")
application.conf.broker_transport_options = {
    "data_folder_in": where / "queue",
    "data_folder_out": where / "queue",
    "control_folder": where / "control",
}
application.conf.task_acks_late = False


@application.task(name="shop.ok")
def ok(n):
    return n


@application.task(name="shop.fail")
def fail(n):
    raise KeyError(n)


@application.task(name="shop.retried", bind=True, max_retries=2)
def retried(self, n):
    try:
        raise ConnectionError(n)
    except ConnectionError as error:
        raise self.retry(exc=error, countdown=0) from error


@application.task(name="shop.ignored")
def ignored(n):
    raise celery.exceptions.Ignore


@application.task(name="shop.rejected", acks_late=True)
def rejected(n):
    raise celery.exceptions.Reject(n, requeue=False)


@application.task(name="shop.late", time_limit=1)
def late(n):
    time.sleep(60)


@application.task(name="shop.killed")
def killed(n):
    os.kill(os.getpid(), signal.SIGKILL)


@application.task(name="shop.inside")
def inside(n):
    try:
        raise TimeoutError(n)
    except TimeoutError as error:
        fp.record(error, "inside")
    return n
