"""The memory of a cell, the leases in it, and the lock that a change of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from faultplane.control_schema import (
    BUDGET_TOKENS_MASK,
    CONFIG_FIELDS,
    CONTROL_CELL,
    LEASE_GENERATION_SHIFT,
    LEASE_HELD_MASK,
    LEASE_OWNER_SHIFT,
    LEASE_PERMITS_SHIFT,
    LEASE_PROBES_MASK,
    MILLI,
    TOTALS,
)
from faultplane.errors import StorageError

from . import memory
from .control_words import Numbers, add_to
from .memory import FileLock
from .recorder import state as recorder

AT: Final = {name: offset // 8 for name, offset in CONTROL_CELL.offset.items()}
TOTAL: Final = {name: AT["totals"] + index for index, name in enumerate(TOTALS)}
VERSION: Final = AT["breaker"] + 1
PERMITS: Final = LEASE_PERMITS_SHIFT
TOKENS: Final = 0
BUDGET: Final = AT["budget"]
SETTLE_ATTEMPTS: Final = 4
IMPATIENT_SECONDS: Final = 1.0
_CONFIG: Final = slice(AT[CONFIG_FIELDS[0].name], AT[CONFIG_FIELDS[-1].name] + 1)


class Unheard(StorageError):
    """A change of a cell was not made: another process holds the lock, for longer than is waited.

    One that was stopped in the middle does; all others hold it for microseconds.
    """


class _Patience:
    """How long the lock is waited for: once it was not there in time, not at all for a while.

    Else every change that a call makes would wait again.
    """

    def __init__(self) -> None:
        self._ended_at = -IMPATIENT_SECONDS

    def seconds(self) -> float:
        """How long to wait."""
        is_over = time.monotonic() - self._ended_at >= IMPATIENT_SECONDS
        return memory.WAIT_SECONDS_MAX if is_over else 0.0

    def ends(self) -> None:
        """It was waited for in vain."""
        self._ended_at = time.monotonic()


patience: Final = _Patience()


class Memory:
    """Where a cell lies, and the leases on it: what `Cell` works on."""

    epoch: int
    unheard: int
    _owed: dict[str | tuple[str, int], int]
    _attach: Callable[[Any], object]
    _words: memoryview
    _all: memoryview
    _numbers: Numbers
    _version: int
    _lock: FileLock
    _leases: int
    _high: int
    _slots: int
    _slot: int
    _incarnation: int

    def _configure(self) -> None:
        """Copy the declaration; one that is being written is copied later."""
        begun = self._words[VERSION]
        values = self._words[_CONFIG].tolist()
        if begun & 1 == 0 and self._words[VERSION] == begun:
            self._numbers, self._version = Numbers(values), begun

    def _refresh(self) -> None:
        recorder.wake()
        for _ in range(SETTLE_ATTEMPTS):
            epoch = recorder.place_epoch
            if self.epoch == epoch and self._words:
                break
            # What binds, lets go or forks meanwhile is seen in the next round.
            self._attach(self)
            self.epoch = epoch
        if not self._words:
            raise RuntimeError("the cell was given no memory")

    def _here(self) -> memoryview:
        """The words of the cell, in the place where this process has it now."""
        if (
            self.epoch != recorder.place_epoch
            or not recorder.image[0]
            or (
                recorder.binding is not None
                and not (recorder.live[0] and recorder.fence[0] == recorder.incarnation)
            )
        ):
            self._refresh()
        if self._words[VERSION] != self._version:
            self._configure()
        return self._words

    @contextmanager
    def _alone(self) -> Iterator[memoryview]:
        """The words, for a change that nobody comes in between.

        Raises Unheard where another process holds the lock for too long: whoever changes what a
        call depends on goes on without, and owes the change.
        """
        self._here()
        taken = False
        try:
            with self._lock.held(patience.seconds()):
                taken = True
                memory.order()
                if self._owed:
                    self._settle()
                yield self._words
                memory.order()
        except (StorageError, OSError) as error:
            # What the kernel refuses has a number; a signal handler may raise a TimeoutError.
            if taken or (not isinstance(error, StorageError) and error.errno is None):
                raise
            patience.ends()
            self.unheard += 1
            raise Unheard(str(error)) from None

    def _owe(self, *what: str | tuple[str, int], n: int = 1) -> None:
        """Make a change of this process's own as soon as the lock is there.

        Each is a total to add to, or a lease to lower: ("probe", generation) or ("hold", shift), or
        ("sent", TOKENS), which is paid for as well.
        """
        with memory.process_lock:
            for one in what:
                self._owed[one] = self._owed.get(one, 0) + n

    def _settle(self) -> None:
        """Make the changes that are owed; whoever calls has the lock."""
        owed, self._owed = self._owed, {}
        for what, n in owed.items():
            if isinstance(what, str):
                add_to(self._words, TOTAL[what], n)
                continue
            kind, of = what
            for _ in range(n):
                if kind == "probe":
                    self._lease_probe(of, -1)
                else:
                    self._lease_hold(of, -1)
                    if kind == "sent" and self._words[BUDGET] & BUDGET_TOKENS_MASK >= MILLI:
                        self._words[BUDGET] -= MILLI

    # -------------------------------------------------------------------------------- leases

    def _lease_words(self, which: int) -> list[int]:
        """Of all owners: their probes (0), or what else they hold (1)."""
        # A word of a file may be anything.
        high = max(min(self._all[self._high], self._slots), self._slot + 1)
        found: list[int] = self._all[self._leases + which : self._leases + 2 * high : 2].tolist()
        return found

    def _lease_probe(self, generation: int, more: int) -> bool:
        """Probes of a generation in the own lease, more or fewer; whether the lease allowed it."""
        at = self._leases + 2 * self._slot
        old = self._all[at]
        if old >> LEASE_OWNER_SHIFT > self._incarnation:
            return False  # declared dead: the slot has another owner, whose lease this is
        tag = self._incarnation << LEASE_OWNER_SHIFT | generation << LEASE_GENERATION_SHIFT
        n = (old & LEASE_PROBES_MASK if old & ~LEASE_PROBES_MASK == tag else 0) + more
        if not 0 <= n <= LEASE_PROBES_MASK:
            return False
        self._all[at] = tag | n
        return True

    def _lease_hold(self, shift: int, more: int) -> bool:
        """The same for permits and tokens."""
        at = self._leases + 2 * self._slot + 1
        old = self._all[at]
        if old >> LEASE_OWNER_SHIFT > self._incarnation:
            return False
        mine = self._incarnation << LEASE_OWNER_SHIFT
        word = old if old >> LEASE_OWNER_SHIFT == self._incarnation else mine
        if not 0 <= (word >> shift & LEASE_HELD_MASK) + more <= LEASE_HELD_MASK:
            return False
        self._all[at] = word + (more << shift)
        return True

    def _held(self, shift: int) -> int:
        return sum(word >> shift & LEASE_HELD_MASK for word in self._lease_words(1))

    def _end_leases(self, slot: int, incarnation: int) -> int:
        """End what the dead owner of ``slot`` held; how many leases that were."""
        at, n = self._leases + 2 * slot, 0
        probes, held = self._all[at], self._all[at + 1]
        if probes and probes >> LEASE_OWNER_SHIFT == incarnation:
            n += probes & LEASE_PROBES_MASK
            self._all[at] = 0
        if held and held >> LEASE_OWNER_SHIFT == incarnation:
            n += (held & LEASE_HELD_MASK) + (held >> PERMITS & LEASE_HELD_MASK)
            self._all[at + 1] = 0
        return n
