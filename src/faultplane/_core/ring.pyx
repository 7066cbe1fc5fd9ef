"""Segments and lanes: claim, commit, close, prepare, publish, retire.

A segment is written once and never reused. A lane, 512 rows of it, has one writer, whose commit is
a compare-and-swap of the lane word, so anybody may close a lane without knowing who is alive. The
next segment is prepared in slices at the boundaries of 64-row chunks, by whoever holds
LOCK_PREPARE, so no single record pays for a whole one.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .atomics cimport (
    fp_add,
    fp_cas,
    fp_load_acquire,
    fp_load_relaxed,
    fp_store_release,
)
from .digest cimport fp_crc32
from .intern cimport Dictionary, dictionary_close, dictionary_create, dictionary_nearly_full
from .intern cimport dictionary_open
from .layout cimport (
    ARENA_BYTES_PER_LANE,
    CACHE_LINE_BYTES,
    COLUMN_COUNT,
    COLUMN_WIDTHS,
    DROP_NO_SPACE,
    DROP_NO_STORAGE,
    LANE_CLOSED_WORD,
    LANE_COUNT_MASK,
    LANE_FREE,
    LANE_GENERATION_MASK,
    LANE_GENERATION_SHIFT,
    LANE_OPEN_WORD,
    LANE_OWNER_MASK,
    LANE_OWNER_SHIFT,
    LANE_ROWS,
    LANE_STATE_MASK_WORD,
    LANE_WORD_STRIDE,
    LANE_WORDS_OFFSET,
    LAYOUT_VERSION,
    LOCK_PREPARE,
    MAGIC_SEGMENT,
    PAGE_BYTES,
    ROW_BYTES,
    SCHEMA_HASH,
    SEGMENT_ACTIVE,
    SEGMENT_CRC_OFFSET,
    SEGMENT_SEALED,
    SEGMENT_SEALING,
    SEGMENT_TABLE_ENTRY_BYTES,
    SEGMENT_TABLE_OFFSET,
    SEGMENT_TABLE_SIZE,
    registry_t,
    segment_t,
)
from .memory cimport Mapping
from .posix cimport (
    EEXIST,
    ENOENT,
    close,
    errno,
    fp_clock_monotonic,
    fp_clock_realtime,
    fp_create,
    fp_exists,
    fp_file_bytes,
    fp_map,
    fp_open,
    fp_reserve,
    fp_touch,
    fp_try_lock,
    fp_unlock,
    fp_zeros,
    linkat,
    munmap,
    pwrite,
    renameat,
    snprintf,
    unlinkat,
)

cdef enum:
    # What one record may pay for housekeeping, at the boundary of a 64-row chunk: a page costs
    # 1.7 µs to allocate and clear, 0.4 µs to unmap.
    PREPARE_BYTES_PER_CHUNK = 8 * PAGE_BYTES
    PREPARE_BYTES_BEHIND = 20 * PAGE_BYTES
    UNMAP_BYTES_PER_CHUNK = 32 * PAGE_BYTES
    ZEROS_BYTES = 65536
    ATTEMPTS_MAX = 256
    NAME_BYTES = 64
    RETRY_NANO = 1_000_000_000


# ------------------------------------------------------------------------------------- shapes


cdef uint64_t round_up(uint64_t value, uint64_t unit) noexcept nogil:
    return (value + unit - 1) // unit * unit


cdef uint64_t shape(uint32_t lanes, uint64_t* column_offsets, uint64_t* arena_offset) noexcept nogil:
    """schema.segment_shape: fill the offsets, give the size of the file."""
    cdef uint64_t position = round_up(
        LANE_WORDS_OFFSET + <uint64_t>lanes * LANE_WORD_STRIDE, PAGE_BYTES
    )
    cdef int i
    for i in range(COLUMN_COUNT):
        column_offsets[i] = position
        position = round_up(
            position + <uint64_t>COLUMN_WIDTHS[i] * lanes * LANE_ROWS, CACHE_LINE_BYTES
        )
    arena_offset[0] = round_up(position, PAGE_BYTES)
    return round_up(arena_offset[0] + <uint64_t>lanes * ARENA_BYTES_PER_LANE, PAGE_BYTES)


cdef inline uint64_t* lane_word(uint8_t* segment, uint64_t lane) noexcept nogil:
    return <uint64_t*>(segment + LANE_WORDS_OFFSET + lane * LANE_WORD_STRIDE)


cdef void files_clear(Files* f) noexcept nogil:
    memset(f, 0, sizeof(Files))
    f.directory = -1
    f.locks = -1
    f.prepare_fd = -1


cdef int files_start(
    Files* f, int directory, int locks, Mapping registry, uint32_t lanes, uint32_t segments_max,
    uint64_t dictionary_bytes, bytes tag
) except -1:
    cdef uint64_t offsets[32]
    cdef uint64_t arena
    if len(tag) >= <Py_ssize_t>sizeof(f.tag):
        raise ValueError(f"tag must be at most {sizeof(f.tag) - 1} bytes, got {len(tag)}")
    files_clear(f)
    f.directory = directory
    f.locks = locks
    f.registry = <registry_t*>registry.base
    f.lanes = lanes
    f.segments_max = segments_max
    f.dictionary_bytes = dictionary_bytes
    f.segment_bytes = shape(lanes, offsets, &arena)
    memcpy(f.tag, <const char*>tag, len(tag))
    return 0


# ---------------------------------------------------------------------------------- preparing


cdef bint prepare_begin(Files* f) noexcept nogil:
    """Become the one who prepares the next segment; False when nobody needs to."""
    cdef char name[NAME_BYTES]
    if f.prepare_fd >= 0:
        return True
    if fp_exists(f.directory, "tmp-ready") or fp_try_lock(f.locks, LOCK_PREPARE) != 0:
        return False
    snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
    unlinkat(f.directory, name, 0)
    f.prepare_fd = fp_create(f.directory, name)
    f.prepared_bytes = 0
    if f.prepare_fd < 0:
        fp_unlock(f.locks, LOCK_PREPARE)
        return False
    return True


cdef void prepare_abandon(Files* f) noexcept nogil:
    cdef char name[NAME_BYTES]
    if f.prepare_fd < 0:
        return
    snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
    unlinkat(f.directory, name, 0)
    close(f.prepare_fd)
    f.prepare_fd = -1
    fp_unlock(f.locks, LOCK_PREPARE)


cdef int prepare_up_to(Files* f, uint64_t bytes_wanted, uint64_t step) noexcept nogil:
    """Allocate and zero at most ``step`` more bytes; 0, or an errno (abandoned then).

    Zeros are written rather than reserved: that allocates and clears a page in one go for
    1.7 µs, where a reserved one is cleared again at its first touch for 2.2 µs more.
    """
    cdef char name[NAME_BYTES]
    cdef uint64_t end, n
    cdef Py_ssize_t written
    if bytes_wanted > f.segment_bytes:
        bytes_wanted = f.segment_bytes
    end = f.prepared_bytes + step
    if end > bytes_wanted:
        end = bytes_wanted
    while f.prepared_bytes < end:
        n = end - f.prepared_bytes
        if n > ZEROS_BYTES:
            n = ZEROS_BYTES
        written = pwrite(f.prepare_fd, fp_zeros, n, <long>f.prepared_bytes)
        if written <= 0:
            prepare_abandon(f)
            return errno if written < 0 else ENOENT
        f.prepared_bytes += <uint64_t>written
    if f.prepared_bytes == f.segment_bytes:
        snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
        renameat(f.directory, name, f.directory, "tmp-ready")
        close(f.prepare_fd)
        f.prepare_fd = -1
        fp_unlock(f.locks, LOCK_PREPARE)
    return 0


# --------------------------------------------------------------------------------- publishing


cdef bint dictionary_is_nearly_full(Files* f, const char* prefix, uint64_t generation) noexcept nogil:
    cdef Dictionary d
    cdef bint full = False
    if dictionary_open(&d, f.directory, prefix, generation) == 0:
        full = dictionary_nearly_full(&d)
        dictionary_close(&d)
    return full


cdef uint64_t generation_for_new_segment(Files* f) noexcept nogil:
    """Current dictionary generation; a new one when the current one is nearly full."""
    cdef uint64_t* word = &f.registry.dictionary_generation[0]
    cdef uint64_t generation = fp_load_acquire(word)
    if generation != 0 and not (
        dictionary_is_nearly_full(f, b"dict", generation)
        or dictionary_is_nearly_full(f, b"stacks", generation)
    ):
        return generation
    if dictionary_create(f.directory, b"dict", generation + 1, f.dictionary_bytes, f.tag):
        return generation
    if dictionary_create(f.directory, b"stacks", generation + 1, f.dictionary_bytes, f.tag):
        return generation
    fp_cas(word, generation, generation + 1)
    return fp_load_acquire(word)


cdef int take_prepared(Files* f, const char* name, const char* segment) noexcept nogil:
    """An allocated, all-zero file called ``name``, as a descriptor; or minus an errno."""
    cdef int fd, failed
    cdef uint64_t done = 0
    unlinkat(f.directory, name, 0)
    if f.prepare_fd >= 0:
        failed = prepare_up_to(f, f.segment_bytes, f.segment_bytes)
        if failed:
            return -failed
    if renameat(f.directory, "tmp-ready", f.directory, name) == 0:
        fd = fp_open(f.directory, name)
        if fd >= 0 and fp_file_bytes(fd) == <long>f.segment_bytes:
            return fd
        if fd >= 0:
            close(fd)
        unlinkat(f.directory, name, 0)
    # Nothing was prepared in time: reserve one here, in steps, and stop when another is first.
    fd = fp_create(f.directory, name)
    if fd < 0:
        return -errno
    while done < f.segment_bytes:
        if fp_exists(f.directory, segment):
            failed = EEXIST
        else:
            failed = fp_reserve(fd, 0, <long>min_u64(f.segment_bytes, done + (1 << 20)))
            done += 1 << 20
        if failed:
            close(fd)
            unlinkat(f.directory, name, 0)
            return -failed
    return fd


cdef inline uint64_t min_u64(uint64_t a, uint64_t b) noexcept nogil:
    return a if a < b else b


cdef int publish(Files* f, uint64_t number) noexcept nogil:
    """Make segment ``number`` visible unless somebody else does; 0, or an errno."""
    cdef char name[NAME_BYTES]
    cdef char segment[NAME_BYTES]
    cdef uint8_t page[PAGE_BYTES]
    cdef segment_t* h = <segment_t*>page
    cdef int fd, failed = 0
    cdef uint64_t magic = MAGIC_SEGMENT
    snprintf(name, sizeof(name), "tmp-pub-%s", f.tag)
    snprintf(segment, sizeof(segment), "seg-%llu", <unsigned long long>number)
    fd = take_prepared(f, name, segment)
    if fd < 0:
        return 0 if fd == -EEXIST else -fd
    memset(page, 0, PAGE_BYTES)
    memcpy(h.magic, &magic, 8)
    h.layout_version = LAYOUT_VERSION
    h.lanes = f.lanes
    h.schema_hash = SCHEMA_HASH
    h.number = number
    h.dictionary_generation = generation_for_new_segment(f)
    h.created_unix_nano = fp_clock_realtime()
    h.lane_rows = LANE_ROWS
    h.row_bytes = ROW_BYTES
    h.file_bytes = shape(f.lanes, h.column_offsets, &h.arena_offset)
    h.arena_bytes_per_lane = ARENA_BYTES_PER_LANE
    h.column_count = COLUMN_COUNT
    h.crc = fp_crc32(page, SEGMENT_CRC_OFFSET)
    if h.dictionary_generation == 0:
        failed = ENOENT
    elif pwrite(fd, page, PAGE_BYTES, 0) != PAGE_BYTES:
        failed = errno
    close(fd)
    # Linked only when complete, and never over another: a half-made segment is never visible.
    if not failed and linkat(f.directory, name, f.directory, segment, 0):
        failed = errno
    unlinkat(f.directory, name, 0)
    return 0 if failed == EEXIST else failed


cdef void raise_newest(Files* f, uint64_t number) noexcept nogil:
    cdef uint64_t* word = &f.registry.segment_newest[0]
    cdef uint64_t seen = fp_load_acquire(word)
    while seen < number and not fp_cas(word, seen, number):
        seen = fp_load_acquire(word)


# ----------------------------------------------------------------------------------- retiring


cdef uint64_t close_lanes(uint8_t* segment, uint32_t lanes) noexcept nogil:
    """Close every lane and give the rows that were published."""
    cdef uint64_t word, rows = 0
    cdef uint32_t lane
    for lane in range(lanes):
        word = fp_load_acquire(lane_word(segment, lane))
        while (word & LANE_STATE_MASK_WORD) != LANE_CLOSED_WORD:
            if fp_cas(lane_word(segment, lane), word,
                      (word & ~LANE_STATE_MASK_WORD) | LANE_CLOSED_WORD):
                break
            word = fp_load_acquire(lane_word(segment, lane))
        rows += word & LANE_COUNT_MASK
    return rows


cdef int retire_oldest(Files* f) noexcept nogil:
    """Close, seal, account for and unlink the oldest segment. Every step may be repeated."""
    cdef char name[NAME_BYTES]
    cdef uint64_t number = fp_load_acquire(&f.registry.segment_oldest[0])
    cdef uint64_t rows = 0
    cdef uint64_t* entry
    cdef uint8_t* base
    cdef size_t head = PAGE_BYTES + <size_t>f.lanes * LANE_WORD_STRIDE
    cdef int fd
    entry = <uint64_t*>(
        <uint8_t*>f.registry + SEGMENT_TABLE_OFFSET
        + (number % SEGMENT_TABLE_SIZE) * SEGMENT_TABLE_ENTRY_BYTES
    )
    snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
    fd = fp_open(f.directory, name)
    if fd < 0:
        rows = entry[1] if fp_load_acquire(entry) == number else 0
    else:
        if fp_file_bytes(fd) == <long>f.segment_bytes:
            base = fp_map(fd, head)
            if base != NULL:
                fp_store_release(&(<segment_t*>base).state[0], SEGMENT_SEALING)
                rows = close_lanes(base, f.lanes)
                fp_store_release(&(<segment_t*>base).state[0], SEGMENT_SEALED)
                munmap(base, head)
        close(fd)
        fp_store_release(entry + 1, rows)
        fp_store_release(entry, number)
        unlinkat(f.directory, name, 0)
    # Whoever moves the word on adds to the totals: once, however many retire at the same time.
    if fp_cas(&f.registry.segment_oldest[0], number, number + 1):
        fp_add(&f.registry.rows_retired, rows)
        fp_add(&f.registry.segments_retired, 1)
    return 1


cdef int retire_over_budget(Files* f) noexcept nogil:
    cdef int retired = 0
    while retired < 64 and (
        fp_load_acquire(&f.registry.segment_newest[0]) + 1
        > fp_load_acquire(&f.registry.segment_oldest[0]) + f.segments_max
    ):
        retired += retire_oldest(f)
    return retired


# ------------------------------------------------------------------------------------- writer


cdef void writer_clear(Writer* w) noexcept nogil:
    """A writer that has no lane: its first record claims one."""
    memset(w, 0, sizeof(Writer))
    files_clear(&w.files)


cdef void writer_leave_lane(Writer* w) noexcept nogil:
    """Close the lane: its rows are final, the rest of it is never shown."""
    if w.word != NULL:
        fp_cas(w.word, w.expected, (w.expected & ~LANE_STATE_MASK_WORD) | LANE_CLOSED_WORD)
    w.word = NULL
    w.row = 0
    w.limit = 0


cdef void unmap_some(Files* f, size_t bytes) noexcept nogil:
    """Unmapping 4 MiB at once takes 300 µs, so a segment left behind goes in slices."""
    if f.unmap_bytes == 0:
        return
    if bytes > f.unmap_bytes:
        bytes = f.unmap_bytes
    munmap(f.unmap_base, bytes)
    f.unmap_base += bytes
    f.unmap_bytes -= bytes


cdef void leave_segment(Writer* w) noexcept nogil:
    unmap_some(&w.files, w.files.unmap_bytes)
    if w.segment != NULL:
        w.files.unmap_base = w.segment
        w.files.unmap_bytes = w.files.segment_bytes
    w.segment = NULL


cdef void writer_stop(Writer* w) noexcept nogil:
    """Leave in order: close the lane, give back what was being prepared, unmap."""
    writer_leave_lane(w)
    prepare_abandon(&w.files)
    leave_segment(w)
    unmap_some(&w.files, w.files.unmap_bytes)


cdef void writer_forget(Writer* w) noexcept nogil:
    """In a forked child: drop what belongs to the parent without touching it."""
    w.word = NULL
    w.row = 0
    w.limit = 0
    if w.files.prepare_fd >= 0:
        close(w.files.prepare_fd)
        w.files.prepare_fd = -1
    leave_segment(w)
    unmap_some(&w.files, w.files.unmap_bytes)


cdef int map_segment(Writer* w, uint64_t number) noexcept nogil:
    """Map segment ``number`` and check that it is what this process writes; 0 or an errno."""
    cdef char name[NAME_BYTES]
    cdef int fd
    cdef uint8_t* base
    cdef segment_t* h
    cdef uint64_t magic = MAGIC_SEGMENT
    snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
    fd = fp_open(w.files.directory, name)
    if fd < 0:
        return errno
    if fp_file_bytes(fd) != <long>w.files.segment_bytes:
        close(fd)
        return EEXIST
    base = fp_map(fd, <size_t>w.files.segment_bytes)
    close(fd)
    if base == NULL:
        return errno
    h = <segment_t*>base
    if (
        memcmp(h.magic, &magic, 8) != 0
        or h.layout_version != LAYOUT_VERSION
        or h.schema_hash != SCHEMA_HASH
        or h.lanes != w.files.lanes
        or h.number != number
        or h.file_bytes != w.files.segment_bytes
        or h.crc != fp_crc32(base, SEGMENT_CRC_OFFSET)
    ):
        munmap(base, <size_t>w.files.segment_bytes)
        return EEXIST
    leave_segment(w)
    w.segment = base
    w.segment_number = number
    w.segments_mapped += 1
    w.prepared = False
    return 0


cdef int next_segment(Writer* w) noexcept nogil:
    """Map a segment with free lanes, publishing one when there is none; 0 or an errno."""
    cdef uint64_t newest = fp_load_acquire(&w.files.registry.segment_newest[0])
    cdef uint64_t number
    cdef int failed
    if newest > w.segment_number and newest >= fp_load_acquire(
        &w.files.registry.segment_oldest[0]
    ):
        failed = map_segment(w, newest)
        if failed == 0:
            return 0
        # Present but not ours to write (garbage, another layout): go past it.
    number = newest + 1
    if map_segment(w, number) == 0:
        # Its publisher stopped before it said so.
        raise_newest(&w.files, number)
        return 0
    failed = publish(&w.files, number)
    if failed:
        return failed
    raise_newest(&w.files, number)
    # Unlinking the oldest takes half a millisecond: the next chunk's record pays for it.
    w.retire_due = True
    return map_segment(w, number)


cdef void open_lane(Writer* w, uint64_t lane, uint64_t word) noexcept nogil:
    cdef segment_t* h = <segment_t*>w.segment
    cdef int i
    w.word = lane_word(w.segment, lane)
    w.expected = word
    w.row = 0
    w.arena_used = 0
    w.arena_base = <uint32_t>(lane * ARENA_BYTES_PER_LANE)
    w.arena = w.segment + h.arena_offset + w.arena_base
    for i in range(COLUMN_COUNT):
        w.column[i] = w.segment + h.column_offsets[i] + lane * LANE_ROWS * COLUMN_WIDTHS[i]
        fp_touch(w.column[i], LANE_ROWS * COLUMN_WIDTHS[i])
    fp_touch(w.arena, ARENA_BYTES_PER_LANE)
    w.lanes_claimed += 1


cdef bint take_lane(Writer* w) noexcept nogil:
    """Claim a lane of the mapped segment; False when it has none left for this process."""
    cdef segment_t* h = <segment_t*>w.segment
    cdef uint64_t lane
    cdef uint64_t word = w.lane_tag | LANE_OPEN_WORD
    while (
        fp_load_relaxed(&h.next_lane[0]) < w.files.lanes
        and fp_load_acquire(&h.state[0]) == SEGMENT_ACTIVE
        and h.dictionary_generation
        == fp_load_acquire(&w.files.registry.dictionary_generation[0])
    ):
        lane = fp_add(&h.next_lane[0], 1)
        if lane >= w.files.lanes:
            return False
        if fp_cas(lane_word(w.segment, lane), LANE_FREE, word):
            open_lane(w, lane, word)
            return True
    return False


cdef int claim(Writer* w) noexcept nogil:
    """A new lane; CLAIM_OK, CLAIM_NEW_DICTIONARY or a drop reason."""
    cdef int attempt, failed
    cdef int64_t now
    cdef uint64_t generation
    writer_leave_lane(w)
    if w.refusal != 0:
        now = fp_clock_monotonic()
        if now < w.retry_mono_nano:
            return w.refusal
    for attempt in range(ATTEMPTS_MAX):
        if w.segment != NULL and take_lane(w):
            w.refusal = 0
            w.limit = CHUNK_ROWS
            generation = (<segment_t*>w.segment).dictionary_generation
            if generation != w.dictionary_generation:
                w.dictionary_generation = generation
                return CLAIM_NEW_DICTIONARY
            return CLAIM_OK
        failed = next_segment(w)
        if failed != 0:
            break
    w.refusal = DROP_NO_STORAGE if failed == ENOENT else DROP_NO_SPACE
    w.retry_mono_nano = fp_clock_monotonic() + RETRY_NANO
    return w.refusal


cdef void prepare_ahead(Writer* w) noexcept nogil:
    """Keep the next segment a little further than this one is used up."""
    cdef uint64_t used = fp_load_relaxed(&(<segment_t*>w.segment).next_lane[0])
    cdef uint64_t wanted = w.files.segment_bytes * (used + 1) // w.files.lanes * 5 // 4
    cdef uint64_t step = PREPARE_BYTES_PER_CHUNK
    if wanted > w.files.prepared_bytes + w.files.segment_bytes // 8:
        step = PREPARE_BYTES_BEHIND
    prepare_up_to(&w.files, wanted, step)
    if w.files.prepare_fd < 0:
        w.prepared = True


cdef int writer_advance(Writer* w) noexcept nogil:
    """At the end of a chunk or a lane: housekeeping in slices, then room for the next record.

    Gives CLAIM_OK, CLAIM_NEW_DICTIONARY (the caller's codes are of another generation) or the
    code of a drop reason.
    """
    if w.files.registry == NULL:
        return DROP_NO_STORAGE
    if w.word != NULL and w.row < LANE_ROWS:
        housekeep(w)
        w.limit += CHUNK_ROWS
        return CLAIM_OK
    # Once a lane, see whether the next segment still wants somebody to prepare it.
    if w.segment != NULL and not w.prepared and not prepare_begin(&w.files):
        w.prepared = fp_exists(w.files.directory, "tmp-ready")
    return claim(w)


cdef void housekeep(Writer* w) noexcept nogil:
    """One small piece of work: unmap, retire or prepare."""
    if w.files.unmap_bytes:
        unmap_some(&w.files, UNMAP_BYTES_PER_CHUNK)
    if w.retire_due:
        w.retire_due = False
        retire_over_budget(&w.files)
    elif w.files.prepare_fd >= 0:
        prepare_ahead(w)


# ---------------------------------------------------------------------------------------- ring


cdef class Ring:
    """Segments of one domain directory, for maintenance by whoever is there.

    The descriptors and the registry must stay open as long as the Ring. ``writable=False``
    makes every method do nothing.
    """

    def __cinit__(
        self, int directory_fd, int locks_fd, Mapping registry, uint32_t lanes_per_segment,
        uint32_t segments_max, uint64_t dictionary_bytes, bint writable=True, str tag=""
    ):
        import os

        files_clear(&self.files)
        self.registry = registry
        self.writable = writable
        files_start(
            &self.files, directory_fd, locks_fd, registry, lanes_per_segment, segments_max,
            dictionary_bytes, (tag or f"m{os.getpid()}").encode()
        )

    def __dealloc__(self):
        if self.files.prepare_fd >= 0:
            prepare_abandon(&self.files)

    def prepare(self):
        """Prepare the next segment wholly unless one is ready; say whether one is.

        Raises OSError when there is no room for it.
        """
        cdef int failed = 0
        if not self.writable:
            return False
        with nogil:
            if prepare_begin(&self.files):
                failed = prepare_up_to(
                    &self.files, self.files.segment_bytes, self.files.segment_bytes
                )
        if failed:
            import os

            raise OSError(failed, os.strerror(failed))
        return bool(fp_exists(self.files.directory, "tmp-ready"))

    def retire_over_budget(self):
        """Retire the oldest segments until the budget holds; how many were retired."""
        if not self.writable:
            return 0
        return retire_over_budget(&self.files)

    def close_lanes_of(self, int slot, int generation):
        """Close every open lane of a dead owner; how many rows they hold.

        Safe at any time: an owner that is alive after all finds out at its next commit and
        writes the record again into a new lane.
        """
        cdef uint64_t tag = (<uint64_t>slot & LANE_OWNER_MASK) << LANE_OWNER_SHIFT
        tag |= (<uint64_t>generation & LANE_GENERATION_MASK) << LANE_GENERATION_SHIFT
        if not self.writable:
            return 0
        return close_owner_lanes(&self.files, tag | LANE_OPEN_WORD)


cdef uint64_t close_owner_lanes(Files* f, uint64_t tag) noexcept nogil:
    cdef char name[NAME_BYTES]
    cdef size_t head = PAGE_BYTES + <size_t>f.lanes * LANE_WORD_STRIDE
    cdef uint64_t number = fp_load_acquire(&f.registry.segment_oldest[0])
    cdef uint64_t newest = fp_load_acquire(&f.registry.segment_newest[0])
    cdef uint64_t word, rows = 0
    cdef uint32_t lane
    cdef uint8_t* base
    cdef int fd
    while number <= newest:
        snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
        number += 1
        fd = fp_open(f.directory, name)
        if fd < 0:
            continue
        base = fp_map(fd, head) if fp_file_bytes(fd) == <long>f.segment_bytes else NULL
        close(fd)
        if base == NULL:
            continue
        for lane in range(f.lanes):
            word = fp_load_acquire(lane_word(base, lane))
            while (word & ~LANE_COUNT_MASK) == tag:
                if fp_cas(lane_word(base, lane), word,
                          (word & ~LANE_STATE_MASK_WORD) | LANE_CLOSED_WORD):
                    rows += word & LANE_COUNT_MASK
                    break
                word = fp_load_acquire(lane_word(base, lane))
        munmap(base, head)
    return rows
