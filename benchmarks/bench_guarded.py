"""What a guarded call costs, with retry, budget and breaker, by case and core.

The minimum over many short blocks: net of the bare call where it succeeds, with raising, recording
and counting where it is rejected or tried again. `python -m benchmarks.peers.guarded` has what
users would pick instead.
"""

from __future__ import annotations

from .cores import CORES, Home, load

ROUNDS = {"cython": 200, "python": 30}
CASES = (
    "guarded call",
    "guarded call, awaited",
    "guarded call, rejected",
    "guarded call, two failures",
)


class GuardedCall:
    """One call of a function whose dependency all processes of a domain share, or this one has."""

    params = (CORES, CASES, ("domain", "alone"))
    param_names = ("core", "case", "place")
    timeout = 120

    def setup(self, core, case, place):
        fp = load(core)
        self.home = Home(messages="redact")
        from faultplane.cli.bench import guarded

        if place == "domain":
            fp.init(service="bench", domain="bench")
        self.measured = guarded.Guarded(guarded.guards())
        self.case = self.measured.cases[case]

    def teardown(self, core, case, place):
        self.measured.__exit__()
        self.home.remove()

    def track_call(self, core, case, place):
        from faultplane.cli.bench.measure import measure

        return measure({case: self.case}, ROUNDS[core])[case].minimum

    track_call.unit = "ns"
