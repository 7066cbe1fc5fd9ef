"""What processes do while they are stopped after each step: one scene for each part of a life."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stepping import Ledger, done, ended, in_child

import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import deaths, domain, gc, lifecycle, maintain

LONG_MESSAGE = "a message that does not fit into twelve bytes"
SHORT_MESSAGE = "short"
ROWS_BASE = 5
CHILDS, OTHERS = 50_000, 60_000
"""`attempt` of the row of a forked child, and of rows of processes that nobody stops."""


class Refused(Exception):
    pass


def failure(text: str) -> Refused:
    try:
        raise Refused(text)
    except Refused as error:
        return error


SHORT, LONG = failure(SHORT_MESSAGE), failure(LONG_MESSAGE)


def expected_message(attempt: int) -> str:
    return LONG_MESSAGE if attempt % 3 == 0 else SHORT_MESSAGE


class Actor:
    """A process that records, and keeps the ledger. The number of a record is its ``attempt``."""

    def __init__(self, ledger: Ledger, live: Path, steps: Callable[[], int]) -> None:
        self.ledger, self.live, self._steps = ledger, live, steps
        self._hits = fp.counter("hits")
        self.names: Callable[[], None] = nothing
        """Kept: who is at the names stays there as long as this process lives."""

    def join(self) -> None:
        fp.init("checkout", "default", str(self.live))

    def record(self, operation: str = "charge") -> None:
        number = self.ledger.tried + 1
        self.ledger.tried = number
        fp.record(LONG if number % 3 == 0 else SHORT, operation, number)
        self.ledger.told = number

    def record_in_child(self) -> None:
        self.ledger.child_tried = 1
        fp.record(SHORT, "charge", CHILDS)
        self.ledger.child_told = 1

    def add(self) -> None:
        self.ledger.adds_tried += 1
        self._hits.add()
        self.ledger.adds_told += 1

    def enter(self) -> int:
        token = core.enter("in flight")
        self.ledger.entered = 1
        return token

    def leave(self, token: int) -> None:
        self.ledger.entered = 0
        core.leave(token)

    def end(self) -> None:
        core.unbind(False)
        lifecycle.shutdown()
        self.ledger.steps = max(self.ledger.steps, self._steps())

    def expect(self, happened: bool) -> None:
        """What the scene is about has happened, where nobody came in between."""
        assert happened or not self.ledger.alone

    def store(self) -> domain.Store:
        store = lifecycle._process.store
        assert store is not None
        return store


class Scene(NamedTuple):
    """``before`` is not stopped, ``act`` is. ``template`` makes the domain that it finds."""

    template: Callable[[Path], None]
    before: Callable[[Actor], None]
    act: Callable[[Actor], None]
    finest: bool = False
    removes: bool = False
    named: bool = False
    """Whether the file system has no files without a name."""


def nothing(_: object) -> None:
    pass


# ------------------------------------------------------------------------------------ domains


def kept(live: Path) -> None:
    """A store that one process wrote to and left in order, and that was tidied since."""

    def work() -> None:
        fp.init("keeper", "default", str(live))
        for _ in range(ROWS_BASE):
            fp.record(SHORT, "kept")
        fp.counter("hits").add(3)
        core.unbind(False)
        lifecycle.shutdown()

    done(work)
    tidy(live)


def tidy(live: Path) -> None:
    (path,) = domain.store_paths(str(live / "default"))
    with domain.Store.open(path, writable=True) as store:
        report = maintain.maintain_store(store)
        assert report.problems == [], report


def at_the_names(live: Path) -> Callable[[], None]:
    """A process that has ``LOCK_NAMES`` until the function is called, or its caller dies."""
    (path,) = domain.store_paths(str(live / "default"))
    (hear, say), (wait, release) = os.pipe(), os.pipe()

    def work() -> None:
        os.close(release)
        locks = os.open(f"{path}/locks", os.O_RDWR)
        fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, schema.LOCK_NAMES)
        os.write(say, b"held")
        os.read(wait, 1)

    child = in_child(work)
    os.close(say)
    os.close(wait)
    assert os.read(hear, 4) == b"held"
    os.close(hear)

    def let_go() -> None:
        os.close(release)
        assert ended(child) == 0

    return let_go


def fill(live: Path, lanes: int, names: int = 1, *, unnamed: bool = False) -> None:
    """``lanes`` full lanes, and nothing else. ``unnamed``: no segment was named ahead of need."""

    def work() -> None:
        fp.init("keeper", "default", str(live))
        rows = lanes * schema.LANE_ROWS
        for number in range(rows):
            # New names come last: a segment that finds many begins another dictionary.
            fp.record(SHORT, f"operation {max(number - rows + names, 0)}")
        core.unbind(False)
        lifecycle.shutdown()

    let_go = nothing
    if unnamed:
        done(lambda: (fp.init("keeper", "default", str(live)), lifecycle.shutdown()))
        let_go = at_the_names(live)
    done(work)
    if unnamed:
        let_go()
    tidy(live)


GEOMETRY = schema.geometry(2 << 20)
LANES = GEOMETRY.segments_max * GEOMETRY.lanes_per_segment
MANY_NAMES = schema.dictionary_shape(GEOMETRY.dictionary_bytes).entries_max * 9 // 10


def nearly_turned(live: Path) -> None:
    """Every lane that the budget holds is full but the last one."""
    fill(live, LANES - 1)


def nothing_named(live: Path) -> None:
    """The same, and who needs the next segment finds none."""
    fill(live, LANES - 1, unnamed=True)


def nearly_full_of_names(live: Path) -> None:
    """The same, and nine tenths of the ids of the dictionary are used."""
    fill(live, LANES - 1, MANY_NAMES, unnamed=True)


def full_of_names_early(live: Path) -> None:
    """Nine tenths of the ids are used; two lanes of the segment are not."""
    fill(live, GEOMETRY.lanes_per_segment - 2, MANY_NAMES, unnamed=True)


def with_dead(live: Path) -> None:
    """Two processes were killed: with rows, counts, an operation in flight, a torn death record."""
    kept(live)

    def work() -> None:
        maintain.maintain_store = nothing  # or the second would bury the first
        fp.init("victim", "default", str(live))
        for _ in range(2):
            fp.record(LONG, "killed")
        fp.counter("hits").add(5)
        core.enter("in flight")
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(2):
        assert ended(in_child(work)) == -signal.SIGKILL
    (path,) = domain.store_paths(str(live / "default"))
    with open(f"{path}/deaths", "ab") as file:
        file.write(b'01234567 {"incarnation":99,"torn')


def with_dead_and_full_deaths(live: Path) -> None:
    """The same, and the next death record begins another file."""
    with_dead(live)
    (path,) = domain.store_paths(str(live / "default"))
    with open(f"{path}/deaths", "ab") as file:
        left = deaths.DEATHS_BYTES_MAX - file.tell() - 100
        file.write((b"\n" + b"no record " * 1000) * (left // 10_001))
        file.write(b"\n" * (left % 10_001))


# ------------------------------------------------------------------------------------- scenes


def live_and_leave(actor: Actor) -> None:
    """Register, publish the first segment and dictionary, claim, intern, write rows, leave."""
    actor.join()
    for _ in range(3):
        actor.record()
    actor.add()
    token = actor.enter()
    actor.record("refund")
    actor.leave(token)
    actor.end()


def warm(actor: Actor) -> None:
    actor.join()
    for _ in range(3):
        actor.record()
    actor.add()
    actor.leave(actor.enter())


def write(actor: Actor) -> None:
    """Records of known errors, in all ways that a message is stored."""
    actor.record()
    actor.record()
    actor.record()
    actor.add()
    actor.leave(actor.enter())


def fill_last_lane(actor: Actor) -> None:
    actor.join()
    for _ in range(schema.LANE_ROWS - 2):
        actor.record()
    store = actor.store()
    assert store.load("segment_newest") == store.header.segments_max


def fill_last_lane_unnamed(actor: Actor) -> None:
    """Somebody was stopped at the names before, and stays there."""
    actor.names = at_the_names(actor.live)
    fill_last_lane(actor)


def turn(actor: Actor) -> None:
    """The last rows of the last lane, the next segment, the oldest retired, the one after begun."""
    for _ in range(2 + 2 * 64 + 2):
        actor.record()
    actor.expect(actor.store().load("segment_oldest") == 2)
    actor.end()


def turn_in_need(actor: Actor) -> None:
    """The same while another stays at the names: the compiled core retires after 16 tries."""
    for _ in range(2 + 20 * 64 + 2):
        actor.record()
    actor.expect(actor.store().load("segment_oldest") == 2)
    actor.end()


def change_dictionary(actor: Actor) -> None:
    """The next segment names a new generation of names and stacks."""
    for number in range(4):
        actor.record(f"new {number % 2}")
    actor.expect(actor.store().load("dictionary_generation") == 2)
    actor.end()


def prepare(actor: Actor) -> None:
    """Rows of a lane, while the next segment is prepared, slice by slice; one core names it."""
    for _ in range(2 * schema.LANE_ROWS):
        actor.record()
    store = actor.store()
    following = store.load("segment_newest") + 1
    ready = "tmp-ready" if core.NAME == "python" else f"seg-{following}"
    actor.expect(ready in os.listdir(store.directory_fd))
    actor.end()


def second_last_lane(actor: Actor) -> None:
    actor.join()
    for _ in range(schema.LANE_ROWS):
        actor.record()
    assert actor.store().load("dictionary_generation") == 1


def change_dictionary_ahead(actor: Actor) -> None:
    """The next segment gets its name, and a new generation, while this one has room."""
    for _ in range(2 * 64 + 2):
        actor.record()
    if core.NAME == "cython":
        actor.expect(actor.store().load("dictionary_generation") == 2)
        actor.expect(actor.store().load("segment_newest") == 1)
    for _ in range(schema.LANE_ROWS - 2 * 64):
        actor.record()
    actor.expect(actor.store().load("dictionary_generation") == 2)
    actor.expect(actor.store().load("segment_newest") == 2)
    actor.end()


def claim_first(actor: Actor) -> None:
    actor.join()
    os.unlink("tmp-ready", dir_fd=actor.store().directory_fd)  # as if somebody had taken it
    for _ in range(schema.LANE_ROWS):
        actor.record()
    assert "tmp-ready" not in os.listdir(actor.store().directory_fd)


def bury(actor: Actor) -> None:
    """Find the dead and take them through to free slots."""
    (path,) = domain.store_paths(str(actor.live / "default"))
    store = domain.Store.open(path, writable=True)
    report = maintain.maintain_store(store)
    actor.expect(report.folded == 2)
    assert report.problems == [], report


def remove(actor: Actor) -> None:
    """A gc of a domain that nobody writes to."""
    (removal,) = gc.gc(str(actor.live), "default")
    assert removal.action == "removed", removal


def fork(actor: Actor) -> None:
    """A child that was forked from a process that records is an owner of its own."""
    child = os.fork()
    if child == 0:
        try:
            actor.record_in_child()
            actor.end()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    actor.record()
    actor.end()


SCENES = {
    "create": Scene(nothing, nothing, live_and_leave),
    "join": Scene(kept, nothing, live_and_leave),
    "write": Scene(kept, warm, write, finest=True),
    "turn": Scene(nearly_turned, fill_last_lane, turn),
    "need": Scene(nothing_named, fill_last_lane_unnamed, turn_in_need),
    "generation": Scene(nearly_full_of_names, fill_last_lane_unnamed, change_dictionary),
    "ahead": Scene(full_of_names_early, second_last_lane, change_dictionary_ahead),
    "prepare": Scene(kept, claim_first, prepare),
    "named": Scene(kept, claim_first, prepare, named=True),
    "bury": Scene(with_dead, nothing, bury),
    "rotate": Scene(with_dead_and_full_deaths, nothing, bury),
    "gc": Scene(kept, nothing, remove, removes=True),
    "fork": Scene(kept, warm, fork),
}
