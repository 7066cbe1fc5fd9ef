"""Attributes of a record as bytes: one call for the record path."""

cdef bytes encoded(object attributes, bint redacted, object more)
