"""What ``record``, ``counter.add``, ``classify`` and a capture block cost, and what a record takes.

``track_`` results are the minimum over many short blocks, net of raising, catching and the loop:
a block that claims no lane, so the price in a warm one. What lane claims, pages and segments add
is in ``LongRun``.
"""

from __future__ import annotations

import os
import subprocess
import sys

from .cores import CORES, Home, load

ROUNDS = {"cython": 200, "python": 30}
FIRST_SIGHTINGS = 400
LONG_RUN = {"cython": 1_000_000, "python": 20_000}
HANDED_OVER = {"cython": 1_500_000, "python": 60_000}
PEAK_RECORDS = {"cython": 300_000, "python": 20_000}
CASES = (
    "raw",
    "raw, messages differ",
    "the same object again",
    "redacted",
    "redacted, messages differ",
    "a secret, redacted",
    "30 frames",
    "60 frames",
    "with a cause",
    "KeyError",
    "OSError",
    "operation and attempt",
    "attributes",
    "counter.add",
    "classify",
    "capture block",
)


class Call:
    """One call in a process that records into a domain, its error seen before and raised anew."""

    params = (CORES, CASES)
    param_names = ("core", "case")
    timeout = 120

    def setup(self, core, case):
        load(core)
        self.home = Home()
        from faultplane.cli.bench import ours

        self.case = ours.cases()[case]

    def teardown(self, core, case):
        self.home.remove()

    def track_call(self, core, case):
        from faultplane.cli.bench.measure import measure

        return measure({case: self.case}, ROUNDS[core])[case].minimum

    track_call.unit = "ns"


class FirstSighting:
    """An error of five frames from a place that this process has never seen."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        self.fp = load(core)
        self.home = Home()
        self.fp.init(service="bench", domain="bench")

    def teardown(self, core):
        self.home.remove()

    def track_first_sighting(self, core):
        from faultplane.cli.bench import ours

        return ours.first_sighting(FIRST_SIGHTINGS)["median"]

    track_first_sighting.unit = "ns"


class LongRun:
    """Lane claims, page faults and segment switches included."""

    params = (CORES,)
    param_names = ("core",)
    timeout = 120

    def setup(self, core):
        self.fp = load(core)
        self.home = Home()
        self.fp.init(service="bench", domain="bench")

    def teardown(self, core):
        self.home.remove()

    def track_record(self, core):
        """Of the processor's time, which others do not lengthen."""
        from faultplane.cli.bench import ours

        return ours.long_run(LONG_RUN[core])["own"]

    track_record.unit = "ns"

    def track_bytes_per_record(self, core):
        """Bytes of the domain's segments for each row kept in them, the message in it."""
        from faultplane.cli.bench import ours

        ours.long_run(LONG_RUN[core])
        with self.fp.attach("bench") as domain:
            kept = len(domain.records())
            names = os.scandir(os.path.join(domain.path, os.listdir(domain.path)[0]))
            size = sum(name.stat().st_size for name in names if name.name.startswith("seg-"))
        return size / kept

    track_bytes_per_record.unit = "bytes"


class Memory:
    """A process that records over and over must not grow."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        self.fp = load(core)
        # A smaller budget: mapped segments count as memory of whoever touched them.
        self.home = Home(budget="16MiB")
        self.fp.init(service="bench", domain="bench")

    def teardown(self, core):
        self.home.remove()

    def peakmem_recording(self, core):
        from faultplane.cli.bench import ours

        ours.long_run(PEAK_RECORDS[core])


class Handover:
    """Records a second from one process's loop to another that holds them as Arrow."""

    params = (CORES, ("raw", "redact"))
    param_names = ("core", "messages")
    timeout = 180

    def setup(self, core, messages):
        load(core)
        self.home = Home(messages, budget="1GiB")

    def teardown(self, core, messages):
        self.home.remove()

    def track_records_per_second(self, core, messages):
        import json

        words = ["handover", "1", str(HANDED_OVER[core]), "reading"]
        done = subprocess.run(
            [sys.executable, "-m", "faultplane", "bench", "--child", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])["per_second"]

    track_records_per_second.unit = "records/s"
