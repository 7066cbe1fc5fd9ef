"""A rate limit lets through what its bucket holds, whoever asks, and nothing more."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded, RateLimited
from faultplane.resilience import policy
from faultplane.store import control, files
from faultplane.testing import set_active

HIGH = layout.CONTROL_CELL.size
LEASES = HIGH + layout.LEASE.size
MILLI = layout.MILLI


def a_cell(rate):
    """A cell of this process alone with that rate limit."""
    memory = core.Mapping.anonymous(LEASES + layout.LEASE.size)
    control.configure(memory, 0, policy.config(None, None, None, rate), files.forks)
    return core.Cell(lambda one: one.use(memory, 0, LEASES, 1, HIGH, 0, 7))


def hour(name, **policies):
    """A dependency whose rate limit brings next to nothing while a test runs."""
    return fp.Dependency(name, rate=fp.RateLimit(0.001, **policies))


def test_a_bucket_lets_through_its_burst_and_what_time_brings():
    cell = a_cell(fp.RateLimit(10, burst=3))
    assert [cell.rate_take(5000) for _ in range(5)] == [True, True, True, False, False]
    assert cell.rate_wait_ms(5000) == 100
    assert cell.rate_wait_ms(5060) == 40
    assert not cell.rate_take(5099)
    assert cell.rate_take(5100)
    assert not cell.rate_take(5150)
    assert [cell.rate_take(9000) for _ in range(4)] == [True, True, True, False]


def test_what_is_put_back_is_there_and_never_more_than_the_burst():
    cell = a_cell(fp.RateLimit(0.001, burst=2))
    cell.rate_give()
    assert [cell.rate_take(5) for _ in range(3)] == [True, True, False]
    for _ in range(5):
        cell.rate_give()
    assert [cell.rate_take(6) for _ in range(3)] == [True, True, False]


def test_both_cores_and_a_plain_count_agree_at_any_rate(rng):
    for _ in range(60):
        rate = rng.choice((0.001, 0.5, 3, 7.77, 100, 999.999, 60_000))
        burst = rng.choice((1, 1.5, 10, 60_000))
        cell = a_cell(fp.RateLimit(rate, burst=burst))
        now = begun = rng.randrange(1, 1 << 30)
        taken = 0
        for _ in range(300):
            now += rng.choice((0, 0, 1, 7, 250, 4000))
            wait = cell.rate_wait_ms(now)
            there = cell.rate_take(now)
            taken += there
            assert there == (wait == 0)
            allowed = round(burst * MILLI) + round(rate * MILLI) * (now - begun) / MILLI
            assert taken * MILLI <= allowed + 1e-6
            if not there:
                assert not cell.rate_take(now + wait - 1)
                assert cell.rate_wait_ms(now + wait) == 0


def test_a_call_too_many_is_rejected_and_says_for_how_long(name, seen):
    pay = fp.Dependency(name, rate=fp.RateLimit(0.5, burst=2))
    assert [pay.call(len, "ab") for _ in range(2)] == [2, 2]
    with pytest.raises(RateLimited, match="as many calls were made as may be") as rejected:
        pay.call(len, "ab")
    assert rejected.value.dependency == name
    assert 1.0 < rejected.value.retry_after <= 2.0
    cell = seen(pay)
    assert (cell.totals["rate_limited"], cell.totals["full"]) == (1, 0)
    assert cell.rate_tokens < 1


@pytest.mark.parametrize("way", ["call", "coroutine", "block", "attempts", "generator"])
def test_it_holds_for_every_way_to_call(name, way):
    pay = hour(name, burst=1)

    async def one():
        return 1

    def steps():
        yield 1

    def make():
        if way == "call":
            pay.call(len, "")
        elif way == "coroutine":
            asyncio.run(pay.acall(one))
        elif way == "block":
            with pay:
                pass
        elif way == "attempts":
            for attempt in pay.attempts():
                with attempt:
                    pass
        else:
            list(pay(steps)())

    make()
    with pytest.raises(RateLimited):
        make()


def test_a_retry_is_a_call_and_the_error_is_raised_where_there_is_none(name, fails):
    pay = fp.Dependency(
        name, rate=fp.RateLimit(0.001, burst=2), retry=fp.Retry(attempts=5, backoff=fp.constant(0))
    )
    call = fails(*[TimeoutError(f"{n}") for n in range(5)])
    with pytest.raises(TimeoutError, match="1"):
        pay.call(call)
    assert call.calls == 2


def test_what_the_breaker_or_the_limit_rejects_uses_no_token(name, seen, fails):
    rate = fp.RateLimit(0.001, burst=5)
    pay = fp.Dependency(
        name, rate=rate, limit=1, breaker=fp.Breaker(failure_rate=None, consecutive=1)
    )
    with pay, pytest.raises(LimitExceeded):
        pay.call(len, "")
    assert seen(pay).rate_tokens == 4
    with pytest.raises(TimeoutError):
        pay.call(fails(TimeoutError()))
    with pytest.raises(BreakerOpen):
        pay.call(len, "")
    assert seen(pay).rate_tokens == 3
    assert seen(pay).permits == 0


def test_a_probe_that_has_no_turn_comes_back(name, seen, fails):
    breaker = fp.Breaker(failure_rate=None, consecutive=1, open_for=0.001, probes=1)
    pay = fp.Dependency(name, rate=fp.RateLimit(0.001, burst=1), breaker=breaker)
    with pytest.raises(TimeoutError):
        pay.call(fails(TimeoutError()))
    time.sleep(0.02)
    for _ in range(3):
        with pytest.raises(RateLimited):
            pay.call(len, "")
    assert seen(pay).state == "half-open"
    assert seen(pay).probes == 0


def test_who_may_wait_has_his_turn(name, seen):
    pay = fp.Dependency(name, rate=fp.RateLimit(200, burst=1, wait_max=60))
    begun = time.monotonic()
    for _ in range(21):
        pay.call(len, "")
    # 20 turns of 5 ms, of a clock that may be one tick behind.
    assert time.monotonic() - begun > 20 / 200 - 0.02
    assert seen(pay).totals["rate_limited"] == 0


def test_who_may_wait_is_rejected_at_once_where_it_is_in_vain(name, seen):
    pay = fp.Dependency(name, rate=fp.RateLimit(0.001, burst=1, wait_max=30))
    pay.call(len, "")
    with pytest.raises(RateLimited):
        pay.call(len, "")
    assert seen(pay).totals["rate_limited"] == 1


def test_coroutines_wait_without_keeping_others_from_running(name):
    pay = fp.Dependency(name, rate=fp.RateLimit(100, burst=1, wait_max=60))

    async def one():
        return asyncio.get_running_loop().time()

    async def all_of_them():
        return await asyncio.gather(*(pay.acall(one) for _ in range(10)))

    times = asyncio.run(all_of_them())
    assert max(times) - min(times) > 9 / 100 - 0.02


def test_a_number_is_a_rate_and_tests_may_switch_it_off(name):
    pay = fp.Dependency(name, rate=1)
    assert pay.rate == fp.RateLimit(1.0)
    pay.call(len, "")
    with pytest.raises(RateLimited):
        pay.call(len, "")
    with set_active(False):
        pay.call(len, "")


def test_an_open_rate_limit_says_nothing_of_the_other_side(name):
    pay = hour(name, burst=1)
    pay.call(len, "")
    with pytest.raises(RateLimited) as rejected:
        pay.call(len, "")
    assert fp.classify(rejected.value).counts_as == "ignored"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"rate": 0}, "rate"), ({"rate": -1}, "rate"), ({"rate": math.nan}, "rate"),
        ({"rate": math.inf}, "rate"), ({"rate": 60_001}, "rate"), ({"rate": "5"}, "rate"),
        ({"rate": True}, "rate"), ({"rate": 1, "burst": 0.5}, "burst"),
        ({"rate": 1, "burst": 60_001}, "burst"), ({"rate": 1, "wait_max": -1}, "wait_max"),
    ],
)  # fmt: skip
def test_numbers_out_of_bounds_are_refused(values, what):
    with pytest.raises(InvalidSetting, match=f"{what} must be"):
        fp.RateLimit(**values)
