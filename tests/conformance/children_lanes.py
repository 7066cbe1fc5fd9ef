"""Children that fill lanes and segments."""

from __future__ import annotations

import importlib
import os

import domain_fixture
from children import bound, kept, raised


def fill(core, path, records, slot=0, start=0):
    bound(core, path, slot=slot)
    error = raised(ValueError, "filling")
    for i in range(start, start + records):
        core.record(error, duration_nano=i)
    return core.writer_state()


def fill_arena(core, path):
    bound(core, path)
    long = raised(ValueError, "m" * 1000)
    for _ in range(200):
        core.record(long, attributes={"k": "v" * 3000})
    return core.writer_state()["lanes_claimed"]


def closed_under_us(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    for _ in range(10):
        core.record(error)
    ring = files.ring()
    rows = ring.close_lanes_of(0, 1)
    again = ring.close_lanes_of(0, 1)
    for _ in range(10):
        core.record(error)
    return [rows, again, core.writer_state()["rehomed"]]


def sealed_under_us(core, path):
    """The writer's own segment is retired by somebody else between two records."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    for i in range(10):
        core.record(error, duration_nano=i)
    newest = domain_fixture.schema.REGISTRY.offset["segment_newest"]
    files.registry.store(newest, 1 + files.geometry["segments_max"])
    retired = files.ring().retire_over_budget()
    for i in range(10):
        core.record(error, duration_nano=10 + i)
    return [retired, core.writer_state()["rehomed"]]


def retired_around_a_commit(core, path, where, looks_again=True):
    """Somebody retires the segment between the pure core's check, its store and its look."""
    writer = importlib.import_module("faultplane._pure.writer")
    files = bound(core, path)
    ring = files.ring()
    error = raised(ValueError, "x")
    between = []

    def retire():
        if core.writer_state()["seq"] >= 10 and not between:
            newest = domain_fixture.schema.REGISTRY.offset["segment_newest"]
            files.registry.store(newest, 3)
            with open(f"{path}/seg-1", "rb") as segment:
                ring.retire_over_budget()
                segment.seek(domain_fixture.schema.LANE_WORDS_OFFSET)
                between.append(int.from_bytes(segment.read(8), "little") >> 62)

    if not looks_again:
        writer.Writer._settle = lambda self, lane: True
    setattr(writer, where, retire)
    for _ in range(20):
        core.record(error)
    return [between[0], core.writer_state()["rehomed"]]


def prepared_ahead(core, path):
    files = bound(core, path)
    ring = files.ring("maintainer")
    first, second = ring.prepare(), ring.prepare()
    core.record(kept()[0])
    names = sorted(os.listdir(path))
    core.unbind(False)
    return [first, second, names]


def dictionary_generations(core, path, names):
    bound(core, path)
    error = raised(ValueError, "x")
    for i in range(names):
        core.record(error, operation=f"operation-{i:05}-" + "y" * 60)


def foreign_segment(core, path):
    """A file in the place of the next segment that no writer of this layout made."""
    with open(f"{path}/seg-1", "wb") as file:
        file.write(b"garbage")
    bound(core, path)
    for error in kept(3):
        core.record(error)


def no_space(core, path, records):
    bound(core, path)
    error = raised(ValueError, "x" * 90)
    for _ in range(records):
        core.record(error)
    return core.writer_state()
