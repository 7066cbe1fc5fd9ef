"""Records as they come, a line each: time, process, fingerprint, kind, operation, type, message."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import faultplane
from faultplane import schema
from faultplane.cli import add_domain, add_json, attach, ends_in_order, seconds, whole
from faultplane.cli.output import (
    clock,
    fingerprint_text,
    fit,
    paint,
    plain,
    print_json,
    terminal_width,
)
from faultplane.errors import DomainNotFound

EXAMPLES: Final = (
    "faultplane tail",
    "faultplane tail -n 100 --no-follow",
    "faultplane tail --kind Timeout --json | jq .message",
    "faultplane tail --wait --json -n 1000    # beside a service that is about to start",
)

KIND_CELLS: Final = max(len(kind.name) for kind in schema.KINDS)
KIND_CELLS_NARROW: Final = 13
"""Where lines are shorter than `WIDE_CELLS`, the kind leaves room for the message."""
WIDE_CELLS: Final = 100
WAIT_SECONDS: Final = 0.2
"""How often `--wait` looks."""
_COLOUR_OF_SEVERITY: Final = ((21, "red"), (17, "yellow"), (0, "dim"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument(
        "-n", "--lines", type=whole(0), default=10, help="records to begin with (10)"
    )
    parser.add_argument("--no-follow", action="store_true", help="end after those")
    parser.add_argument("--seconds", type=seconds(), help="end after so many seconds")
    parser.add_argument(
        "--wait", action="store_true", help="until there is such a domain, if there is none yet"
    )
    names = [kind.name for kind in schema.KINDS]
    parser.add_argument(
        "--kind",
        type=_kind,
        choices=names,
        metavar="KIND",
        help=f"only records of this kind: {', '.join(names)}",
    )
    parser.add_argument("--service", help="only records of this service")


def _kind(text: str) -> str:
    """The kind of that name in any case; else the text, for the parser to refuse."""
    return next((kind.name for kind in schema.KINDS if kind.name.lower() == text.lower()), text)


def run(options: argparse.Namespace) -> int:
    """Print records until interrupted, or told to end.

    Also as the first process of a container, on which a signal without a handler has no effect.
    """
    with ends_in_order(), _attach(options) as domain:
        records = domain.records()
        filtered = options.kind or options.service
        rows = _wanted(records.rows(None if filtered else options.lines), options)
        _print(rows[max(len(rows) - options.lines, 0) :], options)
        if options.no_follow:
            return 0
        with domain.follow(since=records.cursor, timeout_seconds=options.seconds) as follow:
            for news in follow:
                if news.lost > 0:
                    told = sys.stderr if options.json else sys.stdout
                    print(paint(f"… {news.lost} records were retired unread", "dim"), file=told)
                _print(_wanted(news.rows(), options), options)
    return 0


def _attach(options: argparse.Namespace) -> faultplane.Domain:
    """The domain, waited for where that is wanted: its service may start later."""
    told = ""
    while options.wait:
        try:
            return attach(options)
        except DomainNotFound as error:
            if told != (told := str(error)):
                print(f"faultplane tail: waiting: {told}", file=sys.stderr, flush=True)
            time.sleep(WAIT_SECONDS)
    return attach(options)


def _wanted(rows: Iterable[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        row
        for row in rows
        if (not options.kind or row["kind"] == options.kind)
        and (not options.service or f'"service.name":"{options.service}"' in row["resource"])
    ]


def _print(rows: Iterable[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        print_json(rows)
        return
    for row in rows:
        print(line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """One record in one line of the terminal.

    >>> row = dict(time_unix_nano=0, fingerprint=7, kind="Timeout", operation="pay", owner=3,
    ...            severity_number=17, type="TimeoutError", message="no answer")
    >>> line(row).split()
    ['-', '3', '0000000000000007', 'Timeout', 'pay', 'TimeoutError:', 'no', 'answer']
    """
    width = terminal_width()
    kind_cells = KIND_CELLS_NARROW if width < WIDE_CELLS else KIND_CELLS
    head = (
        f"{clock(row['time_unix_nano']):12} {row['owner']:2}  "
        f"{fingerprint_text(row['fingerprint'])}  {fit(row['kind'], kind_cells):{kind_cells}}  "
    )
    text = f"{row['type']}: {row['message']}" if row["message"] else row["type"]
    operation = f"{row['operation']}  " if row["operation"] else ""
    shown = fit(plain(operation + text), max(width - len(head), 20))
    colour = next(c for bound, c in _COLOUR_OF_SEVERITY if row["severity_number"] >= bound)
    return head + paint(shown, colour)
