"""Processes of a scene, each stopped right after one step of its own: killed, or held for a while.

The traced process is a fork of this one, with ``tracer.c`` preloaded and everything imported, so
that it takes milliseconds. What it was promised it writes into memory that it shares with this
process and no store: the ledger.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
STEPS_MAX = 1 << 16
NAMES = (
    "tried", "told", "adds_tried", "adds_told", "child_tried", "child_told", "entered", "is_over",
    "steps", "alone",
)  # fmt: skip


class Ledger:
    """What a process tried, and what it was told was done; ``told`` is stored after the return.

    One word a store: a kill in the middle never leaves half a number.
    """

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def clear(self) -> None:
        for index in range(len(NAMES)):
            self._words[index] = 0

    def __getattr__(self, name: str) -> int:
        return self._words[NAMES.index(name)]

    def __setattr__(self, name: str, value: int) -> None:
        if name in NAMES:
            self._words[NAMES.index(name)] = value
        else:
            super().__setattr__(name, value)


class Tracer:
    """The functions of the preloaded ``tracer.c``."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.trace_steps.restype = ctypes.c_long
        self._library.trace_kinds.argtypes = [ctypes.c_char_p, ctypes.c_long]
        self._kinds = mmap.mmap(-1, STEPS_MAX)
        kinds = (ctypes.c_char * STEPS_MAX).from_buffer(self._kinds)
        self._library.trace_kinds(ctypes.cast(kinds, ctypes.c_char_p), STEPS_MAX)
        self._library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def watch(self, directory: Path, finest: bool, named: bool) -> None:
        self._library.trace_watch(os.fsencode(directory), int(finest), int(named))

    def arm(self, number: int, how: int) -> None:
        self._library.trace_arm(ctypes.c_long(number), int(how))

    def steps(self) -> int:
        return self._library.trace_steps()

    def kinds(self, steps: int) -> str:
        """One letter a step: what it was."""
        return self._kinds[:steps].decode()


def in_child(work: Callable[[], object]) -> int:
    """A forked process that does ``work`` and leaves without a word; its pid."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        work()
        code = 0
    except BaseException:  # whatever it is, the parent's code must not go on here
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """How a process ended: 0, an exit code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def orphans_ended() -> None:
    """Wait for the children of processes that were killed: they are this one's then."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def done(work: Callable[[], object]) -> None:
    """``work`` in a process of its own, which must succeed."""
    status = ended(in_child(work))
    assert status == 0, f"a process that nobody stopped ended with {status}"


def is_held(child: int) -> bool:
    """Whether a process was stopped rather than ended; its end is left to be waited for."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    if found.si_code != os.CLD_STOPPED:
        return False
    os.waitid(os.P_PID, child, os.WSTOPPED)
    return True


def go_on(child: int) -> None:
    os.kill(child, signal.SIGCONT)


def fresh(template: Path, live: Path) -> None:
    """The domain of a scene as it was before anything happened."""
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir(mode=0o700)
    if (template / "default").exists():
        shutil.copytree(template / "default", live / "default")
