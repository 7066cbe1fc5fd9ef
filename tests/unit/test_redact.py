"""Redaction: what is hidden, what survives, and that both cores say the same."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema

CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "redaction.jsonl").read_text().splitlines()
]
BYTES_MAX = 4 * schema.MESSAGE_BYTES_MAX
INNOCENT_CASES_MIN = 60
CASES_MIN = 150

# Pieces of which messages that confuse a scanner are made: keys, separators, openers, secrets.
PIECES = r"""
password passwd pwd PWD dbPassword secret token csrftoken tokens api_key api-key apikey
access_key private_key authorization Authorization auth oauth credential credentials session
sessionid session_id cookie Set-Cookie signature ?sig &sig input_value input_type parameters
DETAIL _pass password1 password_hash password_confirmation = : == => := :: :// / ? & # @ %40 % ,
; . - -- --- ----- _ ' " \ \" \' ( ) [ ] { } < > | ` * *** ~ + ! $ %s %(x)s ${X} $1 $ABC b' u"
SecretStr( \n Bearer Basic bearer BEARER basic digest Digest AWS4-HMAC-SHA256 hunter2 abcdefgh
abcd1234 aBcDeFgH NoneType none None null true required invalid x1 bob alice example.com .com .c
git host 10.0.0.1 5432 12 1 0 4111111111111111 4111 1111 4222222222222 378282246310005
1700000000000 1500000000000000 0000000000000000 1234567890123 eyJ eyJhbGciOiJIUzI1NiJ9
.eyJzdWIiOiIxMjM0 AKIA AKIAIOSFODNN7EXAMPLE AIza AIzaSyA1234567890abcdefghijklmnopqrstuv ghp_
ghp_abcdefghijklmnopqrst0123 github_pat_ github_pat_11ABCDEFG0abcdefghijklmn sk_live_
sk_test_abcdefgh npm_ hf_ whsec_Zm9vYmFyYmF6cXV4 xoxb- xoxb-1234567890-abc xapp-
glpat-abcdefghij0123456789 pypi-Ag sk- sk-proj-abcdefghij1234567890 -----BEGIN PRIVATE KEY RSA
BLOCK -----END é ü 邮箱 😀 http https
"""
FRAGMENTS = (
    *PIECES.split(),
    *(" ", "  ", "\n", "\t", "\r\n", ", ", ": ", "', '", "--password ", ", input_type="),
    *("[parameters: (", "DETAIL:  Failing row contains (", "-----BEGIN RSA PRIVATE KEY-----"),
)
MESSAGES = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=40).map(
    "".join
)

HOSTILE = (
    "password=", "a@", "a%40", "session:", "cookie:", "://", "a://b:c/", "eyJ", "eyJaaaaaaaaaa.",
    "token: 'a ", "token: \\'", "[parameters: (", "DETAIL:  Failing row contains (", "input_value=",
    "-----BEGIN PRIVATE KEY-----", "4111 ", "4111-1", "auth=('a' ", "auth=[", "sk-", "Bearer ",
    "--a ", "--token ", "= ", "'", "secret: [", "cookie: a", "a:b@", "password=***", "ghp_", "-",
    "Authorization: Digest ***", "session: a.", "password:is ", 'token=\\"', "(", "secret(=", "a",
)  # fmt: skip


@pytest.fixture
def module(core, core_name):
    """The redact module of a core."""
    return importlib.import_module(f"{core.__name__}.redact")


@pytest.fixture(scope="module")
def twins():
    """Both redact modules; skipped where the compiled one is not there."""
    pure = importlib.import_module("faultplane._pure.redact")
    try:
        return importlib.import_module("faultplane._core.redact"), pure
    except ModuleNotFoundError as error:
        pytest.skip(f"the compiled core is not there: {error}")


def label(case) -> str:
    return f"{case['class']}-{case['note']}"


@pytest.mark.parametrize("case", CORPUS, ids=label)
def test_the_corpus_reads_as_it_says(module, case):
    assert module.redact(case["message"]) == case["expected"]


@pytest.mark.parametrize("case", CORPUS, ids=label)
def test_what_was_redacted_stays_as_it_is(module, case):
    assert module.redact(case["expected"]) == case["expected"]


def test_the_corpus_is_large_enough_and_honest():
    """Innocents are unchanged unless they are listed as mangled; leaks keep their secret."""
    classes = Counter(case["class"] for case in CORPUS)
    assert len(CORPUS) >= CASES_MIN
    assert classes["innocent"] >= INNOCENT_CASES_MIN
    for case in CORPUS:
        if case["class"] in ("innocent", "leak"):
            assert case["expected"] == case["message"]
        assert ("flaw" in case) == (case["class"] in ("leak", "mangle"))
        if case["class"] == "mangle":
            assert case["expected"] not in (case["message"], case["ideal"])


def test_the_limit_is_four_times_what_a_record_keeps(module):
    assert module.BYTES_MAX == BYTES_MAX


def test_nothing_to_hide_gives_the_same_object(module):
    for text in ("connection reset by peer", "не найдено", "", "a: b = c @ d - e_f 5432"):
        assert module.redact(text) is text
        assert module.redact_bytes(text.encode(), 1024) is None


def test_a_secret_at_either_end_is_seen(module):
    assert module.redact("token=a") == "token=***"
    assert module.redact("x://a:b@") == "x://***@"
    assert module.redact("a@b.cd") == "***@b.cd"
    assert module.redact("4111111111111111") == "***"


@pytest.mark.parametrize("offset", range(50, 80))
def test_a_secret_across_a_block_of_the_scan_is_seen(module, offset):
    """The compiled scan works in blocks of 64 bytes."""
    for secret, hidden in (
        ("password=hunter2", "password=***"),
        ("4111 1111 1111 1111", "***"),
        ("bearer abcdef123456", "bearer ***"),
        ("u://a:b@h", "u://***@h"),
        ("alice@example.com", "***@example.com"),
    ):
        padding = "x " * (offset // 2) + "," * (offset % 2)
        assert module.redact(f"{padding}{secret} y") == f"{padding}{hidden} y"


@pytest.mark.parametrize("offset", range(50, 66))
def test_the_rest_of_a_long_number_is_no_number_of_its_own(module, offset):
    """Wherever the block of the scan ends that it begins in."""
    text = "," * offset + "12345" + "4111111111111111"
    assert module.redact(text) is text


def test_only_the_first_bytes_are_looked_at(module):
    """So the price of a megabyte is that of its beginning."""
    for piece in HOSTILE:
        text = piece * (1_000_000 // len(piece))
        assert module.redact(text) == module.redact(text[:BYTES_MAX])
        assert len(module.redact(text).encode()) <= BYTES_MAX


def test_what_is_longer_is_cut_at_a_code_point(module):
    for letter in ("é", "邮", "😀"):
        for pad in range(5):
            text = "x" * pad + letter * BYTES_MAX
            kept = module.redact(text)
            assert text.startswith(kept)
            assert BYTES_MAX - 4 < len(kept.encode()) <= BYTES_MAX
            assert module.redact(f"token=a {text}").startswith("token=*** ")


@pytest.mark.parametrize("bytes_max", [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 4096])
def test_redacted_bytes_are_cut_at_a_code_point(module, bytes_max):
    whole = "é=é token=*** 😀"
    cut = module.redact_bytes("é=é token=abc 😀".encode(), bytes_max)
    assert cut == whole.encode()[:bytes_max].decode("utf-8", "ignore").encode()


@pytest.mark.parametrize("bytes_max", [-1, 4097])
def test_a_limit_out_of_bounds_is_refused(module, bytes_max):
    with pytest.raises(ValueError, match=f"must be 0 to 4096, got {bytes_max}"):
        module.redact_bytes(b"token=abc", bytes_max)


def test_lone_surrogates_become_replacement_characters(module):
    assert module.redact("a\ud800b") == "a\ufffdb"
    assert module.redact("token=\udcff x") == "token=*** x"


@pytest.mark.parametrize("text", [None, b"token=a", 5])
def test_only_str_is_taken(module, text):
    with pytest.raises((TypeError, AttributeError)):
        module.redact(text)


@given(message=MESSAGES)
def test_the_cores_agree(twins, message):
    compiled, pure = twins
    expected = pure.redact(message)
    assert compiled.redact(message) == expected
    data = message.encode("utf-8", "replace")
    for bytes_max in (schema.MESSAGE_BYTES_MAX, len(data) // 2):
        assert compiled.redact_bytes(data, min(bytes_max, BYTES_MAX)) == pure.redact_bytes(
            data, min(bytes_max, BYTES_MAX)
        )


@given(message=MESSAGES)
def test_the_cores_agree_on_long_messages(twins, message):
    compiled, pure = twins
    for text in (message * 20, "x" * (BYTES_MAX - 5) + message):
        assert compiled.redact(text) == pure.redact(text)


@given(user=st.from_regex(r"[A-Za-z0-9!]{1,12}", fullmatch=True))
def test_no_password_survives_behind_its_key(twins, user):
    for module in twins:
        for shape in ("password={}", "'password': '{}'", "https://u:{}@h/", "PWD={};"):
            secret = f"{user}Zq9Zq9"
            assert secret not in module.redact(shape.format(secret))


def lines_run(function, text) -> int:
    """Lines of Python that run in one call: a count of work that no clock goes into."""
    count = 0

    def local(frame, event, argument):
        nonlocal count
        count += event == "line"
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: local)
    try:
        function(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_in_proportion_to_the_message(piece):
    """The rules look at a bounded number of bytes, or hide what they looked at."""
    redact = importlib.import_module("faultplane._pure.redact").redact
    half, whole = (lines_run(redact, (piece * BYTES_MAX)[:n]) for n in (BYTES_MAX // 2, BYTES_MAX))
    assert whole <= 2.2 * half + 100


def test_the_count_of_work_sees_a_square():
    """Negative control."""

    def square(text):
        for _ in text:
            for _ in text:
                pass

    assert lines_run(square, "x" * 40) > 3 * lines_run(square, "x" * 20)
