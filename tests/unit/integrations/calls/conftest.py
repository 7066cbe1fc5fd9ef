"""A process that shares its dependencies, and a server that it calls."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import faultplane as fp

sys.path.insert(0, str(Path(__file__).parent))

from origin import Origin

_spec = importlib.util.spec_from_file_location(
    "resilience_fixtures", Path(__file__).parents[2] / "resilience" / "conftest.py"
)
_fixtures: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(_fixtures)  # type: ignore[union-attr]
joined, seen, fails = _fixtures.joined, _fixtures.seen, _fixtures.fails
_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test's dependency has."""
    return f"call-{next(_numbers)}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """The other side, on loopback."""
    with Origin() as server:
        yield server


class Waits(type(fp.Dependency("clock").clock)):  # type: ignore[misc]
    """A clock that waits for nobody, and keeps what it was asked to."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def waits() -> Waits:
    """A clock that waits for nobody."""
    return Waits()


@pytest.fixture
def recorded() -> Callable[[str], list[tuple[str, int]]]:
    """Function: (type, attempt) of each record of an operation, in order."""

    def read(operation: str) -> list[tuple[str, int]]:
        with fp.init() as domain:
            table = domain.records().to_pyarrow().select(["operation", "type", "attempt"])
        rows = [row for row in table.to_pylist() if row["operation"] == operation]
        return [(row["type"], row["attempt"]) for row in rows]

    return read
