"""Every state of each model is looked at; each wrong protocol is found out by what it breaks.

What a model proves stands in its first lines. ``steps.h`` has the steps that it may take;
test_binding.py holds the real cores against the same file.
"""

from __future__ import annotations

import re

import pytest
from exhaustive import HERE, search

# Further switches make a model of another shape: the pure core, or more segments than fit at once.
MODELS = [
    ("lanes",),
    ("lanes", "-DPURE"),
    ("segments",),
    ("segments", "-DWRITERS=1", "-DRECORDS=4", "-DNUMBERS=4"),
    ("segments", "-DWRITERS=1", "-DAHEAD"),
    ("owners",),
    ("fold",),
    ("intern",),
    ("intern", "-DPURE"),
    ("prepare",),
    ("prepare", "-DNAMELESS"),
    ("create",),
    ("create", "-DREMOVERS=2", "-DATTEMPTS=1"),
]
# One writer alone meets no other that publishes: that part is reached with two.
MEETS_NOBODY = ("segments", "-DWRITERS=1")
# A wrong protocol, and the assertion that finds it: a part of its text as Spin prints it.
CONTROLS = [
    ("lanes", ("-DCOUNT_FIRST",), "head["),
    ("lanes", ("-DPLAIN_COMMIT",), "closed_once"),
    ("lanes", ("-DNO_RETRY",), "closed_once"),
    ("lanes", ("-DPURE", "-DNO_SETTLE"), "acknowledged"),
    ("segments", ("-DUNLINK_FIRST",), "seen==committed"),
    ("segments", ("-DLOOK_TWICE",), "newest+1"),
    ("segments", ("-DPLAIN_NOTE", "-DWRITERS=1", "-DRECORDS=4", "-DNUMBERS=4"), "table["),
    ("segments", ("-DFULL_WINDOW", "-DWRITERS=1", "-DRECORDS=4", "-DNUMBERS=4"), "table["),
    ("segments", ("-DCANNOT_IS_GONE",), "rows_retired==seen"),
    ("segments", ("-DHEADER_LAST",), "number_of["),
    ("segments", ("-DWRITERS=1", "-DAHEAD", "-DHEADER_LAST"), "number_of["),
    ("segments", ("-DNO_SEAL",), "seen==committed"),
    ("segments", ("-DADD_LAST",), "segments_retired=="),
    ("segments", ("-DADD_ALONE",), "rows_retired==seen"),
    ("owners", ("-DFENCE_IS_A_FLAG",), "sum==counted"),
    ("owners", ("-DSAME_INCARNATION",), "sum==counted"),
    ("owners", ("-DNO_WAIT",), "sum==counted"),
    ("owners", ("-DNO_BUMP",), "lane_of["),
    ("fold", ("-DNO_LIST",), "n==begun["),
    ("fold", ("-DNO_EPOCH",), "sum["),
    ("fold", ("-DFOLDED_FIRST",), "n==begun["),
    ("fold", ("-DIN_PLACE",), "n==begun["),
    ("intern", ("-DBUCKET_FIRST",), "word["),
    ("intern", ("-DWORD_FIRST",), "value"),
    ("intern", ("-DTWO_STEPS",), "word["),
    ("intern", ("-DHASH_ALONE",), "wanted["),
    ("intern", ("-DPURE", "-DBUCKET_FIRST"), "word["),
    ("prepare", ("-DSHARED_NAME",), "zeros["),
    ("prepare", ("-DREADY_FIRST",), "zeros["),
    ("prepare", ("-DLINK_READY",), "uses["),
    ("prepare", ("-DRAISE_FIRST",), "names_there["),
    ("prepare", ("-DKEEP_ONE",), "names_there["),
    ("prepare", ("-DNAMELESS", "-DLINK_HALF"), "zeros["),
    ("prepare", ("-DNAMELESS", "-DLINK_OVER"), "linked["),
    ("prepare", ("-DNAMELESS", "-DHINT_FIRST"), "name[n]!=0"),
    ("prepare", ("-DNAMELESS", "-DRAISE_FIRST"), "names_there["),
    ("prepare", ("-DNAMELESS", "-DKEEP_ONE"), "names_there["),
    ("create", ("-DNOT_IN_PLACE",), "lives_in["),
    ("create", ("-DNO_LOCK",), "lives_in["),
    ("create", ("-DLOOK_FIRST",), "lives_in["),
    ("create", ("-DNAME_FIRST",), "filled["),
    ("create", ("-DREPLACE",), "name["),
]
SOON = "-O0"  # a control is found out before an optimised search would have been compiled


def name_of(case):
    return " ".join(case) if isinstance(case, tuple) else None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", MODELS, ids=name_of)
def test_no_state_of_the_model_breaks_what_it_promises(case, tmp_path, finding):
    model, *switches = case
    verdict = search(model, tuple(switches), tmp_path)
    finding(
        f"{name_of(case):58} {verdict.states:>9,} states, depth {verdict.depth:,}, "
        f"{verdict.errors} errors, {verdict.seconds:.1f} s"
    )
    assert verdict.errors == 0, verdict.output
    # A search that gave up has shown nothing.
    for sign in ("max search depth too small", "out of memory", "Bit statespace", "hash-compact"):
        assert sign not in verdict.output
    assert "Full statespace search" in verdict.output
    # A step that never happens proves nothing either. The judge never ends, nor do maintainers.
    left = [place for place in verdict.unreached if not place.endswith("-end-")]
    if case[:2] == MEETS_NOBODY:
        left = [place for place in left if not any(part in place for part in ("m = ", "n = "))]
        left = [place for place in left if "name[n] = 0" not in place and "newest" not in place]
    assert left == []


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: name_of((case[0], *case[1])))
def test_a_wrong_protocol_is_found_out(case, tmp_path, finding):
    """Negative controls."""
    model, switches, assertion = case
    verdict = search(model, switches, tmp_path, level=SOON)
    finding(
        f"{name_of((model, *switches)):58} {verdict.states:>9,} states, wrong at depth "
        f"{verdict.depth:,}: {verdict.violated[:60]}"
    )
    assert verdict.errors == 1, verdict.output
    assert verdict.violated.startswith("assertion violated") and assertion in verdict.violated


def test_a_writer_takes_bounded_steps(tmp_path, finding):
    """No cycle without progress: closers make a writer try again, never for ever."""
    verdict = search("lanes", ("-DLANES=2", "-DCYCLES"), tmp_path, liveness=True)
    finding(f"{'lanes -DLANES=2 -DCYCLES':58} {verdict.states:>9,} states, {verdict.errors} errors")
    assert verdict.errors == 0, verdict.output


def test_a_writer_that_waits_is_found_out(tmp_path):
    """Negative control: a writer that asks for the same lane again until it has it."""
    text = (HERE / "lanes.pml").read_text()
    assert ":: else -> d_step { l = NONE; r = 0 } /* closed" in text
    (tmp_path / "waits.pml").write_text(
        text.replace(":: else -> d_step { l = NONE; r = 0 } /* closed", ":: else -> skip /* closed")
    )
    (tmp_path / "steps.h").write_text((HERE / "steps.h").read_text())
    verdict = search(str(tmp_path / "waits"), ("-DLANES=2", "-DCYCLES"), tmp_path, liveness=True)
    assert verdict.errors == 1 and verdict.violated.startswith("non-progress cycle")


@pytest.mark.parametrize("model", sorted({case[0] for case in MODELS}))
def test_a_model_says_what_it_proves_and_which_controls_it_has(model):
    text = (HERE / f"{model}.pml").read_text()
    first = text[: text.index("*/")]
    assert re.search(r"\. Proves, ", first) and "Code: " in first
    used = set(re.findall(r"^#if(?:n?def|) +([A-Z_]+)$", text, re.MULTILINE))
    sizes = {"LANES", "CLOSERS", "WRITERS", "RECORDS", "NUMBERS", "REMOVERS", "ATTEMPTS"}
    shapes = sizes | {"PURE", "CYCLES", "AHEAD", "NAMELESS"}
    named = set(re.findall(r"-D([A-Z_]+)", first[first.index("Negative controls") :]))
    assert used - shapes == named - shapes
    tried = {switch[2:] for name, switches, _ in CONTROLS if name == model for switch in switches}
    assert named <= tried
    assert used & shapes <= tried | sizes | {"CYCLES"}
