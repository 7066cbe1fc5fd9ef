"""Slots, generations and incarnations that come round again; series past what totals have room for.

The parts of `torture.fold` in which nobody is killed at random.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TextIO

import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import domain, lanes, lifecycle, maintain, owners
from torture import command
from torture.folding import DOMAIN, kill, open_store, settle, start, total, until

CLONE_NEWPID = 0x2000_0000
LANE_GENERATIONS = 1 << 16
"""A lane word has 16 bits of its owner's generation."""


# ------------------------------------------------------------------------- a slot, over and over


def ids(asked: dict[str, Any]) -> dict[str, Any]:
    """One slot given 70,000 times, each time to an owner that counts; real ones about the wrap."""
    store = open_store(asked["budget_bytes"])
    skip_to(store, asked.get("first_generation", 0))
    progress = command.Progress()
    first, real, expected = generation_of(store), 0, 0
    seen: set[int] = set()
    while (generation := generation_of(store)) < first + asked["times"]:
        from_wrap = (generation + LANE_GENERATIONS // 2) % LANE_GENERATIONS - LANE_GENERATIONS // 2
        if abs(from_wrap) <= asked["real"]:
            real_owner(store, generation, seen)
            expected, real = expected + 1, real + 1
        else:
            expected += brief_owner(store, generation, seen)
            bury(store)
        progress.say(f"{generation - first + 1:,} owners of one slot")
    return {
        "owners of one slot": len(seen),
        "of these real processes, about the wrap": real,
        **settle(store, expected, expected),
    }


def bury(store: domain.Store) -> None:
    """Fold the one owner that there is, and is gone."""
    report = maintain.maintain_store(store)
    if report.folded != 1 or report.problems or owners.read_owners(store):
        raise AssertionError(f"{report}, left: {owners.read_owners(store)}")


def skip_to(store: domain.Store, generation: int) -> None:
    """Give slot 0, which must be free, a later generation: as if so many had had it."""
    word = store.owners.load(0)
    if word & 0xFF != schema.OWNER_FREE or generation < generation_of(store):
        raise AssertionError(f"slot 0 is {owners.read_owner(store, 0)}")
    store.owners.cas(0, word, owners.pack_word(0, generation, schema.OWNER_FREE))


def generation_of(store: domain.Store) -> int:
    """How often slot 0 was given back."""
    return owners.read_owner(store, 0).generation


def brief_owner(store: domain.Store, generation: int, seen: set[int]) -> int:
    """An owner registered, counting and leaving inside this process; what it counted."""
    one = owners.register(store, "{}")
    if one is None or (one.slot, one.generation) != (0, generation) or one.incarnation in seen:
        raise AssertionError(f"generation {generation} was wanted, got {one}")
    seen.add(one.incarnation)
    hits = generation % 5 + 1
    put_counter(one, hits)
    owners.say_exited(store, one, 0)
    owners.write_fields(store, one.slot, pid=0)  # gone, as far as anybody can tell
    owners.disown(store, one)
    one.close()
    one.aggregate.close()
    one.breath.close()
    return hits


def put_counter(one: owners.Registration, hits: int) -> None:
    """Count as the core does: the cell, then ``used``."""
    from faultplane.store import aggregate

    series = aggregate.Series(schema.SERIES_COUNTER, 0, 0, b"", b"", b"hits")
    data = aggregate.entry(series, aggregate.Tally(hits))
    used = schema.AGGREGATE.offset["used"]
    place = one.aggregate.load(used)
    with memoryview(one.aggregate) as view:
        view[place : place + len(data)] = data
    one.aggregate.store(used, place + len(data))


def real_owner(store: domain.Store, generation: int, seen: set[int]) -> None:
    """A process that records and is killed with its lane open; when it is buried it is closed."""
    child, slot, incarnation = recording(generation)
    kill(child)
    if slot != 0 or generation_of(store) != generation or incarnation in seen:
        raise AssertionError(f"generation {generation} of slot 0 was wanted, got slot {slot}")
    seen.add(incarnation)
    before, counted = lanes_of(store, generation), total(store)
    bury(store)
    after = lanes_of(store, generation)
    if before[schema.LANE_OPEN] != 1 or after != {
        schema.LANE_CLOSED: before[schema.LANE_CLOSED] + 1
    }:
        raise AssertionError(f"generation {generation}: lanes {before}, once buried {after}")
    if total(store) != counted or rows_of(store, incarnation) != [generation]:
        raise AssertionError(f"generation {generation}: rows {rows_of(store, incarnation)}")


def recording(*numbers: int, go_on: int = -1) -> tuple[int, int, int]:
    """(Process that has recorded these and waits, its slot, its incarnation).

    What it is sent through ``go_on`` it records too, and says so in its own way.
    """
    said, say = os.pipe()

    def work() -> None:
        lifecycle.init(service="reuse", domain=DOMAIN)
        for number in numbers:
            record_one(number)
        tell_status(say)
        if go_on >= 0:
            os.read(go_on, 1)
            for number in numbers:
                record_one(number + 1_000)
            tell_status(say)
        signal.pause()

    child = start(work)
    os.close(say)
    _pipes[child] = os.fdopen(said)
    return child, *hear_status(child)[:2]


_pipes: dict[int, TextIO] = {}
"""What children say, by process."""


def tell_status(say: int) -> None:
    """A line that says which owner this process is, and what became of its lanes."""
    status, writer = lifecycle.status(), core.writer_state()
    line = f"{status.owner_slot} {status.incarnation} {writer['lanes_claimed']} {writer['rehomed']}"
    os.write(say, f"{line} {status.reason}\n".encode())


def hear_status(child: int) -> tuple[int, int, int, int, str]:
    """(Slot, incarnation, lanes claimed, rows written again, why it has no storage)."""
    slot, incarnation, claimed, again, reason = _pipes[child].readline().split(" ", 4)
    return int(slot), int(incarnation), int(claimed), int(again), reason.strip()


def record_one(number: int) -> None:
    """A record that can be told from others."""
    try:
        raise LookupError("of a generation")
    except LookupError as error:
        fp.record(error, "reuse", duration_nano=number)


def lanes_of(store: domain.Store, generation: int) -> Counter[int]:
    """How many lanes there are of slot 0 and such a generation, by state."""
    found: Counter[int] = Counter()
    for number in store.segments():
        with lanes._segment(store, number, whole=False) as mapping:
            for word in core.lane_words(mapping, store.header.lanes_per_segment):
                state = word >> schema.LANE_STATE_SHIFT
                if word & ~schema.LANE_COUNT_MASK == lanes.lane_tag(0, generation, state) and state:
                    found[state] += 1
    return found


def rows_of(store: domain.Store, incarnation: int) -> list[int]:
    """Numbers that `record_one` gave to the rows of one owner, as any reader finds them."""
    with fp.attach(DOMAIN) as reader:
        return [
            row["duration_nano"] for row in reader.records().rows() if row["owner"] == incarnation
        ]


# --------------------------------------------------------------------- one that sleeps meanwhile


def sleeper(asked: dict[str, Any]) -> dict[str, Any]:
    """A stopped process of another PID namespace, without its lock, and who has its slot later.

    What a lane word says of an owner, slot and generation of 16 bits, is the same for both.
    """
    store = open_store(asked["budget_bytes"])
    skip_to(store, asked["generation"])
    found = stopped_elsewhere()
    if found is None:
        return {"skipped": "no PID namespace can be made here"}
    guardian, sleeping, incarnation = found
    kept = asked["generation"]
    if lanes_of(store, kept) != {schema.LANE_OPEN: 1}:
        raise AssertionError(f"lanes of the sleeper: {lanes_of(store, kept)}")
    until(lambda: not maintain.maintain_store(store).problems and not owners.read_owners(store),
          "the sleeper is buried")  # fmt: skip
    if lanes_of(store, kept) != {schema.LANE_CLOSED: 1} or rows_of(store, incarnation) != [1, 2, 3]:
        raise AssertionError(f"buried: {lanes_of(store, kept)}, {rows_of(store, incarnation)}")
    skip_to(store, kept + LANE_GENERATIONS)
    held, let_go = os.pipe()
    child, slot, later = recording(11, 12, go_on=held)
    if slot != 0 or lanes_of(store, kept) != {schema.LANE_CLOSED: 1, schema.LANE_OPEN: 1}:
        raise AssertionError(f"the next one has slot {slot}, lanes {lanes_of(store, kept)}")
    os.kill(sleeping, signal.SIGCONT)
    new_slot, new, _, _, reason = hear_status(guardian)
    if new_slot <= 0 or new in (incarnation, later):
        raise AssertionError(f"awake it has slot {new_slot}, incarnation {new}: {reason}")
    os.write(let_go, b"x")
    _, same, claimed, again, _ = hear_status(child)
    rows = {one: rows_of(store, one) for one in (incarnation, later, new)}
    if (same, claimed, again) != (later, 1, 0) or rows != {
        incarnation: [1, 2, 3], later: [11, 12, 1_011, 1_012], new: [4, 5],
    }:  # fmt: skip
        raise AssertionError(f"{rows}; the next one claimed {claimed} lanes, wrote {again} again")
    os.kill(sleeping, signal.SIGKILL)
    os.waitpid(guardian, 0)
    kill(child)
    until(lambda: not maintain.maintain_store(store).problems and not owners.read_owners(store),
          "both are buried")  # fmt: skip
    return {"rows of the sleeper, of the next, and once awake": 9, **settle(store, 9, 9)}


def stopped_elsewhere() -> tuple[int, int, int] | None:
    """(Its parent, itself, incarnation) of an owner in a PID namespace of its own, stopped.

    It closed every descriptor that it had, and lost its lock with them.
    """
    said, say = os.pipe()

    def elsewhere() -> None:
        lifecycle.init(service="sleeper", domain=DOMAIN)
        for number in (1, 2, 3):
            record_one(number)
        tell_status(say)
        top = os.sysconf("SC_OPEN_MAX")
        os.closerange(3, say)
        os.closerange(say + 1, min(top, 1 << 16))
        os.write(say, b"closed\n")
        while not os.path.exists(woken):
            time.sleep(0)
        for number in (4, 5):
            record_one(number)
        tell_status(say)
        signal.pause()

    def guardian() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
            os.write(say, b"-1\n")
            return
        child = start(elsewhere)
        os.write(say, b"%d\n" % child)
        os.waitpid(child, 0)

    woken = f"{os.environ['FAULTPLANE_DIR']}/woken"
    parent = start(guardian)
    os.close(say)
    pipe = _pipes[parent] = os.fdopen(said)
    sleeping = int(pipe.readline())
    if sleeping < 0:
        os.waitpid(parent, 0)
        return None
    _, incarnation, _, _, reason = hear_status(parent)
    if not incarnation or pipe.readline() != "closed\n":
        raise AssertionError(f"the sleeper did not register: {reason}")
    os.kill(sleeping, signal.SIGSTOP)
    until(lambda: _state(sleeping) == "T", "it stops")
    with open(woken, "w"):
        pass
    return parent, sleeping, incarnation


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


# ------------------------------------------------------------------------------- the last numbers


def incarnations(asked: dict[str, Any]) -> dict[str, Any]:
    """The last two numbers that an owner can have, and those who come after them."""
    store = open_store(asked["budget_bytes"])
    last = owners.INCARNATION_MAX
    store.registry.store(schema.REGISTRY.offset["incarnation_next"], last - 1)
    children = [recording(7) for _ in range(2)]
    if [incarnation for _, _, incarnation in children] != [last - 1, last]:
        raise AssertionError(f"the last incarnations: {children}")
    said, say = os.pipe()

    def refused() -> None:
        lifecycle.init(service="reuse", domain=DOMAIN)
        record_one(8)
        tell_status(say)
        lifecycle.shutdown()

    for _ in range(2):
        late = start(refused)
        if os.waitstatus_to_exitcode(os.waitpid(late, 0)[1]):
            raise AssertionError("a process that comes too late failed")
    os.close(say)
    with os.fdopen(said) as pipe:
        lines = pipe.read().splitlines()
    wanted = f"-1 0 0 0 incarnation must be 1 to {last}, got {last + 1}"
    if len(lines) != 2 or lines[0] != wanted:
        raise AssertionError(f"those who come too late say {lines}, not {wanted!r}")
    rows = [rows_of(store, incarnation) for _, _, incarnation in children]
    for child, _, _ in children:
        kill(child)
    if rows != [[7], [7]]:
        raise AssertionError(f"rows of the last two: {rows}")
    return {"refused": len(lines), **settle(store, 4, 4)}


# ------------------------------------------------------------------------------------- many series


def series(asked: dict[str, Any]) -> dict[str, Any]:
    """Owners with some thousands of series of their own, all dead, all folded: the sum is exact."""
    store = open_store(asked["budget_bytes"])
    expected = 0
    for number in range(asked["owners"]):
        said, say = os.pipe()

        def work(number: int = number, say: int = say) -> None:
            lifecycle.init(service=f"series-{number}", domain=DOMAIN)
            for part in range(asked["series"]):
                core.Counter(f"part {part} of {number}").add(part % 3 + 1)
            os.write(say, b"x")
            signal.pause()

        child = start(work)
        os.close(say)
        with os.fdopen(said, "rb") as pipe:
            pipe.read(1)
        kill(child)
        expected += sum(part % 3 + 1 for part in range(asked["series"]))
        if number % 5 == 4 and total(store) != expected:
            raise AssertionError(f"{total(store)} counted of {expected}")
    return {
        "series of owners that died": asked["owners"] * asked["series"],
        **settle(store, expected, expected),
    }


PARTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "ids": ids, "sleeper": sleeper, "incarnations": incarnations, "series": series,
}  # fmt: skip
