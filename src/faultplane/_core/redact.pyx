"""Redaction of messages: passwords, tokens, addresses and card numbers become ``***``.

The rules are in redact_text.h, redact_fields.h and redact_shapes.h, the pass over the bytes in
redact_scan.h; `faultplane._pure.redact` says the same in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t


BYTES_MAX = REDACT_BYTES_MAX
"""Bytes of a message that are looked at; what lies behind them is dropped."""


def redact(text):
    """``text`` with ``***`` for what should not leave the process.

    At most the first BYTES_MAX bytes (UTF-8) of it, and at most as many are returned, never cut
    inside a code point. Lone surrogates become U+FFFD. The same object where nothing changes.

    >>> redact("cannot connect to postgresql://app:hunter2@db/orders")
    'cannot connect to postgresql://***@db/orders'
    """
    cdef Py_ssize_t n
    cdef uint8_t out[REDACT_BYTES_MAX]
    cdef const char* data
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    try:
        data = PyUnicode_AsUTF8AndSize(text, &n)
    except UnicodeEncodeError:
        text = replace_surrogates(str.__str__(text))
        data = PyUnicode_AsUTF8AndSize(text, &n)
    cdef Py_ssize_t written = redact_into(<const uint8_t*>data, <size_t>n, out, REDACT_BYTES_MAX)
    if written >= 0:
        return PyUnicode_DecodeUTF8(<const char*>out, written, NULL)
    if n <= REDACT_BYTES_MAX:
        return text
    return data[:REDACT_BYTES_MAX].decode("utf-8", "ignore")


def redact_bytes(bytes message not None, Py_ssize_t bytes_max):
    """``message`` (UTF-8) redacted and cut to ``bytes_max`` (0 to BYTES_MAX) at a code point.

    None where nothing had to be hidden in its first BYTES_MAX bytes. Raises ValueError when
    ``bytes_max`` is out of bounds.

    >>> redact_bytes(b"token=abc", 1024)
    b'token=***'
    """
    cdef uint8_t out[REDACT_BYTES_MAX]
    if bytes_max < 0 or bytes_max > REDACT_BYTES_MAX:
        raise ValueError(f"bytes_max must be 0 to {REDACT_BYTES_MAX}, got {bytes_max}")
    cdef Py_ssize_t written = redact_into(
        <const uint8_t*>PyBytes_AS_STRING(message), <size_t>len(message), out, <size_t>bytes_max
    )
    return None if written < 0 else PyBytes_FromStringAndSize(<const char*>out, written)


cdef str replace_surrogates(str text):
    """U+FFFD for each lone surrogate: the one thing in a str that UTF-8 has no bytes for."""
    return "".join(["\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text])
