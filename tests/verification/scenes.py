"""What the traced process does: ``python scenes.py NAME``."""

from __future__ import annotations

import os
import signal
import sys

import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import domain, lifecycle, maintain, owners

DIRECTORY = os.environ["FAULTPLANE_DIR"]


def failure(text="a message that does not fit into twelve bytes"):
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def join():
    """Register, publish the first segment and dictionary, claim, intern, write rows, leave."""
    fp.init("checkout")
    for number in range(3):
        fp.record(failure(), f"operation {number}")
    core.unbind(False)
    lifecycle.shutdown()


def turn():
    """The last row of the last lane of the last segment that the budget holds, and the next."""
    fp.init("checkout")
    store = lifecycle._process.store
    error = failure("short")
    most, lanes = store.header.segments_max, store.header.lanes_per_segment
    for _ in range(most * lanes * schema.LANE_ROWS - 2):
        fp.record(error)
    assert store.load("segment_newest") == most, (store.load("segment_newest"), most)
    for _ in range(70):  # the compiled core retires at the end of a chunk of 64
        fp.record(error)
    assert store.load("segment_oldest") == 2


def die():
    """Leave an open lane and counts behind."""
    fp.init("checkout")
    fp.record(failure())
    os.kill(os.getpid(), signal.SIGKILL)


def bury():
    """Find the dead owner and take it through to a free slot."""
    (path,) = domain.store_paths(domain.find("default", DIRECTORY))
    store = domain.Store.open(path, writable=True)
    if "unbumped" in sys.argv:
        keep = owners.pack_word
        owners.pack_word = lambda i, g, state: keep(i, 0 if state == 0 else g, state)
    if "unfenced" in sys.argv:
        owners.set_fence = lambda *_: None
    report = maintain.maintain_store(store)
    assert report.folded == 1, report


def retire():
    """Retire what is over the budget."""
    (path,) = domain.store_paths(domain.find("default", DIRECTORY))
    store = domain.Store.open(path, writable=True)
    header = store.header
    ring = core.Ring(
        store.directory_fd, store.locks.descriptor, store.registry, header.lanes_per_segment,
        header.segments_max, header.dictionary_bytes,
    )  # fmt: skip
    print("retired", ring.retire_over_budget())


{"join": join, "turn": turn, "die": die, "bury": bury, "retire": retire}[sys.argv[1]]()
