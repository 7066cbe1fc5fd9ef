"""Tries of one call that are made by different processes, each of which knows its number."""

from __future__ import annotations

import pytest

import faultplane as fp

NOW = fp.constant(0)
ONCE = fp.RetryBudget(ratio=0.5, floor=0, capacity=1)


def test_a_retry_that_is_handed_on_is_paid_for_at_once(name, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, budget=ONCE))
    call = dependency.guard.begin()
    assert call.failed(TimeoutError("no answer")) == 0
    assert (seen(dependency).tokens_held, seen(dependency).tokens) == (1, 1)
    assert call.hand_on() is True
    assert (seen(dependency).tokens_held, seen(dependency).tokens) == (0, 0)
    del call
    state = seen(dependency)
    assert (state.tokens_held, state.tokens, state.totals["retries"]) == (0, 0, 1)


def test_a_token_is_handed_on_once(name, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, budget=ONCE))
    one, other = dependency.guard.begin(), dependency.guard.begin()
    assert one.failed(TimeoutError("no answer")) == 0
    assert other.failed(TimeoutError("no answer")) == -1
    assert one.hand_on() is True
    totals = seen(dependency).totals
    assert (totals["retries"], totals["budget_exhausted"]) == (1, 1)


def test_handing_on_leaves_what_others_hold(name, seen):
    budget = fp.RetryBudget(ratio=0, floor=0, capacity=3)
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, budget=budget))
    one, other = dependency.guard.begin(), dependency.guard.begin()
    waits = [one.failed(TimeoutError("no answer")), other.failed(TimeoutError("no answer"))]
    assert waits == [0, 0]
    one.hand_on()
    del one
    assert (seen(dependency).tokens_held, seen(dependency).tokens) == (1, 2)
    other.ignored()
    assert (seen(dependency).tokens_held, seen(dependency).tokens) == (0, 2)


def test_without_a_budget_a_retry_that_is_handed_on_is_counted(name, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW))
    call = dependency.guard.begin()
    assert call.failed(TimeoutError("no answer")) == 0
    assert call.hand_on() is True
    assert seen(dependency).totals["retries"] == 1


def test_a_try_that_is_not_the_first_brings_nothing_and_may_be_the_last(name, seen):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, budget=ONCE))
    first = dependency.guard.begin()
    first.failed(TimeoutError("no answer"))
    first.hand_on()
    second = dependency.guard.begin(attempt=2)
    assert (second.attempt, seen(dependency).tokens) == (2, 0)
    second.succeeded()
    assert seen(dependency).totals["recovered"] == 1
    third = dependency.guard.begin(attempt=3)
    assert third.failed(TimeoutError("no answer")) == -1
    totals = seen(dependency).totals
    assert (totals["gave_up"], totals["budget_exhausted"]) == (1, 0)
    dependency.guard.begin().succeeded()
    assert seen(dependency).tokens == 0.5, "a control: a first try brings its part"


@pytest.mark.parametrize("attempt", [0, 65_536])
def test_a_number_that_no_try_has_is_refused(attempt, name, seen):
    dependency = fp.Dependency(name, limit=1)
    with pytest.raises(ValueError, match=f"attempt must be 1 to 65535, got {attempt}"):
        dependency.guard.begin(attempt)
    dependency.guard.begin(65_535).succeeded()
    assert seen(dependency).permits == 0
