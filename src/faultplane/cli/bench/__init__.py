"""What recording costs on this machine: both cores and what users would pick instead, in one run.

Each core and each peer is measured in a process of its own, in turn, several times; the table shows
the minimum of interleaved rounds, in nanoseconds, and ratios. It asserts that every peer recorded
and that rows and counts are the calls. Peers that are not installed are left out:
pip install 'faultplane[bench]' brings them.
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

from faultplane.cli import EXIT_FOUND_TROUBLE, EXIT_OK, add_json
from faultplane.cli.bench import handover, peers
from faultplane.cli.output import paint, print_json, print_table
from faultplane.errors import FaultplaneError

EXAMPLES: Final = (
    "faultplane bench",
    "faultplane bench --only record --repeat 1",
    "faultplane bench --json > figures.json",
)
PARTS: Final = ("record", "peers", "handover")
BUDGET_BYTES: Final = 1 << 30
SECONDS_MAX: Final = 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_json(parser)
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each process (3)")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    if options.child:
        print(json.dumps(_child(options.child)))
        return EXIT_OK
    parts = options.only or PARTS
    directory = tempfile.mkdtemp(prefix="faultplane-bench-", dir=_shared())
    try:
        report = measure_all(parts, max(options.repeat, 1), directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print_json([report])
    else:
        _print(report)
    return EXIT_FOUND_TROUBLE if report["failed"] else EXIT_OK


def _shared() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _child(words: Sequence[str]) -> dict[str, Any]:
    if words[0] == "ours":
        from faultplane.cli.bench import measure, ours

        measure.refuse_debug_build()
        return ours.run()
    if words[0] == "peer":
        return peers.run(words[1])
    if words[0] == "handover":
        return handover.ours(int(words[1]), int(words[2]), sleeping=words[3] == "sleeping")
    return handover.peer(words[1])


def measure_all(parts: Sequence[str], repeat: int, directory: str) -> dict[str, Any]:
    """Figures of all parts; ``failed`` names what could not be measured, and why."""
    report: dict[str, Any] = {
        "machine": f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
        "cores": {},
        "peers": {},
        "handover": {},
        "failed": [],
    }
    child = _Child(directory, report["failed"])
    for turn in range(repeat):
        for core in _cores():
            if "record" in parts or "peers" in parts:
                _say(f"turn {turn + 1} of {repeat}: {core} core")
                _keep_best_core(report["cores"], core, child(["ours"], core))
        for name in peers.PEERS if "peers" in parts else ():
            _say(f"turn {turn + 1} of {repeat}: {name}")
            _keep_best(report["peers"], name, child(["peer", name]), "minimum", min)
    if "handover" in parts:
        _measure_handover(report["handover"], child, repeat)
    return report


def _measure_handover(found: dict[str, Any], child: _Child, repeat: int) -> None:
    ways = {
        "faultplane, raw": ("1", "reading", "raw"),
        "faultplane, redacted": ("1", "reading", "redact"),
        "faultplane, 1 producer, reader asleep": ("1", "sleeping", "raw"),
        "faultplane, 2 producers, reader asleep": ("2", "sleeping", "raw"),
    }
    for turn in range(repeat):
        for name, (producers, how, messages) in ways.items():
            _say(f"turn {turn + 1} of {repeat}: {name}")
            words = ["handover", producers, str(handover.RECORDS), how]
            _keep_best(found, name, child(words, messages=messages), "per_second", max)
        for name in handover.PEERS:
            _say(f"turn {turn + 1} of {repeat}: {name}")
            _keep_best(found, name, child(["handover-peer", name]), "per_second", max)


def _cores() -> list[str]:
    return [*(["cython"] if find_spec("faultplane._core.record") else []), "python"]


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


class _Child:
    """Runs one measurement in a process of its own, with a domain of its own."""

    def __init__(self, directory: str, failed: list[str]) -> None:
        self._directory = directory
        self._failed = failed

    def __call__(
        self, words: Sequence[str], core: str = "auto", messages: str = "redact"
    ) -> dict[str, Any] | None:
        home = tempfile.mkdtemp(dir=self._directory)
        environment = {
            **os.environ,
            "FAULTPLANE_DIR": home,
            "FAULTPLANE_CORE": core,
            "FAULTPLANE_MESSAGES": messages,
            "FAULTPLANE_BUDGET_BYTES": str(BUDGET_BYTES),
            "FAULTPLANE_DETAIL_PER_SECOND": "0",
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", "faultplane", "bench", "--child", *words],
                env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=True,
            )  # fmt: skip
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1:] or ["no reason given"]
            self._failed.append(f"{' '.join(words)}: {reason[0]}")
            return None
        except (subprocess.TimeoutExpired, ValueError, IndexError, FaultplaneError) as error:
            self._failed.append(f"{' '.join(words)}: {error}")
            return None
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return answer


def _keep_best(
    found: dict[str, Any], name: str, answer: dict[str, Any] | None, field: str, best: Any
) -> None:
    if answer is None:
        return
    known = found.get(name)
    if known is None or (field in answer and best(answer[field], known[field]) == answer[field]):
        found[name] = answer


def _keep_best_core(found: dict[str, Any], core: str, answer: dict[str, Any] | None) -> None:
    """The better figure of each case over the turns."""
    if answer is None:
        return
    known = found.setdefault(core, answer)
    for name, timing in answer["cases"].items():
        if timing["minimum"] < known["cases"][name]["minimum"]:
            known["cases"][name] = timing
    for part, field in (
        ("first_sighting", "minimum"),
        ("run", "nano"),
        ("quantiles", "p99"),
        ("own_quantiles", "p99.99"),
    ):
        if answer[part][field] < known[part][field]:
            known[part] = answer[part]


# ------------------------------------------------------------------------------------ printing


def _print(report: dict[str, Any]) -> None:
    print(f"\r{report['machine']}; nanoseconds, minimum of interleaved rounds\n")
    if report["cores"]:
        _print_cores(report["cores"])
    if report["peers"]:
        _print_peers(report["peers"], report["cores"])
    if report["handover"]:
        _print_handover(report["handover"])
    for line in report["failed"]:
        print(paint(f"! {line}", "red"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:,.1f}"


def _print_cores(cores: dict[str, Any]) -> None:
    compiled, pure = cores.get("cython"), cores.get("python")
    rows = []
    for name in (compiled or pure or {"cases": {}})["cases"]:
        ours = compiled["cases"][name]["minimum"] if compiled else None
        theirs = pure["cases"].get(name, {}).get("minimum") if pure else None
        ratio = f"{theirs / ours:,.0f}" if ours and theirs else "-"
        rows.append([name, _number(ours), _number(theirs), ratio])
    extra = {
        "first sighting": ("first_sighting", "minimum"),
        "in the long run": ("run", "nano"),
        "p50": ("quantiles", "p50"),
        "p99": ("quantiles", "p99"),
        "p99.9": ("quantiles", "p99.9"),
        "p99.99": ("quantiles", "p99.99"),
        "longest": ("quantiles", "maximum"),
        "p99.99 of its own time": ("own_quantiles", "p99.99"),
        "longest of its own time": ("own_quantiles", "maximum"),
    }
    for name, (part, field) in extra.items():
        ours = compiled[part][field] if compiled else None
        theirs = pure[part][field] if pure else None
        ratio = f"{theirs / ours:,.0f}" if ours and theirs else "-"
        rows.append([f"record, {name}", _number(ours), _number(theirs), ratio])
    print_table(
        ["", "compiled", "pure", "pure/compiled"], rows, ["compiled", "pure", "pure/compiled"]
    )
    for core, figures in cores.items():
        print(
            f"{core}: {figures['calls']:,} calls of record = {figures['rows']:,} rows = "
            f"{figures['counted']:,} counted"
        )
    print()


def _print_peers(found: dict[str, Any], cores: dict[str, Any]) -> None:
    compiled, pure = cores.get("cython"), cores.get("python")
    rows = []
    for name, figures in found.items():
        if "missing" in figures:
            rows.append([name, "-", "-", "-", "not installed"])
            continue
        against = figures["against"]
        ratios = [
            f"{figures['minimum'] / core['cases'][against]['minimum']:,.0f}" if core else "-"
            for core in (compiled, pure)
        ]
        rows.append([name, _number(figures["minimum"]), *ratios, figures["version"]])
    heads = ["peer", "ns", "times compiled", "times pure", "version"]
    print_table(heads, rows, heads[1:4])
    for name, figures in found.items():
        print(f"  {name}: {figures['captured']}")
    print()


def _print_handover(found: dict[str, Any]) -> None:
    best = found.get("faultplane, raw", {}).get("per_second")
    rows = []
    for name, figures in found.items():
        if "missing" in figures:
            rows.append([name, "-", "not installed"])
            continue
        rate = figures["per_second"]
        shown = figures.get("producer_per_second", rate) if "asleep" in name else rate
        ratio = f"{best / rate:,.1f}" if best and not name.startswith("faultplane") else ""
        rows.append([name, f"{shown:,.0f}", ratio])
    print_table(
        ["to another process", "records/s", "faultplane raw is × as fast"],
        rows,
        ["records/s", "faultplane raw is × as fast"],
    )
