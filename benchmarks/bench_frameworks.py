"""What a request costs in the middleware, beside the same application without.

Servers and frameworks are left out: `python -m benchmarks.peers.frameworks` has those.
"""

from __future__ import annotations

import asyncio

from .cores import CORES, Home, load

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/orders/7"}
SCOPE = {"type": "http", "method": "GET", "path": "/orders/7"}


class Streamed:
    """A body that is made while it is sent, as frameworks give to servers."""

    def __iter__(self):
        return iter((b"well",))

    def close(self):
        pass


def listed(environ, start_response):
    """A WSGI application whose body is there at once."""
    return [b"well"]


def streamed(environ, start_response):
    """A WSGI application whose body is made later."""
    return Streamed()


async def answered(scope, receive, send):
    """An ASGI application."""


def serve(application):
    """One request, as a WSGI server makes it."""
    body = application(dict(ENVIRON), None)
    for _ in body:
        pass
    if hasattr(body, "close"):
        body.close()


class Request:
    """A request of an application that does nothing, with and without the middleware."""

    params = (CORES,)
    param_names = ("core",)

    def setup(self, core):
        fp = load(core)
        from faultplane.integrations import asgi, wsgi

        self.home = Home()
        fp.init(service="bench")
        self.listed, self.streamed = wsgi.Middleware(listed), wsgi.Middleware(streamed)
        self.asgi = asgi.Middleware(answered)
        self.loop = asyncio.new_event_loop()

    def teardown(self, core):
        self.loop.close()
        self.home.remove()

    def time_plain_wsgi(self, core):
        serve(listed)

    def time_wsgi(self, core):
        serve(self.listed)

    def time_plain_wsgi_streamed(self, core):
        serve(streamed)

    def time_wsgi_streamed(self, core):
        serve(self.streamed)

    async def _thousand(self, application):
        for _ in range(1000):
            await application(dict(SCOPE), None, None)

    def time_thousand_plain_asgi(self, core):
        self.loop.run_until_complete(self._thousand(answered))

    def time_thousand_asgi(self, core):
        self.loop.run_until_complete(self._thousand(self.asgi))
