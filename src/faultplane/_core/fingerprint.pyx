"""Which error is this: process-local keys on the hot path, the stable fingerprint behind them.

The hot path hashes (code object, instruction) of every frame. Only the first sighting of a key
makes the stable fingerprint, which is the BLAKE2b hash of a text that anybody can rebuild from a
printed traceback, and renders the stack once.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .digest cimport fp_digest, fp_digest_end, fp_digest_start, fp_digest_update
from .exception cimport (
    FP_K1,
    CTypeObject,
    PyBaseExceptionGroupObject,
    PyBaseExceptionObject,
    PyBytes_AS_STRING,
    PyBytes_GET_SIZE,
    PyCode_Addr2Line,
    PyCodeObject,
    PyDict_Check,
    PyDict_GetItemWithError,
    PyErr_Clear,
    PyExc_BaseExceptionGroup,
    PyExceptionInstance_Check,
    PyFrame_GetGlobals,
    PyTracebackObject,
    PyTuple_Check,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyType_IsSubtype,
    PyUnicode_AsEncodedString,
    PyUnicode_AsUTF8AndSize,
    PyUnicode_Check,
    Py_DECREF,
    Py_TYPE,
    Py_XDECREF,
    Py_XINCREF,
    fp_mix,
    fp_traceback,
    fp_traceback_code,
)
from .layout cimport CHAIN_MAX, FINGERPRINT_VERSION, GROUP_MAX, STACK_FRAMES_MAX, STRING_BYTES_MAX
from .message cimport cut_utf8
from .posix cimport snprintf

cdef enum:
    GROUP_DEPTH_MAX = 4
    FORGOTTEN_MAX = 2 * (TYPES_MAX + SITES_MAX)
    NAME_BYTES = 512
    SITE_NAME_BYTES = 400
    TYPE_NAME_BYTES = 500

cdef object NAME_NAME = "__name__"


# ---------------------------------------------------------------------------------- hot keys


cdef uint64_t walk_chain(PyObject* exception, uint64_t key) noexcept:
    """Fold the causes and contexts of an exception into ``key``, a cycle through it once."""
    cdef PyObject* first = exception
    cdef PyObject* next = chained(exception)
    cdef int depth = 0
    while next != NULL and next != first and depth < CHAIN_MAX:
        key = fp_mix(
            key ^ <uint64_t><size_t>Py_TYPE(next),
            FP_K1
            ^ <uint64_t>((<PyBaseExceptionObject*>exception).cause != NULL),
        )
        key = walk(next, key)
        exception = next
        next = chained(exception)
        depth += 1
    return key


cdef inline PyObject* members(PyObject* exception) noexcept:
    cdef PyObject* found = (<PyBaseExceptionGroupObject*>exception).excs
    return found if found != NULL and PyTuple_Check(found) else NULL


cdef inline bint is_group(PyObject* exception) noexcept:
    return PyType_IsSubtype(Py_TYPE(exception), <CTypeObject*>PyExc_BaseExceptionGroup)


cdef uint64_t walk_group(PyObject* exception, uint64_t key, int depth) noexcept:
    """Fold the first members of an ExceptionGroup into ``key``."""
    cdef PyObject* inner = members(exception)
    cdef PyObject* member
    cdef Py_ssize_t i
    if inner == NULL or depth > GROUP_DEPTH_MAX:
        return key
    for i in range(min(PyTuple_GET_SIZE(inner), <Py_ssize_t>GROUP_MAX)):
        member = PyTuple_GET_ITEM(inner, i)
        key = fp_mix(
            key ^ <uint64_t><size_t>Py_TYPE(member), FP_K1 + <uint64_t>i
        )
        key = walk(member, key)
        if is_group(member):
            key = walk_group(member, key, depth + 1)
    return key


cdef PyObject* forgotten[FORGOTTEN_MAX]
cdef uint32_t forgotten_count = 0


cdef inline void forget(PyObject* reference) noexcept:
    global forgotten_count
    if forgotten_count < <uint32_t>FORGOTTEN_MAX:  # else never dropped: see tables_flush
        forgotten[forgotten_count] = reference
        forgotten_count += 1


cdef void tables_flush(Tables* t) noexcept:
    """Forget every type and site.

    Entries are cleared before their references are dropped: dropping one may run Python that
    records an error and finds the tables empty, not dangling. The references wait in an array and
    not in a list, which memory might be too short for. A flush inside a flush puts its own on top;
    where the array has no room for them all, some objects live for ever.
    """
    global forgotten_count
    cdef uint32_t before = forgotten_count
    cdef int i
    if t.type_count == 0 and t.site_count == 0:
        return  # nothing to forget, and no page to touch for it
    for i in range(TYPE_SLOTS):
        if t.types[i].type != NULL:
            forget(t.types[i].type)
            if t.types[i].classification != NULL:
                forget(t.types[i].classification)
    memset(t.types, 0, sizeof(t.types))
    for i in range(SITE_SLOTS):
        if t.sites[i].key != 0:
            forget(t.sites[i].classification)
            forget(t.sites[i].refs)
    memset(t.sites, 0, sizeof(t.sites))
    t.type_count = 0
    t.site_count = 0
    t.flushes += 1
    # Another thread may get in between and drop some of ours: each is taken off before it goes.
    while forgotten_count > before:
        forgotten_count -= 1
        Py_DECREF(forgotten[forgotten_count])


# --------------------------------------------------------------------------- first sighting


cdef Portrait* portrait_new() except NULL:
    """To be freed with PyMem_RawFree."""
    cdef Portrait* p = <Portrait*>PyMem_RawMalloc(sizeof(Portrait))
    if p == NULL:
        raise MemoryError
    return p


cdef struct Draft:
    # Text under construction: the digest of one text, the bytes of another.
    fp_digest digest
    char* out
    uint32_t used
    uint32_t capacity
    bint full
    char last[2 * NAME_BYTES + 32]
    uint32_t last_bytes


cdef void append(Draft* d, const char* text, size_t n) noexcept:
    """Add to the stack text; it ends with the last piece that fits."""
    d.full = d.full or d.used + n > d.capacity
    if not d.full:
        memcpy(d.out + d.used, text, n)
        d.used += <uint32_t>n


cdef void append_line(Draft* d, const char* text, size_t n) noexcept:
    """Add a line to the stack text, newlines inside it escaped."""
    cdef size_t i
    for i in range(n):
        if text[i] == c"\n":
            append(d, b"\\n", 2)
        else:
            append(d, text + i, 1)
    append(d, b"\n", 1)


cdef inline int shortened(const char* text, Py_ssize_t n, Py_ssize_t limit) noexcept:
    """At most ``limit`` bytes, never inside a code point, as printf counts them."""
    return <int>cut_utf8(<const uint8_t*>text, n, limit)


cdef const char* utf8(PyObject* text, Py_ssize_t* n, PyObject** owner) noexcept:
    """UTF-8 of a str; ``?`` stands for what has none. ``owner`` gets a reference to drop."""
    cdef const char* found
    owner[0] = NULL
    if text == NULL or not PyUnicode_Check(text):
        n[0] = 1
        return b"?"
    found = PyUnicode_AsUTF8AndSize(text, n)
    if found != NULL:
        return found
    PyErr_Clear()
    owner[0] = PyUnicode_AsEncodedString(text, b"utf-8", b"replace")
    if owner[0] == NULL:
        PyErr_Clear()
        n[0] = 1
        return b"?"
    n[0] = PyBytes_GET_SIZE(owner[0])
    return PyBytes_AS_STRING(owner[0])


cdef inline char* put(char* at, const char* text, int n) noexcept:
    """Copy ``n`` bytes, NUL among them as any other; where the next ones go."""
    memcpy(at, text, <size_t>n)
    return at + n


cdef void frame(Draft* d, PyTracebackObject* entry, bint innermost, Portrait* p) noexcept:
    """One frame, into the digest and the stack text."""
    cdef PyCodeObject* code = fp_traceback_code(entry)
    cdef PyObject* scope = PyFrame_GetGlobals(entry.tb_frame)
    cdef PyObject* name = NULL
    cdef PyObject* owners[3]
    cdef Py_ssize_t module_bytes, qualname_bytes, file_bytes
    cdef const char* module
    cdef const char* qualname
    cdef const char* file
    cdef char line[2 * NAME_BYTES + 32]
    cdef char number[24]
    cdef char* end
    cdef int n, at = PyCode_Addr2Line(code, entry.tb_lasti)
    cdef uint32_t used
    if scope != NULL and PyDict_Check(scope):
        # May run Python: a key that is no str compares itself as it likes.
        name = PyDict_GetItemWithError(scope, <PyObject*>NAME_NAME)
        if name == NULL:
            PyErr_Clear()
    module = utf8(name, &module_bytes, &owners[0])
    qualname = utf8(code.co_qualname, &qualname_bytes, &owners[1])
    file = utf8(code.co_filename, &file_bytes, &owners[2])
    end = put(line, b"\n", 1)
    end = put(end, module, shortened(module, module_bytes, NAME_BYTES))
    end = put(end, b"\x1f", 1)
    end = put(end, qualname, shortened(qualname, qualname_bytes, NAME_BYTES))
    used = <uint32_t>(
        end - line + snprintf(end, sizeof(number), "\x1f%ld", <long>at - code.co_firstlineno)
    )
    if used != d.last_bytes or memcmp(line, d.last, used) != 0:
        fp_digest_update(&d.digest, line, used)
        memcpy(d.last, line, used)
        d.last_bytes = used
    append(d, file, <size_t>file_bytes)
    append(d, b"\x1f", 1)
    append(d, qualname, <size_t>qualname_bytes)
    n = snprintf(number, sizeof(number), "\x1f%d\x1f", at)
    append(d, number, <size_t>n)
    append(d, module, <size_t>module_bytes)
    append(d, b"\n", 1)
    if innermost and p.site_bytes == 0:
        end = put(p.site, module, shortened(module, module_bytes, SITE_NAME_BYTES))
        end = put(end, b":", 1)
        end = put(end, qualname, shortened(qualname, qualname_bytes, SITE_NAME_BYTES))
        p.site_bytes = <uint32_t>(end - p.site + snprintf(end, sizeof(number), ":%d", at))
    for n in range(3):
        Py_XDECREF(owners[n])
    Py_XDECREF(scope)


cdef void frames(Draft* d, PyObject* exception, Portrait* p) noexcept:
    """The outermost and the innermost frames, half of STACK_FRAMES_MAX each."""
    cdef PyTracebackObject* entry = fp_traceback(exception)
    cdef PyTracebackObject* next
    cdef Py_ssize_t count = 0, i = 0
    cdef char text[48]
    cdef int n
    while entry != NULL:
        count += 1
        entry = entry.tb_next
    d.last_bytes = 0
    # Each entry is held while it is looked at: that may run Python that takes the traceback apart.
    entry = fp_traceback(exception)
    Py_XINCREF(<PyObject*>entry)
    while entry != NULL:
        if count <= STACK_FRAMES_MAX or i < STACK_FRAMES_MAX // 2 or (
            i >= count - STACK_FRAMES_MAX // 2
        ):
            frame(d, entry, entry.tb_next == NULL, p)
        elif i == STACK_FRAMES_MAX // 2:
            n = snprintf(
                text, sizeof(text), "\x1eelided\x1f%ld\n", <long>(count - STACK_FRAMES_MAX)
            )
            append(d, text, <size_t>n)
        i += 1
        next = entry.tb_next
        Py_XINCREF(<PyObject*>next)
        Py_DECREF(<PyObject*>entry)
        entry = next


cdef bytes type_name(PyObject* exception):
    """``module.qualname`` of the type, ``builtins`` left off; never fails."""
    cdef object name
    cdef bytes encoded
    try:
        kind = type(<object>exception)
        module = kind.__module__
        name = str.__str__(kind.__qualname__)  # a str of a subclass encodes as it likes
        if type(module) is str and module != "builtins":
            name = f"{module}.{name}"
        encoded = name.encode("utf-8", "replace")
        return encoded[: shortened(<const char*>encoded, len(encoded), TYPE_NAME_BYTES)]
    except BaseException:
        return b"?"


cdef int portray_part(
    Draft* d, PyObject* exception, bytes relation, Portrait* p
) except -1:
    """A cause, context or member: its relation, its type, its frames."""
    cdef object _held = <object>exception  # its type's name may be made by Python that drops it
    cdef bytes name = type_name(exception)
    cdef bytes line = b"\n" + relation + b"\n" + name
    fp_digest_update(&d.digest, <const char*>line, len(line))
    line = b"\x1e" + relation + b"\x1f" + name
    append_line(d, <const char*>line, len(line))
    frames(d, exception, p)
    return 0


cdef int portray_members(Draft* d, PyObject* exception, Portrait* p, int depth) except -1:
    cdef PyObject* inner = members(exception)
    cdef PyObject* member
    cdef Py_ssize_t i
    cdef object _held
    if inner == NULL or depth > GROUP_DEPTH_MAX:
        return 0
    _held = <object>inner
    for i in range(min(PyTuple_GET_SIZE(inner), <Py_ssize_t>GROUP_MAX)):
        member = PyTuple_GET_ITEM(inner, i)
        portray_part(d, member, b"member", p)
        if is_group(member):
            portray_members(d, member, p, depth + 1)
    return 0


cdef int portray(
    PyObject* exception, Portrait* p, const uint8_t* message, Py_ssize_t message_bytes,
    const uint8_t* template, Py_ssize_t template_bytes
) except -1:
    """Fill in fingerprint, type, site and the rendered stack of an exception."""
    cdef Draft d
    cdef bytes name = type_name(exception)
    cdef bytes head
    cdef PyObject* next
    cdef PyObject* current = exception
    cdef list _held = []
    cdef int depth = 0
    # The frames come first, since the head of the stack text names the site they end at.
    d.out = p.frames
    d.used = 0
    d.full = False
    d.capacity = STRING_BYTES_MAX - 4096
    d.last_bytes = 0
    p.site_bytes = 0
    p.site[0] = 0
    p.type_bytes = <uint32_t>len(name)
    memcpy(p.type, <const char*>name, len(name))
    fp_digest_start(&d.digest)
    head = b"%d\n" % FINGERPRINT_VERSION + name
    fp_digest_update(&d.digest, <const char*>head, len(head))
    frames(&d, exception, p)
    if p.site_bytes == 0:
        p.site_bytes = 1  # no traceback: a cause's frames must not name the site
        p.site[0] = 0
    next = chained(current)
    while next != NULL and next != exception and depth < CHAIN_MAX:
        _held.append(<object>next)
        portray_part(
            &d, next, b"cause" if (<PyBaseExceptionObject*>current).cause != NULL else b"context", p
        )
        current = next
        next = chained(current)
        depth += 1
    if is_group(exception):
        portray_members(&d, exception, p, 0)
    if p.site[0] == 0:
        p.site_bytes = 0
    p.fingerprint = fp_digest_end(&d.digest)
    if p.fingerprint == 0:
        p.fingerprint = 1
    finish_stack(p, p.frames, d.used, message, message_bytes, template, template_bytes)
    return 0


cdef void finish_stack(
    Portrait* p, const char* rendered, uint32_t rendered_bytes, const uint8_t* message,
    Py_ssize_t message_bytes, const uint8_t* template, Py_ssize_t template_bytes
) noexcept:
    """The stack text: type, site, template and first message, a line each, then the frames."""
    cdef Draft d
    d.out = p.stack
    d.used = 0
    d.full = False
    d.capacity = STRING_BYTES_MAX
    append_line(&d, p.type, p.type_bytes)
    append_line(&d, p.site, p.site_bytes)
    append_line(&d, <const char*>template, <size_t>min(template_bytes, <Py_ssize_t>1024))
    append_line(&d, <const char*>message, <size_t>min(message_bytes, <Py_ssize_t>1024))
    append(&d, rendered, rendered_bytes)
    p.stack_bytes = d.used


cdef int add_codes(dict kept, PyObject* exception) except -1:
    """Everything whose address the walk of one exception used."""
    cdef PyTracebackObject* entry = fp_traceback(exception)
    cdef PyCodeObject* last = NULL
    cdef PyCodeObject* code
    kept[<size_t>Py_TYPE(exception)] = type(<object>exception)
    while entry != NULL:
        code = fp_traceback_code(entry)
        if code != last:
            kept[<size_t>code] = <object><PyObject*>code
            last = code
        entry = entry.tb_next
    return 0


cdef int add_members(dict kept, PyObject* exception, int depth) except -1:
    cdef PyObject* inner = members(exception)
    cdef PyObject* member
    cdef Py_ssize_t i
    if inner == NULL or depth > GROUP_DEPTH_MAX:
        return 0
    for i in range(min(PyTuple_GET_SIZE(inner), <Py_ssize_t>GROUP_MAX)):
        member = PyTuple_GET_ITEM(inner, i)
        add_codes(kept, member)
        if is_group(member):
            add_members(kept, member, depth + 1)
    return 0


cdef object references(PyObject* exception, object template):
    """Tuple of the template and of every object whose address is part of the hot key."""
    # Each once: two functions that call each other fill a stack in turns.
    cdef dict kept = {}
    cdef PyObject* current = exception
    cdef int depth = 0
    add_codes(kept, exception)
    current = chained(exception)
    while current != NULL and current != exception and depth < CHAIN_MAX:
        add_codes(kept, current)
        current = chained(current)
        depth += 1
    if is_group(exception):
        add_members(kept, exception, 0)
    return template, *kept.values()


def fingerprint(exc):
    """Stable fingerprint of an exception, computed the slow way: a u64, never 0.

    The same in every process, whatever the addresses, the message or the line a function starts
    at. Raises TypeError for anything but an exception.

    >>> fingerprint(ValueError("a")) == fingerprint(ValueError("b"))
    True
    """
    cdef Portrait* p
    if not PyExceptionInstance_Check(<PyObject*>exc):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    p = portrait_new()
    try:
        portray(<PyObject*>exc, p, b"", 0, b"", 0)
        return p.fingerprint
    finally:
        PyMem_RawFree(p)
