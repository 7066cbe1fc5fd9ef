"""What is control flow, and what ``ignore=`` matches."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys

import pytest

from faultplane.capture.filters import IGNORE_MAX, ignored_types, is_control_flow
from faultplane.errors import InvalidSetting


@pytest.mark.parametrize(
    "exc",
    [
        KeyboardInterrupt(),
        SystemExit(2),
        GeneratorExit(),
        StopIteration(),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        BaseExceptionGroup("both", [asyncio.CancelledError(), KeyboardInterrupt()]),
        BaseExceptionGroup("deep", [BaseExceptionGroup("in", [SystemExit()])]),
    ],
)
def test_control_flow_is_recognised(exc: BaseException) -> None:
    assert is_control_flow(exc)


class Panic(BaseException):
    pass


@pytest.mark.parametrize(
    "exc",
    [
        ValueError(),
        Panic(),
        TimeoutError(),
        BaseExceptionGroup("mixed", [asyncio.CancelledError(), ValueError()]),
        BaseExceptionGroup("mixed", [SystemExit(), BaseExceptionGroup("in", [Panic()])]),
    ],
)
def test_errors_are_no_control_flow(exc: BaseException) -> None:
    assert not is_control_flow(exc)


def test_subclasses_of_a_cancellation_are_control_flow() -> None:
    class Cancelled(asyncio.CancelledError):
        pass

    assert is_control_flow(Cancelled())


def test_names_match_types_and_their_subclasses() -> None:
    types = ignored_types(["OSError", "ssl.SSLError", f"{__name__}.Panic"])
    assert isinstance(FileNotFoundError(), types)
    assert isinstance(ssl.SSLCertVerificationError(), types)
    assert isinstance(Panic(), types)
    assert not isinstance(ValueError(), types)


def test_a_name_that_is_not_imported_yet_matches_when_it_turns_up() -> None:
    types = ignored_types("late.package.Gone")
    assert not isinstance(ValueError(), types)
    late = type("Gone", (Exception,), {"__module__": "late.package"})
    later = type("Sub", (late,), {})
    assert isinstance(late(), types)
    assert isinstance(later(), types)
    assert issubclass(later, types)


def test_classes_and_single_values_are_taken() -> None:
    assert ignored_types(KeyError) == (KeyError,)
    assert ignored_types("builtins.KeyError") == (KeyError,)
    assert ignored_types(()) == ()


@pytest.mark.parametrize("bad", [[int], [3], [None], 5, None, KeyError()])
def test_what_is_no_exception_type_is_refused(bad: object) -> None:
    with pytest.raises(InvalidSetting, match="exception classes or names"):
        ignored_types(bad)  # type: ignore[arg-type]


def test_more_types_than_the_limit_are_refused() -> None:
    ignored_types([KeyError] * IGNORE_MAX)
    with pytest.raises(InvalidSetting, match=f"at most {IGNORE_MAX} types, got {IGNORE_MAX + 1}"):
        ignored_types([KeyError] * (IGNORE_MAX + 1))


def test_knowing_cancellation_imports_no_asyncio() -> None:
    code = (
        "import sys\n"
        "from faultplane.capture.filters import is_control_flow\n"
        "is_control_flow(type('Odd', (BaseException,), {})())\n"
        "assert 'asyncio' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
