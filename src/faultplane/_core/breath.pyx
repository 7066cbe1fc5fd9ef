"""The last breath: in-flight slots (breath.h) and the slot that a fatal signal fills (fatal.h)."""

import sys

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from .layout cimport BREATH_INFLIGHT_OFFSET, INFLIGHT_SLOTS, inflight_t

cdef extern from "breath.h" nogil:
    ctypedef struct State "Breath":
        inflight_t* slots
        uint32_t epoch
        uint32_t free_count
        uint16_t* free
        void (*new_thread)() noexcept nogil

cdef extern from "fatal.h" nogil:
    void fatal_target(uint8_t* base) noexcept
    void fatal_stack() noexcept
    void fatal_stacks() noexcept
    void fatal_install(bint faulthandler_enabled) noexcept
    bint fatal_finds_frames() noexcept
    int fatal_frames_file() noexcept


cdef bint installed = False


cdef void breath_start(Breath* b, uint8_t* base) noexcept nogil:
    """Use the slots of a breath file, all of them free, and its fatal slot."""
    cdef State* state = <State*>b
    cdef uint32_t i
    state.epoch += 1
    state.slots = <inflight_t*>(base + BREATH_INFLIGHT_OFFSET)
    for i in range(<uint32_t>INFLIGHT_SLOTS):
        state.free[i] = <uint16_t>(INFLIGHT_SLOTS - 1 - i)
    state.free_count = INFLIGHT_SLOTS
    state.new_thread = fatal_stack
    fatal_target(base)


cdef void breath_clear(Breath* b) noexcept nogil:
    """Use no slots."""
    cdef State* state = <State*>b
    fatal_target(NULL)
    state.slots = NULL
    state.free_count = 0


def install_fatal_handler():
    """Keep signal, time, thread and frames where SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT comes.

    They go to the fatal slot of the domain that this process is bound to, now or later. What was
    installed before is called in its turn, so that exit status, core dump and other crash reporters
    stay what they were. Idempotent; called again after a server has replaced handlers, it stands
    in front of them. The pure core has faulthandler write the frames, unless the application uses
    that for itself, and knows nothing else of the signal.
    """
    global installed
    if not installed:
        installed = True
        fatal_stacks()
        if not fatal_finds_frames():
            stand_in()
    install()


def rearm_fatal_handler():
    """Put the handler, where it is installed, back in front of those that came later."""
    if installed:
        install()


cdef int install() except -1:
    module = sys.modules.get("faulthandler")
    fatal_install(module is not None and bool(module.is_enabled()))
    return 0


cdef int stand_in() except -1:
    """Let faulthandler find the frames: interpreters from 3.13 on keep their own function private.

    It is enabled between two installations of our handler, so that it calls us when it is done.
    An application that enabled it for itself keeps it, and has no frames here.
    """
    cdef int fd
    import faulthandler

    if faulthandler.is_enabled():
        return 0
    fd = fatal_frames_file()
    if fd >= 0:
        install()
        faulthandler.enable(fd, all_threads=False)
    return 0
