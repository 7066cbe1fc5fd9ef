"""Where this process runs, as far as it bears on storage: file systems, cgroup, namespaces.

For people who look, such as `doctor`; nothing that records asks. Nothing here raises because the
host does not answer.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Final, NamedTuple

from faultplane.store import cgroup, host, location

LOGIND: Final = "/run/systemd/seats"
"""There while systemd-logind runs."""
LOGIND_SETTINGS: Final = (
    "/usr/lib/systemd/logind.conf",
    "/etc/systemd/logind.conf",
    "/usr/lib/systemd/logind.conf.d",
    "/run/systemd/logind.conf.d",
    "/etc/systemd/logind.conf.d",
)
"""Files and directories of files; what comes later counts."""
LINGER: Final = "/var/lib/systemd/linger"
LOGIN_DEFINITIONS: Final = "/etc/login.defs"
SYSTEM_UID_MAX: Final = 999
DYNAMIC_UIDS: Final = range(61_184, 65_520)
NOBODY: Final = 65_534

_OPTIONS_SHOWN: Final = ("ro", "nosuid", "nodev", "noexec")
_SETTING: Final = re.compile(r"^\s*RemoveIPC\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_SYSTEM_MAX: Final = re.compile(r"^\s*SYS_UID_MAX\s+([0-9]{1,9})", re.MULTILINE)
_UMASK: Final = re.compile(r"^Umask:\s*([0-7]{1,6})$", re.MULTILINE)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class FileSystem(NamedTuple):
    """What holds a directory: its kind, such as ``tmpfs``, size, room and mount options.

    ``size_bytes`` is 0 where there is no limit; ``options`` are those of ro, nosuid, nodev and
    noexec that are set. None of them keeps anybody from mapping files but ``ro``.
    """

    kind: str
    size_bytes: int
    free_bytes: int
    options: tuple[str, ...]


def nearest(path: str) -> str:
    """``path``, or the nearest directory above it that is there."""
    path = os.path.abspath(path)
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def file_system(path: str) -> FileSystem | None:
    """The file system that holds ``path``, or will; None where it cannot be asked."""
    try:
        there = os.path.realpath(nearest(path))
        status, device = os.statvfs(there), os.stat(there).st_dev
    except OSError:
        return None
    kind, options = _mount(there, f"{os.major(device)}:{os.minor(device)}")
    unit = status.f_frsize
    return FileSystem(kind, status.f_blocks * unit, status.f_bavail * unit, options)


def _mount(path: str, device: str) -> tuple[str, tuple[str, ...]]:
    """(Kind, options) of the mount that a path is in: of its device, the longest, the last."""
    best: tuple[str, str, tuple[str, ...]] = ("", "", ())
    for line in host.read_text(f"{host.PROC}/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 6 or words[2] != device or not rest:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), words[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            given = words[5].split(",")
            best = (point, rest.split()[0], tuple(o for o in _OPTIONS_SHOWN if o in given))
    return best[1], best[2]


def facts() -> dict[str, Any]:
    """The user, container, PID namespace and memory cgroup of this process, as numbers and text.

    ``umask`` is -1 where the kernel does not tell. ``memory_left_bytes`` is -1 where no cgroup
    limits it; ``oom_kills`` are those of the cgroup, or of the host (``memory_cgroup`` 0).
    """
    kills, root = cgroup.own_kills(), file_system("/")
    return {
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "umask": _umask(),
        "root_is_read_only": root is not None and "ro" in root.options,
        "container": host.container_id(),
        "pid_namespace": host.pid_namespace(),
        "memory_cgroup": int.from_bytes(kills.signature, "little"),
        "memory_left_bytes": cgroup.memory_left_bytes(),
        "oom_kills": kills.killed,
    }


def _umask() -> int:
    """Read from /proc: asking the kernel itself would set another for a moment."""
    found = _UMASK.search(host.read_text(f"{host.PROC}/self/status"))
    return int(found[1], 8) if found else -1


# ------------------------------------------------------------------------------------- logout


def removed_at_logout(path: str, uid: int) -> bool:
    """Whether systemd-logind would remove ``path`` when ``uid`` logs out (``RemoveIPC``).

    It takes what belongs to the user from /dev/shm with the last session, also from under the
    user's services. System users, and those that linger, are spared.
    """
    if sys.platform != "linux" or not os.path.isdir(LOGIND):
        return False
    if not os.path.abspath(path).startswith(location.SHARED_MEMORY + "/"):
        return False
    told = _SYSTEM_MAX.search(host.read_text(LOGIN_DEFINITIONS))
    highest = int(told[1]) if told else SYSTEM_UID_MAX
    if uid <= highest or uid in DYNAMIC_UIDS or uid == NOBODY:
        return False
    return _removes_ipc() and not _lingers(uid)


def _removes_ipc() -> bool:
    value = "yes"
    for path in LOGIND_SETTINGS:
        for file in _files(path):
            for match in _SETTING.finditer(host.read_text(file)):
                value = match[1]
    return value.lower() in ("yes", "true", "on", "1", "y", "t")


def _files(path: str) -> list[str]:
    if not path.endswith(".d"):
        return [path]
    try:
        return [f"{path}/{name}" for name in sorted(os.listdir(path)) if name.endswith(".conf")]
    except OSError:
        return []


def _lingers(uid: int) -> bool:
    import pwd

    try:
        return os.path.exists(f"{LINGER}/{pwd.getpwuid(uid).pw_name}")
    except KeyError:
        return False
