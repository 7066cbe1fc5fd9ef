"""Starlette and FastAPI: requests and websockets are in flight, what no handler took is recorded.

>>> from starlette.applications import Starlette
>>> from faultplane.integrations import starlette as faultplane_starlette
>>> app = Starlette()
>>> faultplane_starlette.install(app)

It stands right inside of what answers 500 to an error that nothing handled, and so outside of all
other middleware and of every exception handler. OpenTelemetry's FastAPI instrumentation takes no
stack of middleware whose outermost is another one. The operation is the method and the path of the
route.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware as Entry
from starlette.middleware.errors import ServerErrorMiddleware

from faultplane.integrations.asgi import InSpan, Middleware, Scope, operation_of
from faultplane.integrations.beside import place_inside_tracing

__all__ = ["install", "wire"]


def install(app: Starlette) -> None:
    """Observe the requests of ``app``, a Starlette or FastAPI that has not served any yet."""
    if app.middleware_stack is not None:
        raise RuntimeError("install before the application has served its first request")
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: _observed(app, build)


def wire(application: type[Starlette] = Starlette) -> None:
    """Observe the requests of every application of this process."""
    # OpenTelemetry puts a subclass into the place of the class, which leaves it to its base.
    owner: Any = next(
        kind for kind in application.__mro__ if "build_middleware_stack" in vars(kind)
    )
    build = owner.build_middleware_stack
    if hasattr(build, "faultplane"):
        return

    @functools.wraps(build)
    def build_middleware_stack(self: Any) -> Any:
        return _observed(self, functools.partial(build, self))

    build_middleware_stack.faultplane = True  # type: ignore[attr-defined]
    owner.build_middleware_stack = build_middleware_stack


def _observed(app: Starlette, build: Callable[[], Any]) -> Any:
    """The stack of middleware of ``app`` with ours in it."""
    entries = app.user_middleware
    place = place_inside_tracing([entry.cls for entry in entries])
    if place and not any(entry.cls is InSpan for entry in entries):
        entries.insert(place, Entry(InSpan, operation=_operation))
    stack = build()
    if not isinstance(stack, ServerErrorMiddleware):  # an application with a stack of its own
        return stack if isinstance(stack, Middleware) else Middleware(stack, _operation)
    if not isinstance(stack.app, Middleware):
        stack.app = Middleware(stack.app, _operation)
    return stack


def _operation(scope: Scope) -> str:
    """`operation_of`, also where the router left only the endpoint in the scope."""
    if scope.get("route") is None and (endpoint := scope.get("endpoint")) is not None:
        for route in getattr(scope.get("app"), "routes", ()):
            if getattr(route, "endpoint", None) is endpoint:
                scope = {**scope, "route": route}
                break
    return operation_of(scope)
