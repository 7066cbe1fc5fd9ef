"""What must hold after a process was stopped between any two of its steps.

Everything is looked at from outside, through what users read with: rows, counts, deaths, files.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from step_scenes import CHILDS, OTHERS, expected_message
from stepping import Ledger

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import DomainNotFound
from faultplane.store import Domain, counts, deaths, domain, files, health, maintain, owners
from faultplane.store.cursor import Cursor

NAMES = re.compile(
    r"registry|owners|locks|deaths|deaths-old|agg-retired|tmp-ready|(agg|breath)-\d+"
    r"|seg-\d+|(dict|stacks)-\d+"
)


WAITED = ("dictionary_full", "row_lost")
"""Why rows, or their names, are not written by who waited for a lock that a stopped process has."""


class Seen(NamedTuple):
    """What a reader finds: rows behind a cursor and how many it came too late for, and sums."""

    rows: list[tuple[int, int, int, str, str]]  # owner, seq, attempt, message, operation
    lost: int
    errors: int
    hits: int
    dropped: dict[str, int]
    deaths: list[dict[str, Any]]


def look(live: Path, since: Cursor | None = None) -> Seen | None:
    """What there is; None when there is no store."""
    if not (live / "default").exists() or not domain.store_paths(str(live / "default")):
        return None
    with Domain.attach("default", str(live)) as found:
        records = found.records(since)
        table = records.to_pyarrow()
        columns = [table.column(n).to_pylist() for n in ("owner", "seq", "attempt", "message")]
        columns.append(table.column("operation").to_pylist())
        rows = list(zip(*columns, strict=True))
        # What `counts_rows`, `counters_rows` and `drops_rows` each take for themselves.
        tallies = found._tallies()
        seen = Seen(
            rows,
            records.lost,
            sum(row.count for row in counts.count_rows(tallies)),
            sum(row.value for row in counts.counter_rows(tallies)),
            {row.reason: row.count for row in counts.drop_rows(tallies) if row.count},
            found.deaths_rows(),
        )
        assert found.problems() == [], found.problems()
    assert len({row[:2] for row in rows}) == len(rows), "a row is there twice"
    return seen


def cursor_of(live: Path) -> Cursor | None:
    try:
        with Domain.attach("default", str(live)) as found:
            return found.cursor()
    except DomainNotFound:
        return None


class Beginning(NamedTuple):
    """What a scene begins with: the same before each step that it is stopped after."""

    since: Cursor | None
    seen: Seen | None

    @classmethod
    def of(cls, live: Path) -> Beginning:
        return cls(cursor_of(live), look(live))


class Expectation:
    """What a scene began with, and what processes that nobody stopped have added to it."""

    def __init__(self, live: Path, ledger: Ledger, beginning: Beginning) -> None:
        self.live, self.ledger = live, ledger
        self.since, before = beginning
        self.rows_before = len(before.rows) if before else 0
        self.errors = before.errors if before else 0
        self.hits = before.hits if before else 0
        self.others = self.others_hits = self.turned = self.shown_before = self.total = 0
        self.is_held = self.was_held = self.is_turned = False
        self.settled: tuple[int, int] | None = None
        self.rows: list[Any] = []

    def check(self, *, removed: bool = False, exact: bool = False) -> None:
        """Acknowledged is visible exactly once; acknowledged <= counted <= attempted.

        ``removed``: where there is no domain, that was asked for. ``exact``: nobody died.
        """
        seen = look(self.live, self.since)
        if seen is None:
            assert removed or self.ledger.told == 0, "the domain is gone"
            self.since, self.errors, self.hits, self.rows_before = None, 0, 0, 0
            return
        # Only the pure core waits for a lock on this path, and says so when it gives up.
        allowed = set(WAITED) if self.was_held and core.NAME == "python" else set()
        assert set(seen.dropped) <= allowed, seen.dropped
        tried = self.ledger.tried + self.ledger.child_tried
        told = self.ledger.told + self.ledger.child_told
        errors = seen.errors - self.errors - self.others - self.turned
        hits = seen.hits - self.hits - self.others_hits
        assert told <= errors <= tried, f"told {told}, counted {errors}, tried {tried}"
        assert not exact or told == tried
        assert self.ledger.adds_told <= hits <= self.ledger.adds_tried, f"hits {hits}"
        self._check_rows(seen, errors)
        if self.settled is None:
            self.settled = errors, hits
        assert self.settled == (errors, hits), "a sum changed though nobody recorded"

    def _check_rows(self, seen: Seen, errors: int) -> None:
        own = [row for row in seen.rows if 0 < row[2] < CHILDS]
        childs = [row for row in seen.rows if row[2] == CHILDS]
        others = [row for row in seen.rows if row[2] >= OTHERS]
        numbers = sorted(row[2] for row in own)
        assert len(set(numbers)) == len(numbers), f"a record is there twice: {numbers}"
        assert not numbers or numbers[-1] <= self.ledger.tried
        if not self.is_turned and seen.lost == 0:
            wanted = range(1, self.ledger.told + 1)
            assert set(wanted) <= set(numbers), f"told of {len(wanted)}, found {numbers}"
            assert self.ledger.child_told <= len(childs) <= self.ledger.child_tried
            lost = seen.dropped.get("row_lost", 0)
            assert self.others - lost <= len(others) <= self.others, "a row of somebody else"
            for _, _, number, message, operation in own:
                assert message == expected_message(number), (number, message)
                assert operation.startswith(("charge", "refund", "new")), (number, operation)
            assert set(self.rows) <= set(seen.rows), "a row that was shown is gone, or another"
            self.rows = seen.rows
        total = len(seen.rows) + seen.lost + self.shown_before
        most = errors + self.others + self.turned
        least = self.ledger.told + self.ledger.child_told + self.others + self.turned
        least -= seen.dropped.get("row_lost", 0)
        assert least <= total <= most, f"{total} rows shown or lost, not {least} to {most}"
        self.total = total

    def before_turn(self) -> None:
        """The ring is about to be turned; every reader is too slow for it."""
        if self.since is None:
            self.check()
            self.since, self.shown_before = cursor_of(self.live), self.total
        self.is_turned = True

    def declare_dead(self, pid: int) -> None:
        """A maintainer in another PID namespace takes a process that is stopped for dead.

        It fences, closes lanes, records the death, and waits with the counts. Only its verdict
        is made up here, and that for one process: a namespace for each of some hundred steps would
        take a privilege, and `torture.reuse` has a real one.
        """
        known, nano = owners.life, owners.SETTLE_NANO

        def life(store: domain.Store, row: owners.OwnerRow, me: Any = None) -> owners.Life:
            return owners.Life.SILENT if row.pid == pid else known(store, row, me)

        paths = domain.store_paths(str(self.live / "default"))
        owners.life, owners.SETTLE_NANO = life, 1 << 62
        try:
            with domain.Store.open(paths[0], writable=True) as store:
                maintain.maintain_store(store)
        finally:
            owners.life, owners.SETTLE_NANO = known, nano

    # ----------------------------------------------------------------------------- afterwards

    def bury(self, pid: int) -> None:
        """A maintainer takes the dead through; nothing is left of them but what they did.

        All that `check` looks at is looked at again afterwards.
        """
        (path,) = domain.store_paths(str(self.live / "default"))
        with domain.Store.open(path, writable=True) as store:
            died = {
                row.incarnation
                for row in owners.read_owners(store)
                if row.pid == pid and row.state_code in (schema.OWNER_LIVE, schema.OWNER_DEAD)
            }
            report = maintain.maintain_store(store)
            assert (report.problems, report.skipped) == ([], ""), report
            assert owners.read_owners(store) == []
            assert counts.snapshot(store).problems == []
            self._check_deaths(store, died)
            self._check_files(store)
            self._check_totals(store)

    def _check_deaths(self, store: domain.Store, died: set[int]) -> None:
        found = [d for n in (deaths.OLD_NAME, deaths.NAME) for d in deaths._records(store, n)]
        numbers = [death["incarnation"] for death in found]
        assert len(set(numbers)) == len(numbers), "a death is recorded twice"
        assert died <= set(numbers), f"{died} died, recorded: {numbers}"
        if self.ledger.entered:
            operations = [e["operation"] for death in found for e in death["in_flight"]]
            assert "in flight" in operations, "an operation that was in flight is forgotten"

    def _check_totals(self, store: domain.Store) -> None:
        """Rows that were retired and rows that are there are all rows there ever were."""
        self.check()
        everything = look(self.live)
        _, retired = store.retired()
        assert retired + len(everything.rows) == self.rows_before + self.total

    def _check_files(self, store: domain.Store) -> None:
        later = time.time() + 2 * files.TEMPORARY_AGE_SECONDS
        files.remove_stale(store.directory_fd, later)
        parent = os.open(store.domain_path, os.O_RDONLY)
        try:
            domain.remove_stale_directories(parent, later)
            assert os.listdir(parent) == [store.name], os.listdir(parent)
        finally:
            os.close(parent)
        names = files.names(store.directory_fd)
        assert all(map(NAMES.fullmatch, names)), f"left behind: {names}"
        header = store.header
        kept = range(store.load("segment_oldest"), store.load("segment_newest") + 1)
        # The compiled core names the next one ahead of need.
        assert set(store.segments()) - {kept.stop} == set(kept), (store.segments(), kept)
        assert len(kept) <= header.segments_max
        found = health.describe_store(store)
        assert (found["owners_alive"], found["owners_not_buried"]) == (0, 0), found
