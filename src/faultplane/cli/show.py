"""One group of errors: its stack with source, its template, counts, sample records."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any, Final

from faultplane import Domain
from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, add_domain, add_json, attach, whole
from faultplane.cli.output import (
    clock,
    duration,
    fingerprint_text,
    moment,
    paint,
    pairs,
    plain,
    print_json,
    print_table,
)
from faultplane.errors import StackNotFound

EXAMPLES: Final = (
    "faultplane show 7f3a9c0112d4e5f6",
    "faultplane show 7f3a            # any prefix that only one group has",
    "faultplane show 7f3a --samples 20 --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument(
        "fingerprint", type=_prefix, help="fingerprint of the group, or the start of it"
    )
    parser.add_argument("--samples", type=whole(0), default=5, help="newest records to show (5)")


def _prefix(text: str) -> str:
    prefix = text.lower().removeprefix("0x")
    if not prefix:
        raise argparse.ArgumentTypeError(f"must have 1 digit at least, got {text!r}")
    return prefix


def run(options: argparse.Namespace) -> int:
    """Print the group; status 1 when no single group starts like that, or its stack is damaged."""
    with attach(options) as domain:
        prefix = options.fingerprint
        groups = [
            row
            for row in domain.counts_rows()
            if row["fingerprint"] and fingerprint_text(row["fingerprint"]).startswith(prefix)
        ]
        found = sorted({row["fingerprint"] for row in groups})
        if len(found) != 1:
            names = ", ".join(map(fingerprint_text, found[:8]))
            what = (
                f"several groups start with {prefix}: {names}"
                if found
                else (f"no group starts with {prefix!r}; faultplane top lists them")
            )
            print(f"faultplane show: {what}", file=sys.stderr)
            return EXIT_FOUND_TROUBLE
        report = describe(domain, found[0], groups, options.samples)
    if options.json:
        print_json([report])
    else:
        _print(report)
    return EXIT_FOUND_TROUBLE if report["problems"] else EXIT_OK


def describe(
    domain: Domain, fingerprint: int, groups: list[dict[str, Any]], samples: int
) -> dict[str, Any]:
    """Everything the domain knows about one group."""
    rows = domain.records().rows(fingerprint=fingerprint)
    problems: list[str] = []
    try:
        stack = domain.stack(fingerprint)
        rendered, template, message = str(stack), stack.template, stack.message
    except StackNotFound:
        rendered, template, message = "", "", ""
        problems = [f"the stack cannot be read: {told}" for told in domain.stack_problems()]
    return {
        "fingerprint": fingerprint,
        "type": groups[0]["type"],
        "kind": groups[0]["kind"],
        "count": sum(row["count"] for row in groups),
        "suppressed": sum(row["suppressed"] for row in groups),
        "first_seen_unix_nano": min(row["first_seen_unix_nano"] for row in groups),
        "last_seen_unix_nano": max(row["last_seen_unix_nano"] for row in groups),
        "by_operation": [
            {"service": row["service"], "operation": row["operation"], "count": row["count"]}
            for row in groups
        ],
        "rows_by_owner": dict(Counter(row["owner"] for row in rows)),
        "template": template,
        "first_message": message,
        "stack": rendered,
        "samples": rows[len(rows) - samples :] if samples else [],
        "problems": problems,
    }


def _print(report: dict[str, Any]) -> None:
    print(
        paint(fingerprint_text(report["fingerprint"]), "bold"),
        paint(report["kind"], "yellow"),
        plain(report["type"]),
    )
    span = (report["last_seen_unix_nano"] - report["first_seen_unix_nano"]) / 1e9
    print(
        f"{report['count']:,} times in {duration(span)}, "
        f"first {moment(report['first_seen_unix_nano'])}, "
        f"last {moment(report['last_seen_unix_nano'])}"
    )
    if report["suppressed"]:
        print(f"{report['suppressed']:,} of them without a row")
    print(f"template: {plain(report['template'])}\n")
    for problem in report["problems"]:
        print(paint(f"! {plain(problem)}", "yellow"))
    for line in report["stack"].split("\n"):
        print(paint(plain(line), "dim") if line.startswith("    ") else plain(line))
    print()
    print_table(
        ["service", "operation", "count"],
        [[row["service"], row["operation"] or "-", row["count"]] for row in report["by_operation"]],
        ["count"],
    )
    if report["rows_by_owner"]:
        print()
        print_table(
            ["process", "rows kept"], sorted(report["rows_by_owner"].items()), ["rows kept"]
        )
    if report["samples"]:
        print()
        heads, rows = ["time", "process", "trace", "message"], []
        told = any(row["attributes"] for row in report["samples"])
        for row in report["samples"]:
            cells = [clock(row["time_unix_nano"]), row["owner"], row["trace_id"] or "-"]
            rows.append([*cells, row["message"], *([pairs(row["attributes"])] if told else [])])
        print_table([*heads, *(["attributes"] if told else [])], rows)
