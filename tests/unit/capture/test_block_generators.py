"""Generators and asynchronous generators answer every call as they did before ``capture``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

import faultplane as fp

Counted = Callable[[], dict[tuple[str, str], int]]


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
