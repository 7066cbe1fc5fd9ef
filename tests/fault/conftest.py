"""The package of the long runs is importable by the short ones; processes that die."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dying import Death
from worker import Worker


@pytest.fixture
def die(run_python, tmp_domain_dir, core, core_name):
    """Function ``(code) -> Death``: run a child to its end and read what it left."""

    def run(code, **options):
        before = time.time_ns()
        done = run_python(code, core=core_name, check=False, **options)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        return Death(done, said, tmp_domain_dir, before)

    return run


@pytest.fixture
def compiled(core_name):
    """For what only the compiled core's handler does."""
    if core_name != "cython":
        pytest.skip("the pure core has faulthandler write frames, and no handler of its own")


@pytest.fixture
def pure(core_name):
    """For what only the pure core does."""
    if core_name != "python":
        pytest.skip("the compiled core has a handler of its own")


@pytest.fixture
def worker(core_name, core, child_environment):
    """Function ``(user=None, **variables) -> Worker``; a budget that needs little room."""
    started = []

    def start(user=None, **variables):
        options = {"FAULTPLANE_BUDGET_BYTES": "2MiB", **variables}
        started.append(Worker(child_environment(core_name, **options), user))
        return started[-1]

    yield start
    for one in started:
        one.kill()
