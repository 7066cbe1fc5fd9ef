"""What a run says: availability, amplification, and how long after the trigger it was over."""

from __future__ import annotations

from dataclasses import dataclass, fields
from statistics import median

from benchmarks.experiments.metastable.model import BIN_SECONDS
from benchmarks.experiments.metastable.run import Run

SECOND = round(1 / BIN_SECONDS)
"""Bins that are looked at together: a tenth of a second has too few requests to tell a ratio."""
TOLERANCE = 0.1
ANSWERED_LEAST = 0.95
WELL_LEAST = 0.9
ANSWERED_COLLAPSED = 0.1
WINDOWS_MAX = 2.0
"""Windows after the trigger by which the offered load is to be at base again."""


@dataclass(frozen=True)
class Figures:
    """Of one run. Times are seconds from the end of the trigger, None: not before the end.

    ``available_during`` and ``available_after`` the trigger: requests that were answered, of those
    that were made then. ``amplification``: tries for each request, from the trigger to the end;
    ``peak``: the most in a second of that time, for each request of an ordinary second.
    ``load_back``: from then on tries were within a tenth of the requests, in each second of a whole
    window and in nine of ten seconds of what followed. ``answers_back``: the same of 95 % of the
    requests being answered.
    """

    available_during: float
    available_after: float
    amplification: float
    peak: float
    load_back: float | None
    answers_back: float | None

    @classmethod
    def of(cls, run: Run) -> Figures:
        """Those of a run."""
        setup, counts = run.setup, run.counts
        begin, end = (setup.bin_at(edge) for edge in setup.trigger)
        made, tries, answered = (counts[name] for name in ("arrivals", "tries", "answered"))
        rest = slice(begin, setup.bins)
        seconds = sums(tries[rest])
        return cls(
            available_during=ratio(answered[begin:end], made[begin:end]),
            available_after=ratio(answered[end : setup.bins], made[end : setup.bins]),
            amplification=ratio(tries[rest], made[rest]),
            peak=max(seconds) / setup.base,
            load_back=back(run, tries, lambda had, of: abs(had - of) <= TOLERANCE * of),
            answers_back=back(run, answered, lambda had, of: had >= ANSWERED_LEAST * of),
        )


def ratio(some: list[int], of: list[int]) -> float:
    """One sum for each of another."""
    return sum(some) / max(sum(of), 1)


def sums(counts: list[int]) -> list[int]:
    """Of each second, one beginning with each bin."""
    return [sum(counts[at : at + SECOND]) for at in range(len(counts) - SECOND + 1)]


def back(run: Run, counts: list[int], is_well) -> float | None:
    """Seconds from the end of the trigger until it is well again; None: not before the end.

    Each second of the window that begins then is well, and most of those that follow: not all,
    because a machine that stops a process for a moment makes tries time out by itself.
    """
    setup = run.setup
    rest = slice(setup.bin_at(setup.trigger[1]), setup.bins)
    pairs = zip(sums(counts[rest]), sums(run.counts["arrivals"][rest]), strict=True)
    well = [is_well(had, of) for had, of in pairs]
    window = round(setup.window / BIN_SECONDS) - SECOND + 1
    for first in range(len(well) - window + 1):
        later = well[first:]
        if all(later[:window]) and sum(later) >= WELL_LEAST * len(later):
            return first * BIN_SECONDS
    return None


def collapsed(run: Run) -> bool:
    """Whether in the last window more was offered than the capacity, and hardly any answered."""
    setup, counts = run.setup, run.counts
    last = slice(setup.bin_at(setup.end - setup.window), setup.bins)
    offered = sum(counts["tries"][last]) / setup.window
    answered = ratio(counts["answered"][last], counts["arrivals"][last])
    return offered > setup.capacity and answered < ANSWERED_COLLAPSED


@dataclass(frozen=True)
class Spread:
    """A figure of several seeds; None: in one of them at least it never was."""

    least: float | None
    middle: float | None
    most: float | None


def spreads(found: list[Figures]) -> dict[str, Spread]:
    """Of each figure by name."""
    answer = {}
    for one in fields(Figures):
        values = [getattr(figures, one.name) for figures in found]
        known = [value for value in values if value is not None]
        whole = [float("inf") if value is None else value for value in values]
        middle = median(whole)
        answer[one.name] = Spread(
            min(known) if known else None,
            None if middle == float("inf") else middle,
            max(known) if len(known) == len(values) else None,
        )
    return answer


def verdict(runs: list[Run]) -> list[str]:
    """What is not as it must be for the experiment to prove something; empty: all is."""
    wrong = []
    for run in runs:
        where = f"{run.scenario}, {run.mode}, seed {run.setup.seed}"
        where += f" (a process waited {run.late_max:.2f} s to run)" if run.disturbed else ""
        figures = Figures.of(run)
        if run.mode == "retries" and run.scenario in COLLAPSING and not collapsed(run):
            wrong.append(f"{where}: did not stay collapsed, so nothing is proved")
        if run.mode in ("both", "all"):
            most = WINDOWS_MAX * run.setup.window
            if figures.load_back is None or figures.load_back > most:
                wrong.append(f"{where}: offered load not at base within {most:g} s")
    return wrong


COLLAPSING = ("capacity", "burst", "slow", "errors")
"""Scenarios that retries alone do not survive."""
