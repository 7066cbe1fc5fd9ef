"""What came of calls, in a few numbers, and which policy they speak for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median

import faultplane as fp
from benchmarks.experiments.replay.model import ALWAYS, SCENARIOS, STATIC
from benchmarks.experiments.replay.run import Call

WELL_SHARE = 0.95
WELL_SECONDS = 5.0


@dataclass(frozen=True)
class Figures:
    """Of one run. ``well``: calls that ended well, of all. ``retries`` for each call.

    ``delay`` and ``delay_95``: seconds from the first failure of a call to its end, on average and
    of all but one in twenty, of calls that failed at first. ``recovery``: seconds from the end of
    the trouble until 95 % of the calls of five seconds end well; infinite where they never do, None
    where the trouble has no end.
    """

    well: float
    retries: float
    delay: float
    delay_95: float
    recovery: float | None

    @classmethod
    def of(cls, calls: Sequence[Call], over: float | None) -> Figures:
        """Those of the calls of a run."""
        late = sorted(
            call.ended_at - call.failed_at for call in calls if call.failed_at is not None
        )
        return cls(
            well=fmean(call.is_well for call in calls),
            retries=fmean(call.tries - 1 for call in calls),
            delay=fmean(late) if late else 0.0,
            delay_95=late[int(0.95 * (len(late) - 1))] if late else 0.0,
            recovery=None if over is None else _recovery(calls, over),
        )


def _recovery(calls: Sequence[Call], over: float) -> float:
    after = [call for call in calls if call.began >= over]
    for first, call in enumerate(after):
        window = [one for one in after[first:] if one.began < call.began + WELL_SECONDS]
        whole = after[-1].began >= call.began + WELL_SECONDS
        if whole and fmean(one.is_well for one in window) >= WELL_SHARE:
            return call.began - over
    return float("inf")


def middle(found: Sequence[Figures]) -> Figures:
    """The median of each figure over the seeds."""
    values = {}
    for one in fields(Figures):
        known = [getattr(figures, one.name) for figures in found]
        values[one.name] = None if None in known else median(known)
    return Figures(**values)


BETTER, WORSE, TRADE, SAME = "better", "worse", "a trade", "the same"
MARGINS = {
    "well": (0.005, 0.0),
    "retries": (0.01, 0.05),
    "delay": (0.01, 0.05),
    "delay_95": (0.02, 0.05),
    "recovery": (1.0, 0.0),
}
"""By how much a figure must differ to count: so much, or that part of the static one's."""
SHOWN = {
    "well": "calls that end well",
    "retries": "retries",
    "delay": "delay",
    "delay_95": "95th delay",
    "recovery": "recovery",
}


def differences(static: Figures, other: Figures) -> dict[str, bool]:
    """The figures that differ by more than their margin; whether the other's is the better one."""
    found = {}
    for name, (least, part) in MARGINS.items():
        ours, theirs = getattr(other, name), getattr(static, name)
        if ours is None or ours == theirs:
            continue
        if abs(ours - theirs) > max(least, part * theirs if theirs != float("inf") else 0.0):
            found[name] = (ours > theirs) is (name == "well")
    return found


def verdict(static: Figures, other: Figures) -> str:
    """What the other policy is, in a word."""
    found = set(differences(static, other).values())
    if not found:
        return SAME
    return TRADE if len(found) == 2 else BETTER if True in found else WORSE


def wins(verdicts: Sequence[str]) -> bool:
    """Whether a policy wins over all: better somewhere, and nowhere worse or a trade."""
    return BETTER in verdicts and set(verdicts) <= {BETTER, SAME}


def by_what(found: dict[str, dict[str, Figures]]) -> dict[str, list[str]]:
    """The verdicts on what adapts, by what it is about, in the order of the scenarios."""
    verdicts: dict[str, list[str]] = {}
    for name, policies in found.items():
        (other,) = (one for one in policies if one not in (STATIC, ALWAYS))
        said = verdict(policies[STATIC], policies[other])
        verdicts.setdefault(SCENARIOS[name].what, []).append(said)
    return verdicts


def wrong_defaults(verdicts: dict[str, list[str]]) -> list[str]:
    """Defaults of the library that are not as these verdicts have it; none: all are.

    What does not win over all must be off. What wins may be on.
    """
    on = {"delay": fp.Retry().adaptive, "unknown": fp.Retry().learn in ("unknown", "all"),
          "known": fp.Retry().learn == "all"}  # fmt: skip
    return [
        f"{what}: is on by default, and does not win over all"
        for what, said in verdicts.items()
        if on[what] and not wins(said)
    ]
