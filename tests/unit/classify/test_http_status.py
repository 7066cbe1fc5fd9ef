"""What an HTTP status says."""

from __future__ import annotations

import pytest

from faultplane.classify.http_status import STATUSES, by_status

LATER = {408, 423, 425, 429, 502, 503, 504}


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_has_an_answer_that_names_it(status):
    answer = by_status(status)
    expected = f"http[{status}]" if status in STATUSES else f"http[{status // 100}xx]"
    assert answer.rule == expected
    assert answer.retryable is (status in LATER)
    assert by_status(status) is answer


def test_otlp_statuses_that_may_be_retried_are_retryable():
    assert {429, 502, 503, 504} <= LATER


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 415, 422, 451]
)
def test_a_refused_request_is_no_failure_of_the_server(status):
    assert by_status(status).counts_as == "success"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 599])
def test_a_server_that_cannot_is_a_failure(status):
    assert by_status(status).counts_as == "failure"


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 200, 299, 600, 999, 10**9])
def test_what_is_no_error_status_is_answered_with_low_confidence(status):
    answer = by_status(status)
    assert answer.confidence < 0.5
    assert not answer.retryable


def test_a_wait_is_part_of_the_answer_and_equal_ones_are_one():
    assert by_status(503, 4.0).retry_after == 4.0
    assert by_status(503, 4.0) is by_status(503, 4.0)
    assert by_status(503).retry_after is None
