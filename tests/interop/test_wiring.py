"""What ``faultplane run`` wires: what fits and was asked for, and never at the program's cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import faultplane as fp
from faultplane.capture.wiring import WIRED_PREFIX
from faultplane.settings import INTEGRATIONS

PROGRAM = """
    import rq.worker, sys
    from faultplane.capture import wiring
    print(rq.worker.value, sorted(wiring.failures))
"""


@pytest.fixture
def wired(tmp_domain_dir):
    """Function: names of what the processes of the domain have wired."""

    def read():
        with fp.attach(directory=str(tmp_domain_dir)) as domain:
            names = [row["name"] for row in domain.counters_rows()]
        return {name.removeprefix(WIRED_PREFIX) for name in names if name.startswith(WIRED_PREFIX)}

    return read


def test_a_framework_that_does_not_fit_costs_its_program_nothing(launch, script, wired):
    script("value = 7\n", "rq/worker.py")
    script("", "rq/__init__.py")
    program = script(PROGRAM)
    done = launch(sys.executable, program, path=(program.parent,))
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 ['rq']\n", "")
    assert wired() == set()


def test_what_is_not_to_be_wired_is_left_alone(launch, script, wired):
    script("value = 7\n", "rq/worker.py")
    script("", "rq/__init__.py")
    program = script(PROGRAM)
    done = launch(
        sys.executable, program, path=(program.parent,), FAULTPLANE_INTEGRATIONS="flask,celery"
    )
    assert (done.returncode, done.stdout) == (0, "7 []\n")


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_each_framework_is_wired_when_it_is_imported_and_doctor_says_so(
    name, launch, script, wired, command_of
):
    pytest.importorskip(name)
    program = script(f"""
        from faultplane.capture import wiring
        import importlib
        importlib.import_module(wiring._AWAITED[{name!r}])
        assert not wiring.failures, wiring.failures
    """)
    done = launch(sys.executable, program)
    assert done.returncode == 0, done.stderr
    assert name in wired()
    assert name in command_of("doctor")


@pytest.fixture
def command_of(environment):
    """Function: what a command of faultplane prints in the environment of the test."""

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "faultplane", *words],
            env=environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    return run
