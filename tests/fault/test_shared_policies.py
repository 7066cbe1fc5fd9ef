"""Breaker, retry budget and limit of many processes, some of which die: measured at the callee.

What the processes do is in the programs beside, each of which asserts what it claims.
``POLICY_ROUNDS=1000`` in the environment has each manner in which a caller may end so many times,
and the rest as much longer; normally it is 30.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="callers end with who started them"),
]

ROUNDS = int(os.environ.get("POLICY_ROUNDS") or 30)
HERE = Path(__file__).parent
WAYS = ["os", "announced", "libc", "_Fork", "clone"]
PROCESSES = 16


@pytest.fixture
def run(run_python, child_environment, core_name, core, tmp_path, rng, request):
    """Function ``(module, program, *arguments, check=True)``: run a program, in a core."""
    path = f"{child_environment(core_name)['PYTHONPATH']}{os.pathsep}{HERE}"

    def start(module, program, *arguments, **options):
        seed = rng.randrange(1 << 32)
        print(f"{module} {program} {seed} {arguments}")
        if module in {"policy_forks", "policy_moments"}:
            library = request.getfixturevalue("forks_library")
            options["FORKS_LIBRARY"] = str(library)
        done = run_python(
            f"import {module}; {module}.main()", program, seed, *arguments,
            core=core_name, timeout=110 + ROUNDS, PYTHONPATH=path, SIDE=str(tmp_path / "side"),
            FAULTPLANE_BUDGET_BYTES="8MiB", **options,
        )  # fmt: skip
        print(done.stdout)
        return done

    return start


@pytest.fixture
def forks_library(library):
    """Forks that Python code cannot make by itself."""
    import sysconfig

    return library("forks", "-O1", f"-I{sysconfig.get_path('include')}")


@pytest.fixture
def found_out(run):
    """Function ``(said, module, program, *arguments)``: a program must fail, and say that."""

    def check(said, *words):
        done = run(*words, check=False)
        assert done.returncode != 0, "not found out"
        assert said in done.stderr, done.stderr

    return check


# ------------------------------------------------------------------------------------- breaker


def test_failures_of_all_processes_together_open_one_breaker(run):
    """Each alone has far fewer than it takes; some of them were not forked from another."""
    run("policy_programs", "trips", 12, 4)


def test_half_open_lets_exactly_the_probes_through(run):
    run("policy_programs", "half_open", PROCESSES, max(10, ROUNDS // 3))


@pytest.mark.timeout(120 + 2 * ROUNDS)
def test_a_probe_comes_back_however_its_caller_ends(run):
    run("policy_programs", "comes_back", ROUNDS)


def test_late_results_change_nothing(run):
    run("policy_programs", "late")


@pytest.mark.timeout(120 + 2 * ROUNDS)
def test_the_breaker_never_sticks_whatever_happens_to_its_callers(run):
    run("policy_soak", "soak", max(20, ROUNDS))


# ---------------------------------------------------------------------------- budget, bulkhead


@pytest.mark.parametrize("name", ["storm", "storm_with_time"])
def test_a_storm_is_retried_as_often_as_the_budget_says_to_the_token(run, name):
    run("policy_programs", "storm", name, PROCESSES, 2 * ROUNDS)


def test_tokens_of_the_killed_come_back(run):
    run("policy_programs", "held_tokens", min(ROUNDS // 6, 100))


def test_no_more_than_the_limit_are_there_at_once(run):
    run("policy_programs", "crowd", PROCESSES, ROUNDS)


def test_permits_of_the_killed_come_back(run):
    run("policy_programs", "permits", ROUNDS)


# --------------------------------------------------------------- forks, threads, declarations


def test_a_child_that_is_forked_in_a_call_leaves_what_its_parent_holds(run):
    run("policy_forks", "forks", *WAYS)


def test_threads_share_what_their_process_holds(run):
    run("policy_forks", "threads", 64, 20)


def test_the_newest_declaration_governs_and_both_are_kept(run):
    run("policy_forks", "declares")


def test_what_is_declared_again_is_as_new_as_that(run):
    run("policy_forks", "declares_the_same")


@pytest.mark.parametrize("what", ["breaker", "rest"])
def test_a_policy_that_is_declared_no_more_refuses_nobody(run, what):
    run("policy_forks", "declares_no_more", what)


def test_half_a_declaration_governs_nobody(run):
    run("policy_forks", "killed_in_declaring")


@pytest.mark.parametrize("manner", ["killed", "forked", "raised"])
@pytest.mark.timeout(120 + 2 * ROUNDS)
def test_a_call_that_is_cut_short_at_any_moment_leaves_nothing_held(run, manner, core_name):
    if core_name == "python" and manner != "killed":
        pytest.skip("of the compiled core alone")
    came = run("policy_moments", "at_moments", manner, ROUNDS // 3).stdout
    assert int(came.split()[0]) > 20


# --------------------------------------------------------------------------- negative controls


def test_a_breaker_of_each_process_for_itself_is_found_out(found_out):
    found_out("closed after 32 failures of all", "policy_programs", "trips", PROCESSES, 0, "alone")
    found_out("probes were let through", "policy_programs", "half_open", PROCESSES, 1, "alone")


def test_a_budget_and_a_limit_of_each_process_are_found_out(found_out):
    found_out("retries of", "policy_programs", "storm", "storm", PROCESSES, 40, "alone")
    found_out("at once", "policy_programs", "crowd", PROCESSES, 20, "alone")


def test_leases_that_nobody_sums_are_found_out(found_out, pure):
    found_out("probes were let through", "policy_programs", "half_open", PROCESSES, 1, "own")
    found_out("at once", "policy_programs", "crowd", PROCESSES, 20, "own")


def test_a_probe_that_nobody_gives_back_is_found_out(found_out):
    found_out("not the first call after", "policy_programs", "forgotten")
    found_out("has not come back", "policy_programs", "nobody_looks")


def test_tokens_and_permits_that_nobody_gives_back_are_found_out(found_out):
    found_out("has not come back", "policy_programs", "held_tokens", 1, "nobody looks")
    found_out("has not come back", "policy_programs", "permits", 1, "nobody looks")


def test_a_result_that_is_not_late_is_found_out(found_out):
    found_out("a late fail changed", "policy_programs", "late", "in time")


def test_a_breaker_that_sticks_is_found_out(found_out):
    found_out("full after", "policy_soak", "soak", 1, "nobody looks")


def test_a_child_that_takes_itself_for_its_parent_is_found_out(found_out):
    found_out("the child gave back what is its parent's", "policy_forks", "forks_wrong")
