"""Who a process is, as OpenTelemetry resource attributes in at most 384 bytes of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Final

from faultplane import schema
from faultplane.settings import Settings
from faultplane.store import host

RESOURCE_BYTES_MAX: Final = schema.OWNER.width("resource")
_CONTAINER_DIGITS: Final = 12
_FIRST: Final = (
    "service.name",
    "process.pid",
    "service.version",
    "deployment.environment.name",
    "service.instance.id",
    "host.name",
    "k8s.pod.name",
    "container.id",
)


def describe(service: str, settings: Settings) -> dict[str, str | int]:
    """Resource attributes of this process, the ones it cannot do without first.

    What the environment gives in ``OTEL_RESOURCE_ATTRIBUTES`` is added, and loses where
    faultplane has a setting of its own.
    """
    known: dict[str, str | int] = dict(settings.resource_attributes)
    known["service.name"] = service
    known["process.pid"] = os.getpid()
    own = {
        "service.version": settings.version,
        "deployment.environment.name": settings.environment,
        "service.instance.id": settings.instance,
        "host.name": known.get("host.name") or os.uname().nodename,
        "container.id": known.get("container.id") or host.container_id()[:_CONTAINER_DIGITS],
    }
    known.update({name: value for name, value in own.items() if value})
    ordered: dict[str, str | int] = {name: known[name] for name in _FIRST if name in known}
    return ordered | known


def render(attributes: Mapping[str, str | int]) -> str:
    """JSON of as many attributes, from the first, as fit 384 bytes of UTF-8.

    Always valid JSON: an attribute that does not fit is left out whole.

    >>> render({"service.name": "checkout", "note": "x" * 400})
    '{"service.name":"checkout"}'
    """
    kept: dict[str, str | int] = {}
    text = "{}"
    for name, value in attributes.items():
        longer = _dump({**kept, name: value})
        if len(longer.encode()) <= RESOURCE_BYTES_MAX:
            kept[name] = value
            text = longer
    return text


def _dump(attributes: Mapping[str, str | int]) -> str:
    clean = {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in attributes.items()
    }
    return json.dumps(clean, ensure_ascii=False, separators=(",", ":"))
