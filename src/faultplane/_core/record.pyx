"""One exception becomes one row: the path of every record.

What a repeated error creates and looks up by name, as read in the generated C of this module and
of those whose functions it calls (CPython 3.11, Cython 3.1):

* Python objects created: none, for an exception with no argument or one exact str; for KeyError of
  a printable ASCII str; for OSError of errno and ASCII text, with such a file name or none; in raw,
  redact and template mode. Redaction writes into a buffer on the C stack. What does create some:

  - text that is not ASCII: CPython caches its UTF-8 form in the str, once for that str
    (PyUnicode_AsUTF8AndSize);
  - any other message: the str that ``str(exception)`` gives (PyObject_Str), and for lone surrogates
    the bytes and strs of a replacement;
  - a pattern that the user added: the str that it is called with, what it returns, and its bytes;
  - attributes: what the encoder creates, at least the bytes;
  - a type whose class a rule leaves open: what the classifier creates, each time;
  - an operation that is a str of a subclass: the plain one.

* Attributes looked up by name: none. With OpenTelemetry loaded and another context than last time,
  ``_context`` of the span: it is in no slot that C could read (``get_span_context``, called, where
  a span has none; trace.pyx). ``encode`` of a user's pattern; ``__str__`` of an operation of a
  subclass; the global ``Mapping``, by dict, for attributes that are no dict. ``sys.modules`` has a
  longer dict after an import: three names are looked up in it once, and OpenTelemetry's if it came.
* Dicts: none is read, except for an operation that is not among the last four (one lookup, its int
  read), and for the span in another context.
* References counted: of the classification, one, which the caller gets; of the str argument, one,
  because what runs Python before the row is written may give the exception other arguments; of
  each code object one that PyFrame_GetCode hands out, dropped at once (exception.h); of the
  template, in that mode; of the context, where OpenTelemetry is loaded. The way that Cython
  generates into record() adds one for each argument and default; calls of an exception, an
  operation and an attempt do not take it (entry.h).
* The error indicator is not looked at. PyErr_Clear stands behind calls that failed only. The state
  of the exception being handled is saved and put back, by the ``try`` of a function, only by what
  is slow anyway: a new type, a cause that answers for its wrapper, a new operation, a user's hook.
* The GIL is kept: nothing here is long enough to let it go.

Everything that may run Python (``__str__``, the classifier, attribute encoding, the first sighting
of an error) comes before the count; from the count to the commit nothing can come between.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .aggregate cimport cell_at, cell_count_at
from .atomics cimport fp_store_relaxed
from .exception cimport (
    PyBytes_AS_STRING,
    PyBytes_GET_SIZE,
    PyExceptionInstance_Check,
    PyTuple_GET_ITEM,
    Py_DECREF,
    Py_INCREF,
    Py_TYPE,
    fp_mark,
    fp_marked,
)
from .fingerprint cimport (
    TRAIT_IGNORED,
    TRAIT_OSERROR,
    Site,
    TypeInfo,
    errno_of,
    key_of,
    site_find,
    type_find,
)
from .layout cimport (
    ATTRIBUTES_BYTES_MAX,
    DROP_DETAIL_BUDGET,
    DROP_NO_STORAGE,
    DROP_ROW_LOST,
    FLAG_HANDLED,
    FLAG_NO_ATTRIBUTES,
    FLAG_REDACTED,
    FLAG_TRUNCATED,
    MESSAGE_BYTES_MAX,
    cell_t,
)
from .message cimport (
    MESSAGE_CALL,
    MESSAGE_KEYERROR,
    MESSAGE_OSERROR,
    MESSAGE_PLAIN,
    SCRATCH_BYTES,
    Text,
    cut_utf8,
    message_call,
    message_keyerror,
    message_oserror,
    message_plain,
)
from .recorder cimport (
    COUNTING,
    INACTIVE,
    OPERATIONS_RECENT,
    RAW,
    TEMPLATE,
    WRITING,
    Mode,
    Recorder,
    awake,
    bounded,
    clocks,
    drop,
    fp_unlikely,
    overflow,
    recorder,
    renew_dictionary,
    try_storage,
    wake,
    why_unbound,
    within_budget,
)
from .redact cimport redact_into_cut
from .ring cimport (
    CLAIM_NEW_DICTIONARY,
    CLAIM_OK,
    Row,
    writer_advance,
    writer_fits,
    writer_leave_lane,
    writer_put,
)
from .sighting cimport (
    encode,
    first_sighting,
    known_special,
    operation_of,
    redact_by_user,
    type_slow,
)
from .trace cimport trace_ids, trace_user

cdef enum:
    WAKES_MAX = 8

cdef struct More:
    # What few calls say of an error.
    PyObject* attributes  # or NULL
    int64_t duration
    uint8_t flags

ctypedef PyObject* (*known_way_t)(
    PyObject* exception, PyObject* operation, uint16_t attempt, const More* more,
    const TypeInfo* info, const Text* told
) noexcept

ctypedef PyObject* (*asking_way_t)(
    PyObject* exception, PyObject* operation, uint16_t attempt, const More* more
) noexcept

cdef extern from "entry.h":
    ctypedef PyObject* (*fp_short_t)(
        PyObject* exception, PyObject* operation, uint16_t attempt
    ) noexcept
    known_way_t known_apart "FP_APART"(known_way_t way) noexcept
    asking_way_t asking_apart "FP_APART"(asking_way_t way) noexcept
    void fp_shorten(
        object function, fp_short_t short_way, PyObject* operation_name, PyObject* attempt_name
    ) noexcept

cdef Recorder* R = recorder()
cdef More SHORT  # zero but for its flags
SHORT.flags = FLAG_HANDLED
cdef object ZERO = 0
cdef object NAME_OPERATION = "operation"
cdef object NAME_ATTEMPT = "attempt"


cdef inline uint32_t operation_find(PyObject* operation) noexcept:
    """Serial of an operation name: the names used last are compared by address."""
    cdef int i
    for i in range(OPERATIONS_RECENT):
        if R.recent[i] == operation:
            return R.recent_serial[i]
    return operation_of(operation)


cdef void text_of(PyObject* exception, uint8_t form, Text* text, uint8_t* scratch) noexcept:
    """The message, by the cheapest way that gives the same text as str()."""
    if form == MESSAGE_PLAIN and message_plain(exception, text):
        return
    if form == MESSAGE_OSERROR and message_oserror(exception, text, scratch):
        return
    if form == MESSAGE_KEYERROR and message_keyerror(exception, text, scratch):
        return
    message_call(exception, text)


cdef inline uint8_t prepare_text(Text* text, uint8_t* redacted) noexcept:
    """Redact and cut; the flags that say so."""
    cdef uint8_t flags = 0
    cdef Py_ssize_t n
    cdef int cut = 0
    if fp_unlikely(text.n > MESSAGE_BYTES_MAX):
        text.n = cut_utf8(text.data, text.n, 4 * MESSAGE_BYTES_MAX)
        flags = FLAG_TRUNCATED
    if R.messages != RAW:
        n = redact_into_cut(text.data, <size_t>text.n, redacted, MESSAGE_BYTES_MAX, &cut)
        if fp_unlikely(n >= 0):
            flags |= FLAG_REDACTED | (FLAG_TRUNCATED if cut else 0)
            text.data = redacted
            text.n = n
        if fp_unlikely(R.more_redaction):
            redact_by_user(text)
    if fp_unlikely(text.n > MESSAGE_BYTES_MAX):
        text.n = cut_utf8(text.data, text.n, MESSAGE_BYTES_MAX)
        flags |= FLAG_TRUNCATED
    return flags


cdef bint room(uint32_t bytes_needed, int* reason) noexcept nogil:
    """Make sure of a free row and of arena for it; the reason when there is none."""
    if not writer_fits(&R.writer, bytes_needed) and R.writer.word != NULL:
        writer_leave_lane(&R.writer)
    if R.writer.row == R.writer.limit:
        reason[0] = writer_advance(&R.writer)
        return reason[0] == CLAIM_OK
    return True


cdef inline void count(Site* site, const TypeInfo* info, int64_t time_unix_nano) noexcept:
    """Count an error: in its own cell, or by kind where there is none for it."""
    if fp_unlikely(site == NULL or site.cell == 0):
        overflow(info.kind, 1)
    else:
        cell_count_at(cell_at(&R.aggregate, site.cell), time_unix_nano)


cdef inline int write_row(const Site* site, Row* row, const Text* text) noexcept:
    """Write the row wherever there is room; 0, CLAIM_NEW_DICTIONARY or a drop reason."""
    cdef int reason = CLAIM_OK
    row.message = text.data
    row.message_bytes = <uint32_t>text.n
    if fp_unlikely(R.messages == TEMPLATE):
        use_template(site, row)
    while room(row.message_bytes + row.attributes_bytes, &reason):
        if writer_put(&R.writer, row, site):
            return CLAIM_OK
        # Closed under us: the same record goes into another lane.
        R.writer.rehomed += 1
        writer_leave_lane(&R.writer)
    return reason


cdef inline TypeInfo* known_of(PyObject* exception) noexcept:
    """What is known of the type of an exception; NULL: type_slow has to find out."""
    cdef TypeInfo* known = type_find(&R.tables, <PyObject*>Py_TYPE(exception), 0)
    if fp_unlikely(known.classification == NULL or known.traits != 0):
        return known_special(exception, known) if known.type != NULL else NULL
    return known


cdef struct Facts:
    # What one record is made of, gathered before anything is counted.
    TypeInfo info
    Text text
    uint64_t key
    uint32_t serial  # of the operation
    Mode mode        # set by wake_for()
    uint8_t ids[24]
    uint8_t scratch[SCRATCH_BYTES]
    uint8_t redacted[MESSAGE_BYTES_MAX + 16]


cdef inline PyObject* gather(
    Facts* f, Row* row, PyObject* exception, PyObject* operation, PyObject* attributes,
    const Text* told
) noexcept:
    """Everything that may run Python: message, trace, attributes; then the key.

    Gives a new reference to what the attributes are read from, or NULL.
    """
    cdef PyObject* encoded = NULL
    cdef const uint8_t* found
    f.serial = 0 if operation == NULL else operation_find(operation)
    if fp_unlikely(told != NULL):
        f.text = told[0]
    else:
        text_of(exception, f.info.form, &f.text, f.scratch)
    row.flags = prepare_text(&f.text, f.redacted) | f.info.flags
    row.ids = NULL
    found = trace_ids(&R.trace)
    if found != NULL:
        memcpy(f.ids, found, 24)
        row.ids = f.ids
    row.user = trace_user(&R.trace)
    row.attributes = NULL
    row.attributes_bytes = 0
    if attributes != NULL:
        encoded = put_attributes(attributes, row)
    f.key = key_of(exception, &f.info, f.serial)
    return encoded


cdef inline Site* place(
    Facts* f, PyObject* exception, PyObject* classification, PyObject* operation
) noexcept:
    """The site of the error, found or made; NULL without memory."""
    cdef Site* site = site_find(&R.tables, f.key)
    if fp_unlikely(site.key != f.key):
        return first_sighting(
            exception, f.key, &f.info, f.serial, classification, operation, &f.text
        )
    return site


cdef inline void count_once(Facts* f, Row* row, Site* site, PyObject* exception) noexcept:
    """Count the error, stamp the row and mark the exception as recorded."""
    clocks(R, &row.time_unix_nano, &row.mono_nano)
    fp_mark(exception)
    count(site, &f.info, row.time_unix_nano)


cdef Site* wake_for(
    Facts* f, PyObject* exception, PyObject* classification, PyObject* operation
) noexcept:
    """Find what a process may do that was not awake; the site of its error, looked up again."""
    cdef Site* site
    cdef int _attempt
    # Registering anew may flush the tables. That may run Python, which may fork: then all of it
    # once more.
    for _attempt in range(WAKES_MAX):
        f.mode = wake()
        site = place(f, exception, classification, operation)
        if f.mode != WRITING or awake(R):
            break
    else:
        f.mode = COUNTING
    if f.mode == INACTIVE:
        # Switched off since the call began, by what it asked: it is recorded whole.
        f.mode = WRITING if R.bound else COUNTING
    return site


cdef inline const TypeInfo* known_by_errno(PyObject* exception, const TypeInfo* known) noexcept:
    """What is known of an OSError with this errno, where nothing else matters; or NULL."""
    if known.traits != TRAIT_OSERROR or not R.active:
        return NULL
    known = type_find(&R.tables, known.type, errno_of(exception))
    if known.classification == NULL or known.traits != TRAIT_OSERROR or known.form == MESSAGE_CALL:
        return NULL
    return known


cdef inline PyObject* record_one(
    PyObject* exception, PyObject* operation, uint16_t attempt, const More* more
) noexcept:
    """Record what is active and not ignored; gives its classification, a new reference.

    Nothing here has the stack of record_known(): what asks the application has none of it.
    """
    cdef const TypeInfo* known = type_find(&R.tables, <PyObject*>Py_TYPE(exception), 0)
    if fp_unlikely(
        known.classification == NULL or known.traits != 0 or known.form == MESSAGE_CALL
        or not R.active
    ):
        known = known_by_errno(exception, known)
        if known == NULL:
            return asking_apart(record_asking)(exception, operation, attempt, more)
    return known_apart(record_known)(exception, operation, attempt, more, known, NULL)


cdef PyObject* record_asking(
    PyObject* exception, PyObject* operation, uint16_t attempt, const More* more
) noexcept:
    """Record an error about which more has to be asked than its type.

    The classifier and ``__str__`` are asked here, with little on the stack: they may record errors
    themselves, which ask again, as deep as the interpreter lets them.
    """
    cdef TypeInfo info
    cdef Text text
    cdef const Text* told = NULL
    cdef PyObject* classification
    cdef const TypeInfo* known = known_of(exception)
    if known == NULL:
        classification = type_slow(exception, &info)
        info.classification = classification
    else:
        info = known[0]
        classification = info.classification
        Py_INCREF(classification)
    if not R.active or info.traits & TRAIT_IGNORED:
        return classification
    if info.form == MESSAGE_CALL:
        message_call(exception, &text)
        told = &text
    known_apart(record_known)(exception, operation, attempt, more, &info, told)
    Py_DECREF(classification)  # there are two references by now
    return classification


cdef PyObject* record_known(
    PyObject* exception, PyObject* operation, uint16_t attempt, const More* more,
    const TypeInfo* info, const Text* told
) noexcept:
    """Record an error of a type that is known, whose text is known if it had to be asked for."""
    cdef Facts f
    cdef Row row
    cdef Mode mode = WRITING
    cdef PyObject* classification = info.classification
    cdef PyObject* encoded
    cdef Site* site
    cdef bint counted = False
    cdef int reason
    f.info = info[0]  # before anything runs Python, which may have the type forgotten
    Py_INCREF(classification)
    encoded = gather(&f, &row, exception, operation, more.attributes, told)
    row.flags |= more.flags
    row.attempt = attempt
    row.duration_nano = more.duration
    while True:
        site = place(&f, exception, classification, operation)
        if fp_unlikely(not awake(R)):
            site = wake_for(&f, exception, classification, operation)
            mode = f.mode
        # From here to the commit nothing runs Python.
        if not counted:
            counted = True
            count_once(&f, &row, site, exception)
            if (
                fp_unlikely(R.detail_per_second != 0) and site != NULL
                and not within_budget(site.fingerprint, row.mono_nano)
            ):
                reason = DROP_DETAIL_BUDGET
                break
        if fp_unlikely(mode != WRITING):
            reason = why_unbound()
            break
        if fp_unlikely(site == NULL):
            reason = DROP_ROW_LOST
            break
        reason = write_row(site, &row, &f.text)
        if reason != CLAIM_NEW_DICTIONARY:
            break
        renew_dictionary()
    if fp_unlikely(reason > 0):
        suppressed(site, reason)
        if reason == DROP_NO_STORAGE and mode == WRITING:
            try_storage()  # the directory has gone: look for it where it should be
    if fp_unlikely(f.text.owner != NULL):
        Py_DECREF(f.text.owner)
    if fp_unlikely(encoded != NULL):
        Py_DECREF(encoded)
    return classification


cdef void suppressed(Site* site, int reason) noexcept nogil:
    """Count a record that got no row, by reason and beside its own count."""
    cdef cell_t* cell
    drop(R, reason)
    if site != NULL and site.cell != 0:
        cell = cell_at(&R.aggregate, site.cell)
        fp_store_relaxed(&cell.suppressed, cell.suppressed + 1)


cdef void use_template(const Site* site, Row* row) noexcept:
    """Rows carry the template instead of the message."""
    cdef object template = <object>PyTuple_GET_ITEM(site.refs, 0)
    row.message = <const uint8_t*><const char*><bytes>template
    row.message_bytes = <uint32_t>len(<bytes>template)


cdef PyObject* put_attributes(PyObject* attributes, Row* row) noexcept:
    """Attributes as bytes of the row, which the caller owns; flagged when there are none."""
    cdef PyObject* encoded = encode(attributes)
    if encoded == NULL or PyBytes_GET_SIZE(encoded) > ATTRIBUTES_BYTES_MAX:
        row.flags |= FLAG_NO_ATTRIBUTES
        return encoded
    row.attributes = <const uint8_t*>PyBytes_AS_STRING(encoded)
    row.attributes_bytes = <uint32_t>PyBytes_GET_SIZE(encoded)
    return encoded


@cython.binding(False)
def record(exc, operation=None, attempt=0, duration_nano=0, attributes=None, bint handled=True):
    """Count an exception and write it as a row of the domain; give its classification.

    ``operation`` says what was being done (str), ``attempt`` how many tries came before (0 to
    65,535), ``duration_nano`` how long it had run (0 to 2**63 - 1, in nanoseconds), ``attributes``
    is a mapping of further facts (4,096 encoded bytes at most), ``handled`` whether the program
    goes on. Raises TypeError or ValueError for arguments out of bounds, before anything is
    written; never raises because of storage. Before init() errors are counted in the process.
    """
    cdef uint16_t tries = 0
    cdef More more
    cdef PyObject* name = NULL
    if fp_unlikely(not PyExceptionInstance_Check(<PyObject*>exc)):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    if operation is not None:
        if type(operation) is not str:
            operation = plain(operation)
        name = <PyObject*>operation
    if attributes is not None and type(attributes) is not dict:
        check_mapping(attributes)
    more.attributes = NULL if attributes is None else <PyObject*>attributes
    more.duration = 0
    more.flags = FLAG_HANDLED if handled else 0
    if attempt is not ZERO:
        tries = bounded(attempt, "attempt", 65_535)
    if duration_nano is not ZERO:
        more.duration = bounded(duration_nano, "duration_nano", 2**63 - 1)
    return take(record_one(<PyObject*>exc, name, tries, &more))


cdef PyObject* record_short(
    PyObject* exception, PyObject* operation, uint16_t attempt
) noexcept:
    return record_one(exception, operation, attempt, &SHORT)


fp_shorten(record, record_short, <PyObject*>NAME_OPERATION, <PyObject*>NAME_ATTEMPT)


cdef inline object take(PyObject* owned):
    """A new reference as an object."""
    result = <object>owned
    Py_DECREF(owned)
    return result


cdef int check_mapping(object attributes) except -1:
    # From where `collections.abc` has it: importing that takes a millisecond.
    from _collections_abc import Mapping

    if not isinstance(attributes, Mapping):
        kind = type(attributes).__name__
        raise TypeError(f"attributes must be a mapping or None, got {kind}")
    return 0


cdef str plain(object operation):
    """A str of a subclass as a plain one."""
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a str or None, got {type(operation).__name__}")
    return str.__str__(operation)


@cython.binding(False)
def classify(exc):
    """Classification of an exception: what kind of error it is and what helps.

    A cached lookup for a type that was seen before. Raises TypeError for anything but an
    exception.
    """
    cdef TypeInfo special
    cdef TypeInfo* info
    if fp_unlikely(not PyExceptionInstance_Check(<PyObject*>exc)):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    info = known_of(<PyObject*>exc)
    if info != NULL:
        return <object>info.classification
    return take(type_slow(<PyObject*>exc, &special))


def seen(exc):
    """Whether this very exception object was recorded in this process."""
    return PyExceptionInstance_Check(<PyObject*>exc) and fp_marked(<PyObject*>exc)
