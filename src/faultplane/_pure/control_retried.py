"""Words of a control cell that say what came of retries, read and made."""

from __future__ import annotations

from typing import Final

from faultplane.control_schema import (
    CONTROL_CELL,
    REASON_KIND_MASK,
    REASON_TYPE_SHIFT,
    RETRIED_COUNT_MASK,
    RETRIED_EPOCH_MASK,
    RETRIED_EPOCH_MS,
    RETRIED_EPOCH_SHIFT,
    RETRIED_HELPED_SHIFT,
    RETRIED_KINDS,
    RETRIED_MAX,
    RETRIED_OF_SHIFT,
    RETRIED_RECENT_SHIFT,
    RETRIED_TYPES,
    RETRIED_USUAL_SHIFT,
)

_MICROS: Final = CONTROL_CELL.offset["retried_micros"] // 8
_KINDS: Final = CONTROL_CELL.offset["retried_kinds"] // 8
_TYPES: Final = CONTROL_CELL.offset["retried_types"] // 8

Counts = tuple[int, int]
"""Retries that helped, and retries that did not."""


def _epoch(now_ms: int) -> int:
    return now_ms // RETRIED_EPOCH_MS & RETRIED_EPOCH_MASK


def _age(word: int, epoch: int) -> int:
    """How old a word is, in epochs; -1 where it is of a moment ahead of this clock."""
    age = epoch - (word >> RETRIED_EPOCH_SHIFT) & RETRIED_EPOCH_MASK
    return -1 if age == RETRIED_EPOCH_MASK else age


def by(word: int, epoch: int) -> Counts:
    """What a word says in an epoch: half as much after each."""
    helped, failed = word >> RETRIED_HELPED_SHIFT & RETRIED_COUNT_MASK, word & RETRIED_COUNT_MASK
    shift = max(_age(word, epoch), 0)
    return helped >> shift, failed >> shift


def _word(of: int, epoch: int, helped: int, failed: int) -> int:
    counts = helped << RETRIED_HELPED_SHIFT | failed
    return of << RETRIED_OF_SHIFT | epoch << RETRIED_EPOCH_SHIFT | counts


def more(word: int, of: int, epoch: int, has_helped: bool) -> int:
    """The word with one outcome more; both counts are halved first where there is no room."""
    helped, failed = by(word, epoch)
    if helped + failed >= RETRIED_MAX:
        helped, failed = helped >> 1, failed >> 1
    newest = epoch + (_age(word, epoch) < 0) & RETRIED_EPOCH_MASK
    return _word(of, newest, helped + has_helped, failed + (not has_helped))


def of_type_more(words: list[int], tag: int, epoch: int, has_helped: bool) -> tuple[int, int]:
    """The place that changes with one more outcome of a type, and its word then.

    The first that is its own or free. Where there is none, the place it would have is worn down:
    what is there loses half of its counts, and with the last its place.
    """
    for step in range(RETRIED_TYPES):
        at = (tag + step) % RETRIED_TYPES
        if words[at] == 0 or words[at] >> RETRIED_OF_SHIFT == tag:
            return at, more(words[at], tag, epoch, has_helped)
    at = tag % RETRIED_TYPES
    helped, failed = (count >> 1 for count in by(words[at], epoch))
    if helped + failed:
        return at, _word(words[at] >> RETRIED_OF_SHIFT, epoch, helped, failed)
    return at, more(0, tag, epoch, has_helped)


def of_type(words: list[int], tag: int, epoch: int) -> Counts:
    """All there is of a type: two who came at once may have taken a place each."""
    found = [by(word, epoch) for word in words if word >> RETRIED_OF_SHIFT == tag]
    return sum(helped for helped, _ in found), sum(failed for _, failed in found)


def _took(word: int, micros: int) -> int:
    """The word of what retries took, with one more."""
    micros = min(micros, 0xFFFF_FFFF)
    if word == 0:
        return micros << 32 | micros
    recent, usual = word >> 32, word & 0xFFFF_FFFF
    recent += micros - recent >> RETRIED_RECENT_SHIFT
    usual += micros - usual >> RETRIED_USUAL_SHIFT
    return recent << 32 | usual


# ------------------------------------------------------------------------ the words of a cell


def count(words: memoryview, reason: int, helped: bool, micros: int, now_ms: int) -> None:
    """A retry has ended that was made for ``reason``."""
    kind, tag, epoch = reason & REASON_KIND_MASK, reason >> REASON_TYPE_SHIFT, _epoch(now_ms)
    if 0 < kind < RETRIED_KINDS:
        words[_KINDS + kind] = more(words[_KINDS + kind], kind, epoch, helped)
    if tag:
        place, word = of_type_more(_types(words), tag, epoch, helped)
        words[_TYPES + place] = word
    if micros:
        words[_MICROS] = _took(words[_MICROS], micros)


def of_kind_in(words: memoryview, kind: int, now_ms: int) -> Counts:
    """Retries after errors of a kind, by then."""
    if not 0 <= kind < RETRIED_KINDS:
        raise IndexError(f"kind must be 0 to {RETRIED_KINDS - 1}, got {kind}")
    return by(words[_KINDS + kind], _epoch(now_ms))


def of_type_in(words: memoryview, tag: int, now_ms: int) -> Counts:
    """Retries after errors of a type."""
    return of_type(_types(words), tag, _epoch(now_ms))


def micros_in(words: memoryview) -> tuple[int, int]:
    """What retries took, lately and usually."""
    word = words[_MICROS]
    return word >> 32, word & 0xFFFF_FFFF


def forget(words: memoryview) -> None:
    """All of it begins anew."""
    kinds = range(_KINDS, _KINDS + RETRIED_KINDS)
    for at in (*range(_TYPES, _TYPES + RETRIED_TYPES), _MICROS, *kinds):
        words[at] = 0


def _types(words: memoryview) -> list[int]:
    found: list[int] = words[_TYPES : _TYPES + RETRIED_TYPES].tolist()
    return found
