"""Callers that fail, hang, are killed and are stopped, and a breaker that must not stick.

A program of ``test_shared_policies.py``. The weather, how often the other side fails, is a word
that all processes share; each caller counts in words of its own, which are there after a kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from callers import RECLAIM_SECONDS, TICK_SECONDS, Caller, Part
from other_side import most_at_once
from policy_programs import side
from torture.words import Words

import faultplane as fp
from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.store.control import Transition

POLICIES = {
    "breaker": fp.Breaker(
        failure_rate=0.5, calls_min=6, window=1.0, probes=2, probe_timeout=0.05,
        open_for=0.005, open_max=0.02,
    ),
    "retry": fp.Retry(
        attempts=3, backoff=fp.constant(0),
        budget=fp.RetryBudget(ratio=0.25, floor=20, capacity=10),
    ),
    "limit": 4,
}  # fmt: skip
LEGAL = {
    ("closed", "open", "failure rate"),
    ("open", "half-open", "open time over"),
    ("half-open", "half-open", "probes timed out"),
    ("half-open", "open", "probe failed"),
    ("half-open", "closed", "probes succeeded"),
    ("closed", "open", "asked to wait"),
}
CALLERS = 8
CALLS, FIRSTS, RETRIES, STAYS, UNHEARD = range(5)
WEATHER = 4095
"""The line whose first word is how many calls of a thousand fail, or `STUCK`."""
STUCK = 2000
"""Nobody answers, ever."""
words = Words(WEATHER + 1, 5)


class Sailor(Part):
    """A caller that goes on for ever, in any weather."""

    def sail(self, line: int, seed: int) -> None:
        """Call, and count what came of it: calls in all, first tries, retries."""
        rng = random.Random(seed)
        while True:
            tries = iter([FIRSTS])

            def visit(tries=tries) -> None:
                which = next(tries, RETRIES)
                words.set(line, which, words.get(line, which) + 1)
                self.side.note("in")
                try:
                    how = rng.randrange(1000)
                    if words.get(WEATHER, 0) == STUCK:
                        words.set(line, STAYS, 1)
                        signal.pause()
                    if how < words.get(WEATHER, 0):
                        raise ConnectionError("down")
                    if how > 990:
                        raise NotImplementedError("about the caller")
                    # What is done there: nothing waits for it. Some of it is longer than a probe.
                    time.sleep(0.06 if how > 970 else 0.0005 * rng.random())
                finally:
                    self.side.note("out")

            try:
                self.dependency.call(visit)
            except (ConnectionError, NotImplementedError, fp.errors.Rejected):
                pass
            words.set(line, UNHEARD, self.dependency.cell.unheard)
            words.set(line, CALLS, words.get(line, CALLS) + 1)


class Soak:
    """The callers, and what is known of them and of the breaker."""

    def __init__(self, me: Sailor, rng: random.Random) -> None:
        self.me, self.rng = me, rng
        self.lines = 0
        self.killed: dict[int, int] = {}
        self.passed: dict[int, Transition] = {}
        self.problems: list[str] = []
        self.callers = [self.start() for _ in range(CALLERS)]

    def start(self) -> Caller:
        """One more caller."""
        caller = Caller(self.me)
        caller.tell("sail", self.lines, self.rng.randrange(1 << 32))
        self.lines += 1
        return caller

    def kill(self) -> None:
        """One of them, and another comes."""
        caller = self.callers.pop(self.rng.randrange(len(self.callers)))
        self.killed[caller.pid] = caller.kill()
        self.callers.append(self.start())

    def go_on(self, calls: int) -> None:
        """Until so many calls were made by all, whatever came of them."""
        before = words.total(CALLS)
        while words.total(CALLS) - before < calls:
            self.look()

    def look(self) -> None:
        """Note every transition that is still to be seen."""
        found = self.me.read()
        for note in found.transitions:
            known = self.passed.setdefault(note.generation, note)
            if known != note:
                self.problems.append(f"generation {note.generation} twice: {known}, {note}")

    def turn(self) -> None:
        """Something happens."""
        event = self.rng.choice(["kill", "kill", "stop", "storm", "fair", "worse"])
        if event == "kill":
            self.kill()
        elif event == "stop":
            stopped = self.rng.sample(self.callers, self.rng.randrange(1, 4))
            for caller in stopped:
                os.kill(caller.pid, signal.SIGSTOP)
            for _ in range(self.rng.randrange(40)):
                self.look()
            for caller in stopped:
                os.kill(caller.pid, signal.SIGCONT)
        else:
            words.set(WEATHER, 0, {"storm": 1000, "fair": 0, "worse": 300}[event])
        self.go_on(self.rng.randrange(20, 120))


def soak(rng: random.Random, turns: int, wrong: str = "") -> None:
    """Whatever happens to callers, the breaker moves as it may, and closes when all is over."""
    fp.init(service="policies")
    me = Sailor(fp.Dependency("soak", **POLICIES), side())
    me.state()
    begun = time.monotonic()
    run = Soak(me, rng)
    for turn in range(turns):
        run.turn()
        if turn % 10 == 9:
            # Never stuck: in fair weather it closes, with callers that come and go.
            words.set(WEATHER, 0, 0)
            while me.state() != "closed":
                run.go_on(1)
    # In the end all permits are held by who is stuck there, and the breaker opens over them.
    words.set(WEATHER, 0, STUCK)
    while words.total(STAYS) < POLICIES["limit"]:
        run.look()
    me.dependency.cell.open_for(5, layout.CAUSE_ASKED)
    for caller in run.callers:  # all at once, or those who are left look for those who are not
        os.kill(caller.pid, signal.SIGSTOP)
    for caller in run.callers:
        run.killed[caller.pid] = caller.kill()
    elapsed = time.monotonic() - begun
    calls_to_close(me, wrong)
    run.look()
    run.problems += check(me, run, elapsed)
    assert not run.problems, "\n".join(run.problems)
    print(json.dumps({
        "calls": words.total(CALLS), "killed": len(run.killed), "generations": len(run.passed),
        "reclaimed": me.read().totals["reclaimed"],
    }))  # fmt: skip


def calls_to_close(me: Sailor, wrong: str) -> None:
    """All others are dead: this process alone, whose calls end well, closes it.

    A call may be rejected only until the time that the breaker says, or until the dead were looked
    for again.
    """
    if wrong:
        me.dependency._place.reclaim = lambda cell: False
        me.dependency.guard.policy.reclaim = lambda cell: False
    done = 0
    first = None
    while me.state() != "closed":
        before, now = me.read(), time.monotonic()
        answer = me.call("ok")
        if answer == "ok":
            done, first = done + 1, None
            assert done <= 2 + 1, "more calls than there are probes"
            continue
        assert answer in {"rejected", "full"}, answer
        first = now if first is None else first
        waits = before.state == "open" and 1000 * (now - TICK_SECONDS) < before.until_ms
        looks = now <= first + RECLAIM_SECONDS + 2 * TICK_SECONDS
        assert waits or looks, f"{answer} after {now - first:.3f} s, {before}"


def check(me: Sailor, run: Soak, elapsed: float) -> list[str]:
    """What is wrong with what is left."""
    me.dependency._place.reclaim(me.dependency.cell)
    found = me.read()
    wrong = []
    if (found.probes, found.permits, found.tokens_held) != (0, 0, 0):
        wrong.append(f"held by nobody: {found.probes, found.permits, found.tokens_held}")
    most = most_at_once(side().notes(), dict(run.killed))
    # Whoever met a lock that somebody stopped with for a second went on as if nobody shared it.
    if most > POLICIES["limit"] and not words.total(UNHEARD):
        wrong.append(f"{most} at once")
    firsts, retries = words.total(FIRSTS), words.total(RETRIES)
    budget = POLICIES["retry"].budget
    # Each may have been killed between what its call brought and its count.
    brought = budget.capacity + budget.ratio * (firsts + run.lines)
    allowed = brought + budget.floor * (elapsed + TICK_SECONDS)
    if retries > allowed:
        wrong.append(f"{retries} retries, {allowed} allowed")
    passed = run.passed
    for note in passed.values():
        if (note.before, note.after, note.cause) not in LEGAL:
            wrong.append(f"not legal: {note}")
        earlier = passed.get(note.generation - 1 & layout.BREAKER_GENERATION_MASK)
        if earlier is not None and earlier.after != note.before:
            wrong.append(f"{note} does not follow {earlier}")
    if len(passed) < found.generation / 4:
        wrong.append(f"only {len(passed)} of {found.generation} transitions were seen")
    return wrong


def main() -> None:
    """``policy_soak.py PROGRAM SEED ARGUMENT…``: numbers are numbers."""
    name, seed, *rest = sys.argv[1:]
    values = [int(word) if word.isdigit() else word for word in rest]
    globals()[name](random.Random(int(seed)), *values)
    assert fp.core == core.NAME
