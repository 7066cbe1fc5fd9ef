"""redis: each command and each pipeline of a client goes through a `Dependency`.

>>> import redis
>>> import faultplane as fp
>>> from faultplane.integrations.redis import guard_client
>>> cache = fp.Dependency("cache", retry=fp.Retry(attempts=3), breaker=fp.Breaker())
>>> client = guard_client(redis.Redis(), cache)

The client is a `redis.Redis` or a `redis.asyncio.Redis` as before, however it was made. What is
raised is redis-py's own, or `BreakerOpen` and `LimitExceeded`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis import exceptions

import faultplane as fp
from faultplane.integrations.outgoing import (
    NO_FALLBACK,
    NO_HEDGE,
    failure_or_none,
    refuse,
    without_our_frames,
)

__all__ = ["READS", "guard_client"]

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)

READS: Final = frozenset({
    "BITCOUNT", "BITFIELD_RO", "BITPOS", "DBSIZE", "DUMP", "EVAL_RO", "EVALSHA_RO", "EXISTS",
    "EXPIRETIME", "FCALL_RO", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUS_RO",
    "GEORADIUSBYMEMBER_RO", "GEOSEARCH", "GET", "GETBIT", "GETRANGE", "HEXISTS", "HGET",
    "HGETALL", "HKEYS", "HLEN", "HMGET", "HRANDFIELD", "HSCAN", "HSTRLEN", "HVALS", "KEYS",
    "LCS", "LINDEX", "LLEN", "LPOS", "LRANGE", "MGET", "PEXPIRETIME", "PFCOUNT", "PING", "PTTL",
    "RANDOMKEY", "SCAN", "SCARD", "SDIFF", "SINTER", "SINTERCARD", "SISMEMBER", "SMEMBERS",
    "SMISMEMBER", "SORT_RO", "SRANDMEMBER", "SSCAN", "STRLEN", "SUBSTR", "SUNION", "TOUCH",
    "TTL", "TYPE", "XLEN", "XPENDING", "XRANGE", "XREAD", "XREVRANGE", "ZCARD", "ZCOUNT",
    "ZDIFF", "ZINTER", "ZINTERCARD", "ZLEXCOUNT", "ZMSCORE", "ZRANDMEMBER", "ZRANGE",
    "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE",
    "ZREVRANK", "ZSCAN", "ZSCORE", "ZUNION",
})  # fmt: skip
"""Commands that the server says change nothing (the flag ``readonly``), and PING."""

_REFUSED: Final = (exceptions.ResponseError, exceptions.BusyLoadingError)
"""What a server answers in place of a command that it does not carry out."""
_STACK: Final = "command_stack"
_OF_A_PIPELINE: Final = (_STACK, "scripts", "explicit_transaction")
"""What a pipeline forgets when it was executed."""


def guard_client(
    client: Client, dependency: fp.Dependency, *, commands: Collection[str] = READS
) -> Client:
    """Guard each command and each pipeline of ``client``, and give it back.

    A command is made again where the policy says so if it is among ``commands``, has not reached
    the server, or was refused by it, as while it loads its data. A pipeline is one call, made
    again if all of its commands may be, and it watches nothing. Publish and subscribe, and
    MONITOR, are not guarded.

    Threads cannot be interrupted: give ``socket_timeout`` to a client of theirs. Retries of
    redis-py multiply with these: ``retry=Retry(NoBackoff(), 0)``, as it is before redis-py 6.

    Raises InvalidSetting for another client, a dependency with a ``fallback`` or a ``hedge``, or
    with a ``timeout`` where the client is not asynchronous.
    """
    given: Any = client
    is_async = isinstance(given, redis.asyncio.Redis)
    if not (is_async or isinstance(given, redis.Redis)) or hasattr(given, _STACK):
        raise fp.errors.InvalidSetting(f"client must be a Redis, got {given!r}")
    refuse(dependency, fallback=NO_FALLBACK, hedge=NO_HEDGE)
    if not is_async:
        refuse(
            dependency, timeout="timeout cannot interrupt a thread: give the client socket_timeout"
        )
    if isinstance(commands, str):
        raise fp.errors.InvalidSetting(f"commands must be several, got {commands!r}")
    if isinstance(given, _Client):
        raise fp.errors.InvalidSetting(f"{given!r} is guarded already")
    guard = _AsyncGuard if is_async else _Guard
    given._faultplane = guard(dependency, frozenset(map(str.upper, commands)))  # noqa: SLF001
    kind: Any = type(given)
    given.__class__ = _guarded(kind, _Client)
    return client


@functools.lru_cache(maxsize=64)
def _guarded(kind: Any, part: Any) -> type:
    """A class like ``kind``, of its name, with what ``part`` overrides."""
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (part, kind), names)


class _Client:
    """What is overridden of a client."""

    _faultplane: _Guard

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """redis-py's: make a command, and give or await its answer."""
        make = super().execute_command  # type: ignore[misc]
        try:
            return self._faultplane.command(lambda: make(*args, **options), args)
        except BaseException as error:
            without_our_frames(error)
            raise

    def pipeline(self, *args: Any, **options: Any) -> Any:
        """redis-py's: a pipeline of this client's."""
        pipe = super().pipeline(*args, **options)  # type: ignore[misc]
        pipe._faultplane = self._faultplane  # noqa: SLF001 - of its own class, next
        kind: Any = type(pipe)
        pipe.__class__ = _guarded(kind, _Pipeline)
        return pipe


class _Pipeline:
    """What is overridden of a pipeline."""

    _faultplane: _Guard

    def execute(self, raise_on_error: bool = True) -> Any:
        """redis-py's: make all commands, and give or await their answers."""
        make = super().execute  # type: ignore[misc]
        kept = {name: getattr(self, name) for name in _OF_A_PIPELINE}

        def send() -> Any:
            vars(self).update(kept)
            return make(raise_on_error=raise_on_error)

        made = [args for args, _ in kept[_STACK]]
        if not made:
            return make(raise_on_error=raise_on_error)
        is_watching: bool = self.watching  # type: ignore[attr-defined]
        try:
            return self._faultplane.pipeline(send, [] if is_watching else made)
        except BaseException as error:
            without_our_frames(error)
            raise

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """redis-py's: make a command while keys are watched: it is tried once."""
        make = super().immediate_execute_command  # type: ignore[misc]
        try:
            return self._faultplane.pipeline(lambda: make(*args, **options), [])
        except BaseException as error:
            without_our_frames(error)
            raise


# -------------------------------------------------------------------------------------- guards


class _Guard:
    """How commands are made, of threads."""

    def __init__(self, dependency: fp.Dependency, commands: frozenset[str]) -> None:
        self.dependency, self.commands = dependency, commands

    def _is_repeatable(self, args: Any) -> bool:
        name = args[0] if args else ""
        return (name.decode() if isinstance(name, bytes) else str(name)).upper() in self.commands

    def command(self, make: Callable[[], Any], args: Any) -> Any:
        """Make one command."""
        return self.made(_Made(make, self._is_repeatable(args), is_one=True))

    def pipeline(self, make: Callable[[], Any], made: list[Any]) -> Any:
        """Make what is not one command: of several some may have been carried out."""
        may = bool(made) and all(map(self._is_repeatable, made))
        return self.made(_Made(make, may, is_one=False))

    def made(self, made: _Made) -> Any:
        """Make it, and give its answer."""
        _refuse_late()
        exchange: fp.Exchange[None, Any] = fp.Exchange(made.send, made.judge)
        answer, call = exchange.run(self.dependency, None, repeatable=made.is_repeatable)
        assert call is not None  # a fallback is refused
        call.succeeded()
        return answer


class _AsyncGuard(_Guard):
    """The same of asyncio."""

    async def made(self, made: _Made) -> Any:
        """Make it, and give its answer."""
        try:
            _refuse_late()
            exchange: fp.Exchange[None, Any] = fp.Exchange(made.send_async, made.judge)
            answer, call = await exchange.run_async(
                self.dependency, None, repeatable=made.is_repeatable
            )
        except BaseException as error:
            without_our_frames(error)
            raise
        assert call is not None  # a fallback is refused
        call.succeeded()
        return answer


class _Made:
    """A command or a pipeline, as often as it is sent."""

    __slots__ = ("_is_one", "_is_refused", "_make", "_may")

    def __init__(self, make: Callable[[], Any], may: bool, *, is_one: bool) -> None:
        self._make, self._may, self._is_one = make, may, is_one
        self._is_refused = False

    def send(self, _: None) -> Any:
        """Send it."""
        try:
            return self._make()
        except BaseException as error:
            self._is_refused = isinstance(error, _REFUSED)
            raise

    async def send_async(self, _: None) -> Any:
        """Send it, cancelled at the end of the time that there is."""
        try:
            async with asyncio.timeout(fp.time_left()):
                return await self._make()
        except BaseException as error:
            self._is_refused = isinstance(error, _REFUSED)
            raise

    def is_repeatable(self) -> bool:
        """Whether it may be sent again after what came of it."""
        return self._may or (self._is_one and self._is_refused)

    def judge(self, answer: Any) -> Exception | None:
        """The failure among the answers of a pipeline that was told not to raise it."""
        if not self._is_one and isinstance(answer, list):
            for one in answer:
                if isinstance(one, Exception) and (failure := failure_or_none(one)) is not None:
                    return failure
        return None


def _refuse_late() -> None:
    left = fp.time_left()
    if left is not None and left <= 0:
        raise exceptions.TimeoutError("no time is left for the command")
