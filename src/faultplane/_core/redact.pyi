"""Redaction of messages: passwords, tokens, addresses and card numbers become ``***``."""

BYTES_MAX: int
"""Bytes of a message that are looked at; what lies behind them is dropped."""

def redact(text: str) -> str:
    """``text`` with ``***`` for what should not leave the process.

    At most the first BYTES_MAX bytes (UTF-8) of it, and at most as many are returned, never cut
    inside a code point. Lone surrogates become U+FFFD. The same object where nothing changes.

    >>> redact("cannot connect to postgresql://app:hunter2@db/orders")
    'cannot connect to postgresql://***@db/orders'
    """

def redact_bytes(message: bytes, bytes_max: int) -> bytes | None:
    """``message`` (UTF-8) redacted and cut to ``bytes_max`` (0 to BYTES_MAX) at a code point.

    None where nothing had to be hidden in its first BYTES_MAX bytes. Raises ValueError when
    ``bytes_max`` is out of bounds.

    >>> redact_bytes(b"token=abc", 1024)
    b'token=***'
    """
