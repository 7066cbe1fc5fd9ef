"""What `doctor` says of the place: what works there, and otherwise than somebody might expect.

Containers, small file systems, other users and namespaces. A note is no problem: the exit status
stays what it was.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, Final

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.cli.output import counted, size
from faultplane.settings import Settings
from faultplane.store import domain as domains
from faultplane.store import host, location, surroundings

_READABLE: Final = stat.S_IRGRP | stat.S_IXGRP


def directory(path: str) -> dict[str, Any]:
    """A directory that holds domains, and the file system that it is in or will be."""
    found = surroundings.file_system(path) or surroundings.FileSystem("", 0, 0, ())
    return {
        "path": path,
        "free_bytes": found.free_bytes,
        "size_bytes": found.size_bytes,
        "file_system": found.kind,
        "mount_options": list(found.options),
    }


def directory_line(found: dict[str, Any]) -> str:
    """The same for a terminal."""
    whole = f" of {size(found['size_bytes'])}" if found["size_bytes"] else ""
    words = ", ".join(filter(None, [found["file_system"], *found["mount_options"]]))
    kind = f" ({words})" if words else ""
    return f"directory {found['path']}, {size(found['free_bytes'])} free{whole}{kind}"


def place_line(here: dict[str, Any]) -> str:
    """Who and where this process is (`surroundings.facts`), in a line."""
    words = [f"uid {here['uid']}, gid {here['gid']}"]
    if here["umask"] >= 0:
        words.append(f"umask {here['umask']:03o}")
    if here["root_is_read_only"]:
        words.append("read-only root")
    if here["container"]:
        words.append(f"container {here['container'][:12]}")
    if here["memory_left_bytes"] >= 0:
        words.append(f"{size(here['memory_left_bytes'])} left in the memory cgroup")
    return ", ".join(words)


def notes(report: dict[str, Any], found: Settings, base: str | None) -> list[str]:
    """Sentences about a report that is otherwise complete. ``base``: the directory asked for."""
    return [
        *_platform(),
        *_place(report, base),
        *_budget(report, found),
        *_memory(report),
        *_namespaces(report),
        *_logout(report, base),
    ]


def problems(report: dict[str, Any], found: Settings) -> Iterator[str]:
    """What the group was promised and cannot read."""
    if not found.group_readable or not report.get("path"):
        return
    paths = [os.path.dirname(report["path"]), report["path"]]
    for path in [*paths, *(store["path"] for store in report["stores"])]:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_uid == os.geteuid() and status.st_mode & _READABLE != _READABLE:
            yield (
                f"FAULTPLANE_GROUP_READABLE is set, and {path} has mode "
                f"{stat.S_IMODE(status.st_mode):04o}, from before: `faultplane gc` and start again,"
                " or chmod -R g+rX it"
            )


def _platform() -> Iterator[str]:
    system: str = sys.platform  # a type checker takes the name itself for this system's
    if system != "linux":
        yield (
            f"{system} is not tested: without /proc a process counts as alive while any has"
            " its number, no kill for want of memory is told from another, and a fork that runs no"
            " handlers of Python is not noticed"
        )


def _place(report: dict[str, Any], base: str | None) -> Iterator[str]:
    if base or not report["directories"]:
        return
    path = report["directories"][0]["path"]
    if sys.platform != "linux" or os.path.dirname(path) == location.SHARED_MEMORY:
        return
    if os.path.isdir(location.SHARED_MEMORY):
        yield f"{location.SHARED_MEMORY} cannot be used: {path} takes its place"
    else:
        yield f"{location.SHARED_MEMORY} is not there: {path} takes its place"


def _budget(report: dict[str, Any], found: Settings) -> Iterator[str]:
    own = location.store_name(CORE_NAME)
    halved = found.budget_bytes // 2 if len(report["stores"]) > 1 else found.budget_bytes
    for store in report["stores"]:
        mine = store["store"] == own and _owner(store["path"]) == os.geteuid()
        if mine and store["budget_bytes"] < halved:
            yield (
                f"{store['store']} has a budget of {size(store['budget_bytes'])}, not of "
                f"{size(halved)}: whoever made it asked for less, or a quarter of what was left"
                " then was less"
            )
    if report["stores"] or not report["directories"]:
        return
    free = report["directories"][0]["free_bytes"]
    limit = report["directories"][0]["size_bytes"]
    memory = report["surroundings"]["memory_left_bytes"]
    left = min([*([free] if limit else []), *([memory] if memory >= 0 else [])], default=-1)
    allowed = left // domains.SHARE_OF_SPACE_LEFT
    if schema.BUDGET_BYTES_MIN <= allowed < found.budget_bytes:
        where = "memory cgroup" if left == memory else "file system"
        yield (
            f"a domain made here gets a budget of {size(allowed)}, not of "
            f"{size(found.budget_bytes)}: a quarter of what the {where} has left"
        )


def _memory(report: dict[str, Any]) -> Iterator[str]:
    here = report["surroundings"]
    if here["memory_cgroup"] and here["oom_kills"]:
        killed = counted(here["oom_kills"], "process", "processes")
        yield f"the kernel killed {killed} of this memory cgroup for want of memory"
    left = here["memory_left_bytes"]
    more = sum(max(store["budget_bytes"] - store["bytes_held"], 0) for store in report["stores"])
    if 0 <= left < more:
        yield (
            f"the memory cgroup has {size(left)} left and the domain may take {size(more)} more of "
            "it: raise the limit or lower FAULTPLANE_BUDGET_BYTES"
        )


def _namespaces(report: dict[str, Any]) -> Iterator[str]:
    if host.proc_is_foreign():
        yield (
            "/proc is that of another PID namespace: who died is told by locks alone, and counts "
            "of the dead wait a second"
        )
    others = sum(store["owners_in_other_namespaces"] for store in report["stores"])
    if others:
        processes = counted(others, "process", "processes")
        yield f"{processes} alive in other PID namespaces, known by their locks"


def _logout(report: dict[str, Any], base: str | None) -> Iterator[str]:
    for found in report["directories"]:
        owner = _owner(found["path"]) if base else os.geteuid()
        if surroundings.removed_at_logout(found["path"], owner):
            yield (
                f"systemd-logind removes {found['path']} when uid {owner} logs out, from under its "
                "services too: RemoveIPC=no in logind.conf, `loginctl enable-linger`, a system "
                "user, or FAULTPLANE_DIR outside of /dev/shm keeps it"
            )


def _owner(path: str) -> int:
    """Uid that a directory belongs to; this process's own while it is not there."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return os.geteuid()
