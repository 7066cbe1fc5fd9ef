"""Programs that are started, below ``faultplane run`` and not, how they compare and end."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

# The launcher is a Python process itself: the path that a test is about is for its program only.
LAUNCH = """
import os, sys
from faultplane.capture.run import run
path = os.environ.pop("PROGRAM_PYTHONPATH", os.environ.get("PYTHONPATH", ""))
run(sys.argv[1:], {**os.environ, "PYTHONPATH": path})
"""
Launch = Callable[..., "subprocess.CompletedProcess[str]"]


def same(run: Any, plain: Any) -> bool:
    return (run.returncode, run.stdout, run.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ended(child: subprocess.Popen[Any]) -> None:
    """Have a server end as its operator would; one that does not is killed, and raised for."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise
    finally:
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


class Processes:
    """What a test starts; what it has not ended when it is over, is ended then."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[Any]] = []

    def start(
        self, words: list[Any], environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        child = subprocess.Popen([*map(str, words)], env=environment, **options)
        self._started.append(child)
        return child

    def end(self) -> None:
        with ExitStack() as last_first:  # and all of them, though one does not end
            for child in self._started:
                last_first.callback(ended, child)
