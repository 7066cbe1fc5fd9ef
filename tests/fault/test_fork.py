"""Processes fork at every moment there is: nothing is lost, doubled, or taken for the parent's.

``FORKS=3000`` in the environment makes the runs with many forks longer, ``SWEEP=all`` those at a
moment come at each that there is.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from pathlib import Path

import pytest
from ledger import Ledger, problems

import faultplane as fp

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="forks past handlers are seen on Linux"),
]

FORKS = int(os.environ.get("FORKS") or 100)
HERE = Path(__file__).parent
WAYS = ["os", "announced", "libc", "_Fork", "clone"]


PARTS = 40
SWEEP = os.environ.get("SWEEP") == "all"
MOMENTS = [f"{part + 1}/{PARTS}" for part in range(PARTS)] if SWEEP else [60]


@pytest.fixture
def program(run_python, child_environment, core_name, tmp_path, rng, request):
    """Function ``(name, *arguments, **options)``: run a program; (its output, its ledger)."""
    path = f"{child_environment(core_name)['PYTHONPATH']}{os.pathsep}{HERE}"

    def run(name, *arguments, **variables):
        where, seed = tmp_path / "ledger", rng.randrange(1 << 32)
        print(f"seed {seed}")
        if {"clone", "announced"} & set(arguments) or name.startswith("at_moments"):
            library = request.getfixturevalue("library")
            include = sysconfig.get_path("include")
            variables["FORKS_LIBRARY"] = str(library("forks", "-O1", f"-I{include}"))
        done = run_python(
            "import fork_programs; fork_programs.main()",
            name,
            where,
            seed,
            *arguments,
            core=core_name,
            timeout=110,
            PYTHONPATH=path,
            **variables,
        )
        assert done.stderr == ""
        return done.stdout, Ledger(where)

    return run


def check(ledger, directory, **options):
    with fp.attach(directory=str(directory)) as domain:
        found = problems(ledger, domain, **options)
        assert not found, "\n".join(found)


@pytest.mark.parametrize("how", WAYS)
def test_a_fork_in_mid_lane_and_its_forks_are_exact(program, tmp_domain_dir, how):
    _, ledger = program("midlane", how, 3)
    assert len(ledger.records()) == 15
    check(ledger, tmp_domain_dir)


def test_what_the_store_has_not_is_found_out(program, tmp_domain_dir):
    """Negative control: a ledger that says one record, or one hit, more."""
    _, ledger = program("midlane", "os", 1)
    line, last = max(ledger.records().items())
    ledger.recorded(line, last + 1)
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        lost, counted = problems(ledger, domain)
    assert f"1 lost, such as ['{line} {last + 1}']" in lost and "counted" in counted
    ledger.recorded(line, last - 1)
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        assert "never acknowledged" in problems(ledger, domain)[0]


@pytest.mark.parametrize("how", WAYS)
def test_a_fork_in_the_middle_of_preparing_a_segment_is_exact(program, tmp_domain_dir, how):
    _, ledger = program("preparing", how)
    check(ledger, tmp_domain_dir)


@pytest.mark.parametrize("how", WAYS)
def test_what_was_counted_before_init_stays_the_parents(program, tmp_domain_dir, how):
    output, ledger = program("before_init", how)
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        counts = {row["operation"]: row["count"] for row in domain.counts_rows()}
        hits = sum(row["value"] for row in domain.counters_rows())
        rows = domain.records().to_pyarrow().num_rows
    assert counts == {"early": int(output), "work": 20}
    assert (hits, rows) == (ledger.amount(), 20)


# Not past Python's handlers: the interpreter of such a child waits for threads that it has not.
@pytest.mark.parametrize("how", ["os", "announced"])
def test_forks_while_threads_record_are_exact(program, tmp_domain_dir, how, core_name):
    forks = FORKS if core_name == "cython" else FORKS // 4
    _, ledger = program("among_threads", how, forks, 4, FAULTPLANE_BUDGET_BYTES="512MiB")
    assert len(ledger.records()) == forks + 4
    check(ledger, tmp_domain_dir, threads=4)


@pytest.mark.parametrize("how", ["os", "libc"])
def test_forks_in_signal_handlers_are_exact(program, tmp_domain_dir, how, core_name):
    forks = FORKS if core_name == "cython" else FORKS // 4
    _, ledger = program("in_handlers", how, forks)
    check(ledger, tmp_domain_dir)


def test_forks_in_handlers_that_come_while_a_process_registers_are_exact(
    program, tmp_domain_dir, core_name
):
    _, ledger = program("handlers_in_init", 60 if core_name == "cython" else 25)
    check(ledger, tmp_domain_dir)


@pytest.mark.parametrize("which", MOMENTS)
def test_a_fork_at_any_moment_of_registering_is_exact(program, tmp_domain_dir, which):
    output, ledger = program("at_moments", which, FAULTPLANE_BUDGET_BYTES="512MiB")
    came, _ = map(int, output.split())
    assert came > 20
    check(ledger, tmp_domain_dir)


@pytest.mark.parametrize("which", MOMENTS)
@pytest.mark.parametrize("own", ["own", "left"])
def test_a_fork_at_any_moment_of_making_a_store_is_exact(program, own, which):
    """By a process that leaves another store for it, too. The program looks at each store."""
    output, _ = program("at_moments", which, own, FAULTPLANE_BUDGET_BYTES="2MiB")
    came, _ = map(int, output.split())
    assert came > 20


def test_a_core_that_does_not_look_for_forks_is_caught(program, tmp_domain_dir, core_name):
    """Negative control. The compiled core runs no handler where it binds."""
    if core_name != "python":
        pytest.skip("about the pure core")
    _, ledger = program("at_moments_unseen", 120, FAULTPLANE_BUDGET_BYTES="512MiB")
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        assert problems(ledger, domain)


def test_forks_in_a_row_and_from_child_to_child_leave_nothing_open(
    program, tmp_domain_dir, core_name
):
    forks = FORKS if core_name == "cython" else FORKS // 4
    output, ledger = program("leaks", forks, 40)
    for seen in output.splitlines():
        assert len(ast.literal_eval(seen)) <= 2, output  # with the next segment, or without
    check(ledger, tmp_domain_dir, rows_are_kept=False)


def test_other_programs_that_are_started_take_no_lock_away(program, tmp_domain_dir):
    _, ledger = program("beside", 24)
    check(ledger, tmp_domain_dir)


@pytest.mark.parametrize("how", ["os", "libc"])
def test_forks_while_the_file_system_is_full_count_exactly(program, small_disk, how):
    where = small_disk(24)
    _, ledger = program("until_full", how, FAULTPLANE_DIR=str(where))
    assert len(ledger.records()) == 9
    check(ledger, where, rows_are_kept=False)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_multiprocessing_are_exact(program, tmp_domain_dir, method):
    _, ledger = program("pools", method, 14)
    assert len(ledger.records()) >= 6
    check(ledger, tmp_domain_dir)
