"""In-flight slots: what each operation of this process is doing, readable after its death."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from .atomics cimport fp_store_release
from .layout cimport BREATH_INFLIGHT_OFFSET, INFLIGHT_OPERATION_WIDTH, INFLIGHT_SLOTS, inflight_t
from .posix cimport fp_clock_monotonic, fp_clock_realtime


cdef void breath_start(Breath* b, uint8_t* base) noexcept nogil:
    """Use the slots of a breath file, all of them free."""
    cdef uint32_t i
    memset(b, 0, sizeof(Breath))
    b.base = base
    b.slots = <inflight_t*>(base + BREATH_INFLIGHT_OFFSET)
    for i in range(<uint32_t>INFLIGHT_SLOTS):
        b.free[i] = <uint16_t>(INFLIGHT_SLOTS - 1 - i)
    b.free_count = INFLIGHT_SLOTS


cdef void breath_clear(Breath* b) noexcept nogil:
    """Use no slots."""
    memset(b, 0, sizeof(Breath))


cdef uint32_t breath_enter(
    Breath* b, const uint8_t* operation, size_t n, const uint8_t* trace_id, uint32_t parent
) noexcept nogil:
    """Fill a slot; its number from 1 as a token, 0 when none is free."""
    cdef inflight_t* slot
    cdef uint32_t index
    if b.free_count == 0:
        return 0
    b.free_count -= 1
    index = b.free[b.free_count]
    slot = &b.slots[index]
    if n > INFLIGHT_OPERATION_WIDTH:
        n = INFLIGHT_OPERATION_WIDTH
        while n and (operation[n] & 0xC0) == 0x80:
            n -= 1
    slot.start_unix_nano = fp_clock_realtime()
    slot.start_mono_nano = fp_clock_monotonic()
    slot.parent = parent
    slot.operation_bytes = <uint32_t>n
    memcpy(slot.operation, operation, n)
    if trace_id != NULL:
        memcpy(slot.trace_id, trace_id, 16)
    else:
        memset(slot.trace_id, 0, 16)
    b.entered += 1
    # Stored last: whoever sees the word sees the slot.
    fp_store_release(&slot.word, b.entered)
    return index + 1


cdef void breath_leave(Breath* b, uint32_t token) noexcept nogil:
    """Free the slot of a token."""
    if token == 0 or token > INFLIGHT_SLOTS or b.slots == NULL:
        return
    if b.slots[token - 1].word == 0:
        return
    fp_store_release(&b.slots[token - 1].word, 0)
    b.free[b.free_count] = <uint16_t>(token - 1)
    b.free_count += 1


def install_fatal_handler(int breath_fd, breath):
    """Write the FATAL slot of ``breath`` when a fatal signal comes."""


def rearm_fatal_handler():
    """Put the handler back in front of those that were installed since."""
