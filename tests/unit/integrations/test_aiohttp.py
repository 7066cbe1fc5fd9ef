"""aiohttp's integration, wired, on its own server: what fails after the handler has answered."""

from __future__ import annotations

import pytest

pytest.importorskip("aiohttp")

PROGRAM = """
import logging
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from faultplane.integrations import aiohttp as faultplane_aiohttp
faultplane_aiohttp.wire()
fp.install_hooks(logging=True)
logged = []
class Keeping(logging.Handler):
    def emit(self, record):
        logged.append("faultplane" in logging.Formatter().formatException(record.exc_info))
logging.getLogger("aiohttp.server").addHandler(Keeping())
logging.getLogger("aiohttp.server").propagate = False

async def asked(app, *paths):
    async with TestClient(TestServer(app)) as client:
        for path in paths:
            try:
                async with client.get(path) as response:
                    await response.read()
            except Exception:
                pass
"""


def test_a_body_that_fails_is_recorded_once_under_the_route_of_its_request(told):
    assert told(PROGRAM + """
async def parts():
    yield b"half"
    raise OSError("gone")
async def order(request):
    return web.Response(body=parts())
app = web.Application()
app.router.add_get("/orders/{n}", order)
asyncio.run(asked(app, "/orders/7", "/orders/8"))
say([counted(), in_flight(), logged])
""") == [[{"GET /orders/{n}": 2}, [], [False, False]]]  # fmt: skip


def test_what_prepares_an_answer_belongs_to_its_request(told):
    assert told(PROGRAM + """
async def order(request):
    return web.Response(text="well")
async def sign(request, response):
    raise LookupError("no key")
app = web.Application()
app.router.add_get("/orders/{n}", order)
app.on_response_prepare.append(sign)
asyncio.run(asked(app, "/orders/7"))
say([list(counted()), in_flight()])
""") == [[["GET /orders/{n}"], []]]  # fmt: skip


def test_a_middleware_of_the_application_goes_on_where_a_server_was_made_before(told):
    """A server has the method of its application from the time when it was made."""
    assert told(PROGRAM.replace("faultplane_aiohttp.wire()", "") + """
async def order(request):
    say(in_flight())
    raise KeyError("x")
def serving():
    app = web.Application(middlewares=[faultplane_aiohttp.middleware])
    app.router.add_get("/orders/{n}", order)
    return TestServer(app)
async def main():
    early = serving()
    await early.start_server()
    faultplane_aiohttp.wire()
    for server in (early, serving()):
        async with TestClient(server) as client:
            async with client.get("/orders/7") as response:
                await response.read()
asyncio.run(main())
say([counted()["GET /orders/{n}"], in_flight()])
""") == [["GET /orders/7"], ["GET /orders/7"], [2, []]]  # fmt: skip
