"""Children whose files are damaged, full, locked or in the way."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import sys
import types

import domain_fixture
from children import bound, kept, raised

schema = domain_fixture.schema


def counted_early(core, path, count):
    """More series before bind() than the first piece of the file of counts has room for."""
    for n in range(count):
        core.Counter(f"early {n:04}").add(n)
    bound(core, path)
    core.Counter("late").add(7)


def series_without_room(core, path, count):
    """The file of counts has to grow, and the file system is full."""
    bound(core, path)
    core.record(raised(ValueError, "before"))
    with open(f"{path}/../filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    for n in range(count):
        core.Counter(f"counter {n:04}").add(2)
    os.unlink(f"{path}/../filler")
    core.Counter("after").add(5)


def counts_file_closed(core, path, count):
    """The application has closed the descriptor of the file of counts before it has to grow."""
    files = domain_fixture.Files(path, core)
    binding = files.binding()
    core.bind(binding)
    os.close(binding.aggregate_fd)
    for n in range(count):
        core.Counter(f"counter {n:04}").add(2)


def dictionary_damaged(core, path, how):
    """Names cannot be interned any more; rows are written all the same."""
    files = bound(core, path)
    core.record(raised(KeyError, "whole"))
    core.unbind(False)
    for name in ("dict-1", "stacks-1"):
        target = f"{path}/{name}"
        if how == "cut":
            os.truncate(target, 100)
        elif how == "garbage":
            with open(target, "r+b") as file:
                file.write(b"garbage!")
        elif how == "missing":
            os.unlink(target)
        elif how == "index":
            size = os.path.getsize(target)
            shape = schema.dictionary_shape(size)
            with open(target, "r+b") as file:
                file.seek(shape.buckets_offset)
                file.write(b"\x01\0\0\0" * shape.buckets)  # each leads to id 0
        else:
            _change_dictionary(target, how)
    core.bind(files.binding(slot=1))
    for error in kept(3):
        core.record(error, operation="op")


def _change_dictionary(target, how):
    with open(target, "r+b") as file:
        data = bytearray(file.read())
        layout = schema.DICTIONARY
        shape = schema.dictionary_shape(len(data))
        if how == "offsets":  # with its end behind 2**64, and so small again
            layout.write(data, 0, buckets_offset=(1 << 64) - 4 * shape.buckets)
            crc = domain_fixture.crc32(data[: layout.offset["crc"]])
            layout.write(data, 0, crc=crc)
        elif how == "used":
            at = layout.offset["next_byte"]
            data[at : at + 8] = (2**64 - 3).to_bytes(8, "little")
        elif how == "entries":
            at = layout.offset["next_entry"]
            data[at : at + 8] = bytes(8)
        elif how == "entry":  # a length, and no place
            for code in range(1, shape.entries_max):
                at = shape.entries_offset + code * schema.DICTIONARY_ENTRY.size
                data[at : at + 4] = bytes(4)
        file.seek(0)
        file.write(data)


def registry_damaged(core, path):
    """Numbers of segments at the end of what a word holds."""
    files = bound(core, path)
    core.record(raised(ValueError, "first"))
    core.unbind(False)
    ring, last = files.ring(), 2**64 - 1
    files.registry.store(schema.REGISTRY.offset["segment_newest"], last)
    done = [ring.close_lanes_of(5, 1), ring.retire_over_budget()]
    for oldest in (2**40, last - 2, last):
        files.registry.store(schema.REGISTRY.offset["segment_oldest"], oldest)
        done.append(ring.retire_over_budget())
    files.registry.store(schema.REGISTRY.offset["dictionary_generation"], last)
    core.bind(files.binding(slot=1))
    for error in kept(3):
        core.record(error)
    return done


def names_are_locked(core, path):
    """Another process is stopped while it holds the lock that new names need."""
    files = bound(core, path)
    core.record(raised(KeyError, "makes the dictionary"))
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(files.locks_fd, fcntl.LOCK_EX, 1, schema.LOCK_INTERN)
        os.write(ready[1], b"!")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for n in range(3):
        core.record(raised(ValueError, "x"), operation=f"operation {n}")
    os.write(go[1], b"!")
    os.waitpid(pid, 0)


def ready_segment_of_another_size(core, path):
    with open(f"{path}/tmp-ready", "wb") as file:
        file.write(b"too short")
    bound(core, path)
    for error in kept(3):
        core.record(error)
    return sorted(name for name in os.listdir(path) if name.startswith("tmp-"))


def foreign_segment_of_the_right_size(core, path, field):
    """A whole segment, but of another schema or number, in the place of the next one."""
    files = bound(core, path)
    core.record(raised(ValueError, "first"))
    core.unbind(False)
    with open(f"{path}/seg-1", "rb") as file:
        data = bytearray(file.read())
    if field == "column_offsets":
        at = schema.SEGMENT.offset[field]
        data[at : at + 8] = (2**63).to_bytes(8, "little")
    else:
        schema.SEGMENT.write(data, 0, **{field: 77 if field != "arena_offset" else 2**63})
    crc = domain_fixture.crc32(data[: schema.SEGMENT.offset["crc"]])
    schema.SEGMENT.write(data, 0, crc=crc + (field == "created_unix_nano"))
    with open(f"{path}/seg-2", "wb") as file:
        file.write(data)
    files.registry.store(schema.REGISTRY.offset["segment_newest"], 2)
    core.bind(files.binding(slot=1))
    for error in kept(3):
        core.record(error)


def directory_in_place_of_a_segment(core, path):
    """Neither closing the lanes of the dead nor retiring ends at what cannot be removed."""
    files = bound(core, path)
    core.record(raised(ValueError, "first"))
    core.unbind(False)
    os.unlink(f"{path}/seg-1")
    os.mkdir(f"{path}/seg-1")
    ring = files.ring()
    closed = ring.close_lanes_of(0, 1)
    newest = 1 + files.geometry["segments_max"]
    files.registry.store(schema.REGISTRY.offset["segment_newest"], newest)
    return [closed, ring.retire_over_budget(), ring.retire_over_budget()]


def rings_that_refuse(core, path):
    files = bound(core, path)
    core.record(raised(ValueError, "first"))
    newest = 1 + files.geometry["segments_max"]
    files.registry.store(schema.REGISTRY.offset["segment_newest"], newest)
    geometry = files.geometry.values()
    ring = core.Ring(files.directory_fd, files.locks_fd, files.registry, *geometry, writable=False)
    done = [ring.prepare(), ring.retire_over_budget(), ring.close_lanes_of(0, 1)]
    try:
        files.ring("x" * 32)
    except ValueError as refused:
        done.append(str(refused))
    files.ring("x" * 31)
    return done


def tracing_half_there(core, path):
    """OpenTelemetry as it is while somebody imports it, and spans that are none."""
    bound(core, path)
    error = raised(ValueError, "x")
    sys.modules["opentelemetry.trace"] = types.ModuleType("opentelemetry.trace")
    core.record(error)
    del sys.modules["opentelemetry.trace"]
    from opentelemetry import context, trace

    def span(trace_id, span_id):
        return trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, is_remote=False))

    for current in (object(), span(1 << 200, 7), span(5, 7)):
        token = context.attach(trace.set_span_in_context(current))
        core.record(error)
        context.detach(token)


def counter_faces(core):
    class Names(enum.StrEnum):
        CHARGED = "shop.charged"

    counter = core.Counter(Names.CHARGED)
    found = [counter.name, repr(counter)]
    found.append(type(counter.name).__name__)
    for ask in (core.Counter, core.enter, core.redact):
        for name in (5, None, b"bytes"):
            try:
                ask(name)
            except TypeError as refused:
                found.append(str(refused))
    found.append(core.redact(Names.CHARGED))
    core.leave(core.enter(Names.CHARGED))
    core.configure(active=False)
    counter.add(3)
    core.configure(active=True)
    counter.add(4)
    return [found, domain_fixture.counters(domain_fixture.read_cells(core.own_cells()))]


def odd_answers(core, path):
    """A classification, a type and a name that raise when they are looked at."""
    bound(core, path)

    class Raises:
        @property
        def kind_code(self):
            raise RuntimeError

        category_code, severity_number, flag_bits = 1, 17, 0

    class Meta(type):
        def __subclasscheck__(cls, other):
            raise RuntimeError

    class Picky(Exception, metaclass=Meta):
        pass

    core.configure(classify=lambda error: (Raises(), True), ignore=(Picky,))
    core.record(raised(ValueError, "x"))

    def flushes(error):
        core.flush_caches()
        raise KeyError

    core.configure(classify=flushes)
    core.record(raised(ValueError, "y"))
    core.record(MemoryError())
    return [core.enter("\ud800") > 0, core.seen(MemoryError())]
