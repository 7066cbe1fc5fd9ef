"""The functions of the core that need no GIL, called by threads that do not hold it.

What processes do to each other is done here by threads of one process, each with a writer, a
dictionary and counts of its own on one domain, so that ThreadSanitizer sees both sides. Built into
a copy of ``faultplane._core`` by ``tools/sanitizers.py``; driven by ``threads_driver.py``.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from .aggregate cimport Aggregate, aggregate_local, aggregate_move, aggregate_series, cell_at
from .aggregate cimport cell_count_at
from .atomics cimport fp_add, fp_load_acquire, fp_load_relaxed, fp_store_release
from .digest cimport fp_digest_of
from .fingerprint cimport Site
from .intern cimport Dictionary, dictionary_close, dictionary_intern, dictionary_open
from .layout cimport (
    AGGREGATE_SIZE,
    COLUMN_FINGERPRINT,
    COLUMN_MESSAGE,
    COLUMN_OWNER,
    COLUMN_SEQ,
    COLUMN_TYPE,
    LANE_COUNT_MASK,
    LANE_GENERATION_SHIFT,
    LANE_OPEN_WORD,
    LANE_OWNER_SHIFT,
    LANE_ROWS,
    SERIES_ERROR,
    aggregate_t,
    cell_t,
    registry_t,
    segment_t,
)
from .memory cimport Mapping
from .posix cimport close, fp_file_bytes, fp_map, fp_open, munmap, snprintf
from .ring cimport (
    CLAIM_NEW_DICTIONARY,
    CLAIM_OK,
    Row,
    Writer,
    writer_advance,
    writer_clear,
    writer_fits,
    writer_leave_lane,
    writer_put,
    writer_stop,
)
from .segment cimport (
    Files,
    close_owner_lanes,
    files_clear,
    files_start,
    lane_word,
    prepare_begin,
    prepare_up_to,
    retire_over_budget,
)

cdef enum:
    NAMES = 40
    MESSAGE_BYTES = 64

cdef uint64_t running = 0
cdef uint64_t wrong = 0


cdef inline uint64_t mixed(uint64_t owner, uint64_t seq) noexcept nogil:
    """What the fingerprint of a row has to be."""
    return (owner << 40 | seq) * <uint64_t>0x9E3779B97F4A7C15


cdef inline uint32_t text_of(uint64_t key, uint8_t* text) noexcept nogil:
    """The message of a row: 0 to 63 bytes that follow from its fingerprint."""
    cdef uint32_t i, n = <uint32_t>(key >> 58)
    for i in range(n):
        text[i] = <uint8_t>(97 + (key >> (i % 48)) % 26)
    return n


cdef inline int name_of(uint64_t key, char* text) noexcept nogil:
    return snprintf(text, 32, "name of type %d", <int>(key % NAMES))


cdef class Thread:
    """A writer of one domain, as a process has one."""

    cdef Writer writer
    cdef Dictionary names
    cdef Aggregate* counts
    cdef uint64_t mapped_low
    cdef uint32_t cell
    cdef object held
    cdef readonly int slot

    def __cinit__(self, binding):
        cdef Mapping registry = binding.registry
        cdef Mapping counts = binding.aggregate
        self.held = binding
        self.slot = binding.owner_slot
        writer_clear(&self.writer)
        files_start(
            &self.writer.files, binding.directory_fd, binding.locks_fd, registry,
            binding.lanes_per_segment, binding.segments_max, binding.dictionary_bytes,
            b"%d" % self.slot
        )
        self.writer.incarnation = binding.incarnation
        self.writer.lane_tag = <uint64_t>self.slot << LANE_OWNER_SHIFT
        self.writer.lane_tag |= <uint64_t>1 << LANE_GENERATION_SHIFT
        self.writer.mapped_segment_low = &self.mapped_low
        self.counts = <Aggregate*>calloc(1, sizeof(Aggregate))
        if self.counts == NULL or aggregate_local(self.counts):
            raise MemoryError
        if aggregate_move(self.counts, counts.base, counts.size, binding.aggregate_fd, True):
            raise OSError("no room for counts")
        memset(&self.names, 0, sizeof(Dictionary))

    def __dealloc__(self):
        dictionary_close(&self.names)
        free(self.counts)

    cdef int room(self, uint32_t n) noexcept nogil:
        """What record() does before it writes; 0, or a drop reason."""
        cdef Writer* w = &self.writer
        cdef int reason
        if not writer_fits(w, n) and w.word != NULL:
            writer_leave_lane(w)
        if w.row != w.limit:
            return CLAIM_OK
        reason = writer_advance(w)
        if reason == CLAIM_NEW_DICTIONARY:
            dictionary_close(&self.names)
            if dictionary_open(
                &self.names, w.files.directory, b"dict", w.dictionary_generation
            ):
                return 99
            reason = CLAIM_OK
        return reason

    cdef int put(self, int64_t now) noexcept nogil:
        """One record with its count; 0, or a drop reason."""
        cdef Writer* w = &self.writer
        cdef Row row
        cdef Site site
        cdef uint8_t text[MESSAGE_BYTES]
        cdef char name[32]
        cdef int reason, n
        cdef uint64_t key = mixed(w.incarnation, w.seq + 1)
        memset(&row, 0, sizeof(Row))
        memset(&site, 0, sizeof(Site))
        row.time_unix_nano = row.mono_nano = now
        site.fingerprint = key
        row.message = text
        row.message_bytes = text_of(key, text)
        site.severity = site.kind = site.category = 1
        n = name_of(key, name)
        if self.cell == 0 or key % 1024 == 0:
            self.cell = aggregate_series(
                self.counts, SERIES_ERROR, 1, key % NAMES, b"", 0, b"work", 4, name, n
            )
        cell_count_at(cell_at(self.counts, self.cell), now)
        while True:
            reason = self.room(row.message_bytes)
            if reason != CLAIM_OK:
                return reason
            site.type = dictionary_intern(
                &self.names, fp_digest_of(name, n), <const uint8_t*>name, <uint32_t>n, False
            )
            if site.type < 0:
                return 98
            if writer_put(w, &row, &site):
                return CLAIM_OK
            w.rehomed += 1
            writer_leave_lane(w)

    def write(self, uint64_t rows):
        """Write so many rows; how often a lane was closed meanwhile."""
        cdef uint64_t i
        cdef int reason = 0
        with nogil:
            for i in range(rows):
                reason = self.put(<int64_t>(i + 1))
                if reason:
                    break
            writer_stop(&self.writer)
        if reason:
            raise OSError(f"drop reason {reason}")
        return self.writer.rehomed


cdef class Upkeep:
    """Whoever maintains: retires, closes lanes of the living, prepares."""

    cdef Files files
    cdef object held

    def __cinit__(self, binding, bytes tag):
        cdef Mapping registry = binding.registry
        self.held = binding
        files_clear(&self.files)
        files_start(
            &self.files, binding.directory_fd, binding.locks_fd, registry,
            binding.lanes_per_segment, binding.segments_max, binding.dictionary_bytes, tag
        )

    def run(self, int slots):
        """Until `stop`: close the lanes of each slot in its turn; how many rows they had."""
        cdef uint64_t tag, closed = 0, turn = 0
        with nogil:
            while fp_load_acquire(&running):
                tag = LANE_OPEN_WORD | (turn % <uint64_t>slots) << LANE_OWNER_SHIFT
                closed += close_owner_lanes(&self.files, tag | <uint64_t>1 << LANE_GENERATION_SHIFT)
                retire_over_budget(&self.files)
                turn += 1
        return closed

    def prepare(self):
        """Until `stop`: have the next segment ready."""
        with nogil:
            while fp_load_acquire(&running):
                if prepare_begin(&self.files):
                    prepare_up_to(&self.files, self.files.segment_bytes, self.files.segment_bytes)


cdef class Reader:
    """Whoever reads rows, names and counts while they are written."""

    cdef int directory
    cdef registry_t* registry
    cdef object held

    def __cinit__(self, binding):
        cdef Mapping registry = binding.registry
        self.held = binding
        self.directory = binding.directory_fd
        self.registry = <registry_t*>registry.base

    cdef void row(self, uint8_t* base, Dictionary* names, uint64_t at) noexcept nogil:
        cdef segment_t* h = <segment_t*>base
        cdef uint64_t* columns = h.column_offsets
        cdef uint64_t seq = (<uint64_t*>(base + columns[COLUMN_SEQ]))[at]
        cdef uint32_t owner = (<uint32_t*>(base + columns[COLUMN_OWNER]))[at]
        cdef uint64_t key = (<uint64_t*>(base + columns[COLUMN_FINGERPRINT]))[at]
        cdef int32_t type = (<int32_t*>(base + columns[COLUMN_TYPE]))[at]
        cdef uint32_t* view = <uint32_t*>(base + columns[COLUMN_MESSAGE] + 16 * at)
        cdef uint8_t text[MESSAGE_BYTES]
        cdef char name[32]
        cdef uint32_t n = text_of(key, text)
        cdef const uint8_t* found = <uint8_t*>(view + 1)
        cdef uint64_t word
        if n > 12:
            found = base + h.arena_offset + view[3]
        if key != mixed(owner, seq) or view[0] != n or memcmp(found, text, n) != 0:
            fp_add(&wrong, 1)
        word = fp_load_acquire(&names.entries[type].word)
        n = <uint32_t>name_of(key, name)
        if word >> 32 != n or memcmp(names.text + <uint32_t>word - 1, name, n) != 0:
            fp_add(&wrong, 1)

    cdef uint64_t segment(self, uint64_t number) noexcept nogil:
        """Look at every visible row of a segment; how many there are."""
        cdef char name[32]
        cdef Dictionary names
        cdef uint64_t lane, count, r, rows = 0
        cdef uint8_t* base
        cdef segment_t* h
        cdef size_t size
        cdef int fd
        snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>number)
        fd = fp_open(self.directory, name)
        if fd < 0:
            return 0
        size = <size_t>fp_file_bytes(fd)
        base = fp_map(fd, size)
        close(fd)
        if base == NULL:
            return 0
        h = <segment_t*>base
        if dictionary_open(&names, self.directory, b"dict", h.dictionary_generation) == 0:
            for lane in range(h.lanes):
                count = fp_load_acquire(lane_word(base, lane)) & LANE_COUNT_MASK
                rows += count
                for r in range(count):
                    self.row(base, &names, lane * LANE_ROWS + r)
            dictionary_close(&names)
        munmap(base, size)
        return rows

    def read(self):
        """Until `stop`: every row, again and again; how many were looked at."""
        cdef uint64_t number, rows = 0
        with nogil:
            while fp_load_acquire(&running):
                number = fp_load_acquire(&self.registry.segment_oldest[0])
                while number <= fp_load_acquire(&self.registry.segment_newest[0]):
                    rows += self.segment(number)
                    number += 1
        return rows

    def rows(self):
        """Visible rows, looked at once."""
        cdef uint64_t number = fp_load_acquire(&self.registry.segment_oldest[0])
        cdef uint64_t rows = 0
        while number <= fp_load_acquire(&self.registry.segment_newest[0]):
            rows += self.segment(number)
            number += 1
        return rows

    def count(self, list mappings):
        """Until `stop`: the sum of all cells, which never falls; the last one."""
        cdef uint64_t sum = 0, last = 0
        cdef uint8_t* bases[64]
        cdef int i, n = len(mappings)
        cdef Mapping one
        for i in range(n):
            one = mappings[i]
            bases[i] = one.base
        with nogil:
            while fp_load_acquire(&running):
                sum = 0
                for i in range(n):
                    sum += self.cells(bases[i])
                if sum < last:
                    fp_add(&wrong, 1)
                last = sum
        return last

    def names(self):
        """Until `stop`: every name there is, by its id as readers find it; how many in the end."""
        cdef Dictionary d
        cdef uint64_t id, word, seen = 0
        with nogil:
            while fp_load_acquire(&running):
                id = fp_load_acquire(&self.registry.dictionary_generation[0])
                if dictionary_open(&d, self.directory, b"dict", id):
                    continue
                seen = 0
                for id in range(1, fp_load_acquire(&d.header.next_entry[0])):
                    if id >= d.entries_max:
                        break
                    word = fp_load_acquire(&d.entries[id].word)
                    if word == 0:
                        continue
                    seen += 1
                    if d.entries[id].hash != fp_digest_of(
                        d.text + <uint32_t>word - 1, <size_t>(word >> 32)
                    ):
                        fp_add(&wrong, 1)
                dictionary_close(&d)
        return seen

    cdef uint64_t cells(self, uint8_t* base) noexcept nogil:
        cdef uint64_t used = fp_load_acquire(&(<aggregate_t*>base).used)
        cdef uint64_t at = AGGREGATE_SIZE, sum = 0
        cdef cell_t* cell
        while at < used:
            cell = <cell_t*>(base + at)
            if cell.series == SERIES_ERROR and cell.operation_bytes != 4:
                fp_add(&wrong, 1)
            if cell.series == SERIES_ERROR:
                sum += fp_load_relaxed(&cell.count)
                fp_load_relaxed(<uint64_t*>&cell.last_seen_unix_nano)
            at += cell.size
        return sum

    def sum_of(self, Mapping mapping):
        """The sum of a file's cells, once."""
        return self.cells(mapping.base)


def start():
    """Let those who go on until `stop` begin."""
    fp_store_release(&running, 1)


def stop():
    """Let them end."""
    fp_store_release(&running, 0)


def unexpected():
    """How much readers saw that nobody wrote."""
    return fp_load_acquire(&wrong)
