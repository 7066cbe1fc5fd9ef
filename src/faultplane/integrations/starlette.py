"""Starlette and FastAPI: requests and websockets are in flight, what no handler took is recorded.

>>> from starlette.applications import Starlette
>>> from faultplane.integrations import starlette as faultplane_starlette
>>> app = Starlette()
>>> faultplane_starlette.install(app)

It stands outside of the whole stack of middleware, where what an application could not handle
comes out again after its answer of 500. The operation is the method and the path of the route.
"""

from __future__ import annotations

import functools
from typing import Any

from starlette.applications import Starlette

from faultplane.integrations.asgi import Middleware, Scope, operation_of

__all__ = ["install", "wire"]


def install(app: Starlette) -> None:
    """Observe the requests of ``app``, a Starlette or FastAPI that has not served any yet."""
    if app.middleware_stack is not None:
        raise RuntimeError("install before the application has served its first request")
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: _observed(build())


def wire(application: type[Starlette] = Starlette) -> None:
    """Observe the requests of every application of this process."""
    build = application.__dict__.get("build_middleware_stack")
    if build is None:
        return  # a subclass that leaves it to its base

    @functools.wraps(build)
    def build_middleware_stack(self: Any) -> Any:
        return _observed(build(self))

    application.build_middleware_stack = build_middleware_stack


def _observed(stack: Any) -> Any:
    return stack if isinstance(stack, Middleware) else Middleware(stack, _operation)


def _operation(scope: Scope) -> str:
    """`operation_of`, also where the router left only the endpoint in the scope."""
    if scope.get("route") is None and (endpoint := scope.get("endpoint")) is not None:
        for route in getattr(scope.get("app"), "routes", ()):
            if getattr(route, "endpoint", None) is endpoint:
                scope = {**scope, "route": route}
                break
    return operation_of(scope)
