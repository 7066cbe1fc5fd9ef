"""A process is killed, forked, or has a signal handler raise, at any moment of a guarded call.

Programs of ``test_shared_policies.py``. A moment is one at which Python runs signal handlers
(``forks.c``): there are many in the pure core, and few in the compiled one, whose steps in between
are stopped at in ``tests/verification``.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable

from callers import Part
from fork_programs import OURS, child, wait
from policy_forks import ALL_OF_THEM, leases, part, reopen
from policy_programs import unchanged

import faultplane as fp
from faultplane._backend import core

ONCE = {**ALL_OF_THEM, "retry": fp.Retry(attempts=1, budget=ALL_OF_THEM["retry"].budget)}


class Stop(BaseException):
    """What a handler raises."""


def probe_ok(me: Part) -> None:
    """A probe that ends well."""
    me.call("ok")


def probe_fails(me: Part) -> None:
    """A probe that fails."""
    me.call("fail")


def tried_again(me: Part) -> None:
    """A call that fails, and its retry."""
    me.again.call("fail")


def retry_goes_out(me: Part) -> None:
    """A token held and paid with."""
    if me.dependency.cell.hold():
        me.dependency.cell.send()


def retry_is_given_up(me: Part) -> None:
    """A token held and given back."""
    if me.dependency.cell.hold():
        me.dependency.cell.let_go()


CALLS = {
    "killed": (probe_ok, probe_fails, tried_again, retry_goes_out, retry_is_given_up),
    "forked": (probe_ok, probe_fails, retry_goes_out, retry_is_given_up),
    "raised": (probe_ok, probe_fails, tried_again),
}
OWN = {
    probe_ok: Counter(),
    probe_fails: Counter(failures=1, opened=1),
    retry_goes_out: Counter(retries=1),
    retry_is_given_up: Counter(),
}
"""What a call comes to that a child makes in its own right, while the breaker is closed."""


def at_moments(rng: random.Random, manner: str, count: int, wrong: str = "") -> None:
    """``count`` moments of each of `CALLS`; in a child each, from which comes how many there are.

    Prints how many came, of how many there are.
    """
    OURS.interrupted.argtypes = ctypes.c_int, ctypes.py_object
    OURS.interrupt_at.argtypes = ctypes.c_long, ctypes.py_object
    me = part("moments", **ONCE)
    me.again = part("moments again", breaker=None)
    me.call("ok")
    me.again.call("ok")
    if wrong:
        me.dependency._place.reclaim = lambda cell: False
    came = there = 0
    for call in CALLS[manner]:
        total = at(me, call, manner, 1 << 40)
        there += total
        moments = range(1, total + 1)
        for moment in sorted(rng.sample(moments, min(count, total))):
            came += at(me, call, manner, moment) == moment
    print(came, there)


def at(me: Part, call: Callable[[Part], None], manner: str, moment: int) -> int:
    """How many moments there were until what was to happen did, or in all if it did not."""
    answers, say = os.pipe()
    goes_on, go_on = os.pipe()
    reopen(me)
    before = tokens(me)
    forked: list[int] = []

    def happens() -> None:
        os.write(say, b"%d\n" % moment)
        if manner == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif manner == "raised":
            raise Stop
        elif pid := os.fork():
            forked.append(pid)
        else:
            os.read(goes_on, 1)

    def work() -> None:
        for one in (me, me.again):
            one.dependency.cell.state()  # an owner of its own, with a cell
        mine = os.getpid()
        signal.signal(signal.SIGALRM, OURS.interrupted)
        try:
            OURS.interrupt_at(moment, happens)
            call(me)
            os.write(say, b"%d\n" % OURS.interrupt_no_more())
        except Stop:
            pass
        if os.getpid() == mine and forked:
            let_go_on(me, call, forked[0], go_on)

    pid = child(os.fork, work)
    for descriptor in (say, goes_on):
        os.close(descriptor)
    status = os.waitpid(pid, 0)[1]
    os.close(go_on)
    with os.fdopen(answers) as file:
        seen = int(file.readline())
    where = f"{call.__name__} {manner} at {moment}"
    killed = manner == "killed" and seen == moment
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if killed else 0), where
    if killed:
        for one in (me, me.again):
            one.dependency._place.reclaim(one.dependency.cell)
    assert not held(me), f"{where}: {held(me)}"
    most = {"forked": 2}.get(manner, 1) if call in {retry_goes_out, tried_again} else 0
    assert 0 <= before - tokens(me) <= most, where
    assert closes(me), where
    return seen


def held(me: Part) -> dict[int, tuple[int, int, int]]:
    """What anybody holds."""
    both = [*leases(me).items(), *leases(me.again).items()]
    return {owner: words for owner, words in both if any(words)}


def tokens(me: Part) -> float:
    """What is left in both budgets."""
    return me.read().tokens + me.again.read().tokens


def closes(me: Part) -> bool:
    """Whether the breaker closes after so many calls as are its probes."""
    reopen(me)
    return [me.call("ok") for _ in range(3)] == ["ok"] * 3 and me.state() == "closed"


def let_go_on(me: Part, call: Callable[[Part], None], pid: int, go_on: int) -> None:
    """The child that was forked goes on when its parent is far away: that changes nothing.

    Unless it was forked before it had begun its call: then it makes one in its own right.
    """
    assert closes(me)
    before = me.read()
    os.write(go_on, b"x")
    wait(pid)
    after = me.read()
    told = Counter(after.totals)
    told.subtract(before.totals)
    told = +told
    assert not held(me), held(me)
    assert before.tokens - after.tokens == told["retries"], (before, after)
    if told:
        assert told == OWN[call], told
        return
    assert after.calls - before.calls in ({0, 1} if call is probe_ok else {0})
    assert unchanged(before._replace(calls=after.calls), after), (before, after)


def main() -> None:
    """``policy_moments.py PROGRAM SEED ARGUMENT…``: numbers are numbers."""
    name, seed, *rest = sys.argv[1:]
    values = [int(word) if word.isdigit() else word for word in rest]
    globals()[name](random.Random(int(seed)), *values)
    assert fp.core == core.NAME
