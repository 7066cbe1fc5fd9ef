"""Where domains live: the base directory, the names below it, and who may be trusted with them.

``<base>/<domain>/<layout>-<core>/``. A writer uses only directories of its own user, below a base
that belongs to that user or to root, and never follows a link; a reader accepts what it is told.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from faultplane import schema, settings
from faultplane.errors import DomainNotFound, InvalidName, StorageError, UnsafeDirectory

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  # only a directory of our own in it is used
TEMPORARY_DIRECTORIES: Final = ("/tmp", "/var/tmp")  # noqa: S108  # likewise
STORE_NAME: Final = re.compile(r"([0-9]{1,9})-(cython|python)")
TEMPORARY_PREFIX: Final = "tmp-"
HIGH_DESCRIPTOR: Final = 512
"""Descriptors that live as long as the process are numbered from here: a program that closes all
it knows and opens others gets the low numbers back, and must not find ours among them."""

_DUPLICATE: Final[int] = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # Linux's; PyPy has no name for it
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Base(NamedTuple):
    """A directory that holds domains. ``origin``: given, shared memory, runtime or private."""

    path: str
    origin: str

    @property
    def private(self) -> bool:
        """Whether no other process will look here."""
        return self.origin == "private"


def check_domain_name(name: str) -> str:
    """``name`` if it can name a domain, else InvalidName.

    >>> check_domain_name("default")
    'default'
    """
    given: object = name  # whatever a caller without a type checker gave
    if not isinstance(given, str) or not settings.DOMAIN_NAME.fullmatch(given):
        raise InvalidName(
            "domain must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or "
            f"digit, got {name!r}"
        )
    if name.startswith(TEMPORARY_PREFIX):
        raise InvalidName(f"domain must not start with {TEMPORARY_PREFIX!r}, got {name!r}")
    return name


def check_service_name(name: str) -> str:
    """``name`` if it can be counted under: 1 to 255 bytes of printable UTF-8, else InvalidName."""
    given: object = name  # whatever a caller without a type checker gave
    if not isinstance(given, str) or not given or not given.isprintable():
        most = schema.NAME_BYTES_MAX
        raise InvalidName(f"service must be 1 to {most} bytes of printable text, got {name!r}")
    if (size := len(name.encode("utf-8", "replace"))) > schema.NAME_BYTES_MAX:
        raise InvalidName(f"service must be at most {schema.NAME_BYTES_MAX} bytes, got {size}")
    return name


def store_name(core_name: str) -> str:
    """Name of the directory that this layout version and ``core_name`` write to."""
    return f"{schema.LAYOUT_VERSION}-{core_name}"


# -------------------------------------------------------------------------------------- bases


def candidates(runtime_directory: str | None) -> Iterator[Base]:
    """Where to look without being told, first choice first; the private one is not among them."""
    if os.path.isdir(SHARED_MEMORY):
        yield Base(f"{SHARED_MEMORY}/faultplane-{os.geteuid()}", "shared memory")
    if runtime_directory:
        yield Base(os.path.join(runtime_directory, "faultplane"), "runtime")


def writable_base(
    directory: str | None,
    runtime_directory: str | None = None,
    group_readable: bool = False,
    temporary_directory: str | None = None,
) -> Base:
    """The base to write to, made if it is missing.

    A ``directory`` that was asked for is used or refused (StorageError, UnsafeDirectory);
    without one the candidates are tried in order and the last resort is a private temporary
    directory.
    """
    mode = 0o750 if group_readable else 0o700
    if directory is not None:
        os.close(_open_base(Base(directory, "given"), mode))
        return Base(os.path.abspath(directory), "given")
    for base in candidates(runtime_directory):
        try:
            os.close(_open_base(base, mode))
        except StorageError:
            continue
        return base
    return Base(_private_directory(temporary_directory), "private")


def _private_directory(temporary: str | None) -> str:
    """A fresh directory of mode 0700 in ``temporary``, else where temporary files go.

    Not by `tempfile`: a process registers wherever it forks or records, also in a signal handler
    that came in the middle of an import, and an import in there breaks the one around it.
    """
    failed: OSError | None = None
    for parent in filter(None, (temporary, *TEMPORARY_DIRECTORIES)):
        path = os.path.join(parent, f"faultplane-{os.urandom(6).hex()}")
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            failed = failed or error
        else:
            return path
    raise StorageError(f"no directory can be made: {failed}") from failed


def readable_bases(directory: str | None, runtime_directory: str | None = None) -> list[str]:
    """Directories in which a reader looks for a domain, in the order writers try them.

    One that it is told of is taken as it is; of the others only those of its own user.
    """
    if directory is not None:
        return [os.path.abspath(directory)]
    paths = []
    for base in candidates(runtime_directory):
        try:
            descriptor = open_directory(base.path)
        except StorageError:
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                paths.append(base.path)
        finally:
            os.close(descriptor)
    return paths


def bases_to_make(runtime_directory: str | None = None) -> list[str]:
    """Directories that are not there yet, and that a writer makes when it needs one."""
    return [
        base.path
        for base in candidates(runtime_directory)
        if not os.path.lexists(base.path)
        and os.access(os.path.dirname(base.path), os.W_OK | os.X_OK)
    ]


def _open_base(base: Base, mode: int) -> int:
    parent, name = os.path.split(os.path.abspath(base.path))
    try:
        if base.origin == "given":
            _make_parents(parent, mode)
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{base.path} cannot be made: {error}") from error
    try:
        # A base that was asked for may be root's, as a mounted volume is: what lies below it is
        # checked in turn. One that was guessed may have been put there by somebody else.
        return make_directory(
            parent_fd, name or ".", base.path, mode, trust_root=base.origin == "given"
        )
    finally:
        os.close(parent_fd)


def _make_parents(path: str, mode: int) -> None:
    """Make what is missing of ``path``, with ``mode`` whatever the umask is."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, mode)
        except FileExistsError:
            continue  # by another process, or it is no directory: opening it tells
        descriptor = os.open(directory, _DIRECTORY_FLAGS)
        try:
            set_mode(descriptor, mode)
        finally:
            os.close(descriptor)


# -------------------------------------------------------------------------------- directories


def open_directory(path: str, directory_fd: int | None = None, told: str | None = None) -> int:
    """A descriptor of the directory ``path``; its last component must not be a link.

    ``told`` is what errors call it, where ``path`` is the name alone. Raises UnsafeDirectory for a
    link, DomainNotFound when there is nothing of that name, StorageError otherwise.
    """
    try:
        return os.open(path, _DIRECTORY_FLAGS, dir_fd=directory_fd)
    except FileNotFoundError as error:
        raise DomainNotFound(f"{told or path} does not exist") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(path, directory_fd):
            raise UnsafeDirectory(f"{told or path} must be a directory, got a link") from error
        raise StorageError(f"{told or path} cannot be opened: {error.strerror}") from error


def _is_link(path: str, directory_fd: int | None) -> bool:
    try:
        status = os.stat(path, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode)


def make_directory(
    parent_fd: int, name: str, path: str, mode: int, trust_root: bool = False
) -> int:
    """A descriptor of the directory ``name``, made with ``mode`` if it is missing, and safe.

    Two processes at once end with one directory. Raises UnsafeDirectory or StorageError.
    """
    made = False
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
        made = True
    except FileExistsError:
        pass
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}") from error
    descriptor = open_safe(name, parent_fd, path, trust_root)
    try:
        if made:
            set_mode(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def set_mode(descriptor: int, mode: int) -> None:
    """Set the mode of a directory that was just made, whatever the umask was.

    The bit that hands the group on to what is made in it stays: a volume with a group of its own
    (``fsGroup`` in Kubernetes) has it, and else that group could open the upper directories alone.
    Who is not of that group would lose it by any change, so none is made without need.
    """
    has = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if has & 0o777 != mode:
        os.fchmod(descriptor, mode | has & stat.S_ISGID)


def open_safe(name: str, parent_fd: int | None, path: str, trust_root: bool = False) -> int:
    """A descriptor of a directory that is there, as `open_directory`, and safe (`check_safe`)."""
    descriptor = open_directory(name, parent_fd, path)
    try:
        check_safe(descriptor, path, trust_root)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_safe(descriptor: int, path: str, trust_root: bool = False) -> None:
    """Refuse (UnsafeDirectory) a directory in which another user could put or change files.

    With ``trust_root`` one that root made is accepted whatever its mode, as a volume may be, and
    one with the sticky bit, in which only the owner of a name can take it away.
    """
    status = os.fstat(descriptor)
    user = os.geteuid()
    is_trusted = trust_root and (status.st_uid == 0 or bool(status.st_mode & stat.S_ISVTX))
    if status.st_uid != user and not (trust_root and status.st_uid == 0):
        raise UnsafeDirectory(f"{path} must belong to uid {user}, got uid {status.st_uid}")
    if status.st_mode & 0o022 and not is_trusted:
        raise UnsafeDirectory(
            f"{path} must not be writable by others, got mode {stat.S_IMODE(status.st_mode):04o}"
        )


def raise_descriptor(descriptor: int) -> int:
    """The same open file under a number from 512 on, where the limit allows it.

    Call it before the first lock on the file: closing the low number would drop them all.
    """
    try:
        high = fcntl.fcntl(descriptor, _DUPLICATE, HIGH_DESCRIPTOR)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def identity(descriptor: int) -> tuple[int, int]:
    """Device and inode of an open file; raises OSError for a descriptor that is not open."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def close_same(descriptor: int, known: tuple[int, int]) -> None:
    """Close a descriptor if it still is the file it was.

    The application may have closed it, and opened something of its own under its number.
    """
    try:
        if identity(descriptor) == known:
            os.close(descriptor)
    except OSError:
        pass


def names_file(path: str, known: tuple[int, int]) -> bool:
    """Whether ``path`` still names the file ``known``; True where that cannot be told."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return (status.st_dev, status.st_ino) == known


def same_place(descriptor: int, path: str) -> bool:
    """Whether ``path`` still names the directory behind ``descriptor``; False for a bad one."""
    try:
        there = os.stat(path, follow_symlinks=False)
        return identity(descriptor) == (there.st_dev, there.st_ino)
    except OSError:
        return False
