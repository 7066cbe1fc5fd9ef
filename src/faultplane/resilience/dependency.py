"""`Dependency`: one object for each thing that a service calls, with what is done when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar

from faultplane import control_schema as layout
from faultplane import schema
from faultplane._backend import core
from faultplane.classify import type_name
from faultplane.classify.evidence import shown
from faultplane.errors import (
    BreakerOpen,
    BudgetExhausted,
    InvalidName,
    InvalidSetting,
    LimitExceeded,
    RateLimited,
    Rejected,
)
from faultplane.resilience import adaptive, guarded, policy, testing_mode
from faultplane.resilience import deadline as deadlines
from faultplane.resilience.attempts import Attempts
from faultplane.resilience.bounds import Block
from faultplane.resilience.clock import SYSTEM, Clock
from faultplane.resilience.fallback import Fallback
from faultplane.resilience.health import Checked, Health, health_state
from faultplane.resilience.hedge import Hedge, Race
from faultplane.resilience.keys import Children
from faultplane.resilience.policy import Breaker, Bulkhead, RateLimit, Retry
from faultplane.resilience.sharing import Place
from faultplane.resilience.waits import fits, next_delay, wait_asked
from faultplane.store.control import state_name

P = ParamSpec("P")
R = TypeVar("R")

SCOPES: Final = ("host", "process")
UNKNOWN_RULE: Final = "default"
"""The rule of a classification that no rule has an answer for."""

# The guarded blocks that this thread or task is in, the innermost last.
_blocks: Final[ContextVar[tuple[Block, ...]]] = ContextVar("faultplane_guarded_blocks", default=())


class Asked:
    """What the core asks of a dependency's policies, where its numbers do not say it all."""

    open: Final = BreakerOpen
    full: Final = LimitExceeded
    rated: Final = RateLimited
    exhausted: Final = BudgetExhausted
    deadline: Final = deadlines.AT

    def __init__(self, place: Place, retry: Retry | None, clock: Clock, cell: Any) -> None:
        self._retry, self._clock, self._cell = retry or Retry(attempts=1), clock, cell
        self.reclaim = place.reclaim
        self.sleep = clock.sleep

    def delay(self, error: BaseException, answer: Any, attempt: int, previous: float) -> float:
        """Seconds to wait before the next try; less than 0 where there is to be none."""
        retry = self._retry
        if retry.asks is not None and not retry.asks(error):
            return -1.0
        if retry.learn is not None and not self._is_worth_it(error, answer):
            return -1.0
        wait = wait_asked(error, answer, self._clock.now(), retry.wait_max)
        if wait.stop:
            return -1.0
        seconds = next_delay(retry.backoff, attempt, previous, self._clock.random, wait)
        if retry.adaptive and wait.seconds is None:
            known = self._cell.retries_of_kind(answer.kind_code)
            seconds *= adaptive.delay_factor(*known, *self._cell.retry_micros())
        if not fits(seconds, deadlines.time_left()):
            return -1.0
        return seconds if testing_mode.current.waits else 0.0

    def reason(self, error: BaseException, answer: Any) -> int:
        """What the outcome of a retry after that error is counted for, as one word."""
        kind = answer.kind_code if self._retry.adaptive else 0
        tag = self._tag(error) if self._learns_of(answer) else 0
        return tag << layout.REASON_TYPE_SHIFT | kind

    def _learns_of(self, answer: Any) -> bool:
        """Whether experience decides on errors that are classified so."""
        learn = self._retry.learn
        return learn is not None and (
            answer.rule == UNKNOWN_RULE or (learn == "all" and answer.retryable)
        )

    def _is_worth_it(self, error: BaseException, answer: Any) -> bool:
        if not self._learns_of(answer):
            return bool(answer.retryable)
        helped, failed = self._cell.retries_of_type(self._tag(error))
        return adaptive.is_worth_it(helped, failed, self._clock.random)

    @staticmethod
    def _tag(error: BaseException) -> int:
        return layout.type_tag(type_name(type(error)))


class Dependency:
    """What a service calls, by name, and what is done when it fails.

    Every process of the host that declares a dependency of this ``name`` (1 to 255 bytes of UTF-8)
    shares its breaker, its retry budget and its limits, once `faultplane.init` has been called;
    with ``scope="process"``, or without a domain, they are the process's own. Where processes
    declare it differently, as while a new version is being rolled out, the newest declaration
    governs all of them, and the difference is counted.

    Each call is in flight while it runs: a death record names the dependency that a killed process
    was calling. Each failure is recorded once, with the number of its try.

    A decorator for functions, coroutine functions, generators and asynchronous generators; their
    signature stays what it was. Generators are tried once: what was yielded is not taken back.

    >>> from faultplane.resilience.backoff import constant
    >>> retry = Retry(attempts=3, backoff=constant(0))
    >>> pay = Dependency("payments", retry=retry, breaker=Breaker())
    >>> answers = iter([TimeoutError("no answer"), "paid"])
    >>> @pay
    ... def charge(order):
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> charge("A-17")
    'paid'

    Args:
        name: identity on the host.
        retry: `Retry`, or None: one try.
        breaker: `Breaker`, or None.
        limit: `Bulkhead`, or a whole number for one that does not wait, or None.
        rate: `RateLimit`, or calls a second for one that does not wait, or None.
        deadline: seconds that a call may take with all its retries (0.001 to 86,400), or None. No
            retry begins past it, what is called can ask `time_left`, and what is awaited is
            cancelled and raises TimeoutError.
        timeout: seconds that a try of a coroutine, or of ``async with``, may take, or None. Others
            cannot be interrupted: give their client a timeout.
        hedge: `Hedge`, or seconds after which a coroutine that has not answered is called once
            more, or None.
        fallback: `Fallback`, or a function that is given the error and the arguments of the call
            when it has failed for good or was rejected; what it returns is what the call returns.
        health: `Health`, or None: nobody checks.
        scope: "host" or "process".
        clock: for tests.

    Raises:
        InvalidSetting: a value out of bounds.
        InvalidName: a name that cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        limit: Bulkhead | int | None = None,
        rate: RateLimit | float | None = None,
        deadline: float | None = None,
        timeout: float | None = None,
        hedge: Hedge | float | None = None,
        fallback: Fallback | Callable[..., Any] | None = None,
        health: Health | None = None,
        scope: Literal["host", "process"] = "host",
        clock: Clock = SYSTEM,
    ) -> None:
        self.name = _checked_name(name)
        for what, value, wanted in (
            ("retry", retry, Retry), ("breaker", breaker, Breaker), ("health", health, Health),
        ):  # fmt: skip
            if value is not None and not isinstance(value, wanted):
                raise InvalidSetting(f"{what} must be a {wanted.__name__} or None, got {value!r}")
        bulkhead = Bulkhead(limit) if isinstance(limit, int) else limit
        if bulkhead is not None and not isinstance(bulkhead, Bulkhead):
            raise InvalidSetting(f"limit must be a Bulkhead, a number or None, got {limit!r}")
        if scope not in SCOPES:
            raise InvalidSetting(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
        if fallback is not None and not isinstance(fallback, Fallback):
            fallback = Fallback(fallback)
        if hedge is not None and not isinstance(hedge, Hedge):
            hedge = Hedge(hedge)
        self.retry, self.breaker, self.limit = retry, breaker, bulkhead
        if rate is not None and not isinstance(rate, RateLimit):
            rate = RateLimit(rate)
        self.rate: RateLimit | None = rate
        self.deadline = _seconds("deadline", deadline)
        self.timeout = _seconds("timeout", timeout)
        _check_probes(breaker, timeout=self.timeout, deadline=self.deadline)
        self.fallback: Fallback | None = fallback
        self.hedge: Hedge | None = hedge
        self.race = None if hedge is None else Race(self, hedge)
        self._health = health
        self.scope: Literal["host", "process"] = scope
        self.clock = clock
        self._place = Place(
            self.name,
            policy.config(retry, breaker, bulkhead, rate),
            self._declaration(),
            time.time_ns(),
            host=scope == "host",
        )
        self._children = Children(self._child)
        self._open: dict[Block, None] = {}
        self.checked = None if health is None else Checked(self, self._place, health)
        """Its health checks, for `HealthChecks`; None where there are none."""
        self.degraded = False
        """Whether the last call was answered by the fallback."""
        self.cell = core.Cell(self._place.attach)
        asked = Asked(self._place, retry, clock, self.cell)
        self.guard = core.Guard(self.cell, self.name, asked)
        self._configured = testing_mode.Configured(self._configure)
        self._configure()

    def _configure(self) -> None:
        """Hand the core what is guarded, as far as tests leave it."""
        mode, retry = testing_mode.current, self.retry
        attempts = retry.attempts if retry and mode.active else 1
        self.guard.configure(
            attempts=attempts if mode.attempts is None else min(attempts, mode.attempts),
            breaker=self.breaker is not None and mode.active,
            budget=retry is not None and retry.budget is not None and mode.active,
            limit=self.limit is not None and mode.active,
            rate=self.rate is not None and mode.active,
            asks=retry is not None
            and (not retry.backoff.is_zero or retry.asks is not None or retry.learn is not None),
            on=retry.caught if retry else None,
            learns=retry is not None and (retry.adaptive or retry.learn is not None),
        )

    def _declaration(self) -> str:
        """What is declared, as JSON of 700 bytes at most: what is left over is cut from the end."""
        values = {
            "retry": policy.described(self.retry),
            "breaker": policy.described(self.breaker),
            "limit": policy.described(self.limit),
            **({} if self.rate is None else {"rate": policy.described(self.rate)}),
            "deadline": self.deadline,
            "timeout": self.timeout,
            **({} if self.hedge is None else {"hedge": policy.described(self.hedge)}),
        }
        if self._health is not None:
            values["health"] = self._health.numbers
        for name in (None, "retry", "breaker"):
            if name is not None:
                values[name] = "too long to be shown"  # type: ignore[assignment]
            text = json.dumps(values, separators=(",", ":"))
            if len(text.encode()) <= layout.DECLARATION_BYTES_MAX:
                break
        return text

    # ------------------------------------------------------------------------------- calling

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Give ``function`` with each call of it guarded."""
        return guarded.decorated(self, function)  # type: ignore[no-any-return]

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function``, guarded. Raises InvalidSetting for what has to be awaited or read."""
        guarded.refuse_unrun(self, function)
        made = guarded.plain(self, function)
        try:
            return made(*args, **kwargs)  # type: ignore[no-any-return]
        except BaseException as error:
            guarded.without_frame(error)
            raise

    async def acall(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call ``function`` and await what it gives, guarded."""
        made = guarded.coroutine(self, function)
        try:
            return await made(*args, **kwargs)  # type: ignore[no-any-return]
        except BaseException as error:
            guarded.without_frame(error)
            raise

    def for_key(self, key: str) -> Dependency:
        """A dependency like this one for one host or tenant, named ``name[key]``.

        The same ``key`` gives the same one. A process keeps 1,024 of them at most; that which was
        asked for longest ago goes first, and what it shares with other processes stays. Keys have
        half of a domain's cells: past that, and for `scope="process"`, each process has its own.
        Raises InvalidName where the name would be longer than 255 bytes.

        >>> Dependency("payments").for_key("eu-1").name
        'payments[eu-1]'
        """
        if not isinstance(key, str):
            raise InvalidName(f"key must be text, got {shown(key):.200}")
        return self._children.get(key)

    def _child(self, key: str) -> Dependency:
        child = Dependency(
            f"{self.name}[{key}]",
            retry=self.retry,
            breaker=self.breaker,
            limit=self.limit,
            rate=self.rate,
            deadline=self.deadline,
            timeout=self.timeout,
            hedge=self.hedge,
            fallback=self.fallback,
            scope=self.scope,
            clock=self.clock,
        )
        child._place.keyed = True
        # Children come and go: what is declared is as old as what they are the children of.
        child._place.time_unix_nano = self._place.time_unix_nano
        return child

    @property
    def keys_dropped(self) -> int:
        """How many of `for_key` this process has dropped to make room for others."""
        return self._children.dropped

    def attempts(self) -> Attempts:
        """The tries of a block: ``for attempt in dependency.attempts(): with attempt: ...``.

        ``async for`` and ``async with`` the same. The block that ends well is the last; an error
        that is to be tried again is swallowed, any other leaves the loop. The deadline is of all
        tries together, from the first; with ``async with`` it cancels the block, and so does the
        timeout of a try, which raises InvalidSetting without. There is no fallback.
        """
        return Attempts(self)

    def __enter__(self) -> Self:
        """Begin a block that is guarded, tried once."""
        block = Block(self)
        block.enter()
        self._opened(block)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = None
        try:
            block = self._innermost()
            self._close(block)
        except BaseException:  # a signal handler's: what is left is not held for good
            self._close(block or self._innermost())
            raise
        block.leave(exc)

    async def __aenter__(self) -> Self:
        """Begin a block that is guarded, tried once, and cancelled when its time is over."""
        block = Block(self)
        await block.enter_async()
        self._opened(block)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = None
        try:
            block = self._innermost()
            self._close(block)
        except BaseException:  # a signal handler's: what is left is not held for good
            self._close(block or self._innermost())
            raise
        await block.leave_async(exc)

    def _opened(self, block: Block) -> None:
        try:
            # One that was left in another context would stay in this one.
            _blocks.set((*(one for one in _blocks.get() if one.is_open), block))
            self._open[block] = None
        except BaseException:  # a signal handler's: nobody leaves what was not entered
            self._close(block)
            raise

    def _innermost(self) -> Block:
        """The block that is left: the innermost of this thread or task, or one of another's.

        Generators with blocks take turns in one context, and a server that runs each step of one in
        a context of its own, as Starlette does, leaves a block elsewhere than it was entered.
        """
        for block in reversed(_blocks.get()):
            if block in self._open:
                return block
        if not self._open:
            raise RuntimeError(f"a block of {self.name} was left that was not entered")
        return next(reversed(self._open))

    def _close(self, block: Block) -> None:
        block.is_open = False
        self._open.pop(block, None)
        _blocks.set(tuple(one for one in _blocks.get() if one.is_open))

    # -------------------------------------------------------------------------------- looking

    @property
    def shared(self) -> bool:
        """Whether other processes of the host share it, as far as this one has used it."""
        return self._place.shared

    @property
    def problem(self) -> str:
        """Why nobody shares it, or what others did not hear of in time.

        "" where it is shared, was not used yet, or there is no domain.
        """
        if self._place.problem or not self.cell.unheard:
            return self._place.problem
        return (
            f"{self.cell.unheard} changes did not reach other processes in time: one of them "
            "held the lock of the cells"
        )

    @property
    def state(self) -> str:
        """State of the breaker, closed, open, half-open, forced-open, disabled or metrics-only."""
        return state_name(self.cell.state())

    @property
    def health(self) -> str:
        """What health checks of any process say: healthy, unhealthy or unknown.

        Unknown where none was made, or none for longer than three intervals.
        """
        self.cell.state()  # which gives the cell memory where it has none
        return health_state(self._place.health(), self._health)

    def is_failure(self, error: BaseException) -> bool:
        """Whether a fallback answers for it: a rejection, or what counts as a failure."""
        # By type(): isinstance() would ask the error for its __class__.
        return issubclass(type(error), Rejected) or core.classify(error).counts_as == "failure"

    def __repr__(self) -> str:
        return f"Dependency({self.name!r}, scope={self.scope!r})"


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidName(f"name must be printable text of 1 to 255 bytes, got {shown(name):.200}")
    if (size := len(name.encode("utf-8", "replace"))) > schema.NAME_BYTES_MAX:
        raise InvalidName(f"name must be at most {schema.NAME_BYTES_MAX} bytes, got {size}")
    return str(name)


def _seconds(name: str, value: float | None) -> float | None:
    return None if value is None else policy.number(name, value, 0.001, policy.SECONDS_MAX)


def _check_probes(breaker: Breaker | None, **bounds: float | None) -> None:
    """Refuse probes that are given up before they can have ended: the breaker would not close."""
    for what, seconds in bounds.items():
        if breaker is not None and seconds is not None and seconds >= breaker.probe_timeout:
            raise InvalidSetting(
                f"probe_timeout of the breaker must be more than {what}, {seconds:g}, got "
                f"{breaker.probe_timeout:g}"
            )
