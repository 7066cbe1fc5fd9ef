"""The last breath: in-flight slots, and the frames that a fatal signal leaves behind."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import struct
import threading
import time
from itertools import count
from typing import Final

from faultplane.schema import (
    BREATH_FATAL_OFFSET,
    BREATH_INFLIGHT_OFFSET,
    FATAL_HEAD_BYTES,
    INFLIGHT,
    INFLIGHT_SLOTS,
)

from .memory import Mapping, let_go, order, refuse_forked
from .message import cut_utf8

__all__ = ["install_fatal_handler", "rearm_fatal_handler"]

OPERATION_BYTES: Final = INFLIGHT.width("operation")
SLOT_BITS: Final = 9
"""Of a token: slot + 1, 1 to 256; above it 23 bits of the running number of the entry."""
SLOT_MASK: Final = (1 << SLOT_BITS) - 1
NUMBER_MASK: Final = (1 << (32 - SLOT_BITS)) - 1
DESCRIPTOR_MIN: Final = 512
DUPLICATE: Final[int] = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # Linux's; PyPy has no name for it
FRAMES_OFFSET: Final = BREATH_FATAL_OFFSET + FATAL_HEAD_BYTES
# All of a slot but its word, which is stored last: one packing in place of seven.
_ENTRY: Final = [field for field in INFLIGHT.fields if field.name != "word"]
_ENTRY_OFFSET: Final = BREATH_INFLIGHT_OFFSET + INFLIGHT.offset[_ENTRY[0].name]
_ENTRY_BYTES: Final = INFLIGHT.size
_ENTRY_WORDS: Final = INFLIGHT.size // 8
_PACK_ENTRY: Final = struct.Struct("<" + "".join(field.code for field in _ENTRY)).pack_into
_NO_TRACE: Final = bytes(16)
_numbers: Final = count(1)
"""Of entries: goes on across bindings and forks, so numbers do not come back."""
NO_WORDS: Final = memoryview(bytes(8 * INFLIGHT_SLOTS)).cast("Q")


class Breath:
    """The slots of a breath file, all of them free at first. Used under the process lock.

    The word of a slot is stored last on entry and first on leaving, so whoever sees it sees the
    slot. It is the running number of the entry: a token is that number and the slot, so that the
    token of an earlier entry, or of the process that this one was forked from, frees nothing.
    """

    def __init__(self, memory: Mapping) -> None:
        self._view = memoryview(memory)
        self._words = self._view[BREATH_INFLIGHT_OFFSET:][: INFLIGHT_SLOTS * INFLIGHT.size].cast(
            "Q"
        )
        self._free = list(range(INFLIGHT_SLOTS - 1, -1, -1))
        # The ids of threads, each asked for once: a system call. A forked child binds anew.
        self._thread = threading.local()

    def keep_frames(self, directory_fd: int, name: str) -> None:
        """Have the frames of a fatal signal written to the file of this breath."""
        _frames.target(directory_fd, name)

    def close(self, begun: int | None) -> None:
        """Use no slots, and free those in use: what runs goes on, and ends, where nobody looks.

        With None they stay: of a parent, or of one that was declared dead, others tell what they
        hold. Raises OSError in a child that was forked since `memory.forks` was ``begun``.
        """
        if begun is not None:
            refuse_forked(begun)
            self._words[:: INFLIGHT.size // 8] = NO_WORDS
        _frames.forget()
        let_go(self._words, self._view)

    def enter(self, operation: bytes, ids: bytes | None, parent: int) -> int:
        """Fill a slot; its token, 0 when none is free. ``parent`` is a token."""
        free = self._free
        if not free:
            return 0
        # Without a call in between, after which a signal handler may raise.
        slot = free[-1]
        del free[-1]
        try:
            number = next(_numbers)
            if not number & NUMBER_MASK:
                number = next(_numbers)  # a word and the number in a token are never 0
            if len(operation) > OPERATION_BYTES:
                operation = cut_utf8(operation, OPERATION_BYTES)
            try:
                thread = self._thread.native_id
            except AttributeError:
                thread = self._thread.native_id = threading.get_native_id()
            # A reader that still sees the word of the last entry must not see these fields.
            order()
            _PACK_ENTRY(
                self._view,
                _ENTRY_OFFSET + slot * _ENTRY_BYTES,
                time.time_ns(),
                time.monotonic_ns(),
                thread,
                ids[:16] if ids else _NO_TRACE,
                parent & SLOT_MASK if parent and self._word_of(parent) else 0,
                len(operation),
                operation,
            )
            order()
            self._words[slot * _ENTRY_WORDS] = number
            return (number & NUMBER_MASK) << SLOT_BITS | (slot + 1)
        except BaseException:
            self._words[slot * _ENTRY_WORDS] = 0
            free.append(slot)
            raise

    def leave(self, token: int) -> None:
        """Free the slot of a token; other tokens do nothing."""
        if self._word_of(token):
            slot = (token & SLOT_MASK) - 1
            self._words[slot * _ENTRY_WORDS] = 0
            self._free.append(slot)

    def _word_of(self, token: int) -> int:
        """The word of the slot that a token stands for; 0 when it was left or is not ours."""
        slot = (token & SLOT_MASK) - 1
        if not 0 <= slot < INFLIGHT_SLOTS:
            return 0
        word: int = self._words[slot * _ENTRY_WORDS]
        return word if word & NUMBER_MASK == token >> SLOT_BITS else 0


class _Frames:
    """The descriptor that faulthandler writes frames to: always the same, whatever file it is of.

    An application may enable faulthandler for itself at any time, which cannot be told, and which
    disabling it would undo. So ours stays enabled and its descriptor turns to the null device.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._name: tuple[int, str] | None = None
        self._fd = -1
        self._identity = (0, 0)

    def target(self, directory_fd: int, name: str) -> None:
        self._name = directory_fd, name
        self.arm()

    def forget(self) -> None:
        self._name = None
        if self._is_ours():
            self._point_at(os.devnull, -1)

    def arm(self) -> None:
        """Let faulthandler write to the breath file, if that is wanted and it is free for us."""
        if not self.wanted or self._name is None:
            return
        enabled = faulthandler.is_enabled()
        if self._is_ours():
            self._point_at(self._name[1], self._name[0])
        elif not enabled:
            self._fd = -1
            self._point_at(self._name[1], self._name[0])
        if not enabled and self._fd >= 0:
            faulthandler.enable(self._fd, all_threads=False)

    def _is_ours(self) -> bool:
        """Whether the descriptor is what it was: an application may close all that it has."""
        try:
            return self._fd >= 0 and self._identity == _identity(self._fd)
        except OSError:
            return False

    def _point_at(self, name: str, directory_fd: int) -> None:
        try:
            opened = os.open(
                name,
                os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW,
                dir_fd=directory_fd if directory_fd >= 0 else None,
            )
        except OSError:
            return  # the process has no descriptor left, or its domain is gone
        if self._fd < 0:
            self._fd = _raise_descriptor(opened)
        else:
            os.dup2(opened, self._fd, inheritable=False)
            os.close(opened)
        self._identity = _identity(self._fd)
        if directory_fd >= 0:
            os.lseek(self._fd, FRAMES_OFFSET, os.SEEK_SET)


def _raise_descriptor(fd: int) -> int:
    """The same file under a high number.

    An application that closes all descriptors and opens its own gets the low ones, and faulthandler
    would write to whatever has the number that it knows.
    """
    try:
        raised = fcntl.fcntl(fd, DUPLICATE, DESCRIPTOR_MIN)
    except OSError:
        return fd
    os.close(fd)
    return raised


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


_frames: Final = _Frames()


def install_fatal_handler() -> None:
    """Keep signal, time, thread and frames where SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT comes.

    They go to the fatal slot of the domain that this process is bound to, now or later. What was
    installed before is called in its turn, so that exit status, core dump and other crash reporters
    stay what they were. Idempotent; called again after a server has replaced handlers, it stands
    in front of them. The pure core has faulthandler write the frames, unless the application uses
    that for itself, and knows nothing else of the signal.
    """
    _frames.wanted = True
    _frames.arm()


def rearm_fatal_handler() -> None:
    """Put the handler, where it is installed, back in front of those that came later."""
    _frames.arm()
