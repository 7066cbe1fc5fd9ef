"""gRPC servers: calls are in flight, and what a method raises is recorded under its full name.

>>> import grpc
>>> from concurrent import futures
>>> from faultplane.integrations.grpc import AioInterceptor, Interceptor
>>> server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[Interceptor()])

``grpc.aio.server(interceptors=[AioInterceptor()])`` is the asynchronous one. ``context.abort()`` is
an answer and no error, and so is a client that goes away. Put the interceptor first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import grpc
import grpc.aio

import faultplane as fp
from faultplane.integrations.beside import place_inside_tracing

__all__ = ["AioInterceptor", "Interceptor", "wire"]

_INTERCEPTORS = 2
"""Place of the interceptors among the arguments of both kinds of server."""
_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Interceptor(grpc.ServerInterceptor):
    """An interceptor for ``grpc.server``."""

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """gRPC's: give the handler of a call, observed."""
        return _observed(continuation(details), details.method)


class AioInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor for ``grpc.aio.server``."""

    async def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """gRPC's: give the handler of a call, observed."""
        return _observed(await continuation(details), details.method)


def wire() -> None:
    """Put an interceptor first, but for tracing, in every server that is made from now on."""
    for module, interceptor in ((grpc, Interceptor), (grpc.aio, AioInterceptor)):
        module.server = _with(interceptor, module.server)


def _with(kind: type, previous: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(previous)
    def server(*args: Any, **kwargs: Any) -> Any:
        # By place, not by signature: that of who stands before gRPC's own may be any.
        named = len(args) <= _INTERCEPTORS
        given = list((kwargs.get("interceptors") if named else args[_INTERCEPTORS]) or ())
        if not any(isinstance(interceptor, kind) for interceptor in given):
            given.insert(place_inside_tracing(given), kind())
        if named:
            kwargs["interceptors"] = given
        else:
            args = (*args[:_INTERCEPTORS], given, *args[_INTERCEPTORS + 1 :])
        return previous(*args, **kwargs)

    return server


def _observed(handler: Any, method: str) -> Any:
    """The same handler with its method observed; None where there is no such method."""
    if handler is None:
        return None
    streams = (handler.request_streaming, handler.response_streaming)
    names = {True: "stream", False: "unary"}
    behaviour = getattr(handler, f"{names[streams[0]]}_{names[streams[1]]}")
    if inspect.isasyncgenfunction(behaviour):
        observed: Any = _async_stream(behaviour, method)
    elif inspect.iscoroutinefunction(behaviour):
        observed = _coroutine(behaviour, method)
    elif inspect.isgeneratorfunction(behaviour):
        observed = _generator(behaviour, method)
    elif streams[1] and not getattr(behaviour, "experimental_non_blocking", False):
        observed = _stream(behaviour, method)
    else:
        observed = _unary(behaviour, method)
    return _MAKERS[streams](observed, handler.request_deserializer, handler.response_serializer)


def _is_no_error(exc: BaseException, context: Any) -> bool:
    """Whether a method was left by ``context.abort()``, or because its client had gone."""
    kind = type(exc)
    if kind is grpc.aio.AbortError:
        return True
    if exc.args:
        return False
    if kind is grpc.RpcError:  # a bare one, from the messages of a client that cancelled
        return not context.is_active()
    # A bare one is what abort() raises, after it has set the code.
    return kind is Exception and context.code() not in (None, grpc.StatusCode.OK)


class _Call(fp.capture[Literal[False]]):
    """The block of a call, for ``with``: whoever has that leaves no frame in what others print.

    ``context`` is given inside the block and to no ``__init__``, which would cost a call 200 ns.
    """

    __slots__ = ("context",)

    context: Any

    def failed(
        self,
        exc: BaseException,
        own_frames: int = 0,
        user: Callable[[], str | int | None] | None = None,
    ) -> bool:
        """Record what left the method, unless it is no error."""
        if _is_no_error(exc, self.context):
            return False
        return super().failed(exc, own_frames + 1, user)  # the one that has the ``with``


def _unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(behaviour)
    def observed(request: Any, context: Any, *callback: Any) -> Any:
        # A callback: of a method that streams without a thread, as grpc_health's Watch does. It is
        # in flight until it returns.
        with _Call(method) as call:
            call.context = context
            return behaviour(request, context, *callback)

    return observed


def _generator(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(behaviour)
    def observed(request: Any, context: Any) -> Iterator[Any]:
        with _Call(method) as call:
            call.context = context
            yield from behaviour(request, context)

    return observed


def _stream(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    """A function that gives an iterator: gRPC says of an error which of the two has raised it."""

    @functools.wraps(behaviour)
    def observed(request: Any, context: Any) -> Any:
        with _Call(method) as call:
            call.context = context
            answers = behaviour(request, context)
        return _messages(answers, method, context) if hasattr(answers, "__next__") else answers

    return observed


def _messages(answers: Iterator[Any], method: str, context: Any) -> Iterator[Any]:
    with _Call(method) as call:  # again: gRPC may iterate in another thread
        call.context = context
        for message in answers:  # noqa: UP028 - "yield from" would close what gRPC does not
            yield message


def _coroutine(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(behaviour)
    async def observed(request: Any, context: Any) -> Any:
        with _Call(method) as call:
            call.context = context
            return await behaviour(request, context)

    return observed


def _async_stream(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(behaviour)
    async def observed(request: Any, context: Any) -> AsyncIterator[Any]:
        with _Call(method) as call:
            call.context = context
            async for message in behaviour(request, context):
                yield message

    return observed
