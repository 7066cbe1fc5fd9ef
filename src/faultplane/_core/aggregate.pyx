"""Exact counts: one cell a series, one writer a cell.

A process counts into its own file, append-only entries of a cell and its three strings. Before it
has one it counts into private memory of the same form, which is then copied: offsets stay valid,
so whoever kept one never looks it up again.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .atomics cimport fp_store_relaxed, fp_store_release
from .digest cimport fp_digest, fp_digest_end, fp_digest_start, fp_digest_update
from .layout cimport (
    AGGREGATE_SIZE,
    CELL_SIZE,
    DROP_COUNT,
    DROP_NAMES,
    LAYOUT_VERSION,
    MAGIC_AGGREGATE,
    NAME_BYTES_MAX,
    SERIES_DROP,
    SERIES_MAX,
    aggregate_t,
    cell_t,
)
from .posix cimport fp_identify, fp_is_still, fp_reserve

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t size)
    int madvise(void* address, size_t size, int advice)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_DONTNEED
    void* MAP_FAILED

cdef extern from "<string.h>" nogil:
    size_t strlen(const char* text)

cdef enum:
    GROW_BYTES = 65536


cdef uint8_t* private_memory() noexcept nogil:
    cdef void* base = mmap(
        NULL, AGGREGATE_RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
    )
    return NULL if base == MAP_FAILED else <uint8_t*>base


cdef int aggregate_local(Aggregate* a) noexcept nogil:
    """Start counting in private memory, ``a`` being zero; 0, or -1 when there is none."""
    cdef aggregate_t* h
    cdef uint64_t magic = MAGIC_AGGREGATE
    cdef int code
    a.base = private_memory()
    if a.base == NULL:
        return -1
    a.fd = -1
    a.allocated = AGGREGATE_RESERVE_BYTES
    a.used = AGGREGATE_SIZE
    h = <aggregate_t*>a.base
    memcpy(h.magic, &magic, 8)
    h.layout_version = LAYOUT_VERSION
    h.used = a.used
    for code in range(DROP_COUNT):
        aggregate_series(
            a, SERIES_DROP, 0, 0, b"", 0, b"", 0, DROP_NAMES[code], strlen(DROP_NAMES[code])
        )
    return 0


cdef void aggregate_clear(uint8_t* base, uint64_t used) noexcept nogil:
    """Set every count to zero; the series stay."""
    cdef uint64_t position = AGGREGATE_SIZE
    cdef cell_t* cell
    while position < used:
        cell = <cell_t*>(base + position)
        fp_store_relaxed(&cell.count, 0)
        cell.suppressed = 0
        cell.first_seen_unix_nano = 0
        cell.last_seen_unix_nano = 0
        position += cell.size


cdef int aggregate_move(
    Aggregate* a, uint8_t* base, uint64_t allocated, int fd, bint keep
) noexcept nogil:
    """Go on counting in ``base``, at the same offsets; from zero unless ``keep``.

    NULL stands for private memory. 0, or -1 when there is no room for what has been counted:
    nothing has changed then.
    """
    cdef aggregate_t* h
    cdef uint8_t* old = a.base
    cdef bint old_is_local = a.fd < 0
    if base == NULL:
        base = a.spare if a.spare != NULL else private_memory()
        if base == NULL:
            return -1
        a.spare = NULL
        allocated = AGGREGATE_RESERVE_BYTES
        memcpy(base, old, AGGREGATE_SIZE)
    h = <aggregate_t*>base
    if a.used > allocated:
        if fp_reserve(fd, 0, AGGREGATE_RESERVE_BYTES):
            return -1
        allocated = AGGREGATE_RESERVE_BYTES
    memcpy(base + AGGREGATE_SIZE, old + AGGREGATE_SIZE, a.used - AGGREGATE_SIZE)
    if not keep:
        aggregate_clear(base, a.used)
    a.base = base
    a.allocated = allocated
    a.fd = fd
    a.identity = fp_identify(fd)
    fp_store_release(&h.used, a.used)
    if old_is_local:
        if a.spare != NULL:
            munmap(a.spare, AGGREGATE_RESERVE_BYTES)
        madvise(old, AGGREGATE_RESERVE_BYTES, MADV_DONTNEED)
        a.spare = old
    return 0


cdef inline size_t cut(const char* text, size_t n) noexcept nogil:
    """At most NAME_BYTES_MAX bytes, never inside a code point."""
    if n <= NAME_BYTES_MAX:
        return n
    n = NAME_BYTES_MAX
    while n and (<uint8_t>text[n] & 0xC0) == 0x80:
        n -= 1
    return n


cdef uint32_t aggregate_series(
    Aggregate* a, uint8_t series, uint8_t kind, uint64_t fingerprint,
    const char* service, size_t service_bytes, const char* operation, size_t operation_bytes,
    const char* name, size_t name_bytes
) noexcept nogil:
    """Offset of the cell of a series, made when new; 0 when there is no room for it."""
    cdef fp_digest digest
    cdef uint32_t slot, offset
    cdef uint64_t size, key
    cdef cell_t* cell
    cdef char* strings
    cdef char head[2]
    service_bytes = cut(service, service_bytes)
    operation_bytes = cut(operation, operation_bytes)
    name_bytes = cut(name, name_bytes)
    head[0] = <char>series
    head[1] = <char>kind
    fp_digest_start(&digest)
    fp_digest_update(&digest, head, 2)
    fp_digest_update(&digest, &fingerprint, 8)
    fp_digest_update(&digest, operation, operation_bytes)
    fp_digest_update(&digest, b"\0", 1)
    fp_digest_update(&digest, name, name_bytes)
    fp_digest_update(&digest, service, service_bytes)
    key = fp_digest_end(&digest)
    slot = <uint32_t>(key % INDEX_SLOTS)
    while a.index[slot] != 0:
        cell = cell_at(a, a.index[slot])
        strings = <char*>cell + CELL_SIZE
        if (
            cell.series == series and cell.kind == kind and cell.fingerprint == fingerprint
            and cell.service_bytes == service_bytes and cell.operation_bytes == operation_bytes
            and cell.name_bytes == name_bytes
            and memcmp(strings, service, service_bytes) == 0
            and memcmp(strings + service_bytes, operation, operation_bytes) == 0
            and memcmp(strings + service_bytes + operation_bytes, name, name_bytes) == 0
        ):
            return a.index[slot]
        slot = (slot + 1) % INDEX_SLOTS
    size = CELL_SIZE + (service_bytes + operation_bytes + name_bytes + 63) // 64 * 64
    if a.series >= SERIES_MAX or a.used + size > AGGREGATE_RESERVE_BYTES:
        return 0
    if a.used + size > a.allocated:
        if not fp_is_still(a.fd, a.identity):
            return 0
        if fp_reserve(a.fd, <int64_t>a.allocated, GROW_BYTES):
            return 0
        a.allocated += GROW_BYTES
    offset = <uint32_t>a.used
    cell = cell_at(a, offset)
    memset(cell, 0, size)
    cell.size = <uint32_t>size
    cell.series = series
    cell.kind = kind
    cell.fingerprint = fingerprint
    cell.service_bytes = <uint8_t>service_bytes
    cell.operation_bytes = <uint8_t>operation_bytes
    cell.name_bytes = <uint8_t>name_bytes
    strings = <char*>cell + CELL_SIZE
    memcpy(strings, service, service_bytes)
    memcpy(strings + service_bytes, operation, operation_bytes)
    memcpy(strings + service_bytes + operation_bytes, name, name_bytes)
    a.used += size
    a.series += 1
    a.index[slot] = offset
    # Published last: a reader walks entries up to here.
    fp_store_release(&(<aggregate_t*>a.base).used, a.used)
    return offset
