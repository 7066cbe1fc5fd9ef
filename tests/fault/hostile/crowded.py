"""Records that come in between others, at moments that nobody chose.

Which of them the pure core has no row for (``reentrant``) is chance; that each that returned is
counted, and that rows and drops add up, is not. ``facts["returned"]`` says how many returned.
"""

from __future__ import annotations

import random
import signal
import sys
import threading

import faultplane as fp

from .ledger import raised

ERRORS = [raised(kind, "x") for kind in (ValueError, KeyError, OSError, IndexError)]


class Slow(Exception):
    def __str__(self):
        return str(sum(range(200)))


def interrupted_by_signals(ledger):
    """A handler that records, in the middle of whatever runs, first sightings among it."""
    handled, returned = [0], 0

    def handle(*_):
        fp.record(ERRORS[handled[0] % 4], "charge")
        handled[0] += 1
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.0006))

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
    while handled[0] < 400:
        kind = type(f"Kind{returned}", (Slow,), {})
        fp.record(raised(kind), "charge")
        returned += 1
        fp.record(ERRORS[returned % 4], "charge")
        returned += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    ledger.facts["returned"] = returned + handled[0]


def every_call_is_profiled(ledger):
    """A profiler that records at each call that record() makes."""
    returned = [0]

    def profile(_frame, event, _argument):
        if event == "call" and returned[0] < 2_000:
            fp.record(ERRORS[returned[0] % 4], "charge")
            returned[0] += 1

    sys.setprofile(profile)
    for error in ERRORS * 25:
        fp.record(error, "charge")
        returned[0] += 1
    sys.setprofile(None)
    ledger.facts["returned"] = returned[0]


def every_open_is_audited(ledger):
    """An audit hook that records what record() itself opens."""
    returned, inside = [0], []

    def audit(event, _arguments):
        if event in ("open", "mmap.__new__", "fcntl.lockf") and len(inside) < 3:
            inside.append(event)
            fp.record(ERRORS[0], "charge")
            returned[0] += 1
            inside.pop()

    sys.addaudithook(audit)
    for _ in range(1_200):
        fp.record(ERRORS[1], "charge")
        returned[0] += 1
    inside += [1, 2, 3]
    ledger.facts["returned"] = returned[0]


def shared_by_threads(ledger):
    """One exception, raised again in some threads while it is recorded in others."""
    shared = raised(ValueError, "shared")
    returned = [0, 0, 0, 0]

    def work(me):
        for i in range(300):
            try:
                if i % 3:
                    raise shared
                raise shared.with_traceback(None)
            except ValueError as error:
                fp.record(error, "charge")
            returned[me] += 1

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(0.005)
    shared.__traceback__ = None
    ledger.facts["returned"] = sum(returned)
