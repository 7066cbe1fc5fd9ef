"""A process that shares its dependencies, and what they hold."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import faultplane as fp
from faultplane.resilience import sharing
from faultplane.resilience.dependency import Dependency
from faultplane.store import lifecycle
from faultplane.store.control import CellState, ControlFile

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def joined() -> None:
    """This process has a domain, with cells for as many dependencies as a module's tests have."""
    fp.init()
    owned = lifecycle.owned()
    if owned is not None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(owned[0].path, "control"))
    sharing._forget_parent()


@pytest.fixture
def name() -> str:
    """A name that no other test's dependency has."""
    return f"dependency-{next(_numbers)}"


@pytest.fixture
def seen() -> Iterator[Callable[[Dependency], CellState]]:
    """Function: the cell of a dependency, as every process sees it."""
    opened: list[ControlFile] = []

    def read(dependency: Dependency) -> CellState:
        dependency.cell.window()  # makes the file where none was, tells what the pure core has not
        if not opened:
            owned = lifecycle.owned()
            assert owned is not None
            opened.append(ControlFile.open(owned[0]))
        index = opened[0].find(dependency.name)
        assert index is not None, (dependency.problem, dependency.shared)
        return opened[0].read(index)

    yield read
    for file in opened:
        file.close()


@pytest.fixture
def fails() -> Callable[..., Callable[..., Any]]:
    """Function: a function that raises what it is given, one after the other, then answers."""

    def make(*errors: BaseException, answer: Any = "answer") -> Callable[..., Any]:
        left = list(errors)

        def call(*args: Any, **kwargs: Any) -> Any:
            call.calls += 1  # type: ignore[attr-defined]
            if left:
                raise left.pop(0)
            return answer

        call.calls = 0  # type: ignore[attr-defined]
        return call

    return make
