"""ASGI: each request and websocket is in flight while it runs, what it raises is recorded once.

>>> from faultplane.integrations.asgi import Middleware
>>> async def application(scope, receive, send):
...     await send({"type": "http.response.start", "status": 200, "headers": []})
...     await send({"type": "http.response.body", "body": b"well"})
>>> application = Middleware(application)

Put it around the whole application, outside of other middleware: ``uvicorn shop:application`` then
serves what it wraps. The lifespan protocol passes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import faultplane as fp
from faultplane.integrations.naming import named
from faultplane.integrations.outgoing import without_our_frames
from faultplane.integrations.serving import BUSY, LATE, Bounds, answer_headers

__all__ = ["BLOCK", "Bounded", "InSpan", "Middleware", "method_of", "operation_of", "user_of"]

Scope = MutableMapping[str, Any]
User = str | int | None
_KINDS = frozenset({"http", "websocket"})
BLOCK: Final = "faultplane.block"
"""Key of a scope under which the block of its request is."""


def method_of(scope: Scope) -> str:
    """The operation of a request of which no route is known."""
    return str(scope.get("method", "GET")) if scope["type"] == "http" else "WEBSOCKET"


def operation_of(scope: Scope) -> str:
    """The method, and the path of the route if whoever routed the request left it in the scope.

    Starlette and FastAPI leave the route there under ``"route"``.

    >>> operation_of({"type": "http", "method": "GET", "path": "/orders/7"})
    'GET'
    """
    path = getattr(scope.get("route"), "path", None)
    method = method_of(scope)
    return f"{method} {path}" if isinstance(path, str) else method


def user_of(scope: Scope) -> User:
    """The identity of the user that an authentication left in the scope; None if there is none.

    Starlette and FastAPI leave it under ``"user"``: its ``identity``, else its ``display_name``.
    """
    user = scope.get("user")
    if not getattr(user, "is_authenticated", False):
        return None
    try:
        identity = user.identity  # type: ignore[union-attr]
    except (AttributeError, NotImplementedError):  # Starlette's own class raises the second
        identity = user.display_name  # type: ignore[union-attr]
    return identity if isinstance(identity, int) else str(identity)


class Middleware:
    """An ASGI application with each request and websocket of ``application`` captured.

    ``operation`` names the operation of a failed request from its scope; without it that is the
    method, with the path of the route where that is known. While a request runs it is shown as in
    flight under its method and path, without the query string.

    ``user`` is asked whose request it was that failed, where users are kept (FAULTPLANE_USER_KEY)
    and the application has not said it with ``faultplane.set_user()``.

    ``bounds`` has each request served within them, as `Bounded` does.
    """

    def __init__(
        self,
        application: Callable[..., Awaitable[None]],
        operation: Callable[[Scope], str] = operation_of,
        user: Callable[[Scope], User] = user_of,
        *,
        bounds: Bounds | None = None,
    ) -> None:
        if bounds is not None:
            application = Bounded(application, bounds, operation, user)
        self.application = application
        self.operation = operation
        self.user = user

    async def __call__(
        self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer a request, as a server asks for it."""
        block = None
        if scope["type"] in _KINDS:
            block = fp.capture(f"{method_of(scope)} {scope.get('path', '')}").enter()
            scope[BLOCK] = block
        try:
            await self.application(scope, receive, send)
        except BaseException as exc:
            if block is not None:
                block.operation = named(self.operation, scope, method_of(scope))
                block.leave(exc, own_frames=1, user=lambda: self.user(scope))
            raise
        if block is not None:
            block.leave()


class InSpan:
    """A second middleware of the same request, for the inside of one that traces.

    The request is in flight with the trace of that span, and a failure is recorded while the span
    lasts. Without a `Middleware` around it, it does nothing.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],  # the name by which Starlette gives it
        operation: Callable[[Scope], str] = operation_of,
    ) -> None:
        self.app = app
        self.operation = operation

    async def __call__(
        self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer a request, as the middleware around this one asks for it."""
        block: fp.capture[Any] | None = scope.get(BLOCK)
        if block is not None:
            block.follow_span()
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            if block is not None:
                block.operation = named(self.operation, scope, method_of(scope))
                block.failed(exc, own_frames=1, user=lambda: user_of(scope))
            raise


class Bounded:
    """An ASGI application each request of which is served within ``bounds``.

    One that is too many is answered 503, with ``Retry-After``, before the application sees it. One
    whose time is over is cancelled, recorded as a TimeoutError, and answered 504; where its answer
    has begun, TimeoutError is raised, so that the server breaks it off. Websockets are not bounded.

    ``operation`` and ``user`` are as those of `Middleware`.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],  # the name by which Starlette gives it
        bounds: Bounds,
        operation: Callable[[Scope], str] = operation_of,
        user: Callable[[Scope], User] = user_of,
    ) -> None:
        if not isinstance(bounds, Bounds):
            raise fp.errors.InvalidSetting(f"bounds must be Bounds, got {bounds!r}")
        self.app = app
        self.bounds = bounds
        self.operation = operation
        self.user = user
        self._name = (bounds.header or "").lower().encode()
        # Nothing is sent by who enters: its call is under way then.
        self._entering: fp.Exchange[None, None] = fp.Exchange(_enter)

    async def __call__(
        self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer a request, as a server asks for it."""
        bounds = self.bounds
        try:
            if scope["type"] != "http" or bounds.is_spared(scope):
                await self.app(scope, receive, send)
                return
            seconds = bounds.seconds_of(self._said(scope))
            if seconds is not None and seconds <= 0:
                await _answer(send, bounds, LATE)
                return
            if bounds.limit is None:
                await self._serve(seconds, scope, receive, send)
                return
            try:
                _, call = await self._entering.run_async(bounds.limit, None, repeatable=False)
            except fp.errors.LimitExceeded:
                await _answer(send, bounds, BUSY)
                return
            assert call is not None  # a fallback is refused
            try:
                await self._serve(seconds, scope, receive, send)
            finally:
                call.succeeded()  # whatever came of it: it is over
        except BaseException as error:
            without_our_frames(error)
            raise

    def _said(self, scope: Scope) -> str | None:
        """What the header says."""
        if self._name:
            for name, value in scope.get("headers", ()):
                if name.lower() == self._name:
                    return str(value, "latin-1")
        return None

    async def _serve(
        self,
        seconds: float | None,
        scope: Scope,
        receive: Callable[..., Any],
        send: Callable[..., Any],
    ) -> None:
        if seconds is None:
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def sending(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        with fp.deadline(seconds):
            try:
                async with asyncio.timeout(max(fp.time_left() or 0.0, 0.0)) as scope_of_time:
                    await self.app(scope, receive, sending)
            except TimeoutError as error:
                if has_begun or not scope_of_time.expired():
                    raise
                late = error
            else:
                return
        self._record(scope, late)
        await _answer(send, self.bounds, LATE)

    def _record(self, scope: Scope, error: BaseException) -> None:
        """Record that a request was cancelled, and where."""
        cancelled = error.__cause__
        if cancelled is not None:
            error = error.with_traceback(cancelled.__traceback__)
            without_our_frames(error)
        operation = named(self.operation, scope, method_of(scope))
        block: fp.capture[Any] | None = scope.get(BLOCK)
        if block is None:
            fp.record(error, operation)
        else:
            block.operation = operation
            block.failed(error, user=lambda: self.user(scope))


async def _enter(_: None) -> None:
    pass


async def _answer(send: Callable[..., Any], bounds: Bounds, status: str) -> None:
    headers = [
        (name.lower().encode(), value.encode()) for name, value in answer_headers(bounds, status)
    ]
    code = int(status[:3])
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
