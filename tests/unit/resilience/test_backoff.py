"""Delays of each form: their formula, bounds that hold whatever is drawn, totals, and values."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faultplane.errors import InvalidSetting
from faultplane.resilience import backoff as module
from faultplane.resilience.backoff import (
    DELAY_SECONDS_MAX,
    FACTOR_MAX,
    Backoff,
    constant,
    decorrelated_jitter,
    equal_jitter,
    exponential,
    fibonacci,
    full_jitter,
    linear,
)

MAKERS = (
    constant,
    linear,
    exponential,
    fibonacci,
    full_jitter,
    equal_jitter,
    decorrelated_jitter,
)
JITTERED = (full_jitter, equal_jitter, decorrelated_jitter)
ENDLESS = (10**9, 2**60, 10**400)

seconds = st.floats(0.0, DELAY_SECONDS_MAX)
pairs = st.tuples(seconds, seconds).map(sorted)
attempts = st.integers(1, 80) | st.sampled_from(ENDLESS)
shares = st.floats(0.0, 1.0, exclude_max=True)
anything = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])


@st.composite
def backoffs(draw):
    """Any backoff there is."""
    maker = draw(st.sampled_from(MAKERS))
    first, maximum = draw(pairs)
    if maker is constant:
        return constant(maximum)
    if maker is linear:
        return linear(first, draw(seconds), maximum)
    if maker is exponential:
        return exponential(first, maximum, draw(st.floats(1.0, FACTOR_MAX)))
    return maker(first, maximum)


def refuse():
    raise AssertionError("random was called")


# ------------------------------------------------------------------------------------ formulas


@pytest.mark.parametrize(
    ("backoff", "bounds"),
    [
        (constant(2), [(2, 2)] * 3),
        (linear(1, 2, 6), [(1, 1), (3, 3), (5, 5), (6, 6), (6, 6)]),
        (linear(1, 0, 6), [(1, 1)] * 3),
        (exponential(1, 10), [(1, 1), (2, 2), (4, 4), (8, 8), (10, 10)]),
        (exponential(1, 10, 3), [(1, 1), (3, 3), (9, 9), (10, 10)]),
        (exponential(1, 10, 1), [(1, 1)] * 3),
        (fibonacci(2, 20), [(n, n) for n in (2, 2, 4, 6, 10, 16, 20, 20)]),
        (full_jitter(1, 10), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 10)]),
        (equal_jitter(1, 10), [(0.5, 1), (1, 2), (2, 4), (4, 8), (5, 10)]),
        (decorrelated_jitter(1, 20), [(1, 3), (1, 9), (1, 20), (1, 20)]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Backoff) else "",
)
def test_bounds_are_those_of_the_formula(backoff, bounds):
    assert [backoff.bounds(n) for n in range(1, len(bounds) + 1)] == bounds


@given(pairs, st.integers(1, 60), shares)
def test_full_and_equal_jitter_are_what_their_article_says(pair, attempt, share):
    base, cap = map(Fraction, pair)
    temp = min(cap, base * 2 ** (attempt - 1))
    full = full_jitter(*pair).delay(attempt, 0.0, lambda: share)
    equal = equal_jitter(*pair).delay(attempt, 0.0, lambda: share)
    assert full == pytest.approx(float(temp * Fraction(share)), rel=1e-14)
    assert equal == pytest.approx(float(temp / 2 + temp / 2 * Fraction(share)), rel=1e-14)


@given(pairs, st.lists(shares, min_size=1, max_size=20))
def test_decorrelated_jitter_is_what_its_article_says(pair, drawn):
    base, cap = pair
    backoff, sleep, previous = decorrelated_jitter(*pair), base, 0.0
    for attempt, share in enumerate(drawn, 1):
        # random_between(base, sleep * 3) as Python's own random.uniform has it
        sleep = min(cap, base + (sleep * 3 - base) * share)
        previous = backoff.delay(attempt, previous, lambda share=share: share)
        assert previous == pytest.approx(sleep, rel=1e-12)


@given(pairs, seconds, st.floats(1.0, FACTOR_MAX), st.integers(1, 60))
def test_delays_without_jitter_are_their_formula(pair, step, factor, attempt):
    first, maximum = map(Fraction, pair)
    before, fib = 0, 1
    for _ in range(attempt - 1):
        before, fib = fib, before + fib
    expected = {
        linear(pair[0], step, pair[1]): first + Fraction(step) * (attempt - 1),
        exponential(*pair, factor): first * Fraction(factor) ** (attempt - 1),
        fibonacci(*pair): first * fib,
        constant(pair[1]): maximum,
    }
    for backoff, exact in expected.items():
        found = backoff.delay(attempt, 0.0, refuse)
        # A number that is not normal has fewer digits than others.
        assert found == pytest.approx(float(min(exact, maximum)), rel=1e-12, abs=1e-300)


# -------------------------------------------------------------------------------------- bounds


def check_bounds(backoff, attempt, previous, drawn):
    low, high = backoff.bounds(attempt)
    assert 0.0 <= low <= high <= max(value for _, value in backoff.parameters)
    found = backoff.delay(attempt, previous, lambda: drawn)
    assert type(found) is float
    assert low <= found <= high


@given(backoffs(), attempts, anything, anything | shares)
@example(full_jitter(0.1, 5.0), 3, 0.0, math.nan)
@example(equal_jitter(0.1, 5.0), 3, 0.0, math.inf)
@example(full_jitter(0.1, 5.0), 3, 0.0, -math.inf)
@example(decorrelated_jitter(0.1, 5.0), 1, math.inf, 0.0)
@example(decorrelated_jitter(0.1, 5.0), 1, math.nan, 0.9999999999999999)
def test_a_delay_keeps_to_its_bounds_whatever_random_and_previous_are(
    backoff, attempt, previous, drawn
):
    check_bounds(backoff, attempt, previous, drawn)


class TooLong(type(full_jitter(1, 2))):
    """Negative control: jitter that is added to the longest delay."""

    def delay(self, attempt, previous, random):
        return self.bounds(attempt)[1] * (1 + random())


def test_the_check_of_bounds_sees_a_delay_that_is_too_long():
    with pytest.raises(AssertionError):
        check_bounds(TooLong(base=1.0, maximum=10.0), 3, 0.0, 0.5)


@given(backoffs())
def test_bounds_never_shrink_and_end_at_one_pair(backoff):
    found = [backoff.bounds(n) for n in range(1, 200)]
    assert [high for _, high in found] == sorted(high for _, high in found)
    assert backoff.bounds(10**9)[1] >= found[-1][1]
    assert backoff.bounds(2**60) == backoff.bounds(10**400)


@pytest.mark.parametrize("maker", JITTERED)
@pytest.mark.parametrize("attempt", ENDLESS)
def test_delays_saturate_at_the_maximum(maker, attempt):
    backoff = maker(0.1, 5.0)
    assert backoff.bounds(attempt)[1] == 5.0
    assert 4.99 < backoff.delay(attempt, 5.0, lambda: 0.9999) <= 5.0


@pytest.mark.parametrize("attempt", ENDLESS)
def test_a_delay_that_does_not_grow_does_not_saturate(attempt):
    assert exponential(1, 10, 1).bounds(attempt) == (1, 1)
    assert linear(1, 0, 10).bounds(attempt) == (1, 1)
    assert full_jitter(0, 10).bounds(attempt) == (0, 0)
    assert fibonacci(0, 10).bounds(attempt) == (0, 0)


@pytest.mark.parametrize("maker", JITTERED)
def test_jitter_reaches_both_ends_of_its_bounds(maker):
    backoff = maker(1.0, 64.0)
    low, high = backoff.bounds(3)
    assert backoff.delay(3, 9.0, lambda: 0.0) == low
    assert backoff.delay(3, 9.0, lambda: math.nextafter(1.0, 0.0)) == pytest.approx(high)


def test_decorrelated_jitter_follows_the_delay_before():
    backoff = decorrelated_jitter(1.0, 100.0)
    assert [backoff.delay(4, previous, lambda: 0.5) for previous in (0.0, 1.0, 2.0, 27.0)] == [
        2.0, 2.0, 3.5, 41.0,
    ]  # fmt: skip


@pytest.mark.parametrize("attempt", [0, -1, 1.0, True, None, "1"])
def test_what_is_no_number_of_a_try_is_refused(attempt):
    for refused in (
        lambda: full_jitter(1, 2).delay(attempt, 0.0, refuse),
        lambda: full_jitter(1, 2).bounds(attempt),
        lambda: full_jitter(1, 2).total_max(attempt),
    ):
        with pytest.raises(InvalidSetting, match=r"attempts? must be 1 or more, got "):
            refused()


# -------------------------------------------------------------------------------------- totals


@given(backoffs(), st.integers(1, 60), seconds | st.just(0.0))
def test_a_total_is_the_sum_of_the_longest_delays_rounded_up(backoff, tries, wait):
    exact = sum(
        (max(Fraction(backoff.bounds(n)[1]), Fraction(wait)) for n in range(1, tries)), Fraction(0)
    )
    total = backoff.total_max(tries, wait)
    assert Fraction(total) >= exact
    assert total == 0.0 or Fraction(math.nextafter(total, 0.0)) < exact


@given(backoffs(), st.lists(shares, max_size=40))
def test_no_sum_of_delays_is_above_the_total(backoff, drawn):
    total, previous = Fraction(0), 0.0
    for attempt, share in enumerate(drawn, 1):
        previous = backoff.delay(attempt, previous, lambda share=share: share)
        total += Fraction(previous)
    assert total <= Fraction(backoff.total_max(len(drawn) + 1))


def test_totals_of_many_tries():
    assert exponential(1.0, 60.0).total_max(10**9) == 63.0 + (10**9 - 7) * 60.0
    assert constant(2.0).total_max(10**9) == 2.0 * (10**9 - 1)
    assert full_jitter(0, 60).total_max(10**9) == 0.0
    assert constant(1.0).total_max(10**400) == math.inf
    # What still grows after 4,096 delays is taken for what it becomes.
    slow = linear(0.0, 0.001, 60.0)
    summed = math.fsum(0.001 * n for n in range(4096))
    assert slow.total_max(4097) == pytest.approx(summed)
    assert slow.total_max(4099) == pytest.approx(summed + 2 * 60.0)


def test_one_try_has_no_delay():
    assert constant(5.0).total_max(1) == 0.0
    assert constant(5.0).total_max(1, 60.0) == 0.0


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, True, "1", 86_400.1])
def test_a_wait_out_of_bounds_has_no_total(wait):
    with pytest.raises(InvalidSetting, match="wait_seconds_max must be 0 to 86400 seconds, got"):
        constant(1).total_max(3, wait)


# ---------------------------------------------------------------------------------------- zero

ZERO = [
    constant(0), linear(0, 0, 9), linear(0, 5, 0), exponential(0, 9), fibonacci(0, 9),
    full_jitter(0, 9), equal_jitter(0, 9), decorrelated_jitter(0, 9), full_jitter(0, 0),
]  # fmt: skip


@pytest.mark.parametrize("backoff", ZERO, ids=repr)
def test_a_backoff_of_nothing_asks_for_no_delay_and_draws_nothing(backoff):
    assert backoff.is_zero
    for attempt in (1, 2, 50, *ENDLESS):
        assert backoff.bounds(attempt) == (0.0, 0.0)
        assert backoff.delay(attempt, 3.0, refuse) == 0.0


@given(backoffs())
def test_zero_is_what_never_waits(backoff):
    assert backoff.is_zero is (backoff.total_max(10**9) == 0.0)


@pytest.mark.parametrize(
    "backoff", [constant(5e-324), linear(0, 1e-9, 9), exponential(1e-9, 9), full_jitter(1e-9, 9)]
)
def test_a_small_delay_is_not_none(backoff):
    assert not backoff.is_zero


# -------------------------------------------------------------------------------------- values


@given(backoffs())
def test_a_value_comes_back_from_its_text_a_pickle_and_a_copy(backoff):
    again = eval(repr(backoff), vars(module))
    for other in (again, pickle.loads(pickle.dumps(backoff)), copy.deepcopy(backoff)):
        assert other == backoff
        assert hash(other) == hash(backoff)
        assert repr(other) == repr(backoff)
        assert other.bounds(7) == backoff.bounds(7)


def test_text_and_dict_show_the_form_and_what_it_was_made_from():
    backoff = exponential(1, 60)
    assert repr(backoff) == "exponential(1.0, 60.0, 2.0)"
    assert backoff.to_dict() == {
        "form": "exponential", "first": 1.0, "maximum": 60.0, "factor": 2.0,
    }  # fmt: skip
    assert (backoff.first, backoff.maximum, backoff.factor) == (1.0, 60.0, 2.0)


def test_values_are_equal_if_form_and_parameters_are():
    assert exponential(1, 60) == exponential(1.0, 60.0, 2)
    assert full_jitter(1, 60) != equal_jitter(1, 60)
    assert full_jitter(1, 60) != full_jitter(1, 61)
    assert constant(0.0) == constant(-0.0)
    assert repr(constant(-0.0)) == "constant(0.0)"
    assert constant(1) != 1.0
    assert len({maker(1, 1) for maker in JITTERED} | {full_jitter(1.0, 1.0)}) == 3


def test_values_cannot_be_changed():
    backoff = full_jitter(1, 60)
    for change in (
        lambda: setattr(backoff, "base", 2.0),
        lambda: setattr(backoff, "other", 2.0),
        lambda: delattr(backoff, "base"),
        lambda: setattr(backoff, "parameters", ()),
    ):
        with pytest.raises(AttributeError, match="Backoff is immutable"):
            change()
    assert backoff == full_jitter(1, 60)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_form_is_the_name_of_its_maker(maker):
    count = {constant: 1, linear: 3}.get(maker, 2)
    assert maker(*[1.0] * count).form == maker.__name__
    assert maker.__name__ in module.__all__


# ------------------------------------------------------------------------------------ refusals

NO_TIMES = [
    -1,
    -5e-324,
    86_400.00000000002,
    math.inf,
    -math.inf,
    math.nan,
    True,
    "1",
    None,
    10**400,
]


@pytest.mark.parametrize("value", NO_TIMES)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("seconds", constant),
        ("first", lambda value: linear(value, 1, 10)),
        ("step", lambda value: linear(1, value, 10)),
        ("maximum", lambda value: linear(1, 1, value)),
        ("first", lambda value: exponential(value, 10)),
        ("maximum", lambda value: exponential(1, value)),
        ("first", lambda value: fibonacci(value, 10)),
        ("maximum", lambda value: fibonacci(1, value)),
        *(("base", lambda value, maker=maker: maker(value, 10)) for maker in JITTERED),
        *(("maximum", lambda value, maker=maker: maker(1, value)) for maker in JITTERED),
    ],
)
def test_what_is_no_time_is_refused_by_name_and_bound(name, make, value):
    with pytest.raises(InvalidSetting) as refused:
        make(value)
    assert str(refused.value) == f"{name} must be 0 to 86400 seconds, got {value!r}"
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("value", [0.999, 1000.001, 0, -2, math.nan, math.inf, True, "2"])
def test_a_factor_out_of_bounds_is_refused(value):
    with pytest.raises(InvalidSetting, match="factor must be 1 to 1000, got "):
        exponential(1, 10, value)


def test_the_ends_of_each_bound_are_taken():
    for value in (0, DELAY_SECONDS_MAX):
        assert constant(value).seconds == value
        assert linear(value, value, DELAY_SECONDS_MAX).step == value
        assert full_jitter(value, value).bounds(1)[1] == value
    for factor in (1, FACTOR_MAX):
        assert exponential(1, 10, factor).factor == factor


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("first", lambda: linear(6, 1, 5)),
        ("first", lambda: exponential(6, 5)),
        ("first", lambda: fibonacci(6, 5)),
        ("base", lambda: full_jitter(6, 5)),
        ("base", lambda: equal_jitter(6, 5)),
        ("base", lambda: decorrelated_jitter(6, 5)),
    ],
)
def test_a_first_delay_above_the_maximum_is_refused(name, make):
    with pytest.raises(InvalidSetting, match=rf"{name} must be at most maximum \(5.0\), got 6.0"):
        make()
