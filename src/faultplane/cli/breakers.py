"""Dependencies of a domain: breakers, retry budgets and limits that its processes share.

A state can be set by hand, for all processes of the host at once. That takes the user whose domain
it is, joins the domain for a moment, and leaves a record that says who did what. Where the other
core is used, the command is run once more with that one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Any, Final

import faultplane
from faultplane.cli import (
    EXIT_FOUND_TROUBLE,
    EXIT_OK,
    add_domain,
    add_json,
    attach,
    seconds,
    ticks,
)
from faultplane.cli.breakers_view import details, differences, lines, with_transitions
from faultplane.cli.output import clear, clock, counted, paint, plain, print_json
from faultplane.errors import DependencyNotFound, FaultplaneError, InvalidSetting, StorageError
from faultplane.resilience.override import ACTIONS, Forgotten, Override, forget, override
from faultplane.store import lifecycle
from faultplane.store.domain import Store
from faultplane.store.reading import listed

EXAMPLES: Final = (
    "faultplane breakers",
    "faultplane breakers --follow --interval 0.5",
    "faultplane breakers --verbose              # every total, and who declared what",
    "faultplane breakers --force-open payments --reason 'they asked us to stop'",
    "faultplane breakers --reset payments",
    "faultplane breakers --forget payments      # what retries of it have come to",
    "faultplane breakers --json | jq 'select(.state==\"open\") | .name'",
)
FORGET: Final = "forget"
SERVICE: Final = "faultplane"
"""Service of the process that sets a state, in its records."""
PREFIX: Final = "faultplane breakers: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="everything about each")
    parser.add_argument("--follow", action="store_true", help="show it again and again")
    parser.add_argument(
        "--interval", type=seconds(0.1), default=1.0, help="seconds between looks, from 0.1 on (1)"
    )
    parser.add_argument("--seconds", type=seconds(0.1), help="with --follow: end after so many")
    actions = parser.add_argument_group("states that are set by hand")
    one_of = actions.add_mutually_exclusive_group()
    for name, action in ACTIONS.items():
        one_of.add_argument(f"--{name}", metavar="NAME", help=action.meaning)
    one_of.add_argument(f"--{FORGET}", metavar="NAME", help="what retries have come to begins anew")
    actions.add_argument("--reason", default="", help="kept with the record of it")
    actions.add_argument("--store", help="only in this store (default: wherever NAME is used)")


def run(options: argparse.Namespace) -> int:
    """Print the table, or set a state."""
    names = (*ACTIONS, FORGET)
    asked = [(name, getattr(options, name.replace("-", "_"))) for name in names]
    asked = [(action, name) for action, name in asked if name is not None]
    if options.seconds is not None and not options.follow:
        options.parser.error("--seconds goes with --follow only")
    if options.reason and not any(name in ACTIONS for name, _ in asked):
        options.parser.error(f"--reason goes with {', '.join(f'--{name}' for name in ACTIONS)}")
    if asked and options.follow:
        options.parser.error("--follow shows the table: set the state without it")
    with attach(options) as domain:
        if asked:
            return _set(domain, *asked[0], options)
        if not options.follow:
            return _show(domain, options)
        status = EXIT_OK
        for _ in ticks(options.interval, options.seconds):
            status = _show(domain, options)
        return status


# -------------------------------------------------------------------------------------- showing


def _show(domain: faultplane.Domain, options: argparse.Namespace) -> int:
    rows = domain.dependencies_rows()
    if options.store is not None:
        rows = [row for row in rows if row["store"] == _known_store(domain, options.store)]
    problems = domain.dependency_problems()
    if options.json:
        print_json(rows)
    else:
        out = _text(domain.name, with_transitions(rows, domain.transitions_rows()), options)
        if options.follow:
            clear()
        print("\n".join(out), flush=True)
    for problem in problems:
        print(PREFIX + plain(problem), file=sys.stderr)
    return EXIT_FOUND_TROUBLE if problems else EXIT_OK


def _text(name: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    many = counted(len(rows), "dependency", "dependencies")
    out = []
    if options.follow:
        out = [paint(f"{name}  {clock(time.time_ns())[:8]}  {many}", "bold"), ""]
    if not rows:
        return [*out, "No process has called a dependency."]
    out += lines(rows)
    if options.verbose:
        for row in rows:
            out += ["", *details(row)]
        return out
    for row in rows:
        if differs := ", ".join(map(plain, differences(row))):
            told = (
                f"! {plain(row['name'])} is declared in two ways, which --verbose shows: {differs}"
            )
            out.append(paint(told, "yellow"))
    return out


def _known_store(domain: faultplane.Domain, name: str) -> str:
    known = sorted(store.name for store in domain.stores())
    if name not in known:
        raise InvalidSetting(f"--store must be one of {', '.join(known)}, got {name!r}")
    return name


def unknown(domain: faultplane.Domain, name: str) -> DependencyNotFound:
    """The error that a name is unknown, with those that are known."""
    names = sorted({row["name"] for row in domain.dependencies_rows()})
    known = f"known are {plain(listed(names))}" if names else "no process has called one"
    return DependencyNotFound(f"domain {domain.name!r} has no dependency {name!r}; {known}")


# -------------------------------------------------------------------------------------- setting


def _set(domain: faultplane.Domain, action: str, name: str, options: argparse.Namespace) -> int:
    """Set the state in each store where the name is used."""
    wanted = None if options.store is None else _known_store(domain, options.store)
    used = {row["store"] for row in domain.dependencies_rows() if row["name"] == name}
    stores = [
        store for store in domain.stores() if store.name in used and wanted in (None, store.name)
    ]
    if not stores:
        raise unknown(domain, name)
    for store in stores:
        # All before the first: whose domain it is not changes it nowhere.
        with Store.open(store.path, writable=True):
            pass
    status = EXIT_OK
    for store in stores:
        if store.core_name == faultplane.core:
            done = _here(store, action, name, options)
        else:
            done = _by_its_core(store, action, name, options)
        status = max(status, done)
    return status


def _here(store: Store, action: str, name: str, options: argparse.Namespace) -> int:
    base, domain = os.path.split(store.domain_path)
    faultplane.init(SERVICE, domain, base)
    status = lifecycle.status()
    if status.reason or status.store_path != store.path:
        why = status.reason or f"its storage is {status.store_path}"
        raise StorageError(
            f"{name} cannot be changed: this process cannot join {store.path}: {why}"
        )
    if action == FORGET:
        forgotten = forget(name)
        if options.json:
            print_json([forgotten._asdict()])
        else:
            print(_forgotten(forgotten))
        return EXIT_OK
    done = override(name, action, options.reason)
    if options.json:
        print_json([done._asdict()])
    else:
        print(_sentence(done))
    if done.changed and done.record is None:
        print(
            f"{PREFIX}no record of it could be written; faultplane doctor says what was not",
            file=sys.stderr,
        )
        return EXIT_FOUND_TROUBLE
    return EXIT_OK


def _sentence(done: Override) -> str:
    name = plain(done.name)
    if not done.changed:
        return f"{name} in {done.store} is {done.after} already"
    told = "" if done.record is None else f"; record {done.record} of process {done.incarnation}"
    return f"{name} in {done.store}: {done.before} -> {done.after}{told}"


def _forgotten(done: Forgotten) -> str:
    kinds, types = counted(done.kinds, "kind"), counted(done.types, "type")
    return f"{plain(done.name)} in {done.store}: forgotten what retries came to of {kinds}, {types}"


def _by_its_core(store: Store, action: str, name: str, options: argparse.Namespace) -> int:
    """Run this command with the core that the store belongs to.

    Compare-and-swap and the pure core's file locks do not exclude each other: only the core that
    everybody else in the store uses may change a word of it.
    """
    base, domain = os.path.split(store.domain_path)
    words = [
        sys.executable, "-m", "faultplane", "breakers", f"--{action}={name}",
        f"--reason={options.reason}", f"--store={store.name}", f"--domain={domain}",
        f"--directory={base}", *(["--json"] if options.json else []),
    ]  # fmt: skip
    sys.stdout.flush()
    done = subprocess.run(
        words,
        env={**os.environ, "FAULTPLANE_CORE": store.core_name},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = done.stderr.strip()
    if said.startswith("Traceback"):
        # It did not come as far as to say it itself: the core cannot be loaded.
        said = said.rpartition("\n")[2].partition(": ")[2]
        raise FaultplaneError(
            f"{name} is in {store.name}, which only the {store.core_name} core may change: {said}"
        )
    if done.returncode == EXIT_OK or said:
        print(said, end="\n" if said else "", file=sys.stderr)
        return done.returncode
    raise FaultplaneError(f"{name} in {store.name}: {words[0]} ended with {done.returncode}")
