"""One dependency: each change of its breaker, newest last, and the errors behind it.

What is counted is exact; of the errors themselves those are shown whose rows are still kept. Calls
that were slow and ended well leave no record.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import Any, Final

from faultplane import Domain
from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, add_domain, add_json, attach, whole
from faultplane.cli.breakers import unknown
from faultplane.cli.breakers_view import COLOURS, DAY_SECONDS, process
from faultplane.cli.output import (
    clock,
    counted,
    duration,
    moment,
    paint,
    plain,
    print_json,
    print_table,
)
from faultplane.resilience.override import BreakerOverridden
from faultplane.store import resource
from faultplane.store.cursor import Cursor

EXAMPLES: Final = (
    "faultplane why payments",
    "faultplane why payments --records 20",
    "faultplane why payments --json | jq '.transitions[-1].cause'",
)
SETTLE_NANO: Final = 1_000_000_000
"""A failure is counted, and may open the breaker, before its record is written. As many records as
are missing then are looked for in the time after it, this long."""
_BY_FAILURES: Final = ("failure rate", "slow call rate", "failures in a row", "probe failed")
_OVERRIDDEN: Final = f"{BreakerOverridden.__module__}.{BreakerOverridden.__qualname__}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument("name", help="name of the dependency; faultplane breakers lists them")
    parser.add_argument(
        "--records", type=whole(0), default=5, help="newest records of it to show (5)"
    )


def run(options: argparse.Namespace) -> int:
    """Print what is known; status 1 when a file of dependencies cannot be read."""
    with attach(options) as domain:
        problems = domain.dependency_problems()
        for problem in problems:
            print(f"faultplane why: {plain(problem)}", file=sys.stderr)
        found = [row for row in domain.dependencies_rows() if row["name"] == options.name]
        if not found:
            raise unknown(domain, options.name)
        reports = describe(domain, found, options.records)
    if options.json:
        print_json(reports)
    else:
        for number, report in enumerate(reports):
            if number:
                print()
            _print(report)
    return EXIT_FOUND_TROUBLE if problems else EXIT_OK


def describe(domain: Domain, found: list[dict[str, Any]], records: int) -> list[dict[str, Any]]:
    """A report for each store where the dependency is used."""
    transitions = domain.transitions_rows()
    reports = []
    for row in found:
        kept = _records(domain, row["store"], row["name"])
        of_it = [
            one for one in transitions if (one["store"], one["name"]) == (row["store"], row["name"])
        ]
        reports.append({
            **row,
            "transitions": _with_processes(of_it, kept),
            "behind": behind(row, of_it, kept),
            "records": kept[max(len(kept) - records, 0) :],
        })  # fmt: skip
    return reports


def _records(domain: Domain, store: str, name: str) -> list[dict[str, Any]]:
    """Rows of one store: numbers of processes are its own, and mean others in another store."""
    positions = domain.cursor().positions
    others = Cursor({other: one for other, one in positions.items() if other != store})
    return domain.records(others).rows(operation=name)


def _with_processes(
    transitions: list[dict[str, Any]], kept: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Transitions whose processes have no slot any more, with those that their records name."""
    resources = {row["owner"]: row["resource"] for row in kept}
    found = []
    for one in transitions:
        named = one
        if not one["pid"] and one["incarnation"] in resources:
            service, pid = _who(resources[one["incarnation"]])
            named = {**one, "service": service, "pid": pid}
        found.append(named)
    return found


def _who(text: str) -> tuple[str, int]:
    """(Service, process id) of the resource of a record, "" and 0 for what it does not say."""
    told = resource.parse(text)
    pid = told.get("process.pid")
    return str(told.get("service.name", "")), pid if isinstance(pid, int) else 0


def behind(
    row: dict[str, Any], transitions: list[dict[str, Any]], kept: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The errors that the last transition by failures was made of, as far as their rows are kept.

    ``counts`` of them by type and kind, and the ``last`` of the process that made the transition,
    which its call ended with. None where failures made none of the transitions that are kept.
    """
    made = [number for number, one in enumerate(transitions) if one["cause"] in _BY_FAILURES]
    if not made:
        return None
    one, before = transitions[made[-1]], transitions[: made[-1]]
    until = one["time_unix_nano"]
    since = before[-1]["time_unix_nano"] if before else 0
    if row["window_seconds"] is not None:
        since = max(since, until - round(row["window_seconds"] * 1e9))
    errors = [record for record in kept if record["type"] != _OVERRIDDEN]
    within = [record for record in errors if since < record["time_unix_nano"] <= until]
    failures = one["failures"] if one["calls"] else 1  # that of one probe has no window
    within += [
        record for record in errors if until < record["time_unix_nano"] <= until + SETTLE_NANO
    ][: max(failures - len(within), 0)]
    own = [record for record in within if record["owner"] == one["incarnation"]]
    counts = Counter((record["type"], record["kind"]) for record in within)
    return {
        "generation": one["generation"],
        "since_unix_nano": since,
        "until_unix_nano": until,
        "counts": [
            {"type": kind_of[0], "kind": kind_of[1], "count": count}
            for kind_of, count in counts.most_common()
        ],
        "last": own[-1] if own else None,
    }


# ------------------------------------------------------------------------------------- printing


def _print(report: dict[str, Any]) -> None:
    name, state = paint(plain(report["name"]), "bold"), report["state"]
    where = f"{name} in {report['store']}: "
    if not state:
        print(f"{where}it has no breaker")
    else:
        print(where + paint(state, COLOURS.get(state, "green")) + _since(report))
    _print_transitions(report)
    if report["behind"] is not None:
        _print_behind(report["behind"])
    if report["records"]:
        _print_records(report["records"])


def _since(report: dict[str, Any]) -> str:
    if not report["since_unix_nano"]:
        return ""
    age = duration(max(time.time_ns() - report["since_unix_nano"], 0) / 1e9)
    seconds = report["time_left_seconds"]
    then = "probes are let through" if report["state"] == "open" else "other probes are"
    left = "" if seconds is None else f", {then} in {duration(seconds)}"
    if seconds == 0:
        left = f", {then} with the next call"
    return f" since {moment(report['since_unix_nano'])}, {age} ago{left}"


def when(time_unix_nano: int) -> str:
    """A time to the millisecond; with its date where that was not within the last day."""
    if time.time_ns() - time_unix_nano < DAY_SECONDS * 1_000_000_000:
        return clock(time_unix_nano)
    return f"{moment(time_unix_nano)[:10]} {clock(time_unix_nano)}"


def _print_transitions(report: dict[str, Any]) -> None:
    transitions = report["transitions"]
    if not transitions:
        if report["state"]:
            print("Its state has never changed.")
        return
    print()
    print_table(
        ["time", "change", "why", "calls", "failed", "slow", "process"],
        [
            [
                when(one["time_unix_nano"]),
                f"{one['before']} -> {one['after']}",
                one["cause"],
                *(one[name] if one["calls"] else "-" for name in ("calls", "failures", "slow")),
                process(one["service"], one["pid"], one["incarnation"]),
            ]
            for one in transitions
        ],
        ["calls", "failed", "slow"],
    )
    if (earlier := report["generation"] - len(transitions)) > 0:
        print(f"{counted(earlier, 'change')} before these are not kept")


def _print_behind(found: dict[str, Any]) -> None:
    begin, end = found["since_unix_nano"], when(found["until_unix_nano"])
    print(f"\nerrors behind the change of {end}" + (f", since {when(begin)}" if begin else ""))
    if not found["counts"]:
        print("No row of them is kept.")
        return
    print_table(
        ["count", "kind", "type"],
        [[one["count"], one["kind"], one["type"]] for one in found["counts"]],
        ["count"],
    )
    if (last := found["last"]) is not None:
        print(f"the last: {plain(last['type'])}: {plain(last['message'])}")


def _print_records(rows: list[dict[str, Any]]) -> None:
    print("\nlast records")
    print_table(
        ["time", "process", "try", "type", "message"],
        [
            [
                when(row["time_unix_nano"]),
                process(*_who(row["resource"]), row["owner"]),
                row["attempt"] + 1,
                row["type"],
                row["message"],
            ]
            for row in rows
        ],
        ["try"],
    )
