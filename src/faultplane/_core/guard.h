/* What guarded calls need of CPython's C API: the error that is set, and calls without a tuple. */
#ifndef FAULTPLANE_GUARD_H
#define FAULTPLANE_GUARD_H

#include <Python.h>

/* The error that is set, as one object with its traceback; it is set no longer. A new reference. */
static PyObject *fp_take_error(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Sets an error with the traceback that it has. Borrows the reference. */
static void fp_put_error(PyObject *error) {
    Py_INCREF(error);
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(error);
#else
    PyObject *type = (PyObject *)Py_TYPE(error);
    Py_INCREF(type);
    PyErr_Restore(type, error, PyException_GetTraceback(error));
#endif
}

static void fp_drop(PyObject *owned) { Py_DECREF(owned); }

/* Errors, and not what ends a thread, a task, a generator or an iteration. */
static int fp_is_exception(PyObject *error) {
    PyTypeObject *type = Py_TYPE(error);
    return PyType_IsSubtype(type, (PyTypeObject *)PyExc_Exception) &&
           !PyType_IsSubtype(type, (PyTypeObject *)PyExc_StopIteration) &&
           !PyType_IsSubtype(type, (PyTypeObject *)PyExc_StopAsyncIteration);
}

/* Whether nothing can be found on it of when to come back: a built-in error without attributes or
   others behind it. */
static int fp_says_nothing(PyObject *error) {
    PyBaseExceptionObject *e = (PyBaseExceptionObject *)error;
    return !(Py_TYPE(error)->tp_flags & Py_TPFLAGS_HEAPTYPE) && e->dict == NULL &&
           e->cause == NULL && e->context == NULL &&
           !PyType_IsSubtype(Py_TYPE(error), (PyTypeObject *)PyExc_BaseExceptionGroup);
}

/* An instance that nothing was done to yet: to measure it, and let go of it again. */
static PyObject *fp_allocate(PyObject *type) {
    return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
}

/* Calls of instances go to the function at `offset`, without a tuple of their arguments; as methods
   they are called without an object for the method. Before there is an instance in use. */
static void fp_be_vectorcallable(PyObject *type, Py_ssize_t offset) {
    PyTypeObject *t = (PyTypeObject *)type;
    t->tp_vectorcall_offset = offset;
    t->tp_call = PyVectorcall_Call;
    t->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
    PyType_Modified(t);
}

#endif
