"""Metastable failure, at a small scale: a server that retries keep down, and what gets it up.

`benchmarks/experiments/metastable` is the experiment, `docs/metastable.md` what it found.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CAPACITY = 100
WINDOW = 2
SMALL = {
    "capacity": CAPACITY, "queue-max": CAPACITY, "load": 0.7, "clients": 3, "timeout": 0.5,
    "window": WINDOW, "seconds": 3 * WINDOW, "jobs": 2,
}  # fmt: skip


def third_window(run):
    """Offered load and answered requests there, in parts of the requests, and of the capacity."""
    later = slice(-1 - 10 * WINDOW, -1)  # the last number is of what came after the end
    counts = {name: sum(column[later]) for name, column in run["counts"].items()}
    return {
        "offered": counts["tries"] / counts["arrivals"],
        "answered": counts["answered"] / counts["arrivals"],
        "of capacity": counts["tries"] / (CAPACITY * WINDOW),
    }


@pytest.mark.slow
@pytest.mark.fault
def test_budget_and_breaker_end_a_collapse_that_retries_alone_keep_up(request):
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    chosen = ["--scenario=capacity", "--mode=retries", "--mode=both"]
    command = [sys.executable, "-m", "benchmarks.experiments.metastable", *chosen, *words, "--json"]
    done = subprocess.run(
        command, cwd=request.config.rootpath, capture_output=True, text=True, timeout=110
    )
    assert done.returncode in (0, 1), done.stderr
    found = {run["mode"]: third_window(run) for run in json.loads(done.stdout)["runs"]}
    # The control: if this were not so, what follows would prove nothing.
    alone = found["retries"]
    assert alone["offered"] > 2.0, found
    assert alone["of capacity"] > 1.2, found
    assert alone["answered"] < 0.1, found
    both = found["both"]
    assert 0.9 < both["offered"] < 1.1, found
    assert both["answered"] > 0.9, found
