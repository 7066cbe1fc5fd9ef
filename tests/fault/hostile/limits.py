"""Where the stack or memory ends while an error is recorded.

Between a record and the note that it returned there is no call: there may be no room for one.
``facts["returned"]`` says how many returned, beside what the ledger holds.
"""

from __future__ import annotations

import sys

import faultplane as fp
from faultplane.classify import Classification

from .ledger import caught, raised
from .texts import Doing


def recording_itself(ledger, limit):
    """An exception whose text records it, until the interpreter says that it is enough."""
    returned = [0]
    answers = []

    def again(error):
        answer = fp.record(error, "charge")
        returned[0] += 1
        answers[:] = [answer]
        return "came back"

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    answer = fp.record(raised(Doing, again), "charge")
    sys.setrecursionlimit(before)
    assert {type(one) for one in (*answers, answer)} == {Classification}
    ledger.facts["returned"] = returned[0] + 1


def records_itself_without_end(ledger):
    recording_itself(ledger, 1_000)


def records_itself_ten_thousand_deep(ledger):
    recording_itself(ledger, 10_000)


def at_the_limit(ledger):
    """RecursionError recorded in every frame that it passes, from the innermost out."""
    returned = [0]
    answers = []

    def fall():
        nonlocal answers
        try:
            fall()
        except RecursionError as error:
            answer = fp.record(error, "charge")
            returned[0] += 1
            answers += [answer]
            raise

    caught(fall)
    assert {type(answer) for answer in answers} == {Classification}
    ledger.facts["returned"] = returned[0]


def new_errors_at_the_limit(ledger):
    """Another error in every frame, so that each is a first sighting with ever more stack."""
    returned = [0]
    kinds = [type(f"Kind{i}", (ValueError,), {}) for i in range(100)]
    errors = [raised(kind, "x") for kind in kinds]

    def fall():
        try:
            fall()
        except RecursionError:
            if errors:
                fp.record(errors[-1], "charge")
                del errors[-1]
                returned[0] += 1
            raise

    caught(fall)
    ledger.facts["returned"] = returned[0]
