"""The header of a segment: whether it is what this library would have written."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from faultplane import schema
from faultplane.errors import CorruptFile, LayoutMismatch
from faultplane.store import files

LANES_MAX: Final = 16_383
_SEGMENT: Final = schema.SEGMENT

shape = lru_cache(maxsize=16)(schema.segment_shape)


def check(view: memoryview, name: str, number: int, size: int) -> int:
    """Lanes of a segment whose header says what this library would have written.

    Where the columns are follows from the lanes, so nobody has to believe an offset that is read
    from a file. Raises CorruptFile or LayoutMismatch.
    """
    files.check_header(view, _SEGMENT, "segment", name, size)
    head = _SEGMENT.read_all(view)
    if head["schema_hash"] != schema.SCHEMA_HASH:
        raise LayoutMismatch(f"schema hash of {name}", schema.SCHEMA_HASH, head["schema_hash"])
    lanes = head["lanes"]
    if not isinstance(lanes, int) or not 1 <= lanes <= LANES_MAX:
        raise CorruptFile(f"lanes of {name} must be 1 to {LANES_MAX}, got {lanes}")
    known = shape(lanes)
    offsets = head.pop("column_offsets")
    if not isinstance(offsets, tuple) or offsets[: len(schema.COLUMNS)] != known.column_offsets:
        raise CorruptFile(f"columns of {name} must start at {known.column_offsets}")
    expected = {
        "number": number,
        "lane_rows": schema.LANE_ROWS,
        "row_bytes": schema.ROW_BYTES,
        "arena_offset": known.arena_offset,
        "arena_bytes_per_lane": schema.ARENA_BYTES_PER_LANE,
        "file_bytes": known.file_bytes,
        "column_count": len(schema.COLUMNS),
    }
    for field, value in expected.items():
        if head[field] != value:
            raise CorruptFile(f"{field} of {name} must be {value}, got {head[field]}")
    if size < known.file_bytes:
        raise CorruptFile(f"{name} must have {known.file_bytes} bytes, got {size}")
    return lanes
