"""errors.py: one base, built-in relatives, messages that carry the value and the bound."""

from __future__ import annotations

import pickle

import pytest

from faultplane import errors


def test_everything_derives_from_the_base():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FaultplaneError)


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("DomainNotFound", FileNotFoundError),
        ("UnsafeDirectory", PermissionError),
        ("InvalidName", ValueError),
        ("InvalidSetting", ValueError),
        ("CoreNotFound", ImportError),
        ("WrongInterpreter", ImportError),
        ("MissingExtra", ImportError),
        ("NativeMismatch", ImportError),
        ("StackNotFound", LookupError),
        ("DependencyNotFound", LookupError),
    ],
)
def test_who_expects_the_built_in_catches_it(name, relative):
    assert issubclass(getattr(errors, name), relative)


def test_the_module_lists_what_it_defines():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert defined == set(errors.__all__)


def test_a_mismatch_says_expected_and_got():
    error = errors.LayoutMismatch("layout_version", expected=1, got=2)
    assert str(error) == "layout_version must be 1, got 2"
    assert (error.what, error.expected, error.got) == ("layout_version", 1, 2)


@pytest.mark.parametrize(
    "error",
    [
        errors.LayoutMismatch("layout_version", expected=1, got=2),
        errors.MissingExtra("to_polars()", package="polars", extra="query"),
        errors.NativeMismatch(expected="0.1.0", got="0.0.9"),
        errors.DomainNotFound("no domain x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
