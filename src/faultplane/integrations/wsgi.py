"""WSGI: each request is in flight until its body was sent, what it raises is recorded once.

>>> from faultplane.integrations.wsgi import Middleware
>>> def application(environ, start_response):
...     start_response("200 OK", [])
...     return [b"well"]
>>> application = Middleware(application)

Put it around the whole application, outside of other middleware. What the application answers
itself, a status of 500 included, is no error here: an exception is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final

import faultplane as fp
from faultplane.integrations.naming import named
from faultplane.integrations.outgoing import without_our_frames
from faultplane.integrations.serving import BUSY, LATE, Bounds, answer_headers

__all__ = ["BLOCK", "Body", "Bounded", "Middleware", "method_of", "observed", "remote_user_of"]

Environ = dict[str, Any]
User = str | int | None

BLOCK: Final = "faultplane.block"
"""Key of an environ under which the block of its request is."""
_OPERATION: Final = "faultplane.operation"
"""Key under which a middleware further in, which knows routes, leaves what names the request."""


def method_of(environ: Environ) -> str:
    """The operation of a request of which no route is known: its method."""
    return str(environ.get("REQUEST_METHOD", "GET"))


def remote_user_of(environ: Environ) -> User:
    """Who the server says has signed in (``REMOTE_USER``); None where it says nobody."""
    return str(environ.get("REMOTE_USER", "")) or None


def is_made(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether no code of the application runs any more; its body is given on as it is then.

    Servers look at the type of lists and of their own files.
    """
    if isinstance(body, (list, tuple)):
        return True
    files = environ.get("wsgi.file_wrapper")
    return isinstance(files, type) and isinstance(body, files)


class Middleware:
    """A WSGI application with each request of ``application`` captured.

    ``operation`` names the operation of a failed request from its environ; without it that is the
    method alone, since a WSGI application does not say which route it took. While a request runs it
    is shown as in flight under its method and path, without the query string.

    ``user`` is asked whose request it was that failed, where users are kept (FAULTPLANE_USER_KEY)
    and the application has not said it with ``faultplane.set_user()``.

    ``bounds`` has each request served within them, as `Bounded` does.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        operation: Callable[[Environ], str] = method_of,
        user: Callable[[Environ], User] = remote_user_of,
        *,
        bounds: Bounds | None = None,
    ) -> None:
        self.application = application if bounds is None else Bounded(application, bounds)
        self.operation = operation
        self.user = user

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as a server asks for it."""
        if BLOCK in environ:  # a middleware further out has it
            if self.operation is not method_of:
                environ[_OPERATION] = self.operation
            return self.application(environ, start_response)
        block = fp.capture(
            f"{environ.get('REQUEST_METHOD', 'GET')} {environ.get('PATH_INFO', '')}"
        ).enter()
        environ[BLOCK] = block
        try:
            body = self.application(environ, start_response)
        except BaseException as exc:
            block.operation = self._operation_of(environ)
            block.leave(exc, own_frames=1, user=lambda: self.user(environ))
            environ.pop(BLOCK, None)
            raise
        if not self._is_made(body, environ):
            return observed(body, block, environ, self._body_failed)
        block.leave()
        environ.pop(BLOCK, None)
        return body

    def _is_made(self, body: Iterable[bytes], environ: Environ) -> bool:
        return is_made(body, environ)

    def _operation_of(self, environ: Environ) -> str:
        operation = self.operation
        if operation is method_of:
            operation = environ.get(_OPERATION, method_of)
        return named(operation, environ, method_of(environ))

    def _body_failed(self, environ: Environ, block: fp.capture[Any], exc: BaseException) -> None:
        block.operation = self._operation_of(environ)
        block.failed(exc, own_frames=1, user=lambda: self.user(environ))


Failed = Callable[[Any, "fp.capture[Any]", BaseException], None]


def observed(body: Iterable[bytes], block: fp.capture[Any], request: Any, failed: Failed) -> Body:
    """A `Body` that offers what ``body`` does to who looks: its length, or its next part."""
    kind = type(body)
    if hasattr(kind, "__next__"):
        return _IteratorBody(body, block, request, failed)
    if hasattr(kind, "__len__"):
        return _SizedBody(body, block, request, failed)
    return Body(body, block, request, failed)


class Body:
    """The body of an answer that is still being made; the request is in flight until its end.

    ``failed`` is called with ``request``, the block and what the body raises, the first entry of
    whose traceback is ours. Where nobody takes or closes a body, its request ends when both it and
    ``request`` are dropped.
    """

    __slots__ = ("_block", "_body", "_failed", "_is_open", "_request")

    def __init__(
        self, body: Iterable[bytes], block: fp.capture[Any], request: Any, failed: Failed
    ) -> None:
        self._body = body
        self._block = block
        self._request = request
        self._failed = failed
        self._is_open = True

    def __iter__(self) -> Generator[bytes, None, None]:
        try:
            # Not "yield from": when a server drops this generator because a client is gone, that
            # would close the body, which the server closes itself.
            for part in self._body:  # noqa: UP028
                yield part
        except GeneratorExit:
            raise  # whoever drops it closes the body next
        except BaseException as exc:
            self._end(exc)
            raise
        self._end()

    def close(self) -> None:
        """Close the body, as servers do at its end or when a client is gone."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as exc:
            self._end(exc)
            raise
        if self._is_open:
            self._end()

    def __getattr__(self, name: str) -> Any:
        if name in Body.__slots__:
            raise AttributeError(name)  # of a copy that is not made yet
        return getattr(self._body, name)

    def _end(self, exc: BaseException | None = None) -> None:
        request, block = self._request, self._block
        if exc is not None:
            self._failed(request, block, exc)
        self._is_open = False
        block.leave()  # which does nothing if it was left before
        if type(request) is dict and request.get(BLOCK) is block:
            del request[BLOCK]


class _IteratorBody(Body):
    """One of which a middleware may take the next part, as of werkzeug's and of generators."""

    __slots__ = ()

    def __next__(self) -> bytes:
        try:
            return next(self._body)  # type: ignore[call-overload]
        except StopIteration:
            self._end()
            raise
        except BaseException as exc:
            self._end(exc)
            raise


class _SizedBody(Body):
    """One from whose length a server may find out the length of the answer."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class Bounded:
    """A WSGI application each request of which is served within ``bounds``.

    One that is too many is answered 503, with ``Retry-After``, before the application sees it. A
    thread cannot be interrupted: one whose time is over goes on, but `faultplane.time_left` tells
    it all along, in the body that it makes as well. One that has no time when it arrives is
    answered 504. A permit is held until the body was sent.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], bounds: Bounds) -> None:
        if not isinstance(bounds, Bounds):
            raise fp.errors.InvalidSetting(f"bounds must be Bounds, got {bounds!r}")
        self.application = application
        self.bounds = bounds
        self._key = "HTTP_" + (bounds.header or "").upper().replace("-", "_")
        self._entering: fp.Exchange[None, None] = fp.Exchange(lambda _: None)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as a server asks for it."""
        bounds = self.bounds
        try:
            if bounds.is_spared(environ):
                return self.application(environ, start_response)
            said = environ.get(self._key) if bounds.header else None
            seconds = bounds.seconds_of(said)
            if seconds is not None and seconds <= 0:
                return _answered(start_response, bounds, LATE)
            if bounds.limit is None:
                return self._served(seconds, environ, start_response)
            try:
                call = self._entering.begin(bounds.limit)
            except fp.errors.LimitExceeded:
                return _answered(start_response, bounds, BUSY)
            try:
                body = self._served(seconds, environ, start_response)
            except BaseException:
                call.succeeded()  # whatever came of it: it is over
                raise
            return _holding(call, body, environ)
        except BaseException as error:
            without_our_frames(error)
            raise

    def _served(
        self, seconds: float | None, environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if seconds is None:
            return self.application(environ, start_response)
        until = time.monotonic() + seconds
        with fp.deadline(seconds):
            body = self.application(environ, start_response)
        return body if is_made(body, environ) else _InTime(body, until)


class _InTime:
    """A body each part of which is made within a deadline."""

    def __init__(self, body: Iterable[bytes], until: float) -> None:
        self._body, self._until = body, until
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> _InTime:
        return self

    def __next__(self) -> bytes:
        with fp.deadline(max(self._until - time.monotonic(), 0.0)):
            if self._parts is None:
                self._parts = iter(self._body)
            try:
                return next(self._parts)
            except BaseException as error:
                without_our_frames(error)
                raise

    def __getattr__(self, name: str) -> Any:
        if name in {"_body", "_parts", "_until"}:
            raise AttributeError(name)  # of a copy that is not made yet
        return getattr(self._body, name)  # close(), where it has one


class _Permit:
    """What a body ends, as a block is ended."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def leave(self) -> None:
        """The body was sent, or nobody wants it."""
        self._call.succeeded()


def _holding(call: Any, body: Iterable[bytes], environ: Environ) -> Iterable[bytes]:
    """``body``, with which ``call`` ends."""
    if is_made(body, environ):
        call.succeeded()
        return body
    permit: Any = _Permit(call)
    return observed(body, permit, None, _without_ours)


def _without_ours(request: object, block: object, exc: BaseException) -> None:
    without_our_frames(exc)


def _answered(start_response: Callable[..., Any], bounds: Bounds, status: str) -> list[bytes]:
    start_response(status, answer_headers(bounds, status))
    return [b""]
