"""How a process died: its own word, a signal, the kernel's count of kills for want of memory.

The kernel sends SIGKILL when a cgroup has no memory left, and so does anybody else; neither leaves
a word. What tells them apart is the count of such kills that the cgroup keeps: an owner notes it
when it registers, and whoever finds it dead compares. One count stands for all processes of the
cgroup, so what is said depends on how many died meanwhile:

* no kill counted: it was none of them, for sure;
* a kill for each that died without a word: ``oom``. Not for sure: a process that is no owner, a
  child of the service for example, may have been the victim, and ours have been killed otherwise;
* fewer kills than such deaths: ``unknown``, and the summary says how many of how many;
* the cgroup is gone or out of sight: ``unknown``.
"""

import signal
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from faultplane import schema
from faultplane.store import cgroup, host
from faultplane.store.owners import OwnerRow

_WORDLESS: Final = ("oom", "unknown")


class Found(NamedTuple):
    """An owner found dead, and its fatal slot."""

    row: OwnerRow
    fatal: dict[str, Any]


class Counts:
    """What cgroups count by now, each read when it is first asked for."""

    def __init__(self) -> None:
        self._read: dict[bytes, int] = {}

    def read(self, rows: Iterable[OwnerRow]) -> None:
        """Read what will be asked for of those of ``rows`` that ended without a word."""
        for row in rows:
            if row.state_code != schema.OWNER_EXITED and host.is_same_boot(row.boot):
                self.of(row.cgroup)

    def of(self, group: bytes) -> int:
        """Kills for want of memory in the cgroup of that signature, -1 where it is not seen."""
        if group not in self._read:
            self._read[group] = cgroup.kills_of(group)
        return self._read[group]


def of_all(
    dead: Sequence[Found],
    stored: Sequence[dict[str, Any]],
    counts: Counts,
) -> list[dict[str, Any]]:
    """Fields of the death records that say how each of ``dead`` ended.

    ``dead`` are all that were found at once: they share the kills that were counted. ``stored``
    are the death records there are, each of which says what its cgroup had counted by then.
    """
    told = [_told(found) for found in dead]
    wordless = [found for found, fields in zip(dead, told, strict=True) if fields is None]
    judged = iter(_Judge(stored, counts).judge(wordless))
    manners = []
    for found, fields in zip(dead, told, strict=True):
        manners.append({
            "signal": 0,
            "signal_name": "",
            "memory_cgroup": _number(found.row),
            "oom_kills": 0,
            "oom_kills_since": -1,
            **(next(judged) if fields is None else fields),
        })  # fmt: skip
    return manners


def _told(found: Found) -> dict[str, Any] | None:
    """How it died where the process or its signal handler said so, or others can tell; else None.

    A restart of the host is told here too: what was counted before it is gone.
    """
    row = found.row
    number = int(found.fatal.get("signal", 0))
    if row.state_code == schema.OWNER_EXITED:
        code = f" with exit code {row.exit_code}" if row.exit_code else ""
        told = {"how": "exit", "summary": f"left in order{code}"}
    elif number:
        told = {"how": "signal", "summary": f"killed by {signal_name(number)}"}
    elif not host.is_same_boot(row.boot):
        told = {"how": "unknown", "summary": "the host was restarted"}
    elif _runs(row):
        told = {"how": "exec", "summary": "became another program (exec) without a word"}
    else:
        return None
    return {**told, "signal": number, "signal_name": signal_name(number)}


def _runs(row: OwnerRow) -> bool:
    """Whether its pid is still that of the process that registered, as far as that can be seen."""
    if row.pid_namespace != host.pid_namespace() or host.proc_is_foreign():
        return False
    return not host.is_gone(row.process)


def _number(row: OwnerRow) -> int:
    return int.from_bytes(row.cgroup, "little")


def signal_name(number: int) -> str:
    """Such as SIGSEGV; "" for 0."""
    if not number:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Judge:
    """Compares what cgroups had counted, as far as the store tells, with what they count now."""

    def __init__(self, stored: Sequence[dict[str, Any]], counts: Counts) -> None:
        self._stored = [death for death in stored if death["how"] in _WORDLESS]
        self._count = counts.of

    def judge(self, wordless: Sequence[Found]) -> list[dict[str, Any]]:
        """How each of those ended that left nothing else to be told by."""
        if not wordless:
            return []
        since = [self._since(found) for found in wordless]
        groups = {found.row.cgroup for found in wordless}
        verdicts = {
            group: self._verdict(
                [
                    (found, kills)
                    for found, kills in zip(wordless, since, strict=True)
                    if found.row.cgroup == group and kills > 0
                ]
            )
            for group in groups
        }
        return [
            {
                **_words(kills, *verdicts[found.row.cgroup]),
                "oom_kills": max(self._count(found.row.cgroup), 0),
                "oom_kills_since": kills,
            }
            for found, kills in zip(wordless, since, strict=True)
        ]

    def _since(self, found: Found) -> int:
        """Kills that its cgroup counted since it was last known to live; -1 where none can tell."""
        count = self._count(found.row.cgroup)
        return -1 if count < 0 else max(count - self._known(found), 0)

    def _known(self, found: Found) -> int:
        """The highest count that was read while it lived."""
        row = found.row
        known = [row.oom_kills_at_start]  # by itself, or by whoever looked after it since
        # Whoever stored a record looked at all owners after it had read the count, and did not
        # find this one dead.
        known += [
            death["oom_kills"]
            for death in self._stored
            if death["memory_cgroup"] == _number(row)
            and row.start_unix_nano <= death["found_unix_nano"]
            and not 0 < row.end_unix_nano <= death["found_unix_nano"]
        ]
        return max(known)

    def _verdict(self, dead: Sequence[tuple[Found, int]]) -> tuple[bool, int]:
        """(Whether there was a kill for each of these, all of one cgroup; how many died)."""
        if not dead:
            return False, 0
        rivals = sum(self._is_rival(death, dead) for death in self._stored)
        ranked = sorted(kills for _, kills in dead)
        enough = all(kills > rivals + rank for rank, kills in enumerate(ranked))
        return enough, rivals + len(dead)

    def _is_rival(self, death: dict[str, Any], dead: Sequence[tuple[Found, int]]) -> bool:
        """Whether a stored death may have been one of the kills that these share."""
        row = dead[0][0].row
        if death["memory_cgroup"] != _number(row):
            return False
        if death["found_unix_nano"] < min(found.row.start_unix_nano for found, _ in dead):
            return False
        earliest = self._count(row.cgroup) - max(kills for _, kills in dead)
        return bool(death["oom_kills_since"] < 0 or death["oom_kills"] > earliest)


def _words(kills: int, enough: bool, died: int) -> dict[str, Any]:
    if kills < 0:
        summary = (
            "left without a word, no signal seen "
            "(SIGKILL, out of memory, unhandled SIGTERM, os._exit or exec)"
        )
    elif kills == 0:
        summary = (
            "left without a word, no signal seen (SIGKILL, unhandled SIGTERM, os._exit or exec); "
            "not out of memory: its cgroup counted no such kill"
        )
    elif enough:
        count = "a kill" if kills == 1 else f"{kills} kills"
        summary = (
            f"killed, out of memory: its cgroup counted {count} for that since it was last seen"
        )
    else:
        count = "1 was" if kills == 1 else f"{kills} were"
        summary = (
            f"left without a word, maybe out of memory: {died} processes of its cgroup did, "
            f"{count} killed for that"
        )
    return {"how": "oom" if enough and kills > 0 else "unknown", "summary": summary}
