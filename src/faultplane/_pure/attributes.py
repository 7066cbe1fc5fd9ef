"""Attributes of a record: a mapping to the bytes of an OTLP ``KeyValueList``.

The column ``attributes`` holds the protobuf message ``opentelemetry.proto.common.v1.KeyValueList``,
so an exporter copies the bytes as they are. The encoding is written out here because it is small
and a record may not depend on a protobuf package:

=================  ==========================================================
Python value       ``AnyValue`` field
=================  ==========================================================
str                1 ``string_value``
bool               2 ``bool_value``
int (64 bits)      3 ``int_value``
float              4 ``double_value``
list, tuple, set   5 ``array_value``
mapping            6 ``kvlist_value``
bytes              7 ``bytes_value``
None               no field set
=================  ==========================================================

Dates, paths, decimals, UUIDs and larger integers become their text. Anything else becomes the name
of its type, and a last attribute ``faultplane.replaced`` lists the keys where that happened.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final

from faultplane.schema import ATTRIBUTES_BYTES_MAX

__all__ = [
    "ATTRIBUTES_MAX",
    "DEPTH_MAX",
    "DROPPED_KEY",
    "KEY_BYTES_MAX",
    "MASK",
    "REPLACED_KEY",
    "REPLACED_KEYS_MAX",
    "VALUE_BYTES_MAX",
    "encode_attributes",
    "looks_secret",
]

ATTRIBUTES_MAX: Final = 128
"""Attributes kept of one mapping (OpenTelemetry's own default); later ones are counted."""
DEPTH_MAX: Final = 8
"""Lists and mappings within one another; a deeper value becomes the name of its type."""
VALUE_BYTES_MAX: Final = 1024
"""Longest text or bytes of one value; a longer one is cut."""
KEY_BYTES_MAX: Final = 128
"""Longest key; a longer one is cut."""
REPLACED_KEYS_MAX: Final = 16
"""Keys listed in ``faultplane.replaced``."""

DROPPED_KEY: Final = "faultplane.dropped_attributes_count"
"""Attribute that counts what was past `ATTRIBUTES_MAX`."""
REPLACED_KEY: Final = "faultplane.replaced"
"""Attribute that lists the keys whose value was cut, or replaced by the name of its type."""

MASK: Final = "***"
_TOO_LONG: Final = bytes(ATTRIBUTES_BYTES_MAX + 1)
"""Answer to a mapping that does not fit: the recorder leaves out what is over the limit whole,
and flags the record ``no_attributes``."""

# Patterns as text: most processes never encode an attribute, and none should pay for compiling.
_GUARDED_PARTS: Final = (
    r"passw(or)?d|passphrase|passcode|secret|credential|authorization|private[._-]?key|api[._-]?key"
    r"|access[._-]?key"
    r"|(^|[^a-z])(pwd|pin|cvv2?|cvc|ssn|auth|bearer|jwt|otp|cookies?|session[._-]?id|tokens?)"
    r"($|[^a-z])"
)
_INNOCENT: Final = (
    r"(^|[._-])(max|min|prompt|completion|input|output|total|num|count|cached)[._-]tokens?"
    r"|tokens?[._-](count|type|limit|usage|total)$"
)
_CAMEL: Final = r"(?<=[a-z0-9])(?=[A-Z])"

_AS_TEXT: Final = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "uuid": ("UUID",),
}
"""Types of the standard library whose ``str()`` is short, stable and says everything."""

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_INT_BITS_MAX: Final = 1024

_STRING: Final = b"\x0a"
_BOOL: Final = b"\x10"
_INT: Final = b"\x18"
_DOUBLE: Final = b"\x21"
_ARRAY: Final = b"\x2a"
_KVLIST: Final = b"\x32"
_BYTES: Final = b"\x3a"
_FIRST: Final = b"\x0a"
_SECOND: Final = b"\x12"

_double: Final = struct.Struct("<d")
_SMALL: Final = tuple(bytes((number,)) for number in range(128))
"""Varints of one byte."""


# ------------------------------------------------------------------------------------- encode


class _TooLong(Exception):
    """The encoding is past `ATTRIBUTES_BYTES_MAX`."""


def encode_attributes(
    attributes: Mapping[str, Any], redact: Callable[[str], str] | None = None
) -> bytes:
    """Bytes of the ``KeyValueList`` for ``attributes``; never raises for what is in it.

    A value whose key looks like a secret's (`looks_secret`) becomes ``***``; ``redact`` is applied
    to every other text. At most `ATTRIBUTES_MAX` attributes, `DEPTH_MAX` levels and
    `VALUE_BYTES_MAX` bytes a value are kept. A mapping that needs more than
    ``ATTRIBUTES_BYTES_MAX`` bytes is answered with more bytes than that, which the recorder
    leaves out as a whole.

    >>> encode_attributes({"a": True}).hex()
    '0a070a016112021001'
    """
    encoder = _Encoder(redact)
    try:
        return encoder.encode(attributes)
    except _TooLong:
        return _TOO_LONG
    except Exception:  # noqa: BLE001 - it runs the mapping's own code
        # A mapping that cannot even be walked: nothing of it is worth more than the record.
        return _key_value(REPLACED_KEY, _text_value(_type_name(attributes)))


class _Encoder:
    """One walk over one mapping: the bytes spent so far and the keys that were replaced."""

    __slots__ = ("_redact", "_replaced", "_spent")

    def __init__(self, redact: Callable[[str], str] | None) -> None:
        self._redact = redact
        self._replaced: list[str] = []
        self._spent = 0

    def encode(self, attributes: Mapping[str, Any]) -> bytes:
        parts, dropped = self._pairs(attributes, depth=1, path="")
        if dropped:
            parts.append(_key_value(DROPPED_KEY, _int_value(dropped)))
        if self._replaced:
            names = [_text_value(name) for name in self._replaced[:REPLACED_KEYS_MAX]]
            parts.append(_key_value(REPLACED_KEY, _array_value(names)))
        encoded = b"".join(parts)
        if len(encoded) > ATTRIBUTES_BYTES_MAX:
            raise _TooLong
        return encoded

    def _pairs(
        self, attributes: Mapping[Any, Any], depth: int, path: str
    ) -> tuple[list[bytes], int]:
        """``KeyValue`` messages, each as field 1 of a ``KeyValueList``, and how many were left."""
        parts: list[bytes] = []
        for key, value in attributes.items():
            if len(parts) == ATTRIBUTES_MAX:
                return parts, max(len(attributes) - ATTRIBUTES_MAX, 1)
            name = self._key(key)
            part = _key_value(name, self._value(name, value, depth, f"{path}{name}"))
            self._spend(4 + len(name))
            parts.append(part)
        return parts, 0

    def _key(self, key: Any) -> str:
        if type(key) is str and len(key) <= KEY_BYTES_MAX and key.isascii():
            return key
        if isinstance(key, str):
            name = str.__str__(key)
        elif key is None or type(key) in (bool, int, float):
            name = str(key)
        else:
            name = _type_name(key)
            self._note(name)
        return _cut(name, KEY_BYTES_MAX)[0].decode()

    def _value(self, key: str, value: Any, depth: int, path: str) -> bytes:
        """``AnyValue`` of one value."""
        if value is not None and looks_secret(key):
            return _text_value(MASK)
        try:
            return self._any(key, value, depth, path)
        except _TooLong:
            raise
        except Exception:  # noqa: BLE001 - its ``items``, ``__iter__``, ``__str__`` are its own
            return self._replace(value, path)

    def _any(self, key: str, value: Any, depth: int, path: str) -> bytes:
        encoded: bytes
        if value is None:
            encoded = b""
        elif isinstance(value, str):
            encoded = self._text(str.__str__(value), path)
        elif isinstance(value, bool):
            encoded = _BOOL + _SMALL[value]
        elif isinstance(value, int):
            encoded = self._int(int(value), path)
        elif isinstance(value, float):
            encoded = _DOUBLE + _double.pack(value)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            encoded = self._bytes(value, path)
        elif isinstance(value, (list, tuple, AbstractSet, Mapping)):
            return self._nested(key, value, depth, path)
        else:
            encoded = self._other(value, path)
        self._spend(len(encoded))
        return encoded

    def _nested(self, key: str, value: Any, depth: int, path: str) -> bytes:
        if depth >= DEPTH_MAX:
            return self._replace(value, path)
        if isinstance(value, Mapping):
            parts, dropped = self._pairs(value, depth + 1, f"{path}.")
            if dropped:
                self._note(path)
            return _message(_KVLIST, b"".join(parts))
        return _array_value(self._items(key, value, depth + 1, path))

    def _items(self, key: str, values: Iterable[Any], depth: int, path: str) -> list[bytes]:
        parts: list[bytes] = []
        for value in values:
            self._spend(2)
            parts.append(self._value(key, value, depth, path))
        return parts

    def _text(self, text: str, path: str) -> bytes:
        # Redacted before it is cut: half of a secret may no longer look like one.
        if self._redact is not None and len(text) <= 4 * VALUE_BYTES_MAX:
            text = self._redact(text)
        elif self._redact is not None:
            text = self._redact(text[: 4 * VALUE_BYTES_MAX])
            self._note(path)
        encoded, cut = _cut(text, VALUE_BYTES_MAX)
        if cut:
            self._note(path)
        return _message(_STRING, encoded)

    def _bytes(self, value: bytes | bytearray | memoryview, path: str) -> bytes:
        view = memoryview(value)
        if view.nbytes > VALUE_BYTES_MAX:
            self._note(path)
            view = view.cast("B")[:VALUE_BYTES_MAX] if view.c_contiguous else view[:0]
        return _message(_BYTES, view.tobytes())

    def _int(self, value: int, path: str) -> bytes:
        if _INT64_MIN <= value <= _INT64_MAX:
            return _int_value(value)
        if value.bit_length() > _INT_BITS_MAX:
            return self._replace(value, path)
        return _text_value(str(value))

    def _other(self, value: Any, path: str) -> bytes:
        kind = type(value)
        if kind.__name__ in _AS_TEXT.get(kind.__module__.removesuffix("._local"), ()):
            return self._text(str(value), path)
        index = getattr(kind, "__index__", None)  # numpy's integers
        if index is not None:
            return self._int(int(index(value)), path)
        return self._replace(value, path)

    def _replace(self, value: Any, path: str) -> bytes:
        self._note(path)
        encoded = _text_value(_type_name(value))
        self._spend(len(encoded))
        return encoded

    def _note(self, path: str) -> None:
        if len(self._replaced) < REPLACED_KEYS_MAX and path not in self._replaced:
            self._replaced.append(_cut(path, KEY_BYTES_MAX)[0].decode())

    def _spend(self, size: int) -> None:
        """Bounds the work: a mapping without end stops when its bytes no longer fit."""
        self._spent += size
        if self._spent > ATTRIBUTES_BYTES_MAX:
            raise _TooLong


@lru_cache(maxsize=1024)  # programs use few keys, and each of at most KEY_BYTES_MAX bytes
def looks_secret(key: str) -> bool:
    """Whether a value under ``key`` is to be masked.

    >>> [looks_secret(k) for k in ("db.password", "apiKey", "auth_token", "authToken")]
    [True, True, True, True]
    >>> [looks_secret(k) for k in ("author", "tokens_count", "max_tokens", "pinned")]
    [False, False, False, False]
    """
    text = re.sub(_CAMEL, "_", key).lower()
    return re.search(_GUARDED_PARTS, text) is not None and re.search(_INNOCENT, text) is None


def _type_name(value: object) -> str:
    kind = type(value)
    module = getattr(kind, "__module__", None)
    name = f"{module}.{kind.__qualname__}" if isinstance(module, str) else kind.__qualname__
    return _cut(name.removeprefix("builtins."), KEY_BYTES_MAX)[0].decode()


def _cut(text: str, limit: int) -> tuple[bytes, bool]:
    """UTF-8 of ``text``, at most ``limit`` bytes and whole code points, and whether it was cut.

    A lone surrogate becomes U+FFFD.
    """
    cut = len(text) > limit
    if cut:
        text = text[:limit]
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")
        encoded = pairs.decode("utf-16-le", "replace").encode()
    if len(encoded) > limit:
        return encoded[:limit].decode("utf-8", "ignore").encode(), True
    return encoded, cut


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def _text_value(text: str) -> bytes:
    return _message(_STRING, _cut(text, VALUE_BYTES_MAX)[0])


def _int_value(value: int) -> bytes:
    return _INT + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _array_value(values: list[bytes]) -> bytes:
    return _message(_ARRAY, b"".join(_message(_FIRST, value) for value in values))


def _key_value(key: str, value: bytes) -> bytes:
    """A ``KeyValue`` as field 1 of a ``KeyValueList``; protobuf leaves an empty key out."""
    name = _message(_FIRST, key.encode()) if key else b""
    return _message(_FIRST, name + _message(_SECOND, value))
