"""``capture``: what it records, what it swallows, and that what it decorates stays what it was."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import inspect
import os
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import faultplane as fp
import pytest
from faultplane._backend import core
from faultplane.capture import block

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
    class Frozen(Exception):  # noqa: N818
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


def test_the_decorators_own_frame_is_no_part_of_the_error() -> None:
    def work() -> None:
        raise KeyError("x")

    prints = []
    for call in (work, fp.capture("work")(work)):
        try:
            call()
        except KeyError as error:
            if call is not work:
                frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                assert frames[1:] == ["captured", "work"]
                own = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
            else:
                own = error.__traceback__.tb_next  # type: ignore[union-attr]
            prints.append(core.fingerprint(error.with_traceback(own)))
    assert prints[0] == prints[1]


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


# ---------------------------------------------------------------------------------- generators


def conversation(log: list[Any]) -> Generator[Any, Any, str]:
    """Logs whatever is done to it, and recovers from KeyError."""
    received: Any = "started"
    try:
        for step in range(100):
            log.append(received)
            try:
                received = yield step
            except KeyError as error:
                received = ("caught", str(error), error.__context__)
            if received == "return":
                return "returned"
            if received == "raise":
                raise ValueError("asked to")
        return "exhausted"
    finally:
        log.append("closed")


async def aconversation(log: list[Any]) -> AsyncGenerator[Any, Any]:
    """The same, asynchronous."""
    received: Any = "started"
    try:
        for step in range(100):
            log.append(received)
            await asyncio.sleep(0)
            try:
                received = yield step
            except KeyError as error:
                received = ("caught", str(error), error.__context__)
            if received == "return":
                return
            if received == "raise":
                raise ValueError("asked to")
    finally:
        log.append("closed")


Step = tuple[str, Any]
SCRIPTS: list[list[Step]] = [
    [("next", None), ("next", None), ("close", None), ("next", None)],
    [("send", None), ("send", 5), ("send", "return"), ("next", None)],
    [("send", 5)],
    [("next", None), ("throw", KeyError), ("send", "raise"), ("next", None)],
    [("next", None), ("throw", TypeError), ("close", None)],
    [("next", None), ("throw", GeneratorExit), ("next", None)],
    [("throw", KeyError), ("next", None)],
    [("close", None), ("next", None)],
    [("next", None), ("throw", StopIteration), ("next", None)],
    [("next", None), ("throw", StopAsyncIteration), ("next", None)],
    [("next", None), ("throw", KeyboardInterrupt)],
]


def play(generator: Any, script: list[Step]) -> list[Any]:
    """What each step gives or raises."""
    outcome: list[Any] = []
    for action, argument in script:
        try:
            if action == "next":
                outcome.append(next(generator))
            elif action == "throw":
                outcome.append(generator.throw(argument("thrown")))
            elif action == "send":
                outcome.append(generator.send(argument))
            else:
                outcome.append(generator.close())
        except BaseException as error:
            outcome.append(describe(error))
    return outcome


async def aplay(generator: Any, script: list[Step]) -> list[Any]:
    outcome: list[Any] = []
    for action, argument in script:
        try:
            if action == "next":
                outcome.append(await anext(generator))
            elif action == "throw":
                outcome.append(await generator.athrow(argument("thrown")))
            elif action == "send":
                outcome.append(await generator.asend(argument))
            else:
                outcome.append(await generator.aclose())
        except BaseException as error:
            outcome.append(describe(error))
    return outcome


def describe(error: BaseException | None) -> Any:
    """An exception with its cause and context, comparable."""
    if error is None:
        return None
    return (type(error), error.args, describe(error.__cause__), describe(error.__context__))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: "-".join(a for a, _ in s))
def test_a_generator_answers_every_call_as_without_us(script: list[Step]) -> None:
    plain: list[Any] = []
    captured: list[Any] = []
    expected = play(conversation(plain), script)
    assert play(fp.capture("talk")(conversation)(captured), script) == expected
    assert captured == plain


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: "-".join(a for a, _ in s))
def test_an_async_generator_answers_every_call_as_without_us(script: list[Step]) -> None:
    async def both() -> None:
        plain: list[Any] = []
        captured: list[Any] = []
        expected = await aplay(aconversation(plain), script)
        assert await aplay(fp.capture("talk")(aconversation)(captured), script) == expected
        assert captured == plain

    asyncio.run(both())


def test_a_generator_stays_one_and_returns_its_value() -> None:
    decorated = fp.capture("talk")(conversation)
    assert inspect.isgeneratorfunction(decorated)
    assert inspect.isasyncgenfunction(fp.capture("talk")(aconversation))

    def outer() -> Generator[Any, Any, str]:
        return (yield from decorated([]))

    assert play(outer(), [("next", None), ("send", "return")])[1][1] == ("returned",)


def test_a_generator_records_its_failure_once_and_a_close_never(newly_counted: Counted) -> None:
    decorated = fp.capture("talk")(conversation)
    play(decorated([]), [("next", None), ("send", "raise")])
    assert newly_counted() == {("talk", "ValueError"): 1}
    play(decorated([]), [("next", None), ("close", None)])
    play(decorated([]), [("next", None), ("throw", KeyError), ("close", None)])
    assert newly_counted() == {}

    async def main() -> None:
        adecorated = fp.capture("talk")(aconversation)
        await aplay(adecorated([]), [("next", None), ("send", "raise")])
        assert newly_counted() == {("talk", "ValueError"): 1}
        await aplay(adecorated([]), [("next", None), ("close", None)])
        assert newly_counted() == {}

    asyncio.run(main())


def test_a_generator_that_swallows_ends() -> None:
    log: list[Any] = []
    quiet = fp.capture("talk", reraise=False)(conversation)
    assert play(quiet(log), [("next", None), ("send", "raise")])[1] == (
        StopIteration, (), None, None,
    )  # fmt: skip
    assert log == ["started", "closed"]

    async def main() -> list[Any]:
        aquiet = fp.capture("talk", reraise=False)(aconversation)
        return await aplay(aquiet([]), [("next", None), ("send", "raise")])

    assert asyncio.run(main())[1] == (StopAsyncIteration, (), None, None)


def test_a_generator_that_ignores_its_close_raises_what_python_raises() -> None:
    def stubborn() -> Generator[int, None, None]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    async def astubborn() -> AsyncGenerator[int, None]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    script: list[Step] = [("next", None), ("close", None), ("close", None)]
    assert play(fp.capture("x")(stubborn)(), script) == play(stubborn(), script)

    async def both() -> None:
        expected = await aplay(astubborn(), script)
        assert expected[1][0] is RuntimeError
        assert await aplay(fp.capture("x")(astubborn)(), script) == expected

    asyncio.run(both())


# ------------------------------------------------------------------------- in-flight operations


@pytest.fixture
def innermost() -> Callable[[], int]:
    """Function: token of the operation that the next one would have as its parent."""
    return block._innermost.get


@pytest.fixture
def held(run_python: Any) -> Callable[[str], list[Any]]:
    """Function: run code that calls ``show()``; the in-flight rows at each call, outermost first.

    A row is (operation, operation of the parent).
    """
    import json

    prelude = """
import asyncio, json, os, sys, threading
import faultplane as fp
from faultplane import schema
fp.init(service="test")

def slots():
    import glob
    (path,) = [p for p in glob.glob(os.environ["FAULTPLANE_DIR"] + "/*/*/breath-*")]
    data = open(path, "rb").read()
    found = {}
    for n in range(schema.INFLIGHT_SLOTS):
        base = schema.BREATH_INFLIGHT_OFFSET + n * schema.INFLIGHT.size
        row = schema.INFLIGHT.read_all(data, base)
        if row["word"]:
            found[n + 1] = row
    return found

def show():
    rows = sorted(slots().items(), key=lambda item: item[1]["word"])
    names = {n: row["operation"][:row["operation_bytes"]].decode() for n, row in rows}
    print(json.dumps([[names[n], names.get(row["parent"], "")] for n, row in rows]))
"""

    def run(code: str) -> list[Any]:
        done = run_python(prelude + code)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_blocks_are_shown_in_flight_and_name_their_parent(held: Any) -> None:
    assert held("""
with fp.capture("outer"):
    with fp.capture("inner"):
        show()
    with fp.capture("second"):
        show()
show()
""") == [
        [["outer", ""], ["inner", "outer"]],
        [["outer", ""], ["second", "outer"]],
        [],
    ]


def test_a_block_that_fails_leaves_no_slot(held: Any) -> None:
    assert held("""
for _ in range(schema.INFLIGHT_SLOTS + 10):
    with fp.capture("fails", reraise=False):
        raise KeyError
    try:
        fp.capture("f")(lambda: 1 / 0)()
    except ZeroDivisionError:
        pass
show()
""") == [[]]


def test_tasks_nest_each_in_its_own_parent(held: Any) -> None:
    assert held("""
async def request(name, inside, go):
    with fp.capture(name):
        inside.set()
        await go.wait()
        with fp.capture(name + ".query"):
            if name == "b":
                show()
            await asyncio.sleep(0)

async def main():
    go = asyncio.Event()
    with fp.capture("main"):
        tasks = []
        for name in "ab":
            inside = asyncio.Event()
            tasks.append(asyncio.create_task(request(name, inside, go)))
            await inside.wait()
        go.set()
        await asyncio.gather(*tasks)
    show()

asyncio.run(main())
""") == [
        [["main", ""], ["a", "main"], ["b", "main"], ["a.query", "a"], ["b.query", "b"]],
        [],
    ]


def test_threads_begin_without_a_parent(held: Any) -> None:
    assert held("""
def work():
    with fp.capture("thread"):
        show()

with fp.capture("main"):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
""") == [[["main", ""], ["thread", ""]]]


def test_a_generator_holds_its_slot_and_is_no_parent_between_its_steps(held: Any) -> None:
    assert held("""
@fp.capture("stream")
def stream():
    yield 1
    yield 2

rows = stream()
show()
next(rows)
with fp.capture("other"):
    show()
rows.close()
show()
""") == [[], [["stream", ""], ["other", ""]], []]


def test_a_forked_child_starts_without_a_parent(held: Any) -> None:
    assert held("""
with fp.capture("parent"):
    child = os.fork()
    if child == 0:
        from faultplane.capture import block
        assert block._innermost.get() == 0
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
""") == []


def test_a_block_left_in_another_context_leaves_the_slot(innermost: Callable[[], int]) -> None:
    import contextvars

    opened = fp.capture("fixture")
    contextvars.copy_context().run(opened.__enter__)
    assert opened.__exit__(None, None, None) is False
    assert innermost() == 0


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
