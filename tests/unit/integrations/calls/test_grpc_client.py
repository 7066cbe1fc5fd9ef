"""gRPC's clients with interceptors of ours, of threads and of asyncio, against a real server."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")
aio = pytest.importorskip("grpc.aio")

from origin import closed_port

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded
from faultplane.integrations.grpc_client import GuardedInterceptor, guarded_interceptors

NOW = fp.constant(0)
RETRY = fp.Retry(attempts=3, backoff=NOW)
GET, PUT = "/shop.Orders/Get", "/shop.Orders/Put"
EACH, TAKE, CHAT = "/shop.Orders/Each", "/shop.Orders/Take", "/shop.Orders/Chat"
SECONDS_MAX = 30


class Orders:
    """A server that ends calls as it is told, and counts them.

    ``tell(code, code, ...)``: calls of the next ones end so, with a trailer where it is a tuple;
    those after them are well. ``held`` is waited for before anything is answered.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[Any] = []
        self.held: threading.Event | None = None
        self.arrived = threading.Semaphore(0)

    def tell(self, *codes: Any) -> None:
        self.told.extend(codes)

    def arrive(self, name: str, context: Any) -> None:
        self.asked.append(name)
        self.arrived.release()
        if self.held is not None:
            self.held.wait(SECONDS_MAX)
        if self.told:
            code = self.told.pop(0)
            if isinstance(code, tuple):
                code, trailer = code
                context.set_trailing_metadata((trailer,))
            context.abort(code, "as it was told")

    def get(self, request: bytes, context: Any) -> bytes:
        self.arrive("get", context)
        return b"well"

    def each(self, request: bytes, context: Any) -> Iterator[bytes]:
        if request != b"late":
            self.arrive("each", context)
        yield b"one"
        if request == b"late":
            self.arrive("each", context)
        yield b"two"

    def take(self, requests: Iterator[bytes], context: Any) -> bytes:
        taken = b"".join(requests)
        self.arrive("take", context)
        return taken

    def chat(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        taken = list(requests)
        self.arrive("chat", context)
        yield from taken


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def target(orders: Orders) -> Iterator[str]:
    """Where the server is."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(orders.get),
        "Put": grpc.unary_unary_rpc_method_handler(orders.get),
        "Each": grpc.unary_stream_rpc_method_handler(orders.each),
        "Take": grpc.stream_unary_rpc_method_handler(orders.take),
        "Chat": grpc.stream_stream_rpc_method_handler(orders.chat),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("shop.Orders", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    if orders.held is not None:
        orders.held.set()
    server.stop(None).wait()


class Threads:
    """A channel of threads for one call."""

    is_async = False

    def ask(self, dependency: Any, target: str, method: str, request: Any, **options: Any) -> Any:
        """What a call gives: the message, or the list of messages."""
        kind = kind_of(method)
        with grpc.insecure_channel(target) as plain:
            channel = grpc.intercept_channel(plain, GuardedInterceptor(dependency, {GET}))
            made = getattr(channel, kind)(method)(request, **options)
            return list(made) if kind.endswith("stream") else made


class Asyncio:
    """A channel of asyncio for one call."""

    is_async = True

    def ask(self, *args: Any, **options: Any) -> Any:
        return asyncio.run(self.ask_async(*args, **options))

    async def ask_async(
        self, dependency: Any, target: str, method: str, request: Any, **options: Any
    ) -> Any:
        kind = kind_of(method)
        interceptors = guarded_interceptors(dependency, {GET})
        async with aio.insecure_channel(target, interceptors=interceptors) as channel:
            made = getattr(channel, kind)(method)(request, **options)
            if kind.endswith("stream"):
                return [message async for message in made]
            return await made


def kind_of(method: str) -> str:
    return {EACH: "unary_stream", TAKE: "stream_unary", CHAT: "stream_stream"}.get(
        method, "unary_unary"
    )


@pytest.fixture(params=[Threads, Asyncio])
def client(request: Any) -> Any:
    """Both kinds of channel."""
    return request.param()


@pytest.fixture
def settled(seen: Any) -> Callable[..., Any]:
    """Function: the cell of a dependency once it has these values: gRPC tells from a thread."""

    def read(dependency: Any, **wanted: Any) -> Any:
        until = time.monotonic() + SECONDS_MAX
        while True:
            state = seen(dependency)
            found = {name: getattr(state, name) for name in wanted}
            if found == wanted and not state.permits:
                return state
            assert time.monotonic() < until, (found, state.permits)
            time.sleep(0.001)

    return read


# -------------------------------------------------------------------------------------- retries


def test_a_code_that_may_pass_is_tried_again(client, orders, target, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    orders.tell(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert client.ask(dependency, target, GET, b"") == b"well"
    assert orders.asked == ["get"] * 3
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (3, 2, 0)
    assert state.totals["recovered"] == 1
    assert [attempt for _, attempt in recorded(name)] == [0, 1]


@pytest.mark.parametrize(
    ("code", "failures", "arrives"),
    [
        ("UNAVAILABLE", 3, 3),
        ("DEADLINE_EXCEEDED", 3, 3),
        ("NOT_FOUND", 0, 1),
        ("INTERNAL", 1, 1),
        ("RESOURCE_EXHAUSTED", 1, 1),
        ("ABORTED", 0, 1),
    ],
)
def test_the_last_error_is_grpcs_own(
    client, code, failures, arrives, orders, target, name, seen, recorded
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    orders.tell(*[getattr(grpc.StatusCode, code)] * 3)
    with pytest.raises(grpc.RpcError) as raised:
        client.ask(dependency, target, GET, b"")
    assert (raised.value.code().name, raised.value.details()) == (code, "as it was told")
    modules = modules_of(raised.value)
    assert not [module for module in modules if module.startswith("faultplane")]
    assert modules[-1].startswith("grpc")
    assert len(orders.asked) == arrives
    assert seen(dependency).totals["failures"] == failures
    assert len(recorded(name)) == failures


def modules_of(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals["__name__"] for frame, _ in frames]


def test_another_method_is_not_tried_again(client, orders, target, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    orders.tell(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(grpc.RpcError):
        client.ask(dependency, target, PUT, b"")
    assert orders.asked == ["get"]
    assert seen(dependency).totals["retries"] == 0


def test_a_call_that_has_not_reached_the_server_is_made_again(client, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    with pytest.raises(grpc.RpcError) as raised:
        client.ask(dependency, f"127.0.0.1:{closed_port()}", PUT, b"")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["gave_up"]) == (3, 2, 1)


def test_pushback_is_waited_and_a_negative_one_stops(client, orders, target, name, waits):
    retry = fp.Retry(attempts=3, backoff=fp.constant(0.01), wait_max=60)
    dependency = fp.Dependency(name, retry=retry, clock=waits)
    pushback = "grpc-retry-pushback-ms"
    orders.tell((grpc.StatusCode.UNAVAILABLE, (pushback, "7000")), grpc.StatusCode.UNAVAILABLE)
    assert client.ask(dependency, target, GET, b"") == b"well"
    assert waits.waits == [7.0, 0.01]
    orders.tell((grpc.StatusCode.UNAVAILABLE, (pushback, "-1")))
    with pytest.raises(grpc.RpcError):
        client.ask(dependency, target, GET, b"")
    assert len(orders.asked) == 4


def test_who_is_exhausted_is_asked_again_when_it_says_so(client, orders, target, name, waits):
    details = pytest.importorskip("google.rpc.error_details_pb2")
    status = pytest.importorskip("google.rpc.status_pb2").Status(code=8)
    delay = details.RetryInfo()
    delay.retry_delay.FromMilliseconds(2_500)
    status.details.add().Pack(delay)
    retry = fp.Retry(attempts=2, backoff=fp.constant(0.01))
    dependency = fp.Dependency(name, retry=retry, clock=waits)
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    orders.tell((exhausted, ("grpc-status-details-bin", status.SerializeToString())))
    assert client.ask(dependency, target, GET, b"") == b"well"
    assert waits.waits == [2.5]
    orders.tell(exhausted)
    with pytest.raises(grpc.RpcError):
        client.ask(dependency, target, GET, b"")
    assert waits.waits == [2.5], "a control: it has not said when"


# --------------------------------------------------------------------------- breaker and limits


@pytest.mark.parametrize("method", [GET, PUT, EACH, TAKE, CHAT])
def test_an_open_breaker_makes_no_call(client, method, orders, target, name, settled):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(consecutive=1), limit=1)
    orders.tell(*[grpc.StatusCode.UNAVAILABLE] * 3)
    with pytest.raises(grpc.RpcError) as raised:
        client.ask(dependency, target, method, request_of(client, method))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    settled(dependency, state="open")
    with pytest.raises(BreakerOpen, match=name) as rejected:
        client.ask(dependency, target, method, request_of(client, method))
    assert len(orders.asked) == 1
    ours = [module for module in modules_of(rejected.value) if module.startswith("faultplane")]
    assert len(ours) <= 2  # where it was raised, and what gRPC has called


def request_of(client: Any, method: str) -> Any:
    if not kind_of(method).startswith("stream"):
        return b""
    return stream_async() if client.is_async else iter([b"one", b"two"])


async def stream_async() -> Any:
    for message in (b"one", b"two"):
        yield message


def test_streams_are_tried_once_and_in_flight_until_their_last_message(
    client, orders, target, name, settled
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    answers = []
    for calls, method in enumerate((EACH, TAKE, CHAT), 1):
        answers.append(client.ask(dependency, target, method, request_of(client, method)))
        settled(dependency, calls=calls)  # there is one permit
    assert answers == [[b"one", b"two"], b"onetwo", [b"one", b"two"]]
    for failures, method in enumerate((EACH, TAKE, CHAT), 1):
        orders.tell(grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(grpc.RpcError):
            client.ask(dependency, target, method, request_of(client, method))
        settled(dependency, failures=failures)
    assert settled(dependency, calls=6).totals["retries"] == 0
    assert len(orders.asked) == 6


def test_a_stream_that_breaks_off_is_a_failure(client, orders, target, name, settled):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    orders.tell(grpc.StatusCode.INTERNAL)
    with pytest.raises(grpc.RpcError):
        client.ask(dependency, target, EACH, b"late")
    settled(dependency, calls=1, failures=1)


def test_a_stream_that_nobody_reads_on_gives_its_permit_back(orders, target, name, seen, settled):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, GuardedInterceptor(dependency))
        messages = channel.unary_stream(EACH)(b"")
        assert next(messages) == b"one"
        assert seen(dependency).permits == 1
        with pytest.raises(LimitExceeded):
            channel.unary_unary(GET)(b"")
        messages.cancel()
        settled(dependency, calls=0)
        assert channel.unary_unary(GET)(b"") == b"well"


def test_a_future_is_tried_once_and_ends_its_call(orders, target, name, settled):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, GuardedInterceptor(dependency, {GET}))
        assert channel.unary_unary(GET).future(b"").result() == b"well"
        settled(dependency, calls=1)
        orders.tell(grpc.StatusCode.INTERNAL)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(GET).future(b"").result()
        settled(dependency, calls=2, failures=1)
        held = dependency.guard.begin()
        with pytest.raises(LimitExceeded):
            channel.unary_unary(GET).future(b"").result()
        held.succeeded()


# ------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize("bound", ["deadline", "time_left", "timeout", "own"])
@pytest.mark.parametrize("method", [GET, EACH])
def test_the_smallest_bound_is_the_deadline_of_the_call(
    client, bound, method, orders, target, name, settled
):
    orders.held = threading.Event()
    policies: dict[str, Any] = {bound: 0.2} if bound in {"deadline", "timeout"} else {}
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1, **policies)
    with (
        pytest.raises((grpc.RpcError, TimeoutError)) as raised,
        fp.deadline(0.2 if bound == "time_left" else 60),
    ):
        client.ask(dependency, target, method, b"", timeout=0.2 if bound == "own" else 50)
    if isinstance(raised.value, grpc.RpcError):
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        settled(dependency, failures=1)
    else:  # cancelled, which says nothing of the other side
        assert client.is_async and bound == "deadline"
        settled(dependency, failures=0)


def test_past_its_deadline_nothing_is_sent_and_nobody_blamed(client, orders, target, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    client.ask(dependency, target, GET, b"")
    for method in (GET, EACH):
        with pytest.raises(grpc.RpcError) as raised, fp.deadline(0):
            client.ask(dependency, target, method, b"")
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert orders.asked == ["get"]
    assert (seen(dependency).calls, seen(dependency).failures) == (1, 0)


# ----------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("method", [GET, EACH])
@pytest.mark.parametrize("when", ["answer", "backoff"])
def test_cancellation_leaves_nothing_behind(method, when, orders, target, name, seen, settled):
    if (method, when) == (EACH, "backoff"):
        method = GET  # streams are not tried again
    retry = fp.Retry(attempts=3, backoff=fp.constant(60), budget=fp.RetryBudget())
    dependency = fp.Dependency(name, retry=retry, breaker=fp.Breaker(), limit=1)
    if when == "answer":
        orders.held = threading.Event()
    else:
        orders.tell(grpc.StatusCode.UNAVAILABLE)

    async def main() -> None:
        client = Asyncio()
        task = asyncio.create_task(client.ask_async(dependency, target, method, b""))
        assert await asyncio.to_thread(orders.arrived.acquire, timeout=SECONDS_MAX)
        # Shared memory wakes nobody.
        while when == "backoff" and not seen(dependency).tokens_held:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while seen(dependency).permits:  # noqa: ASYNC110
            await asyncio.sleep(0)
        state = seen(dependency)
        assert (state.permits, state.tokens_held, state.totals["retries"]) == (0, 0, 0)
        if orders.held is not None:
            orders.held.set()
        assert await client.ask_async(dependency, target, GET, b"") == b"well"

    asyncio.run(main())
    assert seen(dependency).failures == (1 if when == "backoff" else 0)


# ------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("kind", [GuardedInterceptor, guarded_interceptors])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda kind, one: kind("bank"), "dependency must be a Dependency, got 'bank'"),
        (lambda kind, one: kind(one, GET), "methods must be several"),
        (lambda kind, one: kind(one, {GET, "Get"}), "such as /shop.Orders/Get, got 'Get'"),
        (lambda kind, one: kind(fp.Dependency("x", fallback=len)), "answers for a function"),
        (lambda kind, one: kind(fp.Dependency("x", hedge=1)), "a hedge calls a coroutine"),
    ],
)
def test_what_cannot_be_used_is_refused(kind, make, said, name):
    with pytest.raises(InvalidSetting, match=said):
        make(kind, fp.Dependency(name))
