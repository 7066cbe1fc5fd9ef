"""Whatever step a process is stopped after, nothing acknowledged is lost, doubled or torn.

``tracer.c`` stops an unchanged process of either core right after a step: a change of a word that
others see, a name that comes or goes, a file made, or half of what is written to one; in the scene
``write``, after each instruction that stores into a mapped file. The process is killed there, or
held while others retire and bury all there is, and goes on. `step_scenes` says what it does,
`step_checks` what must hold. ``STEP_STRIDE=1`` in the environment holds it after each step, too;
without, after each fifth.
"""

from __future__ import annotations

import json
import os
import platform
import sys

import pytest
from exhaustive import HERE, run, tool

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="tracer.c reads the registers and instructions of x86-64",
    ),
]
STRIDE = {"kill": 1, "hold": int(os.environ.get("STEP_STRIDE") or 5)}
SCENES = (
    "create", "join", "write", "turn", "need", "generation", "ahead", "prepare", "named", "bury",
    "rotate", "gc", "fork",
)  # fmt: skip
# Held in its child, a fork is what `join` is; `rotate` differs from `bury` in what a kill leaves.
CASES = [("kill", scene) for scene in SCENES]
CASES += [("hold", scene) for scene in SCENES if scene not in ("fork", "rotate")]


@pytest.fixture(scope="module")
def tracer(tmp_path_factory):
    place = tmp_path_factory.mktemp("tracer")
    header = HERE.parents[1] / "src" / "faultplane" / "_core"
    source = HERE / "tracer.c"
    run(tool("gcc"), "-O2", "-w", "-shared", "-fPIC", f"-I{header}", "-o", "tracer.so", source,
        cwd=place)  # fmt: skip
    return place / "tracer.so"


@pytest.fixture
def drive(tracer, run_python):
    """Function ``(core, scene, mode, stride, breakage="", **options)``: the driver, run."""

    def driven(core, scene, mode, stride, breakage="", **options):
        code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import step_driver\n"
        code += f"{breakage}\nstep_driver.main(sys.argv[1:])"
        return run_python(
            code, scene, mode, stride, core=core, timeout=900, FAULTPLANE_BUDGET_BYTES="2MiB",
            LD_PRELOAD=str(tracer), **options,
        )  # fmt: skip

    return driven


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("mode", "scene"), CASES)
def test_a_process_may_be_stopped_after_any_step(core_name, core, drive, mode, scene, finding):
    found = json.loads(drive(core_name, scene, mode, STRIDE[mode]).stdout)
    what = "killed" if mode == "kill" else "held"
    finding(f"{core_name} {scene}: {what} after {found['stopped']} of {found['steps']} steps")
    assert found["stopped"] >= (8 if mode == "kill" else 3)


TOLD_TOO_EARLY = """
def record(actor, operation="charge"):
    number = actor.ledger.tried + 1
    actor.ledger.tried = actor.ledger.told = number
    step_driver.fp.record(step_driver.SHORT, operation, number)
step_driver.Actor.record = record
"""
NOT_LISTED = """
from faultplane.store import aggregate
render = aggregate.render
aggregate.render = lambda tallies, slot, epoch, folded=(): render(tallies, slot, epoch)
"""
MADE_IN_ITS_PLACE = """
import os
from faultplane.store import files
def create(directory, name, temporary, size, parts, replace, begun):
    made = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=directory)
    files.reserve(made, size)
    for offset, data in parts:
        files.write_all(made, data, offset)
    return made
files._create = create
"""
NEVER_TIDIED = """
from faultplane.store import files
files.remove_stale = files.remove_kind = lambda *_: []
"""
NOT_LOOKED_FOR = "from faultplane.store import deaths; deaths.recorded = lambda store: set()"
# What is done wrong, in which scene it shows, and what finds it.
BREAKAGES = {
    "told too early": ("write", TOLD_TOO_EARLY, "told"),
    "whom it folded is not listed": ("bury", NOT_LISTED, "told 0, counted"),
    "a file is made in its place": ("bury", MADE_IN_ITS_PLACE, "agg-retired must have"),
    "temporary files stay": ("bury", NEVER_TIDIED, "left behind"),
    "a death is not looked for": ("bury", NOT_LOOKED_FOR, "a death is recorded twice"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_process_that_does_it_wrong_is_found_out(core_name, core, drive, breakage):
    """Negative controls."""
    scene, code, sign = BREAKAGES[breakage]
    done = drive(core_name, scene, "kill", 1, breakage=code, check=False)
    assert done.returncode == 1, done.stdout
    assert f"{scene}: kill after step" in done.stderr, done.stderr
    assert sign in done.stderr, done.stderr
