"""What a retry may do, stated once: for the prover and for the code.

A run is a number of tries. Each that fails, but the last, is followed by a wait: what the other
side asks for, cut to ``wait_max``, or what the backoff draws. The wait is taken only if it ends
before the deadline; else the run ends. All of it is written in terms that hold for z3's symbols as
well as for fractions, so that what is proved (test_retry_convergence.py) and what the code is held
against is the same text.

    ceiling(1) = first,  ceiling(n + 1) = grown(ceiling(n))      the longest delay after try n
    bound(1) = 0,  bound(n + 1) = bound(n) + max(ceiling(n), wait_max)

Claimed of every run, whatever is asked for and drawn: no more tries than ``attempts``, no more time
waited than ``bound(attempts)``, and none at or after the deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

Number = Any
"""A fraction, or a term of z3."""


class Numbers(NamedTuple):
    """How the smaller and the larger of two numbers are written."""

    least: Callable[[Number, Number], Number]
    most: Callable[[Number, Number], Number]


FRACTIONS = Numbers(min, max)


class Run(NamedTuple):
    """Where a run stands: try ``attempt`` has begun."""

    attempt: Number
    ceiling: Number
    before: Number
    """The ceiling one try ago, which only Fibonacci's numbers ask for; 0 at first."""
    previous: Number
    waited: Number
    bound: Number


class Form(NamedTuple):
    """A backoff: its parameters by name, and terms over them."""

    names: str
    first: Callable[[Numbers, dict], Number]
    grown: Callable[[Numbers, dict, Run], Number]
    floor: Callable[[dict, Number], Number]
    drawn: Callable[[Numbers, dict, Run, Number], Number]


def doubled(n, p, run):
    return n.least(2 * run.ceiling, p["maximum"])


def ceiling(n, p, run, share):
    return run.ceiling


def decorrelated(n, p, run, share):
    sleep = n.most(p["base"], n.least(run.previous, p["maximum"]))
    return n.least(p["base"] + (3 * sleep - p["base"]) * share, run.ceiling)


FORMS = {
    "constant": Form(
        "seconds",
        lambda n, p: p["seconds"],
        lambda n, p, run: p["seconds"],
        lambda p, high: high,
        ceiling,
    ),
    "linear": Form(
        "first step maximum",
        lambda n, p: p["first"],
        lambda n, p, run: n.least(run.ceiling + p["step"], p["maximum"]),
        lambda p, high: high,
        ceiling,
    ),
    "exponential": Form(
        "first maximum factor",
        lambda n, p: p["first"],
        lambda n, p, run: n.least(run.ceiling * p["factor"], p["maximum"]),
        lambda p, high: high,
        ceiling,
    ),
    "fibonacci": Form(
        "first maximum",
        lambda n, p: p["first"],
        lambda n, p, run: n.least(run.before + run.ceiling, p["maximum"]),
        lambda p, high: high,
        ceiling,
    ),
    "full_jitter": Form(
        "base maximum",
        lambda n, p: p["base"],
        doubled,
        lambda p, high: 0 * high,
        lambda n, p, run, share: run.ceiling * share,
    ),
    "equal_jitter": Form(
        "base maximum",
        lambda n, p: p["base"],
        doubled,
        lambda p, high: high / 2,
        lambda n, p, run, share: run.ceiling / 2 + run.ceiling / 2 * share,
    ),
    "decorrelated_jitter": Form(
        "base maximum",
        lambda n, p: n.least(3 * p["base"], p["maximum"]),
        lambda n, p, run: n.least(3 * run.ceiling, p["maximum"]),
        lambda p, high: p["base"],
        decorrelated,
    ),
}
"""The forms of faultplane.resilience.backoff, by the names of what makes them."""


def longest(name: str, p: dict) -> Number:
    """What no ceiling of that form is above."""
    return p["seconds"] if name == "constant" else p["maximum"]


def start(n: Numbers, form: Form, p: dict) -> Run:
    """The first try."""
    zero = 0 * form.first(n, p)
    return Run(1, form.first(n, p), zero, zero, zero, zero)


def waited(n: Numbers, form: Form, p: dict, wait_max: Number, run: Run, asked, share) -> Number:
    """The wait after the try of ``run`` has failed; ``asked`` is None where nothing is asked."""
    return form.drawn(n, p, run, share) if asked is None else n.least(asked, wait_max)


def step(n: Numbers, form: Form, p: dict, wait_max: Number, run: Run, delay: Number) -> Run:
    """The next try, after that wait."""
    return Run(
        run.attempt + 1,
        form.grown(n, p, run),
        run.ceiling,
        delay,
        run.waited + delay,
        run.bound + n.most(run.ceiling, wait_max),
    )


class Follower:
    """Holds a run of the real code against the relation, wait by wait.

    A float is a rounded number: what was drawn may differ from the relation by a part in 10**12, or
    by what is too small to be a float. Bounds are kept to exactly.
    """

    def __init__(self, backoff, attempts, wait_max, deadline=None):
        self._form = FORMS[backoff.form]
        self._parameters = {name: Fraction(value) for name, value in backoff.parameters}
        self._backoff = backoff
        self._attempts = attempts
        self._wait_max = Fraction(wait_max)
        self._deadline = deadline
        self._run = start(FRACTIONS, self._form, self._parameters)
        self._time = Fraction(0)

    def wait(self, delay, *, asked=None, share=0.0):
        """The try that was under way has failed, and the code waits ``delay`` for the next."""
        run, wait_max = self._run, self._wait_max
        assert run.attempt < self._attempts, "one try more than there are"
        exact = Fraction(delay)
        said = None if asked is None else Fraction(asked)
        expected = waited(
            FRACTIONS, self._form, self._parameters, wait_max, run, said, Fraction(share)
        )
        assert self._equal(exact, expected), f"{delay}, not {float(expected)}"
        if asked is None:
            low, high = self._backoff.bounds(run.attempt)
            assert low <= delay <= high, f"{delay} is not within {low} to {high}"
            assert self._equal(Fraction(high), run.ceiling), f"{high}, not {float(run.ceiling)}"
        else:
            assert exact <= wait_max, f"{delay} is above {wait_max}"
        self._time += exact
        if self._deadline is not None:
            assert self._time < self._deadline, "waited for the deadline"
        self._run = step(FRACTIONS, self._form, self._parameters, wait_max, run, exact)

    @staticmethod
    def _equal(found, expected):
        return abs(found - expected) <= expected / 10**12 + Fraction(1, 10**300)

    def end(self):
        """The run has ended; the number of its tries, and the time that was waited."""
        run, tries = self._run, self._run.attempt
        total = Fraction(self._backoff.total_max(tries, float(self._wait_max)))
        assert self._time <= total, f"{self._time} is above {total}"
        assert self._equal(total, run.bound), f"{float(total)}, not {float(run.bound)}"
        assert total <= Fraction(self._backoff.total_max(self._attempts, float(self._wait_max)))
        return tries, self._time
