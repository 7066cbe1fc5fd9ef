"""Rules for what clients and frameworks raise: the exception inside, or the status of an answer.

An exception that only wraps another keeps it in its arguments (requests, urllib3, aiohttp), in
``reason`` (urllib3) or as its ``__cause__`` (httpx, kombu, Django); it is looked for in this order.
``__context__`` never counts, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, cast

from faultplane.classify.classification import Classification, shared
from faultplane.classify.evidence import args_of, attribute_of, cause_of, int_of, text_of
from faultplane.classify.http_status import by_status
from faultplane.classify.judgement import BY_TYPE, NEVER, Inquiry, Judge, Judgement, keyed
from faultplane.classify.judges import by_cause, inner_answer, reason_key
from faultplane.classify.retry_after import says_when, wait_said_by

__all__ = [
    "by_client_status",
    "by_connecting",
    "by_parser_or_status",
    "by_proxy_status",
    "by_proxying",
    "by_retries",
    "by_server_status",
    "by_wrapped",
]

WRAPPED_MAX: Final = 6
"""Exceptions within one another whose types make a key; a longer chain is asked about anew."""
KNOWN_CONFIDENCE_MIN: Final = 0.45
"""Below it, the type of what is wrapped says less than that of what wraps it."""

_Change = Callable[[Classification], Classification]


@lru_cache(maxsize=1024)
def _unsent(answer: Classification) -> Classification:
    return shared(answer.replace(reached_server="no"))


@lru_cache(maxsize=1024)
def _on_the_way(answer: Classification) -> Classification:
    return shared(answer.replace(reached_server="no", origin="path"))


# --------------------------------------------------------------------- exceptions that wrap


def _wrapped_in(exc: BaseException) -> BaseException | None:
    for found in (*args_of(exc)[:2], attribute_of(exc, "reason"), cause_of(exc)):
        # By type(): isinstance() would ask the object for its __class__.
        if issubclass(type(found), BaseException):
            return cast("BaseException", found)
    return None


def _wrapped_key(exc: BaseException) -> object:
    """Types and errnos of what is wrapped, outermost first."""
    key: list[object] = []
    inner = _wrapped_in(exc)
    while inner is not None:
        told = reason_key(inner)
        if told is None or len(key) == WRAPPED_MAX:
            return None
        key.append(told)
        inner = _wrapped_in(inner)
    return tuple(key)


def _wrapping(change: _Change | None) -> Judge:
    """A judge that has the wrapped exception answer, as far as that is known."""

    def judge(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
        inner = _wrapped_in(exc)
        if inner is None:
            return answer, (_wrapped_key, ())
        key = _wrapped_key(exc)
        found = inquiry.judge(inner)
        if found is None:
            return answer, NEVER
        told, remembered = found
        if told.confidence >= KNOWN_CONFIDENCE_MIN:
            answer = inner_answer("cause", told)
            if change is not None:
                answer = change(answer)
        # Type and errno are what its answer rests on, or that of the innermost one.
        lasting = remembered == BY_TYPE or (
            type(remembered) is tuple and remembered[0] is _wrapped_key
        )
        if key is None or not lasting or _wrapped_key(exc) != key:
            return answer, NEVER
        return answer, (_wrapped_key, key)

    return judge


by_wrapped: Final = _wrapping(None)
"""What is inside answers."""
by_connecting: Final = _wrapping(_unsent)
"""What is inside answers, and nothing was sent: no connection came about."""
_proxied: Final = _wrapping(_on_the_way)
_TUNNEL: Final = "Tunnel connection failed: "  # the words of http.client


def _tunnel_status(exc: BaseException) -> int:
    """The status by which a proxy refused a connection, which is in the text alone; else 0."""
    for said in args_of(exc)[:2]:
        inside = issubclass(type(said), BaseException)
        text = text_of(args_of(cast("BaseException", said)) if inside else (said,))
        code, _, reason = text.removeprefix(_TUNNEL).partition(" ")
        if reason and len(code) == 3 and code.isascii() and code.isdigit() and code[0] in "45":
            return int(code)
    return 0


def _proxy_key(exc: BaseException) -> object:
    key = _wrapped_key(exc)
    return None if key is None else (_tunnel_status(exc), key)


def by_proxying(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """It went wrong on the way to a proxy, or at it: its status answers, else what is inside."""
    found, remembered = _proxied(exc, answer, inquiry)
    status = _tunnel_status(exc)
    if status:
        found = _on_the_way(by_status(status))
    lasting = type(remembered) is tuple
    return found, (_proxy_key, (status, remembered[1])) if lasting else NEVER  # type: ignore[index]


# ------------------------------------------------------------------------ status of an answer


def _status_of(exc: Any) -> tuple[int, object]:
    """Status (0 where there is none that HTTP knows) and what has the headers."""
    response = getattr(exc, "response", None)
    owner = exc if response is None else response
    for name in ("status_code", "status", "code"):
        status = int_of(getattr(owner, name, None))
        if status is not None:
            return status if 100 <= status <= 599 else 0, owner
    return 0, owner


def _status_key(exc: BaseException) -> object:
    status, owner = _status_of(exc)
    return None if says_when(owner) else status


_Answered = Callable[[int, float | None, Classification], Classification]


def _answering(answered: _Answered) -> Judge:
    """A judge of an answer's status. A wait is no part of a key: a date is another each time.

    ``answered`` takes the status, the wait, and the answer of the type alone.
    """

    def judge(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
        try:
            status, owner = _status_of(exc)
            if not says_when(owner):
                return answered(status, None, answer), (_status_key, status)
            return answered(status, wait_said_by(owner, inquiry.now()), answer), NEVER
        except Exception:  # noqa: BLE001 - headers may be any mapping, and attributes anything
            return answer, NEVER

    return judge


def _as_client(status: int, wait: float | None, answer: Classification) -> Classification:
    return by_status(status, wait) if status >= 300 else answer


def _as_client_of_proxy(status: int, wait: float | None, answer: Classification) -> Classification:
    return _on_the_way(by_status(status, wait)) if status >= 300 else answer


_FLOW: Final = Classification(
    "Processing",
    severity="Low",
    recovery_strategy="Fallback",
    counts_as="ignored",
    rule="http[on purpose]",
)


@lru_cache(maxsize=1024)
def _on_purpose(answer: Classification) -> Classification:
    return shared(answer.replace(severity="Low"))


def _as_server(status: int, wait: float | None, answer: Classification) -> Classification:
    if status == 0:
        return answer
    if status < 400:
        return _FLOW
    answer = by_status(status, wait)
    return _on_purpose(answer) if status < 500 else answer


by_client_status: Final = _answering(_as_client)
"""An answer from elsewhere that was taken for an error: its status, and when to come back."""
by_proxy_status: Final = _answering(_as_client_of_proxy)
"""The same of a proxy: the server behind it has seen nothing."""
by_server_status: Final = _answering(_as_server)
"""An answer that this program gives by raising: what it says to the client, and Low below 500.

A redirect, or an answer that is no error, is the flow of the program.
"""


def _unparsed_key(exc: BaseException) -> object:
    return None if cause_of(exc) is not None else _status_key(exc)


def by_parser_or_status(exc: BaseException, answer: Classification, inquiry: Inquiry) -> Judgement:
    """An aiohttp ClientResponseError, which also stands for an answer that is no HTTP.

    Then its status is not the server's but the parser's, and the parser's error is its cause.
    """
    if cause_of(exc) is not None:
        return by_cause(exc, answer, inquiry)[0], NEVER
    found, remembered = by_client_status(exc, answer, inquiry)
    return found, (_unparsed_key, remembered[1]) if type(remembered) is tuple else NEVER


def _retries_key(exc: BaseException) -> object:
    """The status that is in the text of a urllib3 ResponseError; 300 for too many redirects."""
    words = text_of(args_of(exc)).split()
    if words[:2] != ["too", "many"] or len(words) < 3:
        return 0
    if words[2] == "redirects":
        return 300
    return int(words[2]) if words[2].isdecimal() and 300 <= int(words[2][:4]) <= 599 else 0


def _retried(status: Any, answer: Classification) -> Classification:
    return by_status(status) if status else answer


by_retries: Final = keyed(_retries_key, _retried)
"""A urllib3 ResponseError: the same status came each time, until no retry was left."""
