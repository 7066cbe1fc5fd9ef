"""The tree as the architecture tests see it: paths and texts, nothing imported."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def package():
    """The sources of the package."""
    return ROOT / "src" / "faultplane"


@pytest.fixture(scope="session")
def tree_files():
    """Every file of the repository that is not ignored, committed or not."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if listing.returncode != 0:
        pytest.skip("needs a git checkout")
    names = listing.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]
