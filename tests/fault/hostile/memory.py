"""Records while the process has no memory left, under a real RLIMIT_AS.

While memory is short nothing here makes an object: what is recorded was made before. How many
records returned is told by what is left of them.
"""

from __future__ import annotations

import resource
import time

import faultplane as fp
from faultplane import _backend

from .ledger import raised
from .texts import Doing

core = _backend.core
KINDS = 300 if fp.core == "cython" else 60
ROOM_BYTES = 3 << 20


def limit_memory():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + ROOM_BYTES, hard))


def allow_memory():
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def exhaust():
    """Take what is left, down to the smallest objects; all that is held, in one object.

    The pure core keeps blocks of less than a page: without one the interpreter runs no function.
    """
    held = None
    for size in (1 << 20, 1 << 16, 1 << 12, 1 << 9, 1 << 6, 8)[: 6 if fp.core == "cython" else 3]:
        try:
            while True:
                held = held, bytes(size)
        except MemoryError:
            pass
    return held


def errors_of_many_kinds():
    kinds = [type(f"Kind{i}", (ValueError,), {}) for i in range(KINDS)]
    known = [raised(ValueError, "known"), raised(KeyError, "known"), MemoryError()]
    asking = [raised(Doing, lambda _: "x" * 100_000), raised(ValueError, "é" * 100_000)]
    errors = []
    for kind in kinds:
        errors += [raised(kind, "x"), *known, *asking]
    return errors


def record_all(errors):
    while errors:
        fp.record(errors[-1], "charge")
        del errors[-1]


def settle():
    """Go on until storage that was refused has been tried again."""
    recorded = 0
    deadline = time.monotonic() + 20
    while core.writer_state()["refusal"]:
        assert time.monotonic() < deadline, core.writer_state()
        fp.record(raised(ValueError, "waiting"), "charge")
        recorded += 1
        time.sleep(0.05)  # asked again, not waited out: a try comes a second after the last
    return recorded


def all_of_it_is_taken(ledger):
    """Known errors, first sightings, and the tables flushed in between."""
    errors = errors_of_many_kinds()
    record_all(before := [raised(ValueError, "before")])
    returned = len(errors) + 1 - len(before)
    half = errors[: len(errors) // 2]
    del errors[: len(errors) // 2]
    limit_memory()
    held = exhaust()
    record_all(errors)
    core.flush_caches()
    record_all(half)
    allow_memory()
    while held is not None:  # from the outside: one in another, they would go in one recursion
        held = held[0]
    ledger.facts["returned"] = returned + settle()


def from_the_first_record(ledger):
    """There is no lane yet, and none to be had: no memory to map a segment with."""
    errors = errors_of_many_kinds()
    ledger.facts["returned"] = len(errors)
    limit_memory()
    held = exhaust()
    record_all(errors)
    allow_memory()
    while held is not None:
        held = held[0]
    ledger.facts["returned"] += settle()


def in_the_handler(ledger):
    """MemoryError recorded where it is caught, a thousand times."""
    resource_errors = [None] * 1_000
    limit_memory()
    while resource_errors:
        try:
            bytearray(1 << 30)
        except MemoryError as error:
            fp.record(error, "charge")
            del resource_errors[-1]
    allow_memory()
    ledger.facts["returned"] = 1_000 + settle()
