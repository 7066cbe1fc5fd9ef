"""What a guarded call costs, ours and what users would pick instead, in one run.

    python -m benchmarks.peers.guarded                      5 sets of 30 rounds
    python -m benchmarks.peers.guarded --sets 9 --rounds 100
    python -m benchmarks.peers.guarded --peers tenacity pybreaker
    python -m benchmarks.peers.guarded --json

A set is a process for each peer and four of ours: both cores, in a domain and in the process alone.
In a round each of them in turn measures a block of every call that it has, so that what else the
machine does meets all alike. What counts is the least block of a set, and of the sets the median.
Every library is to be seen guarding: each call and each try reaches the function, each rejected
call does not, and afterwards what was measured is given failures, which it has to try again, and to
reject in the end where it has a breaker. Ratios are to ours in a domain on the compiled core:
``net`` of the bare call where it succeeds, and ``whole``. Exit status 1 where a bound or a goal is
missed. Needs the extra ``bench``; a peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from benchmarks.peers.frameworks import domain_directory
from faultplane.cli.bench import cores, guarded, measure
from faultplane.cli.bench.guarded import (
    ATTEMPTS,
    AWAITED,
    CASES,
    REJECTED,
    RETRIED,
    SUCCEEDS,
    Guards,
)
from faultplane.cli.bench.report import number, times
from faultplane.cli.output import print_table

SETS: Final = 5
ROUNDS: Final = 30
ROUNDS_MIN: Final = 3
LONG_SECONDS: Final = 86_400

OURS: Final = {
    "ours": ("cython", "domain"),
    "ours, alone": ("cython", "alone"),
    "ours, pure": ("python", "domain"),
    "ours, pure, alone": ("python", "alone"),
}
"""Core, and where: in a domain or in the process alone."""
BOUNDS_NANO: Final = {
    "ours": {SUCCEEDS: 150, AWAITED: 1_000, REJECTED: 500, RETRIED: 2_400},
    "ours, alone": {SUCCEEDS: 150, AWAITED: 1_000, REJECTED: 500, RETRIED: 2_400},
    "ours, pure": {SUCCEEDS: 4_000},
    "ours, pure, alone": {SUCCEEDS: 4_000},
}


class Peer(NamedTuple):
    """A library, and how many times as much as ours it is to cost at least, by case."""

    package: str
    set_up: Callable[[], Guards]
    goals: dict[str, int] = {}


def _nothing(seconds: float) -> None:
    """What stands for sleeping."""


async def _nothing_awaited(seconds: float) -> None:
    """What stands for sleeping in a coroutine."""


# ------------------------------------------------------------------------------------ the peers


def by_hand() -> Guards:
    """A loop with try and except: the least that trying again can cost in Python."""

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(ATTEMPTS):
                try:
                    return function(*args, **kwargs)
                except ConnectionError:
                    if attempt == ATTEMPTS - 1:
                        raise
            return None

        return tried

    return Guards(guard, None, None, guard, None)


def tenacity() -> Guards:
    """Three attempts on ConnectionError, reraise; wait and sleep do nothing."""
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_none

    def guard(sleep: Any) -> Any:
        return retry(
            stop=stop_after_attempt(ATTEMPTS),
            retry=retry_if_exception_type(ConnectionError),
            wait=wait_none(),
            reraise=True,
            sleep=sleep,
        )

    return Guards(guard(_nothing), guard(_nothing_awaited), None, guard(_nothing), None)


def stamina() -> Guards:
    """Three attempts on ConnectionError, no hooks on retries; waits are 0, sleep does nothing."""
    import stamina as library
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks(())  # those by default log each retry
    # The function that both libraries sleep with looks the module up here each time.
    nap: Any = importlib.import_module("tenacity.nap")
    nap.time = SimpleNamespace(sleep=_nothing)
    guard: Any = library.retry(
        on=ConnectionError, attempts=ATTEMPTS, wait_initial=0, wait_max=0, wait_jitter=0
    )
    return Guards(guard, guard, None, guard, None)


def pybreaker() -> Guards:
    """A breaker that opens after five failures in a row, without listeners; it has no retry."""
    from pybreaker import CircuitBreaker, CircuitBreakerError

    def guard(function: Callable[..., Any]) -> Any:
        return CircuitBreaker(fail_max=5, reset_timeout=LONG_SECONDS)(function)

    return Guards(guard, None, guard, None, CircuitBreakerError, attempts=1)


def circuitbreaker() -> Guards:
    """A breaker that opens after five failures in a row; it has no retry."""
    from circuitbreaker import CircuitBreakerError, circuit

    def guard(function: Callable[..., Any]) -> Any:
        made = circuit(
            failure_threshold=5,
            recovery_timeout=LONG_SECONDS,
            expected_exception=ConnectionError,
        )
        return made(function)

    return Guards(guard, guard, guard, None, CircuitBreakerError, attempts=1)


def nopanic() -> Guards:
    """Three attempts and a breaker of half the calls in 30 seconds, no budget, no listeners."""
    return _nopanic(budget=False)


def nopanic_budget() -> Guards:
    """The same with a retry budget of the process: what comes nearest to ours."""
    return _nopanic(budget=True)


def _nopanic(*, budget: bool) -> Guards:
    from nopanic import CircuitOpen, RetryBudget, _core, circuit_breaker, compose, retry

    _core.sleep = _nothing
    _core.asleep = _nothing_awaited

    def guard(**settings: Any) -> Any:
        def made(function: Callable[..., Any]) -> Any:
            kept = RetryBudget(ratio=1.0, min_retries_per_sec=1e6) if budget else None
            tried = retry(attempts=ATTEMPTS, on=ConnectionError, backoff=0.0, budget=kept)
            return compose(tried, circuit_breaker(**settings))(function)

        return made

    breaks, never = guard(reset_timeout=LONG_SECONDS), guard(failure_threshold=1.0)
    return Guards(breaks, breaks, breaks, never, CircuitOpen)


def interlock() -> Guards:
    """Its breaker alone: a window of 100 calls, half of them; it has no retry of its own."""
    from interlock import CircuitBreaker, CircuitOpenError, Config

    config = Config(wait_duration_in_open=LONG_SECONDS)

    def guard(function: Callable[..., Any]) -> Any:
        return CircuitBreaker(name="bench", config=config)(function)

    return Guards(guard, guard, guard, None, CircuitOpenError, attempts=1)


def interlock_tenacity() -> Guards:
    """Its pipeline of tenacity's retry and the breaker; wait and sleep do nothing."""
    from interlock import CircuitBreaker, CircuitBreakerStrategy, CircuitOpenError, Config, Pipeline
    from interlock.integrations.tenacity import RetryStrategy
    from tenacity import wait_none

    def guard(**settings: Any) -> Any:
        def made(function: Callable[..., Any]) -> Any:
            retry = RetryStrategy(
                attempts=ATTEMPTS,
                wait=wait_none(),
                sleep=_nothing,
                async_sleep=_nothing_awaited,
            )
            config = Config(wait_duration_in_open=LONG_SECONDS, **settings)
            breaker = CircuitBreaker(name="bench", config=config)
            return Pipeline(retry, CircuitBreakerStrategy(breaker))(function)

        return made

    breaks, never = guard(), guard(failure_rate_threshold=1.0)
    return Guards(breaks, breaks, breaks, never, CircuitOpenError)


PEERS: Final = {
    "loop by hand": Peer("", by_hand),
    "tenacity": Peer("tenacity", tenacity, {SUCCEEDS: 80, AWAITED: 25, RETRIED: 15}),
    "stamina": Peer("stamina", stamina, {SUCCEEDS: 80, AWAITED: 15}),
    "pybreaker": Peer("pybreaker", pybreaker, {SUCCEEDS: 8, REJECTED: 5}),
    "circuitbreaker": Peer("circuitbreaker", circuitbreaker, {SUCCEEDS: 3}),
    "nopanic": Peer("nopanic", nopanic, {SUCCEEDS: 8}),
    "nopanic, budget": Peer("nopanic", nopanic_budget),
    "interlock-cb": Peer("interlock-cb", interlock),
    "interlock-cb, tenacity": Peer("interlock-cb", interlock_tenacity),
}


# ------------------------------------------------------------------------- in a process of its own


def measure_rounds(name: str) -> None:
    """Say what is measured, measure a round for each line that is read, and check at the end."""
    peer = PEERS.get(name)
    try:
        if peer is None:
            measure.refuse_debug_build()
            if OURS[name][1] == "domain":
                guarded.fp.init(service="bench", domain="bench")
            made, guards = guarded.fp.__version__, guarded.guards()
        else:
            made = version(peer.package) if peer.package else "standard library"
            guards = peer.set_up()
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        _tell({"missing": str(error)})
        return
    with guarded.Guarded(guards) as measured:
        rounds = measure.Rounds(measured.cases)
        _tell({"version": made})
        for _ in sys.stdin:
            _tell(rounds.one_more())
        calls = measured.check()
    if peer is None and OURS[name][1] == "domain":
        guarded.check_shared(calls)
    _tell(calls)


def _tell(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


class Candidate:
    """A process that measures one of them, a round whenever it is asked."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        core, _ = OURS.get(name, ("auto", ""))
        self.name = name
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.guarded", "--measure", name],
            env={
                **environment,
                "FAULTPLANE_CORE": core,
                "FAULTPLANE_BUDGET_BYTES": str(1 << 28),
                "FAULTPLANE_DETAIL_PER_SECOND": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def heard(self) -> Any:
        """What it says next; ends the run where it says nothing."""
        assert self._child.stdout is not None
        words = self._child.stdout.readline()
        if not words:
            raise SystemExit(f"{self.name} ended with {self._child.wait()}")
        return json.loads(words)

    def a_round(self) -> dict[str, tuple[float, float]]:
        """Nanoseconds of a call and of its floor, by case."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        found: dict[str, tuple[float, float]] = self.heard()
        return found

    def ended(self) -> dict[str, int]:
        """Have it check what it measured; calls by case."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        calls: dict[str, int] = self.heard()
        self._child.wait()
        return calls

    def close(self) -> None:
        """End it, in whatever state it is."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


# -------------------------------------------------------------------------------------- the sets


def a_set(names: list[str], rounds: int, order: random.Random) -> dict[str, dict[str, Any]]:
    """What each took in so many rounds; ``missing`` says why there is none."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        there = []
        for name in names:
            _, environment = stack.enter_context(domain_directory())
            candidate = Candidate(name, environment)
            stack.callback(candidate.close)
            found[name] = candidate.heard()
            if "missing" not in found[name]:
                there.append(candidate)
        spent: dict[str, dict[str, list[tuple[float, float]]]] = {one.name: {} for one in there}
        for _ in range(rounds):
            order.shuffle(there)
            for one in there:
                for case, pair in one.a_round().items():
                    spent[one.name].setdefault(case, []).append(pair)
        for one in there:
            calls = one.ended()
            found[one.name]["cases"] = {
                case: measure.timing(pairs, calls[case])._asdict()
                for case, pairs in spent[one.name].items()
            }
    return found


def summary(sets: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of each candidate its figures by case: medians over the sets, and what is to be held."""
    found = {}
    for name, first in sets[0].items():
        found[name] = {key: first[key] for key in ("version", "missing") if key in first}
        found[name]["cases"] = {case: _figures(name, case, sets) for case in first.get("cases", ())}
    return found


def _figures(name: str, case: str, sets: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    ours = [one["ours"]["cases"][case] for one in sets]
    mine = [one[name]["cases"][case] for one in sets]
    figures: dict[str, Any] = {
        key: statistics.median(one[key] for one in mine)
        for key in ("minimum", "median", "whole", "floor")
    }
    figures["minimum_of_sets"] = [one["minimum"] for one in mine]
    figures["calls"] = sum(one["calls"] for one in mine)
    for key, field in (("net", "minimum"), ("whole", "whole")):
        pairs = zip(mine, ours, strict=True)
        figures[f"times_{key}_of_sets"] = [
            it[field] / our[field] if our[field] else 0.0 for it, our in pairs
        ]
        figures[f"times_{key}"] = statistics.median(figures[f"times_{key}_of_sets"])
    bound = BOUNDS_NANO.get(name, {}).get(case)
    goal = PEERS[name].goals.get(case) if name in PEERS else None
    figures |= {"bound": bound, "goal": goal}
    figures["holds"] = (bound is None or figures["minimum"] <= bound) and (
        goal is None or figures["times_net"] >= goal
    )
    return figures


# -------------------------------------------------------------------------------------- printing


def print_tables(found: dict[str, dict[str, Any]]) -> None:
    """Ours against their bounds, then each peer against ours."""
    there = {name: one for name, one in found.items() if "missing" not in one}
    heads = ["nanoseconds", *(name for name in OURS if name in there), "bound", "pure"]
    rows = []
    for case in CASES:
        figures = [one["cases"].get(case, {}) for name, one in there.items() if name in OURS]
        bounds = [BOUNDS_NANO[name].get(case) for name in ("ours", "ours, pure")]
        rows.append(
            [
                case,
                *(number(one.get("minimum")) for one in figures),
                *(f"≤ {bound:,}" if bound else "" for bound in bounds),
            ]
        )
    print_table(heads, rows, heads[1:])
    print()
    heads = ["instead", "ns", "median", "whole", "× net", "goal", "× whole"]
    rows = []
    for name, one in there.items():
        if name in OURS:
            continue
        rows.append([f"{name} {one['version']}", *[""] * 6])
        rows += [[f"  {case}", *_told(figures)] for case, figures in one["cases"].items()]
    print_table(heads, rows, heads[1:])
    for name, one in found.items():
        if "missing" in one:
            print(f"{name}: {one['missing']}")
        elif name in PEERS:
            print(f"{name}: {PEERS[name].set_up.__doc__}")
    for name, case in missed(found):
        print(f"! {name}, {case}: missed")


def _told(figures: dict[str, Any]) -> list[str]:
    return [
        *(number(figures[key]) for key in ("minimum", "median", "whole")),
        times(figures["times_net"], 1.0),
        f"≥ {figures['goal']}" if figures["goal"] else "",
        times(figures["times_whole"], 1.0),
    ]


def missed(found: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Whose calls take longer than they may, or cost too few times as much as ours."""
    return [
        (name, case)
        for name, one in found.items()
        for case, figures in one["cases"].items()
        if not figures["holds"]
    ]


def main(words: list[str]) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.guarded",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", type=int, default=SETS, help=f"of processes ({SETS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of a set ({ROUNDS})")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what a process is told
    options = parser.parse_args(words)
    if options.measure:
        measure_rounds(options.measure)
        return 0
    if options.rounds < ROUNDS_MIN:
        parser.error(f"--rounds must be at least {ROUNDS_MIN}, got {options.rounds}")
    if options.sets < 1:
        parser.error(f"--sets must be at least 1, got {options.sets}")
    ours = [name for name, (core, _) in OURS.items() if core in cores()]
    order, sets = random.Random(7), []
    load = [os.getloadavg()[0]]
    for number_ in range(options.sets):
        print(f"set {number_ + 1} of {options.sets} …", file=sys.stderr, flush=True)
        sets.append(a_set([*ours, *options.peers], options.rounds, order))
    load.append(os.getloadavg()[0])
    found = summary(sets)
    if options.json:
        print(json.dumps({"machine": machine(), "load": load, "found": found}, indent=2))
    else:
        print(f"{machine()}; load {load[0]:.1f} to {load[1]:.1f}; {options.sets} sets")
        print_tables(found)
    return 1 if missed(found) else 0


def machine() -> str:
    """Interpreter, system and processors."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
