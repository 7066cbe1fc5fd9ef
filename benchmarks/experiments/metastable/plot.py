"""The pictures: what was offered, what was answered, and the queue, over time.

matplotlib is imported where it draws: asv imports every module here, and has none.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from benchmarks.experiments.metastable.measure import WINDOWS_MAX
from benchmarks.experiments.metastable.model import BIN_SECONDS, MODES, SCENARIOS
from benchmarks.experiments.metastable.report import grouped
from benchmarks.experiments.metastable.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFFERED, ANSWERED, QUEUE, OPEN = "#d55e00", "#0072b2", "#4d4d4d", "#cc79a7"
"""Colours that are told apart by those who see fewer."""
SMOOTHED = 5
DECISIVE = "capacity"
SHOWN = ("none", "retries", "budget", "breaker", "both")
DPI = 110
TITLE_COLUMNS = 18
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
}


def draw(runs: list[Run], folder: Path) -> list[Path]:
    """Draw what there are runs for; of several seeds the first."""
    from matplotlib import rc_context

    first = {
        scenario: {mode: same[0] for mode, same in modes.items()}
        for scenario, modes in grouped(runs).items()
    }
    drawn = []
    with rc_context(STYLE):
        if SHOWN[0] in first.get(DECISIVE, {}):
            found = {mode: run for mode, run in first[DECISIVE].items() if mode in SHOWN}
            drawn.append(_save(_decisive(found), folder / "metastable.png"))
        if len(first) > 1:
            drawn.append(_save(_scenarios(first), folder / "metastable-scenarios.png"))
    return drawn


def _save(figure: Figure, path: Path) -> Path:
    # Without the version of what drew it, the same runs are the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def _rates(run: Run, name: str) -> list[float]:
    """A second's worth, over half a second around each bin."""
    counts = run.counts[name][: run.setup.bins]
    found = []
    for at in range(len(counts)):
        near = counts[max(0, at - SMOOTHED // 2) : at + SMOOTHED // 2 + 1]
        found.append(sum(near) / len(near) / BIN_SECONDS)
    return found


def _times(run: Run) -> list[float]:
    """Of the bins; the trigger ends at 0."""
    return [at * BIN_SECONDS - run.setup.trigger[1] for at in range(run.setup.bins)]


def _frame(axes, run: Run) -> None:
    """What all panels have: the trigger, and the moment by which it is to be over."""
    setup = run.setup
    axes.axvspan(setup.trigger[0] - setup.trigger[1], 0, color="#e5e5e5", linewidth=0)
    axes.axvline(WINDOWS_MAX * setup.window, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlim(-setup.trigger[1], setup.after)


def _load(axes, run: Run, per: float, lines: float) -> None:
    """Offered and answered, ``per`` requests a second to a unit; where the breaker was open."""
    _frame(axes, run)
    at = _times(run)
    answered = [rate / per for rate in _rates(run, "goodput")]
    axes.fill_between(at, answered, color=ANSWERED, alpha=0.45, linewidth=0, label="answered")
    offered = [rate / per for rate in _rates(run, "tries")]
    axes.plot(at, offered, color=OFFERED, linewidth=lines, label="offered (tries)")
    axes.axhline(run.setup.capacity / per, color="black", linewidth=0.6, linestyle="--")
    top = axes.get_ylim()[1]
    opened = [2 * count > run.setup.clients for count in run.counts["open"][: run.setup.bins]]
    if any(opened):
        axes.fill_between(
            at, 0, 1, where=opened, transform=axes.get_xaxis_transform(),
            color=OPEN, alpha=0.18, linewidth=0, step="post", label="breaker open",
        )  # fmt: skip
    axes.set_ylim(0, top)


def _decisive(runs: dict[str, Run]) -> Figure:
    """One scenario: load above, queue below, a column for each mode."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(runs), 4.6), layout="constrained")
    rows = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
    for column, (mode, run) in enumerate(runs.items()):
        load, queue = rows[0][column], rows[1][column]
        _load(load, run, 1.0, 1.2)
        load.set_title(MODES[mode].title)
        _frame(queue, run)
        waits = [length / run.setup.capacity for length in run.counts["queue"][: run.setup.bins]]
        queue.plot(_times(run), waits, color=QUEUE, linewidth=1.2)
        queue.axhline(run.setup.timeout, color="black", linewidth=0.6, linestyle="--")
        queue.set_ylim(0, 1.15 * run.setup.queue_max / run.setup.capacity)
        queue.set_xlabel("seconds after its end")
    some = next(iter(runs.values()))
    highest = max(max(_rates(run, "tries")) for run in runs.values())
    rows[0][0].set_ylim(0, 1.05 * highest)
    rows[0][0].set_ylabel("requests a second")
    rows[1][0].set_ylabel("queue, seconds of work")
    right = some.setup.after
    rows[0][0].text(right, some.setup.capacity, "capacity", ha="right", va="bottom", fontsize=7)
    rows[1][0].text(right, some.setup.timeout, "timeout", ha="right", va="bottom", fontsize=7)
    _legend(figure, rows[0][-1])
    begin, end = some.setup.trigger
    trigger = f"{SCENARIOS[some.scenario].title} for {end - begin:g} s"
    figure.suptitle(
        f"Trigger (grey): {trigger}. Dotted: two windows after it. {some.setup.clients} clients, "
        f"{some.setup.base:g} requests a second"
    )
    return figure


def _scenarios(first: dict[str, dict[str, Run]]) -> Figure:
    """All of them: a row for each scenario, a column for each mode."""
    from matplotlib.figure import Figure

    modes = [mode for mode in MODES if any(mode in runs for runs in first.values())]
    size = (1.75 * len(modes), 1.35 * len(first) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(first), len(modes), sharex=True, squeeze=False)
    for row, (scenario, runs) in zip(rows, first.items(), strict=True):
        highest = max(max(_rates(run, "tries")) / run.setup.base for run in runs.values())
        for axes, mode in zip(row, modes, strict=True):
            if mode not in runs:
                axes.set_axis_off()
                continue
            _load(axes, runs[mode], runs[mode].setup.base, 0.9)
            axes.set_ylim(0, 1.05 * highest)
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(fill(SCENARIOS[scenario].title, TITLE_COLUMNS))
    for axes, mode in zip(rows[0], modes, strict=True):
        axes.set_title(fill(MODES[mode].title.removeprefix("retries, "), TITLE_COLUMNS))
    open_panel = next((axes for row in rows for axes in row if len(_labels(axes)) > 2), rows[0][0])
    _legend(figure, open_panel)
    rows[-1][len(modes) // 2].set_xlabel("seconds after the trigger (grey)")
    figure.supylabel(
        "requests a second, in parts of the base load; dashed: capacity",
        fontsize=STYLE["font.size"],
    )
    return figure


def _labels(axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def _legend(figure: Figure, axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
