"""The WSGI middleware, called as servers call it."""

from __future__ import annotations

PROGRAM = """
from wsgiref.util import FileWrapper
from faultplane.integrations.wsgi import Middleware

def serve(application, path="/orders/7?no", **environ):
    wrapped = Middleware(application, lambda environ: "GET /orders")
    return wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": path.split("?")[0], **environ}, print)

def raises(function):
    try:
        function()
    except BaseException as exc:
        return [type(exc).__name__, *frames(exc)]
"""


def test_what_an_application_raises_is_recorded_and_leaves_no_frame_of_ours(told):
    assert told(PROGRAM + """
def application(environ, start_response):
    say(in_flight())
    raise KeyError("x")
say(raises(lambda: serve(application)))
say([counted(), in_flight()])
""") == [
        ["GET /orders/7"],
        ["KeyError", "raises", "<lambda>", "serve", "application"],
        [{"GET /orders": 1}, []],
    ]  # fmt: skip


def test_a_body_is_in_flight_until_its_end_or_until_it_is_closed(told):
    assert told(PROGRAM + """
def application(environ, start_response):
    def body():
        yield b"one"
        yield b"two"
    return body()
body = serve(application)
parts = iter(body)
say([len(next(parts)), in_flight()])
say([[len(part) for part in parts], in_flight()])
body = serve(application)
next(iter(body))
body.close()
say([in_flight(), counted()])
body = serve(application)
say(in_flight())
del body
say(in_flight())
""") == [[3, ["GET /orders/7"]], [[3], []], [[], {}], ["GET /orders/7"], []]  # fmt: skip


def test_what_a_body_raises_is_recorded_and_leaves_no_frame_of_ours(told):
    assert told(PROGRAM + """
class Body:
    def __iter__(self):
        return self
    def __next__(self):
        raise OSError("gone")
    def close(self):
        raise OSError("also")
body = serve(lambda environ, start_response: Body())
say(raises(lambda: next(iter(body))))
say(raises(body.close))
say([counted(), in_flight()])
body = serve(lambda environ, start_response: Body())
say(raises(body.close))
say([counted(), in_flight()])
""") == [
        ["OSError", "raises", "<lambda>", "__next__"],
        ["OSError", "raises", "close"],
        [{"GET /orders": 2}, []],
        ["OSError", "raises", "close"],
        [{"GET /orders": 3}, []],
    ]  # fmt: skip


def test_lists_and_files_reach_the_server_as_they_are(told):
    assert told(PROGRAM + """
import io
answer = [b"all"]
say(serve(lambda environ, start_response: answer) is answer)
file = FileWrapper(io.BytesIO(b"all"))
same = serve(lambda environ, start_response: file, **{"wsgi.file_wrapper": FileWrapper})
say([same is file, in_flight()])
odd = serve(lambda environ, start_response: iter([b"x"]), **{"wsgi.file_wrapper": print})
say([list(odd) == [b"x"], in_flight()])
""") == [True, [True, []], [True, []]]  # fmt: skip


def test_ways_out_are_no_errors(told):
    assert told(PROGRAM + """
def application(environ, start_response):
    sys.exit(3)
say([raises(lambda: serve(application))[0], counted(), in_flight()])
""") == [["SystemExit", {}, []]]  # fmt: skip


def test_who_signed_in_is_the_user_of_what_failed(told):
    assert told(PROGRAM + """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/body":
        def body():
            yield b""
            raise KeyError("x")
        return body()
    raise KeyError("x")
for path in ("/", "/body"):
    for user in ("alice", "bob", ""):
        raises(lambda: list(serve(application, path, REMOTE_USER=user)))
users = domain.records().to_pyarrow()["user"].to_pylist()
say([users[:2] == users[3:5], len(set(users)), users[2::3]])
""", FAULTPLANE_USER_KEY="sixteen bytes and more") == [[True, 3, [0, 0]]]  # fmt: skip


def test_a_body_is_closed_once_when_a_client_has_gone(told):
    """As servers do it: the loop over the body ends with an error, then they close it."""
    assert told(PROGRAM + """
closed = []
class Answer:
    def __iter__(self):
        return self
    def __next__(self):
        return b"part"
    def close(self):
        closed.append("closed")
body = serve(lambda environ, start_response: Answer())
def send():
    for part in body:
        raise BrokenPipeError
say(raises(send)[0])
say(closed)
body.close()
say([closed, counted(), in_flight()])
""") == ["BrokenPipeError", [], [["closed"], {}, []]]  # fmt: skip


def test_a_body_offers_what_it_is_made_from(told):
    assert told(PROGRAM + """
class Sized:
    name = "sized"
    def __iter__(self):
        return iter([b"one", b"two"])
    def __len__(self):
        return 2
body = serve(lambda environ, start_response: (part for part in [b"one", b"two"]))
say([len(next(body)), in_flight(), [len(part) for part in body], in_flight()])
say([raises(lambda: next(body))[0], hasattr(body, "__len__")])
body = serve(lambda environ, start_response: Sized())
say([len(body), body.name, hasattr(body, "__next__"), hasattr(body, "other")])
def failing():
    yield b""
    raise OSError("gone")
body = serve(lambda environ, start_response: failing())
next(body)
say(raises(lambda: next(body)))
say([counted(), in_flight()])
""") == [
        [3, ["GET /orders/7"], [3], []],
        ["StopIteration", False],
        [2, "sized", False, False],
        ["OSError", "raises", "<lambda>", "failing"],
        [{"GET /orders": 1}, []],
    ]  # fmt: skip


def test_an_operation_that_cannot_be_named_hides_no_error(told):
    assert told(PROGRAM + """
def application(environ, start_response):
    raise KeyError("x")
for operation in (lambda environ: environ["route"], lambda environ: None):
    environ = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/"}
    say(raises(lambda: Middleware(application, operation)(environ, print))[0])
say([counted(), in_flight()])
""") == ["KeyError", "KeyError", [{"PUT": 2}, []]]  # fmt: skip


def test_an_environ_that_is_used_again_is_another_request(told):
    assert told(PROGRAM + """
answers = {
    "/list": lambda environ, start_response: [b""],
    "/body": lambda environ, start_response: iter([b""]),
    "/fail": lambda environ, start_response: [][0],
}
environ = {"REQUEST_METHOD": "GET"}
for path in (*answers, "/fail"):
    environ["PATH_INFO"] = path
    raises(lambda: list(Middleware(answers[path])(environ, print)))
say([counted(), sorted(environ)])
""") == [[{"GET": 2}, ["PATH_INFO", "REQUEST_METHOD"]]]  # fmt: skip


def test_of_two_around_each_other_one_records_under_the_name_that_the_inner_knows(told):
    assert told(PROGRAM + """
def failing():
    yield b""
    raise OSError("gone")
def application(environ, start_response):
    if environ["PATH_INFO"] == "/body":
        return failing()
    raise KeyError("x")
both = Middleware(Middleware(application, lambda environ: "inner"))
for path in ("/", "/body"):
    raises(lambda: list(both({"REQUEST_METHOD": "GET", "PATH_INFO": path}, print)))
say([counted(), in_flight()])
""") == [[{"inner": 2}, []]]  # fmt: skip
