"""A program below ``faultplane run``, and how it compares with one that is not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
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
