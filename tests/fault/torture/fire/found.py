"""What a run tells of one domain: what was done to it, what it had, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    """Figures, which a run adds up over its domains; the director counts the first of them."""

    kills: int = 0
    kills_of_stopped: int = 0
    writers_killed: int = 0
    stops: int = 0
    stops_past_the_ring: int = 0
    stops_past_a_second: int = 0
    started: int = 0
    refused: int = 0
    # What the verdict is about.
    rows: int = 0
    retired: int = 0
    dropped: int = 0
    acknowledged: int = 0
    unacknowledged_rows: int = 0
    torn: int = 0
    lost: int = 0
    duplicated: int = 0
    moved: int = 0
    changed: int = 0
    deaths: int = 0
    forks: int = 0
    forks_unhandled: int = 0
    consumed: int = 0
    missed: int = 0
    scanned: int = 0
    surveys: int = 0
    samples: int = 0
    lanes_closed_last: int = 0
    wrong: list[str] = field(default_factory=list)
