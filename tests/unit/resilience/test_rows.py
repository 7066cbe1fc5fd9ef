"""What the row of a failed try says of it."""

from __future__ import annotations

import time

import pytest

import faultplane as fp
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import Breaker

WAIT_NANO = 1_000_000


@pytest.mark.parametrize("slow_call", [None, 10.0])
def test_how_long_the_try_took(slow_call, name):
    slow_rate = None if slow_call is None else 0.5
    dependency = Dependency(name, breaker=Breaker(slow_call=slow_call, slow_rate=slow_rate))

    @dependency
    def wait() -> None:
        start = time.monotonic_ns()
        while time.monotonic_ns() - start < WAIT_NANO:
            pass
        raise TimeoutError(name)

    start = time.monotonic_ns()
    with pytest.raises(TimeoutError):
        wait()
    took_nano = time.monotonic_ns() - start
    with fp.init() as domain:
        table = domain.records().to_pyarrow().select(["operation", "duration_nano"])
    (row,) = (row for row in table.to_pylist() if row["operation"] == name)
    assert WAIT_NANO <= row["duration_nano"] <= took_nano
