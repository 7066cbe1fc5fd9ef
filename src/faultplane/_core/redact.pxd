"""Redaction of messages: one call for the record path, inlined where it is used."""

from libc.stdint cimport uint8_t

cdef extern from "redact_scan.h" nogil:
    enum:
        REDACT_BYTES_MAX
    # -1: nothing to hide in the first REDACT_BYTES_MAX bytes, the message is src. Otherwise the
    # bytes written to out, at most cap, cut at a code point.
    Py_ssize_t redact_into(const uint8_t* src, size_t n, uint8_t* out, size_t cap) noexcept
    # The same; cut says whether something of the message is missing (set only when not -1).
    Py_ssize_t redact_into_cut(
        const uint8_t* src, size_t n, uint8_t* out, size_t cap, int* cut
    ) noexcept
