"""A storm of errors, short: the code of ``python -m torture storm``, which says what is held."""

from __future__ import annotations

import json

import pytest
from torture import storm

pytestmark = pytest.mark.fault

RECORDS = {"cython": 40_000, "python": 2_500}
DETAIL = {"cython": 20, "python": 5}


def report(capsys, core_name, directory, *words):
    """(Exit code, what a run found) of the storm with a few hundred errors."""
    records = str(RECORDS[core_name])
    common = ["--core", core_name, "--directory", str(directory), "--json", "--records", records]
    places = ["--places", "40", "--detail", str(DETAIL[core_name]), "--quiet-records", records]
    code = storm.main([*common, *places, *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("variant", ["storm", "reader", "detail"])
def test_counts_rows_and_drops_of_a_storm_are_exact(
    capsys, core, core_name, tmp_domain_dir, variant
):
    code, found = report(
        capsys, core_name, tmp_domain_dir, "--budget", "4MiB", "--variants", variant
    )
    assert (code, found["problems"]) == (0, [])
    calls = 4 * RECORDS[core_name]
    assert found[f"{variant}: calls"] == found[f"{variant}: counted"] == calls
    if variant == "detail":
        assert set(found["detail: drops"]) == {"detail_budget"}
    else:
        assert found[f"{variant}: rows written"] == calls
    if core_name == "cython":
        assert found[f"{variant}: rows retired"] > 0 or variant == "detail"


def test_a_file_system_that_fills_up_in_the_middle_costs_rows_and_no_counts(
    capsys, core, core_name, small_disk
):
    """Room for a quarter of the budget when it begins: what is refused is ENOSPC to everybody."""
    code, found = report(
        capsys, core_name, small_disk(16), "--budget", "4MiB", "--variants", "full",
        "--leaves", str(1 << 20),
    )  # fmt: skip
    assert (code, found["problems"]) == (0, [])
    assert set(found["full: drops"]) == {"no_space"}
    assert 0 < found["full: rows written"] < found["full: calls"] == 4 * RECORDS[core_name]


@pytest.mark.parametrize("broken", ["calls", "rows", "drops", "memory"])
def test_a_storm_that_is_not_exact_is_found_out(
    capsys, monkeypatch, core, core_name, tmp_domain_dir, broken
):
    """Negative control: one call too many is claimed, or one row, one drop or a MiB is hidden.

    What is changed is what the run hears or believes, never what the store does.
    """
    hear = storm.hear

    def told(writer):
        line = hear(writer)
        if line != "ready":
            account = json.loads(line)
            if broken == "calls":
                account["counts"][0][3] += 1
            elif broken == "rows":
                account["rows"] -= 1
            elif broken == "memory":
                account["private_kib"][-1] += storm.GROWTH_KIB_MAX + 1_000
            line = json.dumps(account)
        return line

    monkeypatch.setattr(storm, "hear", told)
    if broken == "drops":
        monkeypatch.setattr(storm, "WITHOUT_ROW", {"row_lost"})
    variant = "detail" if broken == "drops" else "storm"
    code, found = report(
        capsys, core_name, tmp_domain_dir, "--budget", "4MiB", "--variants", variant,
        "--writers", "2", "--records", "1500",
    )  # fmt: skip
    assert code == 1
    sign = {"calls": "counted", "rows": "rows", "drops": "drops", "memory": "private memory"}
    assert any(sign[broken] in problem for problem in found["problems"])
