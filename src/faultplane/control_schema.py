"""The file of control cells, declared once as data: what all processes of a host share of a policy.

A cell is one dependency's: the breaker's word, its window of outcomes, the retry budget's bucket,
exact totals, the last transitions. Beside the cells lie leases: what each owner holds of each cell,
so that what a dead process held comes back. The order in which it is all written is in
docs/control.md. Version and hash are of their own: records do not change with a breaker.

Times are milliseconds of CLOCK_MONOTONIC, which all processes of a host share.
"""

from typing import Final
from zlib import crc32

from faultplane.schema import (
    HOT_WORD,
    LOCK_NAMES,
    NAME_BYTES_MAX,
    PAGE_BYTES,
    Field,
    Layout,
)

CONTROL_VERSION: Final = 1
"""Version of these bytes; a process that finds another keeps its cells to itself."""

CONTROL_MAGIC: Final = b"FPLANEc\x01"
LOCK_CONTROL: Final = LOCK_NAMES + 1
"""Byte of the ``locks`` file: held by who takes a cell or declares one anew."""
LOCK_CELLS: Final = LOCK_CONTROL + 1
"""Byte of the ``locks`` file: the pure core holds it while it changes a word of a cell."""
LOCK_HEALTH: Final = LOCK_CELLS + 1
"""This byte and as many behind it as there are cells: held by who makes a cell's health check."""

# breaker word = state:3 | generation:18 | successes:5 | until_ms:38, most significant first.
BREAKER_CLOSED: Final = 0
BREAKER_OPEN: Final = 1
BREAKER_HALF_OPEN: Final = 2
BREAKER_FORCED_OPEN: Final = 3
BREAKER_DISABLED: Final = 4
BREAKER_METRICS_ONLY: Final = 5
BREAKER_STATES: Final = (
    "closed", "open", "half-open", "forced-open", "disabled", "metrics-only",
)  # fmt: skip
BREAKER_STATE_SHIFT: Final = 61
BREAKER_GENERATION_SHIFT: Final = 43
BREAKER_GENERATION_MASK: Final = 0x3_FFFF
BREAKER_SUCCESSES_SHIFT: Final = 38
BREAKER_SUCCESSES_MASK: Final = 0x1F
BREAKER_UNTIL_MASK: Final = 0x3F_FFFF_FFFF

# A call's ticket: the generation it was let through in, and as what.
TICKET_PROBE: Final = 1 << 18
TICKET_UNCOUNTED: Final = 1 << 19

# word of a bucket = epoch:32 | generation:8 | count:24.
BUCKETS: Final = 10
"""A time window is so many buckets; the oldest goes when a new one begins."""
BUCKET_EPOCH_SHIFT: Final = 32
BUCKET_GENERATION_SHIFT: Final = 24
BUCKET_GENERATION_MASK: Final = 0xFF
BUCKET_COUNT_MASK: Final = 0xFF_FFFF
BUCKET_MS_MIN: Final = 10
WINDOW_MS_MIN: Final = BUCKETS * BUCKET_MS_MIN
WINDOW_MS_MAX: Final = 86_400_000

# word of a count window = generation:8 | a one, then an outcome a bit, the last call lowest.
OUTCOMES_GENERATION_SHIFT: Final = 56
WINDOW_CALLS_MAX: Final = 48
STREAK_MAX: Final = BUCKET_COUNT_MASK

# bucket word of a retry budget = refill_ms:38 | milli_tokens:26.
BUDGET_REFILL_SHIFT: Final = 26
BUDGET_TOKENS_MASK: Final = 0x3FF_FFFF
MILLI: Final = 1000
BUDGET_TOKENS_MAX: Final = 60_000

# leases of one owner: incarnation:32 | generation:18 | probes:14, and incarnation:32 | permits:16
# | tokens:16.
LEASE_OWNER_SHIFT: Final = 32
LEASE_GENERATION_SHIFT: Final = 14
LEASE_PROBES_MASK: Final = 0x3FFF
LEASE_PERMITS_SHIFT: Final = 16
LEASE_HELD_MASK: Final = 0xFFFF

# word of the health = state:2 | results in a row that speak against it:24 | checked_ms:38.
HEALTH_UNKNOWN: Final = 0
HEALTH_GOOD: Final = 1
HEALTH_BAD: Final = 2
HEALTH_STATES: Final = ("unknown", "healthy", "unhealthy")
HEALTH_STATE_SHIFT: Final = 62
HEALTH_STREAK_SHIFT: Final = 38
HEALTH_STREAK_MASK: Final = 0xFF_FFFF
HEALTH_CHECKED_MASK: Final = 0x3F_FFFF_FFFF

PROBES_MAX: Final = 31
PERMITS_MAX: Final = 0xFFFF
RATE_ONE: Final = 1_000_000
"""Rates are parts of a million."""

TOTALS: Final = (
    "failures", "slow", "ignored", "rejected", "late", "probes", "opened", "closed", "retries",
    "recovered", "budget_exhausted", "full", "timeouts", "gave_up", "fallbacks", "reclaimed",
    "rate_limited",
)  # fmt: skip
"""What is counted exactly, by all processes together, since the cell was made."""
# outcomes of retries, of a kind or of a type = its code or its tag:32 | epoch:16 | helped:8
# | failed:8; what they took, in microseconds = recent:32 | usual:32.
RETRIED_TYPES: Final = 11
"""Types of error of one dependency whose retries are counted apart."""
RETRIED_KINDS: Final = 16
RETRIED_OF_SHIFT: Final = 32
RETRIED_EPOCH_SHIFT: Final = 16
RETRIED_EPOCH_MASK: Final = 0xFFFF
RETRIED_HELPED_SHIFT: Final = 8
RETRIED_COUNT_MASK: Final = 0xFF
RETRIED_MAX: Final = 64
"""Outcomes that are kept: at so many both counts are halved before the next."""
RETRIED_EPOCH_MS: Final = 30_000
"""Outcomes count half as much after so long, a quarter after twice as long."""
RETRIED_RECENT_SHIFT: Final = 2
RETRIED_USUAL_SHIFT: Final = 5
"""A retry counts a quarter of what is recent, and a 32nd of what is usual."""

# what a retry was for = tag of the type:32 | 0:24 | code of the kind:8; 0 = not to be counted.
REASON_KIND_MASK: Final = 0xFF
REASON_TYPE_SHIFT: Final = 32

TRANSITIONS: Final = 16
"""Transitions kept: that of generation ``g`` at ``g % TRANSITIONS``."""
DECLARATION_BYTES_MAX: Final = 700

CONTROL: Final = Layout(
    "control",
    PAGE_BYTES,
    Field("magic", "8s", "FPLANEc and a version byte"),
    Field("layout_version", "I", "CONTROL_VERSION"),
    Field("cells_max", "I", "cells there is room for"),
    Field("control_hash", "Q", "CONTROL_HASH of the creator"),
    Field("boot_id", "16s", "kernel boot id: times of another boot mean nothing"),
    Field("owner_slots", "I", "leases a cell"),
    Field("leases_offset", "I", "start of the leases"),
    Field("file_bytes", "Q", "size of the file"),
    Field("crc", "I", "crc32 of the bytes before it"),
    Field("pad", "I", "zero"),
    Field("cells_used", HOT_WORD, "cells taken so far (first word); stored after the cell"),
    Field("owners_high", HOT_WORD, "1 + the highest owner slot that ever attached (first word)"),
)

CONFIG_FIELDS: Final = (
    Field("window_ms", "Q", "length of the time window; 0 = none"),
    Field("window_calls", "Q", "calls of the count window; 0 = none"),
    Field("calls_min", "Q", "calls in the window before its rates count"),
    Field("failure_rate", "Q", "millionths of calls that fail; 0 = not asked for"),
    Field("slow_rate", "Q", "millionths of calls that are slow; 0 = not asked for"),
    Field("slow_call_nano", "Q", "a call that takes longer is slow; 0 = none is"),
    Field("consecutive", "Q", "failures in a row that open it; 0 = not asked for"),
    Field("probes", "Q", "calls let through when half-open; 0 = no breaker"),
    Field("probe_ms", "Q", "how long probes may take before others are let through"),
    Field("open_ms", "Q", "how long it stays open"),
    Field("open_ms_max", "Q", "the longest, after probes failed again and again"),
    Field("open_factor_milli", "Q", "how the time grows each time probes fail, in thousandths"),
    Field("asked_ms_min", "Q", "the other side opens it by asking for so long a wait; 0 = never"),
    Field("ratio_milli", "Q", "tokens a call brings, in thousandths"),
    Field("floor_milli", "Q", "tokens a second brings, in thousandths"),
    Field("capacity_milli", "Q", "tokens kept at most, in thousandths; 0 = no budget"),
    Field("limit", "Q", "calls under way at once; 0 = any number"),
    Field("rate_milli", "Q", "calls a second, in thousandths; 0 = any number"),
    Field("burst_milli", "Q", "calls that may come at once, in thousandths"),
)

CONFIG_WORDS: Final = len(CONFIG_FIELDS)
_DAY_MS: Final = 86_400_000
CONFIG_MAX: Final = {
    "window_ms": WINDOW_MS_MAX,
    "window_calls": WINDOW_CALLS_MAX,
    "calls_min": BUCKET_COUNT_MASK,
    "failure_rate": RATE_ONE,
    "slow_rate": RATE_ONE,
    "slow_call_nano": _DAY_MS * 1_000_000,
    "consecutive": STREAK_MAX,
    "probes": PROBES_MAX,
    "probe_ms": _DAY_MS,
    "open_ms": _DAY_MS,
    "open_ms_max": _DAY_MS,
    "open_factor_milli": 10 * MILLI,
    "ratio_milli": MILLI,
    "floor_milli": BUDGET_TOKENS_MAX * MILLI,
    "capacity_milli": BUDGET_TOKENS_MAX * MILLI,
    "limit": PERMITS_MAX,
    "asked_ms_min": _DAY_MS,
    "rate_milli": BUDGET_TOKENS_MAX * MILLI,
    "burst_milli": BUDGET_TOKENS_MAX * MILLI,
}
"""The most that each of `CONFIG_FIELDS` may be: who reads more takes this, since the file of all
processes may have been damaged by one of them."""

CONTROL_CELL: Final = Layout(
    "control_cell",
    PAGE_BYTES,
    Field("name_hash", "Q", "digest of the name; 0 = the cell is free"),
    Field("name_bytes", "I", "length of the name"),
    Field("pad", "I", "zero"),
    Field("name", f"{NAME_BYTES_MAX + 1}s", "name of the dependency, UTF-8"),
    *CONFIG_FIELDS,
    Field("retried_types", f"{RETRIED_TYPES}Q", "retries that helped and that did not, of a type"),
    # Words below change. What every call reads, and few write, has two cache lines of its own.
    Field("breaker", HOT_WORD, "the breaker's word; config_version; opened in a row"),
    Field("budget", HOT_WORD, "the retry budget's bucket; failures in a row; that of the rate"),
    Field("outcomes", HOT_WORD, "count window: failures; slow calls (first two words)"),
    Field("buckets", f"{4 * BUCKETS}Q", "time window: calls, failures, slow, 0 of each bucket"),
    Field("totals", f"{len(TOTALS)}Q", "exact totals, in the order of TOTALS"),
    Field("transitions", f"{8 * TRANSITIONS}Q", "a `transition` each"),
    Field("declared", "Q", "times it was declared"),
    Field("differs", "Q", "times another declaration took the place of the one that was"),
    Field("declared_unix_nano", "q", "when the governing declaration was made"),
    Field("declared_by", "Q", "incarnation of who made it; 0 = none"),
    Field("other_unix_nano", "q", "when the one before it was made"),
    Field("other_by", "Q", "incarnation of who made that"),
    Field("health", "4Q", "of health checks: word; checks; those that failed; when it changed, ns"),
    Field("text_bytes", "I", "length of the governing declaration"),
    Field("other_bytes", "I", "length of the one before it, 0 = there was none"),
    Field("text", f"{DECLARATION_BYTES_MAX}s", "the governing declaration, JSON"),
    Field("other", f"{DECLARATION_BYTES_MAX}s", "the one before it, JSON"),
    Field("retried_micros", "Q", "what retries that ended well took, lately and usually"),
    Field("retried_kinds", f"{RETRIED_KINDS}Q", "retries that helped and that did not, of a kind"),
)
CONTROL_CELL_BREAKER: Final = 0
CONTROL_CELL_CONFIG_VERSION: Final = 1
CONTROL_CELL_REOPENED: Final = 2
CONTROL_CELL_TOKENS: Final = 0
CONTROL_CELL_STREAK: Final = 1
CONTROL_CELL_RATE: Final = 2
CONTROL_CELL_HEALTH: Final = 0
CONTROL_CELL_CHECKS: Final = 1
CONTROL_CELL_CHECKS_FAILED: Final = 2
CONTROL_CELL_HEALTH_CHANGED: Final = 3

TRANSITION: Final = Layout(
    "transition",
    64,
    Field("word", "Q", "the breaker's word after it; stored last"),
    Field("before", "Q", "the breaker's word before it"),
    Field("time_unix_nano", "q", "when"),
    Field("owner", "Q", "incarnation of whose call it was; 0 = of no owner"),
    Field("calls", "Q", "calls in the window then"),
    Field("failures", "Q", "of these, failures"),
    Field("slow", "Q", "of these, slow"),
    Field("cause", "Q", "why, one of CAUSES"),
)
CAUSES: Final = (
    "unknown", "failure rate", "slow call rate", "failures in a row", "probe failed",
    "probes succeeded", "open time over", "probes timed out", "asked to wait", "forced", "reset",
    "health check",
)  # fmt: skip
CAUSE_FAILURE_RATE: Final = 1
CAUSE_SLOW_RATE: Final = 2
CAUSE_CONSECUTIVE: Final = 3
CAUSE_PROBE_FAILED: Final = 4
CAUSE_PROBES_SUCCEEDED: Final = 5
CAUSE_OPEN_TIME: Final = 6
CAUSE_PROBES_TIMED_OUT: Final = 7
CAUSE_ASKED: Final = 8
CAUSE_FORCED: Final = 9
CAUSE_RESET: Final = 10
CAUSE_HEALTH: Final = 11

LEASE: Final = Layout(
    "lease",
    16,
    Field("probes", "Q", "incarnation, generation, probes under way"),
    Field("held", "Q", "incarnation, permits, tokens held through a backoff"),
)

LAYOUTS: Final = (CONTROL, CONTROL_CELL, TRANSITION, LEASE)


def _control_hash() -> int:
    data = "|".join([layout.signature for layout in LAYOUTS] + [str(CONTROL_VERSION)]).encode()
    return crc32(data) << 32 | crc32(data[::-1])


CONTROL_HASH: Final = _control_hash()


def type_tag(name: str) -> int:
    """What a type of error is known by in a cell: 32 bits of its name, never 0.

    >>> type_tag("shop.errors.Busy")
    3303164500
    """
    return crc32(name.encode("utf-8", "replace")) or 1


def cells_for(owner_slots: int) -> int:
    """Cells of a domain with so many owner slots.

    >>> cells_for(1024)
    256
    """
    return 256 if owner_slots >= 1024 else 128 if owner_slots >= 128 else 32


def lease_row_bytes(owner_slots: int) -> int:
    """Bytes of the leases of one cell: whole pages, so that they are reserved with the cell."""
    return -(-owner_slots * LEASE.size // PAGE_BYTES) * PAGE_BYTES


def leases_offset(cells_max: int) -> int:
    """Where the leases of the first cell start."""
    return CONTROL.size + cells_max * CONTROL_CELL.size


def control_bytes(cells_max: int, owner_slots: int) -> int:
    """Size of the file; what belongs to cells that are free takes no memory."""
    return leases_offset(cells_max) + cells_max * lease_row_bytes(owner_slots)
