# cython: embedsignature.format=clinic
"""Guarded calls: a try is let through, is in flight, and what came of it is told.

A call that ends well is C from its first line to its last: no object is made, no attribute looked
up, and no frame of ours is in the traceback of one that fails. What is to be done about a failure
is asked of the policy where it is more than the numbers here say.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from .atomics cimport fp_load_acquire
from .block cimport give_back, take_inside
from .control cimport (
    CONTROL_FULL, Cell, Control, budget_bring, budget_deposit, budget_hold, budget_let_go,
    budget_send, control_admit, control_breaker, control_ended, control_give, control_ignored,
    control_is_current, control_learn, control_rate_give, control_rate_take, control_rate_wait_ms,
    control_take, control_total, control_unmade, control_wait_ms,
)
from .layout cimport (
    BREAKER_GENERATION_MASK,
    BREAKER_GENERATION_SHIFT,
    BREAKER_STATE_SHIFT,
    TICKET_UNCOUNTED,
    TOTAL_BUDGET_EXHAUSTED,
    TOTAL_FULL,
    TOTAL_GAVE_UP,
    TOTAL_RATE_LIMITED,
    TOTAL_RECOVERED,
    TOTAL_REJECTED,
    TOTAL_RETRIES,
)
from .posix cimport fp_clock_coarse_ms, fp_clock_monotonic
from .record import classify, record, seen
from .recorder cimport Recorder, awake, fp_unlikely, recorder

cdef extern from "guard.h":
    ctypedef PyObject* (*vectorcallfunc)(
        PyObject*, PyObject* const*, size_t, PyObject*
    ) noexcept
    PyObject* PyObject_Vectorcall(
        PyObject* callable, PyObject* const* args, size_t nargsf, PyObject* kwnames
    ) noexcept
    object PyMethod_New(object function, object self)
    object PyVectorcall_Call(object callable, object args, object kwargs)
    PyObject* fp_take_error() noexcept
    void fp_put_error(PyObject* error) noexcept
    void fp_be_vectorcallable(PyObject* type, Py_ssize_t offset) noexcept
    bint fp_is_exception(PyObject* error) noexcept
    bint fp_says_nothing(PyObject* error) noexcept

cdef extern from "Python.h":
    int PyContextVar_Get(object variable, PyObject* default_value, PyObject** value) except -1
    void Py_DECREF(PyObject* object)

cdef Recorder* R = recorder()

cdef object UNINITIALISED = RuntimeError("the guarded function was not initialised")

cdef enum:
    RECLAIM_MS = 20  # the dead are looked for so often at most, by each process
    ATTEMPT_MAX = 0xFFFF  # what a record can say
    PAGE_IMAGE = 1  # word of the page: 0 in a fork that nobody has noticed yet


cdef struct Try:
    int64_t ticket
    int64_t start_nano
    uint32_t token
    uint32_t epoch       # of the cell that the try was let through by
    uint32_t held_epoch  # of the cell that a token is held of
    uint32_t attempt
    bint under_way
    bint permit
    bint held
    uint64_t reason  # of a retry: what its outcome is counted for; 0 = nothing
    double previous  # the delay before it, seconds


cdef class Guard:
    """Guard(cell, operation, policy)\n--\n

    The numbers of a dependency's policies, and the cell that its processes share.

    ``policy`` is asked where these do not say it all: ``policy.delay(error, answer, attempt,
    previous)`` gives the seconds to wait before the next try, less than 0 for none,
    ``policy.sleep(seconds)`` waits, ``policy.reclaim(cell)`` looks for the dead, and
    ``policy.open``, ``policy.full``, ``policy.rated`` and ``policy.exhausted`` are the types that a
    rejection raises, made of the operation and the seconds to wait. ``policy.deadline`` is the
    context variable that says when all must have ended, None = never. ``policy.reason(error,
    answer)`` is the word that the outcome of a retry is counted for (`Cell.retried`).
    """

    cdef readonly Cell cell
    cdef readonly str operation
    cdef readonly object policy
    cdef uint32_t attempts
    cdef bint breaker, budget, limit, rate, bounded, asks, learns
    cdef object on
    cdef object open_type, full_type, rate_type, deadline
    cdef uint64_t reclaim_ms

    def __init__(self, Cell cell not None, str operation not None, policy):
        self.cell = cell
        self.operation = operation
        self.policy = policy
        self.attempts = 1
        self.open_type, self.full_type, self.rate_type = policy.open, policy.full, policy.rated
        self.deadline = policy.deadline

    def configure(
        self, *, uint32_t attempts, bint breaker, bint budget, bint limit, bint asks, on=None,
        bint learns=False, bint rate=False
    ):
        """Say what is guarded and how.

        ``attempts`` tries at most, 1 to 65,535; a ``breaker``, a ``budget``, a ``limit`` and a
        ``rate`` there are or not; ``asks`` has the policy say how long to wait before each retry,
        else it is asked only after errors that may say it themselves, and there is no wait after
        others; ``on`` the types of exception that are tried again, None = those whose
        classification is retryable; ``learns`` has what comes of retries counted. Raises ValueError
        for a number out of bounds.
        """
        if not 1 <= attempts <= ATTEMPT_MAX:
            raise ValueError(f"attempts must be 1 to {ATTEMPT_MAX}, got {attempts}")
        self.attempts = attempts
        self.breaker, self.budget, self.limit, self.rate = breaker, budget, limit, rate
        self.bounded = limit or rate
        self.asks, self.on, self.learns = asks, on, learns

    cdef int check(self) except -1:
        if self.cell is None:
            raise RuntimeError("the guard was not initialised")
        return 0

    def begin(self, uint32_t attempt=1, bint look=False):
        """Let a call begin; what it is told of is the `Call` that this gives.

        ``attempt``: the number of its try, 1 to 65,535, where those before it were made elsewhere.
        ``look``: whoever asks waits for a permit, and that there is none is not counted as full.
        Raises what the policy rejects with, if it is not to be made.
        """
        cdef Call call
        self.check()
        if not 1 <= attempt <= ATTEMPT_MAX:
            raise ValueError(f"attempt must be 1 to {ATTEMPT_MAX}, got {attempt}")
        call = Call.__new__(Call)
        call.guard = self
        call.now.attempt = attempt
        call.now.previous = 0.0
        rejection = reject_or_begin(self, &call.now, look)
        if rejection is not None:
            raise rejection
        return call

    def wrap(self, function):
        """Give ``function`` with each call of it guarded."""
        return Guarded(self, function)


# ---------------------------------------------------------------------------------------- a try


cdef inline bint begin(Guard g, Try* t) noexcept:
    """Let a try begin where nothing is in its way; False: `reject_or_begin` has to look."""
    cdef Cell cell = g.cell
    cdef Control* c = &cell.c
    cdef uint64_t word
    if fp_unlikely(cell.epoch != R.epoch or not awake(R) or not control_is_current(c)):
        return False
    if fp_unlikely(g.bounded):
        return False
    if g.breaker:
        word = fp_load_acquire(control_breaker(c))
        if fp_unlikely(word >> BREAKER_STATE_SHIFT):
            return False  # anything but closed
        t.ticket = <int64_t>(word >> BREAKER_GENERATION_SHIFT & BREAKER_GENERATION_MASK)
    else:
        t.ticket = TICKET_UNCOUNTED
    if g.budget and t.attempt == 1 and fp_unlikely(not budget_bring(c)):
        return False
    t.permit = False
    started(g, c, t)
    return True


cdef inline void started(Guard g, Control* c, Try* t) noexcept:
    t.epoch = g.cell.epoch
    t.under_way = True
    t.token = take_inside(g.operation, &t.start_nano)
    if t.start_nano == 0 and c.slow_call_nano:
        t.start_nano = fp_clock_monotonic()  # it has no slot that says so


cdef object reject_or_begin(Guard g, Try* t, bint look):
    """Let a try begin; None, or the exception that says why not."""
    cdef Control* c = g.cell.here()
    cdef uint64_t at = fp_clock_coarse_ms()
    t.ticket = TICKET_UNCOUNTED
    t.permit = False
    if g.breaker:
        t.ticket = control_admit(c, at)
        if t.ticket == CONTROL_FULL and look_for_dead(g, at):
            c = g.cell.here()
            t.ticket = control_admit(c, at)
        if t.ticket < 0:
            control_total(c, TOTAL_REJECTED, 1)
            return g.open_type(g.operation, control_wait_ms(c, at) / 1000.0)
    if g.rate and not control_rate_take(c, at):
        if not look:
            control_total(c, TOTAL_RATE_LIMITED, 1)
        control_unmade(c, t.ticket)
        return g.rate_type(g.operation, control_rate_wait_ms(c, at) / 1000.0)
    if g.limit:
        t.permit = control_take(c) or take_of_dead(g, t, at)
        if not t.permit:
            if not look:
                control_total(c, TOTAL_FULL, 1)
            if g.rate:
                control_rate_give(c)
            control_unmade(c, t.ticket)
            return g.full_type(g.operation, 0.0)
    if g.budget and t.attempt == 1:
        budget_deposit(c, at)
    started(g, c, t)
    return None


cdef bint take_of_dead(Guard g, Try* t, uint64_t at) except? False:
    """Take a permit that a dead process held; whether there was one."""
    cdef uint32_t epoch = g.cell.epoch
    cdef bint found
    try:
        found = look_for_dead(g, at)
        g.cell.here()
    except BaseException:
        if g.cell.epoch == epoch:
            control_unmade(&g.cell.c, t.ticket)
        raise
    if g.cell.epoch != epoch:
        # Forked, or gone to another domain, since it was let through: that was not here.
        t.ticket = TICKET_UNCOUNTED
    return found and control_take(&g.cell.c)


cdef bint look_for_dead(Guard g, uint64_t at) except? False:
    """Have the store look whose owners died holding something; whether anything came back."""
    if at < g.reclaim_ms:
        return False
    g.reclaim_ms = at + RECLAIM_MS
    return bool(g.policy.reclaim(g.cell))


cdef inline bint is_here(Guard g, Try* t) noexcept:
    """Whether the cell is still the one that the try began in: not after a fork, for one."""
    return t.epoch == g.cell.epoch and t.epoch == R.epoch and R.page[PAGE_IMAGE] == 1


cdef inline void over(Guard g, Try* t) noexcept:
    """It runs no longer: slot and permit are others'."""
    t.under_way = False
    give_back(t.token)
    if fp_unlikely(t.permit) and is_here(g, t):
        control_give(&g.cell.c)


cdef inline void succeeded(Guard g, Try* t) noexcept:
    cdef Control* c = &g.cell.c
    cdef bint slow = False
    over(g, t)
    if fp_unlikely(not is_here(g, t)):
        return
    if fp_unlikely(t.attempt > 1):
        control_total(c, TOTAL_RECOVERED, 1)
        if g.learns:
            control_learn(c, t.reason, True, t.start_nano)
    if t.ticket != TICKET_UNCOUNTED:
        if c.slow_call_nano and t.start_nano:
            slow = <uint64_t>(fp_clock_monotonic() - t.start_nano) > c.slow_call_nano
        control_ended(c, t.ticket, fp_clock_coarse_ms(), False, slow, 0)


cdef void ignored(Guard g, Try* t) noexcept:
    """It says nothing of the other side: cancelled, or not its failure."""
    if not t.under_way:
        return
    over(g, t)
    if is_here(g, t):
        control_ignored(&g.cell.c, t.ticket)


cdef double failed(Guard g, Try* t, object error, bint last) except? -2.0:
    """Tell what came of a try; the seconds until the next, less than 0 where there is none."""
    cdef Control* c = &g.cell.c
    cdef bint counts, slow = False
    cdef double wait
    cdef int64_t duration = 0
    cdef uint64_t asked_ms = 0
    if not fp_is_exception(<PyObject*>error):
        ignored(g, t)
        return -1.0
    if not t.under_way:
        return -1.0
    if t.start_nano:
        duration = fp_clock_monotonic() - t.start_nano
    answer = classify(error)
    counted_as = answer.counts_as
    counts = counted_as == "failure"
    if counted_as == "ignored":
        ignored(g, t)
    else:
        over(g, t)
        if is_here(g, t):
            slow = c.slow_call_nano != 0 and <uint64_t>duration > c.slow_call_nano
            if counts and c.asked_ms_min:
                asked_ms = milliseconds(answer.retry_after)
            control_ended(c, t.ticket, fp_clock_coarse_ms(), counts, slow, asked_ms)
            if t.attempt > 1 and g.learns:
                control_learn(c, t.reason, not counts, t.start_nano)
    wait = -1.0 if last else next_wait(g, t, error, answer)
    if counts and not seen(error):
        record(error, g.operation, t.attempt - 1, duration, None, wait >= 0)
    return wait


cdef uint64_t milliseconds(object seconds) except? 0:
    """What a classification says is to be waited; 0 where it says nothing."""
    return 0 if seconds is None else <uint64_t>(<double>seconds * 1000.0 + 0.5)


cdef double next_wait(Guard g, Try* t, object error, object answer) except? -2.0:
    """Seconds until the next try; a token is held for it then."""
    cdef Control* c
    cdef uint64_t at
    cdef double wait = 0.0
    if g.attempts == 1:
        return -1.0
    if not (answer.retryable if g.on is None else issubclass(type(error), g.on)):
        return -1.0
    if t.attempt >= g.attempts:
        control_total(g.cell.here(), TOTAL_GAVE_UP, 1)
        return -1.0
    if (
        g.asks or answer.retry_after is not None or not fp_says_nothing(<PyObject*>error)
        or has_deadline(g)
    ):
        wait = g.policy.delay(error, answer, t.attempt, t.previous)
        if not wait >= 0.0:
            return -1.0
    t.reason = g.policy.reason(error, answer) if g.learns else 0
    if g.budget:
        c = g.cell.here()
        if not budget_hold(c, fp_clock_coarse_ms()):
            at = fp_clock_coarse_ms()
            if not (look_for_dead(g, at) and budget_hold(c, at)):
                control_total(c, TOTAL_BUDGET_EXHAUSTED, 1)
                return -1.0
        t.held = True
        t.held_epoch = g.cell.epoch
    t.previous = wait
    return wait


cdef bint has_deadline(Guard g) except? False:
    """Whether what is being done must have ended by some time."""
    cdef PyObject* value = NULL
    PyContextVar_Get(g.deadline, NULL, &value)
    at = <object>value
    Py_DECREF(value)
    return at is not None


cdef inline bint holds(Guard g, Try* t) noexcept:
    """Whether a token is held of the cell that there is."""
    cdef uint32_t epoch = g.cell.epoch
    return t.held and t.held_epoch == epoch and epoch == R.epoch and R.page[PAGE_IMAGE] == 1


cdef bint pay(Guard g, Try* t) noexcept:
    """Pay for a try that was let through; whether it was paid for. Else it has not begun.

    After it was let through: what the breaker rejects is no retry, and costs nothing.
    """
    if is_paid(g, t):
        return True
    over(g, t)
    if is_here(g, t):
        control_unmade(&g.cell.c, t.ticket)
    return False


cdef bint is_paid(Guard g, Try* t) noexcept:
    """Whether a retry is paid for, with the token that is held where there is a budget."""
    cdef bint there = holds(g, t)
    if not t.held:
        if is_here(g, t):
            control_total(&g.cell.c, TOTAL_RETRIES, 1)
        return True
    t.held = False
    return there and budget_send(&g.cell.c)


cdef void give_up(Guard g, Try* t) noexcept:
    """No other try goes out after all."""
    if holds(g, t):
        budget_let_go(&g.cell.c)
    t.held = False


# --------------------------------------------------------------------------- a call, from Python


@cython.no_gc_clear
cdef class Call:
    """A guarded call under way, for who makes its tries himself; made by `Guard.begin`.

    One that is dropped without a word counts as ignored, and what it held is given back.
    """

    cdef Guard guard
    cdef Try now

    @property
    def attempt(self):
        """Number of the try, from 1."""
        return self.now.attempt

    def succeeded(self):
        """The try ended well."""
        if self.now.under_way:
            succeeded(self.guard, &self.now)

    def failed(self, error, bint last=False):
        """The try raised ``error``; the seconds until the next try, less than 0 = there is none.

        ``last``: there is no other, whatever the policy says.
        """
        return failed(self.guard, &self.now, error, last)

    def ignored(self):
        """The try says nothing of the other side, and there is no other."""
        ignored(self.guard, &self.now)
        give_up(self.guard, &self.now)

    def again(self):
        """Begin the next try; raises as `Guard.begin` does. One under way ends, as ignored."""
        if self.guard is None:
            raise RuntimeError("a call is made by Guard.begin")
        ignored(self.guard, &self.now)
        self.now.attempt += 1
        rejection = reject_or_begin(self.guard, &self.now, False)
        if rejection is not None:
            give_up(self.guard, &self.now)
            raise rejection
        if not pay(self.guard, &self.now):
            raise self.guard.policy.exhausted(self.guard.operation, 0.0)

    def hand_on(self):
        """Pay for the next try, which is made elsewhere; whether it may be made.

        Whoever makes it begins with its number. Said of a try that failed, and is to be followed.
        """
        if self.guard is None:
            raise RuntimeError("a call is made by Guard.begin")
        return is_paid(self.guard, &self.now)

    def __dealloc__(self):
        if self.guard is not None:
            ignored(self.guard, &self.now)
            give_up(self.guard, &self.now)


# ----------------------------------------------------------------------------- a guarded function


cdef class Guarded:
    """Guarded(guard, function)\n--\n

    A function each call of which is guarded; made by `Guard.wrap`.

    It is called, bound to an instance, pickled and looked at as the function is.
    """

    cdef vectorcallfunc call
    cdef readonly Guard guard
    cdef object function
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self):
        self.call = guarded_call

    def __init__(self, Guard guard not None, function):
        guard.check()
        self.guard = guard
        self.function = function

    def __call__(self, *args, **kwargs):
        # Who asks for the method by name; calls of the object itself do not come here.
        return PyVectorcall_Call(self, args, kwargs)

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return self.__qualname__

    def __repr__(self):
        return f"<guarded {self.function!r}>"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef PyObject* guarded_call(
    PyObject* itself, PyObject* const* args, size_t nargsf, PyObject* kwnames
) noexcept:
    cdef Guarded guarded = <Guarded>itself
    cdef Guard g = guarded.guard
    cdef Try t
    cdef PyObject* result
    t.attempt = 1
    t.previous = 0.0
    t.held = False
    if fp_unlikely(g is None):
        fp_put_error(<PyObject*>UNINITIALISED)
        return NULL
    if not begin(g, &t) and not begin_slowly(g, &t, NULL):
        return NULL
    while True:
        result = PyObject_Vectorcall(<PyObject*>guarded.function, args, nargsf, kwnames)
        if result != NULL:
            succeeded(g, &t)
            return result
        if not goes_on(g, &t):
            return NULL


cdef bint begin_slowly(Guard g, Try* t, PyObject* last) noexcept:
    """Let a try begin, or raise why not: what the one before it raised, if there was one."""
    try:
        raised = reject_or_begin(g, t, False)
        if raised is None:
            return True
        if last != NULL:
            raised = <object>last
    except BaseException as error:  # a signal handler's
        raised = error
    fp_put_error(<PyObject*>raised)
    return False


cdef bint goes_on(Guard g, Try* t) noexcept:
    """Whether there is another try, which has begun; else the error is raised again as it was."""
    cdef PyObject* taken = fp_take_error()
    cdef double wait
    error = <object>taken
    raised = error
    try:
        wait = failed(g, t, error, False)
        if wait > 0.0:
            g.policy.sleep(wait)
    except BaseException as other:
        # A signal handler's, or the clock's: what was to come is not made.
        ignored(g, t)
        give_up(g, t)
        raised, wait = other, -1.0
    if wait >= 0.0:
        t.attempt += 1
        if begin(g, t) or begin_slowly(g, t, taken):
            if pay(g, t):
                fp_drop(taken)
                return True
            fp_put_error(taken)
        else:
            give_up(g, t)
    else:
        fp_put_error(<PyObject*>raised)
    fp_drop(taken)
    return False


cdef extern from "guard.h":
    void fp_drop(PyObject* owned) noexcept
    object fp_allocate(PyObject* type)


cdef int be_vectorcallable() except -1:
    sample = <Guarded>fp_allocate(<PyObject*>Guarded)
    fp_be_vectorcallable(
        <PyObject*>Guarded, <Py_ssize_t>(<char*>&sample.call - <char*><PyObject*>sample)
    )
    return 0


be_vectorcallable()
