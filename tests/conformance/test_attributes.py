"""Both cores encode attributes to the same bytes, whatever the values are and do."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import importlib
import os
import pathlib
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faultplane import schema

try:
    compiled = importlib.import_module("faultplane._core")
except ModuleNotFoundError:
    if os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
        raise
    pytest.skip("the cython core is not there", allow_module_level=True)
pure = importlib.import_module("faultplane._pure")


# ------------------------------------------------------------------- values that do as they like


class Loud:
    """Raises whatever is asked of it."""

    @property
    def items(self):
        raise RuntimeError("items")

    def __str__(self):
        raise RuntimeError("str")


class Liar:
    """Says it is of another class, and is not."""

    def __init__(self, cls):
        self.cls = cls

    __class__ = property(lambda self: self.cls)


class IndexLiar(Liar):
    def __index__(self):
        return 1

    def __int__(self):
        return 2

    def __float__(self):
        return 3.0


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Words(str):
    __slots__ = ()

    def __str__(self):
        return "another"

    def encode(self, *arguments):
        raise RuntimeError("encode")


class Number(int):
    def __int__(self):
        raise RuntimeError("int")


class Ratio(float):
    def __float__(self):
        raise RuntimeError("float")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Endless(Mapping):
    def __getitem__(self, key):
        return key

    def __len__(self):
        return 1 << 62

    def __iter__(self):
        number = 0
        while True:
            yield f"k{number}"
            number += 1


class Breaks(Mapping):
    """Gives some pairs, then raises."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __getitem__(self, key):
        return "v" * 300

    def __len__(self):
        raise RuntimeError("len")

    def __iter__(self):
        for number in range(self.pairs):
            yield f"k{number}"
        raise RuntimeError("iter")


class NoPairs(dict):
    def items(self):
        return [1, 2]


class BreaksLate:
    """A list that raises after some items."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        yield from range(self.items)
        raise RuntimeError("iter")

    __class__ = property(lambda self: list)


class OddMeta(type):
    """Raises where the name of its class is asked for."""

    def __getattribute__(cls, name):
        if name in {"__qualname__", "__module__", "__index__"}:
            raise RuntimeError(name)
        return super().__getattribute__(name)


class OddName(metaclass=OddMeta):
    pass


class Nameless:
    __module__ = 7


def cyclic():
    found = ["a"]
    found.append(found)
    mapping = {"list": found}
    mapping["self"] = mapping
    return mapping


class Changing(str):
    """Not a plain str; its hash is looked up while the mapping is walked."""

    __slots__ = ()


WORDS = ["order", "password", "db.password", "apiKey", "max_tokens", "", "é", "x" * 127, "x" * 128,
         "x" * 129, "ü" * 64, "ü" * 65, "\ud800", "a\udfffb", "𝄞" * 40, "token=abc"]  # fmt: skip
TEXTS = ["", "plain", "token=abc password=hunter2", "postgresql://app:hunter2@db/orders",
         "x" * 1023, "x" * 1024, "x" * 1025, "ü" * 512, "ü" * 513, "𝄞" * 256, "𝄞" * 257, "\ud800",
         "a\udfff" * 600, "y" * 4095, "z" * 4097, "secret=" + "a " * 3000, "\x00", "é" * 2000,
         "4111 1111 1111 1111 " * 60]  # fmt: skip
KEYS = (
    st.sampled_from(WORDS)
    | st.text(max_size=12)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=3)
    | st.sampled_from([(1, 2), Loud, Words("words"), Changing("order"), Colour.RED, Level.HIGH])
)
ODD = st.sampled_from([
    Loud(), Liar(str), Liar(bool), Liar(int), Liar(float), Liar(bytes), Liar(dict), Liar(list),
    IndexLiar(bool), IndexLiar(int), IndexLiar(float), IndexLiar(str), Index(7), Index(2**70),
    Index(-(2**2000)), Index("no"), Words("words"), Words("token=abc"), Number(7), Ratio(0.5),
    Colour.RED, Level.HIGH, Endless(), Breaks(0), Breaks(3), Breaks(20), NoPairs(), BreaksLate(2),
    BreaksLate(2000), OddName(), Nameless(), Loud, object(), cyclic(), cyclic()["list"], range(3),
    {1}, frozenset(), (1, ("a", None)), {"a": 1}.keys(), UserDict({"a": "b"}), OrderedDict(a=1),
    MappingProxyType({"password": "x", "n": 1}), bytearray(b"abc"), memoryview(b"abcdef")[::2],
    memoryview(b"x" * 1030), memoryview(b"x" * 4000)[::2], b"x" * 1024, b"x" * 1025, 2**63 - 1,
    2**63, -(2**63), -(2**63) - 1, 2**1024 - 1, 2**1024, -(2**5000), float("nan"), float("inf"),
    -0.0, 5e-324, dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    dt.timedelta(days=1), decimal.Decimal("1.50"), uuid.UUID(int=7), pathlib.PurePosixPath("/srv"),
    {f"k{i}": i for i in range(130)}, {f"k{i}": None for i in range(700)}, ["x"] * 2000,
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, [[[[[[[[[[1]]]]]]]]]],
    {"ü" * 70: {"token": 1, "x" * 130: Loud()}},
])  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(TEXTS)
    | st.binary(max_size=20)
    | ODD
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=8) | st.dictionaries(
    st.text(max_size=3), st.none() | st.integers(0, 200), min_size=120, max_size=135
)


def shout(text):
    return text.upper()


def lengthen(text):
    return text * 3


def break_words(text):
    return text + "\ud800"


def refuse(text):
    if "a" in text:
        raise RuntimeError(text)
    return text


OWN = "own"
REDACT = st.sampled_from(
    [None, OWN, OWN, shout, lengthen, break_words, refuse, Words, lambda text: None]
)


def both(attributes, redact=None):
    """The bytes from each core, or the type of what it raises."""
    answers = []
    for core in (compiled, pure):
        hide = core.redact if redact == OWN else redact
        try:
            answers.append(core.encode_attributes(attributes, hide))
        except Exception as error:
            answers.append(type(error))
    return answers


@given(MAPPINGS, REDACT)
@example({"a" * 128: "b" * 1024}, OWN)
@example({"a": ["b"] * 63}, None)
@example({"a": ["b" * 127, "b" * 128]}, None)
@example({"a": {"b": {"c" * 100: "d" * 100}}}, None)
def test_the_bytes_are_the_same(attributes, redact):
    ours, theirs = both(attributes, redact)
    assert ours == theirs


NO_DICTS = [
    Endless(), Breaks(0), Breaks(3), Breaks(200), NoPairs(), Loud(), OddName(), 7, None, [("a", 1)],
    UserDict({"a": Loud()}), MappingProxyType({"a": 1}), cyclic(), Liar(dict), "text",
]  # fmt: skip


@pytest.mark.parametrize("attributes", NO_DICTS, ids=lambda _: "attributes")
@pytest.mark.parametrize("redact", [None, OWN, shout])
def test_what_is_no_plain_dict_gives_the_same(attributes, redact):
    ours, theirs = both(attributes, redact)
    assert ours == theirs


@pytest.mark.parametrize("size", range(90, 140))
def test_lengths_around_the_second_byte_are_the_same(size):
    """A length from 128 takes two bytes: in a text, a pair, a list, a mapping, and all around."""
    for value in ("x" * size, ["x" * size], {"k": "x" * size}, [["x" * size]], b"x" * size):
        for key in ("", "k", "k" * (size % 128), "ü" * (size // 2)):
            ours, theirs = both({key: value, "last": 1})
            assert ours == theirs


@pytest.mark.parametrize("room", range(-6, 7))
def test_what_just_fits_and_what_just_does_not(room):
    filler = {f"k{i}": "x" * 1000 for i in range(4)}
    spare = schema.ATTRIBUTES_BYTES_MAX - len(pure.encode_attributes(filler))
    seen = set()
    for size in range(max(spare - 40, 0), spare + 1):
        ours, theirs = both({**filler, "last": "y" * max(size + room, 0)})
        assert ours == theirs
        seen.add(len(ours) > schema.ATTRIBUTES_BYTES_MAX)
    assert seen == {True, False}


def test_names_of_four_bytes_a_letter_do_not_outgrow_the_buffer():
    """Names are charged by letter: the most bytes that a walk can write before it stops."""
    attributes = {chr(0x10000 + i) + "𝄞" * 31: None for i in range(128)}
    ours, theirs = both(attributes)
    assert ours == theirs
    nested = {"a": {"b": [attributes, attributes]}}
    assert both(nested)[0] == both(nested)[1]


def test_a_mapping_that_grows_while_it_is_walked_is_told_alike():
    answers = []
    for core in (compiled, pure):
        attributes = {"a": "text", "b": 1}

        def grow(text, attributes=attributes):
            return attributes.setdefault(text, "")

        answers.append(core.encode_attributes(attributes, grow))
    assert answers[0] == answers[1]


@given(st.text(max_size=30) | st.sampled_from(WORDS))
def test_the_same_keys_look_secret(key):
    assert compiled.attributes.looks_secret(key) == pure.attributes.looks_secret(key)


def test_the_limits_and_names_are_the_same():
    names = pure.attributes.__all__
    for name in names:
        ours, theirs = getattr(compiled.attributes, name), getattr(pure.attributes, name)
        assert callable(ours) or ours == theirs, name


def test_a_redaction_that_records_an_error_with_attributes_of_its_own(core_name, run_python):
    """The encoder is entered again while it encodes."""
    done = run_python(
        """
import faultplane as fp
from faultplane.capture.attributes import decode_attributes
def again(text):
    if text == "outer":
        fp.record(KeyError("k"), "inner", attributes={"who": "inner", "rest": "x" * 1000})
    return text
domain = fp.init(service="test", redact=again)
fp.record(ValueError("v"), "outer", attributes={"a": 1, "who": "outer", "b": [1, 2]})
for row in sorted(domain.records().rows(), key=lambda row: row["operation"]):
    found = decode_attributes(row["attributes"])
    print(row["operation"], {k: v for k, v in found.items() if k != "rest"})
""",
        core=core_name,
    )
    assert done.stdout.splitlines() == [
        "inner {'who': 'inner'}",
        "outer {'a': 1, 'who': 'outer', 'b': [1, 2]}",
    ]
