"""Functions of every kind, guarded: what a dependency makes of what it decorates."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from faultplane import control_schema as layout
from faultplane.errors import InvalidSetting, Rejected
from faultplane.resilience.deadline import deadline, time_left
from faultplane.resilience.permits import begun, begun_async

if TYPE_CHECKING:
    from faultplane.resilience.dependency import Dependency

_TIMEOUTS: Final = layout.TOTALS.index("timeouts")
_FALLBACKS: Final = layout.TOTALS.index("fallbacks")


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


def without_frame(error: BaseException) -> None:
    """Take the entry of our own frame off the traceback: what users see is what they wrote."""
    traceback = error.__traceback__
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
    if dependency.timeout is not None:
        raise InvalidSetting(
            f"{dependency.name}: timeout bounds coroutines, and {function!r} is a plain function: "
            "give its client a timeout, such as time_left()"
        )
    if dependency.limit is not None and dependency.limit.wait_max:
        made = _waiting(dependency, function)
    else:
        made = dependency.guard.wrap(function)
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
    """A plain function each call of which may wait for a permit, which the core does not."""
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
    sleep = dependency.clock.sleep_async

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        call = await begun_async(dependency)
        while True:
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                wait = call.failed(_late(error))
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


def _late(error: BaseException) -> BaseException:
    """A try that is cancelled because its time is over has failed: the other side took too long."""
    if (
        isinstance(error, asyncio.CancelledError)
        and (left := time_left()) is not None
        and left <= 0
    ):
        return TimeoutError("cancelled at its deadline")
    return error


def timed(
    dependency: Dependency, seconds: float, function: Callable[..., Any]
) -> Callable[..., Any]:
    """A coroutine function each call of which is one try, cancelled after ``seconds``."""
    cell = dependency.cell

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(seconds) as scope:
            try:
                return await function(*args, **kwargs)
            finally:
                if scope.expired():
                    cell.total(_TIMEOUTS)

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


def async_generator(dependency: Dependency, function: Callable[..., Any]) -> Callable[..., Any]:
    """An asynchronous generator function, guarded from its first step to its end; tried once."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = await begun_async(dependency)
        try:
            inner = function(*args, **kwargs)
            step = inner.asend(None)
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
                step = inner.asend(sent) if thrown is None else inner.athrow(thrown)
                thrown = None
        except BaseException as error:
            call.failed(error, last=True)
            without_frame(error)
            raise
        call.succeeded()

    return guarded
