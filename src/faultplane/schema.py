"""The error record, the files of a domain and the vocabulary, declared once as data.

Everything that knows a byte offset is computed from this module: the compiled core's constants
(``_core/layout.pxd``, written by ``tools/generate.py``), the pure core, the Arrow schema and the
table in the documentation. Nothing here touches a file or a process.

All integers are little-endian; every field is naturally aligned.
"""

import struct
from typing import Any, Final, NamedTuple
from zlib import crc32

LAYOUT_VERSION: Final = 1
"""Version of the bytes on disk; part of the directory name, so versions live side by side."""

FINGERPRINT_VERSION: Final = 1
"""Version of the text that a fingerprint is the hash of (see docs/concepts.md)."""

LANE_ROWS: Final = 512
"""Consecutive rows of every column that one writer owns. 512 one-byte values fill eight cache
lines, so no two lanes share one."""

ARENA_BYTES_PER_ROW: Final = 96
MESSAGE_BYTES_MAX: Final = 1024
"""Longest message kept, in UTF-8 bytes; a longer one is cut at a code point and flagged."""
ATTRIBUTES_BYTES_MAX: Final = 4096
"""Longest encoded attribute list kept; a longer one is left out whole and flagged."""
STRING_BYTES_MAX: Final = 16_384
"""Longest interned string (a rendered stack is the longest kind)."""
NAME_BYTES_MAX: Final = 255
"""Longest service, operation, type or counter name kept with a count."""
STACK_FRAMES_MAX: Final = 64
"""Frames rendered per stack: the outermost 32 and the innermost 32."""
CHAIN_MAX: Final = 8
"""Causes and contexts followed from one exception."""
GROUP_MAX: Final = 16
"""Members of one ExceptionGroup looked at."""
SERIES_MAX: Final = 4096
"""Counted series per process; past it, counts go to the overflow cells."""
RETIRED_SERIES_MAX: Final = 16_384
"""Series kept for processes that are gone; past it, they merge (`store.fold.merge_over`)."""
INFLIGHT_SLOTS: Final = 256
"""In-flight slots per process; an operation past them is counted as overflow."""
PAGE_BYTES: Final = 4096
CACHE_LINE_BYTES: Final = 64

# --------------------------------------------------------------------------------- vocabulary


class Term(NamedTuple):
    """One word of a vocabulary: its code on disk, its name, and what it means."""

    code: int
    name: str
    doc: str


def _terms(*pairs: tuple[str, str], start: int = 1) -> tuple[Term, ...]:
    return tuple(Term(code, name, doc) for code, (name, doc) in enumerate(pairs, start))


KINDS: Final = _terms(
    ("Transport", "a connection could not be made or was lost"),
    ("Serialization", "data could not be encoded or decoded"),
    ("Configuration", "a setting is missing or wrong"),
    ("Processing", "the program's own work on valid input failed"),
    ("Export", "data could not be handed to a telemetry or storage back end"),
    ("Timeout", "a time limit ran out"),
    ("Concurrency", "tasks, threads or transactions got in each other's way"),
    ("ResourceExhausted", "memory, descriptors, disk, quota or a pool ran out"),
    ("VersionMismatch", "two sides speak different versions"),
    ("Internal", "a bug, or an error nothing more is known about"),
    ("BusinessLogic", "a rule of the domain refused the request"),
    ("DataValidation", "input was refused by a check"),
    ("Permission", "authentication or authorisation failed"),
    ("RateLimit", "a rate limit or throttle refused the request"),
    ("DependencyService", "a downstream service answered with a failure"),
)
CATEGORIES: Final = _terms(
    ("Network", "between hosts or processes"),
    ("Data", "the content of what is processed"),
    ("Configuration", "how the program is set up"),
    ("Processing", "the program's own work"),
    ("Export", "handing data on"),
    ("Performance", "too slow"),
    ("Concurrency", "ordering and locking"),
    ("Resource", "something finite ran out"),
    ("Compatibility", "versions and features"),
    ("System", "the operating system or the interpreter"),
    ("Business", "rules of the domain"),
    ("Security", "who may do what"),
    ("Dependency", "a service that this one calls"),
)
STRATEGIES: Final = _terms(
    ("RetryWithBackoff", "try again later, later each time"),
    ("IncreaseTimeout", "allow more time, then try again"),
    ("ValidateConfig", "check settings before anything else"),
    ("ScaleResources", "add or free the resource that ran out"),
    ("CircuitBreak", "stop calling for a while"),
    ("Fallback", "serve something else"),
    ("FixCode", "change the program"),
    ("ManualIntervention", "a person has to act"),
)


class Severity(NamedTuple):
    """A severity word and its OpenTelemetry severity number (1 to 24)."""

    name: str
    number: int
    text: str


SEVERITIES: Final = (
    Severity("Low", 9, "INFO"),
    Severity("Medium", 13, "WARN"),
    Severity("High", 17, "ERROR"),
    Severity("Critical", 21, "FATAL"),
)
SEVERITY_NUMBER_MAX: Final = 24

KIND_INTERNAL: Final = 10
UNKNOWN_CATEGORY: Final = 10
FLAG_HANDLED: Final = 1
FLAG_RETRYABLE: Final = 2
FLAG_TEMPORARY: Final = 4
FLAG_TRUNCATED: Final = 8
FLAG_REDACTED: Final = 16
FLAG_NO_ATTRIBUTES: Final = 32
FLAGS: Final = {
    "handled": FLAG_HANDLED,
    "retryable": FLAG_RETRYABLE,
    "temporary": FLAG_TEMPORARY,
    "truncated": FLAG_TRUNCATED,
    "redacted": FLAG_REDACTED,
    "no_attributes": FLAG_NO_ATTRIBUTES,
}

DROP_REASONS: Final = _terms(
    ("detail_budget", "FAULTPLANE_DETAIL_PER_SECOND was used up for this fingerprint"),
    ("no_storage", "the process has no domain on storage; the count is kept in the process"),
    ("no_space", "no segment could be prepared (storage full)"),
    ("not_initialised", "recorded before init(); the count is handed over by init()"),
    ("dictionary_full", "a name did not fit the dictionary; the row was written without it"),
    ("inflight_overflow", "an operation found no free in-flight slot"),
    ("reentrant", "recorded while this thread was inside the recorder"),
    ("series_overflow", "a series went to the overflow cells"),
    ("row_lost", "a row could not be written for another reason"),
)
"""Why a detail was not written. Counts are never among what is dropped."""


# ------------------------------------------------------------------------------------- record


class Column(NamedTuple):
    """One column of the record.

    ``code`` is the struct code of a scalar or "16s"/"8s" for bytes; ``arrow`` the Arrow C data
    interface format; ``logical`` one of plain, dictionary, view.
    """

    name: str
    width: int
    arrow: str
    logical: str
    doc: str


COLUMNS: Final = (
    Column("seq", 8, "L", "plain", "running number of the record within its owner, from 1"),
    Column("time_unix_nano", 8, "tsn:UTC", "plain", "when it was recorded, wall clock"),
    Column("mono_nano", 8, "l", "plain", "when it was recorded, CLOCK_MONOTONIC of the host"),
    Column("duration_nano", 8, "l", "plain", "how long the operation had run; 0 = not given"),
    Column("fingerprint", 8, "L", "plain", "stable identity of the error across processes"),
    Column("user", 8, "L", "plain", "keyed hash of the user; 0 = none"),
    Column("span_id", 8, "w:8", "plain", "OpenTelemetry span id; zeros = none"),
    Column("trace_id", 16, "w:16", "plain", "OpenTelemetry trace id; zeros = none"),
    Column("message", 16, "vu", "view", "str(exception), redacted, UTF-8"),
    Column("attributes", 16, "vz", "view", "encoded OTLP KeyValue list"),
    Column("type", 4, "i", "dictionary", "module and qualified name of the exception"),
    Column("site", 4, "i", "dictionary", "module:function:line where it was raised"),
    Column("operation", 4, "i", "dictionary", "what the caller was doing"),
    Column("resource", 4, "i", "dictionary", "service, version, host and instance, as JSON"),
    Column("owner", 4, "I", "plain", "incarnation of the process that recorded it; never reused"),
    Column("attempt", 2, "S", "plain", "how many tries came before; 0 = the first"),
    Column("severity_number", 1, "C", "plain", "OpenTelemetry severity number, 1 to 24"),
    Column("kind", 1, "C", "plain", "code of the kind; 0 = absent"),
    Column("category", 1, "C", "plain", "code of the category; 0 = absent"),
    Column("flags", 1, "C", "plain", "bits: " + ", ".join(f"{n} {b}" for n, b in FLAGS.items())),
)
"""The record, widest columns first so that each starts aligned whatever the lane count."""

ROW_BYTES: Final = sum(column.width for column in COLUMNS)
ARENA_BYTES_PER_LANE: Final = LANE_ROWS * ARENA_BYTES_PER_ROW
LANE_BYTES: Final = LANE_ROWS * ROW_BYTES + ARENA_BYTES_PER_LANE


# ------------------------------------------------------------------------------ file structures


class Field(NamedTuple):
    """A field of an on-disk structure: name, struct code, meaning."""

    name: str
    code: str
    doc: str


HOT_WORD: Final = "16Q"
"""A u64 that several processes change: it gets 128 bytes, two cache lines, of its own."""


class Layout:
    """An on-disk structure: fields in order, naturally aligned, padded to ``size`` bytes.

    >>> Layout("pair", 16, Field("a", "I", ""), Field("b", "Q", "")).offset["b"]
    8
    """

    def __init__(self, name: str, size: int, *fields: Field) -> None:
        self.name, self.size, self.fields = name, size, fields
        self.offset: dict[str, int] = {}
        self._codec: dict[str, struct.Struct] = {}
        position = 0
        for field in fields:
            codec = struct.Struct("<" + field.code)
            align = 1 if field.code.endswith("s") else codec.size
            if field.code == HOT_WORD:
                align = 2 * CACHE_LINE_BYTES
            elif field.code[-1] in "Qq":
                align = 8
            elif field.code[-1] in "Ii":
                align = 4
            position = (position + align - 1) // align * align
            self.offset[field.name] = position
            self._codec[field.name] = codec
            position += codec.size
        if position > size:
            raise ValueError(f"layout {name} needs {position} bytes, got {size}")

    def width(self, field: str) -> int:
        """Bytes that ``field`` takes."""
        return self._codec[field].size

    def read(self, buffer: Any, base: int, field: str) -> Any:
        """Value of ``field`` in the structure that starts at ``base``."""
        values = self._codec[field].unpack_from(buffer, base + self.offset[field])
        return values[0] if len(values) == 1 else values

    def read_all(self, buffer: Any, base: int = 0) -> dict[str, Any]:
        """Every field of the structure that starts at ``base``."""
        return {field.name: self.read(buffer, base, field.name) for field in self.fields}

    def write(self, buffer: Any, base: int, **values: object) -> None:
        """Store ``values`` in the structure that starts at ``base``."""
        for field, value in values.items():
            self._codec[field].pack_into(buffer, base + self.offset[field], value)

    @property
    def signature(self) -> str:
        """Text that changes whenever the bytes change."""
        parts = ",".join(f"{f.name}:{f.code}@{self.offset[f.name]}" for f in self.fields)
        return f"{self.name}/{self.size}({parts})"


MAGIC: Final = {
    "registry": b"FPLANEr\x01",
    "segment": b"FPLANEs\x01",
    "dictionary": b"FPLANEd\x01",
    "aggregate": b"FPLANEa\x01",
    "breath": b"FPLANEb\x01",
}

SEGMENT_TABLE_SIZE: Final = 1024
"""Segments whose final row count the registry remembers, for a reader's account of its loss."""

REGISTRY: Final = Layout(
    "registry",
    PAGE_BYTES,
    Field("magic", "8s", "FPLANEr and a version byte"),
    Field("layout_version", "I", "LAYOUT_VERSION"),
    Field("lanes_per_segment", "I", "geometry"),
    Field("schema_hash", "Q", "SCHEMA_HASH of the creator"),
    Field("boot_id", "16s", "kernel boot id: files of another boot are not trusted to have owners"),
    Field("created_unix_nano", "q", "when the domain was made"),
    Field("budget_bytes", "Q", "FAULTPLANE_BUDGET_BYTES of the creator"),
    Field("segments_max", "I", "geometry"),
    Field("owner_slots", "I", "geometry"),
    Field("dictionary_bytes", "Q", "geometry"),
    Field("crc", "I", "crc32 of the bytes before it"),
    Field("pad", "I", "zero"),
    # Words below change; each stands alone on a cache line pair where writers meet.
    Field("segment_newest", HOT_WORD, "number of the newest segment used; of the newest named"),
    Field("segment_oldest", HOT_WORD, "number of the oldest kept segment (first word)"),
    Field("incarnation_next", HOT_WORD, "next owner incarnation (first word)"),
    Field("dictionary_generation", HOT_WORD, "generation new segments use (first word)"),
    Field("retired", "Q", "what was retired: rows << 16 | number of segments modulo 2**16"),
    Field("fold_epoch", "Q", "times agg-retired was replaced"),
    Field("deaths_recorded", "Q", "death records appended"),
)
OVERFLOW_CELLS_OFFSET: Final = PAGE_BYTES
OVERFLOW_CELLS: Final = 32
"""In the registry's second page: a count per kind code (0 to 30) and one for counters (31)."""
SEGMENT_TABLE_OFFSET: Final = 2 * PAGE_BYTES
SEGMENT_TABLE_ENTRY_BYTES: Final = 8
SEGMENT_TABLE_ROWS_BITS: Final = 24
"""Number of the segment << 24 | its final rows, at ``number % SEGMENT_TABLE_SIZE``; swapped in."""
RETIRED_ROWS_SHIFT: Final = 16  # of one word, so that each segment is added once, whoever dies
REGISTRY_BYTES: Final = SEGMENT_TABLE_OFFSET + SEGMENT_TABLE_SIZE * SEGMENT_TABLE_ENTRY_BYTES

OWNER_FREE: Final = 0
OWNER_LIVE: Final = 1
OWNER_EXITED: Final = 2
OWNER_DEAD: Final = 3
OWNER_FOLDED: Final = 4
OWNER_STATES: Final = ("free", "live", "exited", "dead", "folded")

OWNER: Final = Layout(
    "owner",
    512,
    Field("word", "Q", "incarnation << 32 | generation << 8 | state; changed by CAS only"),
    Field("random_id", "16s", "distinguishes hosts, containers and boots"),
    Field("pid", "I", "process id in its own PID namespace"),
    Field("fence", "I", "incarnation that may write; another: declared dead, must register anew"),
    Field("pid_start_ticks", "Q", "start time of the process, clock ticks since boot"),
    Field("pid_namespace", "Q", "inode of the PID namespace"),
    Field("start_unix_nano", "q", "when it registered"),
    Field("end_unix_nano", "q", "when it said EXITED or was found dead"),
    Field("mapped_segment_low", "Q", "oldest segment it maps"),
    Field("oom_kills_at_start", "Q", "oom_kill of its cgroup when it was last known to live"),
    Field("resource_bytes", "I", "length of resource"),
    Field("exit_code", "i", "as given to os._exit or sys.exit, where known"),
    Field("resource", "384s", "resource as JSON, UTF-8"),
)
"""One slot a process. The state word: FREE 0, LIVE 1, EXITED 2, DEAD 3, FOLDED 4."""

SEGMENT: Final = Layout(
    "segment",
    PAGE_BYTES,
    Field("magic", "8s", "FPLANEs and a version byte"),
    Field("layout_version", "I", "LAYOUT_VERSION"),
    Field("lanes", "I", "lanes in this segment"),
    Field("schema_hash", "Q", "SCHEMA_HASH of the writer"),
    Field("number", "Q", "number of the segment, from 1, never reused"),
    Field("dictionary_generation", "Q", "generation of the dictionary its codes refer to"),
    Field("created_unix_nano", "q", "when it was published"),
    Field("lane_rows", "I", "LANE_ROWS"),
    Field("row_bytes", "I", "ROW_BYTES"),
    Field("arena_offset", "Q", "start of the arena"),
    Field("arena_bytes_per_lane", "Q", "extent of one lane in the arena"),
    Field("file_bytes", "Q", "size of the file"),
    Field("crc", "I", "crc32 of the bytes before it"),
    Field("column_count", "I", "len(COLUMNS)"),
    Field("column_offsets", "32Q", "start of each column"),
    Field("state", HOT_WORD, "0 active, 1 sealing, 2 sealed (first word)"),
    Field("next_lane", HOT_WORD, "lanes handed out so far (first word)"),
)
SEGMENT_ACTIVE: Final = 0
SEGMENT_SEALING: Final = 1
SEGMENT_SEALED: Final = 2
LANE_WORDS_OFFSET: Final = PAGE_BYTES
LANE_WORD_STRIDE: Final = 128

LANE_FREE: Final = 0
LANE_OPEN: Final = 1
LANE_CLOSED: Final = 2
# lane word = state:2 | owner slot:14 | generation:16 | count:32, most significant first.
LANE_STATE_SHIFT: Final = 62
LANE_OWNER_SHIFT: Final = 48
LANE_OWNER_MASK: Final = 0x3FFF
LANE_GENERATION_SHIFT: Final = 32
LANE_GENERATION_MASK: Final = 0xFFFF
LANE_COUNT_MASK: Final = 0xFFFF_FFFF

DICTIONARY: Final = Layout(
    "dictionary",
    PAGE_BYTES,
    Field("magic", "8s", "FPLANEd and a version byte"),
    Field("layout_version", "I", "LAYOUT_VERSION"),
    Field("entries_max", "I", "entries that fit"),
    Field("generation", "Q", "of this file"),
    Field("buckets", "I", "hash buckets, a power of two"),
    Field("pad", "I", "zero"),
    Field("entries_offset", "Q", "start of the entries"),
    Field("buckets_offset", "Q", "start of the u32 buckets (0 = empty, else id + 1)"),
    Field("bytes_offset", "Q", "start of the string bytes"),
    Field("file_bytes", "Q", "size of the file"),
    Field("crc", "I", "crc32 of the bytes before it"),
    Field("pad2", "I", "zero"),
    Field("next_entry", HOT_WORD, "ids handed out so far (first word)"),
    Field("next_byte", HOT_WORD, "string bytes handed out so far (first word)"),
)
"""Interned strings, append-only. Id 0 is the empty string. An entry becomes visible when its
word turns non-zero; a process that dies between taking an id and publishing it leaves an empty
string that no row refers to."""

DICTIONARY_ENTRY: Final = Layout(
    "dictionary_entry",
    16,
    Field("word", "Q", "length u32 << 32 | offset u32 + 1 into the bytes; 0 = unpublished"),
    Field("hash", "Q", "hash of the bytes (or the fingerprint, in the stack dictionary)"),
)

AGGREGATE: Final = Layout(
    "aggregate",
    256,
    Field("magic", "8s", "FPLANEa and a version byte"),
    Field("layout_version", "I", "LAYOUT_VERSION"),
    Field("owner_slot", "I", "slot of the owner; 0xFFFFFFFF in agg-retired"),
    Field("incarnation", "Q", "of the owner"),
    Field("used", "Q", "bytes of this file that hold entries, header included; release store"),
    Field("folded_count", "I", "agg-retired: how many incarnations the last fold added"),
    Field("pad", "I", "zero"),
    Field("folded", "24I", "agg-retired: those incarnations"),
)
FOLD_BATCH_MAX: Final = 24
SERIES_ERROR: Final = 1
SERIES_COUNTER: Final = 2
SERIES_DROP: Final = 3
SERIES_DEATH: Final = 4

CELL: Final = Layout(
    "cell",
    64,
    Field("size", "I", "bytes of this entry, a multiple of 64"),
    Field("series", "B", "1 error, 2 counter, 3 drop reason, 4 death (agg-retired)"),
    Field("kind", "B", "code of the kind (errors)"),
    Field("service_bytes", "B", "length of the service name"),
    Field("operation_bytes", "B", "length of the operation name"),
    Field("fingerprint", "Q", "of the error; 0 for counters and drops"),
    Field("count", "Q", "how many; one writer, relaxed stores"),
    Field("first_seen_unix_nano", "q", "first time of an error; 0 = never"),
    Field("last_seen_unix_nano", "q", "last time of an error; 0 = never"),
    Field("suppressed", "Q", "of these, how many were counted without a row"),
    Field("name_bytes", "B", "length of the name: of type, counter, drop reason or how"),
    Field("pad", "7s", "zero"),
)
"""A counted series; the strings service, operation, name follow the 64 bytes in that order."""

BREATH: Final = Layout(
    "breath",
    PAGE_BYTES,
    Field("magic", "8s", "FPLANEb and a version byte"),
    Field("layout_version", "I", "LAYOUT_VERSION"),
    Field("slots", "I", "INFLIGHT_SLOTS"),
    Field("incarnation", "Q", "of the owner"),
    Field("fatal_offset", "Q", "start of the fatal slot"),
    Field("file_bytes", "Q", "size of the file"),
)
INFLIGHT: Final = Layout(
    "inflight",
    128,
    Field("word", "Q", "0 free, else running number of the entry; stored last, release"),
    Field("start_unix_nano", "q", "wall clock at entry"),
    Field("start_mono_nano", "q", "CLOCK_MONOTONIC at entry"),
    Field("thread_id", "Q", "native thread id"),
    Field("trace_id", "16s", "OpenTelemetry trace id; zeros = none"),
    Field("parent", "I", "1 + slot of the enclosing operation; 0 = none"),
    Field("operation_bytes", "I", "length of operation"),
    Field("operation", "64s", "operation, UTF-8, cut at a code point"),
)
FATAL: Final = Layout(
    "fatal",
    PAGE_BYTES * 2,
    Field("word", "Q", "0 none, 1 being written, 2 complete"),
    Field("signal", "I", "signal number"),
    Field("code", "i", "si_code"),
    Field("time_unix_nano", "q", "when"),
    Field("thread_id", "Q", "native thread id"),
    Field("address", "Q", "si_addr"),
    Field("frames_bytes", "Q", "bytes of frames text that follow the 64-byte head"),
)
FATAL_HEAD_BYTES: Final = 64
BREATH_INFLIGHT_OFFSET: Final = PAGE_BYTES
BREATH_FATAL_OFFSET: Final = BREATH_INFLIGHT_OFFSET + INFLIGHT_SLOTS * INFLIGHT.size
BREATH_BYTES: Final = BREATH_FATAL_OFFSET + FATAL.size

# Bytes of the ``locks`` file: one per owner slot, then the domain's.
LOCK_DOMAIN: Final = 1 << 20
LOCK_MAINTAIN: Final = LOCK_DOMAIN + 1
LOCK_FOLD: Final = LOCK_DOMAIN + 2
LOCK_INTERN: Final = LOCK_DOMAIN + 3
LOCK_PREPARE: Final = LOCK_DOMAIN + 4
LOCK_CLAIM: Final = LOCK_DOMAIN + 5
LOCK_NAMES: Final = LOCK_DOMAIN + 6

LAYOUTS: Final = (
    REGISTRY, OWNER, SEGMENT, DICTIONARY, DICTIONARY_ENTRY, AGGREGATE, CELL, BREATH, INFLIGHT,
    FATAL,
)  # fmt: skip


def _schema_hash() -> int:
    text = "|".join(
        [f"{c.name}:{c.width}:{c.arrow}:{c.logical}" for c in COLUMNS]
        + [layout.signature for layout in LAYOUTS]
        + [str(LAYOUT_VERSION), str(LANE_ROWS), str(ARENA_BYTES_PER_ROW)]
    )
    data = text.encode()
    return crc32(data) << 32 | crc32(data[::-1])


SCHEMA_HASH: Final = _schema_hash()


# ----------------------------------------------------------------------------------- geometry


def round_up(value: int, unit: int) -> int:
    """Smallest multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit


class SegmentShape(NamedTuple):
    """Where everything lies in a segment of ``lanes`` lanes."""

    lanes: int
    column_offsets: tuple[int, ...]
    arena_offset: int
    file_bytes: int

    @property
    def rows(self) -> int:
        """Rows in the segment."""
        return self.lanes * LANE_ROWS


def segment_shape(lanes: int) -> SegmentShape:
    """Offsets of a segment with ``lanes`` lanes (1 to 16,383)."""
    position = round_up(LANE_WORDS_OFFSET + lanes * LANE_WORD_STRIDE, PAGE_BYTES)
    offsets = []
    for column in COLUMNS:
        offsets.append(position)
        position = round_up(position + column.width * lanes * LANE_ROWS, CACHE_LINE_BYTES)
    arena = round_up(position, PAGE_BYTES)
    size = round_up(arena + lanes * ARENA_BYTES_PER_LANE, PAGE_BYTES)
    return SegmentShape(lanes, tuple(offsets), arena, size)


BUDGET_BYTES_MIN: Final = 2 << 20
BUDGET_BYTES_DEFAULT: Final = 64 << 20
SEGMENT_LANES_MIN: Final = 4
SEGMENT_LANES_MAX: Final = 36
"""36 lanes are about 4 MiB. Unlinking a segment costs its pages, about 0.5 µs each: a larger
one would stall the record that retires it for longer than a millisecond."""


class Geometry(NamedTuple):
    """What follows from the byte budget of a domain."""

    budget_bytes: int
    lanes_per_segment: int
    segments_max: int
    owner_slots: int
    dictionary_bytes: int


def geometry(budget_bytes: int) -> Geometry:
    """Geometry of a domain of ``budget_bytes`` (at least 2 MiB).

    Segments, the one being prepared, two generations of the dictionaries and the fixed files stay
    within the budget; the per-process files (about 100 KiB an owner) come out of an eighth of it.

    >>> geometry(64 << 20).segments_max
    12
    """
    if budget_bytes < BUDGET_BYTES_MIN:
        raise ValueError(f"budget_bytes must be at least {BUDGET_BYTES_MIN}, got {budget_bytes}")
    owner_slots = 32 if budget_bytes < 8 << 20 else 128 if budget_bytes < 32 << 20 else 1024
    dictionary = min(max(round_up(budget_bytes // 32, PAGE_BYTES), 128 << 10), 8 << 20)
    left = budget_bytes - REGISTRY_BYTES - owner_slots * OWNER.size - 2 * dictionary
    lanes = min(max(budget_bytes // 16 // LANE_BYTES, SEGMENT_LANES_MIN), SEGMENT_LANES_MAX)
    size = segment_shape(lanes).file_bytes
    segments = min(left - budget_bytes // 8, left - 2 * dictionary - size) // size
    return Geometry(budget_bytes, lanes, max(segments, 2), owner_slots, dictionary)


class DictionaryShape(NamedTuple):
    """Where everything lies in a dictionary file."""

    entries_max: int
    buckets: int
    entries_offset: int
    buckets_offset: int
    bytes_offset: int
    file_bytes: int


def dictionary_shape(file_bytes: int) -> DictionaryShape:
    """Offsets of a dictionary of ``file_bytes``: one entry for every 128 bytes of the file."""
    entries = max(file_bytes // 128, 64)
    buckets = 1 << (2 * entries - 1).bit_length()
    entries_offset = PAGE_BYTES
    buckets_offset = round_up(entries_offset + entries * DICTIONARY_ENTRY.size, 64)
    bytes_offset = round_up(buckets_offset + buckets * 4, 64)
    return DictionaryShape(
        entries, buckets, entries_offset, buckets_offset, bytes_offset, file_bytes
    )
