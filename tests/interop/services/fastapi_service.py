"""FastAPI."""

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

import faultplane as fp

application = FastAPI()


@application.get("/ok/{n}")
async def ok(n: int):
    return {"n": n}


@application.get("/fail/{n}")
async def fail(n: int):
    raise KeyError(n)


@application.get("/refused/{n}")
def refused(n: int):
    raise HTTPException(403)


@application.get("/stream/{n}")
async def stream(n: int):
    async def body():
        yield b"half "
        raise OSError(n)

    return StreamingResponse(body())


@application.get("/inside/{n}")
def inside(n: int):
    try:
        raise TimeoutError(n)
    except TimeoutError as error:
        fp.record(error, "inside")
    return {"n": n}
