"""Delays that follow what retries have come to, and types of error that are learned of."""

from __future__ import annotations

import asyncio
import random
import time
from math import comb
from typing import Any

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane.errors import InvalidSetting
from faultplane.resilience import adaptive
from faultplane.resilience.backoff import constant, full_jitter
from faultplane.resilience.clock import Clock
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Retry, RetryBudget
from faultplane.testing import FakeClock

NOW = constant(0)


EPOCH = layout.RETRIED_EPOCH_MS / 1000


@pytest.fixture(autouse=True)
def _moment():
    """What is counted is not halved meanwhile: a second at least is left until it would be."""
    left = -time.monotonic() % EPOCH
    if left < 1.0:
        time.sleep(left + 0.02)


class Odd(Exception):
    """No rule of classification knows it."""


class Strange(Exception):
    """Another one."""


ODD = layout.type_tag(f"{__name__}.Odd")


class Dice(FakeClock):
    """A clock whose dice show what they are told."""

    def __init__(self, number: float = 0.5) -> None:
        super().__init__()
        self.number = number

    def random(self) -> float:
        return self.number


def run(dependency: Dependency, function: Any, times: int = 1) -> None:
    """Call it so often, whatever comes of it."""
    for _ in range(times):
        try:
            dependency.call(function)
        except Exception:
            pass


def outcomes(dependency: Dependency, tag: int = ODD) -> tuple[int, int]:
    found: tuple[int, int] = dependency.cell.retries_of_type(tag)
    return found


# ------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    ("known", "factor"),
    [
        ((0, 0), 1.0),
        ((9, 0), 1.0),
        ((0, 9), 1.0),
        ((10, 0), 0.8),
        ((80, 20), 1.0),
        ((81, 19), 0.8),
        ((30, 70), 1.0),
        ((29, 71), 1.5),
        ((0, 10), 1.5),
        ((5, 5, 15, 10), 1.0),
        ((5, 5, 16, 10), 1.2),
        ((0, 10, 16, 10), 1.5 * 1.2),
        ((10, 0, 16, 10), 0.8 * 1.2),
        ((5, 5, 0, 0), 1.0),
    ],
)
def test_a_delay_is_shorter_where_retries_help_and_longer_where_they_do_not(known, factor):
    assert adaptive.delay_factor(*known) == factor


def test_no_factor_is_beyond_its_bound():
    rng = random.Random(1)
    for _ in range(5000):
        known = [rng.choice([0, 1, rng.randrange(1 << 32)]) for _ in range(4)]
        assert adaptive.SOONER <= adaptive.delay_factor(*known) <= adaptive.DELAY_FACTOR_MAX


def test_the_chance_is_that_of_the_posterior():
    """Against the integral of the Beta density, summed in small steps."""
    for helped, failed in ((0, 0), (1, 0), (0, 13), (3, 9), (40, 24), (12, 52)):
        steps = 40_000
        density = [
            ((at + 0.5) / steps) ** helped * (1 - (at + 0.5) / steps) ** failed
            for at in range(steps)
        ]
        norm = (helped + failed + 1) * comb(helped + failed, helped)
        above = sum(density[int(adaptive.WORTH * steps) :]) / steps * norm
        assert adaptive.chance_of_worth(helped, failed) == pytest.approx(above, abs=1e-6)


@pytest.mark.parametrize("known", [(0, 10**9), (10**9, 0), (2**20, 2**21)])
def test_counts_that_only_a_damaged_file_has_are_decided_on_at_once(known):
    assert adaptive.is_worth_it(*known, random=lambda: 0.9) is (known[0] > 0)


def test_one_in_twenty_that_are_not_worth_it_is_made():
    rng = random.Random(3)
    made = sum(adaptive.is_worth_it(0, 40, random=rng.random) for _ in range(20_000))
    assert 800 < made < 1200


# ----------------------------------------------------------------------------------------- delays


def test_delays_follow_what_retries_after_the_kind_came_to(name, fails):
    clock = FakeClock()
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=constant(2.0), adaptive=True), clock=clock
    )
    for helped, expected in ((True, 1.6), (False, 3.0)):
        dependency.cell.forget_retries()
        run(dependency, fails(*[TimeoutError()] * (1 if helped else 99)), 1)
        assert clock.waits.pop() == 2.0, "nothing is known yet"
        for _ in range(10):
            run(dependency, fails(TimeoutError(), *([] if helped else [TimeoutError()])))
        run(dependency, fails(TimeoutError()))
        assert clock.waits[-1] == pytest.approx(expected)
        run(dependency, fails(ConnectionResetError()))
        assert clock.waits[-1] == 2.0, "another kind is another matter"


def test_rising_times_lengthen_the_delay(name, fails):
    clock = FakeClock()
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=constant(2.0), adaptive=True), clock=clock
    )
    for micros in (1000, 1000, 9000, 9000):
        dependency.cell.retried(0, True, micros)
    run(dependency, fails(TimeoutError()))
    assert clock.waits == [pytest.approx(2.4)]


def test_what_the_other_side_asks_for_is_waited_exactly(name, fails):
    class Busy(ConnectionError):
        retry_after = 7.0

    clock = FakeClock()
    dependency = Dependency(
        name,
        retry=Retry(attempts=2, on=ConnectionError, backoff=constant(2.0), adaptive=True),
        clock=clock,
    )
    for _ in range(12):
        run(dependency, fails(Busy()))
    assert set(clock.waits) == {7.0}


def test_an_adaptive_delay_that_passes_the_deadline_is_not_begun(name, fails):
    clock = FakeClock()
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=constant(1.0), adaptive=True), clock=clock
    )
    for _ in range(10):
        dependency.cell.retried(fp.classify(TimeoutError()).kind_code, False)
    with fp.deadline(1.25):
        run(dependency, fails(TimeoutError()))
    assert clock.waits == []


def test_off_no_word_is_written_and_no_delay_changes(name, fails, seen):
    """Negative control: the same script with the policy as it is by default."""
    clock = FakeClock()
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=constant(2.0)), clock=clock)
    for _ in range(12):
        run(dependency, fails(TimeoutError()))
    assert set(clock.waits) == {2.0}
    assert seen(dependency).retried == ({}, {}, 0, 0)
    assert Retry().adaptive is False
    assert Retry().learn is None


def test_calls_that_need_no_retry_write_nothing(name, seen):
    dependency = Dependency(
        name, retry=Retry(attempts=2, adaptive=True, learn="all"), breaker=Breaker()
    )
    for _ in range(100):
        dependency.call(len, "")
    assert seen(dependency).retried == ({}, {}, 0, 0)


# --------------------------------------------------------------------------------------- learning


def test_a_type_that_no_rule_knows_is_tried_again_as_long_as_that_helps(name, fails):
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"), clock=Dice(0.99)
    )
    function = fails(*[Odd()] * 1000)
    tried = []
    for _ in range(20):
        before = function.calls
        run(dependency, function)
        tried.append(function.calls - before)
    assert tried == [2] * 13 + [1] * 7
    assert outcomes(dependency) == (0, 13)
    helped = fails(Odd())
    run(dependency, helped)
    assert helped.calls == 1
    dependency.cell.forget_retries()
    run(dependency, helped := fails(Odd()))
    assert (helped.calls, outcomes(dependency)) == (2, (1, 0))


def test_without_learning_such_a_type_is_not_tried_again(name, fails):
    """Negative control, and what is the case by default."""
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW))
    run(dependency, function := fails(Odd()))
    assert function.calls == 1


def test_one_that_is_tried_out_brings_it_back(name, fails):
    dice = Dice(0.99)
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"), clock=dice)
    run(dependency, fails(*[Odd()] * 1000), 30)
    dice.number = 0.0
    run(dependency, fails(Odd()))
    assert outcomes(dependency) == (1, 13)
    dice.number = 0.99
    run(dependency, function := fails(Odd()))
    assert function.calls == 2


def test_unknown_leaves_known_errors_to_their_rules(name, fails):
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"))
    timeout = layout.type_tag("TimeoutError")
    run(dependency, fails(*[TimeoutError()] * 1000), 30)
    assert dependency.cell.retries_of_type(timeout) == (0, 0)
    run(dependency, function := fails(TimeoutError()))
    assert function.calls == 2
    run(dependency, function := fails(ValueError()))
    assert function.calls == 1


def test_all_has_known_errors_that_never_heal_given_up_too(name, fails):
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=NOW, learn="all"), clock=Dice(0.99)
    )
    run(dependency, fails(*[TimeoutError()] * 1000), 30)
    assert dependency.cell.retries_of_type(layout.type_tag("TimeoutError")) == (0, 13)
    run(dependency, function := fails(TimeoutError()))
    assert function.calls == 1
    run(dependency, function := fails(ConnectionResetError()))
    assert function.calls == 2
    run(dependency, function := fails(ValueError()))
    assert function.calls == 1, "what must not be retried is not learned of"


def test_a_retry_is_counted_for_the_error_that_it_was_made_for(name, fails):
    dependency = Dependency(name, retry=Retry(attempts=4, backoff=NOW, learn="unknown"))
    run(dependency, fails(Odd(), Strange(), Odd()))
    assert outcomes(dependency) == (1, 1)
    assert outcomes(dependency, layout.type_tag(f"{__name__}.Strange")) == (0, 1)


def test_an_answer_that_is_no_failure_of_the_other_side_counts_as_help(name, fails):
    with fp.register_rule(Strange, kind="BusinessLogic"):
        dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"))
        run(dependency, fails(Odd(), Strange("declined")))
    assert outcomes(dependency) == (1, 0)


def test_a_retry_that_says_nothing_is_not_counted(name, fails):
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"))
    for end in (KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(end)):
            dependency.call(fails(Odd(), end))
    budget = RetryBudget(ratio=0, floor=0, capacity=1)
    poor = Dependency(
        f"{name} poor", retry=Retry(attempts=2, backoff=NOW, learn="unknown", budget=budget)
    )
    run(poor, fails(*[Odd()] * 1000), 5)
    assert outcomes(dependency) == (0, 0)
    assert outcomes(poor) == (0, 1), "what was not sent has no outcome"


@pytest.mark.parametrize("way", ["decorated", "attempts", "begin", "coroutine", "exchange"])
def test_every_way_to_call_is_learned_from(name, fails, way):
    dependency = Dependency(name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"))
    function = fails(Odd())

    async def coroutine() -> Any:
        return function()

    if way == "decorated":
        dependency(function)()
    elif way == "attempts":
        for attempt in dependency.attempts():
            with attempt:
                function()
    elif way == "begin":
        call = dependency.guard.begin()
        assert call.failed(Odd()) == 0.0
        call.again()
        call.succeeded()
    elif way == "coroutine":
        asyncio.run(dependency.acall(coroutine))
    else:
        exchange = fp.Exchange(lambda _: function())
        _, call = exchange.run(dependency, "GET /", repeatable=True)
        assert call is not None
        call.succeeded()
    assert outcomes(dependency) == (1, 0)


def test_both_together_are_counted_apart(name, fails, seen):
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=NOW, adaptive=True, learn="all"), clock=Clock()
    )
    run(dependency, fails(Odd()))
    run(dependency, fails(TimeoutError()))
    known = seen(dependency).retried
    assert sorted(known.kinds.values()) == [(1, 0), (1, 0)]
    assert set(known.types) == {ODD, layout.type_tag("TimeoutError")}
    assert known.usual_micros > 0


def test_one_process_alone_learns_too(name, fails):
    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=NOW, learn="unknown"), scope="process"
    )
    run(dependency, fails(Odd()))
    assert outcomes(dependency) == (1, 0)


# ------------------------------------------------------------------------------------ what is seen


def test_rows_name_the_types_and_forgetting_empties_them(name, fails):
    from faultplane.resilience.override import forget
    from faultplane.store import Domain

    dependency = Dependency(
        name, retry=Retry(attempts=2, backoff=NOW, adaptive=True, learn="unknown")
    )
    run(dependency, fails(Odd()))
    domain = Domain.own()

    def row() -> dict[str, Any]:
        (found,) = (one for one in domain.dependencies_rows() if one["name"] == name)
        return found

    odd = f"{__name__}.Odd"
    assert row()["retries_by_type"] == [{"type": odd, "helped": 1, "failed": 0}]
    assert row()["retries_by_kind"] == [{"kind": "Internal", "helped": 1, "failed": 0}]
    assert row()["retry_seconds_recent"] == row()["retry_seconds_usual"] > 0
    dependency.cell.retried(0xABC << layout.REASON_TYPE_SHIFT, False)
    assert row()["retries_by_type"][0] == {"type": "#00000abc", "helped": 0, "failed": 1}
    done = forget(name)
    assert (done.name, done.kinds, done.types) == (name, 1, 2)
    assert row()["retries_by_type"] == row()["retries_by_kind"] == []
    assert row()["retry_seconds_usual"] is None
    assert outcomes(dependency) == (0, 0)


def test_forgetting_what_there_is_not_is_refused(name):
    from faultplane.resilience.override import forget

    with pytest.raises(fp.errors.DependencyNotFound, match="has no dependency 'no such'"):
        forget("no such")


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"adaptive": 1}, "adaptive must be True or False, got 1"),
        ({"adaptive": None}, "adaptive must be True or False, got None"),
        ({"learn": True}, "learn must be unknown, all or None, got True"),
        ({"learn": "some"}, "learn must be unknown, all or None, got 'some'"),
        ({"learn": ["all"]}, r"learn must be unknown, all or None, got \['all'\]"),
        ({"learn": "all", "on": TimeoutError}, "learn must be None, got 'all'"),
    ],
)
def test_what_is_no_choice_is_refused(options, text):
    with pytest.raises(InvalidSetting, match=text):
        Retry(**options)


def test_the_declaration_says_what_is_on(name):
    on = Dependency(name, retry=Retry(adaptive=True, learn="all", backoff=full_jitter(1, 2)))
    assert '"adaptive":true,"learn":"all"' in on._declaration()
