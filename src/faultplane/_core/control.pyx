"""The cell of a dependency: breaker, retry budget and permits that processes share (control.h)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .atomics cimport fp_load_acquire
from .layout cimport (
    CONTROL_CELL_SIZE,
    LEASE_SIZE,
    RETRIED_KINDS,
    TOTAL_BUDGET_EXHAUSTED,
    TOTAL_REJECTED,
    TOTALS_COUNT,
    control_cell_t,
    lease_t,
)
from .memory cimport Mapping
from .posix cimport fp_clock_coarse_ms
from .recorder cimport Recorder, awake, fp_unlikely, recorder, wake

cdef Recorder* R = recorder()

cdef enum:
    SETTLE_ATTEMPTS = 4


cdef class Cell:
    """What the processes of a host share of one dependency, or what one process has for itself.

    ``attach`` is called with the cell whenever it needs memory: at first, after a fork, and after
    this process has joined a domain or left one. It gives it some with `use`. Times are
    milliseconds of the monotonic clock, ``now_ms`` its present where it is left out. ``unheard``
    counts changes that had to wait for longer than is waited: 0 in the compiled core.
    """

    def __init__(self, attach):
        self.attach = attach
        self.epoch = R.epoch - 1

    def use(
        self, Mapping mapping, Py_ssize_t cell, Py_ssize_t leases, Py_ssize_t slots,
        Py_ssize_t owners_high, Py_ssize_t slot, uint64_t incarnation
    ):
        """Work in ``mapping``: the cell at that offset, with leases of so many owner slots.

        ``owners_high`` is the offset of the word that says how many slots are in use; ``slot`` and
        ``incarnation`` are this process's. Raises ValueError for a slot there is no lease of, and
        IndexError for offsets that are not within the memory.
        """
        if not 0 <= slot < slots:
            raise ValueError(f"slot must be 0 to {slots - 1}, got {slot}")
        mapping.writing()
        mapping.at(cell + <Py_ssize_t>CONTROL_CELL_SIZE - 8, 8)
        mapping.at(leases + slots * <Py_ssize_t>LEASE_SIZE - 8, 8)
        self.c.cell = <control_cell_t*>mapping.at(cell, 8)
        self.c.leases = <lease_t*>mapping.at(leases, 8)
        self.c.owners_high = <const uint64_t*>mapping.at(owners_high, 8)
        self.c.slots = <uint64_t>slots
        self.c.slot = <uint64_t>slot
        self.c.incarnation = incarnation
        self.memory = mapping
        control_configure(&self.c)

    @property
    def slow_call_nano(self):
        """A call that takes longer is slow; 0 = none is."""
        return self.c.slow_call_nano

    def is_current(self):
        """Whether this process has its cells where they were when this one was given memory."""
        return self.epoch == R.epoch and R.page[1] == 1

    cdef int refresh(self) except -1:
        """Have memory again, and the settings of whoever declared last."""
        cdef int _attempt
        cdef uint32_t epoch
        wake()
        for _attempt in range(SETTLE_ATTEMPTS):
            epoch = R.epoch
            if self.epoch == epoch and self.c.cell != NULL:
                break
            # What binds, lets go or forks meanwhile is seen in the next round.
            self.attach(self)
            self.epoch = epoch
        if self.c.cell == NULL:
            raise RuntimeError("the cell was given no memory")
        return 0

    cdef Control* here(self) except NULL:
        if fp_unlikely(self.epoch != R.epoch or not awake(R)):
            self.refresh()
        if fp_unlikely(not control_is_current(&self.c)):
            control_configure(&self.c)
        return &self.c

    def admit(self, now_ms=None):
        """Whether a call may go ahead: its ticket; -1 the breaker is open, -2 probes are out."""
        cdef Control* c = self.here()
        cdef int64_t ticket = control_admit(c, now(now_ms))
        if ticket < 0:
            control_total(c, TOTAL_REJECTED, 1)
        return ticket

    def ended(
        self, int64_t ticket, bint failed, bint slow=False, now_ms=None, uint64_t asked_ms=0
    ):
        """Say how the call with that ticket ended; how long the other side asked to be left."""
        control_ended(self.here(), ticket, now(now_ms), failed, slow, asked_ms)

    def ignored(self, int64_t ticket):
        """Say that the call with that ticket says nothing about the other side."""
        control_ignored(self.here(), ticket)

    def unmade(self, int64_t ticket):
        """Say that the call with that ticket was not made after all."""
        control_unmade(self.here(), ticket)

    def state(self):
        """Code of the breaker's state."""
        return breaker_state(fp_load_acquire(control_breaker(self.here())))

    def wait_ms(self, now_ms=None):
        """How long the breaker stays open yet; 0 where it is not open."""
        return control_wait_ms(self.here(), now(now_ms))

    def window(self, now_ms=None):
        """(Calls, failures, slow calls) in the window of the breaker as it is."""
        cdef Control* c = self.here()
        cdef uint64_t word = fp_load_acquire(control_breaker(c))
        cdef ControlWindow sums = control_window(c, breaker_generation(word), now(now_ms))
        return sums.calls, sums.failures, sums.slow

    def open_for(self, uint64_t ms, uint64_t cause, now_ms=None):
        """Open for so long, because of ``cause``, where it is closed; whether it was."""
        return bool(control_open_for(self.here(), now(now_ms), ms, cause))

    def move(self, uint64_t state, uint64_t cause, uint64_t until_ms=0):
        """Have the breaker in another state, whatever it is in; its word before."""
        cdef Control* c = self.here()
        cdef uint64_t word
        while True:
            word = fp_load_acquire(control_breaker(c))
            if control_move(c, word, breaker_next(word, state, until_ms), cause, NULL):
                return word

    def deposit(self, now_ms=None):
        """Bring the retry budget what a first try does."""
        budget_deposit(self.here(), now(now_ms))

    def hold(self, now_ms=None):
        """Hold a token of the retry budget until `send` or `let_go`; whether there was one."""
        cdef Control* c = self.here()
        if budget_hold(c, now(now_ms)):
            return True
        control_total(c, TOTAL_BUDGET_EXHAUSTED, 1)
        return False

    def send(self):
        """Pay with the token that is held, so that the retry goes out; False where it is gone."""
        return bool(budget_send(self.here()))

    def let_go(self):
        """Give back the token that is held: no retry goes out."""
        budget_let_go(self.here())

    def tokens(self, now_ms=None):
        """Tokens in the retry budget, in thousandths."""
        return budget_refill(self.here(), now(now_ms))

    def rate_take(self, now_ms=None):
        """Take a token of the rate limit; whether there was one."""
        return bool(control_rate_take(self.here(), now(now_ms)))

    def rate_give(self):
        """Put the token back: the call was not made."""
        control_rate_give(self.here())

    def rate_wait_ms(self, now_ms=None):
        """Until there is a token of the rate limit; 0 where there is one."""
        return control_rate_wait_ms(self.here(), now(now_ms))

    def take(self):
        """Take a permit; whether there was one."""
        return bool(control_take(self.here()))

    def give(self):
        """Give the permit back."""
        control_give(self.here())

    def total(self, int total, uint64_t n=1):
        """Add to an exact total, one of `control_schema.TOTALS` by its index."""
        if not 0 <= total < TOTALS_COUNT:
            raise IndexError(f"total must be 0 to {TOTALS_COUNT - 1}, got {total}")
        control_total(self.here(), total, n)

    def retried(self, uint64_t reason, bint helped, uint64_t micros=0, now_ms=None):
        """Say that a retry has ended that was made for ``reason``, and whether it helped.

        ``reason`` is a word of `control_schema`: a kind, a type, or both. ``micros`` is how long it
        took, 0 = not to be counted.
        """
        control_retried(self.here(), reason, helped, micros, now(now_ms))

    def retries_of_kind(self, kind, now_ms=None):
        """Retries after errors of that kind, by its code, that helped lately, and that did not."""
        cdef Control* c = self.here()
        cdef RetriedCounts n
        if not 0 <= kind < RETRIED_KINDS:
            raise IndexError(f"kind must be 0 to {RETRIED_KINDS - 1}, got {kind}")
        n = retried_of_kind(&c.cell.retried_kinds[<int>kind], now(now_ms))
        return n.helped, n.failed

    def retries_of_type(self, uint32_t tag, now_ms=None):
        """The same of a type of error, by its `control_schema.type_tag`."""
        cdef RetriedCounts n = retried_of_type(
            self.here().cell.retried_types, tag, now(now_ms)
        )
        return n.helped, n.failed

    def retry_micros(self):
        """Microseconds that retries which ended well took, lately and usually; zeros = none did."""
        cdef uint64_t word = fp_load_acquire(&self.here().cell.retried_micros)
        return word >> 32, word & 0xFFFFFFFF

    def forget_retries(self):
        """Have all of this begin anew."""
        control_forget(self.here())

    def reclaim(self, uint64_t slot, uint64_t incarnation):
        """End what the dead owner of ``slot`` held here; how many leases that were.

        Raises ValueError for a slot there is no lease of.
        """
        cdef Control* c = self.here()
        if slot >= c.slots:
            raise ValueError(f"slot must be 0 to {c.slots - 1}, got {slot}")
        return control_reclaim(c, slot, incarnation)


cdef inline uint64_t now(object now_ms) except? 0:
    return fp_clock_coarse_ms() if now_ms is None else <uint64_t>now_ms
