"""Failures of HTTP clients, and what each is to be taken for: written from their documentation.

Each entry makes something fail, mostly with the real library against a server on loopback, and says
what the exception is: the kind, then the words that differ from what `KINDS` has for that kind.
``retry``, ``later`` and ``final`` stand for retryable, temporary only, and neither. The library is
imported when the entry is run; an entry whose library is not there is left out.

``corpus_services_rpc.py`` and ``corpus_services_web.py`` hold the other subjects.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from failures import WAIT_SECONDS_MAX, answers, server
from failures_network import reset, silence, tls_server, unused_port

ENTRIES = {}


class Entry(NamedTuple):
    """What fails, the modules it needs, and the words that say what it is."""

    library: str
    function: object
    expected: str


def case(name, expected):
    """Register a function that fails. The name begins with the module that it needs."""

    def decorate(function):
        assert name not in ENTRIES, name
        ENTRIES[name] = Entry(name.partition(":")[0], function, expected)
        return function

    return decorate


def load():
    """The entries of the siblings, too."""
    for sibling in ("corpus_services_rpc", "corpus_services_web"):
        import_module(sibling)
    return ENTRIES


def raised(error):
    raise error


def made(module, names, expected, *args, **kwargs):
    """Entries for exceptions that are constructed, ``names`` in ``module``."""
    for name in names.split():

        def function(name=name):
            target = import_module(module)
            for part in name.split("."):
                target = getattr(target, part)
            raise target(*args, **kwargs)

        case(f"{module}: {name}{args or ''}{kwargs or ''}", expected)(function)


def caught(name):
    """The exception of the entry of that name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ENTRIES[name].function()
        except BaseException as error:
            return error
    raise AssertionError(f"{name} did not fail")


# ----------------------------------------------------------------------------------- replies


def http(status, *headers, body=b"", length=None):
    """A conversation: one answer with that status line."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return answers("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def chunked(body):
    return answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)


def hang_up(connection):
    """A conversation: read the request, say nothing, close."""
    connection.recv(65536)


def plain(connection):
    """A conversation: what a server without TLS says to a client that begins with TLS."""
    connection.recv(1)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    silence(connection)


NO_GZIP = http("200 OK", "Content-Encoding: gzip", body=b"no gzip at all")
TRUNCATED = http("200 OK", body=b'{"a": ', length=100)
SHORT_CHUNK = chunked(b"ff\r\nshort")
BAD_JSON = http("200 OK", "Content-Type: application/json", body=b'{"a": ')
GARBAGE = answers(b"nothing like HTTP\r\n\r\n")
LOOP = answers(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n"
               b"Connection: close\r\n\r\n")  # fmt: skip
ELSEWHERE = http("302 Found", "Location: ftp://other.invalid/x")
BUSY = http("503 Service Unavailable", "Retry-After: 7")
PROXY_REFUSES = http("407 Proxy Authentication Required")

REFUSED = "Transport target no"
UNREAD = "Transport"
CUT_OFF = "Transport yes"
UNRESOLVED = "Configuration category=Network no"
UNTRUSTED = "Permission path no failure"
PROXY_PERMISSION = "Permission path no"
NO_TLS = "VersionMismatch path no failure"
CONNECT_TIMEOUT = "Timeout no"
READ_TIMEOUT = "Timeout"
BAD_URL = "DataValidation no"
BAD_BODY = "Serialization target yes"
REDIRECTED = "Configuration yes success"
MISUSED = "Internal ignored"
MISUSED_UNSENT = "Internal no ignored"
POOL_EMPTY = "ResourceExhausted retry no ignored"

STATUSES = {
    "400 Bad Request": "DataValidation yes success",
    "401 Unauthorized": "Permission yes success",
    "403 Forbidden": "Permission yes success",
    "404 Not Found": "DataValidation yes success",
    "408 Request Timeout": "Timeout yes RetryWithBackoff",
    "409 Conflict": "Concurrency later yes success FixCode",
    "422 Unprocessable Content": "DataValidation yes success",
    "429 Too Many Requests": "RateLimit",
    "500 Internal Server Error": "DependencyService final",
    "501 Not Implemented": "VersionMismatch target yes success",
    "502 Bad Gateway": "DependencyService path unknown",
    "503 Service Unavailable": "DependencyService",
    "504 Gateway Timeout": "Timeout category=Dependency",
    "599 Odd": "DependencyService final",
}


def url(address, path="/", scheme="http"):
    return f"{scheme}://{address[0]}:{address[1]}{path}"


# ----------------------------------------------------------------------------------- urllib3


def pooled(conversation, *, retries=False, scheme="http", timeout=WAIT_SECONDS_MAX, serve=server):
    """A request by urllib3's own pool."""
    import urllib3

    with serve(conversation) as address, urllib3.PoolManager(retries=retries) as pool:
        reply = pool.request("GET", url(address, scheme=scheme), timeout=timeout)
        return reply.json()


def over_tls(conversation):
    """As `server`, with a certificate that nobody trusts."""
    return tls_server(conversation=conversation)


def by_urllib3(address, **settings):
    import urllib3

    with urllib3.PoolManager(**settings) as pool:
        pool.request("GET", address)


case("urllib3: refused", REFUSED)(lambda: by_urllib3(url(unused_port()), retries=False))
case("urllib3: refused, after retries", REFUSED)(lambda: by_urllib3(url(unused_port()), retries=1))
case("urllib3: no such host", UNRESOLVED)(
    lambda: by_urllib3("http://no-such-host.invalid/", retries=0)
)
case("urllib3: server hangs up", UNREAD)(lambda: pooled(hang_up))
case("urllib3: server hangs up, after retries", UNREAD)(lambda: pooled(hang_up, retries=1))
case("urllib3: reset", UNREAD)(lambda: pooled(reset))
case("urllib3: no answer", READ_TIMEOUT)(lambda: pooled(silence, timeout=0.05))
case("urllib3: no answer, after retries", READ_TIMEOUT)(
    lambda: pooled(silence, timeout=0.05, retries=1)
)
case("urllib3: certificate not trusted", UNTRUSTED)(
    lambda: pooled(silence, scheme="https", serve=over_tls)
)
case("urllib3: certificate not trusted, after retries", UNTRUSTED)(
    lambda: pooled(silence, scheme="https", serve=over_tls, retries=1)
)
case("urllib3: plain server", NO_TLS)(lambda: pooled(plain, scheme="https", retries=0))
case("urllib3: truncated body", CUT_OFF)(lambda: pooled(TRUNCATED))
case("urllib3: truncated chunk", CUT_OFF)(lambda: pooled(SHORT_CHUNK))
case("urllib3: no chunk", CUT_OFF)(lambda: pooled(chunked(b"what\r\n")))
case("urllib3: no gzip", BAD_BODY)(lambda: pooled(NO_GZIP))
case("urllib3: no HTTP", "Transport target")(lambda: pooled(GARBAGE))
case("urllib3: scheme unknown", BAD_URL)(lambda: by_urllib3("gopher://127.0.0.1/"))
case("urllib3: URL without a host", BAD_URL)(lambda: by_urllib3("http://"))
case("urllib3: URL that is none", BAD_URL)(lambda: by_urllib3("http://[::1/"))
case("urllib3: proxy refuses a connection", "Transport no")(
    lambda: by_proxy(url(unused_port())).request("GET", "https://shop.invalid/", retries=1)
)


def by_proxy(proxy):
    import urllib3

    return urllib3.ProxyManager(proxy)


# The refusal of a proxy is in the text alone, but it is one, and will be the same again.
@case("urllib3: the proxy wants a password", PROXY_PERMISSION)
def _():
    with server(PROXY_REFUSES) as address:
        by_proxy(url(address)).request("GET", "https://shop.invalid/", retries=False)


@case("urllib3: too many 503", "DependencyService")
def _():
    import urllib3

    again = urllib3.Retry(1, status_forcelist=[503], backoff_factor=0)
    pooled(http("503 Busy"), retries=again)


@case("urllib3: too many 429", "RateLimit")
def _():
    import urllib3

    again = urllib3.Retry(1, status_forcelist=[429], backoff_factor=0)
    pooled(http("429 Slow"), retries=again)


@case("urllib3: too many redirects", REDIRECTED)
def _():
    import urllib3

    pooled(LOOP, retries=urllib3.Retry(1))


@case("urllib3: no connection left", POOL_EMPTY)
def _():
    import urllib3

    with server(silence) as address:
        pool = urllib3.HTTPConnectionPool(*address, maxsize=1, block=True)
        pool._get_conn()
        pool.request("GET", "/", pool_timeout=0.01, retries=False)


@case("urllib3: closed pool", MISUSED_UNSENT)
def _():
    import urllib3

    pool = urllib3.HTTPConnectionPool("127.0.0.1", 9)
    pool.close()
    pool.request("GET", "/", retries=False)


made("urllib3.exceptions", "HostChangedError", MISUSED_UNSENT, None, "http://other", 3)
made("urllib3.exceptions", "ConnectTimeoutError", CONNECT_TIMEOUT, "too slow")
made("urllib3.exceptions", "ResponseNotChunked BodyNotHttplibCompatible", MISUSED, "text")
made("urllib3.exceptions", "UnrewindableBodyError TimeoutStateError", MISUSED, "text")
made("urllib3.exceptions", "InvalidHeader", BAD_BODY, "Retry-After: soon")
made("urllib3.exceptions", "HTTPError", "DependencyService final unknown", "text")
made("urllib3.exceptions", "InsecureRequestWarning", "Permission ValidateConfig", "not verified")
made("urllib3.exceptions", "ProxySchemeUnknown", "Configuration no", "gopher")

# ----------------------------------------------------------------------------------- requests


def fetched(conversation, *, read=None, serve=server, scheme="http", **settings):
    """A request by requests, whose status must be good."""
    import requests

    settings.setdefault("timeout", WAIT_SECONDS_MAX)
    with serve(conversation) as address, requests.Session() as session:
        session.trust_env = False
        reply = session.get(url(address, scheme=scheme), **settings)
        reply.raise_for_status()
        return read(reply) if read else None


def by_requests(address, **settings):
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.get(address, timeout=WAIT_SECONDS_MAX, **settings)


case("requests: refused", REFUSED)(lambda: by_requests(url(unused_port())))
case("requests: no such host", UNRESOLVED)(lambda: by_requests("http://no-such-host.invalid/"))
case("requests: server hangs up", UNREAD)(lambda: fetched(hang_up))
case("requests: reset", UNREAD)(lambda: fetched(reset))
case("requests: no answer", READ_TIMEOUT)(lambda: fetched(silence, timeout=0.05))
case("requests: certificate not trusted", UNTRUSTED)(
    lambda: fetched(silence, serve=over_tls, scheme="https")
)
case("requests: plain server", NO_TLS)(lambda: fetched(plain, scheme="https"))
case("requests: truncated body", CUT_OFF)(lambda: fetched(TRUNCATED))
case("requests: truncated chunk", CUT_OFF)(lambda: fetched(SHORT_CHUNK))
case("requests: no gzip", BAD_BODY)(lambda: fetched(NO_GZIP))
case("requests: no JSON", BAD_BODY)(lambda: fetched(BAD_JSON, read=lambda reply: reply.json()))
case("requests: no HTTP", "Transport target")(lambda: fetched(GARBAGE))
case("requests: redirects without end", REDIRECTED)(lambda: fetched(LOOP))
case("requests: redirected to another scheme", BAD_URL)(lambda: fetched(ELSEWHERE))
case("requests: scheme unknown", BAD_URL)(lambda: by_requests("gopher://127.0.0.1/"))
case("requests: no scheme", BAD_URL)(lambda: by_requests("127.0.0.1/x"))
case("requests: no host", BAD_URL)(lambda: by_requests("http:///x"))
case("requests: header with a line end", BAD_URL)(
    lambda: by_requests(url(unused_port()), headers={"x": "a\nb"})
)
case("requests: proxy refuses a connection", "Transport no")(
    lambda: by_requests("https://shop.invalid/", proxies={"https": url(unused_port())})
)


@case("requests: the proxy wants a password", PROXY_PERMISSION)
def _():
    with server(PROXY_REFUSES) as address:
        by_requests("https://shop.invalid/", proxies={"https": url(address)})


case("requests: proxy URL without a host", "Configuration no")(
    lambda: by_requests("http://shop.invalid/", proxies={"http": "http:///"})
)
case("requests: JSON that cannot be sent", "Serialization no ignored")(
    lambda: by_requests(url(unused_port()), json={"x": float("nan")})
)
case("requests: busy, come back in 7 s", "DependencyService after=7")(lambda: fetched(BUSY))
case("requests: come back in a minute", "RateLimit after=60")(
    lambda: fetched(http("429 Slow", "retry-after: 60"))
)
case("requests: HTTPError without a response", "DependencyService unknown")(
    lambda: raised(import_module("requests").HTTPError("text"))
)


@case("requests: too many 503", "DependencyService")
def _():
    import requests
    import urllib3

    again = urllib3.Retry(1, status_forcelist=[503], backoff_factor=0)
    with server(http("503 Busy")) as address, requests.Session() as session:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=again))
        session.get(url(address))


@case("requests: stream read twice", MISUSED)
def _():
    import requests

    with server(http("200 OK", body=b"text")) as address, requests.Session() as session:
        session.trust_env = False
        reply = session.get(url(address), stream=True)
        list(reply.iter_content(1))
        list(reply.iter_content(1))


for _line, _words in STATUSES.items():
    case(f"requests: {_line}", _words)(lambda line=_line: fetched(http(line)))
made("requests.exceptions", "ConnectTimeout", CONNECT_TIMEOUT, "text")
made("requests.exceptions", "Timeout", READ_TIMEOUT, "text")
made("requests.exceptions", "RequestException", "DependencyService final unknown", "text")
made("requests.exceptions", "UnrewindableBodyError", MISUSED, "text")

# ------------------------------------------------------------------------------ httpx, httpcore


def sent(conversation, *, read=None, serve=server, scheme="http", **settings):
    """A request by httpx, whose status must be good."""
    import httpx

    settings.setdefault("timeout", WAIT_SECONDS_MAX)
    with serve(conversation) as address, httpx.Client(trust_env=False, **settings) as client:
        reply = client.get(url(address, scheme=scheme))
        if not reply.is_redirect:
            reply.raise_for_status()
        return read(reply) if read else None


def by_httpx(address, **settings):
    import httpx

    with httpx.Client(trust_env=False, **settings) as client:
        client.get(address)


async def by_async_httpx(address):
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(address)


def by_httpcore(address, **settings):
    import httpcore

    with httpcore.ConnectionPool(**settings) as pool:
        pool.request("GET", address)


case("httpx: refused", REFUSED)(lambda: by_httpx(url(unused_port())))
case("httpx: refused, asynchronously", REFUSED)(
    lambda: asyncio.run(by_async_httpx(url(unused_port())))
)
case("httpx: no such host", UNRESOLVED)(lambda: by_httpx("http://no-such-host.invalid/"))
case("httpx: server hangs up", "Transport target")(lambda: sent(hang_up))
case("httpx: reset", UNREAD)(lambda: sent(reset))
case("httpx: no answer", READ_TIMEOUT)(lambda: sent(silence, timeout=0.05))
case("httpx: certificate not trusted", UNTRUSTED)(
    lambda: sent(silence, serve=over_tls, scheme="https")
)
case("httpx: plain server", NO_TLS)(lambda: sent(plain, scheme="https"))
case("httpx: truncated body", "Transport target")(lambda: sent(TRUNCATED))
case("httpx: no gzip", BAD_BODY)(lambda: sent(NO_GZIP))
case("httpx: no HTTP", "Transport target")(lambda: sent(GARBAGE))
case("httpx: redirects without end", REDIRECTED)(lambda: sent(LOOP, follow_redirects=True))
case("httpx: redirected to another scheme", BAD_URL)(lambda: sent(ELSEWHERE, follow_redirects=True))
case("httpx: scheme unknown", BAD_URL)(lambda: by_httpx("gopher://127.0.0.1/"))
case("httpx: no scheme", BAD_URL)(lambda: by_httpx("127.0.0.1/x"))
case("httpx: URL that is none", BAD_URL)(lambda: by_httpx("http://host:port/"))
case("httpx: header with a line end", MISUSED_UNSENT)(lambda: sent(hang_up, headers={"x": "a\nb"}))
# httpx does not say that it was the proxy that refused.
case("httpx: proxy refuses", REFUSED)(
    lambda: by_httpx("https://shop.invalid/", proxy=url(unused_port()))
)
case("httpx: busy, come back in 7 s", "DependencyService after=7")(lambda: sent(BUSY))


@case("httpx: the proxy wants a password", PROXY_PERMISSION)
def _():
    with server(PROXY_REFUSES) as address:
        by_httpx("https://shop.invalid/", proxy=url(address))


for _line, _words in STATUSES.items():
    case(f"httpx: {_line}", _words)(lambda line=_line: sent(http(line)))
made("httpx", "ConnectTimeout", CONNECT_TIMEOUT, "text")
made("httpx", "WriteTimeout TimeoutException", READ_TIMEOUT, "text")
made("httpx", "PoolTimeout", POOL_EMPTY, "text")
made("httpx", "NetworkError CloseError TransportError WriteError", UNREAD, "text")
made("httpx", "RequestError HTTPError", "DependencyService final unknown", "text")
made("httpx", "StreamClosed StreamConsumed ResponseNotRead RequestNotRead", MISUSED)
made("httpx", "CookieConflict", MISUSED, "text")
case("httpcore: refused", REFUSED)(lambda: by_httpcore(url(unused_port())))
case("httpcore: scheme unknown", BAD_URL)(lambda: by_httpcore("gopher://127.0.0.1/"))
made("httpcore", "ConnectTimeout", CONNECT_TIMEOUT, "text")
made("httpcore", "ReadTimeout WriteTimeout", READ_TIMEOUT, "text")
made("httpcore", "ConnectionNotAvailable", "Concurrency no ignored")
made("httpcore", "PoolTimeout", POOL_EMPTY, "text")
made("httpcore", "ReadError WriteError NetworkError", UNREAD, "text")
made("httpcore", "RemoteProtocolError", "Transport target", "text")
made("httpcore", "LocalProtocolError", MISUSED_UNSENT, "text")
made("httpcore", "ProxyError", PROXY_PERMISSION, "407 Proxy Authentication Required")
made("httpcore", "ProxyError", "DependencyService path no", "502 Bad Gateway")
made("httpcore", "ProxyError", "Transport no", "Proxy Server could not connect: refused")

# ----------------------------------------------------------------------------------- aiohttp


def asked(conversation, *, read=None, serve=server, scheme="http", path="/", **settings):
    """A request by aiohttp, whose status must be good."""
    with serve(conversation) as address:
        by_aiohttp(url(address, path, scheme), read=read, **settings)


def by_aiohttp(address, *, read=None, timeout=WAIT_SECONDS_MAX, **settings):
    import aiohttp

    async def ask():
        limits = aiohttp.ClientTimeout(sock_read=timeout, sock_connect=WAIT_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(raise_for_status=True, timeout=limits) as session,
            session.get(address, **settings) as reply,
        ):
            await (read(reply) if read else reply.read())

    asyncio.run(ask())


def upgrade(conversation):
    import aiohttp

    async def ask(address):
        async with aiohttp.ClientSession() as session:
            await session.ws_connect(address)

    with server(conversation) as address:
        asyncio.run(ask(url(address)))


case("aiohttp: refused", REFUSED)(lambda: by_aiohttp(url(unused_port())))
case("aiohttp: no such host", UNRESOLVED)(lambda: by_aiohttp("http://no-such-host.invalid/"))
case("aiohttp: server hangs up", UNREAD)(lambda: asked(hang_up))
case("aiohttp: reset", UNREAD)(lambda: asked(reset))
case("aiohttp: no answer", READ_TIMEOUT)(lambda: asked(silence, timeout=0.05))
case("aiohttp: certificate not trusted", UNTRUSTED)(
    lambda: asked(silence, serve=over_tls, scheme="https")
)
case("aiohttp: plain server", NO_TLS)(lambda: asked(plain, scheme="https"))
case("aiohttp: truncated body", CUT_OFF)(lambda: asked(TRUNCATED))
case("aiohttp: truncated chunk", CUT_OFF)(lambda: asked(SHORT_CHUNK))
case("aiohttp: no gzip", BAD_BODY)(lambda: asked(NO_GZIP))
case("aiohttp: no HTTP", "Transport target")(lambda: asked(GARBAGE))
case("aiohttp: JSON of another type", BAD_BODY)(
    lambda: asked(http("200 OK", "Content-Type: text/html"), read=lambda reply: reply.json())
)
case("aiohttp: redirects without end", REDIRECTED)(lambda: asked(LOOP))
case("aiohttp: redirected to another scheme", "DataValidation target yes failure")(
    lambda: asked(ELSEWHERE)
)
case("aiohttp: scheme unknown", BAD_URL)(lambda: by_aiohttp("gopher://127.0.0.1/"))
case("aiohttp: no host", BAD_URL)(lambda: by_aiohttp("/x"))
case("aiohttp: proxy refuses", "Transport no")(
    lambda: by_aiohttp("https://shop.invalid/", proxy=url(unused_port()))
)
case("aiohttp: busy, come back in 7 s", "DependencyService after=7")(lambda: asked(BUSY))
case("aiohttp: no upgrade, but 404", "DataValidation yes success")(
    lambda: upgrade(http("404 Not Found"))
)
case("aiohttp: no upgrade, but 200", "VersionMismatch target yes")(lambda: upgrade(http("200 OK")))


@case("aiohttp: the proxy wants a password", PROXY_PERMISSION)
def _():
    with server(PROXY_REFUSES) as address:
        by_aiohttp("https://shop.invalid/", proxy=url(address))


for _line, _words in STATUSES.items():
    case(f"aiohttp: {_line}", _words)(lambda line=_line: asked(http(line)))
made("aiohttp", "ServerDisconnectedError ClientConnectionError", UNREAD)
made("aiohttp", "ClientConnectionResetError", UNREAD, "Cannot write to closing transport")
made("aiohttp", "ServerTimeoutError SocketTimeoutError", READ_TIMEOUT, "text")
made("aiohttp", "ConnectionTimeoutError", CONNECT_TIMEOUT, "text")
made("aiohttp", "ServerFingerprintMismatch", UNTRUSTED, b"a", b"b", "shop", 443)
made("aiohttp", "ClientError", "DependencyService final unknown", "text")
made("aiohttp.http_websocket", "WebSocketError", "Transport target", 1002, "text")
made("anyio", "BrokenResourceError EndOfStream IncompleteRead", UNREAD)
made("anyio", "ClosedResourceError", MISUSED)
made("anyio", "BusyResourceError", MISUSED, "reading")
made("anyio", "WouldBlock", "Concurrency ignored")
made("anyio", "DelimiterNotFound", "DataValidation failure", 100)
made("anyio", "BrokenWorkerProcess", "ResourceExhausted final")
case("anyio: refused", REFUSED)(
    lambda: asyncio.run(import_module("anyio").connect_tcp(*unused_port()))
)
made("aiohttp.http_exceptions", "BadStatusLine", "Transport target", "text")
made("aiohttp.http_exceptions", "TransferEncodingError ContentLengthError", CUT_OFF, "text")
made("aiohttp.http_exceptions", "ContentEncodingError InvalidHeader", BAD_BODY, "text")
