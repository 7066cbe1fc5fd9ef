"""``capture``: what it records, what it swallows, and that what it decorates stays what it was."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import inspect
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import faultplane as fp
from faultplane._backend import core

Counted = Callable[[], dict[tuple[str, str], int]]


class Odd(BaseException):
    """No Exception, and no control flow either."""


def fail(exc: BaseException) -> Any:
    raise exc


# -------------------------------------------------------------------------------- with blocks


def test_what_leaves_a_block_is_recorded_once_and_raised(newly_counted: Counted) -> None:
    with pytest.raises(KeyError), fp.capture("outer"), fp.capture("inner"):
        raise KeyError("x")
    assert newly_counted() == {("inner", "KeyError"): 1}


def test_a_block_that_ends_well_records_nothing(newly_counted: Counted) -> None:
    with fp.capture("fine") as opened:
        pass
    assert opened.classification is None
    assert newly_counted() == {}


def test_a_block_that_swallows_goes_on_and_says_what_it_was(newly_counted: Counted) -> None:
    with fp.capture("quiet", reraise=False) as opened:
        raise TimeoutError("no answer")
    assert opened.classification is not None
    assert opened.classification.kind == "Timeout"
    assert newly_counted() == {("quiet", "TimeoutError"): 1}


def test_async_with_is_the_same(newly_counted: Counted) -> None:
    async def main() -> None:
        async with fp.capture("quiet", reraise=False):
            await asyncio.sleep(0)
            raise ValueError("x")

    asyncio.run(main())
    assert newly_counted() == {("quiet", "ValueError"): 1}


def test_what_record_saw_is_not_recorded_again(newly_counted: Counted) -> None:
    with pytest.raises(ValueError, match="x"), fp.capture("outer"):
        try:
            raise ValueError("x")
        except ValueError as error:
            fp.record(error, operation="by hand")
            raise
    assert newly_counted() == {("by hand", "ValueError"): 1}


@pytest.mark.parametrize("reraise", [True, False])
@pytest.mark.parametrize(
    "exc",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(),
        StopAsyncIteration(),
        BaseExceptionGroup("all", [asyncio.CancelledError()]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_control_flow_is_neither_recorded_nor_swallowed(
    exc: BaseException, reraise: bool, newly_counted: Counted
) -> None:
    with pytest.raises(type(exc)) as raised, fp.capture("flow", reraise=reraise):
        raise exc
    assert raised.value is exc
    assert newly_counted() == {}


def test_control_flow_is_recorded_when_asked_for_and_still_raised(newly_counted: Counted) -> None:
    with (
        pytest.raises(asyncio.CancelledError),
        fp.capture("flow", reraise=False, also=asyncio.CancelledError),
    ):
        raise asyncio.CancelledError
    assert newly_counted() == {("flow", "asyncio.exceptions.CancelledError"): 1}


def test_what_is_no_exception_is_recorded_and_never_swallowed(newly_counted: Counted) -> None:
    with pytest.raises(Odd), fp.capture("odd", reraise=False):
        raise Odd
    assert newly_counted() == {("odd", f"{__name__}.Odd"): 1}


def test_ignored_types_pass_through_untouched(newly_counted: Counted) -> None:
    for ignore in (KeyError, [KeyError], "LookupError", ["builtins.KeyError"]):
        with (
            pytest.raises(KeyError),
            fp.capture("outer", ignore=LookupError),
            fp.capture("inner", reraise=False, ignore=ignore),
        ):
            raise KeyError("x")
    assert newly_counted() == {}


def test_switched_off_a_block_behaves_the_same_and_counts_nothing(newly_counted: Counted) -> None:
    fp.set_active(False)
    try:
        with fp.capture("off", reraise=False) as opened:
            raise TimeoutError
        with pytest.raises(KeyError), fp.capture("off"):
            raise KeyError
        assert opened.classification is not None
        assert opened.classification.kind == "Timeout"
    finally:
        fp.set_active(True)
    assert newly_counted() == {}


def test_an_exception_that_forbids_assignment_passes(newly_counted: Counted) -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    @fp.capture("frozen")
    def function() -> None:
        raise Frozen(3)

    with pytest.raises(Frozen):
        function()
    assert sum(newly_counted().values()) == 1


def test_one_object_may_be_entered_again_before_it_is_left(newly_counted: Counted) -> None:
    again = fp.capture("again", reraise=False)
    with again:
        with again:
            raise KeyError
        raise ValueError
    with again:
        raise TypeError
    assert newly_counted() == {
        ("again", "KeyError"): 1,
        ("again", "ValueError"): 1,
        ("again", "TypeError"): 1,
    }


@pytest.mark.parametrize("bad", [None, 3, fail])
def test_an_operation_that_is_no_string_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="operation must be a string, got"):
        fp.capture(bad)


def test_an_enum_member_names_an_operation(newly_counted: Counted) -> None:
    class Operation(enum.StrEnum):
        CHARGE = "charge"

    with fp.capture(Operation.CHARGE, reraise=False):
        raise KeyError
    assert newly_counted() == {("charge", "KeyError"): 1}


def test_a_block_is_its_own_description() -> None:
    assert repr(fp.capture("charge")) == "capture('charge', reraise=True)"


# --------------------------------------------------------------------- functions and coroutines


def test_a_function_keeps_signature_name_and_result() -> None:
    @fp.capture("add")
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        """Sum."""
        return a + b + c

    assert add(1, c=4) == 7
    assert add.__name__ == "add"
    assert add.__doc__ == "Sum."
    assert str(inspect.signature(add)) == "(a: 'int', b: 'int' = 2, *, c: 'int' = 3) -> 'int'"


def test_a_function_that_fails_is_recorded_and_raises(newly_counted: Counted) -> None:
    @fp.capture("work")
    def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert newly_counted() == {("work", "KeyError"): 1}


def test_a_function_that_swallows_returns_none(newly_counted: Counted) -> None:
    assert fp.capture("work", reraise=False)(fail)(ValueError("x")) is None
    assert newly_counted() == {("work", "ValueError"): 1}


def test_the_decorators_own_frame_is_no_part_of_the_error(fingerprints: Any) -> None:
    def work() -> None:
        raise KeyError("x")

    async def awork() -> None:
        raise KeyError("x")

    for function in (work, awork):
        name = function.__name__
        try:
            run(function)
        except KeyError as error:
            fp.record(without_caller(error), operation=f"bare {name}")
        with pytest.raises(KeyError) as raised:
            run(fp.capture(f"captured {name}")(function))
        frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert frames[-2:] == ["run", name]
        assert fingerprints(f"bare {name}") == fingerprints(f"captured {name}")


def run(function: Callable[..., Any]) -> Any:
    """Call a function, or drive a coroutine function that never waits."""
    called = function()
    if inspect.iscoroutine(called):
        called.send(None)


def without_caller(error: BaseException) -> BaseException:
    """The exception as it is for whom it was raised in, two frames further in."""
    entry = error.__traceback__
    for _ in range(2):
        assert entry is not None
        entry = entry.tb_next
    return error.with_traceback(entry)


@pytest.fixture
def fingerprints() -> Callable[[str], set[int]]:
    """Function: fingerprints that were counted under an operation."""
    from faultplane.store import aggregate

    def read(operation: str) -> set[int]:
        tallies = aggregate.parse(core.own_cells(), "own").tallies
        found = {series.fingerprint for series in tallies if series.operation == operation.encode()}
        assert found
        return found

    return read


def test_recursion_records_once(newly_counted: Counted) -> None:
    @fp.capture("deep")
    def deep(levels: int) -> None:
        if not levels:
            raise ValueError("bottom")
        deep(levels - 1)

    with pytest.raises(ValueError, match="bottom"):
        deep(20)
    assert newly_counted() == {("deep", "ValueError"): 1}


def test_a_coroutine_function_stays_one(newly_counted: Counted) -> None:
    @fp.capture("work")
    async def work(exc: Exception | None = None) -> int:
        await asyncio.sleep(0)
        if exc is not None:
            raise exc
        return 7

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work()) == 7
    with pytest.raises(OSError, match="x"):
        asyncio.run(work(OSError("x")))
    assert newly_counted() == {("work", "OSError"): 1}


def test_a_cancelled_coroutine_is_cancelled_and_not_recorded(newly_counted: Counted) -> None:
    @fp.capture("work", reraise=False)
    async def work() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert newly_counted() == {}


def test_methods_are_decorated_in_either_order(newly_counted: Counted) -> None:
    class Shop:
        @fp.capture("method")
        def method(self) -> str:
            return "method"

        @staticmethod
        @fp.capture("inside")
        def inside() -> str:
            return "inside"

        @fp.capture("outside")
        @staticmethod
        def outside() -> str:
            return "outside"

        @fp.capture("class")
        @classmethod
        def of_class(cls) -> str:
            raise KeyError(cls.__name__)

    assert (Shop().method(), Shop.inside(), Shop.outside()) == ("method", "inside", "outside")
    with pytest.raises(KeyError, match="Shop"):
        Shop.of_class()
    assert newly_counted() == {("class", "KeyError"): 1}


def test_objects_that_are_called_like_functions_are_decorated(newly_counted: Counted) -> None:
    class Call:
        async def __call__(self) -> None:
            raise KeyError

    async def waits(n: int) -> None:
        raise ValueError(n)

    for function in (Call(), functools.partial(waits, 3)):
        decorated = fp.capture("call", reraise=False)(function)
        assert inspect.iscoroutinefunction(decorated)
        assert asyncio.run(decorated()) is None
    assert newly_counted() == {("call", "KeyError"): 1, ("call", "ValueError"): 1}


@pytest.mark.parametrize("bad", [3, "x", int, ValueError])
def test_what_is_no_function_is_not_decorated(bad: Any) -> None:
    with pytest.raises(TypeError, match="capture decorates functions, got"):
        fp.capture("x")(bad)


def test_threads_use_one_decorated_function_at_once(newly_counted: Counted) -> None:
    barrier = threading.Barrier(4)

    @fp.capture("busy", reraise=False)
    def busy() -> None:
        barrier.wait()
        raise KeyError(os.getpid())

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert newly_counted() == {("busy", "KeyError"): 4}
