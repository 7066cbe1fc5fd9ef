"""Failures of gRPC and protobuf, by a real server on loopback that aborts with each code.

The words are those of ``corpus_services_http.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from corpus_services_http import WAIT_SECONDS_MAX, case, made
from failures_network import unused_port

# The text of grpc.StatusCode, and what an error of that code is.
CODES = {
    "CANCELLED": "Concurrency final Fallback ignored",
    "UNKNOWN": "DependencyService final",
    "INVALID_ARGUMENT": "DataValidation yes success",
    "DEADLINE_EXCEEDED": "Timeout",
    "NOT_FOUND": "DataValidation yes success",
    "ALREADY_EXISTS": "DataValidation yes success",
    "PERMISSION_DENIED": "Permission yes success",
    "RESOURCE_EXHAUSTED": "ResourceExhausted target yes",
    "FAILED_PRECONDITION": "BusinessLogic",
    "ABORTED": "Concurrency later target yes success",
    "OUT_OF_RANGE": "DataValidation yes success",
    "UNIMPLEMENTED": "VersionMismatch target yes success",
    "INTERNAL": "DependencyService final",
    "UNAVAILABLE": "DependencyService unknown",
    "DATA_LOSS": "Internal category=Data ManualIntervention target yes",
    "UNAUTHENTICATED": "Permission yes success",
}
FLOW = "Processing Fallback ignored"
SAME = bytes  # what a request and a reply are, unchanged


def retry_info(seconds, nanos=0):
    """A google.rpc.Status with a RetryInfo in its details, written by hand."""

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    def varint(number, value):
        done = bytearray([number << 3])
        while value > 127:
            done.append(value & 127 | 128)
            value >>= 7
        return bytes(done) + bytes([value])

    delay = varint(1, seconds) + (varint(2, nanos) if nanos else b"")
    info = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, delay))
    other = field(1, b"type.googleapis.com/google.rpc.Help") + field(2, b"")
    return varint(1, 8) + field(2, b"slow down") + field(3, other) + field(3, info)


@contextlib.contextmanager
def served(code, trailers=(), text="text"):
    """Address of a server that ends each call with that code, or that waits until it has ended."""
    import grpc

    def unary(request, context):
        if code is None:
            ended = threading.Event()
            if context.add_callback(ended.set):
                ended.wait(WAIT_SECONDS_MAX)
        context.set_trailing_metadata(trailers)
        context.abort(grpc.StatusCode[code or "UNKNOWN"], text)

    def stream(request, context):
        yield b"first"
        unary(request, context)

    with ThreadPoolExecutor(2) as pool:
        host = grpc.server(pool)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(unary, SAME, SAME),
            "Stream": grpc.unary_stream_rpc_method_handler(stream, SAME, SAME),
        }
        host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Shop", handlers),))
        port = host.add_insecure_port("127.0.0.1:0")
        host.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            host.stop(None).wait(WAIT_SECONDS_MAX)


def call(address, method="Unary", request=b"x", timeout=WAIT_SECONDS_MAX, **settings):
    import grpc

    with grpc.insecure_channel(address, **settings) as channel:
        if method == "Stream":
            return list(channel.unary_stream(f"/Shop/{method}", SAME, SAME)(b"x", timeout=timeout))
        return channel.unary_unary(f"/Shop/{method}", SAME, SAME)(request, timeout=timeout)


def call_async(address):
    import grpc

    async def ask():
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary("/Shop/Unary", SAME, SAME)(b"x", timeout=WAIT_SECONDS_MAX)

    asyncio.run(ask())


def aborted(how, code, trailers=()):
    with served(code, trailers) as address:
        how(address)


def streamed(address):
    call(address, "Stream")


for _code, _words in CODES.items():
    case(f"grpc: {_code}", _words)(lambda code=_code: aborted(call, code))
    case(f"grpc: {_code} of a stream", _words)(lambda code=_code: aborted(streamed, code))
    case(f"grpc.aio: {_code}", _words)(lambda code=_code: aborted(call_async, code))

PUSHBACK = "grpc-retry-pushback-ms"
DETAILS = "grpc-status-details-bin"
for _how in (call, call_async, streamed):
    _name = f"grpc: by {_how.__name__}:"
    case(f"{_name} exhausted, pushback", "RateLimit after=1.5")(
        lambda how=_how: aborted(how, "RESOURCE_EXHAUSTED", [(PUSHBACK, "1500")])
    )
    case(f"{_name} exhausted, RetryInfo", "RateLimit after=3.5")(
        lambda how=_how: aborted(how, "RESOURCE_EXHAUSTED", [(DETAILS, retry_info(3, 500_000_000))])
    )
    case(f"{_name} unavailable, pushback", "DependencyService unknown after=0")(
        lambda how=_how: aborted(how, "UNAVAILABLE", [(PUSHBACK, "0")])
    )
    case(f"{_name} unavailable, told to stop", "DependencyService unknown final")(
        lambda how=_how: aborted(how, "UNAVAILABLE", [(PUSHBACK, "-1")])
    )
case("grpc: exhausted, told to stop", "ResourceExhausted final target yes")(
    lambda: aborted(call, "RESOURCE_EXHAUSTED", [(PUSHBACK, "-1")])
)
case("grpc: exhausted, pushback that is no number", "ResourceExhausted final target yes")(
    lambda: aborted(call, "RESOURCE_EXHAUSTED", [(PUSHBACK, "soon")])
)
case("grpc: exhausted, details that are garbage", "ResourceExhausted target yes")(
    lambda: aborted(call, "RESOURCE_EXHAUSTED", [(DETAILS, b"\xff\xff\xff\xff\xff\xff")])
)
case("grpc: wait an hour, but what was asked is wrong", "DataValidation yes success")(
    lambda: aborted(call, "INVALID_ARGUMENT", [(DETAILS, retry_info(3600))])
)
case("grpc: wait two days", "RateLimit after=86400")(
    lambda: aborted(call, "RESOURCE_EXHAUSTED", [(DETAILS, retry_info(172_800))])
)


@case("grpc: no such method", "VersionMismatch target yes success")
def _():
    with served("UNKNOWN") as address:
        call(address, "Missing")


@case("grpc: nobody listens", "Transport no")
def _():
    host, port = unused_port()
    call(f"{host}:{port}")


@case("grpc.aio: nobody listens", "Transport no")
def _():
    host, port = unused_port()
    call_async(f"{host}:{port}")


@case("grpc: no such host", "Transport no")
def _():
    call("no-such-host.invalid:1")


@case("grpc: no answer in time", "Timeout")
def _():
    with served(None) as address:
        call(address, timeout=0.05)


@case("grpc: the reply cannot be read", "DependencyService final")
def _():
    import grpc

    def broken(data):
        raise ValueError(data)

    with ThreadPoolExecutor(1) as pool:
        host = grpc.server(pool)
        good = grpc.unary_unary_rpc_method_handler(lambda request, context: request, SAME, SAME)
        host.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("Shop", {"Echo": good}),)
        )
        port = host.add_insecure_port("127.0.0.1:0")
        host.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                channel.unary_unary("/Shop/Echo", SAME, broken)(b"x", timeout=WAIT_SECONDS_MAX)
        finally:
            host.stop(None).wait(WAIT_SECONDS_MAX)


@case("grpc: closed channel, a ValueError", "DataValidation")
def _():
    import grpc

    channel = grpc.insecure_channel("127.0.0.1:1")
    channel.close()
    channel.unary_unary("/Shop/Unary", SAME, SAME)(b"x")


@case("grpc: not ready in time", "Timeout no")
def _():
    import grpc

    host, port = unused_port()
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=0.05)


@case("grpc: an RpcError of one's own", "DependencyService unknown")
def _():
    import grpc

    class Mine(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

    raise Mine("text")


made("grpc", "RpcError", "DependencyService final unknown", "text")
made("grpc", "FutureCancelledError", "Concurrency final Fallback ignored")
made("grpc.aio", "UsageError", "Internal ignored", "text")
made("grpc.aio", "BaseError InternalError", "Internal", "text")
made("grpc.aio", "AbortError", FLOW, "text")
made("grpc._cython.cygrpc", "ExecuteBatchError", "Transport", "text")

# ---------------------------------------------------------------------------------- protobuf


@case("google.protobuf: truncated message", "Serialization")
def _():
    from google.protobuf.timestamp_pb2 import Timestamp

    Timestamp.FromString(b"\x08")


@case("google.protobuf: JSON that is none", "Serialization")
def _():
    from google.protobuf import json_format
    from google.protobuf.timestamp_pb2 import Timestamp

    json_format.Parse("{", Timestamp())


@case("google.protobuf: JSON with another field", "Serialization")
def _():
    from google.protobuf import json_format
    from google.protobuf.api_pb2 import Api

    json_format.Parse('{"nobody": 1}', Api())


@case("google.protobuf: text that is none", "Serialization")
def _():
    from google.protobuf import text_format
    from google.protobuf.api_pb2 import Api

    text_format.Parse("name: {", Api())


made("google.protobuf.message", "Error DecodeError", "Serialization", "text")
made("google.protobuf.message", "EncodeError", "Serialization no ignored", "text")
made("google.protobuf.json_format", "SerializeToJsonError", "Serialization no ignored", "text")
made("google.protobuf.descriptor", "Error", "Internal ignored", "text")
made("google.protobuf.runtime_version", "VersionError", "VersionMismatch no", "text")
