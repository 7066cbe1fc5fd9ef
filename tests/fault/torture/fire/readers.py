"""Readers under fire: consumers that go on from a cursor, and scanners of all that is there.

A consumer writes what it got into a log, and then, in one rename, its cursor and the length of the
log. One that is killed in between leaves a tail that its successor cuts off and reads again: so
the log has each row as often as the reader handed it out between one cursor and the next.
"""

from __future__ import annotations

import json
import os
import random
import time

import numpy as np

from faultplane.errors import DomainNotFound
from faultplane.store import Domain
from faultplane.store.cursor import Cursor, Position

from . import ledger
from .content import Checker
from .ledger import Ledger
from .roles import Orders, complain

ENTRY = np.dtype([("number", "<u8"), ("seq", "<u8"), ("owner", "<u4"), ("pad", "<u4")])
EXIT_WRONG = 5
BEFORE_STATE = {"cursor": None, "entries": 0, "lost": 0, "nameless": 0, "over": False}


def attach(orders: Orders, book: Ledger) -> Domain:
    """The domain, as soon as somebody has made it."""
    while True:
        try:
            return Domain.attach(orders.domain, orders.directory)
        except DomainNotFound:
            if book.words[ledger.DRAIN]:
                os._exit(0)
            time.sleep(0.002)


class Consumer:
    """Gets every row once, or is told how many it lost; its predecessors' rows included."""

    def __init__(self, orders: Orders, book: Ledger, name: str) -> None:
        self.orders, self.book, self.name = orders, book, name
        self.log_path = log_path(orders, name)
        self.state = read_state(orders, name)
        self.checker = Checker()
        self.log = os.open(self.log_path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.log, self.state["entries"] * ENTRY.itemsize)
        os.lseek(self.log, 0, os.SEEK_END)

    def cursor(self, domain: Domain) -> Cursor | str:
        """Where to go on; for the first of a line, before the first row there ever was."""
        if self.state["cursor"]:
            return self.state["cursor"]
        store = next(iter(domain._stores().values())).store
        return Cursor({store.name: Position(store.header.created_unix_nano, 1, 0, {})})

    def take(self, records) -> None:
        """Check rows, log them, and go on behind them."""
        rows = self.checker.check(records.to_pyarrow())
        complain(self.orders, self.name, rows.wrong)
        entries = np.zeros(len(rows), ENTRY)
        entries["number"], entries["owner"], entries["seq"] = rows.numbers, rows.owners, rows.seqs
        data = memoryview(entries.tobytes())
        while data:
            data = data[os.write(self.log, data) :]
        self.state["cursor"] = str(records.cursor)
        self.state["entries"] += len(rows)
        self.state["lost"] += records.lost
        self.state["nameless"] += rows.nameless
        self.save()

    def dropped(self, domain: Domain) -> int:
        """Rows that were acknowledged and will not come, where some starve."""
        return sum(r["count"] for r in domain.drops_rows()) if self.orders.starve else 0

    def save(self) -> None:
        """The state, whole or as it was."""
        path = f"{self.log_path}.state"
        with open(f"{path}.new", "w") as file:
            json.dump(self.state, file)
        os.replace(f"{path}.new", path)

    def finish(self, domain: Domain) -> None:
        """Take what is left; nobody writes any more."""
        while not self.state["over"]:
            records = domain.records(self.cursor(domain))
            self.state["over"] = not len(records) and not records.lost
            self.take(records)
        os._exit(0)


def log_path(orders: Orders, name: str) -> str:
    """Where a consumer logs its rows."""
    return os.path.join(orders.directory, f"log-{orders.domain}-{name}")


def read_state(orders: Orders, name: str) -> dict:
    """What the last of a line of consumers has saved."""
    try:
        with open(f"{log_path(orders, name)}.state") as file:
            return json.load(file)
    except FileNotFoundError:
        return dict(BEFORE_STATE)


def poller(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """A consumer that asks for what is new, at times of its own; never returns."""
    consumer = Consumer(orders, book, "poller")
    with attach(orders, book) as domain:
        while not book.words[ledger.DRAIN]:
            consumer.take(domain.records(consumer.cursor(domain)))
            state = consumer.state
            book.set(
                0, ledger.ROWS_READ, state["entries"] + state["lost"] + consumer.dropped(domain)
            )
            time.sleep(chance.random() * 0.01)  # so that it is behind, now a little, now more
        consumer.finish(domain)


def follower(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """A consumer that follows, and prepares segments and buries the dead; never returns."""
    consumer = Consumer(orders, book, "follower")
    with attach(orders, book) as domain:
        while not book.words[ledger.DRAIN]:
            since = consumer.cursor(domain)
            with domain.follow(0.01, since=since, timeout_seconds=0.5) as follow:
                for records in follow:
                    consumer.take(records)
                    if book.words[ledger.DRAIN]:
                        break
        consumer.finish(domain)


# ------------------------------------------------------------------------------------ scanning


def scanner(orders: Orders, book: Ledger, chance: random.Random) -> None:
    """Look at all that is there, and at the sums, while others write; never returns."""
    checker = Checker()
    with attach(orders, book) as domain:
        while not book.words[ledger.DRAIN]:
            complain(orders, "scanner", _scan(domain, book, checker))
            complain(orders, "scanner", _sums(domain, book))
            time.sleep(chance.random() * 0.1)  # a scan takes all there is: leave some for others
    os._exit(0)


def _scan(domain: Domain, book: Ledger, checker: Checker) -> list[str]:
    acknowledged = book.total(ledger.RECORDED)
    store = next(iter(domain._stores().values())).store
    oldest, retired = store.load("segment_oldest"), rows_retired(store)
    table = domain.records().to_pyarrow()
    rows = checker.check(table)
    wrong = rows.wrong
    book.raise_by(ledger.SCANS, 1)
    book.raise_by(ledger.ROWS_SCANNED, len(rows))
    if len(np.unique(rows.numbers)) != len(rows):
        wrong.append(f"duplicated: {len(rows) - len(np.unique(rows.numbers))} numbers in one scan")
    owners, counts = np.unique(rows.owners, return_counts=True)
    order = np.lexsort((rows.seqs, rows.owners))
    seqs = rows.seqs[order].astype(np.int64)
    ends = np.cumsum(counts)
    if len(rows) and np.any(np.diff(seqs)[np.diff(rows.owners[order]) == 0] == 0):
        wrong.append("duplicated: a seq of an owner twice in one scan")
    if store.load("segment_oldest") == oldest:
        # Nothing was retired meanwhile: then nothing may be missing.
        holes = seqs[ends - 1] - seqs[ends - counts] + 1 - counts if len(rows) else ends
        if np.any(holes > 0):
            wrong.append(f"lost: owner {owners[np.argmax(holes)]} misses {holes.max()} in one scan")
        dropped = sum(row["count"] for row in domain.drops_rows())
        if retired + len(rows) + dropped < acknowledged:
            wrong.append(
                f"lost: {acknowledged:,} acknowledged, {retired:,} retired, {len(rows):,} visible, "
                f"{dropped:,} dropped"
            )
    return wrong


def _sums(domain: Domain, book: Ledger) -> list[str]:
    recorded, added = book.total(ledger.RECORDED), book.total(ledger.ADDED)
    counted = sum(row["count"] for row in domain.counts_rows())
    value = sum(row["value"] for row in domain.counters_rows() if row["name"] == "calls")
    wrong = []
    if counted < recorded:
        wrong.append(f"lost: {recorded:,} records acknowledged, {counted:,} counted")
    if value < added:
        wrong.append(f"lost: {added:,} added, {value:,} counted")
    return wrong


def rows_retired(store) -> int:
    """Rows of all segments before the oldest one kept."""
    return store.retired()[1]
