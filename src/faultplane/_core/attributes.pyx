"""Attributes of a record: a mapping to the bytes of an OTLP ``KeyValueList``.

What a value becomes is in the table of `faultplane._pure.attributes`, which says the same in
Python. Here a message is written once, into a buffer on the stack: a byte is left for its length,
and what is in it moves up where that needs more. The usual values (None, bool, int, float, bytes
and ASCII text that hides nothing, of exactly these types) cannot fail; all others may run Python,
and what they wrote is taken back when they do.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject, PyObject_IsInstance
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memmove

from .exception cimport fp_ascii, fp_is_compact_ascii
from .layout cimport ATTRIBUTES_BYTES_MAX
from .redact cimport REDACT_BYTES_MAX, redact_into

from .redact import redact as own_redact

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

cdef enum:
    PAIRS_MAX = 128
    NESTED_MAX = 8
    VALUE_MAX = 1024
    KEY_MAX = 128
    LISTED_MAX = 16
    INT_BITS_MAX = 1024
    SECRETS_MAX = 1024
    FIRST_BYTES = 1024

cdef enum:
    # Tags of protobuf: the number of the field, and the type of what follows.
    TAG_STRING = 0x0A
    TAG_BOOL = 0x10
    TAG_INT = 0x18
    TAG_DOUBLE = 0x21
    TAG_ARRAY = 0x2A
    TAG_KVLIST = 0x32
    TAG_BYTES = 0x3A
    TAG_FIRST = 0x0A
    TAG_SECOND = 0x12

ATTRIBUTES_MAX = PAIRS_MAX
"""Attributes kept of one mapping (OpenTelemetry's own default); later ones are counted."""
DEPTH_MAX = NESTED_MAX
"""Lists and mappings within one another; a deeper value becomes the name of its type."""
VALUE_BYTES_MAX = VALUE_MAX
"""Longest text or bytes of one value; a longer one is cut."""
KEY_BYTES_MAX = KEY_MAX
"""Longest key; a longer one is cut."""
REPLACED_KEYS_MAX = LISTED_MAX
"""Keys listed in ``faultplane.replaced``."""

DROPPED_KEY = "faultplane.dropped_attributes_count"
"""Attribute that counts what was past `ATTRIBUTES_MAX`."""
REPLACED_KEY = "faultplane.replaced"
"""Attribute that lists the keys whose value was cut, or replaced by the name of its type."""

MASK = "***"

cdef bytes TOO_LONG = bytes(ATTRIBUTES_BYTES_MAX + 1)

# As in the pure core, which has the reasons.
cdef str GUARDED_PARTS = (
    r"passw(or)?d|passphrase|passcode|secret|credential|authorization|private[._-]?key|api[._-]?key"
    r"|access[._-]?key"
    r"|(^|[^a-z])(pwd|pin|cvv2?|cvc|ssn|auth|bearer|jwt|otp|cookies?|session[._-]?id|tokens?)"
    r"($|[^a-z])"
)
cdef str INNOCENT = (
    r"(^|[._-])(max|min|prompt|completion|input|output|total|num|count|cached)[._-]tokens?"
    r"|tokens?[._-](count|type|limit|usage|total)$"
)
cdef str CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"

cdef dict AS_TEXT = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "uuid": ("UUID",),
}
cdef tuple SMALL = tuple([bytes((number,)) for number in range(128)])
cdef tuple BYTES_TYPES = (bytes, bytearray, memoryview)
cdef dict secrets = {}
cdef object mapping_type = None
cdef tuple nested_types = None


class _TooLong(Exception):
    """The encoding is past ATTRIBUTES_BYTES_MAX."""


def encode_attributes(attributes, redact=None):
    """Bytes of the ``KeyValueList`` for ``attributes``; never raises for what is in it.

    A value whose key looks like a secret's (`looks_secret`) becomes ``***``; ``redact`` is applied
    to every other text. At most `ATTRIBUTES_MAX` attributes, `DEPTH_MAX` levels and
    `VALUE_BYTES_MAX` bytes a value are kept. A mapping that needs more than
    ``ATTRIBUTES_BYTES_MAX`` bytes is answered with more bytes than that, which the recorder
    leaves out as a whole.

    >>> encode_attributes({"a": True}).hex()
    '0a070a016112021001'
    """
    if redact is None or redact is own_redact:
        return encoded(attributes, redact is not None, None)
    return encoded(attributes, False, redact)


def looks_secret(key):
    """Whether a value under ``key`` is to be masked.

    >>> [looks_secret(k) for k in ("db.password", "apiKey", "auth_token", "authToken")]
    [True, True, True, True]
    >>> [looks_secret(k) for k in ("author", "tokens_count", "max_tokens", "pinned")]
    [False, False, False, False]
    """
    return secret(key)


cdef bint secret(str key) except -1:
    """Programs use few keys, and each of at most KEY_MAX bytes: what was found is kept."""
    found = secrets.get(key)
    if found is None:
        import re

        text = re.sub(CAMEL, "_", key).lower()
        found = re.search(GUARDED_PARTS, text) is not None and re.search(INNOCENT, text) is None
        if len(secrets) >= SECRETS_MAX:
            secrets.clear()
        secrets[key] = found
    return found


cdef bytes encoded(object attributes, bint redacted, object more):
    """The bytes, with the core's own redaction and then with the function ``more``, if any."""
    cdef uint8_t first[FIRST_BYTES]
    cdef Encoder encoder = Encoder()
    encoder.data = encoder.first = first
    encoder.room = FIRST_BYTES
    encoder.redacted = redacted
    encoder.more = more
    try:
        return encoder.encode(attributes)
    except _TooLong:
        return TOO_LONG
    except Exception:
        # A mapping that cannot even be walked: nothing of it is worth more than the record.
        encoder.n = 0
        return encoder.replaced_whole(attributes)
    finally:
        if encoder.data != first:
            PyMem_Free(encoder.data)
        encoder.data = NULL


@cython.final
@cython.freelist(4)
@cython.internal
cdef class Encoder:
    """One walk over one mapping: its bytes, what was spent, the keys that were replaced."""

    cdef uint8_t* data
    cdef uint8_t* first
    cdef size_t n
    cdef size_t room
    cdef Py_ssize_t spent
    cdef bint redacted
    cdef object more
    cdef list replaced

    cdef bytes encode(self, object attributes):
        cdef Py_ssize_t dropped = self.pairs(attributes, 1, "")
        cdef size_t pair, value, array, item
        if dropped:
            pair = self.open_pair(DROPPED_KEY)
            value = self.open(TAG_SECOND)
            self.put_int(dropped)
            self.close(value)
            self.close(pair)
        if self.replaced:
            pair = self.open_pair(REPLACED_KEY)
            value = self.open(TAG_SECOND)
            array = self.open(TAG_ARRAY)
            for name in self.replaced[:LISTED_MAX]:
                item = self.open(TAG_FIRST)
                self.put_text(name)
                self.close(item)
            self.close(array)
            self.close(value)
            self.close(pair)
        if self.n > ATTRIBUTES_BYTES_MAX:
            raise _TooLong
        return PyBytes_FromStringAndSize(<char*>self.data, self.n)

    cdef bytes replaced_whole(self, object attributes):
        cdef size_t pair = self.open_pair(REPLACED_KEY)
        cdef size_t value = self.open(TAG_SECOND)
        self.put_text(type_name(attributes))
        self.close(value)
        self.close(pair)
        return PyBytes_FromStringAndSize(<char*>self.data, self.n)

    # ------------------------------------------------------------------------------ the walk

    cdef Py_ssize_t pairs(self, object attributes, int depth, str prefix) except -1:
        """Write the pairs of a mapping; how many were left."""
        cdef Py_ssize_t count = 0
        cdef size_t pair, inner
        cdef str name
        for key, value in attributes.items():
            if count == PAIRS_MAX:
                return max(len(attributes) - PAIRS_MAX, 1)
            name = self.name_of(key)
            pair = self.open_pair(name)
            inner = self.open(TAG_SECOND)
            if value is not None and secret(name):
                self.put_text(MASK)
            else:
                self.value(value, depth, prefix, name)
            self.close(inner)
            self.close(pair)
            self.spend(4 + len(name))
            count += 1
        return 0

    cdef str name_of(self, object key):
        if type(key) is str and fp_is_compact_ascii(<PyObject*>key) and len(<str>key) <= KEY_MAX:
            return <str>key
        if PyObject_IsInstance(key, str):
            name = str.__str__(key)
        elif key is None or type(key) in (bool, int, float):
            name = str(key)
        else:
            name = type_name(key)
            self.note(name)
        return cut(name, KEY_MAX)[0].decode()

    cdef int value(self, object value, int depth, str prefix, str name) except -1:
        """Write one value."""
        cdef size_t start = self.n
        if self.plain(value):
            return self.spend(self.n - start)
        try:
            self.any(value, depth, prefix, name)
        except _TooLong:
            raise
        except Exception:
            # Code of the value (``items``, ``__iter__``, ``__str__``) may raise anything.
            self.n = start
            self.replace(value, prefix + name)
        return 0

    cdef bint plain(self, object value) except -1:
        """Write a value of the usual kind; whether it is one."""
        cdef const uint8_t* text
        cdef Py_ssize_t size
        cdef int overflow = 0
        cdef long long number
        cdef uint8_t hidden[REDACT_BYTES_MAX]
        if type(value) is str:
            if self.more is not None or not fp_is_compact_ascii(<PyObject*>value):
                return False
            text = fp_ascii(<PyObject*>value, &size)
            if size > VALUE_MAX:
                return False
            if self.redacted and redact_into(text, <size_t>size, hidden, REDACT_BYTES_MAX) >= 0:
                return False
            self.put(TAG_STRING, text, <size_t>size)
        elif type(value) is int:
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                return False
            self.put_int(number)
        elif type(value) is float:
            self.put_double(value)
        elif type(value) is bool:
            self.need(2)
            self.data[self.n] = TAG_BOOL
            self.data[self.n + 1] = value is True
            self.n += 2
        elif type(value) is bytes:
            if PyBytes_GET_SIZE(value) > VALUE_MAX:
                return False
            text = <const uint8_t*>PyBytes_AS_STRING(value)
            self.put(TAG_BYTES, text, <size_t>PyBytes_GET_SIZE(value))
        else:
            return value is None
        return True

    cdef int any(self, object value, int depth, str prefix, str name) except -1:
        """Write a value by asking what it is; it may answer as it likes."""
        cdef size_t start = self.n
        if type(value) is dict or type(value) is list or type(value) is tuple:
            return self.nested(value, depth, prefix, name)
        if PyObject_IsInstance(value, str):
            self.text(str.__str__(value), prefix + name)
        elif PyObject_IsInstance(value, bool):
            self.put_bool(SMALL[value])
        elif PyObject_IsInstance(value, int):
            self.int_or_text(int(value), prefix + name)
        elif PyObject_IsInstance(value, float):
            self.put_double(value)
        elif PyObject_IsInstance(value, BYTES_TYPES):
            self.bytes_of(value, prefix + name)
        elif PyObject_IsInstance(value, abstract_types()):
            return self.nested(value, depth, prefix, name)
        else:
            self.other(value, prefix + name)
        return self.spend(self.n - start)

    cdef int nested(self, object value, int depth, str prefix, str name) except -1:
        cdef size_t outer, item
        if depth >= NESTED_MAX:
            return self.replace(value, prefix + name)
        if type(value) is dict or is_mapping(value):
            outer = self.open(TAG_KVLIST)
            if self.pairs(value, depth + 1, f"{prefix}{name}."):
                self.note(prefix + name)
        else:
            outer = self.open(TAG_ARRAY)
            for each in value:
                self.spend(2)
                item = self.open(TAG_FIRST)
                self.value(each, depth + 1, prefix, name)
                self.close(item)
        return self.close(outer)

    cdef int text(self, object text, str path) except -1:
        # Redacted before it is cut: half of a secret may no longer look like one.
        cdef bint long_text
        if self.redacted or self.more is not None:
            long_text = len(text) > 4 * VALUE_MAX
            if long_text:
                text = text[: 4 * VALUE_MAX]
            if self.redacted:
                text = own_redact(text)
            if self.more is not None:
                text = self.more(text)
            if long_text:
                self.note(path)
        data, was_cut = cut(text, VALUE_MAX)
        if was_cut:
            self.note(path)
        return self.put_bytes(TAG_STRING, data)

    cdef int bytes_of(self, object value, str path) except -1:
        view = memoryview(value)
        if view.nbytes > VALUE_MAX:
            self.note(path)
            view = view.cast("B")[:VALUE_MAX] if view.c_contiguous else view[:0]
        return self.put_bytes(TAG_BYTES, view.tobytes())

    cdef int int_or_text(self, object value, str path) except -1:
        cdef int overflow = 0
        cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            return self.put_int(number)
        if value.bit_length() > INT_BITS_MAX:
            return self.replace(value, path)
        return self.put_text(str(value))

    cdef int other(self, object value, str path) except -1:
        kind = type(value)
        if kind.__name__ in AS_TEXT.get(kind.__module__.removesuffix("._local"), ()):
            return self.text(str(value), path)
        index = getattr(kind, "__index__", None)  # numpy's integers
        if index is not None:
            return self.int_or_text(int(index(value)), path)
        return self.replace(value, path)

    cdef int replace(self, object value, str path) except -1:
        cdef size_t start
        self.note(path)
        start = self.n
        self.put_text(type_name(value))
        return self.spend(self.n - start)

    cdef int note(self, object path) except -1:
        if self.replaced is None:
            self.replaced = []
        if len(self.replaced) < LISTED_MAX and path not in self.replaced:
            self.replaced.append(cut(path, KEY_MAX)[0].decode())
        return 0

    cdef int spend(self, Py_ssize_t size) except -1:
        """Bounds the work: a mapping without end stops when its bytes no longer fit."""
        self.spent += size
        if self.spent > ATTRIBUTES_BYTES_MAX:
            raise _TooLong
        return 0

    # ----------------------------------------------------------------------------- the bytes

    cdef int need(self, size_t more) except -1:
        """Make room for so many bytes."""
        cdef uint8_t* grown
        cdef size_t room = self.room
        if self.n + more <= room:
            return 0
        while room < self.n + more:
            room *= 2
        if self.data == self.first:
            grown = <uint8_t*>PyMem_Malloc(room)
            if grown != NULL:
                memcpy(grown, self.data, self.n)
        else:
            grown = <uint8_t*>PyMem_Realloc(self.data, room)
        if grown == NULL:
            raise MemoryError
        self.data = grown
        self.room = room
        return 0

    cdef void varint(self, uint64_t value) noexcept:
        while value >= 0x80:
            self.data[self.n] = <uint8_t>(value & 0x7F | 0x80)
            self.n += 1
            value >>= 7
        self.data[self.n] = <uint8_t>value
        self.n += 1

    cdef size_t open(self, uint8_t tag) except 0:
        """Begin a message whose length is not known yet; where its length will be."""
        self.need(2)
        self.data[self.n] = tag
        self.n += 2
        return self.n - 1

    cdef int close(self, size_t length_at) except -1:
        """End a message: write its length, behind which its bytes move up if need be."""
        cdef size_t size = self.n - length_at - 1
        cdef size_t more = 0
        cdef size_t rest = size >> 7
        cdef size_t end
        while rest:
            more += 1
            rest >>= 7
        if more:
            self.need(more)
            memmove(self.data + length_at + 1 + more, self.data + length_at + 1, size)
        end = self.n + more
        self.n = length_at
        self.varint(size)
        self.n = end
        return 0

    cdef size_t open_pair(self, str name) except 0:
        """Begin a ``KeyValue``, up to its value; protobuf leaves an empty key out."""
        cdef size_t pair = self.open(TAG_FIRST)
        cdef const uint8_t* text
        cdef Py_ssize_t size
        if fp_is_compact_ascii(<PyObject*>name):
            text = fp_ascii(<PyObject*>name, &size)
            if size:
                self.put(TAG_FIRST, text, <size_t>size)
        else:
            self.put_bytes(TAG_FIRST, name.encode())
        return pair

    cdef int put(self, uint8_t tag, const uint8_t* data, size_t size) except -1:
        """Write a message that is there already."""
        self.need(size + 11)
        self.data[self.n] = tag
        self.n += 1
        self.varint(size)
        memcpy(self.data + self.n, data, size)
        self.n += size
        return 0

    cdef int put_bytes(self, uint8_t tag, bytes data) except -1:
        return self.put(
            tag, <const uint8_t*>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
        )

    cdef int put_text(self, object text) except -1:
        return self.put_bytes(TAG_STRING, cut(text, VALUE_MAX)[0])

    cdef int put_int(self, long long value) except -1:
        self.need(11)
        self.data[self.n] = TAG_INT
        self.n += 1
        self.varint(<uint64_t>value)
        return 0

    cdef int put_bool(self, bytes value) except -1:
        self.need(2)
        self.data[self.n] = TAG_BOOL
        self.data[self.n + 1] = <uint8_t>PyBytes_AS_STRING(value)[0]
        self.n += 2
        return 0

    cdef int put_double(self, double value) except -1:
        cdef int i
        cdef uint64_t bits
        memcpy(&bits, &value, sizeof(bits))
        self.need(9)
        self.data[self.n] = TAG_DOUBLE
        for i in range(8):
            self.data[self.n + 1 + i] = <uint8_t>(bits >> (8 * i))
        self.n += 9
        return 0


cdef tuple abstract_types():
    # From where `collections.abc` has them: importing that takes a millisecond.
    global mapping_type, nested_types
    if nested_types is None:
        from _collections_abc import Mapping, Set

        mapping_type = Mapping
        nested_types = (list, tuple, Set, Mapping)
    return nested_types


cdef bint is_mapping(object value) except -1:
    abstract_types()
    return PyObject_IsInstance(value, mapping_type)


cdef str type_name(object value):
    kind = type(value)
    module = getattr(kind, "__module__", None)
    name = f"{module}.{kind.__qualname__}" if isinstance(module, str) else kind.__qualname__
    return cut(name.removeprefix("builtins."), KEY_MAX)[0].decode()


cdef tuple cut(object text, Py_ssize_t limit):
    """UTF-8 of ``text``, at most ``limit`` bytes and whole code points, and whether it was cut.

    A lone surrogate becomes U+FFFD.
    """
    was_cut = len(text) > limit
    if was_cut:
        text = text[:limit]
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    if len(data) > limit:
        return data[:limit].decode("utf-8", "ignore").encode(), True
    return data, was_cut
