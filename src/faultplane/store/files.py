"""Files of a domain: made whole or not at all, and believed only after a look at their header.

A file is written under a temporary name, with its bytes reserved so that a full disk is an error
here and never a SIGBUS later, and then takes its name in one step. A half-made file is never
visible; what a killed process leaves is a temporary name, which maintenance removes.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

from faultplane import schema
from faultplane.errors import CorruptFile, DomainNotFound, LayoutMismatch, StorageError, StorageFull
from faultplane.store.location import TEMPORARY_PREFIX

OWNER_TEMPORARY: Final = re.compile(r"tmp-(?:ready|(?:next|pub|dict-[0-9]+|stacks-[0-9]+)-[0-9]+)")
"""Temporary names that live long: the segment prepared ahead, and what owners are preparing, slot
by slot, a little at each record. The latter go when the slot is given back."""
TEMPORARY_AGE_SECONDS: Final = 60.0
"""A temporary file older than this was left by a killed process."""
FILE_BYTES_MAX: Final = 1 << 30
ATTEMPTS_MAX: Final = 3

forks = 0
"""Grows in a forked child. A signal handler that forks comes into some call, which goes on in the
child as well: what it has begun is the parent's. It looks here, with no call of Python from there
to what it changes, since a handler comes in where one begins."""

_OPEN_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0) | os.O_NONBLOCK
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_ZEROS: Final = bytes(65_536)
# What the system does unasked; PyPy asks for it by a flag that the system refuses.
_THE_LINK_ITSELF: Final[dict[str, Any]] = (
    {} if sys.implementation.name == "pypy" else {"follow_symlinks": False}
)


def forget_parent() -> None:
    """In a forked child: what was begun is the parent's."""
    global forks
    forks += 1


os.register_at_fork(after_in_child=forget_parent)


def refuse_forked(begun: int) -> None:
    """Raise StorageError in a child that was forked since `forks` was ``begun``.

    From its return to the next function of Python that is called no signal handler comes in.
    """
    if begun != forks:
        raise StorageError("forked in the middle of a change, which the parent makes")


def storage_error(what: str, error: OSError) -> StorageError:
    """The library's exception for a failed system call about ``what``."""
    kind = StorageFull if error.errno in _FULL else StorageError
    return kind(f"{what}: {error.strerror or error}")


def file_mode(directory_fd: int) -> int:
    """Mode of new files in a directory: readable by the group if the directory is."""
    return 0o640 if os.fstat(directory_fd).st_mode & 0o040 else 0o600


def reserve(descriptor: int, size: int, begun: int | None = None) -> None:
    """Give a file ``size`` bytes that exist; raises OSError (ENOSPC) instead of a later SIGBUS.

    Raises StorageError in a child that was forked since `forks` was ``begun``.
    """
    if size == 0:
        return
    allocates = hasattr(os, "posix_fallocate")
    if begun is not None:
        refuse_forked(begun)
    if allocates:
        os.posix_fallocate(descriptor, 0, size)
        return
    # macOS does not have it: zeros are written behind the end of the file.
    at = os.fstat(descriptor).st_size
    while at < size:
        at += os.pwrite(descriptor, _ZEROS[: size - at], at)


def create(
    directory_fd: int,
    name: str,
    size: int,
    parts: Sequence[tuple[int, bytes]] = (),
    *,
    replace: bool = False,
    kind: str = "",
    begun: int | None = None,
) -> int:
    """Make the file ``name`` of ``size`` bytes holding ``parts`` (offset, bytes), and open it.

    The rest is zeros. Without ``replace`` an existing file wins and FileExistsError is raised;
    with it the new one takes its place in one step. ``kind`` is a part of the temporary name, for
    `remove_kind`. Other failures are StorageError. So it is in a child that was forked meanwhile,
    or since `forks` was ``begun``: what is in the file is left to the parent.
    """
    begun = forks if begun is None else begun
    for attempt in range(ATTEMPTS_MAX):
        temporary = f"{TEMPORARY_PREFIX}{kind}{os.getpid()}-{os.urandom(6).hex()}"
        try:
            return _create(directory_fd, name, temporary, size, parts, replace, begun)
        except FileExistsError:
            raise
        except OSError as error:
            # A process stopped for a minute finds its temporary file tidied away.
            if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS_MAX - 1:
                raise storage_error(f"{name} cannot be made", error) from error
    raise AssertionError("unreachable")


def _create(
    directory_fd: int,
    name: str,
    temporary: str,
    size: int,
    parts: Sequence[tuple[int, bytes]],
    replace: bool,
    begun: int,
) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS
    refuse_forked(begun)
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        reserve(descriptor, size, begun)
        for offset, data in parts:
            write_all(descriptor, data, offset, begun)
        os.fchmod(descriptor, file_mode(directory_fd))
        # Named last: whoever can open the name finds the whole file.
        refuse_forked(begun)
        if replace:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        else:
            os.link(
                temporary,
                name,
                src_dir_fd=directory_fd,
                dst_dir_fd=directory_fd,
                **_THE_LINK_ITSELF,
            )
            remove(directory_fd, temporary)
    except BaseException:
        os.close(descriptor)
        if begun == forks:
            remove(directory_fd, temporary)
        raise
    return descriptor


def write_all(descriptor: int, data: bytes, offset: int, begun: int | None = None) -> None:
    """Write all of ``data`` at ``offset``; the kernel may take it in pieces.

    Raises StorageError in a child that was forked since `forks` was ``begun``.
    """
    view = memoryview(data)
    while view:
        if begun is not None:
            refuse_forked(begun)
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def open_file(directory_fd: int, name: str, *, writable: bool = False) -> tuple[int, int]:
    """(Descriptor, size in bytes) of a regular file of the domain.

    Raises DomainNotFound when it is missing, CorruptFile when it is not a regular file or larger
    than 1 GiB, StorageError otherwise.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | _OPEN_FLAGS
    try:
        descriptor = os.open(name, flags, dir_fd=directory_fd)
    except FileNotFoundError as error:
        raise DomainNotFound(f"{name} does not exist") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise CorruptFile(f"{name} must be a regular file") from error
        raise storage_error(f"{name} cannot be opened", error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES_MAX:
        os.close(descriptor)
        raise CorruptFile(
            f"{name} must be a regular file of at most {FILE_BYTES_MAX} bytes, got mode "
            f"{status.st_mode:o} and {status.st_size} bytes"
        )
    return descriptor, status.st_size


def check_alone(descriptor: int, name: str) -> None:
    """Refuse (CorruptFile) to append to what is no regular file, or has another name as well.

    Whoever may put links into the directory must not have us write to files elsewhere.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise CorruptFile(
            f"{name} must be a regular file of one name, got mode {status.st_mode:o} and "
            f"{status.st_nlink} names"
        )


def read_file(directory_fd: int, name: str) -> bytes:
    """All bytes of a file that no process changes in place; raises as `open_file` does."""
    return read_end(directory_fd, name, FILE_BYTES_MAX)


def read_end(directory_fd: int, name: str, bytes_max: int) -> bytes:
    """The last ``bytes_max`` bytes of a file at most; raises as `open_file` does."""
    descriptor, size = open_file(directory_fd, name)
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(size - bytes_max, 0))
        return file.read(min(size, bytes_max))


def remove(directory_fd: int, name: str) -> bool:
    """Unlink ``name``; whether it was there."""
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return False
    return True


def names(directory_fd: int) -> list[str]:
    """Names in a directory, in order."""
    return sorted(os.listdir(directory_fd))


def remove_stale(directory_fd: int, now_seconds: float | None = None) -> list[str]:
    """Remove temporary files that were left more than a minute ago; their names."""
    now = time.time() if now_seconds is None else now_seconds
    removed = []
    for name in names(directory_fd):
        if not name.startswith(TEMPORARY_PREFIX) or OWNER_TEMPORARY.fullmatch(name):
            continue
        try:
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        # One from the future is old, too: the clock was set back after it was left.
        if stat.S_ISDIR(status.st_mode) or abs(now - status.st_mtime) < TEMPORARY_AGE_SECONDS:
            continue
        if remove(directory_fd, name):
            removed.append(name)
    return removed


def remove_kind(directory_fd: int, kind: str) -> list[str]:
    """Remove what killed processes left of a kind of which the caller alone makes files now.

    Else each of a row of processes that are killed at the same place would leave one for a minute.
    """
    prefix = f"{TEMPORARY_PREFIX}{kind}"
    found = [name for name in names(directory_fd) if name.startswith(prefix)]
    return [name for name in found if remove(directory_fd, name)]


def remove_of_slot(directory_fd: int, slot: int) -> list[str]:
    """Remove temporary files that the dead owner of ``slot`` was preparing; their names."""
    end = f"-{slot}"
    found = [
        name
        for name in names(directory_fd)
        if name.endswith(end) and OWNER_TEMPORARY.fullmatch(name)
    ]
    return [name for name in found if remove(directory_fd, name)]


# ------------------------------------------------------------------------------------ headers


def header(layout: schema.Layout, magic: str, **values: object) -> bytearray:
    """Bytes of a header: magic, layout version, ``values`` and, where it has one, its crc."""
    buffer = bytearray(layout.size)
    layout.write(
        buffer, 0, magic=schema.MAGIC[magic], layout_version=schema.LAYOUT_VERSION, **values
    )
    if "crc" in layout.offset:
        layout.write(buffer, 0, crc=crc32(buffer[: layout.offset["crc"]]))
    return buffer


def check_header(
    buffer: bytes | memoryview, layout: schema.Layout, magic: str, name: str, size: int
) -> None:
    """Refuse a header that is not what the name says.

    Raises CorruptFile for a short file, a wrong magic or crc, LayoutMismatch for a version other
    than this library's.
    """
    if size < layout.size:
        raise CorruptFile(f"{name} must have at least {layout.size} bytes, got {size}")
    if (got := layout.read(buffer, 0, "magic")) != schema.MAGIC[magic]:
        raise CorruptFile(f"{name} must start with {schema.MAGIC[magic]!r}, got {got!r}")
    version = layout.read(buffer, 0, "layout_version")
    if version != schema.LAYOUT_VERSION:
        raise LayoutMismatch(f"layout version of {name}", schema.LAYOUT_VERSION, version)
    if "crc" in layout.offset:
        expected = crc32(bytes(buffer[: layout.offset["crc"]]))
        stored = layout.read(buffer, 0, "crc")
        if stored != expected:
            raise CorruptFile(f"{name}: crc must be {expected:08x}, got {stored:08x}")
