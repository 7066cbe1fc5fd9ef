"""Metastable failure, at a small scale: a server that retries keep down, and what gets it up.

`benchmarks/experiments/metastable` is the experiment, `docs/metastable.md` what it found.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.fault]

CAPACITY = 100
SMALL = {
    "capacity": CAPACITY, "queue-max": CAPACITY, "load": 0.7, "clients": 4, "timeout": 0.5,
    "window": 2, "seconds": 6, "jobs": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def last_window(request):
    """Offered load and answered requests, in parts of the requests, in the third window after."""
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    chosen = ["--scenario=capacity", "--mode=retries", "--mode=both"]
    command = [sys.executable, "-m", "benchmarks.experiments.metastable", *chosen, *words, "--json"]
    done = subprocess.run(
        command, cwd=request.config.rootpath, capture_output=True, text=True, timeout=110
    )
    assert done.returncode in (0, 1), done.stderr
    print(done.stderr)
    found = {}
    for run in json.loads(done.stdout)["runs"]:
        counts = {name: sum(column[-21:-1]) for name, column in run["counts"].items()}
        found[run["mode"]] = {
            "offered": counts["tries"] / counts["arrivals"],
            "answered": counts["answered"] / counts["arrivals"],
            "of capacity": counts["tries"] / (CAPACITY * SMALL["window"]),
        }
    return found


def test_without_budget_and_breaker_it_stays_collapsed(last_window):
    """The control: without it the other test would prove nothing."""
    found = last_window["retries"]
    assert found["answered"] < 0.1, found
    assert found["offered"] > 2.0, found
    assert found["of capacity"] > 1.2, found


def test_with_budget_and_breaker_the_load_is_back_at_base(last_window):
    found = last_window["both"]
    assert 0.9 < found["offered"] < 1.1, found
    assert found["answered"] > 0.9, found
