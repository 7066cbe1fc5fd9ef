"""The text of an exception as UTF-8 bytes, without running Python where that can be helped."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from .exception cimport (
    PyBaseExceptionObject,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyUnicode_AsUTF8AndSize,
    PyUnicode_CheckExact,
    PyUnicode_GET_LENGTH,
    PyErr_Clear,
    Py_INCREF,
    fp_ascii,
    fp_is_compact_ascii,
)
from .layout cimport MESSAGE_BYTES_MAX


cdef enum MessageForm:
    MESSAGE_PLAIN    # BaseException.__str__
    MESSAGE_OSERROR  # OSError.__str__
    MESSAGE_KEYERROR  # KeyError.__str__
    MESSAGE_CALL     # a __str__ of its own: runs Python

cdef enum:
    SCRATCH_BYTES = 2048
    # Of a text, two more than the bytes that are looked at: the last ones may be surrogates that
    # belong together.
    READ_CHARACTERS_MAX = 4 * MESSAGE_BYTES_MAX + 2


cdef struct Text:
    const uint8_t* data
    Py_ssize_t n
    PyObject* owner  # a new reference that keeps data alive, or NULL


cdef inline bint message_plain(PyObject* exception, Text* text) noexcept:
    """The usual case, one str argument: its bytes are read in place. False: not that case.

    The str is kept: what runs Python before the row is written may give the exception other args.
    """
    cdef PyObject* args = (<PyBaseExceptionObject*>exception).args
    cdef PyObject* argument
    cdef Py_ssize_t count = PyTuple_GET_SIZE(args)
    text.owner = NULL
    if count == 1:
        argument = PyTuple_GET_ITEM(args, 0)
        if fp_is_compact_ascii(argument):
            text.data = fp_ascii(argument, &text.n)
            text.owner = argument
            Py_INCREF(argument)
            return True
        if PyUnicode_CheckExact(argument) and (
            PyUnicode_GET_LENGTH(argument) <= READ_CHARACTERS_MAX
        ):
            # Caches the UTF-8 form in the str; fails for lone surrogates only.
            text.data = <const uint8_t*>PyUnicode_AsUTF8AndSize(argument, &text.n)
            if text.data != NULL:
                text.owner = argument
                Py_INCREF(argument)
                return True
            PyErr_Clear()
        return False
    text.data = <const uint8_t*>b""
    text.n = 0
    return count == 0


cdef MessageForm message_form(PyObject* type) noexcept
cdef bint message_oserror(PyObject* exception, Text* text, uint8_t* scratch) noexcept
cdef bint message_keyerror(PyObject* exception, Text* text, uint8_t* scratch) noexcept
cdef void message_call(PyObject* exception, Text* text) noexcept
cdef bytes utf8_of(object text)
cdef object without_surrogates(object text)
cdef Py_ssize_t cut_utf8(const uint8_t* data, Py_ssize_t n, Py_ssize_t limit) noexcept nogil
