"""A classification is a value: immutable, hashable, bounded, and equal ones can be one object."""

from __future__ import annotations

import copy
import pickle

import pytest

from faultplane.classify import Classification
from faultplane.classify import classification as module
from faultplane.classify.classification import FIELDS, shared

FULL = {
    "kind": "RateLimit",
    "category": "Business",
    "severity": "Critical",
    "retryable": False,
    "temporary": True,
    "recovery_strategy": "Fallback",
    "retry_after": 2.5,
    "origin": "path",
    "reached_server": "no",
    "counts_as": "ignored",
    "confidence": 0.5,
    "rule": "mine",
}


def test_every_field_says_what_it_was_given():
    answer = Classification(**FULL)
    assert answer.to_dict() == FULL
    assert list(FULL) == list(FIELDS)
    assert (answer.severity_number, answer.kind_code, answer.category_code) == (21, 14, 11)


@pytest.mark.parametrize("name", [*FIELDS, "kind_code", "anything"])
def test_it_cannot_be_changed(name):
    answer = Classification("Timeout")
    with pytest.raises(AttributeError, match="immutable"):
        setattr(answer, name, "x")
    with pytest.raises(AttributeError, match="immutable"):
        delattr(answer, name)
    assert answer == Classification("Timeout")


@pytest.mark.parametrize("name", FIELDS)
def test_equality_and_hash_are_over_every_field(name):
    base = Classification(**FULL)
    other = {
        "kind": "Timeout", "category": "Data", "severity": "Low", "retryable": True,
        "temporary": False, "recovery_strategy": "FixCode", "retry_after": 3.0, "origin": "target",
        "reached_server": "yes", "counts_as": "success", "confidence": 0.6, "rule": "other",
    }  # fmt: skip
    changed = base.replace(**{name: other[name]})
    assert changed != base
    assert getattr(changed, name) == other[name]
    assert changed.replace(**{name: FULL[name]}) == base
    assert hash(changed.replace(**{name: FULL[name]})) == hash(base)
    assert base != FULL
    assert base.__eq__(FULL) is NotImplemented


def test_none_brings_back_what_the_kind_implies():
    answer = Classification(**FULL).replace(severity=None, retryable=None, retry_after=None)
    assert (answer.severity, answer.retryable, answer.retry_after) == ("Medium", True, None)


def test_repr_makes_an_equal_one():
    answer = Classification(**FULL)
    assert eval(repr(answer), {"Classification": Classification}) == answer


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_and_copies_are_equal(protocol):
    answer = Classification(**FULL)
    for twin in (pickle.loads(pickle.dumps(answer, protocol)), copy.copy(answer),
                 copy.deepcopy(answer)):  # fmt: skip
        assert twin == answer
        assert (twin.kind_code, twin.flag_bits) == (answer.kind_code, answer.flag_bits)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "Transports", "kind must be one of Transport, .* got 'Transports'"),
        ("kind", None, "kind must be one of"),
        ("kind", [], "kind must be one of"),
        ("category", "network", "category must be one of Network, .* got 'network'"),
        ("severity", 17, "severity must be one of Low, Medium, High, Critical, got 17"),
        ("recovery_strategy", "Retry", "recovery_strategy must be one of"),
        ("origin", "server", "origin must be one of caller, path, target, got 'server'"),
        ("reached_server", True, "reached_server must be one of no, unknown, yes, got True"),
        ("counts_as", "fail", "counts_as must be one of success, failure, ignored, got 'fail'"),
        ("retryable", 1, "retryable must be True or False, got 1"),
        ("temporary", "no", "temporary must be True or False, got 'no'"),
        ("retry_after", -0.001, "retry_after must be 0 to 86400, got -0.001"),
        ("retry_after", 86_400.001, "retry_after must be 0 to 86400, got 86400.001"),
        ("retry_after", float("nan"), "retry_after must be 0 to 86400, got nan"),
        ("retry_after", 10**400, "retry_after must be 0 to 86400"),
        ("retry_after", True, "retry_after must be 0 to 86400, got True"),
        ("confidence", 1.01, "confidence must be 0 to 1, got 1.01"),
        ("confidence", -0.01, "confidence must be 0 to 1, got -0.01"),
        ("confidence", "1", "confidence must be 0 to 1, got '1'"),
        ("rule", "x" * 256, "rule must be text of at most 255 characters"),
        ("rule", None, "rule must be text of at most 255 characters, got None"),
    ],
)
def test_values_outside_their_bounds_are_refused_by_name(field, value, said):
    with pytest.raises(ValueError, match=said):
        Classification(**{**FULL, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("retry_after", 0), ("retry_after", 86_400), ("confidence", 0), ("confidence", 1.0),
     ("rule", "x" * 255)],
)  # fmt: skip
def test_values_on_their_bounds_are_taken(field, value):
    assert getattr(Classification(**{**FULL, field: value}), field) == value


def test_replace_refuses_what_is_no_field():
    with pytest.raises(TypeError, match="no field severity_number"):
        Classification("Timeout").replace(severity_number=3)


def test_equal_answers_are_one_object():
    assert shared(Classification(**FULL)) is shared(Classification(**FULL))


def test_the_memory_of_shared_answers_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "SHARED_MAX", 10)
    monkeypatch.setattr(module, "_shared", {})
    for number in range(25):
        shared(Classification("Timeout", rule=str(number)))
        assert len(module._shared) <= 10
