"""gRPC servers of one process and their client, with the integration and without."""

from __future__ import annotations

import pytest

pytest.importorskip("grpc")

PROGRAM = """
import logging
from concurrent import futures
import grpc
OBSERVED = os.environ["OBSERVED"] == "yes"
if OBSERVED:
    from faultplane.integrations import grpc as faultplane_grpc
    faultplane_grpc.wire()
logging.disable(logging.CRITICAL)

def method(kind, behaviour):
    return getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)

def serve(**handlers):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service = grpc.method_handlers_generic_handler("shop.Orders", handlers)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, grpc.insecure_channel(f"127.0.0.1:{port}")

def asked(call):
    try:
        answer = call()
        return [part.decode() for part in answer]
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
"""


@pytest.fixture
def both(told):
    """Function: what code says with the integration, which must be what it says without.

    ``only(value)`` says what there is with it alone.
    """

    def run(code):
        with_us, without = (
            told(PROGRAM + f"def only(value):\n    OBSERVED and say(value)\n{code}", OBSERVED=word)
            for word in ("yes", "no")
        )
        assert with_us[: len(without)] == without
        return without, with_us[len(without) :]

    return run


def test_a_method_that_streams_through_a_callback_gets_it(both):
    """grpc_health's Watch is one: the attribute is all that tells it from others."""
    assert both("""
def watch(request, context, callback=None):
    if request == b"fail":
        raise KeyError("x")
    callback(b"serving")
    callback(None)
watch.experimental_non_blocking = True
server, channel = serve(Watch=method("unary_stream", watch))
call = channel.unary_stream("/shop.Orders/Watch")
for request in (b"", b"fail"):
    say(asked(lambda: list(call(request))))
channel.close()
server.stop(None).wait()
only([counted(), in_flight()])
""") == (
        [["serving"], ["UNKNOWN", "Exception calling application: 'x'"]],
        [[{"/shop.Orders/Watch": 1}, []]],
    )


def test_functions_that_give_iterators_fail_as_they_do_without(both):
    assert both("""
def later():
    yield b"one"
    raise KeyError("later")
def many(request, context):
    if request == b"now":
        raise KeyError("now")
    return {b"later": later(), b"list": [b"one"], b"well": iter([b"one"])}[request]
server, channel = serve(Many=method("unary_stream", many))
call = channel.unary_stream("/shop.Orders/Many")
for request in (b"well", b"now", b"later", b"list"):
    say(asked(lambda: list(call(request))))
channel.close()
server.stop(None).wait()
only([counted(), in_flight()])
""") == (
        [
            ["one"],
            ["UNKNOWN", "Exception calling application: 'now'"],
            ["UNKNOWN", "Exception iterating responses: 'later'"],
            ["UNKNOWN", "Exception iterating responses: 'list' object is not an iterator"],
        ],
        [[{"/shop.Orders/Many": 2}, []]],
    )


STACKS = """
logging.disable(logging.NOTSET)
stacks = []
class Stacks(logging.Handler):
    def emit(self, record):
        if record.exc_info:
            stacks.append(frames(record.exc_info[1]))
logging.getLogger("grpc").addHandler(Stacks())
def fail():
    raise KeyError("x")
"""


def test_the_stacks_that_grpc_logs_have_no_frame_of_ours(both):
    stacks, _ = both(f"""{STACKS}
def one(request, context):
    fail()
def each(request, context):
    yield b"one"
    fail()
def later(request, context):
    return each(request, context)
server, channel = serve(
    One=method("unary_unary", one), Each=method("unary_stream", each),
    Later=method("unary_stream", later), Now=method("unary_stream", one),
)
asked(lambda: channel.unary_unary("/shop.Orders/One")(b""))
for name in ("Each", "Later", "Now"):
    asked(lambda: list(channel.unary_stream("/shop.Orders/" + name)(b"")))
channel.close()
server.stop(None).wait()
say(stacks)
""")
    assert [stack[-2:] for stack in stacks[0]] == [
        ["one", "fail"], ["each", "fail"], ["each", "fail"], ["one", "fail"]
    ]  # fmt: skip


def test_the_stacks_that_grpc_logs_of_coroutines_have_no_frame_of_ours(both):
    stacks, _ = both(f"""{STACKS}
async def one(request, context):
    fail()
async def each(request, context):
    yield b"one"
    fail()
async def ask():
    server = grpc.aio.server()
    handlers = dict(One=method("unary_unary", one), Each=method("unary_stream", each))
    service = grpc.method_handlers_generic_handler("shop.Orders", handlers)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
        call = channel.unary_unary("/shop.Orders/One")(b"")
        assert await call.code() is grpc.StatusCode.UNKNOWN
        call = channel.unary_stream("/shop.Orders/Each")(b"")
        assert await call.read() == b"one"
        assert await call.code() is grpc.StatusCode.UNKNOWN
    await server.stop(None)
asyncio.run(ask())
say(stacks)
""")
    assert [stack[-2:] for stack in stacks[0]] == [["one", "fail"], ["each", "fail"]]


def test_a_client_that_goes_away_while_it_sends_is_no_error(both):
    assert both("""
import threading
ended = threading.Event()
go = threading.Event()
def take(requests, context):
    try:
        for request in requests:
            go.set()
    finally:
        ended.set()
    return b""
def send():
    yield b"one"
    assert go.wait(30)
    call.cancel()
    assert ended.wait(30)
server, channel = serve(Take=method("stream_unary", take))
call = channel.stream_unary("/shop.Orders/Take").future(send())
say(asked(lambda: [call.result()]) if not go.wait(30) else "sent")
assert ended.wait(30)
server.stop(None).wait()
channel.close()
only([counted(), in_flight()])
""") == (["sent"], [[{}, []]])
