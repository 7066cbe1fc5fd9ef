"""What the verification tests found, at the end of the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

FINDINGS: list[str] = []


def pytest_terminal_summary(terminalreporter):
    if FINDINGS:
        terminalreporter.section("models, traces and races")
        for line in FINDINGS:
            terminalreporter.write_line(line)


@pytest.fixture
def finding():
    """Function ``(text)``: a line for the end of the run."""
    return FINDINGS.append
