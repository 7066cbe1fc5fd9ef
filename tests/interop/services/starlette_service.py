"""Starlette."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

import faultplane as fp


async def ok(request):
    return JSONResponse({"n": request.path_params["n"]})


async def fail(request):
    raise KeyError(request.path_params["n"])


async def refused(request):
    raise HTTPException(403)


async def stream(request):
    async def body():
        yield b"half "
        raise OSError(request.path_params["n"])

    return StreamingResponse(body())


async def inside(request):
    try:
        raise TimeoutError(request.path_params["n"])
    except TimeoutError as error:
        fp.record(error, "inside")
    return JSONResponse({"n": request.path_params["n"]})


application = Starlette(
    routes=[
        Route(f"/{handler.__name__}/{{n:int}}", handler)
        for handler in (ok, fail, refused, stream, inside)
    ]
)
