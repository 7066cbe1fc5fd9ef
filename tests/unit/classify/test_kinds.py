"""The vocabulary is the schema's, and the table of kinds has no gap."""

from __future__ import annotations

import pytest

from faultplane import schema
from faultplane.classify import (
    KINDS,
    Category,
    Classification,
    CountsAs,
    Kind,
    Origin,
    ReachedServer,
    RecoveryStrategy,
    Severity,
    category_of_code,
    judges,
    kind_of_code,
    register_rule,
    severity_of_number,
)
from faultplane.classify.classification import FIELDS
from faultplane.classify.errno_table import BY_ERRNO
from faultplane.classify.http_status import STATUSES
from faultplane.classify.stdlib import BUILT_IN

PROPERTIES = [name for name in FIELDS if name not in {"kind", "rule"}]

# A value that the row of no kind has, or two of which one differs from any row.
OTHERS = {
    "category": list(Category),
    "severity": list(Severity),
    "retryable": [False, True],
    "temporary": [False, True],
    "recovery_strategy": list(RecoveryStrategy),
    "retry_after": [None, 12.5],
    "origin": list(Origin),
    "reached_server": list(ReachedServer),
    "counts_as": list(CountsAs),
    "confidence": [1.0, 0.25],
}


class Probe(Exception):
    """A type that the built-in table does not know."""


def built_in_answers():
    answers = [entry.answer for entry in BUILT_IN.values()]
    answers += [*BY_ERRNO.values(), *STATUSES.values(), judges.UNKNOWN]
    for table in (judges._RESOLVER, judges._TLS, judges._SMTP, judges._FTP, judges._BRACKETS,
                  judges._SQLITE, judges._RETURN_CODES):  # fmt: skip
        answers += table.values()
    return answers


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (Kind, schema.KINDS),
        (Category, schema.CATEGORIES),
        (RecoveryStrategy, schema.STRATEGIES),
        (Severity, schema.SEVERITIES),
    ],
)
def test_words_are_those_of_the_schema_in_its_order(words, terms):
    assert [word.value for word in words] == [term.name for term in terms]


def test_members_are_named_after_their_words():
    for words in (Kind, Category, Severity, RecoveryStrategy, Origin, ReachedServer, CountsAs):
        for word in words:
            assert word.name.replace("_", "") == word.value.upper()


@pytest.mark.parametrize("term", schema.KINDS, ids=lambda term: term.name)
def test_every_kind_has_every_property(term):
    row = KINDS[Kind(term.name)]
    assert set(row._fields) == set(PROPERTIES)
    types = {
        "category": Category, "severity": Severity, "retryable": bool, "temporary": bool,
        "recovery_strategy": RecoveryStrategy, "origin": Origin, "reached_server": ReachedServer,
        "counts_as": CountsAs, "confidence": float,
    }  # fmt: skip
    for name, expected in types.items():
        assert type(getattr(row, name)) is expected, name
    assert row.retry_after is None


# kind: category, severity, strategy, retryable, temporary, origin, reached server, counts as
EXPECTED = """
Transport: Network, High, RetryWithBackoff, yes, yes, path, unknown, failure
Serialization: Data, Medium, FixCode, no, no, caller, unknown, failure
Configuration: Configuration, High, ValidateConfig, no, no, caller, no, failure
Processing: Processing, High, FixCode, no, no, caller, unknown, failure
Export: Export, Medium, RetryWithBackoff, yes, yes, target, unknown, failure
Timeout: Performance, Medium, IncreaseTimeout, yes, yes, path, unknown, failure
Concurrency: Concurrency, Medium, RetryWithBackoff, yes, yes, caller, unknown, failure
ResourceExhausted: Resource, Critical, ScaleResources, no, yes, caller, unknown, failure
VersionMismatch: Compatibility, High, ManualIntervention, no, no, caller, unknown, failure
Internal: System, High, FixCode, no, no, caller, unknown, failure
BusinessLogic: Business, Low, Fallback, no, no, caller, yes, success
DataValidation: Data, Medium, FixCode, no, no, caller, unknown, ignored
Permission: Security, High, ManualIntervention, no, no, caller, unknown, ignored
RateLimit: Dependency, Medium, RetryWithBackoff, yes, yes, target, yes, failure
DependencyService: Dependency, High, CircuitBreak, yes, yes, target, yes, failure
"""


@pytest.mark.parametrize("line", EXPECTED.strip().splitlines())
def test_a_kind_implies_what_is_written_down_here(line):
    kind, _, rest = line.partition(": ")
    a = Classification(kind)
    said = ["yes" if value is True else "no" if value is False else value for value in (
        a.category, a.severity, a.recovery_strategy, a.retryable, a.temporary, a.origin,
        a.reached_server, a.counts_as,
    )]  # fmt: skip
    assert said == rest.split(", ")
    assert (a.retry_after, a.confidence, a.rule) == (None, 1.0, "")


def test_a_kind_without_a_row_would_be_noticed():
    """Negative control of the enumeration: the table has the kinds of the schema, no other."""
    assert {kind.value for kind in KINDS} == {term.name for term in schema.KINDS}
    assert len(KINDS) == 15


@pytest.mark.parametrize("code", range(256))
def test_every_code_is_a_kind_and_a_category(code):
    names = {term.code: term.name for term in schema.KINDS}
    assert kind_of_code(code) == names.get(code, "Internal")
    names = {term.code: term.name for term in schema.CATEGORIES}
    assert category_of_code(code) == names.get(code, "System")


def test_unknown_codes_are_what_the_schema_says():
    assert Classification(kind_of_code(0)).kind_code == schema.KIND_INTERNAL
    assert Classification("Internal").category_code == schema.UNKNOWN_CATEGORY


@pytest.mark.parametrize("number", range(-1, 27))
def test_every_severity_number_has_a_word(number):
    known = [severity for severity in schema.SEVERITIES if severity.number <= number]
    expected = known[-1].name if known else "Low"
    assert severity_of_number(number) == expected


@pytest.mark.parametrize("term", schema.KINDS, ids=lambda term: term.name)
def test_codes_for_the_core_follow_from_the_words(term):
    row = KINDS[Kind(term.name)]
    answer = Classification(term.name)
    categories = {category.name: category.code for category in schema.CATEGORIES}
    numbers = {severity.name: severity.number for severity in schema.SEVERITIES}
    assert answer.kind_code == term.code
    assert answer.category_code == categories[row.category]
    assert answer.severity_number == numbers[row.severity]
    assert bool(answer.flag_bits & schema.FLAG_RETRYABLE) is row.retryable
    assert bool(answer.flag_bits & schema.FLAG_TEMPORARY) is row.temporary
    assert answer.flag_bits & ~(schema.FLAG_RETRYABLE | schema.FLAG_TEMPORARY) == 0


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", PROPERTIES)
def test_every_field_of_every_kind_can_be_driven_to_two_values(kind, name, classify):
    implied = getattr(KINDS[kind], name)
    other = next(value for value in OTHERS[name] if value != implied)
    with register_rule(Probe, kind=kind):
        assert classify(Probe()).kind is kind
        assert getattr(classify(Probe()), name) == implied
    with register_rule(Probe, kind=kind, **{name: other}):
        answer = classify(Probe())
        assert answer.kind is kind
        assert getattr(answer, name) == other
        assert [n for n in FIELDS if getattr(answer, n) != getattr(Classification(kind), n)] == [
            name,
            "rule",
        ]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_and_rule_text_reaches_the_caller(kind, classify):
    with register_rule(Probe, kind=kind, rule=f"about {kind}"):
        assert classify(Probe()).rule == f"about {kind}"
        assert classify(Probe()).kind is kind
    assert classify(Probe()).rule == "default"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("kind", Kind),
        ("category", Category),
        ("severity", Severity),
        ("recovery_strategy", RecoveryStrategy),
        ("origin", Origin),
        ("reached_server", ReachedServer),
        ("counts_as", CountsAs),
        ("retryable", [False, True]),
        ("temporary", [False, True]),
    ],
)
def test_every_word_is_said_by_some_built_in_rule(field, words):
    assert {getattr(answer, field) for answer in built_in_answers()} == set(words)


def test_nothing_retryable_is_permanent():
    """What is worth another try must be able to go away by itself."""
    stuck = [a.rule for a in built_in_answers() if a.retryable and not a.temporary]
    assert stuck == []


def test_what_counts_as_a_success_had_reached_the_server():
    unlikely = [
        a.rule
        for a in built_in_answers()
        if a.counts_as is CountsAs.SUCCESS and a.reached_server is not ReachedServer.YES
    ]
    assert unlikely == []
