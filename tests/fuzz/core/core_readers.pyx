"""What the compiled core reads from disk, under libFuzzer: dictionaries, segments, the registry.

`run` takes the process: libFuzzer ends it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from faultplane._core.atomics cimport fp_load_acquire
from faultplane._core.digest cimport fp_crc32
from faultplane._core.fingerprint cimport Site
from faultplane._core.intern cimport (
    Dictionary,
    dictionary_close,
    dictionary_intern,
    dictionary_nearly_full,
    dictionary_open,
)
from faultplane._core.layout cimport (
    DICTIONARY_CRC_OFFSET,
    LANE_OPEN_WORD,
    REGISTRY_CRC_OFFSET,
    SEGMENT_CRC_OFFSET,
    registry_t,
)
from faultplane._core.memory cimport Mapping
from faultplane._core.posix cimport fp_open, linkat, snprintf, unlinkat
from faultplane._core.ring cimport (
    CLAIM_NEW_DICTIONARY,
    CLAIM_OK,
    Row,
    Writer,
    writer_advance,
    writer_clear,
    writer_fits,
    writer_put,
    writer_stop,
)
from faultplane._core.segment cimport (
    Files,
    close_owner_lanes,
    files_start,
    retire_over_budget,
)

cdef extern from "<unistd.h>" nogil:
    int ftruncate(int fd, long size)

cdef extern from "<stdio.h>" nogil:
    int printf(const char* form, ...)

cdef extern from "cases.h" nogil:
    ctypedef struct place_t:
        uint32_t offset, width

    ctypedef struct base_t:
        const uint8_t* data
        size_t size
        const place_t* places
        size_t place_count
        uint8_t* now

    base_t fuzz_bases[16]
    size_t fuzz_base_count
    uint8_t REPAIRED
    size_t fuzz_apply(const uint8_t* data, size_t size, size_t* index)
    void fuzz_dirty(base_t* base, size_t start, size_t end)
    int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*one)(const uint8_t*, size_t) noexcept)

cdef enum:
    KIND_DICTIONARY = 0
    KIND_SEGMENT = 1
    KIND_REGISTRY = 2
    TEXTS_MAX = 64
    TURNS_WITHOUT_ROWS = 64
    TURNS_WITHOUT_CLOSING = 16
    TURNS_WITHOUT_FILES = 32
    SEGMENTS_TIDIED = 8

cdef struct Text:
    uint64_t hash
    uint32_t bytes
    const uint8_t* text

cdef struct Stage:
    int kind
    int directory
    int file[16]
    size_t size[16]
    const char* prefix[16]
    size_t latest
    size_t written
    uint8_t* next
    const uint8_t* next_bytes
    uint32_t crc_at
    Text texts[TEXTS_MAX]
    size_t text_count
    uint64_t turn
    Files files
    registry_t* registry
    registry_t clean
    uint64_t mapped_low

cdef Stage S
cdef list held = []


cdef int one(const uint8_t* data, size_t size) noexcept nogil:
    cdef size_t index = (data[0] if size else 0) % fuzz_base_count
    cdef size_t made
    cdef base_t* base = &fuzz_bases[index]
    cdef uint32_t crc
    if S.kind == KIND_SEGMENT and index != S.latest:
        # Two bases of one file.
        S.size[index] = S.size[S.latest]
        fuzz_dirty(base, 0, base.size)
        S.latest = index
    resize(index, base.size)
    made = fuzz_apply(data, size, &index)
    if size > 1 and data[1] & REPAIRED and made >= S.crc_at + 4:
        crc = fp_crc32(base.now, S.crc_at)
        memcpy(base.now + S.crc_at, &crc, 4)
        fuzz_dirty(base, S.crc_at, S.crc_at + 4)
    S.turn += 1
    if S.kind == KIND_REGISTRY:
        read_registry(base)
        return 0
    resize(index, made)
    if S.kind == KIND_DICTIONARY:
        read_dictionary(index, data, size)
    else:
        read_segment()
    # What reads it also writes to it, but only where it is read.
    fuzz_dirty(base, 0, S.written)
    return 0


cdef void resize(size_t index, size_t size) noexcept nogil:
    """Have a file of so many bytes; what was cut off and comes back is zeros."""
    if size != S.size[index] and S.kind != KIND_REGISTRY:
        ftruncate(S.file[index], <long>size)
        if S.size[index] < size and S.size[index] < fuzz_bases[index].size:
            fuzz_dirty(&fuzz_bases[index], S.size[index], fuzz_bases[index].size)
        S.size[index] = size


cdef void read_dictionary(size_t index, const uint8_t* data, size_t size) noexcept nogil:
    """Look up what is there, and intern what is not."""
    cdef Dictionary d
    cdef size_t n
    cdef bint by_hash = S.prefix[index][0] == c"s"
    cdef Text* text
    if dictionary_open(&d, S.directory, S.prefix[index], 1):
        return
    dictionary_nearly_full(&d)
    for n in range(S.text_count):
        text = &S.texts[n]
        dictionary_intern(&d, text.hash, text.text, text.bytes, by_hash)
    if size:
        dictionary_intern(&d, (<uint64_t>size) << 40, data, <uint32_t>size, by_hash)
        dictionary_intern(&d, S.texts[0].hash, data, <uint32_t>size, by_hash)
    dictionary_close(&d)


cdef void write_rows() noexcept nogil:
    """Claim a lane where there is one, and write into it as record() does."""
    cdef Writer w
    cdef Row row
    cdef Site site
    cdef int _, answer
    writer_clear(&w)
    w.files = S.files
    w.lane_tag = <uint64_t>3 << 48
    w.dictionary_generation = 1
    w.mapped_segment_low = &S.mapped_low
    memset(&row, 0, sizeof(row))
    memset(&site, 0, sizeof(site))
    row.message = <const uint8_t*>b"longer than twelve bytes"
    row.message_bytes = 24
    for _ in range(3):
        answer = writer_advance(&w)
        if answer != CLAIM_OK and answer != CLAIM_NEW_DICTIONARY:
            break
        if w.word == NULL or not writer_fits(&w, row.message_bytes):
            break
        if not writer_put(&w, &row, &site):
            w.word = NULL
    writer_stop(&w)


cdef void tidy() noexcept nogil:
    """Remove what writers published: the next case begins with the same files."""
    cdef char name[64]
    cdef uint64_t newest = fp_load_acquire(&S.registry.segment_newest[0])
    cdef uint64_t number
    for number in range(newest, newest + SEGMENTS_TIDIED):
        if number - 4 > 2:
            snprintf(name, sizeof(name), "seg-%llu", <unsigned long long>(number - 4))
            unlinkat(S.directory, name, 0)
    unlinkat(S.directory, "tmp-ready", 0)
    unlinkat(S.directory, "tmp-next-fuzz", 0)
    unlinkat(S.directory, "dict-2", 0)
    unlinkat(S.directory, "stacks-2", 0)


cdef void read_segment() noexcept nogil:
    """Most times the next segment is there: where one is refused, making another takes long."""
    cdef bint makes_files = S.turn % TURNS_WITHOUT_FILES == 0
    memcpy(S.registry, &S.clean, sizeof(registry_t))
    S.registry.segment_newest[0] = 1
    S.registry.segment_newest[1] = 1 if makes_files else 3
    S.registry.segment_oldest[0] = 1
    write_rows()
    close_owner_lanes(&S.files, <uint64_t>3 << 48 | LANE_OPEN_WORD)
    memcpy(S.next, S.next_bytes, S.written)
    if makes_files:
        tidy()


cdef void read_registry(base_t* base) noexcept nogil:
    """The words of a registry that others change; retiring removes files, which come back."""
    memcpy(S.registry, base.now, 16384)
    retire_over_budget(&S.files)
    if S.turn % TURNS_WITHOUT_CLOSING == 0:
        close_owner_lanes(&S.files, <uint64_t>3 << 48 | LANE_OPEN_WORD)  # opens up to 264 names
    if S.turn % TURNS_WITHOUT_ROWS == 0:
        write_rows()  # a writer tries up to 256 numbers, and makes a file for each
        tidy()
    linkat(S.directory, "spare", S.directory, "seg-1", 0)


def run(
    str kind, list bases, list places, list texts, int directory_fd, int lanes,
    bytes next_segment, size_t written, list words,
):
    """Fuzz one kind: ``bases`` are (name, prefix, bytes), ``places`` packed pairs of u32 for each.

    ``texts`` are (hash, bytes) that a dictionary holds, ``next_segment`` what seg-2 holds. Readers
    write to the first ``written`` bytes of a file. ``words`` is libFuzzer's command line.
    """
    cdef int argc = <int>len(words)
    cdef char** argv = <char**>malloc((argc + 1) * sizeof(char*))
    cdef Mapping registry = Mapping.anonymous(16384)
    cdef bytes text
    cdef Mapping following
    held.extend([bases, places, texts, registry, next_segment])
    S.kind = {"dictionary": 0, "segment": 1, "registry": 2}[kind]
    S.crc_at = (DICTIONARY_CRC_OFFSET, SEGMENT_CRC_OFFSET, REGISTRY_CRC_OFFSET)[S.kind]
    S.directory = directory_fd
    global fuzz_base_count
    for n, (name, prefix, text) in enumerate(bases):
        held.append(prefix)
        fuzz_bases[n].data = <const uint8_t*>text
        fuzz_bases[n].size = len(text)
        fuzz_bases[n].places = <const place_t*><const uint8_t*>places[n]
        fuzz_bases[n].place_count = len(places[n]) // 8
        S.prefix[n] = prefix
        S.file[n] = fp_open(directory_fd, name)
        S.size[n] = len(text)
        mapping = Mapping.anonymous(16384) if kind == "registry" else (
            Mapping(S.file[n], len(text), True)
        )
        held.append(mapping)
        fuzz_bases[n].now = <uint8_t*>(<Mapping?>mapping).base
        fuzz_dirty(&fuzz_bases[n], 0, len(text))
    fuzz_base_count = len(bases)
    S.written = written
    following = Mapping(fp_open(directory_fd, b"seg-2"), len(next_segment), True)
    S.next, S.next_bytes = <uint8_t*>(<Mapping?>following).base, next_segment
    for n, (hash, text) in enumerate(texts[:TEXTS_MAX]):
        S.texts[n].hash = hash
        S.texts[n].text = text
        S.texts[n].bytes = <uint32_t>len(text)
        S.text_count += 1
    files_start(&S.files, directory_fd, -1, registry, lanes, 4, 16384, b"fuzz")
    held.append(following)
    S.registry = <registry_t*>registry.base
    memset(&S.clean, 0, sizeof(registry_t))
    S.clean.dictionary_generation[0] = 1
    encoded = [word.encode() for word in words]
    held.append(encoded)
    for n in range(argc):
        argv[n] = <char*>encoded[n]
    argv[argc] = NULL
    return LLVMFuzzerRunDriver(&argc, &argv, one)
