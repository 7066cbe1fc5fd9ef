"""A guarded call raises no error of ours, though another process holds the lock of all cells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault
HERE = Path(__file__).parent
PROGRAMS = [
    "nothing_is_raised",
    "what_was_held_is_given_back",
    "a_probe_is_given_back",
    "an_open_breaker_lets_through",
]


@pytest.fixture
def run(run_python, child_environment, core_name):
    """Function ``(program, before="", check=True)``: run one of ``locked_cells.py``, in a core."""
    path = f"{child_environment(core_name)['PYTHONPATH']}{os.pathsep}{HERE}"

    def start(program, before="", check=True):
        code = f"{before}\nimport locked_cells\nlocked_cells.main()"
        return run_python(code, program, core=core_name, check=check, PYTHONPATH=path)

    return start


@pytest.mark.parametrize("program", PROGRAMS)
def test_who_cannot_have_the_lock_of_the_cells_calls_all_the_same(run, core, program):
    run(program)


@pytest.mark.parametrize(
    ("wrong", "program"),
    [
        ("control.Unheard = ZeroDivisionError", "nothing_is_raised"),
        ("control.Memory._owe = lambda *_, **__: None", "what_was_held_is_given_back"),
        ("control.Memory._owe = lambda *_, **__: None", "a_probe_is_given_back"),
        ("control.Cell._ask = lambda *_: -1", "an_open_breaker_lets_through"),
    ],
)
def test_what_is_raised_or_kept_is_found_out(run, pure, wrong, program):
    """Negative control: the lock is not there to be had, and what is owed is not made."""
    done = run(program, f"from faultplane._pure import control\n{wrong}", check=False)
    assert done.returncode != 0
