"""What an answer of ``classify`` costs: from the core's memory, and from the rules.

The core's function is timed itself, in nanoseconds a call, the loop included (a few nanoseconds):
the minimum of several rounds, since what disturbs a round only ever adds. A core is chosen
when the package is imported, so each parameter needs a process of its own, which is how asv runs
them.
"""

from __future__ import annotations

import timeit
import urllib.error

from .cores import CORES, load

CALLS = 10_000
ROUNDS = 15


class Unheard(Exception):
    """A type that no rule knows."""


def chained():
    """An exception that says nothing, raised from one that does."""
    error = Unheard("cannot charge")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    return error


def unavailable():
    """A response of status 503 that says nothing more."""
    return urllib.error.HTTPError("http://shop", 503, "unavailable", {}, None)


def unreachable():
    """A URLError around what the system said."""
    return urllib.error.URLError(ConnectionRefusedError(111, "refused"))


def busy():
    """A response of status 503 that says when to come back."""
    return urllib.error.HTTPError("http://shop", 503, "busy", {"Retry-After": "3"}, None)


ERRORS = {
    "known_type": lambda: KeyError("k"),
    "known_errno": lambda: ConnectionRefusedError(111, "refused"),
    "unknown_type": lambda: Unheard("?"),
    "cause": chained,
    "http_status": unavailable,
    "http_retry_after": busy,
    "url_reason": unreachable,
    "group": lambda: ExceptionGroup("g", [KeyError("k"), chained(), OSError(28, "full")]),
}


def rules(core):
    """The two functions that give answers, on ``core``."""
    load(core)
    from faultplane import classify
    from faultplane.classify import classify_for_core

    return classify, classify_for_core


class Answer:
    """``classify(exc)`` of an exception whose like was seen before."""

    params = (CORES, tuple(ERRORS))
    param_names = ("core", "error")
    unit = "ns"

    def setup(self, core, error):
        classify, hook = rules(core)
        exc = ERRORS[error]()
        classify(exc)
        scope = {"classify": classify, "hook": hook, "exc": exc}
        # As text, so that the loop calls the function itself and no lambda around it.
        self.remembered = timeit.Timer("classify(exc)", globals=scope)
        self.asked = timeit.Timer("hook(exc)", globals=scope)

    def _minimum(self, timer):
        return min(timer.repeat(repeat=ROUNDS, number=CALLS)) / CALLS * 1e9

    def track_classify(self, core, error):
        return self._minimum(self.remembered)

    def track_rules(self, core, error):
        """The rules alone: what a core pays for the first of its kind, and each it cannot keep."""
        return self._minimum(self.asked)

    track_classify.unit = track_rules.unit = unit


class Change:
    """A user rule registered and taken back, the cores' memory emptied each time."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        load(core)
        from faultplane.classify import register_rule

        self.register = register_rule

    def time_register_and_unregister(self, core):
        self.register(Unheard, kind="BusinessLogic").unregister()
