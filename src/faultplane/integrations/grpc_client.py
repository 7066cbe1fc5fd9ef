"""gRPC's client: each call goes through a `Dependency`, by an interceptor of the channel.

>>> import grpc
>>> import faultplane as fp
>>> from faultplane.integrations.grpc_client import GuardedInterceptor, guarded_interceptors
>>> bank = fp.Dependency("bank", retry=fp.Retry(attempts=3), breaker=fp.Breaker())
>>> channel = grpc.insecure_channel("127.0.0.1:50051")
>>> channel = grpc.intercept_channel(channel, GuardedInterceptor(bank, {"/shop.Orders/Get"}))
>>> channel.close()

``grpc.aio.insecure_channel(target, interceptors=guarded_interceptors(bank))`` is the asynchronous
one. What is raised is gRPC's own, or `BreakerOpen` and `LimitExceeded`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

import grpc
import grpc.aio

import faultplane as fp
from faultplane.integrations.outgoing import NO_FALLBACK, NO_HEDGE, refuse, without_our_frames

__all__ = ["GuardedInterceptor", "guarded_interceptors"]

Continuation = Callable[[Any, Any], Any]

_PAST: Final = -1.0
"""A timeout for which gRPC says at once that the deadline is exceeded; with 0 it may be in time."""


class _Guarded:
    """What the interceptors of both kinds of channel have in common."""

    def __init__(self, dependency: fp.Dependency, methods: Collection[str] = ()) -> None:
        refuse(dependency, fallback=NO_FALLBACK, hedge=NO_HEDGE)
        if isinstance(methods, str):
            raise fp.errors.InvalidSetting(f"methods must be several, got {methods!r}")
        self.dependency = dependency
        self.methods = frozenset(methods)
        for method in self.methods:
            if not str(method).startswith("/"):  # no call has such a name
                raise fp.errors.InvalidSetting(
                    f"methods must be full names such as /shop.Orders/Get, got {method!r}"
                )

    def repeatable(self, details: Any) -> bool:
        """Whether a call may be made again after it has arrived."""
        method = details.method
        return (method.decode() if isinstance(method, bytes) else method) in self.methods

    def timeout_of(self, details: Any) -> float | None:
        """The smallest of the call's own timeout, the dependency's, and the time that is left."""
        left = _PAST if _is_late() else fp.time_left()
        bounds = (details.timeout, self.dependency.timeout, left)
        return min((bound for bound in bounds if bound is not None), default=None)


def _is_late() -> bool:
    """Whether a call has no time."""
    left = fp.time_left()
    return left is not None and left <= 0


# ------------------------------------------------------------------------------------- threads


class _Details(
    namedtuple(  # noqa: PYI024 - as gRPC's own
        "_Details",
        ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"),
    ),
    grpc.ClientCallDetails,
):
    """What a call is made with; another interceptor's may have fewer of these."""

    __slots__ = ()


class GuardedInterceptor(
    _Guarded,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """An interceptor for ``grpc.intercept_channel`` that makes each call through ``dependency``.

    A call of one message, of a method that is among ``methods`` (full names, such as
    ``/shop.Orders/Get``), is made again where the policy says so; of another method only if it has
    not reached the server. Streams, and what is begun by ``future()``, are tried once. A stream is
    in flight and holds its permit until its last message, or until it is cancelled.

    Raises InvalidSetting for what cannot be used.
    """

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """gRPC's: make a call."""
        return self._make(continuation, details, request, _judge)

    def intercept_unary_stream(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """gRPC's: begin a call."""
        return self._make(continuation, details, request)

    def intercept_stream_unary(
        self, continuation: Continuation, details: Any, requests: Any
    ) -> Any:
        """gRPC's: make a call."""
        return self._make(continuation, details, requests)

    def intercept_stream_stream(
        self, continuation: Continuation, details: Any, requests: Any
    ) -> Any:
        """gRPC's: begin a call."""
        return self._make(continuation, details, requests)

    def _make(
        self,
        continuation: Continuation,
        details: Any,
        request: Any,
        judge: Callable[[Any], Exception | None] | None = None,
    ) -> Any:
        def send(request: Any) -> Any:
            values = {name: getattr(details, name, None) for name in _Details._fields}
            values["timeout"] = self.timeout_of(details)
            return continuation(_Details(**values), request)

        try:
            if _is_late():
                return send(request)
            exchange: Any = fp.Exchange(send) if judge is None else fp.Exchange(send, judge)
            outcome, call = exchange.run(
                self.dependency, request, repeatable=self.repeatable(details)
            )
        except BaseException as error:
            without_our_frames(error)
            raise
        _last_until_done(outcome, call)
        return outcome


def _judge(outcome: Any) -> Exception | None:
    """What a call was ended by; None for one that ended well, and one that has not ended."""
    error = outcome.exception() if outcome.done() else None
    return error if isinstance(error, Exception) else None


def _last_until_done(outcome: Any, call: Any) -> None:
    def ended() -> None:
        # Which gRPC has set by now: nobody waits for it.
        if outcome.code() in (None, grpc.StatusCode.OK):
            call.succeeded()
        else:
            call.failed(outcome, last=True)

    # Of one that has ended by now nobody is told, which `add_callback` says by False.
    if outcome.done() or not outcome.add_callback(ended):
        ended()


# ------------------------------------------------------------------------------------- asyncio


def guarded_interceptors(
    dependency: fp.Dependency, methods: Collection[str] = ()
) -> list[grpc.aio.ClientInterceptor]:
    """Interceptors for a channel of ``grpc.aio`` that make each call through ``dependency``.

    As `GuardedInterceptor`; a channel takes one for each of the four kinds of call.

    >>> [type(one).__name__ for one in guarded_interceptors(fp.Dependency("bank"))]
    ['_UnaryUnary', '_UnaryStream', '_StreamUnary', '_StreamStream']
    """
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    return [kind(dependency, methods) for kind in kinds]


class _Aio(_Guarded):
    async def _begin(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """Begin a stream: it is tried once, and nobody waits for its end."""

        async def send(request: Any) -> Any:
            within = details._replace(timeout=self.timeout_of(details))
            return await continuation(within, request)

        try:
            if _is_late():
                return await send(request)
            exchange: Any = fp.Exchange(send, bounds_itself=True)
            made, call = await exchange.run_async(self.dependency, request, repeatable=False)
        except BaseException as error:
            without_our_frames(error)
            raise
        made.add_done_callback(lambda made: _ended(made, call))
        return made


class _UnaryUnary(_Aio, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Continuation, details: Any, request: Any
    ) -> Any:
        async def send(request: Any) -> Any:
            made = await continuation(details._replace(timeout=self.timeout_of(details)), request)
            await made  # a second time it gives the same; cancelled, it ends the call itself
            return made

        try:
            if _is_late():
                return await send(request)
            exchange: Any = fp.Exchange(send, bounds_itself=True)
            made, call = await exchange.run_async(
                self.dependency, request, repeatable=self.repeatable(details)
            )
        except BaseException as error:
            without_our_frames(error)
            raise
        call.succeeded()
        return made


class _UnaryStream(_Aio, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Continuation, details: Any, request: Any
    ) -> Any:
        return await self._begin(continuation, details, request)


class _StreamUnary(_Aio, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continuation, details: Any, requests: Any
    ) -> Any:
        return await self._begin(continuation, details, requests)


class _StreamStream(_Aio, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continuation, details: Any, requests: Any
    ) -> Any:
        return await self._begin(continuation, details, requests)


def _ended(made: Any, call: Any) -> None:
    code = _at_once(made.code())
    if code is grpc.StatusCode.OK:
        call.succeeded()
    else:
        nothing = grpc.aio.Metadata()
        details = _at_once(made.details())
        call.failed(grpc.aio.AioRpcError(code, nothing, nothing, details=details), last=True)


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return None
