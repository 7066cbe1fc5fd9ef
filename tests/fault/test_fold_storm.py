"""Counts of the dead, short: the same code as ``python -m torture fold``."""

from __future__ import annotations

import pytest
from torture import fold

pytestmark = pytest.mark.fault

KILLING = {
    "workers": 2, "maintainers": 2, "readers": 1, "calls": 200, "pause_seconds": 0.01,
    "budget_bytes": 4 << 20,
}  # fmt: skip


def test_sums_are_exact_and_files_bounded_while_owners_and_folders_are_killed(
    core, core_name, rng, tmp_domain_dir
):
    asked = {**KILLING, "seed": rng.randrange(1 << 32), "deaths": 12, "kills": 12}
    print(asked)
    found, problem = fold.run(core_name, "kill", asked, tmp_domain_dir)
    assert problem == ""
    assert found["owners killed"] == 14
    assert found["maintainers killed"] == 14
    assert found["sums read meanwhile"] > 0
    assert found["calls returned"] <= found["counted"] <= found["calls attempted"]


def test_a_folder_that_does_not_say_whom_it_folded_is_found_out(
    core, core_name, rng, tmp_domain_dir
):
    """Negative control: maintainers die after the flip, and the next counts the dead once more."""
    asked = {
        **KILLING, "seed": rng.randrange(1 << 32), "deaths": 12, "kills": 12,
        "die_at": "flipped", "unlisted": True,
    }  # fmt: skip
    _, problem = fold.run(core_name, "kill", asked, tmp_domain_dir)
    assert "AssertionError" in problem


@pytest.mark.parametrize("first_generation", [0, (1 << 16) - 12])
def test_a_slot_whose_generation_passes_16_bits_keeps_its_owners_apart(
    core, core_name, tmp_domain_dir, first_generation
):
    asked = {
        "times": 24, "real": 4, "first_generation": first_generation, "budget_bytes": 4 << 20
    }  # fmt: skip
    found, problem = fold.run(core_name, "ids", asked, tmp_domain_dir)
    assert problem == ""
    assert found["of these real processes, about the wrap"] == (9 if first_generation else 5)


def test_one_that_sleeps_until_slot_and_generation_come_round_again_disturbs_nobody(
    core, core_name, tmp_domain_dir
):
    asked = {"generation": 5, "budget_bytes": 4 << 20}
    found, problem = fold.run(core_name, "sleeper", asked, tmp_domain_dir)
    assert problem == ""
    if "skipped" in found:  # it takes a privilege that containers seldom have
        pytest.skip(found["skipped"])
    assert found["counted"] == 9


def test_an_owner_past_the_last_number_is_refused_and_counted(core, core_name, tmp_domain_dir):
    found, problem = fold.run(core_name, "incarnations", {"budget_bytes": 2 << 20}, tmp_domain_dir)
    assert problem == ""
    assert (found["refused"], found["counted"]) == (2, 4)


def test_more_series_than_totals_have_room_for_merge_and_lose_nothing(
    core, core_name, tmp_domain_dir
):
    asked = {"owners": 5, "series": 700, "budget_bytes": 4 << 20}
    found, problem = fold.run(core_name, "series", asked, tmp_domain_dir)
    assert problem == ""
    assert found["series of agg-retired"] < 3_500 == found["series of owners that died"]
