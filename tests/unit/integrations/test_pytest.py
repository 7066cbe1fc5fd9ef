"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = """
import subprocess, sys
import faultplane as fp

def fail(operation):
    try:
        raise TimeoutError("no answer")
    except TimeoutError as error:
        fp.record(error, operation)

def test_fails():
    fail("charge")
    assert False, "on purpose"

def test_asks(faultplane_recorded):
    assert faultplane_recorded() == []
    fail("refund")
    (row,) = faultplane_recorded()
    assert (row["operation"], row["type"]) == ("refund", "TimeoutError")
    assert row["message"] == "no answer"

def test_starts_another(faultplane_recorded):
    code = "import faultplane as fp; fp.init(); fp.record(KeyError('x'), 'child')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [row["operation"] for row in faultplane_recorded()] == ["child"]
"""


@pytest.fixture
def ran(tmp_path: Path, child_environment: Any) -> Any:
    """Function: run pytest on the tests above with some words; what it printed."""
    (tmp_path / "test_shop.py").write_text(TESTS)

    def run(*words: str) -> str:
        environment = child_environment(
            TMPDIR=str(tmp_path), PYTEST_ADDOPTS=None, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        plugin = ["-p", "faultplane.integrations.pytest"]
        done = subprocess.run(
            [*command, *plugin, *words, str(tmp_path / "test_shop.py")],
            env=environment,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")])
def test_a_test_that_fails_shows_what_it_recorded(ran, tmp_path, workers):
    told = ran("--faultplane", *workers)
    assert "1 failed, 2 passed" in told, told
    assert told.count("Recorded by faultplane") == 1
    assert "charge: TimeoutError: no answer (Timeout)" in told
    assert "refund: " not in told and "child: " not in told
    assert list(tmp_path.glob("faultplane-pytest-*")) == []


def test_without_its_switch_it_does_nothing(ran):
    told = ran()
    assert "Recorded by faultplane" not in told
    assert "faultplane_recorded needs --faultplane" in told
    assert "1 failed, 2 errors" in told, told
