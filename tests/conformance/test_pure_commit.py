"""What only the pure core meets: a commit that is a store, locks that are held, Python that fails.

The compiled core's commit is a compare-and-swap; it takes no lock that a stopped process can keep.
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
    assert domain.rows_retired == 10
    assert [row["seq"] for row in domain.rows()] == list(range(11, 21))
    assert domain_fixture.errors(domain.cells()) == {("", "ValueError"): 20}


def test_a_segment_sealed_just_after_the_store_has_counted_the_row(child, domain):
    seen_between, rehomed = child("python", "retired_around_a_commit", domain.path, "fence")
    assert seen_between == schema.LANE_CLOSED and rehomed == 0
    assert domain.rows_retired == 10
    assert [row["seq"] for row in domain.rows()] == list(range(11, 21))
    assert domain_fixture.errors(domain.cells()) == {("", "ValueError"): 20}


def test_a_commit_that_does_not_look_again_loses_rows(child, domain):
    """Negative control: without the look after the store, the first case loses records."""
    child("python", "retired_around_a_commit", domain.path, "order", False)
    assert domain.rows_retired + len(domain.rows()) < 20


@pytest.mark.parametrize(
    "where", ["writer:Writer.put", "writer:Writer.room", "record:prepare", "record:key_of"]
)
def test_a_failure_within_costs_the_row_and_not_the_count(child, domain, where):
    answers = child("python", "failing_within", domain.path, where)
    early = where.startswith("record")
    assert answers == ["_Unknown" if early else "Class"] * 3
    cells = domain.cells()
    overflow = 3 if early else 0
    assert domain_fixture.errors(cells) == {("", "ValueError"): 5 - overflow}
    assert domain_fixture.drops(cells).get("series_overflow", 0) == overflow
    assert domain_fixture.drops(cells)["row_lost"] == 3
    assert [row["seq"] for row in domain.rows()] == [1, 2]


def test_a_stopped_holder_of_a_lock_costs_rows_for_a_while_and_no_counts(child, domain):
    refusal, text = child("python", "lock_is_held", domain.path)
    reasons = {reason.name: reason.code for reason in schema.DROP_REASONS}
    assert refusal == reasons["row_lost"]
    assert text == f"byte {schema.LOCK_CLAIM} of the lock file was held for 0.02 s"
    first, second = domain.cells(0), domain.cells(1)
    assert domain_fixture.errors(first) == {("", "ValueError"): 5}
    assert domain_fixture.drops(first) == {"row_lost": 5}
    assert domain_fixture.errors(second) == {("", "ValueError"): 1}
    assert len(domain.rows()) == 1
