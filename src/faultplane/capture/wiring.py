"""Frameworks wired when a program imports them, below ``faultplane run``.

The integrations are loaded by name, as plug-ins are: they know the facade and nothing knows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Final

from faultplane._backend import core
from faultplane.capture.on_import import when_imported

__all__ = ["WIRED_PREFIX", "failures", "wire"]

WIRED_PREFIX: Final = "faultplane.wired."
"""Of the counters that say in a domain what its processes wired, and how often."""

_AWAITED: Final = {
    "aiohttp": "aiohttp.web",
    "celery": "celery.signals",
    "django": "django.core.handlers.base",
    "fastapi": "fastapi",
    "flask": "flask",
    "grpc": "grpc",
    "rq": "rq.worker",
    "starlette": "starlette.applications",
}
"""The module of each framework after whose import it can be wired."""

failures: Final[dict[str, str]] = {}
"""What could not be wired in this process, and why."""


def wire(names: Iterable[str]) -> None:
    """Wire each framework of ``names`` now if it is imported, else right after it is."""
    for name in names:
        when_imported(_AWAITED[name], _Wire(name))


class _Wire:
    """What happens when a framework has been imported."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: ModuleType) -> None:
        """Wire it; a version that does not fit leaves the program as it would be without us."""
        try:
            import_module(f"faultplane.integrations.{self.name}").wire()
        except Exception as error:  # noqa: BLE001 - whatever it is, the program goes on
            failures[self.name] = f"{type(error).__name__}: {error}"
            return
        core.Counter(WIRED_PREFIX + self.name).add()
