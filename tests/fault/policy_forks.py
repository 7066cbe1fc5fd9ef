"""Guarded calls in which a process forks, in which many threads are, and that differ in what was
declared: programs of ``test_shared_policies.py``, as those of ``policy_programs.py``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from callers import Caller, Part
from fork_programs import FORKS, wait
from other_side import most_at_once
from policy_programs import side

import faultplane as fp
from faultplane import control_schema as layout
from faultplane._backend import core
from faultplane.store import control, lifecycle

ALL_OF_THEM = {
    "breaker": fp.Breaker(
        failure_rate=None, consecutive=1, open_for=0.001, open_factor=1.0, probes=3
    ),
    "limit": 8,
    "retry": fp.Retry(
        attempts=2, backoff=fp.constant(0),
        budget=fp.RetryBudget(ratio=0, floor=0, capacity=100),
    ),
}  # fmt: skip


def part(name: str, **changes: object) -> Part:
    """This process, with a dependency of that name."""
    fp.init(service="policies")
    return Part(fp.Dependency(name, **{**ALL_OF_THEM, **changes}), side())


def leases(me: Part) -> dict[int, tuple[int, int, int]]:
    """(Probes, permits, tokens) that each owner holds, by incarnation."""
    file, index = me.place()
    with memoryview(file.mapping) as view:
        base = file.lease_offset(index)
        words = [file._lease(view, base, slot) for slot in range(file.owner_slots)]
    return {
        held >> layout.LEASE_OWNER_SHIFT: (
            probes & layout.LEASE_PROBES_MASK,
            held >> layout.LEASE_PERMITS_SHIFT & layout.LEASE_HELD_MASK,
            held & layout.LEASE_HELD_MASK,
        )
        for probes, held in words
        if held
    }


def reopen(me: Part) -> None:
    """Have the breaker half-open for whoever calls next."""
    me.dependency.cell.move(layout.BREAKER_OPEN, layout.CAUSE_FORCED, 1)


# --------------------------------------------------------------------------------------- forks


class InChild(Exception):
    """What a child raises out of the call that it was forked in."""


def call_plainly(dependency: fp.Dependency, body: Callable[[], str]) -> str:
    """A plain function."""
    return dependency.call(body)


def call_in_block(dependency: fp.Dependency, body: Callable[[], str]) -> str:
    """A block."""
    with dependency:
        return body()


def call_in_attempts(dependency: fp.Dependency, body: Callable[[], str]) -> str:
    """The tries of a block."""
    for attempt in dependency.attempts():
        with attempt:
            return body()
    raise AssertionError("no try")


def call_as_coroutine(dependency: fp.Dependency, body: Callable[[], str]) -> str:
    """A coroutine, without the loop: a child has its parent's, and must not run it."""

    async def run() -> str:
        return body()

    call = dependency.acall(run)
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def call_as_generator(dependency: fp.Dependency, body: Callable[[], str]) -> str:
    """A generator."""

    @dependency
    def values() -> object:
        yield body()

    (value,) = values()
    return value


CALLS = [call_plainly, call_in_block, call_in_attempts, call_as_coroutine, call_as_generator]
ENDS = {
    "returns": None,
    "fails": ConnectionError,
    "is ignored": NotImplementedError,
    "is stopped": KeyboardInterrupt,
}


def forks(rng: random.Random, *ways: str) -> None:
    """A child that is forked in a call, and leaves it: what the parent holds is the parent's."""
    for how in ways:
        fork_in_calls(how)


def forks_wrong(rng: random.Random) -> None:
    """Negative control: a child that takes itself for its parent."""
    fork_in_calls("os", wrong=True)


def fork_in_calls(how: str, wrong: bool = False) -> None:
    """One way to fork, in each kind of call, each ended by the child in each way."""
    once = fp.Retry(attempts=1, budget=ALL_OF_THEM["retry"].budget)
    me = part(f"forks {how}", retry=once)
    me.call("ok")
    mine = lifecycle.status().incarnation
    for call in CALLS:
        for end, error in ENDS.items():
            reopen(me)
            before = me.read()
            fork_inside(me, how, call, end, error, wrong)
            after = me.read()
            # The parent's call was one probe that ended well, the child's one that was not.
            assert leases(me)[mine] == (0, 0, 0), (call.__name__, end, leases(me))
            changed = {k for k in after.totals if after.totals[k] != before.totals[k]}
            assert changed == {"probes"}, (call.__name__, end, changed)
            assert (after.state, after.successes) == ("half-open", 1)
            assert after.generation == before.generation + 1
            # What is left is that nobody is in the way of the other two.
            assert [me.call("ok"), me.call("ok"), me.state()] == ["ok", "ok", "closed"]


def fork_inside(
    me: Part, how: str, call: Any, end: str, error: type[BaseException] | None, wrong: bool
) -> None:
    """One call in which a child is forked that ends it in its own way."""
    parent = lifecycle.status().owner_slot, lifecycle.status().incarnation
    mine = parent[1]
    child = 0

    def body() -> str:
        nonlocal child
        child = FORKS[how]()
        if child == 0:
            if wrong:  # as one who takes itself for its parent
                me.dependency.cell.reclaim(*parent)
            if error is not None:
                raise error
            return "child"
        wait(child)
        assert leases(me)[mine] == (1, 1, 0), (call.__name__, end, leases(me))
        return "parent"

    try:
        answer = call(me.dependency, body)
    except BaseException as raised:
        if child:
            raise
        answer = type(raised)
    if child == 0:
        in_child(me, mine, answer is (error or answer))
    assert answer == "parent"


def in_child(me: Part, parent: int, as_raised: bool) -> None:
    """The child has left the call; it goes on as an owner of its own, and ends."""
    status = 97
    try:
        assert as_raised
        assert leases(me)[parent] == (1, 1, 0), "the child gave back what is its parent's"
        with_token = me.dependency.cell.hold()
        mine = lifecycle.status().incarnation
        assert mine != parent
        assert (with_token, leases(me)[mine]) == (True, (0, 0, 1))
        me.dependency.cell.let_go()
        assert leases(me)[mine] == (0, 0, 0)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


# ------------------------------------------------------------------------------------- threads


def threads(rng: random.Random, count: int, calls: int) -> None:
    """So many threads of one process share what it holds: each is one more, to the last."""
    sys.setswitchinterval(1e-5)
    me = part("threads", retry=fp.Retry(
        attempts=2, backoff=fp.constant(0),
        budget=fp.RetryBudget(ratio=0.5, floor=0, capacity=20),
    ), breaker=None)  # fmt: skip
    me.stay = lambda: time.sleep(0.002)
    ended: list[str] = []

    def work(hows: list[str]) -> None:
        ended.extend([me.call(how) for how in hows])

    everyone(count, lambda: work(rng.choices(["ok", "fail", "ignore"], k=calls)))
    seen, found = side().notes(), me.read()
    most = most_at_once(seen)
    ins = sum(note.what == "in" for note in seen)
    firsts = count * calls - ended.count("full")
    retries = ins - firsts
    assert most == 8, f"{most} at once"
    assert (found.permits, found.tokens_held) == (0, 0)
    assert found.totals["retries"] >= retries  # one that was full in the end was paid for
    assert 1000 * retries <= 1000 * 20 + 500 * firsts, (retries, firsts)
    # Half-open, all at once: as many as may, and each comes back.
    me = part("threads half-open", limit=None)
    for _ in range(10):
        half_open_in_threads(me, count)
    print(json.dumps({"most": most, "firsts": firsts, "retries": retries}))


def half_open_in_threads(me: Part, count: int) -> None:
    """One episode: three probes, who wait until all others were refused."""
    me.call("fail")
    reopen(me)
    inside, go = threading.Semaphore(0), threading.Event()
    me.say = lambda answer: inside.release()
    me.listen = lambda: go.wait() and "ok"
    answers: list[str] = []
    before = me.side.seen()["in"]
    running = [
        threading.Thread(target=lambda: answers.append(me.call("wait"))) for _ in range(count)
    ]
    for one in running:
        one.start()
    for _ in range(3):
        while not inside.acquire(timeout=0.01):
            # All that are left refused each other; whoever asks alone is not refused.
            one = threading.Thread(target=lambda: answers.append(me.call("wait")))
            running.append(one)
            one.start()
    while len(answers) < len(running) - 3:
        time.sleep(0)
    assert answers == ["rejected"] * (len(running) - 3)
    assert me.state() == "half-open"
    go.set()
    for one in running:
        one.join()
    assert me.side.seen()["in"] - before == 3
    assert (me.state(), me.read().probes) == ("closed", 0)


def everyone(count: int, work: Callable[[], object]) -> None:
    """So many threads that do this at once."""
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        work()

    running = [threading.Thread(target=run) for _ in range(count)]
    for one in running:
        one.start()
    for one in running:
        one.join()


# -------------------------------------------------------------------------------- declarations


def in_a_row(consecutive: int) -> dict[str, object]:
    """A breaker that so many failures open."""
    breaker = fp.Breaker(failure_rate=None, consecutive=consecutive, open_for=60.0)
    return {"breaker": breaker, "retry": None, "limit": None}


def declares(rng: random.Random) -> None:
    """What was declared last governs all, whoever calls first; both are kept, and it is counted."""
    old, newer, again, newest = (part("declares", **in_a_row(n)) for n in (2, 5, 2, 7))
    callers = {id(one): Caller(one) for one in (newer, again, newest)}

    def differ(by: int) -> None:
        found = old.read()
        assert found.differs == by, found.differs
        declared = [found.declaration, found.other or {}]
        texts.append([one["breaker"]["consecutive"] for one in declared if one])

    texts: list[list[int]] = []
    assert old.call("ok") == "ok"
    differ(0)
    assert callers[id(newest)].ask("call", "ok") == "ok"
    differ(1)
    assert callers[id(newer)].ask("call", "ok") == "ok"  # declared before, comes later
    differ(2)
    assert callers[id(again)].ask("call", "ok") == "ok"
    differ(3)
    assert texts == [[2], [7, 2], [7, 5], [7, 2]], texts
    # Seven in a row open it, whoever they are of; fewer do not.
    for number in range(7):
        assert old.state() == "closed", number
        teller = rng.choice([old, *callers.values()])
        how = teller.call("fail") if teller is old else teller.ask("call", "fail")
        assert how == "failed"
    assert {old.state(), *(one.ask("state") for one in callers.values())} == {"open"}
    for caller in callers.values():
        caller.end()


def declares_the_same(rng: random.Random) -> None:
    """Who says again what governs is its age: what was declared between the two is older."""
    first, between, again = (part("same", **in_a_row(n)) for n in (2, 5, 2))
    for one in (first, again, between):
        assert one.call("ok") == "ok"
    assert first.read().config["consecutive"] == 2


def declares_no_more(rng: random.Random, what: str) -> None:
    """What the newest declaration has not refuses nobody, where an older one has it."""
    name = "declares no more"
    me = part(name, **{**ALL_OF_THEM, "limit": 1, "breaker": fp.Breaker(
        failure_rate=None, consecutive=1, open_for=0.001, open_factor=1.0, probes=1,
        probe_timeout=0.01,
    )})  # fmt: skip
    if what == "breaker":
        assert me.call("fail") == "failed"
        me.dependency.cell.move(layout.BREAKER_OPEN, layout.CAUSE_FORCED, 1)
    nothing = part(name, breaker=None, limit=None, retry=None)
    newest = Caller(nothing)
    assert newest.ask("call", "ok") == "ok"
    other = Caller(me)
    assert other.ask("call", "wait") == "in"
    before = me.side.seen()["in"]
    assert [me.call("ok") for _ in range(3)] == ["ok"] * 3
    assert me.call("fail") == "failed"
    assert me.side.seen()["in"] - before == 3 + 2  # tried twice, with no budget for it
    assert me.read().permits == 1
    assert other.ask("ok") == "ok"
    assert (me.read().permits, me.read().tokens_held) == (0, 0)
    for caller in (newest, other):
        caller.end()


def killed_in_declaring(rng: random.Random) -> None:
    """Who is killed while it declares leaves numbers that nobody uses, until the next declares."""
    me = part("killed", **in_a_row(3))
    assert me.call("ok") == "ok"
    late = part("killed", **in_a_row(9))

    def die(mapping: Any, base: int, config: dict[str, int], begun: int) -> None:
        for name in ("window_ms", "probes"):
            mapping.store(base + layout.CONTROL_CELL.offset[name], 0)
        os.kill(os.getpid(), signal.SIGKILL)

    whole, control.configure = control.configure, die
    caller = Caller(late)
    control.configure = whole
    caller.tell("call", "ok")
    assert os.waitstatus_to_exitcode(os.waitpid(caller.pid, 0)[1]) == -signal.SIGKILL
    # What it had copied goes on to hold.
    assert [me.call("fail") for _ in range(3)] == ["failed"] * 3
    assert me.state() == "open"
    # An older declaration governs rather than half of a newer one; the newer one, when it is whole.
    for one, wanted in ((part_of(me), 3), (part_of(late), 9)):
        fresh = Caller(one)
        assert fresh.ask("state") == "open"
        assert me.read().config["consecutive"] == wanted
        assert me.read().declaration["breaker"]["consecutive"] == wanted
        fresh.end()


def part_of(one: Part) -> Part:
    """The same declaration, made when that was."""
    dependency = one.dependency
    made = part(dependency.name, **in_a_row(dependency.breaker.consecutive))
    made.dependency._place.time_unix_nano = dependency._place.time_unix_nano
    return made


def main() -> None:
    """``policy_forks.py PROGRAM SEED ARGUMENT…``: numbers are numbers."""
    name, seed, *rest = sys.argv[1:]
    values = [int(word) if word.isdigit() else word for word in rest]
    globals()[name](random.Random(int(seed)), *values)
    assert fp.core == core.NAME
