"""httpx: each request goes through a `Dependency`, by a transport around the client's own.

>>> import httpx
>>> import faultplane as fp
>>> from faultplane.integrations.httpx import AsyncGuardedTransport, GuardedTransport
>>> bank = fp.Dependency("bank", retry=fp.Retry(attempts=3), breaker=fp.Breaker())
>>> client = httpx.Client(transport=GuardedTransport(bank, per_host=True))
>>> client.close()

The last answer is given as it came, a status of 503 included; what is raised is httpx's own, or
`BreakerOpen` and `LimitExceeded`. Redirects are requests of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any

import httpx

import faultplane as fp
from faultplane.integrations.outgoing import (
    IDEMPOTENT,
    KEY_HEADER,
    Until,
    checked,
    failure_or_none,
    is_short,
    seconds_left,
    without_our_frames,
)

__all__ = ["AsyncGuardedTransport", "GuardedTransport"]

_TIMEOUTS = ("connect", "read", "write", "pool")


class _Guarded:
    """What the two transports have in common."""

    def __init__(
        self, dependency: fp.Dependency, per_host: bool, methods: Collection[str], until: Until
    ) -> None:
        self.dependency = dependency
        self.per_host = per_host
        self.methods = checked(dependency, methods, until)
        self.until = until

    def dependency_of(self, request: httpx.Request) -> fp.Dependency:
        """What guards a request."""
        if not self.per_host:
            return self.dependency
        return self.dependency.for_key(request.url.netloc.decode("ascii"))

    def repeatable(self, request: httpx.Request) -> bool:
        """Whether a request may be sent again after it has arrived."""
        if request.method not in self.methods and KEY_HEADER not in request.headers:
            return False
        stream = request.stream
        if isinstance(stream, httpx.ByteStream):
            return True
        # A form with files: httpx goes back to their beginning, where that can be done.
        fields = getattr(stream, "fields", None)
        return fields is not None and all(_can_be_read_again(field) for field in fields)


class GuardedTransport(_Guarded, httpx.BaseTransport):
    """A transport for ``httpx.Client`` that sends each request through ``dependency``.

    Args:
        dependency: what guards.
        transport: what sends; ``httpx.HTTPTransport()`` where it is left out. A client that is
            given a transport makes none itself: its ``verify``, ``proxy``, ``limits`` and
            ``http2`` are arguments of that one then.
        per_host: guard each host and port by itself, through ``dependency.for_key``.
        methods: those of which a request may be repeated. One of another method may if it has the
            header ``Idempotency-Key``, or has not reached the server. A body that can be read once
            only is never sent again.
        until: "body": a call ends when its body was read or closed, and one that breaks off is a
            failure, which is not tried again. "headers": it ends before the body, as is right for
            bodies that never end.

    Raises InvalidSetting for what cannot be used.
    """

    def __init__(
        self,
        dependency: fp.Dependency,
        transport: httpx.BaseTransport | None = None,
        *,
        per_host: bool = False,
        methods: Collection[str] = IDEMPOTENT,
        until: Until = "body",
    ) -> None:
        super().__init__(dependency, per_host, methods, until)
        self.transport = httpx.HTTPTransport() if transport is None else transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """httpx's: send a request."""
        try:
            _refuse_late(request)
            dependency = self.dependency_of(request)

            def send(request: httpx.Request) -> httpx.Response:
                own = _bound(request, dependency)
                try:
                    response = self.transport.handle_request(request)
                finally:
                    _unbound(request, own)
                response.request = request
                return response

            exchange = fp.Exchange(send, _judge, _drop)
            repeatable = self.repeatable(request)
            response, call = exchange.run(dependency, request, repeatable=repeatable)
        except BaseException as error:
            without_our_frames(error)
            raise
        if call is not None and self.until == "headers":
            call.succeeded()
        elif call is not None:
            response.stream = _Body(response.stream, call)
        return response

    def close(self) -> None:
        """Close the transport within."""
        self.transport.close()


class AsyncGuardedTransport(_Guarded, httpx.AsyncBaseTransport):
    """The same for ``httpx.AsyncClient`` on asyncio, around ``httpx.AsyncHTTPTransport()``."""

    def __init__(
        self,
        dependency: fp.Dependency,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        per_host: bool = False,
        methods: Collection[str] = IDEMPOTENT,
        until: Until = "body",
    ) -> None:
        super().__init__(dependency, per_host, methods, until)
        self.transport = httpx.AsyncHTTPTransport() if transport is None else transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """httpx's: send a request."""
        try:
            _refuse_late(request)
            dependency = self.dependency_of(request)

            async def send(request: httpx.Request) -> httpx.Response:
                own = _bound(request, dependency)
                try:
                    response = await self.transport.handle_async_request(request)
                finally:
                    _unbound(request, own)
                response.request = request
                return response

            exchange = fp.Exchange(send, _judge, _drop_async)
            repeatable = self.repeatable(request)
            response, call = await exchange.run_async(dependency, request, repeatable=repeatable)
        except BaseException as error:
            without_our_frames(error)
            raise
        if call is not None and self.until == "headers":
            call.succeeded()
        elif call is not None:
            response.stream = _AsyncBody(response.stream, call)
        return response

    async def aclose(self) -> None:
        """Close the transport within."""
        await self.transport.aclose()


# ------------------------------------------------------------------------------------ requests


def _can_be_read_again(field: Any) -> bool:
    file = getattr(field, "file", b"")  # a field of text has none
    return isinstance(file, (str, bytes)) or (hasattr(file, "seekable") and file.seekable())


def _refuse_late(request: httpx.Request) -> None:
    left = fp.time_left()
    if left is not None and left <= 0:
        raise httpx.ConnectTimeout("no time is left for the request", request=request)


def _bound(request: httpx.Request, dependency: fp.Dependency) -> Any:
    """Have httpx wait no longer than there is time; the extensions that the request had.

    httpx keeps what it is given for the body as well, so the mapping is a new one for each try.
    """
    own = request.extensions
    left = seconds_left(dependency)
    if left is not None:
        said = own.get("timeout", {})
        waits = {name: _shorter(said.get(name), left) for name in _TIMEOUTS}
        request.extensions = {**own, "timeout": waits}
    return own


def _unbound(request: httpx.Request, own: Any) -> None:
    request.extensions = own


def _shorter(own: float | None, left: float) -> float:
    return left if own is None else min(own, left)


# ------------------------------------------------------------------------------------- answers


def _judge(response: httpx.Response) -> httpx.HTTPStatusError | None:
    """The error that an answer stands for, as `raise_for_status` would raise it."""
    if response.status_code < 400:
        return None
    said = f"{response.status_code} {response.reason_phrase}"
    error = httpx.HTTPStatusError(said, request=response.request, response=response)
    return failure_or_none(error)


def _drop(response: httpx.Response) -> None:
    try:
        if is_short(response.headers.get("Content-Length")):
            for _ in response.stream:
                pass
    except httpx.HTTPError:
        pass  # nobody gets it
    finally:
        response.close()


async def _drop_async(response: httpx.Response) -> None:
    try:
        if is_short(response.headers.get("Content-Length")):
            async for _ in response.stream:
                pass
    except httpx.HTTPError:
        pass  # nobody gets it
    finally:
        await response.aclose()


class _Body(httpx.SyncByteStream):
    """The body of an answer: its call ends with it."""

    def __init__(self, stream: Any, call: Any) -> None:
        self._stream, self._call = stream, call

    def __iter__(self) -> Iterator[bytes]:
        try:
            # Not "yield from": that would close what httpx closes itself.
            for part in self._stream:  # noqa: UP028
                yield part
        except GeneratorExit:
            raise  # whoever drops it closes the body next
        except BaseException as error:
            self._call.failed(error, last=True)
            without_our_frames(error)
            raise
        self._call.succeeded()

    def close(self) -> None:
        try:
            self._stream.close()
        except BaseException as error:
            self._call.failed(error, last=True)
            without_our_frames(error)
            raise
        self._call.succeeded()


class _AsyncBody(httpx.AsyncByteStream):
    """The same of an asynchronous answer."""

    def __init__(self, stream: Any, call: Any) -> None:
        self._stream, self._call = stream, call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except GeneratorExit:
            raise  # whoever drops it closes the body next
        except BaseException as error:
            self._call.failed(error, last=True)
            without_our_frames(error)
            raise
        self._call.succeeded()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        except BaseException as error:
            self._call.failed(error, last=True)
            without_our_frames(error)
            raise
        self._call.succeeded()
