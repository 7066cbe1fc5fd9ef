"""What is found out about an error once: its type's classification, its first sighting."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t, uint64_t

from .fingerprint cimport Site, TypeInfo
from .message cimport Text

cdef uint32_t operation_of(PyObject* operation) noexcept
cdef TypeInfo* known_special(PyObject* exception, TypeInfo* known) noexcept
cdef PyObject* type_slow(PyObject* exception, TypeInfo* out) noexcept
cdef Site* first_sighting(
    PyObject* exception, uint64_t key, const TypeInfo* info, uint32_t serial,
    PyObject* classification, PyObject* operation, Text* text
) noexcept
cdef int32_t intern_name(const char* text, uint32_t n) noexcept
cdef void redact_by_user(Text* text) noexcept
cdef PyObject* encode(PyObject* attributes) noexcept
cdef int classify_with(object hook) except -1
cdef int unclassified_is(object classification) except -1
cdef int encode_with(object hook) except -1
cdef int redact_with(object hook) except -1
cdef int ignore_types(object types) except -1
