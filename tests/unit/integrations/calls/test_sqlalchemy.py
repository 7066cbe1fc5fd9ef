"""Engines of SQLAlchemy that go through a dependency, of threads and of asyncio, for real."""

# ruff: noqa: E402 - the library may be missing

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sqlalchemy = pytest.importorskip("sqlalchemy")

from origin import closed_port
from postgres_server import PROGRAMS, SECONDS_MAX, Server
from redis_server import Line
from sqlalchemy import event, exc, text

import faultplane as fp
from faultplane.errors import BreakerOpen, InvalidSetting, LimitExceeded
from faultplane.integrations.sqlalchemy import guard_engine

NOW = fp.constant(0)
HANDLED = 1
RETRY = fp.Retry(attempts=3, backoff=NOW)


def needs(*modules: str) -> Any:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


class Threads:
    """An engine of threads, and what is done with it."""

    def __init__(self, url: str, **options: Any) -> None:
        self.engine = sqlalchemy.create_engine(url, **options)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What ``function(connection)`` gives, within a transaction."""
        try:
            with self.engine.begin() as connection:
                return function(connection, *args)
        finally:
            self.engine.dispose()


class Asyncio:
    """The same of asyncio."""

    def __init__(self, url: str, **options: Any) -> None:
        create = pytest.importorskip("sqlalchemy.ext.asyncio").create_async_engine
        self.engine = create(url, **options)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return asyncio.run(self.run_async(function, *args))

    async def run_async(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            async with self.engine.begin() as connection:
                return await connection.run_sync(function, *args)
        finally:
            await self.engine.dispose()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    if None in PROGRAMS:
        pytest.skip("needs PostgreSQL")
    with Server() as server:
        yield server


@pytest.fixture
def line(running: Server) -> Iterator[Line]:
    with Line(running) as one:
        yield one


@pytest.fixture(
    params=[
        pytest.param((Threads, "postgresql+psycopg"), marks=needs("psycopg"), id="psycopg"),
        pytest.param((Asyncio, "postgresql+asyncpg"), marks=needs("asyncpg"), id="asyncpg"),
    ]
)
def postgres(request: Any) -> Callable[..., Any]:
    """Function: an engine for PostgreSQL at a port."""
    kind, dialect = request.param

    def make(port: int, **options: Any) -> Any:
        return kind(f"{dialect}://shop@127.0.0.1:{port}/postgres", **options)

    return make


@pytest.fixture(
    params=[
        pytest.param((Threads, "sqlite"), id="sqlite"),
        pytest.param((Asyncio, "sqlite+aiosqlite"), marks=needs("aiosqlite"), id="aiosqlite"),
        pytest.param((Threads, "postgresql+psycopg"), marks=needs("psycopg"), id="psycopg"),
        pytest.param((Asyncio, "postgresql+asyncpg"), marks=needs("asyncpg"), id="asyncpg"),
    ]
)
def database(request: Any, tmp_path: Path) -> Any:
    """An engine of each kind."""
    kind, dialect = request.param
    if dialect.startswith("sqlite"):
        return kind(f"{dialect}:///{tmp_path}/shop.db")
    return kind(f"{dialect}://{request.getfixturevalue('running').url}")


def modules_of(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals["__name__"] for frame, _ in frames]


# ----------------------------------------------------------------------------------- statements


def test_a_statement_is_a_call_and_gives_what_it_gave(database, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    guard_engine(database.engine, dependency)

    def shop(connection: Any) -> Any:
        before = seen(dependency).calls
        connection.execute(text("create table if not exists shoes (n int)"))
        connection.execute(text("delete from shoes"))
        connection.execute(text("insert into shoes values (:n)"), [{"n": n} for n in range(3)])
        answer = connection.execute(text("select count(*) from shoes")).scalar()
        return answer, seen(dependency).calls - before, seen(dependency).permits

    assert database.run(shop) == (3, 4, 0)
    state = seen(dependency)
    assert (state.failures, state.permits, state.totals["retries"]) == (0, 0, 0)


def test_a_mistake_is_the_callers(database, name, seen, recorded):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(consecutive=1), limit=1)
    guard_engine(database.engine, dependency)
    with pytest.raises(exc.DBAPIError) as raised:
        database.run(lambda connection: connection.execute(text("select wrong")))
    assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
    state = seen(dependency)
    assert (state.state, state.failures, state.permits) == ("closed", 0, 0)
    assert recorded(name) == []


def test_a_statement_whose_answer_is_lost_is_a_failure_and_not_made_again(
    postgres, line, name, seen, recorded
):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    database = postgres(line.port)
    guard_engine(database.engine, dependency)

    def shop(connection: Any) -> None:
        connection.execute(text("select 1"))
        line.lose(1)
        with pytest.raises(exc.DBAPIError) as raised:
            connection.execute(text("select 2"))
        assert raised.value.__cause__ is not None
        assert not [one for one in modules_of(raised.value) if one.startswith("faultplane")]
        state = seen(dependency)
        assert (state.failures, state.permits, state.totals["retries"]) == (1, 0, 0)
        raise raised.value

    with pytest.raises(exc.DBAPIError):
        database.run(shop)
    with fp.init() as domain:
        (row,) = domain.records().rows(operation=name)
    assert (row["type"].rpartition(".")[0], row["attempt"]) == ("sqlalchemy.exc", 0)
    assert row["site"]
    assert not row["flags"] & HANDLED


def test_an_open_breaker_sends_no_statement_and_leaves_the_transaction(database, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1))
    guard_engine(database.engine, dependency)

    def shop(connection: Any) -> Any:
        connection.execute(text("create table if not exists shoes (n int)"))
        connection.execute(text("delete from shoes"))
        connection.execute(text("insert into shoes values (1)"))
        dependency.guard.begin().failed(TimeoutError("no answer"), True)
        with pytest.raises(BreakerOpen, match=name) as rejected:
            connection.execute(text("insert into shoes values (2)"))
        ours = [one for one in modules_of(rejected.value) if one.startswith("faultplane")]
        assert len(ours) <= 1
        with fp.testing.set_active(False):
            return connection.execute(text("select count(*) from shoes")).scalar()

    assert database.run(shop) == 1


def test_a_statement_holds_its_permit_until_it_is_executed(running, name, seen):
    pytest.importorskip("psycopg")
    dependency = fp.Dependency(name, limit=1)
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{running.url}")
    guard_engine(engine, dependency)
    engine.connect().close()
    with engine.connect() as holding, engine.connect() as asking:
        key = text("select pg_advisory_lock(7)")
        holding.execute(key)
        waiting = threading.Thread(target=lambda: asking.execute(key))
        waiting.start()
        while not seen(dependency).permits:
            pass
        with pytest.raises(LimitExceeded):
            holding.execute(text("select 1"))
        with fp.testing.set_active(False):
            holding.execute(text("select pg_advisory_unlock(7)"))
        waiting.join(SECONDS_MAX)
        assert holding.execute(text("select 1")).scalar() == 1
    engine.dispose()
    assert seen(dependency).permits == 0


def test_statements_of_asyncio_wait_for_a_permit_and_let_others_run(running, name, seen):
    pytest.importorskip("asyncpg")
    limit = fp.Bulkhead(1, wait_max=SECONDS_MAX)
    dependency = fp.Dependency(name, limit=limit)
    database = Asyncio(f"postgresql+asyncpg://{running.url}")
    guard_engine(database.engine, dependency)

    async def main() -> list[Any]:
        async def one(n: int) -> Any:
            async with database.engine.connect() as connection:
                statement = text(f"select {n} from pg_sleep(0.05)")
                return (await connection.execute(statement)).scalar()

        try:
            return await asyncio.gather(*[one(n) for n in range(4)])
        finally:
            await database.engine.dispose()

    assert asyncio.run(main()) == [0, 1, 2, 3]
    assert (seen(dependency).permits, seen(dependency).totals["full"]) == (0, 0)


def test_cancellation_leaves_nothing_behind(running, name, seen):
    pytest.importorskip("asyncpg")
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    database = Asyncio(f"postgresql+asyncpg://{running.url}")
    guard_engine(database.engine, dependency)

    async def main() -> None:
        asking = database.run_async(lambda one: one.execute(text("select pg_sleep(600)")))
        task = asyncio.create_task(asking)
        # Shared memory wakes nobody.
        while not (seen(dependency).calls and seen(dependency).permits):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    state = seen(dependency)
    assert (state.permits, state.failures, state.calls) == (0, 0, 1)


# ----------------------------------------------------------------------------------- connecting


class _Opening(fp.Dependency("clock").clock.__class__):  # type: ignore[misc]
    """A clock that opens a line while a retry waits."""

    def __init__(self, server: Server) -> None:
        self.server, self.port = server, closed_port()
        self.waits: list[float] = []
        self.line: Line | None = None

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.line = Line(self.server, self.port)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


def test_connecting_is_tried_again(postgres, running, name, seen, recorded):
    clock = _Opening(running)
    retry = fp.Retry(attempts=3, backoff=fp.constant(7))
    dependency = fp.Dependency(name, retry=retry, breaker=fp.Breaker(), limit=1, clock=clock)
    database = postgres(clock.port)
    guard_engine(database.engine, dependency)
    assert database.run(lambda one: one.execute(text("select 1")).scalar()) == 1
    assert clock.line is not None
    clock.line.__exit__()
    state = seen(dependency)
    assert (state.failures, state.totals["recovered"], state.permits) == (1, 1, 0)
    assert clock.waits == [7]
    assert [attempt for _, attempt in recorded(name)] == [0]


def test_connecting_is_tried_again_where_its_answer_is_lost(postgres, line, name, seen):
    dependency = fp.Dependency(name, retry=RETRY)
    database = postgres(line.port)
    guard_engine(database.engine, dependency)
    line.lose(1)
    assert database.run(lambda one: one.execute(text("select 1")).scalar()) == 1
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["recovered"]) == (1, 1, 1)


def test_what_connecting_raises_is_sqlalchemys(postgres, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker(), limit=1)
    database = postgres(closed_port())
    guard_engine(database.engine, dependency)
    plain = postgres(closed_port())
    raised = []
    for one in (database, plain):
        with pytest.raises((exc.DBAPIError, OSError)) as error:
            one.run(lambda connection: None)
        raised.append(error.value)
    assert type(raised[0]) is type(raised[1])
    assert not [one for one in modules_of(raised[0]) if one.startswith("faultplane")]
    totals = seen(dependency).totals
    assert (totals["failures"], totals["retries"], totals["gave_up"]) == (3, 2, 1)


def test_asyncio_waits_without_keeping_others_from_running(running, name):
    pytest.importorskip("asyncpg")
    retry = fp.Retry(attempts=3, backoff=fp.constant(0.05))
    database = Asyncio(f"postgresql+asyncpg://shop@127.0.0.1:{closed_port()}/postgres")
    guard_engine(database.engine, fp.Dependency(name, retry=retry))

    async def main() -> int:
        task = asyncio.create_task(database.run_async(lambda connection: None))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0.001)
        with suppress(exc.DBAPIError, OSError):
            await task
        return turns

    assert asyncio.run(main()) > 10


def test_an_open_breaker_makes_no_connection(postgres, line, name):
    dependency = fp.Dependency(name, breaker=fp.Breaker(consecutive=1))
    dependency.guard.begin().failed(TimeoutError("no answer"), True)
    database = postgres(line.port)
    guard_engine(database.engine, dependency)
    with pytest.raises(BreakerOpen, match=name):
        database.run(lambda connection: None)
    assert line.sent == 0


def test_past_its_deadline_nothing_is_sent_and_nobody_blamed(postgres, line, name, seen):
    dependency = fp.Dependency(name, retry=RETRY, breaker=fp.Breaker())
    database = postgres(line.port)
    guard_engine(database.engine, dependency)

    def shop(connection: Any) -> None:
        connection.execute(text("select 1"))
        before = seen(dependency).calls, line.sent
        with pytest.raises(exc.TimeoutError, match="no time is left"), fp.deadline(0):
            connection.execute(text("select 2"))
        assert (seen(dependency).calls, line.sent) == before

    database.run(shop)
    with pytest.raises(exc.TimeoutError, match="no time is left"), fp.deadline(0):
        database.run(lambda connection: None)
    assert seen(dependency).failures == 0


# --------------------------------------------------------------------------------- transactions


def test_a_transaction_is_made_again_as_a_whole_by_who_made_it(running, name, seen):
    pytest.importorskip("psycopg")
    database = fp.Dependency(name, breaker=fp.Breaker(consecutive=1), limit=2)
    again = fp.Dependency(f"{name}-whole", retry=fp.Retry(on=exc.OperationalError, backoff=NOW))
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg://{running.url}", isolation_level="SERIALIZABLE"
    )
    guard_engine(engine, database)
    with engine.begin() as connection:
        connection.execute(text("create table stock (shoe int)"))
        connection.execute(text("insert into stock values (12)"))
    others = iter([1, 0, 0])
    for attempt in again.attempts():
        with attempt, engine.begin() as connection:
            left = connection.execute(text("select shoe from stock")).scalar()
            if next(others):
                with engine.begin() as other:
                    other.execute(text("update stock set shoe = 11"))
            connection.execute(text("update stock set shoe = :n"), {"n": left - 1})
    with engine.begin() as connection:
        assert connection.execute(text("select shoe from stock")).scalar() == 10
        connection.execute(text("drop table stock"))
    engine.dispose()
    assert attempt.number == 2
    assert (seen(database).state, seen(database).failures) == ("closed", 0), "a conflict is none"


# ------------------------------------------------------------------------------------- arguments


def test_other_listeners_and_other_engines_stay_as_they_were(tmp_path, name, seen):
    dependency = fp.Dependency(name, breaker=fp.Breaker(), limit=1)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
    plain = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
    cursors: list[Any] = []

    @event.listens_for(engine, "before_cursor_execute")
    def keeps(connection: Any, cursor: Any, *_: Any) -> None:
        cursors.append(cursor)

    guard_engine(engine, dependency)

    @event.listens_for(engine, "before_cursor_execute")
    def raises(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "wrong" in statement:
            raise KeyError(statement)

    with engine.connect() as connection:
        with dependency, pytest.raises(LimitExceeded):
            connection.execute(text("select 1"))
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            cursors[-1].fetchone()
        with pytest.raises(KeyError):
            connection.execute(text("select wrong"))
        assert seen(dependency).permits == 0
        assert connection.execute(text("select 1")).scalar() == 1
    before = seen(dependency).calls
    with plain.connect() as connection:
        connection.execute(text("select 1"))
    assert seen(dependency).calls == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda one: guard_engine("sqlite://", one), "engine must be an Engine or AsyncEngine"),
        (lambda one: guard_engine(sqlalchemy.create_engine("sqlite://"), "x"), "be a Dependency"),
        (
            lambda one: guard_engine(
                sqlalchemy.create_engine("sqlite://"), fp.Dependency("x", timeout=1)
            ),
            "timeout cannot interrupt a driver",
        ),
        (
            lambda one: guard_engine(
                sqlalchemy.create_engine("sqlite://"), fp.Dependency("x", fallback=len)
            ),
            "answers for a function",
        ),
        (
            lambda one: guard_engine(
                sqlalchemy.create_engine("sqlite://"), fp.Dependency("x", hedge=1)
            ),
            "a hedge calls a coroutine",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(make, said, name):
    with pytest.raises(InvalidSetting, match=said):
        make(fp.Dependency(name))
