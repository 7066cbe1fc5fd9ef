"""Runs as tables for a reader, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from itertools import groupby

import faultplane as fp
from benchmarks.experiments.metastable.measure import Figures, Spread, spreads, verdict
from benchmarks.experiments.metastable.model import MODES, SCENARIOS
from benchmarks.experiments.metastable.run import Run

HEADS = (
    "what clients do", "answered during", "answered after", "tries a request", "peak load",
    "load back", "answers back",
)  # fmt: skip


def grouped(runs: list[Run]) -> dict[str, dict[str, list[Run]]]:
    """By scenario and mode, in the order of their tables."""
    scenarios, modes = list(SCENARIOS), list(MODES)

    def place(run: Run) -> tuple[int, int]:
        return scenarios.index(run.scenario), modes.index(run.mode)

    found: dict[str, dict[str, list[Run]]] = {}
    for _, group in groupby(sorted(runs, key=place), place):
        same = list(group)
        found.setdefault(same[0].scenario, {})[same[0].mode] = same
    return found


def percent(spread: Spread) -> str:
    return _spread(spread, lambda value: f"{100 * value:.0f}", " %")


def times(spread: Spread) -> str:
    return _spread(spread, lambda value: f"{value:.2f}", "")


def seconds(spread: Spread) -> str:
    return _spread(spread, lambda value: f"{value:.1f}", " s")


def _spread(spread: Spread, text, unit: str) -> str:
    """The middle, and least and most where they differ."""
    least, middle, most = (
        "never" if value is None else text(value)
        for value in (spread.least, spread.middle, spread.most)
    )
    shown = middle if middle == "never" else middle + unit
    return shown if least == middle == most else f"{shown} ({least}–{most})"


def markdown(runs: list[Run]) -> str:
    """A table for each scenario."""
    lines = []
    for scenario, modes in grouped(runs).items():
        lines += [
            "",
            f"### {SCENARIOS[scenario].title.capitalize()} (`{scenario}`)",
            "",
            f"| {' | '.join(HEADS)} |",
            f"| --- |{' ---: |' * (len(HEADS) - 1)}",
        ]
        for mode, same in modes.items():
            found = spreads([Figures.of(run) for run in same])
            cells = [
                MODES[mode].title,
                percent(found["available_during"]),
                percent(found["available_after"]),
                times(found["amplification"]),
                times(found["peak"]),
                seconds(found["load_back"]),
                seconds(found["answers_back"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def as_json(runs: list[Run]) -> str:
    """Everything that was counted, with the figures."""
    found = {
        "machine": f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()}, {os.cpu_count()} cores, core {fp.core}",
        "wrong": verdict(runs),
        "runs": [{**run.described(), "figures": vars(Figures.of(run))} for run in runs],
    }
    return json.dumps(found, separators=(",", ":"))


def from_json(text: str) -> list[Run]:
    """The runs of what `as_json` wrote."""
    told = json.loads(text)["runs"]
    return [
        Run.of({name: value for name, value in one.items() if name != "figures"}) for one in told
    ]
