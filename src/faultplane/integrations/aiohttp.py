"""aiohttp's server: requests are in flight, and what no middleware took is recorded.

>>> from aiohttp import web
>>> from faultplane.integrations.aiohttp import middleware
>>> app = web.Application(middlewares=[middleware])

Put it first. ``web.HTTPException`` is an answer and no error. The operation is the method and the
pattern of the resource (``GET /orders/{id}``).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

import faultplane as fp
from faultplane.integrations.beside import place_inside_tracing

__all__ = ["middleware", "wire"]

# Versions that have keys of their own warn of a text, and a warning may be an error.
_KEY: Any = (
    web.RequestKey("block", fp.capture) if hasattr(web, "RequestKey") else "faultplane.block"
)


def _operation(request: web.BaseRequest) -> str:
    match_info = getattr(request, "_match_info", None)  # the property insists on there being one
    resource = None if match_info is None else match_info.route.resource
    canonical = None if resource is None else resource.canonical
    return f"{request.method} {canonical}" if canonical else request.method


_keeps_blocks = False
"""Whether a middleware of ours looks for the block in the requests of a wired process."""


@web.middleware
async def middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Aiohttp's middleware."""
    if _KEY in request:  # of the application around this one, or of the process
        return await handler(request)
    return await _observed(request, handler(request), keeps_block=True)


def wire() -> None:
    """Observe the requests of every application of this process.

    Around the method that a server calls, because aiohttp adds a frame of its own to tracebacks as
    soon as an application has a middleware.
    """
    previous = web.Application._handle  # noqa: SLF001 - there is no public name for it

    @functools.wraps(previous)
    def _handle(self: web.Application, request: web.Request) -> Awaitable[web.StreamResponse]:
        return _observed(request, previous(self, request), _keeps_blocks)

    type.__setattr__(web.Application, "_handle", _handle)
    _observe_bodies()
    freeze = web.Application.pre_freeze

    @functools.wraps(freeze)
    def pre_freeze(self: web.Application) -> None:
        global _keeps_blocks
        middlewares = self.middlewares
        place = place_inside_tracing(middlewares)
        if place and not middlewares.frozen and _in_span not in middlewares:
            middlewares.insert(place, _in_span)
        if _in_span in middlewares or middleware in middlewares:
            _keeps_blocks = True
        freeze(self)

    type.__setattr__(web.Application, "pre_freeze", pre_freeze)


def _observe_bodies() -> None:
    """Record what a body raises, which is made after the application has given its answer."""
    previous = RequestHandler.finish_response

    @functools.wraps(previous)
    async def finish_response(
        self: RequestHandler, request: web.BaseRequest, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            return await previous(self, request, *args, **kwargs)
        except BaseException as exc:
            if isinstance(request, web.Request):  # of an application
                _failed(fp.capture("", ignore=web.HTTPException), request, exc)
            raise

    RequestHandler.finish_response = finish_response


@web.middleware
async def _in_span(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Behind a middleware that traces: in flight under its trace, recorded while its span lasts."""
    block: fp.capture[Any] | None = request.get(_KEY)
    if block is not None:
        block.follow_span()
    try:
        return await handler(request)
    except BaseException as exc:
        if block is not None:
            _failed(block, request, exc)
        raise


async def _observed(
    request: web.Request, answer: Awaitable[web.StreamResponse], keeps_block: bool
) -> web.StreamResponse:
    path = request.rel_url.raw_path  # which the router has asked for as well
    operation = f"{request.method} {request.path if '%' in path else path}"
    block = fp.capture(operation, ignore=web.HTTPException).enter()
    if keeps_block:
        request[_KEY] = block  # each access costs as much as the block
    try:
        response = await answer
    except BaseException as exc:
        _failed(block, request, exc)
        block.leave()
        raise
    block.leave()
    return response


def _failed(block: fp.capture[Any], request: web.BaseRequest, exc: BaseException) -> None:
    """Record what came through a function of ours, whose frame is the first of its traceback."""
    block.operation = _operation(request)
    block.failed(exc, own_frames=1)
