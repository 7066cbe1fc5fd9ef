"""How many rounds and records each part of a run takes."""

from __future__ import annotations

from typing import Final, NamedTuple


class Amounts(NamedTuple):
    """Rounds of interleaved blocks, and records of the parts that count them."""

    rounds: int
    long_run: int
    samples: int
    first_sightings: int
    stalls: int
    peer_rounds: int
    guarded_rounds: int
    handed_over: int
    handed_over_by_peers: int
    scraped_workers: int
    scraped_each: tuple[int, ...]
    """Groups that each of them counts, one measurement for each."""
    scrapes: int


FULL: Final = Amounts(
    rounds=600,
    long_run=1_000_000,
    samples=100_000,
    first_sightings=400,
    stalls=6_000_000,  # 11,718 lane claims: enough for a p99.99 of them
    peer_rounds=60,
    guarded_rounds=300,
    handed_over=1_500_000,
    handed_over_by_peers=200_000,
    scraped_workers=64,
    scraped_each=(157, 2_500),  # each group in one worker, and in sixteen
    scrapes=5,
)
FULL_PURE: Final = FULL._replace(
    rounds=60,
    long_run=20_000,
    samples=10_000,
    stalls=400_000,
    guarded_rounds=60,
    handed_over=60_000,
)
QUICK: Final = Amounts(
    rounds=10,
    long_run=20_000,
    samples=2_000,
    first_sightings=20,
    stalls=60_000,
    peer_rounds=3,
    guarded_rounds=10,
    handed_over=20_000,
    handed_over_by_peers=5_000,
    scraped_workers=4,
    scraped_each=(100,),
    scrapes=1,
)
QUICK_PURE: Final = QUICK._replace(
    rounds=3, long_run=2_000, samples=500, stalls=25_000, guarded_rounds=3
)


def choose(core: str, quick: bool) -> Amounts:
    """What a process on ``core`` measures; with ``quick``, enough for a first look only."""
    if core == "cython":
        return QUICK if quick else FULL
    return QUICK_PURE if quick else FULL_PURE
