"""Short runs of ``make torture ARGS=kill``, and the wrong stores that it must find out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torture import kill

import faultplane

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SHORT = {"cython": (60_000, 16, 16), "python": (12_000, 12, 12)}
ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(next(iter(faultplane.__path__)))


def run(words, capsys):
    """What a run found, as the JSON that it prints."""
    code = kill.main([*map(str, words), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == bool(found["problems"])
    return found


def sizes(rows, kills, stops):
    return ["--rows", rows, "--kills", kills, "--stops", stops, "--domains", 2]


def test_no_row_is_torn_lost_or_doubled_and_no_closed_lane_moves(core, core_name, rng, capsys):
    seed = rng.randrange(1 << 32)
    rows, kills, stops = SHORT[core_name]
    found = run([*sizes(rows, kills, stops), "--core", core_name, "--seed", seed], capsys)
    assert found["problems"] == []
    assert found["rows"] + found["dropped"] >= rows
    assert (found["kills"], found["stops"]) == (kills, stops)
    assert found["consumed"] + found["missed"] == 2 * found["rows"]
