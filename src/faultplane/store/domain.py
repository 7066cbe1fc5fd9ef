"""A domain on this host: its directory, and the stores in it.

A domain directory holds one store for each layout version and core that ever wrote to it. A
store is made complete under a temporary name and takes its name in one step, so two creators at
once end with one store, and nobody sees half of one.
"""

import os
import stat
import struct
import time
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from faultplane import schema
from faultplane._backend import core
from faultplane.errors import (
    CorruptFile,
    DomainNotFound,
    FaultplaneError,
    LayoutMismatch,
    StorageError,
    StorageFull,
)
from faultplane.store import aggregate, cgroup, files, host, location, locks

REGISTRY_NAME: Final = "registry"
OWNERS_NAME: Final = "owners"
SHARE_OF_SPACE_LEFT: Final = 4
"""A domain takes at most one part in so many of the space that is left."""
STORES_MAX: Final = 32
_STAYING: Final = frozenset({REGISTRY_NAME, OWNERS_NAME, locks.NAME})
CREATE_ATTEMPTS_MAX: Final = 8
AGREEMENT_ATTEMPTS_MAX: Final = 3
BOUNDS: Final = {
    "lanes_per_segment": (1, 16_383),
    "owner_slots": (1, 16_383),
    "segments_max": (1, 1 << 20),
    "dictionary_bytes": (2 * schema.PAGE_BYTES, 64 << 20),
    "budget_bytes": (0, 1 << 40),
    "created_unix_nano": (0, (1 << 63) - 1),
}
"""What numbers a registry may hold: others would have a reader take memory without end."""


class Header(NamedTuple):
    """The part of a registry that never changes."""

    lanes_per_segment: int
    segments_max: int
    owner_slots: int
    dictionary_bytes: int
    budget_bytes: int
    boot_id: bytes
    created_unix_nano: int


class Store:
    """One ``<layout>-<core>`` directory of a domain, open.

    ``path`` (absolute), ``name``, ``core_name``, ``writable``, ``directory_fd``, ``header`` and
    the mappings ``registry`` and ``owners``. Close it, or use it in a ``with`` statement.
    """

    def __init__(self, path: str, directory_fd: int, writable: bool) -> None:
        """Take over ``directory_fd``; use `Store.open`."""
        self.path = path
        self.name = os.path.basename(path)
        self.writable = writable
        self.directory_fd = directory_fd
        self._identity = location.identity(directory_fd)
        match = location.STORE_NAME.fullmatch(self.name)
        if match is None:
            raise CorruptFile(f"{path} must be named <layout version>-<core>")
        self.core_name = match[2]
        if int(match[1]) != schema.LAYOUT_VERSION:
            raise LayoutMismatch(f"layout version of {path}", schema.LAYOUT_VERSION, int(match[1]))
        self.locks = locks.LockFile.open(directory_fd, writable)
        try:
            self.registry, self._registry_identity = self._map(REGISTRY_NAME, schema.REGISTRY_BYTES)
            self.header = self._read_header()
            owners_bytes = self.header.owner_slots * schema.OWNER.size
            self.owners, (_, self.owners_inode) = self._map(OWNERS_NAME, owners_bytes)
        except BaseException:
            self.locks.close()
            raise
        self._closed = False
        if writable:
            _writable.append(self)

    @classmethod
    def open(cls, path: str, writable: bool = False) -> Self:
        """The store in the directory ``path``.

        Raises DomainNotFound, CorruptFile, LayoutMismatch, UnsafeDirectory or StorageError. With
        ``writable`` the directory must belong to the caller's user; without, nothing is asked
        for but permission to read.
        """
        path = os.path.abspath(path)
        if not os.path.lexists(path):
            raise DomainNotFound(f"{path} does not exist")
        directory_fd = location.raise_descriptor(location.open_directory(path))
        try:
            if writable:
                location.check_safe(directory_fd, path)
            return cls(path, directory_fd, writable)
        except BaseException:
            os.close(directory_fd)
            raise

    def _map(self, name: str, size: int) -> tuple[Any, tuple[int, int]]:
        """(The first ``size`` bytes of a file, mapped; its device and inode)."""
        descriptor, actual = files.open_file(self.directory_fd, name, writable=self.writable)
        try:
            if actual < size:
                raise CorruptFile(f"{name} must have at least {size} bytes, got {actual}")
            locks_fd = self.locks.descriptor if self.writable else -1
            mapping = core.Mapping(descriptor, size, self.writable, locks_fd=locks_fd)
            return mapping, location.identity(descriptor)
        finally:
            os.close(descriptor)

    def _read_header(self) -> Header:
        layout = schema.REGISTRY
        with memoryview(self.registry) as view:
            files.check_header(view, layout, "registry", REGISTRY_NAME, len(view))
            found = layout.read(view, 0, "schema_hash")
            if found != schema.SCHEMA_HASH:
                expected, got = f"{schema.SCHEMA_HASH:016x}", f"{found:016x}"
                raise LayoutMismatch(f"schema hash of {self.path}", expected, got, self.path)
            header = Header(*(layout.read(view, 0, name) for name in Header._fields))
        for name, (least, most) in BOUNDS.items():
            if not least <= (value := getattr(header, name)) <= most:
                raise CorruptFile(
                    f"{name} of {REGISTRY_NAME} must be {least} to {most}, got {value}"
                )
        return header

    @property
    def domain_path(self) -> str:
        """The domain directory that this store is in."""
        return os.path.dirname(self.path)

    def in_place(self) -> bool:
        """Whether the path still names this directory, with the registry that is mapped.

        False for a descriptor that the application closed, too.
        """
        return location.same_place(self.directory_fd, self.path) and location.names_file(
            os.path.join(self.path, REGISTRY_NAME), self._registry_identity
        )

    def segments(self) -> list[int]:
        """Numbers of the segments that are there, oldest first."""
        numbers = [
            int(name[4:])
            for name in os.listdir(self.directory_fd)
            if name.startswith("seg-") and name[4:].isascii() and name[4:].isdigit()
        ]
        return sorted(numbers)

    def load(self, field: str) -> int:
        """A word of the registry, such as ``segment_newest``, with acquire order."""
        value: int = self.registry.load(schema.REGISTRY.offset[field])
        return value

    def final_rows(self, number: int) -> int:
        """Rows that a retired segment had, 0 when the registry's table does not know it."""
        noted: int = self.registry.load(
            schema.SEGMENT_TABLE_OFFSET
            + number % schema.SEGMENT_TABLE_SIZE * schema.SEGMENT_TABLE_ENTRY_BYTES
        )
        if noted >> schema.SEGMENT_TABLE_ROWS_BITS != number:
            return 0
        return noted & ((1 << schema.SEGMENT_TABLE_ROWS_BITS) - 1)

    def retired(self) -> tuple[int, int]:
        """(Number of the oldest segment kept, rows of all before it), whoever died retiring.

        The total is raised before the number: what it is ahead by is in the table of final rows.
        """
        for _ in range(AGREEMENT_ATTEMPTS_MAX):
            oldest, word = self.load("segment_oldest"), self.load("retired")
            ahead = word - (oldest - 1) & ((1 << schema.RETIRED_ROWS_SHIFT) - 1)
            if ahead < schema.SEGMENT_TABLE_SIZE:
                break
        else:
            ahead = 0  # not a registry that this library wrote
        too_many = sum(map(self.final_rows, range(oldest, oldest + ahead)))
        return oldest, max((word >> schema.RETIRED_ROWS_SHIFT) - too_many, 0)

    def close(self) -> None:
        """Unmap and close; idempotent. Mappings that others still use stay mapped."""
        if self._closed:
            return
        self._closed = True
        if self.writable:
            _writable.remove(self)
        self.locks.close()
        for mapping in (self.registry, self.owners):
            try:
                mapping.close()
            except BufferError:
                continue  # the buffer's holder unmaps it
        location.close_same(self.directory_fd, self._identity)

    def abandon(self) -> None:
        """In a forked child: let whoever is in the middle of changing the store fail.

        That is the call that a signal handler came into which forked: in the child it goes on
        without the locks, and must neither rename nor remove what its parent works on. What is
        mapped stays mapped for it.
        """
        location.close_same(self.directory_fd, self._identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_writable: list[Store] = []
"""What this process has open to write."""


def held_at_fork() -> set[Store]:
    """In a forked child: stores that its parent was in the middle of changing."""
    return {store for store in _writable if store.locks.was_held_at_fork}


# ------------------------------------------------------------------------------------ opening


def find(domain: str, directory: str | None, runtime_directory: str | None = None) -> str:
    """Path of the domain directory that a reader means; DomainNotFound names where it looked."""
    location.check_domain_name(domain)
    bases = location.readable_bases(directory, runtime_directory)
    looked = []
    for base in bases:
        path = os.path.join(base, domain)
        try:
            if stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode):
                return path
        except PermissionError as error:
            looked.append(f"{base} ({error.strerror})")
            continue
        except (OSError, ValueError):
            pass  # it is not there, or nowhere
        looked.append(base)
    told = ", ".join(looked) or "no directory of this user"
    raise DomainNotFound(f"domain {domain!r} was not found; looked in {told}")


def store_paths(domain_path: str) -> list[str]:
    """Paths of the stores in a domain directory, at most 32, newest layout version first."""
    try:
        found = [name for name in os.listdir(domain_path) if location.STORE_NAME.fullmatch(name)]
    except OSError as error:
        raise DomainNotFound(f"{domain_path} cannot be read: {error.strerror}") from error
    found.sort(key=lambda name: (-int(name.partition("-")[0]), name))
    return [os.path.join(domain_path, name) for name in found[:STORES_MAX]]


def open_stores(domain_path: str, writable: bool = False) -> tuple[list[Store], list[str]]:
    """(Stores of a domain that can be opened, a sentence for each that cannot).

    One bad store never hides the rest.
    """
    stores, problems = [], []
    for path in store_paths(domain_path):
        try:
            stores.append(Store.open(path, writable))
        except (FaultplaneError, OSError) as error:
            problems.append(f"{path}: {error}")
    return stores, problems


# ----------------------------------------------------------------------------------- creation


def budget_allowed(directory_fd: int, wanted_bytes: int) -> int:
    """``wanted_bytes``, or a quarter of what file system and cgroup have left if that is less.

    Raises StorageFull when less than `schema.BUDGET_BYTES_MIN` may be taken.
    """
    left = [wanted_bytes * SHARE_OF_SPACE_LEFT]
    status = os.fstatvfs(directory_fd)
    if status.f_blocks:  # a tmpfs without a limit says 0
        left.append(status.f_bavail * status.f_frsize)
    memory = cgroup.memory_left_bytes()
    if memory >= 0:
        left.append(memory)
    allowed = min(left) // SHARE_OF_SPACE_LEFT
    if allowed < schema.BUDGET_BYTES_MIN:
        where = "memory cgroup" if min(left) == memory else "file system"
        raise StorageFull(
            f"a domain needs {schema.BUDGET_BYTES_MIN} bytes, a quarter of what the {where} has "
            f"left is {allowed}"
        )
    return allowed


def open_or_create(
    base: location.Base, domain: str, core_name: str, budget_bytes: int, group_readable: bool
) -> Store:
    """The writable store of ``domain`` for this layout version and ``core_name``.

    Made if it is missing; two creators at once, or one beside a ``gc``, end with one store.
    """
    mode = 0o750 if group_readable else 0o700
    domain_path = os.path.join(base.path, location.check_domain_name(domain))
    name = location.store_name(core_name)
    last: Exception | None = None
    for _ in range(CREATE_ATTEMPTS_MAX):
        try:
            domain_fd = _domain_directory(base, domain, domain_path, mode)
            try:
                if not _is_made(domain_fd, name):
                    _create(domain_fd, name, mode, budget_bytes)
            finally:
                os.close(domain_fd)
            return Store.open(os.path.join(domain_path, name), writable=True)
        except FileNotFoundError as error:  # DomainNotFound is one
            last = error  # removed by a gc in between
    if os.path.isdir(path := os.path.join(domain_path, name)):
        raise StorageError(f"{path} cannot be used: {last}") from last
    raise StorageError(f"{domain_path} was removed while it was made") from last


def _domain_directory(base: location.Base, domain: str, path: str, mode: int) -> int:
    base_fd = location.open_directory(base.path)
    try:
        return location.make_directory(base_fd, domain, path, mode)
    finally:
        os.close(base_fd)


def _is_made(domain_fd: int, name: str) -> bool:
    """Whether there is a store of that name, whole or damaged, or no more than the rest of one.

    A store takes its name whole, so one that has none of the files that never go was emptied, and
    what is in it was put there by processes that had not noticed yet. That is taken out, not the
    directory: the store of another creator takes the place of an empty one at any moment.
    """
    if name not in os.listdir(domain_fd):
        return False
    directory_fd = location.open_safe(name, domain_fd, name)
    try:
        left = os.listdir(directory_fd)
        if _STAYING & set(left):
            return True
        for entry in left:
            files.remove(directory_fd, entry)
    finally:
        os.close(directory_fd)
    return False


def is_whole(domain_fd: int, name: str) -> bool:
    """Whether a creator would leave what has that name, as `_is_made` says; changes nothing.

    Raises UnsafeDirectory or StorageError where a creator would.
    """
    if name not in os.listdir(domain_fd):
        return False
    directory_fd = location.open_safe(name, domain_fd, name)
    try:
        return bool(_STAYING & set(os.listdir(directory_fd)))
    finally:
        os.close(directory_fd)


def _create(domain_fd: int, name: str, mode: int, budget_bytes: int) -> None:
    """Make a whole store under a temporary name and give it its own, unless somebody did.

    In a child that a signal handler forks meanwhile this fails, and the parent goes on.
    """
    begun = files.forks
    remove_stale_directories(domain_fd)
    wanted = budget_bytes
    if _has_other(domain_fd, name):
        # Beside another core or layout version, as in a rolling upgrade: half for each.
        wanted = max(budget_bytes // 2, schema.BUDGET_BYTES_MIN)
    shape = schema.geometry(budget_allowed(domain_fd, wanted))
    temporary = f"{location.TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
    os.mkdir(temporary, mode, dir_fd=domain_fd)
    try:
        directory_fd = location.open_directory(temporary, domain_fd)
        try:
            location.set_mode(directory_fd, mode)
            _fill(directory_fd, shape, begun)
        finally:
            os.close(directory_fd)
        # A directory takes the place of an empty one or none: the second of two creators gets
        # an error, and uses what the first one made.
        files.refuse_forked(begun)
        os.rename(temporary, name, src_dir_fd=domain_fd, dst_dir_fd=domain_fd)
    except FileNotFoundError:
        raise  # the domain directory was removed, and with it what was made in it
    except OSError as error:
        if begun == files.forks:
            remove_tree(domain_fd, temporary)
        if name not in os.listdir(domain_fd):
            raise files.storage_error(f"{name} cannot be made", error) from error
    except BaseException:
        if begun == files.forks:
            remove_tree(domain_fd, temporary)
        raise


def _has_other(domain_fd: int, name: str) -> bool:
    """Whether a store of another name is there; a directory that was emptied is none."""
    for other in os.listdir(domain_fd):
        if other == name or not location.STORE_NAME.fullmatch(other):
            continue
        try:
            directory_fd = location.open_directory(other, domain_fd)
        except DomainNotFound:
            continue  # removed by a gc in between
        except StorageError:
            return True  # nothing says that it takes no room
        try:
            if os.listdir(directory_fd):
                return True
        finally:
            os.close(directory_fd)
    return False


def _fill(directory_fd: int, shape: schema.Geometry, begun: int) -> None:
    registry = files.header(
        schema.REGISTRY,
        "registry",
        lanes_per_segment=shape.lanes_per_segment,
        schema_hash=schema.SCHEMA_HASH,
        boot_id=host.boot_id(),
        created_unix_nano=time.time_ns(),
        budget_bytes=shape.budget_bytes,
        segments_max=shape.segments_max,
        owner_slots=shape.owner_slots,
        dictionary_bytes=shape.dictionary_bytes,
    )
    for field, value in FIRST_WORDS.items():
        struct.pack_into("<Q", registry, schema.REGISTRY.offset[field], value)
    contents = {
        REGISTRY_NAME: (schema.REGISTRY_BYTES, bytes(registry)),
        OWNERS_NAME: (shape.owner_slots * schema.OWNER.size, b""),
        locks.NAME: (0, b""),
        aggregate.RETIRED_NAME: (schema.AGGREGATE.size, aggregate.empty_retired()),
    }
    for name, (size, data) in contents.items():
        os.close(files.create(directory_fd, name, size, [(0, data)], begun=begun))


FIRST_WORDS: Final = {
    "segment_newest": 0,
    "segment_oldest": 1,
    "incarnation_next": 1,
    "dictionary_generation": 0,
}
"""Words of a new registry that others change: no segment and no dictionary yet, the first will
be number 1."""


# ------------------------------------------------------------------------------------ removal


def remove_tree(parent_fd: int, name: str) -> int:
    """Remove a directory of files (one level deep), following no link; bytes that it held."""
    try:
        directory_fd = location.open_directory(name, parent_fd)
    except StorageError:
        return 0
    held = 0
    try:
        for entry in os.listdir(directory_fd):
            try:
                status = os.stat(entry, dir_fd=directory_fd, follow_symlinks=False)
                os.unlink(entry, dir_fd=directory_fd)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                held += status.st_blocks * 512
        os.rmdir(name, dir_fd=parent_fd)
    except OSError as error:
        raise files.storage_error(f"{name} cannot be removed", error) from error
    finally:
        os.close(directory_fd)
    return held


def remove_stale_directories(domain_fd: int, now_seconds: float | None = None) -> list[str]:
    """Remove what killed creators and removers left more than a minute ago; the names."""
    now = time.time() if now_seconds is None else now_seconds
    removed = []
    for name in files.names(domain_fd):
        if not name.startswith(location.TEMPORARY_PREFIX):
            continue
        try:
            status = os.stat(name, dir_fd=domain_fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                continue
            if abs(now - status.st_mtime) >= files.TEMPORARY_AGE_SECONDS:
                remove_tree(domain_fd, name)
                removed.append(name)
        except (FileNotFoundError, StorageError):
            continue  # another process is at it
    return removed
