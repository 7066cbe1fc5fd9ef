"""gRPC without generated code: bytes in, bytes out. ``grpc_service.py PORT [aio]``."""

import asyncio
import sys
from concurrent import futures

import grpc


def do(request):
    what, _, n = request.decode().partition(" ")
    if what == "fail":
        raise KeyError(int(n))
    return b"well " + n.encode()


def unary(request, context):
    if request.startswith(b"refused"):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    return do(request)


def stream(request, context):
    yield b"half"
    yield unary(request, context)


async def unary_async(request, context):
    if request.startswith(b"refused"):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    return do(request)


async def stream_async(request, context):
    yield b"half"
    yield await unary_async(request, context)


def handlers(unary, stream):
    return grpc.method_handlers_generic_handler(
        "shop.Orders",
        {
            "One": grpc.unary_unary_rpc_method_handler(unary),
            "Many": grpc.unary_stream_rpc_method_handler(stream),
        },
    )


async def serve_async(port):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(unary_async, stream_async),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if "aio" in sys.argv:
        asyncio.run(serve_async(sys.argv[1]))
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handlers(unary, stream),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()
