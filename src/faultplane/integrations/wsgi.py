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

from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

import faultplane as fp
from faultplane.integrations.naming import named

__all__ = ["BLOCK", "Body", "Middleware", "method_of", "observed", "remote_user_of"]

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


class Middleware:
    """A WSGI application with each request of ``application`` captured.

    ``operation`` names the operation of a failed request from its environ; without it that is the
    method alone, since a WSGI application does not say which route it took. While a request runs it
    is shown as in flight under its method and path, without the query string.

    ``user`` is asked whose request it was that failed, where users are kept (FAULTPLANE_USER_KEY)
    and the application has not said it with ``faultplane.set_user()``.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        operation: Callable[[Environ], str] = method_of,
        user: Callable[[Environ], User] = remote_user_of,
    ) -> None:
        self.application = application
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
        """Whether no code of the application runs any more; it is given on as it is then.

        Servers look at the type of lists and of their own files.
        """
        if isinstance(body, (list, tuple)):
            return True
        files = environ.get("wsgi.file_wrapper")
        return isinstance(files, type) and isinstance(body, files)

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
