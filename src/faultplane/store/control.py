"""The control file of a store: cells that its processes share, by name; taken, declared, read.

A cell belongs to a name for as long as the store is there. Whoever takes or declares one holds
LOCK_CONTROL; what calls change in it is the core's (`core.Cell`).
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from math import gcd
from typing import Any, Final, NamedTuple, Self
from zlib import crc32

from faultplane import control_schema as layout
from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile, DomainNotFound, LayoutMismatch, StorageError
from faultplane.store import files, host, location, owners, resource, retried
from faultplane.store.domain import Store

NAME: Final = "control"
_HEAD: Final = layout.CONTROL
_CELL: Final = layout.CONTROL_CELL
_NOTE: Final = layout.TRANSITION
_LEASE: Final = layout.LEASE
CONFIG_NAMES: Final = tuple(field.name for field in layout.CONFIG_FIELDS)
_ZEROS: Final = bytes(65_536)
_COUNT_MAX: Final = (1 << 64) - 1
_VERSION_OFFSET: Final = _CELL.offset["breaker"] + 8 * layout.CONTROL_CELL_CONFIG_VERSION


class Transition(NamedTuple):
    """One change of a breaker's state; ``owner`` 0 = by no owner. States and causes by name."""

    generation: int
    before: str
    after: str
    cause: str
    time_unix_nano: int
    owner: int
    calls: int
    failures: int
    slow: int


class CellState(NamedTuple):
    """A cell as it was read. Times are milliseconds of the monotonic clock where not said."""

    name: str
    state: str
    generation: int
    successes: int
    until_ms: int
    config: dict[str, int]
    declaration: dict[str, Any]
    declared_unix_nano: int
    declared_by: int
    other: dict[str, Any] | None
    other_unix_nano: int
    other_by: int
    differs: int
    calls: int
    failures: int
    slow: int
    streak: int
    tokens: float
    rate_tokens: float
    totals: dict[str, int]
    transitions: list[Transition]
    probes: int
    permits: int
    tokens_held: int
    health: str
    health_unix_nano: int
    checked_ms: int
    checks: int
    checks_failed: int
    retried: retried.Retried


class ControlFile:
    """The control file of one store, mapped. Close it, or use it in a ``with`` statement."""

    def __init__(self, store: Store, descriptor: int, writable: bool) -> None:
        """Take over ``descriptor``; use `open` or `open_or_create`."""
        self.store = store
        self.writable = writable
        self._descriptor = descriptor
        self._identity = location.identity(descriptor)
        size = os.fstat(descriptor).st_size
        if size < _HEAD.size:
            raise CorruptFile(f"{NAME} must have at least {_HEAD.size} bytes, got {size}")
        head = _checked(os.pread(descriptor, _HEAD.size, 0))
        self.cells_max: int = head["cells_max"]
        self.owner_slots: int = head["owner_slots"]
        self.leases_offset: int = head["leases_offset"]
        self.same_boot = host.is_same_boot(head["boot_id"][:8])
        """Whether it is of this start of the host: else nobody uses it, and its times are void."""
        full = layout.control_bytes(self.cells_max, self.owner_slots)
        if head["file_bytes"] != full or self.owner_slots != store.header.owner_slots:
            raise CorruptFile(
                f"{NAME} must have {full} bytes for {store.header.owner_slots} owner slots, got "
                f"{head['file_bytes']} for {self.owner_slots}"
            )
        if self.leases_offset != (first := layout.leases_offset(self.cells_max)):
            raise CorruptFile(f"{NAME} must have leases from {first}, got {self.leases_offset}")
        if size < full:
            if not writable:
                raise DomainNotFound(f"{NAME} has no cells yet")
            # It only ever grows; what nobody has taken yet takes no memory.
            os.ftruncate(descriptor, full)
        locks_fd = store.locks.descriptor if writable else -1
        self.mapping = core.Mapping(descriptor, full, writable, locks_fd=locks_fd)

    @classmethod
    def open(cls, store: Store) -> Self:
        """The control file of a store, to read; DomainNotFound where no cell was ever taken."""
        descriptor, _ = files.open_file(store.directory_fd, NAME)
        return cls._made(store, descriptor, writable=False)

    @classmethod
    def open_to_change(cls, store: Store) -> Self:
        """The same to change; DomainNotFound where no cell was ever taken."""
        descriptor, _ = files.open_file(store.directory_fd, NAME, writable=True)
        return cls._made(store, descriptor, writable=True)

    @classmethod
    def open_or_create(cls, store: Store) -> Self:
        """The same to write, made where it is missing, or is of another boot."""
        try:
            descriptor, _ = files.open_file(store.directory_fd, NAME, writable=True)
            head = os.pread(descriptor, _HEAD.size, 0)
            if len(head) == _HEAD.size and host.is_same_boot(_HEAD.read(head, 0, "boot_id")[:8]):
                return cls._made(store, descriptor, writable=True)
            os.close(descriptor)
            _create(store, replace=True)
        except DomainNotFound:
            with suppress(FileExistsError):
                _create(store, replace=False)
        descriptor, _ = files.open_file(store.directory_fd, NAME, writable=True)
        return cls._made(store, descriptor, writable=True)

    @classmethod
    def _made(cls, store: Store, descriptor: int, *, writable: bool) -> Self:
        try:
            return cls(store, descriptor, writable)
        except BaseException:
            os.close(descriptor)
            raise

    # -------------------------------------------------------------------------------- places

    def cell_offset(self, index: int) -> int:
        """Where a cell lies."""
        offset: int = _HEAD.size + index * _CELL.size
        return offset

    def lease_offset(self, index: int) -> int:
        """Where the leases of a cell lie."""
        offset: int = self.leases_offset + index * layout.lease_row_bytes(self.owner_slots)
        return offset

    @property
    def owners_high_offset(self) -> int:
        """Where the word lies that says how many owner slots have a lease."""
        offset: int = _HEAD.offset["owners_high"]
        return offset

    @property
    def cells_used(self) -> int:
        """Cells that were taken."""
        used: int = self.mapping.load(_HEAD.offset["cells_used"])
        return min(used, self.cells_max)

    # ------------------------------------------------------------------------------- finding

    def find(self, name: str) -> int | None:
        """Index of the cell of ``name``, None where it has none."""
        wanted, data = _hash(name), name.encode()
        with memoryview(self.mapping) as view:
            for index in range(self.cells_used):
                base = self.cell_offset(index)
                if _CELL.read(view, base, "name_hash") == wanted and _name(view, base) == data:
                    return index
        return None

    def take(self, name: str, cells_max: int | None = None) -> int | None:
        """Index of the cell of ``name``, taken for it if need be; None where none is left.

        With ``cells_max`` also where so many are taken. Raises StorageFull where the file system
        has no room for it.
        """
        found = self.find(name)
        if found is not None:
            return found
        begun = files.forks
        with self.store.locks.held(layout.LOCK_CONTROL):
            found = self.find(name)
            index = self.cells_used
            most = self.cells_max if cells_max is None else min(cells_max, self.cells_max)
            if found is not None or index >= most:
                return found
            self._reserve(self.cell_offset(index), _CELL.size, begun)
            self._reserve(self.lease_offset(index), layout.lease_row_bytes(self.owner_slots), begun)
            data = name.encode()
            files.refuse_forked(begun)
            with memoryview(self.mapping) as view:
                _CELL.write(
                    view,
                    self.cell_offset(index),
                    name_hash=_hash(name),
                    name_bytes=len(data),
                    name=data,
                )
            files.refuse_forked(begun)
            # Last: who sees the number sees the cell.
            self.mapping.store(_HEAD.offset["cells_used"], index + 1)
            return index

    def _reserve(self, offset: int, size: int, begun: int) -> None:
        """Have the bytes exist: a write to them must never meet a full disk as SIGBUS."""
        try:
            if location.identity(self._descriptor) != self._identity:
                raise StorageError(f"the descriptor of {NAME} was closed by the application")
            if hasattr(os, "posix_fallocate"):
                files.refuse_forked(begun)
                os.posix_fallocate(self._descriptor, offset, size)
            else:
                files.write_all(self._descriptor, _ZEROS[:size], offset, begun)
        except OSError as error:
            raise files.storage_error(f"{NAME} cannot grow", error) from error

    # ----------------------------------------------------------------------------- declaring

    def declare(
        self, index: int, config: dict[str, int], text: str, time_unix_nano: int, owner: int
    ) -> str:
        """Have ``config`` govern the cell if it is newer than what does; the text that governs.

        ``text`` is the declaration as JSON. That another one governed before is counted and kept.
        """
        begun = files.forks
        base, data = self.cell_offset(index), text.encode()
        with self.store.locks.held(layout.LOCK_CONTROL):
            with memoryview(self.mapping) as view:
                old = _text(view, base, "text")
                when = _CELL.read(view, base, "declared_unix_nano")
                files.refuse_forked(begun)
                _CELL.write(view, base, declared=_one_more(view, base, "declared"))
                # Odd: whoever wrote it was killed meanwhile, and governs nothing.
                at = base + _VERSION_OFFSET
                version = self.mapping.load(at)
                if old and version % 2 == 0:
                    if old == data:
                        # As new as the newest who says it: an older one must not take its place.
                        newest = max(when, time_unix_nano)
                        files.refuse_forked(begun)
                        _CELL.write(view, base, declared_unix_nano=newest)
                        return text
                    if when > time_unix_nano:
                        self._note_other(view, base, data, time_unix_nano, owner, begun)
                        return old.decode("utf-8", "replace")
                if old and old != data:
                    by = _CELL.read(view, base, "declared_by")
                    self._note_other(view, base, old, when, by, begun)
                files.refuse_forked(begun)
                self.mapping.store(at, version | 1)
                files.refuse_forked(begun)
                _CELL.write(
                    view, base, text_bytes=len(data), text=data,
                    declared_unix_nano=time_unix_nano, declared_by=owner,
                )  # fmt: skip
            configure(self.mapping, base, config, begun)
        return text

    def _note_other(
        self, view: Any, base: int, data: bytes, time_unix_nano: int, owner: int, begun: int
    ) -> None:
        differs = _one_more(view, base, "differs")
        files.refuse_forked(begun)
        _CELL.write(
            view, base, other_bytes=len(data), other=data, other_unix_nano=time_unix_nano,
            other_by=owner, differs=differs,
        )  # fmt: skip

    def attend(self, slot: int) -> None:
        """Have sums over leases reach as far as owner ``slot``."""
        at = self.owners_high_offset
        while (known := self.mapping.load(at)) <= slot:
            self.mapping.cas(at, known, slot + 1)

    # ------------------------------------------------------------------------------- reading

    def read(self, index: int, now_ms: int | None = None) -> CellState:
        """One cell as it is."""
        now = time.monotonic_ns() // 1_000_000 if now_ms is None else now_ms
        with memoryview(self.mapping) as view:
            base = self.cell_offset(index)
            config = {name: _CELL.read(view, base, name) for name in CONFIG_NAMES}
            word = self.mapping.load(base + _CELL.offset["breaker"])
            generation = word >> layout.BREAKER_GENERATION_SHIFT & layout.BREAKER_GENERATION_MASK
            calls, failures, slow = _window(view, base, config, generation, now)
            tokens, streak, rated = _CELL.read(view, base, "budget")[:3]
            streak_of = streak >> layout.OUTCOMES_GENERATION_SHIFT
            leases = list(self._leases(view, index))
            return CellState(
                name=_name(view, base).decode("utf-8", "replace"),
                state=state_name(word >> layout.BREAKER_STATE_SHIFT),
                generation=generation,
                successes=word >> layout.BREAKER_SUCCESSES_SHIFT & layout.BREAKER_SUCCESSES_MASK,
                until_ms=word & layout.BREAKER_UNTIL_MASK,
                config=config,
                declaration=_parsed(_text(view, base, "text")),
                declared_unix_nano=_CELL.read(view, base, "declared_unix_nano"),
                declared_by=_CELL.read(view, base, "declared_by"),
                other=_parsed(other) if (other := _text(view, base, "other")) else None,
                other_unix_nano=_CELL.read(view, base, "other_unix_nano"),
                other_by=_CELL.read(view, base, "other_by"),
                differs=_CELL.read(view, base, "differs"),
                calls=calls,
                failures=failures,
                slow=slow,
                streak=streak & layout.BUCKET_COUNT_MASK
                if streak_of == generation & layout.BUCKET_GENERATION_MASK
                else 0,
                tokens=_tokens(tokens, config, now) / layout.MILLI,
                rate_tokens=_tokens(rated, config, now, "rate_milli", "burst_milli") / layout.MILLI,
                totals=dict(zip(layout.TOTALS, _CELL.read(view, base, "totals"), strict=True)),
                transitions=_transitions(view, base, generation),
                probes=sum(probes for _, of, probes, _, _ in leases if of == generation),
                permits=sum(permits for _, _, _, permits, _ in leases),
                tokens_held=sum(tokens for _, _, _, _, tokens in leases),
                **_health(_CELL.read(view, base, "health")),
                retried=retried.read(view, base, now),
            )

    def _leases(self, view: Any, index: int) -> Any:
        """(Slot, generation, probes, permits, tokens) of each lease that holds something."""
        base = self.lease_offset(index)
        high = min(self.mapping.load(self.owners_high_offset), self.owner_slots)
        words = view[base : base + high * _LEASE.size].cast("Q").tolist()
        if not any(words):
            return
        for slot, (probes, held) in enumerate(zip(words[::2], words[1::2], strict=True)):
            if probes & layout.LEASE_PROBES_MASK or held & 0xFFFF_FFFF:
                yield (
                    slot,
                    probes >> layout.LEASE_GENERATION_SHIFT & layout.BREAKER_GENERATION_MASK,
                    probes & layout.LEASE_PROBES_MASK,
                    held >> layout.LEASE_PERMITS_SHIFT & layout.LEASE_HELD_MASK,
                    held & layout.LEASE_HELD_MASK,
                )

    @staticmethod
    def _lease(view: Any, base: int, slot: int) -> tuple[int, int]:
        at = base + slot * _LEASE.size
        return _LEASE.read(view, at, "probes"), _LEASE.read(view, at, "held")

    # ---------------------------------------------------------------------------- reclaiming

    def lease_holders(self, index: int) -> list[tuple[int, int]]:
        """(Slot, incarnation) of each owner that holds something of a cell."""
        base = self.lease_offset(index)
        found = []
        with memoryview(self.mapping) as view:
            high = min(self.mapping.load(self.owners_high_offset), self.owner_slots)
            for slot in range(high):
                probes, held = self._lease(view, base, slot)
                for word, mask in ((probes, layout.LEASE_PROBES_MASK), (held, 0xFFFF_FFFF)):
                    pair = slot, word >> layout.LEASE_OWNER_SHIFT
                    if word & mask and pair not in found:
                        found.append(pair)
        return found

    def dead_holders(self, index: int) -> list[tuple[int, int]]:
        """Those of them whose process is gone, or was told to register anew."""
        holders = self.lease_holders(index)
        me = host.this_process() if holders else None
        dead = []
        for slot, incarnation in holders:
            row = owners.read_owner(self.store, slot)
            if (
                row.incarnation != incarnation
                or row.state_code not in (schema.OWNER_LIVE, schema.OWNER_EXITED)
                or row.is_fenced
                or owners.life(self.store, row, me) is owners.Life.GONE
            ):
                dead.append((slot, incarnation))
        return dead

    def end_leases(self, dead: Iterable[tuple[int, int]]) -> int:
        """End what each dead (slot, incarnation) held of any cell; how many leases that were."""
        ended, dead = 0, set(dead)
        for index in range(self.cells_used):
            held = dead.intersection(self.lease_holders(index))
            if held:
                cell = core.Cell(partial(self._lend, index))
                ended += sum(cell.reclaim(slot, incarnation) for slot, incarnation in held)
        return ended

    def _lend(self, index: int, cell: Any) -> None:
        """Give a cell its memory, without a lease of its own."""
        places = self.cell_offset(index), self.lease_offset(index)
        cell.use(self.mapping, *places, self.owner_slots, self.owners_high_offset, 0, 0)

    def close(self) -> None:
        """Unmap and close; idempotent. A mapping that cells still use stays mapped."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            location.close_same(descriptor, self._identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -------------------------------------------------------------------------------------- bytes


def configure(mapping: Any, base: int, config: dict[str, int], begun: int) -> None:
    """Write the numbers of the cell at ``base``; whoever calls is the only one who does.

    The version is odd meanwhile: copies that are made then are not used.
    """
    at = base + _VERSION_OFFSET
    version = mapping.load(at)
    files.refuse_forked(begun)
    mapping.store(at, version | 1)
    for name in CONFIG_NAMES:
        files.refuse_forked(begun)
        mapping.store(base + _CELL.offset[name], config[name])
    files.refuse_forked(begun)
    mapping.store(at, (version | 1) + 1 & _COUNT_MAX)


def _create(store: Store, *, replace: bool) -> None:
    """Make the file: its header alone takes memory."""
    slots = store.header.owner_slots
    cells = layout.cells_for(slots)
    head = bytearray(_HEAD.size)
    _HEAD.write(
        head,
        0,
        magic=layout.CONTROL_MAGIC,
        layout_version=layout.CONTROL_VERSION,
        cells_max=cells,
        control_hash=layout.CONTROL_HASH,
        boot_id=host.boot_id(),
        owner_slots=slots,
        leases_offset=layout.leases_offset(cells),
        file_bytes=layout.control_bytes(cells, slots),
    )
    _HEAD.write(head, 0, crc=crc32(head[: _HEAD.offset["crc"]]))
    os.close(
        files.create(store.directory_fd, NAME, _HEAD.size, [(0, bytes(head))], replace=replace)
    )


def _checked(head: bytes) -> dict[str, Any]:
    """The fields of a header that is what this library writes."""
    values = _HEAD.read_all(head)
    if values["magic"] != layout.CONTROL_MAGIC:
        raise CorruptFile(f"{NAME} must start with {layout.CONTROL_MAGIC!r}, got {head[:8]!r}")
    if values["control_hash"] != layout.CONTROL_HASH:
        raise LayoutMismatch(
            f"layout of {NAME}", f"{layout.CONTROL_HASH:016x}", f"{values['control_hash']:016x}"
        )
    expected = crc32(head[: _HEAD.offset["crc"]])
    if values["crc"] != expected:
        raise CorruptFile(f"{NAME}: crc must be {expected:08x}, got {values['crc']:08x}")
    return values


def _hash(name: str) -> int:
    data = name.encode()
    return crc32(data) << 32 | crc32(data[::-1]) or 1


def _name(view: Any, base: int) -> bytes:
    length = min(_CELL.read(view, base, "name_bytes"), schema.NAME_BYTES_MAX)
    return bytes(_CELL.read(view, base, "name")[:length])


def _text(view: Any, base: int, field: str) -> bytes:
    length = min(_CELL.read(view, base, f"{field}_bytes"), layout.DECLARATION_BYTES_MAX)
    return bytes(_CELL.read(view, base, field)[:length])


def _one_more(view: Any, base: int, field: str) -> int:
    """The next number of a counter that was damaged, too: it stays within its word."""
    count: int = _CELL.read(view, base, field)
    return min(count + 1, _COUNT_MAX)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return resource.load(data.decode())
    except ValueError:
        return {}


def state_name(code: int) -> str:
    """The state of a breaker by name; that of a damaged word is a number."""
    return layout.BREAKER_STATES[code] if code < len(layout.BREAKER_STATES) else f"state {code}"


def _health(words: tuple[int, ...]) -> dict[str, Any]:
    """What health checks found, as the fields of a cell's state."""
    code = words[layout.CONTROL_CELL_HEALTH] >> layout.HEALTH_STATE_SHIFT
    known = code < len(layout.HEALTH_STATES)
    return {
        "health": layout.HEALTH_STATES[code] if known else f"state {code}",
        "health_unix_nano": words[layout.CONTROL_CELL_HEALTH_CHANGED] & (1 << 63) - 1,
        "checked_ms": words[layout.CONTROL_CELL_HEALTH] & layout.HEALTH_CHECKED_MASK,
        "checks": words[layout.CONTROL_CELL_CHECKS],
        "checks_failed": words[layout.CONTROL_CELL_CHECKS_FAILED],
    }


def _tokens(
    word: int,
    config: dict[str, int],
    now_ms: int,
    each_second: str = "floor_milli",
    at_most: str = "capacity_milli",
) -> int:
    """Thousandths of tokens in a bucket by now, a budget's where not another is named."""
    rate, capacity = config[each_second], config[at_most]
    if word == 0:
        return capacity
    elapsed = max(now_ms - (word >> layout.BUDGET_REFILL_SHIFT), 0)
    step = gcd(rate, layout.MILLI)
    brought = elapsed // (layout.MILLI // step) * (rate // step)
    kept = word & layout.BUDGET_TOKENS_MASK
    return max(min(kept + brought, capacity), kept)


def _window(
    view: Any, base: int, config: dict[str, int], generation: int, now_ms: int
) -> tuple[int, int, int]:
    """(Calls, failures, slow calls) in the window of a breaker."""
    of = generation & layout.BUCKET_GENERATION_MASK
    if config["window_ms"]:
        bucket_ms = -(-config["window_ms"] // layout.BUCKETS)
        words = _CELL.read(view, base, "buckets")
        epoch = now_ms // bucket_ms
        sums = [0, 0, 0]
        for at, word in enumerate(words):
            age = epoch - (word >> layout.BUCKET_EPOCH_SHIFT) & 0xFFFF_FFFF
            gen = word >> layout.BUCKET_GENERATION_SHIFT & layout.BUCKET_GENERATION_MASK
            if at % 4 < 3 and gen == of and (age < layout.BUCKETS or age == 0xFFFF_FFFF):
                sums[at % 4] += word & layout.BUCKET_COUNT_MASK
        return sums[0], sums[1], sums[2]
    found = []
    for word in _CELL.read(view, base, "outcomes")[:2]:
        bits = word & ((1 << layout.OUTCOMES_GENERATION_SHIFT) - 1)
        valid = bits.bit_length() - 1 if word >> layout.OUTCOMES_GENERATION_SHIFT == of else 0
        found.append((max(valid, 0), (bits & ((1 << max(valid, 0)) - 1)).bit_count()))
    return found[0][0], found[0][1], found[1][1]


def _transitions(view: Any, base: int, generation: int) -> list[Transition]:
    """The last transitions, oldest first; one that is being written is left out."""
    start = base + _CELL.offset["transitions"]
    found = []
    for at in range(layout.TRANSITIONS):
        note = _NOTE.read_all(view, start + at * _NOTE.size)
        word = note["word"]
        of = word >> layout.BREAKER_GENERATION_SHIFT & layout.BREAKER_GENERATION_MASK
        behind = generation - of & layout.BREAKER_GENERATION_MASK
        if word == 0 or of % layout.TRANSITIONS != at or behind >= layout.TRANSITIONS:
            continue
        if _NOTE.read(view, start + at * _NOTE.size, "word") != word:
            continue
        cause = note["cause"] if note["cause"] < len(layout.CAUSES) else 0
        found.append(
            Transition(
                generation=of,
                before=state_name(note["before"] >> layout.BREAKER_STATE_SHIFT),
                after=state_name(word >> layout.BREAKER_STATE_SHIFT),
                cause=layout.CAUSES[cause],
                **{
                    name: note[name]
                    for name in ("time_unix_nano", "owner", "calls", "failures", "slow")
                },
            )
        )
    return sorted(found, key=lambda one: generation - one.generation & 0x3_FFFF, reverse=True)
