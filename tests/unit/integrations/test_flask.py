"""Flask's integration where it must do without a request, or knows one from its host."""

from __future__ import annotations

import pytest

pytest.importorskip("flask")

PROGRAM = """
import flask, logging
from faultplane.integrations import flask as faultplane_flask
from werkzeug.test import EnvironBuilder
faultplane_flask.wire()
logging.disable(logging.CRITICAL)
"""


def test_a_signal_that_somebody_sends_outside_of_requests_reaches_its_receivers(told):
    assert told(PROGRAM + """
app = flask.Flask("shop")
@flask.got_request_exception.connect
def hear(sender, exception):
    say(str(exception))
flask.got_request_exception.send(app, exception=ValueError("of a job"))
say(counted())
""") == ["of a job", {}]  # fmt: skip


def test_what_a_receiver_of_a_signal_raises_shows_no_frame_of_ours(told):
    assert told(PROGRAM + """
app = flask.Flask("shop")
@flask.got_request_exception.connect
def hear(sender, exception):
    raise LookupError
try:
    flask.got_request_exception.send(app, exception=ValueError("of a job"))
except LookupError as exc:
    say(frames(exc))
""") == [["<module>", "send", "hear"]]  # fmt: skip


def test_a_body_that_fails_is_named_by_its_rule_on_a_subdomain_too(told):
    assert told(PROGRAM + """
app = flask.Flask("shop", subdomain_matching=True)
app.config["SERVER_NAME"] = "shop.test"
@app.get("/orders/<n>", subdomain="api")
def order(n):
    def body():
        yield b"half"
        raise OSError(n)
    return flask.Response(body())
environ = EnvironBuilder(path="/orders/7", base_url="http://api.shop.test/").get_environ()
try:
    list(app(environ, lambda status, headers, exc_info=None: say(status)))
except OSError:
    say(counted())
""") == ["200 OK", {"GET /orders/<n>": 1}]  # fmt: skip


def test_what_is_called_when_a_response_closes_is_called_once_though_a_client_has_gone(told):
    assert told(PROGRAM + """
app = flask.Flask("shop")
@app.get("/orders/<n>")
def order(n):
    response = flask.Response(str(n) for n in range(3))
    response.call_on_close(lambda: say("closed"))
    return response
body = app(EnvironBuilder(path="/orders/7").get_environ(), lambda *answer: None)
try:
    for part in body:
        raise BrokenPipeError
except BrokenPipeError:
    body.close()
say([counted(), in_flight()])
""") == ["closed", [{}, []]]  # fmt: skip


def test_a_list_that_nobody_waits_for_the_end_of_reaches_the_server_as_it_is(told):
    assert told(PROGRAM + """
app = flask.Flask("shop")
def fail():
    raise OSError("closing")
@app.get("/plain")
def plain():
    return ["well"]
@app.get("/waited")
def waited():
    response = flask.Response(["well"])
    response.call_on_close(fail)
    return response
class Own(flask.Response):
    def close(self):
        fail()
@app.get("/own")
def own():
    return Own(["well"])
for path in ("/plain", "/waited", "/own"):
    environ = EnvironBuilder(path=path).get_environ()
    body = app(environ, lambda status, headers, exc_info=None: None)
    say(type(body).__name__)
    b"".join(body)
    try:
        body.close()
    except OSError:
        say(counted())
""") == [
        "ClosingIterator",
        "_IteratorBody", {"GET /waited": 1},
        "_IteratorBody", {"GET /waited": 1, "GET /own": 1},
    ]  # fmt: skip


def test_the_first_request_that_fails_has_the_traceback_of_any_other(told):
    once, again = told(PROGRAM + """
app = flask.Flask("shop")
app.testing = True
@app.get("/fail")
def fail():
    raise LookupError
for _ in range(2):
    try:
        app(EnvironBuilder(path="/fail").get_environ(), lambda *answer: None)
    except LookupError as exc:
        say(frames(exc))
""")  # fmt: skip
    assert once == again


def test_a_list_with_code_of_its_own_belongs_to_its_request(told):
    assert told(PROGRAM + """
app = flask.Flask("shop")
class Rows(list):
    def close(self):
        raise OSError("closing")
@app.get("/rows")
def rows():
    return flask.Response(Rows(["well"]))
body = app(EnvironBuilder(path="/rows").get_environ(), lambda *answer: None)
say([in_flight(), b"".join(body).decode()])
try:
    body.close()
except OSError:
    say([counted(), in_flight()])
""") == [[["GET /rows"], "well"], [{"GET /rows": 1}, []]]  # fmt: skip
