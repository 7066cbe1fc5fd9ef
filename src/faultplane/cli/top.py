"""Live table of error groups, their rates, and the processes that record them.

Works over ssh in 80 columns. With the top extra it is interactive: q quits, s changes the order,
p pauses, enter shows a group. Without it, or with --plain, the table is printed again and again;
--once prints it once.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import find_spec
from typing import Final

from faultplane.cli import add_domain, add_json, attach, seconds, ticks
from faultplane.cli.output import clear, print_json
from faultplane.cli.top_view import ORDERS, View, lines

EXAMPLES: Final = (
    "faultplane top",
    "faultplane top --sort count --once",
    "faultplane top --once --json | jq .type",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument("--sort", choices=ORDERS, default="rate", help="order (rate)")
    parser.add_argument(
        "--interval", type=seconds(0.1), default=1.0, help="seconds between looks, from 0.1 on (1)"
    )
    parser.add_argument("--once", action="store_true", help="print one table and end")
    parser.add_argument("--plain", action="store_true", help="no full-screen terminal program")
    parser.add_argument("--seconds", type=seconds(0.1), help="end after so many seconds")


def run(options: argparse.Namespace) -> int:
    """Show the table until told to stop."""
    with attach(options) as domain:
        view = View(domain, options.sort)
        if options.once:
            return _once(view, options)
        screen = sys.stdout.isatty() and not (options.plain or options.json)
        if screen and find_spec("textual") is not None:
            from faultplane.cli.top_screen import show

            return show(view, options.interval, options.seconds)
        return _repeat(view, options)


def _once(view: View, options: argparse.Namespace) -> int:
    view.look()
    if not options.json:
        # A rate needs two looks.
        time.sleep(min(options.interval, 5.0))
        view.look()
    _print(view, options)
    return 0


def _repeat(view: View, options: argparse.Namespace) -> int:
    for _ in ticks(options.interval, options.seconds):
        view.look()
        if not options.json:
            clear()
        _print(view, options)
    return 0


def _print(view: View, options: argparse.Namespace) -> None:
    if options.json:
        print_json(view.groups())
        return
    print("\n".join(lines(view)), flush=True)
