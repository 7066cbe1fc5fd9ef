"""A wait that the other side asks for opens the breaker of all processes, if that was wanted."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from pathlib import Path

import pytest

import faultplane as fp
from faultplane.errors import BreakerOpen
from faultplane.resilience.deadline import deadline
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Retry

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

asking = importlib.import_module("asking")


class Busy(Exception):
    """Asks to wait for as many seconds as it is given."""


@pytest.fixture
def busy():
    """A rule that reads `Busy`."""

    @fp.rule(Busy)
    def asks(error):
        return fp.Classification("RateLimit", retryable=True, retry_after=float(error.args[0]))

    yield
    fp.unregister_rule(asks)


def raising(error):
    def call():
        raise error

    return call


def breaker(least=1.0, **options):
    """One that nothing but a wait opens."""
    options = {"failure_rate": None, "open_max": 60.0} | options
    return Breaker(open_on_retry_after=least, **options)


def left(dependency):
    """Seconds for which it is open yet."""
    with pytest.raises(BreakerOpen) as rejected:
        dependency.call(raising(AssertionError("it is called")))
    return rejected.value.retry_after


def test_a_wait_opens_it_for_as_long_as_was_asked_and_no_longer_than_it_may(busy, name, seen):
    dependency = Dependency(name, breaker=breaker())
    with pytest.raises(Busy):
        dependency.call(raising(Busy(20)))
    assert 19 < left(dependency) <= 20
    (transition,) = seen(dependency).transitions
    assert (transition.cause, transition.after) == ("asked to wait", "open")
    assert (transition.calls, transition.failures) == (1, 1)
    long = Dependency(f"{name}-long", breaker=breaker(open_for=5, open_max=40))
    with pytest.raises(Busy):
        long.call(raising(Busy(3600)))
    assert 39 < left(long) <= 40


def test_a_shorter_wait_and_a_breaker_that_was_not_asked_to_stay_closed(busy, name):
    for dependency in (
        Dependency(name, breaker=breaker(2.0)),
        Dependency(f"{name}-not", breaker=Breaker()),
        Dependency(f"{name}-none"),
    ):
        with pytest.raises(Busy):
            dependency.call(raising(Busy(1.999)))
        assert dependency.state == "closed"


@pytest.mark.parametrize("way", ["acall", "block", "attempts", "generator"])
def test_every_way_to_call_hears_of_it(way, busy, name):
    dependency = Dependency(name, breaker=breaker())

    async def fail():
        raise Busy(20)

    @dependency
    def numbers():
        yield 1
        raise Busy(20)

    def in_attempts():
        for attempt in dependency.attempts():
            with attempt:
                raise Busy(20)

    def in_block():
        with dependency:
            raise Busy(20)

    ways = {
        "acall": lambda: asyncio.run(dependency.acall(fail)),
        "block": in_block,
        "attempts": in_attempts,
        "generator": lambda: list(numbers()),
    }
    with pytest.raises(Busy):
        ways[way]()
    assert dependency.state == "open"


def test_other_processes_hear_of_it(busy, name):
    dependency = Dependency(name, breaker=breaker())
    assert dependency.state == "closed"
    child = os.fork()
    if child == 0:
        try:
            dependency.call(raising(Busy(20)))
        except Busy:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert 15 < left(dependency) <= 20


def test_what_comes_late_changes_nothing(busy, name, seen):
    """Many are under way when the first is told: what the others are told is of before."""
    dependency = Dependency(name, breaker=breaker())
    first, late = dependency.guard.begin(), dependency.guard.begin()
    first.failed(Busy(5), last=True)
    late.failed(Busy(50), last=True)
    assert left(dependency) <= 5
    assert seen(dependency).totals["late"] == 1


def test_a_probe_that_is_told_to_wait_opens_it_for_the_longer_of_both(busy, name, seen):
    options = {"open_for": 0.01, "open_factor": 1.0, "open_max": 60.0}
    dependency = Dependency(name, breaker=breaker(0.01, **options))
    with pytest.raises(Busy):
        dependency.call(raising(Busy(0.01)))
    answer = None
    while answer is None:
        try:
            dependency.call(raising(Busy(30)))
        except BreakerOpen as rejected:
            time.sleep(rejected.retry_after)
        except Busy as error:
            answer = error
    assert 29 < left(dependency) <= 30
    last = seen(dependency).transitions[-1]
    assert (last.before, last.after, last.cause) == ("half-open", "open", "probe failed")


def test_a_retry_that_waits_as_was_asked_is_the_first_probe(busy, name):
    answers = iter([Busy(0.02), "answer"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    options = {"open_for": 0.001, "probes": 1}
    dependency = Dependency(name, retry=Retry(attempts=2), breaker=breaker(0.01, **options))
    assert dependency.call(ask) == "answer"
    assert dependency.state == "closed"


def test_the_callers_own_bounds_open_nothing(name):
    """A deadline of ours, and a rejection by a dependency inside, which says when, too."""
    inner = Dependency(f"{name}-inner", breaker=Breaker(failure_rate=None, consecutive=1))
    with pytest.raises(TimeoutError):
        inner.call(raising(TimeoutError()))
    dependency = Dependency(name, breaker=breaker(0.001))
    with pytest.raises(BreakerOpen) as rejected:
        dependency.call(inner.call, len, "")
    assert rejected.value.retry_after > 1 and dependency.state == "closed"

    async def hang():
        async with deadline(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        asyncio.run(dependency.acall(hang))
    assert dependency.state == "closed"


@pytest.mark.parametrize(
    ("status", "headers", "opened"),
    [
        (429, {"Retry-After": "30"}, True),
        (503, {"Retry-After": "30"}, True),
        (503, {"Retry-After-Ms": "1500"}, True),
        (503, {"Retry-After": "0"}, False),
        (503, {}, False),
        (404, {"Retry-After": "30"}, False),
        (409, {"Retry-After": "30"}, False),
    ],
)
@pytest.mark.parametrize("client", ["requests", "httpx"])
def test_answers_of_real_clients(client, status, headers, opened, name):
    pytest.importorskip(client)
    with asking.http_server() as url_of, asking.CLIENTS[client]() as fetch:
        error = fetch(url_of(status, headers))
    dependency = Dependency(name, breaker=breaker())
    with pytest.raises(type(error)):
        dependency.call(raising(error))
    assert (dependency.state == "open") == opened


def test_what_grpc_servers_ask_for(name):
    pytest.importorskip("grpc")
    with asking.grpc_server() as address, asking.by_grpc(address) as call:
        cases = [
            (call("RESOURCE_EXHAUSTED", [(asking.DETAILS, asking.retry_info(30))]), "open"),
            (call("UNAVAILABLE", [(asking.PUSHBACK, "30000")]), "open"),
            (call("UNAVAILABLE", [(asking.PUSHBACK, "-1")]), "closed"),
            (call("RESOURCE_EXHAUSTED"), "closed"),
        ]
    for number, (error, state) in enumerate(cases):
        dependency = Dependency(f"{name}-{number}", breaker=breaker())
        with pytest.raises(type(error)):
            dependency.call(raising(error))
        assert dependency.state == state, error
