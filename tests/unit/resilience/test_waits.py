"""What the other side asked for: every status, gRPC code and form, by the libraries themselves."""

from __future__ import annotations

import contextlib
import importlib
import math
import pickle
import random
import sys
import types
import urllib.error
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane.classify import Classification, classify, register_rule
from faultplane.classify.rules import judge_exception
from faultplane.resilience.backoff import constant, full_jitter
from faultplane.resilience.waits import NOTHING, Wait, fits, next_delay, wait_asked

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

asking = importlib.import_module("asking")
NOW = 784_111_770.0  # Sun, 06 Nov 1994 08:49:30 GMT
PUSHBACK, DETAILS = asking.PUSHBACK, asking.DETAILS


def asked(exc, **settings):
    """What is asked for by ``exc``, classified as a caller would, at the same moment."""
    answer, _ = judge_exception(exc, lambda: NOW)
    return wait_asked(exc, answer, NOW, **settings)


# ---------------------------------------------------------------------------------------- HTTP

# What an answer has in its headers, and the wait in seconds that is asked for by it.
FORMS = [
    ({}, None),
    ({"Retry-After": "7"}, 7.0),
    ({"Retry-After": "0"}, 0.0),
    ({"Retry-After": "1.5"}, 1.5),
    ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 7.0),
    ({"Retry-After": "Sunday, 06-Nov-94 08:49:37 GMT"}, 7.0),
    ({"Retry-After": "Sun Nov  6 08:49:37 1994"}, 7.0),
    ({"Retry-After": formatdate(NOW - 60, usegmt=True)}, 0.0),
    ({"Retry-After": formatdate(NOW + 1e7, usegmt=True)}, 86_400.0),
    ({"Retry-After": "100000"}, 86_400.0),
    ({"Retry-After": "soon"}, None),
    ({"Retry-After": "-1"}, None),
    ({"retry-after-ms": "20"}, 0.02),
    ({"x-ms-retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "20", "Retry-After": "1"}, 0.02),
    ({"retry-after-ms": "soon", "Retry-After": "1"}, 1.0),
    ({"x-ms-retry-after-ms": "-1"}, None),
]


@pytest.fixture(scope="module")
def address_of():
    with asking.http_server() as made:
        yield made


@pytest.fixture(scope="module", params=asking.CLIENTS)
def fetch(request):
    if request.param != "urllib":
        pytest.importorskip(request.param)
    with asking.CLIENTS[request.param]() as made:
        yield made


@pytest.mark.parametrize(("headers", "seconds"), FORMS, ids=lambda value: str(value))
def test_each_form_is_heard_from_each_client(headers, seconds, fetch, address_of):
    for status in (429, 503):
        found = asked(fetch(address_of(status, headers)))
        assert found == Wait(seconds)


def test_each_status_is_heard_from_each_client(fetch, address_of):
    for status in range(400, 600):
        assert asked(fetch(address_of(status))) == NOTHING
        assert asked(fetch(address_of(status, {"Retry-After": "7"}))) == Wait(7.0)
        assert asked(fetch(address_of(status, {"retry-after-ms": "20"}))) == Wait(0.02)


def test_statuses_that_clients_follow_or_take_for_success_are_heard_where_httpx_raises_them():
    httpx = pytest.importorskip("httpx")
    for status in (*range(100, 200), *range(300, 400)):
        for headers, seconds in FORMS:
            answer = httpx.Response(
                status, headers=headers, request=httpx.Request("GET", "http://x")
            )
            with pytest.raises(httpx.HTTPStatusError) as raised:
                answer.raise_for_status()
            assert asked(raised.value) == Wait(seconds)


def test_a_response_that_was_not_raised_is_heard():
    httpx = pytest.importorskip("httpx")
    requests = pytest.importorskip("requests")
    busy = httpx.Response(503, headers={"Retry-After": "7"})
    assert wait_asked(busy, None, NOW) == Wait(7.0)
    assert wait_asked(httpx.Response(503), None, NOW) == NOTHING
    answer = requests.Response()
    answer.headers["x-ms-retry-after-ms"] = "20"
    assert wait_asked(answer, None, NOW) == Wait(0.02)


def test_the_answer_of_an_aws_service_is_heard_without_its_rule():
    exceptions = pytest.importorskip("botocore.exceptions")
    response = {"Error": {}, "ResponseMetadata": {"HTTPHeaders": {"retry-after": "7"}}}
    error = exceptions.ClientError(response, "PutObject")
    assert asked(error) == Wait(7.0)
    assert wait_asked(error, Classification("RateLimit"), NOW) == Wait(7.0)
    assert wait_asked(exceptions.ClientError({}, "x"), None, NOW) == NOTHING


# ---------------------------------------------------------------------------------------- gRPC

CODES = [
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip
# The trailers, and what they ask for. "?" stands for a stop by RESOURCE_EXHAUSTED alone.
TRAILERS = [
    ((), "?"),
    (((PUSHBACK, "1500"),), Wait(1.5)),
    (((PUSHBACK, "20"),), Wait(0.02)),
    (((PUSHBACK, "0"),), Wait(0.0)),
    (((PUSHBACK, "100000000"),), Wait(86_400.0)),
    (((PUSHBACK, "-1"),), Wait(None, stop=True)),
    (((PUSHBACK, "soon"),), Wait(None, stop=True)),
    ("RetryInfo of 3.5 s", Wait(3.5)),
    ("RetryInfo of 3.5 s, pushback", Wait(0.02)),
    ("RetryInfo of 3.5 s, pushback to stop", Wait(None, stop=True)),
    (((DETAILS, b"\xff\xff\xff"),), "?"),
]


def trailers_of(said):
    if not isinstance(said, str):
        return said
    pytest.importorskip("google.protobuf")
    info = (DETAILS, asking.retry_info(3, 500_000_000))
    more = {"pushback": [(PUSHBACK, "20")], "pushback to stop": [(PUSHBACK, "-1")]}
    return (info, *more.get(said.partition(", ")[2], ()))


@pytest.fixture(scope="module", params=["by_grpc", "by_grpc_aio"])
def call(request):
    pytest.importorskip("grpc")
    with asking.grpc_server() as address, getattr(asking, request.param)(address) as made:
        yield made


@pytest.mark.parametrize("code", CODES)
def test_each_code_and_form_is_heard_from_grpc(code, call):
    for said, expected in TRAILERS:
        if expected == "?":
            expected = Wait(None, stop=True) if code == "RESOURCE_EXHAUSTED" else NOTHING
        error = call(code, trailers_of(said))
        assert asked(error) == expected, said
        # The same without a word from the tables.
        assert wait_asked(error, None, NOW) == expected, said


def test_the_codes_are_those_of_grpc():
    grpc = pytest.importorskip("grpc")
    assert {code.name for code in grpc.StatusCode} == {"OK", *CODES}


def named(name, *bases, **attributes):
    """A type of the library that ``name`` begins with, which need not be there."""
    module, _, short = name.rpartition(".")
    return type(short, bases or (Exception,), {"__module__": module, **attributes})


def rpc_error(code, *trailers):
    state = types.SimpleNamespace(
        code=types.SimpleNamespace(name=code), details="text", trailing_metadata=trailers
    )
    return named("grpc.RpcError", _state=state)()


def test_a_rule_of_the_application_gives_hope_and_a_pushback_takes_it():
    exhausted, stopped = rpc_error("RESOURCE_EXHAUSTED"), rpc_error("UNAVAILABLE", (PUSHBACK, "-1"))
    hope = Classification("RateLimit")
    assert wait_asked(exhausted, Classification("ResourceExhausted"), NOW) == Wait(None, True)
    assert wait_asked(exhausted, hope, NOW) == NOTHING
    assert wait_asked(exhausted, hope.replace(retry_after=2.0), NOW) == Wait(2.0)
    assert wait_asked(stopped, hope, NOW) == Wait(None, True)
    assert wait_asked(stopped, hope.replace(retry_after=2.0), NOW) == Wait(2.0, True)


# ---------------------------------------------------------------------------------------- OTLP

SIGNALS = {
    "trace": ("Trace", "rejected_spans"),
    "metrics": ("Metrics", "rejected_data_points"),
    "logs": ("Logs", "rejected_log_records"),
}


class ExportFailed(Exception):
    """What an exporter might raise for an answer that is no success."""


def held_by(message):
    """The answer itself, and each way in which an exception may hold it."""
    yield message
    yield ExportFailed(message)
    yield ExportFailed("partly", message)
    for name, held in (("response", message), ("partial_success", message.partial_success)):
        error = ExportFailed("partly")
        setattr(error, name, held)
        yield error


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_partial_success_that_is_populated_is_never_sent_again(signal):
    pytest.importorskip("opentelemetry.proto")
    name, field = SIGNALS[signal]
    module = importlib.import_module(
        f"opentelemetry.proto.collector.{signal}.v1.{signal}_service_pb2"
    )
    make = getattr(module, f"Export{name}ServiceResponse")
    for populated in ({field: 3}, {"error_message": "slow down"}, {field: 3, "error_message": "x"}):
        for holder in held_by(make(partial_success=populated)):
            assert wait_asked(holder, None, NOW) == Wait(None, stop=True), populated
            assert asked(holder) == Wait(None, stop=True)
    for success in (make(), make(partial_success={}), make(partial_success={field: 0})):
        for holder in held_by(success):
            assert wait_asked(holder, None, NOW) == NOTHING


def test_profiles_are_a_signal_too():
    said = types.SimpleNamespace(rejected_profiles=1, error_message="")
    assert wait_asked(types.SimpleNamespace(partial_success=said), None, NOW).stop


def test_a_wait_and_a_stop_are_both_told():
    error = ExportFailed("partly")
    error.partial_success = types.SimpleNamespace(rejected_spans=1)
    error.retry_after = 5
    assert wait_asked(error, None, NOW) == Wait(5.0, stop=True)


# --------------------------------------------------------------------- exceptions in exceptions


def busy(headers, status=503):
    return urllib.error.HTTPError("http://shop", status, "busy", headers, None)


def wrapping(inner):
    """Each way in which one exception is inside another."""
    chained = RuntimeError("cannot pay")
    chained.__cause__ = inner
    yield chained
    yield RuntimeError(inner)
    yield RuntimeError("cannot pay", inner)
    yield urllib.error.URLError(inner)
    yield ExceptionGroup("both", [KeyError("k"), inner])
    yield ExceptionGroup("outer", [ExceptionGroup("inner", [chained])])


def test_what_is_asked_is_heard_from_inside():
    for outer in wrapping(busy({"Retry-After": "7"})):
        assert wait_asked(outer, None, NOW) == Wait(7.0)
        assert asked(outer) == Wait(7.0)
    for outer in wrapping(rpc_error("UNAVAILABLE", (PUSHBACK, "-1"))):
        assert wait_asked(outer, None, NOW) == Wait(None, stop=True)
        assert asked(outer) == Wait(None, stop=True)


def test_an_error_that_was_being_handled_is_not_asked():
    try:
        try:
            raise rpc_error("UNAVAILABLE", (PUSHBACK, "-1"))
        except Exception:
            raise ConnectionResetError(104, "reset")
    except ConnectionResetError as error:
        assert error.__context__ is not None
        assert asked(error) == NOTHING


def test_the_longest_of_several_waits_is_taken_and_any_stop():
    group = ExceptionGroup(
        "all", [busy({"Retry-After": "3"}), busy({"Retry-After": "7"}), busy({}), KeyError("k")]
    )
    assert asked(group) == Wait(7.0)
    assert wait_asked(group, None, NOW) == Wait(7.0)
    both = [busy({"Retry-After": "3"}), rpc_error("UNAVAILABLE", (PUSHBACK, "-1"))]
    assert asked(ExceptionGroup("both", both)) == Wait(3.0, stop=True)
    assert asked(ExceptionGroup("both", both[::-1])) == Wait(3.0, stop=True)


def test_a_rule_of_the_application_comes_before_what_the_answer_says():
    with register_rule(
        urllib.error.HTTPError, lambda exc: Classification("RateLimit", retry_after=2.0)
    ):
        assert asked(busy({"Retry-After": "7"})) == Wait(2.0)
    with register_rule(urllib.error.HTTPError, kind="RateLimit"):
        assert asked(busy({"Retry-After": "7"})) == Wait(7.0)


def test_circles_and_crowds_are_left():
    circle = RuntimeError("a")
    circle.__cause__ = RuntimeError("b", circle)
    assert asked(circle) == NOTHING
    far = busy({"Retry-After": "7"})
    for depth in range(1, 80):
        outer = RuntimeError("deeper")
        outer.__cause__ = far
        far = outer
        assert wait_asked(far, None, NOW) == (Wait(7.0) if depth < 64 else NOTHING)
    twice = busy({"Retry-After": "7"})
    for _ in range(30):
        outer = RuntimeError(twice, twice)
        outer.__cause__ = twice
        twice = outer
    assert wait_asked(twice, None, NOW) == Wait(7.0)
    crowd = ExceptionGroup("many", [*(KeyError(n) for n in range(500)), busy({"Retry-After": "7"})])
    assert wait_asked(crowd, None, NOW) == NOTHING


@pytest.mark.parametrize("seconds", [5, 2.5, "5"])
def test_an_attribute_of_any_exception_is_heard(seconds):
    error = ExportFailed("x")
    error.retry_after = seconds
    assert wait_asked(error, None, NOW) == Wait(float(seconds))


# ------------------------------------------------------------------------------------- hostile


class Hostile(Exception):
    """Every attribute raises, or is what ``answers`` has for all."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Everything(Exception):
    """Has every attribute that is asked for: a mock."""

    def __getattr__(self, name):
        return Everything()

    def __call__(self, *_):
        return self


def test_what_cannot_be_read_asks_for_nothing():
    for exc in (Hostile(), Everything(), StopIteration(Hostile()), ValueError(Everything())):
        assert wait_asked(exc, None, NOW) == NOTHING
    for other in (None, 7, "text", {}, Exception, object(), lambda: None):
        assert wait_asked(other, None, NOW) == NOTHING


@given(st.floats() | st.integers() | st.text() | st.none() | st.dates() | st.timedeltas())
def test_whatever_is_said_the_wait_is_none_or_within_bounds(said):
    error = ExportFailed("x")
    error.retry_after = said
    error.headers = {"Retry-After": said, "retry-after-ms": said}
    found = wait_asked(error, None, NOW, wait_seconds_max=60.0)
    assert not found.stop
    assert found.seconds is None or 0.0 <= found.seconds <= 60.0


def test_an_error_of_pythons_own_is_not_searched(monkeypatch):
    """Most errors have nothing to say, and are asked for little; a note does not change that."""
    waits = importlib.import_module("faultplane.resilience.waits")

    def refuse(exc):
        raise AssertionError("searched")

    monkeypatch.setattr(waits, "_examined", refuse)
    for silent in (ConnectionResetError(104, "x"), TimeoutError(), KeyError("k"), ValueError(b"x")):
        assert wait_asked(silent, None, NOW) == NOTHING
    talking = [ValueError(KeyError()), ExportFailed(), ExceptionGroup("g", [KeyError()])]
    carrying, caused = ValueError("x"), ValueError("x")
    carrying.retry_after = 5
    caused.__cause__ = KeyError()
    for exc in (*talking, carrying, caused):
        with pytest.raises(AssertionError, match="searched"):
            wait_asked(exc, None, NOW)


# ---------------------------------------------------------------------------- caps and deadlines


@given(st.integers(0, 86_400), st.floats(0.0, 86_400.0))
def test_a_wait_is_cut_to_the_longest_that_is_kept_to(seconds, wait_seconds_max):
    found = asked(busy({"Retry-After": str(seconds)}), wait_seconds_max=wait_seconds_max)
    assert found == Wait(min(float(seconds), wait_seconds_max), False, seconds > wait_seconds_max)


def test_a_rule_of_the_application_is_cut_too():
    hour = Classification("RateLimit", retry_after=3600.0)
    assert wait_asked(KeyError(), hour, NOW, wait_seconds_max=60.0) == Wait(60.0, capped=True)


@given(st.floats(0.0, 86_400.0), st.floats(-10.0, 86_400.0))
def test_a_wait_fits_if_it_ends_before_the_deadline(seconds, left):
    assert fits(Wait(seconds), left) is (seconds < left)
    assert fits(seconds, left) is (seconds < left)
    assert fits(Wait(seconds), None)
    assert not fits(Wait(seconds, stop=True), left)


def test_one_below_at_and_above_the_deadline():
    assert fits(Wait(math.nextafter(2.0, 0.0)), 2.0)
    assert not fits(Wait(2.0), 2.0)
    assert not fits(Wait(math.nextafter(2.0, 3.0)), 2.0)
    assert fits(NOTHING, 0.001)
    assert not fits(NOTHING, 0.0)
    assert not fits(math.nan, 2.0)


def test_what_is_asked_for_takes_the_place_of_the_backoff():
    backoff = constant(3.0)
    assert next_delay(backoff, 1, 0.0, random.random) == 3.0
    assert next_delay(backoff, 1, 0.0, random.random, NOTHING) == 3.0
    assert next_delay(backoff, 1, 0.0, random.random, Wait(0.02)) == 0.02
    assert next_delay(backoff, 1, 0.0, random.random, Wait(0.0)) == 0.0
    assert next_delay(full_jitter(1.0, 8.0), 3, 0.0, lambda: 0.5, NOTHING) == 2.0


def test_a_wait_is_a_plain_value():
    assert pickle.loads(pickle.dumps(Wait(1.0, True))) == Wait(1.0, True)
    assert Wait() == NOTHING == (None, False, False)


def test_a_classification_from_the_core_does():
    with contextlib.closing(busy({"Retry-After": "7"})) as error:
        assert wait_asked(error, classify(error), NOW) == Wait(7.0)
