"""What the traced process does: ``python scenes.py NAME``."""

from __future__ import annotations

import os
import signal
import sys

import faultplane as fp
from faultplane import control_schema as layout
from faultplane import schema
from faultplane._backend import core
from faultplane.store import domain, lifecycle, maintain, owners

DIRECTORY = os.environ["FAULTPLANE_DIR"]


def failure(text="a message that does not fit into twelve bytes"):
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def join():
    """Register, publish the first segment and dictionary, claim, intern, write rows, leave."""
    fp.init("checkout")
    for number in range(3):
        fp.record(failure(), f"operation {number}")
    core.unbind(False)
    lifecycle.shutdown()


def turn():
    """The last row of the last lane of the last segment that the budget holds, and the next."""
    fp.init("checkout")
    store = lifecycle._process.store
    error = failure("short")
    most, lanes = store.header.segments_max, store.header.lanes_per_segment
    for _ in range(most * lanes * schema.LANE_ROWS - 2):
        fp.record(error)
    assert store.load("segment_newest") == most, (store.load("segment_newest"), most)
    for _ in range(70):  # the compiled core retires at the end of a chunk of 64
        fp.record(error)
    assert store.load("segment_oldest") == 2


def die():
    """Leave an open lane and counts behind."""
    fp.init("checkout")
    fp.record(failure())
    os.kill(os.getpid(), signal.SIGKILL)


def bury():
    """Find the dead owner and take it through to a free slot."""
    (path,) = domain.store_paths(domain.find("default", DIRECTORY))
    store = domain.Store.open(path, writable=True)
    if "unbumped" in sys.argv:
        keep = owners.pack_word
        owners.pack_word = lambda i, g, state: keep(i, 0 if state == 0 else g, state)
    if "unfenced" in sys.argv:
        owners.set_fence = lambda *_: None
    report = maintain.maintain_store(store)
    assert report.folded == 1, report


def retire():
    """Retire what is over the budget."""
    (path,) = domain.store_paths(domain.find("default", DIRECTORY))
    store = domain.Store.open(path, writable=True)
    header = store.header
    ring = core.Ring(
        store.directory_fd, store.locks.descriptor, store.registry, header.lanes_per_segment,
        header.segments_max, header.dictionary_bytes,
    )  # fmt: skip
    print("retired", ring.retire_over_budget())


TOKENS = 5
"""In the bucket at most, as test_control_binding has it."""


def guarded():
    """The dependency of the scenes below, whose cell is the first."""
    fp.init("checkout")
    budget = fp.RetryBudget(ratio=0.5, floor=0, capacity=TOKENS)
    return fp.Dependency(
        "bank",
        breaker=fp.Breaker(
            failure_rate=None, consecutive=1, open_for=0.001, open_max=0.001, probes=2,
            probe_timeout=0.01,
        ),
        retry=fp.Retry(attempts=3, backoff=fp.constant(0), budget=budget),
        limit=5,
    )  # fmt: skip


def begin(dependency):
    """A call that has begun; an open breaker is waited for."""
    while True:
        try:
            return dependency.guard.begin()
        except fp.errors.BreakerOpen:
            continue


def fail(call):
    """It fails, and is not tried again."""
    call.failed(TimeoutError(), last=True)


def guard():
    """Each change of a breaker's state, of what is held, and of a budget."""
    bank = guarded()
    fail(begin(bank))  # opens
    one, two = begin(bank), begin(bank)  # half-open: two probes
    one.succeeded()
    two.succeeded()  # closes
    retried = begin(bank)
    assert retried.failed(TimeoutError()) >= 0  # opens; a token is held
    retried.ignored()
    fail(begin(bank))  # half-open, open again
    hangs = begin(bank)
    later = begin(bank)
    while bank.cell.admit() < 0:  # another round of probes
        pass
    hangs.succeeded()  # late
    later.ignored()
    bank.cell.move(layout.BREAKER_FORCED_OPEN, layout.CAUSE_FORCED)
    bank.cell.move(layout.BREAKER_CLOSED, layout.CAUSE_RESET)
    retried = begin(bank)
    assert retried.failed(ValueError()) < 0
    # Without a breaker that the failure opens, so that the retry goes out, and is paid for.
    other = fp.Dependency("mail", retry=bank.retry, limit=5)
    assert other.call(answer, iter([ConnectionError(), 1])) == 1
    if "wrong" in sys.argv:
        bank.cell.move(layout.BREAKER_HALF_OPEN, layout.CAUSE_OPEN_TIME, 1 << 37)


def answer(answers):
    """The next of them."""
    found = next(answers)
    if isinstance(found, Exception):
        raise found
    return found


def die_guarded():
    """Hold a probe, a permit and a token, and die."""
    bank = guarded()
    retried = begin(bank)
    assert retried.failed(TimeoutError()) >= 0
    begin(bank)
    os.kill(os.getpid(), signal.SIGKILL)


def reclaim():
    """End what the dead held."""
    bank = guarded()
    bank.cell.state()
    bank.guard.policy.reclaim(bank.cell)


{
    "join": join, "turn": turn, "die": die, "bury": bury, "retire": retire, "guard": guard,
    "die_guarded": die_guarded, "reclaim": reclaim,
}[sys.argv[1]]()  # fmt: skip
