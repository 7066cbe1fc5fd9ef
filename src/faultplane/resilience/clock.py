"""The clock and the dice of guarded calls, in one place, so that a test can have its own."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final


class Clock:
    """Time, waiting for it to pass, and chance. Seconds throughout."""

    def now(self) -> float:
        """Seconds since 1970, for waits that are asked for as a date."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait in a thread."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait in a task."""
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """A number from 0 to 1, 1 not included."""
        return random.random()  # noqa: S311 - jitter keeps no secret


SYSTEM: Final = Clock()
