"""Every execution of a few threads that a memory model allows, by its axioms.

`RC11` is C's model as repaired by Lahav and others (2017) with C++20's release sequences, `ARMV8`
that of ARM64 (Deacon's and Pulte's, 2018). Interleavings are not enough for either: a load may
give what was stored before other things it sees. An execution is a choice of the store that each
load reads from, and of an order of the stores to each word; a model is a handful of relations that
may have no cycle.

A thread is a generator that yields `Store`, `Load`, `Swap`, `Add` and `FENCE` and is sent what was
read. Dependencies between its own steps are not counted as order: what holds here needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import permutations, product
from typing import Any, NamedTuple

PLAIN, RELAXED, ACQUIRE, RELEASE, ACQ_REL = "plain", "relaxed", "acquire", "release", "acq_rel"
ACQUIRES, RELEASES = {ACQUIRE, ACQ_REL}, {RELEASE, ACQ_REL}


class Store(NamedTuple):
    word: str
    value: int
    order: str = PLAIN


class Load(NamedTuple):
    word: str
    order: str = PLAIN


class Swap(NamedTuple):
    """Compare and swap; gives what was there, which was ``expected`` if it has been swapped."""

    word: str
    expected: int
    value: int
    order: str = ACQ_REL
    failing: str = ACQUIRE


class Add(NamedTuple):
    word: str
    value: int
    order: str = ACQ_REL


class Fence(NamedTuple):
    """``ACQUIRE``: loads before it come before all that follows; ``ACQ_REL``: everything does."""

    order: str


FENCE = Fence(ACQ_REL)
Thread = Callable[[], Generator[Any, int, Any]]


class Event(NamedTuple):
    thread: int  # -1: what was there before
    kind: str  # R, W or F
    word: str
    value: int
    order: str
    pair: int  # of a read-modify-write: the same number; 0 for none


class Outcome(NamedTuple):
    """What threads returned, and what is left in each word."""

    returned: tuple[Any, ...]
    final: dict[str, int]


# --------------------------------------------------------------------------- runs of one thread


def _steps(op: Any, seen: int | None) -> list[tuple[str, str, int, str, bool]]:
    """(Kind, word, value, order, is half of a pair) of one operation that read ``seen``."""
    if isinstance(op, Store):
        return [("W", op.word, op.value, op.order, False)]
    if isinstance(op, Fence):
        return [("F", "", 0, op.order, False)]
    assert seen is not None
    if isinstance(op, Load):
        return [("R", op.word, seen, op.order, False)]
    if isinstance(op, Swap) and seen != op.expected:
        return [("R", op.word, seen, op.failing, False)]
    value = op.value if isinstance(op, Swap) else seen + op.value
    return [("R", op.word, seen, op.order, True), ("W", op.word, value, op.order, True)]


def _runs(thread: Thread, values: dict[str, set[int]]) -> Iterator[tuple[list[Any], Any]]:
    """Steps of a thread and what it returns, for every choice of what its loads give."""

    def go(sent: list[int]) -> Iterator[tuple[list[Any], Any]]:
        running, steps, left = thread(), [], list(sent)
        try:
            op = next(running)
            while True:
                seen = None
                if not isinstance(op, Store | Fence):
                    if not left:
                        for value in sorted(values[op.word]):
                            yield from go([*sent, value])
                        return
                    seen = left.pop(0)
                steps.append(_steps(op, seen))
                op = running.send(seen if seen is not None else 0)
        except StopIteration as end:
            yield steps, end.value

    return go([])


def _values(threads: list[Thread], initial: dict[str, int]) -> dict[str, set[int]]:
    """What each word may hold at any time. A value is made of others by a chain of stores."""
    values = {word: {value} for word, value in initial.items()}
    chain = longest = 1
    while chain <= longest:
        longest = 0
        for thread in threads:
            most = 0
            for steps, _ in list(_runs(thread, values)):
                stores = [one for step in steps for one in step if one[0] == "W"]
                most = max(most, len(stores))
                for _, word, value, _, _ in stores:
                    values[word].add(value)
            longest += most
        chain += 1
    return values


# ---------------------------------------------------------------------------------- relations


class Relation:
    """Pairs of events, as a set of bits for each event."""

    def __init__(self, size: int, pairs: Any = ()) -> None:
        self.rows = [0] * size
        for a, b in pairs:
            self.rows[a] |= 1 << b

    def __or__(self, other: Relation) -> Relation:
        made = Relation(len(self.rows))
        made.rows = [a | b for a, b in zip(self.rows, other.rows, strict=True)]
        return made

    def then(self, other: Relation) -> Relation:
        made = Relation(len(self.rows))
        for a, row in enumerate(self.rows):
            for b, next_row in enumerate(other.rows):
                if row >> b & 1:
                    made.rows[a] |= next_row
        return made

    def closed(self) -> Relation:
        """Transitively."""
        made = Relation(len(self.rows))
        made.rows = list(self.rows)
        for middle in range(len(made.rows)):
            for a, row in enumerate(made.rows):
                if row >> middle & 1:
                    made.rows[a] |= made.rows[middle]
        return made

    def has_cycle(self) -> bool:
        return any(row >> a & 1 for a, row in enumerate(self.closed().rows))

    def is_reflexive(self) -> bool:
        return any(row >> a & 1 for a, row in enumerate(self.rows))

    def has(self, a: int, b: int) -> bool:
        return bool(self.rows[a] >> b & 1)


class Execution:
    """Events and the relations that every model starts from."""

    def __init__(
        self, events: list[Event], reads_from: dict[int, int], orders: list[tuple[int, ...]]
    ) -> None:
        self.events = events
        self.reads_from = reads_from
        self.size = len(events)
        self.order = self._of(
            (a, b) for a in self._all() for b in self._all() if a < b and self._same_thread(a, b)
        )
        self.rf = self._of((w, r) for r, w in reads_from.items())
        self.co = self._of(
            (order[i], order[j]) for order in orders for i in range(len(order))
            for j in range(i + 1, len(order))
        )  # fmt: skip
        self.fr = self._of(
            (r, later) for r, w in reads_from.items() for later in self._all()
            if self.co.has(w, later)
        )  # fmt: skip
        self.rmw = self._of(
            (a, a + 1) for a in self._all()[:-1]
            if events[a].pair and events[a].pair == events[a + 1].pair
        )  # fmt: skip

    def _all(self) -> range:
        return range(self.size)

    def _of(self, pairs: Any) -> Relation:
        return Relation(self.size, pairs)

    def _same_thread(self, a: int, b: int) -> bool:
        return self.events[a].thread == self.events[b].thread >= 0

    def pairs(self, test: Callable[[Event, Event], bool]) -> Relation:
        return self._of(
            (a, b) for a in self._all() for b in self._all()
            if test(self.events[a], self.events[b])
        )  # fmt: skip

    def where(self, relation: Relation, test: Callable[[Event, Event], bool]) -> Relation:
        return self._of(
            (a, b) for a in self._all() for b in self._all()
            if relation.has(a, b) and test(self.events[a], self.events[b])
        )  # fmt: skip

    def external(self, relation: Relation) -> Relation:
        return self.where(relation, lambda a, b: a.thread != b.thread)

    def of(self, test: Callable[[Event], bool]) -> Relation:
        """The identity of events that pass."""
        return self._of((a, a) for a in self._all() if test(self.events[a]))

    def is_atomic(self) -> bool:
        """Nothing comes between the two halves of a read-modify-write."""
        between = self.fr.then(self.co)
        return not any(self.rmw.has(a, a + 1) and between.has(a, a + 1) for a in self._all()[:-1])


# ---------------------------------------------------------------------------------- executions


def executions(
    threads: list[Thread], initial: dict[str, int]
) -> Iterator[tuple[Execution, tuple[Any, ...]]]:
    """Every execution that any model could allow, and what its threads returned."""
    values = _values(threads, initial)
    runs = [list(_runs(thread, values)) for thread in threads]
    for chosen in product(*runs):
        events = [Event(-1, "W", word, value, RELAXED, 0) for word, value in initial.items()]
        pair = 0
        for number, (steps, _) in enumerate(chosen):
            for step in steps:
                pair += 1
                events += [
                    Event(number, kind, word, value, order, pair if half else 0)
                    for kind, word, value, order, half in step
                ]
        for execution in _wired(events, initial):
            yield execution, tuple(returned for _, returned in chosen)


def _wired(events: list[Event], initial: dict[str, int]) -> Iterator[Execution]:
    """Each choice of what loads read from and in which order each word is stored to."""
    loads = [n for n, event in enumerate(events) if event.kind == "R"]
    sources = [
        [
            w for w, store in enumerate(events)
            if store.kind == "W"
            and (store.word, store.value) == (events[load].word, events[load].value)
        ]
        for load in loads
    ]  # fmt: skip
    orders = []
    for word in initial:
        stores = [n for n, event in enumerate(events) if event.kind == "W" and event.word == word]
        # What was there before comes first; it is the first event of the word.
        orders.append([(stores[0], *rest) for rest in permutations(stores[1:])])
    for chosen_orders in product(*orders):
        for chosen in product(*sources):
            yield Execution(events, dict(zip(loads, chosen, strict=True)), list(chosen_orders))


Model = Callable[[Execution], str]


def outcomes(
    threads: list[Thread], initial: dict[str, int], model: Model
) -> tuple[list[Outcome], int]:
    """What may come out, and how many executions the model allows.

    An execution with a race, after which C promises nothing, gives an `Outcome` that says "race".
    """
    found, allowed = [], 0
    for execution, returned in executions(threads, initial):
        refused = model(execution)
        if refused not in ("", "race"):
            continue
        allowed += 1
        if refused == "race":
            returned = ("race",) * len(threads)
        final = {
            word: execution.events[
                next(
                    n for n, event in enumerate(execution.events)
                    if event.kind == "W" and event.word == word and not execution.co.rows[n]
                )
            ].value
            for word in initial
        }  # fmt: skip
        outcome = Outcome(returned, final)
        if outcome not in found:
            found.append(outcome)
    return found, allowed


# ------------------------------------------------------------------------------------- models


def armv8(x: Execution) -> str:
    """ "" for an execution that ARM64 allows. An acquire is the weaker one (``ldapr``).

    Internal visibility, atomicity, external visibility; without dependencies.
    """
    same = x.where(x.order, lambda a, b: a.word == b.word != "")
    if (same | x.rf | x.co | x.fr).has_cycle():
        return "internal"
    if not x.is_atomic():
        return "atomic"
    is_release = x.of(lambda e: e.kind == "W" and e.order in RELEASES)
    is_acquire = x.of(lambda e: e.kind == "R" and e.order in ACQUIRES)
    reads = x.of(lambda e: e.kind == "R")
    # `ldaxr`, `casa`: unlike `ldapr`, not before an earlier `stlr`.
    strong = x.of(lambda e: e.kind == "R" and e.order in ACQUIRES and e.pair > 0)
    full = x.of(lambda e: e.kind == "F" and e.order == ACQ_REL)
    loads = x.of(lambda e: e.kind == "F")
    po = x.order
    internal_co = x.where(x.co, lambda a, b: a.thread == b.thread)
    before = (
        po.then(full).then(po)
        | is_release.then(po).then(strong)
        | reads.then(po).then(loads).then(po)
        | is_acquire.then(po)
        | po.then(is_release)
        | po.then(is_release).then(internal_co)
    )
    atomic = x.rmw | x.where(
        x.rf, lambda a, b: a.thread == b.thread and a.pair > 0 and b.order in ACQUIRES
    )
    observed = x.external(x.rf) | x.external(x.co) | x.external(x.fr)
    return "external" if (observed | before | atomic).has_cycle() else ""


def rc11(x: Execution) -> str:
    """ "" for an execution that C allows, "race" where it allows anything at all."""
    atomic = x.of(lambda e: e.kind == "W" and e.order != PLAIN)
    sequence = atomic | atomic.then(x.rf.then(x.rmw).closed())
    from_release = x.of(lambda e: e.kind == "W" and e.order in RELEASES) | x.of(
        lambda e: e.kind == "F" and e.order == ACQ_REL
    ).then(x.order)
    to_acquire = x.of(lambda e: e.kind == "R" and e.order in ACQUIRES)
    taken = x.of(lambda e: e.kind == "R" and e.order != PLAIN)
    fences = x.of(lambda e: e.kind == "F")
    into = to_acquire | taken.then(x.order).then(fences)
    synchronized = from_release.then(sequence).then(x.rf).then(into)
    initially = x.pairs(lambda a, b: a.thread < 0 <= b.thread)
    happens = (x.order | synchronized | initially).closed()
    eventually = (x.rf | x.co | x.fr).closed()
    if happens.is_reflexive() or happens.then(eventually).is_reflexive():
        return "coherence"
    if not x.is_atomic():
        return "atomic"
    full = x.of(lambda e: e.kind == "F" and e.order == ACQ_REL)
    between = happens | happens.then(eventually).then(happens)
    if full.then(between).then(full).has_cycle():
        return "fences"
    if (x.order | x.rf).has_cycle():
        return "thin air"
    for a, one in enumerate(x.events):
        for b, two in enumerate(x.events[:a]):
            conflict = one.word == two.word != "" and "W" in (one.kind, two.kind)
            ordered = one.thread == two.thread or happens.has(a, b) or happens.has(b, a)
            if conflict and PLAIN in (one.order, two.order) and not ordered:
                return "race"
    return ""
