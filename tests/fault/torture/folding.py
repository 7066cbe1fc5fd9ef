"""What `torture.fold` does in a process of the core that is asked for; prints JSON.

    python -m torture.folding kill '{"seed": 1, "deaths": 100, …}'

Owners count and are killed, maintainers fold and are killed, readers sum all the while. What was
attempted and what returned is kept in memory that all of them share, outside of the library: one
word a worker and kind, raised before and after the call.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from faultplane import schema
from faultplane._backend import CORE_NAME, core
from faultplane.store import aggregate, counts, domain, fold, lifecycle, location, maintain, owners
from torture import command
from torture.words import Words

DOMAIN = "fold"
WORDS = 8
ATTEMPTED, ACKNOWLEDGED, SUMS_READ = range(3)
"""Records and adds of a worker together: each is one in the sum that readers make. The last word is
of the line behind them, the readers'."""
SERIES_EVERY = 40
OWN_SERIES_MAX = 25
"""New series of one worker: readers and folders read all of them all the time."""
PACE_EVERY, PACE_SECONDS = 64, 0.001
"""So that those who fold get a turn on two processors."""
WAIT_SECONDS_MAX = 60.0
OLD_SECONDS = 120
PR_SET_PDEATHSIG = 1


def open_store(budget_bytes: int) -> domain.Store:
    """The store of this core, made if it is not there."""
    base = location.Base(os.environ["FAULTPLANE_DIR"], "given")
    return domain.open_or_create(base, DOMAIN, CORE_NAME, budget_bytes, False)


def total(store: domain.Store) -> int:
    """Everything that readers see counted: errors and counters."""
    read = counts.snapshot(store)
    if read.problems:
        raise AssertionError(f"a reader was told {read.problems}")
    return sum(row.count for row in counts.count_rows(read.tallies)) + sum(
        row.value for row in counts.counter_rows(read.tallies)
    )


def until(happened: Callable[[], bool], what: str) -> None:
    """Poll until something has happened."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {WAIT_SECONDS_MAX} s")
        time.sleep(0)


def start(work: Callable[[], None]) -> int:
    """A forked child that does ``work`` and leaves with 0; with 1 and its last words else.

    It does not outlive this process, however that ends.
    """
    child = os.fork()
    if child:
        return child
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        work()
        os._exit(0)
    except BaseException as error:  # whatever it is, the parent's code must not go on here
        print(f"{work.__name__}: {error!r}", file=sys.stderr, flush=True)
    os._exit(1)


def kill(child: int) -> None:
    """SIGKILL; one that ended before by itself has failed."""
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        raise AssertionError(f"process {child} ended with {status} before it was killed")


# ----------------------------------------------------------------------------------- the killing


class Killing:
    """Owners, maintainers and readers of one store, and who kills them."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.rng = random.Random(asked["seed"])
        self.store = open_store(asked["budget_bytes"])
        self.ledger = Words(asked["workers"] + 1, WORDS)
        self.born = 0

    def worker(self, worker: int) -> Callable[[], None]:
        """Counts until it is killed: the same series as others, and new ones of its own."""
        self.born += 1
        number = self.born

        def work() -> None:
            words, base = self.ledger.words, WORDS * worker
            # Where owners are killed faster than they are buried no slot may be free for a moment.
            # What a process counts without one is in no sum until it has one, and dies with it.
            while not lifecycle.init(service=f"fold-{worker % 2}", domain=DOMAIN).bound:
                time.sleep(PACE_SECONDS)
            hits = core.Counter("hits").add
            try:
                raise ValueError("order 17 was declined")
            except ValueError as caught:
                error = caught
            turn = 0
            while True:
                turn += 1
                if turn % PACE_EVERY == 0:
                    time.sleep(PACE_SECONDS)
                words[base + ATTEMPTED] += 1
                core.record(error, f"step {turn % 7}")
                words[base + ACKNOWLEDGED] += 1
                words[base + ATTEMPTED] += 1
                hits()
                words[base + ACKNOWLEDGED] += 1
                if turn % SERIES_EVERY == 0 and turn <= SERIES_EVERY * OWN_SERIES_MAX:
                    add = core.Counter(f"part {turn // SERIES_EVERY} of {number}").add
                    words[base + ATTEMPTED] += 1
                    add()
                    words[base + ACKNOWLEDGED] += 1

        return work

    def folder(self) -> None:
        """Maintains until it is killed."""
        step = self.suicidal() if self.asked.get("die_at") else fold.no_step
        while True:
            maintain.maintain_store(self.store, step)

    def suicidal(self) -> Callable[[str], None]:
        """Dies at a step by its own hand, every other time: for the negative control."""
        chance = random.Random(os.getpid())

        def step(name: str) -> None:
            if name == self.asked["die_at"] and chance.random() < 0.5:
                os.kill(os.getpid(), signal.SIGKILL)

        return step

    def reader(self) -> None:
        """Sums until it is killed: never less than before, nor than what had returned."""
        ledger, line, before = self.ledger, self.asked["workers"], 0
        with domain.Store.open(self.store.path) as store:
            while True:
                returned = ledger.total(ACKNOWLEDGED)
                found = total(store)
                attempted = ledger.total(ATTEMPTED)
                if not max(before, returned) <= found <= attempted:
                    raise AssertionError(
                        f"{returned} had returned, {before} was read before, {found} read now, "
                        f"{attempted} attempted"
                    )
                before = found
                # Readers may overwrite each other's: a number to print.
                ledger.set(line, SUMS_READ, ledger.get(line, SUMS_READ) + 1)

    def run(self) -> dict[str, Any]:
        """Kill as often as was asked, bury everybody, and look at what is left."""
        asked, ledger = self.asked, self.ledger
        progress = command.Progress()
        self.workers = [start(self.worker(worker)) for worker in range(asked["workers"])]
        self.folders = [start(self.folder) for _ in range(asked["maintainers"])]
        readers = [start(self.reader) for _ in range(asked["readers"])]
        deaths = kills = 0
        while deaths < asked["deaths"] or kills < asked["kills"]:
            # The moment of the next kill, whatever happens in it.
            time.sleep(self.rng.random() * asked["pause_seconds"])
            if deaths * asked["kills"] <= kills * asked["deaths"]:
                self.kill_worker()
                deaths += 1
            else:
                self.kill_folder()
                kills += 1
            sums = ledger.total(SUMS_READ)
            progress.say(f"{deaths} owners and {kills} maintainers killed, {sums} sums")
        for child in (*self.workers, *self.folders, *readers):
            kill(child)
        return {
            "owners killed": deaths + len(self.workers),
            "maintainers killed": kills + len(self.folders),
            "sums read meanwhile": ledger.total(SUMS_READ),
            **settle(self.store, ledger.total(ACKNOWLEDGED), ledger.total(ATTEMPTED)),
        }

    def kill_worker(self) -> None:
        """Any of them, after so many calls, or while it registers."""
        victim = self.rng.randrange(len(self.workers))
        at = WORDS * victim + ACKNOWLEDGED
        if self.rng.random() < 0.8:
            goal = self.ledger.words[at] + self.rng.randrange(self.asked["calls"])
            until(lambda: self.ledger.words[at] >= goal, "a worker counts")
        kill(self.workers[victim])
        self.workers[victim] = start(self.worker(victim))

    def kill_folder(self) -> None:
        """Any of them, wherever it is; where they die by their own hand, those who did."""
        victim = self.rng.randrange(len(self.folders))
        if not self.asked.get("die_at"):
            kill(self.folders[victim])
        elif not os.waitpid(self.folders[victim], os.WNOHANG)[0]:
            return
        self.folders[victim] = start(self.folder)


# -------------------------------------------------------------------------------- what is left


def settle(store: domain.Store, returned: int, attempted: int) -> dict[str, Any]:
    """Bury everybody; figures. AssertionError where a sum is not exact or a file not bounded."""
    before = total(store)
    rounds = 0
    while owners.read_owners(store):
        report = maintain.maintain_store(store)
        if report.problems or (rounds := rounds + 1) > 100:
            raise AssertionError(f"after {rounds} rounds of maintenance: {report}")
    after = total(store)
    if not returned <= before == after <= attempted:
        raise AssertionError(
            f"{returned} returned, {before} counted, {after} once folded, {attempted} attempted"
        )
    return {
        "calls attempted": attempted,
        "calls returned": returned,
        "counted": after,
        "owner ids given": store.load("incarnation_next") - 1,
        "folds": store.load("fold_epoch"),
        **bounded(store),
    }


def bounded(store: domain.Store) -> dict[str, Any]:
    """Files of a store that has no owners: figures, or AssertionError where one is too many.

    What killed processes left goes a minute later; their files are made as old as that here.
    """
    left = [name for name in os.listdir(store.path) if name.startswith("tmp-")]
    left = [name for name in left if name != "tmp-ready"]
    if any(name.startswith("tmp-fold-") for name in left) or len(left) > 2 * (
        store.header.owner_slots + 1
    ):
        raise AssertionError(f"those who come later did not tidy up: {left}")
    for name in left:
        past = time.time() - OLD_SECONDS
        os.utime(f"{store.path}/{name}", (past, past))
    maintain.maintain_store(store)
    names = sorted(os.listdir(store.path))
    sizes = {name: os.stat(f"{store.path}/{name}").st_size for name in names}
    known = {"registry", "owners", "locks", "agg-retired", "deaths", "deaths-old", "tmp-ready"}
    segments = [name for name in names if name.startswith("seg-")]
    dictionaries = [name for name in names if name.startswith(("dict-", "stacks-"))]
    strange = set(names) - known - set(segments) - set(dictionaries)
    problems = [f"left behind: {sorted(strange)}"] if strange else []
    if len(segments) > store.header.segments_max + 1:
        problems.append(f"{len(segments)} segments, at most {store.header.segments_max} and one")
    if len(dictionaries) > 2 * (store.header.segments_max + 2):
        problems.append(f"{len(dictionaries)} dictionaries: {dictionaries}")
    series_max = fold.series_max(store)
    retired, _ = fold.read_retired(store)
    kinds = len(schema.KINDS) + len(schema.DROP_REASONS) + 2
    if len(retired.tallies) > series_max + kinds:
        problems.append(f"{len(retired.tallies)} series in agg-retired, at most {series_max}")
    for name in ("deaths", "deaths-old"):
        if sizes.get(name, 0) > 1 << 20:
            problems.append(f"{name} has {sizes[name]} bytes")
    words = [word for word in owners.slot_words(store) if word & 0xFF != schema.OWNER_FREE]
    if words:
        problems.append(f"{len(words)} slots are not free")
    if problems:
        raise AssertionError("; ".join(problems))
    return {
        "files": len(names),
        "temporary files of the killed": len(left),
        "series of agg-retired": len(retired.tallies),
        "bytes of agg-retired": sizes["agg-retired"],
        "bytes of deaths": sizes.get("deaths", 0) + sizes.get("deaths-old", 0),
    }


def kill_part(asked: dict[str, Any]) -> dict[str, Any]:
    """Owners, maintainers and readers, killed."""
    if asked.get("unlisted"):
        # Negative control: nothing in the totals says whose counts they have taken up.
        render = aggregate.render
        aggregate.render = lambda tallies, slot, epoch, _=(): render(tallies, slot, epoch)
    return Killing(asked).run()


def main(words: list[str]) -> None:
    """One part, as JSON."""
    from torture import reuse

    parts = {"kill": kill_part, **reuse.PARTS}
    print(json.dumps(parts[words[0]](json.loads(words[1]))))


if __name__ == "__main__":
    main(sys.argv[1:])
