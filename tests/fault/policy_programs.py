"""What the processes of ``test_shared_policies.py`` do: a function each, run with a core.

``python policy_programs.py PROGRAM SEED ARGUMENT…`` with the file of the other side in SIDE. A
program says ``wrong`` where it is a negative control: what is wrong there must be found out.
"""

from __future__ import annotations

import functools
import json
import os
import random
import sys
import time
from collections import Counter

from callers import FULL, REJECTED, TICK_SECONDS, Caller, Part, Started, admitted_soon
from other_side import OtherSide, most_at_once

import faultplane as fp
from faultplane import errors
from faultplane._backend import core

ALONE = {"scope": "process"}
"""Negative control: each process for itself, as with a breaker that is not shared."""
DEPENDENCIES = {
    "trips": {
        "breaker": fp.Breaker(failure_rate=0.5, calls_min=32, window=60.0, open_for=60.0),
    },
    "half_open": {
        "breaker": fp.Breaker(
            failure_rate=None, consecutive=1, open_for=0.001, open_factor=1.0, probes=3
        ),
    },
    "comes_back": {
        "breaker": fp.Breaker(
            failure_rate=None, consecutive=1, open_for=0.001, open_factor=1.0, probes=1
        ),
    },
    "hangs": {
        "breaker": fp.Breaker(
            failure_rate=None, consecutive=1, open_for=0.001, open_factor=1.0, probes=1,
            probe_timeout=0.03,
        ),
    },
    "storm": {
        "retry": fp.Retry(
            attempts=4, backoff=fp.constant(0),
            budget=fp.RetryBudget(ratio=0.1, floor=0, capacity=20),
        ),
    },
    "storm_with_time": {
        "retry": fp.Retry(
            attempts=4, backoff=fp.constant(0),
            budget=fp.RetryBudget(ratio=0.1, floor=12.3, capacity=20),
        ),
    },
    "limit": {"limit": 4},
}  # fmt: skip


@functools.cache
def side() -> OtherSide:
    """The other side, of all processes."""
    return OtherSide(os.environ["SIDE"])


def part(name: str = "", **changes: object) -> Part:
    """This process, with the dependency of that name, or of NAME in the environment."""
    name = name or os.environ["NAME"]
    fp.init(service="policies")
    return Part(fp.Dependency(name, **{**DEPENDENCIES[name], **changes}), side())


def end(callers: list[Caller]) -> None:
    """Let all of them end in order."""
    for caller in callers:
        caller.end()


# ------------------------------------------------------------------------------------- breaker


def trips(rng: random.Random, forked: int, started: int, wrong: str = "") -> None:
    """Failures of all processes together open one breaker, and all of them see it."""
    me = part("trips", **(ALONE if wrong else {}))
    os.environ["NAME"] = "trips"
    callers = [Caller(me) for _ in range(forked)] + [Started(__name__) for _ in range(started)]
    needed = 32
    each = needed // len(callers)
    assert each * len(callers) == needed and each < needed / 8
    for turn in range(each):
        for at, caller in enumerate(rng.sample(callers, len(callers))):
            assert me.state() == "closed", f"open after {turn * len(callers) + at} failures"
            assert caller.ask("call", "fail") == "failed"
    assert side().seen()["in"] == needed
    for caller in callers:
        state = caller.ask("state")
        assert state == "open", f"{state} after {needed} failures of all"
        assert caller.ask("call", "ok") == "rejected"
    assert side().seen()["in"] == needed
    found = me.read()
    (note,) = found.transitions
    assert (found.totals["opened"], note.cause, note.calls, note.failures) == (
        1, "failure rate", needed, needed,
    )  # fmt: skip
    # All at once: those under way when it opens are what comes on top.
    me.dependency.cell.move(0, 10)
    for caller in callers:
        caller.tell("call", "fail", 3)
    answers = [caller.hear() for caller in callers]
    sent = side().seen()["in"] - needed
    assert needed <= sent <= needed + len(callers) - 1, sent
    assert [caller.ask("state") for caller in callers] == ["open"] * len(callers)
    end(callers)
    print(json.dumps({"sent": sent, "answers": Counter(answers)}))


def half_open(rng: random.Random, processes: int, rounds: int, wrong: str = "") -> None:
    """Of all processes together exactly ``probes`` calls are let through, and then it closes."""
    if wrong == "own":
        # A sum over the own lease alone, as of a process that does not look at the others'.
        words = core.Cell._lease_words
        core.Cell._lease_words = lambda self, which: [words(self, which)[self._slot]]
    me = part("half_open", **(ALONE if wrong == "alone" else {}))
    callers = [Caller(me) for _ in range(processes)]
    before = 0
    for _ in range(rounds):
        assert me.call("fail") == "failed"
        while me.dependency.cell.wait_ms():
            os.sched_yield()
        rng.shuffle(callers)
        for caller in callers:
            caller.tell("call", "wait")
        answers = [caller.hear() for caller in callers]
        probes = [caller for caller, said in zip(callers, answers, strict=True) if said == "in"]
        others = [caller for caller in callers if caller not in probes]
        assert len(probes) <= 3, f"{len(probes)} probes were let through"
        while len(probes) < 3:
            # They refused each other; whoever asks alone is not refused.
            caller = others.pop()
            assert caller.ask("call", "wait") == "in"
            probes.append(caller)
        for left in (3, 2, 1):
            for caller in others:
                caller.tell("refused", 5)
            refused = [caller.hear() for caller in others]
            assert refused == [5] * len(others), f"one more than 3 with {left} under way"
            assert me.state() == "half-open"
            assert probes[left - 1].ask("ok") == "ok"
        assert {caller.ask("state") for caller in callers} == {"closed"}
        visits = side().seen()["in"] - before
        before += visits
        assert visits == 1 + 3
    found = me.read()
    totals = [found.totals[name] for name in ("probes", "opened", "closed")]
    assert totals == [3 * rounds, rounds, rounds], totals
    assert (found.probes, found.totals["late"]) == (0, 0)
    end(callers)


MANNERS = (
    "is killed", "cancelled", "ignore", "stop", "dropped", "closed", "times out", "hangs",
    "hangs and fails",
)  # fmt: skip


def comes_back(rng: random.Random, rounds: int, *manners: str) -> None:
    """The one probe there may be comes back from a caller that ends in each manner there is."""
    for manner in manners or MANNERS:
        ends(rng, manner, rounds)
        print(manner, rounds)


def forgotten(rng: random.Random) -> None:
    """Negative control: a caller that never says how its probe ended."""
    ends(rng, "begun", 1)


def nobody_looks(rng: random.Random) -> None:
    """Negative control: nobody looks whose owners died."""
    ends(rng, "is killed", 1, looks=False)


def ends(rng: random.Random, manner: str, rounds: int, looks: bool = True) -> None:
    """So many rounds of one manner, in a cell of its own."""
    name = "hangs" if manner in {"hangs", "hangs and fails"} else "comes_back"
    me = Part(fp.Dependency(manner, **DEPENDENCIES[name]), side())
    timed = me
    if manner == "times out":
        timed = Part(fp.Dependency(manner, **DEPENDENCIES[name], timeout=0.01), side())
    if not looks:
        me.dependency.guard.policy.reclaim = lambda cell: False
    one = Caller(timed)
    for number in range(rounds):
        assert me.call("fail") == "failed"
        while me.dependency.cell.wait_ms():
            os.sched_yield()
        if manner == "is killed":
            one.ask("call", "wait")
            assert me.call("ok") == "rejected"
            one.kill()
            assert admitted_soon(lambda: me.call("ok"), REJECTED) == "ok"
            one = Caller(me)
        elif name == "hangs":
            assert one.ask("call", "wait") == "in"
            hangs(me, one, "fail" if manner == "hangs and fails" else "ok")
        elif manner == "times out":
            assert one.ask("timed") == "failed"
            assert me.read().totals["opened"] == 2 * (number + 1)  # again, by the probe
            while me.dependency.cell.wait_ms():
                os.sched_yield()
            assert me.call("ok") == "ok"
        else:
            words = ("call", "wait") if manner in {"ignore", "stop"} else (manner,)
            assert one.ask(*words) == "in"
            assert me.call("ok") == "rejected"
            one.ask(manner)
            assert me.call("ok") == "ok", f"not the first call after it was {manner}"
        found = me.read()
        assert (found.state, found.probes, found.permits) == ("closed", 0, 0)
    totals = me.read().totals
    assert totals["reclaimed"] == (rounds if manner == "is killed" else 0)
    assert totals["late"] == (rounds if name == "hangs" else 0)
    one.end()


def hangs(me: Part, one: Caller, how: str) -> None:
    """A probe that takes too long is not waited for, and what it says then changes nothing."""
    until = me.read().until_ms
    word = me.read()
    while True:
        before = 1000 * (time.monotonic() - TICK_SECONDS)
        answer = outcome_inside(me, one, how)
        if answer != "rejected":
            break
        assert before < until, f"still refused {before - until:.3f} ms after its time"
    assert answer == "ok"
    assert me.read().generation == word.generation + 2  # half-open anew, closed


def outcome_inside(me: Part, one: Caller, how: str) -> str:
    """A call that has the one that hangs end while it is there itself."""

    def visit() -> str:
        before = me.read()
        assert (before.state, before.probes) == ("half-open", 1)
        assert one.ask(how) == ("failed" if how == "fail" else how)
        after = me.read()
        assert unchanged(before, after), (before, after)
        return "ok"

    try:
        return me.dependency.call(visit)
    except errors.BreakerOpen:
        return "rejected"


def unchanged(before: object, after: object) -> bool:
    """Whether a breaker and its window are what they were."""
    names = ("state", "generation", "successes", "until_ms", "calls", "failures", "slow", "streak")
    return all(getattr(before, name) == getattr(after, name) for name in names)


# -------------------------------------------------------------------------------- late results


def late(rng: random.Random, wrong: str = "") -> None:
    """What calls of an earlier generation say changes nothing, whatever the breaker has become."""
    me = part("half_open")
    callers = [Caller(me) for _ in range(14)]
    early, probes = callers[:8], callers[8:]
    for caller in early:
        assert caller.ask("call", "wait") == "in"
    told = 0

    def late_ones(*pairs: tuple[Caller, str]) -> None:
        nonlocal told
        for caller, how in pairs:
            before = me.read()
            caller.ask(how)
            after = me.read()
            assert unchanged(before, after), f"a late {how} changed {before} to {after}"
            told += 1
            assert after.totals["late"] == told, "not counted as late"

    def reopen() -> None:
        while me.dependency.cell.wait_ms():
            os.sched_yield()

    if wrong:
        late_ones((early.pop(), "fail"))
    assert me.call("fail") == "failed"
    late_ones((early.pop(), "ok"), (early.pop(), "fail"))  # of the closed one, while it is open
    reopen()
    assert [caller.ask("call", "wait") for caller in probes[:3]] == ["in"] * 3
    late_ones((early.pop(), "ok"), (early.pop(), "fail"))  # half-open
    assert probes[0].ask("ok") == "ok"
    assert probes[1].ask("fail") == "failed"
    assert me.state() == "open"
    late_ones((probes[2], "ok"))  # a probe, while it is open again
    reopen()
    assert [caller.ask("call", "wait") for caller in probes[:3]] == ["in"] * 3
    assert probes[0].ask("fail") == "failed"
    reopen()
    assert [caller.ask("call", "wait") for caller in probes[3:]] == ["in"] * 3
    late_ones((probes[1], "ok"), (probes[2], "fail"))  # probes of the episode before
    assert me.read().probes == 3
    assert [caller.ask("ok") for caller in probes[3:]] == ["ok"] * 3
    assert me.state() == "closed"
    late_ones((early.pop(), "ok"), (early.pop(), "fail"))  # closed again
    assert me.call("ok") == "ok"
    found = me.read()
    assert (found.probes, found.totals["opened"], found.totals["closed"]) == (0, 3, 1)
    for caller in early:
        assert caller.ask("ok") == "ok"
    end(callers)


# -------------------------------------------------------------------------------------- budget


def storm(rng: random.Random, name: str, processes: int, calls: int, wrong: str = "") -> None:
    """Every call fails: no more is sent again than the budget of all of them says, to the token."""
    begun = time.monotonic()
    me = part(name, **(ALONE if wrong else {}))
    callers = [StormCaller(me, calls) for _ in range(processes)]
    for caller in callers:
        caller.tell("run", rng.randrange(1 << 32))
    firsts = sum(caller.hear() for caller in callers)
    elapsed = time.monotonic() - begun
    seen = side().seen()
    assert seen["first"] == firsts == processes * calls
    budget = me.dependency.retry.budget
    milli = round(1000 * (budget.capacity + budget.ratio * firsts))
    brought = int(1000 * budget.floor * (elapsed + TICK_SECONDS))
    assert 1000 * seen["again"] <= milli + brought, f"{seen['again']} retries of {milli + brought}"
    assert seen["again"] >= budget.capacity
    left = round(1000 * me.read().tokens)
    assert 1000 * seen["again"] + left <= milli + brought
    if not budget.floor:
        # What is missing is what was brought while the bucket was full, before the first retries.
        assert left < 1000, left
    found = me.read()
    assert (found.tokens_held, found.totals["retries"]) == (0, seen["again"])
    end(callers)
    print(json.dumps({"retries": seen["again"], "allowed": (milli + brought) / 1000}))


class Storm(Part):
    """Calls that fail, all of them, and say which try each is."""

    calls = 0

    def run(self, seed: int) -> int:
        """The number of first tries."""
        rng = random.Random(seed)
        for _ in range(self.calls):
            tries = iter(["first"])

            def visit(tries=tries) -> None:
                self.side.note(next(tries, "again"))
                if rng.random() < 0.05:
                    os.sched_yield()
                raise ConnectionError("down")

            try:
                self.dependency.call(visit)
            except ConnectionError:
                continue
        return self.calls


def StormCaller(me: Part, calls: int) -> Caller:
    """A caller that plays `Storm`."""
    made = Storm(me.dependency, me.side)
    made.calls = calls
    return Caller(made)


def held_tokens(rng: random.Random, rounds: int, wrong: str = "") -> None:
    """Tokens that wait with their retry come back from who is killed, and from nobody else."""
    budget = fp.RetryBudget(ratio=0, floor=0, capacity=4)
    refused, sent = frozenset({"1"}), "2"
    for number in range(rounds):
        me, quick = (
            Part(
                fp.Dependency(
                    f"held-{number}", retry=fp.Retry(attempts=2, backoff=wait, budget=budget)
                ),
                side(),
            )
            for wait in (fp.constant(600), fp.constant(0))
        )
        if wrong:
            quick.dependency.guard.policy.reclaim = lambda cell: False
        holders = [Caller(me) for _ in range(4)]
        for caller in holders:
            caller.tell("call", "fail")
        assert me.call("ok") == "ok"
        while me.read().tokens_held < 4:
            os.sched_yield()
        rng.shuffle(holders)
        for left in (3, 2):
            assert tries(quick) in refused, "a token that is held was given away"
            holders.pop().kill()
            assert admitted_soon(lambda: tries(quick), refused) == sent
            found = me.read()
            assert (found.tokens, found.tokens_held) == (left, left)
        assert tries(quick) in refused
        for caller in holders:
            caller.kill()
        assert [admitted_soon(lambda: tries(quick), refused), tries(quick)] == [sent, sent]
        assert tries(quick) in refused
        found = me.read()
        assert (found.tokens, found.tokens_held) == (0, 0)
        assert (found.totals["retries"], found.totals["reclaimed"]) == (4, 4)


def tries(quick: Part) -> str:
    """How often a call that fails was tried."""
    before = quick.side.seen()["in"]
    assert quick.call("fail") == "failed"
    return str(quick.side.seen()["in"] - before)


# ------------------------------------------------------------------------------------ bulkhead


class Crowd(Part):
    """Calls one after the other, each there for a moment."""

    def run(self, calls: int, seed: int) -> dict[str, int]:
        """How they ended."""
        rng = random.Random(seed)
        self.stay = lambda: time.sleep(0.001 * rng.random())  # others come meanwhile
        found: Counter[str] = Counter()
        for how in rng.choices(["ok", "ok", "fail", "ignore", "stop"], k=calls):
            while (answer := self.call(how)) == "full":
                found["full"] += 1
                os.sched_yield()
            found[answer] += 1
        return found


def crowd(rng: random.Random, processes: int, calls: int, wrong: str = "") -> None:
    """Never more than the limit of all processes together are there at once."""
    if wrong == "own":
        words = core.Cell._lease_words
        core.Cell._lease_words = lambda self, which: [words(self, which)[self._slot]]
    me = part("limit", **(ALONE if wrong == "alone" else {}))
    mine = Crowd(me.dependency, me.side)
    callers = [Caller(mine) for _ in range(processes)]
    for caller in callers:  # the first error of each takes longer than all that follow
        assert caller.ask("call", "ignore") == "ignored"
    for caller in callers:
        caller.tell("run", calls, rng.randrange(1 << 32))
    found = Counter(ignored=processes)
    for caller in callers:
        found.update(caller.hear())
    most = most_at_once(side().notes())
    assert most == 4, f"{most} at once"
    assert side().seen()["in"] == found.total() - found["full"]
    state = me.read()
    assert (state.permits, state.totals["full"]) == (0, found["full"])
    # One after the other they fill it, to the last.
    assert [caller.ask("call", "wait") for caller in callers[:4]] == ["in"] * 4
    assert me.read().permits == 4
    assert [caller.ask("call", "ok") for caller in callers[4:]] == ["full"] * (processes - 4)
    assert [caller.ask("ok") for caller in callers[:4]] == ["ok"] * 4
    assert me.read().permits == 0
    end(callers)
    print(json.dumps({"most": most, **found}))


def permits(rng: random.Random, rounds: int, wrong: str = "") -> None:
    """Permits of who is killed come back, those of the living do not."""
    me = part("limit")
    if wrong:
        me.dependency.guard.policy.reclaim = lambda cell: False
    holders = [Caller(me) for _ in range(4)]
    for caller in holders:
        assert caller.ask("call", "wait") == "in"
    for _ in range(rounds):
        assert me.call("ok") == "full"
        holders.pop(rng.randrange(4)).kill()
        assert admitted_soon(lambda: me.call("ok"), FULL) == "ok"
        assert me.read().permits == 3
        holders.append(Caller(me))
        assert holders[-1].ask("call", "wait") == "in"
    for caller in holders:
        caller.ask("ok")
    found = me.read()
    assert (found.permits, found.totals["reclaimed"]) == (0, rounds)
    end(holders)


def main() -> None:
    """``policy_programs.py PROGRAM SEED ARGUMENT…``: numbers are numbers."""
    fp.init(service="policies")
    name, seed, *rest = sys.argv[1:]
    values = [int(word) if word.isdigit() else word for word in rest]
    globals()[name](random.Random(int(seed)), *values)
    assert fp.core == core.NAME
