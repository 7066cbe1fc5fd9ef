/* The parts of CPython's exception, traceback and frame objects that the record path reads. */
#ifndef FAULTPLANE_EXCEPTION_H
#define FAULTPLANE_EXCEPTION_H

#include <Python.h>
#include <frameobject.h>
#include <stddef.h>
#include <stdint.h>

#if PY_VERSION_HEX < 0x030B0000
#error "faultplane needs Python 3.11 or newer"
#endif

/* Odd constants with bits all over: 2^64 / golden ratio, and a prime. */
#define FP_K0 UINT64_C(0x9E3779B97F4A7C15)
#define FP_K1 UINT64_C(0xD6E8FEB86659FD93)

/* 64 x 64 -> 128 bits, folded: the mixing step of the process-local keys. */
static inline uint64_t fp_mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The outermost entry of an exception's traceback, or NULL. An exception that was told to have none
   keeps None in the field (up to Python 3.11) or nothing. */
static inline PyTracebackObject *fp_traceback(PyObject *exception) {
    PyObject *found = ((PyBaseExceptionObject *)exception)->traceback;
    return found == Py_None ? NULL : (PyTracebackObject *)found;
}

/* The frame keeps its code object alive, so the reference is dropped at once. */
static inline PyCodeObject *fp_traceback_code(PyTracebackObject *entry) {
    PyCodeObject *code = PyFrame_GetCode(entry->tb_frame);
    Py_DECREF(code);
    return code;
}

/* An exception carries no slot for "already recorded". The byte after its last one-byte field is
   padding in every exception type of the interpreter and of extensions that embed
   PyBaseExceptionObject; it is zero from allocation and dies with the object, so a mark there can
   never speak of another exception at a reused address. MemoryError is recycled without being
   cleared: it is never marked. */
#define FP_MARK_OFFSET (offsetof(PyBaseExceptionObject, suppress_context) + 1)
_Static_assert(FP_MARK_OFFSET < sizeof(PyBaseExceptionObject), "no padding to keep the mark in");
#define FP_MARK 0xFB

static inline void fp_mark(PyObject *exception) {
    if (!Py_IS_TYPE(exception, (PyTypeObject *)PyExc_MemoryError))
        ((uint8_t *)exception)[FP_MARK_OFFSET] = FP_MARK;
}

static inline int fp_marked(PyObject *exception) {
    return ((uint8_t *)exception)[FP_MARK_OFFSET] == FP_MARK;
}

static inline int fp_is_compact_ascii(PyObject *text) {
    return PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text);
}

static inline const uint8_t *fp_ascii(PyObject *text, Py_ssize_t *bytes) {
    *bytes = PyUnicode_GET_LENGTH(text);
    return (const uint8_t *)PyUnicode_DATA(text);
}

/* What an exact int of one digit is, 0 to 2^30 - 1 at least; -1 for anything else. */
static inline long fp_small(PyObject *value) {
    if (!PyLong_CheckExact(value)) return -1;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value)) return -1;
    return (long)PyUnstable_Long_CompactValue((PyLongObject *)value) < 0
               ? -1
               : (long)PyUnstable_Long_CompactValue((PyLongObject *)value);
#else
    if ((size_t)Py_SIZE(value) > 1) return -1;
    return Py_SIZE(value) ? (long)((PyLongObject *)value)->ob_digit[0] : 0;
#endif
}

/* Big-endian bytes of a non-negative int, as OpenTelemetry prints its ids. */
static inline int fp_long_bytes(PyObject *value, uint8_t *out, size_t n) {
    if (!PyLong_Check(value)) return -1;
#if PY_VERSION_HEX >= 0x030D0000
    return _PyLong_AsByteArray((PyLongObject *)value, out, n, 0, 0, 0);
#else
    return _PyLong_AsByteArray((PyLongObject *)value, out, n, 0, 0);
#endif
}

#endif
