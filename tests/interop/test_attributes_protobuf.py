"""Google's protobuf package reads what we encode, and we read what it encodes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane.capture.attributes import decode_attributes, encode_attributes, looks_secret

common = pytest.importorskip("opentelemetry.proto.common.v1.common_pb2")

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda key: not looks_secret(key)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


def to_message(value: Any) -> Any:
    if value is None:
        return common.AnyValue()
    if isinstance(value, dict):
        pairs = [common.KeyValue(key=k, value=to_message(v)) for k, v in value.items()]
        return common.AnyValue(kvlist_value=common.KeyValueList(values=pairs))
    if isinstance(value, list):
        items = common.ArrayValue(values=[to_message(item) for item in value])
        return common.AnyValue(array_value=items)
    field = {str: "string", bool: "bool", int: "int", float: "double", bytes: "bytes"}[type(value)]
    return common.AnyValue(**{f"{field}_value": value})


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_our_bytes_are_those_of_the_protobuf_package(mapping: dict[str, Any]) -> None:
    encoded = encode_attributes(mapping)
    if len(encoded) <= schema.ATTRIBUTES_BYTES_MAX:
        theirs = to_message(mapping).kvlist_value
        assert encoded == theirs.SerializeToString(deterministic=True)
        assert common.KeyValueList.FromString(encoded) == theirs


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_we_decode_what_the_protobuf_package_encodes(mapping: dict[str, Any]) -> None:
    assert decode_attributes(to_message(mapping).kvlist_value.SerializeToString()) == mapping
