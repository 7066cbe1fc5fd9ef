"""One run: calls that come by chance, to one other side, by one policy, in time of its own."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

from benchmarks.experiments.replay.model import Scenario
from benchmarks.experiments.replay.policies import Policy
from benchmarks.experiments.replay.trace import Answer


@dataclass
class Call:
    """A call and its tries. Times are seconds from the start."""

    began: float
    tries: int = 1
    failed_at: float | None = None
    ended_at: float = 0.0
    is_well: bool = False
    previous: float = 0.0
    reason: int = 0
    sticks: Answer | None = field(default=None, repr=False)
    """The answer that it gets each time, because of what it asks."""


def run(scenario: Scenario, retry_name: str, seed: int) -> list[Call]:
    """The calls of a scenario, each as it ended. The same seed gives the same calls."""
    dice = random.Random(f"{scenario.name} {seed}")
    other = scenario.other_side(seed)
    policy = Policy(scenario.policies[retry_name], seed)
    calls, at = [], dice.expovariate(scenario.rate)
    while at < scenario.seconds:
        calls.append(Call(at))
        at += dice.expovariate(scenario.rate * scenario.burst(at))
    order = count()
    events = [(call.began, next(order), call, None) for call in calls]
    heapq.heapify(events)
    while events:
        at, _, call, answer = heapq.heappop(events)
        policy.at(at)
        if answer is None:
            answer = _tried(policy, call, other, at)
            if answer is not None:
                heapq.heappush(events, (at + answer.took, next(order), call, answer))
        elif (again_at := _answered(policy, call, answer, at)) is not None:
            heapq.heappush(events, (again_at, next(order), call, None))
    return calls


def _tried(policy: Policy, call: Call, other, at: float) -> Answer | None:
    """A try goes out; None where it is not paid for."""
    if call.failed_at is None:
        policy.begun()
    elif not policy.sent():
        call.ended_at = at
        return None
    else:
        call.tries += 1
    answer = other.answer(at)
    if call.sticks is not None:
        return call.sticks
    if answer.of_request and call.failed_at is not None:
        return Answer(answer.took)  # another request's error: this one is not of that sort
    if answer.of_request:
        call.sticks = answer
    return answer


def _answered(policy: Policy, call: Call, answer: Answer, at: float) -> float | None:
    """A try has ended; when there is another, None for never."""
    if call.tries > 1:
        policy.ended(call.reason, not answer.error, answer.took)
    call.ended_at = at
    if not answer.error:
        call.is_well = True
        return None
    if call.failed_at is None:
        call.failed_at = at
    wait, call.reason = policy.failed(answer.error, call.tries, call.previous)
    if wait < 0.0:
        return None
    call.previous = wait
    return at + wait
