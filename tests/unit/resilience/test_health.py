"""Health checks: who makes them, what they come to, and what others see of it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import threading
import time

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane.cli import breakers_view
from faultplane.errors import BreakerOpen, InvalidSetting
from faultplane.resilience.deadline import time_left
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.health import Health, HealthChecks, next_word
from faultplane.resilience.policy import Breaker

HOUR = 3600.0


def answering(*answers):
    """A check that gives these, one after the other; an exception is raised."""
    left = list(answers)

    def check():
        check.calls += 1
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    check.calls = 0
    return check


def due(dependency, seconds=2 * HOUR):
    """Have the next check be due: as if the last was so long ago."""
    words = dependency._place.health()
    words[0] -= round(1000 * seconds) if words[0] & layout.HEALTH_CHECKED_MASK else 0
    dependency._place.store_health(words, 0)


def results(dependency, number):
    """The state after each of so many checks."""
    checks, found = HealthChecks(dependency), []
    for _ in range(number):
        checks.look()
        found.append(dependency.health)
        due(dependency)
    return found


@pytest.fixture(autouse=True)
def long_ago(monkeypatch):
    """The clock of the host is far enough that something can have been long ago."""
    begun = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: begun() + 10**15)


# -------------------------------------------------------------------------------- hysteresis


@pytest.mark.parametrize(("rise", "fall"), [(1, 1), (2, 3), (3, 1)])
def test_it_changes_after_so_many_results_in_a_row_and_not_before(rise, fall):
    """Each sequence of nine results, against a list of them."""
    policy = Health(bool, rise=rise, fall=fall)
    for sequence in itertools.product((True, False), repeat=9):
        word, state = 0, "unknown"
        for at, is_good in enumerate(sequence):
            word = next_word(word, is_good, policy, at)
            seen = sequence[: at + 1]
            if state == "unknown" and is_good:
                state = "healthy"
            elif state != "unhealthy" and len(seen) >= fall and not any(seen[-fall:]):
                state = "unhealthy"
            elif state == "unhealthy" and len(seen) >= rise and all(seen[-rise:]):
                state = "healthy"
            assert layout.HEALTH_STATES[word >> layout.HEALTH_STATE_SHIFT] == state, seen
            assert word & layout.HEALTH_CHECKED_MASK == at


def test_what_a_check_does_decides_and_is_counted(name, seen):
    down = ConnectionError("down")
    check = answering(None, False, down, True, False, down, True, True)
    dependency = Dependency(name, health=Health(check, interval=HOUR, rise=2, fall=2))
    assert dependency.health == "unknown"
    assert results(dependency, 8) == [
        "healthy", "healthy", "unhealthy", "unhealthy", "unhealthy", "unhealthy", "unhealthy",
        "healthy",
    ]  # fmt: skip
    state = seen(dependency)
    assert (state.health, state.checks, state.checks_failed) == ("healthy", 8, 4)
    with fp.init() as domain:
        rows = [row for row in domain.records().rows() if row["operation"] == name]
    assert [row["message"] for row in rows] == ["down"]  # of the one that made it unhealthy


def test_a_check_that_takes_too_long_has_failed_and_sees_how_much_is_left(name):
    left = []

    def check():
        left.append(time_left())
        while time_left() > 0:
            pass

    dependency = Dependency(name, health=Health(check, interval=HOUR, timeout=0.01, fall=1))
    assert results(dependency, 1) == ["unhealthy"]
    assert 0 < left[0] <= 0.01 and time_left() is None


def test_a_check_that_ends_the_program_does_and_leaves_the_turn(name):
    def check():
        raise KeyboardInterrupt

    dependency = Dependency(name, health=Health(check, interval=HOUR))
    with pytest.raises(KeyboardInterrupt):
        HealthChecks(dependency).look()
    with dependency._place.turn_to_check() as is_mine:
        assert is_mine


# -------------------------------------------------------------------------------------- turns


@pytest.mark.parametrize("scope", ["host", "process"])
def test_it_is_checked_once_in_an_interval_whoever_looks(scope, name):
    check, other = answering(True, True), answering(True, True)
    dependency = Dependency(name, health=Health(check, interval=HOUR), scope=scope)
    again = Dependency(name, health=Health(other, interval=HOUR), scope=scope)
    assert HealthChecks(dependency).look() == HOUR
    assert HOUR - 60 < HealthChecks(dependency).look() <= HOUR
    HealthChecks(again).look()
    assert (check.calls, other.calls) == (1, int(scope == "process"))
    assert again.health == "healthy"
    due(dependency)
    HealthChecks(dependency).look()
    assert check.calls == 2


def test_nothing_is_known_where_nobody_has_checked_for_long(name):
    dependency = Dependency(name, health=Health(lambda: True, interval=1.0, timeout=1.0))
    HealthChecks(dependency).look()
    due(dependency, 3.5)
    assert dependency.health == "healthy"
    due(dependency, 1.0)
    assert dependency.health == "unknown"


def checking_process(name, messages, go):
    """A process that checks until it is killed: it says that it does, and waits for a byte."""
    child = os.fork()
    if child == 0:
        try:

            def check():
                os.write(messages, f"{os.getpid()}\n".encode())
                os.read(go, 1)

            HealthChecks(Dependency(name, health=Health(check, interval=0.01, timeout=60))).run()
        finally:
            os._exit(1)
    return child


def test_one_process_checks_at_a_time_and_another_goes_on_where_it_is_killed(name):
    said, messages = os.pipe()
    go, tell = os.pipe()
    mine = answering(*[True] * 1000)
    dependency = Dependency(name, health=Health(mine, interval=0.01, timeout=60))
    children = [checking_process(name, messages, go) for _ in range(3)]
    try:
        with os.fdopen(said) as lines:
            for _ in range(2):
                checking = int(lines.readline())
                # It is due, and whoever looks leaves it to who has the turn.
                for _ in range(100):
                    HealthChecks(dependency).look()
                assert mine.calls == 0
                os.kill(checking, signal.SIGKILL)
                os.waitpid(checking, 0)
                children.remove(checking)
            last = int(lines.readline())
            assert [last] == children
            os.write(tell, b"x")
            assert int(lines.readline()) == last
            assert dependency.health == "healthy"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for descriptor in (messages, go, tell):
            os.close(descriptor)


def test_a_child_that_is_forked_in_a_check_has_storage_and_tells_nothing(name, seen):
    """The turn is its parent's; and nothing that the domain stands for was half made."""

    def check():
        check.child = os.fork()
        if check.child == 0:
            check.is_child = True

    check.is_child = False
    dependency = Dependency(name, health=Health(check, interval=HOUR))
    try:
        HealthChecks(dependency).look()
        if check.is_child:
            is_well = dependency.call(str, "call") == "call" and dependency.shared
            os._exit(0 if is_well else 1)
    finally:
        if check.is_child:
            os._exit(2)
    assert os.waitpid(check.child, 0)[1] == 0
    assert seen(dependency).checks == 1


# ------------------------------------------------------------------------------ ways to run it


def test_no_thread_is_there_unless_it_is_asked_for_and_it_ends(name):
    before = set(threading.enumerate())
    checked = threading.Event()
    dependency = Dependency(name, health=Health(checked.set, interval=0.01))
    checks = HealthChecks(dependency)
    assert set(threading.enumerate()) == before
    assert checks.start() is checks
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon and thread.name == "faultplane health"
    with pytest.raises(InvalidSetting, match="already"):
        checks.start()
    assert checked.wait(20)
    checks.stop()
    assert not thread.is_alive()


def test_a_task_checks_coroutines_and_functions_side_by_side(name):
    called, awaited = threading.Event(), asyncio.Event()

    async def hang():
        await asyncio.Event().wait()

    async def answer():
        awaited.set()

    stuck = Dependency(f"{name}-1", health=Health(hang, interval=HOUR, timeout=60))
    well = Dependency(f"{name}-2", health=Health(answer, interval=0.01))
    plain = Dependency(f"{name}-3", health=Health(called.set, interval=0.01))

    async def main():
        task = asyncio.create_task(HealthChecks(stuck, well, plain).arun())
        await awaited.wait()
        assert await asyncio.to_thread(called.wait, 20)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert [one.health for one in (stuck, well, plain)] == ["unknown", "healthy", "healthy"]
    with stuck._place.turn_to_check() as is_mine:
        assert is_mine


def test_a_coroutine_that_takes_too_long_is_cancelled(name):
    async def hang():
        await asyncio.Event().wait()

    dependency = Dependency(name, health=Health(hang, interval=HOUR, timeout=0.01, fall=1))
    assert asyncio.run(dependency.checked.look_async()) == HOUR
    assert dependency.health == "unhealthy"
    with pytest.raises(InvalidSetting, match="arun"):
        HealthChecks(dependency).look()


# -------------------------------------------------------------------------------- the breaker


def test_a_breaker_is_opened_only_where_that_was_asked_for(name, seen):
    for opens in (False, True):
        policy = Health(answering(False, False), interval=HOUR, fall=2, opens=opens)
        dependency = Dependency(
            f"{name}-{opens}", health=policy, breaker=Breaker(open_for=50, open_max=50)
        )
        assert results(dependency, 1) == ["unknown"] and dependency.state == "closed"
        assert results(dependency, 1) == ["unhealthy"]
        assert dependency.state == ("open" if opens else "closed")
    with pytest.raises(BreakerOpen):
        dependency.call(str)
    (transition,) = seen(dependency).transitions
    assert (transition.cause, transition.after) == ("health check", "open")


def test_a_state_that_was_set_by_hand_stays(name):
    policy = Health(answering(False), interval=HOUR, fall=1, opens=True)
    dependency = Dependency(name, health=policy, breaker=Breaker())
    dependency.cell.move(layout.BREAKER_DISABLED, layout.CAUSE_FORCED)
    assert results(dependency, 1) == ["unhealthy"]
    assert dependency.state == "disabled"


# ------------------------------------------------------------------------------- what is seen


def test_rows_and_the_command_show_it(name):
    dependency = Dependency(name, health=Health(answering(True), interval=HOUR))
    with fp.init() as domain:
        dependency.cell.state()
        (row,) = [row for row in domain.dependencies_rows() if row["name"] == name]
        assert (row["health"], row["health_age_seconds"], row["checks"]) == ("", None, 0)
        HealthChecks(dependency).look()
        (row,) = [row for row in domain.dependencies_rows() if row["name"] == name]
    assert (row["health"], row["checks"], row["checks_failed"]) == ("healthy", 1, 0)
    assert 0 <= row["health_age_seconds"] < 60 and row["health_since_unix_nano"] > 0
    assert row["declaration"]["health"]["interval"] == HOUR
    shown = "\n".join(breakers_view.lines([row]) + breakers_view.details(row))
    assert "healthy" in shown and "1 check, 0 failed" in shown


def test_a_check_of_a_long_name_is_declared_by_its_numbers(name):
    """What is declared has a bound, and a function may be called anything."""
    check = functools.partial(lambda *_: True, "a" * 5000)
    dependency = Dependency(name, health=Health(check, interval=HOUR))
    HealthChecks(dependency).look()
    assert (dependency.shared, dependency.problem, dependency.health) == (True, "", "healthy")
    with fp.init() as domain:
        (row,) = [row for row in domain.dependencies_rows() if row["name"] == name]
    told = {"interval": HOUR, "timeout": 2.0, "rise": 2, "fall": 3, "opens": False}
    assert row["declaration"]["health"] == told


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Health(5), "check must be a function"),
        (lambda: Health(bool, interval=0), "interval must be 0.01 to 86400, got 0"),
        (lambda: Health(bool, timeout=0), "timeout must be 0.001 to 86400, got 0"),
        (lambda: Health(bool, rise=0), "rise must be a whole number from 1 to 1000, got 0"),
        (lambda: Health(bool, fall=1001), "fall must be a whole number from 1 to 1000, got 1001"),
        (lambda: Dependency("n", health=bool), "health must be a Health"),
        (lambda: Dependency("n", health=Health(bool, opens=True)), "needs a breaker"),
        (lambda: HealthChecks(), "got none"),
        (lambda: HealthChecks(Dependency("n")), "n has no health"),
    ],
)
def test_bad_input_names_the_value_and_the_bound(make, said):
    with pytest.raises(InvalidSetting, match=said):
        make()
