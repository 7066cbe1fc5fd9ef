"""What is served when a dependency failed: a value, a function's answer, the last good answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from faultplane.errors import InvalidSetting
from faultplane.resilience.locks import Locked
from faultplane.resilience.policy import SECONDS_MAX, number, whole

ENTRIES_MAX: Final = 1_000_000


class Fallback:
    """Serves ``answer(error, *args, **kwargs)``, given the error and the arguments of the call.

    For a value: ``Fallback.value([])``. For the last good answer: `Fallback.stale`. Whatever it
    raises is raised in place of the error, which is its context.

    >>> Fallback.value([]).serve(TimeoutError(), (), {})
    []
    """

    remembers = False
    """Whether it is to be told of answers that are good."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        if not callable(answer):
            raise InvalidSetting(
                f"a fallback must be a function, or Fallback.value(…) of a value, got {answer!r}"
            )
        self._answer = answer

    @classmethod
    def value(cls, value: Any) -> Fallback:
        """One that serves ``value``, the object itself."""
        return cls(lambda *_, **__: value)

    @classmethod
    def stale(
        cls,
        seconds_max: float = 300.0,
        entries_max: int = 1024,
        key: Callable[..., Hashable] | None = None,
    ) -> StaleFallback:
        """One that serves what a call of the same arguments was last answered.

        An answer is served for ``seconds_max`` seconds (0 to 86,400), and of ``entries_max``
        answers (1 to 1,000,000) the one that was used longest ago goes first. ``key`` makes a key
        of the arguments; without it they are the key, and calls with arguments that cannot be
        hashed are not kept. Where there is no answer the error itself is raised.
        """
        return StaleFallback(seconds_max, entries_max, key)

    def serve(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is served for a call that ended with ``error``."""
        return self._answer(error, *args, **kwargs)

    def remember(self, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> None:
        """Be told of an answer that is good."""


class StaleFallback(Locked, Fallback):
    """Serves the last good answer; made by `Fallback.stale`. ``ages`` says how old what it has is.

    >>> cached = Fallback.stale()
    >>> cached.remember(("A-17",), {}, "paid")
    >>> cached.serve(TimeoutError(), ("A-17",), {})
    'paid'
    """

    remembers = True

    def __init__(
        self, seconds_max: float, entries_max: int, key: Callable[..., Hashable] | None
    ) -> None:
        self._seconds_max = number("seconds_max", seconds_max, 0.0, SECONDS_MAX)
        self._entries_max = whole("entries_max", entries_max, 1, ENTRIES_MAX)
        if key is not None and not callable(key):
            raise InvalidSetting(f"key must be a function or None, got {key!r}")
        self._key = key
        Locked.__init__(self)
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        if self._key is not None:
            return self._key(*args, **kwargs)
        key = (args, *sorted(kwargs.items())) if kwargs else args
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def serve(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The last good answer of the same arguments; raises ``error`` where there is none."""
        key = self._key_of(args, kwargs)
        with self.lock:
            found = self._kept.get(key) if key is not None else None
            if found is not None and time.monotonic() - found[0] <= self._seconds_max:
                self._kept.move_to_end(key)
                return found[1]
        raise error

    def remember(self, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> None:
        """Keep an answer for calls of the same arguments."""
        key = self._key_of(args, kwargs)
        if key is None:
            return
        with self.lock:
            self._kept[key] = time.monotonic(), answer
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries_max:
                self._kept.popitem(last=False)

    @property
    def ages(self) -> dict[Hashable, float]:
        """Seconds since each answer that is kept was given, by the key of its call."""
        now = time.monotonic()
        with self.lock:
            return {key: now - since for key, (since, _) in self._kept.items()}
