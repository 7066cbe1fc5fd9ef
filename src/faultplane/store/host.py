"""What the kernel says about this host, this process and other processes.

Read from /proc, where there is one; `cgroup` has what the control groups say. Nothing here raises
because a file is missing: a question that the host does not answer gets the value that its
function names.
"""

import os
import re
import sys
from functools import cache
from typing import Final, NamedTuple

PROC: Final = "/proc"
TEXT_BYTES_MAX: Final = 1 << 20

_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")


def read_text(path: str) -> str:
    """The first MiB of a small kernel file as text, "" when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(TEXT_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


# ---------------------------------------------------------------------------------- processes


class Process(NamedTuple):
    """A process as others can recognise it: numbers that together are never used twice.

    ``pid_namespace`` is the inode of its PID namespace, ``start_ticks`` its start in clock ticks
    since boot; both are 0 where the host does not tell.
    """

    pid: int
    start_ticks: int
    pid_namespace: int


@cache
def boot_id() -> bytes:
    """16 bytes that change at every boot; zeros where the kernel does not tell."""
    text = read_text(f"{PROC}/sys/kernel/random/boot_id").strip().replace("-", "")
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    return value if len(value) == 16 else bytes(16)


def is_same_boot(half: bytes) -> bool:
    """Whether the first 8 bytes of a boot id are of this boot; True where either is not told.

    A process that has no /proc must not take the owners of those that have one for the dead of
    another boot, nor they its: the locks tell.
    """
    known = boot_id()[:8]
    return half == known or not any(half) or not any(known)


def this_process() -> Process:
    """The calling process; not cached, because a forked child is another one."""
    pid = os.getpid()
    return Process(pid, 0 if proc_is_foreign() else start_ticks(pid), pid_namespace())


def pid_namespace() -> int:
    """Inode of the calling process's PID namespace, 0 where there is none."""
    try:
        return os.stat(f"{PROC}/self/ns/pid").st_ino
    except OSError:
        return 0


def proc_is_foreign() -> bool:
    """Whether /proc is that of another PID namespace than the caller's.

    It is the namespace's that mounted it: a process that was put into a new one and has the old
    mount still would read there about other processes of the same numbers.
    """
    try:
        return os.readlink(f"{PROC}/self") != str(os.getpid())
    except OSError:
        return False


def start_ticks(pid: int) -> int:
    """When ``pid`` started, in clock ticks since boot; 0 when it is gone, or not told.

    A zombie counts as gone: nothing of it runs any more, and its parent may never collect it.
    """
    fields = read_text(f"{PROC}/{pid}/stat").rpartition(")")[2].split()
    # The state is the third field of the line and the start time the twenty-second; the name
    # in parentheses may hold anything, so counting starts behind it.
    if len(fields) < 20 or fields[0] in "ZXx":
        return 0
    return int(fields[19])


def is_gone(process: Process) -> bool:
    """Whether a process of the caller's own PID namespace no longer runs.

    Not to be asked where `proc_is_foreign`.
    """
    if process.pid <= 0:
        return True
    if sys.platform == "linux" and os.path.isdir(f"{PROC}/self"):
        return start_ticks(process.pid) != process.start_ticks
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def maps_file(pid: int, inode: int, name: str) -> bool:
    """Whether ``pid`` maps a file of that inode, or one whose path ends with ``name``.

    True when the kernel does not tell. A program that replaced another by exec keeps its pid and
    start time, but not its mappings.
    """
    text = read_text(f"{PROC}/{pid}/maps")
    if not text or len(text) >= TEXT_BYTES_MAX:
        return True
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and (
            fields[4] == str(inode) or fields[5].removesuffix(" (deleted)").endswith(name)
        ):
            return True
    return False


def holds_lock(pid: int, inode: int, byte: int) -> bool:
    """Whether ``pid`` holds a POSIX lock on that byte of the file; True when it is not told.

    For the one process that cannot ask the file: a process always obtains its own locks.
    """
    text = read_text(f"{PROC}/locks")
    if not text:
        return True
    for line in text.splitlines():
        fields = line.split()
        if (
            len(fields) == 8
            and fields[1] == "POSIX"
            and fields[4] == str(pid)
            and fields[5].rpartition(":")[2] == str(inode)
            and fields[6] == str(byte)
        ):
            return True
    return False


# ---------------------------------------------------------------------------------- container


def container_id() -> str:
    """The 64 hexadecimal digits that container runtimes name cgroups by, "" outside one."""
    text = read_text(f"{PROC}/self/cgroup")
    match = _CONTAINER_ID.search(text)
    if match is None:
        for line in read_text(f"{PROC}/self/mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4 and fields[4] == "/etc/hostname":
                match = _CONTAINER_ID.search(fields[3])
    return match[0] if match else ""
