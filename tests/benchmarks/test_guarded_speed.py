"""The guarded calls of ``faultplane bench`` under pytest-benchmark.

``--benchmark-enable`` measures them. Otherwise each runs once, as a test that what is measured
guards.
"""

from __future__ import annotations

import pytest

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import guarded, measure
from faultplane.control_schema import BREAKER_CLOSED, CAUSE_RESET


@pytest.fixture(scope="module")
def measured():
    measure.refuse_debug_build()
    fp.init(service="bench", domain="bench")
    guards = guarded.guards()
    for dependency in (guards.succeeds, guards.awaited, guards.rejects, guards.retried):
        # Closed, whatever others of this process have left.
        dependency.cell.move(BREAKER_CLOSED, CAUSE_RESET)
    with guarded.Guarded(guards) as made:
        yield made
        made.check()  # that it tried failures again, and opened in the end
    _backend.core.unbind(False)


@pytest.mark.parametrize("case", guarded.CASES)
def test_each_measured_call_is_guarded(benchmark, measured, core_name, case):
    if core_name != fp.core:
        pytest.skip(f"this process runs the {fp.core} core")
    benchmark.pedantic(measured.cases[case].block, args=(100,), rounds=20, warmup_rounds=1)
