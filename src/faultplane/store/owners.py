"""Owners: the processes that write to a store, one slot each.

FREE -> LIVE(generation) -> EXITED or DEAD -> FOLDED -> FREE(generation + 1). The word changes by
compare-and-swap only, and carries an incarnation that is never used again, so a step taken on an
old reading fails. A slot is taken under its lock byte, which its process then holds for life.
"""

import enum
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import CorruptFile, DomainNotFound, FaultplaneError, StorageError
from faultplane.store import aggregate, cgroup, files, host, location
from faultplane.store import resource as resources
from faultplane.store.domain import OWNERS_NAME, Store

_OWNER = schema.OWNER
# The whole structure at once: its fields follow each other without gaps.
_PACKED: Final = struct.Struct("<" + "".join(field.code for field in _OWNER.fields))
_NAMES: Final = tuple(field.name for field in _OWNER.fields)
_CODECS: Final = {field.name: struct.Struct("<" + field.code) for field in _OWNER.fields}
GENERATION_MASK: Final = 0xFF_FFFF
INCARNATION_MAX: Final = 0xFFFF_FFFF
SETTLE_NANO: Final = 1_000_000_000
"""How long a fenced owner of another PID namespace has to notice before its counts are copied."""
_READ_ATTEMPTS_MAX: Final = 8
_LOOK_BYTES: Final = 32 * _OWNER.size

# (device, inode) of a store's lock file -> incarnations that this very process image registered.
_own: dict[tuple[int, int], set[int]] = {}


def pack_word(incarnation: int, generation: int, state: int) -> int:
    """The owner word.

    >>> hex(pack_word(3, 2, schema.OWNER_LIVE))
    '0x300000201'
    """
    return incarnation << 32 | (generation & GENERATION_MASK) << 8 | state


def aggregate_name(slot: int) -> str:
    """Name of the counts file of a slot."""
    return f"agg-{slot}"


def aggregate_path(store: Store, slot: int) -> str:
    """Where others look for the counts of a slot."""
    return os.path.join(store.path, aggregate_name(slot))


def breath_name(slot: int) -> str:
    """Name of the in-flight and fatal slots' file of a slot."""
    return f"breath-{slot}"


class OwnerRow(NamedTuple):
    """One slot as it was read; ``resource`` is JSON. ``word`` is what a change starts from."""

    slot: int
    word: int
    random_id: bytes
    pid: int
    fence: int
    pid_start_ticks: int
    pid_namespace: int
    start_unix_nano: int
    end_unix_nano: int
    mapped_segment_low: int
    oom_kills_at_start: int
    exit_code: int
    resource: str

    @property
    def incarnation(self) -> int:
        """Number of this owner, never used again; the ``owner`` column of its rows."""
        return self.word >> 32

    @property
    def generation(self) -> int:
        """How often the slot was given back."""
        return self.word >> 8 & GENERATION_MASK

    @property
    def state_code(self) -> int:
        """FREE 0, LIVE 1, EXITED 2, DEAD 3, FOLDED 4."""
        return self.word & 0xFF

    @property
    def state(self) -> str:
        """The state's name: free, live, exited, dead or folded."""
        code = self.state_code
        return schema.OWNER_STATES[code] if code < len(schema.OWNER_STATES) else f"state {code}"

    @property
    def is_fenced(self) -> bool:
        """Whether its process, should it live, was told to register anew."""
        return self.fence != self.incarnation

    @property
    def attributes(self) -> dict[str, Any]:
        """Resource attributes, {} when they cannot be read."""
        return resources.parse(self.resource)

    @property
    def service(self) -> str:
        """``service.name`` of the process."""
        return str(self.attributes.get("service.name", ""))

    @property
    def boot(self) -> bytes:
        """First half of the id of the boot that it ran in."""
        return self.random_id[:8]

    @property
    def cgroup(self) -> bytes:
        """Signature of the memory cgroup that it registered in."""
        return self.random_id[8:12]

    @property
    def process(self) -> host.Process:
        """The process that registered."""
        return host.Process(self.pid, self.pid_start_ticks, self.pid_namespace)


# ------------------------------------------------------------------------------------ reading


def read_owner(store: Store, slot: int) -> OwnerRow:
    """One slot, its fields belonging to its word; raises IndexError past the table."""
    base = slot * _OWNER.size
    for _ in range(_READ_ATTEMPTS_MAX):
        word = store.owners.load(base)
        with memoryview(store.owners) as view:
            values = dict(zip(_NAMES, _PACKED.unpack_from(view, base), strict=True))
        if store.owners.load_again(base) >> 8 == word >> 8:
            break
    else:
        raise CorruptFile(f"{OWNERS_NAME}: slot {slot} changes faster than it can be read")
    text = values.pop("resource")[: values.pop("resource_bytes")]
    values.update(slot=slot, word=word, resource=text.decode("utf-8", "replace"))
    return OwnerRow(**values)


def slot_words(store: Store) -> list[int]:
    """The word of every slot, for a first look at which are worth a second.

    Read, not mapped: a look at mapped slots brings each of their pages into this process, half a
    MiB of them, which a process that lives for days would hold for the sake of one look.
    """
    words: list[int] = []
    try:
        descriptor, _ = files.open_file(store.directory_fd, OWNERS_NAME)
    except FaultplaneError:
        return _mapped_words(store)  # removed: what is mapped is all that is left of it
    try:
        if os.fstat(descriptor).st_ino != store.owners_inode:
            return _mapped_words(store)
        size = store.header.owner_slots * _OWNER.size
        for position in range(0, size, _LOOK_BYTES):
            wanted = min(_LOOK_BYTES, size - position)
            data = os.pread(descriptor, wanted, position)
            if len(data) != wanted:
                raise CorruptFile(f"{OWNERS_NAME} must have at least {size} bytes")
            words += memoryview(data).cast("Q")[:: _OWNER.size // 8]
    finally:
        os.close(descriptor)
    return words


def _mapped_words(store: Store) -> list[int]:
    with memoryview(store.owners) as view, view.cast("Q") as words:
        return words[:: _OWNER.size // 8].tolist()


def read_owners(store: Store) -> list[OwnerRow]:
    """Every slot that is not free, by slot."""
    rows = []
    for slot, word in enumerate(slot_words(store)):
        if word & 0xFF != schema.OWNER_FREE:
            row = read_owner(store, slot)
            if row.state_code != schema.OWNER_FREE:
                rows.append(row)
    return rows


def problem(rows: Sequence[OwnerRow]) -> str:
    """What is wrong with the table itself, "" when nothing is: it has no header to be checked by.

    Where a slot is in a state that there is not, nothing that the table says is believed.
    """
    for row in rows:
        if row.state_code >= len(schema.OWNER_STATES):
            return f"{OWNERS_NAME}: slot {row.slot} cannot be in {row.state}"
    return ""


class Life(enum.Enum):
    """What can be known of an owner's process."""

    ALIVE = "alive"
    GONE = "gone"
    """It does not run any more, or another program took its place: it will write nothing."""
    SILENT = "silent"
    """Its lock is free, but it lived in another PID namespace, or /proc is another's: dead, unless
    it closed every descriptor it had."""


def life(store: Store, row: OwnerRow, me: host.Process | None = None) -> Life:
    """Whether the process of a slot lives. Needs no write permission.

    The lock tells first. A process may lose its lock alive, by closing all its descriptors; so
    in the same PID namespace (pid, start time) must be gone as well, or the process must have
    become another program, which keeps both but maps no file of the store.
    """
    if row.incarnation in _own.get(store.locks.identity, ()):
        return Life.ALIVE
    if not host.is_same_boot(row.boot):
        return Life.GONE
    if store.locks.is_held(row.slot):
        return Life.ALIVE
    me = me or host.this_process()
    if row.pid_namespace != me.pid_namespace or host.proc_is_foreign():
        return Life.SILENT
    if row.process == me:
        # Not registered from here: by a program that this one replaced, or, if the lock is held,
        # by another interpreter in the same process.
        held = host.holds_lock(me.pid, store.locks.identity[1], row.slot)
        return Life.ALIVE if held else Life.GONE
    if host.is_gone(row.process):
        return Life.GONE
    if host.maps_file(row.pid, store.owners_inode, f"/{store.name}/{OWNERS_NAME}"):
        return Life.ALIVE
    return Life.GONE


def is_settled(row: OwnerRow, alive: Life, now_unix_nano: int) -> bool:
    """Whether nobody counts into the owner's file any more, so that it may be copied."""
    if alive is Life.GONE:
        return True
    waited = now_unix_nano - row.end_unix_nano
    # A clock that was set back must not make it wait for years.
    return alive is Life.SILENT and row.is_fenced and not 0 <= waited < SETTLE_NANO


# ---------------------------------------------------------------------------------- changing


def change_state(store: Store, row: OwnerRow, state: int) -> OwnerRow | None:
    """Set the state of the owner that ``row`` describes; None when somebody else was faster."""
    incarnation = 0 if state == schema.OWNER_FREE else row.incarnation
    generation = row.generation + (1 if state == schema.OWNER_FREE else 0)
    new = pack_word(incarnation, generation, state)
    if not store.owners.cas(row.slot * _OWNER.size, row.word, new):
        return None
    return read_owner(store, row.slot)


def write_fields(store: Store, slot: int, begun: int | None = None, **values: object) -> None:
    """Store fields of a slot that the caller may change.

    Raises StorageError in a child that was forked meanwhile, or since `files.forks` was ``begun``:
    the slot is the parent's, and may be another's by now.
    """
    begun = files.forks if begun is None else begun
    with memoryview(store.owners) as view:
        for field, value in values.items():
            data = _CODECS[field].pack(value)
            start = slot * _OWNER.size + _OWNER.offset[field]
            end = start + len(data)
            files.refuse_forked(begun)
            view[start:end] = data


def set_fence(store: Store, slot: int, begun: int | None = None) -> None:
    """Tell the slot's process, should it live, to register anew before it writes again.

    The next owner writes its own incarnation there, so one that slept through all of it finds
    out too. ``begun``: as in `write_fields`.
    """
    files.refuse_forked(files.forks if begun is None else begun)
    store.owners.store32(slot * _OWNER.size + _OWNER.offset["fence"], 0)


# -------------------------------------------------------------------------------- registering


class Registration(NamedTuple):
    """A slot that this process owns, and the files that belong to it."""

    slot: int
    incarnation: int
    generation: int
    aggregate: Any
    aggregate_fd: int
    breath: Any

    identity: tuple[int, int]
    """Device and inode of the counts file."""

    @property
    def word(self) -> int:
        """The owner word while it lives."""
        return pack_word(self.incarnation, self.generation, schema.OWNER_LIVE)

    def close(self) -> None:
        """Close the descriptor of the counts file; the mappings stay while the core uses them."""
        location.close_same(self.aggregate_fd, self.identity)


def _no_step(name: str) -> None:
    del name


def register(
    store: Store, resource: str, step: Callable[[str], None] = _no_step
) -> Registration | None:
    """Make this process an owner; None when every slot is taken.

    ``resource`` is JSON of at most 384 bytes. ``step`` is called with a name between any two
    stores that others can see. Raises DomainNotFound when the store was removed meanwhile,
    StorageError or StorageFull when its files cannot be made.
    """
    begun, text = files.forks, resource.encode()
    if len(text) > _OWNER.width("resource"):
        raise ValueError(f"resource must be at most 384 bytes, got {len(text)}")
    # Shared: owners come at the same time as each other, but never while a gc removes the store.
    with store.locks.held(schema.LOCK_DOMAIN, shared=True):
        if not store.in_place():
            raise DomainNotFound(f"{store.path} was removed")
        for slot, word in enumerate(slot_words(store)):
            if word & 0xFF != schema.OWNER_FREE:
                continue
            if not store.locks.try_take(slot):
                continue
            registration = None
            try:
                registration = _take_slot(store, slot, text, step, begun)
            finally:
                if registration is None:
                    store.locks.release(slot)
            if registration is not None:
                store.locks.keep()
                return registration
    return None


def _take_slot(
    store: Store, slot: int, resource: bytes, step: Callable[[str], None], begun: int
) -> Registration | None:
    """Fill a free slot whose lock is held, then say so with one compare-and-swap.

    In a child that a signal handler has forked since `files.forks` was ``begun`` this fails, and
    the parent, which has the lock, goes on.
    """
    base = slot * _OWNER.size
    word = store.owners.load(base)
    if word & 0xFF != schema.OWNER_FREE:
        return None
    generation = word >> 8 & GENERATION_MASK
    files.refuse_forked(begun)
    incarnation = store.registry.add(schema.REGISTRY.offset["incarnation_next"], 1)
    if not 0 < incarnation <= INCARNATION_MAX:
        raise StorageError(f"incarnation must be 1 to {INCARNATION_MAX}, got {incarnation}")
    me, kills = host.this_process(), cgroup.own_kills()
    step("fields")
    # A crash from here to the swap leaves a free slot with old fields and perhaps files. The next
    # owner writes over them, if maintenance has not removed the files before.
    write_fields(
        store,
        slot,
        begun,
        random_id=host.boot_id()[:8] + kills.signature + os.urandom(4),
        pid=me.pid,
        fence=incarnation,
        pid_start_ticks=me.start_ticks,
        pid_namespace=me.pid_namespace,
        start_unix_nano=time.time_ns(),
        end_unix_nano=0,
        mapped_segment_low=0,
        oom_kills_at_start=kills.killed,
        resource_bytes=len(resource),
        exit_code=0,
        resource=resource,
    )
    step("files")
    registration = _make_files(store, slot, incarnation, generation, begun)
    step("swap")
    # Known as our own first: a thread that maintains must not take it for a dead predecessor.
    _own.setdefault(store.locks.identity, set()).add(incarnation)
    live = registration.word
    if begun != files.forks or not store.owners.cas(base, word, live):
        _own.get(store.locks.identity, set()).discard(incarnation)
        registration.close()
        return None
    step("done")
    return registration


def _make_files(
    store: Store, slot: int, incarnation: int, generation: int, begun: int
) -> Registration:
    counts = aggregate.first_bytes(slot, incarnation)
    kind = f"own-{slot}-"
    files.refuse_forked(begun)
    files.remove_kind(store.directory_fd, kind)
    aggregate_fd = files.create(
        store.directory_fd,
        aggregate_name(slot),
        aggregate.AGGREGATE_BYTES_FIRST,
        [(0, counts)],
        replace=True,
        kind=kind,
        begun=begun,
    )
    try:
        counts_mapping = core.Mapping(
            aggregate_fd,
            aggregate.AGGREGATE_BYTES_FIRST,
            True,
            aggregate.AGGREGATE_BYTES_RESERVED,
        )
        head = files.header(
            schema.BREATH,
            "breath",
            slots=schema.INFLIGHT_SLOTS,
            incarnation=incarnation,
            fatal_offset=schema.BREATH_FATAL_OFFSET,
            file_bytes=schema.BREATH_BYTES,
        )
        breath_fd = files.create(
            store.directory_fd,
            breath_name(slot),
            schema.BREATH_BYTES,
            [(0, bytes(head))],
            replace=True,
            kind=kind,
            begun=begun,
        )
        try:
            breath_mapping = core.Mapping(breath_fd, schema.BREATH_BYTES, True)
        finally:
            os.close(breath_fd)
    except BaseException:
        os.close(aggregate_fd)
        raise
    aggregate_fd = location.raise_descriptor(aggregate_fd)
    return Registration(
        slot,
        incarnation,
        generation,
        counts_mapping,
        aggregate_fd,
        breath_mapping,
        location.identity(aggregate_fd),
    )


def say_exited(
    store: Store, registration: Registration, exit_code: int, begun: int | None = None
) -> bool:
    """Mark the end of an orderly life; False when the owner was declared dead before.

    The lock stays held and counting goes on until the process is really gone. ``begun``: as in
    `write_fields`.
    """
    begun = files.forks if begun is None else begun
    base, word = registration.slot * _OWNER.size, registration.word
    if store.owners.load(base) != word:
        return False
    now = time.time_ns()
    write_fields(store, registration.slot, begun, end_unix_nano=now, exit_code=exit_code)
    exited = pack_word(registration.incarnation, registration.generation, schema.OWNER_EXITED)
    files.refuse_forked(begun)
    done: bool = store.owners.cas(base, word, exited)
    return done


def is_fenced(store: Store, registration: Registration) -> bool:
    """Whether the owner was told to register anew: what its file holds is for others to fold."""
    place = registration.slot * _OWNER.size + _OWNER.offset["fence"]
    return bool(store.owners.load32(place) != registration.incarnation)


def disown(store: Store, registration: Registration) -> None:
    """Forget a slot that this process no longer writes to, so that it can be folded."""
    _own.get(store.locks.identity, set()).discard(registration.incarnation)
    store.locks.release(registration.slot)


def forget_parent() -> None:
    """In a forked child: the parent's slots are the parent's."""
    _own.clear()


os.register_at_fork(after_in_child=forget_parent)
