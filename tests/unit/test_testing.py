"""`faultplane.testing`: what it changes, and that it is undone."""

from __future__ import annotations

import asyncio

import pytest

import faultplane as fp
from faultplane import testing
from faultplane.errors import BreakerOpen, InvalidSetting


class Counting:
    """A function that fails so often, and knows how often it was called."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise TimeoutError(f"call {self.calls}")
        return self.calls


def test_testing_bounds_the_tries_and_waits_for_nobody():
    slow = fp.Dependency("testing-slow", retry=fp.Retry(attempts=5, backoff=fp.constant(3600)))
    with testing.set_testing(attempts=3):
        enough, short = Counting(2), Counting(3)
        assert slow.call(enough) == 3
        with pytest.raises(TimeoutError, match="call 3"):
            slow.call(short)
        made_inside = fp.Dependency("testing-inside", retry=fp.Retry(attempts=5))
        with pytest.raises(TimeoutError, match="call 3"):
            made_inside.call(Counting(9))

        async def wait():
            return short()

        assert asyncio.run(slow.acall(wait)) == 4
    clock = testing.FakeClock()
    again = fp.Dependency("testing-after", retry=fp.Retry(attempts=5), clock=clock)
    assert again.call(Counting(4)) == 5
    assert len(clock.waits) == 4


def test_inactive_dependencies_call_as_if_they_were_not_there():
    breaker = fp.Breaker(failure_rate=None, consecutive=1, open_for=3600)
    dependency = fp.Dependency(
        "testing-inactive", breaker=breaker, retry=fp.Retry(attempts=5, backoff=fp.constant(0))
    )
    with pytest.raises(TimeoutError):
        dependency.call(Counting(9))
    with pytest.raises(BreakerOpen):
        dependency.call(Counting(0))
    with testing.set_active(False):
        function = Counting(1)
        with pytest.raises(TimeoutError):
            dependency.call(function)
        assert function.calls == 1
    with pytest.raises(BreakerOpen):
        dependency.call(Counting(0))


def test_modes_nest_and_are_undone_when_the_block_raises():
    dependency = fp.Dependency("testing-nested", retry=fp.Retry(attempts=4, backoff=fp.constant(0)))

    def tries() -> int:
        function = Counting(100)
        with pytest.raises(TimeoutError):
            dependency.call(function)
        return function.calls

    def fail_inside() -> None:
        with testing.set_testing(attempts=2):
            with testing.set_testing(attempts=1):
                assert tries() == 1
            assert tries() == 2
            raise KeyError("left by an error")

    with pytest.raises(KeyError):
        fail_inside()
    assert tries() == 4


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True, 1001])
def test_numbers_out_of_bounds_are_refused(attempts):
    with pytest.raises(InvalidSetting, match="attempts"), testing.set_testing(attempts):
        pass


def test_what_is_recorded_inside_is_given():
    fp.init()
    fp.record(TimeoutError("before"), operation="testing")
    with testing.recorded() as rows:
        assert rows() == []
        fp.record(TimeoutError("inside"), operation="testing")
        assert [row["message"] for row in rows()] == ["inside"]
