"""What the current context says: the OpenTelemetry span, if that is loaded, and the user."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from .exception cimport (
    CTypeObject,
    PyByteArray_AS_STRING,
    PyByteArray_CheckExact,
    PyByteArray_GET_SIZE,
    PyContextVar_Get,
    PyDict_Check,
    PyDict_GET_SIZE,
    PyDict_GetItemString,
    PyDict_GetItemWithError,
    PyErr_Clear,
    PyImport_GetModuleDict,
    PyObject_CallMethod,
    PyObject_GetAttr,
    PyObject_GetAttrString,
    PyTuple_GET_ITEM,
    Py_DECREF,
    Py_INCREF,
    Py_IS_TYPE,
    Py_XDECREF,
    fp_long_bytes,
)

cdef object NAME_CONTEXT = "_context"
cdef Trace* read_by_all = NULL


cdef void trace_start(Trace* t) noexcept:
    global read_by_all
    read_by_all = t
    memset(t, 0, sizeof(Trace))
    t.modules = PyImport_GetModuleDict()
    t.modules_seen = -1


cdef void trace_look(Trace* t) noexcept:
    """After an import: has OpenTelemetry come?"""
    cdef PyObject* context_module
    cdef PyObject* propagation
    cdef PyObject* span
    cdef PyObject* runtime
    t.modules_seen = PyDict_GET_SIZE(t.modules)
    if t.variable != NULL:
        return
    context_module = PyDict_GetItemString(t.modules, b"opentelemetry.context")
    propagation = PyDict_GetItemString(t.modules, b"opentelemetry.trace.propagation")
    span = PyDict_GetItemString(t.modules, b"opentelemetry.trace.span")
    if context_module == NULL or propagation == NULL or span == NULL:
        return
    runtime = PyObject_GetAttrString(context_module, b"_RUNTIME_CONTEXT")
    if runtime != NULL:
        t.span_key = PyObject_GetAttrString(propagation, b"_SPAN_KEY")
        t.span_context_type = PyObject_GetAttrString(span, b"SpanContext")
        if t.span_key != NULL and t.span_context_type != NULL:
            t.variable = PyObject_GetAttrString(runtime, b"_current_context")
        Py_DECREF(runtime)
    PyErr_Clear()


cdef bint trace_read(Trace* t, PyObject* context) noexcept:
    """Read the ids of another context; takes over the reference.

    False for what a span records while it is asked: it would be asked for that again.
    """
    cdef uint8_t ids[24]
    cdef PyObject* old
    cdef PyObject* asking = t.asking
    if context == asking:
        Py_DECREF(context)
        return False
    memset(ids, 0, 24)
    t.asking = context
    # A span that is asked may let another thread in, which reads another context: what is kept
    # of one context is changed at once.
    trace_fill(t, context, ids)
    t.asking = asking
    old = t.context
    t.context = context
    memcpy(t.ids, ids, 24)
    # Last: letting the old context go may run Python.
    Py_XDECREF(old)
    return True


cdef void trace_fill(Trace* t, PyObject* context, uint8_t* ids) noexcept:
    cdef PyObject* span
    cdef PyObject* span_context
    if not PyDict_Check(context):
        return
    span = PyDict_GetItemWithError(context, t.span_key)
    if span == NULL:
        PyErr_Clear()
        return
    Py_INCREF(span)
    span_context = PyObject_GetAttr(span, <PyObject*>NAME_CONTEXT)
    if span_context == NULL:
        PyErr_Clear()
        span_context = PyObject_CallMethod(span, b"get_span_context", NULL)
    Py_DECREF(span)
    if span_context == NULL:
        PyErr_Clear()
        return
    if Py_IS_TYPE(span_context, <CTypeObject*>t.span_context_type):
        if (
            fp_long_bytes(PyTuple_GET_ITEM(span_context, 0), ids, 16) < 0
            or fp_long_bytes(PyTuple_GET_ITEM(span_context, 1), ids + 16, 8) < 0
        ):
            PyErr_Clear()
            memset(ids, 0, 24)
    Py_DECREF(span_context)


def watch_user(variable):
    """Write with each record the user of its context, from now on.

    ``variable`` is a `contextvars.ContextVar` whose value is a bytearray: eight bytes of a hash,
    the least significant first; anything else is no user.
    """
    cdef PyObject* old = read_by_all.user
    Py_INCREF(<PyObject*>variable)
    read_by_all.user = <PyObject*>variable
    Py_XDECREF(old)


cdef uint64_t user_read(PyObject* variable) noexcept:
    cdef PyObject* value = NULL
    cdef uint64_t user = 0
    if PyContextVar_Get(variable, NULL, &value) < 0:
        PyErr_Clear()
        return 0
    if value == NULL:
        return 0
    if PyByteArray_CheckExact(value) and PyByteArray_GET_SIZE(value) == 8:
        memcpy(&user, PyByteArray_AS_STRING(value), 8)
    Py_DECREF(value)
    return user
