"""What recording costs on this machine: both cores and what users would pick instead, in one run.

Each core and each peer is measured in a process of its own, in turn, several times; the tables show
the minimum of interleaved rounds, net of raising and catching, and medians, in nanoseconds. It
asserts that peers recorded every call, and that rows and counts are the calls. Peers that are not
installed are left out: the extra bench brings them, in a checkout `pip install '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

import faultplane as fp
from faultplane import schema
from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, add_json, ends_in_order, whole
from faultplane.cli.bench import (
    amounts,
    guarded,
    handover,
    measure,
    ours,
    peers,
    report,
    scrape,
    stalls,
)
from faultplane.cli.output import print_json

EXAMPLES: Final = (
    "faultplane bench",
    "faultplane bench --quick --only record",
    "faultplane bench --json > figures.json",
)
PARTS: Final = ("record", "guarded", "stalls", "peers", "handover", "scrape")
PLACES: Final = ("domain", "alone")
"""Where guarded calls are measured: shared with other processes, or in the process alone."""
BUDGET_BYTES: Final = 1 << 30
SECONDS_MAX: Final = 180


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_json(parser)
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--repeat", type=whole(1), help="turns of each process (3; 1 if --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and records, for a first look"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    if options.child:
        print(json.dumps(_child(options.child, options.quick)))
        return EXIT_OK
    parts = options.only or PARTS
    turns = options.repeat or (1 if options.quick else 3)
    with ends_in_order():
        directory = tempfile.mkdtemp(prefix="faultplane-bench-", dir=_shared())
        try:
            found = measure_all(parts, turns, options.quick, directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print_json([found])
    else:
        report.print_report(found)
    return EXIT_FOUND_TROUBLE if found["failed"] else EXIT_OK


def _shared() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _child(words: Sequence[str], quick: bool) -> dict[str, Any]:
    """What a process of its own measures; it prints the answer as JSON."""
    amount = amounts.choose(fp.core, quick)
    match list(words):
        case ["ours"]:
            measure.refuse_debug_build()
            return ours.run(amount)
        case ["guarded", place]:
            measure.refuse_debug_build()
            return guarded.run(amount.guarded_rounds, domain=place == "domain")
        case ["stalls"]:
            measure.refuse_debug_build()
            return stalls.run(amount.stalls)
        case ["peer", name]:
            return peers.run(name, amount.peer_rounds)
        case ["handover", producers, records, reader]:
            return handover.ours(int(producers), int(records), sleeping=reader == "sleeping")
        case ["handover-peer", name]:
            return handover.peer(name, amount.handed_over_by_peers)
        case ["scrape", name, each]:
            return scrape.run(name, scrape.Crowd(amount.scraped_workers, int(each)), amount.scrapes)
    raise AssertionError(f"nothing is called {words}")


def measure_all(parts: Sequence[str], turns: int, quick: bool, directory: str) -> dict[str, Any]:
    """Figures of all parts; ``failed`` names what could not be measured, and why."""
    found: dict[str, Any] = {
        "machine": f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
        "load": [os.getloadavg()[0]],
        "turns": turns,
        "cores": {},
        "guarded": {},
        "stalls": {},
        "peers": {},
        "handover": {},
        "scrape": {},
        "failed": [],
    }
    child = _Child(directory, quick, found["failed"])
    for turn in range(turns):
        for core in cores():
            if "record" in parts or "peers" in parts:
                _say(f"turn {turn + 1} of {turns}: {core} core")
                _keep_best_core(found["cores"], core, child(["ours"], core))
            for place in PLACES if "guarded" in parts else ():
                _say(f"turn {turn + 1} of {turns}: guarded calls, {core} core, {place}")
                _keep_best_cases(found["guarded"], core, place, child(["guarded", place], core))
        for name in peers.PEERS if "peers" in parts else ():
            _say(f"turn {turn + 1} of {turns}: {name}")
            _keep_better(found["peers"], name, child(["peer", name]))
    for core in cores() if "stalls" in parts else ():
        _say(f"stalls: {core} core")
        answer = child(["stalls"], core, messages="raw", budget=schema.BUDGET_BYTES_DEFAULT)
        if answer is not None:
            found["stalls"][core] = answer
    if "handover" in parts:
        _measure_handover(found["handover"], child, turns, quick)
    for each in amounts.choose(cores()[0], quick).scraped_each if "scrape" in parts else ():
        for name in scrape.WAYS:
            _say(f"scrape: {name}, {each} groups a worker")
            answer = child(["scrape", name, str(each)])
            if answer is not None:
                found["scrape"].setdefault(str(each), {})[name] = answer
    _say("")
    found["load"].append(os.getloadavg()[0])
    return found


def _measure_handover(found: dict[str, Any], child: _Child, turns: int, quick: bool) -> None:
    ways = {
        "faultplane, raw": ("1", "reading", "raw"),
        "faultplane, redacted": ("1", "reading", "redact"),
        "faultplane, 1 producer, reader asleep": ("1", "sleeping", "raw"),
        "faultplane, 2 producers, reader asleep": ("2", "sleeping", "raw"),
    }
    records = str(amounts.choose(cores()[0], quick).handed_over)
    for turn in range(turns):
        for name, (producers, how, messages) in ways.items():
            _say(f"turn {turn + 1} of {turns}: {name}")
            words = ["handover", producers, records, how]
            _keep_fastest(found, name, child(words, messages=messages))
        for name in handover.PEERS:
            _say(f"turn {turn + 1} of {turns}: {name}")
            _keep_fastest(found, name, child(["handover-peer", name]))


def cores() -> list[str]:
    """The cores that can be measured here."""
    try:
        compiled = find_spec("faultplane._core.record") is not None
    except ModuleNotFoundError:  # its directory is there, as sources, and nothing compiled in it
        compiled = False
    return [*(["cython"] if compiled else []), "python"]


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


class _Child:
    """Runs one measurement in a process of its own, with a domain of its own."""

    def __init__(self, directory: str, quick: bool, failed: list[str]) -> None:
        self._directory = directory
        self._options = ["--quick"] if quick else []
        self._failed = failed

    def __call__(
        self,
        words: Sequence[str],
        core: str = "auto",
        messages: str = "redact",
        budget: int = BUDGET_BYTES,
    ) -> dict[str, Any] | None:
        home = tempfile.mkdtemp(dir=self._directory)
        environment = {
            **os.environ,
            "FAULTPLANE_DIR": home,
            "FAULTPLANE_CORE": core,
            "FAULTPLANE_MESSAGES": messages,
            "FAULTPLANE_BUDGET_BYTES": str(budget),
            "FAULTPLANE_DETAIL_PER_SECOND": "0",
            "TMPDIR": home,  # what peers leave there goes with it
        }
        command = [sys.executable, "-m", "faultplane", "bench", *self._options, "--child", *words]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX,
                check=True,
            )  # fmt: skip
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1:] or ["no reason given"]
            self._failed.append(f"{' '.join(words)}: {reason[0]}")
            return None
        except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
            self._failed.append(f"{' '.join(words)}: {error}")
            return None
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return answer


def _keep_fastest(found: dict[str, Any], name: str, answer: dict[str, Any] | None) -> None:
    if answer is None:
        return
    known = found.setdefault(name, answer)
    if answer.get("per_second", 0) > known.get("per_second", 0):
        found[name] = answer


def _keep_better(found: dict[str, Any], name: str, answer: dict[str, Any] | None) -> None:
    if answer is None:
        return
    known = found.setdefault(name, answer)
    if "missing" not in answer:
        found[name] = measure.better(known, answer)


def _keep_best_cases(
    found: dict[str, Any], core: str, place: str, answer: dict[str, Any] | None
) -> None:
    if answer is None:
        return
    known = found.setdefault(core, {}).setdefault(place, answer)
    for name, timing in answer["cases"].items():
        known["cases"][name] = measure.better(known["cases"][name], timing)


def _keep_best_core(found: dict[str, Any], core: str, answer: dict[str, Any] | None) -> None:
    """The better figure of each case over the turns."""
    if answer is None:
        return
    known = found.setdefault(core, answer)
    for name, timing in answer["cases"].items():
        known["cases"][name] = measure.better(known["cases"][name], timing)
    for part, field in (
        ("first_sighting", "minimum"),
        ("run", "own"),
        ("quantiles", "p99"),
        ("own_quantiles", "p99.99"),
    ):
        if answer[part][field] < known[part][field]:
            known[part] = answer[part]
