"""Control cells, for guarded calls."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .layout cimport control_cell_t, lease_t

cdef extern from "control.h" nogil:
    const int64_t CONTROL_REJECTED
    const int64_t CONTROL_FULL
    ctypedef struct Control:
        control_cell_t* cell
        lease_t* leases
        const uint64_t* owners_high
        uint64_t slots
        uint64_t slot
        uint64_t incarnation
        uint64_t slow_call_nano
        uint64_t asked_ms_min
        uint64_t limit
        uint64_t capacity_milli
    ctypedef struct ControlWindow:
        uint64_t calls
        uint64_t failures
        uint64_t slow
    ctypedef struct RetriedCounts:
        uint64_t helped
        uint64_t failed
    uint64_t* control_breaker(const Control* c) noexcept
    void control_configure(Control* c) noexcept
    bint control_is_current(const Control* c) noexcept
    void control_total(const Control* c, int total, uint64_t n) noexcept
    int64_t control_admit(const Control* c, uint64_t now_ms) noexcept
    void control_ended(
        Control* c, int64_t ticket, uint64_t now_ms, bint failed, bint slow, uint64_t asked_ms
    ) noexcept
    void control_ignored(const Control* c, int64_t ticket) noexcept
    void control_unmade(const Control* c, int64_t ticket) noexcept
    uint64_t control_wait_ms(const Control* c, uint64_t now_ms) noexcept
    bint control_open_for(
        const Control* c, uint64_t now_ms, uint64_t ms, uint64_t cause
    ) noexcept
    bint control_move(
        const Control* c, uint64_t word, uint64_t next, uint64_t cause, const ControlWindow* sums
    ) noexcept
    ControlWindow control_window(Control* c, uint64_t generation, uint64_t now_ms) noexcept
    uint64_t control_reclaim(const Control* c, uint64_t slot, uint64_t incarnation) noexcept
    uint64_t breaker_state(uint64_t word) noexcept
    uint64_t breaker_generation(uint64_t word) noexcept
    uint64_t breaker_next(uint64_t word, uint64_t state, uint64_t until_ms) noexcept
    uint64_t budget_refill(const Control* c, uint64_t now_ms) noexcept
    bint budget_bring(const Control* c) noexcept
    void budget_deposit(const Control* c, uint64_t now_ms) noexcept
    bint budget_hold(const Control* c, uint64_t now_ms) noexcept
    bint budget_send(const Control* c) noexcept
    void budget_let_go(const Control* c) noexcept
    bint control_rate_take(const Control* c, uint64_t now_ms) noexcept
    void control_rate_give(const Control* c) noexcept
    uint64_t control_rate_wait_ms(const Control* c, uint64_t now_ms) noexcept
    bint control_take(const Control* c) noexcept
    void control_give(const Control* c) noexcept
    void control_retried(
        const Control* c, uint64_t reason, bint helped, uint64_t micros, uint64_t now_ms
    ) noexcept
    void control_learn(
        const Control* c, uint64_t reason, bint helped, int64_t start_nano
    ) noexcept
    void control_forget(const Control* c) noexcept
    RetriedCounts retried_of_kind(const uint64_t* word, uint64_t now_ms) noexcept
    RetriedCounts retried_of_type(
        const uint64_t* places, uint32_t tag, uint64_t now_ms
    ) noexcept


cdef class Cell:
    cdef Control c
    cdef readonly uint32_t epoch
    cdef readonly uint64_t unheard
    cdef object attach
    cdef object memory
    cdef int refresh(self) except -1
    cdef Control* here(self) except NULL
