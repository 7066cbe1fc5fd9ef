"""What the standard library raises: each exception raised for real, each answer a golden one."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import failures
import pytest

from faultplane.classify import classify_for_core, type_name
from faultplane.classify.errno_table import BY_ERRNO, SYMBOLS
from faultplane.classify.judgement import NEVER
from faultplane.classify.stdlib import BUILT_IN

# Python 3.13 renamed it.
RENAMED = {"re.PatternError": "re.error"}
NAMES = sorted(failures.load())


def answer_of(name):
    try:
        error = failures.caught(name)
    except failures.NotPossible as reason:
        pytest.skip(f"not possible here: {reason}")
    return error


def described(error, answer):
    found = {"type": type_name(type(error)), **answer.to_dict()}
    return {k: RENAMED.get(v, v) if type(v) is str else v for k, v in found.items()}


def test_each_failure_has_a_golden_answer_and_each_answer_a_failure(golden):
    assert sorted(golden) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_real_failure_is_classified_as_the_table_says(name, golden, classify):
    error = answer_of(name)
    assert described(error, classify(error)) == golden[name]
    # Again, from the core's memory.
    assert classify(error) is classify(error)


@pytest.mark.parametrize("name", NAMES)
def test_the_hook_gives_what_the_core_gives(name, classify):
    error = answer_of(name)
    answer, remembered = classify_for_core(error)
    assert answer == classify(error)
    if type(remembered) is tuple:
        read, key = remembered
        assert read(error) == key
    else:
        assert remembered in (0, 1, 2)
    if remembered != NEVER:
        assert classify_for_core(error)[0] is answer


def test_both_cores_classify_every_failure_alike(core_name, golden, run_python):
    done = run_python(
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
        failures.__file__,
        core=core_name,
        timeout=110,
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) > 180
    for name, answer in answers.items():
        expected = dict(golden[name])
        del expected["type"]
        assert {k: RENAMED.get(v, v) if type(v) is str else v for k, v in answer.items()} == (
            expected
        ), name


# ------------------------------------------------------------------------- nothing is left out


def test_every_exception_of_the_standard_library_has_a_rule(run_python):
    """In a child of its own: importing everything leaves much behind."""
    program = Path(__file__).with_name("library_types.py")
    done = run_python(
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", program, flags=["-S"]
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["seen"] > 300
    assert found["unknown"] == []


def test_every_errno_of_the_table_has_its_own_answer():
    known = {getattr(errno, symbol) for symbol in SYMBOLS if hasattr(errno, symbol)}
    assert known == set(BY_ERRNO)
    assert len(SYMBOLS) == len(set(SYMBOLS))


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_errno_is_classified_by_number_whatever_the_subclass(number, classify):
    class Wrapped(OSError):
        pass

    plain, wrapped = OSError(number, "text"), Wrapped(number, "text")
    if number in BY_ERRNO:
        assert classify(plain) is classify(wrapped) is BY_ERRNO[number]
        assert errno.errorcode[number] in answer_names(BY_ERRNO[number].rule)
    else:
        assert classify(plain).rule in {"OSError", *(type_name(c) for c in type(plain).__mro__)}


def answer_names(rule):
    """The symbol in a rule's text and those with the same number."""
    symbol = rule.partition("[")[2].rstrip("]")
    return {name for name in dir(errno) if getattr(errno, name) == getattr(errno, symbol)}


IMPORTANT = """
    ECONNREFUSED ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH EMFILE ENFILE ENOSPC EDQUOT
    ENOMEM EACCES EPERM EEXIST ENOENT EAGAIN EDEADLK EADDRINUSE EADDRNOTAVAIL EROFS EIO ESTALE EINTR
"""


@pytest.mark.parametrize("symbol", IMPORTANT.split())
def test_the_errnos_that_matter_are_told_apart_from_unknown_ones(symbol, classify):
    answer = classify(OSError(getattr(errno, symbol), "text"))
    assert answer.rule == f"OSError[{symbol}]"
    assert answer.confidence >= 0.5
    assert classify(OSError("no number")).rule == "OSError"
    assert classify(OSError(999_999, "no such number")).rule == "OSError"


@pytest.mark.parametrize(
    "name",
    ["asyncio.exceptions.CancelledError", "concurrent.futures._base.CancelledError",
     "KeyboardInterrupt", "SystemExit", "GeneratorExit", "BaseException"],
)  # fmt: skip
def test_cancellation_and_exit_are_never_retried(name):
    answer = BUILT_IN[name].answer
    assert not answer.retryable
    assert not answer.temporary
    assert answer.counts_as == "ignored"


def test_a_type_is_recognised_without_importing_its_module(run_python):
    done = run_python(
        """
import sys
before = set(sys.modules)  # measuring coverage brings some of them
from faultplane.classify import rules
wanted = {name.rpartition(".")[0] for name in rules.BUILT_IN}
here = wanted & set(sys.modules)
rules.classify_for_core(type("Odd", (Exception,), {})())
assert wanted & set(sys.modules) == here
for heavy in ("ssl", "socket", "asyncio", "http.client", "sqlite3", "email", "json", "decimal"):
    assert heavy in before or heavy not in sys.modules, heavy
print("ok")
"""
    )
    assert done.stdout == "ok\n"
