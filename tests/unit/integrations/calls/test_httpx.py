"""What is httpx's own: forms with files, timeouts of four parts, responses that nobody closes."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")

from clients import Httpx, HttpxAsync
from origin import Answer

import faultplane as fp
from faultplane.integrations.httpx import AsyncGuardedTransport, GuardedTransport

RETRY = fp.Retry(attempts=3, backoff=fp.constant(0))


@pytest.fixture(params=[Httpx, HttpxAsync])
def client(request: Any) -> Any:
    """Both of httpx's clients."""
    return request.param()


def test_a_form_with_files_is_sent_again_from_its_beginning(client, origin, name):
    dependency = fp.Dependency(name, retry=RETRY)

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for file, status in ((io.BytesIO(b"paid"), 200), (Pipe(b"paid"), 503)):
        origin.tell("/a", Answer(503))
        form = httpx.Request("PUT", f"{origin.url}/a", data={"n": "7"}, files={"bill": file})
        assert sent(client, dependency, form).status_code == status
    first, second, third = (one.body for one in origin.asked)
    assert first == second and b"paid" in first and b"paid" in third


def sent(client: Any, dependency: Any, request: Any, inner: Any = None) -> Any:
    """The response to a request that was made before."""
    if not client.is_async:
        transport = client.transport(dependency) if inner is None else GuardedTransport(
            dependency, inner
        )  # fmt: skip
        with httpx.Client(transport=transport) as one:
            return one.send(request)

    async def send() -> Any:
        transport = client.transport(dependency) if inner is None else AsyncGuardedTransport(
            dependency, inner
        )  # fmt: skip
        async with httpx.AsyncClient(transport=transport) as one:
            return await one.send(request)

    return asyncio.run(send())


def test_the_smaller_of_the_clients_timeout_and_the_time_left_bounds_each_wait(client, name):
    own = {"connect": 1.0, "read": 100.0, "write": None, "pool": 3.0}

    def bounds(dependency: Any) -> dict[str, float]:
        given: list[Any] = []

        def answer(request: Any) -> Any:
            given.append(request.extensions["timeout"])
            return httpx.Response(200)

        request = httpx.Request("GET", "http://shop/", extensions={"timeout": own})
        sent(client, dependency, request, httpx.MockTransport(answer))
        assert request.extensions["timeout"] == own
        return given[0]

    plain = fp.Dependency(name)
    assert bounds(plain) == own
    with fp.deadline(50.0):
        given = bounds(plain)
    assert given["connect"] == 1.0 and given["pool"] == 3.0
    assert 40 < given["read"] <= 50 and 40 < given["write"] <= 50
    assert bounds(fp.Dependency(f"{name}-2", timeout=2.0, deadline=30.0)) == {
        "connect": 1.0, "read": 2.0, "write": 2.0, "pool": 2.0
    }  # fmt: skip


def test_the_fallback_answers_with_a_response(client, origin, name):
    def empty(error: Exception, request: Any) -> Any:
        return httpx.Response(200, json=[str(request.url.path), type(error).__name__])

    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1), fallback=empty)
    origin.tell("/a", Answer(503))
    answers = [client.ask(dependency, "GET", f"{origin.url}/a").response.json() for _ in range(2)]
    assert answers == [["/a", "HTTPStatusError"], ["/a", "BreakerOpen"]]
    assert origin.count("/a") == 1


def test_a_response_that_nobody_closes_gives_its_permit_back(origin, name, seen):
    dependency = fp.Dependency(name, limit=1)
    transport = GuardedTransport(dependency)
    response = transport.handle_request(httpx.Request("GET", f"{origin.url}/a"))
    assert seen(dependency).permits == 1
    del response
    assert seen(dependency).permits == 0
    transport.close()


def test_a_body_of_which_a_part_is_read_ended_well(origin, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    with (
        httpx.Client(transport=Httpx().transport(dependency)) as client,
        client.stream("GET", f"{origin.url}/a") as response,
    ):
        for _ in response.iter_bytes(1):
            break
    assert (seen(dependency).calls, seen(dependency).totals["ignored"]) == (1, 0)
