"""What is found out about an error once: its type's classification, its first sighting.

All of it may run Python (the classifier, names of types) and may therefore record errors itself;
nothing here keeps a pointer into the tables across such a call.
"""

from cpython.mem cimport PyMem_RawFree
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from .aggregate cimport aggregate_series
from .attributes cimport encoded
from .digest cimport fp_digest_of
from .exception cimport (
    FP_K0,
    FP_K1,
    fp_mix,
    PyBaseExceptionObject,
    CTypeObject,
    PyErr_Clear,
    PyExc_BaseExceptionGroup,
    PyExc_OSError,
    PyType_IsSubtype,
    PyUnicode_AsUTF8AndSize,
    Py_INCREF,
    Py_TYPE,
    Py_XDECREF,
)
from .fingerprint cimport (
    ERRNO_MAX,
    SITES_MAX,
    TRAIT_DYNAMIC,
    TRAIT_GROUP,
    TRAIT_IGNORED,
    TRAIT_KEYED,
    TRAIT_OSERROR,
    TRAIT_WRAPPER,
    TYPES_MAX,
    Portrait,
    Site,
    Tables,
    TypeInfo,
    errno_of,
    key_of,
    portrait_new,
    portray,
    references,
    site_find,
    tables_flush,
    type_find,
)
from .intern cimport dictionary_intern
from .layout cimport (
    CHAIN_MAX,
    DROP_DICTIONARY_FULL,
    KIND_INTERNAL,
    MESSAGE_BYTES_MAX,
    SERIES_ERROR,
    UNKNOWN_CATEGORY,
)
from .message cimport Text, cut_utf8, message_form, utf8_of
from .recorder cimport OPERATIONS_RECENT, RAW, Recorder, drop, notice_fork, recorder
from .template cimport template_bytes

cdef enum:
    OPERATIONS_MAX = 4096
    KEYS_MAX = TYPES_MAX

cdef Recorder* R = recorder()
cdef Tables* T = &R.tables

cdef enum:
    # What the classifier says an answer may be remembered by: one of these, or what reads a key
    # from the exception, with the key.
    NEVER = 0
    BY_TYPE = 1
    BY_CAUSES = 2

cdef object hook_classify = None
cdef object hook_encode = None
cdef object hook_redact_more = None
cdef tuple ignored = ()
cdef dict operations = {}
cdef uint32_t operation_serial = 0
cdef dict keys = {}
cdef long key_serial = ERRNO_MAX


class _Unclassified:
    """What an error is unless `configure` says otherwise."""

    kind_code = KIND_INTERNAL
    category_code = UNKNOWN_CATEGORY
    severity_number = 17
    flag_bits = 0


cdef object UNCLASSIFIED = _Unclassified()


cdef int classify_with(object hook) except -1:
    global hook_classify
    hook_classify = hook
    tables_flush(T)
    return 0


cdef int unclassified_is(object classification) except -1:
    global UNCLASSIFIED
    UNCLASSIFIED = classification
    return 0


cdef int encode_with(object hook) except -1:
    global hook_encode
    hook_encode = hook
    return 0


cdef int redact_with(object hook) except -1:
    global hook_redact_more
    hook_redact_more = hook
    return 0


cdef int ignore_types(object types) except -1:
    global ignored
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"ignore must hold exception types, got {kind!r}")
    ignored = tuple(types)
    tables_flush(T)
    return 0


# ------------------------------------------------------------------------------ types, operations


cdef uint32_t operation_of(PyObject* operation) noexcept:
    """Process-local serial number of an operation name, from 1; 0 without memory."""
    try:
        return operation_known(operation)
    except BaseException:
        return 0


cdef uint32_t operation_known(PyObject* operation) except 0:
    global operation_serial
    cdef int i
    cdef PyObject* old
    found = operations.get(<object>operation)
    if found is None:
        if len(operations) >= OPERATIONS_MAX:
            operations.clear()
            forget_recent()
            tables_flush(T)
        operation_serial += 1
        found = operation_serial
        operations[<object>operation] = found
    old = R.recent[OPERATIONS_RECENT - 1]
    for i in range(OPERATIONS_RECENT - 1, 0, -1):
        R.recent[i] = R.recent[i - 1]
        R.recent_serial[i] = R.recent_serial[i - 1]
    Py_INCREF(operation)
    R.recent[0] = operation
    R.recent_serial[0] = found
    Py_XDECREF(old)
    return R.recent_serial[0]


cdef void forget_recent() noexcept:
    cdef PyObject* old
    cdef int i
    for i in range(OPERATIONS_RECENT):
        old = R.recent[i]
        R.recent[i] = NULL
        Py_XDECREF(old)


cdef TypeInfo* known_special(PyObject* exception, TypeInfo* known) noexcept:
    """What is known where errno, cause or members matter; NULL: type_slow has to find out."""
    cdef long errno_value
    if known.traits & TRAIT_KEYED:
        return NULL
    if known.traits & TRAIT_OSERROR:
        errno_value = errno_of(exception)
        if errno_value:
            known = type_find(T, known.type, errno_value)
    if known.traits & TRAIT_WRAPPER and (<PyBaseExceptionObject*>exception).cause != NULL:
        return NULL
    return NULL if known.classification == NULL else known


cdef TypeInfo* type_insert(PyObject* type, long errno_value, uint8_t traits) noexcept:
    cdef TypeInfo* slot
    if T.type_count >= TYPES_MAX:
        tables_flush(T)
    slot = type_find(T, type, errno_value)
    if slot.type != NULL:
        return slot
    T.type_count += 1
    T.type_serial += 1
    Py_INCREF(type)
    slot.type = type
    slot.classification = NULL
    slot.errno_value = errno_value
    slot.serial = T.type_serial
    slot.traits = traits
    slot.form = <uint8_t>message_form(type)
    return slot


cdef uint8_t traits_of(PyObject* type) noexcept:
    cdef uint8_t traits = 0
    if PyType_IsSubtype(<CTypeObject*>type, <CTypeObject*>PyExc_OSError):
        traits |= TRAIT_OSERROR
    if PyType_IsSubtype(<CTypeObject*>type, <CTypeObject*>PyExc_BaseExceptionGroup):
        traits |= TRAIT_GROUP
    try:
        # Asked as Python asks: a metaclass may stand for types by name. Once per type.
        if issubclass(<object>type, ignored):
            traits |= TRAIT_IGNORED
    except BaseException:
        pass
    return traits


cdef void describe(TypeInfo* info, object classification) noexcept:
    """Copy the codes of a classification; absurd ones become those of an unknown error."""
    try:
        info.kind = classification.kind_code
        info.category = classification.category_code
        info.severity = classification.severity_number
        info.flags = classification.flag_bits
    except BaseException:
        info.kind = KIND_INTERNAL
        info.category = UNKNOWN_CATEGORY
        info.severity = 17
        info.flags = 0


cdef PyObject* type_slow(PyObject* exception, TypeInfo* out) noexcept:
    """Fill ``out`` for a type that is new, special or not yet classified.

    Gives a new reference to the classification. Without memory that is the one of an unknown
    error.
    """
    cdef PyObject* owned
    try:
        classification = type_of(exception, out)
    except BaseException:
        classification = UNCLASSIFIED
        memset(out, 0, sizeof(TypeInfo))
        describe(out, classification)
        out.form = <uint8_t>message_form(<PyObject*>Py_TYPE(exception))
    owned = <PyObject*>classification
    Py_INCREF(owned)
    return owned


cdef long causes_of(PyObject* exception, long errno_value) noexcept:
    """Type and errno of every exception along the ``__cause__`` chain, as one negative number.

    The types get slots of their own, which keep them alive, and whose serial numbers stand for
    them.
    """
    cdef uint64_t mixed = fp_mix(FP_K0, <uint64_t>errno_value)
    cdef PyObject* cause = (<PyBaseExceptionObject*>exception).cause
    cdef PyObject* type
    cdef TypeInfo* slot
    cdef int depth = 0
    cdef object _held
    while cause != NULL and depth <= CHAIN_MAX:
        _held = <object>cause  # asking for its traits may run Python that lets it go
        type = <PyObject*>Py_TYPE(cause)
        slot = type_find(T, type, 0)
        if slot.type == NULL:
            slot = type_insert(type, 0, traits_of(type))
        mixed = fp_mix(
            mixed ^ slot.serial,
            FP_K1 ^ <uint64_t>(errno_of(cause) if slot.traits & TRAIT_OSERROR else 0),
        )
        cause = (<PyBaseExceptionObject*>cause).cause
        depth += 1
    return <long>(mixed | <uint64_t>1 << 63)


cdef long serial_of(object key) except -1:
    """Process-local number of a key, above those of errnos; never given twice."""
    global key_serial
    found = keys.get(key)
    if found is None:
        if len(keys) >= KEYS_MAX:
            keys.clear()
        key_serial += 1
        found = keys[key] = key_serial
    return found


cdef long key_read(object read, PyObject* exception) noexcept:
    """Number of the key that ``read`` gives; 0 where it gives none. May run Python."""
    try:
        key = read(<object>exception)
        return 0 if key is None else serial_of(key)
    except BaseException:
        return 0


cdef bint keyed_keep(PyObject* type, tuple told, object classification, TypeInfo* out) except -1:
    """Keep an answer under a key, and by the type what reads the key; whether that was possible.

    The key alone says what errno and causes would.
    """
    cdef object read = told[0]
    cdef uint64_t flushes = T.flushes
    cdef long narrowed = serial_of(told[1])
    cdef TypeInfo* slot = type_insert(type, 0, traits_of(type))
    if slot.classification == NULL:
        slot.classification = <PyObject*>read
        slot.traits |= TRAIT_KEYED
        Py_INCREF(slot.classification)
    elif not slot.traits & TRAIT_KEYED or slot.classification != <PyObject*>read:
        return False
    slot = type_insert(type, narrowed, traits_of(type))
    if T.flushes != flushes:
        return False  # no room for both: the next one finds it
    describe(slot, classification)
    if slot.classification == NULL:
        slot.classification = <PyObject*>classification
        Py_INCREF(slot.classification)
    out[0] = slot[0]
    return True


cdef tuple asked(PyObject* exception):
    """What the classifier says: (classification, what it may be remembered by)."""
    try:
        classification, told = hook_classify(<object>exception)
        if isinstance(told, tuple):
            _, key = told
            hash(key)
            return classification, told
        return classification, <int>told
    except BaseException:
        return UNCLASSIFIED, (BY_TYPE if hook_classify is None else NEVER)


cdef object keyed_type_of(PyObject* exception, TypeInfo* out):
    """Classification of an exception from whose type's exceptions a key is read."""
    cdef PyObject* type = <PyObject*>Py_TYPE(exception)
    cdef object read = <object>type_find(T, type, 0).classification
    cdef long narrowed = key_read(read, exception)
    cdef TypeInfo* slot = type_find(T, type, narrowed)
    cdef uint64_t flushes = T.flushes
    if narrowed and slot.type != NULL and slot.classification != NULL:
        out[0] = slot[0]
        return <object>slot.classification
    classification, told = asked(exception)
    if T.flushes == flushes and isinstance(told, tuple):
        if keyed_keep(type, told, classification, out):
            return classification
    slot = type_insert(type, 0, traits_of(type))
    out[0] = slot[0]
    out.traits = out.traits & ~TRAIT_KEYED | TRAIT_DYNAMIC
    describe(out, classification)
    return classification


cdef object type_of(PyObject* exception, TypeInfo* out):
    """The classifier runs Python and may record errors itself: slots are looked up after it."""
    cdef PyObject* type = <PyObject*>Py_TYPE(exception)
    cdef TypeInfo* slot = type_find(T, type, 0)
    cdef bint caused = (<PyBaseExceptionObject*>exception).cause != NULL
    cdef long narrowed = 0
    cdef int remembered = NEVER
    cdef uint8_t wrapper
    cdef uint64_t flushes
    if slot.type == NULL:
        slot = type_insert(type, 0, traits_of(type))
    if slot.traits & TRAIT_KEYED:
        return keyed_type_of(exception, out)
    if slot.traits & TRAIT_OSERROR:
        narrowed = errno_of(exception)
        if narrowed:
            slot = type_insert(type, narrowed, slot.traits & ~TRAIT_WRAPPER)
    wrapper = slot.traits & TRAIT_WRAPPER
    if wrapper and caused:
        narrowed = causes_of(exception, narrowed)
        slot = type_insert(type, narrowed, TRAIT_WRAPPER | traits_of(type))
    out[0] = slot[0]
    if slot.classification != NULL:
        return <object>slot.classification
    flushes = T.flushes
    classification, told = asked(exception)
    if not isinstance(told, tuple):
        remembered = told
    elif T.flushes == flushes and keyed_keep(type, told, classification, out):
        return classification
    if remembered == BY_CAUSES and not wrapper:
        slot = type_insert(type, narrowed, out.traits)
        slot.traits |= TRAIT_WRAPPER
        if caused:
            narrowed = causes_of(exception, narrowed)
    slot = type_insert(type, narrowed, out.traits)
    describe(out, classification)
    out.serial = slot.serial
    if remembered and T.flushes == flushes:
        # A rule that changed while the hook ran flushed the tables: this answer may be old.
        describe(slot, classification)
        if slot.classification == NULL:
            slot.classification = <PyObject*>classification
            Py_INCREF(slot.classification)
    else:
        slot.traits |= TRAIT_DYNAMIC
        out.traits |= TRAIT_DYNAMIC
    return classification


# ------------------------------------------------------------------------------ first sighting


cdef int32_t intern_name(const char* text, uint32_t n) noexcept:
    """Code of a name in the dictionary of the current segment; 0 when it has no room."""
    cdef int32_t id = dictionary_intern(
        &R.names, fp_digest_of(text, n), <const uint8_t*>text, n, False
    )
    if id < 0:
        if R.names.base != NULL:
            drop(R, DROP_DICTIONARY_FULL)
        return 0
    return id


cdef Site* first_sighting(
    PyObject* exception, uint64_t key, const TypeInfo* info, uint32_t serial,
    PyObject* classification, PyObject* operation, Text* text
) noexcept:
    """Everything that is found out once about an error; then its slot, filled.

    ``serial`` is that of the operation. NULL without memory.
    """
    cdef Site* slot
    try:
        slot = sight(exception, key, info, classification, operation, text)
    except BaseException:
        return NULL
    # From the filling of the slot to here no Python object was made or dropped.
    if key_of(exception, info, serial) != key:
        # It changed while it was portrayed: this record has what was found, no other one may.
        slot.key = ~key
    return slot


cdef Site* sight(
    PyObject* exception, uint64_t key, const TypeInfo* info, PyObject* classification,
    PyObject* operation, Text* text
) except NULL:
    cdef Portrait* p = portrait_new()
    try:
        return portrayed(p, exception, key, info, classification, operation, text)
    finally:
        PyMem_RawFree(p)


cdef Site* portrayed(
    Portrait* p, PyObject* exception, uint64_t key, const TypeInfo* info, PyObject* classification,
    PyObject* operation, Text* text
) except NULL:
    cdef uint8_t template[MESSAGE_BYTES_MAX]
    cdef Py_ssize_t n = cut_utf8(text.data, text.n, MESSAGE_BYTES_MAX)
    cdef size_t template_n = template_bytes(text.data, <size_t>n, template, MESSAGE_BYTES_MAX)
    cdef Py_ssize_t operation_n = 0
    cdef const char* operation_text = b""
    cdef bytes operation_bytes
    cdef Site fresh
    cdef Site* slot
    cdef object refs
    portray(exception, p, text.data, n, template, <Py_ssize_t>template_n)
    refs = references(exception, (<const char*>template)[:template_n])
    if operation != NULL:
        operation_text = PyUnicode_AsUTF8AndSize(operation, &operation_n)
        if operation_text == NULL:
            PyErr_Clear()
            operation_bytes = utf8_of(<object>operation)
            operation_text = <const char*>operation_bytes
            operation_n = len(operation_bytes)
    if T.site_count >= SITES_MAX:
        tables_flush(T)  # may run Python, which may bind anew: codes and cells come after it
    notice_fork()  # the cell that is new must not go into the parent's file
    memset(&fresh, 0, sizeof(Site))
    fresh.key = key
    fresh.fingerprint = p.fingerprint
    fresh.kind = info.kind
    fresh.category = info.category
    fresh.severity = info.severity
    fresh.flags = info.flags
    fresh.cell = aggregate_series(
        &R.aggregate, SERIES_ERROR, info.kind, p.fingerprint, b"", 0,
        operation_text, <size_t>operation_n, p.type, p.type_bytes
    )
    fresh.type = intern_name(p.type, p.type_bytes)
    fresh.site = intern_name(p.site, p.site_bytes)
    operation_n = cut_utf8(<const uint8_t*>operation_text, operation_n, 1024)
    fresh.operation = intern_name(operation_text, <uint32_t>operation_n)
    dictionary_intern(&R.stacks, p.fingerprint, <uint8_t*>p.stack, p.stack_bytes, True)
    # From here to the return no Python object is made or dropped.
    slot = site_find(T, key)
    if slot.key == 0:
        T.site_count += 1
        fresh.classification = classification
        Py_INCREF(classification)
        fresh.refs = <PyObject*>refs
        Py_INCREF(fresh.refs)
        slot[0] = fresh
    return slot


cdef void redact_by_user(Text* text) noexcept:
    """Run the patterns that users added; a failing one keeps nothing of the message."""
    cdef bytes result
    try:
        result = hook_redact_more(text.data[: text.n].decode("utf-8", "replace")).encode(
            "utf-8", "replace"
        )
    except BaseException:
        result = b"<redaction failed>"
    Py_XDECREF(text.owner)
    text.owner = <PyObject*>result
    Py_INCREF(text.owner)
    text.data = <const uint8_t*><const char*>result
    text.n = len(result)


cdef PyObject* encode(PyObject* attributes) noexcept:
    """Attributes as a new reference to bytes; NULL when they cannot be encoded."""
    cdef bytes result
    cdef PyObject* owned
    try:
        if hook_encode is not None:
            result = hook_encode(<object>attributes)
        elif R.messages == RAW:
            result = encoded(<object>attributes, False, None)
        else:
            result = encoded(<object>attributes, True, hook_redact_more)
    except BaseException:
        return NULL
    owned = <PyObject*>result
    if result is not None:
        Py_INCREF(owned)
        return owned
    return NULL
