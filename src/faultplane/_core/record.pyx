"""One exception becomes one row: the path of every record.

What the path of a repeated error creates and looks up by name, as read in the generated C:

* Python objects created: none. The Classification that is returned exists; the caller gets a new
  reference. The message of a plain exception is read inside its str argument. (A message that
  is not ASCII makes CPython cache its UTF-8 form in that str; an exception with a ``__str__`` of
  its own makes one str.)
* Attributes looked up by name: none. With OpenTelemetry loaded and another context than last
  time, one: ``_context`` of the span (trace.pyx).
* ``PyFrame_GetCode`` hands out a reference per frame that is dropped at once (exception.h).

Everything that may run Python (``__str__``, the classifier, attribute encoding, the first sighting
of an error) comes before the count; from the count to the commit nothing can come between.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .aggregate cimport cell_at, cell_count_at
from .atomics cimport fp_store_relaxed
from .breath cimport breath_enter, breath_leave
from .exception cimport (
    FP_K0,
    FP_K1,
    PyBaseExceptionObject,
    PyErr_Clear,
    PyExceptionInstance_Check,
    PyTuple_GET_ITEM,
    PyUnicode_AsUTF8AndSize,
    Py_DECREF,
    Py_INCREF,
    Py_TYPE,
    fp_mark,
    fp_marked,
    fp_mix,
)
from .fingerprint cimport (
    TRAIT_DYNAMIC,
    TRAIT_GROUP,
    TRAIT_IGNORED,
    Site,
    TypeInfo,
    site_find,
    type_find,
    walk,
    walk_chain,
    walk_group,
)
from .layout cimport (
    ATTRIBUTES_BYTES_MAX,
    DROP_DETAIL_BUDGET,
    DROP_INFLIGHT_OVERFLOW,
    DROP_NO_STORAGE,
    DROP_NOT_INITIALISED,
    FLAG_HANDLED,
    FLAG_NO_ATTRIBUTES,
    FLAG_REDACTED,
    FLAG_TRUNCATED,
    MESSAGE_BYTES_MAX,
    cell_t,
)
from .message cimport (
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
    wake,
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
from .sighting cimport encode, first_sighting, operation_of, redact_by_user, type_slow
from .trace cimport trace_ids

cdef Recorder* R = recorder()
cdef object ZERO = 0


cdef inline uint32_t operation_find(PyObject* operation) except 0:
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


cdef PyObject* record_one(
    PyObject* exception, PyObject* operation, uint16_t attempt, int64_t duration, object attributes,
    bint handled
) except NULL:
    cdef Mode mode = WRITING
    cdef TypeInfo special
    cdef TypeInfo* info
    cdef PyBaseExceptionObject* e = <PyBaseExceptionObject*>exception
    cdef PyObject* classification
    cdef object kept = None
    cdef bytes encoded = None
    cdef uint32_t serial = 0
    cdef uint64_t key
    cdef Text text
    cdef uint8_t scratch[SCRATCH_BYTES]
    cdef uint8_t redacted[MESSAGE_BYTES_MAX + 16]
    cdef uint8_t ids[24]
    cdef const uint8_t* found
    cdef Site* site
    cdef Row row
    cdef cell_t* cell
    cdef bint counted = False
    cdef int reason = 0
    cdef uint32_t second

    if fp_unlikely(not awake(R)):
        mode = wake()
    info = type_find(&R.tables, <PyObject*>Py_TYPE(exception), 0)
    if fp_unlikely(info.type == NULL or info.traits != 0 or info.classification == NULL):
        kept = type_slow(exception, &special)
        info = &special
        classification = <PyObject*>kept
        if mode == INACTIVE or info.traits & TRAIT_IGNORED:
            Py_INCREF(classification)
            return classification
    else:
        classification = info.classification
        if fp_unlikely(mode == INACTIVE):
            Py_INCREF(classification)
            return classification
    # An own reference: Python that runs below may flush the tables.
    Py_INCREF(classification)

    special = info[0]
    if operation != NULL:
        serial = operation_find(operation)
    text_of(exception, special.form, &text, scratch)
    row.flags = prepare_text(&text, redacted) | special.flags
    if handled:
        row.flags |= FLAG_HANDLED
    row.ids = NULL
    found = trace_ids(&R.trace)
    if found != NULL:
        memcpy(ids, found, 24)
        row.ids = ids
    row.attributes = NULL
    row.attributes_bytes = 0
    if attributes is not None:
        encoded = put_attributes(attributes, &row)

    key = fp_mix(special.serial ^ FP_K1, FP_K0 ^ serial)
    if fp_unlikely(special.traits != 0):
        if special.traits & TRAIT_GROUP:
            key = walk_group(exception, key, 0)
        if special.traits & TRAIT_DYNAMIC:
            key = fp_mix(
                key ^ special.kind ^ <uint64_t>special.category << 8
                ^ <uint64_t>special.severity << 16 ^ <uint64_t>special.flags << 24,
                FP_K1,
            )
    key = walk(e.traceback, key)
    if e.cause != NULL or (e.context != NULL and not e.suppress_context):
        key = walk_chain(exception, key)
    key |= key == 0

    while True:
        site = site_find(&R.tables, key)
        if fp_unlikely(site.key == 0):
            site = first_sighting(exception, key, &special, classification, operation, &text)
        if not counted:
            # Nothing runs Python from here on, but for a change of dictionary.
            counted = True
            clocks(R, &row.time_unix_nano, &row.mono_nano)
            fp_mark(exception)
            if fp_unlikely(site.cell == 0):
                overflow(special.kind, 1)
            else:
                cell_count_at(cell_at(&R.aggregate, site.cell), row.time_unix_nano)
        if fp_unlikely(mode != WRITING):
            reason = DROP_NOT_INITIALISED if R.registry == NULL else DROP_NO_STORAGE
            break
        if R.detail_per_second and reason != CLAIM_NEW_DICTIONARY:
            second = <uint32_t>(row.mono_nano // 1_000_000_000)
            if site.second != second:
                site.second = second
                site.left = R.detail_per_second
            if site.left == 0:
                reason = DROP_DETAIL_BUDGET
                break
            site.left -= 1
        row.message = text.data
        row.message_bytes = <uint32_t>text.n
        if fp_unlikely(R.messages == TEMPLATE):
            use_template(site, &row)
        row.duration_nano = duration
        row.attempt = attempt
        row.fingerprint = site.fingerprint
        row.type = site.type
        row.site = site.site
        row.operation = site.operation
        row.severity = site.severity
        row.kind = site.kind
        row.category = site.category
        reason = 0
        while room(row.message_bytes + row.attributes_bytes, &reason):
            if writer_put(&R.writer, &row):
                break
            # Closed under us: the same record goes into another lane.
            R.writer.rehomed += 1
            writer_leave_lane(&R.writer)
        if reason != CLAIM_NEW_DICTIONARY:
            break
        renew_dictionary()
    if fp_unlikely(reason > 0):
        drop(R, reason)
        if site.cell != 0:
            cell = cell_at(&R.aggregate, site.cell)
            fp_store_relaxed(&cell.suppressed, cell.suppressed + 1)
    if fp_unlikely(text.owner != NULL):
        Py_DECREF(text.owner)
    return classification


cdef void use_template(Site* site, Row* row) noexcept:
    """Rows carry the template instead of the message."""
    cdef object template = <object>PyTuple_GET_ITEM(site.refs, 0)
    row.message = <const uint8_t*><const char*><bytes>template
    row.message_bytes = <uint32_t>len(<bytes>template)


cdef bytes put_attributes(object attributes, Row* row):
    """Attributes as bytes of the row; what cannot be encoded or is too long is flagged."""
    cdef bytes encoded = encode(attributes)
    if encoded is None or len(encoded) > ATTRIBUTES_BYTES_MAX:
        row.flags |= FLAG_NO_ATTRIBUTES
        return None
    row.attributes = <const uint8_t*><const char*>encoded
    row.attributes_bytes = <uint32_t>len(encoded)
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
    cdef int64_t duration = 0
    cdef PyObject* name = NULL
    if fp_unlikely(not PyExceptionInstance_Check(<PyObject*>exc)):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    if operation is not None:
        if type(operation) is not str:
            operation = plain(operation)
        name = <PyObject*>operation
    if attempt is not ZERO:
        tries = bounded(attempt, "attempt", 65_535)
    if duration_nano is not ZERO:
        duration = bounded(duration_nano, "duration_nano", 2**63 - 1)
    return take(record_one(<PyObject*>exc, name, tries, duration, attributes, handled))


cdef inline object take(PyObject* owned):
    """A new reference as an object."""
    result = <object>owned
    Py_DECREF(owned)
    return result


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
    info = type_find(&R.tables, <PyObject*>Py_TYPE(<PyObject*>exc), 0)
    if info.type != NULL and info.traits == 0 and info.classification != NULL:
        return <object>info.classification
    return type_slow(<PyObject*>exc, &special)


def seen(exc):
    """Whether this very exception object was recorded in this process."""
    return isinstance(exc, BaseException) and fp_marked(<PyObject*>exc)


# ------------------------------------------------------------------------------ in-flight slots


def enter(str operation not None, uint32_t parent=0):
    """Say that an operation has begun; a token for leave(), 0 when no slot is free.

    ``parent`` is the token of the operation that it is a part of, 0 = none.
    """
    cdef Py_ssize_t n
    cdef const char* text
    cdef uint32_t token
    if fp_unlikely(not awake(R)):
        if wake() != WRITING:
            return 0
    text = PyUnicode_AsUTF8AndSize(<PyObject*>operation, &n)
    if text == NULL:
        PyErr_Clear()
        return 0
    token = breath_enter(
        &R.breath, <const uint8_t*>text, <size_t>n, trace_ids(&R.trace), parent
    )
    if token == 0:
        drop(R, DROP_INFLIGHT_OVERFLOW)
    return token


def leave(uint32_t token):
    """Say that the operation of ``token`` has ended; 0 and tokens of another process do nothing."""
    if token != 0 and R.live[0] == 1:
        breath_leave(&R.breath, token)
