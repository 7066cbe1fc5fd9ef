"""Django's integration, wired: what an application can see of it, and whose request it was."""

from __future__ import annotations

import pytest

pytest.importorskip("django")

PROGRAM = """
import logging, sys
from wsgiref.util import setup_testing_defaults
import django
from django.conf import settings
from faultplane.integrations import django as faultplane_django
faultplane_django.wire()
logging.disable(logging.CRITICAL)
GIVEN = ("django.middleware.common.CommonMiddleware",)
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of no use", MIDDLEWARE=GIVEN,
    DEBUG=True,
)
django.setup()
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

def fail(request):
    raise KeyError("x")

def served(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    return b"".join(WSGIHandler()(environ, lambda *answer: None))

async def asked(path):
    async def receive():
        if asking:
            return asking.pop()
        await asyncio.sleep(60)
    async def send(message):
        pass
    asking = [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "http_version": "1.1"}
    await ASGIHandler()(scope, receive, send)
"""


def test_the_settings_of_the_application_stay_what_they_are(told):
    """A debug page shows them, and checks and other applications look at them."""
    assert told(PROGRAM + """
urlpatterns = [path("fail", fail), path("seen", lambda request: HttpResponse(settings.MIDDLEWARE))]
say([served("/seen").decode(), settings.MIDDLEWARE is GIVEN])
page = served("/fail")
say([b"KeyError" in page, b"faultplane" in page.replace(b"FAULTPLANE_DIR", b"")])
say([counted(), in_flight()])
""") == [
        ["django.middleware.common.CommonMiddleware", True],
        [True, False],
        [{"GET /fail": 1}, []],
    ]  # fmt: skip


def test_a_middleware_that_is_not_there_fails_as_it_does_without(told):
    assert told(PROGRAM + """
settings.MIDDLEWARE = ["nowhere.at_all"]
try:
    WSGIHandler()
except ImportError as exc:
    say([name for name in frames(exc) if name != "<module>"][:2])
    say("faultplane" in "".join(traceback.format_exception(exc)))
""") == [["__init__", "load_middleware"], False]  # fmt: skip


def test_handlers_that_are_made_at_the_same_time_are_all_observed(told):
    """Threads of a server may each make one; here it is made inside of another, at its start."""
    assert told(PROGRAM + """
from django.core.handlers import base
urlpatterns = [path("fail", fail)]
class Outer(WSGIHandler):
    def __setattr__(self, name, value):
        if name == "_view_middleware":  # what loading begins with
            WSGIHandler()
        super().__setattr__(name, value)
environ = {"PATH_INFO": "/fail"}
setup_testing_defaults(environ)
b"".join(Outer()(environ, lambda *answer: None))
say([counted(), base.settings is settings])
""") == [[{"GET /fail": 1}, True]]  # fmt: skip


def test_a_body_that_fails_while_it_is_streamed_has_the_same_traceback(told):
    assert told(PROGRAM + """
async def body():
    yield b"half"
    raise OSError("gone")
async def stream(request):
    return StreamingHttpResponse(body())
urlpatterns = [path("stream", stream)]
try:
    asyncio.run(asked("/stream"))
except OSError as exc:
    say(frames(exc).count("awrapper"))
say([counted(), in_flight()])
""") == [1, [{"GET /stream": 1}, []]]  # fmt: skip


def test_who_was_loaded_is_the_user_of_what_failed(told):
    assert told(PROGRAM + """
class User:
    is_authenticated = True
    def __init__(self, pk):
        self.pk = pk
def failing(attribute):
    def view(request):
        setattr(request, attribute, User(7))
        raise KeyError("x")
    return view
urlpatterns = [
    path("sync", failing("_cached_user")), path("async", failing("_acached_user")),
    path("nobody", failing("other")),
]
for name in ("sync", "async", "nobody"):
    served("/" + name)
sync, loaded_async, nobody = domain.records().to_pyarrow()["user"].to_pylist()
say([sync == loaded_async != 0, nobody])
""", FAULTPLANE_USER_KEY="sixteen bytes and more") == [[True, 0]]  # fmt: skip
