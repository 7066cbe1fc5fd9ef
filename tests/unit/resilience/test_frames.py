"""What the traceback of a guarded call shows: every frame of the user's, and none of ours."""

from __future__ import annotations

import asyncio
import os
import traceback

import pytest

from faultplane.errors import BreakerOpen
from faultplane.resilience.backoff import constant
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker, Retry

OURS = f"{os.sep}faultplane{os.sep}"


def outermost() -> None:
    between()


def between() -> None:
    innermost()


def innermost() -> None:
    raise TimeoutError("no answer")


async def coroutine() -> None:
    outermost()


def in_attempts(dependency: Dependency) -> None:
    for attempt in dependency.attempts():
        with attempt:
            outermost()


WAYS = {
    "decorated": lambda dependency: dependency(outermost)(),
    "call": lambda dependency: dependency.call(outermost),
    "coroutine": lambda dependency: asyncio.run(dependency(coroutine)()),
    "attempts": in_attempts,
}


def frames_of(error: BaseException) -> list[str]:
    """Names of the frames, from the call on; with their file where that is ours."""
    found = traceback.extract_tb(error.__traceback__)
    return [
        frame.filename if OURS in frame.filename and "tests" not in frame.filename else frame.name
        for frame in found
    ]


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_every_frame_of_the_user_is_there_and_none_of_ours(way, attempts, name):
    retry = Retry(attempts=attempts, backoff=constant(0))
    dependency = Dependency(name, retry=retry, breaker=Breaker())
    with pytest.raises(TimeoutError) as raised:
        WAYS[way](dependency)
    found = frames_of(raised.value)
    assert found[-3:] == ["outermost", "between", "innermost"]
    assert found.count("outermost") == 1
    assert not [frame for frame in found if frame.endswith(".py")]


def test_what_has_no_frame_leaves_the_callers(name):
    guarded = Dependency(name, breaker=Breaker()).guard.wrap(int)
    with pytest.raises(ValueError, match="invalid literal") as raised:
        guarded("no number")
    assert frames_of(raised.value) == [test_what_has_no_frame_leaves_the_callers.__name__]


def test_a_rejection_has_the_callers_frames_alone(name):
    breaker = Breaker(failure_rate=None, consecutive=1)
    guarded = Dependency(name, breaker=breaker)(outermost)
    with pytest.raises(TimeoutError):
        guarded()
    with pytest.raises(BreakerOpen) as raised:
        guarded()
    assert not [frame for frame in frames_of(raised.value) if frame.endswith(".py")]
    assert frames_of(raised.value)[-1] == test_a_rejection_has_the_callers_frames_alone.__name__


def test_a_retry_that_is_rejected_raises_the_error_with_its_frames(name):
    retry = Retry(attempts=3, backoff=constant(0))
    breaker = Breaker(failure_rate=None, consecutive=1)
    with pytest.raises(TimeoutError) as raised:
        Dependency(name, retry=retry, breaker=breaker)(outermost)()
    assert frames_of(raised.value)[-3:] == ["outermost", "between", "innermost"]
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None
