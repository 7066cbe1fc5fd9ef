"""Where the files are that a run changes."""

from __future__ import annotations

import os
import tempfile


def make_place() -> str:
    """A new directory for scenes, in memory where that is to be had; who makes it removes it."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.mkdtemp(prefix="faultplane-fuzz-", dir=shared)
