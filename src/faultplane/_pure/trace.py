"""Trace context of the current OpenTelemetry span, only when OpenTelemetry is loaded."""

from __future__ import annotations

import sys

__all__: list[str] = []


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
