"""A line of the file of death records: what it may hold, and whether one does.

Whoever can write the file can write any JSON into it with the right checksum. What is shown to
people, put into tables and sorted by time is of the types that `TYPES` says; a line with anything
else is not a death record.
"""

from __future__ import annotations

import math
from typing import Any, Final

from faultplane.store.resource import I64 as _I64
from faultplane.store.resource import U64 as _U64
from faultplane.store.resource import is_flat, load

_COUNT: Final = range(1 << 63)

TYPES: Final[dict[str, Any]] = {
    "incarnation": _U64,
    "how": "",
    "summary": "",
    "time_unix_nano": _I64,
    "time_is_exact": False,
    "found_unix_nano": _I64,
    "seen_unix_nano": _I64,
    "start_unix_nano": _I64,
    "service": "",
    "pid": _I64,
    "exit_code": _I64,
    "signal": _I64,
    "signal_name": "",
    "fault_address": _U64,
    "thread_id": _U64,
    "frames": [""],
    "in_flight": [
        {
            "operation": "",
            "age_seconds": 0.0,
            "trace_id": "",
            "thread_id": _U64,
            "start_unix_nano": _I64,
            "slot": _I64,
            "parent": _I64,
        }
    ],
    "in_flight_count": _COUNT,
    "records": [
        {
            "seq": _U64,
            "time_unix_nano": _I64,
            "kind": "",
            "type": "",
            "site": "",
            "operation": "",
            "message": "",
            "fingerprint": "",
            "trace_id": "",
            "severity_number": _I64,
        }
    ],
    "memory_cgroup": _U64,
    "oom_kills": _COUNT,
    "oom_kills_since": _I64,
    "resource": {},
    "store": "",
}
"""Fields of a record: a range of integers, an example of any other type, a list of one of them."""


def parse(data: bytes) -> dict[str, Any] | None:
    """The death record that a line holds, None when it is none.

    Fields that are missing are empty, and those that another version added stay.

    >>> parse(b'{"incarnation":3,"how":"oom"}')["how"]
    'oom'
    >>> parse(b'{"incarnation":3,"how":7}') is None
    True
    """
    try:
        found = load(data.decode())
    except ValueError:
        return None
    if "incarnation" not in found:
        return None
    record = {name: _default(kind) for name, kind in TYPES.items()}
    for name, value in found.items():
        if not _is(value, TYPES.get(name)):
            return None
    return record | found


def _default(kind: Any) -> Any:
    return 0 if isinstance(kind, range) else type(kind)()


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind of `TYPES`; None stands for anything flat."""
    if kind is None:
        return is_flat(value)
    if isinstance(kind, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in kind
    if isinstance(kind, float):
        return isinstance(value, (int, float)) and math.isfinite(value)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        return (
            isinstance(value, dict)
            and value.keys() >= kind.keys()
            and all(_is(value[name], kind.get(name)) for name in value)
        )
    return type(value) is type(kind)
