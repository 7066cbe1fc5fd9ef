"""The state of this process's recorder: binding it to a domain, letting go, settings.

A record reads one word to know that it may write. The word lies on a page that every fork wipes,
so a child of any fork, an unbound process and one that was switched off all take the slow entry,
``wake()``. A second word of the page tells the first of them apart, bound or not: whoever is about
to touch what may be the parent's looks at it (``notice_fork()``).
"""

import os

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport getpid

from .aggregate cimport aggregate_clear, aggregate_local, aggregate_move
from .atomics cimport fp_add, fp_load32_relaxed, fp_load_acquire, fp_store_release
from .breath cimport breath_clear, breath_leave_all, breath_start
from .intern cimport dictionary_close, dictionary_open
from .exception cimport Py_INCREF
from .fingerprint cimport tables_flush
from .layout cimport (
    DROP_NOT_INITIALISED,
    DROP_NO_STORAGE,
    DROP_SERIES_OVERFLOW,
    LANE_GENERATION_MASK,
    LANE_GENERATION_SHIFT,
    LANE_OWNER_MASK,
    LANE_OWNER_SHIFT,
    OVERFLOW_CELLS,
    OVERFLOW_CELLS_OFFSET,
    OWNER_FENCE_OFFSET,
    OWNER_MAPPED_SEGMENT_LOW_OFFSET,
    OWNER_SIZE,
)
from .memory cimport Mapping
from .posix cimport (
    fp_clock_monotonic,
    fp_identify_root,
    fp_is_in_place,
    fp_page_wiped_on_fork,
)
from .ring cimport Writer, writer_clear, writer_forget, writer_stop
from .segment cimport files_start
from .sighting cimport (
    classify_with,
    encode_with,
    ignore_types,
    intern_name,
    redact_with,
    unclassified_is,
)
from .trace cimport trace_start

cdef enum:
    RETRY_NANO = 1_000_000_000
    LOOK_NANO = 1_000_000_000
    PAGE_IMAGE = 1  # word of the page: 1 in the process that wrote it, 0 in its forks

cdef Recorder R
cdef uint64_t asleep = 0
cdef uint32_t unfenced = 0
cdef object binding_held = None
cdef bytes place_held = b""
cdef object hook_rebind = None


cdef Recorder* recorder() noexcept:
    return &R


cdef void overflow(int cell, uint64_t n) noexcept nogil:
    """Count where no series has room: by kind, exact, shared by all processes."""
    drop(&R, DROP_SERIES_OVERFLOW)
    if R.bound and R.live[0] == 1:
        fp_add(<uint64_t*>(R.registry + OVERFLOW_CELLS_OFFSET) + cell, n)
        R.handed[cell] += n
    else:
        R.overflow[cell] += n


cdef bint within_budget(uint64_t fingerprint, int64_t mono_nano) noexcept nogil:
    """Whether this fingerprint may have another row this second.

    Sites do not know: one error has a site for each operation, and forgets them with the caches.
    Where more differ in a second than the table has room for, some share what one may have.
    """
    cdef uint32_t second = <uint32_t>(mono_nano // 1_000_000_000) + 1  # 0 = a place never used
    cdef uint64_t home = fingerprint ^ fingerprint >> 32
    cdef uint64_t probe
    cdef Spent* spent
    for probe in range(<uint64_t>SPENT_PROBES):
        spent = &R.spent[(home + probe) % SPENT_PLACES]
        if spent.second != second:
            spent.second = second
            spent.fingerprint = fingerprint
            spent.rows = 0
            break
        if spent.fingerprint == fingerprint:
            break
    else:
        spent = &R.spent[home % SPENT_PLACES]
    if spent.rows >= R.detail_per_second:
        return False
    spent.rows += 1
    return True


cdef object bounded(object value, str name, object high):
    """``value`` as an int from 0 to ``high``, or an error that names both."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if not 0 <= value <= high:
        raise ValueError(f"{name} must be 0 to {high}, got {value}")
    return value


# ---------------------------------------------------------------------------- waking, letting go


cdef void sleep() noexcept nogil:
    """From here on every call takes the slow entry."""
    R.live = &asleep
    R.fence = &unfenced


cdef void look(int64_t mono) noexcept nogil:
    """Once a second: is the store where others look for it? If not, the next call lets go of it."""
    R.look_mono = mono + LOOK_NANO
    if (
        R.bound and R.live[0] == 1
        and not fp_is_in_place(R.place, R.aggregate.identity, R.root)
    ):
        R.live = &asleep


cdef void look_by_count() noexcept nogil:
    """The same for a process that only counts: it reads no clock each time."""
    cdef int64_t mono = fp_clock_monotonic()
    if mono >= R.look_mono:
        look(mono)


cdef void take_back(uint8_t* counts) noexcept nogil:
    """What was copied from a file of counts that was moved away is not told there as well."""
    cdef int cell
    aggregate_clear(counts, R.aggregate.used)
    for cell in range(OVERFLOW_CELLS):
        R.overflow[cell] += R.handed[cell]
        fp_add(<uint64_t*>(R.registry + OVERFLOW_CELLS_OFFSET) + cell, 0 - R.handed[cell])


cdef void detach() noexcept:
    """Let go of the domain and go on counting in private memory.

    From zero: what was counted so far stays in the owner's file, where others fold it. But if the
    file was removed, or moved away, nobody will: then its counts come along. Of one who was
    declared dead they have been folded, or will be; a forked child never wrote to it.
    """
    global binding_held
    cdef uint8_t* counts = R.aggregate.base
    cdef bint forked = R.page[0] != 1
    R.epoch += 1
    # In this order: whoever folds removes the file after it has raised the fence.
    cdef bint gone = not forked and not fp_is_in_place(R.place, R.aggregate.identity, R.root)
    cdef bint fenced = fp_load32_relaxed(R.fence) != R.writer.incarnation
    if not forked:
        if not fenced:
            fp_store_release(R.writer.mapped_segment_low, 0)
            breath_leave_all(&R.breath)
        writer_stop(&R.writer)
    else:
        writer_forget(&R.writer)  # lane and preparation are the parent's
        memset(R.overflow, 0, sizeof(R.overflow))
    if gone and not fenced:
        if aggregate_move(&R.aggregate, NULL, 0, -1, True) == 0:
            take_back(counts)
        else:
            Py_INCREF(<PyObject*>binding_held)
    elif aggregate_move(&R.aggregate, NULL, 0, -1, False):
        # No memory for counts of its own: the file they are in has to stay mapped.
        Py_INCREF(<PyObject*>binding_held)
    R.bound = False
    writer_clear(&R.writer)
    breath_clear(&R.breath)
    dictionary_close(&R.names)
    dictionary_close(&R.stacks)
    memset(R.handed, 0, sizeof(R.handed))
    sleep()
    R.page[0] = 0
    binding_held = None


cdef void notice_fork() noexcept:
    """In a forked child that has not noticed yet: lane, counts and all under way are the parent's.

    Counts start from zero, also when the parent had no domain.
    """
    cdef int cell
    if R.page[PAGE_IMAGE] == 1:
        return
    R.page[PAGE_IMAGE] = 1
    R.epoch += 1
    R.rebinding = False  # a thread that is not here, or whom this one was forked by, was at it
    R.rebind_mono = 0
    if R.bound:
        detach()
    elif aggregate_move(&R.aggregate, NULL, 0, -1, False) == 0:
        for cell in range(OVERFLOW_CELLS):
            R.overflow[cell] = 0


def _after_fork_in_child():
    """At once, also where the kernel wipes no page."""
    R.page[0] = 0
    R.page[PAGE_IMAGE] = 0
    notice_fork()


cdef void try_storage() noexcept:
    """Ask the store to bind this process again, at most once a second."""
    cdef int64_t now
    if hook_rebind is None or R.rebinding:
        return  # nobody has called init(): no clock is read for each record and guarded call
    now = fp_clock_monotonic()
    if now < R.rebind_mono:
        return
    R.rebinding = True
    R.rebind_mono = now + RETRY_NANO
    try:
        hook_rebind()
    except BaseException:
        pass
    R.rebinding = False


cdef int why_unbound() noexcept:
    """Drop reason of a record that found no domain: init() is who says how to bind again."""
    if R.registry == NULL and hook_rebind is None:
        return DROP_NOT_INITIALISED
    return DROP_NO_STORAGE


cdef Mode wake() noexcept:
    """The slow entry: before init(), switched off, forked, or declared dead."""
    notice_fork()
    if R.bound and fp_load32_relaxed(R.fence) != R.writer.incarnation:
        detach()
        R.rebind_mono = 0
    if not R.active:
        return INACTIVE
    if R.bound and awake(&R):
        return WRITING
    if R.bound:
        detach()  # the store is not where others look for it
        R.rebind_mono = 0
    try_storage()
    return WRITING if R.bound and awake(&R) else COUNTING


# --------------------------------------------------------------------------------- dictionaries


cdef void open_dictionaries() noexcept:
    cdef bytes resource
    dictionary_open(
        &R.names, R.writer.files.directory, b"dict", R.writer.dictionary_generation
    )
    dictionary_open(
        &R.stacks, R.writer.files.directory, b"stacks", R.writer.dictionary_generation
    )
    R.writer.resource = 0
    if R.names.base != NULL and binding_held is not None:
        resource = binding_held.resource.encode()
        R.writer.resource = intern_name(<const char*>resource, <uint32_t>len(resource))


cdef void renew_dictionary() noexcept:
    """After a claim in a segment of another dictionary generation: codes start anew."""
    dictionary_close(&R.names)
    dictionary_close(&R.stacks)
    open_dictionaries()
    # Last: forgetting may run Python, and what that records has codes of the new generation.
    tables_flush(&R.tables)


# ------------------------------------------------------------------------- binding, configuring


cdef int refuse_forked(long pid) except -1:
    if pid != getpid():
        raise OSError("forked in the middle of a change, which the parent makes")
    return 0


def bind(binding):
    """Start writing into a domain: rows, counts and in-flight slots of this process.

    What was counted before is carried over. Raises OSError when the counts do not fit the file;
    the process goes on counting in its own memory then. So it does in a child that was forked
    since the binding was made: that is its parent's.
    """
    global binding_held, place_held
    cdef bytes place = os.fsencode(binding.aggregate_path)
    cdef Mapping registry = binding.registry
    cdef Mapping owners = binding.owners
    cdef Mapping aggregate = binding.aggregate
    cdef Mapping breath = binding.breath
    cdef uint64_t slot = binding.owner_slot
    # Here, since to write a number as text is to look for signals.
    cdef bytes tag = b"%d" % slot
    cdef uint64_t generation = binding.generation
    cdef Writer* writer = &R.writer
    cdef int cell
    notice_fork()
    refuse_forked(binding.pid)
    if R.bound:
        detach()
    # Codes are of a dictionary. Forgetting them may run Python, and other threads that record:
    # they count in private memory until the last line, and may know nothing of what is half done.
    tables_flush(&R.tables)
    # A signal handler may have come into that and have forked. From here on nothing runs Python.
    refuse_forked(binding.pid)
    writer_clear(writer)
    files_start(
        &writer.files, binding.directory_fd, binding.locks_fd, registry,
        binding.lanes_per_segment, binding.segments_max, binding.dictionary_bytes, tag
    )
    writer.incarnation = binding.incarnation
    writer.lane_tag = (slot & LANE_OWNER_MASK) << LANE_OWNER_SHIFT
    writer.lane_tag |= (generation & LANE_GENERATION_MASK) << LANE_GENERATION_SHIFT
    if aggregate_move(&R.aggregate, aggregate.base, aggregate.size, binding.aggregate_fd, True):
        raise OSError("the counts of this process do not fit on storage")
    binding_held = binding
    place_held = place
    R.place = place_held
    R.root = fp_identify_root()
    R.look_mono = fp_clock_monotonic() + LOOK_NANO
    R.registry = registry.base
    R.bound = True
    for cell in range(OVERFLOW_CELLS):
        if R.overflow[cell]:
            fp_add(<uint64_t*>(R.registry + OVERFLOW_CELLS_OFFSET) + cell, R.overflow[cell])
            R.handed[cell] = R.overflow[cell]
            R.overflow[cell] = 0
    breath_start(&R.breath, breath.base)
    writer.dictionary_generation = fp_load_acquire(
        &writer.files.registry.dictionary_generation[0]
    )
    writer.mapped_segment_low = <uint64_t*>(
        owners.base + slot * OWNER_SIZE + OWNER_MAPPED_SEGMENT_LOW_OFFSET
    )
    open_dictionaries()
    R.epoch += 1
    R.page[0] = 1
    R.fence = <uint32_t*>(owners.base + slot * OWNER_SIZE + OWNER_FENCE_OFFSET)
    if R.active:
        R.live = R.page


def unbind(bint exiting=False):
    """Stop writing: close the lane, and count in the process from here on.

    ``exiting`` says that the process ends; nothing differs yet, since an orderly end and a
    change of domain leave the same way.
    """
    notice_fork()
    if R.bound:
        detach()


def bound():
    """Whether this process writes into a domain."""
    return bool(R.bound and R.page[0] == 1)


def configure(
    *, active=None, messages=None, detail_per_second=None, ignore=None, classify=None,
    encode_attributes=None, redact_more=None, rebind=None, unclassified=None
):
    """Change settings; what is not given stays as it is.

    ``active`` bool; ``messages`` "redact", "template" or "raw"; ``detail_per_second`` rows per
    fingerprint and second in this process, 0 to 2**32 - 1, 0 = no bound; ``ignore`` a tuple of
    exception types; ``classify`` a callable that takes an exception and gives (classification,
    what it may be remembered by: 0 nothing, 1 the type and errno, 2 those and the causes', or a
    callable that reads a key from an exception, with the key); ``encode_attributes`` one that takes
    a mapping and gives bytes; ``redact_more`` one from str to str; ``rebind`` one without arguments
    that binds again; ``unclassified`` the classification of what the classifier gave no answer to,
    because the stack or memory was too short for it. Raises ValueError naming value and bound.
    """
    global hook_rebind
    if messages is not None:
        forms = {"raw": RAW, "redact": REDACT, "template": TEMPLATE}
        if messages not in forms:
            raise ValueError(f"messages must be redact, template or raw, got {messages!r}")
        R.messages = forms[messages]
    if detail_per_second is not None:
        R.detail_per_second = bounded(detail_per_second, "detail_per_second", 2**32 - 1)
    if ignore is not None:
        ignore_types(ignore)
    if classify is not None:
        classify_with(classify)
    if unclassified is not None:
        unclassified_is(unclassified)
    if encode_attributes is not None:
        encode_with(encode_attributes)
    if redact_more is not None:
        redact_with(redact_more)
        R.more_redaction = True
    if rebind is not None:
        hook_rebind = rebind
    if active is not None:
        R.active = bool(active)
        if not R.active:
            R.live = &asleep
        elif R.bound and R.page[0] == 1:
            R.live = R.page


def flush_caches():
    """Forget every cached type, classification and site; the next sighting finds out anew."""
    tables_flush(&R.tables)


def own_overflow():
    """What has overflowed here and was handed to no domain, by cell of its registry."""
    cdef int cell
    notice_fork()
    return [R.overflow[cell] for cell in range(OVERFLOW_CELLS)]


def own_cells():
    """The counts of this process as bytes of an aggregate file."""
    notice_fork()
    return (<char*>R.aggregate.base)[: R.aggregate.used]


def writer_state():
    """Numbers about the writer of this process, for diagnosis."""
    return {
        "bound": bound(),
        "active": bool(R.active),
        "seq": R.writer.seq,
        "incarnation": R.writer.incarnation,
        "segment_number": R.writer.segment_number,
        "dictionary_generation": R.writer.dictionary_generation,
        "lanes_claimed": R.writer.lanes_claimed,
        "segments_mapped": R.writer.segments_mapped,
        "rehomed": R.writer.rehomed,
        "types_cached": R.tables.type_count,
        "sites_cached": R.tables.site_count,
        "cache_flushes": R.tables.flushes,
        "series": R.aggregate.series,
        "refusal": R.writer.refusal,
    }


cdef int start() except -1:
    # R is zero from the start: clearing it would only make its 400 KiB resident.
    R.page = fp_page_wiped_on_fork()
    if R.page == NULL:
        raise MemoryError
    R.page[PAGE_IMAGE] = 1
    writer_clear(&R.writer)
    trace_start(&R.trace)
    sleep()
    R.active = True
    R.messages = REDACT
    if aggregate_local(&R.aggregate):
        raise MemoryError
    return 0


start()
os.register_at_fork(after_in_child=_after_fork_in_child)
