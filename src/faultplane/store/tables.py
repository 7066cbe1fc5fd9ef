"""What a domain tells besides its records: columns of each table, and rows as other forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from faultplane.control_schema import TOTALS
from faultplane.store.extras import require

Row = Mapping[str, Any]

_SQL: Final = {
    "text": "VARCHAR",
    "json": "VARCHAR",
    "u64": "UBIGINT",
    "i64": "BIGINT",
    "f64": "DOUBLE",
    "flag": "BOOLEAN",
    "time": "TIMESTAMP_NS",
}

TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "counts": {
        "service": "text",
        "operation": "text",
        "kind": "text",
        "type": "text",
        "fingerprint": "u64",
        "count": "u64",
        "first_seen_unix_nano": "time",
        "last_seen_unix_nano": "time",
        "suppressed": "u64",
    },
    "counters": {
        "service": "text",
        "name": "text",
        "value": "u64",
        "first_seen_unix_nano": "time",
        "last_seen_unix_nano": "time",
    },
    "drops": {"reason": "text", "count": "u64"},
    "deaths": {
        "store": "text",
        "incarnation": "u64",
        "service": "text",
        "pid": "i64",
        "how": "text",
        "summary": "text",
        "time_unix_nano": "time",
        "time_is_exact": "flag",
        "found_unix_nano": "time",
        "seen_unix_nano": "time",
        "start_unix_nano": "time",
        "exit_code": "i64",
        "signal": "i64",
        "signal_name": "text",
        "fault_address": "u64",
        "thread_id": "u64",
        "in_flight_count": "i64",
        "memory_cgroup": "u64",
        "oom_kills": "i64",
        "oom_kills_since": "i64",
        "in_flight": "json",
        "records": "json",
        "frames": "json",
        "resource": "json",
        "stored": "flag",
    },
    "owners": {
        "store": "text",
        "incarnation": "u64",
        "slot": "i64",
        "state": "text",
        "life": "text",
        "service": "text",
        "pid": "i64",
        "start_unix_nano": "time",
        "end_unix_nano": "time",
        "exit_code": "i64",
        "mapped_segment_low": "u64",
        "resource": "json",
    },
    "stacks": {
        "fingerprint": "u64",
        "type": "text",
        "site": "text",
        "template": "text",
        "message": "text",
        "stack": "text",
    },
    "dependencies": {
        "store": "text",
        "name": "text",
        "state": "text",
        "since_unix_nano": "time",
        "cause": "text",
        "time_left_seconds": "f64",
        "generation": "u64",
        "window_seconds": "f64",
        "window_calls": "u64",
        "window_failures": "u64",
        "window_slow": "u64",
        "failures_in_a_row": "u64",
        "probes_under_way": "u64",
        "probes_max": "u64",
        "permits": "u64",
        "permits_max": "u64",
        "tokens": "f64",
        "tokens_held": "u64",
        "tokens_max": "f64",
        "rate": "f64",
        "rate_tokens": "f64",
        **dict.fromkeys(TOTALS, "u64"),
        "health": "text",
        "health_since_unix_nano": "time",
        "health_age_seconds": "f64",
        "checks": "u64",
        "checks_failed": "u64",
        "retries_by_kind": "json",
        "retries_by_type": "json",
        "retry_seconds_recent": "f64",
        "retry_seconds_usual": "f64",
        "declared_unix_nano": "time",
        "declared_by": "u64",
        "declared_service": "text",
        "declared_pid": "i64",
        "declaration": "json",
        "differs": "u64",
        "other_unix_nano": "time",
        "other_by": "u64",
        "other_service": "text",
        "other_pid": "i64",
        "other": "json",
    },
    "transitions": {
        "store": "text",
        "name": "text",
        "generation": "u64",
        "before": "text",
        "after": "text",
        "cause": "text",
        "time_unix_nano": "time",
        "incarnation": "u64",
        "service": "text",
        "pid": "i64",
        "calls": "u64",
        "failures": "u64",
        "slow": "u64",
    },
}
"""Columns of each table and their kinds: text, json (text of a nested value), u64, i64, f64, flag,
time (nanoseconds since 1970, null for 0)."""


def _plain(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if kind == "time":
        return value or None
    return value


def columns(name: str, rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows of the table ``name`` by column; what a row lacks is None."""
    return {
        column: [_plain(kind, row.get(column)) for row in rows]
        for column, kind in TABLES[name].items()
    }


def to_pyarrow(name: str, rows: Sequence[Row]) -> Any:
    """Rows of the table ``name`` as a ``pyarrow.Table``; MissingExtra without pyarrow."""
    pa = require("pyarrow", f"Domain.{name}()")
    types = {
        "text": pa.string(),
        "json": pa.string(),
        "u64": pa.uint64(),
        "i64": pa.int64(),
        "f64": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ns", "UTC"),
    }
    kinds = TABLES[name]
    return pa.table({
        column: pa.array(values, types[kinds[column]])
        for column, values in columns(name, rows).items()
    })  # fmt: skip


def create_in_duckdb(connection: Any, name: str, rows: Sequence[Row]) -> None:
    """Make the rows a temporary table ``name`` of a DuckDB connection."""
    kinds = TABLES[name]
    # Times go in as integers: Python's datetime has no nanoseconds.
    fields = [
        f"make_timestamp_ns(unnest(${number}::BIGINT[])) AS {column}"
        if kind == "time"
        else f"unnest(${number}::{_SQL[kind]}[]) AS {column}"
        for number, (column, kind) in enumerate(kinds.items(), 1)
    ]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {', '.join(fields)}",
        list(columns(name, rows).values()),
    )
