"""What ``faultplane breakers`` and ``why`` show: dependencies as a table, and at length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from faultplane.cli.output import (
    cells,
    clock,
    counted,
    duration,
    moment,
    paint,
    plain,
    table,
    terminal_width,
)
from faultplane.control_schema import TOTALS

Row = dict[str, Any]

DAY_SECONDS: Final = 86_400
COLOURS: Final = {
    "open": "red",
    "half-open": "yellow",
    "forced-open": "red",
    "disabled": "yellow",
    "metrics-only": "yellow",
}
_PARTS: Final = ("retry", "breaker", "limit", "rate", "deadline", "timeout", "hedge", "health")
_RATES: Final = {"failure rate": "failures", "slow call rate": "slow"}
"""Causes that a share of the calls in the window stands behind."""


def process(service: str, pid: int, incarnation: int) -> str:
    """Who a process was, as far as that is known.

    >>> process("shop", 7, 3), process("", 0, 3), process("", 0, 0)
    ('shop pid 7', 'process 3', '-')
    """
    if service or pid:
        return f"{plain(service) or 'process'} pid {pid}"
    return f"process {incarnation}" if incarnation else "-"


def reason(transition: Row | None) -> str:
    """Why a breaker came into its state, with the calls that decided.

    >>> reason({"cause": "failure rate", "calls": 20, "failures": 12, "slow": 0})
    'failure rate, 12 of 20'
    >>> reason({"cause": "forced", "calls": 0, "failures": 0, "slow": 0}), reason(None)
    ('forced', '-')
    """
    if transition is None:
        return "-"
    counted = _RATES.get(transition["cause"])
    if counted is None or not transition["calls"]:
        return str(transition["cause"])
    return f"{transition['cause']}, {transition[counted]:,} of {transition['calls']:,}"


def since(time_unix_nano: int) -> str:
    """The time of the day, or the date of what is older than a day; "-" for 0."""
    if not time_unix_nano:
        return "-"
    age = time.time() - time_unix_nano / 1e9
    return clock(time_unix_nano)[:8] if age < DAY_SECONDS else moment(time_unix_nano)[:10]


def left(row: Row) -> str:
    """How long the state lasts yet."""
    seconds = row["time_left_seconds"]
    return "-" if seconds is None else duration(seconds) if seconds > 0 else "over"


def _in_window(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:,}" if row["state"] else "-"


def _probes(row: Row) -> str:
    if row["state"] != "half-open":
        return "-"
    return f"{row['probes_under_way']}/{row['probes_max']}"


def _permits(row: Row) -> str:
    if row["permits_max"] is None:
        return f"{row['permits']:,}" if row["permits"] else "-"
    return f"{row['permits']:,}/{row['permits_max']:,}"


def _tokens(row: Row) -> str:
    return "-" if row["tokens"] is None else f"{row['tokens']:,.1f}/{row['tokens_max']:,g}"


def _rate(row: Row) -> str:
    return "-" if row["rate"] is None else f"{row['rate_tokens']:,.1f} {row['rate']:,g}/s"


def _total(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:,}"


class Column(NamedTuple):
    """A column: its head, a cell of it, whether it is flush right, and how soon it gives way.

    Where lines are too long, the column of the highest ``rank`` is left out first; one of rank 0
    never.
    """

    head: str
    cell: Callable[[Row], str]
    right: bool
    rank: int


COLUMNS: Final = (
    Column("name", lambda row: plain(row["name"]), False, 0),
    Column("store", lambda row: row["store"], False, 0),
    Column("state", lambda row: row["state"] or "-", False, 0),
    Column("since", lambda row: since(row["since_unix_nano"]), False, 3),
    Column("why", lambda row: reason(row.get("transition")), False, 0),
    Column("left", left, True, 1),
    Column("health", lambda row: row["health"] or "-", False, 1),
    Column("calls", _in_window("window_calls"), True, 2),
    Column("failed", _in_window("window_failures"), True, 2),
    Column("slow", _in_window("window_slow"), True, 4),
    Column("probes", _probes, True, 2),
    Column("permits", _permits, True, 3),
    Column("tokens", _tokens, True, 4),
    Column("retries", _total("retries"), True, 5),
    Column("rejected", _total("rejected"), True, 5),
    Column("exhausted", _total("budget_exhausted"), True, 6),
    Column("full", _total("full"), True, 6),
    Column("rate", _rate, True, 6),
    Column("over rate", _total("rate_limited"), True, 6),
    Column(
        "declared by",
        lambda row: process(row["declared_service"], row["declared_pid"], row["declared_by"]),
        False,
        7,
    ),
)
_ALWAYS: Final = ("name", "state", "why")


def _says_something(column: Column, rows: Sequence[Row]) -> bool:
    if column.head == "store":
        return len({row["store"] for row in rows}) > 1
    return column.head in _ALWAYS or any(column.cell(row) not in ("-", "0") for row in rows)


def _columns(rows: Sequence[Row], width: int) -> list[Column]:
    """Columns that say something of any row, as many as fit ``width``."""
    found = [column for column in COLUMNS if _says_something(column, rows)]
    spans = {
        column.head: max([len(column.head), *(cells(column.cell(row)) for row in rows)])
        for column in found
    }
    while sum(spans[column.head] + 2 for column in found) - 2 > width:
        last = max(found, key=lambda column: (column.rank, COLUMNS.index(column)))
        if not last.rank:
            break
        found.remove(last)
    return found


def lines(rows: Sequence[Row]) -> list[str]:
    """A table of dependencies, what is not as usual in colour."""
    columns = _columns(rows, terminal_width())
    body = [[column.cell(row) for column in columns] for row in rows]
    right = [column.head for column in columns if column.right]
    head, *shown = table([column.head for column in columns], body, right)
    out = [head]
    for row, line in zip(rows, shown, strict=True):
        colour = COLOURS.get(row["state"])
        out.append(paint(line, colour) if colour else line)
    return out


def with_transitions(rows: Iterable[Row], transitions: Iterable[Row]) -> list[Row]:
    """Rows of dependencies, each with the ``transition`` that led to its state, None without."""
    known = {(one["store"], one["name"], one["generation"]): one for one in transitions}
    return [
        {**row, "transition": known.get((row["store"], row["name"], row["generation"]))}
        for row in rows
    ]


# ------------------------------------------------------------------------------------ at length


def flat(declaration: dict[str, Any]) -> dict[str, Any]:
    """A declaration with dots in the names of what is nested.

    >>> flat({"retry": {"attempts": 3, "budget": {"ratio": 0.2}}, "limit": None})
    {'retry.attempts': 3, 'retry.budget.ratio': 0.2, 'limit': None}
    """
    found: dict[str, Any] = {}
    for name, value in declaration.items():
        if isinstance(value, dict):
            found.update({f"{name}.{inner}": one for inner, one in flat(value).items()})
        else:
            found[name] = value
    return found


def differences(row: Row) -> dict[str, tuple[Any, Any]]:
    """What the governing declaration and the other say differently: (this, that) by name."""
    if row["other"] is None:
        return {}
    ours, theirs = flat(row["declaration"]), flat(row["other"])
    return {
        name: (ours.get(name), theirs.get(name))
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    }


def _declared(declaration: dict[str, Any]) -> list[str]:
    """A line for each part of a declaration that is there."""
    out = []
    for part in [*_PARTS, *(name for name in declaration if name not in _PARTS)]:
        value = declaration.get(part)
        if value is None:
            continue
        inner = flat(value).items() if isinstance(value, dict) else ()
        told = " ".join(f"{name}={one}" for name, one in inner if one is not None)
        out.append(f"    {plain(part)}: {plain(told or str(value))}")
    return out or ["    nothing"]


def details(row: Row) -> list[str]:
    """Everything about one dependency that its line has no room for."""
    state = row["state"] or "no breaker"
    by = process(row["declared_service"], row["declared_pid"], row["declared_by"])
    out = [
        paint(f"{plain(row['name'])} in {row['store']}", "bold") + f": {state}",
        f"  declared by {by}, {moment(row['declared_unix_nano'])}:",
        *_declared(row["declaration"]),
    ]
    if row["other"] is not None:
        by = process(row["other_service"], row["other_pid"], row["other_by"])
        times = "once" if row["differs"] == 1 else f"{row['differs']:,} times"
        out.append(
            f"  another declaration, met {times}, that does not govern: by {by}, "
            f"{moment(row['other_unix_nano'])}:"
        )
        out += _declared(row["other"])
        out += [
            paint(f"  ! {plain(name)}: {plain(str(ours))}, not {plain(str(theirs))}", "yellow")
            for name, (ours, theirs) in differences(row).items()
        ]
    told = ", ".join(f"{name} {row[name]:,}" for name in TOTALS if row[name])
    out.append(f"  totals: {told or 'nothing yet'}")
    if row["checks"]:
        out.append(
            f"  health: {plain(row['health'])} since {moment(row['health_since_unix_nano'])}; "
            f"{counted(row['checks'], 'check')}, {row['checks_failed']:,} failed, the last "
            f"{duration(row['health_age_seconds'])} ago"
        )
    if row["tokens_held"]:
        out.append(f"  tokens held by retries that wait: {row['tokens_held']:,}")
    return out + _retries(row)


def _retries(row: Row) -> list[str]:
    """A line for each kind and type of error that retries were made after."""
    return [
        f"  retries after {plain(one[what])}: {one['helped']:,} of "
        f"{one['helped'] + one['failed']:,} helped lately"
        for what in ("kind", "type")
        for one in row[f"retries_by_{what}"]
    ]
