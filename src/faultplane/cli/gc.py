"""Remove the domains that nobody uses any more, and what a killed process left half made.

A domain with a living process is never touched.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Final

from faultplane import settings
from faultplane.cli import add_directory, add_json
from faultplane.cli.output import print_json, print_table, size
from faultplane.errors import DomainNotFound
from faultplane.store import gc, location

EXAMPLES: Final = (
    "faultplane gc --dry-run",
    "faultplane gc",
    "faultplane gc --domain checkout --directory /dev/shm/faultplane-1000",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("-d", "--domain", help="only this domain (default: every dead one)")
    add_directory(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be removed")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Remove, and say what was removed and what was kept."""
    found = settings.load()
    base = options.directory or found.directory
    bases = [
        path
        for path in location.readable_bases(base, found.runtime_directory)
        if os.path.isdir(path) or options.directory
    ]
    removals, absent = [], []
    for path in bases:
        try:
            removals += gc.gc(path, options.domain, options.dry_run)
        except DomainNotFound as error:
            absent.append(error)
    if absent and len(absent) == len(bases):
        raise absent[0]  # a domain is in one of several directories
    if options.json:
        print_json(asdict(removal) for removal in removals)
        return 0
    if not removals:
        print("There are no domains" + (f" in {', '.join(bases)}." if bases else "."))
        return 0
    print_table(
        ["domain", "store", "size", "", "reason"],
        [[r.domain, r.store, size(r.bytes_held), r.action, r.reason or "-"] for r in removals],
        ["size"],
    )
    return 0
