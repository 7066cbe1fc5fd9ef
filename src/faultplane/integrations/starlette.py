"""Starlette and FastAPI: requests and websockets are in flight, what no handler took is recorded.

>>> from starlette.applications import Starlette
>>> from faultplane.integrations import starlette as faultplane_starlette
>>> app = Starlette()
>>> faultplane_starlette.install(app)

It stands right inside of what answers 500 to an error that nothing handled, and so outside of all
other middleware and of every exception handler. OpenTelemetry's FastAPI instrumentation takes no
stack of middleware whose outermost is another one. The operation is the method and the path of the
route, with those of the mounts and routers that lead to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware as Entry
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Mount

import faultplane as fp
from faultplane.integrations.asgi import BLOCK, InSpan, Middleware, Scope, method_of, user_of
from faultplane.integrations.beside import place_inside_tracing
from faultplane.integrations.naming import named

__all__ = ["install", "wire"]

_OUTERMOST: Final = "faultplane.application"
"""Key of a scope under which the middleware of the outermost application is."""
_DEPTH_MAX: Final = 16
"""Mounts inside of mounts that are looked through."""


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
    operation = functools.partial(_operation, app)
    entries = app.user_middleware
    place = place_inside_tracing([entry.cls for entry in entries])
    if place and not any(entry.cls is InSpan for entry in entries):
        entries.insert(place, Entry(InSpan, operation=operation))
    stack = build()
    if not isinstance(stack, ServerErrorMiddleware):  # an application with a stack of its own
        return stack if isinstance(stack, _Application) else _Application(stack, operation)
    if not isinstance(stack.app, _Application):
        stack.app = _Application(stack.app, operation)
    return stack


class _Application(Middleware):
    """Middleware of an application that may be mounted in another, whose request it is then."""

    def __call__(
        self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> Coroutine[Any, Any, None]:
        # No coroutine of its own: that would be one more for each request.
        outermost = scope.setdefault(_OUTERMOST, self)
        if outermost is self:
            return Middleware.__call__(self, scope, receive, send)
        return self._mounted(outermost, scope, receive, send)

    async def _mounted(
        self, outermost: Middleware, scope: Scope, receive: Callable[..., Any], send: Any
    ) -> None:
        """What nothing took here has been answered, whatever the others do with it."""
        try:
            await self.application(scope, receive, send)
        except BaseException as exc:
            block: fp.capture[Any] | None = scope.get(BLOCK)
            if block is not None:
                block.operation = named(outermost.operation, scope, method_of(scope))
                block.failed(exc, own_frames=1, user=lambda: user_of(scope))
            raise


def _operation(app: Starlette, scope: Scope) -> str:
    """Method and path of the route, from ``app`` on."""
    path = _path_of_mounts(app, scope) + _path_of_route(app, scope)
    return f"{method_of(scope)} {path}" if path else method_of(scope)


def _path_of_route(app: Starlette, scope: Scope) -> str:
    route = scope.get("route")
    if route is None or isinstance(route, Mount):
        # An older router leaves only the endpoint in the scope; of what is mounted and not
        # Starlette's no route is known.
        route = _with_endpoint(app.routes, scope.get("endpoint"), _path_of(scope))
    # Of a router that an application of FastAPI includes, a route knows its own path alone.
    context = scope.get("fastapi")
    if isinstance(context, dict):
        included = context.get("effective_route_context")
        if getattr(included, "original_route", None) is route:
            route = included
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else ""


def _with_endpoint(routes: Iterable[Any], endpoint: Any, path: str, depth: int = 0) -> Any:
    """The first route with ``endpoint`` that takes ``path``, inside of mounts too, or None."""
    if endpoint is None or depth > _DEPTH_MAX:
        return None
    for route in routes:
        inner = path
        regex = getattr(route, "path_regex", None)
        match = None if regex is None else regex.match(path)
        if match is not None and getattr(route, "endpoint", None) is endpoint:
            return route
        if isinstance(route, Mount):
            if match is None:
                continue
            inner = "/" + match["path"]
        found = _with_endpoint(getattr(route, "routes", None) or (), endpoint, inner, depth + 1)
        if found is not None:
            return found
    return None


def _path_of_mounts(app: Starlette, scope: Scope) -> str:
    """Path, with the names of its parameters, of the mounts that a request went through."""
    root = scope.get("app_root_path")
    taken = scope.get("root_path", "")
    if not isinstance(root, str) or not taken.startswith(root):
        return ""
    return _mounts(app.routes, _path_of(scope), taken.removeprefix(root)) or ""


def _path_of(scope: Scope) -> str:
    """The path below the root that a server or proxy said."""
    root = scope.get("app_root_path", scope.get("root_path", ""))
    return str(scope["path"].removeprefix(root))


def _mounts(routes: Iterable[Any], path: str, taken: str, depth: int = 0) -> str | None:
    """Of the mounts that together took ``taken`` off the beginning of ``path``; None if unknown."""
    if not taken:
        return ""
    for route in routes if depth < _DEPTH_MAX else ():
        match = route.path_regex.match(path) if isinstance(route, Mount) else None
        if match is None:
            continue
        here = path[: len(path) - len(match["path"]) - 1]
        if taken.startswith(here):
            inner = _mounts(route.routes or (), path[len(here) :], taken[len(here) :], depth + 1)
            if inner is not None:
                return str(route.path) + inner
    return None
