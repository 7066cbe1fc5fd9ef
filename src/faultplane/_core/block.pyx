# cython: embedsignature.format=clinic
"""Operations in flight: their slots, and the bounds of a block that holds one.

A block that ends well, read in the generated C: beginning creates the int of its slot and the token
of the context variable, ending creates nothing; no attribute is looked up by name, and no Python
runs but what holds users, where there is a key for them.
"""

import sys

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t

from .breath cimport breath_enter, breath_leave, breath_start_nano
from .exception cimport PyUnicode_AsUTF8AndSize
from .layout cimport DROP_INFLIGHT_OVERFLOW
from .message cimport without_surrogates
from .posix cimport fp_clock_monotonic
from .recorder cimport WRITING, Recorder, awake, drop, fp_unlikely, recorder, wake
from .trace cimport trace_ids

cdef extern from "Python.h":
    object PyContextVar_New(const char* name, PyObject* default_value)
    int PyContextVar_Get(object variable, PyObject* default_value, PyObject** value) except -1
    object PyContextVar_Set(object variable, object value)
    int PyContextVar_Reset(object variable, object token) except -1
    object PyContext_New()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    bint PyExceptionClass_Check(object value)
    void Py_DECREF(PyObject* object)
    Py_ssize_t Py_REFCNT(PyObject* object)

cdef Recorder* R = recorder()

cdef object ZERO = 0
# The token of the innermost operation of this thread or asyncio task: the parent of the next.
cdef object INNERMOST = PyContextVar_New(b"faultplane_innermost_operation", <PyObject*>ZERO)
innermost = INNERMOST

cdef object is_finalizing = sys.is_finalizing
cdef object begin_user = None
cdef object end_user = None


def enter(operation, uint32_t parent=0):
    """Say that an operation has begun; a token for leave(), 0 when no slot is free.

    ``parent`` is the token of the operation that it is a part of, 0 = none.
    """
    return take(operation, parent)


def leave(uint32_t token):
    """Say that the operation of ``token`` has ended; 0 and tokens of another process do nothing."""
    give_back(token)


cdef uint32_t take(object operation, uint32_t parent) except? 0:
    cdef Py_ssize_t n
    cdef const char* text
    cdef uint32_t token
    if fp_unlikely(not isinstance(operation, str)):
        raise TypeError(f"operation must be a str, got {type(operation).__name__}")
    if fp_unlikely(not awake(R)):
        if wake() != WRITING:
            return 0
    text = PyUnicode_AsUTF8AndSize(<PyObject*>operation, &n)
    if text == NULL:
        plain = without_surrogates(operation)
        return 0 if plain is None else take(plain, parent)
    token = breath_enter(
        &R.breath, <const uint8_t*>text, <size_t>n, trace_ids(&R.trace), parent
    )
    if token == 0:
        drop(R, DROP_INFLIGHT_OVERFLOW)
    return token


cdef uint32_t take_inside(str operation, int64_t* start_nano) noexcept:
    """A slot as part of the innermost operation, which stays the parent of what comes inside.

    ``start_nano`` is when it began, on the monotonic clock; 0 where there is no slot.
    """
    cdef PyObject* value = NULL
    cdef uint32_t token
    start_nano[0] = 0
    PyContextVar_Get(INNERMOST, NULL, &value)
    outer = <object>value
    Py_DECREF(value)
    token = take(operation, outer)
    if token:
        start_nano[0] = breath_start_nano(&R.breath, token)
    return token


cdef void give_back(uint32_t token) noexcept:
    # Also where recording was switched off meanwhile; but what is on the page is not a child's.
    if token != 0 and R.page[0] == 1:
        breath_leave(&R.breath, token)


def hold_users(begin, end):
    """Have each block begin with ``begin()`` and end with ``end(held)``, if that gave anything.

    Without ``begin`` (None) blocks that begin from now on hold nobody.
    """
    global begin_user, end_user
    begin_user, end_user = begin, end


cdef class Block:
    """Block(operation, reraise=True, attributes=None, ignore=(), also=())\n--\n

    The bounds of a block of code: it is in flight from `enter` to `leave`.

    What it does with a failure is its subclass's: ``failed(exc, own_frames, user)`` says whether it
    is swallowed, and ``_types`` which types ``ignore`` and ``also`` are, where they are not one.
    """

    cdef public object operation
    cdef public object classification
    cdef public object _reraise
    cdef public object _attributes
    cdef public object _ignore
    cdef public object _also
    cdef public object _before
    cdef public object _user
    cdef public object _outer_entries
    cdef public uint32_t _slot
    cdef public int64_t _start_nano

    def __init__(self, operation, reraise=True, attributes=None, ignore=(), also=()):
        self.operation = operation if type(operation) is str else plain_text(operation)
        self._reraise = reraise
        self._attributes = attributes
        self._ignore = types_of(self, ignore) if ignore else ()
        self._also = types_of(self, also) if also else ()

    def enter(self):
        """Begin the block, for who leaves it in another function and cannot write ``with``.

        Keep it until then: a block that nobody can leave any more has ended.
        """
        return begin(self)

    def leave(self, exc=None, own_frames=0, user=None):
        """End the block, with ``exc`` if it failed (`failed`); whether to swallow that."""
        swallowed = False
        try:
            if exc is not None:
                swallowed = self.failed(exc, own_frames, user)
        finally:
            end(self)
        return swallowed

    def __del__(self):
        # Nobody can leave it any more, as with the body of an answer that a server dropped. What a
        # process was doing when it ended stays.
        if self._start_nano != 0 and not is_finalizing():
            if Py_REFCNT(<PyObject*>self) == 1:
                end_all(self)
            else:
                end_elsewhere(self)

    def __enter__(self):
        return begin(self)

    def __exit__(self, exc_type, exc, traceback):
        if exc is None:
            end(self)
            return False
        return self.leave(exc)

    def _duration_nano(self):
        """Nanoseconds since the block began; 0 before that and after its end."""
        return fp_clock_monotonic() - self._start_nano if self._start_nano else 0


cdef object types_of(Block self, object types):
    return (types,) if PyExceptionClass_Check(types) else self._types(types)


cdef object begin(Block self):
    cdef PyObject* value = NULL
    cdef uint32_t slot
    # All that may raise, as a signal handler does, comes before anything of the block changes.
    PyContextVar_Get(INNERMOST, NULL, &value)
    outer = <object>value
    Py_DECREF(value)
    slot = take(self.operation, outer)
    held = None if begin_user is None else begin_held(slot)
    if fp_unlikely(self._start_nano != 0):
        keep_outer_entry(self)
    self._user = held
    self._slot = slot
    self._start_nano = fp_clock_monotonic()
    if slot:
        # Without a slot (none free, or no domain) the enclosing operation stays the parent.
        self._before = PyContextVar_Set(INNERMOST, slot)
    return self


cdef int end(Block self) except -1:
    before, held = self._before, self._user
    give_back(self._slot)
    self._slot = 0
    self._before = self._user = None
    self._start_nano = 0
    if before is not None:
        try:
            PyContextVar_Reset(INNERMOST, before)
        except ValueError:
            pass  # left in another context than it was entered in, as a generator may be
    if fp_unlikely(self._outer_entries is not None):
        if self._outer_entries:
            self._slot, self._before, self._start_nano, self._user = self._outer_entries.pop()
    if held is not None:
        end_held(held)
    return 0


cdef int end_all(Block self) except -1:
    while self._start_nano != 0:
        end(self)
    return 0


cdef int end_elsewhere(Block self) except -1:
    """End what the garbage collector found, as if in a context of which it has no variable.

    It comes at any time, in the middle of a change of the context too, whose table up to CPython
    3.11 must not change then; and what this thread does now has long been something else.
    """
    context = PyContext_New()
    PyContext_Enter(context)
    try:
        end_all(self)
    finally:
        PyContext_Exit(context)
    return 0


cdef object begin_held(uint32_t slot):
    try:
        return begin_user()
    except BaseException:
        give_back(slot)
        raise


cdef int end_held(object held) except -1:
    try:
        end_user(held)
    except BaseException:  # a signal handler's, before the end or in the middle of it
        end_user(held)
        raise
    return 0


cdef int keep_outer_entry(Block self) except -1:
    """Let the entries of one object that is entered again before it was left nest."""
    if self._outer_entries is None:
        self._outer_entries = []
    self._outer_entries.append((self._slot, self._before, self._start_nano, self._user))
    self._before = self._user = None
    return 0


cdef object plain_text(object operation):
    """An operation that is a string of a subclass, such as an enum's, as a plain one."""
    if not isinstance(operation, str):
        raise TypeError(
            f"operation must be a string, got {operation!r}: write @capture('name')"
        )
    return str.__str__(operation)
