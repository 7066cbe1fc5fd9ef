"""What the comparison of guarded calls makes of its figures, and that each library guards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import faultplane

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(next(iter(faultplane.__path__))).parent
NAMES = [
    "ours, alone", "ours", "loop by hand", "tenacity", "stamina", "pybreaker", "circuitbreaker",
    "nopanic", "nopanic, budget", "interlock-cb", "interlock-cb, tenacity",
]  # fmt: skip


@pytest.fixture
def compared(monkeypatch):
    """The module of the comparison; its children find the package that this process runs."""
    monkeypatch.syspath_prepend(str(ROOT))
    path = [str(ROOT), str(SOURCE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    from benchmarks.peers import guarded

    return guarded


def a_set(compared, ours, **others):
    """A set in which a call that succeeds takes so many nanoseconds, the bare call 30 of them."""
    return {
        name: {
            "version": "1",
            "cases": {
                compared.SUCCEEDS: {
                    "minimum": net, "median": net, "whole": net + 30, "floor": 30, "calls": 5
                }
            },
        }
        for name, net in {"ours": ours, **others}.items()
    }  # fmt: skip


def test_ratios_are_of_one_set_each(compared):
    sets = [a_set(compared, 50, tenacity=5_000), a_set(compared, 70, tenacity=7_000)]
    found = compared.summary(sets)
    figures = found["tenacity"]["cases"][compared.SUCCEEDS]
    assert figures["times_net_of_sets"] == [100, 100]
    assert figures["times_whole"] == pytest.approx((5_030 / 80 + 7_030 / 100) / 2)
    assert figures["minimum"] == 6_000
    assert figures["calls"] == 10
    assert compared.missed(found) == []


def test_what_takes_longer_or_costs_less_than_it_may_is_missed(compared, capsys):
    ours, peer = compared.BOUNDS_NANO["ours"][compared.SUCCEEDS], compared.PEERS["tenacity"]
    goal = peer.goals[compared.SUCCEEDS]
    held = compared.summary([a_set(compared, ours, tenacity=ours * goal)])
    assert compared.missed(held) == []
    late = compared.summary([a_set(compared, ours + 1, tenacity=(ours + 1) * goal)])
    assert compared.missed(late) == [("ours", compared.SUCCEEDS)]
    cheap = compared.summary([a_set(compared, ours, tenacity=ours * goal - 1)])
    assert compared.missed(cheap) == [("tenacity", compared.SUCCEEDS)]
    compared.print_tables(cheap)
    assert capsys.readouterr().out.splitlines()[-1] == "! tenacity, guarded call: missed"


def test_a_peer_that_is_not_installed_is_named_and_left_out(compared, capsys, monkeypatch):
    nobody = compared.Peer("no-such-package-of-anybody", compared.by_hand)
    monkeypatch.setitem(compared.PEERS, "nobody", nobody)
    compared.measure_rounds("nobody")
    answer = json.loads(capsys.readouterr().out)
    found = compared.summary([{**a_set(compared, 50), "nobody": answer}])
    assert compared.missed(found) == []
    compared.print_tables(found)
    assert "nobody: No package metadata" in capsys.readouterr().out


def test_every_candidate_is_tried_here(compared):
    assert {*compared.PEERS, *compared.OURS} == {*NAMES, "ours, pure", "ours, pure, alone"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_of_them_guards_what_is_measured(compared, name):
    if name in compared.OURS and faultplane.core != "cython":
        pytest.skip("the compiled core is not there, or not wanted")
    with compared.domain_directory() as (_, environment):
        candidate = compared.Candidate(name, environment)
        try:
            said = candidate.heard()
            if "missing" in said:
                pytest.skip(said["missing"])
            spent = candidate.a_round()
            calls = candidate.ended()
        finally:
            candidate.close()
    assert spent.keys() == calls.keys() <= {*compared.CASES}
    assert min(calls.values()) > 0


@pytest.mark.slow
def test_a_run_gives_every_figure_as_json(compared, capsys):
    compared.main(["--sets", "1", "--rounds", "3", "--peers", "loop by hand", "--json"])
    found = json.loads(capsys.readouterr().out)["found"]
    ours = [name for name, (core, _) in compared.OURS.items() if core in compared.cores()]
    assert list(found) == [*ours, "loop by hand"]
    assert list(found["ours"]["cases"]) == list(compared.CASES)


def test_numbers_out_of_bounds_are_refused(compared, capsys):
    for words in (["--sets", "0"], ["--rounds", "2"], ["--peers", "nobody"]):
        with pytest.raises(SystemExit):
            compared.main(words)
        assert words[0] in capsys.readouterr().err
