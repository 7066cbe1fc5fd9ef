"""What retries come to, in the words of a cell: held to plain sums, whatever the words were."""

from __future__ import annotations

import importlib

import pytest
from cells import SLOTS, Driven
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from faultplane import control_schema as layout
from faultplane.store import control, retried

PACKAGES = {"cython": "faultplane._core", "python": "faultplane._pure"}
NONE = dict.fromkeys(control.CONFIG_NAMES, 0)
EPOCH, MOST = layout.RETRIED_EPOCH_MS, layout.RETRIED_MAX
TAGS = st.integers(1, 2**32 - 1)
OFFSET = layout.CONTROL_CELL.offset
WORDS = [
    *(OFFSET["retried_types"] + 8 * at for at in range(layout.RETRIED_TYPES)),
    *(OFFSET["retried_kinds"] + 8 * at for at in range(layout.RETRIED_KINDS)),
    OFFSET["retried_micros"],
]


def of_type(tag):
    return tag << layout.REASON_TYPE_SHIFT


def halved(pair):
    return pair[0] // 2, pair[1] // 2


def more(pair, helped):
    return pair[0] + helped, pair[1] + (not helped)


# ----------------------------------------------------------------------------------------- kinds


def check_kinds(core, script):
    """Each outcome counts in full in its half minute, half in the next, and so on."""
    driven, known = Driven(core, NONE), {}
    driven.now = 40 * EPOCH
    for kind, helped, later in script:
        driven.later(later)
        epoch = driven.now // EPOCH
        before, pair = known.get(kind, (epoch, (0, 0)))
        for _ in range(min(epoch - before, 40)):
            pair = halved(pair)
        known[kind] = epoch, more(halved(pair) if sum(pair) >= MOST else pair, helped)
        driven.owner(0).cell.retried(kind, helped, 0, driven.now)
        cell = driven.owner(1).cell
        assert cell.retries_of_kind(kind, driven.now) == known[kind][1]
        assert cell.retries_of_kind(kind, driven.now + EPOCH) == halved(known[kind][1])
        assert cell.retries_of_kind(kind, driven.now - 1) == known[kind][1], "a clock behind"
        with memoryview(driven.mapping) as view:
            assert retried.read(view, 0, driven.now).kinds[kind] == known[kind][1]


KIND_SCRIPTS = st.lists(
    st.tuples(
        st.integers(1, 15),
        st.booleans(),
        st.sampled_from([0, 0, 1, 3000, EPOCH, 3 * EPOCH, 9 * EPOCH]),
    ),
    max_size=80,
)


def test_outcomes_of_a_kind_count_half_as_much_after_half_a_minute(core):
    @given(KIND_SCRIPTS)
    def holds(script):
        check_kinds(core, script)

    holds()


def test_a_clock_that_is_a_moment_behind_takes_nothing_away(core):
    driven = Driven(core, NONE)
    driven.now = 5 * EPOCH
    cell = driven.owner(0).cell
    for now in (driven.now, driven.now - 1, driven.now):
        cell.retried(1 | of_type(9), True, 0, now)
    assert cell.retries_of_kind(1, driven.now) == cell.retries_of_type(9, driven.now) == (3, 0)
    assert cell.retries_of_kind(1, driven.now - 1) == (3, 0)


def test_what_is_full_is_halved_and_goes_on(core):
    driven = Driven(core, NONE)
    cell = driven.owner(0).cell
    for helped in [True] * (MOST - 3) + [False] * 3:
        cell.retried(1, helped, 0, driven.now)
    assert cell.retries_of_kind(1, driven.now) == (MOST - 3, 3)
    cell.retried(1, False, 0, driven.now)
    assert cell.retries_of_kind(1, driven.now) == ((MOST - 3) // 2, 2)


@pytest.mark.parametrize("wrong", ["by", "_age"])
def test_a_core_that_forgets_otherwise_is_found_out(monkeypatch, wrong):
    """Negative control, with the pure core."""
    core = importlib.import_module("faultplane._pure")
    module = importlib.import_module("faultplane._pure.control_retried")
    wrongs = {
        "by": lambda word, epoch: (word >> 8 & 0xFF, word & 0xFF),
        "_age": lambda word, epoch: epoch - (word >> 16) & 0xFFFF,
    }
    monkeypatch.setattr(module, wrong, wrongs[wrong])

    @settings(phases=[Phase.generate], max_examples=500)
    @given(KIND_SCRIPTS)
    def holds(script):
        check_kinds(core, script)

    with pytest.raises(AssertionError):
        holds()


# ----------------------------------------------------------------------------------------- types


def test_types_are_counted_apart_up_to_as_many_as_there_are_places(core):
    @given(
        st.lists(TAGS, unique=True, min_size=1, max_size=layout.RETRIED_TYPES),
        st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(1, 40)), max_size=20),
    )
    def holds(tags, script):
        driven, known = Driven(core, NONE), dict.fromkeys(tags, (0, 0))
        for which, helped, times in script:
            tag = tags[which % len(tags)]
            for _ in range(times):
                pair = known[tag]
                known[tag] = more(halved(pair) if sum(pair) >= MOST else pair, helped)
                cell = driven.owner(which % SLOTS).cell
                cell.retried(of_type(tag), helped, 0, driven.now)
        cell = driven.owner(0).cell
        assert {tag: cell.retries_of_type(tag, driven.now) for tag in tags} == known
        later = {tag: cell.retries_of_type(tag, driven.now + EPOCH) for tag in tags}
        assert later == {tag: halved(pair) for tag, pair in known.items()}
        with memoryview(driven.mapping) as view:
            found = retried.read(view, 0, driven.now).types
        assert found == {tag: pair for tag, pair in known.items() if any(pair)}

    holds()


def test_one_type_too_many_wears_down_the_one_whose_place_it_would_have(core):
    driven = Driven(core, NONE)
    cell = driven.owner(0).cell
    places = layout.RETRIED_TYPES
    for tag in range(places, 2 * places):
        for _ in range(8):
            cell.retried(of_type(tag), True, 0, 0)
    newcomer = 4 * places  # which would have the place of the first
    for expected in (4, 2, 1):
        cell.retried(of_type(newcomer), False, 0, 0)
        assert cell.retries_of_type(places, 0) == (expected, 0)
        assert cell.retries_of_type(newcomer, 0) == (0, 0)
    cell.retried(of_type(newcomer), False, 0, 0)
    assert cell.retries_of_type(places, 0) == (0, 0)
    assert cell.retries_of_type(newcomer, 0) == (0, 1)
    assert {cell.retries_of_type(tag, 0) for tag in range(places + 1, 2 * places)} == {(8, 0)}


def test_a_type_that_two_took_a_place_for_is_known_by_both(core):
    driven = Driven(core, NONE)
    driven.now = 3 * EPOCH
    word = 7 << 32 | 3 << 16 | 3 << 8 | 2
    for at in (7, 9):
        driven.mapping.store(OFFSET["retried_types"] + 8 * at, word)
    assert driven.owner(0).cell.retries_of_type(7, driven.now) == (6, 4)
    with memoryview(driven.mapping) as view:
        assert retried.read(view, 0, driven.now).types == {7: (6, 4)}


# -------------------------------------------------------------------------------- what they took


def test_what_retries_take_is_followed_lately_and_usually(core):
    driven = Driven(core, NONE)
    cell = driven.owner(0).cell
    assert cell.retry_micros() == (0, 0)
    cell.retried(0, True, 800)
    assert cell.retry_micros() == (800, 800)
    cell.retried(0, True, 1600)
    assert cell.retry_micros() == (1000, 825)
    for _ in range(200):
        cell.retried(0, True, 1600)
    recent, usual = cell.retry_micros()
    assert 1590 <= recent <= 1600 and 1500 < usual <= 1600


# ----------------------------------------------------------------------------- whatever was there


def test_any_words_at_all_are_read_and_counted_in(both_cores):
    """Both cores leave the same bytes, raise nothing, and touch no other word."""
    cores = [importlib.import_module(PACKAGES[name]) for name in both_cores]
    words = st.lists(st.integers(0, 2**64 - 1), min_size=len(WORDS), max_size=len(WORDS))
    reasons = st.integers(0, 2**64 - 1) | st.integers(0, 16).map(lambda kind: kind | 3 << 32)

    @given(words, st.lists(st.tuples(reasons, st.booleans(), st.integers(0, 2**64 - 1))))
    def holds(words, script):
        driven = [Driven(core, NONE) for core in cores]
        for each in driven:
            for at, word in zip(WORDS, words, strict=True):
                each.mapping.store(at, word)
        for reason, helped, micros in script:
            said = []
            for each in driven:
                cell = each.owner(0).cell
                cell.retried(reason, helped, micros, each.now)
                tag = reason >> layout.REASON_TYPE_SHIFT
                said.append((cell.retries_of_kind(reason % 16, each.now), cell.retry_micros(),
                             cell.retries_of_type(tag, each.now)))  # fmt: skip
            assert said[0] == said[1]
        one, other = (each.snapshot() for each in driven)
        assert one == other
        fresh = bytearray(Driven(cores[0], NONE).snapshot())
        for at in WORDS:
            fresh[at : at + 8] = one[at : at + 8]
        assert bytes(fresh) == one
        with memoryview(driven[0].mapping) as view:
            found = retried.read(view, 0, driven[0].now)
        assert all(sum(pair) < 2 * 15 * 2**8 for pair in found.types.values())
        assert all(sum(pair) < 2 * 2**8 for pair in found.kinds.values())

    holds()


def test_forgetting_leaves_none_of_it_and_all_else(core):
    driven = Driven(core, NONE)
    before = driven.snapshot()
    cell = driven.owner(0).cell
    for kind in range(1, 16):
        cell.retried(of_type(kind * 1000) | kind, bool(kind & 1), 500, driven.now)
    assert driven.snapshot() != before
    cell.forget_retries()
    assert driven.snapshot() == before


def test_a_reason_of_nothing_counts_nothing(core):
    driven = Driven(core, NONE)
    before = driven.snapshot()
    driven.owner(0).cell.retried(0, True)
    driven.owner(0).cell.retried(layout.RETRIED_KINDS, True)  # no kind
    assert driven.snapshot() == before


@pytest.mark.parametrize("kind", [-1, layout.RETRIED_KINDS])
def test_a_kind_that_there_is_no_word_of_is_refused(core, kind):
    cell = Driven(core, NONE).owner(0).cell
    with pytest.raises(IndexError, match=f"kind must be 0 to 15, got {kind}"):
        cell.retries_of_kind(kind)
