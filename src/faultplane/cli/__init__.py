"""The command line: one module a command; ``faultplane --help`` lists them.

A command module has ``SUMMARY`` (one line), ``EXAMPLES`` (lines of a shell), ``add_arguments`` and
``run``, which gives the exit status. It is imported only when it is asked for, or listed.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, Final

import faultplane
from faultplane.errors import FaultplaneError

COMMANDS: Final = {
    "run": "start any Python program with recording on",
    "demo": "run a real service, fail it, kill it, and explain what happened",
    "top": "live table of error groups, rates and processes",
    "tail": "records as they come",
    "show": "one group: stack with source, template, counts, samples",
    "deaths": "processes that died: how, and what each was doing",
    "breakers": "what is called by whom: breakers, budgets, limits; and their states, set by hand",
    "why": "one dependency: why its breaker opened and closed, and the errors behind it",
    "query": "SQL over records, counts, counters, drops, deaths, dependencies and more",
    "metrics": "what Prometheus scrapes: printed, or served over HTTP",
    "doctor": "which core, which directory, which limits, and what is wrong",
    "bench": "what recording costs on this machine",
    "gc": "remove the domains that nobody uses any more",
}

EXIT_OK: Final = 0
EXIT_FOUND_TROUBLE: Final = 1
EXIT_USAGE: Final = 2
SECONDS_MAX: Final = 31_536_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_output()
    parser = _parser(words)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        # The usage of the command says what it does know; that of all commands does not.
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        status: int = _module(options.command).run(options)
        sys.stdout.flush()
    except FaultplaneError as error:
        print(f"faultplane {options.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away: nobody is left to be told.
        _drop_output()
        return EXIT_OK
    except OSError as error:
        print(f"faultplane {options.command}: {error}", file=sys.stderr)
        _drop_output()
        return EXIT_USAGE
    return status


def _prepare_output() -> None:
    """Be ready for a closed output, and for one that cannot say what names and messages hold."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What is still to be written has nowhere to go, and shall not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faultplane",
        description="The fault plane of a Python service: what failed, how often, and why.",
        epilog="faultplane COMMAND --help shows the options of a command, with examples.",
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action="version", version=faultplane.__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    asked = next((word for word in words if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        # Only the command that is asked for is imported: the others need not cost a start.
        module = _module(name) if name == asked else None
        sub = commands.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or summary).split("\n\n")[0] if module else summary,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES)
            if module
            else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(parser=sub)
        if module:
            module.add_arguments(sub)
    return parser


def _module(name: str) -> Any:
    return import_module(f"faultplane.cli.{name}")


def this_command() -> str:
    """What to type in a shell for the command that runs: its name, where the shell finds it."""
    path = sys.argv[0]
    if os.path.basename(path) != "faultplane":
        return f"{shlex.quote(sys.executable)} -m faultplane"
    found = shutil.which("faultplane")
    same = found is not None and os.path.exists(path) and os.path.samefile(found, path)
    return "faultplane" if same else shlex.quote(os.path.abspath(path))


@contextmanager
def ends_in_order() -> Iterator[None]:
    """A SIGTERM, and a terminal that is closed, end the command as Ctrl-C does: it cleans up."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_domain(parser: argparse.ArgumentParser) -> None:
    """The options that name a domain."""
    parser.add_argument(
        "-d", "--domain", help="name of the domain (default: FAULTPLANE_DOMAIN, else default)"
    )
    add_directory(parser)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """The option that says where domains are."""
    parser.add_argument(
        "--directory",
        help="base directory of domains (default: FAULTPLANE_DIR, else /dev/shm/faultplane-<uid>, "
        "else $XDG_RUNTIME_DIR/faultplane)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that asks for JSON instead of a table."""
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def whole(low: int) -> Callable[[str], int]:
    """Type of an option that takes a whole number of ``low`` or more."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} on, got {text!r}")
        return int(text)

    return parse


def seconds(low: float = 0.0) -> Callable[[str], float]:
    """Type of an option that takes ``low`` to 31,536,000 seconds, which are a year."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= SECONDS_MAX:
            raise argparse.ArgumentTypeError(
                f"must be {low:g} to {SECONDS_MAX} seconds, got {text!r}"
            )
        return value

    return parse


def ticks(interval: float, seconds: float | None) -> Iterator[None]:
    """Now, and again every ``interval`` seconds until ``seconds`` have passed; for ever if None."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() + interval > end:
            return
        time.sleep(interval)


def attach(options: argparse.Namespace) -> faultplane.Domain:
    """The domain that the options name."""
    return faultplane.attach(options.domain, options.directory)
