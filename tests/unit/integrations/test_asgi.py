"""The ASGI middleware, called as servers call it."""

from __future__ import annotations

PROGRAM = """
from faultplane.integrations.asgi import Middleware, operation_of

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    pass

def serve(application, **scope):
    scope = {"type": "http", "method": "GET", "path": "/orders/7", **scope}
    return Middleware(application)(scope, receive, send)

async def raises(awaitable):
    try:
        await awaitable
    except BaseException as exc:
        return [type(exc).__name__, *frames(exc)]

class Route:
    path = "/orders/{n}"
"""


def test_what_an_application_raises_is_recorded_and_leaves_no_frame_of_ours(told):
    assert told(PROGRAM + """
async def application(scope, receive, send):
    say(in_flight())
    scope["route"] = Route()
    await asyncio.sleep(0)
    raise KeyError("x")
say(asyncio.run(raises(serve(application))))
say([counted(), in_flight()])
""") == [
        ["GET /orders/7"],
        ["KeyError", "raises", "application"],
        [{"GET /orders/{n}": 1}, []],
    ]  # fmt: skip


def test_a_request_that_is_cancelled_is_no_error_and_no_longer_in_flight(told):
    assert told(PROGRAM + """
async def application(scope, receive, send):
    await asyncio.sleep(60)
async def main():
    task = asyncio.create_task(serve(application))
    await asyncio.sleep(0)
    say(in_flight())
    task.cancel()
    say((await raises(task))[0])
asyncio.run(main())
say([counted(), in_flight()])
""") == [["GET /orders/7"], "CancelledError", [{}, []]]  # fmt: skip


def test_websockets_are_named_and_the_lifespan_passes_through(told):
    assert told(PROGRAM + """
async def application(scope, receive, send):
    say(in_flight())
    raise RuntimeError("x")
say(asyncio.run(raises(serve(application, type="websocket", path="/feed")))[0])
say(asyncio.run(raises(serve(application, type="lifespan"))))
say(counted())
""") == [
        ["WEBSOCKET /feed"],
        "RuntimeError",
        [],
        ["RuntimeError", "raises", "__call__", "application"],
        {"WEBSOCKET": 1},
    ]  # fmt: skip


def test_requests_at_once_are_each_in_flight_under_their_own_name(told):
    assert told(PROGRAM + """
async def application(scope, receive, send):
    await asyncio.sleep(0.01)
    with fp.capture("inner"):
        await asyncio.sleep(0.01)
async def main():
    tasks = [asyncio.create_task(serve(application, path=f"/orders/{n}")) for n in range(3)]
    await asyncio.sleep(0.005)
    say(sorted(in_flight()))
    await asyncio.gather(*tasks)
    say(in_flight())
asyncio.run(main())
""") == [["GET /orders/0", "GET /orders/1", "GET /orders/2"], []]  # fmt: skip


def test_who_was_authenticated_is_the_user_of_what_failed(told):
    assert told(PROGRAM + """
class User:
    is_authenticated = True
    def __init__(self, name, identity=None):
        self.display_name = name
        self._identity = identity
    @property
    def identity(self):
        if self._identity is None:
            raise NotImplementedError
        return self._identity
class Nobody(User):
    is_authenticated = False
async def application(scope, receive, send):
    raise KeyError("x")
for user in (User("alice"), User("Alice", "alice"), User("bob"), Nobody("alice"), None, "alice"):
    asyncio.run(raises(serve(application, user=user)))
users = domain.records().to_pyarrow()["user"].to_pylist()
say([users[0] == users[1] != users[2], users[3:]])
""", FAULTPLANE_USER_KEY="sixteen bytes and more") == [[True, [0, 0, 0]]]  # fmt: skip


def test_an_operation_that_cannot_be_named_hides_no_error(told):
    assert told(PROGRAM + """
async def application(scope, receive, send):
    raise KeyError("x")
for operation in (lambda scope: scope["route"], lambda scope: None):
    scope = {"type": "http", "method": "PUT", "path": "/"}
    say(asyncio.run(raises(Middleware(application, operation)(scope, receive, send)))[0])
say([counted(), in_flight()])
""") == ["KeyError", "KeyError", [{"PUT": 2}, []]]  # fmt: skip


def test_a_scope_can_be_copied(told):
    assert told(PROGRAM + """
import copy
async def application(scope, receive, send):
    copied = copy.deepcopy(scope)
    say([copied["path"], sorted(copied) == sorted(scope), in_flight()])
asyncio.run(serve(application))
say([counted(), in_flight()])
""") == [["/orders/7", True, ["GET /orders/7"]], [{}, []]]  # fmt: skip
