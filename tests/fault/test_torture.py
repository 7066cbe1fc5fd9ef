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


# --------------------------------------------------------------------------- negative controls

# Without its compare-and-swap; without the looks at the lane before and at the segment after.
WRONG_COMMITS = {
    "cython": [
        (
            "_core/atomics.h",
            """    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_RELEASE,
                                       __ATOMIC_RELAXED);
""",
            """    (void)expected;
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    return 1;
""",
        )
    ],
    "python": [
        ("_pure/writer.py", "if words[lane.word] != expected:", "if False:"),
        (
            "_pure/writer.py",
            "return words[_STATE] == SEGMENT_ACTIVE or self._settle(lane)",
            "return True",
        ),
    ],
}
FOUND_OUT = {"cython": (80_000, 4, 60), "python": (16_000, 4, 40)}
RUNS_MAX = 4


@pytest.fixture
def source(tmp_path):
    """A copy of the package that a control may spoil."""
    shutil.copytree(SOURCE, tmp_path / "src/faultplane", ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path / "src/faultplane"


def spoil(path, right, wrong):
    """Replace what is right in a file of the copy."""
    text = path.read_text()
    assert text.count(right) == 1, (path.name, text.count(right))
    path.write_text(text.replace(right, wrong))


def build(source, *modules):
    """Compile those modules of the copy's core anew, with the flags that all are built with."""
    pytest.importorskip("Cython")  # makes the core, and is not needed where that is installed
    top = source.parent.parent
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top)
    every = 'return sorted(path.stem for path in (ROOT / CORE).glob("*.pyx"))'
    spoil(top / "setup.py", every, f"return {sorted(modules)!r}")
    for name in modules:
        for built in (source / "_core").glob(f"{name}.*.so"):
            built.unlink()
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=top, env={**os.environ, "FAULTPLANE_REQUIRE_CORE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def run_spoiled(source, rng, *words):
    """What the same run says about the copy."""
    here = Path(kill.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "torture", "kill", "--json", "--seed", str(rng.randrange(1 << 32)),
         *map(str, words)],
        cwd=here, env={**os.environ, "PYTHONPATH": f"{source.parent}"}, capture_output=True,
        text=True, timeout=110,
    )  # fmt: skip
    print(done.stderr)
    found = json.loads(done.stdout)
    print(*found["problems"], sep="\n")
    assert done.returncode == bool(found["problems"]), done.stderr
    return found


@pytest.mark.timeout(300)
def test_a_commit_that_is_a_plain_store_is_found_out(core, core_name, source, rng, request):
    """Negative control."""
    for name, right, wrong in WRONG_COMMITS[core_name]:
        spoil(source / name, right, wrong)
    if core_name == "cython":
        request.getfixturevalue("compiler")
        build(source, "record")
    words = ["--core", core_name, "--budget", 2, *sizes(*FOUND_OUT[core_name])]
    # A process has to be stopped between two of its instructions, and where it is the seed does not
    # say: on a busy machine a run may miss it.
    runs = (run_spoiled(source, rng, *words) for _ in range(RUNS_MAX))
    assert any(found["moved"] > 0 and found["lost"] > 0 for found in runs)
