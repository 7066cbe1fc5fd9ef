"""SQLAlchemy: connecting and each statement go through a `Dependency`, by the engine's events.

>>> import faultplane as fp
>>> from sqlalchemy import create_engine, text
>>> from faultplane.integrations.sqlalchemy import guard_engine
>>> engine = create_engine("sqlite://")
>>> guard_engine(engine, fp.Dependency("orders-db", retry=fp.Retry(), breaker=fp.Breaker()))
>>> with engine.connect() as connection:
...     connection.execute(text("select 1")).scalar()
1

Only connecting is tried again. A statement is not: it belongs to a transaction, which is gone with
its connection, after a deadlock and after a failed serialization, and whose first statements would
be missing. What can be made again is the whole of it, from ``begin`` to ``commit``: with
``attempts()`` of another dependency. Even then a commit whose answer is lost may have taken place.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, event, exc
from sqlalchemy.util import await_only

import faultplane as fp
from faultplane.integrations.outgoing import NO_FALLBACK, NO_HEDGE, refuse, without_our_frames

__all__ = ["guard_engine"]

_CALL: Final = "_faultplane_call"
"""Attribute of the context of a statement, which is one for each."""


def guard_engine(engine: Any, dependency: fp.Dependency) -> None:
    """Guard connecting and each statement of an ``Engine`` or ``AsyncEngine``.

    A rejection is raised where the statement would be sent; the connection stays what it was. A
    statement is under way until its cursor has executed it, without what is fetched after that. An
    event ``do_connect`` of yours that changes parameters comes first if it is registered first.
    COMMIT and ROLLBACK, and the pings of a pool, are not guarded.

    Drivers cannot be bounded from here: give them timeouts of their own (``connect_timeout``,
    ``statement_timeout``, ``socket_timeout``). ``deadline`` bounds connecting with its retries.

    Raises InvalidSetting for what is no engine, and a dependency with a ``timeout``, a
    ``fallback`` or a ``hedge``.
    """
    why = "timeout cannot interrupt a driver: give it one of its own"
    refuse(dependency, timeout=why, fallback=NO_FALLBACK, hedge=NO_HEDGE)
    plain = getattr(engine, "sync_engine", engine)
    if not isinstance(plain, Engine):
        raise fp.errors.InvalidSetting(f"engine must be an Engine or AsyncEngine, got {engine!r}")
    guarded = _Guarded(dependency)
    event.listen(plain, "do_connect", guarded.connect)
    event.listen(plain, "before_cursor_execute", guarded.begin)
    event.listen(plain, "after_cursor_execute", guarded.succeeded)
    event.listen(plain, "handle_error", guarded.failed)


class _Guarded:
    """The listeners."""

    def __init__(self, dependency: fp.Dependency) -> None:
        self.dependency = dependency

    def sleep_async(self, seconds: float) -> None:
        """Wait within a greenlet of SQLAlchemy's, which runs asynchronous drivers."""
        await_only(self.dependency.clock.sleep_async(seconds))

    def connect(self, dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        """Connect, as often as the policy says."""
        sleep = self.sleep_async if dialect.is_async else None
        exchange: fp.Exchange[None, Any] = fp.Exchange(
            lambda _: dialect.connect(*arguments, **parameters), sleep=sleep
        )
        try:
            _refuse_late()
            connection, call = exchange.run(self.dependency, None, repeatable=True)
        except BaseException as error:
            without_our_frames(error)
            raise
        assert call is not None
        call.succeeded()
        return connection

    def begin(
        self,
        connection: Any,
        cursor: Any,
        statement: Any,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        """A statement is about to be executed."""
        sleep = self.sleep_async if connection.dialect.is_async else None
        exchange: fp.Exchange[Any, Any] = fp.Exchange(lambda _: None, sleep=sleep)
        try:
            _refuse_late()
            call = exchange.begin(self.dependency)
        except BaseException as error:
            cursor.close()  # which nobody gets
            without_our_frames(error)
            raise
        setattr(context, _CALL, call)

    def succeeded(
        self,
        connection: Any,
        cursor: Any,
        statement: Any,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        """It was executed."""
        call = getattr(context, _CALL, None)
        if call is not None:
            setattr(context, _CALL, None)
            call.succeeded()

    def failed(self, failure: Any) -> None:
        """Something failed: a statement that is under way, or what is none of this one's."""
        context = failure.execution_context
        call = getattr(context, _CALL, None)
        if call is None:
            return
        setattr(context, _CALL, None)
        cause = failure.original_exception
        error = failure.sqlalchemy_exception
        if error is None:
            error = cause
        else:
            # As SQLAlchemy raises it next: what is recorded is told by where it comes from.
            error = error.with_traceback(cause.__traceback__)
            error.__cause__ = cause
        call.failed(error, last=True)


def _refuse_late() -> None:
    left = fp.time_left()
    if left is not None and left <= 0:
        raise exc.TimeoutError("no time is left for the database")
