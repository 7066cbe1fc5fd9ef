"""Processes that died: when, how, what each was doing, its last errors and its last frames."""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

from faultplane.cli import add_domain, add_json, attach, whole
from faultplane.cli.output import clock, duration, moment, paint, plain, print_json

EXAMPLES: Final = (
    "faultplane deaths",
    "faultplane deaths --last 1",
    "faultplane deaths --all --json | jq 'select(.how==\"signal\") | .frames'",
)
IN_FLIGHT_SHOWN: Final = 8
RECORDS_SHOWN: Final = 3
FRAMES_SHOWN: Final = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument("--last", type=whole(1), help="only the newest so many")
    parser.add_argument("--all", action="store_true", help="orderly ends that left operations, too")


def run(options: argparse.Namespace) -> int:
    """Print the deaths, oldest first."""
    with attach(options) as domain:
        rows = domain.deaths_rows()
    if not options.all:
        rows = [row for row in rows if row["how"] != "exit" or row["exit_code"]]
    if options.last is not None:
        rows = rows[-options.last :]
    if options.json:
        print_json(rows)
        return 0
    for row in rows:
        print("\n".join(lines(row)), end="\n\n")
    if not rows:
        print("No process has died." if options.all else "No process has died out of order.")
    return 0


def lines(row: dict[str, Any]) -> list[str]:
    """One death, as lines for a terminal."""
    # Who was seen dead only later lived at most until then.
    when, most = ("", "") if row["time_is_exact"] else ("found ", "at most ")
    lived = (row["time_unix_nano"] - row["start_unix_nano"]) / 1e9
    age = duration(max(lived, 0))
    ago = max(time.time_ns() - row["time_unix_nano"], 0) / 1e9
    out = [
        paint(f"{row['service'] or 'process'} pid {row['pid']}", "bold")
        + f"  {paint(plain(row['summary']), 'red')}",
        f"  {when}{moment(row['time_unix_nano'])}, {duration(ago)} ago, after {most}{age}",
    ]
    if row["in_flight_count"]:
        out.append(f"  in flight: {row['in_flight_count']}")
        for entry in row["in_flight"][:IN_FLIGHT_SHOWN]:
            trace = f"  trace {entry['trace_id']}" if entry.get("trace_id") else ""
            held = duration(entry["age_seconds"])
            out.append(f"    {plain(entry['operation'])}  for {most}{held}{trace}")
    else:
        out.append("  in flight: nothing")
    if row["frames"]:
        out.append("  frames, innermost first:")
        out += [f"    {plain(frame)}" for frame in row["frames"][:FRAMES_SHOWN]]
        if len(row["frames"]) > FRAMES_SHOWN:
            out.append(f"    … {len(row['frames']) - FRAMES_SHOWN} more")
    if row["records"]:
        out.append("  last errors:")
        for record in row["records"][-RECORDS_SHOWN:]:
            out.append(
                f"    {clock(record['time_unix_nano'])}  {plain(record['type'])}: "
                f"{plain(record['message'])}"
            )
    return out
