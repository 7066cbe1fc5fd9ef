"""The demo, for real: gunicorn, an upstream that fails over sockets, three deaths, one ledger."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gunicorn") is None, reason="the demo extra is not installed"
    ),
]


@pytest.mark.timeout(180)
def test_every_failure_is_counted_and_every_death_explained(child_environment):
    done = subprocess.run(
        [sys.executable, "-m", "faultplane", "demo", "--seconds", "16", "--seed", "7"],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "3 workers died" in done.stdout
    assert "was sent SIGKILL! Perhaps out of memory?" in done.stdout
    assert "GET /linger" in done.stdout
    assert "GET /hang" in done.stdout
    ledger = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    assert ledger.split()[-1] == "yes"
    assert "logging.exception to memory" in done.stdout
