"""A message without its variable parts: the rules are in docs/templates.md."""

from libc.stdint cimport uint8_t

# The template of the UTF-8 bytes src[0, n), written to out[0, cap); returns its length, at most
# min(cap, MESSAGE_BYTES_MAX). Give it the whole message: it says <cut> where it left some out.
cdef size_t template_bytes(
    const uint8_t* src, size_t n, uint8_t* out, size_t cap
) noexcept nogil
