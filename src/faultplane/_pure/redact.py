"""Redaction of messages: passwords, tokens, addresses and card numbers become ``***``.

The readable statement of `faultplane._core.redact`, with the same answers. A message is searched
from left to right for places where a rule could begin; a rule looks at the bytes around its place
and names a span to hide, or none. What was hidden is not looked at again.
"""

from __future__ import annotations

import re
from typing import Final

from faultplane.schema import MESSAGE_BYTES_MAX

from . import redact_fields as fields
from . import redact_shapes as shapes
from .redact_fields import Span

__all__ = ["BYTES_MAX", "redact", "redact_bytes"]

BYTES_MAX: Final = 4 * MESSAGE_BYTES_MAX
"""Bytes of a message that are looked at; what lies behind them is dropped."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LAST_TWO: Final = r"(?i:[rwi]d|[isdru]e|ig|[ts]h|[ai]l|rm|[eo]n|[lsr]s|et|ey|d[0-9])|.[ \"')\]\\]"
"""What may stand before a separator: the ends of the names in redact_fields, or a gap."""
_PLACES: Final = tuple(
    (first, re.compile(pattern, re.DOTALL))
    for first, pattern in (
        (":", rf":(?:(?=//)|(?<=(?:{_LAST_TWO}):))"),
        ("=", rf"=(?<=(?:{_LAST_TWO})=)"),
        ("-", r"-(?:(?=-)|(?<=[kti]-)|(?<=x...-))"),
        ("_", r"_(?:(?<=h._)|(?<=[ub]._)|(?<=[kmfc]_))"),
        ("@", r"@"),
        ("%40", r"%40"),
        ("A", r"A(?=KIA|SIA|Iza)"),
        ("B", r"B(?=earer|EARER|asic|ASIC)"),
        ("bearer", r"bearer"),
        ("eyJ", r"J(?<=eyJ)"),
        ("", r"[0-9](?=[0-9]{3}(?:[0-9]|[ -][0-9]))(?<![0-9]{2})"),
    )
)
"""Where a rule can begin: what must be in the message at all, and the place."""


def _rule(s: str, i: int, floor: int, mail_floor: int) -> Span | None:
    """What the rule of this place hides, if anything."""
    match s[i]:
        case ":" if s.startswith("//", i + 1):
            return shapes.userinfo(s, i)
        case ":" | "=":
            return fields.separator(s, i)
        case "@":
            return shapes.mail(s, i, 1, mail_floor)
        case "%":
            return shapes.mail(s, i, 3, mail_floor)
        case "-":
            return shapes.dash(s, i, floor)
        case "_" | "A":
            return shapes.vendor(s, i, floor)
        case "J":
            return shapes.jwt(s, i, floor)
        case "B" | "b":
            return shapes.bearer(s, i)
        case _:
            return shapes.card(s, i)


def _redact(s: str) -> str | None:
    """The message redacted, or None where it stays as it is. One character stands for a byte."""
    places = [place for first, place in _PLACES if first in s and place.search(s)]
    if not places:
        return None
    parts: list[str] = []
    position = copied = mail_floor = 0
    for i in sorted(match.start() for place in places for match in place.finditer(s)):
        if i < position:
            continue
        span = _rule(s, i, copied, max(mail_floor, copied))
        position = i + 1
        if s[i] in "@%":
            mail_floor = i + (1 if s[i] == "@" else 3)
        if span:
            parts += [s[copied : span[0]], "***"]
            copied = span[1]
            position = max(position, copied)
    return "".join([*parts, s[copied:]]) if parts else None


def redact_bytes(message: bytes, bytes_max: int) -> bytes | None:
    """``message`` (UTF-8) redacted and cut to ``bytes_max`` (0 to BYTES_MAX) at a code point.

    None where nothing had to be hidden in its first BYTES_MAX bytes. Raises ValueError when
    ``bytes_max`` is out of bounds.

    >>> redact_bytes(b"token=abc", 1024)
    b'token=***'
    """
    if not 0 <= bytes_max <= BYTES_MAX:
        raise ValueError(f"bytes_max must be 0 to {BYTES_MAX}, got {bytes_max}")
    redacted = _redact(_cut(message, BYTES_MAX).decode("latin-1"))
    return None if redacted is None else _cut(redacted.encode("latin-1"), bytes_max)


def redact(text: str) -> str:
    """``text`` with ``***`` for what should not leave the process.

    At most the first BYTES_MAX bytes (UTF-8) of it, and at most as many are returned, never cut
    inside a code point. Lone surrogates become U+FFFD. The same object where nothing changes.

    >>> redact("cannot connect to postgresql://app:hunter2@db/orders")
    'cannot connect to postgresql://***@db/orders'
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if text.isascii():
        kept = text if len(text) <= BYTES_MAX else text[:BYTES_MAX]
        redacted = _redact(kept)
        return kept if redacted is None else redacted[:BYTES_MAX]
    try:
        message = text.encode()
    except UnicodeEncodeError:
        text = _SURROGATES.sub("\ufffd", text)
        message = text.encode()
    cut = redact_bytes(message, BYTES_MAX)
    if cut is not None:
        return cut.decode()
    return text if len(message) <= BYTES_MAX else _cut(message, BYTES_MAX).decode()


def _cut(message: bytes, bytes_max: int) -> bytes:
    """At most ``bytes_max`` bytes, not ending inside a code point."""
    if len(message) <= bytes_max:
        return message
    while bytes_max > 0 and message[bytes_max] & 0xC0 == 0x80:
        bytes_max -= 1
    return message[:bytes_max]
