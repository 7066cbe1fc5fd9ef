"""User rules: who is asked first, what a failing rule does, and that the core forgets in time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from faultplane.classify import (
    Classification,
    Kind,
    classify_for_core,
    register_rule,
    registered_rules,
    rule,
    rules,
    type_name,
    unregister_rule,
)
from faultplane.classify.judgement import BY_CAUSES, BY_TYPE, NEVER


class Base(Exception):
    pass


class Derived(Base):
    pass


class Refused(ConnectionRefusedError):
    pass


# --------------------------------------------------------------------------------- precedence


def test_a_rule_answers_for_the_type_and_its_subclasses(classify):
    assert classify(Derived()).rule == "default"
    with register_rule(Base, kind="BusinessLogic"):
        assert classify(Base()).kind is Kind.BUSINESS_LOGIC
        assert classify(Derived()).kind is Kind.BUSINESS_LOGIC
        assert classify(Derived()).rule == f"user:{type_name(Base)}"
        assert classify(Exception()).rule == "default"
    assert classify(Derived()).rule == "default"


def test_the_nearest_class_beats_its_base_whichever_came_last(classify):
    with register_rule(Derived, kind="RateLimit"), register_rule(Base, kind="Permission"):
        assert classify(Derived()).kind is Kind.RATE_LIMIT
        assert classify(Base()).kind is Kind.PERMISSION


def test_the_newest_rule_for_a_class_is_asked_first(classify):
    with register_rule(Base, kind="RateLimit"):
        with register_rule(Base, kind="Permission"):
            assert classify(Base()).kind is Kind.PERMISSION
        assert classify(Base()).kind is Kind.RATE_LIMIT


def test_rules_by_type_and_by_name_are_of_one_rank(classify):
    by_type, by_name = Base, type_name(Base)
    with register_rule(by_type, kind="RateLimit"), register_rule(by_name, kind="Permission"):
        assert classify(Base()).kind is Kind.PERMISSION
        with register_rule(by_type, kind="Export"):
            assert classify(Base()).kind is Kind.EXPORT


def test_user_rules_come_before_the_built_in_ones_of_subclasses_too(classify):
    refused = ConnectionRefusedError(111, "refused")
    with register_rule(OSError, kind="Permission"):
        assert classify(refused).kind is Kind.PERMISSION
    assert classify(refused).rule == "OSError[ECONNREFUSED]"


def test_a_built_in_row_for_the_type_comes_before_that_of_a_base(classify):
    assert classify(RecursionError()).rule == "RecursionError"
    assert classify(Refused()).rule == "ConnectionRefusedError"
    assert classify(Derived()).rule == "default"


def test_none_passes_the_question_on(classify):
    with register_rule(Base, kind="RateLimit"), register_rule(Base, lambda exc: None):
        assert classify(Base()).kind is Kind.RATE_LIMIT
    with register_rule(ConnectionError, lambda exc: None):
        assert classify(ConnectionRefusedError(111, "")).rule == "OSError[ECONNREFUSED]"


def test_a_name_needs_no_import(classify):
    twin = type("Declined", (Exception,), {"__module__": "shop.errors"})
    with register_rule("shop.errors.Declined", kind="BusinessLogic"):
        assert classify(twin()).kind is Kind.BUSINESS_LOGIC
    with register_rule("builtins.KeyError", kind="BusinessLogic"):
        assert classify(KeyError()).kind is Kind.BUSINESS_LOGIC
        assert classify(LookupError()).rule == "LookupError"


def test_types_of_one_name_are_told_apart_when_given_as_types(classify):
    one = type("Same", (Exception,), {"__module__": "m"})
    two = type("Same", (Exception,), {"__module__": "m"})
    with register_rule(one, kind="BusinessLogic"):
        assert classify(one()).kind is Kind.BUSINESS_LOGIC
        assert classify(two()).rule == "default"


# ------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("said", "kind", "named"),
    [
        (Classification("Timeout", retry_after=4), Kind.TIMEOUT, None),
        (Classification("Timeout", rule="my words"), Kind.TIMEOUT, "my words"),
        (Kind.RATE_LIMIT, Kind.RATE_LIMIT, None),
        ("Permission", Kind.PERMISSION, None),
    ],
)
def test_a_function_may_answer_in_three_ways(said, kind, named, classify):
    with register_rule(Base, lambda exc: said):
        answer = classify(Base())
        assert answer.kind is kind
        assert answer.rule == (named or f"user:{type_name(Base)}")
        assert answer is classify(Base())


def test_the_decorator_leaves_the_function_as_it_is(classify):
    @rule(Base, "shop.errors.Throttled")
    def judge(exc):
        return Classification("RateLimit", retry_after=exc.args[0])

    try:
        assert judge(Base(3)).retry_after == 3
        assert classify(Base(7)).retry_after == 7
        assert classify(Base(8)).retry_after == 8
        assert [entry.target for entry in registered_rules()] == [
            "shop.errors.Throttled",
            type_name(Base),
        ]
    finally:
        assert unregister_rule(judge) == 2
    assert unregister_rule(judge) == 0
    assert classify(Base(7)).rule == "default"


def test_a_decorator_that_refuses_one_type_registers_none():
    with pytest.raises(TypeError):

        @rule(Base, int)
        def judge(exc):
            return None

    assert registered_rules() == []


def test_unregistering_twice_is_harmless(classify):
    first = register_rule(Base, kind="RateLimit")
    second = register_rule(Base, kind="Permission")
    first.unregister()
    first.unregister()
    assert registered_rules() == [second]
    assert classify(Base()).kind is Kind.PERMISSION
    second.unregister()


def test_a_registration_says_what_it_is():
    with register_rule(Base, kind="RateLimit") as entry:
        assert repr(entry).startswith(f"<rule for {type_name(Base)}: Classification('RateLimit'")


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((int,), TypeError, "target must be an exception type or its name, got <class 'int'>"),
        ((3,), TypeError, "target must be an exception type or its name, got 3"),
        (("",), ValueError, "target must be 1 to 512 characters, got 0"),
        (("x" * 513,), ValueError, "target must be 1 to 512 characters, got 513"),
        ((Base,), TypeError, "exactly one of function and kind"),
        ((Base, "x"), TypeError, "function must be callable, got 'x'"),
    ],
)
def test_what_is_no_rule_is_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        register_rule(*arguments)
    assert registered_rules() == []


@pytest.mark.parametrize(
    ("keywords", "error", "said"),
    [
        ({"kind": "Nope"}, ValueError, "kind must be one of"),
        ({"kind": "Timeout", "severity": "Nope"}, ValueError, "severity must be one of"),
        ({"kind": "Timeout", "colour": "red"}, TypeError, "colour"),
        ({"kind": "Timeout", "function": str}, TypeError, "exactly one of function and kind"),
        ({"function": str, "severity": "Low"}, TypeError, "severity can be given with kind only"),
    ],
)
def test_fields_of_a_rule_are_checked_before_it_is_in_force(keywords, error, said):
    with pytest.raises(error, match=said):
        register_rule(Base, **keywords)
    assert registered_rules() == []


def test_the_number_of_rules_is_bounded(monkeypatch):
    monkeypatch.setattr(rules, "RULES_MAX", 2)
    held = [register_rule(Base, kind="Timeout"), register_rule("x", kind="Timeout")]
    with pytest.raises(ValueError, match="at most 2 rules"):
        register_rule(Derived, kind="Timeout")
    for entry in held:
        entry.unregister()


# ------------------------------------------------------------------- never retried, never broken


@pytest.mark.parametrize("cls", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_no_rule_makes_cancellation_retryable(cls, classify):
    with pytest.raises(ValueError, match="retryable must be False"):
        register_rule(cls, kind="Timeout")
    with register_rule(cls, lambda exc: Kind.TIMEOUT):
        answer = classify(cls())
        assert answer.kind is Kind.TIMEOUT
        assert answer.retryable is False
    with register_rule(type_name(cls), kind="Timeout"):
        assert classify(cls()).retryable is False
    with register_rule(cls, kind="Timeout", retryable=False):
        assert classify(cls()).kind is Kind.TIMEOUT


def test_a_rule_that_raises_is_passed_over_counted_and_warned_of_once(classify):
    def broken(exc):
        raise LookupError("no table")

    with register_rule(Base, broken) as entry:
        with pytest.warns(
            RuntimeWarning, match=r"rule for .*Base failed.*LookupError: no table"
        ) as warned:
            assert classify(Base()).rule == "default"
            assert classify(Base()).rule == "default"
        assert len(warned) == 1
        assert entry.failures == 2
        assert entry.last_failure == "LookupError: no table"


@pytest.mark.parametrize("said", ["Nope", 3, object(), (Kind.TIMEOUT, True)])
def test_an_answer_that_is_none_is_a_failure_of_the_rule(said, classify):
    with register_rule(Base, lambda exc: said) as entry:
        with pytest.warns(RuntimeWarning, match="InvalidSetting"):
            assert classify(Base()).rule == "default"
        assert entry.failures == 1


def test_warnings_that_are_errors_do_not_get_out(classify):
    """The suite runs with warnings as errors: the first failure warns, and nothing is raised."""

    def broken(exc):
        raise ValueError

    with register_rule(Base, broken) as entry:
        assert classify(Base()).rule == "default"
        assert entry.failures == 1


# ------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: KeyError("k"), BY_TYPE),
        (lambda: ConnectionRefusedError(111, ""), BY_TYPE),
        (lambda: OSError("no number"), BY_CAUSES),
        (lambda: Base(), BY_CAUSES),
        (lambda: RuntimeError(), BY_CAUSES),
        (lambda: ExceptionGroup("g", [KeyError()]), NEVER),
    ],
)
def test_what_an_answer_may_be_remembered_by(make, expected):
    assert classify_for_core(make())[1] == expected


def test_a_cause_is_part_of_what_an_answer_is_remembered_by():
    error = Base()
    error.__cause__ = ConnectionRefusedError(111, "")
    assert classify_for_core(error)[1] == BY_CAUSES
    error.__cause__ = ExceptionGroup("g", [KeyError()])
    assert classify_for_core(error)[1] == NEVER


def test_a_function_is_asked_every_time_unless_it_says_otherwise(classify):
    asked = []
    with register_rule(Base, lambda exc: asked.append(exc) or "Timeout"):
        for _ in range(3):
            classify(Base())
    assert len(asked) == 3
    del asked[:]
    with register_rule(Base, lambda exc: asked.append(exc) or "Timeout", cacheable=True):
        for _ in range(3):
            classify(Base())
    assert len(asked) == 1


def test_a_rule_without_opinion_is_asked_again(classify):
    """What it left to others must not be remembered: it may have an opinion the next time."""
    answers = iter([None, "Permission"])
    with register_rule(KeyError, lambda exc: next(answers)):
        assert classify(KeyError()).rule == "LookupError"
        assert classify(KeyError()).kind is Kind.PERMISSION


def test_the_core_forgets_when_rules_change(classify):
    for kind in ("Timeout", "Permission"):
        assert classify(Base()).rule == "default"
        with register_rule(Base, kind=kind):
            assert classify(Base()).kind == kind
    assert classify(Base()).rule == "default"


def test_each_change_has_a_version_of_its_own():
    before = rules._rules.version
    register_rule(Base, kind="Timeout").unregister()
    assert rules._rules.version == before + 2


def test_rules_may_change_while_others_classify(classify):
    """Each answer is one that held at some time; at the end the last rule holds."""
    seen, stop = set(), threading.Event()

    def ask():
        while not stop.is_set():
            seen.add(classify(Base()).kind)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        with register_rule(Base, kind="Timeout"):
            pass
    entry = register_rule(Base, kind="Permission")
    stop.set()
    for thread in threads:
        thread.join()
    assert classify(Base()).kind is Kind.PERMISSION
    entry.unregister()
    assert seen <= {Kind.INTERNAL, Kind.TIMEOUT, Kind.PERMISSION}


# --------------------------------------------------------------------- causes, members, chains


def with_cause(error, cause):
    error.__cause__ = cause
    return error


def test_a_cause_answers_only_for_types_that_say_nothing(classify):
    refused = ConnectionRefusedError(111, "")
    for silent in (Base(), Exception(), RuntimeError(), OSError("text")):
        assert classify(with_cause(silent, refused)).rule == "cause: OSError[ECONNREFUSED]"
    for telling in (KeyError(), ValueError(), TimeoutError(), OSError(28, "full")):
        assert "cause" not in classify(with_cause(telling, refused)).rule


def test_a_type_is_judged_anew_when_it_comes_with_a_cause(classify):
    assert classify(Derived()).rule == "default"
    refused = ConnectionRefusedError(111, "")
    assert classify(with_cause(Derived(), refused)).rule == "cause: OSError[ECONNREFUSED]"
    assert classify(Derived()).rule == "default"
    full = OSError(28, "full")
    assert classify(with_cause(Derived(), full)).rule == "cause: OSError[ENOSPC]"
    assert classify(with_cause(Derived(), KeyError())).rule == "cause: LookupError"


def test_a_context_does_not_answer(classify):
    try:
        try:
            raise ConnectionRefusedError(111, "")
        except ConnectionRefusedError:
            raise Base("in the handler")
    except Base as error:
        assert error.__context__ is not None
        assert classify(error).rule == "default"


def test_causes_are_followed_as_far_as_eight(classify):
    error = ConnectionRefusedError(111, "")
    for _ in range(8):
        error = with_cause(Base(), error)
    assert classify(error).rule == "cause: OSError[ECONNREFUSED]"
    assert classify(error).confidence == pytest.approx(0.9**8, abs=1e-3)
    assert classify(with_cause(Base(), error)).rule == "default"


def test_an_unknown_cause_leaves_the_answer_of_the_type(classify):
    assert classify(with_cause(RuntimeError(), Base())).rule == "RuntimeError"
    assert classify(with_cause(Base(), Derived())).rule == "default"


def test_a_group_has_the_worst_of_its_members(classify):
    wait = register_rule(Base, lambda exc: Classification("RateLimit", retry_after=exc.args[0]))
    refused = ConnectionRefusedError(111, "")
    group = ExceptionGroup("g", [TimeoutError(), Base(4), Base(9), Base(2), refused])
    answer = classify(group)
    assert answer.rule == "member: OSError[ECONNREFUSED]"
    assert (answer.severity, answer.retry_after, answer.reached_server) == ("High", 9, "yes")
    assert answer.retryable
    wait.unregister()
    ignored = ExceptionGroup("g", [TypeError(), ExceptionGroup("h", [ValueError()])])
    assert classify(ignored).counts_as == "ignored"
    assert classify(ExceptionGroup("g", [TypeError(), TimeoutError()])).counts_as == "failure"


def test_only_the_first_sixteen_members_of_a_group_count(classify):
    many = [TimeoutError() for _ in range(16)]
    assert classify(ExceptionGroup("g", [*many, TypeError()])).rule == "member: TimeoutError"
    assert classify(ExceptionGroup("g", [*many[1:], TypeError()])).rule == "member: TypeError"


def test_what_is_looked_at_for_one_answer_is_bounded():
    """A tree of 16 by 16 by 16 members: the count of exceptions examined stays at the bound."""
    asked = []
    leaves = ExceptionGroup("g", [Base() for _ in range(16)])
    tree = ExceptionGroup("g", [ExceptionGroup("g", [leaves] * 16)] * 16)
    with register_rule(Base, lambda exc: asked.append(exc) or "Timeout"):
        assert classify_for_core(tree)[0].kind is Kind.TIMEOUT
    assert 0 < len(asked) <= rules.EXAMINED_MAX
