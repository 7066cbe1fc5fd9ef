"""The text of an exception as UTF-8 bytes, whatever its ``__str__`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from faultplane.schema import FLAG_REDACTED, FLAG_TRUNCATED, MESSAGE_BYTES_MAX

from .redact import BYTES_MAX as READ_BYTES_MAX
from .redact import redact_bytes

__all__: list[str] = []

UNPRINTABLE: Final = b"<exception str() failed>"
REDACTION_FAILED: Final = b"<redaction failed>"


def cut_utf8(data: bytes, limit: int) -> bytes:
    """At most ``limit`` bytes, never cut inside a code point.

    >>> cut_utf8("aé".encode(), 2)
    b'a'
    """
    if len(data) <= limit:
        return data
    while limit > 0 and data[limit] & 0xC0 == 0x80:
        limit -= 1
    return data[:limit]


def utf8_of(text: str) -> bytes:
    """UTF-8 of a str, with U+FFFD for every lone surrogate."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        wide = str.encode(text, "utf-16-le", "surrogatepass")
        return wide.decode("utf-16-le", "replace").encode()


def text_of(exception: BaseException) -> bytes:
    """The beginning of ``str(exception)``, at least `READ_BYTES_MAX` bytes where there are more.

    Lone surrogates become U+FFFD.
    """
    try:
        text = str(exception)
    except BaseException:  # noqa: BLE001 - the application's code may raise anything
        return UNPRINTABLE
    if str.__len__(text) > READ_BYTES_MAX:
        # Two more characters: the last ones may be surrogates that belong together.
        text = str.__getitem__(text, slice(READ_BYTES_MAX + 2))
    return utf8_of(text)


def prepare(
    data: bytes, *, hide: bool, redact_more: Callable[[str], str] | None
) -> tuple[bytes, int]:
    """Redact and cut a message; (its bytes, the flags that say so).

    ``hide=False`` leaves it as it is, but for its length.
    """
    flags = 0
    if len(data) > MESSAGE_BYTES_MAX:
        data = cut_utf8(data, READ_BYTES_MAX)
        flags = FLAG_TRUNCATED
    if hide:
        hidden = redact_bytes(data, READ_BYTES_MAX)
        if hidden is not None:
            flags |= FLAG_REDACTED
            data = hidden
        if redact_more is not None:
            data = _redacted(redact_more, data)
    if len(data) > MESSAGE_BYTES_MAX:
        data = cut_utf8(data, MESSAGE_BYTES_MAX)
        flags |= FLAG_TRUNCATED
    return data, flags


def _redacted(rule: Callable[[str], str], data: bytes) -> bytes:
    """Run the user's rule; where it fails, nothing of the message is kept."""
    try:
        return str.encode(rule(data.decode()), "utf-8", "replace")
    except BaseException:  # noqa: BLE001 - the application's code may raise anything
        return REDACTION_FAILED
