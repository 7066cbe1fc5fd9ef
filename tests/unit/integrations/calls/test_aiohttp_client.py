"""What is aiohttp's own: the second round that it makes itself, websockets, its timer."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import io
import threading
import traceback
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp")

from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import Aiohttp
from origin import Answer

import faultplane as fp
from faultplane.integrations.aiohttp_client import GuardedMiddleware

RETRY = fp.Retry(attempts=3, backoff=fp.constant(0))


@pytest.fixture
def client() -> Aiohttp:
    return Aiohttp()


def session_with(*dependencies: Any, **options: Any) -> Any:
    middlewares = [GuardedMiddleware(one, **options) for one in dependencies]
    return aiohttp.ClientSession(middlewares=middlewares)


def test_aiohttp_sends_a_request_twice_by_itself_and_not_through_a_dependency(origin, name):
    """Negative control, and what it costs: a request each time, and the error of the first."""
    origin.tell("/a", *[Answer(sent=0)] * 9)
    origin.tell("/b", *[Answer(sent=0)] * 9)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(f"{origin.url}/a")
        guarded = GuardedMiddleware(fp.Dependency(name))
        async with aiohttp.ClientSession(middlewares=[guarded]) as session:
            for times in (1, 2):
                with pytest.raises(aiohttp.ClientConnectionError) as raised:
                    await session.get(f"{origin.url}/b")
                assert origin.count("/b") == times
                entries = traceback.extract_tb(raised.value.__traceback__)
                assert [entry.name for entry in entries].count("_request") == 1
                with pytest.raises(aiohttp.ClientConnectionError):
                    await session.put(f"{origin.url}/b", data=b"x")
                assert origin.count("/b") == times + 1
                origin.asked.pop()
        assert guarded._given_up == {}

    asyncio.run(main())
    assert origin.count("/a") == 2


def test_one_dependency_within_another_tries_each_time_that_it_is_asked(origin, name):
    inner = fp.Dependency(f"{name}-inner", retry=fp.Retry(attempts=2, backoff=fp.constant(0)))
    outer = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", *[Answer(sent=0)] * 9)

    async def main() -> None:
        async with session_with(outer, inner) as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(f"{origin.url}/a")

    asyncio.run(main())
    assert origin.count("/a") == 6


def test_a_file_is_sent_again_from_where_it_began(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", Answer(503), Answer(sent=0))
    file = io.BytesIO(b"unpaid and paid")
    file.seek(7)
    assert client.ask(dependency, "PUT", f"{origin.url}/a", body=file).status == 200
    assert [one.body for one in origin.asked] == [b"and paid"] * 3


def test_a_body_that_is_not_there_in_time_is_a_failure(client, origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    held = threading.Event()
    origin.tell("/a", Answer(body=b"one two!", rest_held=held))
    with pytest.raises(TimeoutError):
        client.ask(dependency, "GET", f"{origin.url}/a", timeout=0.2)
    held.set()
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (1, 1, 0)


def test_a_websocket_ends_its_call_when_it_is_open(name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)

    async def echo(request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/ws", echo)
        async with (
            TestServer(app) as server,
            session_with(dependency) as session,
            session.ws_connect(server.make_url("/ws")) as socket,
        ):
            assert (seen(dependency).calls, seen(dependency).permits) == (1, 0)
            await socket.send_str("well")
            assert await socket.receive_str() == "well"

    asyncio.run(main())
    assert (seen(dependency).calls, seen(dependency).failures) == (1, 0)


def test_an_answer_that_is_taken_for_an_error_is_aiohttps_own(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)
    origin.tell("/a", *[Answer(503)] * 3)

    async def main() -> None:
        async with session_with(dependency) as session:
            with pytest.raises(aiohttp.ClientResponseError, match="503") as raised:
                await session.get(f"{origin.url}/a", raise_for_status=True)
            assert raised.value.status == 503

    asyncio.run(main())
    assert origin.count("/a") == 3
