"""What the experiment on metastable failure makes of its counts; `tests/fault` runs it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest


@pytest.fixture
def experiment(request, monkeypatch):
    """Modules of the experiment, by name."""
    monkeypatch.syspath_prepend(str(request.config.rootpath))
    from benchmarks.experiments.metastable import client, measure, model, report, run

    return {one.__name__.rpartition(".")[2]: one for one in (client, measure, model, report, run)}


@pytest.fixture
def run_of(experiment):
    """Function: a run whose load after the trigger is what it is given, in parts of 20 a second."""
    setup = experiment["model"].Setup(window=2.0, after=10.0, capacity=30.0)

    def make(load, answered=1.0, until=10.0, mode="both", scenario="capacity", then=1.0):
        made = experiment["run"].Run(scenario, mode, setup)
        bins = setup.bins + 1
        made.counts = {name: [2] * bins for name in ("arrivals", "tries", "answered")}
        begin, end = (setup.bin_at(edge) for edge in setup.trigger)
        last = end + round(until * 10)
        for at in range(begin, bins):
            made.counts["tries"][at] = round(2 * (load if at < last else then))
            made.counts["answered"][at] = round(2 * (answered if at < last else 1.0))
        return made

    return make


def test_what_came_late_is_counted_apart(experiment):
    setup = experiment["model"].Setup(window=1.0, after=1.0)
    assert setup.bins == 30
    assert [setup.bin_at(at) for at in (-1.0, 0.0, 0.25, 2.95, 3.0, 9.0)] == [0, 0, 2, 29, 30, 30]


@pytest.mark.parametrize("load", [0.0, 0.5, 1.5, 3.0])
def test_load_is_back_when_each_second_is_within_a_tenth_of_the_requests(experiment, run_of, load):
    figures = experiment["measure"].Figures.of(run_of(load, until=3.0))
    # The last second with too much, or too little, begins with the last bin that had it.
    assert figures.load_back == pytest.approx(3.0, abs=0.2)
    assert experiment["measure"].Figures.of(run_of(1.0)).load_back == 0.0


def test_what_is_well_for_less_than_a_window_is_not_back(experiment, run_of):
    of = experiment["measure"].Figures.of
    assert of(run_of(3.0, until=7.9)).load_back is not None
    assert of(run_of(3.0, until=8.3)).load_back is None


def test_a_moment_s_trouble_later_on_is_no_collapse_but_trouble_again_and_again_is(
    experiment, run_of
):
    of, run = experiment["measure"].Figures.of, run_of(3.0, until=1.0)
    setup, tries = run.setup, run.counts["tries"]
    end = setup.bin_at(setup.trigger[1])
    tries[end + 50] = 40  # ten of the 81 seconds that follow see it
    assert of(run).load_back == pytest.approx(5.1)
    run.setup = replace(setup, after=30.0)
    for column in run.counts.values():
        column += [2] * 200
    assert of(run).load_back == pytest.approx(1.0, abs=0.2)
    for at in range(end + 50, len(tries), 15):
        tries[at] = 40
    assert of(run).load_back is None


def test_amplification_is_tries_for_each_request_from_the_trigger_on(experiment, run_of):
    figures = experiment["measure"].Figures.of(run_of(3.0, answered=0.5))
    assert figures.amplification == 3.0
    assert figures.available_during == figures.available_after == 0.5
    assert figures.peak == pytest.approx(3 * 20 / 21)
    assert figures.answers_back is None


def test_the_experiment_fails_where_retries_alone_recover(experiment, run_of):
    verdict, collapsed = experiment["measure"].verdict, experiment["measure"].collapsed
    down = run_of(3.0, answered=0.0, mode="retries")
    assert collapsed(down)
    assert verdict([down]) == []
    for up in (
        run_of(3.0, answered=0.0, until=3.0, mode="retries"),
        run_of(3.0, answered=0.5, mode="retries"),
        run_of(1.0, answered=0.0, mode="retries"),  # nobody answers, but nobody asks too much
    ):
        assert len(verdict([up])) == 1
        assert "nothing is proved" in verdict([up])[0]


def test_the_experiment_fails_where_both_take_longer_than_two_windows(experiment, run_of):
    verdict = experiment["measure"].verdict
    assert verdict([run_of(0.0, until=3.9)]) == []
    for late in (run_of(0.0, until=4.3), run_of(3.0)):
        assert len(verdict([late])) == 1
        assert "not at base within 4 s" in verdict([late])[0]
    assert verdict([run_of(3.0, mode="budget")]) == []  # what one of them does is only told


def test_one_run_that_never_recovers_makes_the_worst_of_the_seeds_never(experiment, run_of):
    of, spreads = experiment["measure"].Figures.of, experiment["measure"].spreads
    well, ill = of(run_of(3.0, until=3.0)), of(run_of(3.0))
    found = spreads([well, well, ill])["load_back"]
    assert (found.least, found.middle, found.most) == (well.load_back, well.load_back, None)
    assert spreads([well, ill, ill])["load_back"].middle is None
    text = experiment["report"].seconds(found)
    assert text.endswith("–never)")


def test_arrivals_are_the_same_for_each_mode_and_not_for_each_seed(experiment):
    setup = experiment["model"].Setup()
    burst = experiment["model"].SCENARIOS["burst"]
    arrivals = experiment["client"].arrivals
    found = arrivals(setup, burst, 0)
    assert found == arrivals(setup, burst, 0) == sorted(found)
    assert found != arrivals(setup, burst, 1)
    assert found != arrivals(replace(setup, seed=2), burst, 0)
    begin, end = setup.trigger
    inside = sum(begin <= at < end for at in found) / (end - begin)
    outside = sum(at >= end for at in found) / setup.after
    assert 2.0 < inside / outside < 4.0


def test_runs_are_the_same_after_json(experiment, run_of):
    report = experiment["report"]
    runs = [run_of(3.0, answered=0.0, mode="retries"), run_of(0.0, until=3.0)]
    text = report.as_json(runs)
    assert report.from_json(text) == runs
    assert json.loads(text)["wrong"] == []
    assert report.markdown(report.from_json(text)) == report.markdown(runs)


def test_numbers_out_of_bounds_are_refused(experiment):
    setup = experiment["model"].Setup
    for name, value in (("load", 0.96), ("window", 0.9), ("clients", 0), ("attempts", 11)):
        with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
            setup(**{name: value})
