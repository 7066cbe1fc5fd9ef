"""The core as a parameter.

A core is chosen when the package is imported, so each parameter needs a process of its own, which
is how asv runs them.
"""

from __future__ import annotations

import os
import shutil
import tempfile

CORES = ("cython", "python")


def load(core):
    """The package on ``core``; skips the benchmark where it is not built, refuses a debug build."""
    os.environ["FAULTPLANE_CORE"] = core
    try:
        import faultplane
        from faultplane.cli.bench.measure import refuse_debug_build
    except ImportError as error:
        raise NotImplementedError(f"the {core} core is not there: {error}") from error
    if faultplane.core != core:
        raise NotImplementedError(f"this process already runs the {faultplane.core} core")
    refuse_debug_build()
    return faultplane


class Home:
    """A directory for domains, in memory where the host has it; every detail is kept."""

    def __init__(self, messages="raw", budget="512MiB"):
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = tempfile.mkdtemp(prefix="faultplane-bench-", dir=shared)
        os.environ["FAULTPLANE_DIR"] = self.path
        os.environ["FAULTPLANE_MESSAGES"] = messages
        os.environ["FAULTPLANE_BUDGET_BYTES"] = budget
        os.environ["FAULTPLANE_DETAIL_PER_SECOND"] = "0"

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
