"""Start any Python program with recording on, in it and in every child process.

The program is replaced by nothing and its files are not touched: a sitecustomize on PYTHONPATH
turns the hooks on. FAULTPLANE_RUN_VERBOSE=1 makes every process say what it does.
"""

from __future__ import annotations

import argparse
import os
from typing import Final, NoReturn

from faultplane import settings
from faultplane.capture import run as capture_run
from faultplane.cli import add_domain
from faultplane.errors import InvalidSetting
from faultplane.store import location

EXAMPLES: Final = (
    "faultplane run -- python shop.py",
    "faultplane run --service checkout -- gunicorn -w 4 shop:app",
    "faultplane run --hooks excepthook,logging -- -m http.server",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--service", help="name of the service (default: from the command)")
    add_domain(parser)
    parser.add_argument(
        "--hooks",
        help=f"comma-separated: {', '.join(settings.HOOKS)}, or none (default: all of them)",
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="-- CMD ...")


def run(options: argparse.Namespace) -> NoReturn:
    """Become the program."""
    command = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not command:
        raise InvalidSetting(f"the command to start is missing, as in: {EXAMPLES[0]}")
    if options.domain is not None:
        location.check_domain_name(options.domain)
    if options.service is not None:
        location.check_service_name(options.service)
    hooks = None
    if options.hooks is not None:
        hooks = [] if options.hooks == "none" else options.hooks.split(",")
        unknown = sorted(set(hooks) - set(settings.HOOKS))
        if unknown:
            known = ", ".join(settings.HOOKS)
            raise InvalidSetting(f"hooks must be of {known}, got {', '.join(unknown)}")
    capture_run.run(
        command,
        os.environ,
        service=options.service,
        domain=options.domain,
        directory=options.directory,
        hooks=hooks,
    )
