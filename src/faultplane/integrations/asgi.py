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

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import faultplane as fp
from faultplane.integrations.naming import named

__all__ = ["BLOCK", "InSpan", "Middleware", "method_of", "operation_of", "user_of"]

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
    """

    def __init__(
        self,
        application: Callable[..., Awaitable[None]],
        operation: Callable[[Scope], str] = operation_of,
        user: Callable[[Scope], User] = user_of,
    ) -> None:
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
