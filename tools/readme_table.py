#!/usr/bin/env python3
"""Put measured figures into README.md, between two marks: of `faultplane bench`, of guarded calls.

    faultplane bench --json > figures.json
    python -m benchmarks.peers.guarded --json > guarded.json
    python tools/readme_table.py figures.json           fill README.md
    python tools/readme_table.py guarded.json           the other table
    python tools/readme_table.py --print figures.json   print the tables

Figures that a run could not measure are a dash, a peer that was not installed has no line, and a
run that failed in part is refused: a table with holes would be read as one without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"
BENCH, GUARDED = "bench", "guarded"
NONE = "–"

CASES = {
    "raw": "`record`, 6 frames, 55 characters, raw",
    "redacted": "the same, redacted (the default)",
    "redacted, messages differ": "redacted, another message each time",
    "a secret, redacted": "redacted, with a secret in it",
    "the same object again": "raw, the same object again",
    "raw, OpenTelemetry loaded": "raw, OpenTelemetry loaded",
    "a new span each time": "in a new OpenTelemetry span each time",
    "30 frames": "30 frames",
    "60 frames": "60 frames",
    "with a cause": "with a cause",
    "KeyError": "KeyError",
    "OSError": "OSError",
    "counter.add": "`counter.add`",
    "classify": "`classify`, a type that is known",
}
PARTS = {
    "first sighting": ("first_sighting", "minimum", "median"),
    "many in a row, each": ("run", "nano", "median"),
    "many in a row, CPU time of each": ("run", "own", None),
    "one by one, p50": ("quantiles", "p50", None),
    "p99": ("quantiles", "p99", None),
    "p99.9": ("quantiles", "p99.9", None),
}


def number(value: float | None, digits: int = 0) -> str:
    """A figure with thousands set apart; a dash for none, and for what cannot be."""
    if value is None or value <= 0:
        return NONE
    return f"{value:,.{digits}f}" if value >= 10 else f"{value:,.1f}"


def ratio(more: float | None, less: float | None) -> str:
    """How many times ``less`` fits into ``more``."""
    if not more or not less or more <= 0 or less <= 0:
        return NONE
    return f"{more / less:,.0f}×" if more / less >= 10 else f"{more / less:,.1f}×"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table; all columns but the first are set flush right."""
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def cores(report: dict[str, Any]) -> Iterator[str]:
    """What a call costs with each core."""
    both = [report["cores"].get(name, {}) for name in ("cython", "python")]
    found = {
        title: [(core.get("cases", {}).get(case, {}), "minimum", "median") for core in both]
        for case, title in CASES.items()
    } | {
        title: [(core.get(part, {}), field, median) for core in both]
        for title, (part, field, median) in PARTS.items()
    }
    rows = []
    for title, timings in found.items():
        figures = [timing.get(field) for timing, field, _ in timings]
        if any(figures):
            medians = [timing.get(median) for timing, _, median in timings]
            pairs = [number(value) for pair in zip(figures, medians, strict=True) for value in pair]
            rows.append([title, *pairs, ratio(figures[1], figures[0])])
    heads = ["nanoseconds a call", "compiled", "median", "pure", "median", "pure / compiled"]
    yield from table(heads, rows)


def stalls(report: dict[str, Any]) -> Iterator[str]:
    """The longest that records of the compiled core take, in microseconds, and where."""
    rows = []
    for place, found in report["stalls"].get("cython", {}).get("places", {}).items():
        alone = found["not_preempted"] or {}
        figures = [alone.get("p50"), alone.get("p99.99"), alone.get("maximum")]
        figures += [found["own"]["p99.99"], found["own"]["maximum"]]
        micros = [number(value / 1e3) if value else NONE for value in figures]
        rows.append([place, f"{found['samples']:,}", f"{found['preempted']:,}", *micros])
    heads = ["microseconds, not preempted", "records", "preempted", "p50", "p99.99", "longest"]
    yield from table([*heads, "CPU time, p99.99", "longest"], rows)


def peers(report: dict[str, Any]) -> Iterator[str]:
    """What users would pick instead, and what each captures."""
    compiled = report["cores"].get("cython", {}).get("cases", {})
    rows = []
    for name, figures in report["peers"].items():
        if "missing" in figures:
            continue
        ours = compiled.get(figures["against"], {}).get("minimum")
        version = figures["version"]
        named = name if version == "standard library" else f"{name} {version}"
        captured = figures["captured"].rstrip(".").partition(". ")[0]
        captured = captured[:1].lower() + captured[1:]
        against = f"{ratio(figures['minimum'], ours)} `{figures['against']}`"
        timing = [number(figures["minimum"]), number(figures["median"])]
        rows.append([f"{named}: {captured}", *timing, against])
    yield from table(["instead", "ns", "median", "times"], rows)


def handover(report: dict[str, Any]) -> Iterator[str]:
    """Records a second from one process to another."""
    found = report["handover"]
    best = found.get("faultplane, raw", {}).get("per_second")
    rows = []
    for name, figures in found.items():
        if "missing" in figures:
            continue
        rate = figures["per_second"]
        if "asleep" in name:
            rate = figures.get("producer_per_second", rate)
        ours = name.startswith("faultplane")
        rows.append([name, number(rate), "" if ours else ratio(best, rate)])
    yield from table(["to another process", "records/s", "faultplane, raw, is"], rows)


def render(report: dict[str, Any]) -> str:
    """All tables of a report, with the machine they were measured on."""
    if report.get("failed"):
        raise SystemExit("the run failed in part: " + "; ".join(report["failed"]))
    load = max(report["load"])
    how = "minimum of interleaved rounds, net of raise and catch, each error raised anew"
    parts = [f"{report['machine']}, load {load:.1f}; {how}."]
    kinds = {"cores": cores, "stalls": stalls, "peers": peers, "handover": handover}
    for name, lines in kinds.items():
        if report.get(name):
            parts.append("\n".join(lines(report)))
    for name, core in report["cores"].items():
        parts.append(
            f"{name}: {core['calls']:,} calls of `record` = {core['rows']:,} rows = "
            f"{core['counted']:,} counted."
        )
    return "\n\n".join(parts)


GUARDED_CASES = {
    "guarded call": "succeeds",
    "guarded call, awaited": "awaited",
    "guarded call, rejected": "rejected",
    "guarded call, two failures": "fails twice, then succeeds",
}
OURS = {
    "ours": "**faultplane**, shared by all processes",
    "ours, alone": "in the process alone",
    "ours, pure": "the pure core, shared",
}


def guarded(report: dict[str, Any]) -> str:
    """What a guarded call costs, net of the bare one, and how many times that of ours it is."""
    rows = []
    for name, found in report["found"].items():
        if not found.get("cases") or name == "ours, pure, alone":
            continue
        version = found["version"]
        named = name if version == "standard library" else f"{name} {version}"
        row = [OURS.get(name) or named]
        for case in GUARDED_CASES:
            figures = found["cases"].get(case) or {}
            times = ratio(figures.get("times_net"), 1.0)
            beside = "" if name in OURS or times == NONE else f" ({times})"
            row.append(f"{number(figures.get('minimum'))}{beside}")
        rows.append(row)
    lines = table(["nanoseconds", *GUARDED_CASES.values()], rows)
    return f"{report['machine']}, load {max(report['load']):.1f}.\n\n" + "\n".join(lines)


def filled(readme: str, text: str, name: str) -> str:
    """``readme`` with ``text`` between its marks, which must be there once each, in order."""
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = readme.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise SystemExit(f"{README.name} must have {first} and then {last}, once each")
    return f"{before}{begin}\n{text}\n{end}{after}"


def loaded(path: Path) -> dict[str, Any]:
    """The report of a file: the one object in it, or that of its last line."""
    text = path.read_text()
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        found = json.loads(text.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the README, or print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("figures", type=Path, help="output of either, with --json")
    parser.add_argument("--print", action="store_true", dest="only_print", help="change nothing")
    options = parser.parse_args(arguments)
    report = loaded(options.figures)
    name, text = (GUARDED, guarded(report)) if "found" in report else (BENCH, render(report))
    if options.only_print:
        print(text)
    else:
        README.write_text(filled(README.read_text(), text, name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
