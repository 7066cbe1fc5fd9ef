"""What a cell says of retries that have ended, as readers see it. Any word at all can be read."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from faultplane import control_schema as layout
from faultplane.errors import FaultplaneError
from faultplane.store import counts, lanes
from faultplane.store.domain import Store

_CELL: Final = layout.CONTROL_CELL


class Retried(NamedTuple):
    """Retries that helped, and that did not, by kind (its code) and by type (its tag).

    ``recent_micros`` and ``usual_micros``: what those took that ended well; zeros = none did.
    """

    kinds: dict[int, tuple[int, int]]
    types: dict[int, tuple[int, int]]
    recent_micros: int
    usual_micros: int


def read(view: Any, base: int, now_ms: int) -> Retried:
    """Of the cell at ``base``; kinds and types that nothing is known of are left out."""
    micros = _CELL.read(view, base, "retried_micros")
    kinds = {
        kind: _by(word, now_ms) for kind, word in enumerate(_CELL.read(view, base, "retried_kinds"))
    }
    types: dict[int, tuple[int, int]] = {}
    for word in _CELL.read(view, base, "retried_types"):
        tag = word >> layout.RETRIED_OF_SHIFT
        known, more = types.get(tag, (0, 0)), _by(word, now_ms)
        types[tag] = known[0] + more[0], known[1] + more[1]
    return Retried(
        {kind: known for kind, known in kinds.items() if kind and any(known)},
        {tag: known for tag, known in types.items() if any(known)},
        micros >> 32,
        micros & 0xFFFF_FFFF,
    )


def _by(word: int, now_ms: int) -> tuple[int, int]:
    """Half as much after each epoch; in full where that began a moment ahead of this clock."""
    epoch, mask = now_ms // layout.RETRIED_EPOCH_MS, layout.RETRIED_EPOCH_MASK
    age = epoch - (word >> layout.RETRIED_EPOCH_SHIFT) & mask
    shift, mask = 0 if age == mask else age, layout.RETRIED_COUNT_MASK
    return (word >> layout.RETRIED_HELPED_SHIFT & mask) >> shift, (word & mask) >> shift


def type_names(store: Store) -> dict[int, str]:
    """Names of types by their tag: those that the store has counted errors of.

    A cell has no room for names, and each error that was retried is counted under its own.
    """
    try:
        found = {row.type for row in counts.read_counts(store)}
    except (FaultplaneError, OSError):
        return {}  # who reads counts says so
    return {layout.type_tag(name): name for name in found if name}


def as_rows(known: Retried, names: Mapping[int, str]) -> dict[str, Any]:
    """As plain values by name; a type whose name is not known any more is its tag, ``#1a2b3c4d``.

    >>> as_rows(Retried({1: (3, 1)}, {0xff: (0, 2)}, 250_000, 0), {})["retries_by_type"]
    [{'type': '#000000ff', 'helped': 0, 'failed': 2}]
    """
    return {
        "retries_by_kind": [
            {"kind": lanes.kind_name(kind), "helped": helped, "failed": failed}
            for kind, (helped, failed) in known.kinds.items()
        ],
        "retries_by_type": [
            {"type": name, "helped": helped, "failed": failed}
            for name, (helped, failed) in sorted(
                (names.get(tag, f"#{tag:08x}"), pair) for tag, pair in known.types.items()
            )
        ],
        "retry_seconds_recent": known.recent_micros / 1e6 or None,
        "retry_seconds_usual": known.usual_micros / 1e6 or None,
    }
