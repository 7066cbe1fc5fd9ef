"""Rows of libraries: read when they are needed, by name alone, and no answer that may be stale.

The types here only have the names of those of a library: none of them is needed.
"""

from __future__ import annotations

import enum
import pickle
import types

import pytest

from faultplane.classify import classify_for_core, libraries, type_name
from faultplane.classify.judgement import NEVER
from faultplane.classify.libraries.grpc_status import CODES, DETAILS, PUSHBACK, retry_info_seconds
from faultplane.classify.libraries.service_judges import by_wrapped
from faultplane.classify.stdlib import BUILT_IN


def named(name, *bases, **members):
    """A new type of that name."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, bases or (Exception,), {"__module__": module, **members})


# -------------------------------------------------------------------------- when they are read


def test_no_rows_are_read_for_a_program_without_such_a_library(core_name, run_python):
    run_python(
        """
import sys
import faultplane as fp
from faultplane.classify import load, libraries
load()
fp.classify(KeyError("k")), fp.classify(type("Odd", (Exception,), {})())
prefix = libraries.__name__
read = {module for module in libraries.MODULES if f"{prefix}.{module}" in sys.modules}
assert read == set(), read
before = set(sys.modules)
odd = type("ReadTimeout", (Exception,), {"__module__": "httpx"})()
assert fp.classify(odd).kind == "Timeout"
new = set(sys.modules) - before
wanted = {f"{prefix}.{module}" for module in ("rows", "http_clients", "service_judges")}
assert new == wanted, new
""",
        core=core_name,
    )


def test_rows_are_read_before_an_error_where_the_library_is_loaded(core_name, run_python):
    run_python(
        """
import sys, types
sys.modules["grpc"] = types.ModuleType("grpc")
from faultplane.classify import load
load()
assert "faultplane.classify.libraries.grpc_status" in sys.modules
assert "faultplane.classify.libraries.http_clients" not in sys.modules
""",
        core=core_name,
    )


@pytest.fixture
def unread(monkeypatch):
    monkeypatch.setattr(libraries, "_tables", {})


def test_an_answer_without_the_rows_is_not_remembered(unread, monkeypatch):
    """Where no descriptor is left, say: the base that is known answers, this once."""
    kind = named("requests.exceptions.Odd", ConnectionRefusedError)

    def refuse(name):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(libraries, "import_module", refuse)
        answer, remembered = classify_for_core(kind(111, "refused"))
        assert (answer.rule, remembered) == ("OSError[ECONNREFUSED]", NEVER)
    assert classify_for_core(kind(111, "refused"))[1] != NEVER


def test_an_error_that_comes_while_rows_are_read_does_without_them(unread, monkeypatch):
    """As from a signal handler, in the thread that reads them."""
    kind = named("httpx.ReadTimeout", TimeoutError)
    seen = []
    real = libraries.import_module

    def interrupted(name):
        if not seen:
            seen.append(None)
            seen[:] = [classify_for_core(kind())]
        return real(name)

    monkeypatch.setattr(libraries, "import_module", interrupted)
    assert classify_for_core(kind())[0].rule == "httpx.ReadTimeout"
    answer, remembered = seen[0]
    assert (answer.rule, remembered) == ("TimeoutError", NEVER)


# -------------------------------------------------------------------------- which row answers


def test_a_type_without_a_row_takes_that_of_its_nearest_base(classify):
    base = named("requests.exceptions.RequestException", OSError)
    timeout = named("requests.exceptions.Timeout", base)
    new = named("requests.exceptions.SlowerTimeout", timeout)
    own = named("shop.clients.Late", new)
    assert classify(own("text")).rule == "requests.exceptions.Timeout"
    assert classify(named("requests.exceptions.New", base)("text")).rule == type_name(base)


def test_a_type_of_such_a_library_without_any_base_that_is_known_is_unknown(classify):
    assert classify(named("requests.sessions.Odd")()).rule == "default"


def test_a_row_of_a_library_is_no_row_of_the_standard_library():
    assert not [name for name in BUILT_IN if name.partition(".")[0] in libraries._MODULE_OF]


# -------------------------------------------------------------------------- what is inside


def wrapper():
    return named("requests.exceptions.ConnectionError", OSError)


def test_what_is_wrapped_is_read_anew_from_each_exception(classify):
    kind = wrapper()
    assert classify(kind(ConnectionRefusedError(111, "x"))).rule == "cause: OSError[ECONNREFUSED]"
    assert classify(kind(ConnectionResetError(104, "x"))).rule == "cause: OSError[ECONNRESET]"
    assert classify(kind("text")).rule == type_name(kind)
    assert classify(kind(ConnectionRefusedError(111, "x"))).rule == "cause: OSError[ECONNREFUSED]"


def test_what_is_wrapped_and_changed_is_asked_about_again(classify):
    inner = OSError(111, "refused")
    error = wrapper()(inner)
    assert classify(error).reached_server == "no"
    inner.errno = 104
    assert classify(error).reached_server == "unknown"


def test_what_changes_while_it_is_judged_is_not_remembered():
    inner = OSError(111, "refused")
    error = wrapper()(inner)

    class Changing:
        def judge(self, exc):
            told = classify_for_core(exc)
            inner.errno = self.errno
            return told

    inquiry, row = Changing(), BUILT_IN["ConnectionError"].answer
    inquiry.errno = 104
    assert by_wrapped(error, row, inquiry)[1] == NEVER
    inquiry.errno = inner.errno
    assert by_wrapped(error, row, inquiry)[1] != NEVER


@pytest.mark.parametrize("depth", [5, 6, 7, 40])
def test_wrappers_in_wrappers_end(depth, classify):
    kind = wrapper()
    error = ConnectionRefusedError(111, "refused")
    for _ in range(depth):
        error = kind(error)
    assert classify(error).kind == "Transport"


def test_a_wrapper_of_itself_ends(classify):
    error = wrapper()("text")
    error.args = (error,)
    assert classify(error).rule == type_name(type(error))


@pytest.mark.parametrize(
    ("text", "rule"),
    [("407 Proxy Authentication Required", "http[407]"), ("502 x", "http[502]"),
     ("Tunnel connection failed: 503 x", "http[503]"), ("200 OK", None), ("600 x", None),
     ("40\u0667 x", None), ("407", None), ("4070 x", None), ("refused", None),
     (b"407 x", "http[407]")],
)  # fmt: skip
def test_the_refusal_of_a_proxy_is_in_its_text(text, rule, classify):
    kind = named("httpx.ProxyError")
    for error in (kind(text), kind("cannot connect", OSError(text))):
        answer = classify(error)
        assert (answer.rule, answer.reached_server) == (rule or "httpx.ProxyError", "no")
        assert answer.origin == "path"


def test_context_never_counts(classify):
    error = wrapper()("text")
    error.__context__ = PermissionError(13, "denied")
    assert classify(error).kind == "Transport"


def test_an_inner_error_that_says_nothing_does_not_answer(classify):
    error = wrapper()(RuntimeError("text"))
    assert classify(error).rule == type_name(type(error))


# -------------------------------------------------------------------------- answers by status


def responded(status, headers=None):
    response = types.SimpleNamespace(status_code=status, headers=headers or {})
    return named("requests.exceptions.HTTPError", OSError, response=response)("text")


@pytest.mark.parametrize(
    ("status", "rule"),
    [(299, None), (300, "http[3xx]"), (404, "http[404]"), (599, "http[5xx]"), (600, None),
     (-1, None), (True, None), ("503", None), (10**30, None)],
)  # fmt: skip
def test_a_status_that_http_does_not_know_says_nothing(status, rule, classify):
    error = responded(status)
    assert classify(error).rule == (rule or type_name(type(error)))


def test_a_status_that_changes_changes_the_answer(classify):
    error = responded(503)
    assert classify(error).kind == "DependencyService"
    error.response.status_code = 404
    assert classify(error).kind == "DataValidation"
    error.response.headers = {"Retry-After": "7"}
    error.response.status_code = 429
    assert classify(error).retry_after == 7.0
    error.response.headers = {"retry-after-ms": "20"}
    assert classify(error).retry_after == 0.02
    error.response.headers = {}
    assert classify(error).retry_after is None


def test_a_status_of_the_parser_is_told_from_one_of_the_server(classify):
    kind = named("aiohttp.client_exceptions.ClientResponseError", status=400, headers=None)
    parser = named("aiohttp.http_exceptions.HttpProcessingError")
    unparsed = kind()
    unparsed.__cause__ = parser()
    assert classify(kind()).rule == "http[400]"
    assert classify(unparsed).rule == f"cause: {type_name(parser)}"
    assert classify(kind()).rule == "http[400]"


@pytest.mark.parametrize("value", ["soon", b"\xff", -1, True, None, object(), "9" * 100])
def test_a_wait_that_is_none_is_not_said(value, classify):
    assert classify(responded(503, {"Retry-After": value})).retry_after is None


def test_a_date_is_a_wait_from_now(classify):
    from datetime import UTC, datetime, timedelta

    soon = datetime.now(UTC) + timedelta(seconds=60)
    kind = named("werkzeug.exceptions.HTTPException", code=503, retry_after=soon)
    assert 58 <= classify(kind()).retry_after <= 60


def test_attributes_that_raise_leave_the_answer_of_the_type(classify):
    def refuse(self):
        raise RuntimeError("no")

    for name in ("requests.exceptions.HTTPError", "starlette.exceptions.HTTPException"):
        error = named(name, response=property(refuse))()
        assert classify(error).rule == name
    error = named("urllib3.exceptions.MaxRetryError", reason=property(refuse))()
    assert classify(error).rule == "urllib3.exceptions.MaxRetryError"


def test_what_a_server_refuses_on_purpose_is_low(classify):
    kind = named("starlette.exceptions.HTTPException", status_code=403)
    assert classify(kind()).severity == "Low"
    assert classify(responded(403)).severity == "High"


# ------------------------------------------------------------------------------------- gRPC


class Code(enum.Enum):
    UNAVAILABLE = 14
    RESOURCE_EXHAUSTED = 8
    OK = 0
    NOBODY = 99


def ended(code, *trailers, text=""):
    state = types.SimpleNamespace(code=code, details=text, trailing_metadata=trailers)
    return named("grpc.RpcError", _state=state)()


def test_each_code_has_an_answer():
    grpc = pytest.importorskip("grpc")
    assert {code for code in CODES if "/" not in code} == {code.name for code in grpc.StatusCode}
    assert len(grpc.StatusCode) == 17


def test_a_call_that_has_not_ended_is_not_waited_for(classify):
    def wait(self):
        raise AssertionError("code() of a stream waits")

    state = types.SimpleNamespace(code=None, details=None, trailing_metadata=None)
    assert classify(named("grpc.RpcError", _state=state, code=wait)()).rule == "grpc.RpcError"


def test_a_code_that_nobody_knows_leaves_the_answer_of_the_type(classify):
    assert classify(ended(Code.NOBODY)).rule == "grpc.RpcError"
    assert classify(ended("UNAVAILABLE")).rule == "grpc.RpcError"


def test_ok_is_no_failure_of_the_server(classify):
    assert classify(ended(Code.OK)).counts_as == "ignored"


@pytest.mark.parametrize(
    ("said", "retryable", "wait"),
    [("0", True, 0.0), ("1", True, 0.001), ("1000", True, 1.0), ("1001", True, 1.001),
     (b"1500", True, 1.5), ("9" * 18, True, 86_400.0), ("9" * 19, False, None),
     ("-1", False, None), ("", False, None), ("1.5", False, None), ("\u0661", False, None),
     (7, False, None)],
)  # fmt: skip
def test_a_pushback_is_a_wait_or_the_end(said, retryable, wait, classify):
    for code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED):
        answer = classify(ended(code, (PUSHBACK, said)))
        assert (answer.retryable, answer.retry_after) == (retryable, wait)


def test_trailers_are_read_to_a_bound(classify):
    others = [("x", "y")] * 63
    assert classify(ended(Code.UNAVAILABLE, *others, (PUSHBACK, "0"))).retry_after == 0.0
    assert classify(ended(Code.UNAVAILABLE, "?", *others)).rule == "grpc.RpcError"
    assert (
        classify(ended(Code.UNAVAILABLE, *others, ("x", "y"), (PUSHBACK, "0"))).retry_after is None
    )


def test_retry_info_is_what_protobuf_writes(rng):
    """Any bytes, and any part of a status, are none or a number."""
    timestamp = pytest.importorskip("google.protobuf.duration_pb2")
    any_pb2 = pytest.importorskip("google.protobuf.any_pb2")
    for seconds, nanos in ((0, 0), (1, 0), (0, 5 * 10**8), (10**6, 1), (2**40, 0)):
        delay = timestamp.Duration(seconds=seconds, nanos=nanos).SerializeToString()
        info = b"\x0a" + bytes([len(delay)]) + delay
        packed = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info)
        detail = packed.SerializeToString()
        status = b"\x08\x08" + b"\x1a" + bytes([len(detail)]) + detail
        expected = None if not delay else seconds + nanos / 1e9
        assert retry_info_seconds(status) == (expected if delay else 0.0)
        for end in range(len(status)):
            assert retry_info_seconds(status[:end]) in {None, 0.0, expected}
    negative = timestamp.Duration(seconds=-1).SerializeToString()
    detail = b"\x0a\x15/google.rpc.RetryInfo"
    info = b"\x0a" + bytes([len(negative)]) + negative
    detail += b"\x12" + bytes([len(info)]) + info
    assert retry_info_seconds(b"\x1a" + bytes([len(detail)]) + detail) is None
    for _ in range(2000):
        found = retry_info_seconds(rng.randbytes(rng.randrange(40)))
        assert found is None or found >= 0


@pytest.mark.parametrize(("length", "wait"), [(65_535, 5.0), (65_536, 5.0), (65_537, None)])
def test_details_that_are_too_long_are_not_read(length, wait, classify):
    info = b"\x1a\x1f\x0a\x15/google.rpc.RetryInfo\x12\x06\x0a\x04\x08\x05\x10\x00"
    size = length - len(info) - 4
    # Field 2, the message, whose length takes three bytes.
    filler = bytes([0x12, size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + b"x" * size
    assert len(info + filler) == length
    assert retry_info_seconds(info + filler) == wait
    answer = classify(ended(Code.RESOURCE_EXHAUSTED, (DETAILS, info + filler)))
    assert (answer.retryable, answer.retry_after) == (wait is not None, wait)


def test_a_pickled_answer_is_the_same(classify):
    answer = classify(ended(Code.UNAVAILABLE))
    assert pickle.loads(pickle.dumps(answer)) == answer
