"""Programs that are observed, and what they say of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

PRELUDE = """
import asyncio, collections, glob, json, os, sys, traceback
import faultplane as fp
from faultplane import schema
domain = fp.init(service="test")

def counted():
    found = collections.Counter()
    for row in domain.counts_rows():
        found[row["operation"]] += row["count"]
    return found

def in_flight():
    (path,) = glob.glob(os.environ["FAULTPLANE_DIR"] + "/*/*/breath-*")
    data = open(path, "rb").read()
    found = []
    for n in range(schema.INFLIGHT_SLOTS):
        offset = schema.BREATH_INFLIGHT_OFFSET + n * schema.INFLIGHT.size
        row = schema.INFLIGHT.read_all(data, offset)
        if row["word"]:
            found.append(row["operation"][:row["operation_bytes"]].decode())
    return found

def frames(exc):
    return [entry.name for entry in traceback.extract_tb(exc.__traceback__)]

def say(value):
    print(json.dumps(value))
"""


@pytest.fixture
def told(run_python: Any) -> Callable[..., list[Any]]:
    """Function: run code that calls ``say(value)``; the values."""

    def run(code: str, **variables: str) -> list[Any]:
        done = run_python(PRELUDE + code, **variables)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
