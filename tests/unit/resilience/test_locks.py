"""Locks of the process: a forked child, and what comes in between in the same thread, go on."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import pytest

from faultplane.errors import InvalidName
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.fallback import Fallback
from faultplane.resilience.health import Health, HealthChecks
from faultplane.resilience.keys import Children

SECONDS_MAX = 20
AGAIN = "again"


def in_a_child(function):
    """Whether ``function`` gave True in a forked child; it is killed if it hangs."""
    with warnings.catch_warnings():  # from 3.12 on a fork beside threads is warned of
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS_MAX)
        os._exit(0 if function() is True else 1)
    return os.waitpid(child, 0)[1] == 0


class Held:
    """A thread that is in the middle of ``function``, which is given what to call there."""

    def __init__(self, function):
        self._there, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=function, args=(self._stay,))

    def _stay(self, *_):
        self._there.set()
        assert self._over.wait(SECONDS_MAX)
        return True

    def __enter__(self):
        self._thread.start()
        assert self._there.wait(SECONDS_MAX)
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(SECONDS_MAX)


class Key:
    """An argument that is looked at slowly."""

    def __init__(self, looked_at=lambda: None):
        self._looked_at = looked_at

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self._looked_at()
        other._looked_at()  # whichever of the two is asked
        return True


def test_a_child_has_keys_while_a_thread_of_its_parent_made_one():
    made = Children(lambda key: stay() if (stay := waits.get(key)) else key)
    waits = {}

    def make(stay):
        waits["slow"] = stay
        made.get("slow")

    with Held(make):
        assert in_a_child(lambda: made.get("other") == "other")
    assert made.get("other") == "other"


def test_a_child_has_answers_while_a_thread_of_its_parent_looked_for_one():
    stale = Fallback.stale()
    stale.remember((Key(),), {}, "answer")
    with Held(lambda stay: stale.serve(OSError(), (Key(stay),), {})):
        assert in_a_child(lambda: stale.serve(OSError(), (Key(),), {}) == "answer")
    assert stale.serve(OSError(), (Key(),), {}) == "answer"


def test_a_child_checks_the_health_of_its_own_while_a_thread_of_its_parent_did(name):
    checks = [lambda: True]
    alone = Dependency(name, health=Health(lambda: checks[-1]()), scope="process")
    looks = HealthChecks(alone)
    assert alone.health == "unknown"

    def check(stay):
        checks.append(stay)
        looks.look()

    def looks_itself():
        checks.append(lambda: True)
        looks.look()
        return alone.health == "healthy"

    with Held(check):
        assert in_a_child(looks_itself)
    assert alone.health == "healthy"


def test_what_comes_in_between_in_the_same_thread_gets_the_same_key():
    made = Children(lambda key: [key, *([] if key == AGAIN else [made.get(AGAIN)])])
    assert made.get("first") == ["first", [AGAIN]]

    depth = []

    def make(key):
        depth.append(key)
        return made_again.get(key) if len(depth) == 1 else [key]

    made_again = Children(make)
    assert made_again.get("key") is made_again.get("key")


def test_what_comes_in_between_in_the_same_thread_gets_an_answer():
    stale = Fallback.stale()
    stale.remember((Key(),), {}, "answer")
    found = []
    asks = Key(lambda: found.append(stale.serve(OSError(), (Key(),), {})))
    assert stale.serve(OSError(), (asks,), {}) == "answer"
    assert set(found) == {"answer"}


@pytest.mark.parametrize("key", [None, 3, b"key", [], {}])
def test_a_key_that_is_no_text_is_refused_by_name(name, key):
    with pytest.raises(InvalidName, match="key must be text"):
        Dependency(name).for_key(key)
