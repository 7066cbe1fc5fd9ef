"""Django, as WSGI and as ASGI application."""

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

import faultplane as fp

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="of no use",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )
    django.setup()


def ok(request, n):
    return JsonResponse({"n": n})


def fail(request, n):
    raise KeyError(n)


async def fail_async(request, n):
    raise KeyError(n)


def refused(request, n):
    raise PermissionDenied


def stream(request, n):
    def body():
        yield b"half "
        raise OSError(n)

    return StreamingHttpResponse(body())


def inside(request, n):
    try:
        raise TimeoutError(n)
    except TimeoutError as error:
        fp.record(error, "inside")
    return JsonResponse({"n": n})


urlpatterns = [
    path("ok/<int:n>", ok),
    path("fail/<int:n>", fail),
    path("fail-async/<int:n>", fail_async),
    path("refused/<int:n>", refused),
    path("stream/<int:n>", stream),
    path("inside/<int:n>", inside),
]
application = WSGIHandler()
asgi_application = ASGIHandler()
