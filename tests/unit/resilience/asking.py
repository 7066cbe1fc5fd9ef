"""Servers that ask for a wait in every form there is, and clients that fail because of them.

Each client is the real library; the servers are on loopback. What a path says is answered: the
status, then headers as a query.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

SECONDS_MAX = 20.0
PUSHBACK = "grpc-retry-pushback-ms"
DETAILS = "grpc-status-details-bin"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = urlsplit(self.path)
        self.send_response(int(asked.path.strip("/")), "Reason")
        for name, value in parse_qsl(asked.query):
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def http_server():
    """Function ``(status, headers) -> URL`` that is answered so."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield lambda status, headers=(): f"{address}/{status}?{urlencode(dict(headers))}"
        finally:
            server.shutdown()
            thread.join(SECONDS_MAX)


@contextlib.contextmanager
def by_urllib():
    def fetch(url):
        try:
            urllib.request.urlopen(url, timeout=SECONDS_MAX).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error
        raise AssertionError("no error")

    yield fetch


@contextlib.contextmanager
def by_requests():
    import requests

    with requests.Session() as session:
        session.trust_env = False

        def fetch(url):
            try:
                session.get(url, timeout=SECONDS_MAX).raise_for_status()
            except requests.HTTPError as error:
                return error
            raise AssertionError("no error")

        yield fetch


@contextlib.contextmanager
def by_httpx():
    import httpx

    with httpx.Client(timeout=SECONDS_MAX, trust_env=False) as client:

        def fetch(url):
            try:
                client.get(url).raise_for_status()
            except httpx.HTTPStatusError as error:
                return error
            raise AssertionError("no error")

        yield fetch


@contextlib.contextmanager
def by_aiohttp():
    import aiohttp

    with asyncio.Runner() as runner:

        async def ask(url):
            async with session.get(url, allow_redirects=False) as answer:
                answer.raise_for_status()

        async def opened():
            return aiohttp.ClientSession()

        session = runner.run(opened())

        def fetch(url):
            try:
                runner.run(ask(url))
            except aiohttp.ClientResponseError as error:
                return error
            raise AssertionError("no error")

        try:
            yield fetch
        finally:
            runner.run(session.close())


CLIENTS = {"urllib": by_urllib, "requests": by_requests, "httpx": by_httpx, "aiohttp": by_aiohttp}


# ---------------------------------------------------------------------------------------- gRPC


def _ending(request, context):
    """End the call as its own metadata say."""
    import grpc

    said = dict(context.invocation_metadata())
    trailers = [(name[2:], value) for name, value in said.items() if name.startswith("x-")]
    context.set_trailing_metadata(trailers)
    context.abort(grpc.StatusCode[said["code"]], "text")


@contextlib.contextmanager
def grpc_server():
    """Address of a server that ends each call with the code and trailers that the call names."""
    import grpc

    same = bytes
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handler = grpc.unary_unary_rpc_method_handler(_ending, same, same)
        handlers = grpc.method_handlers_generic_handler("Shop", {"Pay": handler})
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(SECONDS_MAX)


@contextlib.contextmanager
def by_grpc(address):
    """Function ``(code, trailers) -> RpcError`` of a call on that server."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        pay = channel.unary_unary("/Shop/Pay", bytes, bytes)

        def call(code, trailers=()):
            metadata = [("code", code), *((f"x-{name}", value) for name, value in trailers)]
            try:
                pay(b"x", timeout=SECONDS_MAX, metadata=metadata)
            except grpc.RpcError as error:
                return error
            raise AssertionError("no error")

        yield call


@contextlib.contextmanager
def by_grpc_aio(address):
    """The same by gRPC's asyncio."""
    import grpc

    with asyncio.Runner() as runner:

        async def ask(metadata):
            async with grpc.aio.insecure_channel(address) as channel:
                pay = channel.unary_unary("/Shop/Pay", bytes, bytes)
                await pay(b"x", timeout=SECONDS_MAX, metadata=metadata)

        def call(code, trailers=()):
            metadata = [("code", code), *((f"x-{name}", value) for name, value in trailers)]
            try:
                runner.run(ask(metadata))
            except grpc.RpcError as error:
                return error
            raise AssertionError("no error")

        yield call


def retry_info(seconds, nanos=0):
    """A ``google.rpc.Status`` with a RetryInfo, as protobuf writes it."""
    from google.protobuf.any_pb2 import Any
    from google.protobuf.duration_pb2 import Duration

    delay = Duration(seconds=seconds, nanos=nanos).SerializeToString()
    info = b"\x0a" + bytes([len(delay)]) + delay
    detail = Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info)
    packed = detail.SerializeToString()
    return b"\x08\x08\x1a" + bytes([len(packed)]) + packed
