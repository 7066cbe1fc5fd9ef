"""The operation of a request that failed, found by somebody's function, which may fail itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["named"]

Request = TypeVar("Request")


def named(operation: Callable[[Request], object], request: Request, otherwise: str) -> str:
    """What ``operation`` says, or ``otherwise`` where it raises or gives something else.

    Whoever handles an error of the application must not put another one in its place.

    >>> named(lambda request: request["route"], {"route": "/orders/{n}"}, "GET")
    '/orders/{n}'
    >>> named(lambda request: request["route"], {}, "GET")
    'GET'
    """
    try:
        found = operation(request)
    except Exception:  # noqa: BLE001 - whatever it is, the request's own error goes on
        return otherwise
    return found if isinstance(found, str) else otherwise
