"""Control cells: both cores leave the same bytes, and move as the model says."""

from __future__ import annotations

import importlib

import pytest
from cell_model import CellMachine
from cells import BYTES, LEASES, OWNERS, OWNERS_HIGH, SLOTS, STEPS, Driven, configs
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from faultplane import control_schema as layout
from faultplane.store import control

PACKAGES = {"cython": "faultplane._core", "python": "faultplane._pure"}
SCRIPTS = st.lists(STEPS, min_size=1, max_size=60)


@pytest.fixture
def cores(both_cores):
    """Both cores, as modules."""
    return [importlib.import_module(PACKAGES[name]) for name in both_cores]


def drive(cores, config, script):
    """The same script in both; after each step they have the same bytes."""
    driven = [Driven(core, config) for core in cores]
    for step in script:
        one, other = (each.do(*step) for each in driven)
        assert one == other, step
        one, other = (each.tell() for each in driven)
        assert one == other, step
        compare(*driven, step)
    one, other = (each.looks() for each in driven)
    assert one == other
    compare(*driven, "looks")


def compare(one, other, step):
    """The same bytes, or where they differ."""
    ours, theirs = one.snapshot(), other.snapshot()
    if ours != theirs:
        at = next(at for at in range(0, BYTES, 8) if ours[at : at + 8] != theirs[at : at + 8])
        fields = layout.CONTROL_CELL.offset.items()
        name = max((offset, name) for name, offset in fields if offset <= at)[1]
        pytest.fail(f"{step}: {name} at {at}: {ours[at : at + 8]!r}, {theirs[at : at + 8]!r}")


def test_both_cores_leave_the_same_bytes_in_a_cell(cores):
    @settings(max_examples=4 * settings().max_examples)
    @given(configs(), SCRIPTS)
    def same_bytes(config, script):
        drive(cores, config, script)

    same_bytes()


def test_what_the_pure_core_tells_later_comes_to_the_same(cores):
    """Calls that end well, and what they bring: told by each owner in its own time."""
    steps = st.one_of(
        st.tuples(st.just("call"), OWNERS, st.just("ok"), st.integers(1, 90)),
        st.tuples(st.just("deposit"), OWNERS, st.integers(1, 90)),
    )

    @given(configs(), st.lists(steps, max_size=20))
    def same_bytes(config, script):
        driven = [Driven(core, config) for core in cores]
        for each in driven:
            assert each.looks() == driven[0].looks()
            for step in script:
                each.do(*step)
            each.tell()
        compare(*driven, script)

    same_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        "control.open_ms",
        "control.asked_for",
        "control.refilled",
        "control_rate.rated",
        "control_window.sums_of_outcomes",
        "control_window.shifted",
    ],
)
def test_a_core_that_is_a_little_different_is_found_out(cores, monkeypatch, wrong):
    """Negative control: a millisecond, a thousandth, a call or an outcome too many."""
    place, _, wrong = wrong.partition(".")
    pure = importlib.import_module(f"faultplane._pure.{place}")
    right = getattr(pure, wrong)

    def changed(*args):
        answer = right(*args)
        return (answer[0] + 1, *answer[1:]) if isinstance(answer, tuple) else answer + 1

    monkeypatch.setattr(pure, wrong, changed)

    @settings(phases=[Phase.generate], max_examples=2000)
    @given(configs(), SCRIPTS)
    def same_bytes(config, script):
        drive(cores, config, script)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        same_bytes()


# ------------------------------------------------------------------------------ state machine


def run_machine(core, **options):
    """Whatever hypothesis comes up with."""
    machine = type("Machine", (CellMachine,), {"core": core})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=60, **options))


@pytest.mark.slow
def test_a_cell_moves_as_the_model_says(core):
    run_machine(core, max_examples=4 * settings().max_examples)


@pytest.mark.parametrize("wrong", ["a success too many", "others are not seen", "no generation"])
def test_a_cell_that_does_not_is_found_out(monkeypatch, wrong):
    """Negative control, with the pure core."""
    core = importlib.import_module("faultplane._pure")
    module = importlib.import_module("faultplane._pure.control")
    if wrong == "a success too many":
        monkeypatch.setattr(module, "BREAKER_SUCCESSES_MASK", 0)
    elif wrong == "others are not seen":
        words = module.Cell._lease_words
        own = lambda self, which: [words(self, which)[self._slot]]  # noqa: E731
        monkeypatch.setattr(module.Cell, "_lease_words", own)
    else:
        following = module.following
        same = lambda word, state, until: following(word - (1 << 43), state, until)  # noqa: E731
        monkeypatch.setattr(module, "following", same)
    with pytest.raises((AssertionError, ExceptionGroup, OverflowError, ValueError)):
        run_machine(core, max_examples=1000, phases=[Phase.generate])


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_that_has_no_lease_is_refused(core, slot):
    driven = Driven(core, dict.fromkeys(control.CONFIG_NAMES, 0))
    before = driven.snapshot()
    cell = driven.owner(0).cell
    with pytest.raises(ValueError, match=rf"slot must be 0 to {SLOTS - 1}, got {slot}"):
        cell.use(driven.mapping, 0, LEASES, SLOTS, OWNERS_HIGH, slot, 7)
    with pytest.raises((ValueError, OverflowError)):
        cell.reclaim(slot, 7)
    assert driven.snapshot() == before


@pytest.mark.parametrize(
    "places",
    [
        (8, LEASES, SLOTS, OWNERS_HIGH),
        (0, LEASES + 16, SLOTS, OWNERS_HIGH),
        (0, LEASES, SLOTS + 1, OWNERS_HIGH),
        (0, LEASES, SLOTS, BYTES),
        (0, LEASES, SLOTS, OWNERS_HIGH + 4),
    ],
)
def test_a_cell_is_not_put_where_there_is_no_memory_for_it(core, places):
    mapping = core.Mapping.anonymous(BYTES if places[0] == 0 else layout.CONTROL_CELL.size)
    cell = core.Cell(lambda cell: cell.use(mapping, *places, 0, 1))
    with pytest.raises(IndexError):
        cell.state()


def test_more_owners_than_there_are_leases_are_not_looked_at(core):
    """A file may be damaged: what lies behind the leases is not summed, nor read."""
    config = dict.fromkeys(control.CONFIG_NAMES, 0) | {"limit": 1}
    driven = Driven(core, config)
    driven.mapping.store(OWNERS_HIGH, (1 << 64) - 1)
    assert driven.take(0) and not driven.take(1)
    driven.give(0)
    assert driven.take(1)
