"""The models are models of this code: each change that a real process makes to a word that others
see is a step of ``steps.h``, and each step of ``steps.h`` is made.

``tracer.c`` is preloaded into unchanged processes of both cores and writes down every single store
to such a word, and every name that comes or goes. The models assert the same macros at every change
they make, so neither side can take a step that the other does not have.
"""

from __future__ import annotations

import functools
import platform
import struct
import subprocess
import sys

import pytest
from binding import MAKE_STORE, compiled_steps, compiled_tracer, new_store, run_traced
from exhaustive import HERE

from faultplane import schema

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="tracer.c reads the registers and instructions of x86-64",
)

REGISTRY = schema.REGISTRY.offset
ROWS_AT = schema.SEGMENT_TABLE_ROWS_BITS


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(The steps of the models as functions, by name; the path of the tracer)."""
    place = tmp_path_factory.mktemp("built")
    return compiled_steps("steps.h", place), compiled_tracer(place)


@pytest.fixture
def trace(built, run_python, child_environment, tmp_domain_dir, tmp_path):
    """Function ``(core, *scenes) -> Trace`` of the scenes of scenes.py, one process each."""
    steps, tracer = built

    def traced(core, *scenes):
        path = new_store(run_python, tmp_domain_dir, core)
        found = Trace(steps)
        for scene in scenes:
            log = tmp_path / f"{core} {scene}"
            environment = functools.partial(child_environment, core)
            found.read(run_traced(scene, log, path, tracer, environment), path)
        return found

    return traced


class Trace:
    """What was seen: the steps that were made, and what was none of them."""

    def __init__(self, steps):
        self.steps = steps
        self.made: dict[str, int] = {}
        self.wrong: list[str] = []
        self.order: list[str] = []
        self.words: dict[tuple[str, int], int] = {}
        self.rows: dict[tuple[str, int, int], str] = {}
        self.entries_at: dict[str, tuple[int, int]] = {}
        self.most = 0

    def read(self, text, path):
        self.order = []
        with open(f"{path}/registry", "rb") as file:
            self.most = schema.REGISTRY.read(file.read(4096), 0, "segments_max")
        for line in text.splitlines():
            kind, *fields = line.split(" ")
            if kind == "name":
                self.order.append(f"{fields[1]} {fields[0]}")
            elif kind == "row":
                self.rows[fields[0], int(fields[1]), int(fields[2])] = fields[3]
            else:
                name, *numbers = fields
                at, before, after = map(int, numbers)
                self.change(path, name, at, before, after)
                self.words[name, at] = after

    def is_step(self, where, names, *arguments):
        """Note which of the steps this change is; exactly one, or it is wrong."""
        fits = [name for name in names if self.steps[name](*arguments)]
        if len(fits) != 1:
            self.wrong.append(f"{where}: {arguments} is {fits or 'no step'} of {names}")
            return
        self.made[fits[0]] = self.made.get(fits[0], 0) + 1
        self.order.append(f"{where} {fits[0]}")

    def change(self, path, name, at, before, after):
        if name == "registry":
            self.registry(at, before, after)
        elif name == "owners":
            self.owner(at, before, after)
        elif name.startswith("seg-"):
            self.segment(name, at, before, after)
        elif name.startswith(("dict-", "stacks-")):
            self.dictionary(path, name, at, before, after)
        elif after <= before:
            self.wrong.append(f"{name} at {at}: {before} to {after}")

    def registry(self, at, before, after):
        if at == REGISTRY["segment_newest"]:
            self.is_step("newest", ["NEWEST_RAISE"], before, after)
        elif at == REGISTRY["segment_newest"] + 8:
            self.is_step("ahead", ["NEWEST_RAISE"], before, after)
        elif at == REGISTRY["segment_oldest"]:
            newest = self.words.get(("registry", REGISTRY["segment_newest"]), 0)
            self.is_step("oldest", ["OLDEST_RETIRE"], before, after, newest, self.most)
        elif at in (REGISTRY["incarnation_next"], REGISTRY["dictionary_generation"]):
            self.is_step(f"registry {at}", ["NEXT_ONE"], before, after)
        elif at == REGISTRY["fold_epoch"]:
            self.is_step("totals", ["TOTALS_FLIP"], before, after)
        elif at == REGISTRY["retired"]:
            oldest = self.words.get(("registry", REGISTRY["segment_oldest"]), 1)
            numbers = (word & ((1 << schema.RETIRED_ROWS_SHIFT) - 1) for word in (before, after))
            self.is_step("total", ["RETIRED_ADD"], *numbers, oldest)
        elif at >= schema.SEGMENT_TABLE_OFFSET:
            self.order.append(f"table noted {after >> ROWS_AT}")
        elif after < before:
            self.wrong.append(f"registry at {at}: {before} to {after}")

    def owner(self, at, before, after):
        slot, offset = divmod(at, schema.OWNER.size)
        if offset == 0:
            words = [(w >> 32, w >> 8 & 0xFFFFFF, w & 0xFF) for w in (before, after)]
            names = [name for name in self.steps if name.startswith("OWNER_")]
            self.is_step(f"owner {slot}", names, *words[0], *words[1])
        else:
            word = self.words.get(("owners", slot * schema.OWNER.size), 0)
            names = [name for name in self.steps if name.startswith("FENCE_")]
            self.is_step(f"fence {slot}", names, before, after, word & 0xFF, word >> 32)

    def segment(self, name, at, before, after):
        if at == schema.SEGMENT.offset["next_lane"]:
            self.is_step(f"{name} next", ["NEXT_ONE"], before, after)
        elif at == schema.SEGMENT.offset["state"]:
            self.is_step(f"{name} state", ["SEGMENT_SEAL", "SEGMENT_SEALED"], before, after)
        else:
            old, new = (
                (word >> schema.LANE_STATE_SHIFT, word & schema.LANE_COUNT_MASK)
                for word in (before, after)
            )
            names = [one for one in self.steps if one.startswith("LANE_")]
            self.is_step(f"{name} lane {at}", names, *old, *new)
            tag = schema.LANE_OWNER_MASK << 48 | schema.LANE_GENERATION_MASK << 32
            if old[0] == schema.LANE_OPEN and (before ^ after) & tag:
                self.wrong.append(f"{name} at {at} changed hands: {before:x} to {after:x}")

    def dictionary(self, path, name, at, before, after):
        if name not in self.entries_at:
            with open(f"{path}/{name}", "rb") as file:
                head = schema.DICTIONARY.read_all(file.read(4096))
            self.entries_at[name] = head["entries_offset"], head["buckets_offset"]
        entries, buckets = self.entries_at[name]
        if at >= buckets:
            word = self.words.get((name, entries + (after - 1) * 16), 0)
            self.is_step(f"{name} bucket", ["BUCKET_PUBLISH"], before, after, word)
        elif at >= entries:
            if (at - entries) % 16 == 0:
                self.is_step(f"{name} entry", ["ENTRY_PUBLISH"], before, after)
                if not self.words.get((name, at + 8)):
                    self.wrong.append(f"{name}: entry at {at} published before its hash")
        elif at == schema.DICTIONARY.offset["next_entry"]:
            self.is_step(f"{name} next", ["NEXT_ONE"], before, after)
        elif after <= before:
            self.wrong.append(f"{name} at {at}: {before} to {after}")

    def in_order(self, *parts):
        """Whether these happened one after the other, each named by how its line begins."""
        rest = iter(self.order)
        return all(any(line.startswith(part) for line in rest) for part in parts)


def final_rows(path):
    """Cells of each row of a segment, as the tracer writes them."""
    data = path.read_bytes()
    head = schema.SEGMENT.read_all(data)
    found = {}
    for lane in range(head["lanes"]):
        at = schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE
        count = struct.unpack_from("<Q", data, at)[0] & schema.LANE_COUNT_MASK
        for row in range(count):
            index = lane * schema.LANE_ROWS + row
            found[path.name, lane, row] = "".join(
                data[start + index * column.width : start + (index + 1) * column.width].hex()
                for column, start in zip(schema.COLUMNS, head["column_offsets"], strict=False)
            )
    return found


def test_every_step_of_the_code_is_one_of_the_models_and_every_one_of_theirs_is_made(
    core_name, trace, tmp_domain_dir, finding
):
    found = trace(core_name, "join")
    assert found.in_order(
        "fence 0 FENCE_GRANT", "agg-0 comes", "owner 0 OWNER_REGISTER", "dict-1 comes",
        "seg-1 comes", "newest NEWEST_RAISE", "seg-1 next", "seg-1 lane 4096 LANE_CLAIM",
        "dict-1 entry", "dict-1 bucket", "seg-1 lane 4096 LANE_COMMIT",
        "seg-1 lane 4096 LANE_CLOSE", "owner 0 OWNER_EXIT",
    )  # fmt: skip
    (path,) = tmp_domain_dir.glob("default/*/seg-1")
    rows = final_rows(path)
    # At the very store that made it visible, each row was what it is now.
    assert len(rows) == 3 and rows == found.rows
    assert found.wrong == []

    later = trace(core_name, "die", "bury")
    assert later.in_order(
        "fence 0 FENCE_RAISE", "owner 0 OWNER_DIE", "seg-1 lane", "agg-retired comes",
        "totals TOTALS_FLIP", "owner 0 OWNER_FOLD", "agg-0 goes", "owner 0 OWNER_FREE",
    )  # fmt: skip
    assert later.wrong == []

    turned = trace(core_name, "turn")
    newest = turned.most + 1
    assert turned.in_order(
        f"seg-{newest} comes", "newest", "seg-1 state SEGMENT_SEAL", "seg-1 state SEGMENT_SEALED",
        "table noted 1", "total RETIRED_ADD", "oldest OLDEST_RETIRE", "seg-1 goes",
    )  # fmt: skip
    assert turned.wrong == []

    made = {}
    for one in (found, later, turned):
        for name, times in one.made.items():
            made[name] = made.get(name, 0) + times
    finding(f"{core_name}: {sum(made.values()):,} changes, all of them steps of the models: {made}")
    assert set(made) == set(found.steps), "a step of the models that the code never makes"


@pytest.mark.parametrize(("breakage", "sign"), [("unbumped", "owner 0"), ("unfenced", "fence")])
def test_a_code_that_takes_another_step_is_found_out(core_name, trace, breakage, sign):
    """Negative control: a slot is given back with the same generation; no fence is raised."""
    found = trace(core_name, "die", f"bury {breakage}")
    raised = any("FENCE_RAISE" in line for line in found.order)
    if breakage == "unfenced":
        assert not raised
    else:
        assert raised and len(found.wrong) == 1 and found.wrong[0].startswith(sign)


RETIRE = """
import os, sys
from faultplane.errors import StorageError
from faultplane import schema
from faultplane._backend import core
from faultplane.store import domain

store = domain.Store.open(sys.argv[1], writable=True)
header, at = store.header, schema.REGISTRY.offset
ring = core.Ring(
    store.directory_fd, store.locks.descriptor, store.registry, header.lanes_per_segment,
    header.segments_max, header.dictionary_bytes,
)
for line in sys.stdin:
    if line == "backlog\\n":
        store.registry.store(at["segment_oldest"], 1)
        store.registry.store(at["segment_newest"], header.segments_max + 2)
    elif line == "retire\\n":
        try:
            ring.retire_over_budget()
        except StorageError:
            pass  # the other one holds the lock
    print(store.load("segment_oldest"), flush=True)
"""


def test_two_who_retire_at_once_retire_no_more_than_is_over_the_budget(
    core_name, built, run_python, child_environment, tmp_domain_dir, tmp_path, finding
):
    """One is held before each access that it makes to the registry, while another retires."""
    path = run_python(MAKE_STORE, tmp_domain_dir, core=core_name).stdout.strip()
    environment = child_environment(core_name)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", RETIRE, path]
    outcomes = []
    with subprocess.Popen(command, env=environment, **pipes) as other:

        def ask(what):
            other.stdin.write(what + "\n")
            other.stdin.flush()
            return int(other.stdout.readline())

        for hold in range(1, 1000):
            assert ask("backlog") == 1
            held = environment | {
                "TRACE_DIRECTORY": path, "TRACE_FILE": str(tmp_path / "log"),
                "TRACE_HOLD": str(hold), "LD_PRELOAD": str(built[1]),
            }  # fmt: skip
            scene = [sys.executable, HERE / "scenes.py", "retire"]
            with subprocess.Popen(scene, env=held, **pipes) as one:
                said = one.stdout.readline()
                if said == "held\n":
                    ask("retire")
                    rest = one.communicate("x")[0]
                    assert rest.startswith("retired "), rest
            if said != "held\n":
                break
            outcomes.append(ask("look"))
        other.stdin.close()
    finding(f"{core_name}: held before each of {len(outcomes)} accesses to the registry")
    assert len(outcomes) >= 8
    assert set(outcomes) == {3}
