"""The tables of what was measured, for a terminal."""

from __future__ import annotations

import textwrap
from typing import Any, Final

from faultplane.cli.bench import guarded
from faultplane.cli.output import paint, print_table, terminal_width

LONGER: Final = {
    "first sighting": ("first_sighting", "minimum", "median"),
    "in the long run": ("run", "nano", "median"),
    "in the long run, CPU time": ("run", "own", None),
    "one by one, p50": ("quantiles", "p50", None),
    "one by one, p99": ("quantiles", "p99", None),
    "one by one, p99.9": ("quantiles", "p99.9", None),
    "one by one, p99.99": ("quantiles", "p99.99", None),
    "one by one, longest": ("quantiles", "maximum", None),
    "p99.99 of its CPU time": ("own_quantiles", "p99.99", None),
    "longest CPU time": ("own_quantiles", "maximum", None),
}
"""Rows after the cases: part of the report, field of the figure, field of a median."""
WRAPPED_CELLS_MAX: Final = 100


def print_report(found: dict[str, Any]) -> None:
    """All tables that ``found`` has figures for, then what failed."""
    load = " to ".join(f"{value:.1f}" for value in found["load"])
    _print_wrapped(f"{found['machine']}; load {load}; turns: {found['turns']}")
    _print_wrapped("Nanoseconds: minimum of interleaved rounds, net of raise and catch; medians.")
    print()
    if found["cores"]:
        _print_cores(found["cores"])
    if found["guarded"]:
        _print_guarded(found["guarded"])
    for core, figures in found["stalls"].items():
        _print_stalls(core, figures)
    if found["peers"]:
        _print_peers(found["peers"], found["cores"])
    if found["handover"]:
        _print_handover(found["handover"])
    for figures in found["scrape"].values():
        _print_scrape(figures)
    for line in found["failed"]:
        print(paint(f"! {line}", "red"))


def number(value: float | None) -> str:
    """A figure with a digit behind the point where it is small; a dash for none."""
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:,.1f}"


def times(more: float | None, less: float | None) -> str:
    """How many times ``less`` fits into ``more``."""
    return number(more / less) if more and less else "-"


def _print_wrapped(text: str) -> None:
    width = min(terminal_width(), WRAPPED_CELLS_MAX)
    print(textwrap.fill(text, width, subsequent_indent="  "))


def _print_cores(cores: dict[str, Any]) -> None:
    both = [cores.get("cython"), cores.get("python")]
    rows = []
    for name in next(core for core in both if core)["cases"]:
        timings = [core["cases"].get(name, {}) if core else {} for core in both]
        rows.append(_core_row(name, timings, "minimum", "median"))
    for name, (part, field, median) in LONGER.items():
        parts = [core[part] if core else {} for core in both]
        rows.append(_core_row(name, parts, field, median))
    heads = ["one call", "compiled", "median", "pure", "median", "ratio"]
    print_table(heads, rows, heads[1:])
    for core, figures in cores.items():
        switches = figures["quantiles"]["switches_involuntary"]
        _print_wrapped(f"{core}: {_calls(figures)}; preempted {switches:,} times in one by one")
    print()


def _print_guarded(found: dict[str, Any]) -> None:
    """Guarded calls that processes share, and below each the same in the process alone."""
    rows = []
    for case in guarded.CASES:
        for place, name in (("domain", case), ("alone", "  without a domain")):
            both = [found.get(core, {}).get(place) for core in ("cython", "python")]
            timings = [figures["cases"][case] if figures else {} for figures in both]
            rows.append(_core_row(name, timings, "minimum", "median"))
    heads = ["retry, budget and breaker", "compiled", "median", "pure", "median", "ratio"]
    print_table(heads, rows, heads[1:])
    _print_wrapped(
        "Net of the bare call where it succeeds; a rejection with raising and catching it; two "
        "failures with raising, recording and counting them, without a wait."
    )
    print()


def _core_row(name: str, found: list[dict[str, Any]], field: str, median: str | None) -> list[str]:
    figures = [timing.get(field) for timing in found]
    medians = [timing.get(median) if median else None for timing in found]
    pairs = [number(value) for pair in zip(figures, medians, strict=True) for value in pair]
    return [name, *pairs, times(figures[1], figures[0])]


def _calls(figures: dict[str, Any]) -> str:
    return (
        f"{figures['calls']:,} calls of record = {figures['rows']:,} rows = "
        f"{figures['counted']:,} counted"
    )


def _print_stalls(core: str, figures: dict[str, Any]) -> None:
    """Microseconds, because these are long; preempted records are told apart."""
    rows = []
    for place, found in figures["places"].items():
        left_alone = found["samples"] - found["preempted"]
        goal = f"≤ {found['goal'] / 1e3:,.0f}" if found["goal"] else ""
        for way, name, count, limit in (
            ("wall", place, found["samples"], ""),
            ("not_preempted", "  not preempted", left_alone, goal),
            ("own", "  CPU time", found["samples"], goal),
        ):
            spread = [
                f"{found[way][q] / 1e3:,.1f}" if found[way] else "-"
                for q in ("p50", "p99", "p99.99", "maximum")
            ]
            rows.append([name, f"{count:,}", *spread, limit])
    heads = [f"{core}, microseconds", "records", "p50", "p99", "p99.99", "longest", "goal"]
    print_table(heads, rows, heads[1:])
    preempted = sum(found["preempted"] for found in figures["places"].values())
    _print_wrapped(f"{_calls(figures)}; {preempted:,} of those timed were preempted")
    print()


def _print_peers(found: dict[str, Any], cores: dict[str, Any]) -> None:
    rows = []
    for name, figures in found.items():
        if "missing" in figures:
            rows.append([name, "missing", "", "", "", ""])
            continue
        goal = f"≥ {figures['goal']:,}" if figures["goal"] else ""
        timing = [number(figures["minimum"]), number(figures["median"])]
        ratios = [
            times(figures["minimum"], core["cases"][figures["against"]]["minimum"]) if core else "-"
            for core in (cores.get("cython"), cores.get("python"))
        ]
        rows.append([name, *timing, ratios[0], goal, ratios[1]])
    heads = ["peer", "ns", "median", "ratio", "goal", "to pure"]
    print_table(heads, rows, heads[1:])
    for name, figures in found.items():
        _print_wrapped(_told(name, figures))
    print()


def _told(name: str, figures: dict[str, Any]) -> str:
    """What a peer captured, and of how many calls."""
    if "missing" in figures:
        return f"{name}: {figures['missing']}"
    return (
        f"{name} ({figures['version']}), against {figures['against']}: {figures['captured']} "
        f"Recorded {figures['recorded']:,} of {figures['calls_made']:,} calls."
    )


def _print_handover(found: dict[str, Any]) -> None:
    best = found.get("faultplane, raw", {}).get("per_second")
    rows = []
    for name, figures in found.items():
        if "missing" in figures:
            rows.append([name, "-", "not installed", ""])
            continue
        rate = figures["per_second"]
        shown = figures["producer_per_second"] if "asleep" in name else rate
        if name.startswith("faultplane"):
            rows.append([name, number(shown), "", ""])
        else:
            rows.append([name, number(shown), times(best, rate), f"≥ {figures['goal']}"])
    heads = ["to another process", "records/s", "ours, raw, ×", "goal"]
    print_table(heads, rows, heads[1:])


def _print_scrape(found: dict[str, Any]) -> None:
    """Milliseconds of a scrape and what it leaves on disk, against ours."""
    ours = next(iter(found.values()))
    print()
    _print_wrapped(
        f"{ours['workers']} workers, each with {ours['each']:,} of {ours['groups']:,} groups. "
        "Milliseconds, median; moved: each worker counted each of its groups once more before; "
        "CPU: time of the scraper; ratio: of that."
    )
    there = {name: figures for name, figures in found.items() if "missing" not in figures}
    rows = [
        [
            name,
            *(_milli(figures[f"{when}_nano"]) for when in ("first", "still")),
            _milli(figures["still_own_nano"]),
            *(_milli(figures[f"moved_{own}nano"]) for own in ("", "own_")),
            times(figures["moved_own_nano"], ours.get("moved_own_nano")),
        ]
        for name, figures in there.items()
    ]
    heads = ["scrape", "first", "next", "CPU", "moved", "CPU", "ratio"]
    print_table(heads, rows, heads[1:])
    rows = [
        [
            name,
            _kibi(figures["body_bytes"]),
            f"{figures['files']}",
            _kibi(figures["file_bytes"]),
            _milli(figures["dead_nano"]),
            f"{figures['dead_files']}",
            _kibi(figures["dead_file_bytes"]),
        ]
        for name, figures in there.items()
    ]
    heads = ["KiB; all dead: ms", "text", "files", "bytes", "dead", "files", "bytes"]
    print_table(heads, rows, heads[1:])
    for name, figures in found.items():
        if "missing" in figures:
            _print_wrapped(f"{name}: {figures['missing']}")


def _milli(nano: float) -> str:
    return f"{nano / 1e6:,.1f}"


def _kibi(size: int) -> str:
    return f"{size / 1024:,.0f}"
