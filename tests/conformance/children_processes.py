"""Children that fork, are fenced, and say what they are doing."""

from __future__ import annotations

import os

import domain_fixture
from children import bound, raised
from children_counts import counters_and_errors
from children_lanes import fill


def two_writers(core, path, records):
    """Two processes interleave in one domain; both are children, so that neither is special."""
    children = []
    for slot in (1, 2):
        pid = os.fork()
        if pid == 0:
            fill(core, path, records, slot=slot)
            core.unbind(True)
            os._exit(0)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def forked(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    early = core.Counter("n")
    for _ in range(5):
        core.record(error)
    early.add(5)

    def rebind():
        # What the store does: a slot of its own, and bind.
        core.bind(files.binding(slot=1))

    core.configure(rebind=rebind)
    pid = os.fork()
    if pid == 0:
        states = [core.bound(), core.seen(error)]
        core.record(error)
        early.add(7)
        states.append(core.bound())
        core.record(error)
        core.unbind(True)
        os.write(1, b"") if states[0] is False and states[2] else os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    core.record(error)
    return os.waitstatus_to_exitcode(status)


def forked_before_bind(core, path):
    error = raised(ValueError, "x")
    for _ in range(5):
        core.record(error)
    pid = os.fork()
    if pid == 0:
        bound(core, path, slot=1)
        core.record(error)
        core.unbind(True)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    bound(core, path, slot=0)
    core.unbind(True)
    return os.waitstatus_to_exitcode(status)


def fenced(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    counter = core.Counter("n")
    core.record(error)
    counter.add()
    calls = []

    def rebind():
        calls.append(core.bound())
        core.bind(files.binding(slot=1))

    core.configure(rebind=rebind)
    files.fence(0)
    counter.add(10)
    core.record(error)
    return calls


def fenced_and_replaced(core, path):
    """Declared dead, and asleep until another process has the slot."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    core.record(error)
    calls = []

    def rebind():
        calls.append(core.bound())
        core.bind(files.binding(slot=1))

    core.configure(rebind=rebind)
    files.fence(0)
    files.binding(slot=0, generation=2)
    core.Counter("n").add(10)
    core.record(error)
    return calls


def rebind_refused(core, path):
    """The hook fails: it is asked at most once a second, and counting goes on."""
    files = bound(core, path)
    calls = []

    def rebind():
        calls.append(1)
        raise OSError("no")

    core.configure(rebind=rebind)
    files.fence(0)
    error = raised(ValueError, "x")
    for _ in range(50):
        core.record(error)
    cells = domain_fixture.read_cells(core.own_cells())
    return [len(calls), domain_fixture.drops(cells), counters_and_errors(cells)]


def inflight(core, path):
    bound(core, path)
    outer = core.enter("outer")
    inner = core.enter("é" * 40, outer)
    tokens = [core.enter("more") for _ in range(255)]
    free = [token for token in tokens if token]
    core.leave(inner)
    core.leave(inner)
    core.leave(0)
    core.leave(99_999)
    for token in free:
        core.leave(token)
    again = core.enter("again", outer)
    return [outer, len(free), tokens.count(0), again]


def inflight_off(core, path):
    """Operations that end while recording is switched off: as many as there are slots, twice."""
    bound(core, path)
    entered = 0
    for _ in range(2):
        tokens = [core.enter("operation") for _ in range(256)]
        entered += sum(map(bool, tokens))
        core.configure(active=False)
        for token in tokens:
            core.leave(token)
        core.configure(active=True)
    return entered
