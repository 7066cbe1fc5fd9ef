"""Control cells of several owners, driven by a script.

All owners are in one process, each with a `Cell` of its own in the same memory: whose turn it is,
and what time it is then, is part of the script.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from faultplane import control_schema as layout
from faultplane.store import control, files

SLOTS = 5
OWNERS_HIGH = layout.CONTROL_CELL.size
LEASES = OWNERS_HIGH + layout.LEASE.size
BYTES = LEASES + SLOTS * layout.LEASE.size
START_MS = 1_000_000

RATES = st.sampled_from([0, 1, 300_000, 500_000, 1_000_000])
WINDOWS = st.sampled_from(
    [(100, 0), (1000, 0), (30_000, 0), (86_400_000, 0), (0, 1), (0, 5), (0, 48)]
)


@st.composite
def breakers(draw) -> dict[str, int]:
    """The numbers of a breaker as `policy.config` makes them, or of none."""
    if draw(st.integers(0, 9)) == 0:
        return {}
    window_ms, window_calls = draw(WINDOWS)
    open_ms = draw(st.sampled_from([1, 50, 5000]))
    return {
        "window_ms": window_ms,
        "window_calls": window_calls,
        "calls_min": draw(st.sampled_from([1, 1, 3, 6])),
        "failure_rate": draw(RATES),
        "slow_rate": draw(RATES),
        "consecutive": draw(st.sampled_from([0, 0, 1, 3])),
        "probes": draw(st.sampled_from([1, 2, 3, 31])),
        "probe_ms": draw(st.sampled_from([10, 1000])),
        "open_ms": open_ms,
        "open_ms_max": open_ms * draw(st.sampled_from([1, 3, 100])),
        "asked_ms_min": draw(st.sampled_from([0, 1, 60])),
        "open_factor_milli": draw(st.sampled_from([1000, 1500, 2000, 10_000])),
    }


BUDGETS = st.just({}) | st.fixed_dictionaries(
    {
        "ratio_milli": st.sampled_from([0, 100, 1000]),
        "floor_milli": st.sampled_from([0, 3, 1500, 10_300, 60_000_000]),
        "capacity_milli": st.sampled_from([1000, 3000, 10_500, 60_000_000]),
    }
)
LIMITS = st.sampled_from([{}, {"limit": 1}, {"limit": 2}, {"limit": 65_535}])
RATE_LIMITS = st.just({}) | st.fixed_dictionaries(
    {
        "rate_milli": st.sampled_from([1, 7770, 10_000, 60_000_000]),
        "burst_milli": st.sampled_from([1000, 1500, 3000, 60_000_000]),
    }
)


@st.composite
def configs(draw) -> dict[str, int]:
    """A declaration's numbers."""
    none = dict.fromkeys(control.CONFIG_NAMES, 0)
    return none | draw(breakers()) | draw(BUDGETS) | draw(LIMITS) | draw(RATE_LIMITS)


OWNERS = st.integers(0, SLOTS - 1)
ANY = st.integers(0, 1000)
LATER = st.sampled_from([0, 0, 0, 1, 4, 9, 51, 120, 1000, 5001, 31_000])
KINDS = st.sampled_from([0, 1, 2, 15, 16, 255])
TAGS = st.integers(0, 20) | st.integers(0, 2**32 - 1)
MICROS = st.sampled_from([0, 1, 900, 50_000, 2**32, 2**63])
ENDS = st.sampled_from(
    [
        "ok", "ok", "fail", "fail", "slow", "slow and fail", "ignored", "unmade",
        "fail, asked 1", "slow and fail, asked 75", "ok, asked 75",
    ]
)  # fmt: skip

STEPS = st.one_of(
    st.tuples(st.just("call"), OWNERS, ENDS, st.integers(1, 12)),
    st.tuples(st.just("call"), OWNERS, ENDS, st.integers(1, 12)),
    st.tuples(st.just("admit"), OWNERS),
    st.tuples(st.just("admit"), OWNERS),
    st.tuples(st.just("end"), ANY, ENDS),
    st.tuples(st.just("end"), ANY, ENDS),
    st.tuples(st.just("later"), LATER),
    st.tuples(st.just("later"), LATER),
    st.tuples(st.just("earlier"), st.integers(1, 5)),
    st.tuples(st.just("hold"), OWNERS),
    st.tuples(st.just("hold"), OWNERS),
    st.tuples(st.just("send"), ANY),
    st.tuples(st.just("let_go"), ANY),
    st.tuples(st.just("deposit"), OWNERS, st.integers(1, 70)),
    st.tuples(st.just("take"), OWNERS),
    st.tuples(st.just("take"), OWNERS),
    st.tuples(st.just("give"), ANY),
    st.tuples(st.just("turn"), OWNERS, st.integers(1, 6)),
    st.tuples(st.just("turn_back"), OWNERS),
    st.tuples(st.just("open_for"), OWNERS, LATER),
    st.tuples(st.just("move"), OWNERS, st.integers(0, 5), LATER),
    st.tuples(st.just("total"), OWNERS, st.integers(0, len(layout.TOTALS) - 1), ANY),
    st.tuples(st.just("retry"), OWNERS, KINDS, TAGS, st.booleans(), st.integers(1, 80), MICROS),
    st.tuples(st.just("forget"), OWNERS),
    st.tuples(st.just("replace"), OWNERS),
    st.tuples(st.just("reclaim"), OWNERS, ANY),
    st.tuples(st.just("declare"), configs()),
)


def asked_ms(how: str) -> int:
    """How long the other side asks to be left, of how a call ends."""
    return int(how.partition("asked ")[2] or 0)


class Owner(NamedTuple):
    """One owner; another may have taken its slot since."""

    cell: Any
    slot: int
    incarnation: int


class Driven:
    """A core's cell and its owners, and what each of them has to give back."""

    def __init__(self, core: Any, config: dict[str, int]) -> None:
        self.core = core
        self.mapping = core.Mapping.anonymous(BYTES)
        self.now = START_MS
        self.declare(config)
        self.owners: list[Owner] = []
        self.incarnations = 0
        self.at: dict[int, Owner] = {}
        self.tickets: list[tuple[Owner, int]] = []
        self.held: list[Owner] = []
        self.taken: list[Owner] = []
        for slot in range(3):
            self.replace(slot)

    def do(self, name: str, *args: Any) -> object:
        """One step; what it gives must be the same in both cores."""
        return getattr(self, name)(*args)

    def snapshot(self) -> bytes:
        """All of the memory but the times at which transitions were noted."""
        data = bytearray(self.mapping)
        for at in range(layout.TRANSITIONS):
            note = layout.CONTROL_CELL.offset["transitions"] + at * layout.TRANSITION.size
            layout.TRANSITION.write(data, note, time_unix_nano=0)
        return bytes(data)

    def tell(self) -> list[tuple[int, int, int]]:
        """Have all owners tell what they have counted: the pure core's do so now and then."""
        for owner in self.owners:
            owner.cell.window(self.now)
        return [owner.cell.window(self.now) for owner in self.owners]

    # ------------------------------------------------------------------------------- owners

    def owner(self, slot: int) -> Owner:
        """Who has the slot; somebody takes it, if nobody has."""
        if slot not in self.at:
            self.replace(slot)
        return self.at[slot]

    def replace(self, slot: int) -> None:
        """Another owner takes a slot; the one before it may go on for a while, as if it lived."""
        self.incarnations += 1
        incarnation = self.incarnations

        def attach(cell: Any) -> None:
            cell.use(self.mapping, 0, LEASES, SLOTS, OWNERS_HIGH, slot, incarnation)

        high = self.mapping.load(OWNERS_HIGH)
        self.mapping.store(OWNERS_HIGH, max(high, slot + 1))
        self.at[slot] = Owner(self.core.Cell(attach), slot, incarnation)
        self.owners.append(self.at[slot])
        self.at[slot].cell.state()

    def reclaim(self, slot: int, which: int) -> int:
        """Somebody finds any owner dead."""
        dead = self.owners[which % len(self.owners)]
        found: int = self.owner(slot).cell.reclaim(dead.slot, dead.incarnation)
        return found

    def declare(self, config: dict[str, int]) -> None:
        """Other numbers govern."""
        control.configure(self.mapping, 0, config, files.forks)

    # --------------------------------------------------------------------------------- time

    def later(self, ms: int) -> None:
        """Time passes."""
        self.now += ms

    def earlier(self, ms: int) -> None:
        """The clock of another processor is a little behind."""
        self.now -= ms

    # -------------------------------------------------------------------------------- calls

    def admit(self, slot: int) -> int:
        """A call begins, if it may."""
        owner = self.owner(slot)
        ticket: int = owner.cell.admit(self.now)
        if ticket >= 0:
            self.tickets.append((owner, ticket))
        return ticket

    def end(self, which: int, how: str) -> int:
        """One of the calls that are under way ends."""
        if not self.tickets:
            return -3
        owner, ticket = self.tickets.pop(which % len(self.tickets))
        if how in {"ignored", "unmade"}:
            getattr(owner.cell, how)(ticket)
        else:
            owner.cell.ended(ticket, "fail" in how, "slow" in how, self.now, asked_ms(how))
        return ticket

    def call(self, slot: int, how: str, times: int) -> list[int]:
        """Calls that end at once."""
        found = []
        for _ in range(times):
            found.append(self.admit(slot))
            if found[-1] >= 0:
                self.end(len(self.tickets) - 1, how)
        return found

    def open_for(self, slot: int, ms: int) -> bool:
        """Somebody opens it where it is closed."""
        return bool(self.owner(slot).cell.open_for(ms, layout.CAUSE_ASKED, self.now))

    def move(self, slot: int, state: int, ms: int) -> int:
        """Somebody forces a state."""
        word: int = self.owner(slot).cell.move(state, layout.CAUSE_FORCED, self.now + ms)
        return word

    # ------------------------------------------------------------------- budget and permits

    def deposit(self, slot: int, times: int) -> None:
        """First tries."""
        for _ in range(times):
            self.owner(slot).cell.deposit(self.now)

    def hold(self, slot: int) -> bool:
        """A retry is decided."""
        owner = self.owner(slot)
        held = bool(owner.cell.hold(self.now))
        if held:
            self.held.append(owner)
        return held

    def send(self, which: int) -> bool:
        """One of them goes out, if it is still paid for."""
        return bool(self.held and self.held.pop(which % len(self.held)).cell.send())

    def let_go(self, which: int) -> None:
        """One of them does not."""
        if self.held:
            self.held.pop(which % len(self.held)).cell.let_go()

    def take(self, slot: int) -> bool:
        """A permit is asked for."""
        owner = self.owner(slot)
        taken = bool(owner.cell.take())
        if taken:
            self.taken.append(owner)
        return taken

    def give(self, which: int) -> None:
        """One comes back."""
        if self.taken:
            self.taken.pop(which % len(self.taken)).cell.give()

    def turn(self, slot: int, times: int) -> list[tuple[bool, int]]:
        """Calls of a rate limit; whether each has a turn, and when there is one."""
        cell = self.owner(slot).cell
        return [(bool(cell.rate_take(self.now)), cell.rate_wait_ms(self.now)) for _ in range(times)]

    def turn_back(self, slot: int) -> None:
        """One of them was not made."""
        self.owner(slot).cell.rate_give()

    def total(self, slot: int, which: int, n: int) -> None:
        """Something is counted that no step here comes to."""
        self.owner(slot).cell.total(which, n)

    def retry(
        self, slot: int, kind: int, tag: int, helped: bool, times: int, micros: int
    ) -> list[tuple[int, int]]:
        """Retries of one reason; what is known of it then."""
        cell = self.owner(slot).cell
        for _ in range(times):
            cell.retried(tag << layout.REASON_TYPE_SHIFT | kind, helped, micros, self.now)
        of_kind = cell.retries_of_kind(kind % layout.RETRIED_KINDS, self.now)
        return [of_kind, cell.retries_of_type(tag, self.now), cell.retry_micros()]

    def forget(self, slot: int) -> None:
        """Somebody has all that is known of retries begin anew."""
        self.owner(slot).cell.forget_retries()

    def looks(self) -> tuple[int, int, int]:
        """What a caller may ask: state, how long it is open, tokens."""
        cell = self.owner(0).cell
        return cell.state(), cell.wait_ms(self.now), cell.tokens(self.now)
