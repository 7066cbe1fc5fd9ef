"""What the replay makes of traces and calls, and that the defaults are what its verdicts say."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import subprocess
import sys
import time

import pytest

import faultplane as fp
from faultplane import control_schema as layout
from faultplane.testing import FakeClock


@pytest.fixture
def replay(request, monkeypatch):
    """Modules of the experiment, by name."""
    monkeypatch.syspath_prepend(str(request.config.rootpath))
    from benchmarks.experiments.replay import (
        __main__,
        errors,
        measure,
        model,
        policies,
        record,
        report,
        run,
        server,
        trace,
    )

    found = (__main__, errors, measure, model, policies, record, report, run, server, trace)
    return {one.__name__.rpartition(".")[2]: one for one in found}


# ----------------------------------------------------------------------------------------- traces


def test_a_trace_is_read_as_it_was_written(replay, tmp_path):
    answer, trace = replay["trace"].Answer, replay["trace"].Trace
    rows = [(0.04, answer(0.001)), (1.5, answer(0.25, "TimeoutError")),
            (2.0, answer(0.002, "Denied", True))]  # fmt: skip
    path = trace("t", "bank", 3.0, 2.5, rows).write(tmp_path)
    again = trace.read(path)
    assert (again.name, again.dependency, again.seconds, again.over) == ("t", "bank", 3.0, 2.5)
    assert again.rows == rows
    before = path.read_bytes()
    assert again.write(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    ("at", "expected"), [(-5, 1), (0, 1), (1.4, 1), (1.6, 2), (2.9, 2), (3.1, 3), (99, 3)]
)
def test_whoever_asks_gets_what_the_nearest_request_got(replay, at, expected):
    answer = replay["trace"].Answer
    rows = [(2.0, answer(2.0)), (4.0, answer(3.0)), (1.0, answer(1.0))]
    assert replay["trace"].Trace("t", "d", 5.0, None, rows).answer(at).took == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"trace":"t","dependency":"d","seconds":1,"over":null}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n{"took":1}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n{"at":1,"error":"NoSuch"}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n{"at":-1}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n{"at":NaN}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n{"at":1,"took":1e300}',
        '{"trace":"t","dependency":"d","seconds":1,"over":null}\n[1]',
        "not JSON",
    ],
)
def test_a_file_that_is_no_trace_is_refused(replay, tmp_path, text):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(replay["trace"].TraceRefused):
        replay["trace"].Trace.read(path)


def test_stored_traces_are_those_that_are_recorded(replay):
    stored = replay["trace"].stored()
    assert set(stored) == set(replay["record"].EPISODES)
    for name, trace in stored.items():
        assert trace.over == replay["record"].EPISODES[name][0]
        assert len(trace.rows) == 1500
        assert any(answer.error for _, answer in trace.rows)
        of_requests = {answer.error for _, answer in trace.rows if answer.of_request}
        assert of_requests == {"denied": {"Denied"}, "busy-and-denied": {"Denied"},
                               "late": {"TimeoutError"}}.get(name, set())  # fmt: skip


def test_a_server_on_loopback_is_recorded(replay):
    trace = replay["record"].record("busy-and-denied", seconds=1.0, rate=100.0)
    assert len(trace.rows) == 100
    found = {(answer.error, answer.of_request) for _, answer in trace.rows}
    # Requests may time out as well, where the machine is busy.
    assert found >= {("", False), ("Busy", False), ("Denied", True)}
    assert not found & {("Busy", True), ("Denied", False)}


# ------------------------------------------------------------------------------- the simulation


def test_a_server_that_is_asked_too_much_makes_clients_wait_and_then_refuses(replay):
    server = replay["server"].Server(lambda at: replay["server"].WELL, 1, 10.0, queue_max=20)
    told = [server.answer(0.0) for _ in range(30)]
    assert [answer.error for answer in told[:5]] == [""] * 5
    assert [round(answer.took, 1) for answer in told[:5]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert {answer.error for answer in told[5:20]} == {"TimeoutError"}
    assert {answer.error for answer in told[20:]} == {"HTTPError 503"}
    assert server.answer(60.0) == replay["trace"].Answer(0.1)


def test_the_same_seed_gives_the_same_calls_and_another_gives_others(replay):
    scenario = replay["model"].SCENARIOS["delay-capacity"]
    run = replay["run"].run
    assert run(scenario, "adaptive", 1) == run(scenario, "adaptive", 1)
    assert run(scenario, "adaptive", 1) != run(scenario, "adaptive", 2)
    began = [[call.began for call in run(scenario, name, 3)] for name in ("static", "adaptive")]
    assert began[0] == began[1], "both policies are asked for the same"


def test_an_error_of_a_request_is_there_each_time_and_no_other_request_has_it(replay):
    answer, trace = replay["trace"].Answer, replay["trace"].Trace
    rows = [(at / 10, answer(0.001, "Denied", at % 2 == 0)) for at in range(100)]
    scenario = dataclasses.replace(
        replay["model"].SCENARIOS["unknown-denied"], seconds=10.0,
        other_side=lambda seed: trace("t", "d", 10.0, None, rows),
    )  # fmt: skip
    calls = replay["run"].run(scenario, "always", 1)
    assert {call.tries for call in calls if call.sticks is not None} == {3}
    assert not any(call.is_well for call in calls if call.sticks is not None)
    assert any(call.is_well for call in calls if call.sticks is None)


@pytest.mark.parametrize("scenario", ["delay-flaky", "unknown-busy-and-denied", "known-late"])
def test_the_steps_of_the_replay_are_those_of_a_dependency(replay, scenario, name):
    """The same errors, one after the other: the same tries and the same waits."""
    errors, found = replay["errors"].MAKERS, replay["model"].SCENARIOS[scenario]
    rng = random.Random(scenario)
    left = -time.monotonic() % (layout.RETRIED_EPOCH_MS / 1000)
    if left < 2.0:
        time.sleep(left + 0.02)  # what the dependency counts is not halved meanwhile
    for number, (which, retry) in enumerate(found.policies.items()):
        dice = random.Random(number)
        clock = FakeClock()
        clock.random = dice.random
        dependency = fp.Dependency(f"{name} {which}", retry=retry, clock=clock, scope="process")
        policy = replay["policies"].Policy(retry, number)
        for _ in range(150):
            script = rng.choices([*errors, ""], k=found.policies[which].attempts)
            expected = waits_of(policy, script)
            clock.waits.clear()
            left = list(script)

            def call(left=left):
                if error := left.pop(0):
                    made = errors[error]()
                    raise made

            try:
                dependency.call(call)
            except Exception:
                pass
            assert clock.waits == pytest.approx(expected), script


@pytest.fixture
def name(request):
    return request.node.name


def waits_of(policy, script):
    """What the replay would wait, if a call got these answers."""
    found, reason, previous = [], 0, 0.0
    for number, error in enumerate(script, 1):
        if number > 1:
            policy.ended(reason, not error, 0.0)
        if not error:
            break
        wait, reason = policy.failed(error, number, previous)
        if wait < 0:
            break
        previous = wait
        found.append(wait)
    return found


# -------------------------------------------------------------------------------------- verdicts


def figures(replay, **changes):
    values = {"well": 0.9, "retries": 0.2, "delay": 1.0, "delay_95": 2.0, "recovery": 5.0}
    return replay["measure"].Figures(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "the same"),
        ({"well": 0.904, "delay": 0.96, "retries": 0.205, "recovery": 5.9}, "the same"),
        ({"well": 0.91}, "better"),
        ({"well": 0.89}, "worse"),
        ({"retries": 0.18}, "better"),
        ({"delay_95": 2.2}, "worse"),
        ({"recovery": float("inf")}, "worse"),
        ({"recovery": 3.0, "retries": 0.3}, "a trade"),
    ],
)
def test_a_verdict_is_about_what_differs_by_more_than_its_margin(replay, changes, expected):
    assert replay["measure"].verdict(figures(replay), figures(replay, **changes)) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["better", "the same"], True),
        (["the same"], False),
        (["better", "a trade"], False),
        (["better", "better", "worse"], False),
        ([], False),
    ],
)
def test_what_is_worse_anywhere_does_not_win(replay, verdicts, expected):
    assert replay["measure"].wins(verdicts) is expected


def test_recovery_is_when_the_calls_of_five_seconds_end_well(replay):
    call, of = replay["run"].Call, replay["measure"].Figures.of
    calls = [call(at / 10, is_well=at >= 200) for at in range(600)]
    assert of(calls, 15.0).recovery == pytest.approx(5.0, abs=0.5)
    assert of(calls, None).recovery is None
    assert of(calls[:200], 15.0).recovery == float("inf")


def test_delays_are_from_the_first_failure_to_the_end(replay):
    call = replay["run"].Call
    calls = [call(0.0, is_well=True, ended_at=1.0) for _ in range(80)]
    calls += [call(0.0, failed_at=1.0, ended_at=1.0 + at, tries=2) for at in range(20)]
    found = replay["measure"].Figures.of(calls, None)
    assert (found.well, found.retries, found.delay, found.delay_95) == (0.8, 0.2, 9.5, 18)


def test_what_does_not_win_and_is_on_is_found_out(replay, monkeypatch):
    """Negative control of the exit code: as if the library had it on."""
    measure = replay["measure"]
    losing = {"delay": ["better", "worse"], "unknown": ["a trade"], "known": ["better"]}
    assert measure.wrong_defaults(losing) == []
    on = type("On", (), {"Retry": lambda: fp.Retry(adaptive=True, learn="all")})
    monkeypatch.setattr(measure, "fp", on)
    wrong = measure.wrong_defaults(losing)
    assert [line.partition(":")[0] for line in wrong] == ["delay", "unknown"]


# ----------------------------------------------------------------------------------- the command


def command(request, *words):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.experiments.replay", *words],
        cwd=request.config.rootpath, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


def test_the_defaults_are_what_the_replay_says(request):
    """All scenarios: nothing wins over all, so all is off; and the docs have the same verdicts."""
    done = command(request, "--seeds=3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wins"] == {"delay": False, "unknown": False, "known": False}
    text = (request.config.rootpath / "docs/calls/adaptive.md").read_text()
    assert text.count(": does not win over all") == 3
    assert (fp.Retry().adaptive, fp.Retry().learn) == (False, None)


def test_one_scenario_is_a_table(request):
    done = command(request, "--seeds=1", "--scenario=known-late")
    assert done.returncode == 0, done.stderr
    assert "| 15 % of the requests time out each time (recorded) | static |" in done.stdout
    assert done.stdout.splitlines()[-1] == "known: 1 better: wins over all"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--seeds", "0"], "--seeds must be 1 to 1000, got 0"),
        (["--trace", "outage"], "--trace goes with --record only"),
        (["--record", "/no/such"], "--record must be a folder"),
        (["--scenario", "x"], "invalid choice"),
    ],
)
def test_words_that_make_no_sense_are_refused(request, words, text):
    done = command(request, *words)
    assert done.returncode == 2
    assert text in done.stderr


def test_help_has_examples(request):
    assert (
        "examples:\n  python -m benchmarks.experiments.replay\n"
        in command(request, "--help").stdout
    )
