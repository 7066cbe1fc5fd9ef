"""The pairs of docs/protocol.md as small programs: who publishes, who takes, what may not come out.

The order of each operation is that of the function of ``_core/atomics.h`` that the code calls
there, read from the header; ``sites`` says where, as text of the source. So neither can change
alone. A control weakens an order, or does it another way, and must let the wrong outcome through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from axioms import (
    ACQ_REL,
    ACQUIRE,
    FENCE,
    RELAXED,
    Add,
    Fence,
    Load,
    Outcome,
    Store,
    Swap,
    Thread,
)

SOURCE = Path(__file__).parents[2] / "src" / "faultplane"
_FUNCTION = re.compile(
    r"^static inline [\w ]+?\**(fp_\w+)\(.*?\{(.*?)^\}", re.MULTILINE | re.DOTALL
)
_ORDER = re.compile(r"__ATOMIC_([A-Z_]+)")
OPEN, CLOSED = 0, 10  # a lane word: its state, plus its count

Steps = Generator[Any, int, Any]


def orders_of(text: str) -> dict[str, tuple[str, ...]]:
    """The memory orders that each function of the header names."""
    found = {}
    for name, body in _FUNCTION.findall(text):
        if orders := _ORDER.findall(body):
            found[name] = tuple(order.lower() for order in orders)
    return found


class Atomics:
    """The functions of the header as steps. ``weaker`` replaces the orders of some."""

    def __init__(self, orders: dict[str, tuple[str, ...]], weaker: dict[str, str]) -> None:
        self._orders = orders
        self._weaker = weaker

    def load(self, word: str, name: str) -> Load:
        return Load(word, self._order(name, word)[-1])

    def fence(self, name: str) -> Fence:
        """The fence that a function of two orders begins with."""
        fence, _ = self._orders[name]
        return Fence(fence)

    def store(self, word: str, value: int, name: str) -> Store:
        return Store(word, value, self._order(name, word)[0])

    def swap(self, word: str, expected: int, value: int, name: str) -> Swap:
        return Swap(word, expected, value, *self._order(name, word))

    def total(self, word: str, expected: int, value: int, name: str) -> Steps:
        """A swap that is in one order with all others of its kind: what its fence is for."""
        *_, fence = self._orders[name]
        yield Swap(word, expected, value, ACQ_REL, ACQUIRE)
        if fence == "seq_cst" and name not in self._weaker:
            yield FENCE

    def add(self, word: str, value: int, name: str) -> Add:
        return Add(word, value, self._order(name, word)[0])

    def is_weaker(self, what: str) -> bool:
        return what in self._weaker

    def _order(self, name: str, word: str) -> tuple[str, ...]:
        for key in (f"{name} {word}", name):
            if key in self._weaker:
                return (self._weaker[key],) * len(self._orders[name])
        return self._orders[name]


class Litmus(NamedTuple):
    """One pair: its threads, what must never come out, how to break it, where it is in the code."""

    threads: Callable[[Atomics], list[Thread]]
    initial: dict[str, int]
    forbidden: Callable[[Outcome], bool]
    controls: tuple[dict[str, str], ...]
    sites: tuple[tuple[str, str], ...]
    models: tuple[str, ...] = ("C11", "ARM64")
    """One without C11 is of words that Python stores, not C."""


RING = "_core/ring.pyx"
SEGMENT = "_core/segment.pyx"
INTERN = "_core/intern.pyx"
COMMIT = ("_core/ring.pxd", "if not fp_cas_release(w.word, w.expected, w.expected + 1):")
CLOSE = (SEGMENT, "if fp_cas(lane_word(segment, lane), word,")
CLOSER_LOADS = (SEGMENT, "word = fp_load_acquire(lane_word(segment, lane))")
READER = ("_core/memory.pyx", "fp_load_acquire(")


def _commit(a: Atomics) -> list[Thread]:
    def writer() -> Steps:
        yield Store("row", 1)
        yield a.swap("lane", OPEN, OPEN + 1, "fp_cas_release")

    def reader() -> Steps:
        word = yield a.load("lane", "fp_load_acquire")
        return (yield Load("row")) if word else None

    return [writer, reader]


def _close(a: Atomics) -> list[Thread]:
    """Whoever reads CLOSED(1) sees the row: the closer's swap goes on where the commit began."""

    def writer() -> Steps:
        yield Store("row", 1)
        yield a.swap("lane", OPEN, OPEN + 1, "fp_cas_release")

    def closer() -> Steps:
        if a.is_weaker("a store closes"):
            word = yield Load("lane", RELAXED)
            yield Store("lane", CLOSED + word, RELAXED)
            return
        if a.is_weaker("a relaxed swap closes"):
            word = yield Load("lane", RELAXED)
        else:
            word = yield a.load("lane", "fp_load_acquire")
        if a.is_weaker("a relaxed swap closes") and word < CLOSED:
            yield Swap("lane", word, CLOSED + word, RELAXED, RELAXED)
        elif word < CLOSED:
            yield a.swap("lane", word, CLOSED + word, "fp_cas")

    def reader() -> Steps:
        word = yield a.load("lane", "fp_load_acquire")
        return (yield Load("row")) if word == CLOSED + 1 else None

    return [writer, closer, reader]


def _no_third(a: Atomics) -> list[Thread]:
    """A commit that succeeded is in the count of the closed lane; one that failed never is."""

    def writer() -> Steps:
        if a.is_weaker("a store commits"):
            word = yield Load("lane", RELAXED)
            if word == OPEN:
                yield Store("lane", OPEN + 1, "release")
            return word == OPEN
        return (yield a.swap("lane", OPEN, OPEN + 1, "fp_cas_release")) == OPEN

    def closer() -> Steps:
        word = yield a.load("lane", "fp_load_acquire")
        before = yield a.swap("lane", word, CLOSED + word, "fp_cas")
        return before if before == word else None

    return [writer, closer]


def _claim(a: Atomics) -> list[Thread]:
    def writer() -> Steps:
        if a.is_weaker("a store claims"):
            lane = yield Load("next", ACQUIRE)
            yield Store("next", lane + 1, "release")
            return lane
        return (yield a.add("next", 1, "fp_add"))

    return [writer, writer]


def _earlier_lane(a: Atomics) -> list[Thread]:
    """A row in a later lane is never shown without those that its writer committed before it."""

    def writer() -> Steps:
        yield a.swap("first", OPEN, OPEN + 1, "fp_cas_release")
        yield a.swap("second", OPEN, OPEN + 1, "fp_cas_release")

    def reader() -> Steps:
        before = yield a.load("first", "fp_load_acquire")
        second = yield a.load("second", "fp_load_acquire")
        if a.is_weaker("loaded once"):
            return before, second
        return (yield a.load("first", "fp_load_acquire")), second

    return [writer, reader]


def _entry(a: Atomics) -> list[Thread]:
    def interner() -> Steps:
        yield Store("text", 1)
        yield a.store("entry", 1, "fp_store_release")

    def reader() -> Steps:
        return (yield Load("text")) if (yield a.load("entry", "fp_load_acquire")) else None

    return [interner, reader]


def _bucket(a: Atomics) -> list[Thread]:
    """Another interner goes by the bucket, and reads the entry's hash plainly."""

    def interner() -> Steps:
        yield Store("hash", 1)
        yield a.store("entry", 1, "fp_store_release")
        yield a.swap("bucket", 0, 1, "fp_cas32")

    def other() -> Steps:
        if not (yield a.load("bucket", "fp_load32_acquire")):
            return None
        value = yield Load("hash")
        return value, (yield a.load("entry", "fp_load_acquire"))

    return [interner, other]


def _one_bucket(a: Atomics) -> list[Thread]:
    """Of two who want a bucket one gets it, and the other sees the entry of who did."""

    def interner(number: int) -> Thread:
        def steps() -> Steps:
            yield Store(f"hash {number}", 1)
            if a.is_weaker("a store takes"):
                taken = yield Load("bucket", ACQUIRE)
                if not taken:
                    yield Store("bucket", number, "release")
            else:
                taken = yield a.swap("bucket", 0, number, "fp_cas32")
            return (taken, (yield Load(f"hash {taken}"))) if taken else (0, 1)

        return steps

    return [interner(1), interner(2)]


def _names(a: Atomics) -> list[Thread]:
    """The names of a row that is seen are seen, whoever interned them: order is transitive."""

    def interner() -> Steps:
        yield Store("text", 1)
        yield a.store("entry", 1, "fp_store_release")
        yield a.swap("bucket", 0, 1, "fp_cas32")

    def writer() -> Steps:
        if not (yield a.load("bucket", "fp_load32_acquire")):
            return
        yield a.swap("lane", OPEN, OPEN + 1, "fp_cas_release")

    def reader() -> Steps:
        if not (yield a.load("lane", "fp_load_acquire")):
            return None
        entry = yield a.load("entry", "fp_load_acquire")
        return (yield Load("text")) if entry else 0

    return [interner, writer, reader]


def _used(a: Atomics) -> list[Thread]:
    def owner() -> Steps:
        yield Store("cell", 1)
        yield a.store("used", 1, "fp_store_release")

    def reader() -> Steps:
        return (yield Load("cell")) if (yield a.load("used", "fp_load_acquire")) else None

    return [owner, reader]


def _newest(a: Atomics) -> list[Thread]:
    def publisher() -> Steps:
        yield Store("file", 1)  # header, name
        yield a.swap("newest", 0, 1, "fp_cas")

    def other() -> Steps:
        return (yield Load("file")) if (yield a.load("newest", "fp_load_acquire")) else None

    return [publisher, other]


def _noted(a: Atomics) -> list[Thread]:
    """Whoever sees the oldest segment moved on finds how many rows the last one had."""

    def retirer() -> Steps:
        yield a.swap("entry", 0, 7, "fp_cas")
        yield a.swap("oldest", 1, 2, "fp_cas")

    def reader() -> Steps:
        if (yield a.load("oldest", "fp_load_acquire")) != 2:
            return None
        return (yield a.load("entry", "fp_load_acquire"))

    return [retirer, reader]


def _late_note(a: Atomics) -> list[Thread]:
    """Who retires late never replaces what was noted of a later segment in the same entry."""

    def retirer() -> Steps:
        yield a.swap("entry", 0, 1, "fp_cas")
        yield a.swap("oldest", 1, 2, "fp_cas")
        yield a.swap("entry", 1, 1024, "fp_cas")  # the table has come round

    def late() -> Steps:
        if a.is_weaker("the other way round"):
            oldest = yield a.load("oldest", "fp_load_acquire")
            noted = yield a.load("entry", "fp_load_acquire")
        else:
            noted = yield a.load("entry", "fp_load_acquire")
            oldest = yield a.load("oldest", "fp_load_acquire")
        if oldest == 1:
            yield a.swap("entry", noted, 1, "fp_cas")

    return [retirer, late]


def _owner(a: Atomics) -> list[Thread]:
    """The fields that are read belong to the word that was the same before and after."""

    def folder() -> Steps:
        yield a.swap("word", 1, 0, "fp_cas")  # free

    def next_owner() -> Steps:
        if (yield a.load("word", "fp_load_acquire")) != 0:
            return
        yield Store("fields", 2, RELAXED)
        yield a.swap("word", 0, 2, "fp_cas")

    def reader() -> Steps:
        word = yield a.load("word", "fp_load_acquire")
        fields = yield Load("fields", RELAXED)
        if not a.is_weaker("no fence"):
            yield a.fence("fp_load_again")
        again = yield a.load("word", "fp_load_again")
        return fields if word == again == 1 else None

    return [folder, next_owner, reader]


def _registered(a: Atomics) -> list[Thread]:
    def owner() -> Steps:
        yield Store("fields", 1)
        yield a.swap("word", 0, 1, "fp_cas")

    def reader() -> Steps:
        return (yield Load("fields")) if (yield a.load("word", "fp_load_acquire")) else None

    return [owner, reader]


def _inflight(a: Atomics) -> list[Thread]:
    """A new word comes with new fields. (An old one may come with them too: see test.)"""

    def owner() -> Steps:
        yield a.store("word", 0, "fp_store_release")
        yield FENCE
        yield Store("fields", 2, RELAXED)
        yield a.store("word", 2, "fp_store_release")

    def reader() -> Steps:
        word = yield a.load("word", "fp_load_acquire")
        return word, (yield Load("fields", RELAXED))

    return [owner, reader]


def _pure_seal(a: Atomics) -> list[Thread]:
    """The pure core: a commit that the sealer has not read is settled by who committed."""

    def writer() -> Steps:
        yield Store("lane", OPEN + 1, RELAXED)
        if not a.is_weaker("no fence in the writer"):
            yield FENCE
        return (yield Load("state", RELAXED))

    def sealer() -> Steps:
        yield Store("state", 1, RELAXED)
        if not a.is_weaker("no fence in the sealer"):
            yield FENCE
        return (yield Load("lane", RELAXED))

    return [writer, sealer]


def _leases(a: Atomics) -> list[Thread]:
    """Of two who take the last place, each saying so first, one at least sees the other."""

    def taker(mine: str, other: str) -> Thread:
        def steps() -> Steps:
            yield from a.total(mine, 0, 1, "fp_cas_total")
            return (yield a.load(other, "fp_load_acquire"))

        return steps

    return [taker("first", "second"), taker("second", "first")]


LITMUS = {
    "who takes a lease is seen or sees": Litmus(
        _leases,
        {"first": 0, "second": 0},
        lambda o: o.returned == (0, 0),
        ({"fp_cas_total": ""},),
        (("_core/control.h", "if (fp_cas_total(word, old, more ? now + one : now - one))"),
         ("_core/control.h", "uint64_t word = fp_load_acquire(&c->leases[i].probes);")),
    ),
    "a row comes with its commit": Litmus(
        _commit,
        {"lane": OPEN, "row": 0},
        lambda o: o.returned[1] in (0, "race"),
        ({"fp_cas_release": RELAXED}, {"fp_load_acquire": RELAXED}),
        (COMMIT, READER),
    ),
    "a row comes with the closing of its lane": Litmus(
        _close,
        {"lane": OPEN, "row": 0},
        lambda o: o.returned[2] in (0, "race"),
        ({"fp_cas_release": RELAXED}, {"fp_load_acquire": RELAXED}, {"a store closes": ""}),
        (COMMIT, CLOSE, CLOSER_LOADS),
    ),
    "a commit succeeds or the lane is closed": Litmus(
        _no_third,
        {"lane": OPEN},
        lambda o: o.returned[0] is True and o.returned[1] == OPEN,
        ({"a store commits": ""},),
        (COMMIT, CLOSE),
    ),
    "a lane is handed out once": Litmus(
        _claim,
        {"next": 0},
        lambda o: o.returned[0] == o.returned[1],
        ({"a store claims": ""},),
        ((RING, "lane = fp_add(&h.next_lane[0], 1)"),),
    ),
    "a later lane comes with the earlier": Litmus(
        _earlier_lane,
        {"first": OPEN, "second": OPEN},
        lambda o: o.returned[1] == (0, 1),
        ({"loaded once": ""}, {"fp_cas_release": RELAXED}, {"fp_load_acquire": RELAXED}),
        (COMMIT, ("store/reader.py", "words[lane] = self.mapping.load(offset)")),
    ),
    "a name comes with its entry": Litmus(
        _entry,
        {"entry": 0, "text": 0},
        lambda o: o.returned[1] in (0, "race"),
        ({"fp_store_release": RELAXED}, {"fp_load_acquire": RELAXED}),
        ((INTERN, "fp_store_release(&d.entries[id].word, "),
         ("store/dictionaries.py", "load(")),
    ),
    "an entry comes with its bucket": Litmus(
        _bucket,
        {"bucket": 0, "entry": 0, "hash": 0},
        lambda o: o.returned[1] is not None and o.returned[1] != (1, 1),
        ({"fp_cas32": RELAXED}, {"fp_load32_acquire": RELAXED}),
        ((INTERN, "if fp_cas32(&d.buckets[bucket], 0, "),
         (INTERN, "taken = fp_load32_acquire(&d.buckets[bucket])")),
    ),
    "a bucket is taken once": Litmus(
        _one_bucket,
        {"bucket": 0, "hash 1": 0, "hash 2": 0},
        lambda o: "race" in o.returned or o.returned[0][0] == o.returned[1][0] == 0
        or 0 in (o.returned[0][1], o.returned[1][1]),
        ({"a store takes": ""}, {"fp_cas32": RELAXED}),
        ((INTERN, "if fp_cas32(&d.buckets[bucket], 0, "),),
    ),
    "the names of a row come with it": Litmus(
        _names,
        {"text": 0, "entry": 0, "bucket": 0, "lane": OPEN},
        lambda o: o.returned[2] in (0, "race"),
        ({"fp_load32_acquire": RELAXED}, {"fp_cas32": RELAXED}, {"fp_cas_release": RELAXED},
         {"fp_load_acquire": RELAXED}),
        (COMMIT, (INTERN, "taken = fp_load32_acquire(&d.buckets[bucket])")),
    ),
    "a series comes with its end": Litmus(
        _used,
        {"used": 0, "cell": 0},
        lambda o: o.returned[1] in (0, "race"),
        ({"fp_store_release": RELAXED}, {"fp_load_acquire": RELAXED}),
        (("_core/aggregate.pyx", "fp_store_release(&(<aggregate_t*>a.base).used, a.used)"),
         ("store/aggregate.py", 'used = mapping.load(_AGGREGATE.offset["used"])')),
    ),
    "a segment comes with its number": Litmus(
        _newest,
        {"newest": 0, "file": 0},
        lambda o: o.returned[1] in (0, "race"),
        ({"fp_cas": RELAXED}, {"fp_load_acquire": RELAXED}),
        ((SEGMENT, "while seen < number:\n        if fp_cas(word, seen, number):"),
         (RING, "fp_load_acquire(&w.files.registry.segment_newest[0])")),
    ),
    "a segment that is gone is noted": Litmus(
        _noted,
        {"oldest": 1, "entry": 0},
        lambda o: o.returned[1] == 0,
        ({"fp_cas": RELAXED}, {"fp_load_acquire": RELAXED}),
        ((SEGMENT, "fp_cas(entry, noted, number << SEGMENT_TABLE_ROWS_BITS | rows)"),
         (SEGMENT, "fp_cas(&f.registry.segment_oldest[0], number, number + 1)")),
    ),
    "a segment that is gone is in the total": Litmus(
        _noted,  # the same shape: the total in the place of the entry
        {"oldest": 1, "entry": 0},
        lambda o: o.returned[1] == 0,
        ({"fp_cas": RELAXED}, {"fp_load_acquire": RELAXED}),
        ((SEGMENT, "fp_cas(\n            &f.registry.retired, retired,"),
         ("store/domain.py", 'self.load("segment_oldest"), self.load("retired")')),
    ),
    "a late note replaces no later one": Litmus(
        _late_note,
        {"oldest": 1, "entry": 0},
        lambda o: o.final["oldest"] == 2 and o.final["entry"] == 1,
        ({"the other way round": ""}, {"fp_load_acquire": RELAXED}),
        ((SEGMENT, "cdef uint64_t noted = fp_load_acquire(entry)"),),
    ),
    "an owner comes with its fields": Litmus(
        _registered,
        {"word": 0, "fields": 0},
        lambda o: o.returned[1] in (0, "race"),
        ({"fp_cas": RELAXED}, {"fp_load_acquire": RELAXED}),
        (("store/owners.py", "not store.owners.cas(base, word, live):"),),
    ),
    "fields are of the owner that was read": Litmus(
        _owner,
        {"word": 1, "fields": 1},
        lambda o: o.returned[2] == 2,
        ({"no fence": ""},),
        (("store/owners.py", "if store.owners.load_again(base) >> 8 == word >> 8:"),),
        models=("ARM64",),
    ),
    "an operation comes with its word": Litmus(
        _inflight,
        {"word": 1, "fields": 1},
        lambda o: o.returned[1] == (2, 1),
        ({"fp_store_release": RELAXED}, {"fp_load_acquire": RELAXED}),
        (("_core/breath.h", "fp_store_release(&slot->word, number);"),
         ("_core/breath.h", "__atomic_thread_fence(__ATOMIC_RELEASE);")),
    ),
    "the pure core settles what the sealer did not read": Litmus(
        _pure_seal,
        {"lane": OPEN, "state": 0},
        lambda o: o.returned == (0, 0),
        ({"no fence in the writer": ""}, {"no fence in the sealer": ""}),
        (("_pure/writer.py", "fence()\n        return words[_STATE] == SEGMENT_ACTIVE"),
         ("_pure/ring.py", "not see must see this.\n        fence()\n        rows = 0")),
    ),
}  # fmt: skip
