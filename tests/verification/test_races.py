"""Memory order: what is stored before a word is published is seen by whoever takes the word.

The models interleave whole stores; which stores another processor may see out of turn is not their
subject. ThreadSanitizer knows C's memory model, whatever this processor does, and is given the
functions of atomics.h in the pattern of each pair of docs/protocol.md.
"""

from __future__ import annotations

import re
import shutil

import pytest
from exhaustive import HERE, run, tool

HEADER = HERE.parents[1] / "src" / "faultplane" / "_core"
PIECE = re.compile(r"^#define ([A-Z_]+) (\d+) +/\*", re.MULTILINE)
WRONG = dict(PIECE.findall((HERE / "races.c").read_text()))


def races(place, wrong):
    """How many races the sanitizer reports, in as many runs as it takes to see one, at most 5."""
    options = ["-O1", "-g", "-fsanitize=thread", f"-DWRONG={wrong}", f"-I{HEADER}"]
    run(tool("gcc"), *options, "-o", "races", HERE / "races.c", "-lpthread", cwd=place)
    # Older sanitizers do not start under the address space layout of newer kernels.
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    for _ in range(5):
        output = run(*fixed, "./races", cwd=place, check=False)
        assert re.search(r"^sum \d+$", output, re.MULTILINE), output
        if found := output.count("WARNING: ThreadSanitizer: data race"):
            return found
    return 0


def test_no_pair_of_the_protocol_races(tmp_path, finding):
    finding("races.c: no race between writer, closer and two readers")
    assert races(tmp_path, 0) == 0


@pytest.mark.parametrize("piece", WRONG)
def test_a_relaxed_operation_in_its_place_is_a_race(piece, tmp_path, finding):
    """Negative controls."""
    found = races(tmp_path, WRONG[piece])
    finding(f"races.c -DWRONG={piece}: {found} races")
    assert found >= 1
