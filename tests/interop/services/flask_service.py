"""Flask."""

import flask
from werkzeug.exceptions import Forbidden

import faultplane as fp

application = flask.Flask("shop")


@application.get("/ok/<int:n>")
def ok(n):
    return {"n": n}


@application.get("/fail/<int:n>")
def fail(n):
    raise KeyError(n)


@application.get("/refused/<int:n>")
def refused(n):
    raise Forbidden


@application.get("/stream/<int:n>")
def stream(n):
    def body():
        yield b"half "
        raise OSError(n)

    return application.response_class(body())


@application.get("/inside/<int:n>")
def inside(n):
    try:
        raise TimeoutError(n)
    except TimeoutError as error:
        fp.record(error, "inside")
    return {"n": n}
