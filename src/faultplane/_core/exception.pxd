"""CPython's exception, traceback and frame objects, as far as the record path reads them."""

from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "exception.h":
    ctypedef struct PyFrameObject:
        pass
    ctypedef struct PyCodeObject:
        PyObject* co_filename
        PyObject* co_qualname
        int co_firstlineno
    ctypedef struct PyTracebackObject:
        PyTracebackObject* tb_next
        PyFrameObject* tb_frame
        int tb_lasti
    ctypedef struct PyBaseExceptionObject:
        PyObject* args
        PyObject* context
        PyObject* cause
        char suppress_context
    ctypedef struct PyBaseExceptionGroupObject:
        PyObject* excs
    ctypedef struct PyOSErrorObject:
        PyObject* myerrno
        PyObject* strerror
        PyObject* filename
        PyObject* filename2
    ctypedef PyObject* (*reprfunc)(PyObject*)
    ctypedef struct CTypeObject "PyTypeObject":
        reprfunc tp_str
    long fp_small(PyObject* value) noexcept
    const uint64_t FP_K0
    const uint64_t FP_K1
    uint64_t fp_mix(uint64_t a, uint64_t b) noexcept nogil
    PyTracebackObject* fp_traceback(PyObject* exception) noexcept
    PyCodeObject* fp_traceback_code(PyTracebackObject* entry) noexcept
    PyObject* PyFrame_GetGlobals(PyFrameObject* frame) noexcept
    int PyCode_Addr2Line(PyCodeObject* code, int offset) noexcept
    void fp_mark(PyObject* exception) noexcept
    bint fp_marked(PyObject* exception) noexcept
    bint fp_is_compact_ascii(PyObject* text) noexcept
    const uint8_t* fp_ascii(PyObject* text, Py_ssize_t* n) noexcept
    int fp_long_bytes(PyObject* value, uint8_t* out, size_t n) noexcept
    bint PyExceptionInstance_Check(PyObject* value) noexcept
    CTypeObject* Py_TYPE(PyObject* value) noexcept
    bint PyType_IsSubtype(CTypeObject* a, CTypeObject* b) noexcept
    PyObject* PyExc_BaseException
    PyObject* PyExc_BaseExceptionGroup
    PyObject* PyExc_OSError
    PyObject* PyExc_KeyError
    bint PyLong_CheckExact(PyObject* value) noexcept
    long PyLong_AsLong(PyObject* value) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject* value) noexcept
    PyObject* PyTuple_GET_ITEM(PyObject* value, Py_ssize_t i) noexcept
    bint PyTuple_Check(PyObject* value) noexcept
    bint PyUnicode_Check(PyObject* value) noexcept
    bint PyUnicode_CheckExact(PyObject* value) noexcept
    const char* PyUnicode_AsUTF8AndSize(PyObject* value, Py_ssize_t* n) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject* value) noexcept
    PyObject* PyUnicode_Substring(PyObject* value, Py_ssize_t start, Py_ssize_t end) noexcept
    PyObject* PyObject_Str(PyObject* value) noexcept
    PyObject* PyUnicode_AsEncodedString(
        PyObject* value, const char* encoding, const char* errors
    ) noexcept
    char* PyBytes_AS_STRING(PyObject* value) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject* value) noexcept
    PyObject* PyDict_GetItemWithError(PyObject* d, PyObject* key) noexcept
    PyObject* PyDict_GetItemString(PyObject* d, const char* key) noexcept
    Py_ssize_t PyDict_GET_SIZE(PyObject* d) noexcept
    bint PyDict_Check(PyObject* d) noexcept
    PyObject* PyObject_GetAttr(PyObject* value, PyObject* name) noexcept
    PyObject* PyObject_GetAttrString(PyObject* value, const char* name) noexcept
    PyObject* PyObject_CallMethod(PyObject* value, const char* name, const char* format) noexcept
    PyObject* PyImport_GetModuleDict() noexcept
    bint PyByteArray_CheckExact(PyObject* value) noexcept
    char* PyByteArray_AS_STRING(PyObject* value) noexcept
    Py_ssize_t PyByteArray_GET_SIZE(PyObject* value) noexcept
    int PyContextVar_Get(PyObject* var, PyObject* default_value, PyObject** value) noexcept
    void Py_INCREF(PyObject* value) noexcept
    void Py_DECREF(PyObject* value) noexcept
    void Py_XDECREF(PyObject* value) noexcept
    void Py_XINCREF(PyObject* value) noexcept
    void PyErr_Clear() noexcept
    bint Py_IS_TYPE(PyObject* value, CTypeObject* type) noexcept
