"""The few file operations of the core: relative to a directory, following no link."""

from __future__ import annotations

import os
import stat
import sys
from typing import Any, Final

from faultplane.errors import CorruptFile

from .memory import Mapping

__all__: list[str] = []

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_ZEROS: Final = bytes(65_536)
# What the system does unasked; PyPy asks for it by a flag that the system refuses.
_THE_LINK_ITSELF: Final[dict[str, Any]] = (
    {} if sys.implementation.name == "pypy" else {"follow_symlinks": False}
)


def create(directory_fd: int, name: str) -> int:
    """A new, empty file, readable by the group where the directory is."""
    mode = 0o640 if os.fstat(directory_fd).st_mode & stat.S_IRGRP else 0o600
    fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory_fd)
    if mode != 0o600:
        os.fchmod(fd, mode)
    return fd


def identity(fd: int) -> tuple[int, int]:
    """Which file a descriptor stands for: device and inode, (0, 0) for none or a removed one.

    An application may close every descriptor that it finds, and get their numbers back for files
    of its own: what is kept open is used after a look at this.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return 0, 0
    return (status.st_dev, status.st_ino) if status.st_nlink else (0, 0)


def is_still(fd: int, known: tuple[int, int]) -> bool:
    """Whether a descriptor stands for the file that it stood for."""
    return known != (0, 0) and identity(fd) == known


def is_in_place(path: str, known: tuple[int, int], root: tuple[int, int]) -> bool:
    """Whether ``path`` still names the file ``known``.

    Where the kernel does not tell, and where the root is not ``root`` any more, nothing says that
    it does not.
    """
    try:
        status = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return identity_of_root() != root
    except OSError:
        return True
    return (status.st_dev, status.st_ino) == known or identity_of_root() != root


def identity_of_root() -> tuple[int, int]:
    """Where names start from: device and inode, (0, 0) where that is not told."""
    try:
        status = os.stat("/")
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def map_file(directory_fd: int, name: str, size: int = 0, head: int = 0) -> Mapping:
    """Map the file ``name`` for writing; its first ``head`` bytes where that is not 0.

    Raises OSError, or CorruptFile where a ``size`` is asked for and the file has another.
    """
    fd = os.open(name, _FLAGS, dir_fd=directory_fd)
    try:
        found = os.fstat(fd).st_size
        if found == 0 or size not in (0, found):
            raise CorruptFile(f"{name} must have {size or 'some'} bytes, got {found}")
        return Mapping(fd, head or found, True)
    finally:
        os.close(fd)


def reserve(fd: int, offset: int, size: int) -> None:
    """Allocate bytes of a file: a write through a mapping must never meet a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
        return
    # macOS does not have it: zeros are written behind the end of the file.
    at, end = os.fstat(fd).st_size, offset + size
    while at < end:
        at += os.pwrite(fd, _ZEROS[: end - at], at)


def exists(directory_fd: int, name: str) -> bool:
    """Whether anything has that name."""
    try:
        os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def remove(directory_fd: int, name: str) -> None:
    """Remove a file if it is there."""
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        pass


def link_once(directory_fd: int, temporary: str, name: str) -> bool:
    """Give a complete file its name, never over another; whether it got it."""
    try:
        os.link(
            temporary,
            name,
            src_dir_fd=directory_fd,
            dst_dir_fd=directory_fd,
            **_THE_LINK_ITSELF,
        )
    except FileExistsError:
        return False
    return True
