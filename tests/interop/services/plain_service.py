"""No framework: WSGI and ASGI with faultplane's middleware around them."""

import faultplane as fp
from faultplane.integrations import asgi, wsgi


def answer(path):
    """(Status, body) for a path; a body that is a generator fails."""
    _, what, n = path.split("/")
    if what == "ok":
        return 200, b'{"n": %d}' % int(n)
    if what == "fail":
        raise KeyError(int(n))
    if what == "refused":
        return 403, b"no"
    if what == "inside":
        try:
            raise TimeoutError(n)
        except TimeoutError as error:
            fp.record(error, "inside")
        return 200, b"{}"
    return 404, b"what"


def serve(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/stream/"):
        start_response("200 OK", [("Content-Type", "text/plain")])

        def body():
            yield b"half "
            raise OSError(path)

        return body()
    status, text = answer(path)
    start_response(f"{status} Well", [("Content-Length", str(len(text)))])
    return [text]


async def serve_async(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    streams = path.startswith("/stream/")
    status, text = (200, b"half ") if streams else answer(path)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": text, "more_body": streams})
    if streams:
        raise OSError(path)


application = wsgi.Middleware(serve, lambda environ: environ["PATH_INFO"].split("/")[1])
asgi_application = asgi.Middleware(serve_async, lambda scope: scope["path"].split("/")[1])
