"""A domain on this host: create, attach, segments, owners, counts, deaths, crash and fork rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultplane.store.cursor import Cursor
    from faultplane.store.reading import Domain
    from faultplane.store.records import Records

__all__ = ["Cursor", "Domain", "Records"]

_LAZY = {"Cursor": "cursor", "Domain": "reading", "Records": "records"}


def __getattr__(name: str) -> Any:
    # Writers import this package too, and must not pay for what only readers need.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
