"""Sums of series that share the labels of a counter, and which of them are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from faultplane.monitor.catalogue import Metric
from faultplane.monitor.exposition import Family, Labels
from faultplane.monitor.selection import OTHER, Leading, leading
from faultplane.store.aggregate import Series


class Place(NamedTuple):
    """Where a series counts: labels, or None for what a service has that is not told apart."""

    service: str
    labels: Labels | None


class Grouping:
    """One counter. ``place`` says where a series counts; the service `OTHER` has no name.

    Of each of ``services_max`` services ``each_max`` series are told apart. ``hidden`` is how many
    were not, the last time.
    """

    def __init__(
        self,
        metric: Metric,
        place: Callable[[Series], Place],
        services_max: int,
        each_max: int,
    ) -> None:
        self.metric = metric
        self.hidden = 0
        self._place = place
        self._services_max = services_max
        self._each_max = each_max
        self._places: dict[Place, int] = {}
        self._labels: list[Labels | None] = []
        self._places_of: dict[str, list[int]] = {}
        self._numbers: list[int] = []
        self._place_of: list[int] = []

    def add(self, number: int, series: Series) -> None:
        """Make the series of that number count."""
        self._numbers.append(number)
        self._place_of.append(self._index(self._place(series)))

    def _index(self, place: Place) -> int:
        known = self._places.get(place)
        if known is None:
            known = self._places[place] = len(self._labels)
            self._labels.append(place.labels)
            self._places_of.setdefault(place.service, []).append(known)
        return known

    def family(self, totals: list[int], zeros: Iterable[Place] = ()) -> Family:
        """The counter, from totals by number: of the largest services the largest series.

        ``zeros`` are told apart as well where nothing was counted there yet.
        """
        wanted = set(map(self._index, zeros))
        sums = [0] * len(self._labels)
        counted = map(totals.__getitem__, self._numbers)
        for place, count in zip(self._place_of, counted, strict=True):
            sums[place] += count
        found = {
            service: _Service(self._labels, [n for n in places if sums[n] or n in wanted], sums)
            for service, places in self._places_of.items()
        }
        nameless = found.pop(OTHER, None)
        found = {name: service for name, service in found.items() if service.places}
        chosen = leading(list(found), [s.total for s in found.values()], self._services_max)
        self.hidden = sum(len(service.keys) for service in found.values())
        samples: list[tuple[Labels, float]] = []
        for name, _ in chosen.shown:
            shown, rest, hidden = found[name].leading(self._each_max)
            self.hidden -= len(shown)
            samples += shown
            if hidden or found[name].unnamed:
                samples.append((self._other(name), rest + found[name].unnamed))
        rest = chosen.rest
        if nameless is not None:
            samples += zip(nameless.keys, nameless.sums, strict=True)
            rest += nameless.unnamed
        if chosen.hidden or rest:
            samples.append((self._other(OTHER), rest))
        return Family(self.metric.name, "counter", self.metric.help, samples)

    def _other(self, service: str) -> Labels:
        """Labels of what a service has beyond what is told apart."""
        return Labels(**{
            name: service if name == "service" else OTHER for name in self.metric.labels
        })  # fmt: skip


class _Service:
    """What one service counted: by key, and without one."""

    def __init__(self, labels: list[Labels | None], places: list[int], sums: list[int]) -> None:
        self.places = places
        self.total = sum(map(sums.__getitem__, places))
        self.keys: list[Labels] = []
        self.sums: list[int] = []
        for place in places:
            if (label := labels[place]) is not None:
                self.keys.append(label)
                self.sums.append(sums[place])
        self.unnamed = self.total - sum(self.sums)

    def leading(self, most: int) -> Leading[Labels]:
        return leading(self.keys, self.sums, most)
