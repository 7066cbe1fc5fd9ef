"""The attribute encoding: round trip, limits, secrets, and bytes that are no attributes."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane._backend import core
from faultplane.capture.attributes import (
    DECODE_DEPTH_MAX,
    decode_attributes,
    encode_attributes,
    looks_secret,
)

ATTRIBUTES_MAX: int = core.attributes.ATTRIBUTES_MAX
DEPTH_MAX: int = core.attributes.DEPTH_MAX
DROPPED_KEY: str = core.attributes.DROPPED_KEY
MASK: str = core.attributes.MASK
REPLACED_KEY: str = core.attributes.REPLACED_KEY
VALUE_BYTES_MAX: int = core.attributes.VALUE_BYTES_MAX

KEYS = st.text(max_size=12).filter(lambda key: not looks_secret(key))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=8)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(MAPPINGS.filter(lambda mapping: depth_of(mapping) <= DEPTH_MAX))
def test_what_is_encoded_is_decoded(mapping: dict[str, Any]) -> None:
    encoded = encode_attributes(mapping)
    if len(encoded) <= schema.ATTRIBUTES_BYTES_MAX:
        decoded = decode_attributes(encoded)
        assert decoded == mapping
        assert repr(decoded) == repr(mapping)  # True is not 1, and 1 is not 1.0


@given(st.dictionaries(st.text(), st.recursive(SCALARS | st.text(), st.lists), max_size=200))
def test_any_mapping_is_encoded_or_left_out_whole(mapping: dict[str, Any]) -> None:
    encoded = encode_attributes(mapping)
    assert len(encoded) <= schema.ATTRIBUTES_BYTES_MAX + 1
    if len(encoded) <= schema.ATTRIBUTES_BYTES_MAX:
        decode_attributes(encoded)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_attributes_raise_value_error_or_decode(encoded: bytes) -> None:
    try:
        assert isinstance(decode_attributes(encoded), dict)
    except ValueError:
        pass


@given(MAPPINGS, st.data())
def test_one_changed_byte_never_raises_anything_but_value_error(
    mapping: dict[str, Any], data: st.DataObject
) -> None:
    encoded = bytearray(encode_attributes(mapping) or b"\n\x00")
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_attributes(encoded)
    except ValueError:
        pass


def test_known_bytes_of_each_kind_of_value() -> None:
    assert encode_attributes({"a": "b"}).hex() == "0a080a016112030a0162"
    assert encode_attributes({"a": True}).hex() == "0a070a016112021001"
    assert encode_attributes({"a": -1}).hex() == "0a100a0161120b18" + "ff" * 9 + "01"
    assert encode_attributes({"a": None}).hex() == "0a050a01611200"
    assert encode_attributes({"a": [1]}).hex() == "0a0b0a016112062a040a021801"
    assert encode_attributes({"a": {}}).hex() == "0a070a016112023200"
    assert encode_attributes({"a": b"\x00"}).hex() == "0a080a016112033a0100"
    assert encode_attributes({}) == b""


def test_a_nan_stays_a_nan() -> None:
    assert math.isnan(decode_attributes(encode_attributes({"x": math.nan}))["x"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2024, 2, 29), "2024-02-29"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (pathlib.PurePosixPath("/srv/x"), "/srv/x"),
        (2**63, str(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
    ],
)
def test_values_with_a_stable_text_become_that_text(value: object, text: str) -> None:
    assert decode_attributes(encode_attributes({"x": value})) == {"x": text}


class Loud:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("str")


class LoudMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("getitem")

    def __iter__(self) -> Iterator[str]:
        yield "a"

    def __len__(self) -> int:
        raise RuntimeError("len")


class EndlessMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return key

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield str(number)
            number += 1

    def __len__(self) -> int:
        return 0


class Color(enum.IntEnum):
    RED = 3


class Index:
    def __index__(self) -> int:
        return 12


class Text(str):
    def __str__(self) -> str:
        raise RuntimeError("never asked")

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("never asked")


def test_an_unencodable_value_becomes_its_type_name_and_is_listed() -> None:
    decoded = decode_attributes(encode_attributes({"fine": 1, "bad": Loud(), "in": {"x": Loud()}}))
    name = f"{__name__}.Loud"
    assert decoded == {
        "fine": 1,
        "bad": name,
        "in": {"x": name},
        REPLACED_KEY: ["bad", "in.x"],
    }


def test_a_mapping_that_raises_costs_only_itself() -> None:
    decoded = decode_attributes(encode_attributes({"fine": 1, "bad": LoudMapping()}))
    assert decoded["fine"] == 1
    assert decoded["bad"] == f"{__name__}.LoudMapping"
    assert decode_attributes(encode_attributes(LoudMapping())) == {
        REPLACED_KEY: f"{__name__}.LoudMapping"
    }
    assert decode_attributes(encode_attributes(17)) == {REPLACED_KEY: "int"}


def test_subclasses_are_read_by_their_base_class() -> None:
    mapping = {
        "int": Color.RED,
        "text": Text("as it is"),
        "index": Index(),
        "dict": OrderedDict(a=1),
        "proxy": MappingProxyType({"b": 2}),
        "tuple": (1, 2),
        "set": {5},
        "bytearray": bytearray(b"x"),
        "view": memoryview(b"yz"),
    }
    assert decode_attributes(encode_attributes(mapping)) == {
        "int": 3,
        "text": "as it is",
        "index": 12,
        "dict": {"a": 1},
        "proxy": {"b": 2},
        "tuple": [1, 2],
        "set": [5],
        "bytearray": b"x",
        "view": b"yz",
    }


def test_keys_that_are_no_strings_become_strings() -> None:
    decoded = decode_attributes(encode_attributes({1: "a", None: "b", 2.5: "c", (2,): "d"}))
    assert decoded == {"1": "a", "None": "b", "2.5": "c", "tuple": "d", REPLACED_KEY: ["tuple"]}


def test_attributes_past_the_limit_are_counted() -> None:
    assert DROPPED_KEY not in decode_attributes(
        encode_attributes({f"k{n}": n for n in range(ATTRIBUTES_MAX)})
    )
    decoded = decode_attributes(encode_attributes({f"k{n}": n for n in range(ATTRIBUTES_MAX + 3)}))
    assert len(decoded) == ATTRIBUTES_MAX + 1
    assert decoded[DROPPED_KEY] == 3


def test_a_mapping_without_end_is_cut() -> None:
    assert decode_attributes(encode_attributes(EndlessMapping()))[DROPPED_KEY] == 1


def test_a_list_without_end_is_left_out_whole() -> None:
    class Endless(list[int]):
        def __iter__(self) -> Iterator[int]:
            while True:
                yield 1

    assert len(encode_attributes({"v": Endless()})) > schema.ATTRIBUTES_BYTES_MAX


def test_a_list_that_contains_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    decoded = decode_attributes(encode_attributes({"loop": loop}))
    assert decoded[REPLACED_KEY] == ["loop"]
    assert depth_of(decoded["loop"]) == DEPTH_MAX - 1


def test_depth_is_kept_up_to_the_limit_and_replaced_past_it() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels):
            value = {"n": value}
        return value

    assert decode_attributes(encode_attributes(nested(DEPTH_MAX))) == nested(DEPTH_MAX)
    assert REPLACED_KEY in decode_attributes(encode_attributes(nested(DEPTH_MAX + 1)))


def test_long_values_are_cut_at_a_code_point_and_listed() -> None:
    exact = "x" * VALUE_BYTES_MAX
    assert decode_attributes(encode_attributes({"v": exact})) == {"v": exact}
    decoded = decode_attributes(
        encode_attributes({"v": "é" * VALUE_BYTES_MAX, "b": exact.encode() * 2})
    )
    assert decoded == {
        "v": "é" * (VALUE_BYTES_MAX // 2),
        "b": exact.encode(),
        REPLACED_KEY: ["v", "b"],
    }


def test_values_that_are_too_big_for_their_kind_are_cut_or_named() -> None:
    spread = memoryview(bytes(4 * VALUE_BYTES_MAX))[::2]
    long = "x" * (5 * VALUE_BYTES_MAX)
    mapping = {"int": 1 << 2000, "spread": spread, "text": long}
    decoded = decode_attributes(encode_attributes(mapping, lambda text: text.replace("x", "y")))
    assert decoded == {
        "int": "int",
        "spread": b"",
        "text": "y" * VALUE_BYTES_MAX,
        REPLACED_KEY: ["int", "spread", "text"],
    }


def test_a_nested_mapping_that_is_too_long_is_cut_and_listed() -> None:
    many = {f"k{n}": n for n in range(ATTRIBUTES_MAX + 1)}
    decoded = decode_attributes(encode_attributes({"in": many}))
    assert len(decoded["in"]) == ATTRIBUTES_MAX
    assert decoded[REPLACED_KEY] == ["in"]


def test_a_mapping_over_the_byte_limit_is_answered_with_more_bytes_than_fit() -> None:
    value = "x" * VALUE_BYTES_MAX
    assert len(encode_attributes(dict.fromkeys("abc", value))) <= schema.ATTRIBUTES_BYTES_MAX
    assert len(encode_attributes(dict.fromkeys("abcd", value))) > schema.ATTRIBUTES_BYTES_MAX


def test_lone_surrogates_become_replacement_characters() -> None:
    assert decode_attributes(encode_attributes({"\ud800": "a\udfffb"})) == {"�": "a�b"}


@pytest.mark.parametrize(
    "key",
    ["password", "DB_PASSWORD", "db.passwd", "client_secret", "apiKey", "x-api-key", "token",
     "Authorization", "http.request.header.authorization", "access_token", "refreshToken",
     "pin", "cvv", "set-cookie", "sessionId", "private_key", "credentials", "ssn", "pwd", "jwt"],
)  # fmt: skip
def test_values_under_secret_keys_are_masked_at_any_depth(key: str) -> None:
    assert decode_attributes(encode_attributes({key: "hunter2", "in": [{key: ["x"]}]})) == {
        key: MASK,
        "in": [{key: MASK}],
    }


@pytest.mark.parametrize(
    "key",
    ["author", "pinned", "shipping", "max_tokens", "tokens_count", "passenger", "tokenizer",
     "gen_ai.usage.input_tokens", "session", "key", "spinner", "compass", "authority", "secant"],
)  # fmt: skip
def test_values_under_look_alikes_are_kept(key: str) -> None:
    assert decode_attributes(encode_attributes({key: "kept"})) == {key: "kept"}


def test_texts_are_redacted_before_they_are_cut() -> None:
    seen: list[str] = []

    def redact(text: str) -> str:
        seen.append(text)
        return text.replace("secret@example.com", "***")

    text = "x" * (VALUE_BYTES_MAX - 3) + "secret@example.com"
    decoded = decode_attributes(encode_attributes({"v": text, "n": 1}, redact))
    assert decoded["v"] == "x" * (VALUE_BYTES_MAX - 3) + "***"
    assert seen == [text]


def test_a_redaction_that_raises_leaves_no_text_behind() -> None:
    def redact(text: str) -> str:
        raise RuntimeError(text)

    assert decode_attributes(encode_attributes({"v": "private"}, redact)) == {
        "v": "str",
        REPLACED_KEY: ["v"],
    }


def test_a_reader_refuses_what_is_nested_too_deep() -> None:
    def message(tag: int, body: bytes) -> bytes:
        assert len(body) < 1 << 14
        size = len(body)
        length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
        return bytes([tag]) + length + body

    def nested(levels: int) -> bytes:
        value = b""
        for _ in range(levels):
            value = message(0x2A, message(0x0A, value))
        return message(0x0A, message(0x0A, b"n") + message(0x12, value))

    assert depth_of(decode_attributes(nested(DECODE_DEPTH_MAX - 1))) == DECODE_DEPTH_MAX
    with pytest.raises(ValueError, match="at most 64 deep"):
        decode_attributes(nested(DECODE_DEPTH_MAX))


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"\x0a", "end inside a number"),
        (b"\x0a\x05\x00", "must have 5 bytes at 2, got 1"),
        (b"\x0b", "wire types"),
        (b"\x02\x00", "field numbers"),
        (b"\xff" * 11, "at most 10 bytes"),
    ],
)
def test_a_reader_says_what_is_wrong(encoded: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_attributes(encoded)


def test_unknown_fields_are_skipped() -> None:
    known = encode_attributes({"a": 1})
    unknown = b"\x78\x01" + b"\x7a\x02xx" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    assert decode_attributes(unknown + known + unknown) == {"a": 1}


@pytest.mark.parametrize("wrong", ["x", 5, None])
def test_what_is_no_bytes_is_named(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"^encoded must be bytes, got {wrong!r}$"):
        decode_attributes(wrong)


def test_all_that_holds_bytes_is_decoded() -> None:
    encoded = encode_attributes({"order": 17})
    holders: list[Any] = [encoded, bytearray(encoded), memoryview(encoded), array("B", encoded)]
    for holder in holders:
        assert decode_attributes(holder) == {"order": 17}
