"""What urllib3 (1.26 and 2), requests, httpx with what is below it, and aiohttp's client raise.

Decisions that could have gone another way:

* Nothing was sent where no connection came about, whatever is the reason: ``reached_server`` is
  "no" for ConnectTimeout, ConnectError and the like. A read that timed out may have been acted on.
* urllib3 1.26 does not say what the system said of a connection that failed: there, and in requests
  above it, a host that does not exist is Transport like a refused connection, nothing sent.
* A pool without a free connection (PoolTimeout, EmptyPoolError) is ResourceExhausted, retryable and
  ``ignored``: the server was not asked, so it is no evidence against it.
* A body that breaks off is Transport and has reached the server; one that cannot be decoded (JSON,
  gzip) is Serialization, from the target. Which of the two a RemoteProtocolError of httpx is, it
  does not say: it is Transport, mostly a connection that was closed while it was idle.
* A proxy that refuses with a status says so in the text of the error alone, where it is read: a 407
  is Permission. Else the way to a proxy is Transport, and the server has seen nothing.
* Redirects without end are Configuration: the server answered, and will answer the same again.
* A URL, scheme or header of the caller that cannot be is DataValidation and was not sent; that of a
  proxy is Configuration.
* What a client complains of in its own use (a stream read twice, a pool that was closed) is
  Internal, FixCode and ``ignored``.
"""

from __future__ import annotations

from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.libraries import service_judges as judges
from faultplane.classify.libraries.rows import Group, by_answer

__all__ = ["GROUPS"]

_REFUSED_PEER: Final[dict[str, Any]] = {
    **v.UNSENT,
    **v.CERTAIN,
    "origin": "path",
    "counts_as": "failure",
}
_CUT_OFF: Final[dict[str, Any]] = {**v.CERTAIN, "reached_server": "yes"}

GROUPS: Final[tuple[Group, ...]] = by_answer(
    v.says(
        "DependencyService",
        "urllib3.exceptions: HTTPError PoolError RequestError MaxRetryError "
        "requests.exceptions: RequestException httpx: HTTPError RequestError "
        "aiohttp.client_exceptions: ClientError",
        judge=judges.by_wrapped,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says(
        "DependencyService",
        "urllib3.exceptions: ResponseError",
        judge=judges.by_retries,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says(
        "DependencyService",
        "requests.exceptions: RetryError",
        judge=judges.by_wrapped,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says(
        "DependencyService",
        "requests.exceptions: HTTPError httpx: HTTPStatusError",
        judge=judges.by_client_status,
        **v.UNCLEAR,
    ),
    v.says(
        "DependencyService",
        "aiohttp.client_exceptions: ClientResponseError",
        judge=judges.by_parser_or_status,
        **v.UNCLEAR,
    ),
    v.says(
        "DependencyService",
        "aiohttp.client_exceptions: ClientHttpProxyError",
        judge=judges.by_proxy_status,
        **{**v.UNSENT, "origin": "path"},
    ),
    v.says(
        "VersionMismatch",
        "aiohttp.client_exceptions: WSServerHandshakeError",
        judge=judges.by_client_status,
        **v.TARGET,
    ),
    # ------------------------------------------------------------------ connections
    v.says(
        "Transport",
        "requests.exceptions: ConnectionError urllib3.exceptions: ProtocolError "
        "httpx: TransportError NetworkError ReadError WriteError CloseError "
        "httpcore: NetworkError ReadError WriteError aiohttp.client_exceptions: "
        "ClientConnectionError ClientOSError ServerConnectionError",
        judge=judges.by_wrapped,
    ),
    v.says(
        "Transport",
        "aiohttp.client_exceptions: ServerDisconnectedError ClientConnectionResetError "
        "UploadAbortedError",
        **v.CERTAIN,
    ),
    v.says(
        "Transport",
        "urllib3.exceptions: NewConnectionError NameResolutionError SSLError "
        "requests.exceptions: SSLError httpx: ConnectError httpcore: ConnectError "
        "anyio: ConnectionFailed anyio._core._exceptions: ConnectionFailed "
        "aiohttp.client_exceptions: ClientConnectorError ClientConnectorDNSError "
        "UnixClientConnectorError ClientSSLError ClientConnectorSSLError",
        judge=judges.by_connecting,
        **v.UNSENT,
    ),
    v.says(
        "Permission",
        "aiohttp.client_exceptions: ClientConnectorCertificateError",
        judge=judges.by_connecting,
        **_REFUSED_PEER,
    ),
    v.says(
        "Permission",
        "aiohttp.client_exceptions: ServerFingerprintMismatch "
        "urllib3.util.ssl_match_hostname: CertificateError",
        **_REFUSED_PEER,
    ),
    v.says(
        "Transport",
        "urllib3.exceptions: ProxyError requests.exceptions: ProxyError httpx: ProxyError "
        "httpcore: ProxyError aiohttp.client_exceptions: ClientProxyConnectionError",
        judge=judges.by_proxying,
        **v.UNSENT,
    ),
    v.says(
        "Transport",
        "httpx: ProtocolError RemoteProtocolError httpcore: ProtocolError RemoteProtocolError "
        "h11._util: ProtocolError RemoteProtocolError "
        "aiohttp.http_exceptions: HttpProcessingError "
        "aiohttp._websocket.models: WebSocketError aiohttp.http_websocket: WebSocketError",
        origin="target",
    ),
    v.says(
        "Transport",
        "anyio: BrokenResourceError EndOfStream IncompleteRead "
        "anyio._core._exceptions: BrokenResourceError EndOfStream IncompleteRead",
        judge=judges.by_wrapped,
    ),
    v.says(
        "DataValidation",
        "anyio: DelimiterNotFound anyio._core._exceptions: DelimiterNotFound",
        counts_as="failure",
    ),
    v.says("Concurrency", "anyio: WouldBlock anyio._core._exceptions: WouldBlock", **v.FLOW),
    v.says(
        "ResourceExhausted",
        "anyio: BrokenWorkerProcess BrokenWorkerInterpreter "
        "anyio._core._exceptions: BrokenWorkerProcess BrokenWorkerInterpreter",
        **{**v.FINAL, "severity": "High", "confidence": 0.6},
    ),
    v.says("Concurrency", "httpcore: ConnectionNotAvailable", **v.LOCAL),
    v.says(
        "ResourceExhausted",
        "urllib3.exceptions: EmptyPoolError httpx: PoolTimeout httpcore: PoolTimeout",
        **v.AGAIN,
        **v.MEDIUM,
        **v.LOCAL,
        **v.CERTAIN,
    ),
    # ------------------------------------------------------------------ time
    v.says(
        "Timeout",
        "urllib3.exceptions: TimeoutError ReadTimeoutError requests.exceptions: Timeout "
        "ReadTimeout httpx: TimeoutException ReadTimeout WriteTimeout httpcore: TimeoutException "
        "ReadTimeout WriteTimeout aiohttp.client_exceptions: ServerTimeoutError SocketTimeoutError",
        **v.CERTAIN,
    ),
    v.says(
        "Timeout",
        "urllib3.exceptions: ConnectTimeoutError requests.exceptions: ConnectTimeout "
        "httpx: ConnectTimeout httpcore: ConnectTimeout "
        "aiohttp.client_exceptions: ConnectionTimeoutError",
        **v.CERTAIN,
        **v.UNSENT,
    ),
    # ------------------------------------------------------------------ what came back
    v.says(
        "Transport",
        "urllib3.exceptions: IncompleteRead InvalidChunkLength requests.exceptions: "
        "ChunkedEncodingError aiohttp.http_exceptions: TransferEncodingError ContentLengthError",
        **_CUT_OFF,
    ),
    v.says(
        "Transport",
        "aiohttp.client_exceptions: ClientPayloadError",
        judge=judges.by_wrapped,
        **_CUT_OFF,
    ),
    v.says(
        "Serialization",
        "urllib3.exceptions: DecodeError HeaderParsingError InvalidHeader requests.exceptions: "
        "ContentDecodingError JSONDecodeError httpx: DecodingError aiohttp.client_exceptions: "
        "ContentTypeError aiohttp.http_exceptions: ContentEncodingError InvalidHeader",
        **v.TARGET,
    ),
    v.says(
        "DataValidation",
        "aiohttp.client_exceptions: WSMessageTypeError RedirectClientError "
        "InvalidUrlRedirectClientError NonHttpUrlRedirectClientError "
        "aiohttp.http_exceptions: LineTooLong DecompressSizeError",
        **{**v.TARGET, "counts_as": "failure"},
    ),
    v.says(
        "Configuration",
        "requests.exceptions: TooManyRedirects httpx: TooManyRedirects "
        "aiohttp.client_exceptions: TooManyRedirects",
        **{**v.CERTAIN, "reached_server": "yes", "counts_as": "success"},
    ),
    # ------------------------------------------------------------------ what was to be sent
    v.says(
        "DataValidation",
        "urllib3.exceptions: LocationValueError requests.exceptions: URLRequired MissingSchema "
        "InvalidSchema InvalidURL InvalidHeader httpx: UnsupportedProtocol InvalidURL "
        "httpcore: UnsupportedProtocol aiohttp.client_exceptions: InvalidURL InvalidUrlClientError "
        "NonHttpUrlClientError",
        **v.UNSENT,
        **v.CERTAIN,
    ),
    v.says(
        "Configuration",
        "urllib3.exceptions: ProxySchemeUnknown ProxySchemeUnsupported "
        "requests.exceptions: InvalidProxyURL",
        **v.CERTAIN,
    ),
    v.says(
        "Serialization",
        "requests.exceptions: InvalidJSONError",
        **v.LOCAL,
    ),
    v.says(
        "Internal",
        "urllib3.exceptions: ClosedPoolError FullPoolError HostChangedError "
        "httpx: LocalProtocolError httpcore: LocalProtocolError h11._util: LocalProtocolError",
        **v.BUG,
        **v.UNSENT,
    ),
    v.says(
        "Internal",
        "urllib3.exceptions: BodyNotHttplibCompatible ResponseNotChunked UnrewindableBodyError "
        "TimeoutStateError requests.exceptions: StreamConsumedError UnrewindableBodyError "
        "requests.cookies: CookieConflictError httpx: StreamError CookieConflict "
        "anyio: ClosedResourceError BusyResourceError "
        "anyio._core._exceptions: ClosedResourceError BusyResourceError",
        **v.BUG,
    ),
    # ------------------------------------------------------------------ aiohttp's server
    v.says(
        "DependencyService",
        "aiohttp.web_exceptions: HTTPException",
        judge=judges.by_server_status,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says(
        "DataValidation",
        "aiohttp.web_protocol: RequestPayloadError PayloadAccessError",
        reached_server="yes",
        counts_as="success",
        severity="Low",
    ),
    v.says(
        "Processing", "aiohttp.web_runner: GracefulExit aiohttp.streams: EofStream", **v.STOPPED
    ),
    # A certificate that is not looked at: no error, but somebody should know.
    v.says(
        "Permission",
        "urllib3.exceptions: SecurityWarning",
        **v.QUIET,
        **v.VALIDATE,
    ),
)
