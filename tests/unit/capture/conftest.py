"""What the core of this process has counted, as the tests of capture look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from faultplane import schema
from faultplane._backend import core
from faultplane.store import aggregate


def errors_counted() -> Counter[tuple[str, str]]:
    """(operation, type) -> how often, as this process's own cells have it."""
    found: Counter[tuple[str, str]] = Counter()
    for series, tally in aggregate.parse(core.own_cells(), "own").tallies.items():
        if series.series == schema.SERIES_ERROR:
            found[series.operation.decode(), series.name.decode()] += tally.count
    return found


@pytest.fixture
def newly_counted() -> Callable[[], dict[tuple[str, str], int]]:
    """Function: what was counted since the test began, and since its last call."""
    before = errors_counted()

    def since() -> dict[tuple[str, str], int]:
        nonlocal before
        now = errors_counted()
        new = now - before
        before = now
        return dict(new)

    return since
