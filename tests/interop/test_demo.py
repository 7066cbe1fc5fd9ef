"""The demo, for real: gunicorn, an upstream that fails over sockets, four deaths, one ledger."""

from __future__ import annotations

import importlib.util
import os
import signal
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
    permitted = "no cgroup can be made here" not in done.stdout
    assert f"{4 if permitted else 3} workers died" in done.stdout
    assert ("killed, out of memory" in done.stdout) == permitted
    assert ("GET /hoard" in done.stdout) == permitted
    assert "killed by SIGSEGV" in done.stdout
    # The pure core has no handler in C, which alone runs in a worker that hangs there.
    assert ("killed by SIGABRT" in done.stdout) == done.stdout.startswith("core cython")
    assert "left without a word" in done.stdout
    assert "was sent SIGKILL! Perhaps out of memory?" in done.stdout
    assert "GET /linger" in done.stdout
    assert "GET /hang" in done.stdout
    ledger = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    assert ledger.split()[-1] == "yes"
    assert "logging.exception to memory" in done.stdout
    assert f"{sys.executable} -m faultplane demo --keep" in done.stdout


@pytest.mark.timeout(180)
def test_a_demo_that_is_kept_is_watched_in_its_terminal_until_ctrl_c(
    terminal, child_environment, read_only_cgroups
):
    screen = terminal("demo", "--seconds", "16", "--seed", "8", "--keep", below=read_only_cgroups)
    screen.wait_for("\x1b[H\x1b[2J")  # a table in place, once a second
    screen.wait_for("Ctrl-C ends it.", 150)
    if read_only_cgroups:
        assert "no cgroup can be made here: /sys/fs/cgroup" in screen.shown
        assert "Read-only file system" in screen.shown
        assert "3 workers died" in screen.shown
    directory = next(
        line.partition("FAULTPLANE_DIR=")[2].strip()
        for line in screen.shown.splitlines()
        if "export FAULTPLANE_DIR=" in line
    )
    top = [sys.executable, "-m", "faultplane", "top", "--domain", "demo", "--once", "--json"]
    done = subprocess.run(
        top,
        env=child_environment(FAULTPLANE_DIR=directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert '"operation": "charge.' in done.stdout
    screen.press("\x03")
    assert screen.finish() == 0
    assert not os.path.exists(directory)


@pytest.mark.timeout(120)
def test_a_demo_that_is_terminated_takes_its_server_with_it(child_environment):
    psutil = pytest.importorskip("psutil")
    demo = subprocess.Popen(
        [sys.executable, "-m", "faultplane", "demo", "--seed", "9"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("core ")
        demo.stdout.readline()  # the first line of the table: the load is on
        below = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 128 + signal.SIGTERM
    assert len(below) >= 2  # gunicorn, and those of its workers that were up
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
