"""One script of operations, driven into both cores; the bytes that they leave are compared.

Run in a child process: it configures both cores.
"""

from __future__ import annotations

import importlib
import os
import shutil
import struct
from pathlib import Path

import domain_fixture
import raising
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from faultplane import schema

CORES = {"cython": "faultplane._core", "python": "faultplane._pure"}
CLOCKS = ("time_unix_nano", "mono_nano")
EXAMPLES = 40


def make_errors():
    shapes = raising.shapes()
    # Left out: what two cores cannot be shown twice with the same result within one process.
    return list(shapes.values()) + [error for _, error in raising.messages()]


ERRORS = make_errors()
OPERATIONS = (None, "", "charge", "é" * 200, "op\ud800", "x" * 1000)
ATTRIBUTES = (None, {}, {"k": "v"}, {"k": "v" * 3000}, {"k": "v" * 5000}, {"bad": object()})
MODES = ("raw", "redact", "template")


class Class:
    def __init__(self, exc):
        code = len(type(exc).__name__)
        self.kind_code, self.category_code = 1 + code % 15, 1 + code % 13
        self.severity_number, self.flag_bits = 9 + code % 4 * 4, code % 2 * 2


def classify(exc):
    return Class(exc), not isinstance(exc, KeyError)


def encode(attributes):
    if "bad" in attributes:
        raise ValueError
    return b";".join(f"{k}={v}".encode() for k, v in attributes.items())


steps = st.one_of(
    st.tuples(
        st.just("record"),
        st.integers(0, len(ERRORS) - 1),
        st.sampled_from(OPERATIONS),
        st.sampled_from((0, 1, 65_535)),
        st.sampled_from((0, 17, 2**63 - 1)),
        st.integers(0, len(ATTRIBUTES) - 1),
        st.booleans(),
        st.sampled_from((1, 1, 1, 70, 600)),
    ),
    st.tuples(st.just("count"), st.sampled_from(("a", "b")), st.sampled_from((0, 1, 2**40))),
    st.tuples(st.just("messages"), st.sampled_from(MODES)),
    st.tuples(st.just("flush")),
    st.tuples(st.just("active"), st.booleans()),
    st.tuples(st.just("close lanes")),
    st.tuples(st.just("rebind")),
    st.tuples(st.just("prepare")),
)


class Driven:
    """A core bound to a directory of its own."""

    def __init__(self, core, path):
        self.core, self.path = core, domain_fixture.make(path, lanes=4, segments_max=64)
        self.files = domain_fixture.Files(self.path, core)
        self.ring = self.files.ring("maintainer")
        self.generation = 1
        core.configure(
            active=True, messages="raw", classify=classify, encode_attributes=encode,
            rebind=lambda: None,
        )  # fmt: skip
        core.flush_caches()
        core.bind(self.files.binding())

    def do(self, name, *args):
        core = self.core
        if name == "record":
            number, operation, attempt, duration, attributes, handled, times = args
            for _ in range(times):
                core.record(
                    ERRORS[number], operation, attempt, duration, ATTRIBUTES[attributes], handled
                )
        elif name == "count":
            core.Counter(args[0]).add(args[1])
        elif name == "messages":
            core.configure(messages=args[0])
        elif name == "flush":
            core.flush_caches()
        elif name == "active":
            core.configure(active=args[0])
        elif name == "close lanes":
            return self.ring.close_lanes_of(0, self.generation)
        elif name == "rebind":
            core.unbind(False)
            self.generation += 1
            core.bind(self.files.binding(generation=self.generation))
        else:
            self.ring.prepare()
        return None

    def finish(self):
        self.core.unbind(False)
        for fd in (self.files.directory_fd, self.files.locks_fd):
            os.close(fd)
        reader = domain_fixture.Reader(self.path)
        segments = {n: without_clocks(reader.segment(n)) for n in reader.numbers()}
        generation = reader.registry("dictionary_generation")
        cells = [
            {k: v for k, v in cell.items() if not k.endswith("_nano")}
            for cell in reader.cells()
            if cell["count"]
        ]
        return {
            "segments": segments,
            "names": reader.dictionary("dict", generation),
            "stacks": reader.dictionary("stacks", generation),
            "cells": sorted(cells, key=repr),
            "registry": without_hint((reader.path / "registry").read_bytes()),
        }


def without_hint(data):
    """What changes in a registry, but for the word by which compiled writers name ahead of need."""
    hint = schema.REGISTRY.offset["segment_newest"] + 8
    return data[schema.REGISTRY.offset["crc"] : hint] + data[hint + 8 :]


def without_clocks(data):
    """A segment without what differs from run to run: times, and the crc over one of them."""
    data = bytearray(data)
    head = schema.SEGMENT.read_all(data)
    rows = head["lanes"] * schema.LANE_ROWS
    for column, start in zip(schema.COLUMNS, head["column_offsets"], strict=False):
        if column.name in CLOCKS:
            data[start : start + rows * column.width] = bytes(rows * column.width)
    struct.pack_into("<q", data, schema.SEGMENT.offset["created_unix_nano"], 0)
    struct.pack_into("<I", data, schema.SEGMENT.offset["crc"], 0)
    return bytes(data)


def main(path, seed_value, phases=tuple(Phase)):
    cores = {name: importlib.import_module(package) for name, package in CORES.items()}
    runs = 0

    @seed(seed_value)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(steps, max_size=25))
    def same_bytes(script):
        nonlocal runs
        runs += 1
        where = Path(path) / f"run-{runs}"
        driven = [Driven(core, where / name) for name, core in cores.items()]
        for step in script:
            one, other = (each.do(*step) for each in driven)
            assert one == other, step
        ours, theirs = (each.finish() for each in driven)
        for what, found in ours.items():
            assert found == theirs[what], what
        shutil.rmtree(where)

    same_bytes()
    return runs
