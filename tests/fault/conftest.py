"""The package of the long runs is importable by the short ones; processes that die."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dying import Death
from worker import Worker

HERE = Path(__file__).parent


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
def deaths(run_python, core_name):
    """Function ``() -> list``: the death records, as any process reads them."""
    code = """
import json, faultplane as fp
with fp.attach() as domain:
    print(json.dumps(domain.deaths_rows(), default=str))
"""
    return lambda: json.loads(run_python(code, core=core_name).stdout)


@pytest.fixture(scope="session")
def compiler():
    """A C compiler; without one a test is skipped, or fails where the compiled core is required."""
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        if os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
            pytest.fail("a C compiler is required and not there", pytrace=False)
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="session")
def library(compiler, tmp_path_factory):
    """Function ``(name, *flags) -> Path``: ``name.c`` of this folder as a shared library."""
    place = tmp_path_factory.mktemp("libraries")

    @cache
    def build(name, *flags):
        built = place / f"{name}.so"
        source = HERE / f"{name}.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source, *flags], check=True)
        return built

    return build


@pytest.fixture(scope="session")
def refuser(library):
    """A library to preload: it refuses calls, and sets the wall clock."""
    return library("refuser", "-O1", "-ldl")


@pytest.fixture
def compiled(core_name):
    """For what only the compiled core does: it has a handler of its own for fatal signals."""
    if core_name != "cython":
        pytest.skip("of the compiled core alone: the pure one has faulthandler write the frames")


@pytest.fixture
def pure(core_name):
    """For what only the pure core does."""
    if core_name != "python":
        pytest.skip("of the pure core alone")


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


@pytest.fixture(scope="session")
def compiled_files(tmp_path_factory):
    """Where the modules that all of them import are kept compiled: it halves their start."""
    return str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def container_environment(core_name, core, child_environment, compiled_files):
    """The environment of a process in a container: no directory is named, nor is TMPDIR."""
    environment = child_environment(core_name, FAULTPLANE_DIR=None, XDG_RUNTIME_DIR=None)
    for name in ("TMPDIR", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    return {**environment, "PYTHONPYCACHEPREFIX": compiled_files}
