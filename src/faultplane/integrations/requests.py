"""requests: each request goes through a `Dependency`, by an adapter around the session's own.

>>> import requests
>>> import faultplane as fp
>>> from faultplane.integrations.requests import GuardedAdapter
>>> bank = fp.Dependency("bank", retry=fp.Retry(attempts=3), breaker=fp.Breaker())
>>> session = requests.Session()
>>> session.mount("https://", GuardedAdapter(bank, per_host=True))

The last answer is given as it came, a status of 503 included; what is raised is requests' own, or
`BreakerOpen` and `LimitExceeded`. Redirects are requests of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

import faultplane as fp
from faultplane.integrations.outgoing import (
    IDEMPOTENT,
    KEY_HEADER,
    Until,
    checked,
    failure_or_none,
    is_short,
    seconds_left,
    without_our_frames,
)

__all__ = ["GuardedAdapter"]


class GuardedAdapter(BaseAdapter):
    """An adapter for ``Session.mount`` that sends each request through ``dependency``.

    The body of an answer is read within the guard, unless the caller has said ``stream=True``: one
    that breaks off is tried again like any error. A body that is streamed belongs to its call until
    it was read or closed.

    Args:
        dependency: what guards.
        adapter: what sends; ``HTTPAdapter()`` where it is left out.
        per_host: guard each host and port by itself, through ``dependency.for_key``.
        methods: those of which a request may be repeated. One of another method may if it has the
            header ``Idempotency-Key``, or has not reached the server. A body that can be read once
            only is never sent again.
        until: "body", or "headers" to end the call of a streamed body before it, as is right for
            bodies that never end.

    Raises InvalidSetting for what cannot be used.
    """

    def __init__(
        self,
        dependency: fp.Dependency,
        adapter: BaseAdapter | None = None,
        *,
        per_host: bool = False,
        methods: Collection[str] = IDEMPOTENT,
        until: Until = "body",
    ) -> None:
        super().__init__()
        self.dependency = dependency
        self.adapter = HTTPAdapter() if adapter is None else adapter
        self.per_host = per_host
        self.methods = checked(dependency, methods, until)
        self.until = until

    def dependency_of(self, request: requests.PreparedRequest) -> fp.Dependency:
        """What guards a request."""
        if not self.per_host:
            return self.dependency
        return self.dependency.for_key(urlsplit(request.url or "").netloc.rpartition("@")[2])

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """requests': send a request."""
        try:
            _refuse_late(request)
            dependency = self.dependency_of(request)
            rewind = _rewinding(request.body)

            def send(request: requests.PreparedRequest) -> requests.Response:
                if rewind is not None:
                    rewind()
                bound = _bounded(timeout, seconds_left(dependency))
                response = self.adapter.send(
                    request, stream=stream, timeout=bound, verify=verify, cert=cert, proxies=proxies
                )
                if not stream:
                    _ = response.content  # which the session does next
                return response

            may = request.method in self.methods or KEY_HEADER in request.headers
            response, call = fp.Exchange(send, _judge, _drop).run(
                dependency, request, repeatable=may and rewind is not None
            )
        except BaseException as error:
            without_our_frames(error)
            raise
        if call is not None:
            if stream and self.until == "body":
                _last_until_closed(response, call)
            else:
                call.succeeded()
        return response

    def close(self) -> None:
        """Close the adapter within."""
        self.adapter.close()


# ------------------------------------------------------------------------------------ requests


def _refuse_late(request: requests.PreparedRequest) -> None:
    left = fp.time_left()
    if left is not None and left <= 0:
        raise requests.ConnectTimeout("no time is left for the request", request=request)


def _rewinding(body: Any) -> Callable[[], object] | None:
    """What has a body be read from its beginning; None where it can be read only once."""
    if body is None or isinstance(body, (str, bytes, bytearray)):
        return lambda: None
    try:
        start = body.tell()
        body.seek(start)
    except (AttributeError, OSError):
        return None
    return lambda: body.seek(start)


def _bounded(timeout: Any, left: float | None) -> Any:
    """A timeout of requests of which no part is longer than ``left``."""
    if left is None:
        return timeout
    if timeout is None:
        return left
    if isinstance(timeout, tuple):
        return tuple(left if part is None else min(part, left) for part in timeout)
    if isinstance(timeout, (int, float)):
        return min(timeout, left)
    bound = timeout.clone()  # urllib3's own
    bound.total = left if bound.total is None else min(bound.total, left)
    return bound


# ------------------------------------------------------------------------------------- answers


def _judge(response: requests.Response) -> requests.HTTPError | None:
    """The error that an answer stands for, as `raise_for_status` would raise it."""
    if response.status_code < 400:
        return None
    said = f"{response.status_code} {response.reason}"
    return failure_or_none(requests.HTTPError(said, response=response))


def _drop(response: requests.Response) -> None:
    try:
        if is_short(response.headers.get("Content-Length")):
            _ = response.content  # so that the connection is kept
    except requests.RequestException:
        pass  # nobody gets it
    finally:
        response.close()


def _last_until_closed(response: requests.Response, call: Any) -> None:
    """End ``call`` with the body of ``response``.

    Through attributes of this one object: its class may be any, and it is pickled by its class. By
    a weak reference, so that one that nobody has any more gives everything back at once.
    """
    kind, reference = type(response), weakref.ref(response)

    def iter_content(*args: Any, **kwargs: Any) -> Iterator[Any]:
        return _parts(kind.iter_content(reference(), *args, **kwargs), call)

    def close() -> None:
        try:
            kind.close(reference())
        except BaseException as error:
            call.failed(error, last=True)
            without_our_frames(error)
            raise
        call.succeeded()

    response.iter_content = iter_content
    response.close = close


def _parts(parts: Iterator[Any], call: Any) -> Iterator[Any]:
    try:
        for part in parts:  # noqa: UP028 - "yield from" would close what requests does not
            yield part
    except GeneratorExit:
        raise  # whoever drops it closes the response next, or drops that too
    except BaseException as error:
        call.failed(error, last=True)
        without_our_frames(error)
        raise
    call.succeeded()
