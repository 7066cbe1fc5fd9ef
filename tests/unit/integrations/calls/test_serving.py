"""Requests to a server that are bounded, in time and in number, by ASGI's and WSGI's middleware."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

import faultplane as fp
from faultplane.errors import InvalidSetting
from faultplane.integrations import asgi, wsgi
from faultplane.integrations.serving import Bounds

SECONDS_MAX = 30


def modules_of(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals["__name__"] for frame, _ in frames]


@pytest.fixture
def limited(name: str) -> Callable[..., Bounds]:
    """Function: bounds with a limit of one request at once."""

    def make(**options: Any) -> Bounds:
        return Bounds(limit=fp.Dependency(name, limit=1), **options)

    return make


def healthy(request: Any) -> bool:
    """A predicate for both: a request for a health check."""
    return bool((request.get("path") or request["PATH_INFO"]) == "/health")


class Reply:
    """What a server answered."""

    def __init__(self, port: int, path: str = "/orders", **headers: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            self.status, self.headers = response.status, response.headers
            self.text = response.read().decode()
        finally:
            connection.close()


# ----------------------------------------------------------------------------------------- ASGI


@contextmanager
def served(application: Any) -> Iterator[int]:
    """The port of a server of an application, in a thread of its own."""
    uvicorn = pytest.importorskip("uvicorn")
    config = uvicorn.Config(application, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(SECONDS_MAX)


class Shop:
    """An application of ASGI: it waits at /slow and /held, and says how much time it has."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.cancelled: list[str] = []
        self.arrived, self.released = threading.Semaphore(0), threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.served.append(path)
        self.arrived.release()
        left = fp.time_left()
        try:
            if path == "/slow":
                await asyncio.sleep(600)
            while path == "/held" and not self.released.is_set():  # noqa: ASYNC110 - a thread's
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise
        if path == "/wrong":
            raise KeyError(path)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/half":
            await asyncio.sleep(600)
        await send({"type": "http.response.body", "body": str(left).encode()})


def ask(application: Any, path: str = "/orders", **scope: Any) -> list[Any]:
    """What an application sends, called as a server calls it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], **scope}
    asyncio.run(application(scope, receive, send))
    return sent


def test_a_request_past_its_time_is_cancelled_recorded_and_answered_504(name):
    shop = Shop()
    guarded = asgi.Middleware(shop, lambda scope: name, bounds=Bounds(seconds=0.05))
    with served(guarded) as port:
        late = Reply(port, "/slow")
        assert Reply(port).status == 200
    assert (late.status, late.text, shop.cancelled) == (504, "", ["/slow"])
    assert ask(guarded, "/slow")[0]["status"] == 504
    with fp.init() as domain:
        rows = list(domain.records().rows(operation=name))
    assert [row["type"] for row in rows] == ["TimeoutError"] * 2
    assert rows[-1]["site"].startswith("asyncio.tasks:sleep:"), "where it was cancelled"


def test_an_application_knows_how_much_time_it_has(name):
    guarded = asgi.Bounded(Shop(), Bounds(seconds=20.0, header="X-Request-Timeout"))
    with served(guarded) as port:
        assert 15 < float(Reply(port).text) <= 20
        assert 3 < float(Reply(port, X_Request_Timeout="5").text) <= 5
        assert 15 < float(Reply(port, x_request_timeout="50").text) <= 20
        assert 15 < float(Reply(port, X_Request_Timeout="soon").text) <= 20
    with served(asgi.Bounded(Shop(), Bounds(header="grpc-timeout"))) as port:
        assert Reply(port).text == "None"
        assert 3 < float(Reply(port, grpc_timeout="5000m").text) <= 5


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2.5", 2.5), ("2500m", 2.5), (" 3 ", 3.0), ("1H", 60.0), ("1M", 60.0), ("5S", 5.0),
        ("5000000u", 5.0), ("90000000n", 0.09), ("0", 0.0), ("1e3", 60.0), ("-1", 60.0), ("", 60.0),
        ("nan", 60.0), ("123456789", 60.0), ("5 S", 60.0), (None, 60.0),
    ],
)  # fmt: skip
def test_what_a_header_says_is_read_or_taken_for_nothing(said, seconds):
    assert Bounds(seconds=60.0).seconds_of(said) == pytest.approx(seconds)
    assert Bounds().seconds_of("99999999H") == 86_400


def test_a_request_without_time_is_answered_504_and_not_served():
    shop = Shop()
    guarded = asgi.Bounded(shop, Bounds(header="X-Request-Timeout"))
    start, _ = ask(guarded, headers=[(b"Host", b"shop"), (b"X-Request-Timeout", b"0")])
    assert (start["status"], shop.served) == (504, [])


def test_one_request_too_many_is_answered_503_and_health_checks_are_not(limited, seen):
    shop, bounds = Shop(), limited(retry_after=1.5, spared=healthy)
    with served(asgi.Bounded(shop, bounds)) as port:
        replies: list[Any] = []
        held = threading.Thread(target=lambda: replies.append(Reply(port, "/held")), daemon=True)
        held.start()
        assert shop.arrived.acquire(timeout=SECONDS_MAX)
        shed = Reply(port)
        assert (shed.status, shed.headers["Retry-After"], shed.text) == (503, "2", "")
        assert Reply(port, "/health").status == 200
        assert seen(bounds.limit).permits == 1
        shop.released.set()
        held.join(SECONDS_MAX)
        assert [reply.status for reply in replies] == [200]
        assert Reply(port).status == 200
    assert shop.served == ["/held", "/health", "/orders"]
    assert (seen(bounds.limit).permits, seen(bounds.limit).totals["full"]) == (0, 1)


def test_a_permit_is_given_back_however_a_request_ends(limited, seen, recorded):
    bounds = limited(seconds=0.05)
    guarded = asgi.Bounded(Shop(), bounds)
    with pytest.raises(KeyError) as raised:
        ask(guarded, "/wrong")
    assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
    assert ask(guarded, "/slow")[0]["status"] == 504
    with pytest.raises(TimeoutError):
        ask(guarded, "/half")
    assert ask(guarded)[0]["status"] == 200
    state = seen(bounds.limit)
    assert (state.permits, state.totals["full"]) == (0, 0)
    assert recorded(bounds.limit.name) == []


def test_a_request_that_is_cancelled_from_outside_is_answered_nothing(limited, seen):
    shop, bounds = Shop(), limited(seconds=60)

    async def main() -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/slow", "headers": []}
        task = asyncio.create_task(asgi.Bounded(shop, bounds)(scope, None, send))
        await asyncio.sleep(0)
        assert shop.served == ["/slow"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sent == []

    asyncio.run(main())
    assert seen(bounds.limit).permits == 0


def test_an_answer_that_has_begun_is_broken_off():
    with served(asgi.Bounded(Shop(), Bounds(seconds=0.05))) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        connection.request("GET", "/half")
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(IncompleteRead):
            response.read()
        connection.close()


def test_a_timeout_of_the_applications_own_is_its_own():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("no answer from the stock")

    for bounds in (Bounds(seconds=60), Bounds()):
        with pytest.raises(TimeoutError, match="stock") as raised:
            ask(asgi.Bounded(application, bounds))
        assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_what_is_no_request_is_not_bounded(kind, limited):
    given: list[Any] = []

    async def application(*given_now: Any) -> None:
        given.extend((*given_now, fp.time_left()))

    bounds = limited(seconds=60)
    with bounds.limit:
        ask(asgi.Bounded(application, bounds), type=kind)
    assert (given[0]["type"], given[-1]) == (kind, None)


@pytest.mark.parametrize("around", [True, False])
def test_the_record_of_a_late_request_has_its_route(around, name):
    starlette = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")

    async def slow(request: Any) -> None:
        await asyncio.sleep(600)

    application: Any = starlette.Starlette(routes=[routing.Route(f"/{name}/{{n}}", slow)])
    application.add_middleware(asgi.Bounded, bounds=Bounds(seconds=0.05))
    application = asgi.Middleware(application) if around else application
    assert ask(application, f"/{name}/7", query_string=b"")[0]["status"] == 504
    with fp.init() as domain:
        rows = [row for row in domain.records().rows() if name in row["operation"]]
    assert [row["operation"] for row in rows] == [f"GET /{name}/{{n}}"]


# ----------------------------------------------------------------------------------------- WSGI


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served_by_threads(application: Any) -> Iterator[int]:
    """The port of a server of an application, with a thread for each request."""
    with make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(SECONDS_MAX)


class Store:
    """An application of WSGI: it makes the body of /parts as it goes, and waits at /held."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.closed = 0
        self.arrived, self.released = threading.Semaphore(0), threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        self.served.append(path)
        if path == "/wrong":
            raise KeyError(path)
        start_response("200 OK", [])
        if path in {"/parts", "/held", "/broken"}:
            return self.parts(path)
        return [str(fp.time_left()).encode()]

    def parts(self, path: str) -> Iterator[bytes]:
        try:
            yield f"{fp.time_left()} ".encode()
            self.arrived.release()
            if path == "/held":
                self.released.wait(SECONDS_MAX)
            if path == "/broken":
                raise KeyError(path)
            yield str(fp.time_left()).encode()
        finally:
            self.closed += 1


def environ_of(path: str, **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, **more}


def nothing(*_: Any) -> None:
    """A start_response that forgets."""


def test_an_application_of_wsgi_knows_how_much_time_it_has():
    bounds = Bounds(seconds=20.0, header="X-Request-Timeout")
    store = Store()
    guarded = wsgi.Middleware(store, bounds=bounds)
    with served_by_threads(guarded) as port:
        assert 15 < float(Reply(port).text) <= 20
        assert 3 < float(Reply(port, X_Request_Timeout="5").text) <= 5
        for left in Reply(port, "/parts", X_Request_Timeout="5000m").text.split():
            assert 3 < float(left) <= 5
        assert Reply(port, X_Request_Timeout="0").status == 504
    assert (store.closed, len(store.served)) == (1, 3)
    assert fp.time_left() is None


def test_one_request_of_wsgi_too_many_is_answered_503(limited, seen):
    store, bounds = Store(), limited(retry_after=3, spared=healthy)
    with served_by_threads(wsgi.Bounded(store, bounds)) as port:
        replies: list[Any] = []
        held = threading.Thread(target=lambda: replies.append(Reply(port, "/held")), daemon=True)
        held.start()
        assert store.arrived.acquire(timeout=SECONDS_MAX)
        shed = Reply(port)
        assert (shed.status, shed.headers["Retry-After"], shed.text) == (503, "3", "")
        assert Reply(port, "/health").status == 200
        store.released.set()
        held.join(SECONDS_MAX)
        assert [reply.status for reply in replies] == [200]
        while seen(bounds.limit).permits:  # the server closes the body after it was read
            pass
        assert Reply(port).status == 200
    assert store.served == ["/held", "/health", "/orders"]
    assert (seen(bounds.limit).permits, seen(bounds.limit).totals["full"]) == (0, 1)


def test_a_permit_of_wsgi_is_given_back_however_a_request_ends(limited, seen):
    store, bounds = Store(), limited(seconds=60)
    guarded = wsgi.Bounded(store, bounds)
    with pytest.raises(KeyError) as raised:
        guarded(environ_of("/wrong"), nothing)
    assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
    for one_of_two in (guarded, wsgi.Bounded(store, Bounds(seconds=60))):
        with pytest.raises(KeyError) as raised:
            list(one_of_two(environ_of("/broken"), nothing))
        assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
    body = guarded(environ_of("/parts"), nothing)
    next(iter(body))
    assert seen(bounds.limit).permits == 1
    body.close()
    assert (seen(bounds.limit).permits, store.closed) == (0, 3)
    guarded(environ_of("/parts"), nothing)  # nobody takes it
    gc.collect()
    assert seen(bounds.limit).permits == 0
    made = guarded(environ_of("/orders"), nothing)
    assert type(made) is list
    assert seen(bounds.limit).permits == 0


def test_an_error_within_bounds_is_recorded_once_under_its_name(limited, name, recorded):
    store, bounds = Store(), limited(seconds=60)
    guarded = wsgi.Middleware(
        store, lambda environ: f"{name} {environ['PATH_INFO']}", bounds=bounds
    )
    with pytest.raises(KeyError):
        guarded(environ_of("/wrong"), nothing)
    with pytest.raises(KeyError):
        list(guarded(environ_of("/broken"), nothing))
    assert recorded(f"{name} /wrong") == recorded(f"{name} /broken") == [("KeyError", 0)]
    assert recorded(name) == []


# ------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("kind", [asgi.Middleware, wsgi.Middleware])
def test_without_bounds_nothing_is_between_server_and_application(kind):
    application = Store()
    assert kind(application).application is application
    assert kind(application, bounds=Bounds()).application is not application


def test_a_predicate_that_raises_spares_nobody(limited):
    bounds = limited(spared=lambda scope: scope["missing"])
    with bounds.limit:
        assert ask(asgi.Bounded(Shop(), bounds))[0]["status"] == 503


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bounds(seconds=0), "seconds must be 0.001 to 86400, got 0"),
        (lambda: Bounds(seconds=86_401), "seconds must be 0.001 to 86400, got 86401"),
        (lambda: Bounds(retry_after=-1), "retry_after must be 0 to 86400, got -1"),
        (lambda: Bounds(retry_after=True), "retry_after must be 0 to 86400, got True"),
        (lambda: Bounds(header="X Timeout"), "header must be a name, got 'X Timeout'"),
        (lambda: Bounds(limit=3), "limit must be a Dependency with a limit, got 3"),
        (lambda: Bounds(limit=fp.Dependency("x")), "limit must be a Dependency with a limit"),
        (
            lambda: Bounds(limit=fp.Dependency("x", limit=1, breaker=fp.Breaker())),
            "x has a breaker",
        ),
        (lambda: Bounds(limit=fp.Dependency("x", limit=1, deadline=1)), "x has a deadline"),
        (lambda: Bounds(limit=fp.Dependency("x", limit=1, hedge=1)), "x has a hedge"),
        (lambda: asgi.Bounded(Shop(), 3), "bounds must be Bounds, got 3"),
        (lambda: wsgi.Bounded(Store(), 3), "bounds must be Bounds, got 3"),
    ],
)
def test_what_cannot_be_used_is_refused(make, said):
    with pytest.raises(InvalidSetting, match=said):
        make()
