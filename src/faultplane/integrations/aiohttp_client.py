"""aiohttp's client: each request goes through a `Dependency`, by a middleware of the session.

>>> import aiohttp
>>> import faultplane as fp
>>> from faultplane.integrations.aiohttp_client import GuardedMiddleware
>>> bank = fp.Dependency("bank", retry=fp.Retry(attempts=3), breaker=fp.Breaker())
>>> async def main():
...     guarded = GuardedMiddleware(bank, per_host=True)
...     async with aiohttp.ClientSession(middlewares=[guarded]) as session:
...         ...

The last answer is given as it came, a status of 503 included; what is raised is aiohttp's own, or
`BreakerOpen` and `LimitExceeded`. Redirects are requests of their own. Needs aiohttp 3.12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Final

import aiohttp

import faultplane as fp
from faultplane.integrations.outgoing import (
    IDEMPOTENT,
    KEY_HEADER,
    Until,
    checked,
    failure_or_none,
    is_short,
    without_our_frames,
)

__all__ = ["GuardedMiddleware"]

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]

_Failure = tuple[BaseException, TracebackType | None]

KEPT_SECONDS: Final = 1.0
"""How long it is kept what a request has failed with, in case that aiohttp asks for it again."""
_CLOSED: Final = "Connection closed"
"""What aiohttp says of a body whose response was closed before its end by who had it."""
_SWITCHING_PROTOCOLS: Final = 101


class GuardedMiddleware:
    """A middleware for ``aiohttp.ClientSession`` that sends each request through ``dependency``.

    aiohttp itself sends a request a second time if its connection breaks. Here it does not: the
    policy of the dependency says how often.

    Args:
        dependency: what guards.
        per_host: guard each host and port by itself, through ``dependency.for_key``.
        methods: those of which a request may be repeated. One of another method may if it has the
            header ``Idempotency-Key``, or has not reached the server. A body that can be read once
            only is never sent again.
        until: "body": a call ends when its body was read, or its response released, and one that
            breaks off is a failure, which is not tried again. "headers": it ends before the body,
            as that of a websocket always does.

    Raises InvalidSetting for what cannot be used.
    """

    def __init__(
        self,
        dependency: fp.Dependency,
        *,
        per_host: bool = False,
        methods: Collection[str] = IDEMPOTENT,
        until: Until = "body",
    ) -> None:
        self.dependency = dependency
        self.per_host = per_host
        self.methods = checked(dependency, methods, until)
        self.until = until
        self._given_up: dict[int, tuple[aiohttp.ClientRequest, _Failure]] = {}

    def dependency_of(self, request: aiohttp.ClientRequest) -> fp.Dependency:
        """What guards a request."""
        if not self.per_host:
            return self.dependency
        url = request.url
        port = "" if url.is_default_port() else f":{url.port}"
        return self.dependency.for_key(f"{url.raw_host}{port}")

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: Handler
    ) -> aiohttp.ClientResponse:
        """aiohttp's: send a request."""
        failure = self._first_round(request)
        try:
            if failure is not None:
                raise failure[0].with_traceback(failure[1])
            _refuse_late()
            may = request.method in self.methods or KEY_HEADER in request.headers
            response, call = await fp.Exchange(_in_time(handler), _judge, _drop).run_async(
                self.dependency_of(request),
                request,
                repeatable=lambda: may and not getattr(request.body, "consumed", False),
            )
        except BaseException as error:
            without_our_frames(error)
            if failure is None:
                self._keep(request, error)
            raise
        if call is not None:
            if self.until == "headers" or response.status == _SWITCHING_PROTOCOLS:
                call.succeeded()
            else:
                _last_until_released(response, call, _timer_of(request))
        return response

    def _first_round(self, request: aiohttp.ClientRequest) -> _Failure | None:
        """What ended the request that aiohttp makes anew; None for one that it has not made before.

        It is the same one to whoever called, and has the same timer.
        """
        kept = self._given_up.pop(id(_timer_of(request)), None)
        if kept is None or kept[0] is request:  # as where another middleware tries again
            return None
        return kept[1]

    def _keep(self, request: aiohttp.ClientRequest, error: BaseException) -> None:
        # What is not one of these is not tried again by aiohttp.
        if isinstance(error, (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            key = id(_timer_of(request))  # which the request keeps alive
            self._given_up[key] = request, (error, error.__traceback__)
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._given_up.pop, key, None)


# ------------------------------------------------------------------------------------ requests


def _timer_of(request: aiohttp.ClientRequest) -> object:
    """The timer of what a session was called with: of redirects, too."""
    return getattr(request, "_timer", None)


def _refuse_late() -> None:
    left = fp.time_left()
    if left is not None and left <= 0:
        raise aiohttp.ConnectionTimeoutError("no time is left for the request")


def _in_time(handler: Handler) -> Handler:
    """``handler``, cancelled at the end of the time that there is.

    A middleware cannot shorten the timeouts of a request, which go on beside this.
    """

    async def send(request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        async with asyncio.timeout(fp.time_left()):
            return await handler(request)

    return send


# ------------------------------------------------------------------------------------- answers


def _judge(response: aiohttp.ClientResponse) -> aiohttp.ClientResponseError | None:
    """The error that an answer stands for, as `raise_for_status` would raise it."""
    if response.status < 400:
        return None
    error = aiohttp.ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message=response.reason or "",
        headers=response.headers,
    )
    return failure_or_none(error)


async def _drop(response: aiohttp.ClientResponse) -> None:
    try:
        if is_short(response.headers.get("Content-Length")):
            await response.read()  # so that the connection is kept
    except (aiohttp.ClientError, TimeoutError):
        pass  # nobody gets it
    finally:
        response.release()


def _last_until_released(response: aiohttp.ClientResponse, call: Any, timer: object) -> None:
    """End ``call`` when the connection of ``response`` is given back or closed."""
    connection, content = response.connection, response.content
    if connection is None:  # the whole body has come with the headers
        call.succeeded()
        return

    def ended() -> None:
        error = content.exception()
        if type(error) is aiohttp.ClientConnectionError and error.args == (_CLOSED,):
            error = None
            if getattr(timer, "_cancelled", False):  # that of the whole request
                error = TimeoutError("the body was not there in time")
        if error is None:
            call.succeeded()
        else:
            call.failed(error, last=True)

    connection.add_callback(ended)
