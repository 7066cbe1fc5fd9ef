"""redis-py's clients that go through a dependency, of threads and of asyncio, on a real server."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

redis = pytest.importorskip("redis")
aio = pytest.importorskip("redis.asyncio")

from origin import closed_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_server import PROGRAM, SECONDS_MAX, Line, Server

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded
from faultplane.integrations.redis import READS, guard_client

NOW = fp.constant(0)
RETRY = fp.Retry(attempts=3, backoff=NOW)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs redis-server")


@pytest.fixture(scope="module")
def running(tmp_path_factory: Any) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def plain(running: Server) -> Iterator[Any]:
    """A client that nothing guards; the server is empty, and no replica."""
    with redis.Redis(port=running.port) as client:
        client.flushall()
        yield client
        client.replicaof("NO", "ONE")


@pytest.fixture
def line(running: Server, plain: Any) -> Iterator[Line]:
    with Line(running) as one:
        yield one


OFF: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": SECONDS_MAX}
if int(redis.__version__.partition(".")[0]) >= 5:
    OFF["lib_name"] = OFF["lib_version"] = None  # else they are sent when it connects
# Python 3.11 may lose a cancellation in asyncio.wait_for(), which this timeout has redis-py use.
OFF_ASYNC: dict[str, Any] = {**OFF, "retry": None, "socket_timeout": None}


class Threads:
    """A client of threads."""

    is_async = False

    def ask(self, dependency: Any, port: int, *args: Any, **options: Any) -> Any:
        """What a command gives."""
        with guard_client(redis.Redis(port=port, **OFF), dependency, **options) as client:
            return client.execute_command(*args)

    def pipe(self, dependency: Any, port: int, *commands: Any, **options: Any) -> Any:
        """What a pipeline gives."""
        execute = {"raise_on_error": options.pop("raise_on_error", True)}
        with guard_client(redis.Redis(port=port, **OFF), dependency) as client:
            pipe = client.pipeline(**options)
            for args in commands:
                pipe.execute_command(*args)
            return pipe.execute(**execute)


class Asyncio:
    """A client of asyncio."""

    is_async = True

    def ask(self, *args: Any, **options: Any) -> Any:
        return asyncio.run(self.ask_async(*args, **options))

    async def ask_async(self, dependency: Any, port: int, *args: Any, **options: Any) -> Any:
        plain = aio.Redis(port=port, **OFF_ASYNC)
        async with guard_client(plain, dependency, **options) as client:
            return await client.execute_command(*args)

    def pipe(self, *args: Any, **options: Any) -> Any:
        return asyncio.run(self.pipe_async(*args, **options))

    async def pipe_async(self, dependency: Any, port: int, *commands: Any, **options: Any) -> Any:
        execute = {"raise_on_error": options.pop("raise_on_error", True)}
        plain = aio.Redis(port=port, **OFF_ASYNC)
        async with guard_client(plain, dependency) as client:
            pipe = client.pipeline(**options)
            for args in commands:
                pipe.execute_command(*args)
            return await pipe.execute(**execute)


@pytest.fixture(params=[Threads, Asyncio])
def client(request: Any) -> Any:
    """Both kinds of client."""
    return request.param()


def modules_of(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals["__name__"] for frame, _ in frames]


# -------------------------------------------------------------------------------------- retries


def test_a_read_whose_answer_is_lost_is_made_again(client, line, plain, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    plain.set("shoe", 12)
    line.lose(2)
    assert client.ask(dependency, line.port, "GET", "shoe") == b"12"
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits) == (3, 2, 0)
    assert (state.totals["recovered"], line.sent) == (1, 3)
    assert recorded(name) == [("redis.exceptions.ConnectionError", n) for n in (0, 1)]


def test_a_write_is_made_again_if_it_is_said_that_it_may(client, line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    line.lose(1)
    with pytest.raises(redis.ConnectionError):
        client.ask(dependency, line.port, "INCR", "sold")
    assert (plain.get("sold"), seen(dependency).totals["retries"]) == (b"1", 0)
    line.lose(1)
    answer = client.ask(dependency, line.port, b"INCR", "sold", commands={*READS, "incr"})
    assert (answer, plain.get("sold")) == (3, b"3")


def test_a_command_that_has_not_reached_the_server_is_made_again(client, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    with pytest.raises(redis.ConnectionError, match="connecting"):
        client.ask(dependency, closed_port(), "INCR", "sold")
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["gave_up"]) == (3, 2, 1)


def test_a_write_that_the_server_refused_is_made_again(
    client, running, plain, name, waits, recorded
):
    retry = fp.Retry(attempts=2, backoff=fp.constant(7))
    dependency = fp.Dependency(name, retry=retry, clock=waits)
    plain.replicaof("127.0.0.1", closed_port())
    with pytest.raises(redis.exceptions.ReadOnlyError):
        client.ask(dependency, running.port, "SET", "shoe", "12")
    assert waits.waits == [7]
    assert recorded(name) == [("redis.exceptions.ReadOnlyError", n) for n in (0, 1)]
    with pytest.raises(redis.exceptions.ReadOnlyError):
        client.pipe(dependency, running.port, ("SET", "shoe", "12"), transaction=False)
    assert waits.waits == [7], "of several some may have been carried out"


@pytest.mark.parametrize("lost", [True, False])
def test_what_is_raised_is_redis_pys_own(client, lost, line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    plain.rpush("shoes", "left")
    line.lose(9 if lost else 0)
    with pytest.raises(redis.RedisError) as raised:
        client.ask(dependency, line.port, "GET", "shoes")
    wanted = redis.ConnectionError if lost else redis.ResponseError
    assert type(raised.value) is wanted
    assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
    assert modules_of(raised.value)[-1].startswith("redis")
    # A wrong type is the caller's doing.
    assert seen(dependency).failures == (3 if lost else 0)


# ------------------------------------------------------------------------------------ pipelines


@pytest.mark.parametrize("transaction", [True, False])
def test_a_pipeline_of_reads_is_made_again_as_a_whole(
    client, transaction, line, plain, name, seen, recorded
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    plain.mset({"shoe": 12, "sock": 3})
    line.lose(2)
    reads = [("GET", "shoe"), ("GET", "sock"), ("EXISTS", "hat")]
    answers = client.pipe(dependency, line.port, *reads, transaction=transaction)
    assert answers == [b"12", b"3", 0]
    state = seen(dependency)
    assert (state.calls, state.failures, state.permits, line.sent) == (3, 2, 0, 3)
    assert [attempt for _, attempt in recorded(name)] == [0, 1]


def test_a_pipeline_with_a_write_is_tried_once(client, line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    line.lose(1)
    with pytest.raises(redis.ConnectionError):
        client.pipe(dependency, line.port, ("GET", "shoe"), ("INCR", "sold"))
    assert (plain.get("sold"), seen(dependency).totals["retries"]) == (b"1", 0)


class _Opening(fp.Dependency("clock").clock.__class__):  # type: ignore[misc]
    """A clock that opens a line while a retry waits."""

    def __init__(self, server: Server) -> None:
        self.server, self.port = server, closed_port()
        self.line: Line | None = None

    def sleep(self, seconds: float) -> None:
        self.line = Line(self.server, self.port)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


def test_a_pipeline_that_has_not_reached_the_server_is_made_again(client, running, plain, name):
    clock = _Opening(running)
    retry = fp.Retry(attempts=2, backoff=fp.constant(1))
    dependency = fp.Dependency(name, retry=retry, clock=clock)
    answers = client.pipe(dependency, clock.port, ("INCR", "sold"), ("GET", "sold"))
    assert answers == [1, b"1"]
    assert clock.line is not None
    with clock.line as line:
        assert line.sent == 1


def test_a_failure_that_a_pipeline_gives_is_told_to_the_breaker(
    client, running, plain, name, seen, recorded
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    plain.set("shoe", 12)
    plain.config_set("replica-serve-stale-data", "no")
    try:
        plain.replicaof("127.0.0.1", closed_port())
        options = {"transaction": False, "raise_on_error": False}
        (answer,) = client.pipe(dependency, running.port, ("GET", "shoe"), **options)
    finally:
        plain.config_set("replica-serve-stale-data", "yes")
    assert "Link with MASTER is down" in str(answer)
    assert (seen(dependency).calls, seen(dependency).failures) == (3, 3)
    assert len(recorded(name)) == 3
    mistake = ("LPUSH", "shoe", "left")
    plain.replicaof("NO", "ONE")
    plain.set("shoe", 12)
    (answer,) = client.pipe(dependency, running.port, mistake, **options)
    assert type(answer) is redis.ResponseError, "a control: the caller's doing"
    assert seen(dependency).failures == 3


def test_a_transaction_that_watches_is_tried_once_and_a_conflict_is_no_failure(
    running, plain, name, seen
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    conflicts = iter([True, False])

    def sell(pipe: Any) -> None:
        left = int(pipe.get("shoe"))
        if next(conflicts):
            plain.incr("shoe")
        pipe.multi()
        pipe.set("shoe", left - 1)

    plain.set("shoe", 12)
    with guard_client(redis.Redis(port=running.port), dependency) as client:
        assert client.transaction(sell, "shoe") == [True]
    assert plain.get("shoe") == b"12"
    state = seen(dependency)
    assert (state.failures, state.totals["retries"], state.permits) == (0, 0, 0)
    assert state.calls == 6  # WATCH, GET and EXEC, twice


def test_what_was_watched_is_not_forgotten(line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    client = guard_client(redis.Redis(port=line.port, **OFF), dependency)
    with client, client.pipeline() as pipe:
        pipe.watch("shoe")
        pipe.multi()
        pipe.get("shoe")
        line.lose(1)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert seen(dependency).totals["retries"] == 0


# --------------------------------------------------------------------------- breaker and limits


def test_an_open_breaker_makes_no_command(client, line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(consecutive=1))
    line.lose(1)
    with pytest.raises(redis.ConnectionError):
        client.ask(dependency, line.port, "GET", "shoe")
    assert (seen(dependency).state, line.sent) == ("open", 1)
    for ask in (client.ask, client.pipe):
        with pytest.raises(BreakerOpen, match=name):
            ask(dependency, line.port, *(["GET", "shoe"] if ask == client.ask else [("PING",)]))
    assert line.sent == 1


def test_a_command_holds_its_permit_until_it_is_answered(line, plain, name, seen):
    dependency = fp.Dependency(name, limit=1)
    given: list[Any] = []
    with guard_client(redis.Redis(port=line.port, **OFF), dependency) as client:
        thread = threading.Thread(target=lambda: given.append(client.blpop("shoes")))
        thread.start()
        assert line.arrived.acquire(timeout=SECONDS_MAX)
        with pytest.raises(LimitExceeded):
            client.get("shoe")
        plain.rpush("shoes", "left")
        thread.join(SECONDS_MAX)
        assert given == [(b"shoes", b"left")]
        assert (client.get("shoe"), seen(dependency).permits) == (None, 0)


# ------------------------------------------------------------------------------------------ time


def test_past_its_deadline_nothing_is_sent_and_nobody_blamed(client, line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    client.ask(dependency, line.port, "PING")
    with pytest.raises(redis.TimeoutError, match="no time"), fp.deadline(0):
        client.ask(dependency, line.port, "PING")
    assert (seen(dependency).calls, seen(dependency).failures, line.sent) == (1, 0, 1)


@pytest.mark.parametrize("bound", ["timeout", "deadline", "time_left"])
def test_asyncio_ends_a_command_when_its_time_is_over(bound, line, plain, name, seen):
    policies: dict[str, Any] = {} if bound == "time_left" else {bound: 0.1}
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1, **policies)
    raised = pytest.raises(TimeoutError)
    with raised, fp.deadline(0.1 if bound == "time_left" else SECONDS_MAX):
        Asyncio().ask(dependency, line.port, "BLPOP", "shoes", 0)
    state = seen(dependency)
    assert (state.permits, state.failures) == (0, 0 if bound == "deadline" else 1)


def test_cancellation_leaves_nothing_behind(line, plain, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)

    async def main() -> None:
        plain = aio.Redis(port=line.port, **OFF_ASYNC)
        async with guard_client(plain, dependency) as client:
            await client.ping()
            assert line.arrived.acquire(timeout=SECONDS_MAX)
            task = asyncio.create_task(client.blpop("shoes"))
            assert await asyncio.to_thread(line.arrived.acquire, timeout=SECONDS_MAX)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen(dependency).permits == 0
            assert await client.ping()

    asyncio.run(main())
    state = seen(dependency)
    assert (state.permits, state.failures, state.calls) == (0, 0, 2)


# ------------------------------------------------------------------------------------- arguments


def test_a_client_stays_what_it_was(running, plain, name):
    before = redis.Redis.from_url(running.url, decode_responses=True)
    shown = repr(before)
    with guard_client(before, fp.Dependency(name)) as client:
        assert client is before
        assert (repr(client), type(client).__name__) == (shown, "Redis")
        assert client.set("shoe", 12)
        assert client.get("shoe") == "12"
        assert client.register_script("return ARGV[1]")(args=["left"]) == "left"
        assert client.pipeline().get("shoe").execute() == ["12"]
        assert len(client.pipeline().get("shoe")) == 1
        with client.lock("till", timeout=10):
            assert client.exists("till")
        with client.pubsub() as channel:
            channel.subscribe("news")
            assert channel.get_message(timeout=SECONDS_MAX)["type"] == "subscribe"
    with redis.Redis(port=running.port) as other:
        assert type(other) is redis.Redis
        with pytest.raises(InvalidSetting, match="must be a Redis"):
            guard_client(other.pipeline(), fp.Dependency(name))


def test_what_is_taken_for_a_read_the_server_takes_for_one(plain):
    told = plain.command()
    known = {name.upper() for name, said in told.items() if "readonly" in map(str, said["flags"])}
    assert READS - {"PING"} <= known
    assert "SET" not in known, "a control"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda one: guard_client("redis", one), "client must be a Redis, got 'redis'"),
        (lambda one: guard_client(redis.Redis(), "x"), "dependency must be a Dependency"),
        (lambda one: guard_client(redis.Redis(), one, commands="GET"), "commands must be several"),
        (
            lambda one: guard_client(redis.Redis(), fp.Dependency("x", timeout=1)),
            "give the client socket_timeout",
        ),
        (
            lambda one: guard_client(redis.Redis(), fp.Dependency("x", fallback=len)),
            "answers for a function",
        ),
        (
            lambda one: guard_client(redis.Redis(), fp.Dependency("x", hedge=1)),
            "a hedge calls a coroutine",
        ),
        (lambda one: guard_client(guard_client(redis.Redis(), one), one), "guarded already"),
    ],
)
def test_what_cannot_be_used_is_refused(make, said, name):
    with pytest.raises(InvalidSetting, match=said):
        make(fp.Dependency(name))
