"""The metrics of a domain over HTTP: one object that WSGI and ASGI servers can call.

Reading needs neither ``init()`` nor permission to write, and any domain can be named. Whichever
process of a host is asked, and however often, the answer is that of the whole domain.
"""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from faultplane import settings
from faultplane.errors import FaultplaneError
from faultplane.monitor import exposition
from faultplane.monitor.exposition import Family
from faultplane.monitor.metrics import Limits, Metrics, fixed
from faultplane.store import Domain, location
from faultplane.store.follow import Keeper

GZIP_LEVEL: Final = 1
"""Of text that repeats itself like this, more effort saves a few percent."""
METHODS: Final = ("GET", "HEAD")
_HEADER_CHARS_MAX: Final = 4096
_PLAIN: Final = "text/plain; charset=utf-8"


class Response(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def line(self) -> str:
        """Number and phrase."""
        return f"{self.status.value} {self.status.phrase}"


def answer(
    status: HTTPStatus,
    body: bytes,
    content_type: str = _PLAIN,
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """A response with its content type and length."""
    head = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    return Response(status, [*head, *headers], body)


def weights(header: str) -> dict[str, float]:
    """Weights of what a header such as Accept lists, in lower case, the version kept.

    >>> weights("text/plain;q=0.5, application/openmetrics-text; version=1.0.0, */*;q=x")
    {'text/plain': 0.5, 'application/openmetrics-text;version=1.0.0': 1.0, '*/*': 0.0}
    """
    found: dict[str, float] = {}
    for item in header[:_HEADER_CHARS_MAX].lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = (part.strip() for part in parameter.partition("="))
            if key == "q":
                weight = _weight(value)
            elif key == "version":
                name += f";version={value.strip(chr(34))}"
        if name:
            found[name] = max(weight, found.get(name, 0.0))
    return found


def _weight(text: str) -> float:
    """A weight from 0 to 1; 0 for a text that is none."""
    number = text.replace(".", "", 1)
    return min(float(text), 1.0) if number.isascii() and number.isdigit() else 0.0


def prefers_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0.0 is accepted, and not less than the text of Prometheus.

    >>> prefers_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    True
    >>> prefers_openmetrics("*/*"), prefers_openmetrics("text/plain")
    (False, False)
    """
    found = weights(accept)
    name = "application/openmetrics-text"
    wanted = max(found.get(name, 0.0), found.get(f"{name};version=1.0.0", 0.0))
    plain = max((found[n] for n in found if n.startswith("text/plain")), default=0.0)
    return wanted > 0.0 and wanted >= plain


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is asked for.

    >>> accepts_gzip("gzip, br"), accepts_gzip("gzip;q=0"), accepts_gzip("*;q=0"), accepts_gzip("")
    (True, False, False, False)
    """
    found = weights(accept_encoding)
    return found.get("gzip", found.get("*", 0.0)) > 0.0


class MetricsApp:
    """The metrics of a domain, for WSGI and ASGI servers, and to be mounted in applications.

    ``domain`` and ``directory`` come from FAULTPLANE_DOMAIN and FAULTPLANE_DIR where they are not
    given; the domain need not be there yet. ``services``, ``operations`` (with their kinds),
    ``fingerprints`` and ``events`` (these three of each service) and ``dependencies`` are told
    apart up to that many, each 1 to 10,000; the rest is summed as ``other``. With ``maintain``
    processes that are found dead are buried before the answer where there is permission, as
    ``faultplane tail`` does, else nothing is written. Raises InvalidSetting and InvalidName.
    Threads may share it.

    >>> app = MetricsApp(domain="not-there")
    >>> print(app.text(), end="")  # doctest: +ELLIPSIS
    # HELP faultplane_up Whether the domain could be read.
    # TYPE faultplane_up gauge
    faultplane_up 0
    ...
    """

    def __init__(
        self,
        domain: str | None = None,
        directory: str | None = None,
        *,
        services: int = Limits().services,
        operations: int = Limits().operations,
        fingerprints: int = Limits().fingerprints,
        events: int = Limits().events,
        dependencies: int = Limits().dependencies,
        maintain: bool = False,
    ) -> None:
        if domain is not None:
            location.check_domain_name(domain)
        self._domain, self._directory = domain, directory
        self._limits = Limits(services, operations, fingerprints, events, dependencies).check()
        self._maintain = maintain
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._metrics: Metrics | None = None
        self._found: list[Family] = []
        self._found_begun = -1.0
        self.problems: list[str] = []
        """What could not be read the last time, a sentence each."""

    def close(self) -> None:
        """Let go of the domain; the next reading finds it again."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.close()
            metrics.domain.close()

    # -------------------------------------------------------------------------------- reading

    def families(self) -> list[Family]:
        """Every family, read now. Of those who ask while one reads, one reads for all."""
        asked = time.monotonic()
        if self._pid != os.getpid():
            # Forked: a thread of the parent may have been in the middle of something.
            metrics = self._metrics
            self._forget()
            self._metrics = metrics
            self._leave()
        with self._lock:
            if self._found_begun >= asked:
                return self._found
            begun = time.monotonic()
            self._found = self._read()
            self._found_begun = begun
            return self._found

    def _read(self) -> list[Family]:
        try:
            if self._metrics is None:
                self._metrics = Metrics(Domain.attach(self._domain, self._directory), self._limits)
            metrics = self._metrics
            found = metrics.collect()
            if self._maintain and metrics.someone_is_gone and self._bury(metrics.domain.path):
                found = metrics.collect()
            self.problems = metrics.problems
        except FaultplaneError as error:
            self.problems = [str(error)]
            found = fixed(self._domain or settings.load().domain, 0)
        if len(found) <= len(fixed("", 0)):
            # Gone, or another is to be found in another place the next time.
            self._leave()
        return found

    @staticmethod
    def _bury(path: str) -> bool:
        keeper = Keeper(path)
        try:
            keeper.maintain()
            return keeper.active
        finally:
            keeper.close()

    def text(self, *, openmetrics: bool = False) -> str:
        """Everything as Prometheus text 0.0.4, or as OpenMetrics 1.0.0."""
        render = exposition.openmetrics if openmetrics else exposition.text
        return render(self.families())

    # --------------------------------------------------------------------------------- serving

    def respond(self, method: str, accept: str = "", accept_encoding: str = "") -> Response:
        """The answer to a request, whatever its path; a HEAD gets that of GET, body included."""
        if method not in METHODS:
            allow = [("Allow", ", ".join(METHODS))]
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n", headers=allow)
        openmetrics = prefers_openmetrics(accept)
        try:
            body = self.text(openmetrics=openmetrics).encode()
        except OSError as error:
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode("utf-8", "replace"))
        headers = [("Vary", "Accept, Accept-Encoding")]
        if accepts_gzip(accept_encoding):
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        kind = exposition.OPENMETRICS if openmetrics else exposition.TEXT
        return answer(HTTPStatus.OK, body, kind, headers)

    def __call__(self, *arguments: Any) -> Any:
        """Serve one request: ``(environ, start_response)`` or ``(scope, receive, send)``.

        With ``(scope)`` alone, as servers call what they take for ASGI 2, gives what takes
        ``(receive, send)``.
        """
        match arguments:
            case environ, start_response:
                return self._wsgi(environ, start_response)
            case scope, receive, send:
                return self._asgi(scope, receive, send)
            case (scope,):
                return lambda receive, send: self._asgi(scope, receive, send)
        raise TypeError(
            "metrics_app takes (environ, start_response) or (scope, receive, send), "
            f"got {len(arguments)} arguments"
        )

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        method = str(environ.get("REQUEST_METHOD", "GET"))
        response = self.respond(
            method, environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
        )
        start_response(response.line, response.headers)
        return [] if method == "HEAD" else [response.body]

    async def _asgi(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            while (event := (await receive())["type"]) != "lifespan.shutdown":
                await send({"type": f"{event}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(bytes(name).lower(), []).append(bytes(value).decode("latin-1"))
        response = await _in_thread(
            self.respond,
            scope["method"],
            ",".join(headers.get(b"accept", [])),
            ",".join(headers.get(b"accept-encoding", [])),
        )
        await send({
            "type": "http.response.start",
            "status": response.status.value,
            "headers": [(n.lower().encode(), v.encode()) for n, v in response.headers],
        })  # fmt: skip
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})


async def _in_thread(respond: Callable[..., Response], *arguments: str) -> Response:
    """What ``respond`` gives, without holding up the other requests where asyncio runs."""
    import asyncio  # whoever awaits has it

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return respond(*arguments)
    return await loop.run_in_executor(None, respond, *arguments)


metrics_app: Final = MetricsApp()
"""The metrics of the domain that FAULTPLANE_DOMAIN and FAULTPLANE_DIR name."""
