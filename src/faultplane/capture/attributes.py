"""Attributes of a record: a mapping to the bytes of an OTLP ``KeyValueList``, and back.

The column ``attributes`` holds the protobuf message ``opentelemetry.proto.common.v1.KeyValueList``.
The cores encode, because a record does; readers decode, here.

>>> encoded = encode_attributes({"order": 17, "password": "hunter2", "tags": ["a", None]})
>>> decode_attributes(encoded)
{'order': 17, 'password': '***', 'tags': ['a', None]}
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from faultplane._backend import core

__all__ = ["AttributeValue", "decode_attributes", "encode_attributes", "looks_secret"]

AttributeValue: TypeAlias = (
    "str | bool | int | float | bytes | list[AttributeValue] | dict[str, AttributeValue] | None"
)

DECODE_DEPTH_MAX: Final = 64
"""Depth that a reader follows; the limit of OTLP."""

_INT64_MAX: Final = (1 << 63) - 1
_double: Final = struct.Struct("<d")

encode_attributes: Final[Callable[..., bytes]] = core.encode_attributes
looks_secret: Final[Callable[[str], bool]] = core.attributes.looks_secret


def decode_attributes(encoded: bytes | bytearray | memoryview) -> dict[str, AttributeValue]:
    """The mapping that ``encoded``, a ``KeyValueList``, stands for; empty bytes give ``{}``.

    Fields that it does not know are skipped, as protobuf asks; of equal keys the last is kept.
    Bytes that are no such message, or are nested deeper than `DECODE_DEPTH_MAX`, raise
    ``ValueError``; what is no bytes raises ``TypeError``.
    """
    try:
        # Without the view, bytes(5) would be five zeros.
        data = bytes(encoded if hasattr(encoded, "__bytes__") else memoryview(encoded))
    except TypeError:
        raise TypeError(f"encoded must be bytes, got {encoded!r}") from None
    return _decode_pairs(data, 1)


def _fields(encoded: bytes) -> Iterable[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field."""
    position = 0
    while position < len(encoded):
        tag, position = _read_varint(encoded, position)
        wire = tag & 7
        value: int | bytes
        if wire == 0:
            value, position = _read_varint(encoded, position)
        elif wire in (1, 2, 5):
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, position = _read_varint(encoded, position)
            if position + size > len(encoded):
                raise ValueError(
                    f"attributes must have {size} bytes at {position}, got "
                    f"{len(encoded) - position}"
                )
            value = encoded[position : position + size]
            position += size
        else:
            raise ValueError(f"attributes must use wire types 0, 1, 2 and 5, got {wire}")
        if not tag >> 3:
            raise ValueError("attributes must use field numbers from 1, got 0")
        yield tag >> 3, wire, value


def _read_varint(encoded: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(encoded):
            raise ValueError(f"attributes end inside a number at byte {position}")
        byte = encoded[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a number in attributes must have at most 10 bytes, got more")


def _decode_pairs(encoded: bytes, depth: int) -> dict[str, AttributeValue]:
    pairs: dict[str, AttributeValue] = {}
    for number, _, body in _fields(encoded):
        if number != 1 or not isinstance(body, bytes):
            continue
        key, value = "", b""
        for field, _, content in _fields(body):
            if field == 1 and isinstance(content, bytes):
                key = content.decode("utf-8", "replace")
            elif field == 2 and isinstance(content, bytes):
                value = content
        pairs[key] = _decode_value(value, depth)
    return pairs


def _decode_value(encoded: bytes, depth: int) -> AttributeValue:
    if depth > DECODE_DEPTH_MAX:
        raise ValueError(f"attributes must be nested at most {DECODE_DEPTH_MAX} deep, got more")
    value: AttributeValue = None
    for number, wire, content in _fields(encoded):
        if isinstance(content, int):
            if number == 2:
                value = content != 0
            elif number == 3:
                value = content - (1 << 64) if content > _INT64_MAX else content
        elif wire == 1:
            if number == 4:
                value = _double.unpack(content)[0]
        elif wire == 2:
            value = _decode_nested(number, content, depth, value)
    return value


def _decode_nested(
    number: int, content: bytes, depth: int, otherwise: AttributeValue
) -> AttributeValue:
    if number == 1:
        return content.decode("utf-8", "replace")
    if number == 5:
        return [
            _decode_value(item, depth + 1)
            for field, _, item in _fields(content)
            if field == 1 and isinstance(item, bytes)
        ]
    if number == 6:
        return _decode_pairs(content, depth + 1)
    return content if number == 7 else otherwise
