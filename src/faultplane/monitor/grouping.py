"""Sums of series that share the labels of a counter, and which of them are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from faultplane.monitor.catalogue import Metric
from faultplane.monitor.exposition import Family, Labels
from faultplane.monitor.selection import OTHER, leading
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
        self._numbers: list[int] = []
        self._place_of: list[int] = []

    def add(self, number: int, series: Series) -> None:
        """Make the series of that number count."""
        place = self._place(series)
        self._numbers.append(number)
        self._place_of.append(self._places.setdefault(place, len(self._places)))

    def sums(self, totals: list[int]) -> list[tuple[Place, int]]:
        """What has been counted at each place, from the totals by number."""
        sums = [0] * len(self._places)
        counted = map(totals.__getitem__, self._numbers)
        for place, count in zip(self._place_of, counted, strict=True):
            sums[place] += count
        return list(zip(self._places, sums, strict=True))

    def family(self, totals: list[int], zeros: Iterable[Place] = ()) -> Family:
        """The counter: of each of the largest services the largest series, and the rest.

        ``zeros`` are told apart as well where nothing was counted there yet.
        """
        named: dict[str, dict[Labels, int]] = {}
        unnamed: dict[str, int] = {}
        for (service, labels), count in [*self.sums(totals), *((place, 0) for place in zeros)]:
            if labels is None:
                unnamed[service] = unnamed.get(service, 0) + count
            elif count:
                named.setdefault(service, {})[labels] = count
            elif service not in named or labels not in named[service]:
                named.setdefault(service, {}).setdefault(labels, 0)
        samples: list[tuple[Labels, float]] = []
        fixed, rest = named.pop(OTHER, {}), unnamed.pop(OTHER, 0)
        whole = {service: sum(found.values()) for service, found in named.items()}
        for service, count in unnamed.items():
            whole[service] = whole.get(service, 0) + count
        chosen = leading(list(whole.items()), self._services_max)
        self.hidden = sum(map(len, named.values()))
        for service, _ in chosen.shown:
            found = leading(list(named.get(service, {}).items()), self._each_max)
            self.hidden -= len(found.shown)
            samples += found.shown
            if found.hidden or unnamed.get(service):
                samples.append((self._other(service), found.rest + unnamed.get(service, 0)))
        samples += fixed.items()
        if chosen.hidden or rest:
            samples.append((self._other(OTHER), chosen.rest + rest))
        return Family(self.metric.name, "counter", self.metric.help, samples)

    def _other(self, service: str) -> Labels:
        """Labels of what a service has beyond what is told apart."""
        return Labels(**{
            name: service if name == "service" else OTHER for name in self.metric.labels
        })  # fmt: skip
