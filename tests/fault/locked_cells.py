"""Guarded calls while another process holds the byte under which the pure core changes cells, as
one does that was stopped in the middle: a program of ``test_locked_cells.py``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faultplane as fp
from faultplane.store import lifecycle
from faultplane.store.control import CellState, ControlFile

NOW = fp.constant(0)
HOLD = """
import fcntl, os, sys
from faultplane.control_schema import LOCK_CELLS
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, LOCK_CELLS)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held() -> Iterator[None]:
    """Another process holds the byte."""
    owned = lifecycle.owned()
    assert owned is not None
    command = [sys.executable, "-c", HOLD, os.path.join(owned[0].path, "locks")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        yield
        holder.stdin.close()


def read(dependency: fp.Dependency) -> CellState:
    """Its cell, as other processes see it."""
    owned = lifecycle.owned()
    assert owned is not None
    with ControlFile.open(owned[0]) as file:
        index = file.find(dependency.name)
        assert index is not None
        return file.read(index)


def make(name: str, **changes: Any) -> fp.Dependency:
    """One that has everything, known to the domain before anybody holds anything."""
    options = {
        "breaker": fp.Breaker(failure_rate=None, consecutive=3, open_for=60),
        "limit": 2,
        "retry": fp.Retry(attempts=2, backoff=NOW, budget=fp.RetryBudget(ratio=1.0)),
    }
    dependency = fp.Dependency(name, **{**options, **changes})
    assert dependency.call(str, "known") == "known"
    return dependency


def fail() -> None:
    raise TimeoutError("no answer")


def raised(call: Any, *args: Any) -> str:
    """Name of what it raises, "" for nothing."""
    try:
        call(*args)
    except Exception as error:
        return type(error).__name__
    return ""


def calls(dependency: fp.Dependency) -> list[str]:
    """What calls of each kind raise."""

    async def coroutine() -> None:
        await asyncio.sleep(0)

    def in_block() -> None:
        with dependency:
            pass

    def in_attempts() -> None:
        for attempt in dependency.attempts():
            with attempt:
                fail()

    numbers = dependency(lambda: iter(()))
    ways = [
        lambda: dependency.call(str), lambda: dependency.call(fail), in_block, in_attempts, numbers,
        lambda: asyncio.run(dependency.acall(coroutine)), lambda: dependency.call(int, "no number"),
    ]  # fmt: skip
    return [raised(way) for way in ways]


def nothing_is_raised() -> None:
    """Nothing of ours: neither where it is let through, nor where it is told of."""
    dependency = make("let through")
    with held():
        found = calls(dependency)
        assert dependency.shared
        assert ("did not reach" in dependency.problem) == (fp.core == "python"), dependency.problem
    expected = ["", "TimeoutError", "", "TimeoutError", "", "", "ValueError"]
    assert found == expected, found
    assert dependency.call(str, "told") == "told"
    dependency.cell.window()
    state = read(dependency)
    assert (state.permits, state.probes, state.tokens_held) == (0, 0, 0), state
    assert state.totals["failures"] >= 2, state.totals


def what_was_held_is_given_back() -> None:
    """Begun before, ended meanwhile: each gives back what it holds as soon as it can."""
    dependency = make("given back", limit=5)
    begun = [dependency.guard.begin() for _ in range(4)]
    begun[3].failed(TimeoutError())  # a retry is held for
    assert (read(dependency).permits, read(dependency).tokens_held) == (3, 1)
    with held():
        begun[0].succeeded()
        begun[1].failed(TimeoutError(), last=True)
        begun[2].ignored()
        begun[3].again()
        begun[3].succeeded()
    before = read(dependency).totals
    assert dependency.call(str, "told") == "told"
    state = read(dependency)
    assert (state.permits, state.probes, state.tokens_held) == (0, 0, 0), state
    told = {name: n - before[name] for name, n in state.totals.items() if n != before[name]}
    wanted = {"failures": 1, "ignored": 1, "retries": 1, "recovered": 1}
    assert told in (wanted, {}), told  # all at once, or the core waits for nobody
    assert all(state.totals[name] >= n for name, n in wanted.items()), state.totals


def a_probe_is_given_back() -> None:
    """Those of a half-open breaker, whatever came of them."""
    breaker = fp.Breaker(failure_rate=None, consecutive=1, open_for=0.001, probes=3)
    dependency = make("probes", breaker=breaker, limit=None, retry=None)
    assert raised(dependency.call, fail) == "TimeoutError"
    probes = []
    while not probes:
        try:
            probes.append(dependency.guard.begin())
        except fp.errors.BreakerOpen:
            continue
    probes += [dependency.guard.begin(), dependency.guard.begin()]
    assert read(dependency).probes == 3 and raised(dependency.call, str) == "BreakerOpen"
    with held():
        probes[0].succeeded()
        probes[1].ignored()
        probes[2].ignored()
    for _ in range(3):
        assert raised(dependency.call, str) in {"", "BreakerOpen"}
    assert read(dependency).probes == 0 or read(dependency).state == "closed", read(dependency)


def an_open_breaker_lets_through() -> None:
    """As if it were not shared: who cannot be asked rejects nobody."""
    breaker = fp.Breaker(failure_rate=None, consecutive=1, open_for=60)
    dependency = make("open", breaker=breaker, retry=None)
    assert raised(dependency.call, fail) == "TimeoutError"
    with held():
        found = raised(dependency.call, str)
    assert found == ("" if fp.core == "python" else "BreakerOpen")
    assert raised(dependency.call, str) == "BreakerOpen"


def main() -> None:
    """``locked_cells.py PROGRAM``."""
    fp.init(service="locked")
    globals()[sys.argv[1]]()
