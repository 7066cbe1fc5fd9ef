"""Answers that are remembered by a key that is read from the exception: never a stale one."""

from __future__ import annotations

import enum
import http
import http.client
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
import xmlrpc.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane.classify import classify_for_core, register_rule
from faultplane.classify.judgement import NEVER

# Said first in a child: `asked` counts how often the core asks the rules.
COUNT = """
import http.client, sqlite3, urllib.error
from faultplane._backend import core
from faultplane.classify import classify_for_core, register_rule
asked = []
def ask(exc):
    asked.append(exc)
    return classify_for_core(exc)
core.configure(classify=ask)
def count(make, times=5):
    del asked[:]
    answers = {core.classify(make()) for _ in range(times)}
    return len(asked), sorted(answer.rule for answer in answers)
def failed(status, headers=None):
    return urllib.error.HTTPError("http://shop", status, "", headers, None)
"""


def test_a_repeated_error_is_read_and_not_judged(core_name, run_python):
    run_python(
        f"""{COUNT}
assert count(lambda: failed(503)) == (1, ["http[503]"])
assert count(lambda: failed(404)) == (1, ["http[404]"])
assert count(lambda: failed(503)) == (0, ["http[503]"])
assert count(lambda: failed(503, {{"Server": "x"}})) == (0, ["http[503]"])
message = http.client.HTTPMessage()
message["Server"] = "x"
assert count(lambda: failed(503, message)) == (0, ["http[503]"])
message["retry-after"] = "7"
assert count(lambda: failed(503, message)) == (5, ["http[503]"])
assert core.classify(failed(503, message)).retry_after == 7.0
del message["retry-after"]
message["retry-after-ms"] = "20"
assert count(lambda: failed(503, message)) == (5, ["http[503]"])
assert core.classify(failed(503, message)).retry_after == 0.02
del message["retry-after-ms"]
assert count(lambda: failed(503, message)) == (0, ["http[503]"])
refused = lambda: urllib.error.URLError(ConnectionRefusedError(111, "refused"))
assert count(refused) == (1, ["reason: OSError[ECONNREFUSED]"])
assert count(lambda: urllib.error.URLError("unknown url type")) == (1, ["urllib.error.URLError"])
assert count(lambda: urllib.error.URLError("another text")) == (0, ["urllib.error.URLError"])
assert count(refused) == (0, ["reason: OSError[ECONNREFUSED]"])
assert count(sqlite3.OperationalError) == (1, ["sqlite3.OperationalError"])
assert count(sqlite3.OperationalError) == (0, ["sqlite3.OperationalError"])
""",
        core=core_name,
    )


def test_a_rule_that_comes_or_goes_is_heard_at_once(core_name, run_python):
    run_python(
        f"""{COUNT}
assert count(lambda: failed(503))[1] == ["http[503]"]
with register_rule(urllib.error.HTTPError, kind="Timeout"):
    assert count(lambda: failed(503))[1] == ["user:urllib.error.HTTPError"]
assert count(lambda: failed(503))[1] == ["http[503]"]
seen = []
with register_rule(OSError, lambda exc: seen.append(exc)):
    assert count(lambda: failed(503)) == (5, ["http[503]"])
assert len(seen) == 5
""",
        core=core_name,
    )


def test_what_a_hook_may_say_of_a_key(core_name, run_python):
    """Keys that cannot be had, that are too many, and readers that do what they like."""
    run_python(
        """
import gc
from faultplane._backend import core
class Answer:
    kind_code, category_code, severity_number, flag_bits = 1, 1, 9, 0
    def __init__(self, value): self.value = value
asked = []
class Error(Exception):
    read = None
def read(exc):
    return exc.read() if callable(exc.read) else exc.read
def hook(exc):
    asked.append(exc)
    try:
        key = read(exc)
        hash(key)
    except Exception:
        return Answer("no key"), 0
    return Answer(key), 0 if key is None else (read, key)
core.configure(classify=hook)
def classify(value):
    error = Error()
    error.read = value
    return core.classify(error).value
assert [classify(7), classify(8), classify(7), len(asked)] == [7, 8, 7, 2]
assert [classify(None), classify(None), len(asked)] == [None, None, 4]
def broken():
    raise KeyError
assert [classify(broken), classify([]), len(asked)] == ["no key", "no key", 6]
assert [classify(7), len(asked)] == [7, 6]
# More keys than a core keeps, twice over.
for key in [*range(4000), *range(4000)]:
    assert classify(key) == key
assert classify(7) == 7
# The caches are forgotten while the key is read, and while the hook runs.
def flush():
    core.flush_caches()
    return 9
assert [classify(flush), classify(9), classify(flush)] == [9, 9, 9]
# A reader that classifies and records errors of its own type.
def nested():
    core.record(Error("inner"))
    return classify(10)
assert [classify(nested), classify(10)] == [10, 10]
# Another reader than the one that is known: its answers are not kept, and right.
other = lambda exc: ("other", exc.read)
core.configure(classify=lambda exc: (Answer(exc.read), (read if exc.read < 5 else other, exc.read)))
assert [classify(3), classify(8), classify(3), classify(8)] == [3, 8, 3, 8]
# Words that mean nothing hurt nobody.
for said in ((), (read,), (None, 1), (read, [])):
    core.configure(classify=lambda exc: (Answer(1), said))
    for _ in range(3):
        assert core.classify(Error()).kind_code in (1, 10)
        core.record(Error())
gc.collect()
""",
        core=core_name,
    )


def test_records_of_one_key_are_one_series(core_name, run_python):
    done = run_python(
        """
import urllib.error
import faultplane as fp
domain = fp.init(service="test")
def fail(status):
    try:
        raise urllib.error.HTTPError("http://shop", status, "", None, None)
    except OSError as error:
        return fp.record(error, "call")
for status in (503, 404, 503, 403, 404, 503):
    fail(status)
rows = sorted((row["kind"], row["count"]) for row in domain.counts_rows())
print(rows)
""",
        core=core_name,
    )
    expected = "[('DataValidation', 2), ('DependencyService', 3), ('Permission', 1)]"
    assert done.stdout.splitlines()[0] == expected


# ------------------------------------------------------------------- whatever is changed, and when


class Odd(enum.IntEnum):
    TEAPOT = 503


class OddType(type):
    def __hash__(cls):
        return 1

    def __eq__(cls, other):
        return True


class OddError(OSError, metaclass=OddType):
    pass


def headers(*pairs):
    message = http.client.HTTPMessage()
    for name, value in pairs:
        message[name] = value
    return message


STATUSES = st.sampled_from(
    [503, 503.0, 404, 429, 500, 599, 600, 200, 299, 300, 0, -1, 2**70, True, None, "503",
     http.HTTPStatus.BAD_GATEWAY, Odd.TEAPOT]
)  # fmt: skip
HEADERS = st.sampled_from(
    [{}, None, {"Retry-After": "3"}, {"Retry-After": 3}, {"Retry-After": b"4"}, [], 7,
     headers(("Server", "x")), headers(("retry-after", "5"), ("Server", "x")),
     headers(("Retry-After", "soon")), {"retry-after-ms": "20"}, {"X-Ms-Retry-After-Ms": 20}]
)  # fmt: skip
REASONS = st.sampled_from([
    "text", None, 7, ConnectionRefusedError(111, "a"), OSError(2, "b"), OSError("no number"),
    OSError(10**7, "c"), TimeoutError(), socket.gaierror(-2, "d"), KeyError(1),
    urllib.error.HTTPError("u", 503, "", None, None), ValueError("e"), RuntimeError("f"),
    ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] g"), ExceptionGroup("h", [KeyError()]),
    OddError(111, "i"), OddError(2, "j"), urllib.error.URLError(OSError(5, "k")), OSError,
])  # fmt: skip
NUMBERS = st.sampled_from([
    None, 0, 1, 2, 5, 11, 19, 64, 75, 104, 111, 124, 127, 256 + 5, -2, -3, 421, 450, 499, 535, 550,
    599, 10**7, "AUTH", True,
])  # fmt: skip


def fresh():
    """(Exception, name of an attribute, what it may become) for everything that is read."""
    http_error = urllib.error.HTTPError("http://shop", 503, "", None, None)
    answer = xmlrpc.client.ProtocolError("u", 500, "m", {})
    url_error = urllib.error.URLError("x")
    tls = ssl.SSLError(1, "x")
    certificate = ssl.SSLCertVerificationError(1, "y")
    words = st.sampled_from(["", "WRONG_VERSION_NUMBER", "PEM_LIB", "NOBODY_KNOWS", None, 7])
    return [
        (http_error, "code", STATUSES),
        (http_error, "hdrs", HEADERS),
        (answer, "errcode", STATUSES),
        (answer, "headers", HEADERS),
        (url_error, "reason", REASONS),
        (tls, "reason", words),
        (certificate, "verify_code", NUMBERS),
        (socket.gaierror(-2, "x"), "errno", NUMBERS),
        (socket.herror(1, "x"), "errno", NUMBERS),
        (sqlite3.OperationalError("x"), "sqlite_errorcode", NUMBERS),
        (subprocess.CalledProcessError(1, "x"), "returncode", NUMBERS),
    ]


@given(st.data())
def test_a_changed_exception_gets_the_answer_of_what_it_is_now(data):
    from faultplane import classify

    subjects = fresh()
    for _ in range(data.draw(st.integers(1, 12))):
        exc, name, values = data.draw(st.sampled_from(subjects))
        setattr(exc, name, data.draw(values))
        for _ in range(2):  # once it is told, once it is remembered
            assert classify(exc) == classify_for_core(exc)[0]


def test_an_errno_that_changes_inside_the_reason_is_seen(classify):
    reason = OSError(111, "refused")
    error = urllib.error.URLError(reason)
    for number, rule in ((111, "ECONNREFUSED"), (104, "ECONNRESET"), (111, "ECONNREFUSED")):
        reason.errno = number
        assert classify(error).rule == f"reason: OSError[{rule}]"


@pytest.mark.parametrize("reason", [OddError(111, "x"), ExceptionGroup("g", [KeyError()])])
def test_a_reason_whose_answer_no_key_says_is_asked_every_time(reason):
    assert classify_for_core(urllib.error.URLError(reason))[1] == NEVER


def test_a_reason_with_a_rule_that_looks_at_it_is_asked_every_time(classify):
    said = iter(["Timeout", "Permission"])
    with register_rule(KeyError, lambda exc: next(said)):
        error = urllib.error.URLError(KeyError("x"))
        assert [classify(error).kind.value for _ in range(2)] == ["Timeout", "Permission"]


def test_headers_that_explode_leave_the_status(classify):
    class Headers:
        def get(self, name):
            raise OSError(name)

    for broken in (Headers(), 7, []):
        error = urllib.error.HTTPError("http://shop", 429, "", broken, None)
        assert classify(error).rule == "http[429]"
        assert classify_for_core(error)[1] == NEVER
