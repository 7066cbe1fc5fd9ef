"""What the current context says: the OpenTelemetry span, if that is loaded, and the user."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from .exception cimport (
    PyContextVar_Get,
    PyDict_GET_SIZE,
    PyErr_Clear,
    Py_DECREF,
)


cdef struct Trace:
    PyObject* modules        # sys.modules: its size tells when something was imported
    Py_ssize_t modules_seen
    PyObject* variable       # OpenTelemetry's context variable, once it is loaded
    PyObject* span_key
    PyObject* span_context_type
    PyObject* context        # the context whose ids are cached: kept, so that its address is its
    PyObject* asking         # the context whose span is being asked
    uint8_t ids[24]          # trace id, span id
    PyObject* user           # the context variable of users, where they are asked for


cdef void trace_start(Trace* t) noexcept
cdef void trace_look(Trace* t) noexcept
cdef bint trace_read(Trace* t, PyObject* context) noexcept
cdef uint64_t user_read(PyObject* variable) noexcept


cdef inline uint64_t trace_user(Trace* t) noexcept:
    """The keyed hash of the current context's user, 0 = none or not asked for."""
    return 0 if t.user == NULL else user_read(t.user)


cdef inline const uint8_t* trace_ids(Trace* t) noexcept:
    """The 16 + 8 bytes of the current span's ids; NULL without OpenTelemetry or a span.

    Costs a comparison when OpenTelemetry is not loaded, a context variable read when it is, and
    one attribute lookup by name (``_context``) when the context is another than last time.
    """
    cdef PyObject* context = NULL
    if PyDict_GET_SIZE(t.modules) != t.modules_seen:
        trace_look(t)
    if t.variable == NULL:
        return NULL
    if PyContextVar_Get(t.variable, NULL, &context) < 0:
        PyErr_Clear()
        return NULL
    if context == NULL:
        return NULL
    if context == t.context:
        Py_DECREF(context)
    elif not trace_read(t, context):
        return NULL
    return t.ids
