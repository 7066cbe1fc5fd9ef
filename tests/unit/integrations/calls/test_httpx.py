"""httpx with a guarded transport, sync and async, against a real server."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import io
import threading
import traceback
from email.utils import formatdate
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")

from origin import Answer, closed_port

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded
from faultplane.integrations.httpx import AsyncGuardedTransport, GuardedTransport

NOW = fp.constant(0)
RETRY = fp.Retry(attempts=3, backoff=NOW)
WAYS = ("sync", "async")


def guarded(way: str, dependency: Any, options: Any = None) -> Any:
    """A transport that trusts everybody: to read all authorities for each takes long."""
    if way == "sync":
        return GuardedTransport(dependency, httpx.HTTPTransport(verify=False), **(options or {}))
    inner = httpx.AsyncHTTPTransport(verify=False)
    return AsyncGuardedTransport(dependency, inner, **(options or {}))


def asked(
    way: str, dependency: Any, method: str, url: str, options: Any = None, **sent: Any
) -> Any:
    """The response to one request by a client of its own, its body read."""
    if way == "sync":
        with httpx.Client(transport=guarded(way, dependency, options)) as client:
            return client.request(method, url, **sent)

    async def ask() -> Any:
        async with httpx.AsyncClient(transport=guarded(way, dependency, options)) as client:
            return await client.request(method, url, **sent)

    return asyncio.run(ask())


# -------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_again(way, status, origin, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    origin.tell("/a", Answer(status), Answer(status))
    response = asked(way, dependency, "GET", f"{origin.url}/a")
    assert (response.status_code, response.text, origin.count("/a")) == (200, "well", 3)
    state = seen(dependency)
    assert (state.calls, state.failures, state.totals["recovered"]) == (3, 2, 1)
    assert recorded(name) == [("httpx.HTTPStatusError", 0), ("httpx.HTTPStatusError", 1)]
    assert len({one.port for one in origin.asked}) == 1  # the connection was kept


@pytest.mark.parametrize("way", WAYS)
def test_the_last_answer_is_given_as_it_came(way, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    bad = Answer(503, {"X-Shop": "closed"}, b"come back later")
    origin.tell("/a", bad, bad, bad)
    response = asked(way, dependency, "GET", f"{origin.url}/a")
    assert (response.status_code, response.text) == (503, "come back later")
    assert response.headers["X-Shop"] == "closed" and response.is_closed
    with pytest.raises(httpx.HTTPStatusError, match="503 Service Unavailable"):
        response.raise_for_status()
    assert origin.count("/a") == 3 and seen(dependency).permits == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "failures"), [(200, 0), (301, 0), (404, 0), (409, 0), (500, 1), (501, 0)]
)
def test_other_statuses_are_not_tried_again(way, status, failures, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    origin.tell("/a", Answer(status))
    assert asked(way, dependency, "GET", f"{origin.url}/a").status_code == status
    assert origin.count("/a") == 1
    assert seen(dependency).totals["failures"] == failures


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("on", "status", "arrives"),
    [
        (httpx.HTTPError, 503, 2),
        (httpx.HTTPError, 500, 2),
        (httpx.HTTPError, 404, 1),
        (httpx.ConnectError, 503, 1),
        (lambda error: error.response.status_code == 500, 500, 2),
        (lambda error: error.response.status_code == 500, 503, 1),
    ],
)
def test_on_is_asked_of_answers_that_are_failures(way, on, status, arrives, origin, name):
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, on=on))
    origin.tell("/a", Answer(status))
    asked(way, dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == arrives


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "sent", "options", "arrives"),
    [
        ("GET", {}, {}, 3),
        ("HEAD", {}, {}, 3),
        ("PUT", {"content": b"whole"}, {}, 3),
        ("DELETE", {}, {}, 3),
        ("POST", {"content": b"whole"}, {}, 1),
        ("PATCH", {"content": b"whole"}, {}, 1),
        ("POST", {"content": b"whole", "headers": {"idempotency-key": "7"}}, {}, 3),
        ("POST", {"content": b"whole"}, {"methods": {"post"}}, 3),
        ("GET", {}, {"methods": ()}, 1),
    ],
)
def test_only_what_may_be_repeated_is(way, method, sent, options, arrives, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(503))
    response = asked(way, dependency, method, f"{origin.url}/a", options, **sent)
    assert response.status_code == (200 if arrives == 3 else 503)
    assert origin.count("/a") == arrives
    assert {one.body for one in origin.asked} == {sent.get("content", b"")}


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_can_be_read_once_is_sent_once(way, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)

    def parts() -> Any:
        yield b"half"
        yield b"half"

    async def parts_async() -> Any:
        for part in parts():
            yield part

    origin.tell("/a", Answer(503), Answer(503))
    content = parts() if way == "sync" else parts_async()
    response = asked(way, dependency, "PUT", f"{origin.url}/a", content=content)
    assert response.status_code == 503
    assert [one.body for one in origin.asked] == [b"halfhalf"]


@pytest.mark.parametrize("way", WAYS)
def test_a_form_with_files_is_sent_again_from_its_beginning(way, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503))
    form = {"data": {"order": "7"}, "files": {"bill": io.BytesIO(b"paid")}}
    assert asked(way, dependency, "PUT", f"{origin.url}/a", **form).status_code == 200
    first, second = (one.body for one in origin.asked)
    assert first == second and b"paid" in first


@pytest.mark.parametrize("way", WAYS)
def test_what_has_not_reached_the_server_is_sent_again_whatever_it_is(way, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    with pytest.raises(httpx.ConnectError):
        asked(way, dependency, "POST", f"http://127.0.0.1:{closed_port()}/a", content=b"x")
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["gave_up"]) == (3, 2, 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_is_reset_is_an_error_of_httpx(way, origin, name, recorded):
    dependency = fp.Dependency(name, retry=RETRY)
    reset = Answer(sent=0)
    origin.tell("/a", reset, reset, reset, reset)
    with pytest.raises(httpx.TransportError) as raised:
        asked(way, dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == 3
    modules = [
        frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(raised.value.__traceback__)
    ]
    assert [one for one in modules if one.startswith("faultplane")] == []
    assert modules[-1].startswith("httpx")
    with pytest.raises(httpx.TransportError):
        asked(way, dependency, "POST", f"{origin.url}/a", content=b"x")
    assert origin.count("/a") == 4
    assert [attempt for _, attempt in recorded(name)] == [0, 1, 2, 0]


@pytest.mark.parametrize("way", WAYS)
def test_retry_after_is_waited_as_it_is_said(way, origin, name, waits):
    retry = fp.Retry(attempts=3, backoff=fp.constant(0.01), wait_max=60)
    dependency = fp.Dependency(name, retry=retry, clock=waits)
    origin.tell("/a", Answer(429, {"Retry-After": "7"}), Answer(503))
    assert asked(way, dependency, "GET", f"{origin.url}/a").status_code == 200
    assert waits.waits == [7.0, 0.01]
    origin.tell("/b", Answer(503, {"Retry-After": "61"}))
    assert asked(way, dependency, "GET", f"{origin.url}/b").status_code == 503
    assert origin.count("/b") == 1
    waits.waits.clear()
    when = formatdate(__import__("time").time() + 30, usegmt=True)
    origin.tell("/c", Answer(503, {"Retry-After": when}))
    assert asked(way, dependency, "GET", f"{origin.url}/c").status_code == 200
    assert 20 < waits.waits[0] <= 31


# --------------------------------------------------------------------------- breaker and limits


@pytest.mark.parametrize("way", WAYS)
def test_an_open_breaker_makes_no_call(way, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(consecutive=2))
    origin.tell("/a", *[Answer(503, body=b"bad")] * 5)
    # The second failure opens it: the third try is rejected, and the second answer is what counts.
    response = asked(way, dependency, "GET", f"{origin.url}/a")
    assert (response.status_code, response.text, origin.count("/a")) == (503, "bad", 2)
    with pytest.raises(BreakerOpen, match=name) as raised:
        asked(way, dependency, "GET", f"{origin.url}/a")
    assert raised.value.retry_after > 0
    assert origin.count("/a") == 2
    assert seen(dependency).totals["rejected"] == 2


@pytest.mark.parametrize("way", WAYS)
def test_each_host_has_its_own_breaker(way, origin, name):
    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1))
    per_host = {"per_host": True}
    origin.tell("/a", Answer(503))
    assert asked(way, dependency, "GET", f"{origin.url}/a", per_host).status_code == 503
    with pytest.raises(BreakerOpen, match=rf"{name}\[127.0.0.1:{origin.port}\]"):
        asked(way, dependency, "GET", f"{origin.url}/b", per_host)
    other = origin.url.replace("127.0.0.1", "localhost")
    assert asked(way, dependency, "GET", f"{other}/b", per_host).status_code == 200
    assert dependency.state == "closed"


@pytest.mark.parametrize("way", WAYS)
def test_redirects_are_guarded_one_by_one(way, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    origin.tell("/a", Answer(302, {"Location": "/b"}))
    origin.tell("/b", Answer(503))
    response = asked(way, dependency, "GET", f"{origin.url}/a", follow_redirects=True)
    assert (response.status_code, len(response.history)) == (200, 1)
    assert (origin.count("/a"), origin.count("/b")) == (1, 2)
    assert (seen(dependency).calls, seen(dependency).permits) == (3, 0)


@pytest.mark.parametrize("way", WAYS)
def test_the_fallback_answers_with_a_response(way, origin, name):
    def empty(error: Exception, request: Any) -> Any:
        return httpx.Response(200, json=[str(request.url.path), type(error).__name__])

    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1), fallback=empty)
    origin.tell("/a", Answer(503))
    answers = [asked(way, dependency, "GET", f"{origin.url}/a").json() for _ in range(2)]
    assert answers == [["/a", "HTTPStatusError"], ["/a", "BreakerOpen"]]
    assert origin.count("/a") == 1


# ------------------------------------------------------------------------------------------ time


def bounds(transport_of: Any, way: str, dependency: Any, **sent: Any) -> Any:
    """The timeouts that the transport within was given, and the request after it."""
    given: list[Any] = []

    def answer(request: Any) -> Any:
        given.append(request.extensions["timeout"])
        return httpx.Response(200)

    inner = httpx.MockTransport(answer)
    request = httpx.Request("GET", "http://shop/", extensions={"timeout": sent} if sent else {})
    if way == "sync":
        with httpx.Client(transport=GuardedTransport(dependency, inner)) as client:
            client.send(request)
    else:

        async def ask() -> None:
            transport = AsyncGuardedTransport(dependency, inner)
            async with httpx.AsyncClient(transport=transport) as client:
                await client.send(request)

        asyncio.run(ask())
    return given[0], request.extensions["timeout"]


@pytest.mark.parametrize("way", WAYS)
def test_the_smaller_of_the_clients_timeout_and_the_time_left_bounds_each_wait(way, name):
    own = {"connect": 1.0, "read": 100.0, "write": None, "pool": 3.0}
    plain = fp.Dependency(name)
    given, after = bounds(None, way, plain, **own)
    assert given == after == own
    with fp.deadline(50.0):
        given, after = bounds(None, way, plain, **own)
    assert given["connect"] == 1.0 and given["pool"] == 3.0
    assert 40 < given["read"] <= 50 and 40 < given["write"] <= 50
    assert after == own
    given, _ = bounds(None, way, fp.Dependency(f"{name}-2", timeout=2.0, deadline=30.0), **own)
    assert given == {"connect": 1.0, "read": 2.0, "write": 2.0, "pool": 2.0}


@pytest.mark.parametrize("way", WAYS)
def test_past_its_deadline_nothing_is_sent_and_nobody_blamed(way, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    asked(way, dependency, "GET", f"{origin.url}/a")
    with pytest.raises(httpx.TimeoutException), fp.deadline(0):
        asked(way, dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == 1
    assert (seen(dependency).calls, seen(dependency).failures) == (1, 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_does_not_answer_is_waited_for_as_long_as_there_is_time(way, origin, name):
    held = threading.Event()
    origin.tell("/a", Answer(held=held))
    dependency = fp.Dependency(name, deadline=0.1)
    kinds = (httpx.ReadTimeout, TimeoutError)  # of the deadline that cancels, where that is first
    with pytest.raises(kinds):
        asked(way, dependency, "GET", f"{origin.url}/a", timeout=60)
    held.set()


# ----------------------------------------------------------------------------------------- bodies


def streamed(way: str, dependency: Any, url: str, use: Any, options: Any = None) -> Any:
    """What ``use`` makes of a response whose body is streamed, given a function that reads on."""
    if way == "sync":
        transport = guarded(way, dependency, options)
        with httpx.Client(transport=transport) as client, client.stream("GET", url) as response:
            parts = response.iter_bytes(4)
            return use(response, lambda: next(parts, None))

    async def ask() -> Any:
        transport = guarded(way, dependency, options)
        async with (
            httpx.AsyncClient(transport=transport) as client,
            client.stream("GET", url) as response,
        ):
            parts = aiter(response.aiter_bytes(4))
            return await use(response, lambda: anext(parts, None))

    return asyncio.run(ask())


def both(way: str, steps: Any) -> Any:
    """``steps``, a generator function that yields what is to be awaited, in either way."""

    def plain(response: Any, read: Any) -> Any:
        made = steps(response, read)
        try:
            given = next(made)
            while True:
                given = made.send(given)
        except StopIteration as stop:
            return stop.value

    async def awaited(response: Any, read: Any) -> Any:
        made = steps(response, read)
        try:
            given = await next(made)
            while True:
                given = await made.send(given)
        except StopIteration as stop:
            return stop.value

    return plain if way == "sync" else awaited


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("until", ["body", "headers"])
def test_a_call_lasts_until_the_end_of_its_body_or_of_its_headers(way, until, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(response: Any, read: Any) -> Any:
        first = yield read()
        under_way = seen(dependency).permits, seen(dependency).calls
        held.set()
        second = yield read()
        end = yield read()
        return first, under_way, second, end

    use = both(way, steps)
    first, under_way, second, end = streamed(
        way, dependency, f"{origin.url}/a", use, {"until": until}
    )
    assert (first, second, end) == (b"one ", b"two!", None)
    assert under_way == ((1, 0) if until == "body" else (0, 1))
    assert (seen(dependency).permits, seen(dependency).calls) == (0, 1)
    assert seen(dependency).failures == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_holds_while_a_body_is_streamed(way, origin, name, seen):
    dependency = fp.Dependency(name, limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(response: Any, read: Any) -> Any:
        yield read()
        with pytest.raises(LimitExceeded):
            GuardedTransport(dependency).handle_request(httpx.Request("GET", f"{origin.url}/b"))
        held.set()

    streamed(way, dependency, f"{origin.url}/a", both(way, steps))
    assert origin.count("/b") == 0 and seen(dependency).permits == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_breaks_off_is_a_failure_and_not_tried_again(way, origin, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    origin.tell("/a", Answer(body=b"x" * 100, sent=50))
    with pytest.raises(httpx.TransportError) as raised:
        asked(way, dependency, "GET", f"{origin.url}/a")
    frames = traceback.walk_tb(raised.value.__traceback__)
    assert [f.f_globals["__name__"] for f, _ in frames][-1].startswith("httpx")
    assert origin.count("/a") == 1
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 1, 0)
    assert [attempt for _, attempt in recorded(name)] == [0]


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_is_closed_early_ended_well(way, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(response: Any, read: Any) -> Any:
        return (yield read())

    assert streamed(way, dependency, f"{origin.url}/a", both(way, steps)) == b"one "
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 0, 0)
    assert state.totals["ignored"] == 0


def test_a_body_that_is_not_read_on_ended_well(origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    transport = guarded("sync", dependency)
    with (
        httpx.Client(transport=transport) as client,
        client.stream("GET", f"{origin.url}/a") as response,
    ):
        for _ in response.iter_bytes(1):
            break
    assert (seen(dependency).calls, seen(dependency).totals["ignored"]) == (1, 0)


def test_a_response_that_nobody_closes_gives_its_permit_back(origin, name, seen):
    dependency = fp.Dependency(name, limit=1)
    transport = GuardedTransport(dependency)
    response = transport.handle_request(httpx.Request("GET", f"{origin.url}/a"))
    assert seen(dependency).permits == 1
    del response
    assert seen(dependency).permits == 0
    transport.close()


# ----------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("when", ["answer", "body", "backoff"])
def test_cancellation_leaves_nothing_behind(when, origin, name, seen):
    held = threading.Event()
    retry = fp.Retry(attempts=3, backoff=fp.constant(60), budget=fp.RetryBudget())
    dependency = fp.Dependency(name, retry=retry, breaker=fp.Breaker(), limit=1)
    answer = {
        "answer": Answer(held=held),
        "body": Answer(body=b"one two!", rest_held=held),
        "backoff": Answer(503),
    }[when]
    origin.tell("/a", answer)

    async def main() -> None:
        begun = asyncio.Event()

        async def has_begun(response: Any) -> None:
            begun.set()

        hooks = {"response": [has_begun]}
        transport = guarded("async", dependency)
        async with httpx.AsyncClient(transport=transport, event_hooks=hooks) as client:
            task = asyncio.create_task(client.get(f"{origin.url}/a", timeout=60))
            await asyncio.to_thread(origin.wait)
            if when == "body":
                await begun.wait()
            while when == "backoff" and not seen(dependency).tokens_held:  # noqa: ASYNC110
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            state = seen(dependency)
            assert (state.permits, state.probes, state.tokens_held) == (0, 0, 0)
            assert state.totals["retries"] == 0
            held.set()
            assert (await client.get(f"{origin.url}/b")).status_code == 200

    asyncio.run(main())
    failures = 1 if when == "backoff" else 0
    assert (seen(dependency).failures, origin.count("/a")) == (failures, 1)


# ------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("kind", [GuardedTransport, AsyncGuardedTransport])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda kind, one: kind("bank"), "dependency must be a Dependency, got 'bank'"),
        (lambda kind, one: kind(one, until="end"), "until must be body or headers, got 'end'"),
        (lambda kind, one: kind(one, methods="GET"), "methods must be several, got 'GET'"),
        (
            lambda kind, one: kind(fp.Dependency("x", fallback=fp.Fallback.stale())),
            "a response is read once",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(kind, make, said, name):
    with pytest.raises(InvalidSetting, match=said):
        make(kind, fp.Dependency(name))
