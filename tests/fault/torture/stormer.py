"""One writer of `torture.storm`: waits for a line, records, and says what it did as JSON.

    python -m torture.stormer '{"number": 0, "records": 1000, …}'

What it records differs in type, place, depth, message, operation and attributes; some are errors
from places that nobody has seen, new ones all the time. It keeps its own count of every
(fingerprint, type, operation), which the library's are held against.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from array import array
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import failures
from faultplane.cli.bench.stalls import timed

DOMAIN = "storm"
SLICES = 20
"""Memory is looked at between these, and in them nothing but recording happens."""
TIMED_EVERY = 17
PLACES_EVERY = 64
ATTRIBUTES_EVERY = 32
OPERATIONS = (None, "charge", "refund", "ship", "stock", "mail")
LONG_MESSAGE = "the bank said, at length: " + "no, " * 700
_PRIVATE = re.compile(r"^Private_(?:Clean|Dirty): +([0-9]+) kB", re.MULTILINE)


class DeclinedError(RuntimeError):
    """An error with much to say."""


def _talk() -> NoReturn:
    raise DeclinedError(LONG_MESSAGE)


def _stumble() -> NoReturn:
    raise TimeoutError


KINDS: tuple[failures.Fail, ...] = (
    failures.pay,
    failures.pay_anew,
    failures.falling(30, failures.decline),
    failures.falling(6, failures.decline_because),
    failures.falling(6, failures.miss_key),
    failures.falling(6, failures.be_refused),
    failures.falling(6, failures.tell_secrets),
    failures.falling(5, _talk),
    failures.falling(4, _stumble),
)
# Unequal shares, so that counts that were swapped between two kinds would show.
MIX = (0, 1, 1, 0, 4, 5, 0, 6, 1, 3, 0, 5, 1, 8, 0, 4, 1, 2, 0, 5, 1, 0, 7)


def private_kib() -> int:
    """Memory that this process shares with nobody."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) for kib in _PRIVATE.findall(text))


class Storm:
    """What is recorded, and an account of it."""

    def __init__(self, places: int, records: int) -> None:
        self.records = records
        self.places = failures.new_places(places)
        size = len(self.places) + len(KINDS)
        self.prints = array("Q", bytes(8 * size))
        self.types = [""] * size
        # [kind or place][operation]: made now, so that counting takes no memory later.
        self.made = array("Q", bytes(8 * size * len(OPERATIONS)))
        self.samples = array("Q", bytes(8 * 3 * (records // TIMED_EVERY + 1)))
        self.sampled = 0
        self.switches = Counter[str]()

    def run(self, start: int, stop: int) -> None:
        """Record from number ``start`` to ``stop``."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        self._record(start, stop)
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.switches["voluntary"] += after.ru_nvcsw - before.ru_nvcsw
        self.switches["involuntary"] += after.ru_nivcsw - before.ru_nivcsw
        self.switches["minor_faults"] += after.ru_minflt - before.ru_minflt

    def _record(self, start: int, stop: int) -> None:
        record, mix, kinds, prints, made = fp.record, MIX, KINDS, self.prints, self.made
        operations = OPERATIONS
        for number in range(start, stop):
            which, at = mix[number % len(mix)], number % len(operations)
            if number % PLACES_EVERY == 0 and self.places:
                self._record_place(number)
                continue
            try:
                kinds[which](number)
            except Exception as error:  # whatever the kind raises is what is recorded
                if not prints[which]:
                    self._meet(which, error)
                if number % TIMED_EVERY == 0:
                    self._time(record, error)
                    at = 0
                elif number % ATTRIBUTES_EVERY == 1:
                    facts = {"order.id": number, "tier": "gold"}
                    record(error, operations[at], attributes=facts)
                else:
                    record(error, operations[at])
            made[which * len(operations) + at] += 1

    def _record_place(self, number: int) -> None:
        """An error from a place that was seen or is new: half of them come in the first tenth."""
        share = number / self.records
        seen = len(self.places) * (5 * share if share < 0.1 else 0.5 + 0.5 * (share - 0.1) / 0.9)
        place = number // PLACES_EVERY % (int(seen) + 1) % len(self.places)
        error, which = self.places[place], len(KINDS) + place
        if not self.prints[which]:
            self._meet(which, error)
        fp.record(error)
        self.made[which * len(OPERATIONS)] += 1

    def _meet(self, which: int, error: BaseException) -> None:
        self.prints[which] = _backend.core.fingerprint(error)
        self.types[which] = _type_name(error)

    def _time(self, record: Callable[[Exception], Any], error: Exception) -> None:
        at = 3 * self.sampled
        self.samples[at], self.samples[at + 1], self.samples[at + 2] = timed(record, error)
        self.sampled += 1

    def counts(self) -> list[tuple[int, str, str, int]]:
        """(Fingerprint, type, operation, count) of what was recorded."""
        return [
            (self.prints[which], self.types[which], OPERATIONS[at] or "", count)
            for which in range(len(self.prints))
            for at in range(len(OPERATIONS))
            if (count := self.made[which * len(OPERATIONS) + at])
        ]


def _type_name(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def main(asked: dict[str, Any]) -> None:
    """Record ``asked["records"]`` errors and print the account."""
    fp.init(service=f"storm-{asked['number'] % 2}", domain=DOMAIN)
    records = asked["records"]
    storm = Storm(asked["places"], records)
    edges = [records * part // SLICES for part in range(SLICES + 1)]
    memory = []
    print("ready", flush=True)
    sys.stdin.readline()
    for start, stop in pairwise(edges):
        storm.run(start, stop)
        memory.append(private_kib())
    if asked["samples"]:
        del storm.samples[3 * storm.sampled :]
        Path(asked["samples"]).write_bytes(storm.samples.tobytes())
    state = _backend.core.writer_state()
    told = {
        "calls": records,
        "rows": state["seq"],
        "rehomed": state["rehomed"],
        "segments": state["segments_mapped"],
        "private_kib": memory,
        **storm.switches,
        "counts": storm.counts(),
    }
    print(json.dumps(told), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
