"""What gRPC raises: an answer for each of the 17 codes, and how long the server asks to wait.

A server says when to come back by the trailer ``grpc-retry-pushback-ms`` (a number of milliseconds;
one that is negative or no number says not to come back) or by a ``google.rpc.RetryInfo`` in
``grpc-status-details-bin``. The pushback counts where there are both.

This is general gRPC, in which a code says what became of one call. The exporter protocol of
OpenTelemetry has a rule of its own: there CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE,
UNAVAILABLE and DATA_LOSS are sent again, because an exporter repeats the same data and a receiver
bears to have them twice. That belongs to who exports; here:

* CANCELLED is never retried and ``ignored``: somebody on this side wanted no answer any more.
* DEADLINE_EXCEEDED is a Timeout like others: retryable, and the server may have acted.
* ABORTED is temporary, but the same call again will not do: what is to be done again is the
  transaction around it. OUT_OF_RANGE and FAILED_PRECONDITION are answers to the request.
* RESOURCE_EXHAUSTED is a RateLimit and retryable where the server says when to come back, and else
  ResourceExhausted, which a retry would make worse. A message over the limit has this code, too.
* UNAVAILABLE may have reached the server, unless the text says that no connection came about.
* UNKNOWN and INTERNAL are like a 500: not retryable, because the work may be half done.

The state of a call is read where it is kept, not asked for: ``code()`` of a stream would wait for
the end of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from faultplane.classify import vocabulary as v
from faultplane.classify.classification import Classification, shared
from faultplane.classify.judgement import NEVER, Inquiry, Judgement
from faultplane.classify.libraries.rows import Group, by_answer
from faultplane.classify.retry_after import whole_milliseconds
from faultplane.classify.table import answers_by_word

__all__ = ["CODES", "GROUPS", "STOP", "by_grpc_status", "pushback", "retry_info_seconds"]

CODES: Final = answers_by_word(
    "grpc",
    {
        # No error: only a mistaken caller raises for it.
        "OK": ("Internal", {**v.ANSWERED, **v.IGNORED}),
        "CANCELLED": (
            "Concurrency",
            {**v.FINAL, **v.FLOW, **v.WITHOUT},
        ),
        "UNKNOWN": ("DependencyService", {**v.FINAL, "confidence": 0.6}),
        "INVALID_ARGUMENT ALREADY_EXISTS OUT_OF_RANGE": ("DataValidation", {**v.ANSWERED}),
        "DEADLINE_EXCEEDED": ("Timeout", {}),
        "NOT_FOUND": ("DataValidation", {**v.ANSWERED, "confidence": 0.6}),
        "PERMISSION_DENIED UNAUTHENTICATED": ("Permission", {**v.ANSWERED}),
        "RESOURCE_EXHAUSTED": (
            "ResourceExhausted",
            {"severity": "High", "origin": "target", "reached_server": "yes", **v.LIKELY},
        ),
        "FAILED_PRECONDITION": ("BusinessLogic", {}),
        "ABORTED": (
            "Concurrency",
            {**v.ANSWERED, "retryable": False, "origin": "target"},
        ),
        "UNIMPLEMENTED": ("VersionMismatch", {**v.ANSWERED, "origin": "target"}),
        "INTERNAL": ("DependencyService", {**v.FINAL}),
        "UNAVAILABLE": ("DependencyService", {"reached_server": "unknown"}),
        "UNAVAILABLE/unconnected": ("Transport", {**v.UNSENT, "confidence": 0.8}),
        "RESOURCE_EXHAUSTED/later": ("RateLimit", {}),
        "DATA_LOSS": (
            "Internal",
            {
                "category": "Data",
                "severity": "Critical",
                **v.BY_HAND,
                "origin": "target",
                "reached_server": "yes",
            },
        ),
    },
)
"""Answers by the name of the code; two have a variant."""

PUSHBACK: Final = "grpc-retry-pushback-ms"
DETAILS: Final = "grpc-status-details-bin"
TRAILERS_MAX: Final = 64
DETAILS_BYTES_MAX: Final = 65_536
# What the core of gRPC begins the text of a call with for which there was no connection.
_NO_CONNECTION: Final = (
    "failed to connect to all addresses",
    "DNS resolution failed",
    "errors resolving ",
)
STOP: Final = -1.0
"""In place of a wait: the server says not to come back."""


def _ended(exc: Any) -> tuple[str, str, object]:
    """Name of the code ("" where there is none), the text, and the trailers of a call."""
    state = getattr(exc, "_state", None)
    if state is None:
        asked = (getattr(exc, name, None) for name in ("code", "details", "trailing_metadata"))
        code, text, trailers = [ask() if callable(ask) else None for ask in asked]
    else:
        code, text, trailers = state.code, state.details, state.trailing_metadata
    name = getattr(code, "name", None)
    if type(name) is not str or name not in CODES:
        name = ""
    return name, text if type(text) is str else "", trailers


def _said(trailers: Any) -> dict[str, object]:
    """What the trailers say of when to come back."""
    found: dict[str, object] = {}
    for number, (key, value) in enumerate(trailers or ()):
        if number == TRAILERS_MAX:
            break
        if type(key) is str and key in {PUSHBACK, DETAILS}:
            found.setdefault(key, value)
    return found


def _status_key(exc: BaseException) -> object:
    code, text, trailers = _ended(exc)
    return None if _said(trailers) else _word(code, text)


def _word(code: str, text: str) -> str:
    unconnected = code == "UNAVAILABLE" and text.startswith(_NO_CONNECTION)
    return "UNAVAILABLE/unconnected" if unconnected else code


def by_grpc_status(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An RpcError by its code and what its trailers say of when to come back."""
    try:
        code, text, trailers = _ended(exc)
        said = _said(trailers)
        word = _word(code, text)
        if not said:
            return CODES.get(word, answer), (_status_key, word)
        wait = _wait_seconds(said)
    except Exception:  # noqa: BLE001 - code() and the trailers may be the application's
        return answer, NEVER
    return _waiting(CODES.get(word, answer), word, wait), NEVER


@lru_cache(maxsize=1024)
def _waiting(answer: Classification, word: str, wait: float | None) -> Classification:
    if wait is None:
        return answer
    if wait == STOP:
        return shared(answer.replace(**v.FINAL))
    if word == "RESOURCE_EXHAUSTED":
        answer = CODES["RESOURCE_EXHAUSTED/later"]
    return shared(answer.replace(retry_after=wait)) if answer.retryable else answer


def _wait_seconds(said: dict[str, object]) -> float | None:
    """Seconds to wait; `STOP` for never; None where nothing is said."""
    if PUSHBACK in said:
        value = said[PUSHBACK]
        text = value.decode("latin-1") if type(value) is bytes else value
        if type(text) is not str or not text.isascii() or not text.isdigit() or len(text) > 18:
            return STOP
        wait: float | None = int(text) / 1000
    else:
        details = said[DETAILS]
        wait = retry_info_seconds(details) if type(details) is bytes else None
    return None if wait is None else whole_milliseconds(wait)


def pushback(exc: BaseException) -> tuple[str, float | None]:
    """Name of an RpcError's code, and what its trailers say of when to come back.

    The name is "" where there is none, or none that is known. The other is seconds to wait, `STOP`
    where the server says not to come back, and None where it says nothing. Whatever the
    attributes of ``exc`` raise is let through.
    """
    code, _, trailers = _ended(exc)
    said = _said(trailers)
    return code, _wait_seconds(said) if said else None


# ------------------------------------------------------------------------- google.rpc.Status

_RETRY_INFO: Final = b"/google.rpc.RetryInfo"


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(Number, value) of each field of a protobuf message; ValueError where it is none."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while shift < 64:
            if at >= len(data):
                raise ValueError("message ends within a number")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("number of more than 64 bits")

    while at < len(data):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) if wire != 2 else varint()
        if size is None or at + size > len(data):
            raise ValueError(f"field of wire type {wire} ends beyond the message")
        yield tag >> 3, data[at : at + size]
        at += size


def _field(data: bytes, number: int) -> int | bytes | None:
    """The last value of that field, which is the one that counts."""
    return next((value for n, value in reversed([*_fields(data)]) if n == number), None)


def retry_info_seconds(status: bytes) -> float | None:
    """Seconds that the RetryInfo in a serialised ``google.rpc.Status`` asks to wait.

    None for a status without one, and for bytes that are none, are longer than 64 KiB or ask for a
    negative wait.

    >>> retry_info_seconds(b"not a status") is None
    True
    """
    if len(status) > DETAILS_BYTES_MAX:
        return None
    try:
        for number, detail in _fields(status):
            if number != 3 or type(detail) is not bytes:
                continue
            url, info = _field(detail, 1), _field(detail, 2)
            if type(url) is bytes and url.endswith(_RETRY_INFO) and type(info) is bytes:
                delay = _field(info, 1)
                return _duration_seconds(delay) if type(delay) is bytes else None
    except ValueError:
        pass
    return None


def _duration_seconds(delay: bytes) -> float | None:
    seconds, nanos = _field(delay, 1) or 0, _field(delay, 2) or 0
    # A negative number is a varint with its highest bit set.
    if type(seconds) is not int or type(nanos) is not int or max(seconds, nanos) >= 1 << 63:
        return None
    return seconds + nanos / 1e9


# ------------------------------------------------------------------------------------ rows

GROUPS: Final[tuple[Group, ...]] = by_answer(
    v.says(
        "DependencyService",
        "grpc: RpcError",
        judge=by_grpc_status,
        **v.FINAL,
        **v.UNCLEAR,
    ),
    v.says("Timeout", "grpc: FutureTimeoutError", **v.UNSENT, **v.CERTAIN),
    v.says("Concurrency", "grpc: FutureCancelledError", **v.STOPPED),
    # How a server ends a call, and how it ends itself.
    v.says("Processing", "grpc._cython.cygrpc: AbortError _ServerStoppedError", **v.STOPPED),
    v.says("Internal", "grpc._cython.cygrpc: UsageError grpc.experimental: UsageError", **v.BUG),
    v.says("Internal", "grpc._cython.cygrpc: BaseError InternalError", **v.GUESS),
    v.says("Transport", "grpc._cython.cygrpc: ExecuteBatchError", **v.GUESS),
)
