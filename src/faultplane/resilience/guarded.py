"""Functions of every kind, guarded: what a dependency makes of what it decorates."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.classify.evidence import traceback_of
from faultplane.errors import InvalidSetting, Rejected
from faultplane.resilience.bounds import refuse_hedge, refuse_timeout
from faultplane.resilience.deadline import deadline, late, no_answer, say
from faultplane.resilience.permits import begun, begun_async, waits

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

_TIMEOUTS: Final = layout.TOTALS.index("timeouts")
_FALLBACKS: Final = layout.TOTALS.index("fallbacks")
_UNRUN: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_INSTEAD: Final = "one try of it lasts as long as who reads it takes; give it a deadline"


def decorated(dependency: Dependency, function: Any) -> Any:
    """``function`` with each call of it guarded; TypeError for what is no function."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorated(dependency, function.__func__))
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"a dependency decorates functions, got {function!r}")
    target = function
    if not inspect.isroutine(function) and not isinstance(function, functools.partial):
        target = type(function).__call__  # an object that is called like a function
    if inspect.isasyncgenfunction(target):
        made = async_generator(dependency, function)
    elif inspect.iscoroutinefunction(target):
        made = coroutine(dependency, function)
    elif inspect.isgeneratorfunction(target):
        made = generator(dependency, function)
    else:
        made = plain(dependency, function)
    return functools.update_wrapper(made, function)


def refuse_unrun(dependency: Dependency, function: Callable[..., Any]) -> None:
    """InvalidSetting for what a plain call would make and not run: that is no success of it."""
    try:
        flags = function.__code__.co_flags & _UNRUN
    except AttributeError:
        return
    if flags & inspect.CO_COROUTINE:
        raise InvalidSetting(f"{dependency.name}: call() would not await {function!r}: use acall()")
    if flags:
        raise InvalidSetting(
            f"{dependency.name}: call() would not run {function!r}, a generator: decorate it"
        )


def without_frame(error: BaseException) -> None:
    """Take the entry of our own frame off the traceback: what users see is what they wrote."""
    traceback = traceback_of(error)
    if traceback is not None and traceback.tb_next is not None:
        # Through the base class: an exception may forbid assignment, as frozen dataclasses do.
        BaseException.with_traceback(error, traceback.tb_next)


def begins_again(call: Any) -> bool:
    """Begin the next try of a call; whether that was rejected.

    Asked rather than caught: what came before is then raised outside of a handler, and has the
    context that it had.
    """
    try:
        call.again()
    except Rejected:
        return True
    return False


# ------------------------------------------------------------------------------------ functions


def plain(dependency: Dependency, function: Callable[..., Any]) -> Any:
    """A plain function, guarded."""
    refuse_hedge(dependency, f"the plain function {function!r}")
    if dependency.timeout is not None:
        raise InvalidSetting(
            f"{dependency.name}: timeout bounds coroutines, and {function!r} is a plain function: "
            "give its client a timeout, such as time_left()"
        )
    made = _waiting(dependency, function) if waits(dependency) else dependency.guard.wrap(function)
    if dependency.deadline is not None:
        made = _within(dependency.deadline, made)
    if dependency.fallback is not None:
        made = _or_else(dependency, made)
    return made


def _within(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with deadline(seconds):
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                without_frame(error)
                raise

    return guarded


def _waiting(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function each call of which may wait for its turn, which the core does not."""
    sleep = dependency.clock.sleep

    def guarded(*args: Any, **kwargs: Any) -> Any:
        call = begun(dependency)
        while True:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                wait = call.failed(error)
                without_frame(error)
                if wait < 0:
                    raise
                last = error
            else:
                call.succeeded()
                return result
            try:
                if wait > 0:
                    sleep(wait)
                rejected = begins_again(call)
            except BaseException:
                call.ignored()
                raise
            if rejected:
                try:
                    raise last
                except BaseException:
                    without_frame(last)
                    raise
            del last

    return guarded


def _or_else(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    fallback, cell = dependency.fallback, dependency.cell
    assert fallback is not None

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = function(*args, **kwargs)
        except Exception as error:
            without_frame(error)
            if not dependency.is_failure(error):
                raise
            answer = fallback.serve(error, args, kwargs)
            cell.total(_FALLBACKS)
            dependency.degraded = True
            return answer
        except BaseException as error:
            without_frame(error)
            raise
        dependency.degraded = False
        if fallback.remembers:
            fallback.remember(args, kwargs, answer)
        return answer

    return guarded


# ----------------------------------------------------------------------------------- coroutines


def coroutine(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function, guarded."""
    tried = function
    if dependency.timeout is not None:
        tried = timed(dependency, dependency.timeout, function)
    made = _tried(dependency, tried)
    if dependency.deadline is not None:
        made = _within_async(dependency.deadline, made)
    if dependency.fallback is not None:
        made = _or_else_async(dependency, made)
    return made


def _tried(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    sleep, race = dependency.clock.sleep_async, dependency.race

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        call = await begun_async(dependency)
        while True:
            try:
                if race is None:
                    result = await function(*args, **kwargs)
                else:
                    result = await race.run(call, function, args, kwargs)
            except BaseException as error:
                wait = call.failed(late(error))
                without_frame(error)
                if wait < 0:
                    raise
                last = error
            else:
                call.succeeded()
                return result
            try:
                if wait > 0:
                    await sleep(wait)
                rejected = begins_again(call)
            except BaseException:
                call.ignored()
                raise
            if rejected:
                try:
                    raise last
                except BaseException:
                    without_frame(last)
                    raise
            del last

    return guarded


def timed(
    dependency: Dependency, seconds: float, function: Callable[..., Any]
) -> Callable[..., Any]:
    """A coroutine function each call of which is one try, cancelled after ``seconds``."""
    cell = dependency.cell

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(seconds) as scope:
                try:
                    return await function(*args, **kwargs)
                finally:
                    if scope.expired():
                        cell.total(_TIMEOUTS)
        except TimeoutError as error:
            if scope.expired():
                say(error, no_answer(seconds))
            raise

    return guarded


def _within_async(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        async with deadline(seconds):
            return await function(*args, **kwargs)

    return guarded


def _or_else_async(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    fallback, cell = dependency.fallback, dependency.cell
    assert fallback is not None

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = await function(*args, **kwargs)
        except Exception as error:
            without_frame(error)
            if not dependency.is_failure(error):
                raise
            answer = fallback.serve(error, args, kwargs)
            cell.total(_FALLBACKS)
            dependency.degraded = True
            return await answer if inspect.isawaitable(answer) else answer
        except BaseException as error:
            without_frame(error)
            raise
        dependency.degraded = False
        if fallback.remembers:
            fallback.remember(args, kwargs, answer)
        return answer

    return guarded


# ----------------------------------------------------------------------------------- generators


def generator(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function, guarded from its first step to its end; tried once."""
    refuse_timeout(dependency, "a generator", _INSTEAD)
    refuse_hedge(dependency, "a generator")
    if dependency.deadline is not None:
        function = _stepped(dependency.deadline, function)

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = begun(dependency)
        try:
            result = yield from function(*args, **kwargs)
        except BaseException as error:
            call.failed(error, last=True)
            without_frame(error)
            raise
        call.succeeded()
        return result

    return guarded


def _stepped(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function whose steps see what is left of a deadline; who reads it does not."""

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        until = time.monotonic() + seconds
        inner = function(*args, **kwargs)
        step = functools.partial(next, inner)
        while True:
            try:
                with deadline(_left(until)):
                    value = step()
            except StopIteration as end:
                return end.value
            except BaseException as error:
                without_frame(error)
                raise
            thrown: BaseException | None = None
            sent = None
            try:
                sent = yield value
            except BaseException as error:  # noqa: BLE001 - handed on as it is
                thrown = error
            step = functools.partial(inner.send, sent)
            if thrown is not None:
                step = functools.partial(inner.throw, thrown)

    return guarded


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.0)


def async_generator(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    """An asynchronous generator function, guarded from its first step to its end; tried once."""
    refuse_timeout(dependency, "a generator", _INSTEAD)
    refuse_hedge(dependency, "a generator")
    seconds = dependency.deadline

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        until = None if seconds is None else time.monotonic() + seconds
        call = await _within_until(until, begun_async(dependency))
        try:
            inner = function(*args, **kwargs)
            step = _within_until(until, inner.asend(None))
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    break
                thrown: BaseException | None = None
                sent = None
                try:
                    sent = yield value
                except BaseException as error:  # noqa: BLE001 - handed on as it is
                    thrown = error
                # Outside of the handler, or what the generator raises would get a context that it
                # does not have without us.
                if thrown is None:
                    step = _within_until(until, inner.asend(sent))
                elif isinstance(thrown, GeneratorExit):
                    step = inner.athrow(thrown)  # it is closed, perhaps by no task at all
                else:
                    step = _within_until(until, inner.athrow(thrown))
                thrown = None
        except BaseException as error:
            call.failed(late(error), last=True)
            without_frame(error)
            raise
        call.succeeded()

    return guarded


def _within_until(until: float | None, awaited: Awaitable[Any]) -> Awaitable[Any]:
    """``awaited`` itself, or cancelled at that time of the monotonic clock."""
    return awaited if until is None else _cancelled_at(until, awaited)


async def _cancelled_at(until: float, awaited: Awaitable[Any]) -> Any:
    async with deadline(_left(until)):
        try:
            return await awaited
        except BaseException as error:
            without_frame(error)
            raise
