"""Children that fill lanes and segments."""

from __future__ import annotations

import fcntl
import importlib
import os
import resource

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


def retired_damaged(core, path):
    """The oldest segments are gone, cut short and garbage when their time has come."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    for _ in range(5 * 4 * 512):
        core.record(error)
    core.unbind(False)
    os.unlink(f"{path}/seg-1")
    os.truncate(f"{path}/seg-2", 5000)
    files.registry.store(domain_fixture.schema.REGISTRY.offset["segment_newest"], 11)
    ring = files.ring()
    return [ring.retire_over_budget(), ring.retire_over_budget()]


def retired_without_descriptors(core, path):
    """The application has used up its descriptors when the oldest segments' time has come."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    for _ in range(5 * 4 * 512):
        core.record(error)
    newest = domain_fixture.schema.REGISTRY.offset["segment_newest"]
    files.registry.store(newest, 11)
    ring = files.ring()
    first_free = os.dup(0)
    os.close(first_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    without = ring.retire_over_budget()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    kept = [files.read_registry("segment_oldest"), files.read_registry("retired")]
    return [without, *kept, ring.retire_over_budget()]


def retired_by_the_next(core, path, steps):
    """Whoever retired the oldest segment died after it had noted its rows, or added them too."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    for _ in range(5 * 4 * 512):
        core.record(error)
    schema = domain_fixture.schema
    rows = 4 * 512
    if steps > 0:
        at = schema.SEGMENT_TABLE_OFFSET + schema.SEGMENT_TABLE_ENTRY_BYTES
        files.registry.store(at, 1 << schema.SEGMENT_TABLE_ROWS_BITS | rows)
    if steps > 1:
        total = rows << schema.RETIRED_ROWS_SHIFT | 1
        files.registry.store(schema.REGISTRY.offset["retired"], total)
    files.registry.store(schema.REGISTRY.offset["segment_newest"], 11)
    return files.ring().retire_over_budget()


def failing_within(core, path, where):
    """Something inside the pure recorder fails that cannot."""
    module, _, name = where.partition(":")
    owner = importlib.import_module(f"faultplane._pure.{module}")
    *parts, last = name.split(".")
    for part in parts:
        owner = getattr(owner, part)
    bound(core, path)
    error = raised(ValueError, "x")
    core.record(error)
    whole = getattr(owner, last)

    scope = {"__package__": "faultplane._pure"}
    exec("def fail(*args, **options): raise RuntimeError('cannot happen')", scope)
    setattr(owner, last, scope["fail"])
    answers = [type(core.record(error)).__name__ for _ in range(3)]
    setattr(owner, last, whole)
    core.record(error)
    return answers


def lock_is_held(core, path):
    """Another process is stopped while it holds the lock that claims need."""
    memory = importlib.import_module("faultplane._pure.memory")
    memory.WAIT_SECONDS_MAX = 0.02
    files = bound(core, path)
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(files.locks_fd, fcntl.LOCK_EX, 1, domain_fixture.schema.LOCK_CLAIM)
        os.write(ready[1], b"!")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    error = raised(ValueError, "x")
    for _ in range(5):
        core.record(error)
    refusal = core.writer_state()["refusal"]
    try:
        files.registry.add(domain_fixture.schema.REGISTRY.offset["incarnation_next"], 1)
    except Exception as refused:
        text = str(refused)
    os.write(go[1], b"!")
    os.waitpid(pid, 0)
    core.unbind(False)
    core.bind(files.binding(slot=1))
    core.record(error)
    return [refusal, text]


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


def no_descriptors(core, path, before, left, records):
    """Records of a program that, after some, has used up its descriptors but ``left`` of them."""
    bound(core, path)
    error = raised(ValueError, "x" * 90)
    for _ in range(before):
        core.record(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    while True:
        try:
            taken.append(os.dup(1))
        except OSError:
            break
    for descriptor in taken[:left]:
        os.close(descriptor)
    for _ in range(records):
        core.record(error)
    for descriptor in taken[left:]:
        os.close(descriptor)
    return core.writer_state()


def no_space(core, path, records):
    bound(core, path)
    error = raised(ValueError, "x" * 90)
    for _ in range(records):
        core.record(error)
    return core.writer_state()
