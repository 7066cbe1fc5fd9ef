"""What every client of HTTP does whose requests go through a dependency, against a real server."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from email.utils import formatdate
from typing import Any

import pytest
from clients import CLIENTS, Client
from origin import Answer, closed_port

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded

NOW = fp.constant(0)
RETRY = fp.Retry(attempts=3, backoff=NOW)


ASYNC = [name for name, kind in CLIENTS.items() if kind.is_async]


@pytest.fixture(params=CLIENTS)
def client(request: Any) -> Client:
    """Each of the clients."""
    return CLIENTS[request.param]()


def modules_of(error: BaseException) -> list[str]:
    """Modules of the functions that an error has come through."""
    return [f.f_globals["__name__"] for f, _ in traceback.walk_tb(error.__traceback__)]


def has_no_frame_of_ours(error: BaseException) -> bool:
    return not any(module.startswith("faultplane") for module in modules_of(error))


# -------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_again(client, status, origin, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    origin.tell("/a", Answer(status), Answer(status))
    reply = client.ask(dependency, "GET", f"{origin.url}/a")
    assert (reply.status, reply.text, origin.count("/a")) == (200, "well", 3)
    state = seen(dependency)
    assert (state.calls, state.failures, state.totals["recovered"]) == (3, 2, 1)
    kind = f"{client.status.__module__}.{client.status.__name__}"
    assert recorded(name) == [(kind, 0), (kind, 1)]
    assert len({one.port for one in origin.asked}) == 1  # the connection was kept


def test_the_last_answer_is_given_as_it_came(client, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    bad = Answer(503, {"X-Shop": "closed"}, b"come back later")
    origin.tell("/a", bad, bad, bad)
    reply = client.ask(dependency, "GET", f"{origin.url}/a")
    assert (reply.status, reply.text) == (503, "come back later")
    assert reply.headers["X-Shop"] == "closed"
    with pytest.raises(client.status):
        client.raise_for_status(reply)
    assert origin.count("/a") == 3 and seen(dependency).permits == 0


@pytest.mark.parametrize(
    ("status", "failures"), [(200, 0), (301, 0), (404, 0), (409, 0), (500, 1), (501, 0)]
)
def test_other_statuses_are_not_tried_again(client, status, failures, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    origin.tell("/a", Answer(status))
    assert client.ask(dependency, "GET", f"{origin.url}/a").status == status
    assert origin.count("/a") == 1
    assert (seen(dependency).calls, seen(dependency).totals["failures"]) == (1, failures)


@pytest.mark.parametrize(
    ("on", "status", "arrives"),
    [
        ("status", 503, 2),
        ("status", 500, 2),
        ("status", 404, 1),
        ("refused", 503, 1),
        (lambda error: "500" in str(error), 500, 2),
        (lambda error: "500" in str(error), 503, 1),
    ],
)
def test_on_is_asked_of_answers_that_are_failures(client, on, status, arrives, origin, name):
    types = getattr(client, on) if isinstance(on, str) else on
    dependency = fp.Dependency(name, retry=fp.Retry(attempts=3, backoff=NOW, on=types))
    origin.tell("/a", Answer(status))
    client.ask(dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == arrives


@pytest.mark.parametrize(
    ("method", "headers", "options", "arrives"),
    [
        ("GET", {}, {}, 3),
        ("HEAD", {}, {}, 3),
        ("PUT", {}, {}, 3),
        ("DELETE", {}, {}, 3),
        ("POST", {}, {}, 1),
        ("PATCH", {}, {}, 1),
        ("POST", {"idempotency-key": "7"}, {}, 3),
        ("POST", {}, {"methods": {"post"}}, 3),
        ("GET", {}, {"methods": ()}, 1),
    ],
)
def test_only_what_may_be_repeated_is(client, method, headers, options, arrives, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(503))
    body = b"whole" if method in {"PUT", "POST", "PATCH"} else None
    reply = client.ask(dependency, method, f"{origin.url}/a", options, body=body, headers=headers)
    assert reply.status == (200 if arrives == 3 else 503)
    assert origin.count("/a") == arrives
    assert {one.body for one in origin.asked} == {body or b""}


def test_a_body_that_can_be_read_once_is_sent_once(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(503))
    reply = client.ask(dependency, "PUT", f"{origin.url}/a", body=client.once())
    assert reply.status == 503
    assert [one.body for one in origin.asked] == [b"halfhalf"]


def test_what_has_not_reached_the_server_is_sent_again_whatever_it_is(client, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    with pytest.raises(client.refused):
        client.ask(dependency, "POST", f"http://127.0.0.1:{closed_port()}/a", body=b"x")
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["gave_up"]) == (3, 2, 1)


def test_a_connection_that_breaks_is_an_error_of_the_library(client, origin, name, recorded):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", *[Answer(sent=0)] * 9)
    with pytest.raises(client.broken) as raised:
        client.ask(dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == 3
    assert has_no_frame_of_ours(raised.value)
    assert modules_of(raised.value)[-1].partition(".")[0] == client.library
    with pytest.raises(client.broken):
        client.ask(dependency, "POST", f"{origin.url}/a", body=b"x")
    assert origin.count("/a") == 4
    assert [attempt for _, attempt in recorded(name)] == [0, 1, 2, 0]


def test_retry_after_is_waited_as_it_is_said(client, origin, name, waits):
    retry = fp.Retry(attempts=3, backoff=fp.constant(0.01), wait_max=60)
    dependency = fp.Dependency(name, retry=retry, clock=waits)
    origin.tell("/a", Answer(429, {"Retry-After": "7"}), Answer(503))
    assert client.ask(dependency, "GET", f"{origin.url}/a").status == 200
    assert waits.waits == [7.0, 0.01]
    origin.tell("/b", Answer(503, {"Retry-After": "61"}))
    assert client.ask(dependency, "GET", f"{origin.url}/b").status == 200
    assert waits.waits[2:] == [60.0]
    origin.tell("/b", Answer(503, {"Retry-After": "61"}))
    with fp.deadline(30):
        assert client.ask(dependency, "GET", f"{origin.url}/b").status == 503
    assert origin.count("/b") == 3
    waits.waits.clear()
    when = formatdate(time.time() + 30, usegmt=True)
    origin.tell("/c", Answer(503, {"Retry-After": when}))
    assert client.ask(dependency, "GET", f"{origin.url}/c").status == 200
    assert 0 < waits.waits[0] <= 31


# --------------------------------------------------------------------------- breaker and limits


def test_an_open_breaker_makes_no_call(client, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(consecutive=2))
    origin.tell("/a", *[Answer(503, body=b"bad")] * 5)
    # The second failure opens it: the third try is rejected, and the second answer is what counts.
    reply = client.ask(dependency, "GET", f"{origin.url}/a")
    assert (reply.status, reply.text, origin.count("/a")) == (503, "bad", 2)
    with pytest.raises(BreakerOpen, match=name) as raised:
        client.ask(dependency, "GET", f"{origin.url}/a")
    assert raised.value.retry_after > 0
    assert origin.count("/a") == 2
    assert seen(dependency).totals["rejected"] == 2


def test_each_host_has_its_own_breaker(client, origin, name):
    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1))
    per_host = {"per_host": True}
    origin.tell("/a", Answer(503))
    assert client.ask(dependency, "GET", f"{origin.url}/a", per_host).status == 503
    with pytest.raises(BreakerOpen, match=rf"{name}\[127.0.0.1:{origin.port}\]"):
        client.ask(dependency, "GET", f"{origin.url}/b", per_host)
    other = origin.url.replace("127.0.0.1", "localhost")
    assert client.ask(dependency, "GET", f"{other}/b", per_host).status == 200
    assert dependency.state == "closed"


def test_redirects_are_guarded_one_by_one(client, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    origin.tell("/a", Answer(302, {"Location": "/b"}))
    origin.tell("/b", Answer(503))
    reply = client.ask(dependency, "GET", f"{origin.url}/a", follow=True)
    assert (reply.status, len(reply.response.history)) == (200, 1)
    assert (origin.count("/a"), origin.count("/b")) == (1, 2)
    assert (seen(dependency).calls, seen(dependency).permits) == (3, 0)


# ------------------------------------------------------------------------------------------ time


def test_past_its_deadline_nothing_is_sent_and_nobody_blamed(client, origin, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    client.ask(dependency, "GET", f"{origin.url}/a")
    with pytest.raises(client.late), fp.deadline(0):
        client.ask(dependency, "GET", f"{origin.url}/a")
    assert origin.count("/a") == 1
    assert (seen(dependency).calls, seen(dependency).failures) == (1, 0)


@pytest.mark.parametrize("bound", ["deadline", "time_left", "timeout", "own"])
def test_a_server_that_does_not_answer_is_waited_for_as_long_as_there_is_time(
    client, bound, origin, name, seen
):
    held = threading.Event()
    origin.tell("/a", Answer(held=held))
    policies: dict[str, Any] = {bound: 0.5} if bound in {"deadline", "timeout"} else {}
    dependency = fp.Dependency(name, breaker=fp.Breaker(), **policies)
    own = 0.5 if bound == "own" else 60
    with (
        pytest.raises((*_types(client.late), TimeoutError)),
        fp.deadline(0.5 if bound == "time_left" else 60),
    ):
        client.ask(dependency, "GET", f"{origin.url}/a", timeout=own)
    held.set()
    assert origin.count("/a") == 1 and seen(dependency).permits == 0
    # What a deadline cancels says nothing of the other side; what a client gave up does.
    cancelled = client.is_async and bound == "deadline"
    assert seen(dependency).failures == (0 if cancelled else 1)


def _types(types: Any) -> tuple[Any, ...]:
    return types if isinstance(types, tuple) else (types,)


# ----------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize("until", ["body", "headers"])
def test_a_call_lasts_until_the_end_of_its_body_or_of_its_headers(
    client, until, origin, name, seen
):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(read: Any) -> Any:
        parts = [(yield read())]
        under_way = seen(dependency).permits, seen(dependency).calls
        held.set()
        while parts[-1]:
            parts.append((yield read()))
        return b"".join(parts), under_way

    body, under_way = client.use(dependency, f"{origin.url}/a", steps, {"until": until})
    assert body == b"one two!"
    assert under_way == ((1, 0) if until == "body" else (0, 1))
    state = seen(dependency)
    assert (state.permits, state.calls, state.failures) == (0, 1, 0)


def test_a_limit_holds_while_a_body_is_streamed(client, origin, name, seen):
    dependency = fp.Dependency(name, limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(read: Any) -> Any:
        yield read()
        with pytest.raises(LimitExceeded):
            dependency.call(len, "")
        held.set()

    client.use(dependency, f"{origin.url}/a", steps)
    assert seen(dependency).permits == 0
    assert dependency.call(len, "") == 0


def test_a_body_that_breaks_off_while_it_is_streamed_is_a_failure(
    client, origin, name, seen, recorded
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    origin.tell("/a", Answer(body=b"x" * 100, sent=50))

    def steps(read: Any) -> Any:
        while (yield read()):
            pass

    with pytest.raises(client.broken) as raised:
        client.use(dependency, f"{origin.url}/a", steps)
    own = [module for module in modules_of(raised.value) if module.startswith("faultplane")]
    assert own == []
    assert origin.count("/a") == 1
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 1, 0)
    assert [attempt for _, attempt in recorded(name)] == [0]


def test_a_body_that_breaks_off_while_the_client_reads_it_is_a_failure(client, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    origin.tell("/a", Answer(body=b"x" * 100, sent=50))
    with pytest.raises(client.broken):
        client.ask(dependency, "GET", f"{origin.url}/a")
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 1, 0)


def test_a_body_that_is_not_read_on_ended_well(client, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))

    def steps(read: Any) -> Any:
        return (yield read())

    assert client.use(dependency, f"{origin.url}/a", steps) == b"one "
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 0, 0)
    assert state.totals["ignored"] == 0


def test_a_large_answer_that_nobody_gets_is_not_read(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    held = threading.Event()
    large = Answer(503, body=b"x" * 200_000, rest_held=held)
    origin.tell("/a", large)

    def steps(read: Any) -> Any:
        return (yield read())

    assert client.use(dependency, f"{origin.url}/a", steps) == b"well"
    assert origin.count("/a") == 2
    assert len({one.port for one in origin.asked}) == 2


# ----------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("client", ASYNC, indirect=True)
@pytest.mark.parametrize("when", ["answer", "body", "backoff"])
def test_cancellation_leaves_nothing_behind(client, when, origin, name, seen):
    held = threading.Event()
    retry = fp.Retry(attempts=3, backoff=fp.constant(60), budget=fp.RetryBudget())
    dependency = fp.Dependency(name, retry=retry, breaker=fp.Breaker(), limit=1)
    given = {
        "answer": Answer(held=held),
        "body": Answer(body=b"one two!", rest_held=held),
        "backoff": Answer(503),
    }
    origin.tell("/a", given[when])

    async def main() -> None:
        begun = asyncio.Event()
        asking = client.ask_async(dependency, "GET", f"{origin.url}/a", None, begun.set)
        task = asyncio.create_task(asking)
        await asyncio.to_thread(origin.wait)
        if when == "body":
            await begun.wait()
        # Shared memory wakes nobody.
        while when == "backoff" and not seen(dependency).tokens_held:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        state = seen(dependency)
        assert (state.permits, state.probes, state.tokens_held) == (0, 0, 0)
        assert state.totals["retries"] == 0
        held.set()
        reply = await client.ask_async(dependency, "GET", f"{origin.url}/b")
        assert reply.status == 200

    asyncio.run(main())
    failures = 1 if when == "backoff" else 0
    assert (seen(dependency).failures, origin.count("/a")) == (failures, 1)


# ------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"until": "end"}, "until must be body or headers, got 'end'"),
        ({"methods": "GET"}, "methods must be several, got 'GET'"),
        ({"dependency": "bank"}, "dependency must be a Dependency, got 'bank'"),
        ({"dependency": fp.Dependency("x", hedge=1)}, "a hedge calls a coroutine function"),
        ({"fallback": fp.Fallback.stale()}, "a response is read once"),
    ],
)
def test_what_cannot_be_used_is_refused(client, options, said, origin, name):
    options = dict(options)
    fallback = options.pop("fallback", None)
    dependency = options.pop("dependency", None) or fp.Dependency(name, fallback=fallback)
    with pytest.raises(InvalidSetting, match=said):
        client.ask(dependency, "GET", f"{origin.url}/a", options)
    assert origin.asked == []
