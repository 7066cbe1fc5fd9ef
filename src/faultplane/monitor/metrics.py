"""The metrics of one domain: read from its stores, summed, bounded.

A reader that comes back reads what changed (`store.counting`) and keeps the texts of labels, which
do not change. What is told apart, and what is summed as other, is decided by `selection`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane._native import VERSION
from faultplane.errors import FaultplaneError, InvalidSetting
from faultplane.monitor.catalogue import METRICS
from faultplane.monitor.dependencies import Dependencies
from faultplane.monitor.exposition import Family, Labels, clean
from faultplane.monitor.grouping import Grouping, Place
from faultplane.monitor.selection import OTHER, leading
from faultplane.store import Domain, deaths, health, resource
from faultplane.store.aggregate import COUNT_MAX, Series
from faultplane.store.counting import Counting
from faultplane.store.owners import Life, OwnerRow

LIMIT_MAX: Final = 10_000
RESOURCES_MAX: Final = 100
_OWN_COUNTERS: Final = "faultplane."
"""Counters of the library itself are not the application's."""
_RESOURCE: Final = (
    "service.version",
    "deployment.environment.name",
    "host.name",
    "k8s.pod.name",
    "container.id",
)
"""Attributes that the processes of a service have in common, or nearly so."""
_STATES: Final = ("alive", "gone", "silent")
_KINDS: Final = {term.code: term.name for term in schema.KINDS}
_METRICS: Final = {metric.name.removeprefix("faultplane_"): metric for metric in METRICS}


class Limits(NamedTuple):
    """How many are told apart before the rest is summed as other; each 1 to 10,000.

    ``operations`` are pairs of operation and kind; these, ``fingerprints`` and ``events`` are of
    each service, ``dependencies`` of each store.
    """

    services: int = 20
    operations: int = 200
    fingerprints: int = 100
    events: int = 200
    dependencies: int = 100

    def check(self) -> Limits:
        """Itself; raises InvalidSetting for a limit out of bounds."""
        for name, value in self._asdict().items():
            if not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
                raise InvalidSetting(f"{name} must be 1 to {LIMIT_MAX}, got {value!r}")
        return self


# --------------------------------------------------------------------------------- where it counts


@lru_cache(4096)
def _text(data: bytes) -> str:
    return clean(data.decode("utf-8", "replace"))


def _service(series: Series) -> str:
    return _text(series.service) or OTHER


def _of_service(series: Series) -> Place:
    return _whole(_service(series))


@lru_cache(4096)
def _whole(service: str) -> Place:
    """A service, of whatever operation."""
    return Place(service, None if service == OTHER else Labels(service=service))


def _of_operation(series: Series) -> Place:
    return _operation(_service(series), _text(series.operation), series.kind)


@lru_cache(4096)
def _operation(service: str, operation: str, code: int) -> Place:
    """Many fingerprints have one."""
    kind = _KINDS.get(code, str(code))
    if service == OTHER:
        # Counted in cells that processes share: of them no more is known.
        return Place(OTHER, Labels(service=OTHER, operation=OTHER, kind=kind))
    if operation == OTHER:
        return Place(service, None)
    return Place(service, Labels(service=service, operation=operation, kind=kind))


def _of_fingerprint(series: Series) -> Place:
    service = _service(series)
    if service == OTHER or not series.fingerprint:
        return Place(service, None)
    kind = _KINDS.get(series.kind, str(series.kind))
    fingerprint = f"{series.fingerprint:016x}"
    labels = Labels(service=service, kind=kind, type=_text(series.name), fingerprint=fingerprint)
    return Place(service, labels)


def _of_event(series: Series) -> Place:
    service, name = _service(series), _text(series.name)
    if service == OTHER or name in ("", OTHER):
        return Place(service, None)
    return Place(service, Labels(service=service, name=name))


def _of_death(series: Series) -> Place:
    service, how = _service(series), _text(series.name)
    if how not in deaths.WAYS:
        return Place(service, None)
    return Place(service, Labels(service=service, how=how))


def _of_drop(series: Series) -> Place:
    reason = _text(series.name)
    known = any(reason == term.name for term in schema.DROP_REASONS)
    return Place(OTHER, Labels(reason=reason) if known else None)


# ---------------------------------------------------------------------------------------- reading


class Metrics:
    """The metrics of a domain, to be collected again and again. Threads must not share it."""

    def __init__(self, domain: Domain, limits: Limits | None = None) -> None:
        """Raise InvalidSetting for limits out of bounds. ``domain`` stays the caller's."""
        self.domain = domain
        self.limits = (limits or Limits()).check()
        self.problems: list[str] = []
        self._counting = Counting()
        self._dependencies = Dependencies(self.limits.dependencies)
        self._epoch = -1
        self._begin()

    def close(self) -> None:
        """Let go of what is mapped; not of the domain."""
        self._counting.close()

    def _begin(self) -> None:
        """Start over with series of no number."""
        services, operations, fingerprints, events, _ = self.limits
        one, ways = 1, len(deaths.WAYS)
        reasons = len(schema.DROP_REASONS)
        self._errors = tuple(
            Grouping(_METRICS[name], place, services, most)
            for name, place, most in (
                ("service_errors", _of_service, one),
                ("errors", _of_operation, operations),
                ("fingerprint_errors", _of_fingerprint, fingerprints),
            )
        )
        self._events = Grouping(_METRICS["events"], _of_event, services, events)
        self._deaths = Grouping(_METRICS["deaths"], _of_death, services, ways)
        self._drops = Grouping(_METRICS["drops"], _of_drop, one, reasons)
        self._services: set[str] = set()
        self._errors_of: dict[str, list[int]] = {}
        self._newest: dict[str, int] = {}
        self._times_seen = -1
        self._numbered = 0

    def collect(self) -> list[Family]:
        """Read the domain; its families, in order of the catalogue. Never raises for storage.

        What could not be read is left out: `problems` has a sentence for each.
        """
        start = time.perf_counter()
        # What is mapped outlives its domain; a domain that was removed is not there any more.
        stores = [store for store in self.domain.stores() if store.in_place()]
        if not stores:
            # Nothing is not zero: counters that went to 0 and back would look like a burst.
            self.problems = self.domain.refused()
            return fixed(self.domain.name, 0)
        self.problems = self.domain.refused() + self._counting.read(stores)
        self.problems += self._dependencies.read(stores)
        ledger = self._counting.ledger
        if ledger.epoch != self._epoch:
            self._epoch = ledger.epoch
            self._begin()
        self._number(ledger.series)
        totals = ledger.totals
        if max(totals, default=0) > COUNT_MAX:  # damaged files may add up to more
            totals = [min(total, COUNT_MAX) for total in totals]
        rows = [
            (row, counted.lives[row.incarnation].value)
            for counted in self._counting.stores
            for row in counted.rows
            if row.incarnation in counted.lives
        ]
        found = {
            family.name.removeprefix("faultplane_"): family
            for family in (
                *self._dependencies.families(),
                *self._counters(totals, rows),
                *self._gauges_of_services(rows),
                *self._gauges_of_stores(),
            )
        }
        found["read_problems"] = _family("read_problems", [(Labels(), len(self.problems))])
        spent = time.perf_counter() - start
        found["scrape_duration_seconds"] = _family("scrape_duration_seconds", [(Labels(), spent)])
        return [*fixed(self.domain.name, 1), *(found[name] for name in _METRICS if name in found)]

    @property
    def someone_is_gone(self) -> bool:
        """Whether owners were found that do not live, and that maintenance would bury."""
        return any(
            life is not Life.ALIVE for c in self._counting.stores for life in c.lives.values()
        )

    def _number(self, series: list[Series]) -> None:
        """Find the place of series that are new."""
        for number in range(self._numbered, len(series)):
            one = series[number]
            if one.series != schema.SERIES_DROP:
                self._services.add(_service(one))
            if one.series == schema.SERIES_ERROR:
                for grouping in self._errors:
                    grouping.add(number, one)
                self._errors_of.setdefault(_service(one), []).append(number)
            elif one.series == schema.SERIES_COUNTER:
                if not one.name.startswith(_OWN_COUNTERS.encode()):
                    self._events.add(number, one)
            elif one.series == schema.SERIES_DEATH:
                self._deaths.add(number, one)
            elif one.series == schema.SERIES_DROP:
                self._drops.add(number, one)
        self._numbered = len(series)

    def _counters(self, totals: list[int], rows: list[tuple[OwnerRow, str]]) -> Iterator[Family]:
        services = {_clean_service(row) for row, _ in rows} | self._services
        services.discard(OTHER)
        ways = [Place(s, Labels(service=s, how=how)) for s in services for how in deaths.WAYS]
        reasons = [Place(OTHER, Labels(reason=term.name)) for term in schema.DROP_REASONS]
        errors, operations, fingerprints = self._errors
        yield errors.family(totals, [Place(s, Labels(service=s)) for s in services])
        yield operations.family(totals)
        yield fingerprints.family(totals)
        yield self._events.family(totals)
        yield self._deaths.family(totals, ways)
        yield self._drops.family(totals, reasons)
        hidden: dict[str, float] = {
            grouping.metric.name + "_total": grouping.hidden
            for grouping in (*self._errors, self._events)
        }
        hidden.update(self._dependencies.hidden)
        yield _family("hidden_series", [(Labels(metric=name), n) for name, n in hidden.items()])

    def _gauges_of_services(self, rows: list[tuple[OwnerRow, str]]) -> Iterator[Family]:
        most = self.limits.services
        newest = dict.fromkeys(self._services - {OTHER}, 0) | self._newest_of_services()
        owners: dict[tuple[str, str], int] = {}
        resources: set[Labels] = set()
        for row, life in rows:
            service = _clean_service(row)
            owners[service, life] = owners.get((service, life), 0) + 1
            newest.setdefault(service, 0)
            if life == "alive":
                resources.add(_resource(service, row.resource))
        shown = {name for name, _ in leading(list(newest), list(newest.values()), most).shown}
        rest = dict.fromkeys(_STATES, 0)
        samples: list[tuple[Labels, float]] = []
        for service in sorted(shown):
            samples += [
                (Labels(service=service, state=state), owners.pop((service, state), 0))
                for state in _STATES
            ]
        for (_, state), number in owners.items():
            rest[state] += number
        if any(rest.values()) or not shown:
            samples += [(Labels(service=OTHER, state=state), n) for state, n in rest.items()]
        yield _family("owners", samples)
        yield _family(
            "newest_fingerprint_timestamp_seconds",
            [(Labels(service=name), newest[name] / 1e9) for name in sorted(shown)],
        )
        told = sorted(resources, key=str)[:RESOURCES_MAX]
        yield _family("service", [(labels, 1) for labels in told])

    def _newest_of_services(self) -> dict[str, int]:
        """When each service had its youngest fingerprint; looked for when one has come."""
        ledger = self._counting.ledger
        if self._times_seen != ledger.times_changed:
            self._times_seen = ledger.times_changed
            self._newest = {
                service: max(map(ledger.first_seen_unix_nano.__getitem__, numbers))
                for service, numbers in self._errors_of.items()
                if service != OTHER
            }
        return self._newest

    def _gauges_of_stores(self) -> Iterator[Family]:
        samples: dict[str, list[tuple[Labels, float]]] = {
            name: [] for name, metric in _METRICS.items() if metric.labels == ("store",)
        }
        for counted in self._counting.stores:
            try:
                fill = health.fill(counted.store)
            except (FaultplaneError, OSError) as error:
                self.problems.append(f"{counted.store.path}: {error}")
                continue
            labels = Labels(store=counted.store.name)
            for name, found in samples.items():
                found.append((labels, fill[name.removeprefix("store_")]))
        for name, found in samples.items():
            yield _family(name, found)


def fixed(domain: str, up: int) -> list[Family]:
    """What is told of a domain that is not there, too."""
    labels = Labels(version=VERSION, core=CORE_NAME, domain=domain)
    return [_family("up", [(Labels(), up)]), _family("build", [(labels, 1)])]


@lru_cache(4096)
def _attributes(text: str) -> dict[str, str]:
    """Attributes of a resource that are text or numbers; it is parsed once."""
    found = resource.parse(text)
    return {
        name: clean(str(value)) for name, value in found.items() if isinstance(value, (str, int))
    }


def _clean_service(row: OwnerRow) -> str:
    return _attributes(row.resource).get("service.name") or OTHER


@lru_cache(4096)
def _resource(service: str, text: str) -> Labels:
    """Labels of the resource, named as Prometheus names OpenTelemetry's attributes."""
    attributes = _attributes(text)
    told = {name.replace(".", "_"): attributes.get(name) for name in _RESOURCE}
    return Labels(service=service, **{name: value for name, value in told.items() if value})


def _family(name: str, samples: list[tuple[Labels, float]]) -> Family:
    metric = _METRICS[name]
    return Family(metric.name, metric.kind, metric.help, samples, metric.unit)
