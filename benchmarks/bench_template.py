"""What the template of a message costs: one at a time in each core, and a column of them.

``python benchmarks/bench_template.py`` prints the table of the documentation: every
implementation over the same messages in one run, in alternating rounds, with the ratio to the
pure core.
"""

from __future__ import annotations

import importlib
import sys
import timeit
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import workloads

CORES = ("cython", "python")
MODULES = {"cython": "faultplane._core.template", "python": "faultplane._pure.template"}
IMPLEMENTATIONS = ("native", *CORES)
MESSAGE = "user 8123 not found at 10.0.0.7:5432 after 3.25 s retry"
LONG = "upstream said: " + "no such order, try 7 again later; " * 30
CALLS = {"cython": 20_000, "python": 500}
ROUNDS = 7
ROWS = {"native": 200_000, "cython": 50_000, "python": 2_000}


def load(core):
    """The template function of ``core``; skips the benchmark where that is not built."""
    try:
        return importlib.import_module(MODULES[core]).template
    except ModuleNotFoundError as error:
        raise NotImplementedError(f"the {core} core is not there: {error}") from error


def load_column(name):
    """Function over a column as each implementation takes it, and that column."""
    rows = workloads.messages(ROWS[name])
    if name in CORES:
        template = load(name)
        return lambda column: [template(row) for row in column], rows
    try:
        import faultplane_native
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise NotImplementedError(f"{error.name} is not installed") from error
    if faultplane_native.BUILD_PROFILE != "release":
        raise NotImplementedError(f"a {faultplane_native.BUILD_PROFILE} build is not measured")
    return faultplane_native.templates, pa.array(rows)


class Template:
    """One message, again and again."""

    params = (CORES, ("typical", "long"))
    param_names = ("core", "message")

    def setup(self, core, message):
        self.template = load(core)
        self.text = MESSAGE if message == "typical" else LONG
        self.calls = CALLS[core] if message == "typical" else CALLS[core] // 10

    def track_nanoseconds(self, core, message):
        timer = timeit.Timer("f(t)", globals={"f": self.template, "t": self.text})
        return min(timer.repeat(ROUNDS, self.calls)) / self.calls * 1e9

    track_nanoseconds.unit = "ns"


class Column:
    """Messages of ten shapes, about 55 characters: rows a second on one core."""

    params = (IMPLEMENTATIONS,)
    param_names = ("implementation",)

    def setup(self, implementation):
        self.templates, self.column = load_column(implementation)

    def track_rows_per_second(self, implementation):
        seconds = min(timeit.repeat(lambda: self.templates(self.column), number=1, repeat=ROUNDS))
        return ROWS[implementation] / seconds

    track_rows_per_second.unit = "rows/s"


def main():
    """Print rows a second of every implementation that is there, measured in turn."""
    found = {}
    for name in IMPLEMENTATIONS:
        try:
            found[name] = load_column(name)
        except NotImplementedError as reason:
            print(f"{name}: left out, {reason}")
    best = dict.fromkeys(found, float("inf"))
    for _ in range(ROUNDS):
        for name, (templates, column) in found.items():
            seconds = timeit.timeit(lambda t=templates, c=column: t(c), number=1)
            best[name] = min(best[name], seconds)
    rates = {name: ROWS[name] / seconds for name, seconds in best.items()}
    length = sum(map(len, workloads.messages(1000))) / 1000
    print(f"messages of {length:.0f} characters on average, best of {ROUNDS} rounds")
    for name, rate in rates.items():
        ratio = f"{rate / rates['python']:8.1f} x" if "python" in rates else ""
        print(f"{name:8} {rate:12,.0f} rows/s {1e9 / rate:10,.0f} ns/row {ratio}")


if __name__ == "__main__":
    main()
