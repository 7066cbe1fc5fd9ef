"""Exceptions that do their worst: the answer is one, and nothing is raised."""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
import urllib.error

import pytest

from faultplane.classify import Classification, classify_for_core, register_rule, type_name
from faultplane.classify.judgement import NEVER
from faultplane.classify.judges import UNKNOWN


class Explosion(BaseException):
    """Not an Exception, so that a handler that is too narrow lets it out."""


def explode(*_):
    raise Explosion


EXPLOSIVE = property(explode)


class Everywhere(type):
    """A metaclass whose instances cannot be asked anything."""

    __name__ = EXPLOSIVE
    __mro__ = EXPLOSIVE

    def __getattribute__(cls, name):
        raise Explosion(name)

    def __hash__(cls):
        raise Explosion

    def __eq__(cls, other):
        raise Explosion

    def __instancecheck__(cls, other):
        raise Explosion

    def __subclasscheck__(cls, other):
        raise Explosion


def hostile(*bases):
    """A type derived from ``bases`` whose every attribute explodes."""
    names = (
        "__class__", "__cause__", "__context__", "__traceback__", "args", "errno", "reason", "code",
        "headers", "exceptions", "smtp_code", "recipients", "returncode", "sqlite_errorcode",
        "verify_code", "errcode", "__dict__",
    )  # fmt: skip
    body = dict.fromkeys(names, EXPLOSIVE)
    body |= {
        "__getattr__": explode, "__getattribute__": explode, "__str__": explode,
        "__repr__": explode, "__hash__": explode, "__eq__": explode, "__bool__": explode,
        "__len__": explode, "__iter__": explode,
    }  # fmt: skip
    return type("Hostile", bases, body)


@pytest.mark.parametrize(
    ("bases", "arguments", "rule"),
    [
        ((Exception,), (), "default"),
        ((BaseException,), (), "BaseException"),
        ((RuntimeError,), (), "RuntimeError"),
        ((KeyError,), ("k",), "LookupError"),
        ((OSError,), (), "OSError"),
        ((ConnectionRefusedError,), (), "ConnectionRefusedError"),
        ((socket.gaierror,), (), "socket.gaierror"),
        ((ssl.SSLCertVerificationError,), (), None),
        ((urllib.error.URLError,), (), None),
        ((urllib.error.HTTPError,), (), None),
    ],
)
def test_attributes_that_explode_hurt_nobody(bases, arguments, rule, classify):
    exc = bases[0].__new__(hostile(*bases), *arguments)
    answer, remembered = classify_for_core(exc)
    assert type(answer) is Classification
    if rule is None:
        # Its answer is in the attributes: without them it is unknown, or what the type says.
        assert remembered == NEVER
    else:
        assert answer.rule == rule
    assert classify(exc) == answer


def test_a_group_whose_attributes_explode_is_judged_by_its_members(classify):
    cls = hostile(ExceptionGroup)
    exc = ExceptionGroup.__new__(cls, "g", [TypeError()])
    assert classify_for_core(exc)[0].rule == "member: TypeError"
    assert classify(exc).rule == "member: TypeError"


def test_a_metaclass_that_explodes_hurts_nobody():
    cls = type.__new__(Everywhere, "Odd", (KeyError,), {"__module__": "odd"})
    exc = BaseException.__new__(cls)
    assert type_name(type(exc)) == "odd.Odd"
    assert classify_for_core(exc)[0].rule == "LookupError"


@pytest.mark.parametrize("module", [None, 3, EXPLOSIVE, b"bytes"])
def test_a_type_without_a_module_has_a_name(module, classify):
    cls = type("Odd", (TimeoutError,), {"__module__": module})
    assert type_name(cls) == "?.Odd"
    assert classify(cls()).rule == "TimeoutError"


def test_a_type_made_where_there_is_no_module_has_a_name(classify):
    made = {"TimeoutError": TimeoutError}
    exec("odd = type('Odd', (TimeoutError,), {})", made)  # where no __name__ is to be had
    cls = made["odd"]
    assert "__module__" not in vars(cls)
    assert type_name(cls) == "?.Odd"
    assert classify(cls()).rule == "TimeoutError"


def test_a_cycle_of_causes_ends(classify):
    one, two = Exception("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert classify(one).rule == "cause: RuntimeError"
    assert classify(two).rule == "RuntimeError"
    one.__cause__ = one
    assert classify(one) is UNKNOWN


def test_a_reason_that_leads_back_ends(classify):
    error = urllib.error.URLError("x")
    error.reason = error
    assert classify(error).rule == "urllib.error.URLError"


@pytest.mark.parametrize("what", [None, 3, "text", ValueError, object(), [], sys])
def test_what_is_no_exception_is_unknown(what):
    assert classify_for_core(what) == (UNKNOWN, NEVER)


@pytest.mark.parametrize(
    "status", [None, "503", 503.0, True, 10**30, -1, 0, object(), float("nan")]
)
def test_absurd_statuses_are_answered(status, classify):
    error = urllib.error.HTTPError("http://x", 503, "x", {}, None)
    error.code = status
    assert type(classify(error)) is Classification
    error.close()


@pytest.mark.parametrize("headers", [None, 3, {"Retry-After": -3}, {"Retry-After": object()}, []])
def test_absurd_headers_are_passed_over(headers, classify):
    error = urllib.error.HTTPError("http://x", 503, "x", {}, None)
    error.headers = headers
    assert classify(error).rule == "http[503]"
    assert classify(error).retry_after is None
    error.close()


def test_headers_that_raise_are_passed_over(classify):
    class Headers(dict):
        def get(self, *_):
            raise LookupError

    error = urllib.error.HTTPError("http://x", 503, "x", {}, None)
    error.headers = Headers()
    assert classify(error).rule == "http[503]"
    error.close()


@pytest.mark.parametrize("recipients", [None, {}, [], {"a": None}, {"a": ()}, {"a": ("x",)}])
def test_absurd_recipients_leave_the_answer_of_the_type(recipients, classify):
    error = smtplib.SMTPRecipientsRefused(recipients)
    assert classify(error).rule == "smtplib.SMTPRecipientsRefused"


@pytest.mark.parametrize("arguments", [(), ("text",), (None, "text"), ("8", "text")])
def test_resolver_errors_without_a_number_are_what_the_type_says(arguments, classify):
    for cls in (socket.gaierror, socket.herror):
        assert classify(cls(*arguments)).rule == type_name(cls)


def test_a_group_of_groups_too_deep_to_look_into_is_what_the_type_says(classify):
    group = ExceptionGroup("g", [TimeoutError()])
    for _ in range(20):
        group = ExceptionGroup("g", [group])
    assert classify(group).rule == "member: ExceptionGroup"


class Spiteful(LookupError):
    def __str__(self):
        raise RuntimeError


def test_a_rule_that_fails_with_an_error_without_text_is_named_all_the_same(classify):
    def broken(exc):
        raise Spiteful

    with register_rule(KeyError, broken) as entry:
        with pytest.warns(RuntimeWarning, match="Spiteful"):
            assert classify(KeyError()).rule == "LookupError"
        assert entry.last_failure == type_name(Spiteful)


@pytest.mark.parametrize("number", [0, -1, 10**30, "111", 111.0, None, True])
def test_absurd_errnos_are_unknown(number, classify):
    error = OSError(number, "text")
    assert classify(error).rule == ("PermissionError" if number is True else "OSError")
    assert classify(OSError(111, "text")).rule == "OSError[ECONNREFUSED]"


def test_deep_in_recursion_an_answer_still_comes():
    """At each depth up to the limit: an answer, never a RecursionError."""
    answers = []

    def down():
        answers.append(classify_for_core(KeyError("k"))[0].rule)
        down()

    with pytest.raises(RecursionError):
        down()
    assert set(answers) <= {"LookupError", "default"}
    assert answers[0] == "LookupError"


def test_a_rule_for_everything_that_explodes_hurts_nobody(classify):
    with register_rule(BaseException, explode):
        assert classify_for_core(KeyError()) == (UNKNOWN, NEVER)
        assert classify(KeyError()).kind_code == UNKNOWN.kind_code
    assert classify(KeyError()).rule == "LookupError"
