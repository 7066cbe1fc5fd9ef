"""Flask: requests are in flight, and what no error handler took is recorded under its rule.

>>> import flask
>>> from faultplane.integrations import flask as faultplane_flask
>>> app = flask.Flask("shop")
>>> faultplane_flask.install(app)

It stands around ``app.wsgi_app`` and is told of ``got_request_exception``. Recorded is what Flask
calls an unhandled exception, and what a streamed body raises; an HTTPException or what an
``errorhandler`` answered is not.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from faultplane.integrations.beside import told_of
from faultplane.integrations.wsgi import (
    BLOCK,
    Environ,
    Middleware,
    User,
    method_of,
    remote_user_of,
)

__all__ = ["install", "wire"]


def install(app: flask.Flask) -> None:
    """Observe the requests of ``app``; a second call changes nothing."""
    if not isinstance(app.wsgi_app, Middleware):
        app.wsgi_app = _Middleware(app, app.wsgi_app)
    _listen()


def wire() -> None:
    """Observe the requests of every application of this process."""
    flask.Flask.wsgi_app = _WsgiApp(flask.Flask.wsgi_app)
    _listen()


class _WsgiApp:
    """In the place of the method ``wsgi_app``: middleware around that of the instance.

    Made once for each application, unless a class of its own has a ``wsgi_app`` that asks this one.
    """

    def __init__(self, method: Any) -> None:
        self.method = method

    def __get__(self, app: flask.Flask | None, owner: type) -> Any:
        if app is None:
            return self.method
        middleware = _Middleware(app, self.method.__get__(app, owner))
        defined = (base.__dict__["wsgi_app"] for base in owner.__mro__ if "wsgi_app" in vars(base))
        if next(defined) is self:
            app.wsgi_app = middleware
        return middleware


class _Middleware(Middleware):
    """One that knows the usual answer of Flask, whose body is a list in an iterator of werkzeug."""

    def __init__(self, app: flask.Flask, wsgi_app: Any) -> None:
        super().__init__(wsgi_app, partial(_operation, app))
        self._app, self._wsgi_app = app, wsgi_app
        del self.application  # until it is asked for

    def __getattr__(self, name: str) -> Any:
        # The first request asks, before anything of it runs: a function around the application
        # would be a frame in the traceback of that request alone.
        if name != "application":
            raise AttributeError(name)
        _follow_spans(self._app)
        self.application = self._wsgi_app
        return self.application

    def _is_made(self, body: Any, environ: Environ) -> bool:
        try:
            # Private, and asked first: to stand around each body would be half of what we cost.
            response = body._callbacks[-1].__self__  # noqa: SLF001
            if type(response) is flask.Response:
                # A list of a class of its own may have code in its iteration and its end.
                made = type(response.response)
                return (made is list or made is tuple) and not response._on_close  # noqa: SLF001
        except (AttributeError, IndexError):
            pass
        return super()._is_made(body, environ)


def _listen() -> None:
    told_of(flask.got_request_exception, _failed)


def _follow_spans(app: flask.Flask) -> None:
    """Have `_begun` called last before each view; all others are registered at the first request.

    OpenTelemetry begins its span in such a function, and this one has to come behind it.
    """
    if "opentelemetry.trace" in sys.modules:
        before = app.before_request_funcs.get(None, ())
        others = [function for function in before if function is not _begun]
        app.before_request_funcs[None] = [*others, _begun]


def _begun() -> None:
    block = flask.request.environ.get(BLOCK)
    if block is not None:
        block.follow_span()


def _operation(app: flask.Flask, environ: Environ) -> str:
    """Method and rule, matched again: when a body fails its request is long over."""
    # As Flask does it, which knows subdomains and hosts.
    adapter = app.create_url_adapter(app.request_class(environ, populate_request=False))
    try:
        rule, _ = adapter.match(return_rule=True)
    except HTTPException:
        return method_of(environ)
    return f"{method_of(environ)} {rule}"


def _user() -> User:
    """Who Flask-Login says has signed in, else the server; asked of nobody for the first time."""
    login = flask.g.get("_login_user")
    identity = None if login is None else login.get_id()
    return remote_user_of(flask.request.environ) if identity is None else str(identity)


def _failed(sender: Any, exception: BaseException | None = None, **_: Any) -> None:
    if not flask.has_request_context():  # sent by somebody else, of something else
        return
    request = flask.request
    block = request.environ.get(BLOCK)
    if block is not None and exception is not None:
        if request.url_rule is not None:
            block.operation = f"{request.method} {request.url_rule}"
        block.failed(exception, user=_user)
