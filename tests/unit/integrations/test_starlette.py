"""Operations of Starlette's and FastAPI's requests, wherever an application mounts their routes."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")

PROGRAM = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from faultplane.integrations import starlette
starlette.wire()

async def fail(request):
    raise KeyError("x")

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def ask(app, path, root=""):
    said = []
    async def send(message):
        if message["type"] == "http.response.start":
            said.append(message["status"])
    scope = {"type": "http", "method": "GET", "path": root + path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "scheme": "http", "server": ("shop", 80),
             "client": ("127.0.0.1", 1), "http_version": "1.1", "root_path": root}
    try:
        await app(scope, receive, send)
    except Exception as exc:
        said.append(type(exc).__name__)
    return said
"""


def test_mounts_are_part_of_the_operation_with_the_names_of_their_parameters(told):
    assert told(PROGRAM + """
async def plain(scope, receive, send):
    raise OSError("x")
inner = Starlette(routes=[Route("/orders/{n}", fail)])
app = Starlette(routes=[
    Route("/orders/{n}", fail),
    Route("/both/{n}", fail),
    Mount("/inner", app=inner),
    Mount("/shops/{shop}", routes=[Mount("/v1", routes=[Route("/orders/{n:int}", fail)])]),
    Mount("/plain", app=plain),
    Mount("", routes=[Route("/last/{n}", fail)]),
])
for path in ("/orders/7", "/both/7", "/inner/orders/7", "/shops/7/v1/orders/7", "/plain/7",
             "/last/7"):
    for root in ("", "/prefix"):
        say(asyncio.run(ask(app, path, root)))
say([counted(), in_flight()])
""") == [[500, "KeyError"]] * 8 + [[500, "OSError"]] * 2 + [[500, "KeyError"]] * 2 + [
        [
            {
                "GET /orders/{n}": 2,
                "GET /both/{n}": 2,
                "GET /inner/orders/{n}": 2,
                "GET /shops/{shop}/v1/orders/{n:int}": 2,
                "GET /plain": 2,
                "GET /last/{n}": 2,
            },
            [],
        ]
    ]  # fmt: skip


def test_what_a_mounted_application_answered_with_500_is_recorded_once_and_leaves_no_frame(told):
    assert told(
        PROGRAM
        + """
from starlette.middleware import Middleware as Entry

class Taking:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
        except KeyError as exc:
            say([name for name in frames(exc) if name in ("__call__", "_mounted", "fail")][-4:])

inner = Starlette(routes=[Route("/orders/{n}", fail)])
app = Starlette(routes=[Mount("/inner", app=inner)], middleware=[Entry(Taking)])
say(asyncio.run(ask(app, "/inner/orders/7")))
say([counted(), in_flight()])
"""
    ) == [["__call__", "__call__", "__call__", "fail"], [500], [{"GET /inner/orders/{n}": 1}, []]]


def test_routers_that_fastapi_includes_are_part_of_the_operation(told):
    pytest.importorskip("fastapi")
    assert told(PROGRAM + """
from fastapi import APIRouter, FastAPI
starlette.wire(FastAPI)
innermost, router, other = APIRouter(), APIRouter(prefix="/shop"), FastAPI()

@innermost.get("/orders/{n}")
async def order(n):
    raise KeyError(n)

@other.get("/orders/{n}")
async def another(n):
    raise KeyError(n)

router.include_router(innermost, prefix="/v1")
app = FastAPI()
app.include_router(router, prefix="/api")
app.include_router(router, prefix="/old")
app.mount("/other", other)
for path in ("/api/shop/v1/orders/7", "/old/shop/v1/orders/7", "/other/orders/7"):
    asyncio.run(ask(app, path))
say(counted())
""") == [
        {
            "GET /api/shop/v1/orders/{n}": 1,
            "GET /old/shop/v1/orders/{n}": 1,
            "GET /other/orders/{n}": 1,
        }
    ]  # fmt: skip
