"""Retries end: so many tries and so much waiting, with jitter and whatever the other side asks for.

Proved with z3 over all configurations, by induction over the tries, of the relation in
``retry_relation.py``; the real backoffs and waits are held against the same relation. Wrong
relations must be refuted, and wrong code must be found out.
"""

from __future__ import annotations

import os
import platform
from fractions import Fraction

import pytest
import retry_relation as relation
from hypothesis import given
from hypothesis import strategies as st
from retry_relation import FORMS, Follower, Numbers, Run

from faultplane.resilience import backoff as backoffs
from faultplane.resilience.waits import Wait, fits, next_delay, wait_asked

SECONDS_MAX = 60


@pytest.fixture(scope="module")
def z3():
    """The prover; without it a test is skipped, or fails where everything is required."""
    try:
        import z3
    except ImportError:
        # The machines that pyproject.toml has it installed on.
        here = platform.system() == "Linux" and platform.machine() == "x86_64"
        if here and os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
            pytest.fail("z3 is required and not there", pytrace=False)
        pytest.skip("z3 is not there")
    return z3


class Problem:
    """One step of any run of one form, in z3's symbols, and what is known before it."""

    def __init__(self, z3, name, form=None):
        self.z3, self.name, self.form = z3, name, form or FORMS[name]
        self.numbers = Numbers(lambda a, b: z3.If(a <= b, a, b), lambda a, b: z3.If(a >= b, a, b))
        self.p = {word: z3.Real(word) for word in self.form.names.split()}
        self.attempts, attempt = z3.Ints("attempts attempt")
        fields = z3.Reals("ceiling before previous waited bound")
        self.run = Run(attempt, *fields)
        self.wait_max, self.deadline, self.asked, self.share = z3.Reals(
            "wait_max deadline asked share"
        )
        self.longest = relation.longest(name, self.p)

    def configured(self):
        """Any configuration that the makers take."""
        first = next(iter(self.p.values()))
        yield from (value >= 0 for value in self.p.values())
        yield first <= self.longest
        if "factor" in self.p:
            yield self.p["factor"] >= 1
        yield from (self.attempts >= 1, self.wait_max >= 0, self.deadline > 0)

    def invariant(self, run):
        """What holds at the beginning of each try."""
        most = self.numbers.most(self.longest, self.wait_max)
        yield from (run.attempt >= 1, run.attempt <= self.attempts)
        yield from (run.ceiling >= 0, run.ceiling <= self.longest)
        yield from (run.before >= 0, run.before <= run.ceiling, run.previous >= 0)
        if self.name == "decorrelated_jitter":
            yield run.ceiling >= self.p["base"]
        # The claims: within the bound, which is finite, and before the deadline.
        yield from (run.waited >= 0, run.waited <= run.bound, run.waited < self.deadline)
        yield run.bound <= most * (run.attempt - 1)

    def started(self):
        return relation.start(self.numbers, self.form, self.p)

    def delays(self, *, capped=True):
        """What may be waited: drawn from the backoff, or asked for by the other side."""
        drawn = relation.waited(
            self.numbers, self.form, self.p, self.wait_max, self.run, None, self.share
        )
        asked = relation.waited(
            self.numbers, self.form, self.p, self.wait_max, self.run, self.asked, self.share
        )
        return drawn, asked if capped else self.asked

    def known(self, delay, *, before_the_wait=False):
        """What is so when a wait begins: a try is left, and the wait ends before the deadline."""
        yield from self.configured()
        yield from self.invariant(self.run)
        yield from (self.share >= 0, self.share < 1, self.asked >= 0)
        yield self.run.attempt < self.attempts
        yield self.run.waited + (0 if before_the_wait else delay) < self.deadline

    def refutation(self, known, claims):
        """Values that are so but for one of the claims; None if there are none: it is proved."""
        solver = self.z3.Solver()
        solver.set("timeout", SECONDS_MAX * 1000)
        solver.add(*known)
        assert solver.check() == self.z3.sat, "nothing is like that: whatever is claimed holds"
        solver.add(self.z3.Not(self.z3.And(*claims)))
        answer = solver.check()
        assert answer != self.z3.unknown, solver.reason_unknown()
        return solver.model() if answer == self.z3.sat else None

    def after(self, delay):
        return relation.step(self.numbers, self.form, self.p, self.wait_max, self.run, delay)


@pytest.fixture(params=FORMS)
def problem(request, z3):
    return Problem(z3, request.param)


def test_a_run_begins_within_what_is_claimed(problem):
    first = problem.started()
    assert problem.refutation(problem.configured(), problem.invariant(first)) is None


def test_every_step_of_every_configuration_keeps_to_what_is_claimed(problem):
    """And each takes one of the tries that are left, so no run has more than ``attempts``."""
    run, left = problem.run, problem.attempts - problem.run.attempt
    for delay in problem.delays():
        after = problem.after(delay)
        claims = [*problem.invariant(after), after.bound >= run.bound]
        claims += [problem.attempts - after.attempt == left - 1, left > 0]
        assert problem.refutation(problem.known(delay), claims) is None


def test_what_is_drawn_is_within_the_bounds_of_the_form(problem):
    drawn, asked = problem.delays()
    low = problem.form.floor(problem.p, problem.run.ceiling)
    claims = [low >= 0, low <= drawn, drawn <= problem.run.ceiling, asked <= problem.wait_max]
    assert problem.refutation(problem.known(0), claims) is None


def test_the_bound_is_reached(problem):
    """No smaller one would do: waits of the longest that is asked for add up to it."""
    _, asked = problem.delays()
    after = problem.after(asked)
    known = [*problem.known(asked), problem.run.waited == problem.run.bound, problem.run.bound > 0]
    assert problem.refutation(known, [after.waited < after.bound]) is not None


# ----------------------------------------------------------------------------------- controls


def changed(name, **fields):
    return FORMS[name]._replace(**fields)


TOO_LONG = {
    "full_jitter": changed("full_jitter", drawn=lambda n, p, run, share: run.ceiling * (1 + share)),
    "equal_jitter": changed(
        "equal_jitter", drawn=lambda n, p, run, share: run.ceiling / 2 + run.ceiling * share
    ),
    "decorrelated_jitter": changed(
        "decorrelated_jitter",
        drawn=lambda n, p, run, share: p["base"] + (3 * run.previous - p["base"]) * share,
    ),
}
UNBOUNDED = {
    "exponential": changed("exponential", grown=lambda n, p, run: run.ceiling * p["factor"]),
    "linear": changed("linear", grown=lambda n, p, run: run.ceiling + p["step"]),
    "fibonacci": changed("fibonacci", grown=lambda n, p, run: run.before + run.ceiling),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_jitter_that_exceeds_its_cap_is_refuted(z3, name):
    problem = Problem(z3, name, TOO_LONG[name])
    drawn, _ = problem.delays()
    assert problem.refutation(problem.known(drawn), problem.invariant(problem.after(drawn)))


@pytest.mark.parametrize("name", UNBOUNDED)
def test_growth_without_a_maximum_is_refuted(z3, name):
    problem = Problem(z3, name, UNBOUNDED[name])
    drawn, _ = problem.delays()
    assert problem.refutation(problem.known(drawn), problem.invariant(problem.after(drawn)))


def test_a_retry_after_that_is_not_cut_is_refuted(problem):
    _, asked = problem.delays(capped=False)
    claims = problem.invariant(problem.after(asked))
    assert problem.refutation(problem.known(asked), claims)


def test_a_try_that_is_not_counted_is_refuted(problem):
    drawn, _ = problem.delays()
    after = problem.after(drawn)._replace(attempt=problem.run.attempt)
    claims = [problem.attempts - after.attempt < problem.attempts - problem.run.attempt]
    assert problem.refutation(problem.known(drawn), claims)


def test_a_deadline_that_is_looked_at_before_the_wait_is_refuted(problem):
    _, asked = problem.delays()
    known = problem.known(asked, before_the_wait=True)
    assert problem.refutation(known, problem.invariant(problem.after(asked)))


def test_a_claim_of_what_is_never_so_is_no_proof(problem):
    with pytest.raises(AssertionError, match="nothing is like that"):
        problem.refutation([*problem.configured(), problem.wait_max < 0], [])


# --------------------------------------------------------------------------------- the code

seconds = st.sampled_from([0.0, 0.001, 0.1, 0.25, 1.0, 5.0, 60.0, 86_400.0]) | st.floats(
    1e-6, 86_400.0
)
shares = st.floats(0.0, 1.0, exclude_max=True)
# In milliseconds, beyond a day as well.
asks = st.none() | st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
scripts = st.lists(st.tuples(asks, shares), min_size=1, max_size=30)


class Asking(Exception):
    """What a call fails with; its headers say what the other side asks for."""


@st.composite
def configurations(draw):
    """Any form with any parameters."""
    name = draw(st.sampled_from(sorted(FORMS)))
    first, maximum = sorted((draw(seconds), draw(seconds)))
    drawn = {"seconds": maximum, "first": first, "base": first, "maximum": maximum}
    drawn["step"] = draw(seconds)
    drawn["factor"] = draw(st.sampled_from([1.0, 1.5, 2.0, 10.0, 1000.0]) | st.floats(1.0, 1000.0))
    return getattr(backoffs, name)(*(drawn[word] for word in FORMS[name].names.split()))


def follow(backoff, attempts, wait_max, deadline, script, *, delay_of=next_delay, cap=None):
    """Run the code as a retry does, each wait held against the relation; tries and time."""
    follower = Follower(backoff, attempts, wait_max, deadline)
    previous, time = 0.0, Fraction(0)
    for attempt, (asked, share) in enumerate(script[: attempts - 1], 1):
        failed = Asking("busy")
        failed.headers = {} if asked is None else {"Retry-After": str(asked)}
        wait = wait_asked(failed, None, 0.0, wait_max if cap is None else cap)
        delay = delay_of(backoff, attempt, previous, lambda share=share: share, wait)
        if deadline is not None and not fits(delay, Fraction(deadline) - time):
            break
        follower.wait(delay, asked=asked, share=share)
        previous, time = delay, time + Fraction(delay)
    return follower.end()


@given(configurations(), st.integers(1, 30), seconds, st.none() | st.floats(0.001, 1e6), scripts)
def test_the_code_does_what_the_relation_says(backoff, attempts, wait_max, deadline, script):
    tries, waited = follow(backoff, attempts, wait_max, deadline, script)
    assert tries <= attempts
    assert waited <= Fraction(backoff.total_max(attempts, wait_max))
    assert deadline is None or waited < deadline


def test_every_form_of_the_code_is_in_the_relation():
    for name, form in FORMS.items():
        one = getattr(backoffs, name)(*[1.0] * len(form.names.split()))
        assert [word for word, _ in one.parameters] == form.names.split()
    assert set(backoffs.MAKERS) == set(FORMS)


SCRIPT = [(None, 0.75), (3600.0, 0.5), (None, 0.9), (0, 0.1), (None, 0.99)]


def test_the_follower_follows_a_run():
    backoff = backoffs.full_jitter(1.0, 8.0)
    assert follow(backoff, 6, 60.0, None, SCRIPT) == (
        6, Fraction(0.75) + 60 + Fraction(4.0 * 0.9) + 0 + Fraction(8.0 * 0.99),
    )  # fmt: skip
    assert follow(backoff, 3, 60.0, None, SCRIPT)[0] == 3
    assert follow(backoff, 6, 60.0, 60.75, SCRIPT) == (2, Fraction(0.75))


def test_code_whose_jitter_exceeds_its_cap_is_found_out():
    def too_long(backoff, attempt, previous, random, wait):
        delay = next_delay(backoff, attempt, previous, random, wait)
        return delay if wait.seconds is not None else backoff.bounds(attempt)[1] + delay

    with pytest.raises(AssertionError, match="not"):
        follow(backoffs.full_jitter(1.0, 8.0), 6, 60.0, None, SCRIPT, delay_of=too_long)


def test_code_that_does_not_cut_a_retry_after_is_found_out():
    with pytest.raises(AssertionError, match="not"):
        follow(backoffs.full_jitter(1.0, 8.0), 6, 60.0, None, SCRIPT, cap=86_400.0)


def test_code_that_tries_once_more_is_found_out():
    follower = Follower(backoffs.constant(1.0), 2, 0.0)
    follower.wait(1.0)
    with pytest.raises(AssertionError, match="one try more"):
        follower.wait(1.0)


def test_code_that_waits_for_the_deadline_is_found_out():
    follower = Follower(backoffs.constant(1.0), 9, 0.0, deadline=2.0)
    follower.wait(1.0)
    with pytest.raises(AssertionError, match="waited for the deadline"):
        follower.wait(1.0)


def test_a_total_that_is_too_small_is_found_out():
    class Optimist(type(backoffs.constant(1.0))):
        def total_max(self, attempts, wait_seconds_max=0.0):
            return super().total_max(attempts, wait_seconds_max) / 2

    with pytest.raises(AssertionError, match="is above"):
        follow(Optimist(seconds=1.0), 6, 0.0, None, [(None, 0.0)] * 5)


def test_a_wait_to_stop_does_not_fit():
    assert not fits(Wait(1.0, stop=True), None)
