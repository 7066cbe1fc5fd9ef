"""The hash that identifies texts: BLAKE2b of 8 bytes, little-endian."""

from __future__ import annotations

# Where hashlib has it from. hashlib itself loads OpenSSL, which takes longer than all the rest.
# It is imported at start: later the process may have given up the right to read its library.
try:
    from _blake2 import blake2b
except ImportError:  # another interpreter than CPython
    from hashlib import blake2b

__all__: list[str] = []


class Digest:
    """The hash of a text that comes in pieces."""

    __slots__ = ("_state",)

    def __init__(self, text: bytes) -> None:
        self._state = blake2b(text, digest_size=8)

    def update(self, text: bytes) -> None:
        """Add more of the text."""
        self._state.update(text)

    def value(self) -> int:
        """The hash of all so far, a u64."""
        return int.from_bytes(self._state.digest(), "little")


def digest_of(text: bytes) -> int:
    """The hash of a text.

    >>> digest_of(b"")
    13020603013274838756
    """
    return Digest(text).value()
