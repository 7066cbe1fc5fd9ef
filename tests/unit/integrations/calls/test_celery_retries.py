"""Tasks of Celery that are tried again as a dependency says: eagerly, and by a real worker."""

# ruff: noqa: E402 - the libraries may be missing

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

celery = pytest.importorskip("celery")
redis = pytest.importorskip("redis")

from celery.exceptions import Ignore, Retry
from celery_broker import connect
from redis_server import PROGRAM, Server

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded
from faultplane.integrations.celery_retries import GuardedTask

SECONDS_MAX = 40
NOW = fp.constant(0)
RETRY = fp.Retry(attempts=3, backoff=NOW)


# -------------------------------------------------------------------------------------- eagerly


@pytest.fixture
def tasked() -> Any:
    """Function: a task of an application of its own."""

    def make(function: Any, dependency: Any, **options: Any) -> Any:
        application = celery.Celery("shop", broker="memory://", set_as_current=False)
        return application.task(base=GuardedTask, dependency=dependency, **options)(function)

    return make


def test_a_task_is_tried_as_often_as_the_policy_says(tasked, name, seen, recorded, fails):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    errors = [TimeoutError(f"no answer {n}") for n in range(3)]
    function = fails(*errors)
    task = tasked(function, dependency, name="shop.task")
    with pytest.raises(TimeoutError, match="no answer 2"):
        task.apply().get()
    assert function.calls == 3
    state = seen(dependency)
    assert (state.failures, state.totals["retries"], state.totals["gave_up"]) == (3, 2, 1)
    assert recorded(name) == [("TimeoutError", n) for n in range(3)]


def test_what_the_policy_does_not_retry_fails_at_once(tasked, name, fails, seen):
    function = fails(ValueError("wrong"), KeyError("wrong"))
    task = tasked(function, fp.Dependency(name, retry=RETRY, breaker=fp.Breaker()))
    with pytest.raises(ValueError, match="wrong"):
        task.apply().get()
    only = fp.Retry(attempts=3, on=KeyError, backoff=NOW)
    task = tasked(function, fp.Dependency(f"{name}-on", retry=only))
    assert (task.apply().get(), function.calls) == ("answer", 3)


def test_celerys_own_signals_are_no_failures(tasked, name, fails, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    task = tasked(fails(Ignore(), SystemExit(3)), dependency)
    assert task.apply().state == "IGNORED"
    assert (seen(dependency).permits, seen(dependency).failures) == (0, 0)
    with pytest.raises(SystemExit):
        task.apply()
    assert (seen(dependency).permits, seen(dependency).calls) == (0, 0)


def test_a_countdown_says_when_and_not_whether(tasked, name):
    asked: list[Any] = []

    def function(self: Any) -> None:
        try:
            raise TimeoutError("no answer")
        except TimeoutError as error:
            try:
                self.retry(exc=error, countdown=7)
            except Retry as retry:
                asked.append(retry.when)
                raise

    retry = fp.Retry(attempts=3, backoff=fp.constant(60))
    task = tasked(function, fp.Dependency(name, retry=retry), bind=True)
    with pytest.raises(TimeoutError):
        task.apply().get()
    assert asked == [7, 7]


def test_a_retry_without_an_error_is_celerys_own(tasked, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)

    def function(self: Any) -> Any:
        if self.request.retries < 5:
            raise self.retry(countdown=0)
        return self.request.retries

    assert tasked(function, dependency, bind=True).apply().get() == 5
    assert (seen(dependency).permits, seen(dependency).totals["retries"]) == (0, 0)


def test_celerys_maximum_bounds_where_it_is_said(tasked, name, fails, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=9, backoff=NOW))
    function = fails(*[TimeoutError("no answer")] * 9)
    with pytest.raises(TimeoutError):
        tasked(function, dependency, max_retries=1).apply().get()
    assert (function.calls, seen(dependency).totals["retries"]) == (2, 1)


def test_autoretry_asks_the_policy(tasked, name, fails):
    function = fails(*[TimeoutError("no answer")] * 9)
    dependency = fp.Dependency(name, retry=RETRY)
    task = tasked(function, dependency, autoretry_for=(Exception,), retry_backoff=60)
    with pytest.raises(TimeoutError):
        task.apply().get()
    assert function.calls == 3


def test_a_task_that_is_called_as_a_function_is_tried_once(tasked, name, fails, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    error = TimeoutError("no answer")
    task = tasked(fails(error), dependency)
    with pytest.raises(TimeoutError) as raised:
        task()
    assert raised.value is error
    assert task() == "answer"
    state = seen(dependency)
    assert (state.calls, state.failures, state.totals["retries"]) == (2, 1, 0)
    dependency.guard.begin()
    held = dependency.guard.begin()
    with pytest.raises(LimitExceeded):
        task()
    held.ignored()


class _Letting(fp.Dependency("clock").clock.__class__):  # type: ignore[misc]
    """A clock that ends what is held when chance is asked for the third time."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.left = 3

    def random(self) -> float:
        self.left -= 1
        if not self.left:
            self.held.pop().succeeded()
        return 0.5


def test_a_rejection_is_no_try_and_has_a_bound_of_its_own(tasked, name, fails, seen):
    clock = _Letting()
    retry = fp.Retry(attempts=2, backoff=fp.full_jitter(0.001, 0.002))
    dependency = fp.Dependency(name, retry=retry, limit=1, clock=clock)
    clock.held.append(dependency.guard.begin())
    function = fails(TimeoutError("no answer"))
    assert tasked(function, dependency).apply().get() == "answer"
    assert (function.calls, seen(dependency).totals["full"]) == (2, 3)
    held = dependency.guard.begin()
    with pytest.raises(LimitExceeded):
        tasked(function, dependency, rejections_max=2).apply().get()
    assert (function.calls, seen(dependency).totals["full"]) == (2, 6)
    held.succeeded()


def test_a_rejection_of_what_a_task_calls_puts_it_back(tasked, name, fails, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=1))
    function = fails(BreakerOpen("another", 0.0), LimitExceeded("another", 0.0))
    assert tasked(function, dependency).apply().get() == "answer"
    assert (function.calls, seen(dependency).totals["retries"]) == (3, 0)


def test_a_rejection_that_a_task_retries_by_hand_puts_it_back_too(tasked, name, fails, seen):
    inner = fails(BreakerOpen("another", 0.0), BreakerOpen("another", 0.0))

    def function(self: Any) -> Any:
        try:
            return inner()
        except BreakerOpen as error:
            raise self.retry(exc=error) from error

    retry = fp.Retry(attempts=2, on=Exception, backoff=NOW)
    dependency = fp.Dependency(name, retry=retry, limit=1)
    assert tasked(function, dependency, bind=True).apply().get() == "answer"
    with pytest.raises(BreakerOpen):
        tasked(fails(BreakerOpen("another", 0.0)), dependency, rejections_max=0).apply().get()
    assert (inner.calls, seen(dependency).totals["retries"], seen(dependency).permits) == (3, 0, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dependency": None}, "must be a Dependency with a retry, got None"),
        ({"dependency": fp.Dependency("x")}, "must be a Dependency with a retry"),
        ({"dependency": fp.Dependency("x", retry=RETRY, deadline=1)}, "deadline of x cannot be"),
        ({"dependency": fp.Dependency("x", retry=RETRY, timeout=1)}, "timeout of x cannot be"),
        ({"dependency": fp.Dependency("x", retry=RETRY, fallback=len)}, "fallback of x cannot"),
        ({"dependency": fp.Dependency("x", retry=RETRY, hedge=1)}, "hedge of x cannot"),
        ({"rejections_max": -1}, "rejections_max must be 0 to 65535, got -1"),
    ],
)
def test_what_cannot_be_kept_is_refused(options, said, tasked, name, fails):
    options = {"dependency": fp.Dependency(name, retry=RETRY), **options}
    with pytest.raises(InvalidSetting, match=said):
        tasked(fails(), **options).name  # it is made when it is looked at


# ------------------------------------------------------------------------------------- a worker


class Workers:
    """A worker with a pool of processes, and its broker."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.counts = redis.Redis(port=server.port, decode_responses=True)
        self.application = celery.Celery("asking", set_as_current=False)
        connect(self.application, server.url, str(directory))

    def send(self, task: str, *args: Any) -> Any:
        return self.application.send_task(f"celery_shop.{task}", args)

    def answer(self, task: str, *args: Any) -> Any:
        return self.send(task, *args).get(timeout=SECONDS_MAX)

    def waits(self, result: Any) -> list[tuple[str, float]]:
        """The reasons for which a task was sent again, and the countdowns."""
        said = [entry.split() for entry in self.counts.lrange(f"waits:{result.id}", 0, -1)]
        return [(reason, float(when)) for reason, when in said]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: Any, request: Any) -> Iterator[Workers]:
    if PROGRAM is None:
        pytest.skip("needs redis-server")
    directory = tmp_path_factory.mktemp("worker")
    source, here = str(Path(next(iter(fp.__path__))).parent), str(Path(__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([source, here, os.environ.get("PYTHONPATH", "")]),
        "FAULTPLANE_DIR": str(directory),
        "FAULTPLANE_CORE": request.config.getoption("--core") or "auto",
    }
    words = [sys.executable, "-m", "celery", "-A", "celery_shop", "worker", "-c", "3"]
    words += ["-P", "prefork", "-l", "WARNING", "--without-gossip", "--without-mingle"]
    with Server(directory) as server, (directory / "worker.log").open("wb") as log:
        environment["BROKER"] = server.url
        worker = subprocess.Popen(
            words, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            made = Workers(server, directory)
            made.answer("rows")  # it has begun
            yield made
            worker.send_signal(signal.SIGTERM)
            worker.wait(SECONDS_MAX)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(SECONDS_MAX)
            made.counts.close()
            made.application.close()


def test_all_workers_spend_one_budget(workers):
    results = [workers.send("charge") for _ in range(20)]
    for result in results:
        with pytest.raises(TimeoutError):
            result.get(timeout=SECONDS_MAX)
    assert workers.counts.get("charge") == "25", "20 tries, and 5 tokens"
    assert workers.counts.scard("pids") > 1, "a control: one process would have one budget anyway"
    dependencies, _ = workers.answer("rows")
    assert dependencies["bank"]["retries"] == 5
    assert dependencies["bank"]["budget_exhausted"] == 20


@pytest.mark.parametrize("task", ["count", "count_by_hand"])
def test_attempts_are_counted_over_all_workers(task, workers):
    before, _ = workers.answer("rows")
    assert workers.answer(task, 3, f"{task}-well") == 3
    with pytest.raises(ConnectionResetError):
        workers.answer(task, 9, f"{task}-ill")
    assert workers.counts.get(f"{task}-ill") == "3"
    after, counts = workers.answer("rows")
    was = before.get("stock", dict.fromkeys(after["stock"], 0))
    grown = {
        name: after["stock"][name] - was[name] for name in ("failures", "recovered", "gave_up")
    }
    assert grown == {"failures": 5, "recovered": 1, "gave_up": 1}
    assert not [row for row in counts if row[0] == f"celery_shop.{task}"], "recorded once"


def test_a_task_waits_in_the_queue_as_long_as_it_is_asked_to(workers):
    result = workers.send("ask", "ask")
    assert result.get(timeout=SECONDS_MAX) == 2
    assert workers.waits(result) == [("Busy", 0.25)]


def test_a_task_that_may_not_be_put_back_fails_while_the_breaker_is_open(workers):
    with pytest.raises(TimeoutError):
        workers.answer("knock")
    with pytest.raises(BreakerOpen, match="shut"):
        workers.answer("knock")
    assert workers.counts.get("knock") == "1"


def test_a_task_comes_back_when_the_breaker_lets_calls_through(workers):
    result = workers.send("send", 2, "send")
    assert result.get(timeout=SECONDS_MAX) == 2
    (failed, _), *put_back = workers.waits(result)
    assert failed == "TimeoutError"
    assert put_back
    assert {reason for reason, _ in put_back} == {"BreakerOpen"}
    assert 0 < put_back[0][1] <= 1.5
    dependencies, counts = workers.answer("rows")
    assert (dependencies["mail"]["retries"], dependencies["mail"]["recovered"]) == (1, 1)
    assert dependencies["mail"]["rejected"] == len(put_back)
    assert not [row for row in counts if "BreakerOpen" in row[1] and row[0] == "celery_shop.send"]
