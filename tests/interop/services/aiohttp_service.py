"""aiohttp's own server, on the port that is the first argument."""

import sys

from aiohttp import web

import faultplane as fp


async def ok(request):
    return web.json_response({"n": int(request.match_info["n"])})


async def fail(request):
    raise KeyError(int(request.match_info["n"]))


async def refused(request):
    raise web.HTTPForbidden


async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half ")
    raise OSError(int(request.match_info["n"]))


async def inside(request):
    try:
        raise TimeoutError(int(request.match_info["n"]))
    except TimeoutError as error:
        fp.record(error, "inside")
    return web.json_response({"n": int(request.match_info["n"])})


application = web.Application()
for handler in (ok, fail, refused, stream, inside):
    application.router.add_get(f"/{handler.__name__}/{{n:\\d+}}", handler)

if __name__ == "__main__":
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
