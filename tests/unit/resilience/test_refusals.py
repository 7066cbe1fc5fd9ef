"""Bad input names the value and the bound."""

from __future__ import annotations

import pytest

from faultplane.errors import BreakerOpen, InvalidName, InvalidSetting, LimitExceeded, Rejected
from faultplane.resilience.backoff import constant
from faultplane.resilience.deadline import deadline
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.health import Health, HealthChecks
from faultplane.resilience.policy import Breaker, Bulkhead, Retry, RetryBudget


class Unshown:
    """A value with a broken repr."""

    def __repr__(self):
        raise KeyError


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Dependency(""), "1 to 255 bytes"),
        (lambda: Dependency("n" * 10_000), "at most 255 bytes, got 10000"),
        (lambda: Dependency("a\nb"), "printable"),
        (lambda: Dependency(5), "printable"),
        (lambda: Dependency("n", retry=3), "retry must be a Retry"),
        (lambda: Dependency("n", breaker=True), "breaker must be a Breaker"),
        (lambda: Dependency("n", limit=0), "limit must be a whole number from 1 to 65535, got 0"),
        (lambda: Dependency("n", limit="5"), "limit must be"),
        (lambda: Dependency("n", deadline=-1), "deadline must be 0.001 to 86400, got -1"),
        (lambda: Dependency("n", timeout=float("nan")), "timeout must be"),
        (lambda: Dependency("n", scope="cluster"), "host, process"),
        (lambda: Dependency(10**9999), "printable text of 1 to 255 bytes, got a value of type int"),
        (lambda: Dependency("n", limit=10**9999), "1 to 65535, got a value of type int"),
        (lambda: Dependency("n", deadline=10**9999), "0.001 to 86400, got a value of type int"),
        (lambda: constant(10**9999), "0 to 86400 seconds, got a value of type int"),
        (lambda: constant(Unshown()), "0 to 86400 seconds, got a value of type Unshown"),
        (lambda: Health(bool, opens="no"), "opens must be True or False, got 'no'"),
        (lambda: HealthChecks(3), "3 has no health to be checked"),
        (
            lambda: Dependency("n", breaker=Breaker(probe_timeout=2), timeout=2),
            "probe_timeout of the breaker must be more than timeout, 2, got 2",
        ),
        (lambda: Dependency("n", fallback=5), "a fallback must be a function, or Fallback.value("),
        (lambda: Dependency("n", timeout=1)(len), "plain function"),
        (lambda: Retry(attempts=0), "attempts must be a whole number from 1 to 1000, got 0"),
        (lambda: Retry(attempts=2.5), "attempts"),
        (lambda: Retry(on=5), "on must be"),
        (lambda: Retry(on=int), "on must be"),
        (lambda: Retry(backoff=1.0), "backoff must be"),
        (lambda: Retry(wait_max=-1), "wait_max"),
        (lambda: RetryBudget(ratio=1.5), "ratio must be 0 to 1, got 1.5"),
        (lambda: RetryBudget(ratio=float("nan")), "ratio"),
        (lambda: RetryBudget(capacity=0), "capacity must be 1 to 60000, got 0"),
        (lambda: Breaker(failure_rate=0), "failure_rate"),
        (lambda: Breaker(window=-1), "window must be 0.1 to 86400, got -1"),
        (lambda: Breaker(window_calls=49), "window_calls must be a whole number from 1 to 48"),
        (lambda: Breaker(window_calls=5), "calls_min must be at most window_calls"),
        (lambda: Breaker(probes=0), "probes must be a whole number from 1 to 31, got 0"),
        (lambda: Breaker(probes=True), "probes"),
        (lambda: Breaker(open_for=float("inf")), "open_for"),
        (lambda: Breaker(open_for=10, open_max=5), "open_max must be at least open_for"),
        (lambda: Breaker(open_on_retry_after=0), "open_on_retry_after must be 0.001 to 86400"),
        (lambda: Breaker(open_on_retry_after=True), "open_on_retry_after must be"),
        (lambda: Breaker(slow_call=1.0), "go together"),
        (lambda: Breaker(failure_rate=None), "needs a failure_rate"),
        (lambda: Bulkhead(1, wait_max=-1), "wait_max"),
        (lambda: deadline(-1), "seconds must be 0 to 86400, got -1"),
        (lambda: deadline(float("nan")), "seconds"),
    ],
)
def test_bad_input_names_the_value_and_the_bound(make, said):
    with pytest.raises((InvalidName, InvalidSetting, TypeError)) as raised:
        make()
    assert said in str(raised.value)


async def _coroutine():
    return 1


def _generator():
    yield 1


async def _async_generator():
    yield 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_coroutine, "use acall()"),
        (_generator, "decorate it"),
        (_async_generator, "decorate it"),
    ],
)
def test_a_plain_call_refuses_what_it_would_make_and_not_run(function, said):
    guard = Dependency("n", scope="process")
    with pytest.raises(InvalidSetting) as raised:
        guard.call(function)
    assert said in str(raised.value) and repr(function) in str(raised.value)


def test_what_is_left_out_is_within_bounds_whatever_is_given():
    for seconds in (0.1, 1.0, 86_400):
        breaker = Breaker(window=seconds, open_for=seconds, probe_timeout=seconds)
        assert breaker.open_for <= breaker.open_max <= 86_400
        assert breaker.open_max <= max(1.5 * seconds, breaker.open_for)


def test_rejections_are_of_one_family():
    assert issubclass(BreakerOpen, Rejected) and issubclass(LimitExceeded, Rejected)
    assert not issubclass(Rejected, (OSError, TimeoutError))


@pytest.mark.parametrize("now_ms", [(1 << 38) - 1, 1 << 38, (1 << 63) - 1])
def test_a_budget_goes_on_at_times_that_its_word_has_no_room_for(now_ms):
    budget = RetryBudget(ratio=0, floor=1, capacity=2)
    cell = Dependency("n", retry=Retry(budget=budget), scope="process").cell
    assert cell.tokens(now_ms - 1) == cell.tokens(now_ms) == 2000
    assert cell.hold(now_ms)
