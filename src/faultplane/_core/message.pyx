"""The text of an exception as UTF-8 bytes, without running Python where that can be helped."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from .exception cimport (
    CTypeObject,
    PyBaseExceptionObject,
    PyBytes_AS_STRING,
    PyBytes_GET_SIZE,
    PyErr_Clear,
    PyExc_BaseException,
    PyExc_KeyError,
    PyExc_OSError,
    PyLong_AsLong,
    PyLong_CheckExact,
    PyObject_Str,
    PyOSErrorObject,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyUnicode_AsUTF8AndSize,
    PyUnicode_GET_LENGTH,
    PyUnicode_Substring,
    Py_DECREF,
    fp_ascii,
    fp_is_compact_ascii,
)

cdef const char* UNPRINTABLE = b"<exception str() failed>"


cdef MessageForm message_form(PyObject* type) noexcept:
    """How instances of ``type`` make their text."""
    cdef void* form = <void*>(<CTypeObject*>type).tp_str
    if form == <void*>(<CTypeObject*>PyExc_BaseException).tp_str:
        return MESSAGE_PLAIN
    if form == <void*>(<CTypeObject*>PyExc_OSError).tp_str:
        return MESSAGE_OSERROR
    if form == <void*>(<CTypeObject*>PyExc_KeyError).tp_str:
        return MESSAGE_KEYERROR
    return MESSAGE_CALL


cdef Py_ssize_t cut_utf8(const uint8_t* data, Py_ssize_t n, Py_ssize_t limit) noexcept nogil:
    """At most ``limit`` of ``n`` bytes, never inside a code point."""
    if n <= limit:
        return n
    n = limit
    while n > 0 and (data[n] & 0xC0) == 0x80:
        n -= 1
    return n


cdef Py_ssize_t append_quoted(uint8_t* out, PyObject* value) noexcept:
    """repr() of a str that needs no escape; -1 for any other value."""
    cdef Py_ssize_t i, n
    cdef const uint8_t* text
    if not fp_is_compact_ascii(value):
        return -1
    text = fp_ascii(value, &n)
    if n > 900:
        return -1
    for i in range(n):
        if text[i] < 32 or text[i] > 126 or text[i] == c"'" or text[i] == c"\\":
            return -1
        out[i + 1] = text[i]
    out[0] = c"'"
    out[n + 1] = c"'"
    return n + 2


cdef bint message_keyerror(PyObject* exception, Text* text, uint8_t* scratch) noexcept:
    """KeyError shows the repr of its one argument."""
    cdef PyObject* args = (<PyBaseExceptionObject*>exception).args
    if PyTuple_GET_SIZE(args) != 1:
        return False
    text.n = append_quoted(scratch, PyTuple_GET_ITEM(args, 0))
    text.data = scratch
    text.owner = NULL
    return text.n >= 0


cdef bint message_oserror(PyObject* exception, Text* text, uint8_t* scratch) noexcept:
    """``[Errno 2] No such file or directory: 'name'`` without building a str."""
    cdef PyOSErrorObject* e = <PyOSErrorObject*>exception
    cdef Py_ssize_t n, quoted
    cdef const uint8_t* reason
    cdef uint8_t digits[8]
    cdef long code
    cdef int k = 0
    cdef uint8_t* out = scratch
    if (
        e.myerrno == NULL or e.strerror == NULL or e.filename2 != NULL
        or not PyLong_CheckExact(e.myerrno) or not fp_is_compact_ascii(e.strerror)
    ):
        return False
    code = PyLong_AsLong(e.myerrno)
    reason = fp_ascii(e.strerror, &n)
    if code < 0 or code > 99_999 or n > 900:
        PyErr_Clear()
        return False
    memcpy(out, b"[Errno ", 7)
    out += 7
    while True:
        digits[k] = <uint8_t>(c"0" + code % 10)
        k += 1
        code //= 10
        if code == 0:
            break
    while k:
        k -= 1
        out[0] = digits[k]
        out += 1
    out[0] = c"]"
    out[1] = c" "
    memcpy(out + 2, reason, n)
    out += 2 + n
    if e.filename != NULL:
        out[0] = c":"
        out[1] = c" "
        quoted = append_quoted(out + 2, e.filename)
        if quoted < 0:
            return False
        out += 2 + quoted
    text.data = scratch
    text.n = out - scratch
    text.owner = NULL
    return True


cdef void message_call(PyObject* exception, Text* text) noexcept:
    """str(exception), whatever that does. Lone surrogates become U+FFFD."""
    cdef PyObject* value = beginning(PyObject_Str(exception))
    cdef PyObject* encoded
    text.owner = NULL
    if value != NULL:
        text.data = <const uint8_t*>PyUnicode_AsUTF8AndSize(value, &text.n)
        if text.data != NULL:
            text.owner = value
            return
        PyErr_Clear()
        encoded = replaced(value)
        Py_DECREF(value)
        if encoded != NULL:
            text.data = <const uint8_t*>PyBytes_AS_STRING(encoded)
            text.n = PyBytes_GET_SIZE(encoded)
            text.owner = encoded
            return
    PyErr_Clear()
    text.data = <const uint8_t*>UNPRINTABLE
    text.n = 24


cdef PyObject* beginning(PyObject* value) noexcept:
    """As much of a long text as is looked at: UTF-8 of all of it would stay in the str.

    Takes over the reference; NULL for NULL, and without memory.
    """
    cdef PyObject* cut
    if value == NULL or PyUnicode_GET_LENGTH(value) <= READ_CHARACTERS_MAX or (
        fp_is_compact_ascii(value)
    ):
        return value
    cut = PyUnicode_Substring(value, 0, READ_CHARACTERS_MAX)
    Py_DECREF(value)
    return cut


cdef bytes utf8_of(object text):
    """UTF-8 of a str, with U+FFFD for every lone surrogate."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        wide = str.encode(text, "utf-16-le", "surrogatepass")
        return wide.decode("utf-16-le", "replace").encode()


cdef object without_surrogates(object text):
    """A str that had no UTF-8, with U+FFFD for lone surrogates; None when memory was short."""
    PyErr_Clear()
    try:
        plain = utf8_of(text).decode()
    except MemoryError:
        return None
    # The same text: it was memory that failed, and would fail again.
    return None if str.__eq__(plain, text) else plain


cdef PyObject* replaced(PyObject* value) noexcept:
    """UTF-8 with U+FFFD for every lone surrogate; NULL when memory is short."""
    cdef bytes encoded
    try:
        encoded = utf8_of(<object>value)
    except BaseException:
        return NULL
    cdef PyObject* result = <PyObject*>encoded
    from_here(result)
    return result


cdef extern from "Python.h":
    void from_here "Py_INCREF"(PyObject* value) noexcept
