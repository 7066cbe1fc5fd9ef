"""The cell of a dependency: breaker, retry budget and permits that processes share.

The compiled core changes each word by compare-and-swap. Here whoever changes a cell holds a byte
of the lock file, so that a change of several words is one. Calls that end well are the exception:
each process adds them up, and tells of them when a failure, a new bucket of the window or the 64th
of them comes, so that the lock is not taken for every call. Those of a process that is killed
meanwhile are missing from the window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from faultplane.control_schema import (
    BREAKER_CLOSED,
    BREAKER_FORCED_OPEN,
    BREAKER_GENERATION_MASK,
    BREAKER_GENERATION_SHIFT,
    BREAKER_HALF_OPEN,
    BREAKER_METRICS_ONLY,
    BREAKER_OPEN,
    BREAKER_STATE_SHIFT,
    BREAKER_SUCCESSES_MASK,
    BREAKER_SUCCESSES_SHIFT,
    BREAKER_UNTIL_MASK,
    BUCKET_COUNT_MASK,
    BUDGET_TOKENS_MASK,
    CAUSE_ASKED,
    CAUSE_OPEN_TIME,
    CAUSE_PROBE_FAILED,
    CAUSE_PROBES_SUCCEEDED,
    CAUSE_PROBES_TIMED_OUT,
    CONFIG_FIELDS,
    CONTROL_CELL,
    LEASE,
    LOCK_CELLS,
    MILLI,
    TICKET_PROBE,
    TICKET_UNCOUNTED,
    TOTALS,
    TRANSITIONS,
)

from . import control_rate, control_retried, control_window, memory
from .control_memory import AT, PERMITS, TOKENS, TOTAL, Memory, Unheard
from .control_words import (
    REOPENED_MAX,
    Numbers,
    add_to,
    asked_for,
    cause_to_open,
    following,
    generation_of,
    now,
    open_ms,
    probes_of,
    refilled,
    streak,
)
from .memory import Mapping, lock_of, words_of
from .recorder import state as recorder

__all__ = ["Cell"]

REJECTED: Final = -1
FULL: Final = -2
PENDING_MAX: Final = 64
_BREAKER: Final = AT["breaker"]
_REOPENED: Final = _BREAKER + 2
_BUDGET: Final = AT["budget"]
_STREAK: Final = _BUDGET + 1


class Cell(Memory):
    """What the processes of a host share of one dependency, or what one process has for itself.

    ``attach`` is called with the cell whenever it needs memory: at first, after a fork, and after
    this process has joined a domain or left one. It gives it some with `use`. Times are
    milliseconds of the monotonic clock, ``now_ms`` its present where it is left out. ``unheard``
    counts changes that had to wait for longer than is waited: 0 in the compiled core.
    """

    def __init__(self, attach: Callable[[Cell], object]) -> None:
        self._attach = attach
        self.epoch = -1
        self._words: memoryview = memoryview(b"")
        self._all = self._words
        self._numbers = Numbers([0] * len(CONFIG_FIELDS))
        self._version = -1
        self._lock = memory.FileLock(-1, LOCK_CELLS)
        self._base = self._leases = self._high = self._slots = self._slot = self._incarnation = 0
        self._pending = self._pending_deposits = self._pending_epoch = self._pending_of = 0
        self.unheard = 0
        self._owed = {}

    def use(
        self,
        mapping: Mapping,
        cell: int,
        leases: int,
        slots: int,
        owners_high: int,
        slot: int,
        incarnation: int,
    ) -> None:
        """Work in ``mapping``: the cell at that offset, with leases of so many owner slots.

        ``owners_high`` is the offset of the word that says how many slots are in use; ``slot`` and
        ``incarnation`` are this process's. Raises ValueError for a slot there is no lease of, and
        IndexError for offsets that are not within the memory.
        """
        if not 0 <= slot < slots:
            raise ValueError(f"slot must be 0 to {slots - 1}, got {slot}")
        if not mapping.writable:
            raise TypeError("the mapping is read-only")
        for offset in (cell + CONTROL_CELL.size - 8, leases + slots * LEASE.size - 8, owners_high):
            mapping.load(offset)
        if self.is_current() and self._words:
            return  # another thread was faster: what it has counted meanwhile is kept
        self._lock = lock_of(mapping, LOCK_CELLS)
        words = words_of(mapping)
        self._base, self._leases, self._high = cell // 8, leases // 8, owners_high // 8
        self._slots = slots
        self._slot, self._incarnation = slot, incarnation
        self._pending = self._pending_deposits = 0
        self._owed = {}
        self._words = words[self._base : self._base + CONTROL_CELL.size // 8]
        self._all = words
        self._version = -1
        self._configure()

    @property
    def slow_call_nano(self) -> int:
        """A call that takes longer is slow; 0 = none is."""
        return self._numbers.slow_call_nano

    def is_current(self) -> bool:
        """Whether this process has its cells where they were when this one was given memory."""
        return self.epoch == recorder.place_epoch and bool(recorder.image[0])

    # ------------------------------------------------------------------------- the breaker

    def admit(self, now_ms: int | None = None) -> int:
        """Whether a call may go ahead: its ticket; -1 the breaker is open, -2 probes are out."""
        return self._ask(now_ms, (REJECTED, FULL))

    def _ask(self, now_ms: int | None, counted: tuple[int, ...]) -> int:
        """The same; which answers count as rejected."""
        word: int = self._here()[_BREAKER]
        if word >> BREAKER_STATE_SHIFT in (BREAKER_CLOSED, BREAKER_METRICS_ONLY):
            return generation_of(word)
        try:
            with self._alone() as words:
                ticket = self._admit(words, now(now_ms))
                add_to(words, TOTAL["rejected"], ticket in counted)
                return ticket
        except Unheard:
            return TICKET_UNCOUNTED  # as if nobody shared it

    def _let_through(self, *, brings: bool) -> int:
        """The ticket of a call where nothing is in its way; -1 where `admit` has to look.

        With ``brings``, the retry budget is brought what a first try does.
        """
        words = self._here()
        word: int = words[_BREAKER]
        if word >> BREAKER_STATE_SHIFT != BREAKER_CLOSED:
            return REJECTED
        if brings and words[_BUDGET] & BUDGET_TOKENS_MASK < self._numbers.capacity_milli:
            self.deposit()
        return word >> BREAKER_GENERATION_SHIFT & BREAKER_GENERATION_MASK

    def _admit(self, words: memoryview, now_ms: int) -> int:
        while True:
            word = words[_BREAKER]
            generation, until = generation_of(word), word & BREAKER_UNTIL_MASK
            state = word >> BREAKER_STATE_SHIFT
            if state in (BREAKER_CLOSED, BREAKER_METRICS_ONLY):
                return generation
            if state in (BREAKER_OPEN, BREAKER_HALF_OPEN) and not self._numbers.probes:
                # What governs has no breaker any more: nobody ends what the one before it began.
                return generation | TICKET_UNCOUNTED
            if state == BREAKER_FORCED_OPEN or (state == BREAKER_OPEN and now_ms < until):
                return REJECTED
            if state in (BREAKER_OPEN, BREAKER_HALF_OPEN) and now_ms >= until:
                # Whoever has not answered by now is not waited for; what it says is late.
                cause = CAUSE_OPEN_TIME if state == BREAKER_OPEN else CAUSE_PROBES_TIMED_OUT
                probes_until = now_ms + self._numbers.probe_ms
                self._move(words, following(word, BREAKER_HALF_OPEN, probes_until), cause)
            elif state == BREAKER_HALF_OPEN:
                return self._probe(words, word)
            else:
                return generation | TICKET_UNCOUNTED

    def _probe(self, words: memoryview, word: int) -> int:
        generation = generation_of(word)
        done = word >> BREAKER_SUCCESSES_SHIFT & BREAKER_SUCCESSES_MASK
        under_way = probes_of(self._lease_words(0), generation)
        if under_way + done >= self._numbers.probes or not self._lease_probe(generation, 1):
            return FULL
        add_to(words, TOTAL["probes"], 1)
        return generation | TICKET_PROBE

    def ended(
        self,
        ticket: int,
        failed: bool,
        slow: bool = False,
        now_ms: int | None = None,
        asked_ms: int = 0,
    ) -> None:
        """Say how the call with that ticket ended; how long the other side asked to be left."""
        if not failed and not slow and ticket < TICKET_PROBE:
            self._succeeded(ticket, now(now_ms))
            return
        try:
            with self._alone() as words:
                self._ended(words, ticket, failed, slow, now(now_ms), asked_ms)
        except Unheard:
            self._owe("failures", n=failed)
            self._owe("slow", n=slow)
            self._owe_probe(ticket)

    def _ended(
        self,
        words: memoryview,
        ticket: int,
        failed: bool,
        slow: bool,
        now_ms: int,
        asked_ms: int,
    ) -> None:
        self._tell(words)
        add_to(words, TOTAL["failures"], failed)
        add_to(words, TOTAL["slow"], slow)
        generation = ticket & BREAKER_GENERATION_MASK
        if ticket & TICKET_UNCOUNTED:
            return
        asked = asked_for(self._numbers, asked_ms) if failed else 0
        if ticket & TICKET_PROBE:
            bad = failed or bool(slow and self._numbers.slow_rate)
            self._probed(words, generation, now_ms, asked, failed=bad)
        else:
            self._told(words, generation, now_ms, failed, slow, asked)

    def _told(
        self,
        words: memoryview,
        generation: int,
        now_ms: int,
        failed: bool,
        slow: bool,
        asked_ms: int = 0,
    ) -> None:
        """Count an outcome of the generation that there is; one of another changes nothing."""
        if generation_of(words[_BREAKER]) != generation:
            add_to(words, TOTAL["late"], 1)
            return
        control_window.count(words, self._numbers, generation, now_ms, 1, failed, slow)
        if self._numbers.consecutive:
            words[_STREAK] = streak(words[_STREAK], generation, failed)
        if failed or slow:
            self._trip(words, generation, now_ms, asked_ms)

    def _went_well(self, ticket: int, start_nano: int) -> None:
        """Say that the call with that ticket, which began then, ended well, if slowly."""
        at, bound = time.monotonic_ns(), self._numbers.slow_call_nano
        slow = bound != 0 and at - start_nano > bound
        if slow or ticket >= TICKET_PROBE:
            self.ended(ticket, False, slow, at // 1_000_000)
        else:
            self._succeeded(ticket, at // 1_000_000)

    def _succeeded(self, generation: int, now_ms: int) -> None:
        """Add up calls that ended well, and tell of them now and then."""
        words, numbers = self._here(), self._numbers
        is_late = generation_of(words[_BREAKER]) != generation
        in_a_row = numbers.consecutive and words[_STREAK] & BUCKET_COUNT_MASK
        if is_late or not numbers.window_ms or in_a_row:
            if is_late or numbers.probes:
                with suppress(Unheard), self._alone() as words:
                    self._told(words, generation, now_ms, False, False)
            return
        epoch = now_ms // numbers.bucket_ms
        with memory.process_lock:  # or two threads that add at once add one
            if (
                epoch != self._pending_epoch
                or generation != self._pending_of
                or self._pending >= PENDING_MAX
            ):
                try:
                    with self._alone() as words:
                        self._tell(words)
                except Unheard:
                    self._pending = 0
                self._pending_epoch, self._pending_of = epoch, generation
            self._pending += 1

    def _tell(self, words: memoryview) -> None:
        """Have others know of the calls that ended well here, and of what they brought.

        They were before the failures in a row that there are: else they had ended them at once.
        """
        calls, self._pending = self._pending, 0
        if calls and generation_of(words[_BREAKER]) == self._pending_of:
            at = self._pending_epoch * self._numbers.bucket_ms
            control_window.count(words, self._numbers, self._pending_of, at, calls, False, False)
        deposits, self._pending_deposits = self._pending_deposits, 0
        if deposits:
            tokens = words[_BUDGET] & BUDGET_TOKENS_MASK
            more = min(deposits * self._numbers.ratio_milli, self._numbers.capacity_milli - tokens)
            add_to(words, _BUDGET, max(more, 0))

    def ignored(self, ticket: int) -> None:
        """Say that the call with that ticket says nothing about the other side."""
        try:
            with self._alone() as words:
                add_to(words, TOTAL["ignored"], 1)
                if ticket & TICKET_PROBE:
                    self._lease_probe(ticket & BREAKER_GENERATION_MASK, -1)
        except Unheard:
            self._owe("ignored")
            self._owe_probe(ticket)

    def unmade(self, ticket: int) -> None:
        """Say that the call with that ticket was not made after all."""
        if ticket & TICKET_PROBE:
            try:
                with self._alone():
                    self._lease_probe(ticket & BREAKER_GENERATION_MASK, -1)
            except Unheard:
                self._owe_probe(ticket)

    def _owe_probe(self, ticket: int) -> None:
        if ticket & TICKET_PROBE:
            self._owe(("probe", ticket & BREAKER_GENERATION_MASK))

    def _probed(
        self, words: memoryview, generation: int, now_ms: int, asked_ms: int, *, failed: bool
    ) -> None:
        """A probe has an answer."""
        word = words[_BREAKER]
        half_open = word >> BREAKER_STATE_SHIFT == BREAKER_HALF_OPEN
        done = word >> BREAKER_SUCCESSES_SHIFT & BREAKER_SUCCESSES_MASK
        if not half_open or generation_of(word) != generation:
            add_to(words, TOTAL["late"], 1)
        elif failed:
            until = now_ms + max(open_ms(self._numbers, words[_REOPENED] + 1), asked_ms)
            self._move(words, following(word, BREAKER_OPEN, until), CAUSE_PROBE_FAILED)
        elif done + 1 >= self._numbers.probes:
            self._move(words, following(word, BREAKER_CLOSED, 0), CAUSE_PROBES_SUCCEEDED)
        else:
            words[_BREAKER] = word + (1 << BREAKER_SUCCESSES_SHIFT)
        self._lease_probe(generation, -1)

    def _trip(self, words: memoryview, generation: int, now_ms: int, asked_ms: int) -> None:
        """Open where the window says so, or the other side asked for it."""
        word, numbers = words[_BREAKER], self._numbers
        if word >> BREAKER_STATE_SHIFT != BREAKER_CLOSED:
            return
        sums = control_window.sums(words, self._numbers, generation, now_ms)
        cause = cause_to_open(numbers, sums, words[_STREAK] & BUCKET_COUNT_MASK)
        ms = open_ms(numbers, 0) if cause else 0
        if asked_ms > ms:
            cause, ms = CAUSE_ASKED, asked_ms
        if cause:
            self._move(words, following(word, BREAKER_OPEN, now_ms + ms), cause, sums)

    def _move(
        self, words: memoryview, word: int, cause: int, sums: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        """Make a transition, and note it."""
        before, state = words[_BREAKER], word >> BREAKER_STATE_SHIFT
        words[_BREAKER] = word
        if state == BREAKER_OPEN:
            add_to(words, TOTAL["opened"], 1)
            again = cause == CAUSE_PROBE_FAILED
            words[_REOPENED] = min(words[_REOPENED] + 1, REOPENED_MAX) if again else 0
        elif state == BREAKER_CLOSED:
            add_to(words, TOTAL["closed"], 1)
            words[_REOPENED] = 0
        at = AT["transitions"] + 8 * (generation_of(word) % TRANSITIONS)
        words[at] = 0
        memory.order()
        rest = (before, time.time_ns(), self._incarnation, *sums, cause)
        for index, value in enumerate(rest, 1):
            words[at + index] = value
        memory.order()
        words[at] = word

    def state(self) -> int:
        """Code of the breaker's state."""
        return int(self._here()[_BREAKER] >> BREAKER_STATE_SHIFT)

    def wait_ms(self, now_ms: int | None = None) -> int:
        """How long the breaker stays open yet; 0 where it is not open."""
        word = self._here()[_BREAKER]
        left = (word & BREAKER_UNTIL_MASK) - now(now_ms)
        return max(left, 0) if word >> BREAKER_STATE_SHIFT == BREAKER_OPEN else 0

    def open_for(self, ms: int, cause: int, now_ms: int | None = None) -> bool:
        """Open for so long, because of ``cause``, where it is closed; whether it was."""
        at = now(now_ms)
        with self._alone() as words:
            word = words[_BREAKER]
            if word >> BREAKER_STATE_SHIFT != BREAKER_CLOSED:
                return False
            self._move(words, following(word, BREAKER_OPEN, at + ms), cause)
            return True

    def move(self, state: int, cause: int, until_ms: int = 0) -> int:
        """Have the breaker in another state, whatever it is in; its word before."""
        with self._alone() as words:
            before: int = words[_BREAKER]
            self._move(words, following(before, state, until_ms), cause)
            return before

    # -------------------------------------------------------------------------------- window

    def window(self, now_ms: int | None = None) -> tuple[int, int, int]:
        """(Calls, failures, slow calls) in the window of the breaker as it is."""
        with self._alone() as words:
            self._tell(words)
            return control_window.sums(
                words, self._numbers, generation_of(words[_BREAKER]), now(now_ms)
            )

    def reclaim(self, slot: int, incarnation: int) -> int:
        """End what the dead owner of ``slot`` held here; how many leases that were.

        Raises ValueError for a slot there is no lease of.
        """
        with self._alone() as words:
            if not 0 <= slot < self._slots:
                raise ValueError(f"slot must be 0 to {self._slots - 1}, got {slot}")
            n = self._end_leases(slot, incarnation)
            add_to(words, TOTAL["reclaimed"], n)
            return n

    # -------------------------------------------------------------------------------- budget

    def deposit(self, now_ms: int | None = None) -> None:
        """Bring the retry budget what a first try does."""
        words = self._here()
        if words[_BUDGET] == 0:
            with suppress(Unheard):
                self.tokens(now_ms)
        elif words[_BUDGET] & BUDGET_TOKENS_MASK < self._numbers.capacity_milli:
            with memory.process_lock:
                self._pending_deposits += 1
                if self._pending_deposits >= PENDING_MAX:
                    with suppress(Unheard), self._alone() as words:
                        self._tell(words)

    def _refill(self, words: memoryview, now_ms: int) -> int:
        """Thousandths of tokens by now: what time brought is put in."""
        words[_BUDGET] = word = refilled(words[_BUDGET], self._numbers, now_ms)
        return word & BUDGET_TOKENS_MASK

    def tokens(self, now_ms: int | None = None) -> int:
        """Tokens in the retry budget, in thousandths."""
        at = now(now_ms)
        with self._alone() as words:
            self._tell(words)
            return self._refill(words, at)

    def hold(self, now_ms: int | None = None) -> bool:
        """Hold a token of the retry budget until `send` or `let_go`; whether there was one."""
        held = self._hold(now_ms)
        if not held:
            self.total(TOTALS.index("budget_exhausted"))
        return held

    def _hold(self, now_ms: int | None) -> bool:
        at, numbers = now(now_ms), self._numbers
        try:
            with self._alone() as words:
                self._tell(words)
                tokens = self._refill(words, at)
                # Where what governs has no budget, nobody waits for tokens that do not come.
                free = (self._held(TOKENS) + 1) * MILLI <= tokens or not numbers.capacity_milli
                return free and self._lease_hold(TOKENS, 1)
        except Unheard:
            return False  # what cannot be paid for is not sent

    def send(self) -> bool:
        """Pay with the token that is held, so that the retry goes out; False where it is gone."""
        try:
            with self._alone() as words:
                there = words[_BUDGET] & BUDGET_TOKENS_MASK >= MILLI
                if there and self._numbers.capacity_milli:
                    words[_BUDGET] -= MILLI
                paid = there or not self._numbers.capacity_milli
                # Gone where this owner was taken for dead, and what it held was given to another.
                add_to(words, TOTAL["retries" if paid else "budget_exhausted"], 1)
                self._lease_hold(TOKENS, -1)
                return paid
        except Unheard:
            self._owe("retries", ("sent", TOKENS))
            return True  # it is held until it is paid for

    def let_go(self) -> None:
        """Give back the token that is held: no retry goes out."""
        try:
            with self._alone():
                self._lease_hold(TOKENS, -1)
        except Unheard:
            self._owe(("hold", TOKENS))

    def retried(
        self, reason: int, helped: bool, micros: int = 0, now_ms: int | None = None
    ) -> None:
        """Say that a retry has ended that was made for ``reason``, and whether it helped.

        ``reason`` is a word of `control_schema`: a kind, a type, or both. ``micros`` is how long it
        took, 0 = not to be counted.
        """
        with suppress(Unheard), self._alone() as words:
            control_retried.count(words, reason, helped, micros, now(now_ms))

    def retries_of_kind(self, kind: int, now_ms: int | None = None) -> tuple[int, int]:
        """Retries after errors of that kind, by its code, that helped lately, and that did not."""
        return control_retried.of_kind_in(self._here(), kind, now(now_ms))

    def retries_of_type(self, tag: int, now_ms: int | None = None) -> tuple[int, int]:
        """The same of a type of error, by its `control_schema.type_tag`."""
        return control_retried.of_type_in(self._here(), tag, now(now_ms))

    def retry_micros(self) -> tuple[int, int]:
        """Microseconds that retries which ended well took, lately and usually; zeros = none did."""
        return control_retried.micros_in(self._here())

    def forget_retries(self) -> None:
        """Have all of this begin anew."""
        with self._alone() as words:
            control_retried.forget(words)

    # ---------------------------------------------------------------------- rate and bulkhead

    def rate_take(self, now_ms: int | None = None) -> bool:
        """Take a token of the rate limit; whether there was one."""
        with suppress(Unheard), self._alone() as words:
            return control_rate.take(words, self._numbers, now(now_ms))
        return True  # as if nobody shared it

    def rate_give(self) -> None:
        """Put the token back: the call was not made."""
        with suppress(Unheard), self._alone() as words:
            control_rate.give(words, self._numbers)

    def rate_wait_ms(self, now_ms: int | None = None) -> int:
        """Until there is a token of the rate limit; 0 where there is one."""
        return control_rate.wait_ms(self._here(), self._numbers, now(now_ms))

    def take(self) -> bool:
        """Take a permit; whether there was one."""
        with self._alone():
            limit = self._numbers.limit
            return (not limit or self._held(PERMITS) < limit) and self._lease_hold(PERMITS, 1)

    def give(self) -> None:
        """Give the permit back."""
        try:
            with self._alone():
                self._lease_hold(PERMITS, -1)
        except Unheard:
            self._owe(("hold", PERMITS))

    def total(self, total: int, n: int = 1) -> None:
        """Add to an exact total, one of `control_schema.TOTALS` by its index."""
        if not 0 <= total < len(TOTALS):
            raise IndexError(f"total must be 0 to {len(TOTALS) - 1}, got {total}")
        try:
            with self._alone() as words:
                add_to(words, AT["totals"] + total, n)
        except Unheard:
            self._owe(TOTALS[total], n=n)
