"""Which error is this: process-local keys on the hot path, the stable fingerprint behind them."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from .exception cimport (
    FP_K0,
    FP_K1,
    PyBaseExceptionObject,
    PyCodeObject,
    PyOSErrorObject,
    PyTracebackObject,
    Py_TYPE,
    fp_mix,
    fp_small,
    fp_traceback,
    fp_traceback_code,
)
from .layout cimport STACK_FRAMES_MAX, STRING_BYTES_MAX


cdef enum:
    TYPE_SLOTS = 2048
    SITE_SLOTS = 4096
    SITES_MAX = 3072
    TYPES_MAX = 1536
    ERRNO_MAX = 999_999

    TRAIT_OSERROR = 1   # errno is part of the key
    TRAIT_GROUP = 2     # members are part of the key
    TRAIT_DYNAMIC = 4   # classified anew every time
    TRAIT_IGNORED = 8   # not recorded
    TRAIT_WRAPPER = 16  # its cause answers for it, where there is one
    TRAIT_KEYED = 32    # has, in place of a classification, what reads the key of one

cdef struct TypeInfo:
    PyObject* type            # strong; NULL = empty slot
    PyObject* classification  # strong; NULL until classified; of TRAIT_KEYED the reader
    long errno_value          # or what else narrows the type: causes < 0, keys > 999,999
    uint32_t serial
    uint8_t kind
    uint8_t category
    uint8_t severity
    uint8_t flags
    uint8_t traits
    uint8_t form              # message.MessageForm


cdef struct Site:
    uint64_t key              # 0 = empty slot
    uint64_t fingerprint
    PyObject* classification  # strong
    PyObject* refs            # strong tuple: template, then the code objects and types of the key
    uint32_t cell             # offset of the count; 0 = overflow cells
    int32_t type
    int32_t site
    int32_t operation
    uint8_t kind
    uint8_t category
    uint8_t severity
    uint8_t flags
    uint64_t pad              # to the 64 bytes of a cache line


cdef struct Tables:
    TypeInfo types[TYPE_SLOTS]
    Site sites[SITE_SLOTS]
    uint32_t type_count
    uint32_t site_count
    uint32_t type_serial
    uint64_t flushes


cdef inline TypeInfo* type_find(Tables* t, PyObject* type, long errno_value) noexcept:
    """Slot of a type (and errno); an empty one when it is new."""
    cdef uint64_t i = (
        (<uint64_t><size_t>type ^ (<uint64_t>errno_value << 32)) * FP_K0
    ) >> 53
    cdef TypeInfo* slot = &t.types[i]
    if slot.type == type and slot.errno_value == errno_value:
        return slot
    while slot.type != NULL and (slot.type != type or slot.errno_value != errno_value):
        i = (i + 1) & (TYPE_SLOTS - 1)
        slot = &t.types[i]
    return slot


cdef inline long errno_of(PyObject* exception) noexcept:
    """The errno of an OSError, 1 to ERRNO_MAX; 0 where it has none or another value."""
    cdef PyObject* value = (<PyOSErrorObject*>exception).myerrno
    cdef long code = -1 if value == NULL else fp_small(value)
    return code if 0 < code <= ERRNO_MAX else 0


cdef inline Site* site_find(Tables* t, uint64_t key) noexcept:
    """Slot of a key; an empty one when it is new."""
    cdef uint64_t i = key >> 52
    cdef Site* slot = &t.sites[i]
    if slot.key == key:
        return slot
    while slot.key != key and slot.key != 0:
        i = (i + 1) & (SITE_SLOTS - 1)
        slot = &t.sites[i]
    return slot


cdef inline uint64_t walk(PyObject* exception, uint64_t key) noexcept:
    """Fold code object and instruction of every frame of an exception into ``key``.

    Addresses stand for code objects: every entry keeps those of its key alive, so an address that
    is found is the object it was. Every frame: the fingerprint knows the innermost of any depth.
    """
    cdef PyTracebackObject* entry = fp_traceback(exception)
    while entry != NULL:
        key = fp_mix(
            key ^ <uint64_t><size_t>fp_traceback_code(entry),
            FP_K0 ^ <uint32_t>entry.tb_lasti,
        )
        entry = entry.tb_next
    return key


cdef inline PyObject* chained(PyObject* exception) noexcept:
    """The cause, else the context unless it is suppressed; NULL at the end."""
    cdef PyBaseExceptionObject* e = <PyBaseExceptionObject*>exception
    if e.cause != NULL:
        return e.cause
    return NULL if e.suppress_context else e.context


cdef uint64_t walk_chain(PyObject* exception, uint64_t key) noexcept
cdef uint64_t walk_group(PyObject* exception, uint64_t key, int depth) noexcept


cdef inline uint64_t key_of(PyObject* exception, const TypeInfo* info, uint32_t operation) noexcept:
    """Process-local identity of an error: type, operation, frames, chain, members.

    To be called in one place of a module: compilers put it there whole, which is 20 instructions
    less.
    """
    cdef PyBaseExceptionObject* e = <PyBaseExceptionObject*>exception
    cdef uint64_t key = fp_mix(info.serial ^ FP_K1, FP_K0 ^ operation)
    if info.traits != 0:
        if info.traits & TRAIT_GROUP:
            key = walk_group(exception, key, 0)
        if info.traits & TRAIT_DYNAMIC:
            key = fp_mix(
                key ^ info.kind ^ <uint64_t>info.category << 8 ^ <uint64_t>info.severity << 16
                ^ <uint64_t>info.flags << 24,
                FP_K1,
            )
    key = walk(exception, key)
    if e.cause != NULL or (e.context != NULL and not e.suppress_context):
        key = walk_chain(exception, key)
    return key | (key == 0)


cdef void tables_flush(Tables* t) noexcept


cdef struct Portrait:
    # What the first sighting of an error finds out about it. Kept on the heap: a thread's stack
    # may be smaller.
    uint64_t fingerprint
    uint32_t stack_bytes
    uint32_t site_bytes
    uint32_t type_bytes
    char site[1024]
    char type[512]
    char stack[STRING_BYTES_MAX]
    char frames[STRING_BYTES_MAX]


cdef Portrait* portrait_new() except NULL

cdef int portray(
    PyObject* exception, Portrait* p, const uint8_t* message, Py_ssize_t message_bytes,
    const uint8_t* template, Py_ssize_t template_bytes
) except -1
cdef object references(PyObject* exception, object template)
