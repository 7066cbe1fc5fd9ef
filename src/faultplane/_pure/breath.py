"""In-flight slots: what each operation of this process is doing, readable after its death."""

from __future__ import annotations

import threading
import time
from typing import Final

from faultplane.schema import BREATH_INFLIGHT_OFFSET, INFLIGHT, INFLIGHT_SLOTS

from .memory import Mapping, order
from .message import cut_utf8

__all__ = ["install_fatal_handler", "rearm_fatal_handler"]

OPERATION_BYTES: Final = INFLIGHT.width("operation")


class Breath:
    """The slots of a breath file, all of them free at first. Used under the process lock."""

    def __init__(self, memory: Mapping) -> None:
        self._view = memoryview(memory)
        self._words = self._view[BREATH_INFLIGHT_OFFSET:][: INFLIGHT_SLOTS * INFLIGHT.size].cast(
            "Q"
        )
        self._free = list(range(INFLIGHT_SLOTS - 1, -1, -1))
        self._entered = 0

    def close(self) -> None:
        """Use no slots."""
        self._words.release()
        self._view.release()

    def enter(self, operation: bytes, ids: bytes | None, parent: int) -> int:
        """Fill a slot; its number from 1 as a token, 0 when none is free."""
        if not self._free:
            return 0
        slot = self._free.pop()
        text = cut_utf8(operation, OPERATION_BYTES)
        INFLIGHT.write(
            self._view,
            BREATH_INFLIGHT_OFFSET + slot * INFLIGHT.size,
            start_unix_nano=time.time_ns(),
            start_mono_nano=time.monotonic_ns(),
            thread_id=threading.get_native_id(),
            trace_id=ids[:16] if ids else bytes(16),
            parent=parent,
            operation_bytes=len(text),
            operation=text,
        )
        self._entered += 1
        order()
        # Stored last: whoever sees the word sees the slot.
        self._words[slot * INFLIGHT.size // 8] = self._entered
        return slot + 1

    def leave(self, token: int) -> None:
        """Free the slot of a token."""
        if 0 < token <= INFLIGHT_SLOTS and self._words[(token - 1) * INFLIGHT.size // 8]:
            self._words[(token - 1) * INFLIGHT.size // 8] = 0
            self._free.append(token - 1)


def install_fatal_handler(breath_fd: int = -1, breath: Mapping | None = None) -> None:
    """Write the FATAL slot of ``breath`` when a fatal signal comes."""


def rearm_fatal_handler() -> None:
    """Put the handler back in front of those that were installed since."""
