"""`Exchange`: answers that are failures, requests that must not be repeated, and their calls."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

import faultplane as fp
from faultplane.errors import BreakerOpen, LimitExceeded
from faultplane.resilience.backoff import constant
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.exchange import Exchange
from faultplane.resilience.policy import Breaker, Bulkhead, Retry, RetryBudget

NOW = constant(0)
RETRY = Retry(attempts=3, backoff=NOW)


class Unavailable(Exception):
    """What an answer of this test stands for that is a failure."""


@pytest.fixture(scope="module", autouse=True)
def classified() -> Any:
    with fp.register_rule(Unavailable, kind="DependencyService", reached_server="yes"):
        yield


class Line:
    """Answers and errors in a row, as another side gives them; what was sent and dropped."""

    def __init__(self, *given: Any) -> None:
        self.given, self.sent, self.dropped = list(given), 0, []

    def send(self, request: Any) -> Any:
        self.sent += 1
        answer = self.given.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def send_async(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return self.send(request)

    async def drop_async(self, answer: Any) -> None:
        await asyncio.sleep(0)
        self.dropped.append(answer)

    def judge(self, answer: Any) -> Exception | None:
        return Unavailable(answer) if answer.startswith("bad") else None

    def run(self, way: str, dependency: Dependency, repeatable: bool = True) -> Any:
        """Send a request; the answer, once its call has ended well."""
        if way == "sync":
            exchange: Any = Exchange(self.send, self.judge, self.dropped.append)
            answer, call = exchange.run(dependency, "request", repeatable=repeatable)
        else:
            exchange = Exchange(self.send_async, self.judge, self.drop_async)
            answer, call = asyncio.run(
                exchange.run_async(dependency, "request", repeatable=repeatable)
            )
        if call is not None:
            call.succeeded()
        return answer


pytestmark = pytest.mark.parametrize("way", ["sync", "async"])


def test_an_answer_that_is_a_failure_is_dropped_and_asked_for_again(way, name, seen):
    dependency = Dependency(name, retry=RETRY, breaker=Breaker())
    line = Line("bad 1", ConnectionResetError(), "good")
    assert line.run(way, dependency) == "good"
    assert (line.sent, line.dropped) == (3, ["bad 1"])
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["recovered"]) == (2, 2, 1)


def test_the_last_answer_is_given_as_it_came(way, name, seen):
    dependency = Dependency(name, retry=RETRY, breaker=Breaker(), limit=1)
    line = Line("bad 1", "bad 2", "bad 3")
    assert line.run(way, dependency) == "bad 3"
    assert (line.sent, line.dropped) == (3, ["bad 1", "bad 2"])
    state = seen(dependency)
    assert (state.totals["failures"], state.totals["gave_up"], state.permits) == (3, 1, 0)


def test_a_request_is_repeated_only_if_it_may_be_or_has_not_arrived(way, name, seen):
    dependency = Dependency(name, retry=Retry(attempts=3, backoff=NOW, budget=RetryBudget()))
    line = Line(ConnectionRefusedError(), "bad", "never")
    assert line.run(way, dependency, repeatable=False) == "bad"
    assert (line.sent, line.dropped) == (2, [])
    reset = Line(ConnectionResetError(), "never")
    with pytest.raises(ConnectionResetError):
        reset.run(way, dependency, repeatable=False)
    assert reset.sent == 1
    state = seen(dependency)
    assert (state.totals["failures"], state.totals["retries"], state.tokens_held) == (3, 1, 0)


def test_where_the_next_try_is_rejected_the_answer_before_it_is_given_undropped(way, name):
    dependency = Dependency(name, retry=RETRY, breaker=Breaker(consecutive=1))
    line = Line("bad 1", "never")
    assert line.run(way, dependency) == "bad 1"
    assert (line.sent, line.dropped) == (1, [])
    with pytest.raises(BreakerOpen):
        line.run(way, dependency)
    assert line.sent == 1


def test_where_the_next_try_is_rejected_the_error_before_it_is_raised_as_it_was(way, name):
    dependency = Dependency(name, retry=RETRY, breaker=Breaker(consecutive=1))
    error = ConnectionResetError("gone")
    with pytest.raises(ConnectionResetError) as raised:
        Line(error).run(way, dependency)
    assert raised.value is error and error.__context__ is None and error.__cause__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "send"


def test_the_fallback_answers_for_what_is_left_of_the_failures(way, name, seen):
    served: list[Any] = []

    def serve(error: BaseException, request: Any) -> str:
        served.append((type(error), request))
        return "served"

    dependency = Dependency(name, retry=RETRY, breaker=Breaker(consecutive=4), fallback=serve)
    line = Line("bad 1", "bad 2", "bad 3", ConnectionResetError(), "never")
    assert [line.run(way, dependency) for _ in range(3)] == ["served"] * 3
    assert served == [
        (Unavailable, "request"), (ConnectionResetError, "request"), (BreakerOpen, "request")
    ]  # fmt: skip
    assert line.dropped == ["bad 1", "bad 2", "bad 3"] and line.sent == 4
    assert seen(dependency).totals["fallbacks"] == 3 and dependency.degraded


def test_a_permit_is_held_until_the_call_has_ended(way, name, seen):
    dependency = Dependency(name, limit=1)
    line = Line("one", "two")
    if way == "sync":
        _, call = Exchange(line.send).run(dependency, "request", repeatable=True)
    else:
        _, call = asyncio.run(
            Exchange(line.send_async).run_async(dependency, "request", repeatable=True)
        )
    assert seen(dependency).permits == 1
    with pytest.raises(LimitExceeded):
        line.run(way, dependency)
    call.succeeded()
    assert line.run(way, dependency) == "two"
    assert seen(dependency).permits == 0


def test_a_request_waits_for_a_permit_as_long_as_the_limit_says(way, name, seen):
    class Clock(type(fp.Dependency("clock").clock)):
        waits = 0

        def sleep(self, seconds: float) -> None:
            self.waits += 1
            if call is not None and self.waits == 2:
                call.succeeded()

        async def sleep_async(self, seconds: float) -> None:
            self.sleep(seconds)

    call: Any = None
    clock = Clock()
    dependency = Dependency(name, limit=Bulkhead(1, wait_max=60), clock=clock)
    call = dependency.guard.begin()
    assert Line("after it").run(way, dependency) == "after it"
    assert clock.waits == 2
    short = Dependency(f"{name}-short", limit=Bulkhead(1, wait_max=0.001))
    held = short.guard.begin()
    with pytest.raises(LimitExceeded, match=f"{name}-short"):
        Line("never").run(way, short)
    held.succeeded()


def test_what_a_program_is_ended_by_leaves_nothing_behind(way, name, seen):
    """While it sends, and while it waits for the next try, whose answer is dropped."""

    class Interrupted(type(fp.Dependency("clock").clock)):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

        async def sleep_async(self, seconds: float) -> None:
            raise KeyboardInterrupt

    retry = Retry(attempts=3, backoff=constant(1), budget=RetryBudget())
    dependency = Dependency(name, retry=retry, limit=3, clock=Interrupted())
    for given in (KeyboardInterrupt(), "bad"):
        line = Line(given)
        with pytest.raises(KeyboardInterrupt) as raised:
            line.run(way, dependency)
        state = seen(dependency)
        assert (state.permits, state.tokens_held, state.totals["retries"]) == (0, 0, 0)
        del raised  # which has kept every frame until here
    assert line.dropped == ["bad"]
