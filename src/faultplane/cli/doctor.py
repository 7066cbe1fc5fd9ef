"""Which core, which native build, which directory, which limits, and what is wrong.

Exit status 1 when something is wrong, with what to do about it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

import faultplane
from faultplane import _native, settings
from faultplane.capture.wiring import WIRED_PREFIX
from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, add_domain, add_json, doctor_notes
from faultplane.cli.output import counted, paint, print_json, size
from faultplane.errors import DomainNotFound, FaultplaneError
from faultplane.store import domain as domains
from faultplane.store import health, location, reading, surroundings, trial

EXAMPLES: Final = (
    "faultplane doctor",
    "faultplane doctor --domain checkout --json",
)
_EXTRAS: Final = ("pyarrow", "polars", "duckdb", "textual")
_FULL_SHARE: Final = 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_domain(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print what there is, then what is wrong with it."""
    report = examine(options.domain, options.directory)
    if options.json:
        print_json([report])
    else:
        print("\n".join(lines(report)))
    return EXIT_FOUND_TROUBLE if report["problems"] else EXIT_OK


def examine(domain: str | None, directory: str | None) -> dict[str, Any]:
    """Everything that `run` prints."""
    found = settings.load()
    name = domain or found.domain
    base = directory or found.directory
    report: dict[str, Any] = {
        "faultplane": faultplane.__version__,
        "core": faultplane.core,
        "native": "",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{sys.platform} {platform.machine()}",
        "extras": {extra: find_spec(extra) is not None for extra in _EXTRAS},
        "disabled": found.disabled,
        "messages": found.messages,
        "detail_per_second": found.detail_per_second,
        "directories": [
            doctor_notes.directory(path)
            for path in location.readable_bases(base, found.runtime_directory)
            or location.bases_to_make(found.runtime_directory)
        ],
        "domains": reading.names(base, found.runtime_directory),
        "domain": name,
        "stores": [],
        "drops": {},
        "deaths": 0,
        "wired": [],
        "surroundings": surroundings.facts(),
        "notes": [],
        "problems": list(found.problems),
    }
    obstacle = None if found.disabled else trial.obstacle(name, base, found)
    try:
        _examine_domain(report, domains.find(name, base, found.runtime_directory))
    except DomainNotFound as error:
        told = f"{error}" + ("" if obstacle else "; a process makes it when it calls init()")
        if domain or "domain" in found.given:
            report["problems"].append(told)  # somebody counts on it to be there
        else:
            report["note"] = told
    try:
        report["native"] = _native.native_build() or ""
    except (FaultplaneError, ImportError) as error:
        report["problems"].append(str(error))
    report["problems"] += _judge(report)
    report["problems"] += doctor_notes.problems(report, found)
    report["notes"] = doctor_notes.notes(report, found, base)
    if obstacle and report["directories"]:
        _tell_obstacle(report, obstacle, directory not in (None, found.directory))
    return report


def _tell_obstacle(report: dict[str, Any], obstacle: trial.Obstacle, to_read: bool) -> None:
    """Say why nothing can be recorded here.

    A problem, unless the directory was named ``to_read`` what is in it, by an option that no
    service has: that is what somebody does who looks at the domain of another user, or at a view
    of it that is read-only.
    """
    if to_read and report["stores"] and not obstacle.full:
        who = f"uid {os.geteuid()} can read this domain and not record into it"
        report["note"] = f"{who}: {obstacle.reason}"
    elif not any(obstacle.reason in problem for problem in report["problems"]):
        told = f"a process that calls init() here finds no storage: {obstacle.reason}"
        report["problems"].append(told)


def _examine_domain(report: dict[str, Any], path: str) -> None:
    report["path"] = path
    report["stores"] = health.describe(path)
    with reading.Domain(path) as domain:
        report["drops"] = {row["reason"]: row["count"] for row in domain.drops_rows()}
        report["deaths"] = len(domain.deaths_rows())
        report["wired"] = sorted(
            {
                row["name"].removeprefix(WIRED_PREFIX)
                for row in domain.counters_rows()
                if row["name"].startswith(WIRED_PREFIX)
            }
        )
        domain.records()  # what of them cannot be read is a problem from now on
        report["problems"] += domain.problems()


def _judge(report: dict[str, Any]) -> Iterator[str]:
    """What is wrong, each with what helps."""
    if report["disabled"]:
        yield "FAULTPLANE_DISABLED is set: nothing is recorded"
    if not report["directories"]:
        yield "no shared directory: each process keeps its counts to itself; set FAULTPLANE_DIR"
    if report["drops"].get("no_space"):
        yield "storage was full at times: lower FAULTPLANE_BUDGET_BYTES or enlarge the file system"
    if report["drops"].get("no_storage"):
        yield "some errors were counted while there was no storage; they have no rows"
    if report["drops"].get("row_lost"):
        yield (
            "some rows were lost though storage was not full: the process was out of descriptors "
            "(ulimit -n), memory or stack, or the file system refused it"
        )
    for store in report["stores"]:
        if store["owners_alive"] >= store["owner_slots"] * _FULL_SHARE:
            yield f"{store['store']}: {store['owners_alive']} of {store['owner_slots']} owner slots"
        if store["bytes_pinned"] > store["budget_bytes"]:
            who = ", ".join(str(holder["pid"]) for holder in store["pinned_by"][:4])
            yield (
                f"{store['store']}: {size(store['bytes_pinned'])} of retired segments are still "
                f"mapped, more than the budget: readers (pid {who}) must let go of old tables"
            )
        if not store["same_boot"]:
            yield f"{store['store']} is from before the last start of this host"


def lines(report: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    extras = [name for name, there in report["extras"].items() if there]
    missing = [name for name, there in report["extras"].items() if not there]
    absent = f" (not installed: {', '.join(missing)})" if missing else ""
    core = paint(report["core"], "bold")
    if report["core"] == "python":
        core += " (some fifty times slower: a wheel or a C compiler brings the compiled one)"
    limit = report["detail_per_second"] or "unlimited"
    out = [
        f"faultplane {report['faultplane']}, core {core}, {report['python']}, {report['platform']}",
        f"native kernels: {report['native'] or 'not installed (pure Python instead)'}",
        f"optional packages: {', '.join(extras) or 'none'}{absent}",
        f"messages {report['messages']}, rows per error and second {limit}",
    ]
    out.append(doctor_notes.place_line(report["surroundings"]))
    out += [doctor_notes.directory_line(found) for found in report["directories"]]
    out.append(f"domains: {reading.listed(report['domains']) or 'none'}")
    if "note" in report:
        out.append(report["note"])
    for store in report["stores"]:
        out += ["", paint(f"{report['domain']}/{store['store']}", "bold"), *_store_lines(store)]
    if report["stores"]:
        out.append(f"  {counted(report['deaths'], 'death')} recorded")
        if wired := ", ".join(report["wired"]):
            out.append(f"  wired by faultplane run: {wired}")
    dropped = {reason: count for reason, count in report["drops"].items() if count}
    if dropped:
        out.append("  rows not written: " + ", ".join(f"{r} {c:,}" for r, c in dropped.items()))
    out.append("")
    out += [f"* {note}" for note in report["notes"]]
    out += [paint(f"! {problem}", "yellow") for problem in report["problems"]]
    if not report["problems"]:
        out.append(paint("Nothing is wrong.", "green"))
    return out


def _store_lines(store: dict[str, Any]) -> list[str]:
    held, budget = size(store["bytes_held"]), size(store["budget_bytes"])
    pinned = size(store["bytes_pinned"])
    segments = f"{store['segments']} of {store['segments_max']} segments"
    gone = counted(store["segments_retired"], "segment")
    retired = f"{counted(store['rows_retired'], 'row')} retired in {gone}"
    alive = f"{_processes(store['owners_alive'])} alive of {store['owner_slots']} slots"
    lines = [
        f"  {held} held of a budget of {budget}: {segments} of {size(store['segment_bytes'])}",
        f"  {retired}, {store['segments_pinned']} of them still mapped: {pinned}",
    ]
    lines += [
        f"    {size(who['bytes'])} of that by pid {who['pid']}, a {who['role']}"
        for who in store["pinned_by"]
    ]
    if store["segments_retired"] and (hidden := store["processes_hidden"]):
        lines.append(f"    {_processes(hidden)} could not be looked at for what they map")
    lines.append(f"  {alive}, {store['owners_not_buried']} gone and not yet folded")
    return lines


def _processes(number: int) -> str:
    return counted(number, "process", "processes")
