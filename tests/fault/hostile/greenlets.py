"""Texts that let another greenlet run, which records as well: of greenlet, and of gevent's hub."""

from __future__ import annotations

import gevent
import greenlet

import faultplane as fp

from .ledger import raised
from .texts import UNPRINTABLE, Doing


def switches_in_its_text(ledger):
    """Each records in the middle of another's record; some of a hundred never come back."""
    main = greenlet.getcurrent()

    def switching(_):
        main.switch()
        return "back"

    def work():
        error = raised(Doing, switching)
        answer = fp.record(error, "charge")
        came_back = greenlet.getcurrent() in waiting[:50]
        ledger.note(error, answer, "back" if came_back else UNPRINTABLE)

    waiting = [greenlet.greenlet(work) for _ in range(100)]
    for one in waiting:
        one.switch()
        ledger.record(raised(KeyError, "meanwhile"))
    for one in waiting[:50]:
        one.switch()
        assert one.dead
    for one in waiting[50:75]:
        one.throw()  # GreenletExit in its text: the record goes on without it
    while len(waiting) > 75:
        waiting.pop()  # the same, when the greenlet is let go


def killed(ledger):
    """What a greenlet that is killed in its text has recorded is whole."""
    main = greenlet.getcurrent()
    answers = []

    def work():
        error = raised(Doing, lambda _: main.switch())
        answers.append((error, fp.record(error, "charge")))

    for _ in range(10):
        one = greenlet.greenlet(work)
        one.switch()
        one.throw()
        ledger.note(*answers[-1], UNPRINTABLE)


def sleeps_in_its_text(ledger):
    """Under gevent's hub, many at once."""

    def sleeping(_):
        gevent.sleep(0.001)  # others record meanwhile
        return "slept"

    def work():
        for _ in range(20):
            ledger.record(raised(Doing, sleeping), "slept")

    gevent.joinall([gevent.spawn(work) for _ in range(20)], raise_error=True)
