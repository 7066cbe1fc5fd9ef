"""What a control cell is, said plainly: sets and lists in place of words, leases and buckets.

`Model` says which state follows; `CellMachine` has hypothesis do whatever it likes with a cell of a
core, and holds each word that it finds against that.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from cells import LATER, SLOTS, START_MS, Driven, configs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faultplane import control_schema as layout
from faultplane.control_schema import (
    BREAKER_CLOSED,
    BREAKER_FORCED_OPEN,
    BREAKER_HALF_OPEN,
    BREAKER_METRICS_ONLY,
    BREAKER_OPEN,
    TICKET_PROBE,
    TICKET_UNCOUNTED,
)

GENERATIONS = 1 << 18
REJECTED, FULL = -1, -2
LEGAL = {
    (BREAKER_CLOSED, BREAKER_OPEN),
    (BREAKER_OPEN, BREAKER_HALF_OPEN),
    (BREAKER_HALF_OPEN, BREAKER_HALF_OPEN),
    (BREAKER_HALF_OPEN, BREAKER_OPEN),
    (BREAKER_HALF_OPEN, BREAKER_CLOSED),
}
"""What happens by itself; `move` makes any state of any."""


class Model:
    """One cell. Probes, permits and tokens are counted by owner, for as long as that lives."""

    def __init__(self, config: dict[str, int], generation: int) -> None:
        self.config = config
        self.state, self.generation, self.successes, self.until = BREAKER_CLOSED, generation, 0, 0
        self.reopened = self.streak = 0
        self.window: list[tuple[int, bool, bool]] = []
        self.probes: Counter[int] = Counter()
        self.permits: Counter[int] = Counter()
        self.held: Counter[int] = Counter()
        self.sent = self.deposits = 0

    def move(self, state: int, until: int, again: bool = False) -> None:
        """A transition: a new generation, which knows nothing of the one before."""
        self.state, self.until = state, until
        self.generation = (self.generation + 1) % GENERATIONS
        self.successes = self.streak = 0
        self.window, self.probes = [], Counter()
        if state == BREAKER_OPEN:
            self.reopened = min(self.reopened + 1, 64) if again else 0
        elif state == BREAKER_CLOSED:
            self.reopened = 0

    def admit(self, owner: int, now: int) -> int:
        """The ticket that a call gets."""
        config = self.config
        waits = self.state in {BREAKER_OPEN, BREAKER_HALF_OPEN}
        if self.state == BREAKER_FORCED_OPEN:
            return REJECTED
        if self.state in {BREAKER_CLOSED, BREAKER_METRICS_ONLY}:
            return self.generation
        if not waits or not config["probes"]:
            return self.generation | TICKET_UNCOUNTED
        if now >= self.until:
            self.move(BREAKER_HALF_OPEN, now + config["probe_ms"])
        elif self.state == BREAKER_OPEN:
            return REJECTED
        if self.probes.total() + self.successes >= config["probes"]:
            return FULL
        self.probes[owner] += 1
        return self.generation | TICKET_PROBE

    def ended(
        self, owner: int, ticket: int, failed: bool, slow: bool, now: int, asked: int = 0
    ) -> None:
        """How a call ended; one of an earlier generation changes nothing."""
        config = self.config
        least = config["asked_ms_min"]
        asked = min(asked, config["open_ms_max"]) if failed and 0 < least <= asked else 0
        if ticket & TICKET_UNCOUNTED or ticket % GENERATIONS != self.generation:
            return
        if ticket & TICKET_PROBE:
            self.probes[owner] -= 1
            if failed or (slow and config["slow_rate"]):
                self.move(BREAKER_OPEN, now + max(self.open_ms(again=True), asked), again=True)
            elif self.successes + 1 >= config["probes"]:
                self.move(BREAKER_CLOSED, 0)
            else:
                self.successes += 1
            return
        self.window.append((now, failed, slow))
        self.streak = self.streak + 1 if failed else 0
        if (failed or slow) and self.state == BREAKER_CLOSED:
            ms = max(self.open_ms(again=False) if self.trips(now) else 0, asked)
            if ms:
                self.move(BREAKER_OPEN, now + ms)

    def ignored(self, owner: int, ticket: int) -> None:
        """It said nothing."""
        if ticket & TICKET_PROBE and ticket % GENERATIONS == self.generation:
            self.probes[owner] -= 1

    def open_ms(self, again: bool) -> int:
        """How long it stays open."""
        config, ms = self.config, self.config["open_ms"]
        if again and config["open_factor_milli"] > layout.MILLI:
            for _ in range(self.reopened + 1):
                if ms < config["open_ms_max"]:
                    ms = ms * config["open_factor_milli"] // layout.MILLI
        return min(ms, config["open_ms_max"])

    def sums(self, now: int) -> tuple[int, int, int]:
        """Calls, failures and slow calls in the window."""
        config = self.config
        if config["window_ms"]:
            bucket_ms = -(-config["window_ms"] // layout.BUCKETS)
            first = now // bucket_ms - layout.BUCKETS
            inside = [one for one in self.window if one[0] // bucket_ms > first]
        else:
            size = config["window_calls"]
            inside = self.window[-size:] if size else []
        failures, slow = (sum(one[at] for one in inside) for at in (1, 2))
        counted = slow if config["window_ms"] or config["slow_rate"] else 0
        return len(inside), failures, counted

    def trips(self, now: int) -> bool:
        """Whether the window opens it."""
        config = self.config
        calls, failures, slow = self.sums(now)
        if config["consecutive"] and self.streak >= config["consecutive"]:
            return True
        if not calls or calls < config["calls_min"]:
            return False
        rates = (config["failure_rate"], failures), (config["slow_rate"], slow)
        return any(rate and n * layout.RATE_ONE >= rate * calls for rate, n in rates)

    def dies(self, owner: int) -> int:
        """An owner is dead: how much it held."""
        held = [owned.pop(owner, 0) for owned in (self.probes, self.permits, self.held)]
        return sum(held)


class CellMachine(RuleBasedStateMachine):
    """Whatever owners do, the cell is what the model says."""

    core: Any = None

    @initialize(
        config=configs(),
        generation=st.sampled_from([0, 250, GENERATIONS - 3]),
        state=st.sampled_from([BREAKER_CLOSED, BREAKER_OPEN]),
    )
    def begin(self, config: dict[str, int], generation: int, state: int) -> None:
        """A cell whose generation may be about to begin anew at 0."""
        self.driven, self.model = Driven(self.core, config), Model(config, generation)
        self.model.state = state
        self.driven.mapping.store(
            layout.CONTROL_CELL.offset["breaker"],
            state << layout.BREAKER_STATE_SHIFT | generation << layout.BREAKER_GENERATION_SHIFT,
        )
        self.before = self.word()
        self.moved = False

    def word(self) -> tuple[int, int, int, int]:
        """State, generation, successes, until."""
        word = self.driven.mapping.load(layout.CONTROL_CELL.offset["breaker"])
        return (
            word >> layout.BREAKER_STATE_SHIFT,
            word >> layout.BREAKER_GENERATION_SHIFT & layout.BREAKER_GENERATION_MASK,
            word >> layout.BREAKER_SUCCESSES_SHIFT & layout.BREAKER_SUCCESSES_MASK,
            word & layout.BREAKER_UNTIL_MASK,
        )

    # ---------------------------------------------------------------------------- invariants

    @invariant()
    def moves_as_it_may(self) -> None:
        """Only legal transitions, each of which begins a generation; the model's in each case."""
        if not hasattr(self, "model"):
            return
        driven, model, now = self.driven, self.model, self.driven.now
        sums = driven.tell()
        assert set(sums) == {model.sums(now)}, (sums, model.sums(now))
        word, before = self.word(), self.before
        assert word == (model.state, model.generation, model.successes, model.until)
        if word[:2] != before[:2] and not self.moved:
            grown = (word[1] - before[1]) % GENERATIONS
            # A step makes two at most: half-open, and what came of the probe.
            assert grown in {1, 2} and (grown == 2 or (before[0], word[0]) in LEGAL), (before, word)
        assert model.successes <= max(model.config["probes"] - 1, 0)
        assert model.probes.total() + model.successes <= max(model.config["probes"], 0)
        self.before, self.moved = word, False

    @invariant()
    def tokens_are_there(self) -> None:
        """Never less than none, never more than were brought, and all that are held are there."""
        if not hasattr(self, "model") or not self.model.config["capacity_milli"]:
            return
        model, config = self.model, self.model.config
        tokens = self.driven.owner(0).cell.tokens(self.driven.now)
        elapsed = self.driven.now - START_MS
        brought = config["capacity_milli"] + config["ratio_milli"] * model.deposits
        brought += config["floor_milli"] * elapsed // layout.MILLI
        assert 0 <= tokens <= config["capacity_milli"]
        assert tokens + layout.MILLI * model.sent <= brought
        assert model.held.total() * layout.MILLI <= tokens

    @invariant()
    def leases_say_who_holds_what(self) -> None:
        """Of each owner, in its lease."""
        if not hasattr(self, "model"):
            return
        model, view = self.model, memoryview(self.driven.mapping)
        for slot, owner in self.driven.at.items():
            lease = layout.LEASE.read_all(view, layout.CONTROL_CELL.size + 16 + 16 * slot)
            probes, held = lease["probes"], lease["held"]
            mine = [
                word >> layout.LEASE_OWNER_SHIFT == owner.incarnation for word in (probes, held)
            ]
            of = probes >> layout.LEASE_GENERATION_SHIFT & layout.BREAKER_GENERATION_MASK
            counted = probes & layout.LEASE_PROBES_MASK if mine[0] else 0
            assert (counted if of == model.generation else 0) == model.probes[owner.incarnation]
            permits = held >> layout.LEASE_PERMITS_SHIFT & layout.LEASE_HELD_MASK if mine[1] else 0
            tokens = held & layout.LEASE_HELD_MASK if mine[1] else 0
            assert (permits, tokens) == (
                model.permits[owner.incarnation],
                model.held[owner.incarnation],
            )

    # --------------------------------------------------------------------------------- rules

    @rule(slot=st.integers(0, SLOTS - 1))
    def admit(self, slot: int) -> None:
        """A call begins."""
        owner = self.driven.owner(slot).incarnation
        assert self.driven.admit(slot) == self.model.admit(owner, self.driven.now)

    @precondition(lambda self: self.driven.tickets)
    @rule(
        which=st.integers(0, 1000),
        failed=st.booleans(),
        slow=st.booleans(),
        asked=st.sampled_from([0, 0, 1, 75]),
    )
    def end(self, which: int, failed: bool, slow: bool, asked: int) -> None:
        """A call ends, however long ago it began."""
        owner, _ = self.driven.tickets[which % len(self.driven.tickets)]
        how = "slow " * slow + "fail" * failed + f", asked {asked}"
        ticket = self.driven.end(which, how)
        self.model.ended(owner.incarnation, ticket, failed, slow, self.driven.now, asked)

    @precondition(lambda self: self.driven.tickets)
    @rule(which=st.integers(0, 1000), how=st.sampled_from(["ignored", "unmade"]))
    def ignore(self, which: int, how: str) -> None:
        """A call says nothing, or is not made."""
        owner, _ = self.driven.tickets[which % len(self.driven.tickets)]
        self.model.ignored(owner.incarnation, self.driven.end(which, how))

    @rule(slot=st.integers(0, SLOTS - 1), times=st.integers(1, 8), failed=st.booleans())
    def call(self, slot: int, times: int, failed: bool) -> None:
        """Calls that begin and end, one after the other."""
        for _ in range(times):
            before = len(self.driven.tickets)
            self.admit(slot)
            if len(self.driven.tickets) > before:
                self.end(before, failed, False, 0)
            self.moves_as_it_may()

    @rule(ms=LATER)
    def later(self, ms: int) -> None:
        """Time passes."""
        self.driven.later(ms)

    @precondition(lambda self: self.model.state in {BREAKER_OPEN, BREAKER_HALF_OPEN})
    @rule(slot=st.integers(0, SLOTS - 1), times=st.integers(0, 4), failed=st.booleans())
    def until_it_is_over(self, slot: int, times: int, failed: bool) -> None:
        """Time passes until it is open no longer, or probes have had theirs; it is called."""
        self.driven.now = max(self.driven.now, self.model.until)
        self.call(slot, times, failed)

    @rule(slot=st.integers(0, SLOTS - 1), ms=LATER)
    def open_for(self, slot: int, ms: int) -> None:
        """Somebody opens it where it is closed."""
        asked = self.driven.open_for(slot, ms)
        assert asked == (self.model.state == BREAKER_CLOSED)
        if asked:
            self.model.move(BREAKER_OPEN, self.driven.now + ms)

    @rule(slot=st.integers(0, SLOTS - 1), state=st.sampled_from([0, 0, 0, 1, 1, 3, 4, 5]), ms=LATER)
    def force(self, slot: int, state: int, ms: int) -> None:
        """Somebody forces a state."""
        before = self.driven.mapping.load(layout.CONTROL_CELL.offset["breaker"])
        assert self.driven.move(slot, state, ms) == before
        self.model.move(state, self.driven.now + ms)
        self.moved = True

    @rule(slot=st.integers(0, SLOTS - 1))
    def hold(self, slot: int) -> None:
        """A retry is decided."""
        owner = self.driven.owner(slot)
        tokens = owner.cell.tokens(self.driven.now)
        free = (self.model.held.total() + 1) * layout.MILLI <= tokens
        free = free or not self.model.config["capacity_milli"]
        assert self.driven.hold(slot) == free
        self.model.held[owner.incarnation] += free

    @precondition(lambda self: self.driven.held)
    @rule(which=st.integers(0, 1000), goes_out=st.booleans())
    def retry(self, which: int, goes_out: bool) -> None:
        """It goes out, or does not."""
        owner = self.driven.held[which % len(self.driven.held)]
        self.model.held[owner.incarnation] -= 1
        self.model.sent += goes_out
        if goes_out:
            assert self.driven.send(which), "a token that was held is not there"
        else:
            self.driven.let_go(which)

    @rule(slot=st.integers(0, SLOTS - 1), times=st.integers(1, 70))
    def deposit(self, slot: int, times: int) -> None:
        """First tries."""
        self.driven.deposit(slot, times)
        self.model.deposits += times

    @rule(slot=st.integers(0, SLOTS - 1))
    def take(self, slot: int) -> None:
        """A permit is asked for."""
        owner, limit = self.driven.owner(slot).incarnation, self.model.config["limit"]
        free = not limit or self.model.permits.total() < limit
        assert self.driven.take(slot) == free
        self.model.permits[owner] += free

    @precondition(lambda self: self.driven.taken)
    @rule(which=st.integers(0, 1000))
    def give(self, which: int) -> None:
        """One comes back."""
        owner = self.driven.taken[which % len(self.driven.taken)]
        self.model.permits[owner.incarnation] -= 1
        self.driven.give(which)

    @precondition(lambda self: len(self.driven.at) > 1)
    @rule(slot=st.integers(0, SLOTS - 1), reborn=st.booleans())
    def die(self, slot: int, reborn: bool) -> None:
        """An owner is killed, and found dead by another, before or after its slot is another's."""
        driven = self.driven
        dead = driven.owner(slot)
        for kept in (driven.tickets, driven.held, driven.taken):
            kept[:] = [one for one in kept if dead not in (one, one[0])]
        if reborn:
            driven.replace(slot)
        else:
            del driven.at[slot]
        finder = driven.owner(next(other for other in range(SLOTS) if other != slot))
        finder.cell.reclaim(dead.slot, dead.incarnation)
        driven.owners.remove(dead)
        self.model.dies(dead.incarnation)
