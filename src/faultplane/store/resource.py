"""Who a process is, as OpenTelemetry resource attributes in at most 384 bytes of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from faultplane import schema
from faultplane.settings import Settings
from faultplane.store import host

RESOURCE_BYTES_MAX: Final = schema.OWNER.width("resource")
U64: Final = range(1 << 64)
I64: Final = range(-(1 << 63), 1 << 63)
"""Numbers that a table has a place for."""
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


def load(text: str) -> dict[str, Any]:
    """The object that a text of JSON is, of whatever values; ValueError for any other text.

    Also for what Python takes and nobody else: NaN, half of a surrogate pair, endless nesting.
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("JSON must not be nested so deeply") from error
    if not isinstance(found, dict):
        # The text is wrong, not the type of an argument.
        raise ValueError(f"JSON must be an object, got {type(found).__name__}")  # noqa: TRY004
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def parse(text: str) -> dict[str, Any]:
    """What `render` wrote, {} for anything else: scalars and lists of them, by name.

    >>> parse('{"service.name":"checkout","process.pid":7}')
    {'service.name': 'checkout', 'process.pid': 7}
    >>> parse('{"service.name":{"of":"somebody else"}}')
    {}
    """
    try:
        found = load(text or "{}")
    except ValueError:
        return {}
    return found if all(map(is_flat, found.values())) else {}


def is_flat(value: Any) -> bool:
    """Whether a value of JSON is a scalar that a table has a place for, or a list of such."""
    if isinstance(value, list):
        return all(not isinstance(item, list) and is_flat(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value in I64 or value in U64
    return value is None or isinstance(value, str)
