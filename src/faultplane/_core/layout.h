/* Generated from schema.py and control_schema.py by tools/generate.py. Do not edit: run `make generate`. */
#ifndef FAULTPLANE_LAYOUT_H
#define FAULTPLANE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the files of a domain are little-endian, and so must the machine be"
#endif

/* Limits, states, masks, locks, geometry */
#define LOCK_NAMES 1048582
#define NAME_BYTES_MAX 255
#define PAGE_BYTES 4096
#define CONTROL_VERSION 1
#define LOCK_CONTROL 1048583
#define LOCK_CELLS 1048584
#define LOCK_HEALTH 1048585
#define BREAKER_CLOSED UINT64_C(0)
#define BREAKER_OPEN UINT64_C(1)
#define BREAKER_HALF_OPEN UINT64_C(2)
#define BREAKER_FORCED_OPEN UINT64_C(3)
#define BREAKER_DISABLED UINT64_C(4)
#define BREAKER_METRICS_ONLY UINT64_C(5)
#define BREAKER_STATE_SHIFT UINT64_C(0x3D)
#define BREAKER_GENERATION_SHIFT UINT64_C(0x2B)
#define BREAKER_GENERATION_MASK UINT64_C(0x3FFFF)
#define BREAKER_SUCCESSES_SHIFT UINT64_C(0x26)
#define BREAKER_SUCCESSES_MASK UINT64_C(0x1F)
#define BREAKER_UNTIL_MASK UINT64_C(0x3FFFFFFFFF)
#define TICKET_PROBE 262144
#define TICKET_UNCOUNTED 524288
#define BUCKETS 10
#define BUCKET_EPOCH_SHIFT UINT64_C(0x20)
#define BUCKET_GENERATION_SHIFT UINT64_C(0x18)
#define BUCKET_GENERATION_MASK UINT64_C(0xFF)
#define BUCKET_COUNT_MASK UINT64_C(0xFFFFFF)
#define BUCKET_MS_MIN UINT64_C(0xA)
#define WINDOW_MS_MIN 100
#define WINDOW_MS_MAX 86400000
#define OUTCOMES_GENERATION_SHIFT 56
#define WINDOW_CALLS_MAX 48
#define STREAK_MAX 16777215
#define BUDGET_REFILL_SHIFT UINT64_C(0x1A)
#define BUDGET_TOKENS_MASK UINT64_C(0x3FFFFFF)
#define MILLI 1000
#define BUDGET_TOKENS_MAX UINT64_C(0xEA60)
#define LEASE_OWNER_SHIFT UINT64_C(0x20)
#define LEASE_GENERATION_SHIFT UINT64_C(0xE)
#define LEASE_PROBES_MASK UINT64_C(0x3FFF)
#define LEASE_PERMITS_SHIFT UINT64_C(0x10)
#define LEASE_HELD_MASK UINT64_C(0xFFFF)
#define HEALTH_UNKNOWN 0
#define HEALTH_GOOD 1
#define HEALTH_BAD 2
#define HEALTH_STATE_SHIFT 62
#define HEALTH_STREAK_SHIFT 38
#define HEALTH_STREAK_MASK 16777215
#define HEALTH_CHECKED_MASK UINT64_C(0x3FFFFFFFFF)
#define PROBES_MAX 31
#define PERMITS_MAX 65535
#define RATE_ONE 1000000
#define RETRIED_TYPES 11
#define RETRIED_KINDS 16
#define RETRIED_OF_SHIFT 32
#define RETRIED_EPOCH_SHIFT 16
#define RETRIED_EPOCH_MASK 65535
#define RETRIED_HELPED_SHIFT 8
#define RETRIED_COUNT_MASK 255
#define RETRIED_MAX 64
#define RETRIED_EPOCH_MS 30000
#define RETRIED_RECENT_SHIFT 2
#define RETRIED_USUAL_SHIFT 5
#define REASON_KIND_MASK 255
#define REASON_TYPE_SHIFT 32
#define TRANSITIONS 16
#define DECLARATION_BYTES_MAX 700
#define CONFIG_WORDS 19
#define CONTROL_CELL_BREAKER 0
#define CONTROL_CELL_CONFIG_VERSION 1
#define CONTROL_CELL_REOPENED 2
#define CONTROL_CELL_TOKENS 0
#define CONTROL_CELL_STREAK 1
#define CONTROL_CELL_RATE 2
#define CONTROL_CELL_HEALTH 0
#define CONTROL_CELL_CHECKS 1
#define CONTROL_CELL_CHECKS_FAILED 2
#define CONTROL_CELL_HEALTH_CHANGED 3
#define CAUSE_FAILURE_RATE 1
#define CAUSE_SLOW_RATE 2
#define CAUSE_CONSECUTIVE 3
#define CAUSE_PROBE_FAILED 4
#define CAUSE_PROBES_SUCCEEDED 5
#define CAUSE_OPEN_TIME 6
#define CAUSE_PROBES_TIMED_OUT 7
#define CAUSE_ASKED 8
#define CAUSE_FORCED 9
#define CAUSE_RESET 10
#define CAUSE_HEALTH 11
#define CONTROL_HASH UINT64_C(0x73905CA6B451E6A3)
#define LAYOUT_VERSION 1
#define FINGERPRINT_VERSION 1
#define LANE_ROWS 512
#define ARENA_BYTES_PER_ROW 96
#define MESSAGE_BYTES_MAX 1024
#define ATTRIBUTES_BYTES_MAX 4096
#define STRING_BYTES_MAX 16384
#define STACK_FRAMES_MAX 64
#define CHAIN_MAX 8
#define GROUP_MAX 16
#define SERIES_MAX 4096
#define RETIRED_SERIES_MAX 16384
#define INFLIGHT_SLOTS 256
#define CACHE_LINE_BYTES 64
#define SEVERITY_NUMBER_MAX 24
#define KIND_INTERNAL 10
#define UNKNOWN_CATEGORY 10
#define FLAG_HANDLED 1
#define FLAG_RETRYABLE 2
#define FLAG_TEMPORARY 4
#define FLAG_TRUNCATED 8
#define FLAG_REDACTED 16
#define FLAG_NO_ATTRIBUTES 32
#define ROW_BYTES 130
#define ARENA_BYTES_PER_LANE 49152
#define LANE_BYTES 115712
#define SEGMENT_TABLE_SIZE 1024
#define OVERFLOW_CELLS_OFFSET 4096
#define OVERFLOW_CELLS 32
#define SEGMENT_TABLE_OFFSET 8192
#define SEGMENT_TABLE_ENTRY_BYTES 8
#define SEGMENT_TABLE_ROWS_BITS 24
#define RETIRED_ROWS_SHIFT 16
#define REGISTRY_BYTES 16384
#define OWNER_FREE UINT64_C(0)
#define OWNER_LIVE UINT64_C(1)
#define OWNER_EXITED UINT64_C(2)
#define OWNER_DEAD UINT64_C(3)
#define OWNER_FOLDED UINT64_C(4)
#define SEGMENT_ACTIVE UINT64_C(0)
#define SEGMENT_SEALING UINT64_C(1)
#define SEGMENT_SEALED UINT64_C(2)
#define LANE_WORDS_OFFSET 4096
#define LANE_WORD_STRIDE 128
#define LANE_FREE UINT64_C(0)
#define LANE_OPEN UINT64_C(1)
#define LANE_CLOSED UINT64_C(2)
#define LANE_STATE_SHIFT 62
#define LANE_OWNER_SHIFT 48
#define LANE_OWNER_MASK UINT64_C(0x3FFF)
#define LANE_GENERATION_SHIFT 32
#define LANE_GENERATION_MASK UINT64_C(0xFFFF)
#define LANE_COUNT_MASK UINT64_C(0xFFFFFFFF)
#define FOLD_BATCH_MAX 24
#define SERIES_ERROR 1
#define SERIES_COUNTER 2
#define SERIES_DROP 3
#define SERIES_DEATH 4
#define FATAL_HEAD_BYTES 64
#define BREATH_INFLIGHT_OFFSET 4096
#define BREATH_FATAL_OFFSET 36864
#define BREATH_BYTES 45056
#define LOCK_DOMAIN 1048576
#define LOCK_MAINTAIN 1048577
#define LOCK_FOLD 1048578
#define LOCK_INTERN 1048579
#define LOCK_PREPARE 1048580
#define LOCK_CLAIM 1048581
#define SCHEMA_HASH UINT64_C(0x436A2A6000600B03)
#define BUDGET_BYTES_MIN UINT64_C(0x200000)
#define BUDGET_BYTES_DEFAULT UINT64_C(0x4000000)
#define SEGMENT_LANES_MIN 4
#define SEGMENT_LANES_MAX 36

/* Lane states in place, and magics as little-endian u64 */
#define LANE_OPEN_WORD UINT64_C(0x4000000000000000)
#define LANE_CLOSED_WORD UINT64_C(0x8000000000000000)
#define LANE_STATE_MASK_WORD UINT64_C(0xC000000000000000)
#define MAGIC_REGISTRY UINT64_C(0x172454E414C5046)
#define MAGIC_SEGMENT UINT64_C(0x173454E414C5046)
#define MAGIC_DICTIONARY UINT64_C(0x164454E414C5046)
#define MAGIC_AGGREGATE UINT64_C(0x161454E414C5046)
#define MAGIC_BREATH UINT64_C(0x162454E414C5046)

/* Kinds (codes on disk) */
#define KIND_TRANSPORT 1
#define KIND_SERIALIZATION 2
#define KIND_CONFIGURATION 3
#define KIND_PROCESSING 4
#define KIND_EXPORT 5
#define KIND_TIMEOUT 6
#define KIND_CONCURRENCY 7
#define KIND_RESOURCE_EXHAUSTED 8
#define KIND_VERSION_MISMATCH 9
#define KIND_BUSINESS_LOGIC 11
#define KIND_DATA_VALIDATION 12
#define KIND_PERMISSION 13
#define KIND_RATE_LIMIT 14
#define KIND_DEPENDENCY_SERVICE 15
#define KIND_COUNT 15

/* Categories (codes on disk) */
#define CATEGORY_NETWORK 1
#define CATEGORY_DATA 2
#define CATEGORY_CONFIGURATION 3
#define CATEGORY_PROCESSING 4
#define CATEGORY_EXPORT 5
#define CATEGORY_PERFORMANCE 6
#define CATEGORY_CONCURRENCY 7
#define CATEGORY_RESOURCE 8
#define CATEGORY_COMPATIBILITY 9
#define CATEGORY_SYSTEM 10
#define CATEGORY_BUSINESS 11
#define CATEGORY_SECURITY 12
#define CATEGORY_DEPENDENCY 13
#define CATEGORY_COUNT 13

/* Recovery strategies (codes on disk) */
#define STRATEGY_RETRY_WITH_BACKOFF 1
#define STRATEGY_INCREASE_TIMEOUT 2
#define STRATEGY_VALIDATE_CONFIG 3
#define STRATEGY_SCALE_RESOURCES 4
#define STRATEGY_CIRCUIT_BREAK 5
#define STRATEGY_FALLBACK 6
#define STRATEGY_FIX_CODE 7
#define STRATEGY_MANUAL_INTERVENTION 8
#define STRATEGY_COUNT 8

/* Drop reasons (codes on disk) */
#define DROP_DETAIL_BUDGET 1
#define DROP_NO_STORAGE 2
#define DROP_NO_SPACE 3
#define DROP_NOT_INITIALISED 4
#define DROP_DICTIONARY_FULL 5
#define DROP_INFLIGHT_OVERFLOW 6
#define DROP_REENTRANT 7
#define DROP_SERIES_OVERFLOW 8
#define DROP_ROW_LOST 9
#define DROP_COUNT 9

/* Totals of a control cell (index) */
#define TOTAL_FAILURES 0
#define TOTAL_SLOW 1
#define TOTAL_IGNORED 2
#define TOTAL_REJECTED 3
#define TOTAL_LATE 4
#define TOTAL_PROBES 5
#define TOTAL_OPENED 6
#define TOTAL_CLOSED 7
#define TOTAL_RETRIES 8
#define TOTAL_RECOVERED 9
#define TOTAL_BUDGET_EXHAUSTED 10
#define TOTAL_FULL 11
#define TOTAL_TIMEOUTS 12
#define TOTAL_GAVE_UP 13
#define TOTAL_FALLBACKS 14
#define TOTAL_RECLAIMED 15
#define TOTAL_RATE_LIMITED 16
#define TOTALS_COUNT 17

/* Severities (OpenTelemetry severity numbers) */
#define SEVERITY_LOW 9
#define SEVERITY_MEDIUM 13
#define SEVERITY_HIGH 17
#define SEVERITY_CRITICAL 21

/* Columns (index into column_offsets and COLUMN_WIDTHS) */
#define COLUMN_SEQ 0
#define COLUMN_TIME_UNIX_NANO 1
#define COLUMN_MONO_NANO 2
#define COLUMN_DURATION_NANO 3
#define COLUMN_FINGERPRINT 4
#define COLUMN_USER 5
#define COLUMN_SPAN_ID 6
#define COLUMN_TRACE_ID 7
#define COLUMN_MESSAGE 8
#define COLUMN_ATTRIBUTES 9
#define COLUMN_TYPE 10
#define COLUMN_SITE 11
#define COLUMN_OPERATION 12
#define COLUMN_RESOURCE 13
#define COLUMN_OWNER 14
#define COLUMN_ATTEMPT 15
#define COLUMN_SEVERITY_NUMBER 16
#define COLUMN_KIND 17
#define COLUMN_CATEGORY 18
#define COLUMN_FLAGS 19
#define COLUMN_COUNT 20

/* Columns (bytes a row) */
#define COLUMN_SEQ_WIDTH 8
#define COLUMN_TIME_UNIX_NANO_WIDTH 8
#define COLUMN_MONO_NANO_WIDTH 8
#define COLUMN_DURATION_NANO_WIDTH 8
#define COLUMN_FINGERPRINT_WIDTH 8
#define COLUMN_USER_WIDTH 8
#define COLUMN_SPAN_ID_WIDTH 8
#define COLUMN_TRACE_ID_WIDTH 16
#define COLUMN_MESSAGE_WIDTH 16
#define COLUMN_ATTRIBUTES_WIDTH 16
#define COLUMN_TYPE_WIDTH 4
#define COLUMN_SITE_WIDTH 4
#define COLUMN_OPERATION_WIDTH 4
#define COLUMN_RESOURCE_WIDTH 4
#define COLUMN_OWNER_WIDTH 4
#define COLUMN_ATTEMPT_WIDTH 2
#define COLUMN_SEVERITY_NUMBER_WIDTH 1
#define COLUMN_KIND_WIDTH 1
#define COLUMN_CATEGORY_WIDTH 1
#define COLUMN_FLAGS_WIDTH 1

/* Structure: registry */
#define REGISTRY_SIZE 4096
#define REGISTRY_MAGIC_OFFSET 0
#define REGISTRY_MAGIC_WIDTH 8
#define REGISTRY_LAYOUT_VERSION_OFFSET 8
#define REGISTRY_LANES_PER_SEGMENT_OFFSET 12
#define REGISTRY_SCHEMA_HASH_OFFSET 16
#define REGISTRY_BOOT_ID_OFFSET 24
#define REGISTRY_BOOT_ID_WIDTH 16
#define REGISTRY_CREATED_UNIX_NANO_OFFSET 40
#define REGISTRY_BUDGET_BYTES_OFFSET 48
#define REGISTRY_SEGMENTS_MAX_OFFSET 56
#define REGISTRY_OWNER_SLOTS_OFFSET 60
#define REGISTRY_DICTIONARY_BYTES_OFFSET 64
#define REGISTRY_CRC_OFFSET 72
#define REGISTRY_PAD_OFFSET 76
#define REGISTRY_SEGMENT_NEWEST_OFFSET 128
#define REGISTRY_SEGMENT_OLDEST_OFFSET 256
#define REGISTRY_INCARNATION_NEXT_OFFSET 384
#define REGISTRY_DICTIONARY_GENERATION_OFFSET 512
#define REGISTRY_RETIRED_OFFSET 640
#define REGISTRY_FOLD_EPOCH_OFFSET 648
#define REGISTRY_DEATHS_RECORDED_OFFSET 656

/* Structure: owner */
#define OWNER_SIZE 512
#define OWNER_WORD_OFFSET 0
#define OWNER_RANDOM_ID_OFFSET 8
#define OWNER_RANDOM_ID_WIDTH 16
#define OWNER_PID_OFFSET 24
#define OWNER_FENCE_OFFSET 28
#define OWNER_PID_START_TICKS_OFFSET 32
#define OWNER_PID_NAMESPACE_OFFSET 40
#define OWNER_START_UNIX_NANO_OFFSET 48
#define OWNER_END_UNIX_NANO_OFFSET 56
#define OWNER_MAPPED_SEGMENT_LOW_OFFSET 64
#define OWNER_OOM_KILLS_AT_START_OFFSET 72
#define OWNER_RESOURCE_BYTES_OFFSET 80
#define OWNER_EXIT_CODE_OFFSET 84
#define OWNER_RESOURCE_OFFSET 88
#define OWNER_RESOURCE_WIDTH 384

/* Structure: segment */
#define SEGMENT_SIZE 4096
#define SEGMENT_MAGIC_OFFSET 0
#define SEGMENT_MAGIC_WIDTH 8
#define SEGMENT_LAYOUT_VERSION_OFFSET 8
#define SEGMENT_LANES_OFFSET 12
#define SEGMENT_SCHEMA_HASH_OFFSET 16
#define SEGMENT_NUMBER_OFFSET 24
#define SEGMENT_DICTIONARY_GENERATION_OFFSET 32
#define SEGMENT_CREATED_UNIX_NANO_OFFSET 40
#define SEGMENT_LANE_ROWS_OFFSET 48
#define SEGMENT_ROW_BYTES_OFFSET 52
#define SEGMENT_ARENA_OFFSET_OFFSET 56
#define SEGMENT_ARENA_BYTES_PER_LANE_OFFSET 64
#define SEGMENT_FILE_BYTES_OFFSET 72
#define SEGMENT_CRC_OFFSET 80
#define SEGMENT_COLUMN_COUNT_OFFSET 84
#define SEGMENT_COLUMN_OFFSETS_OFFSET 88
#define SEGMENT_STATE_OFFSET 384
#define SEGMENT_NEXT_LANE_OFFSET 512

/* Structure: dictionary */
#define DICTIONARY_SIZE 4096
#define DICTIONARY_MAGIC_OFFSET 0
#define DICTIONARY_MAGIC_WIDTH 8
#define DICTIONARY_LAYOUT_VERSION_OFFSET 8
#define DICTIONARY_ENTRIES_MAX_OFFSET 12
#define DICTIONARY_GENERATION_OFFSET 16
#define DICTIONARY_BUCKETS_OFFSET 24
#define DICTIONARY_PAD_OFFSET 28
#define DICTIONARY_ENTRIES_OFFSET_OFFSET 32
#define DICTIONARY_BUCKETS_OFFSET_OFFSET 40
#define DICTIONARY_BYTES_OFFSET_OFFSET 48
#define DICTIONARY_FILE_BYTES_OFFSET 56
#define DICTIONARY_CRC_OFFSET 64
#define DICTIONARY_PAD2_OFFSET 68
#define DICTIONARY_NEXT_ENTRY_OFFSET 128
#define DICTIONARY_NEXT_BYTE_OFFSET 256

/* Structure: dictionary_entry */
#define DICTIONARY_ENTRY_SIZE 16
#define DICTIONARY_ENTRY_WORD_OFFSET 0
#define DICTIONARY_ENTRY_HASH_OFFSET 8

/* Structure: aggregate */
#define AGGREGATE_SIZE 256
#define AGGREGATE_MAGIC_OFFSET 0
#define AGGREGATE_MAGIC_WIDTH 8
#define AGGREGATE_LAYOUT_VERSION_OFFSET 8
#define AGGREGATE_OWNER_SLOT_OFFSET 12
#define AGGREGATE_INCARNATION_OFFSET 16
#define AGGREGATE_USED_OFFSET 24
#define AGGREGATE_FOLDED_COUNT_OFFSET 32
#define AGGREGATE_PAD_OFFSET 36
#define AGGREGATE_FOLDED_OFFSET 40

/* Structure: cell */
#define CELL_SIZE 64
#define CELL_SIZE_OFFSET 0
#define CELL_SERIES_OFFSET 4
#define CELL_KIND_OFFSET 5
#define CELL_SERVICE_BYTES_OFFSET 6
#define CELL_OPERATION_BYTES_OFFSET 7
#define CELL_FINGERPRINT_OFFSET 8
#define CELL_COUNT_OFFSET 16
#define CELL_FIRST_SEEN_UNIX_NANO_OFFSET 24
#define CELL_LAST_SEEN_UNIX_NANO_OFFSET 32
#define CELL_SUPPRESSED_OFFSET 40
#define CELL_NAME_BYTES_OFFSET 48
#define CELL_PAD_OFFSET 49
#define CELL_PAD_WIDTH 7

/* Structure: breath */
#define BREATH_SIZE 4096
#define BREATH_MAGIC_OFFSET 0
#define BREATH_MAGIC_WIDTH 8
#define BREATH_LAYOUT_VERSION_OFFSET 8
#define BREATH_SLOTS_OFFSET 12
#define BREATH_INCARNATION_OFFSET 16
#define BREATH_FATAL_OFFSET_OFFSET 24
#define BREATH_FILE_BYTES_OFFSET 32

/* Structure: inflight */
#define INFLIGHT_SIZE 128
#define INFLIGHT_WORD_OFFSET 0
#define INFLIGHT_START_UNIX_NANO_OFFSET 8
#define INFLIGHT_START_MONO_NANO_OFFSET 16
#define INFLIGHT_THREAD_ID_OFFSET 24
#define INFLIGHT_TRACE_ID_OFFSET 32
#define INFLIGHT_TRACE_ID_WIDTH 16
#define INFLIGHT_PARENT_OFFSET 48
#define INFLIGHT_OPERATION_BYTES_OFFSET 52
#define INFLIGHT_OPERATION_OFFSET 56
#define INFLIGHT_OPERATION_WIDTH 64

/* Structure: fatal */
#define FATAL_SIZE 8192
#define FATAL_WORD_OFFSET 0
#define FATAL_SIGNAL_OFFSET 8
#define FATAL_CODE_OFFSET 12
#define FATAL_TIME_UNIX_NANO_OFFSET 16
#define FATAL_THREAD_ID_OFFSET 24
#define FATAL_ADDRESS_OFFSET 32
#define FATAL_FRAMES_BYTES_OFFSET 40

/* Structure: control */
#define CONTROL_SIZE 4096
#define CONTROL_MAGIC_OFFSET 0
#define CONTROL_MAGIC_WIDTH 8
#define CONTROL_LAYOUT_VERSION_OFFSET 8
#define CONTROL_CELLS_MAX_OFFSET 12
#define CONTROL_CONTROL_HASH_OFFSET 16
#define CONTROL_BOOT_ID_OFFSET 24
#define CONTROL_BOOT_ID_WIDTH 16
#define CONTROL_OWNER_SLOTS_OFFSET 40
#define CONTROL_LEASES_OFFSET_OFFSET 44
#define CONTROL_FILE_BYTES_OFFSET 48
#define CONTROL_CRC_OFFSET 56
#define CONTROL_PAD_OFFSET 60
#define CONTROL_CELLS_USED_OFFSET 128
#define CONTROL_OWNERS_HIGH_OFFSET 256

/* Structure: control_cell */
#define CONTROL_CELL_SIZE 4096
#define CONTROL_CELL_NAME_HASH_OFFSET 0
#define CONTROL_CELL_NAME_BYTES_OFFSET 8
#define CONTROL_CELL_PAD_OFFSET 12
#define CONTROL_CELL_NAME_OFFSET 16
#define CONTROL_CELL_NAME_WIDTH 256
#define CONTROL_CELL_WINDOW_MS_OFFSET 272
#define CONTROL_CELL_WINDOW_CALLS_OFFSET 280
#define CONTROL_CELL_CALLS_MIN_OFFSET 288
#define CONTROL_CELL_FAILURE_RATE_OFFSET 296
#define CONTROL_CELL_SLOW_RATE_OFFSET 304
#define CONTROL_CELL_SLOW_CALL_NANO_OFFSET 312
#define CONTROL_CELL_CONSECUTIVE_OFFSET 320
#define CONTROL_CELL_PROBES_OFFSET 328
#define CONTROL_CELL_PROBE_MS_OFFSET 336
#define CONTROL_CELL_OPEN_MS_OFFSET 344
#define CONTROL_CELL_OPEN_MS_MAX_OFFSET 352
#define CONTROL_CELL_OPEN_FACTOR_MILLI_OFFSET 360
#define CONTROL_CELL_ASKED_MS_MIN_OFFSET 368
#define CONTROL_CELL_RATIO_MILLI_OFFSET 376
#define CONTROL_CELL_FLOOR_MILLI_OFFSET 384
#define CONTROL_CELL_CAPACITY_MILLI_OFFSET 392
#define CONTROL_CELL_LIMIT_OFFSET 400
#define CONTROL_CELL_RATE_MILLI_OFFSET 408
#define CONTROL_CELL_BURST_MILLI_OFFSET 416
#define CONTROL_CELL_RETRIED_TYPES_OFFSET 424
#define CONTROL_CELL_BREAKER_OFFSET 512
#define CONTROL_CELL_BUDGET_OFFSET 640
#define CONTROL_CELL_OUTCOMES_OFFSET 768
#define CONTROL_CELL_BUCKETS_OFFSET 896
#define CONTROL_CELL_TOTALS_OFFSET 1216
#define CONTROL_CELL_TRANSITIONS_OFFSET 1352
#define CONTROL_CELL_DECLARED_OFFSET 2376
#define CONTROL_CELL_DIFFERS_OFFSET 2384
#define CONTROL_CELL_DECLARED_UNIX_NANO_OFFSET 2392
#define CONTROL_CELL_DECLARED_BY_OFFSET 2400
#define CONTROL_CELL_OTHER_UNIX_NANO_OFFSET 2408
#define CONTROL_CELL_OTHER_BY_OFFSET 2416
#define CONTROL_CELL_HEALTH_OFFSET 2424
#define CONTROL_CELL_TEXT_BYTES_OFFSET 2456
#define CONTROL_CELL_OTHER_BYTES_OFFSET 2460
#define CONTROL_CELL_TEXT_OFFSET 2464
#define CONTROL_CELL_TEXT_WIDTH 700
#define CONTROL_CELL_OTHER_OFFSET 3164
#define CONTROL_CELL_OTHER_WIDTH 700
#define CONTROL_CELL_RETRIED_MICROS_OFFSET 3864
#define CONTROL_CELL_RETRIED_KINDS_OFFSET 3968

/* Structure: transition */
#define TRANSITION_SIZE 64
#define TRANSITION_WORD_OFFSET 0
#define TRANSITION_BEFORE_OFFSET 8
#define TRANSITION_TIME_UNIX_NANO_OFFSET 16
#define TRANSITION_OWNER_OFFSET 24
#define TRANSITION_CALLS_OFFSET 32
#define TRANSITION_FAILURES_OFFSET 40
#define TRANSITION_SLOW_OFFSET 48
#define TRANSITION_CAUSE_OFFSET 56

/* Structure: lease */
#define LEASE_SIZE 16
#define LEASE_PROBES_OFFSET 0
#define LEASE_HELD_OFFSET 8

static const uint8_t COLUMN_WIDTHS[COLUMN_COUNT] = {8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 4, 4, 4, 4, 4, 2, 1, 1, 1, 1};
static const uint64_t CONFIG_MAX[CONFIG_WORDS] = {
    UINT64_C(86400000),
    UINT64_C(48),
    UINT64_C(16777215),
    UINT64_C(1000000),
    UINT64_C(1000000),
    UINT64_C(86400000000000),
    UINT64_C(16777215),
    UINT64_C(31),
    UINT64_C(86400000),
    UINT64_C(86400000),
    UINT64_C(86400000),
    UINT64_C(10000),
    UINT64_C(86400000),
    UINT64_C(1000),
    UINT64_C(60000000),
    UINT64_C(60000000),
    UINT64_C(65535),
    UINT64_C(60000000),
    UINT64_C(60000000),
};
static const char *const DROP_NAMES[DROP_COUNT] = {
    "detail_budget",
    "no_storage",
    "no_space",
    "not_initialised",
    "dictionary_full",
    "inflight_overflow",
    "reentrant",
    "series_overflow",
    "row_lost",
};

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t lanes_per_segment;
    uint64_t schema_hash;
    uint8_t boot_id[16];
    int64_t created_unix_nano;
    uint64_t budget_bytes;
    uint32_t segments_max;
    uint32_t owner_slots;
    uint64_t dictionary_bytes;
    uint32_t crc;
    uint32_t pad;
    _Alignas(128) uint64_t segment_newest[16];
    _Alignas(128) uint64_t segment_oldest[16];
    _Alignas(128) uint64_t incarnation_next[16];
    _Alignas(128) uint64_t dictionary_generation[16];
    uint64_t retired;
    uint64_t fold_epoch;
    uint64_t deaths_recorded;
    uint8_t reserved[3432];
} registry_t;
_Static_assert(sizeof(registry_t) == REGISTRY_SIZE, "size of registry_t");
_Static_assert(offsetof(registry_t, magic) == REGISTRY_MAGIC_OFFSET,
               "registry_t.magic");
_Static_assert(offsetof(registry_t, layout_version) == REGISTRY_LAYOUT_VERSION_OFFSET,
               "registry_t.layout_version");
_Static_assert(offsetof(registry_t, lanes_per_segment) == REGISTRY_LANES_PER_SEGMENT_OFFSET,
               "registry_t.lanes_per_segment");
_Static_assert(offsetof(registry_t, schema_hash) == REGISTRY_SCHEMA_HASH_OFFSET,
               "registry_t.schema_hash");
_Static_assert(offsetof(registry_t, boot_id) == REGISTRY_BOOT_ID_OFFSET,
               "registry_t.boot_id");
_Static_assert(offsetof(registry_t, created_unix_nano) == REGISTRY_CREATED_UNIX_NANO_OFFSET,
               "registry_t.created_unix_nano");
_Static_assert(offsetof(registry_t, budget_bytes) == REGISTRY_BUDGET_BYTES_OFFSET,
               "registry_t.budget_bytes");
_Static_assert(offsetof(registry_t, segments_max) == REGISTRY_SEGMENTS_MAX_OFFSET,
               "registry_t.segments_max");
_Static_assert(offsetof(registry_t, owner_slots) == REGISTRY_OWNER_SLOTS_OFFSET,
               "registry_t.owner_slots");
_Static_assert(offsetof(registry_t, dictionary_bytes) == REGISTRY_DICTIONARY_BYTES_OFFSET,
               "registry_t.dictionary_bytes");
_Static_assert(offsetof(registry_t, crc) == REGISTRY_CRC_OFFSET,
               "registry_t.crc");
_Static_assert(offsetof(registry_t, pad) == REGISTRY_PAD_OFFSET,
               "registry_t.pad");
_Static_assert(offsetof(registry_t, segment_newest) == REGISTRY_SEGMENT_NEWEST_OFFSET,
               "registry_t.segment_newest");
_Static_assert(offsetof(registry_t, segment_oldest) == REGISTRY_SEGMENT_OLDEST_OFFSET,
               "registry_t.segment_oldest");
_Static_assert(offsetof(registry_t, incarnation_next) == REGISTRY_INCARNATION_NEXT_OFFSET,
               "registry_t.incarnation_next");
_Static_assert(offsetof(registry_t, dictionary_generation) == REGISTRY_DICTIONARY_GENERATION_OFFSET,
               "registry_t.dictionary_generation");
_Static_assert(offsetof(registry_t, retired) == REGISTRY_RETIRED_OFFSET,
               "registry_t.retired");
_Static_assert(offsetof(registry_t, fold_epoch) == REGISTRY_FOLD_EPOCH_OFFSET,
               "registry_t.fold_epoch");
_Static_assert(offsetof(registry_t, deaths_recorded) == REGISTRY_DEATHS_RECORDED_OFFSET,
               "registry_t.deaths_recorded");

typedef struct {
    uint64_t word;
    uint8_t random_id[16];
    uint32_t pid;
    uint32_t fence;
    uint64_t pid_start_ticks;
    uint64_t pid_namespace;
    int64_t start_unix_nano;
    int64_t end_unix_nano;
    uint64_t mapped_segment_low;
    uint64_t oom_kills_at_start;
    uint32_t resource_bytes;
    int32_t exit_code;
    uint8_t resource[384];
    uint8_t reserved[40];
} owner_t;
_Static_assert(sizeof(owner_t) == OWNER_SIZE, "size of owner_t");
_Static_assert(offsetof(owner_t, word) == OWNER_WORD_OFFSET,
               "owner_t.word");
_Static_assert(offsetof(owner_t, random_id) == OWNER_RANDOM_ID_OFFSET,
               "owner_t.random_id");
_Static_assert(offsetof(owner_t, pid) == OWNER_PID_OFFSET,
               "owner_t.pid");
_Static_assert(offsetof(owner_t, fence) == OWNER_FENCE_OFFSET,
               "owner_t.fence");
_Static_assert(offsetof(owner_t, pid_start_ticks) == OWNER_PID_START_TICKS_OFFSET,
               "owner_t.pid_start_ticks");
_Static_assert(offsetof(owner_t, pid_namespace) == OWNER_PID_NAMESPACE_OFFSET,
               "owner_t.pid_namespace");
_Static_assert(offsetof(owner_t, start_unix_nano) == OWNER_START_UNIX_NANO_OFFSET,
               "owner_t.start_unix_nano");
_Static_assert(offsetof(owner_t, end_unix_nano) == OWNER_END_UNIX_NANO_OFFSET,
               "owner_t.end_unix_nano");
_Static_assert(offsetof(owner_t, mapped_segment_low) == OWNER_MAPPED_SEGMENT_LOW_OFFSET,
               "owner_t.mapped_segment_low");
_Static_assert(offsetof(owner_t, oom_kills_at_start) == OWNER_OOM_KILLS_AT_START_OFFSET,
               "owner_t.oom_kills_at_start");
_Static_assert(offsetof(owner_t, resource_bytes) == OWNER_RESOURCE_BYTES_OFFSET,
               "owner_t.resource_bytes");
_Static_assert(offsetof(owner_t, exit_code) == OWNER_EXIT_CODE_OFFSET,
               "owner_t.exit_code");
_Static_assert(offsetof(owner_t, resource) == OWNER_RESOURCE_OFFSET,
               "owner_t.resource");

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t lanes;
    uint64_t schema_hash;
    uint64_t number;
    uint64_t dictionary_generation;
    int64_t created_unix_nano;
    uint32_t lane_rows;
    uint32_t row_bytes;
    uint64_t arena_offset;
    uint64_t arena_bytes_per_lane;
    uint64_t file_bytes;
    uint32_t crc;
    uint32_t column_count;
    uint64_t column_offsets[32];
    _Alignas(128) uint64_t state[16];
    _Alignas(128) uint64_t next_lane[16];
    uint8_t reserved[3456];
} segment_t;
_Static_assert(sizeof(segment_t) == SEGMENT_SIZE, "size of segment_t");
_Static_assert(offsetof(segment_t, magic) == SEGMENT_MAGIC_OFFSET,
               "segment_t.magic");
_Static_assert(offsetof(segment_t, layout_version) == SEGMENT_LAYOUT_VERSION_OFFSET,
               "segment_t.layout_version");
_Static_assert(offsetof(segment_t, lanes) == SEGMENT_LANES_OFFSET,
               "segment_t.lanes");
_Static_assert(offsetof(segment_t, schema_hash) == SEGMENT_SCHEMA_HASH_OFFSET,
               "segment_t.schema_hash");
_Static_assert(offsetof(segment_t, number) == SEGMENT_NUMBER_OFFSET,
               "segment_t.number");
_Static_assert(offsetof(segment_t, dictionary_generation) == SEGMENT_DICTIONARY_GENERATION_OFFSET,
               "segment_t.dictionary_generation");
_Static_assert(offsetof(segment_t, created_unix_nano) == SEGMENT_CREATED_UNIX_NANO_OFFSET,
               "segment_t.created_unix_nano");
_Static_assert(offsetof(segment_t, lane_rows) == SEGMENT_LANE_ROWS_OFFSET,
               "segment_t.lane_rows");
_Static_assert(offsetof(segment_t, row_bytes) == SEGMENT_ROW_BYTES_OFFSET,
               "segment_t.row_bytes");
_Static_assert(offsetof(segment_t, arena_offset) == SEGMENT_ARENA_OFFSET_OFFSET,
               "segment_t.arena_offset");
_Static_assert(offsetof(segment_t, arena_bytes_per_lane) == SEGMENT_ARENA_BYTES_PER_LANE_OFFSET,
               "segment_t.arena_bytes_per_lane");
_Static_assert(offsetof(segment_t, file_bytes) == SEGMENT_FILE_BYTES_OFFSET,
               "segment_t.file_bytes");
_Static_assert(offsetof(segment_t, crc) == SEGMENT_CRC_OFFSET,
               "segment_t.crc");
_Static_assert(offsetof(segment_t, column_count) == SEGMENT_COLUMN_COUNT_OFFSET,
               "segment_t.column_count");
_Static_assert(offsetof(segment_t, column_offsets) == SEGMENT_COLUMN_OFFSETS_OFFSET,
               "segment_t.column_offsets");
_Static_assert(offsetof(segment_t, state) == SEGMENT_STATE_OFFSET,
               "segment_t.state");
_Static_assert(offsetof(segment_t, next_lane) == SEGMENT_NEXT_LANE_OFFSET,
               "segment_t.next_lane");

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t entries_max;
    uint64_t generation;
    uint32_t buckets;
    uint32_t pad;
    uint64_t entries_offset;
    uint64_t buckets_offset;
    uint64_t bytes_offset;
    uint64_t file_bytes;
    uint32_t crc;
    uint32_t pad2;
    _Alignas(128) uint64_t next_entry[16];
    _Alignas(128) uint64_t next_byte[16];
    uint8_t reserved[3712];
} dictionary_t;
_Static_assert(sizeof(dictionary_t) == DICTIONARY_SIZE, "size of dictionary_t");
_Static_assert(offsetof(dictionary_t, magic) == DICTIONARY_MAGIC_OFFSET,
               "dictionary_t.magic");
_Static_assert(offsetof(dictionary_t, layout_version) == DICTIONARY_LAYOUT_VERSION_OFFSET,
               "dictionary_t.layout_version");
_Static_assert(offsetof(dictionary_t, entries_max) == DICTIONARY_ENTRIES_MAX_OFFSET,
               "dictionary_t.entries_max");
_Static_assert(offsetof(dictionary_t, generation) == DICTIONARY_GENERATION_OFFSET,
               "dictionary_t.generation");
_Static_assert(offsetof(dictionary_t, buckets) == DICTIONARY_BUCKETS_OFFSET,
               "dictionary_t.buckets");
_Static_assert(offsetof(dictionary_t, pad) == DICTIONARY_PAD_OFFSET,
               "dictionary_t.pad");
_Static_assert(offsetof(dictionary_t, entries_offset) == DICTIONARY_ENTRIES_OFFSET_OFFSET,
               "dictionary_t.entries_offset");
_Static_assert(offsetof(dictionary_t, buckets_offset) == DICTIONARY_BUCKETS_OFFSET_OFFSET,
               "dictionary_t.buckets_offset");
_Static_assert(offsetof(dictionary_t, bytes_offset) == DICTIONARY_BYTES_OFFSET_OFFSET,
               "dictionary_t.bytes_offset");
_Static_assert(offsetof(dictionary_t, file_bytes) == DICTIONARY_FILE_BYTES_OFFSET,
               "dictionary_t.file_bytes");
_Static_assert(offsetof(dictionary_t, crc) == DICTIONARY_CRC_OFFSET,
               "dictionary_t.crc");
_Static_assert(offsetof(dictionary_t, pad2) == DICTIONARY_PAD2_OFFSET,
               "dictionary_t.pad2");
_Static_assert(offsetof(dictionary_t, next_entry) == DICTIONARY_NEXT_ENTRY_OFFSET,
               "dictionary_t.next_entry");
_Static_assert(offsetof(dictionary_t, next_byte) == DICTIONARY_NEXT_BYTE_OFFSET,
               "dictionary_t.next_byte");

typedef struct {
    uint64_t word;
    uint64_t hash;
} dictionary_entry_t;
_Static_assert(sizeof(dictionary_entry_t) == DICTIONARY_ENTRY_SIZE, "size of dictionary_entry_t");
_Static_assert(offsetof(dictionary_entry_t, word) == DICTIONARY_ENTRY_WORD_OFFSET,
               "dictionary_entry_t.word");
_Static_assert(offsetof(dictionary_entry_t, hash) == DICTIONARY_ENTRY_HASH_OFFSET,
               "dictionary_entry_t.hash");

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t owner_slot;
    uint64_t incarnation;
    uint64_t used;
    uint32_t folded_count;
    uint32_t pad;
    uint32_t folded[24];
    uint8_t reserved[120];
} aggregate_t;
_Static_assert(sizeof(aggregate_t) == AGGREGATE_SIZE, "size of aggregate_t");
_Static_assert(offsetof(aggregate_t, magic) == AGGREGATE_MAGIC_OFFSET,
               "aggregate_t.magic");
_Static_assert(offsetof(aggregate_t, layout_version) == AGGREGATE_LAYOUT_VERSION_OFFSET,
               "aggregate_t.layout_version");
_Static_assert(offsetof(aggregate_t, owner_slot) == AGGREGATE_OWNER_SLOT_OFFSET,
               "aggregate_t.owner_slot");
_Static_assert(offsetof(aggregate_t, incarnation) == AGGREGATE_INCARNATION_OFFSET,
               "aggregate_t.incarnation");
_Static_assert(offsetof(aggregate_t, used) == AGGREGATE_USED_OFFSET,
               "aggregate_t.used");
_Static_assert(offsetof(aggregate_t, folded_count) == AGGREGATE_FOLDED_COUNT_OFFSET,
               "aggregate_t.folded_count");
_Static_assert(offsetof(aggregate_t, pad) == AGGREGATE_PAD_OFFSET,
               "aggregate_t.pad");
_Static_assert(offsetof(aggregate_t, folded) == AGGREGATE_FOLDED_OFFSET,
               "aggregate_t.folded");

typedef struct {
    uint32_t size;
    uint8_t series;
    uint8_t kind;
    uint8_t service_bytes;
    uint8_t operation_bytes;
    uint64_t fingerprint;
    uint64_t count;
    int64_t first_seen_unix_nano;
    int64_t last_seen_unix_nano;
    uint64_t suppressed;
    uint8_t name_bytes;
    uint8_t pad[7];
    uint8_t reserved[8];
} cell_t;
_Static_assert(sizeof(cell_t) == CELL_SIZE, "size of cell_t");
_Static_assert(offsetof(cell_t, size) == CELL_SIZE_OFFSET,
               "cell_t.size");
_Static_assert(offsetof(cell_t, series) == CELL_SERIES_OFFSET,
               "cell_t.series");
_Static_assert(offsetof(cell_t, kind) == CELL_KIND_OFFSET,
               "cell_t.kind");
_Static_assert(offsetof(cell_t, service_bytes) == CELL_SERVICE_BYTES_OFFSET,
               "cell_t.service_bytes");
_Static_assert(offsetof(cell_t, operation_bytes) == CELL_OPERATION_BYTES_OFFSET,
               "cell_t.operation_bytes");
_Static_assert(offsetof(cell_t, fingerprint) == CELL_FINGERPRINT_OFFSET,
               "cell_t.fingerprint");
_Static_assert(offsetof(cell_t, count) == CELL_COUNT_OFFSET,
               "cell_t.count");
_Static_assert(offsetof(cell_t, first_seen_unix_nano) == CELL_FIRST_SEEN_UNIX_NANO_OFFSET,
               "cell_t.first_seen_unix_nano");
_Static_assert(offsetof(cell_t, last_seen_unix_nano) == CELL_LAST_SEEN_UNIX_NANO_OFFSET,
               "cell_t.last_seen_unix_nano");
_Static_assert(offsetof(cell_t, suppressed) == CELL_SUPPRESSED_OFFSET,
               "cell_t.suppressed");
_Static_assert(offsetof(cell_t, name_bytes) == CELL_NAME_BYTES_OFFSET,
               "cell_t.name_bytes");
_Static_assert(offsetof(cell_t, pad) == CELL_PAD_OFFSET,
               "cell_t.pad");

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t slots;
    uint64_t incarnation;
    uint64_t fatal_offset;
    uint64_t file_bytes;
    uint8_t reserved[4056];
} breath_t;
_Static_assert(sizeof(breath_t) == BREATH_SIZE, "size of breath_t");
_Static_assert(offsetof(breath_t, magic) == BREATH_MAGIC_OFFSET,
               "breath_t.magic");
_Static_assert(offsetof(breath_t, layout_version) == BREATH_LAYOUT_VERSION_OFFSET,
               "breath_t.layout_version");
_Static_assert(offsetof(breath_t, slots) == BREATH_SLOTS_OFFSET,
               "breath_t.slots");
_Static_assert(offsetof(breath_t, incarnation) == BREATH_INCARNATION_OFFSET,
               "breath_t.incarnation");
_Static_assert(offsetof(breath_t, fatal_offset) == BREATH_FATAL_OFFSET_OFFSET,
               "breath_t.fatal_offset");
_Static_assert(offsetof(breath_t, file_bytes) == BREATH_FILE_BYTES_OFFSET,
               "breath_t.file_bytes");

typedef struct {
    uint64_t word;
    int64_t start_unix_nano;
    int64_t start_mono_nano;
    uint64_t thread_id;
    uint8_t trace_id[16];
    uint32_t parent;
    uint32_t operation_bytes;
    uint8_t operation[64];
    uint8_t reserved[8];
} inflight_t;
_Static_assert(sizeof(inflight_t) == INFLIGHT_SIZE, "size of inflight_t");
_Static_assert(offsetof(inflight_t, word) == INFLIGHT_WORD_OFFSET,
               "inflight_t.word");
_Static_assert(offsetof(inflight_t, start_unix_nano) == INFLIGHT_START_UNIX_NANO_OFFSET,
               "inflight_t.start_unix_nano");
_Static_assert(offsetof(inflight_t, start_mono_nano) == INFLIGHT_START_MONO_NANO_OFFSET,
               "inflight_t.start_mono_nano");
_Static_assert(offsetof(inflight_t, thread_id) == INFLIGHT_THREAD_ID_OFFSET,
               "inflight_t.thread_id");
_Static_assert(offsetof(inflight_t, trace_id) == INFLIGHT_TRACE_ID_OFFSET,
               "inflight_t.trace_id");
_Static_assert(offsetof(inflight_t, parent) == INFLIGHT_PARENT_OFFSET,
               "inflight_t.parent");
_Static_assert(offsetof(inflight_t, operation_bytes) == INFLIGHT_OPERATION_BYTES_OFFSET,
               "inflight_t.operation_bytes");
_Static_assert(offsetof(inflight_t, operation) == INFLIGHT_OPERATION_OFFSET,
               "inflight_t.operation");

typedef struct {
    uint64_t word;
    uint32_t signal;
    int32_t code;
    int64_t time_unix_nano;
    uint64_t thread_id;
    uint64_t address;
    uint64_t frames_bytes;
    uint8_t reserved[8144];
} fatal_t;
_Static_assert(sizeof(fatal_t) == FATAL_SIZE, "size of fatal_t");
_Static_assert(offsetof(fatal_t, word) == FATAL_WORD_OFFSET,
               "fatal_t.word");
_Static_assert(offsetof(fatal_t, signal) == FATAL_SIGNAL_OFFSET,
               "fatal_t.signal");
_Static_assert(offsetof(fatal_t, code) == FATAL_CODE_OFFSET,
               "fatal_t.code");
_Static_assert(offsetof(fatal_t, time_unix_nano) == FATAL_TIME_UNIX_NANO_OFFSET,
               "fatal_t.time_unix_nano");
_Static_assert(offsetof(fatal_t, thread_id) == FATAL_THREAD_ID_OFFSET,
               "fatal_t.thread_id");
_Static_assert(offsetof(fatal_t, address) == FATAL_ADDRESS_OFFSET,
               "fatal_t.address");
_Static_assert(offsetof(fatal_t, frames_bytes) == FATAL_FRAMES_BYTES_OFFSET,
               "fatal_t.frames_bytes");

typedef struct {
    uint8_t magic[8];
    uint32_t layout_version;
    uint32_t cells_max;
    uint64_t control_hash;
    uint8_t boot_id[16];
    uint32_t owner_slots;
    uint32_t leases_offset;
    uint64_t file_bytes;
    uint32_t crc;
    uint32_t pad;
    _Alignas(128) uint64_t cells_used[16];
    _Alignas(128) uint64_t owners_high[16];
    uint8_t reserved[3712];
} control_t;
_Static_assert(sizeof(control_t) == CONTROL_SIZE, "size of control_t");
_Static_assert(offsetof(control_t, magic) == CONTROL_MAGIC_OFFSET,
               "control_t.magic");
_Static_assert(offsetof(control_t, layout_version) == CONTROL_LAYOUT_VERSION_OFFSET,
               "control_t.layout_version");
_Static_assert(offsetof(control_t, cells_max) == CONTROL_CELLS_MAX_OFFSET,
               "control_t.cells_max");
_Static_assert(offsetof(control_t, control_hash) == CONTROL_CONTROL_HASH_OFFSET,
               "control_t.control_hash");
_Static_assert(offsetof(control_t, boot_id) == CONTROL_BOOT_ID_OFFSET,
               "control_t.boot_id");
_Static_assert(offsetof(control_t, owner_slots) == CONTROL_OWNER_SLOTS_OFFSET,
               "control_t.owner_slots");
_Static_assert(offsetof(control_t, leases_offset) == CONTROL_LEASES_OFFSET_OFFSET,
               "control_t.leases_offset");
_Static_assert(offsetof(control_t, file_bytes) == CONTROL_FILE_BYTES_OFFSET,
               "control_t.file_bytes");
_Static_assert(offsetof(control_t, crc) == CONTROL_CRC_OFFSET,
               "control_t.crc");
_Static_assert(offsetof(control_t, pad) == CONTROL_PAD_OFFSET,
               "control_t.pad");
_Static_assert(offsetof(control_t, cells_used) == CONTROL_CELLS_USED_OFFSET,
               "control_t.cells_used");
_Static_assert(offsetof(control_t, owners_high) == CONTROL_OWNERS_HIGH_OFFSET,
               "control_t.owners_high");

typedef struct {
    uint64_t name_hash;
    uint32_t name_bytes;
    uint32_t pad;
    uint8_t name[256];
    uint64_t window_ms;
    uint64_t window_calls;
    uint64_t calls_min;
    uint64_t failure_rate;
    uint64_t slow_rate;
    uint64_t slow_call_nano;
    uint64_t consecutive;
    uint64_t probes;
    uint64_t probe_ms;
    uint64_t open_ms;
    uint64_t open_ms_max;
    uint64_t open_factor_milli;
    uint64_t asked_ms_min;
    uint64_t ratio_milli;
    uint64_t floor_milli;
    uint64_t capacity_milli;
    uint64_t limit;
    uint64_t rate_milli;
    uint64_t burst_milli;
    uint64_t retried_types[11];
    _Alignas(128) uint64_t breaker[16];
    _Alignas(128) uint64_t budget[16];
    _Alignas(128) uint64_t outcomes[16];
    uint64_t buckets[40];
    uint64_t totals[17];
    uint64_t transitions[128];
    uint64_t declared;
    uint64_t differs;
    int64_t declared_unix_nano;
    uint64_t declared_by;
    int64_t other_unix_nano;
    uint64_t other_by;
    uint64_t health[4];
    uint32_t text_bytes;
    uint32_t other_bytes;
    uint8_t text[700];
    uint8_t other[700];
    uint64_t retried_micros;
    _Alignas(128) uint64_t retried_kinds[16];
} control_cell_t;
_Static_assert(sizeof(control_cell_t) == CONTROL_CELL_SIZE, "size of control_cell_t");
_Static_assert(offsetof(control_cell_t, name_hash) == CONTROL_CELL_NAME_HASH_OFFSET,
               "control_cell_t.name_hash");
_Static_assert(offsetof(control_cell_t, name_bytes) == CONTROL_CELL_NAME_BYTES_OFFSET,
               "control_cell_t.name_bytes");
_Static_assert(offsetof(control_cell_t, pad) == CONTROL_CELL_PAD_OFFSET,
               "control_cell_t.pad");
_Static_assert(offsetof(control_cell_t, name) == CONTROL_CELL_NAME_OFFSET,
               "control_cell_t.name");
_Static_assert(offsetof(control_cell_t, window_ms) == CONTROL_CELL_WINDOW_MS_OFFSET,
               "control_cell_t.window_ms");
_Static_assert(offsetof(control_cell_t, window_calls) == CONTROL_CELL_WINDOW_CALLS_OFFSET,
               "control_cell_t.window_calls");
_Static_assert(offsetof(control_cell_t, calls_min) == CONTROL_CELL_CALLS_MIN_OFFSET,
               "control_cell_t.calls_min");
_Static_assert(offsetof(control_cell_t, failure_rate) == CONTROL_CELL_FAILURE_RATE_OFFSET,
               "control_cell_t.failure_rate");
_Static_assert(offsetof(control_cell_t, slow_rate) == CONTROL_CELL_SLOW_RATE_OFFSET,
               "control_cell_t.slow_rate");
_Static_assert(offsetof(control_cell_t, slow_call_nano) == CONTROL_CELL_SLOW_CALL_NANO_OFFSET,
               "control_cell_t.slow_call_nano");
_Static_assert(offsetof(control_cell_t, consecutive) == CONTROL_CELL_CONSECUTIVE_OFFSET,
               "control_cell_t.consecutive");
_Static_assert(offsetof(control_cell_t, probes) == CONTROL_CELL_PROBES_OFFSET,
               "control_cell_t.probes");
_Static_assert(offsetof(control_cell_t, probe_ms) == CONTROL_CELL_PROBE_MS_OFFSET,
               "control_cell_t.probe_ms");
_Static_assert(offsetof(control_cell_t, open_ms) == CONTROL_CELL_OPEN_MS_OFFSET,
               "control_cell_t.open_ms");
_Static_assert(offsetof(control_cell_t, open_ms_max) == CONTROL_CELL_OPEN_MS_MAX_OFFSET,
               "control_cell_t.open_ms_max");
_Static_assert(offsetof(control_cell_t, open_factor_milli) == CONTROL_CELL_OPEN_FACTOR_MILLI_OFFSET,
               "control_cell_t.open_factor_milli");
_Static_assert(offsetof(control_cell_t, asked_ms_min) == CONTROL_CELL_ASKED_MS_MIN_OFFSET,
               "control_cell_t.asked_ms_min");
_Static_assert(offsetof(control_cell_t, ratio_milli) == CONTROL_CELL_RATIO_MILLI_OFFSET,
               "control_cell_t.ratio_milli");
_Static_assert(offsetof(control_cell_t, floor_milli) == CONTROL_CELL_FLOOR_MILLI_OFFSET,
               "control_cell_t.floor_milli");
_Static_assert(offsetof(control_cell_t, capacity_milli) == CONTROL_CELL_CAPACITY_MILLI_OFFSET,
               "control_cell_t.capacity_milli");
_Static_assert(offsetof(control_cell_t, limit) == CONTROL_CELL_LIMIT_OFFSET,
               "control_cell_t.limit");
_Static_assert(offsetof(control_cell_t, rate_milli) == CONTROL_CELL_RATE_MILLI_OFFSET,
               "control_cell_t.rate_milli");
_Static_assert(offsetof(control_cell_t, burst_milli) == CONTROL_CELL_BURST_MILLI_OFFSET,
               "control_cell_t.burst_milli");
_Static_assert(offsetof(control_cell_t, retried_types) == CONTROL_CELL_RETRIED_TYPES_OFFSET,
               "control_cell_t.retried_types");
_Static_assert(offsetof(control_cell_t, breaker) == CONTROL_CELL_BREAKER_OFFSET,
               "control_cell_t.breaker");
_Static_assert(offsetof(control_cell_t, budget) == CONTROL_CELL_BUDGET_OFFSET,
               "control_cell_t.budget");
_Static_assert(offsetof(control_cell_t, outcomes) == CONTROL_CELL_OUTCOMES_OFFSET,
               "control_cell_t.outcomes");
_Static_assert(offsetof(control_cell_t, buckets) == CONTROL_CELL_BUCKETS_OFFSET,
               "control_cell_t.buckets");
_Static_assert(offsetof(control_cell_t, totals) == CONTROL_CELL_TOTALS_OFFSET,
               "control_cell_t.totals");
_Static_assert(offsetof(control_cell_t, transitions) == CONTROL_CELL_TRANSITIONS_OFFSET,
               "control_cell_t.transitions");
_Static_assert(offsetof(control_cell_t, declared) == CONTROL_CELL_DECLARED_OFFSET,
               "control_cell_t.declared");
_Static_assert(offsetof(control_cell_t, differs) == CONTROL_CELL_DIFFERS_OFFSET,
               "control_cell_t.differs");
_Static_assert(offsetof(control_cell_t, declared_unix_nano) == CONTROL_CELL_DECLARED_UNIX_NANO_OFFSET,
               "control_cell_t.declared_unix_nano");
_Static_assert(offsetof(control_cell_t, declared_by) == CONTROL_CELL_DECLARED_BY_OFFSET,
               "control_cell_t.declared_by");
_Static_assert(offsetof(control_cell_t, other_unix_nano) == CONTROL_CELL_OTHER_UNIX_NANO_OFFSET,
               "control_cell_t.other_unix_nano");
_Static_assert(offsetof(control_cell_t, other_by) == CONTROL_CELL_OTHER_BY_OFFSET,
               "control_cell_t.other_by");
_Static_assert(offsetof(control_cell_t, health) == CONTROL_CELL_HEALTH_OFFSET,
               "control_cell_t.health");
_Static_assert(offsetof(control_cell_t, text_bytes) == CONTROL_CELL_TEXT_BYTES_OFFSET,
               "control_cell_t.text_bytes");
_Static_assert(offsetof(control_cell_t, other_bytes) == CONTROL_CELL_OTHER_BYTES_OFFSET,
               "control_cell_t.other_bytes");
_Static_assert(offsetof(control_cell_t, text) == CONTROL_CELL_TEXT_OFFSET,
               "control_cell_t.text");
_Static_assert(offsetof(control_cell_t, other) == CONTROL_CELL_OTHER_OFFSET,
               "control_cell_t.other");
_Static_assert(offsetof(control_cell_t, retried_micros) == CONTROL_CELL_RETRIED_MICROS_OFFSET,
               "control_cell_t.retried_micros");
_Static_assert(offsetof(control_cell_t, retried_kinds) == CONTROL_CELL_RETRIED_KINDS_OFFSET,
               "control_cell_t.retried_kinds");

typedef struct {
    uint64_t word;
    uint64_t before;
    int64_t time_unix_nano;
    uint64_t owner;
    uint64_t calls;
    uint64_t failures;
    uint64_t slow;
    uint64_t cause;
} transition_t;
_Static_assert(sizeof(transition_t) == TRANSITION_SIZE, "size of transition_t");
_Static_assert(offsetof(transition_t, word) == TRANSITION_WORD_OFFSET,
               "transition_t.word");
_Static_assert(offsetof(transition_t, before) == TRANSITION_BEFORE_OFFSET,
               "transition_t.before");
_Static_assert(offsetof(transition_t, time_unix_nano) == TRANSITION_TIME_UNIX_NANO_OFFSET,
               "transition_t.time_unix_nano");
_Static_assert(offsetof(transition_t, owner) == TRANSITION_OWNER_OFFSET,
               "transition_t.owner");
_Static_assert(offsetof(transition_t, calls) == TRANSITION_CALLS_OFFSET,
               "transition_t.calls");
_Static_assert(offsetof(transition_t, failures) == TRANSITION_FAILURES_OFFSET,
               "transition_t.failures");
_Static_assert(offsetof(transition_t, slow) == TRANSITION_SLOW_OFFSET,
               "transition_t.slow");
_Static_assert(offsetof(transition_t, cause) == TRANSITION_CAUSE_OFFSET,
               "transition_t.cause");

typedef struct {
    uint64_t probes;
    uint64_t held;
} lease_t;
_Static_assert(sizeof(lease_t) == LEASE_SIZE, "size of lease_t");
_Static_assert(offsetof(lease_t, probes) == LEASE_PROBES_OFFSET,
               "lease_t.probes");
_Static_assert(offsetof(lease_t, held) == LEASE_HELD_OFFSET,
               "lease_t.held");

_Static_assert(COLUMN_SEQ_WIDTH
               + COLUMN_TIME_UNIX_NANO_WIDTH + COLUMN_MONO_NANO_WIDTH + COLUMN_DURATION_NANO_WIDTH + COLUMN_FINGERPRINT_WIDTH + COLUMN_USER_WIDTH + COLUMN_SPAN_ID_WIDTH
               + COLUMN_TRACE_ID_WIDTH + COLUMN_MESSAGE_WIDTH + COLUMN_ATTRIBUTES_WIDTH
               + COLUMN_TYPE_WIDTH + COLUMN_SITE_WIDTH + COLUMN_OPERATION_WIDTH + COLUMN_RESOURCE_WIDTH + COLUMN_OWNER_WIDTH + COLUMN_ATTEMPT_WIDTH + COLUMN_SEVERITY_NUMBER_WIDTH + COLUMN_KIND_WIDTH + COLUMN_CATEGORY_WIDTH + COLUMN_FLAGS_WIDTH == ROW_BYTES,
               "the columns fill a row");
_Static_assert(LANE_ROWS % CACHE_LINE_BYTES == 0,
               "no two lanes share a cache line");

#endif
