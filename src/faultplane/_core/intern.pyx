"""Strings interned for every process of a domain: append-only, wait-free.

A string is appended first and the hash bucket set to its id last, by compare-and-swap: a process
stopped anywhere in between blocks nobody. A string may get two ids, an id never two strings.
"""

from libc.stdint cimport UINT32_MAX, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .atomics cimport fp_add, fp_cas32, fp_load32_acquire, fp_load_acquire, fp_store_release
from .digest cimport fp_crc32
from .layout cimport (
    DICTIONARY_CRC_OFFSET,
    DICTIONARY_ENTRY_SIZE,
    LAYOUT_VERSION,
    MAGIC_DICTIONARY,
    PAGE_BYTES,
    dictionary_entry_t,
    dictionary_t,
)
from .posix cimport (
    EEXIST,
    close,
    errno,
    fp_create,
    fp_file_bytes,
    fp_map,
    fp_open,
    fp_reserve,
    linkat,
    munmap,
    pwrite,
    snprintf,
    unlinkat,
)

cdef enum:
    PROBES_MAX = 128


cdef struct Shape:
    uint64_t entries_max
    uint64_t buckets
    uint64_t entries_offset
    uint64_t buckets_offset
    uint64_t bytes_offset


cdef uint64_t round_up(uint64_t value, uint64_t unit) noexcept nogil:
    return (value + unit - 1) // unit * unit


cdef Shape shape_of(uint64_t file_bytes) noexcept nogil:
    """schema.dictionary_shape: where everything is follows from the size of the file."""
    cdef Shape s
    s.entries_max = file_bytes // 128
    if s.entries_max < 64:
        s.entries_max = 64
    s.buckets = 1
    while s.buckets < 2 * s.entries_max:
        s.buckets *= 2
    s.entries_offset = PAGE_BYTES
    s.buckets_offset = round_up(PAGE_BYTES + s.entries_max * DICTIONARY_ENTRY_SIZE, 64)
    s.bytes_offset = round_up(s.buckets_offset + s.buckets * 4, 64)
    return s


cdef int dictionary_create(
    int directory, const char* prefix, uint64_t generation, uint64_t file_bytes, const char* tag
) noexcept nogil:
    """Make the file of a generation unless it is there; 0, or an errno. ``tag`` is unique."""
    cdef char name[64]
    cdef char temporary[96]
    cdef dictionary_t page  # aligned as its type asks for, as plain bytes would not be
    cdef dictionary_t* header = &page
    cdef uint64_t magic = MAGIC_DICTIONARY
    cdef Shape shape = shape_of(file_bytes)
    cdef int fd, failed
    snprintf(name, sizeof(name), "%s-%llu", prefix, <unsigned long long>generation)
    snprintf(temporary, sizeof(temporary), "tmp-%s-%s", name, tag)
    unlinkat(directory, temporary, 0)
    fd = fp_create(directory, temporary)
    if fd < 0:
        return errno
    memset(header, 0, PAGE_BYTES)
    memcpy(header.magic, &magic, 8)
    header.layout_version = LAYOUT_VERSION
    header.entries_max = <uint32_t>shape.entries_max
    header.generation = generation
    header.buckets = <uint32_t>shape.buckets
    header.entries_offset = shape.entries_offset
    header.buckets_offset = shape.buckets_offset
    header.bytes_offset = shape.bytes_offset
    header.file_bytes = file_bytes
    header.crc = fp_crc32(<uint8_t*>header, DICTIONARY_CRC_OFFSET)
    header.next_entry[0] = 1
    failed = fp_reserve(fd, 0, <long>file_bytes)
    if not failed and pwrite(fd, header, PAGE_BYTES, 0) != PAGE_BYTES:
        failed = errno
    close(fd)
    if not failed and linkat(directory, temporary, directory, name, 0) and errno != EEXIST:
        failed = errno
    unlinkat(directory, temporary, 0)
    return failed


cdef int dictionary_open(
    Dictionary* d, int directory, const char* prefix, uint64_t generation
) noexcept nogil:
    """Map the file of a generation; 0, or -1 when it is missing or not what it says."""
    cdef char name[64]
    cdef int fd
    cdef long size
    cdef dictionary_t* h
    cdef Shape shape
    cdef uint64_t magic = MAGIC_DICTIONARY
    memset(d, 0, sizeof(Dictionary))
    snprintf(name, sizeof(name), "%s-%llu", prefix, <unsigned long long>generation)
    fd = fp_open(directory, name)
    if fd < 0:
        return -1
    size = <long>fp_file_bytes(fd)
    if size < 2 * PAGE_BYTES:
        close(fd)
        return -1
    d.base = fp_map(fd, <size_t>size)
    close(fd)
    if d.base == NULL:
        return -1
    d.file_bytes = <uint64_t>size
    d.header = h = <dictionary_t*>d.base
    # No offset is believed: each has to be the one that follows from the size.
    shape = shape_of(d.file_bytes)
    if (
        memcmp(h.magic, &magic, 8) != 0
        or h.layout_version != LAYOUT_VERSION
        or h.crc != fp_crc32(d.base, DICTIONARY_CRC_OFFSET)
        or h.file_bytes != <uint64_t>size
        or h.entries_max != shape.entries_max
        or h.buckets != shape.buckets
        or h.entries_offset != shape.entries_offset
        or h.buckets_offset != shape.buckets_offset
        or h.bytes_offset != shape.bytes_offset
        or h.generation != generation
    ):
        dictionary_close(d)
        return -1
    d.entries = <dictionary_entry_t*>(d.base + h.entries_offset)
    d.buckets = <uint32_t*>(d.base + h.buckets_offset)
    d.text = d.base + h.bytes_offset
    d.text_bytes = <uint64_t>size - h.bytes_offset
    d.entries_max = h.entries_max
    d.mask = h.buckets - 1
    return 0


cdef void dictionary_close(Dictionary* d) noexcept nogil:
    if d.base != NULL:
        munmap(d.base, d.file_bytes)
    memset(d, 0, sizeof(Dictionary))


cdef bint holds(
    Dictionary* d, uint32_t id, uint64_t hash, const uint8_t* text, uint32_t n, bint by_hash
) noexcept nogil:
    cdef uint64_t word, offset
    if id >= d.entries_max or d.entries[id].hash != hash:
        return False
    word = fp_load_acquire(&d.entries[id].word)
    if by_hash:
        return word != 0
    offset = word & UINT32_MAX  # one more than where it is, so that a published word is not zero
    if offset == 0 or (word >> 32) != n or offset - 1 + n > d.text_bytes:
        return False
    return memcmp(d.text + offset - 1, text, n) == 0


cdef int32_t dictionary_intern(
    Dictionary* d, uint64_t hash, const uint8_t* text, uint32_t n, bint by_hash
) noexcept nogil:
    """Id of the string; -1 when the dictionary is full or absent.

    ``by_hash`` identifies strings by ``hash`` alone (stacks, whose hash is the fingerprint).
    """
    cdef uint32_t bucket, taken, _probe
    cdef uint64_t id = 0
    cdef uint64_t offset, last
    if d.base == NULL or n > d.text_bytes:
        return -1
    if n == 0:
        return 0
    last = d.text_bytes - n
    bucket = <uint32_t>hash & d.mask
    for _probe in range(<uint32_t>PROBES_MAX):
        taken = fp_load32_acquire(&d.buckets[bucket])
        if taken == 0:
            if id == 0:
                # Compared without a sum: a damaged file may say that 2**64 - 1 bytes are used.
                if fp_load_acquire(&d.header.next_byte[0]) > last:
                    return -1
                id = fp_add(&d.header.next_entry[0], 1)
                if id == 0 or id >= d.entries_max or fp_load_acquire(&d.entries[id].word) != 0:
                    return -1  # full, or damaged: what has a string keeps it
                offset = fp_add(&d.header.next_byte[0], n)
                if offset > last:
                    return -1
                memcpy(d.text + offset, text, n)
                d.entries[id].hash = hash
                # Published after the bytes and the hash; the bucket comes last of all.
                fp_store_release(&d.entries[id].word, <uint64_t>n << 32 | (offset + 1))
            if fp_cas32(&d.buckets[bucket], 0, <uint32_t>(id + 1)):
                return <int32_t>id
            taken = fp_load32_acquire(&d.buckets[bucket])
        if holds(d, taken - 1, hash, text, n, by_hash):
            return <int32_t>(taken - 1)
        bucket = (bucket + 1) & d.mask
    return <int32_t>id if id != 0 else -1


cdef bint dictionary_nearly_full(Dictionary* d) noexcept nogil:
    """Whether more than seven eighths of the ids or of the bytes are used."""
    return (
        fp_load_acquire(&d.header.next_entry[0]) * 8 > <uint64_t>d.entries_max * 7
        or fp_load_acquire(&d.header.next_byte[0]) * 8 > d.text_bytes * 7
    )
