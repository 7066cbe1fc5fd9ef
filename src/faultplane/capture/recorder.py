"""What the core is told about this process: what to leave out and to hide, whether to record."""

from __future__ import annotations

from collections.abc import Callable

from faultplane import settings
from faultplane._backend import core
from faultplane.capture import user
from faultplane.capture.filters import Ignored, ignored_types

__all__ = ["configure", "set_active"]

_switched_off = False


def configure(
    loaded: settings.Settings,
    ignore: Ignored = (),
    redact: Callable[[str], str] | None = None,
) -> None:
    """Tell the core what the owner's registration does not: what to leave out and to hide.

    ``ignore`` adds to FAULTPLANE_IGNORE. ``redact`` is applied after the built-in redaction, to
    messages and to texts in attributes; with ``FAULTPLANE_MESSAGES=raw`` neither is.
    """
    core.configure(
        active=not (loaded.disabled or _switched_off),
        ignore=ignored_types(loaded.ignore) + ignored_types(ignore),
        redact_more=None if loaded.messages == "raw" else redact,
    )
    user.configure(loaded.user_key)


def set_active(active: bool) -> None:
    """Turn recording on or off in this process; a later ``init()`` does not turn it on again.

    While it is off, ``record()`` still classifies and blocks still swallow what they were asked to
    swallow, so a program behaves as ever; but nothing is written, counted or shown as in flight.
    ``FAULTPLANE_DISABLED=1`` cannot be overruled from inside.
    """
    global _switched_off
    _switched_off = not active
    core.configure(active=bool(active) and not settings.load().disabled)
