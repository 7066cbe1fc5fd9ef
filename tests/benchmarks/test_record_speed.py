"""The inputs of ``faultplane bench`` under pytest-benchmark: ``--benchmark-enable`` measures them.

Otherwise each runs once, as a test that what is measured records. The blocks raise what they
record, and nothing is taken off for that here, as ``faultplane bench`` does. A core is chosen when
the package is imported, so the one that this process does not run is skipped:
``FAULTPLANE_CORE=python`` chooses it.
"""

from __future__ import annotations

import pytest

import faultplane as fp
from faultplane import _backend
from faultplane.cli.bench import measure, ours

CASES = (*ours.RAW_CASES, *ours.REDACTED_CASES)


@pytest.fixture(scope="module")
def cases():
    measure.refuse_debug_build()
    made = ours.cases()
    yield made
    _backend.core.unbind(False)


@pytest.mark.parametrize("case", CASES)
def test_each_measured_call_does_what_it_is_measured_for(benchmark, cases, core_name, case):
    if core_name != fp.core:
        pytest.skip(f"this process runs the {fp.core} core")
    before = _backend.core.writer_state()["seq"]
    block = cases[case].block
    benchmark.pedantic(block, args=(100,), rounds=20, warmup_rounds=1)
    rows = _backend.core.writer_state()["seq"] - before
    expected = case not in ours.NOT_RECORDING
    assert (rows > 0) == expected
    assert rows % 100 == 0
