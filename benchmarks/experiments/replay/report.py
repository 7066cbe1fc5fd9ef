"""Figures as tables for a reader, and as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict

from benchmarks.experiments.replay.measure import (
    SHOWN,
    Figures,
    by_what,
    differences,
    verdict,
    wins,
)
from benchmarks.experiments.replay.model import ALWAYS, SCENARIOS, STATIC, WHATS

HEADS = (
    "other side", "policy", "end well", "retries a call", "delay", "95th", "recovery", "verdict",
)  # fmt: skip


def seconds(value: float | None) -> str:
    """A time, or what stands for none."""
    if value is None:
        return "-"
    return "never" if math.isinf(value) else f"{value:.2f} s"


def said(static: Figures, other: Figures) -> str:
    """The verdict, with the figures that it is about."""
    found = differences(static, other)
    parts = [
        f"{word}: {', '.join(SHOWN[name] for name, good in found.items() if good is better)}"
        for word, better in (("better", True), ("worse", False))
        if better in found.values()
    ]
    return f"**{verdict(static, other)}**" + (f" ({'; '.join(parts)})" if parts else "")


def markdown(found: dict[str, dict[str, Figures]]) -> str:
    """A table for each of delays and types."""
    lines = []
    for what, text in WHATS.items():
        names = [name for name in found if SCENARIOS[name].what == what]
        if not names:
            continue
        lines += ["", f"### {text[0].upper()}{text[1:]}", "", f"| {' | '.join(HEADS)} |",
                  f"| --- | --- |{' ---: |' * 5} --- |"]  # fmt: skip
        for name in names:
            title = SCENARIOS[name].title
            for policy, figures in found[name].items():
                word = "" if policy == STATIC else said(found[name][STATIC], figures)
                if ALWAYS in found[name] and policy not in (STATIC, ALWAYS):
                    word += f"; against always {said(found[name][ALWAYS], figures)}"
                cells = (
                    title, policy, f"{100 * figures.well:.1f} %", f"{figures.retries:.3f}",
                    seconds(figures.delay), seconds(figures.delay_95), seconds(figures.recovery),
                    word,
                )  # fmt: skip
                lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
                title = ""
    lines.append("")
    for what, verdicts in by_what(found).items():
        counts = ", ".join(f"{n} {word}" for word, n in Counter(verdicts).most_common())
        won = "wins over all" if wins(verdicts) else "does not win over all"
        lines.append(f"{what}: {counts}: {won}")
    return "\n".join(lines[1:])


def as_json(found: dict[str, dict[str, Figures]], seeds: int) -> str:
    """Every figure, its verdict, and what follows."""
    verdicts = by_what(found)
    return json.dumps(
        {
            "seeds": seeds,
            "scenarios": {
                name: {
                    policy: {
                        **{key: None if value is not None and math.isinf(value) else value
                           for key, value in asdict(figures).items()},
                        "verdict": verdict(policies[STATIC], figures),
                        "against_always": verdict(policies.get(ALWAYS, figures), figures),
                    }
                    for policy, figures in policies.items()
                }
                for name, policies in found.items()
            },
            "wins": {what: wins(said) for what, said in verdicts.items()},
        }
    )  # fmt: skip
