"""Memory order: what no execution of the pairs of docs/protocol.md may come to, by two models.

The models of `test_models` interleave whole steps. Here every execution of each pair that C's
memory model or ARM64's allows is looked at, with the orders that ``atomics.h`` names: a header
that orders less fails. `axioms` is held against litmus tests whose verdicts are published.
"""

from __future__ import annotations

import re

import pytest
from axioms import (
    ACQUIRE,
    FENCE,
    RELAXED,
    RELEASE,
    Add,
    Load,
    Store,
    Swap,
    armv8,
    outcomes,
    rc11,
)
from litmus import LITMUS, SOURCE, Atomics, orders_of

HEADER = (SOURCE / "_core" / "atomics.h").read_text()
ORDERS = orders_of(HEADER)
MODELS = {"C11": rc11, "ARM64": armv8}


def thread(*steps):
    """A thread of the steps; returns what its loads gave."""

    def run():
        seen = []
        for step in steps:
            value = yield step
            if not isinstance(step, Store) and step is not FENCE:
                seen.append(value)
        return tuple(seen)

    return run


def stores(word, value=1, order=RELAXED):
    return Store(word, value, order)


X, Y, TAKE_Y, GIVE_Y = Load("x", RELAXED), Load("y", RELAXED), Load("y", ACQUIRE), RELEASE
# Name, threads, outcome (what loads gave, thread by thread), allowed by C11, by ARM64. As published
# with the models: Alglave's names. LB on ARM64 is without dependencies; R and 2+2W by final values.
PUBLISHED = [
    ("MP", [thread(stores("x"), stores("y")), thread(Y, X)], ((), (1, 0)), True, True),
    (
        "MP+rel+acq",
        [thread(stores("x"), stores("y", 1, RELEASE)), thread(TAKE_Y, X)],
        ((), (1, 0)), False, False,
    ),
    ("MP+rel+po", [thread(stores("x"), stores("y", 1, RELEASE)), thread(Y, X)],
     ((), (1, 0)), True, True),
    ("MP+fences", [thread(stores("x"), FENCE, stores("y")), thread(Y, FENCE, X)],
     ((), (1, 0)), False, False),
    ("SB", [thread(stores("x"), Y), thread(stores("y"), X)], ((0,), (0,)), True, True),
    ("SB+rel+acq", [thread(stores("x", 1, RELEASE), TAKE_Y),
                    thread(stores("y", 1, RELEASE), Load("x", ACQUIRE))],
     ((0,), (0,)), True, True),
    ("SB+fences", [thread(stores("x"), FENCE, Y), thread(stores("y"), FENCE, X)],
     ((0,), (0,)), False, False),
    ("LB", [thread(X, stores("y")), thread(Y, stores("x"))], ((1,), (1,)), False, True),
    ("LB+acqs", [thread(Load("x", ACQUIRE), stores("y")), thread(TAKE_Y, stores("x"))],
     ((1,), (1,)), False, False),
    ("WRC+rel+acq", [thread(stores("x")), thread(X, stores("y", 1, RELEASE)), thread(TAKE_Y, X)],
     ((), (1,), (1, 0)), False, False),
    ("IRIW+acqs", [thread(stores("x")), thread(stores("y")),
                   thread(Load("x", ACQUIRE), Y), thread(TAKE_Y, X)],
     ((), (), (1, 0), (1, 0)), True, False),
    ("IRIW", [thread(stores("x")), thread(stores("y")), thread(X, Y), thread(Y, X)],
     ((), (), (1, 0), (1, 0)), True, True),
    ("CoRR", [thread(stores("x")), thread(X, X)], ((), (1, 0)), False, False),
    ("MP+rmw in the sequence", [thread(stores("x"), stores("y", 1, RELEASE)),
                                thread(Add("y", 1, RELAXED)), thread(TAKE_Y, X)],
     ((), (1,), (2, 0)), False, False),
    ("MP+store breaks the sequence", [thread(stores("x"), stores("y", 1, RELEASE)),
                                      thread(Y, stores("y", 2)), thread(TAKE_Y, X)],
     ((), (1,), (2, 0)), True, False),
    ("two swaps", [thread(Swap("x", 0, 1, RELAXED, RELAXED)),
                   thread(Swap("x", 0, 2, RELAXED, RELAXED))],
     ((0,), (0,)), False, False),
]  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case[0])
def test_the_checker_gives_the_published_verdicts(case):
    _, threads, outcome, *allowed = case
    for model, expected in zip((rc11, armv8), allowed, strict=True):
        found, _ = outcomes(threads, {"x": 0, "y": 0}, model)
        assert (outcome in [one.returned for one in found]) == expected, model.__name__


@pytest.mark.parametrize("name", LITMUS)
def test_no_execution_of_a_pair_breaks_what_is_relied_on(name, finding):
    litmus = LITMUS[name]
    looked = []
    for model_name in litmus.models:
        threads = litmus.threads(Atomics(ORDERS, {}))
        found, executions = outcomes(threads, litmus.initial, MODELS[model_name])
        looked.append(f"{executions} of {model_name}")
        assert not [outcome for outcome in found if litmus.forbidden(outcome)]
        assert len(found) > 1 or "late" in name, "nothing else may come out: nothing was tested"
    finding(f"order: {name}: no execution breaks it, {', '.join(looked)}")


@pytest.mark.parametrize(
    ("name", "weaker"),
    [(name, weaker) for name, litmus in LITMUS.items() for weaker in litmus.controls],
    ids=str,
)
def test_a_weaker_order_is_found_out(name, weaker, finding):
    """Negative controls."""
    litmus = LITMUS[name]
    found_by = []
    for model_name in litmus.models:
        threads = litmus.threads(Atomics(ORDERS, weaker))
        found, _ = outcomes(threads, litmus.initial, MODELS[model_name])
        found_by += [model_name] if any(map(litmus.forbidden, found)) else []
    how = ", ".join(f"{key} {order}".rstrip() for key, order in weaker.items())
    finding(f"order: {name}, but {how}: wrong by {' and '.join(found_by)}")
    assert litmus.models[0] in found_by


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_swap_that_closes_goes_on_with_what_the_commit_released(model):
    """It need not order anything itself; a store that closes is a control of the same pair."""
    litmus = LITMUS["a row comes with the closing of its lane"]
    threads = litmus.threads(Atomics(ORDERS, {"a relaxed swap closes": ""}))
    found, _ = outcomes(threads, litmus.initial, model)
    assert (None, None, 1) in [outcome.returned for outcome in found]
    assert not any(map(litmus.forbidden, found))


@pytest.mark.parametrize("name", LITMUS)
def test_a_pair_is_where_the_code_has_it(name):
    for path, text in LITMUS[name].sites:
        assert text in (SOURCE / path).read_text(), f"{path} has no {text!r}"


def test_a_reader_of_operations_of_the_living_may_see_two():
    """What docs/protocol.md does not promise may indeed happen: an old word with new fields."""
    litmus = LITMUS["an operation comes with its word"]
    found, _ = outcomes(litmus.threads(Atomics(ORDERS, {})), litmus.initial, rc11)
    assert (1, 2) in [outcome.returned[1] for outcome in found]


def test_every_function_of_the_header_names_its_orders():
    declared = set(re.findall(r"\b(fp_\w+)\(", HEADER))
    assert declared == set(ORDERS)
    names = (SOURCE / "_core" / "atomics.pxd").read_text()
    assert declared == set(re.findall(r"\b(fp_\w+)\(", names))
