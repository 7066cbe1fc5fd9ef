"""One exception becomes one row: the path of every record.

Everything that may run Python of the application (``__str__``, the classifier, attribute encoding)
comes first, without a lock. From the count to the commit the process lock is held, and what a
signal handler or a finalizer records meanwhile waits until the record under way is written: it is
counted exactly and has no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic_ns, time_ns
from typing import Any, Final, TypeAlias

from faultplane.schema import (
    ATTRIBUTES_BYTES_MAX,
    FLAG_HANDLED,
    FLAG_NO_ATTRIBUTES,
    KIND_INTERNAL,
)

from . import memory
from .fingerprint import traceback_of
from .message import prepare, text_of
from .recorder import DROP, bounded, state
from .sighting import Site, TypeInfo, encode, find_type, key_of, sight
from .trace import trace_ids, trace_user
from .writer import CLAIM_NEW_DICTIONARY, CLAIM_OK

__all__ = ["classify", "record", "seen"]

ATTEMPT_MAX: Final = 65_535
DURATION_NANO_MAX: Final = 2**63 - 1
REHOMED_AT_ONCE_MAX: Final = 256
SPENT_MAX: Final = 4096

Known: TypeAlias = tuple[BaseException, tuple[object, ...], TypeInfo, Any, str | None, bytes]
"""What `sight` is told of an error: itself, key, type, classification, operation and message."""
Row: TypeAlias = tuple[int, bytes, bytes | None, bytes | None, int, int, int]
"""What a row has of a record: duration, message, attributes, ids, user, attempt and flags."""

_ZERO: Final = 0
_MARK: Final = "_faultplane_recorded"
_fields_of: Final[Any] = BaseException.__dict__["__dict__"].__get__


def record(
    exc: BaseException,
    operation: str | None = None,
    attempt: int = 0,
    duration_nano: int = 0,
    attributes: Mapping[str, Any] | None = None,
    handled: bool = True,
) -> Any:
    """Count an exception and write it as a row of the domain; give its classification.

    ``operation`` says what was being done (str), ``attempt`` how many tries came before (0 to
    65,535), ``duration_nano`` how long it had run (0 to 2**63 - 1, in nanoseconds), ``attributes``
    is a mapping of further facts (4,096 encoded bytes at most), ``handled`` whether the program
    goes on. Raises TypeError or ValueError for arguments out of bounds, before anything is
    written; never raises because of storage. Before init() errors are counted in the process.
    """
    try:
        if not issubclass(type(exc), BaseException):
            raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
        if operation is not None and type(operation) is not str:
            operation = _plain(operation)
        if attributes is not None:
            _check_mapping(attributes)
        if attempt is not _ZERO:
            bounded(attempt, "attempt", ATTEMPT_MAX)
        if duration_nano is not _ZERO:
            bounded(duration_nano, "duration_nano", DURATION_NANO_MAX)
    except (RecursionError, MemoryError):
        state.lost[KIND_INTERNAL] += 1
        state.has_lost = True
        return state.unclassified
    try:
        return _record(exc, operation, attempt, duration_nano, attributes, handled)
    except (RecursionError, MemoryError):
        # Neither stack nor memory may be left for a single call: later ones count it.
        state.lost[KIND_INTERNAL] += 1
        state.has_lost = True
    except Exception as error:
        if not _is_ours(error):
            raise
        _lose(KIND_INTERNAL)
    return state.unclassified


def _check_mapping(attributes: object) -> None:
    if not isinstance(attributes, Mapping):
        kind = type(attributes).__name__
        raise TypeError(f"attributes must be a mapping or None, got {kind}")


def _record(
    exc: BaseException,
    operation: str | None,
    attempt: int,
    duration_nano: int,
    attributes: Mapping[str, Any] | None,
    handled: bool,
) -> Any:
    """What `record` does, with arguments that are good."""
    info = state.types.get(id(type(exc)))
    if info is not None and info.is_plain:
        classification = info.classification
    else:
        info, classification = find_type(exc)
    if info.is_ignored or not state.active:
        return classification
    settled = False
    try:
        message, flags = prepare(
            text_of(exc), hide=state.messages != "raw", redact_more=state.redact_more
        )
        flags |= info.flags | FLAG_HANDLED if handled else info.flags
        ids = trace_ids()
        encoded = None
        if attributes is not None:
            encoded = encode(attributes)
            if encoded is None or len(encoded) > ATTRIBUTES_BYTES_MAX:
                encoded = None
                flags |= FLAG_NO_ATTRIBUTES
        key = key_of(exc, info, operation)
        known = (exc, key, info, classification, operation, message)
        # Asked after the last of the application's Python: that may have forked.
        if not state.live[0] or state.fence[0] != state.incarnation:
            state.wake()
        row = (duration_nano, message, encoded, ids, trace_user(), attempt, flags)
        with memory.process_lock:
            if state.inside:
                state.deferred.append(partial(_count, known, DROP["reentrant"]))
                return classification
            reason = _count_and_write(known, row)
            settled = True
            if state.deferred:
                state.run_deferred()
        if reason == DROP["no_storage"]:
            state.try_storage()  # the directory has gone: look for it where it should be
        if state.has_lost:
            state.settle()
    except (RecursionError, MemoryError):
        if not settled:
            state.lost[info.kind] += 1
            state.has_lost = True
    return classification


def _count_and_write(known: Known, row: Row) -> int:
    """Count the error, write its row; 0, or the reason why there is none.

    RecursionError and MemoryError leave it only while nothing is counted. After the count, no call
    is made for one: there may be no stack or memory left.
    """
    state.inside = True
    counted = False
    reason = 0
    writer, mark = state.writer, state.mark
    seq = 0 if writer is None else writer.seq
    try:
        site, now = _count(known)
        counted = True
        reason = _write_row(known, row, site, now)
        if reason:
            state.aggregate.suppress(site.cell, reason)
    except (RecursionError, MemoryError):
        if not counted:
            raise
        if writer is None or writer.seq == seq:
            state.lost_rows += 1
            state.has_lost = True
    except Exception as error:
        if not _is_ours(error):
            raise
        if not counted or mark == state.mark:  # else the row under way is the parent's
            _lose(None if counted else known[2].kind)
    finally:
        state.inside = False
    return reason


def _is_ours(error: Exception) -> bool:
    """Whether an error comes from this core, and not from a signal handler that raised.

    What fails here is not the application's affair. What its signal handlers raise is: a time
    limit that came due while an error was recorded must not be lost.
    """
    entry = traceback_of(error)
    while entry.tb_next is not None:
        entry = entry.tb_next
    scope: dict[str, object] = entry.tb_frame.f_globals
    return scope.get("__package__") == __package__


def _lose(kind: int | None) -> None:
    """Something failed that cannot: the count stays exact, the row is lost."""
    with memory.process_lock:
        if kind is not None:
            state.count_overflow(kind, 1, DROP["row_lost"])
        else:
            state.aggregate.drop(DROP["row_lost"])


def _count(known: Known, reason: int = 0) -> tuple[Site, int]:
    """Count one of the error; (what is known of it, when). With ``reason``, it has no row.

    What raises has not counted it.
    """
    exception = known[0]
    site = state.sites.get(known[1]) or sight(*known)
    now = time_ns()
    if type(exception) is not MemoryError:  # recycled by the interpreter
        _fields_of(exception)[_MARK] = state.mark ^ id(exception)
    if site.cell:
        state.aggregate.count_at(site.cell, now, reason)
    else:
        state.count_overflow(known[2].kind, 1, reason)
    return site, now


def _write_row(known: Known, row: Row, site: Site, time_unix_nano: int) -> int:
    """Write and publish the row; 0, or the reason why there is none."""
    writer = state.writer
    if writer is None:
        return state.why_unbound()
    mono_nano = monotonic_ns()
    if mono_nano >= state.look_mono_nano:
        state.look(mono_nano)
    if state.detail_per_second and not _within_budget(site.fingerprint, mono_nano):
        return DROP["detail_budget"]
    duration_nano, message, attributes, ids, user, attempt, flags = row
    if state.messages == "template":
        message = site.template
    arena_bytes = len(message) + len(attributes) if attributes else len(message)
    for _ in range(REHOMED_AT_ONCE_MAX):
        outcome = writer.room(arena_bytes)
        if outcome == CLAIM_NEW_DICTIONARY:
            state.renew_dictionaries(writer)
            site = sight(*known)
        elif outcome != CLAIM_OK:
            return outcome
        if writer.put(
            site,
            time_unix_nano,
            mono_nano,
            duration_nano,
            message,
            attributes,
            ids,
            user,
            attempt,
            flags,
        ):
            return 0
        # Closed under us: the same record goes into another lane.
        writer.rehomed += 1
        writer.leave_lane()
    return DROP["row_lost"]


def _within_budget(fingerprint: int, mono_nano: int) -> bool:
    """Whether this second has a row left for the fingerprint; takes it.

    Sites do not know: one error has a site for each operation, and forgets them with the caches.
    Where more differ in a second than are remembered, they share what one may have.
    """
    second, spent = mono_nano // 1_000_000_000, state.spent
    if state.spent_second != second:
        state.spent_second = second
        spent.clear()
    if fingerprint not in spent and len(spent) >= SPENT_MAX:
        fingerprint = 0
    rows = spent.get(fingerprint, 0)
    if rows >= state.detail_per_second:
        return False
    spent[fingerprint] = rows + 1
    return True


def _plain(operation: object) -> str:
    """A str of a subclass as a plain one."""
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a str or None, got {type(operation).__name__}")
    return str.__str__(operation)


def classify(exc: BaseException) -> Any:
    """Classification of an exception: what kind of error it is and what helps.

    A cached lookup for a type that was seen before. Raises TypeError for anything but an
    exception.
    """
    if not issubclass(type(exc), BaseException):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    info = state.types.get(id(type(exc)))
    return info.classification if info is not None and info.is_plain else find_type(exc)[1]


def seen(exc: object) -> bool:
    """Whether this very exception object was recorded in this process."""
    # The mark names process and object: a copy, and what another process sent, are others.
    if not issubclass(type(exc), BaseException):
        return False
    found: object = _fields_of(exc).get(_MARK)
    return found == state.mark ^ id(exc)


# ------------------------------------------------------------------------------ in-flight slots
