/* The short way into record(). */
#ifndef FAULTPLANE_ENTRY_H
#define FAULTPLANE_ENTRY_H

#include <Python.h>
#include <stdint.h>

#include "exception.h"

/* What Cython generates to unpack six arguments counts references of defaults that nobody gave and
   takes 165 of 640 instructions. Nearly every call gives an exception, an operation and an attempt
   at most: those are taken out here. Any other call, a wrong one too, goes the generated way. */
typedef PyObject *(*fp_short_t)(PyObject *exception, PyObject *operation, uint16_t attempt);

/* A function to be called by its address, so that no compiler takes its stack into the caller's. */
#define FP_APART(function) \
    __extension__({ \
        __typeof__(function) *fp_apart = (function); \
        __asm__("" : "+r"(fp_apart)); \
        fp_apart; \
    })

static _PyCFunctionFastWithKeywords fp_general;
static fp_short_t fp_short;
static PyObject *fp_operation_name, *fp_attempt_name;

static PyObject *fp_entry(PyObject *self, PyObject *const *values, Py_ssize_t positional,
                          PyObject *names) {
    PyObject *operation = NULL, *attempt = NULL;
    long tries = 0;
    Py_ssize_t i, named = names ? PyTuple_GET_SIZE(names) : 0;
    if (positional == 1 && !names && PyExceptionInstance_Check(values[0]))
        return fp_short(values[0], NULL, 0);
    if (positional < 1 || positional + named > 3 || !PyExceptionInstance_Check(values[0]))
        goto general;
    if (positional > 1) operation = values[1];
    if (positional > 2) attempt = values[2];
    for (i = 0; i < named; i++) {
        /* Names in calls are interned, so the same name is the same object. */
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (name == fp_operation_name && !operation)
            operation = values[positional + i];
        else if (name == fp_attempt_name && !attempt)
            attempt = values[positional + i];
        else
            goto general;
    }
    if (operation && !PyUnicode_CheckExact(operation)) goto general;
    if (attempt) {
        tries = fp_small(attempt);
        if (tries < 0 || tries > UINT16_MAX) goto general;
    }
    return fp_short(values[0], operation, (uint16_t)tries);
general:
    return fp_general(self, values, positional, names);
}

/* The interpreter reads the entry from the function's definition at each call. */
static void fp_shorten(PyObject *function, fp_short_t short_way, PyObject *operation_name,
                       PyObject *attempt_name) {
    PyMethodDef *definition;
    if (!PyCFunction_CheckExact(function)) return;
    definition = ((PyCFunctionObject *)function)->m_ml;
    if (definition->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) return;
    fp_short = short_way;
    fp_operation_name = operation_name;
    fp_attempt_name = attempt_name;
    fp_general = (_PyCFunctionFastWithKeywords)(void (*)(void))definition->ml_meth;
    definition->ml_meth = (PyCFunction)(void (*)(void))fp_entry;
}

#endif
