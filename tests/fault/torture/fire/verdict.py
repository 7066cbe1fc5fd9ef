"""The verdict: rows, counts, deaths and files of a domain against the ledger, when all is over."""

from __future__ import annotations

import os

import numpy as np

from faultplane import schema
from faultplane._backend import core
from faultplane.store import Domain, files, lanes, maintain
from faultplane.store.domain import Store, store_paths

from . import ledger, readers
from .found import Found
from .ledger import Ledger
from .readers import ENTRY
from .roles import Orders

BURIALS_MAX = 40


def judge(orders: Orders, book: Ledger, found: Found) -> None:
    """Look at everything once more, and add it to what was found; nobody writes any more."""
    found.acknowledged = book.total(ledger.RECORDED)
    found.scanned = book.get(0, ledger.ROWS_SCANNED)
    found.surveys = book.get(0, ledger.SURVEYS)
    found.samples = book.get(0, ledger.SAMPLES)
    found.lanes_closed_last = book.get(0, ledger.CLOSED_SEEN)
    found.forks = book.total(ledger.CHILDREN)
    found.forks_unhandled = book.total(ledger.FORKS_UNHANDLED)
    before = _totals(orders)
    _bury(orders, found)
    if (after := _totals(orders)) != before:
        found.wrong.append(f"burying changed the totals from {before} to {after}")
    _counts(book, found, after)
    _rows(orders, book, found, after)
    for name in ("poller", "follower"):
        _consumed(orders, book, found, name)
    _deaths(orders, book, found)
    _files(orders, found)
    _complaints(orders, found)


def _totals(orders: Orders) -> dict[str, int]:
    with Domain.attach(orders.domain, orders.directory) as domain:
        drops = {row["reason"]: row["count"] for row in domain.drops_rows()}
        totals = {
            "records": sum(row["count"] for row in domain.counts_rows()),
            "calls": sum(r["value"] for r in domain.counters_rows() if r["name"] == "calls"),
            "nameless": drops.pop("dictionary_full", 0),
            "overflow": drops.pop("series_overflow", 0),
            "dropped": sum(drops.values()),
        }
        return totals | {"problems": len(domain.problems())}


def _bury(orders: Orders, found: Found) -> None:
    """Maintain until nobody is left to bury; by a process of its own, as a service would."""
    for _ in range(BURIALS_MAX):
        child = os.fork()
        if child == 0:
            os._exit(any(r.problems or r.folded for r in maintain.maintain(orders.path)))
        if os.waitpid(child, 0)[1] == 0:
            break
    with Domain.attach(orders.domain, orders.directory) as domain:
        if left := domain.owners_rows():
            found.wrong.append(f"{len(left)} owners are not buried, the first: {left[0]}")


def _deaths_max(book: Ledger) -> int:
    """Workers that ended in the middle of something, at most one call each."""
    return int(np.count_nonzero(book.table[1:, ledger.STATE] == ledger.WRITING))


def _counts(book: Ledger, found: Found, totals: dict[str, int]) -> None:
    most = _deaths_max(book)
    for name, word, each in (("records", ledger.RECORDED, 1), ("calls", ledger.ADDED, 3)):
        said = book.total(word)
        if not said <= totals[name] <= said + each * most:
            found.wrong.append(
                f"lost: {name}: {said:,} acknowledged, {totals[name]:,} counted, {most} deaths"
            )
    found.dropped = totals["dropped"]


def _rows(orders: Orders, book: Ledger, found: Found, totals: dict[str, int]) -> None:
    """Rows that were committed, and those that were not and are counted as dropped."""
    with Domain.attach(orders.domain, orders.directory) as domain:
        visible = len(domain.records())
        store = next(iter(domain._stores().values())).store
        found.retired = readers.rows_retired(store)
    found.rows = found.retired + visible
    most = _deaths_max(book)
    with_drops = found.rows + totals["dropped"]
    found.unacknowledged_rows = with_drops - found.acknowledged
    if not 0 <= found.unacknowledged_rows <= most:
        found.wrong.append(
            f"lost: {found.acknowledged:,} acknowledged, {found.retired:,} retired, {visible:,} "
            f"visible, {totals['dropped']:,} dropped, {most} deaths"
        )


def _consumed(orders: Orders, book: Ledger, found: Found, name: str) -> None:
    """What a line of consumers got: each row once, or lost and counted as such."""
    state = readers.read_state(orders, name)
    log = np.fromfile(readers.log_path(orders, name), ENTRY)[: state["entries"]]
    found.consumed += len(log)
    found.missed += state["lost"]
    wrong = found.wrong
    if len(log) + state["lost"] != found.rows:
        wrong.append(
            f"lost: {name}: {len(log):,} rows seen and {state['lost']:,} lost of {found.rows:,}"
        )
    numbers = np.unique(log["number"])
    if len(numbers) != len(log):
        wrong.append(f"duplicated: {name}: {len(log) - len(numbers):,} numbers came twice")
    pairs = np.unique(log[["owner", "seq"]])
    if len(pairs) != len(log):
        wrong.append(f"duplicated: {name}: {len(log) - len(pairs):,} (owner, seq) came twice")
    owners, counts = np.unique(pairs["owner"], return_counts=True)
    holes = int(pairs["seq"][np.cumsum(counts) - 1].sum()) - len(pairs)
    if holes > state["lost"]:
        wrong.append(f"lost: {name}: {holes:,} seqs missing, {state['lost']:,} lost")
    workers = numbers >> np.uint64(32)
    whose = np.unique(
        np.stack([log["owner"].astype(np.uint64), log["number"] >> np.uint64(32)]), axis=1
    )
    if whose.shape[1] != len(owners):
        wrong.append(
            f"torn: {name}: {whose.shape[1]} pairs of owner and worker, {len(owners)} owners"
        )
    _numbers(book, found, name, numbers, workers, state)
    if state["nameless"] and not found.dropped:
        wrong.append(f"torn: {name}: {state['nameless']} rows without a name, none is reported")


def _numbers(book: Ledger, found: Found, name: str, numbers, workers, state) -> None:
    """The calls of each worker: all that were acknowledged, and at most the one after."""
    n = numbers & np.uint64(0xFFFF_FFFF)
    acknowledged = book.table[:, ledger.RECORDED]
    if np.any(workers >= book.workers):
        found.wrong.append(f"torn: {name}: a number of no worker")
        return
    beyond = n > acknowledged[workers.astype(np.int64)]
    if np.any(n[beyond] != acknowledged[workers[beyond].astype(np.int64)] + np.uint64(1)):
        found.wrong.append(f"torn: {name}: a call that nobody made")
    missing = found.acknowledged - (len(n) - int(beyond.sum()))
    spare = state["lost"] + found.dropped - missing
    if not 0 <= spare <= _deaths_max(book):
        found.wrong.append(
            f"lost: {name}: {missing:,} acknowledged rows missing, {state['lost']:,} lost, "
            f"{found.dropped:,} dropped"
        )
    fed = book.table[:, ledger.STARVED] == 0
    if not state["lost"] and not found.dropped:
        seen = np.bincount(workers[~beyond].astype(np.int64), minlength=book.workers)
        short = np.flatnonzero((seen != acknowledged) & fed)[1:]
        if len(short):
            found.wrong.append(f"lost: {name}: worker {short[0]} misses rows")


def _deaths(orders: Orders, book: Ledger, found: Found) -> None:
    """A death for each worker that had registered and did not leave in order; one each."""
    with Domain.attach(orders.domain, orders.directory) as domain:
        recorded = [row["incarnation"] for row in domain.deaths_rows()]
    found.deaths = len(recorded)
    if len(set(recorded)) != len(recorded):
        found.wrong.append(f"{len(recorded) - len(set(recorded))} deaths were recorded twice")
    died = book.table[1:, ledger.STATE] == ledger.WRITING
    wanted = set(book.table[1:, ledger.INCARNATION][died].tolist())
    left = book.table[1:, ledger.STATE] == ledger.LEFT
    orderly = set(book.table[1:, ledger.INCARNATION][left].tolist())
    if missing := wanted - set(recorded):
        found.wrong.append(f"{len(missing)} of {len(wanted)} deaths were not recorded")
    if alive := orderly & set(recorded):
        found.wrong.append(f"{len(alive)} deaths of workers that left in order were recorded")


def _files(orders: Orders, found: Found) -> None:
    """Lanes are closed, files are those of a store without owners, and within the budget."""
    path = store_paths(orders.path)[0]
    with Store.open(path) as store:
        header = store.header
        kept = range(store.load("segment_oldest"), store.load("segment_newest") + 1)
        # The next one may have its name ahead of need.
        if set(store.segments()) - {kept.stop} != set(kept):
            found.wrong.append(f"segments {store.segments()} are there, {kept} are kept")
        if len(kept) > header.segments_max:
            found.wrong.append(f"{len(kept)} segments, {header.segments_max} at most")
        for number in store.segments():
            with lanes._segment(store, number, whole=False) as mapping:
                words = core.lane_words(mapping, header.lanes_per_segment)
            if any(word >> schema.LANE_STATE_SHIFT == schema.LANE_OPEN for word in words):
                found.wrong.append(f"seg-{number} has a lane of somebody who is gone")
    names = os.listdir(path)
    of_owners = [n for n in names if n.startswith(("agg-", "breath-")) and n != "agg-retired"]
    # Other temporary files, of names written whole and then renamed, are removed after a minute.
    of_owners += [n for n in names if files.OWNER_TEMPORARY.fullmatch(n) and n != "tmp-ready"]
    if of_owners:
        found.wrong.append(f"files of the dead are left: {sorted(of_owners)[:5]}")
    held = sum(os.stat(f"{path}/{n}").st_blocks * 512 for n in names if not n.startswith("deaths"))
    if held > header.budget_bytes:
        found.wrong.append(f"{held:,} bytes are held, the budget is {header.budget_bytes:,}")


def _complaints(orders: Orders, found: Found) -> None:
    """What readers and the witness found while others wrote."""
    try:
        with open(os.path.join(orders.directory, f"wrong-{orders.domain}")) as file:
            found.wrong += file.read().splitlines()
    except FileNotFoundError:
        pass
    found.wrong = list(dict.fromkeys(found.wrong))
    for word in ("torn", "lost", "duplicated", "moved", "changed"):
        setattr(found, word, sum(f"{word}:" in sentence for sentence in found.wrong))
