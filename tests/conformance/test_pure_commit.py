"""The pure core's commit is a store: what happens when a lane is closed in the same instant.

The compiled core's commit is a compare-and-swap, and has no such instant.
"""

from __future__ import annotations

import domain_fixture
import pytest

from faultplane import schema


@pytest.fixture
def domain(tmp_domain_dir):
    return domain_fixture.Reader(domain_fixture.make(tmp_domain_dir / "d", lanes=4, segments_max=2))


def test_a_segment_sealed_just_before_the_store_does_not_count_the_row(child, domain):
    seen_between, rehomed = child("python", "retired_around_a_commit", domain.path, "order")
    assert seen_between == schema.LANE_CLOSED and rehomed == 1
    assert domain.registry("rows_retired") == 10
    assert [row["seq"] for row in domain.rows()] == list(range(11, 21))
    assert domain_fixture.errors(domain.cells()) == {("", "ValueError"): 20}


def test_a_segment_sealed_just_after_the_store_has_counted_the_row(child, domain):
    seen_between, rehomed = child("python", "retired_around_a_commit", domain.path, "fence")
    assert seen_between == schema.LANE_CLOSED and rehomed == 0
    assert domain.registry("rows_retired") == 10
    assert [row["seq"] for row in domain.rows()] == list(range(11, 21))
    assert domain_fixture.errors(domain.cells()) == {("", "ValueError"): 20}


def test_a_commit_that_does_not_look_again_loses_rows(child, domain):
    """Negative control: without the look after the store, the first case loses records."""
    child("python", "retired_around_a_commit", domain.path, "order", False)
    assert domain.registry("rows_retired") + len(domain.rows()) < 20
