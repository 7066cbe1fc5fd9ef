"""Hedges: the try that answers first is the answer, and nothing of the others goes on."""

from __future__ import annotations

import asyncio
import functools
import math
import traceback

import pytest

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting
from faultplane.resilience.hedge import KEPT, Durations
from faultplane.testing import set_testing

SOON = 0.005


def awaited(test):
    """A test that is a coroutine, in a loop of its own."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


def begun(number):
    """When so many tries have begun."""
    return lambda service: service.begun >= number


def ended(number):
    """When so many tries have ended, or were cancelled."""
    return lambda service: service.ended + service.cancelled >= number


class Service:
    """What is called: answers in turn, each after so many seconds, or when something happened."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.begun = self.cancelled = self.ended = 0

    async def ask(self, *_, **__):
        number = self.begun
        self.begun += 1
        when, answer = self._answers[number]
        try:
            while callable(when) and not when(self):  # noqa: ASYNC110 - a test looks
                await asyncio.sleep(0.001)
            await asyncio.sleep(0 if callable(when) else when)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


FOR_EVER = 3600.0


@pytest.fixture
def hedged(name):
    """Function ``(**policies) -> Dependency`` that asks once more after some milliseconds."""

    def make(after=SOON, most=1, **policies):
        return fp.Dependency(name, hedge=fp.Hedge(after, most), **policies)

    return make


def held(cell):
    return cell.permits, cell.tokens_held, cell.probes


@awaited
async def test_a_hedge_that_answers_first_is_the_answer_and_the_other_is_cancelled(hedged, seen):
    pay = hedged(limit=5, breaker=fp.Breaker())
    service = Service((FOR_EVER, "late"), (0, "fast"))
    assert await pay(service.ask)() == "fast"
    assert (service.begun, service.cancelled, service.ended) == (2, 1, 1)
    cell = seen(pay)
    assert held(cell) == (0, 0, 0)
    assert (cell.totals["retries"], cell.totals["ignored"]) == (1, 1)
    assert cell.totals["recovered"] == 1
    assert cell.calls == 1, "what was cancelled says nothing"


@awaited
async def test_what_answers_in_time_is_asked_once(hedged, seen):
    pay = hedged(after=FOR_EVER)
    service = Service((0, "fast"))
    assert await pay.acall(service.ask) == "fast"
    assert service.begun == 1
    assert seen(pay).totals["retries"] == 0


@awaited
async def test_the_first_may_still_answer_first(hedged, seen):
    pay = hedged()
    service = Service((begun(2), "first"), (FOR_EVER, "hedge"))
    assert await pay.acall(service.ask) == "first"
    assert (service.begun, service.cancelled) == (2, 1)
    assert seen(pay).totals["ignored"] == 1


@awaited
async def test_there_are_as_many_hedges_as_may_be(hedged):
    pay = hedged(most=3)
    service = Service(*[(FOR_EVER, "")] * 3, (0, "fourth"))
    assert await pay.acall(service.ask) == "fourth"
    assert (service.begun, service.cancelled) == (4, 3)


@awaited
async def test_a_failure_waits_for_the_hedge(hedged, seen):
    pay = hedged()
    service = Service((begun(2), TimeoutError("no answer")), (ended(1), "hedge"))
    assert await pay.acall(service.ask) == "hedge"
    assert seen(pay).totals["failures"] == 1


@awaited
async def test_a_hedge_that_fails_leaves_the_first_to_answer(hedged, seen):
    pay = hedged()
    service = Service((ended(1), "first"), (0, TimeoutError("no answer")))
    assert await pay.acall(service.ask) == "first"
    assert seen(pay).totals["failures"] == 1


@awaited
async def test_a_hedge_that_fails_before_it_runs_leaves_the_first_to_answer(hedged, seen):
    pay = hedged()
    calls = []

    def ask():
        calls.append(1)
        if len(calls) > 1:
            raise ConnectionResetError("before there is a coroutine")

        async def answers():
            while len(calls) < 2:  # noqa: ASYNC110 - a test looks
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            return "first"

        return answers()

    assert await pay.acall(ask) == "first"
    assert seen(pay).totals["failures"] == 1


@awaited
async def test_where_all_fail_the_first_error_is_raised_as_it_was_and_tried_again(hedged, seen):
    pay = hedged(retry=fp.Retry(attempts=2, backoff=fp.constant(0)))
    failures = (ended(1), TimeoutError("first")), (0, ConnectionResetError("hedge"))
    service = Service(*failures, (0, "second try"))
    assert await pay.acall(service.ask) == "second try"
    assert seen(pay).totals["failures"] == 2

    first = TimeoutError("first")
    service = Service((ended(1), first), (0, ConnectionResetError("hedge")))
    pay = hedged(retry=fp.Retry(attempts=1))
    with pytest.raises(TimeoutError, match="first") as raised:
        await pay.acall(service.ask)
    assert raised.value is first
    frames = [frame.name for frame in traceback.extract_tb(raised.tb)]
    assert frames[1:] == ["ask"], "no frame of ours"


@awaited
async def test_a_hedge_takes_a_token_of_the_budget_and_there_is_none_without(hedged, seen):
    budget = fp.RetryBudget(ratio=0.0, floor=0.0, capacity=1.0)
    pay = hedged(retry=fp.Retry(budget=budget))
    service = Service((FOR_EVER, ""), (0, "hedge"))
    assert await pay.acall(service.ask) == "hedge"
    service = Service((4 * SOON, "first"))
    assert await pay.acall(service.ask) == "first"
    assert service.begun == 1
    assert seen(pay).totals["retries"] == 1
    assert seen(pay).tokens < 1


@awaited
async def test_the_limit_and_the_breaker_are_asked_before_a_hedge(hedged, seen):
    pay = hedged(limit=1)
    service = Service((4 * SOON, "first"))
    assert await pay.acall(service.ask) == "first"
    assert service.begun == 1
    assert seen(pay).totals["full"] == 1


@awaited
async def test_a_hedge_of_an_open_breaker_gives_its_token_back(name, seen):
    budget = fp.RetryBudget(ratio=0.0, floor=0.0, capacity=2.0)
    pay = fp.Dependency(
        name, hedge=SOON, retry=fp.Retry(budget=budget),
        breaker=fp.Breaker(failure_rate=None, consecutive=1),
    )  # fmt: skip
    service = Service((6 * SOON, "first"))
    under_way = asyncio.ensure_future(pay.acall(service.ask))
    await asyncio.sleep(0)

    def fail():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        fp.Dependency(name, breaker=pay.breaker, retry=pay.retry).call(fail)
    with pytest.raises(BreakerOpen):
        fp.Dependency(name, breaker=pay.breaker, retry=pay.retry).call(fail)
    assert await under_way == "first"
    assert service.begun == 1
    assert held(seen(pay)) == (0, 0, 0)


@pytest.mark.parametrize("step", range(12))
@awaited
async def test_a_cancellation_at_any_step_leaves_nothing_behind(hedged, seen, step):
    budget = fp.RetryBudget(ratio=0.0, floor=0.0, capacity=50.0)
    pay = hedged(after=0.001, most=2, limit=5, breaker=fp.Breaker(), retry=fp.Retry(budget=budget))
    service = Service(*[(FOR_EVER, "")] * 3)
    call = asyncio.ensure_future(pay.acall(service.ask))
    for _ in range(step):
        await asyncio.sleep(0.0005 if step > 3 else 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert service.begun == service.cancelled
    assert held(seen(pay)) == (0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@awaited
async def test_a_loser_that_will_not_be_cancelled_is_waited_for(hedged, seen):
    pay = hedged(limit=5)
    ended = []

    async def stubborn():
        ended.append(0)
        if len(ended) > 1:
            return "hedge"
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            await asyncio.sleep(SOON)
        ended.append("at last")
        return "first"

    assert await pay.acall(stubborn) == "hedge"
    assert ended[-1] == "at last"
    assert held(seen(pay)) == (0, 0, 0)


@awaited
async def test_a_coroutine_that_is_closed_waits_for_nothing(hedged, seen):
    pay = hedged(limit=5)
    service = Service((FOR_EVER, ""), (FOR_EVER, ""))
    coroutine = pay.acall(service.ask)
    coroutine.send(None)
    coroutine.close()
    await asyncio.sleep(SOON)
    assert held(seen(pay)) == (0, 0, 0)


@awaited
async def test_a_deadline_holds_for_all_tries(hedged, seen):
    pay = hedged(deadline=8 * SOON, limit=5)
    service = Service(*[(FOR_EVER, "")] * 2)
    with pytest.raises(TimeoutError):
        await pay.acall(service.ask)
    assert service.begun == service.cancelled >= 1
    assert held(seen(pay)) == (0, 0, 0)


@awaited
async def test_a_timeout_is_that_of_each_try(hedged, seen):
    pay = hedged(after=0.15, timeout=0.3)
    service = Service((FOR_EVER, ""), (ended(1), "hedge"))
    assert await pay.acall(service.ask) == "hedge"
    assert seen(pay).totals["timeouts"] == 1


@awaited
async def test_a_quantile_hedges_what_is_slower_than_others_were(hedged):
    pay = hedged(after=fp.quantile(0.9, least=SOON, calls_min=5))
    for _ in range(5):
        assert await pay.acall(Service((0, "fast")).ask) == "fast"
    service = Service((FOR_EVER, ""), (0, "hedge"))
    assert await pay.acall(service.ask) == "hedge"


@awaited
async def test_a_quantile_of_too_few_hedges_nothing(hedged):
    pay = hedged(after=fp.quantile(0.5, least=0.001, calls_min=3))
    service = Service((2 * SOON, "first"))
    assert await pay.acall(service.ask) == "first"
    assert service.begun == 1


@awaited
async def test_tests_that_try_once_hedge_nothing(hedged):
    pay = hedged()
    service = Service((2 * SOON, "first"))
    with set_testing(attempts=1):
        assert await pay.acall(service.ask) == "first"
    assert service.begun == 1


def test_a_quantile_is_the_nearest_rank_of_the_last_durations():
    durations, wanted = Durations(), fp.quantile(0.95, least=0.001, calls_min=1)
    assert durations.quantile(wanted) is None
    for number in range(1, 101):
        durations.add(float(number))
    assert durations.quantile(wanted) == 96.0
    for _ in range(KEPT):
        durations.add(0.5)
    assert durations.quantile(wanted) == 0.5
    assert len(durations._last) == len(durations._sorted) == KEPT


@pytest.mark.parametrize("after", [0, -1, math.nan, math.inf, "1", None, True])
def test_bad_delays_are_refused(after):
    with pytest.raises(InvalidSetting, match="after"):
        fp.Hedge(after)


@pytest.mark.parametrize("q", [0, 0.4, 1, math.nan, "0.9"])
def test_bad_quantiles_are_refused(q):
    with pytest.raises(InvalidSetting, match="q must be"):
        fp.quantile(q)


@pytest.mark.parametrize("most", [0, 9, 1.0, None])
def test_bad_numbers_of_hedges_are_refused(most):
    with pytest.raises(InvalidSetting, match="most"):
        fp.Hedge(1.0, most)


@awaited
async def test_what_cannot_be_cancelled_is_refused(hedged):
    pay = hedged()

    def plain(): ...

    def steps():
        yield

    async def asteps():
        yield

    for function in (plain, steps, asteps):
        with pytest.raises(InvalidSetting, match="hedge is for coroutine functions"):
            pay(function)
    with pytest.raises(InvalidSetting, match="hedge"), pay:
        pass
    with pytest.raises(InvalidSetting, match="hedge"):
        async with pay:
            pass
    with pytest.raises(InvalidSetting, match="hedge"):
        for _ in pay.attempts():
            pass
