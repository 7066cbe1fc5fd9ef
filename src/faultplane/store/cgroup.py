"""The memory cgroup of a process: what it has left, and whom the kernel killed in it.

Read from cgroup version 2 (``memory.max``, ``memory.events.local``) or 1
(``memory.limit_in_bytes``, ``memory.oom_control``), up through the groups that it is nested in.
Nothing here raises because a file is missing.
"""

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from faultplane.store import host
from faultplane.store.host import read_text

CGROUP: Final = "/sys/fs/cgroup"
LEVELS_MAX: Final = 32
DIRECTORIES_MAX: Final = 2048
"""Groups that are looked through for the one a dead process was in."""
UNLIMITED_BYTES: Final = 1 << 60
"""cgroup version 1 writes "no limit" as a number near 2**63."""
OF_HOST: Final = bytes(4)
"""Signature of a count that is that of the whole host."""

_KILL_FILES: Final = ("memory.events.local", "memory.events", "memory.oom_control")
_LIMITS: Final = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_CACHE: Final = ("total_inactive_file", "inactive_file")  # version 1 has both, for itself and all


class Kills(NamedTuple):
    """How many processes of a cgroup the kernel killed for want of memory so far.

    ``signature`` tells which one: 4 bytes of the inode number of its directory, the same from
    every mount and namespace, and not used again before four thousand million others were.
    """

    signature: bytes
    killed: int


def _directories() -> Iterator[str]:
    """Directories of this process's memory cgroup and of those around it, its own first."""
    for line in read_text(f"{host.PROC}/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            root = CGROUP
        elif "memory" in controllers.split(","):
            root = f"{CGROUP}/memory"
        else:
            continue
        # A container without a cgroup namespace is told the host's path and shown its own group
        # as the root, which the last step finds.
        steps = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in range(min(len(steps), LEVELS_MAX), -1, -1):
            yield "/".join((root, *steps[:depth]))


def _number(path: str) -> int:
    """The number in a cgroup file, -1 for "max" and where there is none."""
    text = read_text(path).strip()
    value = int(text) if text.isascii() and text.isdigit() else -1
    return -1 if value >= UNLIMITED_BYTES else value


def _counter(path: str, name: str) -> int:
    """The number behind ``name`` in a file of "name number" lines, -1 where there is none."""
    for line in read_text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return -1


# -------------------------------------------------------------------------------------- limit


def memory_left_bytes() -> int:
    """Bytes that this process's cgroup may still take, -1 where nothing limits it.

    The smallest over its ancestors; file pages that the kernel would give back count as left.
    """
    left = -1
    for directory in _directories():
        for limit_name, usage_name in _LIMITS:
            limit = _number(f"{directory}/{limit_name}")
            if limit < 0:
                continue
            used = max(_number(f"{directory}/{usage_name}"), 0)
            caches = (_counter(f"{directory}/memory.stat", name) for name in _CACHE)
            reclaimable = next((size for size in caches if size >= 0), 0)
            here = max(limit - max(used - reclaimable, 0), 0)
            left = here if left < 0 else min(left, here)
    return left


# -------------------------------------------------------------------------------------- kills


def own_kills() -> Kills:
    """The kills that this process's memory cgroup counts; the whole host's where it counts none.

    A nested group without the memory controller is counted in the one around it.
    """
    for directory in _directories():
        count = _kills_in(directory)
        if count >= 0:
            return Kills(_signature(directory), count)
    return Kills(OF_HOST, _kills_of_host())


def kills_of(signature: bytes) -> int:
    """What the cgroup of that signature counts by now; -1 where it is gone, or out of sight.

    Looks at this process's own and those around it, then at all that can be seen from here, as
    far as `DIRECTORIES_MAX`: a monitor of the host sees those of its containers, which see their
    own alone.
    """
    if signature == OF_HOST:
        return _kills_of_host()
    for directories in (_directories(), _all_directories()):
        for directory in directories:
            # Where both versions are mounted, a directory of another tree may have its number.
            if _signature(directory) == signature and (count := _kills_in(directory)) >= 0:
                return count
    return -1


def _kills_in(directory: str) -> int:
    counts = (_counter(f"{directory}/{name}", "oom_kill") for name in _KILL_FILES)
    return next((count for count in counts if count >= 0), -1)


def _kills_of_host() -> int:
    return max(_counter(f"{host.PROC}/vmstat", "oom_kill"), 0)


def _signature(directory: str) -> bytes:
    try:
        inode = os.stat(directory).st_ino
    except OSError:
        return OF_HOST
    return (inode & 0xFFFF_FFFF).to_bytes(4, "little")


def _all_directories() -> Iterator[str]:
    """Every memory cgroup that can be seen, those higher up first."""
    # Version 2 has this file in every group, version 1 in none.
    is_version_2 = os.path.exists(f"{CGROUP}/cgroup.controllers")
    found = [CGROUP if is_version_2 else f"{CGROUP}/memory"]
    for number, directory in enumerate(found):
        if number == DIRECTORIES_MAX:
            return
        yield directory
        try:
            with os.scandir(directory) as entries:
                names = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        found += names[:DIRECTORIES_MAX]
