"""Metrics of dependencies: states of breakers, exact totals, tokens, by name, bounded.

The first that were used are told apart and the rest is one series: cells are taken in order and
never given back, so what is told apart stays so, and no counter goes down. What cannot be read
counts as much as when it last could.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from faultplane import control_schema as layout
from faultplane.errors import FaultplaneError
from faultplane.monitor.catalogue import METRICS, PREFIX
from faultplane.monitor.exposition import Family, Labels, clean
from faultplane.monitor.selection import OTHER
from faultplane.store import dependencies
from faultplane.store.aggregate import COUNT_MAX
from faultplane.store.control import CellState
from faultplane.store.domain import Store

Values = dict[tuple[str, ...], float]
"""Values by labels: of one cell, those behind the name of its dependency."""

_METRICS: Final = {metric.name.removeprefix(PREFIX): metric for metric in METRICS}
TRANSITIONS: Final = {"open": "opened", "closed": "closed"}
"""States that a breaker is counted to come into, and their totals."""
REJECTIONS: Final = {
    "breaker": "rejected",
    "limit": "full",
    "rate": "rate_limited",
    "budget": "budget_exhausted",
}
"""What rejected a call or a retry, and its total."""


def _states(cell: CellState) -> Values:
    found = dependencies.state(cell)
    return {(state,): int(state == found) for state in layout.BREAKER_STATES if found}


def _transitions(cell: CellState) -> Values:
    if not dependencies.state(cell):
        return {}
    return {(state,): cell.totals[total] for state, total in TRANSITIONS.items()}


def _rejections(cell: CellState) -> Values:
    return {(reason,): cell.totals[total] for reason, total in REJECTIONS.items()}


def _total(name: str) -> Callable[[CellState], Values]:
    return lambda cell: {(): cell.totals[name]}


def _healthy(cell: CellState) -> Values:
    return {(): int(cell.health == "healthy")} if cell.checks else {}


def _tokens(cell: CellState) -> Values:
    return {(): cell.tokens} if cell.config["capacity_milli"] else {}


def _tokens_max(cell: CellState) -> Values:
    capacity = cell.config["capacity_milli"]
    return {(): capacity / layout.MILLI} if capacity else {}


_VALUES: Final[dict[str, Callable[[CellState], Values]]] = {
    "breaker_state": _states,
    "breaker_transitions": _transitions,
    "dependency_failures": _total("failures"),
    "dependency_retries": _total("retries"),
    "dependency_rejections": _rejections,
    "dependency_healthy": _healthy,
    "retry_budget_tokens": _tokens,
    "retry_budget_tokens_max": _tokens_max,
}


class _Kept(NamedTuple):
    """The cells of a store as they were last read, in the order in which they were taken."""

    store: Store
    cells: list[CellState]


class Dependencies:
    """Dependencies of several stores, for a reader that comes back.

    Of each store the first ``most`` are told apart. ``hidden`` is how many series were summed as
    other the last time, by the name of its metric.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, _Kept] = {}
        self.hidden: dict[str, int] = {}

    def read(self, stores: Iterable[Store]) -> list[str]:
        """Read every cell; a sentence for each file that could not be read."""
        before, self._kept = self._kept, {}
        problems = []
        for store in stores:
            known = before.get(id(store))
            found = known.cells if known is not None else []
            try:
                # Cells are never given back: none is a file that went away.
                found = dependencies.cells(store) or found
            except (FaultplaneError, OSError) as error:
                problems.append(f"{store.path}: {error}")
            self._kept[id(store)] = _Kept(store, found)
        return problems

    def families(self) -> Iterator[Family]:
        """Each metric, of all stores together."""
        for name, values in _VALUES.items():
            metric = _METRICS[name]
            sums: Values = {}
            hidden = 0
            for kept in self._kept.values():
                for index, cell in enumerate(kept.cells):
                    told = clean(cell.name) if index < self._most else OTHER
                    for labels, value in values(cell).items():
                        key = (told, *labels)
                        sums[key] = sums.get(key, 0) + value
                        hidden += index >= self._most
            samples: list[tuple[Labels, float]] = [
                (Labels(**dict(zip(metric.labels, key, strict=True))), min(value, COUNT_MAX))
                for key, value in sums.items()
            ]
            family = Family(metric.name, metric.kind, metric.help, samples, metric.unit)
            self.hidden[family.sample_name] = hidden
            yield family
