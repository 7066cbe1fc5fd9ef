"""What the current context says: the OpenTelemetry span, if that is loaded, and the user."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` takes longer to import than the core
if TYPE_CHECKING:
    from contextvars import ContextVar

__all__ = ["watch_user"]

_user: ContextVar[bytearray | None] | None = None


def trace_ids() -> bytes | None:
    """The 16 + 8 bytes of the current span's ids, zeros where there is no span.

    None while nobody has imported OpenTelemetry; nothing is imported here.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        context = api.get_current_span().get_span_context()
        ids: bytes = context.trace_id.to_bytes(16, "big") + context.span_id.to_bytes(8, "big")
    except BaseException:  # noqa: BLE001 - a half-imported module, a span of somebody's own
        return None
    return ids


def trace_user() -> int:
    """The keyed hash of the current context's user, 0 = none or not asked for."""
    if _user is None:
        return 0
    value = _user.get(None)
    return int.from_bytes(value, "little") if type(value) is bytearray and len(value) == 8 else 0


def watch_user(variable: ContextVar[bytearray | None]) -> None:
    """Write with each record the user of its context, from now on.

    ``variable`` is a `contextvars.ContextVar` whose value is a bytearray: eight bytes of a hash,
    the least significant first; anything else is no user.
    """
    global _user
    _user = variable
