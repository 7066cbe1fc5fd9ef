"""Children that count."""

from __future__ import annotations

import builtins
import copy
import pickle
import signal
import sys
import threading
from pathlib import Path

import domain_fixture
from children import bound, kept, raised

from faultplane import schema


def before_bind(core, path):
    counter = core.Counter("early")
    for error in kept(3):
        core.record(error, operation="op")
    counter.add(5)
    first = domain_fixture.read_cells(core.own_cells())
    bound(core, path)
    core.record(kept()[0], operation="op")
    counter.add(7)
    core.Counter("early").add()
    core.unbind(False)
    core.record(kept()[0], operation="op")
    last = domain_fixture.read_cells(core.own_cells())
    return [[domain_fixture.drops(cells), counters_and_errors(cells)] for cells in (first, last)]


def counters_and_errors(cells):
    found = {"/".join(key): n for key, n in domain_fixture.errors(cells).items()}
    return found | domain_fixture.counters(cells)


def many_series(core, path, count):
    bound(core, path)
    error = raised(ValueError, "x")
    for i in range(count):
        core.record(error, operation=f"operation number {i:05}")
    core.record(error, operation="operation number 00000")
    core.record(error, operation=f"operation number {count - 1:05}")
    late = core.Counter("late")
    late.add(3)


def budgeted(core, path, rows_per_second, records):
    bound(core, path)
    one, other = raised(ValueError, "x"), raised(KeyError, "x")
    core.record(raised(IndexError, "the first record of a domain makes its dictionary"))
    core.configure(detail_per_second=rows_per_second)
    for _ in range(records):
        core.record(one)
        core.record(other)
    core.configure(detail_per_second=0)


def budgeted_operations(core, path, rows_per_second, records):
    """One error in several operations, its caches forgotten all the time."""
    bound(core, path)
    error = raised(ValueError, "x")
    core.record(raised(IndexError, "the first record of a domain makes its dictionary"))
    core.configure(detail_per_second=rows_per_second)
    for number in range(records):
        core.record(error, operation=f"operation {number % 5}")
        if number % 7 == 0:
            core.flush_caches()
    core.configure(detail_per_second=0)


def seen_marks(core):

    class Frozen(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    first, second, third = raised(ValueError, "a"), raised(Frozen), raised(ValueError, "b")
    for error in (first, second):
        core.record(error)
    copied = pickle.loads(pickle.dumps(first))
    return [core.seen(error) for error in (first, second, third, "x", None)] + [
        core.seen(copied),
        core.seen(copy.copy(first)),
    ]


def reentrant(core, path):
    """Records made while a record is made: by ``__str__``, and by a signal handler."""
    bound(core, path)
    inner = raised(KeyError, "inner")

    class Chatty(Exception):
        def __str__(self):
            core.record(inner)
            return "chatty"

    core.record(raised(Chatty))
    counts = [0]
    signals = core.Counter("signals")
    running = True

    def handler(number, frame):
        counts[0] += 1
        signals.add(3)
        core.record(inner, operation="signal")
        # One at a time: on a busy machine handlers would pile up until there is no stack left.
        if running:
            signal.setitimer(signal.ITIMER_REAL, 0.0002)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    outer = raised(ValueError, "outer")
    for _ in range(20_000):
        core.record(outer)
    running = False  # else one that is under way sets the timer again
    signal.setitimer(signal.ITIMER_REAL, 0)
    return counts[0]


def put_off(core, path):
    """Records that come in at each line of what does those that were put off, as handlers do."""
    bound(core, path)
    inner, outer = raised(KeyError, "inner"), raised(ValueError, "outer")
    core.record(inner, operation="signal")
    lines = at = came_in = 0

    def come_in():
        nonlocal came_in
        came_in += 1
        core.record(inner, operation="signal")

    def trace(frame, event, arg):
        nonlocal lines
        name = frame.f_code.co_name
        if not frame.f_globals["__name__"].startswith("faultplane._pure"):
            return None
        if name == "_write_row" and event == "call":
            come_in()
            come_in()
        elif name == "run_deferred" and event == "line":
            lines += 1
            if lines == at:
                come_in()
        return trace if name == "run_deferred" else None

    for at in range(1, 41):
        lines = 0
        sys.settrace(trace)
        core.record(outer)
        sys.settrace(None)
    return came_in + 1


def handed_over(core, path):
    """Adds that come in at each line of what hands over; (told, in the domain) after each."""
    many_series(core, path, schema.SERIES_MAX)
    late = core.Counter("another late one")
    cell = schema.OVERFLOW_CELLS_OFFSET + 8 * (schema.OVERFLOW_CELLS - 1)
    lines = at = 0
    told = 3  # by many_series()
    found = []

    def trace(frame, event, arg):
        nonlocal lines, told
        if frame.f_code.co_name != "hand_over":
            return None
        if event == "line":
            lines += 1
            if lines == at:
                told += 1
                late.add()
        return trace

    def hand_over():
        nonlocal told
        told += 2
        late.add(2)
        data = (Path(path) / "registry").read_bytes()[cell : cell + 8]
        found.append((told, int.from_bytes(data, "little")))

    for at in range(1, 121):
        lines = 0
        sys.settrace(trace)
        hand_over()
        sys.settrace(None)
    hand_over()
    return found


def interrupted(core, path, base):
    """Signal handlers that raise, anywhere inside a record."""
    bound(core, path)

    class Interrupt(getattr(builtins, base)):
        pass

    def handler(number, frame):
        raise Interrupt

    signal.signal(signal.SIGALRM, handler)
    errors = kept(4)
    acknowledged = attempted = 0
    longer = 1  # on a machine so slow that no record comes to its end in time
    for i in range(3000):
        if i % 60 == 0 and acknowledged == 0 < i:
            longer *= 2
        try:
            signal.setitimer(signal.ITIMER_REAL, longer * (0.00001 + i % 60 * 0.000003))
            attempted += 1
            core.record(errors[i % 4], attributes={"i": i} if i % 3 else None)
            acknowledged += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            continue
    return [acknowledged, attempted]


def threads(core, path, count, records):
    bound(core, path)
    counter = core.Counter("n")

    def work(name):
        error = raised(ValueError, name)
        for _ in range(records):
            core.record(error, operation=name)
            counter.add(2)

    workers = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
