"""Every state of each model is looked at; each wrong protocol is found out by what it breaks.

What a model proves stands in its first lines. ``steps.h`` has the steps that it may take;
test_binding.py holds the real cores against the same file. ``control.h`` has those of the words of
control cells.
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
    ("breaker",),
    ("breaker", "-DPROBES=1"),
    ("breaker", "-DREUSE"),
    ("breaker", "-DREUSE", "-DPROBES=1"),
    ("breaker", "-DOPERATOR", "-DPROBES=1"),
    ("budget",),
    ("budget", "-DREUSE"),
    ("bulkhead",),
    ("bulkhead", "-DLIMIT=2"),
    ("bulkhead", "-DREUSE"),
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
    ("breaker", ("-DSUM_FIRST",), "counted)<=2"),
    ("breaker", ("-DWORD_FIRST",), "counted)<=2"),
    ("breaker", ("-DGIVE_FIRST",), "counted)<=2"),
    ("breaker", ("-DANY_TICKET",), "(generation==g)"),
    ("breaker", ("-DPLAIN_STORE",), "(state==1)&&(2==2)"),
    ("breaker", ("-DPLAIN_COUNT",), "(n+1)==(successes+1)"),
    ("breaker", ("-DPLAIN_TAKE",), "(n+1)==(probes[o]+1)"),
    ("breaker", ("-DCOUNTED_TWICE",), "admitted==2"),
    ("breaker", ("-DANY_GENERATION",), "probes[o]>0"),
    ("breaker", ("-DREUSE", "-DANY_INCARNATION"), "probes[o]>0"),
    ("breaker", ("-DREUSE", "-DCLEAR_ANY"), "probes[o]>0"),
    ("breaker", ("-DREUSE", "-DOWNER_FIRST"), "probes[o]>0"),
    ("breaker", ("-DREUSE", "-DCLEAR_ONLY_OWNERS"), "probes[0]==0"),
    ("budget", ("-DSUM_FIRST",), "<=bucket"),
    ("budget", ("-DBALANCE_FIRST",), "<=bucket"),
    ("budget", ("-DGIVE_FIRST",), "<=bucket"),
    ("budget", ("-DCLAMP",), "<=bucket"),
    ("budget", ("-DPLAIN_TAKE",), "(n+1)==(tokens[o]+1)"),
    ("budget", ("-DPLAIN_STORE",), "(sum+1)>bucket"),
    ("budget", ("-DREUSE", "-DNO_GUARD"), "bucket>=0"),
    ("budget", ("-DREUSE", "-DSEND_SHORT"), "sent<="),
    ("budget", ("-DREUSE", "-DREFUND"), "bucket==("),
    ("budget", ("-DREUSE", "-DANY_INCARNATION"), "tokens[o]>0"),
    ("budget", ("-DREUSE", "-DPRESENT_OWNER"), "tokens[o]>0"),
    ("budget", ("-DREUSE", "-DCLEAR_ANY"), "tokens[o]>0"),
    ("budget", ("-DREUSE", "-DOWNER_FIRST"), "tokens[o]>0"),
    ("budget", ("-DREUSE", "-DNO_CLEAR"), "tokens[0]==0"),
    ("budget", ("-DREUSE", "-DCLEAR_ONLY_OWNERS"), "tokens[0]==0"),
    ("bulkhead", ("-DSUM_FIRST",), "<=1"),
    ("bulkhead", ("-DGIVE_FIRST",), "<=1"),
    ("bulkhead", ("-DOWN_TWICE",), "right[p]"),
    ("bulkhead", ("-DPLAIN_TAKE",), "(n+1)==(permits[o]+1)"),
    ("bulkhead", ("-DKEEP_REFUSED",), "permits[0]==0"),
    ("bulkhead", ("-DREUSE", "-DANY_INCARNATION"), "permits[o]>0"),
    ("bulkhead", ("-DREUSE", "-DPRESENT_OWNER"), "permits[o]>0"),
    ("bulkhead", ("-DREUSE", "-DCLEAR_ANY"), "permits[o]>0"),
    ("bulkhead", ("-DREUSE", "-DOWNER_FIRST"), "permits[o]>0"),
    ("bulkhead", ("-DREUSE", "-DNO_CLEAR"), "permits[0]==0"),
    ("bulkhead", ("-DREUSE", "-DCLEAR_ONLY_OWNERS"), "permits[0]==0"),
]
# What happens to callers of a breaker that must not stay where it is, and what makes it stay.
LIVE = [("-DDEATHS",), ("-DHANGS",)]
STUCK = [
    ("-DDEATHS", "-DNO_CLEAR"),
    ("-DHANGS", "-DNO_EPISODE"),
    ("-DSLOW",),
    ("-DOVERLAP",),
    ("-DOWN_TWICE",),
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


@pytest.mark.parametrize("faults", LIVE, ids=" ".join)
def test_a_breaker_is_never_stuck_while_callers_keep_coming(faults, tmp_path, finding):
    """No fair cycle in which it stays in OPEN or HALF_OPEN, whoever dies or hangs."""
    verdict = search("breaker", ("-DLIVE", *faults), tmp_path, liveness=True, fair=True)
    name = " ".join(("breaker", "-DLIVE", *faults))
    finding(f"{name:58} {verdict.states:>9,} states, {verdict.errors} errors")
    assert verdict.errors == 0, verdict.output
    assert "max search depth too small" not in verdict.output


@pytest.mark.parametrize("switches", STUCK, ids=" ".join)
def test_a_breaker_that_gets_stuck_is_found_out(switches, tmp_path):
    """Negative controls; -DSLOW and -DOVERLAP show what is assumed, not what is wrong."""
    switches = ("-DLIVE", *switches)
    verdict = search("breaker", switches, tmp_path, liveness=True, fair=True, level=SOON)
    assert verdict.errors == 1 and verdict.violated.startswith("non-progress cycle")


@pytest.mark.parametrize("model", sorted({case[0] for case in MODELS}))
def test_a_model_says_what_it_proves_and_which_controls_it_has(model):
    text = (HERE / f"{model}.pml").read_text()
    first = text[: text.index("*/")]
    assert re.search(r"\. Proves, ", first) and "Code: " in first
    used = set(re.findall(r"^#if(?:n?def|) +([A-Z_]+)$", text, re.MULTILINE))
    sizes = {"LANES", "CLOSERS", "WRITERS", "RECORDS", "NUMBERS", "REMOVERS", "ATTEMPTS"}
    sizes |= {"PROBES", "CALLS", "LIMIT"}
    shapes = sizes | {"PURE", "CYCLES", "AHEAD", "NAMELESS"}
    shapes |= {"REUSE", "OPERATOR", "LIVE", "DEATHS", "HANGS"}
    named = set(re.findall(r"-D([A-Z_]+)", first[first.index("Negative controls") :]))
    assert used - shapes == named - shapes
    tried = {switch[2:] for name, switches, _ in CONTROLS if name == model for switch in switches}
    searched = {switch[2:] for name, *switches in MODELS if name == model for switch in switches}
    if model == "breaker":
        tried |= {switch[2:] for switches in STUCK for switch in ("-DLIVE", *switches)}
    assert named <= tried
    assert used & shapes <= tried | searched | sizes | {"CYCLES"}
