"""The clients of HTTP that have an integration, each asked in the same way.

``client.ask(dependency, method, url, options, ...)`` has a client of its own send one request, its
body read; ``client.use(dependency, url, steps)`` streams one, see there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any, NamedTuple

import pytest


class Reply(NamedTuple):
    """What came back; ``response`` is the client's own."""

    status: int
    text: str
    headers: Any
    response: Any


Steps = Callable[[Callable[[], Any]], Generator[Any, Any, Any]]
"""Given a function that gives the next part of a body, b"" at its end, yields what it gives."""


class Client:
    """What the tests ask of each; types of exception by what they stand for."""

    library = ""
    refused: Any  # no connection came about
    broken: Any  # one broke
    late: Any  # the time was over
    status: Any  # what raise_for_status() raises
    is_async = False

    def __init__(self) -> None:
        self.module: Any = pytest.importorskip(self.library)

    def ask(
        self,
        dependency: Any,
        method: str,
        url: str,
        options: dict[str, Any] | None = None,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        follow: bool = False,
        timeout: float = 30,
    ) -> Reply:
        """The reply to one request."""
        raise NotImplementedError

    def use(
        self, dependency: Any, url: str, steps: Steps, options: dict[str, Any] | None = None
    ) -> Any:
        """What ``steps`` returns, whose body is streamed in parts of four bytes."""
        raise NotImplementedError

    async def ask_async(
        self,
        dependency: Any,
        method: str,
        url: str,
        options: dict[str, Any] | None = None,
        begun: Callable[[], object] | None = None,
        **sent: Any,
    ) -> Reply:
        """The same of an asynchronous client; ``begun`` is called when there are headers."""
        raise NotImplementedError

    def once(self) -> Any:
        """A body that can be read once."""
        return iter_once_async() if self.is_async else iter_once()

    def raise_for_status(self, reply: Reply) -> None:
        reply.response.raise_for_status()


def iter_once() -> Any:
    yield b"half"
    yield b"half"


async def iter_once_async() -> Any:
    yield b"half"
    yield b"half"


def stepped(steps: Steps, read: Callable[[], Any]) -> Any:
    """Do the steps."""
    made = steps(read)
    try:
        given = next(made)
        while True:
            given = made.send(given)
    except StopIteration as stop:
        return stop.value


async def stepped_async(steps: Steps, read: Callable[[], Any]) -> Any:
    """Do the steps, each awaited."""
    made = steps(read)
    try:
        given = await next(made)
        while True:
            given = await made.send(given)
    except StopIteration as stop:
        return stop.value


class Httpx(Client):
    library = "httpx"

    def __init__(self) -> None:
        super().__init__()
        httpx, ours = self.module, import_module("faultplane.integrations.httpx")
        self.ours = ours
        self.refused, self.broken = httpx.ConnectError, httpx.TransportError
        self.late, self.status = (httpx.TimeoutException, TimeoutError), httpx.HTTPStatusError

    def transport(self, dependency: Any, options: Any = None) -> Any:
        """One that trusts everybody: to read all authorities for each client takes long."""
        inner = self.module.HTTPTransport(verify=False)
        return self.ours.GuardedTransport(dependency, inner, **(options or {}))

    def ask(
        self, dependency: Any, method: str, url: str, options: Any = None, **sent: Any
    ) -> Reply:
        with self.module.Client(transport=self.transport(dependency, options)) as client:
            response = client.request(method, url, **self.named(**sent))
        return Reply(response.status_code, response.text, response.headers, response)

    @staticmethod
    def named(
        body: Any = None, headers: Any = None, follow: bool = False, timeout: float = 30
    ) -> dict[str, Any]:
        return {
            "content": body, "headers": headers, "follow_redirects": follow, "timeout": timeout
        }  # fmt: skip

    def use(self, dependency: Any, url: str, steps: Steps, options: Any = None) -> Any:
        transport = self.transport(dependency, options)
        with self.module.Client(transport=transport) as client, client.stream("GET", url) as answer:
            parts = answer.iter_bytes(4)
            return stepped(steps, lambda: next(parts, b""))


class HttpxAsync(Httpx):
    is_async = True

    def transport(self, dependency: Any, options: Any = None) -> Any:
        inner = self.module.AsyncHTTPTransport(verify=False)
        return self.ours.AsyncGuardedTransport(dependency, inner, **(options or {}))

    async def ask_async(
        self,
        dependency: Any,
        method: str,
        url: str,
        options: Any = None,
        begun: Callable[[], object] | None = None,
        **sent: Any,
    ) -> Reply:
        async def has_begun(response: Any) -> None:
            if begun is not None:
                begun()

        hooks = {"response": [has_begun]}
        transport = self.transport(dependency, options)
        async with self.module.AsyncClient(transport=transport, event_hooks=hooks) as client:
            response = await client.request(method, url, **self.named(**sent))
        return Reply(response.status_code, response.text, response.headers, response)

    def ask(self, *args: Any, **sent: Any) -> Reply:
        return asyncio.run(self.ask_async(*args, **sent))

    def use(self, dependency: Any, url: str, steps: Steps, options: Any = None) -> Any:
        async def use() -> Any:
            async with (
                self.module.AsyncClient(transport=self.transport(dependency, options)) as client,
                client.stream("GET", url) as answer,
            ):
                parts = aiter(answer.aiter_bytes(4))
                return await stepped_async(steps, lambda: anext(parts, b""))

        return asyncio.run(use())


class Requests(Client):
    library = "requests"

    def __init__(self) -> None:
        super().__init__()
        requests = self.module
        self.ours = import_module("faultplane.integrations.requests")
        self.refused = requests.ConnectionError
        self.broken = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
        self.late, self.status = requests.Timeout, requests.HTTPError

    def session(self, dependency: Any, options: Any = None) -> Any:
        session = self.module.Session()
        session.trust_env = False
        session.mount("http://", self.ours.GuardedAdapter(dependency, **(options or {})))
        return session

    def ask(
        self,
        dependency: Any,
        method: str,
        url: str,
        options: Any = None,
        *,
        body: Any = None,
        headers: Any = None,
        follow: bool = False,
        timeout: float = 30,
    ) -> Reply:
        with self.session(dependency, options) as session:
            response = session.request(
                method, url, data=body, headers=headers, allow_redirects=follow, timeout=timeout
            )
        return Reply(response.status_code, response.text, response.headers, response)

    def use(self, dependency: Any, url: str, steps: Steps, options: Any = None) -> Any:
        with (
            self.session(dependency, options) as session,
            session.get(url, stream=True, timeout=90) as response,
        ):
            parts = response.iter_content(4)
            return stepped(steps, lambda: next(parts, b""))


class Aiohttp(Client):
    library = "aiohttp"
    is_async = True

    def __init__(self) -> None:
        super().__init__()
        aiohttp = self.module
        self.ours = import_module("faultplane.integrations.aiohttp_client")
        self.refused = aiohttp.ClientConnectorError
        self.broken = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
        self.late, self.status = TimeoutError, aiohttp.ClientResponseError

    def session(
        self,
        dependency: Any,
        options: Any = None,
        timeout: float = 30,
        begun: Callable[[], object] | None = None,
    ) -> Any:
        async def has_begun(*_: Any) -> None:
            if begun is not None:
                begun()

        trace = self.module.TraceConfig()
        trace.on_request_end.append(has_begun)
        return self.module.ClientSession(
            middlewares=[self.ours.GuardedMiddleware(dependency, **(options or {}))],
            timeout=self.module.ClientTimeout(total=timeout),
            trace_configs=[trace],
        )

    async def ask_async(
        self,
        dependency: Any,
        method: str,
        url: str,
        options: Any = None,
        begun: Callable[[], object] | None = None,
        *,
        body: Any = None,
        headers: Any = None,
        follow: bool = False,
        timeout: float = 30,  # noqa: ASYNC109 - the client's own
    ) -> Reply:
        async with (
            self.session(dependency, options, timeout, begun) as session,
            session.request(
                method, url, data=body, headers=headers, allow_redirects=follow
            ) as response,
        ):
            return Reply(response.status, await response.text(), response.headers, response)

    def ask(self, *args: Any, **sent: Any) -> Reply:
        return asyncio.run(self.ask_async(*args, **sent))

    def use(self, dependency: Any, url: str, steps: Steps, options: Any = None) -> Any:
        async def use() -> Any:
            async with self.session(dependency, options) as session, session.get(url) as answer:
                parts = aiter(answer.content.iter_chunked(4))
                return await stepped_async(steps, lambda: anext(parts, b""))

        return asyncio.run(use())


CLIENTS: dict[str, type[Client]] = {
    "httpx": Httpx,
    "httpx-async": HttpxAsync,
    "requests": Requests,
    "aiohttp": Aiohttp,
}
