"""Segments as files: prepared, published, retired.

A segment is written once and never reused. The next one is prepared in slices, by whoever holds
LOCK_PREPARE, so no single record pays for a whole one; it becomes visible complete or not at all.

The kernel makes processes wait for each other that change or miss a name of the same directory.
So writers do that under LOCK_NAMES, which they try and never wait for, and ahead of need: the
next segment has its name before the first of them wants it. Nothing but manners depends on it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from .atomics cimport fp_cas, fp_load_acquire, fp_store_release
from .digest cimport fp_crc32
from .intern cimport (
    Dictionary,
    dictionary_close,
    dictionary_create,
    dictionary_nearly_full,
    dictionary_open,
)
from .layout cimport (
    ARENA_BYTES_PER_LANE,
    CACHE_LINE_BYTES,
    COLUMN_COUNT,
    COLUMN_WIDTHS,
    LANE_CLOSED_WORD,
    LANE_COUNT_MASK,
    LANE_ROWS,
    LANE_STATE_MASK_WORD,
    LANE_WORD_STRIDE,
    LANE_WORDS_OFFSET,
    LAYOUT_VERSION,
    LOCK_NAMES,
    LOCK_PREPARE,
    MAGIC_SEGMENT,
    PAGE_BYTES,
    RETIRED_ROWS_SHIFT,
    ROW_BYTES,
    SCHEMA_HASH,
    SEGMENT_CRC_OFFSET,
    SEGMENT_SEALED,
    SEGMENT_SEALING,
    SEGMENT_TABLE_ENTRY_BYTES,
    SEGMENT_TABLE_OFFSET,
    SEGMENT_TABLE_ROWS_BITS,
    SEGMENT_TABLE_SIZE,
    registry_t,
    segment_t,
)
from .memory cimport Mapping
from .posix cimport (
    EBADF,
    EEXIST,
    EMFILE,
    ENFILE,
    ENOENT,
    ENOMEM,
    close,
    errno,
    fp_clock_realtime,
    fp_create,
    fp_create_unnamed,
    fp_exists,
    fp_file_bytes,
    fp_identify,
    fp_identify_with,
    fp_is_alone,
    fp_is_still,
    fp_is_still_with,
    fp_map,
    fp_name,
    fp_open,
    fp_reserve,
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
    ZEROS_BYTES = 65536
    RETIRED_SEGMENTS_MASK = (1 << RETIRED_ROWS_SHIFT) - 1
    RESERVE_BYTES_FIRST = 65536
    NAME_BYTES = 64
    NUMBERS_MORE = 256  # segments past twice the budget that writers may have left to retire


# ------------------------------------------------------------------------------------- shapes


cdef uint64_t round_up(uint64_t value, uint64_t unit) noexcept nogil:
    return (value + unit - 1) // unit * unit


cdef uint64_t shape(
    uint32_t lanes, uint64_t* column_offsets, uint64_t* arena_offset
) noexcept nogil:
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
    f.directory_identity = fp_identify(directory)
    f.locks = locks
    f.registry = <registry_t*>registry.base
    f.lanes = lanes
    f.segments_max = segments_max
    f.dictionary_bytes = dictionary_bytes
    f.segment_bytes = shape(lanes, offsets, &arena)
    memcpy(f.tag, <const char*>tag, len(tag))
    return 0


cdef bint files_are_open(Files* f) noexcept nogil:
    """Whether the directory is still the one that it was, and not closed by the application."""
    return fp_is_still(f.directory, f.directory_identity)


# ---------------------------------------------------------------------------------- preparing


cdef bint names_try(Files* f) noexcept nogil:
    """Whether no other writer is at the names of the directory just now; then none will be."""
    return fp_try_lock(f.locks, LOCK_NAMES) == 0


cdef void names_done(Files* f) noexcept nogil:
    fp_unlock(f.locks, LOCK_NAMES)


cdef bint prepare_begin(Files* f) noexcept nogil:
    """Become the one who prepares the next segment; False when nobody needs to."""
    cdef char name[NAME_BYTES]
    if f.prepare_fd >= 0:
        return True
    if fp_exists(f.directory, "tmp-ready") or fp_try_lock(f.locks, LOCK_PREPARE) != 0:
        return False
    f.prepare_fd = fp_create_unnamed(f.directory)
    f.prepare_named = f.prepare_fd < 0
    if f.prepare_named:
        snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
        unlinkat(f.directory, name, 0)
        f.prepare_fd = fp_create(f.directory, name)
    f.prepared_bytes = 0
    if f.prepare_fd < 0:
        fp_unlock(f.locks, LOCK_PREPARE)
        return False
    f.prepare_identity = fp_identify_with(f.prepare_fd, f.prepare_named)
    return True


cdef bint prepare_is_open(Files* f) noexcept nogil:
    """Whether what is being prepared was neither closed by the application nor tidied away."""
    return fp_is_still_with(f.prepare_fd, f.prepare_identity, f.prepare_named)


cdef void prepare_abandon(Files* f) noexcept nogil:
    cdef char name[NAME_BYTES]
    if f.prepare_fd < 0:
        return
    prepare_forget(f)
    if files_are_open(f):
        if f.prepare_named:
            snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
            unlinkat(f.directory, name, 0)
        fp_unlock(f.locks, LOCK_PREPARE)


cdef void prepare_forget(Files* f) noexcept nogil:
    """Close what is being prepared, unless the application has closed it already."""
    if prepare_is_open(f):
        close(f.prepare_fd)
    f.prepare_fd = -1


cdef int prepare_up_to(Files* f, uint64_t bytes_wanted, uint64_t step) noexcept nogil:
    """Allocate and zero at most ``step`` more bytes; 0, or an errno (abandoned then).

    Zeros are written rather than reserved: that allocates and clears a page in one go for
    1.7 µs, where a reserved one is cleared again at its first touch for 2.2 µs more.
    """
    cdef uint64_t end, n
    cdef Py_ssize_t written
    cdef int failed
    if not prepare_is_open(f):
        prepare_abandon(f)
        return EBADF
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
            failed = errno if written < 0 else ENOENT
            prepare_abandon(f)
            return failed
        f.prepared_bytes += <uint64_t>written
    return 0


cdef void prepare_finish(Files* f) noexcept nogil:
    """Leave what is wholly prepared to whoever publishes."""
    cdef char name[NAME_BYTES]
    if f.prepare_named:
        snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
        renameat(f.directory, name, f.directory, "tmp-ready")
    else:
        fp_name(f.prepare_fd, f.directory, "tmp-ready")
    prepare_forget(f)
    fp_unlock(f.locks, LOCK_PREPARE)


# --------------------------------------------------------------------------------- publishing


cdef bint dictionary_is_nearly_full(
    Files* f, const char* prefix, uint64_t generation
) noexcept nogil:
    cdef Dictionary d
    cdef bint full = False
    if dictionary_open(&d, f.directory, prefix, generation) == 0:
        full = dictionary_nearly_full(&d)
        dictionary_close(&d)
    return full


cdef uint64_t generation_for_new_segment(Files* f, int* failed) noexcept nogil:
    """Current dictionary generation; a new one when the current one is nearly full.

    0 where there is none and none can be made; ``failed`` is why a new one could not be.
    """
    cdef uint64_t* word = &f.registry.dictionary_generation[0]
    cdef uint64_t generation = fp_load_acquire(word)
    if generation != 0 and not (
        dictionary_is_nearly_full(f, b"dict", generation)
        or dictionary_is_nearly_full(f, b"stacks", generation)
    ):
        return generation
    failed[0] = dictionary_create(f.directory, b"dict", generation + 1, f.dictionary_bytes, f.tag)
    if failed[0] == 0:
        failed[0] = dictionary_create(
            f.directory, b"stacks", generation + 1, f.dictionary_bytes, f.tag
        )
    if failed[0] != 0:
        return generation
    fp_cas(word, generation, generation + 1)
    return fp_load_acquire(word)


cdef int publish_file(Files* f, int fd, const char* name, uint64_t number) noexcept nogil:
    """Make an all-zero file segment ``number``, unless there is one; 0, or an errno. Closes it.

    ``name`` is the one that it has until then, NULL for a file without a name.
    """
    cdef char segment[NAME_BYTES]
    cdef segment_t header  # aligned as its type asks for, as plain bytes would not be
    cdef segment_t* h = &header
    cdef int failed = 0, unnamed = 0
    cdef uint64_t magic = MAGIC_SEGMENT
    snprintf(segment, sizeof(segment), "seg-%llu", <unsigned long long>number)
    memset(h, 0, PAGE_BYTES)
    memcpy(h.magic, &magic, 8)
    h.layout_version = LAYOUT_VERSION
    h.lanes = f.lanes
    h.schema_hash = SCHEMA_HASH
    h.number = number
    h.dictionary_generation = generation_for_new_segment(f, &unnamed)
    h.created_unix_nano = fp_clock_realtime()
    h.lane_rows = LANE_ROWS
    h.row_bytes = ROW_BYTES
    h.file_bytes = shape(f.lanes, h.column_offsets, &h.arena_offset)
    h.arena_bytes_per_lane = ARENA_BYTES_PER_LANE
    h.column_count = COLUMN_COUNT
    h.crc = fp_crc32(<uint8_t*>h, SEGMENT_CRC_OFFSET)
    # Linked only when complete, and never over another: a half-made segment is never visible.
    if h.dictionary_generation == 0:
        failed = unnamed if unnamed else ENOENT
    elif pwrite(fd, h, PAGE_BYTES, 0) != PAGE_BYTES:
        failed = errno
    elif name != NULL and linkat(f.directory, name, f.directory, segment, 0):
        failed = errno
    elif name == NULL and fp_name(fd, f.directory, segment):
        failed = errno
    close(fd)
    if name != NULL:
        unlinkat(f.directory, name, 0)
    if failed == 0 or failed == EEXIST:
        raise_word(&f.registry.segment_newest[1], number)
    if failed == 0 and number < fp_load_acquire(&f.registry.segment_oldest[0]):
        # This process slept while others published that number and retired it.
        unlinkat(f.directory, segment, 0)
    return 0 if failed == EEXIST else failed


cdef bint publish_prepared(Files* f, uint64_t number, int* failed) noexcept nogil:
    """Publish what this process or another has wholly prepared; False when nothing is."""
    cdef char name[NAME_BYTES]
    cdef int fd = f.prepare_fd
    if fd >= 0 and f.prepared_bytes == f.segment_bytes:
        if not prepare_is_open(f):
            prepare_abandon(f)
            return False
        snprintf(name, sizeof(name), "tmp-next-%s", f.tag)
        failed[0] = publish_file(f, fd, name if f.prepare_named else NULL, number)
        f.prepare_fd = -1
        fp_unlock(f.locks, LOCK_PREPARE)
        return True
    # Looked for first: a name that is missing costs others less in a look than in a change.
    if not fp_exists(f.directory, "tmp-ready"):
        return False
    snprintf(name, sizeof(name), "tmp-pub-%s", f.tag)
    if renameat(f.directory, "tmp-ready", f.directory, name):
        return False
    fd = fp_open(f.directory, name)
    if fd >= 0 and fp_file_bytes(fd) == <long>f.segment_bytes and fp_is_alone(fd):
        failed[0] = publish_file(f, fd, name, number)
        return True
    if fd >= 0:
        close(fd)
    unlinkat(f.directory, name, 0)
    return False


cdef void publish_ahead(Files* f) noexcept nogil:
    """Give the next segment its name before anybody needs it; the first who does raises newest.

    If it has one already, what is prepared is left to whoever publishes the one after.
    """
    cdef uint64_t number = fp_load_acquire(&f.registry.segment_newest[0]) + 1
    cdef int failed
    if not is_published(f, number):
        publish_prepared(f, number, &failed)
    elif f.prepare_fd >= 0:
        prepare_finish(f)


cdef int publish(Files* f, uint64_t number) noexcept nogil:
    """Make segment ``number`` now, nobody having done so ahead of need; 0, or an errno.

    While another is at the names, and when nothing is prepared, memory is reserved for a file of
    its own, which gets a name when it is complete: nobody waits for anybody. Small steps to begin
    with: whoever has what was prepared publishes within some 50 µs.
    """
    cdef char name[NAME_BYTES]
    cdef int fd = -1, failed = 0
    cdef uint64_t done = 0
    cdef bint held, published, named = False
    cdef bint removed = is_ahead(f, number)  # by hand: there was one, and the caller found none
    snprintf(name, sizeof(name), "tmp-pub-%s", f.tag)
    while not failed and (removed or not is_ahead(f, number)):
        held = names_try(f)
        published = held and publish_prepared(f, number, &failed)
        if not published and done == f.segment_bytes:
            failed = publish_file(f, fd, name if named else NULL, number)
            fd = -1
            published = True
        if held:
            names_done(f)
        if published:
            break
        if f.prepare_fd >= 0:
            failed = prepare_up_to(f, f.segment_bytes, 2 * f.prepared_bytes + RESERVE_BYTES_FIRST)
            if f.prepared_bytes == f.segment_bytes and not held:
                publish_prepared(f, number, &failed)
            continue
        if fd < 0:
            fd = fp_create_unnamed(f.directory)
            if fd < 0:
                unlinkat(f.directory, name, 0)
                named = True
                fd = fp_create(f.directory, name)
            if fd < 0:
                return errno
        done = min_u64(f.segment_bytes, 2 * done + RESERVE_BYTES_FIRST)
        failed = fp_reserve(fd, 0, <long>done)
    if fd >= 0:
        close(fd)
        if named:
            unlinkat(f.directory, name, 0)
    return failed


cdef inline uint64_t min_u64(uint64_t a, uint64_t b) noexcept nogil:
    return a if a < b else b


cdef bint is_ahead(Files* f, uint64_t number) noexcept nogil:
    """Whether segment ``number`` is known to have its name. A hint: it may have one unknown."""
    return (
        fp_load_acquire(&f.registry.segment_newest[1]) >= number
        or fp_load_acquire(&f.registry.segment_newest[0]) >= number
    )


cdef bint is_published(Files* f, uint64_t number) noexcept nogil:
    """Whether segment ``number`` has its name; whoever named it may have died before he said so."""
    cdef char segment[NAME_BYTES]
    if is_ahead(f, number):
        return True
    snprintf(segment, sizeof(segment), "seg-%llu", <unsigned long long>number)
    return fp_exists(f.directory, segment)


cdef bint raise_word(uint64_t* word, uint64_t number) noexcept nogil:
    """Make a word of the registry ``number`` at least; whether it was this call that did."""
    cdef uint64_t seen = fp_load_acquire(word)
    while seen < number:
        if fp_cas(word, seen, number):
            return True
        seen = fp_load_acquire(word)
    return False


cdef bint raise_newest(Files* f, uint64_t number) noexcept nogil:
    """Make ``number`` the newest segment; whether it was this call that did."""
    return raise_word(&f.registry.segment_newest[0], number)


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


cdef int seal(Files* f, uint64_t number, uint64_t* rows) noexcept nogil:
    """Close and seal a segment and count its rows; 0, or an errno when it cannot be opened now.

    What is gone, and what is not a segment of ours, has no rows.
    """
    cdef char name[NAME_BYTES]
    cdef size_t head = PAGE_BYTES + <size_t>f.lanes * LANE_WORD_STRIDE
    cdef uint8_t* base = NULL
    cdef int fd, failed = 0
    rows[0] = 0
    snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
    fd = fp_open(f.directory, name)
    if fd >= 0:
        if fp_file_bytes(fd) == <long>f.segment_bytes:
            base = fp_map(fd, head)
            failed = errno if base == NULL else 0
        close(fd)
    else:
        failed = errno
    if base == NULL:
        return failed if failed == EMFILE or failed == ENFILE or failed == ENOMEM else 0
    fp_store_release(&(<segment_t*>base).state[0], SEGMENT_SEALING)
    rows[0] = close_lanes(base, f.lanes)
    fp_store_release(&(<segment_t*>base).state[0], SEGMENT_SEALED)
    munmap(base, head)
    return 0


cdef bint retire(Files* f, uint64_t number) noexcept nogil:
    """Close, seal, account for and unlink a segment; False when it has to wait.

    Every step may be repeated, and be late: only what is still the oldest is retired.
    """
    cdef char name[NAME_BYTES]
    cdef uint64_t* entry = <uint64_t*>(
        <uint8_t*>f.registry + SEGMENT_TABLE_OFFSET
        + (number % SEGMENT_TABLE_SIZE) * SEGMENT_TABLE_ENTRY_BYTES
    )
    # Read before it is known that nobody has retired the segment: what is noted or added later
    # makes the swaps fail.
    cdef uint64_t noted = fp_load_acquire(entry)
    cdef uint64_t retired = fp_load_acquire(&f.registry.retired)
    cdef uint64_t rows
    if fp_load_acquire(&f.registry.segment_oldest[0]) != number:
        return True
    if noted >> SEGMENT_TABLE_ROWS_BITS == number:
        rows = noted & ((<uint64_t>1 << SEGMENT_TABLE_ROWS_BITS) - 1)
    else:
        if seal(f, number, &rows):
            return False
        fp_cas(entry, noted, number << SEGMENT_TABLE_ROWS_BITS | rows)
    # The total says how many segments are in it: this one is added once, however many retire it
    # at the same time, and by the next one if whoever noted it dies here.
    if (retired ^ (number - 1)) & RETIRED_SEGMENTS_MASK == 0:
        fp_cas(
            &f.registry.retired, retired,
            ((retired >> RETIRED_ROWS_SHIFT) + rows) << RETIRED_ROWS_SHIFT
            | (number & RETIRED_SEGMENTS_MASK)
        )
    fp_cas(&f.registry.segment_oldest[0], number, number + 1)
    # Unlinked last: whoever finds the name free can see that its number has been used.
    snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
    unlinkat(f.directory, name, 0)
    return True


cdef bint is_over_budget(Files* f) noexcept nogil:
    """Whether there is a segment to retire."""
    cdef uint64_t oldest = fp_load_acquire(&f.registry.segment_oldest[0])
    return fp_load_acquire(&f.registry.segment_newest[0]) + 1 > oldest + f.segments_max


cdef int retire_over_budget(Files* f) noexcept nogil:
    cdef int retired = 0
    cdef uint64_t oldest
    if not files_are_open(f):
        return 0  # segments would be taken for gone, with all of their rows
    while retired < 64:
        # The oldest first: the newest only grows, so the one that is over the budget now stays so
        # however late it is retired.
        oldest = fp_load_acquire(&f.registry.segment_oldest[0])
        if fp_load_acquire(&f.registry.segment_newest[0]) + 1 <= oldest + f.segments_max:
            break
        if not retire(f, oldest):
            break
        retired += 1
    return retired


cdef uint64_t close_owner_lanes(Files* f, uint64_t tag) noexcept nogil:
    cdef char name[NAME_BYTES]
    cdef size_t head = PAGE_BYTES + <size_t>f.lanes * LANE_WORD_STRIDE
    cdef uint64_t number = fp_load_acquire(&f.registry.segment_oldest[0])
    cdef uint64_t newest = fp_load_acquire(&f.registry.segment_newest[0])
    cdef uint64_t word, rows = 0
    cdef uint64_t left = 2 * <uint64_t>f.segments_max + NUMBERS_MORE
    cdef uint32_t lane
    cdef uint8_t* base
    cdef int fd
    # A damaged registry may say that there are 2**64 of them.
    while number <= newest and left:
        left -= 1
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
