"""Templates: what becomes a placeholder, and that both cores and the native kernel say the same."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane._pure.template import PLACEHOLDERS
from faultplane._pure.template import template as specification

ROOT = Path(__file__).resolve().parents[2]
LIMIT = schema.MESSAGE_BYTES_MAX
IMPLEMENTATIONS = ("python", "cython", "native")

# Written by hand from docs/templates.md, not taken from what an implementation said.
EXPECTED = r"""
user 42 not found => user <num> not found
-3 of +4.5 => <num> of <num>
1e5 2.5E-7 1e+3x => <num> <num> <num>e+<num>x
(-1,+2) [-1] x=-5 a:-5 => (<num>,<num>) [<num>] x=<num> a:<num>
10-20 a-5 --5 +/-5 => <num>-<num> a-<num> --<num> +/-<num>
5. 5.5. .5 5..6 => <num>. <num>. .<num> <num>..<num>
1.2.3 v1.2.3 => <num> v1.<num>
1,234 [1,2] => <num>,<num> [<num>,<num>]
100ms 3rd 2x4 1h30m 5xx => <num>ms <num>rd <num>x<num> <num>h<num>m <num>xx
50% $5 #42 => <num>% $<num> #<num>
2024-05-01 12:30:00,123 => <num>-<num>-<num> <num>:<num>:<num>,<num>
2024-05-01T12:30:00Z => <num>-<num>-<num>T<num>:<num>:<num>Z
utf8 sha256 python3 h2 E1101 => utf8 sha256 python3 h2 E1101
order12345 a1b2c3d4e5f6g7 => order<num> a<num>b<num>c<num>d<num>e<num>f<num>g<num>
order_12345 x86_64 utf_8 => order_<num> x86_<num> utf_<num>
naïve5 Straße12345 => naïve5 Straße<num>
я5 À5 ߿5 ࠀ5 ¿5 µ5 => я5 À5 ߿5 ࠀ<num> ¿<num> µ<num>
用户123不存在 5µs 3°C => 用户<num>不存在 <num>µs <num>°C
HTTP 404, Errno 111 => HTTP <num>, Errno <num>
0x7f8e 0XFF 0x 0xZZ => <hex> <hex> <num>x <num>xZZ
-0x1f => -<hex>
9fceb02d 9FCEB02D deadbeef 12345678 => <hex> <hex> deadbeef <num>
9fceb02 9fceb02dz => <num>fceb<num> <num>fceb<num>dz
d41d8cd98f00b204e9800998ecf8427e => <hex>
01ARZ3NDEKTSV4RRFFQ69G5FAV => <id>
ch_3MmlLrLkdIwHu7ix0snN0B15 => ch_<id>
TransactionRequest20240501 => TransactionRequest<num>
ThreadPoolExecutor-0_12 => ThreadPoolExecutor-<num>_<num>
550e8400-e29b-41d4-a716-446655440000 => <uuid>
{550E8400-E29B-41D4-A716-446655440000} => {<uuid>}
job_550e8400-e29b-41d4-a716-446655440000-x => job_<uuid>-x
550e8400-e29b-41d4-a716-44665544000g => <hex>-e29b-<num>d<num>-a716-<num>g
550e8400-e29b-41d4-a716-4466554400001 => <hex>-e29b-<num>d<num>-a716-<num>
10.0.0.7 10.0.0.7:5432 10.0.0.7: => <ip> <ip> <ip>:
10.0.0.7. 10.0.0.0/8 => <ip>. <ip>/<num>
10.0.0.256 1.2.3.4.5 010.1.1.1 => <num> <num> <ip>
10.0.0.7:543210 10.0.0.7:80x 10.0.0.7x => <ip>:<num> <ip>:<num>x <num>x
ip-10-0-0-7 => ip-<num>-<num>-<num>-<num>
::1 2001:db8::8a2e:370:7334 fe80::1%eth0 => <ip> <ip> <ip>
1:2:3:4:5:6:7:8 1:2:3:4:5:6:7 => <ip> <num>:<num>:<num>:<num>:<num>:<num>:<num>
1:2:3:4:5:6:7:8:9 1:2:3:4:5:6:7:10.0.0.7 => <num>:<ip> <ip>.<num>
1::2:3:4:5:6:7:8 1::g 1::2. => <num>::<num>:<num>:<num>:<num>:<num>:<num>:<num> <num>::g <ip>.
::ffff:10.0.0.7 64:ff9b::10.0.0.7 => <ip> <ip>
[::1]:8080 [2001:db8::1] [::]:80 [::1 => <ip> <ip> [::]:<num> [<ip>
a::b std::vector x::1 :: 12:34:56 => a::b std::vector x::<num> :: <num>:<num>:<num>
a1::b2::c3 1::2:12345 => a1::<ip> <num>::<num>:<num>
00:1b:44:11:3a:b7 00:1b:44:11:3a => <hex> <num>:<num>b:<num>:<num>:<num>a
/etc/passwd /a /usr/lib/x.so.6. => <path> <path> <path>.
/srv/app.py:12: in main => <path>:<num>: in main
a/b and/or 1/2 n/a => a/b and/or <num>/<num> n/a
/ // /. ... /-5 /. => / // /. ... /-<num> /.
</div> <a/> ~/x ./y ../z src/a.py => </div> <a/> ~<path> .<path> ..<path> src/a.py
(/tmp/x), [/tmp/y]; {/tmp/z} => (<path>), [<path>]; {<path>}
/v1/x?y=1&z=2#f => <path>
C:\Users\bob\x.txt c:/x D:\ E: => <path> <path> D:\ E:
AC:\x 5C:\x => AC:\x <num>C:\x
1:/x c:/ c:// => <num>:<path> c:/ c://
http://example.com => http://example.com
http://example.com/ http://example.com? => http://example.com<path> http://example.com?
https://api.example.com:8443/v1/42?x=1, ok => https://api.example.com:<num><path>, ok
http://10.0.0.7:80/x http://[::1]:80/x => http://<ip><path> http://<ip><path>
(see http://e.com/a_(b)?c=1:2;d). => (see http://e.com<path>).
postgresql+asyncpg://app:secret@db:5432/o => postgresql+asyncpg://<str>@db:<num><path>
redis://:pw@cache-12/0 amqp://@h/x => redis://<str>@cache-<num><path> amqp://@h<path>
file:///etc/passwd s3://bucket/key x://c:/y => file://<path> s3://bucket<path> x://<path>
:// a:// http://?q#f http://#f => :// a:// http://<path> http://<path>
'a' "b c" `d` '' "" => <str> <str> <str> <str> <str>
can't won't users' o'clock => can't won't users' o'clock
'it isn't so' 'a'b c' => <str> <str>
'a\'b' "a\"b" "a\\" 'c\' => <str> <str> <str> 'c\'
b'x' b"y" u'z' ab'c' b'q => b<str> b<str> u'z' ab'c' b'q
'open "and" shut => 'open <str> shut
5'6" 'x'5 => <num>'<num>" 'x'<num>
{"a": 1, 'b': "c"} => {<str>: <num>, <str>: <str>}
'NoneType' object has no attribute 'x' => <str> object has no attribute <str>
<num> <str>abc 5<num> <num>5 <number> <nu => <num> <str>abc <num><num> <num><num> <number> <nu
<num>'x' '<num>' /<num> /x<num> <num>/x => <num>'x' <str> /<num> <path><num> <num>/x
<num>10.0.0.7 <num>fe80::1 <num>C:\x <num>b'x' => <num><num> <num>fe80::<num> <num>C:\x <num>b'x'
9fceb02d<cut> http://h/<cut> 1e5<num> => <num>fceb<num>d<cut> http://h/<cut> <num>e<num><num>
<Foo object at 0x7f8e4c0b5d90> => <Foo object at <hex>>
"""


def table():
    """(Message, template) of each line of `EXPECTED`."""
    lines = EXPECTED.strip("\n").splitlines()
    return [tuple(line.split(" => ")) for line in lines]


def documented():
    """(Message, template) of each example in the documentation."""
    found = []
    text = (ROOT / "docs" / "templates.md").read_text()
    for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        lines = block.splitlines()
        found += zip(lines[::2], (line.removeprefix("    → ") for line in lines[1::2]), strict=True)
    return found


def load(name):
    """Function over a list of messages; a missing implementation skips, or fails if required."""
    variable = "FAULTPLANE_REQUIRE_" + ("NATIVE" if name == "native" else "CORE")
    try:
        if name == "native":
            kernels = importlib.import_module("faultplane_native")
            pa = importlib.import_module("pyarrow")
            return lambda rows: pa.array(kernels.templates(pa.array(rows, pa.string()))).to_pylist()
        package = {"cython": "faultplane._core", "python": "faultplane._pure"}[name]
        template = importlib.import_module(f"{package}.template").template
        return lambda rows: [template(row) for row in rows]
    except ModuleNotFoundError as error:
        if os.environ.get(variable) == "1":
            pytest.fail(f"{variable}=1, and {error.name} is not there", pytrace=False)
        pytest.skip(f"{error.name} is not there")


@pytest.fixture(params=IMPLEMENTATIONS)
def name(request):
    chosen = request.config.getoption("--core")
    if chosen and request.param not in {chosen, "native"}:
        pytest.skip(f"--core={chosen}")
    return request.param


@pytest.fixture
def templates(name):
    """An implementation: a function over a list of messages."""
    return load(name)


@pytest.fixture
def template(templates):
    """An implementation: a function over one message."""
    return lambda message: templates([message])[0]


# Pieces that begin, end or look like what a rule knows.
FRAGMENTS = (
    *"'\"`<>/\\:.,-+@#?%[](){}=_ \n\t",
    *"0159abefgxEZé用µ\0",
    "😀", "\u00c0", "\u00bf", "\u07ff", "\u0800", "\u0300", "::", "://", "0x", "deadbeef12", "e-5",
    "10.0.0.1", "255", "256", "1.2", "fe80", "a1", "b2:", "ab", "C:\\", "C:/", "/usr/x", "b'",
    "12345", "order12345", "aa:bb:cc:dd:ee:ff", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "http", "xxxxxxxx",
    "550e8400-e29b-41d4-a716-446655440000", "<nu", "m>", *PLACEHOLDERS,
)  # fmt: skip
SHORT = st.lists(st.sampled_from(FRAGMENTS), max_size=16).map("".join)
LONG = st.builds(
    lambda pieces, times: ("".join(pieces) * times)[: 2 * LIMIT],
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=8),
    st.integers(2, LIMIT),
)
# Arrow holds no lone surrogates.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.one_of(SHORT, LONG, ANY_TEXT)


def test_the_table_is_long_enough():
    assert len(table()) >= 60
    assert len(documented()) >= 15


@pytest.mark.parametrize(("message", "expected"), table())
def test_a_message_has_the_expected_template(template, message, expected):
    assert template(message) == expected


def test_the_documented_examples_are_true(templates):
    messages, expected = zip(*documented(), strict=True)
    assert templates(list(messages)) == list(expected)


def test_every_expected_template_is_its_own_template(templates):
    expected = [expected for _, expected in table() + documented()]
    assert templates(expected) == expected


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=20))
def test_generated_messages_have_the_templates_of_the_specification(name, messages):
    templates = load(name)
    found = templates(messages)
    assert found == [specification(message) for message in messages]
    assert templates(found) == found, "a template is its own template"
    assert all(len(each.encode()) <= LIMIT for each in found)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("'a\nz' 'c'", "'a\nz' <str>"),
        ("'a\\\nz' 'c'", "'a\\\nz' <str>"),
        ("'a\r'", "<str>"),
        ("-1\n-2\t-3", "<num>\n<num>\t<num>"),
        ("/a\n/b\0/c", "<path>\n<path>\0<path>"),
        ("", ""),
        ("\0" + "5", "\0<num>"),
    ],
)
def test_lines_and_control_characters_separate(template, message, expected):
    assert template(message) == expected


def test_a_message_at_the_limit_is_read_whole(template):
    assert template("é" * (LIMIT // 2)) == "é" * (LIMIT // 2)
    assert template("x" * LIMIT) == "x" * LIMIT
    assert template("x" * (LIMIT + 1)) == "x" * (LIMIT - 5) + "<cut>"
    assert template(" " * (LIMIT + 1)) == " " * (LIMIT - 5) + "<cut>"


def test_a_longer_message_is_cut_at_white_space(template):
    assert template("word " * 400 + "end") == "word " * 203 + "word<cut>"
    assert template("a " + "x" * 2 * LIMIT) == "a <cut>"
    assert template("value\n" + "5" * 2 * LIMIT) == "value\n<cut>"
    assert template("5" * 2 * LIMIT) == "<num><cut>"
    assert template("x" + "é" * LIMIT) == "x" + "é" * 509 + "<cut>"
    assert template("用" * LIMIT) == "用" * 339 + "<cut>"
    assert template("😀" * LIMIT) == "😀" * 254 + "<cut>"


def test_a_quotation_that_was_cut_is_quoted_text(template):
    assert template("body '" + "x " * LIMIT + "' refused") == "body <str><cut>"
    assert template("body '\n" + "x " * LIMIT + "'").startswith("body '\nx x ")


@pytest.mark.parametrize("before", range(8))
def test_a_longer_template_is_cut_between_placeholders(template, before):
    found = template("x" * before + " " + "1 " * 500)
    assert len(found) <= LIMIT
    assert re.fullmatch(r"x* (<num> )*(<num>)?<cut>", found)
    assert template(found) == found


@pytest.mark.parametrize("name", ["python", "cython"])
def test_a_lone_surrogate_becomes_a_replacement_character(template):
    assert template("a\ud800 5 \udfff") == "a\ufffd <num> \ufffd"
    assert template("\ud83d\ude00") == "\ufffd\ufffd"
    assert template("\udc80" * LIMIT) == "\ufffd" * 339 + "<cut>"


@pytest.mark.parametrize("name", ["python", "cython"])
@pytest.mark.parametrize("value", [None, 1, b"text", ["text"]])
def test_what_is_not_text_is_refused(template, value):
    with pytest.raises(TypeError, match=f"text must be a str, got {type(value).__name__}"):
        template(value)


def test_both_cores_export_it(core):
    assert core.template("user 42") == "user <num>"
