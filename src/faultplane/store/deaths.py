"""Death records: what a process was doing when it died, kept after it.

``deaths`` holds one line a death, ``<crc32> <JSON>``, in order; past 1 MiB it becomes
``deaths-old``, of which one is kept. A torn or foreign line is skipped, never believed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final
from zlib import crc32

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile, DomainNotFound, FaultplaneError, StorageError
from faultplane.store import death_lines, files, host, lanes, manner, owners
from faultplane.store.domain import Store
from faultplane.store.owners import Life, OwnerRow

NAME: Final = "deaths"
OLD_NAME: Final = "deaths-old"
DEATHS_BYTES_MAX: Final = 1 << 20
RECORDS_MAX: Final = 10
INFLIGHT_LISTED_MAX: Final = 64
MESSAGE_CHARS_MAX: Final = 256
FRAMES_MAX: Final = 64
FRAME_CHARS_MAX: Final = 512
_READ_BYTES_MAX: Final = 4 * DEATHS_BYTES_MAX
"""Of a larger file, which no writer leaves, the end is read."""

WAYS: Final = ("exit", "signal", "oom", "exec", "unknown")
"""What ``how`` may be."""
_INCARNATION: Final = re.compile(rb'\{"incarnation":([0-9]{1,10}),')

FIELDS: Final = {
    "incarnation": "number of the owner, as in the owner column of its records",
    "how": "exit, signal, oom (by the kernel, for want of memory), exec or unknown",
    "summary": "the same as a sentence",
    "time_unix_nano": "when: of the signal or the exit, else when it was found",
    "time_is_exact": "whether that is the moment of death rather than of its finding",
    "found_unix_nano": "when a maintainer or reader noticed",
    "seen_unix_nano": "last sign of life: registration, newest record or newest operation",
    "start_unix_nano": "when the process registered",
    "service": "service.name of the process",
    "pid": "process id in its own namespace",
    "exit_code": "as far as it is known",
    "signal": "signal number, 0 = none seen",
    "signal_name": "such as SIGSEGV",
    "fault_address": "address that a segmentation fault was about",
    "thread_id": "native id of the thread that the signal hit",
    "frames": 'its Python frames, innermost first, each as `File "name", line 3 in function`',
    "in_flight": "operations that had not ended: operation, age_seconds, trace_id, thread_id, "
    "start_unix_nano, slot, parent (slot of the enclosing one, -1 = none)",
    "in_flight_count": "how many there were, also past the 64 that are listed",
    "records": "its last records, at most 10, oldest first",
    "memory_cgroup": "the memory cgroup it registered in: inode number of its directory, low 32 "
    "bits; 0 = the kills of the whole host count",
    "oom_kills": "kills for want of memory in that cgroup so far, when it was found",
    "oom_kills_since": "of these, since it was last known to live; -1 = the cgroup was not asked, "
    "or was gone or out of sight",
    "resource": "resource attributes of the process",
    "store": "name of the store directory",
}
"""What a death record holds; `read_deaths` adds ``stored``."""

_FAULTHANDLER_SIGNALS: Final = {
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Floating-point exception": signal.SIGFPE,
    "Floating point exception": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
    "Aborted": signal.SIGABRT,
}


# ---------------------------------------------------------------------------------- computing


def describe(store: Store, row: OwnerRow) -> dict[str, Any]:
    """The death record of an owner whose process is gone; reads, stores nothing."""
    return describe_all(store, [row])[0]


def describe_all(
    store: Store, rows: Sequence[OwnerRow], counts: manner.Counts | None = None
) -> list[dict[str, Any]]:
    """Death records of owners that were found dead at the same look; reads, stores nothing.

    All at once, so that one kill for want of memory is not taken for the reason of two deaths.
    Who stores them gives the ``counts`` that were read before its last look at who lives.
    """
    if not rows:
        return []
    found, parts = [], []
    for row in rows:
        inflight, fatal = _last_breath(store, row)
        records = lanes.last_rows(store, row.slot, row.generation, row.incarnation, RECORDS_MAX)
        for record in records:
            record["message"] = record["message"][:MESSAGE_CHARS_MAX]
        found.append(manner.Found(row, fatal))
        parts.append((inflight, records))
    stored = [death for name in (OLD_NAME, NAME) for death in _records(store, name)]
    manners = manner.of_all(found, stored, counts or manner.Counts())
    return [
        _describe(store, one, how, *rest)
        for one, how, rest in zip(found, manners, parts, strict=True)
    ]


def _describe(
    store: Store,
    found: manner.Found,
    how: dict[str, Any],
    inflight: list[dict[str, Any]],
    records: list[dict[str, Any]],
) -> dict[str, Any]:
    row, fatal, now = found.row, found.fatal, time.time_ns()
    death: dict[str, Any] = {
        "incarnation": row.incarnation,
        **how,
        "found_unix_nano": now,
        "seen_unix_nano": max(
            [row.start_unix_nano]
            + [entry["start_unix_nano"] for entry in inflight]
            + [record["time_unix_nano"] for record in records]
        ),
        "start_unix_nano": row.start_unix_nano,
        "service": row.service,
        "pid": row.pid,
        "exit_code": row.exit_code,
        "fault_address": fatal.get("address", 0),
        "thread_id": fatal.get("thread_id", 0),
        "frames": fatal.get("frames", []),
        "in_flight_count": len(inflight),
        "records": records,
        "resource": row.attributes,
        "store": store.name,
    }
    exact = fatal.get("time_unix_nano", 0) or (row.end_unix_nano if death["how"] == "exit" else 0)
    death["time_unix_nano"] = exact or row.end_unix_nano or now
    death["time_is_exact"] = exact != 0
    for entry in inflight:
        age_nano = death["time_unix_nano"] - entry["start_unix_nano"]
        entry["age_seconds"] = round(max(age_nano, 0) / 1e9, 6)
    death["in_flight"] = inflight[:INFLIGHT_LISTED_MAX]
    return death


def _last_breath(store: Store, row: OwnerRow) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(Operations in flight, oldest first; the fatal slot) of an owner; empty without its file."""
    name = owners.breath_name(row.slot)
    try:
        descriptor, size = files.open_file(store.directory_fd, name)
        try:
            if size < schema.BREATH_BYTES:
                raise CorruptFile(f"{name} must have {schema.BREATH_BYTES} bytes, got {size}")
            written_unix_nano = os.fstat(descriptor).st_mtime_ns
            mapping = core.Mapping(descriptor, schema.BREATH_BYTES, False)
        finally:
            os.close(descriptor)
        with memoryview(mapping) as view:
            data = bytes(view)
        mapping.close()
        files.check_header(data, schema.BREATH, "breath", name, len(data))
    except (FaultplaneError, OSError):
        return [], {}
    if schema.BREATH.read(data, 0, "incarnation") != row.incarnation:
        return [], {}
    inflight = sorted(_inflight(data), key=lambda entry: entry["start_unix_nano"])
    return inflight, _fatal(data, written_unix_nano)


def _inflight(data: bytes) -> Iterator[dict[str, Any]]:
    layout = schema.INFLIGHT
    slots = memoryview(data)[schema.BREATH_INFLIGHT_OFFSET : schema.BREATH_FATAL_OFFSET]
    for slot, word in enumerate(slots.cast("Q")[:: layout.size // 8]):
        if not word:
            continue
        base = schema.BREATH_INFLIGHT_OFFSET + slot * layout.size
        size = min(layout.read(data, base, "operation_bytes"), layout.width("operation"))
        yield {
            "operation": layout.read(data, base, "operation")[:size].decode("utf-8", "replace"),
            "start_unix_nano": layout.read(data, base, "start_unix_nano"),
            "trace_id": lanes.hex_or_empty(layout.read(data, base, "trace_id")),
            "thread_id": layout.read(data, base, "thread_id"),
            "slot": slot,
            "parent": layout.read(data, base, "parent") - 1,
        }


def _fatal(data: bytes, written_unix_nano: int) -> dict[str, Any]:
    """What the signal handler left: its slot, or in the pure core the text of faulthandler.

    Of the latter only the file's modification time says when: nothing was written after it.
    """
    layout, base = schema.FATAL, schema.BREATH_FATAL_OFFSET
    text = data[base + schema.FATAL_HEAD_BYTES : base + layout.size]
    word = layout.read(data, base, "word")
    if word == 0 and not text.strip(b"\0"):
        return {}
    size = min(layout.read(data, base, "frames_bytes"), len(text))
    kept = text[:size] if word == 2 else text.partition(b"\0")[0]
    lines = kept.decode("utf-8", "replace").splitlines()
    frames = [line.strip()[:FRAME_CHARS_MAX] for line in lines if line.lstrip()[:6] == 'File "']
    number = layout.read(data, base, "signal") if word else 0
    if not number and lines:
        told = next((s for text, s in _FAULTHANDLER_SIGNALS.items() if text in lines[0]), 0)
        number = int(told)
    known = layout.read(data, base, "time_unix_nano") if word else written_unix_nano
    return {
        "signal": number,
        "time_unix_nano": known if number else 0,
        "thread_id": layout.read(data, base, "thread_id") if word else 0,
        "address": layout.read(data, base, "address") if word else 0,
        "frames": frames[:FRAMES_MAX],
    }


# ------------------------------------------------------------------------------------ storing


def recorded(store: Store) -> set[int]:
    """Incarnations whose death record is stored; a crash may have followed its append."""
    # The incarnation comes first in every record, so no text inside one can look like it.
    return {
        int(match[1])
        for name in (OLD_NAME, NAME)
        for data in _checked_lines(store, name)
        if (match := _INCARNATION.match(data))
    }


def ways(store: Store, incarnations: Collection[int]) -> dict[int, str]:
    """How those of ``incarnations`` died whose death record is stored."""
    if not incarnations:
        return {}
    return {
        death["incarnation"]: death["how"]
        for name in (OLD_NAME, NAME)
        for data in _checked_lines(store, name)
        if (match := _INCARNATION.match(data))
        and int(match[1]) in incarnations
        and (death := death_lines.parse(data)) is not None
        and death["how"] in WAYS
    }


def append(store: Store, death: dict[str, Any]) -> None:
    """Store a death record; the caller holds LOCK_MAINTAIN.

    Raises OSError when it cannot, CorruptFile where something else has the name of the file.
    """
    text = json.dumps(death, ensure_ascii=False, separators=(",", ":"), default=str)
    data = text.encode("utf-8", "replace")
    line = b"%08x %s\n" % (crc32(data), data)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(NAME, flags, 0o600, dir_fd=store.directory_fd)
    try:
        files.check_alone(descriptor, NAME)
        size = os.fstat(descriptor).st_size
        if size + len(line) > DEATHS_BYTES_MAX and size:
            os.rename(NAME, OLD_NAME, src_dir_fd=store.directory_fd, dst_dir_fd=store.directory_fd)
            os.close(descriptor)
            descriptor, size = os.open(NAME, flags, 0o600, dir_fd=store.directory_fd), 0
        os.fchmod(descriptor, files.file_mode(store.directory_fd))
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # whoever wrote last was killed in the middle
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise OSError(28, "no room for a death record")
    finally:
        os.close(descriptor)
    store.registry.add(schema.REGISTRY.offset["deaths_recorded"], 1)


# ------------------------------------------------------------------------------------ reading


def read_deaths(store: Store, compute_missing: bool = True) -> list[dict[str, Any]]:
    """Death records of a store, oldest first, each with ``stored``.

    With ``compute_missing`` those of owners that are dead but that nobody has buried yet are
    computed, not stored; reading needs no write permission.
    """
    known: dict[int, dict[str, Any]] = {}
    for name in (OLD_NAME, NAME):
        for death in _records(store, name):
            known[death["incarnation"]] = {**death, "stored": True}
    if compute_missing:
        me = host.this_process()
        missing = [
            row
            for row in owners.read_owners(store)
            if row.incarnation not in known and is_missing(store, row, me)
        ]
        for death in describe_all(store, missing):
            known[death["incarnation"]] = {**death, "stored": False}
    return sorted(known.values(), key=lambda death: death["time_unix_nano"])


def problems(store: Store) -> list[str]:
    """Why records or what is in flight cannot be read, or no record stored, a sentence a file."""
    found = []
    in_flight = [owners.breath_name(row.slot) for row in owners.read_owners(store)]
    for name in (OLD_NAME, NAME, *in_flight):
        try:
            descriptor, _ = files.open_file(store.directory_fd, name)
        except DomainNotFound:
            continue
        except FaultplaneError as error:
            found.append(f"{store.path}: {error}")
            continue
        try:
            if name in (OLD_NAME, NAME):
                files.check_alone(descriptor, name)
        except CorruptFile as error:
            found.append(f"{store.path}: {error}")
        finally:
            os.close(descriptor)
    return found


def is_missing(store: Store, row: OwnerRow, me: host.Process | None = None) -> bool:
    """Whether an owner died in a way that is worth a record.

    One that left in order is, when it left operations behind.
    """
    if row.state_code == schema.OWNER_DEAD:
        return True
    if row.state_code not in (schema.OWNER_LIVE, schema.OWNER_EXITED):
        return False
    if owners.life(store, row, me) is Life.ALIVE:
        return False
    return row.state_code == schema.OWNER_LIVE or bool(_last_breath(store, row)[0])


def _checked_lines(store: Store, name: str) -> Iterator[bytes]:
    """The JSON of every line whose checksum is right."""
    try:
        content = files.read_end(store.directory_fd, name, _READ_BYTES_MAX)
    except StorageError:
        return  # missing, or `problems` names it
    for line in content.split(b"\n"):
        stamp, space, data = line.partition(b" ")
        if space and stamp == b"%08x" % crc32(data):
            yield data


def _records(store: Store, name: str) -> Iterator[dict[str, Any]]:
    for data in _checked_lines(store, name):
        if (death := death_lines.parse(data)) is not None:
            yield death
