"""A domain that real processes filled, and the command line as users call it."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

SERVICE = """
import os, sys
import faultplane as fp

def charge(order):
    raise ConnectionResetError(104, "Connection reset by peer")

def parse(text):
    return int(text)

fp.init(service="shop")
for order in range(30):
    try:
        charge(order)
    except ConnectionResetError as error:
        fp.record(error, "charge", attributes={"order": order})
for text in ("a", "b"):
    try:
        parse(text)
    except ValueError as error:
        fp.record(error, "parse")
fp.counter("orders").add(7)
if "die" in sys.argv:
    with fp.capture("GET /pay"):
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def command(child_environment):
    """Function ``(*words, status=0, **variables)``: run ``faultplane`` in a child process."""

    def run(*words, status=0, **variables):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "faultplane", *map(str, words)],
            env=child_environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return SimpleNamespace(out=done.stdout, err=done.stderr, lines=done.stdout.splitlines())

    return run


@pytest.fixture
def shop(run_python):
    """A process that recorded 32 errors in two groups and left, and one that was killed."""
    run_python(SERVICE)
    killed = run_python(SERVICE, "die", check=False)
    assert killed.returncode == -9
