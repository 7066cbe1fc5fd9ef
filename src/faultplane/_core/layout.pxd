# Generated from schema.py and control_schema.py by tools/generate.py. Do not edit: run `make generate`.
"""Constants and structures of the files of a domain, for ``cimport``."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "layout.h" nogil:
    # Limits, states, masks, locks, geometry
    enum:
        LOCK_NAMES
        NAME_BYTES_MAX
        PAGE_BYTES
        CONTROL_VERSION
        LOCK_CONTROL
        LOCK_CELLS
        LOCK_HEALTH
        TICKET_PROBE
        TICKET_UNCOUNTED
        BUCKETS
        WINDOW_MS_MIN
        WINDOW_MS_MAX
        OUTCOMES_GENERATION_SHIFT
        WINDOW_CALLS_MAX
        STREAK_MAX
        MILLI
        HEALTH_UNKNOWN
        HEALTH_GOOD
        HEALTH_BAD
        HEALTH_STATE_SHIFT
        HEALTH_STREAK_SHIFT
        HEALTH_STREAK_MASK
        PROBES_MAX
        PERMITS_MAX
        RATE_ONE
        RETRIED_TYPES
        RETRIED_KINDS
        RETRIED_OF_SHIFT
        RETRIED_EPOCH_SHIFT
        RETRIED_EPOCH_MASK
        RETRIED_HELPED_SHIFT
        RETRIED_COUNT_MASK
        RETRIED_MAX
        RETRIED_EPOCH_MS
        RETRIED_RECENT_SHIFT
        RETRIED_USUAL_SHIFT
        REASON_KIND_MASK
        REASON_TYPE_SHIFT
        TRANSITIONS
        DECLARATION_BYTES_MAX
        CONFIG_WORDS
        CONTROL_CELL_BREAKER
        CONTROL_CELL_CONFIG_VERSION
        CONTROL_CELL_REOPENED
        CONTROL_CELL_TOKENS
        CONTROL_CELL_STREAK
        CONTROL_CELL_RATE
        CONTROL_CELL_HEALTH
        CONTROL_CELL_CHECKS
        CONTROL_CELL_CHECKS_FAILED
        CONTROL_CELL_HEALTH_CHANGED
        CAUSE_FAILURE_RATE
        CAUSE_SLOW_RATE
        CAUSE_CONSECUTIVE
        CAUSE_PROBE_FAILED
        CAUSE_PROBES_SUCCEEDED
        CAUSE_OPEN_TIME
        CAUSE_PROBES_TIMED_OUT
        CAUSE_ASKED
        CAUSE_FORCED
        CAUSE_RESET
        CAUSE_HEALTH
        LAYOUT_VERSION
        FINGERPRINT_VERSION
        LANE_ROWS
        ARENA_BYTES_PER_ROW
        MESSAGE_BYTES_MAX
        ATTRIBUTES_BYTES_MAX
        STRING_BYTES_MAX
        STACK_FRAMES_MAX
        CHAIN_MAX
        GROUP_MAX
        SERIES_MAX
        RETIRED_SERIES_MAX
        INFLIGHT_SLOTS
        CACHE_LINE_BYTES
        SEVERITY_NUMBER_MAX
        KIND_INTERNAL
        UNKNOWN_CATEGORY
        FLAG_HANDLED
        FLAG_RETRYABLE
        FLAG_TEMPORARY
        FLAG_TRUNCATED
        FLAG_REDACTED
        FLAG_NO_ATTRIBUTES
        ROW_BYTES
        ARENA_BYTES_PER_LANE
        LANE_BYTES
        SEGMENT_TABLE_SIZE
        OVERFLOW_CELLS_OFFSET
        OVERFLOW_CELLS
        SEGMENT_TABLE_OFFSET
        SEGMENT_TABLE_ENTRY_BYTES
        SEGMENT_TABLE_ROWS_BITS
        RETIRED_ROWS_SHIFT
        REGISTRY_BYTES
        LANE_WORDS_OFFSET
        LANE_WORD_STRIDE
        LANE_STATE_SHIFT
        LANE_OWNER_SHIFT
        LANE_GENERATION_SHIFT
        FOLD_BATCH_MAX
        SERIES_ERROR
        SERIES_COUNTER
        SERIES_DROP
        SERIES_DEATH
        FATAL_HEAD_BYTES
        BREATH_INFLIGHT_OFFSET
        BREATH_FATAL_OFFSET
        BREATH_BYTES
        LOCK_DOMAIN
        LOCK_MAINTAIN
        LOCK_FOLD
        LOCK_INTERN
        LOCK_PREPARE
        LOCK_CLAIM
        SEGMENT_LANES_MIN
        SEGMENT_LANES_MAX
    const uint64_t BREAKER_CLOSED
    const uint64_t BREAKER_OPEN
    const uint64_t BREAKER_HALF_OPEN
    const uint64_t BREAKER_FORCED_OPEN
    const uint64_t BREAKER_DISABLED
    const uint64_t BREAKER_METRICS_ONLY
    const uint64_t BREAKER_STATE_SHIFT
    const uint64_t BREAKER_GENERATION_SHIFT
    const uint64_t BREAKER_GENERATION_MASK
    const uint64_t BREAKER_SUCCESSES_SHIFT
    const uint64_t BREAKER_SUCCESSES_MASK
    const uint64_t BREAKER_UNTIL_MASK
    const uint64_t BUCKET_EPOCH_SHIFT
    const uint64_t BUCKET_GENERATION_SHIFT
    const uint64_t BUCKET_GENERATION_MASK
    const uint64_t BUCKET_COUNT_MASK
    const uint64_t BUCKET_MS_MIN
    const uint64_t BUDGET_REFILL_SHIFT
    const uint64_t BUDGET_TOKENS_MASK
    const uint64_t BUDGET_TOKENS_MAX
    const uint64_t LEASE_OWNER_SHIFT
    const uint64_t LEASE_GENERATION_SHIFT
    const uint64_t LEASE_PROBES_MASK
    const uint64_t LEASE_PERMITS_SHIFT
    const uint64_t LEASE_HELD_MASK
    const uint64_t HEALTH_CHECKED_MASK
    const uint64_t CONTROL_HASH
    const uint64_t OWNER_FREE
    const uint64_t OWNER_LIVE
    const uint64_t OWNER_EXITED
    const uint64_t OWNER_DEAD
    const uint64_t OWNER_FOLDED
    const uint64_t SEGMENT_ACTIVE
    const uint64_t SEGMENT_SEALING
    const uint64_t SEGMENT_SEALED
    const uint64_t LANE_FREE
    const uint64_t LANE_OPEN
    const uint64_t LANE_CLOSED
    const uint64_t LANE_OWNER_MASK
    const uint64_t LANE_GENERATION_MASK
    const uint64_t LANE_COUNT_MASK
    const uint64_t SCHEMA_HASH
    const uint64_t BUDGET_BYTES_MIN
    const uint64_t BUDGET_BYTES_DEFAULT

    # Lane states in place, and magics as little-endian u64
    const uint64_t LANE_OPEN_WORD
    const uint64_t LANE_CLOSED_WORD
    const uint64_t LANE_STATE_MASK_WORD
    const uint64_t MAGIC_REGISTRY
    const uint64_t MAGIC_SEGMENT
    const uint64_t MAGIC_DICTIONARY
    const uint64_t MAGIC_AGGREGATE
    const uint64_t MAGIC_BREATH

    # Kinds (codes on disk)
    enum:
        KIND_TRANSPORT
        KIND_SERIALIZATION
        KIND_CONFIGURATION
        KIND_PROCESSING
        KIND_EXPORT
        KIND_TIMEOUT
        KIND_CONCURRENCY
        KIND_RESOURCE_EXHAUSTED
        KIND_VERSION_MISMATCH
        KIND_BUSINESS_LOGIC
        KIND_DATA_VALIDATION
        KIND_PERMISSION
        KIND_RATE_LIMIT
        KIND_DEPENDENCY_SERVICE
        KIND_COUNT

    # Categories (codes on disk)
    enum:
        CATEGORY_NETWORK
        CATEGORY_DATA
        CATEGORY_CONFIGURATION
        CATEGORY_PROCESSING
        CATEGORY_EXPORT
        CATEGORY_PERFORMANCE
        CATEGORY_CONCURRENCY
        CATEGORY_RESOURCE
        CATEGORY_COMPATIBILITY
        CATEGORY_SYSTEM
        CATEGORY_BUSINESS
        CATEGORY_SECURITY
        CATEGORY_DEPENDENCY
        CATEGORY_COUNT

    # Recovery strategies (codes on disk)
    enum:
        STRATEGY_RETRY_WITH_BACKOFF
        STRATEGY_INCREASE_TIMEOUT
        STRATEGY_VALIDATE_CONFIG
        STRATEGY_SCALE_RESOURCES
        STRATEGY_CIRCUIT_BREAK
        STRATEGY_FALLBACK
        STRATEGY_FIX_CODE
        STRATEGY_MANUAL_INTERVENTION
        STRATEGY_COUNT

    # Drop reasons (codes on disk)
    enum:
        DROP_DETAIL_BUDGET
        DROP_NO_STORAGE
        DROP_NO_SPACE
        DROP_NOT_INITIALISED
        DROP_DICTIONARY_FULL
        DROP_INFLIGHT_OVERFLOW
        DROP_REENTRANT
        DROP_SERIES_OVERFLOW
        DROP_ROW_LOST
        DROP_COUNT

    # Totals of a control cell (index)
    enum:
        TOTAL_FAILURES
        TOTAL_SLOW
        TOTAL_IGNORED
        TOTAL_REJECTED
        TOTAL_LATE
        TOTAL_PROBES
        TOTAL_OPENED
        TOTAL_CLOSED
        TOTAL_RETRIES
        TOTAL_RECOVERED
        TOTAL_BUDGET_EXHAUSTED
        TOTAL_FULL
        TOTAL_TIMEOUTS
        TOTAL_GAVE_UP
        TOTAL_FALLBACKS
        TOTAL_RECLAIMED
        TOTAL_RATE_LIMITED
        TOTALS_COUNT

    # Severities (OpenTelemetry severity numbers)
    enum:
        SEVERITY_LOW
        SEVERITY_MEDIUM
        SEVERITY_HIGH
        SEVERITY_CRITICAL

    # Columns (index into column_offsets and COLUMN_WIDTHS)
    enum:
        COLUMN_SEQ
        COLUMN_TIME_UNIX_NANO
        COLUMN_MONO_NANO
        COLUMN_DURATION_NANO
        COLUMN_FINGERPRINT
        COLUMN_USER
        COLUMN_SPAN_ID
        COLUMN_TRACE_ID
        COLUMN_MESSAGE
        COLUMN_ATTRIBUTES
        COLUMN_TYPE
        COLUMN_SITE
        COLUMN_OPERATION
        COLUMN_RESOURCE
        COLUMN_OWNER
        COLUMN_ATTEMPT
        COLUMN_SEVERITY_NUMBER
        COLUMN_KIND
        COLUMN_CATEGORY
        COLUMN_FLAGS
        COLUMN_COUNT

    # Columns (bytes a row)
    enum:
        COLUMN_SEQ_WIDTH
        COLUMN_TIME_UNIX_NANO_WIDTH
        COLUMN_MONO_NANO_WIDTH
        COLUMN_DURATION_NANO_WIDTH
        COLUMN_FINGERPRINT_WIDTH
        COLUMN_USER_WIDTH
        COLUMN_SPAN_ID_WIDTH
        COLUMN_TRACE_ID_WIDTH
        COLUMN_MESSAGE_WIDTH
        COLUMN_ATTRIBUTES_WIDTH
        COLUMN_TYPE_WIDTH
        COLUMN_SITE_WIDTH
        COLUMN_OPERATION_WIDTH
        COLUMN_RESOURCE_WIDTH
        COLUMN_OWNER_WIDTH
        COLUMN_ATTEMPT_WIDTH
        COLUMN_SEVERITY_NUMBER_WIDTH
        COLUMN_KIND_WIDTH
        COLUMN_CATEGORY_WIDTH
        COLUMN_FLAGS_WIDTH

    # Structure: registry
    enum:
        REGISTRY_SIZE
        REGISTRY_MAGIC_OFFSET
        REGISTRY_MAGIC_WIDTH
        REGISTRY_LAYOUT_VERSION_OFFSET
        REGISTRY_LANES_PER_SEGMENT_OFFSET
        REGISTRY_SCHEMA_HASH_OFFSET
        REGISTRY_BOOT_ID_OFFSET
        REGISTRY_BOOT_ID_WIDTH
        REGISTRY_CREATED_UNIX_NANO_OFFSET
        REGISTRY_BUDGET_BYTES_OFFSET
        REGISTRY_SEGMENTS_MAX_OFFSET
        REGISTRY_OWNER_SLOTS_OFFSET
        REGISTRY_DICTIONARY_BYTES_OFFSET
        REGISTRY_CRC_OFFSET
        REGISTRY_PAD_OFFSET
        REGISTRY_SEGMENT_NEWEST_OFFSET
        REGISTRY_SEGMENT_OLDEST_OFFSET
        REGISTRY_INCARNATION_NEXT_OFFSET
        REGISTRY_DICTIONARY_GENERATION_OFFSET
        REGISTRY_RETIRED_OFFSET
        REGISTRY_FOLD_EPOCH_OFFSET
        REGISTRY_DEATHS_RECORDED_OFFSET

    # Structure: owner
    enum:
        OWNER_SIZE
        OWNER_WORD_OFFSET
        OWNER_RANDOM_ID_OFFSET
        OWNER_RANDOM_ID_WIDTH
        OWNER_PID_OFFSET
        OWNER_FENCE_OFFSET
        OWNER_PID_START_TICKS_OFFSET
        OWNER_PID_NAMESPACE_OFFSET
        OWNER_START_UNIX_NANO_OFFSET
        OWNER_END_UNIX_NANO_OFFSET
        OWNER_MAPPED_SEGMENT_LOW_OFFSET
        OWNER_OOM_KILLS_AT_START_OFFSET
        OWNER_RESOURCE_BYTES_OFFSET
        OWNER_EXIT_CODE_OFFSET
        OWNER_RESOURCE_OFFSET
        OWNER_RESOURCE_WIDTH

    # Structure: segment
    enum:
        SEGMENT_SIZE
        SEGMENT_MAGIC_OFFSET
        SEGMENT_MAGIC_WIDTH
        SEGMENT_LAYOUT_VERSION_OFFSET
        SEGMENT_LANES_OFFSET
        SEGMENT_SCHEMA_HASH_OFFSET
        SEGMENT_NUMBER_OFFSET
        SEGMENT_DICTIONARY_GENERATION_OFFSET
        SEGMENT_CREATED_UNIX_NANO_OFFSET
        SEGMENT_LANE_ROWS_OFFSET
        SEGMENT_ROW_BYTES_OFFSET
        SEGMENT_ARENA_OFFSET_OFFSET
        SEGMENT_ARENA_BYTES_PER_LANE_OFFSET
        SEGMENT_FILE_BYTES_OFFSET
        SEGMENT_CRC_OFFSET
        SEGMENT_COLUMN_COUNT_OFFSET
        SEGMENT_COLUMN_OFFSETS_OFFSET
        SEGMENT_STATE_OFFSET
        SEGMENT_NEXT_LANE_OFFSET

    # Structure: dictionary
    enum:
        DICTIONARY_SIZE
        DICTIONARY_MAGIC_OFFSET
        DICTIONARY_MAGIC_WIDTH
        DICTIONARY_LAYOUT_VERSION_OFFSET
        DICTIONARY_ENTRIES_MAX_OFFSET
        DICTIONARY_GENERATION_OFFSET
        DICTIONARY_BUCKETS_OFFSET
        DICTIONARY_PAD_OFFSET
        DICTIONARY_ENTRIES_OFFSET_OFFSET
        DICTIONARY_BUCKETS_OFFSET_OFFSET
        DICTIONARY_BYTES_OFFSET_OFFSET
        DICTIONARY_FILE_BYTES_OFFSET
        DICTIONARY_CRC_OFFSET
        DICTIONARY_PAD2_OFFSET
        DICTIONARY_NEXT_ENTRY_OFFSET
        DICTIONARY_NEXT_BYTE_OFFSET

    # Structure: dictionary_entry
    enum:
        DICTIONARY_ENTRY_SIZE
        DICTIONARY_ENTRY_WORD_OFFSET
        DICTIONARY_ENTRY_HASH_OFFSET

    # Structure: aggregate
    enum:
        AGGREGATE_SIZE
        AGGREGATE_MAGIC_OFFSET
        AGGREGATE_MAGIC_WIDTH
        AGGREGATE_LAYOUT_VERSION_OFFSET
        AGGREGATE_OWNER_SLOT_OFFSET
        AGGREGATE_INCARNATION_OFFSET
        AGGREGATE_USED_OFFSET
        AGGREGATE_FOLDED_COUNT_OFFSET
        AGGREGATE_PAD_OFFSET
        AGGREGATE_FOLDED_OFFSET

    # Structure: cell
    enum:
        CELL_SIZE
        CELL_SIZE_OFFSET
        CELL_SERIES_OFFSET
        CELL_KIND_OFFSET
        CELL_SERVICE_BYTES_OFFSET
        CELL_OPERATION_BYTES_OFFSET
        CELL_FINGERPRINT_OFFSET
        CELL_COUNT_OFFSET
        CELL_FIRST_SEEN_UNIX_NANO_OFFSET
        CELL_LAST_SEEN_UNIX_NANO_OFFSET
        CELL_SUPPRESSED_OFFSET
        CELL_NAME_BYTES_OFFSET
        CELL_PAD_OFFSET
        CELL_PAD_WIDTH

    # Structure: breath
    enum:
        BREATH_SIZE
        BREATH_MAGIC_OFFSET
        BREATH_MAGIC_WIDTH
        BREATH_LAYOUT_VERSION_OFFSET
        BREATH_SLOTS_OFFSET
        BREATH_INCARNATION_OFFSET
        BREATH_FATAL_OFFSET_OFFSET
        BREATH_FILE_BYTES_OFFSET

    # Structure: inflight
    enum:
        INFLIGHT_SIZE
        INFLIGHT_WORD_OFFSET
        INFLIGHT_START_UNIX_NANO_OFFSET
        INFLIGHT_START_MONO_NANO_OFFSET
        INFLIGHT_THREAD_ID_OFFSET
        INFLIGHT_TRACE_ID_OFFSET
        INFLIGHT_TRACE_ID_WIDTH
        INFLIGHT_PARENT_OFFSET
        INFLIGHT_OPERATION_BYTES_OFFSET
        INFLIGHT_OPERATION_OFFSET
        INFLIGHT_OPERATION_WIDTH

    # Structure: fatal
    enum:
        FATAL_SIZE
        FATAL_WORD_OFFSET
        FATAL_SIGNAL_OFFSET
        FATAL_CODE_OFFSET
        FATAL_TIME_UNIX_NANO_OFFSET
        FATAL_THREAD_ID_OFFSET
        FATAL_ADDRESS_OFFSET
        FATAL_FRAMES_BYTES_OFFSET

    # Structure: control
    enum:
        CONTROL_SIZE
        CONTROL_MAGIC_OFFSET
        CONTROL_MAGIC_WIDTH
        CONTROL_LAYOUT_VERSION_OFFSET
        CONTROL_CELLS_MAX_OFFSET
        CONTROL_CONTROL_HASH_OFFSET
        CONTROL_BOOT_ID_OFFSET
        CONTROL_BOOT_ID_WIDTH
        CONTROL_OWNER_SLOTS_OFFSET
        CONTROL_LEASES_OFFSET_OFFSET
        CONTROL_FILE_BYTES_OFFSET
        CONTROL_CRC_OFFSET
        CONTROL_PAD_OFFSET
        CONTROL_CELLS_USED_OFFSET
        CONTROL_OWNERS_HIGH_OFFSET

    # Structure: control_cell
    enum:
        CONTROL_CELL_SIZE
        CONTROL_CELL_NAME_HASH_OFFSET
        CONTROL_CELL_NAME_BYTES_OFFSET
        CONTROL_CELL_PAD_OFFSET
        CONTROL_CELL_NAME_OFFSET
        CONTROL_CELL_NAME_WIDTH
        CONTROL_CELL_WINDOW_MS_OFFSET
        CONTROL_CELL_WINDOW_CALLS_OFFSET
        CONTROL_CELL_CALLS_MIN_OFFSET
        CONTROL_CELL_FAILURE_RATE_OFFSET
        CONTROL_CELL_SLOW_RATE_OFFSET
        CONTROL_CELL_SLOW_CALL_NANO_OFFSET
        CONTROL_CELL_CONSECUTIVE_OFFSET
        CONTROL_CELL_PROBES_OFFSET
        CONTROL_CELL_PROBE_MS_OFFSET
        CONTROL_CELL_OPEN_MS_OFFSET
        CONTROL_CELL_OPEN_MS_MAX_OFFSET
        CONTROL_CELL_OPEN_FACTOR_MILLI_OFFSET
        CONTROL_CELL_ASKED_MS_MIN_OFFSET
        CONTROL_CELL_RATIO_MILLI_OFFSET
        CONTROL_CELL_FLOOR_MILLI_OFFSET
        CONTROL_CELL_CAPACITY_MILLI_OFFSET
        CONTROL_CELL_LIMIT_OFFSET
        CONTROL_CELL_RATE_MILLI_OFFSET
        CONTROL_CELL_BURST_MILLI_OFFSET
        CONTROL_CELL_RETRIED_TYPES_OFFSET
        CONTROL_CELL_BREAKER_OFFSET
        CONTROL_CELL_BUDGET_OFFSET
        CONTROL_CELL_OUTCOMES_OFFSET
        CONTROL_CELL_BUCKETS_OFFSET
        CONTROL_CELL_TOTALS_OFFSET
        CONTROL_CELL_TRANSITIONS_OFFSET
        CONTROL_CELL_DECLARED_OFFSET
        CONTROL_CELL_DIFFERS_OFFSET
        CONTROL_CELL_DECLARED_UNIX_NANO_OFFSET
        CONTROL_CELL_DECLARED_BY_OFFSET
        CONTROL_CELL_OTHER_UNIX_NANO_OFFSET
        CONTROL_CELL_OTHER_BY_OFFSET
        CONTROL_CELL_HEALTH_OFFSET
        CONTROL_CELL_TEXT_BYTES_OFFSET
        CONTROL_CELL_OTHER_BYTES_OFFSET
        CONTROL_CELL_TEXT_OFFSET
        CONTROL_CELL_TEXT_WIDTH
        CONTROL_CELL_OTHER_OFFSET
        CONTROL_CELL_OTHER_WIDTH
        CONTROL_CELL_RETRIED_MICROS_OFFSET
        CONTROL_CELL_RETRIED_KINDS_OFFSET

    # Structure: transition
    enum:
        TRANSITION_SIZE
        TRANSITION_WORD_OFFSET
        TRANSITION_BEFORE_OFFSET
        TRANSITION_TIME_UNIX_NANO_OFFSET
        TRANSITION_OWNER_OFFSET
        TRANSITION_CALLS_OFFSET
        TRANSITION_FAILURES_OFFSET
        TRANSITION_SLOW_OFFSET
        TRANSITION_CAUSE_OFFSET

    # Structure: lease
    enum:
        LEASE_SIZE
        LEASE_PROBES_OFFSET
        LEASE_HELD_OFFSET

    const uint8_t COLUMN_WIDTHS[20]
    const char* DROP_NAMES[9]

    ctypedef struct registry_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t lanes_per_segment
        uint64_t schema_hash
        uint8_t boot_id[16]
        int64_t created_unix_nano
        uint64_t budget_bytes
        uint32_t segments_max
        uint32_t owner_slots
        uint64_t dictionary_bytes
        uint32_t crc
        uint32_t pad
        uint64_t segment_newest[16]
        uint64_t segment_oldest[16]
        uint64_t incarnation_next[16]
        uint64_t dictionary_generation[16]
        uint64_t retired
        uint64_t fold_epoch
        uint64_t deaths_recorded

    ctypedef struct owner_t:
        uint64_t word
        uint8_t random_id[16]
        uint32_t pid
        uint32_t fence
        uint64_t pid_start_ticks
        uint64_t pid_namespace
        int64_t start_unix_nano
        int64_t end_unix_nano
        uint64_t mapped_segment_low
        uint64_t oom_kills_at_start
        uint32_t resource_bytes
        int32_t exit_code
        uint8_t resource[384]

    ctypedef struct segment_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t lanes
        uint64_t schema_hash
        uint64_t number
        uint64_t dictionary_generation
        int64_t created_unix_nano
        uint32_t lane_rows
        uint32_t row_bytes
        uint64_t arena_offset
        uint64_t arena_bytes_per_lane
        uint64_t file_bytes
        uint32_t crc
        uint32_t column_count
        uint64_t column_offsets[32]
        uint64_t state[16]
        uint64_t next_lane[16]

    ctypedef struct dictionary_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t entries_max
        uint64_t generation
        uint32_t buckets
        uint32_t pad
        uint64_t entries_offset
        uint64_t buckets_offset
        uint64_t bytes_offset
        uint64_t file_bytes
        uint32_t crc
        uint32_t pad2
        uint64_t next_entry[16]
        uint64_t next_byte[16]

    ctypedef struct dictionary_entry_t:
        uint64_t word
        uint64_t hash

    ctypedef struct aggregate_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t owner_slot
        uint64_t incarnation
        uint64_t used
        uint32_t folded_count
        uint32_t pad
        uint32_t folded[24]

    ctypedef struct cell_t:
        uint32_t size
        uint8_t series
        uint8_t kind
        uint8_t service_bytes
        uint8_t operation_bytes
        uint64_t fingerprint
        uint64_t count
        int64_t first_seen_unix_nano
        int64_t last_seen_unix_nano
        uint64_t suppressed
        uint8_t name_bytes
        uint8_t pad[7]

    ctypedef struct breath_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t slots
        uint64_t incarnation
        uint64_t fatal_offset
        uint64_t file_bytes

    ctypedef struct inflight_t:
        uint64_t word
        int64_t start_unix_nano
        int64_t start_mono_nano
        uint64_t thread_id
        uint8_t trace_id[16]
        uint32_t parent
        uint32_t operation_bytes
        uint8_t operation[64]

    ctypedef struct fatal_t:
        uint64_t word
        uint32_t signal
        int32_t code
        int64_t time_unix_nano
        uint64_t thread_id
        uint64_t address
        uint64_t frames_bytes

    ctypedef struct control_t:
        uint8_t magic[8]
        uint32_t layout_version
        uint32_t cells_max
        uint64_t control_hash
        uint8_t boot_id[16]
        uint32_t owner_slots
        uint32_t leases_offset
        uint64_t file_bytes
        uint32_t crc
        uint32_t pad
        uint64_t cells_used[16]
        uint64_t owners_high[16]

    ctypedef struct control_cell_t:
        uint64_t name_hash
        uint32_t name_bytes
        uint32_t pad
        uint8_t name[256]
        uint64_t window_ms
        uint64_t window_calls
        uint64_t calls_min
        uint64_t failure_rate
        uint64_t slow_rate
        uint64_t slow_call_nano
        uint64_t consecutive
        uint64_t probes
        uint64_t probe_ms
        uint64_t open_ms
        uint64_t open_ms_max
        uint64_t open_factor_milli
        uint64_t asked_ms_min
        uint64_t ratio_milli
        uint64_t floor_milli
        uint64_t capacity_milli
        uint64_t limit
        uint64_t rate_milli
        uint64_t burst_milli
        uint64_t retried_types[11]
        uint64_t breaker[16]
        uint64_t budget[16]
        uint64_t outcomes[16]
        uint64_t buckets[40]
        uint64_t totals[17]
        uint64_t transitions[128]
        uint64_t declared
        uint64_t differs
        int64_t declared_unix_nano
        uint64_t declared_by
        int64_t other_unix_nano
        uint64_t other_by
        uint64_t health[4]
        uint32_t text_bytes
        uint32_t other_bytes
        uint8_t text[700]
        uint8_t other[700]
        uint64_t retried_micros
        uint64_t retried_kinds[16]

    ctypedef struct transition_t:
        uint64_t word
        uint64_t before
        int64_t time_unix_nano
        uint64_t owner
        uint64_t calls
        uint64_t failures
        uint64_t slow
        uint64_t cause

    ctypedef struct lease_t:
        uint64_t probes
        uint64_t held
