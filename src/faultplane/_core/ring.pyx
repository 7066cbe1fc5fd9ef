"""Lanes: claim, commit, close; and the ring of segments they lie in.

A lane, 512 rows of a segment, has one writer, whose commit is a compare-and-swap of the lane word,
so anybody may close a lane without knowing who is alive. Upkeep of the segments is done in slices
at the boundaries of 64-row chunks.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset
from .atomics cimport fp_add, fp_cas, fp_load_acquire, fp_load_relaxed, fp_store_release
from .digest cimport fp_crc32
from .layout cimport (
    ARENA_BYTES_PER_LANE,
    COLUMN_COUNT,
    COLUMN_WIDTHS,
    DROP_NO_SPACE,
    DROP_NO_STORAGE,
    DROP_ROW_LOST,
    LANE_CLOSED_WORD,
    LANE_FREE,
    LANE_GENERATION_MASK,
    LANE_GENERATION_SHIFT,
    LANE_OPEN_WORD,
    LANE_OWNER_MASK,
    LANE_OWNER_SHIFT,
    LANE_ROWS,
    LANE_STATE_MASK_WORD,
    LAYOUT_VERSION,
    MAGIC_SEGMENT,
    SCHEMA_HASH,
    PAGE_BYTES,
    SEGMENT_ACTIVE,
    SEGMENT_CRC_OFFSET,
    segment_t,
)
from .memory cimport Mapping
from .posix cimport (
    MADV_DONTNEED,
    EDQUOT,
    EEXIST,
    ENOENT,
    ENOSPC,
    close,
    errno,
    fp_clock_monotonic,
    fp_exists,
    fp_file_bytes,
    fp_map,
    fp_open,
    fp_touch,
    madvise,
    munmap,
    snprintf,
)
from .segment cimport (
    Files,
    close_owner_lanes,
    files_are_open,
    files_clear,
    files_start,
    is_ahead,
    is_over_budget,
    is_published,
    lane_word,
    names_done,
    names_try,
    prepare_abandon,
    prepare_begin,
    prepare_finish,
    prepare_forget,
    prepare_up_to,
    publish,
    publish_ahead,
    raise_newest,
    retire_over_budget,
    shape,
)

cdef enum:
    # What one record may pay for housekeeping, at the boundary of a 64-row chunk: a page costs
    # 1.7 µs to allocate and clear, 0.4 µs to unmap.
    PREPARE_BYTES_PER_CHUNK = 8 * PAGE_BYTES
    PREPARE_BYTES_BEHIND = 32 * PAGE_BYTES
    UNMAP_BYTES_PER_CHUNK = 32 * PAGE_BYTES
    ATTEMPTS_MAX = 256
    NAME_BYTES = 64
    RETRY_NANO = 1_000_000_000
    # Chunks that retiring is put off for somebody who is at the names: he may have been stopped.
    RETIRE_TRIES_MAX = 16


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
    """Unmapping 4 MiB at once takes 300 µs, so the pages of a segment left behind go in slices.

    The mapping itself goes at once and last: to cut it takes the kernel's lock of all mappings of
    the file, which the processes that leave the same segment would wait for 32 times each.
    """
    if f.unmap_bytes == 0:
        return
    if bytes < f.unmap_bytes:
        madvise(f.unmap_base + (f.segment_bytes - f.unmap_bytes), bytes, MADV_DONTNEED)
        f.unmap_bytes -= bytes
        return
    munmap(f.unmap_base, f.segment_bytes)
    f.unmap_bytes = 0


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
    prepare_forget(&w.files)
    leave_segment(w)
    unmap_some(&w.files, w.files.unmap_bytes)


cdef int map_segment(Writer* w, uint64_t number) noexcept nogil:
    """Map segment ``number`` and check that it is what this process writes; 0 or an errno."""
    cdef char name[NAME_BYTES]
    cdef int fd
    cdef uint8_t* base
    cdef segment_t* h
    cdef uint64_t magic = MAGIC_SEGMENT
    cdef uint64_t offsets[32]
    cdef uint64_t arena
    cdef uint64_t file_bytes = shape(w.files.lanes, offsets, &arena)
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
        or h.file_bytes != file_bytes
        or h.arena_offset != arena
        or memcmp(h.column_offsets, offsets, COLUMN_COUNT * sizeof(uint64_t)) != 0
        or h.crc != fp_crc32(base, SEGMENT_CRC_OFFSET)
    ):
        munmap(base, <size_t>w.files.segment_bytes)
        return EEXIST
    leave_segment(w)
    # The one that is left is unmapped in slices, and held until then.
    fp_store_release(
        w.mapped_segment_low, w.segment_number if w.files.unmap_bytes else number
    )
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
    failed = map_segment(w, number) if is_ahead(&w.files, number) else ENOENT
    if failed != 0:
        failed = publish(&w.files, number)
        if failed == 0:
            failed = map_segment(w, number)
    if number < fp_load_acquire(&w.files.registry.segment_oldest[0]):
        # This process slept while others published and retired that many: rows written here
        # would be shown to nobody. Look again.
        if failed == 0:
            leave_segment(w)
        return 0
    if failed == 0 or failed == EEXIST:
        # Also past what has another's name. Unlinking the oldest takes half a millisecond: the
        # next chunk's record pays for it.
        if raise_newest(&w.files, number):
            w.retire_due = True
        return 0
    return failed


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


cdef int refusal_of(int failed) noexcept nogil:
    """Drop reason for an errno; 0 stands for segments that had no lane left."""
    if failed == ENOENT:
        return DROP_NO_STORAGE
    return DROP_NO_SPACE if failed == ENOSPC or failed == EDQUOT else DROP_ROW_LOST


cdef int claim(Writer* w) noexcept nogil:
    """A new lane; CLAIM_OK, CLAIM_NEW_DICTIONARY or a drop reason."""
    cdef int _attempt, failed
    cdef int64_t now
    cdef uint64_t generation
    writer_leave_lane(w)
    if w.refusal != 0:
        now = fp_clock_monotonic()
        if now < w.retry_mono_nano:
            return w.refusal
    for _attempt in range(ATTEMPTS_MAX):
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
    w.refusal = refusal_of(failed)
    w.retry_mono_nano = fp_clock_monotonic() + RETRY_NANO
    return w.refusal


cdef void prepare_ahead(Writer* w) noexcept nogil:
    """Keep the next segment a little further than this one is used up."""
    cdef uint64_t used = fp_load_relaxed(&(<segment_t*>w.segment).next_lane[0])
    cdef uint64_t wanted = w.files.segment_bytes * (used + 1) // w.files.lanes * 5 // 4
    wanted = (wanted + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
    cdef uint64_t step = PREPARE_BYTES_PER_CHUNK
    if wanted > w.files.prepared_bytes + w.files.segment_bytes // 8:
        step = PREPARE_BYTES_BEHIND
    if w.files.prepared_bytes < w.files.segment_bytes:
        # Without room it is not tried again before the next segment.
        w.prepared = prepare_up_to(&w.files, wanted, step) != 0
    elif names_try(&w.files):
        publish_ahead(&w.files)
        names_done(&w.files)
        w.prepared = True


cdef void look_ahead(Writer* w) noexcept nogil:
    """See whether the next segment has its name; if not, give it one or begin to prepare it."""
    if is_published(&w.files, w.segment_number + 1):
        w.prepared = True
    elif fp_exists(w.files.directory, "tmp-ready"):
        publish_ahead(&w.files)
        w.prepared = True
    else:
        prepare_begin(&w.files)


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
    if not files_are_open(&w.files):
        writer_leave_lane(w)
        return DROP_NO_STORAGE  # a daemon closes all descriptors: others have to be opened
    # Once a lane, see whether the next segment still wants somebody to prepare it: the chunk that
    # follows pays for it. The first quarter of a segment is left to readers, whose time is
    # nobody's record.
    w.prepare_due = (
        w.segment != NULL
        and not w.prepared
        and w.files.prepare_fd < 0
        and not is_ahead(&w.files, w.segment_number + 1)
        and fp_load_relaxed(&(<segment_t*>w.segment).next_lane[0]) * 4 >= w.files.lanes
    )
    return claim(w)


cdef void housekeep(Writer* w) noexcept nogil:
    """One small piece of work: unmap, and retire, begin to prepare, or prepare."""
    cdef bint held
    if w.files.unmap_bytes:
        unmap_some(&w.files, UNMAP_BYTES_PER_CHUNK)
        if w.files.unmap_bytes == 0:
            fp_store_release(w.mapped_segment_low, w.segment_number)
    if w.retire_due and not is_over_budget(&w.files):
        w.retire_due = False
    if w.retire_due:
        held = names_try(&w.files)
        w.retire_tries += 1
        if held or w.retire_tries > RETIRE_TRIES_MAX:
            w.retire_due = False
            w.retire_tries = 0
            retire_over_budget(&w.files)
        if held:
            names_done(&w.files)
    elif w.prepare_due:
        if names_try(&w.files):
            w.prepare_due = False
            look_ahead(w)
            names_done(&w.files)
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
        if is_published(
            &self.files, fp_load_acquire(&self.files.registry.segment_newest[0]) + 1
        ):
            return True
        with nogil:
            if prepare_begin(&self.files):
                failed = prepare_up_to(
                    &self.files, self.files.segment_bytes, self.files.segment_bytes
                )
                if failed == 0:
                    prepare_finish(&self.files)
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
