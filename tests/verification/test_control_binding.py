"""The models of breaker, budget and bulkhead are models of this code: each change that a real
process makes to a breaker's word, a bucket or a lease is a step of ``control.h``, and each step of
``control.h`` is made. What the header says of states and fields is what the code has.
"""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from binding import compiled_steps, compiled_tracer, new_store, run_traced
from exhaustive import HERE

from faultplane import control_schema as layout
from faultplane import schema

traced_only = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="tracer.c reads the registers and instructions of x86-64",
)
CONSTANT = re.compile(r"^#define ([A-Z_]+) (0x[0-9A-Fa-f]+|\d+)\b", re.MULTILINE)
TOKENS_MAX = 5 * layout.MILLI


def differences(text):
    """What a header of the models says otherwise than `control_schema`."""
    found = []
    said = dict(CONSTANT.findall(text))
    names = {name for name in vars(layout) if re.fullmatch(r"BREAKER_[A-Z_]+", name)}
    states = {name for name in names if not name.endswith(("_SHIFT", "_MASK", "_STATES"))}
    for name in sorted(states | {"GENERATION_MASK"}):
        ours = getattr(layout, name, layout.BREAKER_GENERATION_MASK)
        theirs = int(said.pop(name, "-1"), 0)
        if theirs != ours:
            found.append(f"{name} is {theirs}, and {ours} in control_schema")
    return found + [f"{name} is not in control_schema" for name in sorted(said)]


def test_the_models_have_the_states_and_the_fields_of_the_code():
    text = (HERE / "control.h").read_text()
    assert differences(text) == []
    assert len(layout.BREAKER_STATES) == 1 + max(
        int(value) for name, value in CONSTANT.findall(text) if name.startswith("BREAKER_")
    )


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ("BREAKER_HALF_OPEN 2", "BREAKER_HALF_OPEN 1", "BREAKER_HALF_OPEN is 1"),
        ("GENERATION_MASK 0x3FFFF", "GENERATION_MASK 0x1FFFF", "GENERATION_MASK is 131071"),
        ("#define BREAKER_OPEN 1\n", "", "BREAKER_OPEN is -1"),
        ("#define BREAKER_OPEN 1\n", "#define BREAKER_AJAR 6\n", "BREAKER_AJAR is not"),
    ],
)
def test_a_header_that_says_otherwise_is_found_out(now, then, said):
    """Negative control."""
    text = (HERE / "control.h").read_text()
    assert now in text
    assert any(said in one for one in differences(text.replace(now, then)))


def test_fields_are_as_wide_as_what_the_models_put_into_them():
    """Beside each other, without a gap and without an overlap, to the last bit of the word."""
    words = {
        "breaker": [
            (layout.BREAKER_STATE_SHIFT, 7),
            (layout.BREAKER_GENERATION_SHIFT, layout.BREAKER_GENERATION_MASK),
            (layout.BREAKER_SUCCESSES_SHIFT, layout.BREAKER_SUCCESSES_MASK),
            (0, layout.BREAKER_UNTIL_MASK),
        ],
        "probes": [
            (layout.LEASE_OWNER_SHIFT, 0xFFFF_FFFF),
            (layout.LEASE_GENERATION_SHIFT, layout.BREAKER_GENERATION_MASK),
            (0, layout.LEASE_PROBES_MASK),
        ],
        "held": [
            (layout.LEASE_OWNER_SHIFT, 0xFFFF_FFFF),
            (layout.LEASE_PERMITS_SHIFT, layout.LEASE_HELD_MASK),
            (0, layout.LEASE_HELD_MASK),
        ],
        "bucket": [
            (layout.BUDGET_REFILL_SHIFT, layout.BREAKER_UNTIL_MASK),
            (0, layout.BUDGET_TOKENS_MASK),
        ],
    }
    for name, fields in words.items():
        end = 64
        for shift, mask in fields:
            assert shift + mask.bit_length() == end, name
            end = shift
        assert end == 0, name
    assert layout.PROBES_MAX <= layout.BREAKER_SUCCESSES_MASK
    assert layout.BUDGET_TOKENS_MAX * layout.MILLI <= layout.BUDGET_TOKENS_MASK
    assert layout.PERMITS_MAX <= layout.LEASE_HELD_MASK


# ------------------------------------------------------------------------------------- tracing


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(The steps of control.h as functions, by name; the path of the tracer)."""
    place = tmp_path_factory.mktemp("built")
    return compiled_steps("control.h", place), compiled_tracer(place)


@pytest.fixture
def trace(built, run_python, child_environment, tmp_domain_dir, tmp_path):
    """Function ``(core, *scenes) -> Trace`` of the scenes of scenes.py, one process each."""
    steps, tracer = built

    def traced(core, *scenes, fields=layout):
        path = new_store(run_python, tmp_domain_dir, core)
        found = Trace(steps, fields)
        for scene in scenes:
            environment = functools.partial(child_environment, core)
            log = tmp_path / f"{core} {scene}"
            found.read(run_traced(scene, log, path, tracer, environment), Path(path))
        return found

    return traced


class Trace:
    """What was seen: the steps that were made, and what was none of them."""

    def __init__(self, steps, fields):
        self.steps, self.fields = steps, fields
        self.made: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.leases_at = self.row_bytes = self.owner = 0
        self.generations: dict[int, int] = {}

    def read(self, text, path):
        head = (path / "control").read_bytes()[: layout.CONTROL.size]
        self.leases_at = layout.CONTROL.read(head, 0, "leases_offset")
        self.row_bytes = layout.lease_row_bytes(layout.CONTROL.read(head, 0, "owner_slots"))
        head = (path / "registry").read_bytes()[: schema.REGISTRY.size]
        self.owner = schema.REGISTRY.read_all(head)["incarnation_next"][0] - 1
        for line in text.splitlines():
            kind, name, *numbers = line.split(" ")
            if kind == "word" and name == "control":
                self.change(*map(int, numbers))

    def change(self, at, before, after):
        if at >= self.leases_at:
            cell, offset = divmod(at - self.leases_at, self.row_bytes)
            if offset % layout.LEASE.size == layout.LEASE.offset["held"]:
                self.held(before, after)
            else:
                self.probes(cell, before, after)
            return
        cell, offset = divmod(at - layout.CONTROL.size, layout.CONTROL_CELL.size)
        if offset == layout.CONTROL_CELL.offset["breaker"]:
            self.breaker(cell, before, after)
        elif offset == layout.CONTROL_CELL.offset["budget"]:
            self.bucket(before, after)

    def is_step(self, prefix, *arguments):
        """Note which of the steps this change is; exactly one, or it is wrong."""
        names = [name for name in self.steps if name.startswith(prefix)]
        fits = [name for name in names if self.steps[name](*arguments)]
        if len(fits) != 1:
            self.wrong.append(f"{prefix}{arguments} is {fits or 'no step'}")
        self.made.update(fits)

    def breaker(self, cell, *words):
        fields = self.fields
        parts = [
            (
                word >> fields.BREAKER_STATE_SHIFT,
                word >> fields.BREAKER_GENERATION_SHIFT & fields.BREAKER_GENERATION_MASK,
                word >> fields.BREAKER_SUCCESSES_SHIFT & fields.BREAKER_SUCCESSES_MASK,
            )
            for word in words
        ]
        self.is_step("BREAKER_", *parts[0], *parts[1])
        self.generations[cell] = parts[1][1]

    def begins(self, owner):
        """Whoever writes to a lease as its owner is the process that there is."""
        if owner != self.owner:
            self.wrong.append(f"a lease of {owner}, and the process is {self.owner}")

    def probes(self, cell, *words):
        fields = self.fields
        parts = [
            (
                word >> fields.LEASE_OWNER_SHIFT,
                word >> fields.LEASE_GENERATION_SHIFT & fields.BREAKER_GENERATION_MASK,
                word & fields.LEASE_PROBES_MASK,
            )
            for word in words
        ]
        self.is_step("LEASE_", *parts[0], *parts[1])
        owner, generation, count = parts[1]
        if count > parts[0][2]:
            self.begins(owner)
            if generation != self.generations[cell]:
                self.wrong.append(f"a probe of {generation}, and it is {self.generations[cell]}")

    def held(self, *words):
        """Permits and tokens are a word each in the models: one of them changes, or both end."""
        fields = self.fields
        owner = [word >> fields.LEASE_OWNER_SHIFT for word in words]
        permits, tokens = (
            [word >> shift & fields.LEASE_HELD_MASK for word in words]
            for shift in (fields.LEASE_PERMITS_SHIFT, 0)
        )
        if owner[0] == owner[1]:
            changed = [one for one in (permits, tokens) if one[0] != one[1]]
            if len(changed) != 1:
                self.wrong.append(f"permits {permits} and tokens {tokens} change at once")
        else:  # another owner's, who begins with one of them, or nobody's
            changed = [permits, tokens]
            if owner[1]:
                self.begins(owner[1])
                changed = [one for one in changed if one[1]]
        for one in changed:
            self.is_step("HOLD_", owner[0], one[0], owner[1], one[1])

    def bucket(self, before, after):
        """Thousandths of tokens; the time may go on without them."""
        mask = self.fields.BUDGET_TOKENS_MASK
        if before & mask == after & mask:
            return
        self.step_of_bucket(before & mask, after & mask)

    def step_of_bucket(self, before, after):
        fits = [
            name
            for name, last in (("BUCKET_FILL", TOKENS_MAX), ("BUCKET_PAY", layout.MILLI))
            if self.steps[name](before, after, last)
        ]
        if len(fits) != 1:
            self.wrong.append(f"bucket {before}, {after} is {fits or 'no step'}")
        self.made.update(fits)


@traced_only
def test_every_change_of_a_cell_is_a_step_of_the_models_and_every_one_of_theirs_is_made(
    core_name, trace, finding
):
    found = trace(core_name, "guard", "die_guarded", "reclaim")
    assert found.wrong == []
    finding(f"{core_name}: {found.made.total():,} changes, all steps of the models: {found.made}")
    assert set(found.made) == set(found.steps), set(found.steps) - set(found.made)


@traced_only
def test_a_code_that_takes_another_step_is_found_out(core_name, trace):
    """Negative control: half-open out of closed."""
    found = trace(core_name, "guard wrong")
    assert len(found.wrong) == 1 and found.wrong[0].startswith("BREAKER_"), found.wrong


@traced_only
@pytest.mark.parametrize(
    "field", ["BREAKER_GENERATION_SHIFT", "BREAKER_SUCCESSES_SHIFT", "LEASE_GENERATION_SHIFT",
              "LEASE_OWNER_SHIFT", "LEASE_PERMITS_SHIFT", "BREAKER_STATE_SHIFT"],
)  # fmt: skip
def test_a_field_in_another_place_is_found_out(core_name, trace, field):
    """Negative control: the words are read as if a field began a bit further up."""

    class Shifted:
        def __getattr__(self, name):
            return getattr(layout, name) + (name == field)

    assert trace(core_name, "guard", fields=Shifted()).wrong
