"""Django: requests are in flight, and what no view answered is recorded under its route.

Put the middleware first in the settings:

.. code-block:: python

    MIDDLEWARE = ["faultplane.integrations.django.middleware", ...]

It works under WSGI and ASGI. Recorded is what Django calls an unhandled exception
(``got_request_exception``), and what a streamed body raises; ``Http404``, ``PermissionDenied`` and
their like, which Django answers itself, are not.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.handlers import base
from django.core.signals import got_request_exception
from django.utils.decorators import sync_and_async_middleware

import faultplane as fp
from faultplane.integrations.beside import place_inside_tracing, told_of
from faultplane.integrations.wsgi import User, observed, remote_user_of

__all__ = ["middleware", "wire"]

_PATH = f"{__name__}.middleware"
_ATTRIBUTE = "_faultplane_block"


def _operation(request: Any) -> str:
    route = getattr(request.resolver_match, "route", None)
    return f"{request.method} /{route}" if route is not None else str(request.method)


def _user(request: Any) -> User:
    """The key of the user that was loaded for the request; none is loaded for this."""
    user = getattr(request, "_cached_user", None) or getattr(request, "_acached_user", None)
    if user is not None and user.is_authenticated:
        return user.pk if isinstance(user.pk, int) else str(user.pk)
    return remote_user_of(request.META)


@sync_and_async_middleware
def middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Django's middleware factory."""
    told_of(got_request_exception, _failed)

    if iscoroutinefunction(get_response):

        async def observe_async(request: Any) -> Any:
            block = _begin(request)
            try:
                response = await get_response(request)
            except BaseException as exc:
                block.operation = _operation(request)
                block.leave(exc, own_frames=1, user=lambda: _user(request))
                raise
            return _ended(request, response, block)

        return observe_async

    def observe(request: Any) -> Any:
        block = _begin(request)
        try:
            response = get_response(request)
        except BaseException as exc:
            block.operation = _operation(request)
            block.leave(exc, own_frames=1, user=lambda: _user(request))
            raise
        return _ended(request, response, block)

    return observe


def wire() -> None:
    """Have Django's handlers read the settings with the middleware in them."""
    previous = base.BaseHandler.load_middleware
    if hasattr(previous, "faultplane"):
        return

    lock = threading.Lock()
    loading = 0

    @functools.wraps(previous)
    def load_middleware(self: base.BaseHandler, is_async: bool = False) -> None:
        nonlocal loading
        with lock:  # not while it loads: that may wait for a handler that another thread makes
            loading += 1
            base.settings = _Settings()
        try:
            previous(self, is_async)
        except BaseException as exc:
            BaseException.with_traceback(exc, exc.__traceback__ and exc.__traceback__.tb_next)
            raise
        finally:
            with lock:
                loading -= 1
                if not loading:
                    base.settings = settings  # which each request asks

    load_middleware.faultplane = True  # type: ignore[attr-defined]
    base.BaseHandler.load_middleware = load_middleware


class _Settings:
    """The settings as Django's handlers see them; the application's own stay what they are.

    A debug page shows those, and checks and other applications look at them.
    """

    __slots__ = ()

    @property
    def MIDDLEWARE(self) -> Any:  # noqa: N802 - Django's name
        """The middleware of the application and ours."""
        given = settings.MIDDLEWARE
        if not isinstance(given, (list, tuple)) or _PATH in given:
            return given
        place = place_inside_tracing(given)
        return [*given[:place], _PATH, *given[place:]]

    def __getattr__(self, name: str) -> Any:
        return getattr(settings, name)


def _begin(request: Any) -> fp.capture[Any]:
    block = fp.capture(f"{request.method} {request.path}").enter()
    setattr(request, _ATTRIBUTE, block)
    return block


def _failed(sender: Any = None, request: Any = None, **_: Any) -> None:
    block = getattr(request, _ATTRIBUTE, None)
    exc = sys.exception()
    if block is not None and exc is not None:
        block.operation = _operation(request)
        block.failed(exc, user=lambda: _user(request))


def _ended(request: Any, response: Any, block: fp.capture[Any]) -> Any:
    """Keep what streams its body in flight until the body is at its end."""
    if not getattr(response, "streaming", False):
        block.leave()
    elif response.is_async:
        # What it was made from: the property adds a frame to tracebacks each time it is asked.
        body = getattr(response, "_iterator", None) or response.streaming_content
        response.streaming_content = _async_body(body, request, block)
    elif getattr(response, "file_to_stream", None) is not None:
        block.leave()  # the server sends it, with what the system has for that
    else:
        body = response.streaming_content
        response.streaming_content = observed(body, block, request, _body_failed)
    return response


def _body_failed(request: Any, block: fp.capture[Any], exc: BaseException) -> None:
    block.operation = _operation(request)
    block.failed(exc, own_frames=1, user=lambda: _user(request))


async def _async_body(
    body: AsyncIterator[bytes], request: Any, block: fp.capture[Any]
) -> AsyncIterator[bytes]:
    try:
        async for chunk in body:
            yield chunk
    except BaseException as exc:
        block.operation = _operation(request)
        block.leave(exc, own_frames=1, user=lambda: _user(request))
        raise
    block.leave()
