"""Guarded calls: a try is let through, is in flight, and what came of it is told."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Self

from faultplane.control_schema import TICKET_UNCOUNTED, TOTALS
from faultplane.errors import Rejected

from .block import innermost, leave, take
from .control import FULL, REJECTED, Cell
from .control_memory import Unheard
from .message import utf8_of
from .record import classify, record, seen
from .recorder import state as recorder

__all__ = ["Call", "Guard", "Guarded"]

ATTEMPT_MAX: Final = 0xFFFF
"""What a record can say."""
RECLAIM_SECONDS: Final = 0.02
"""The dead are looked for so often at most, by each process."""
_TOTAL: Final = {name: index for index, name in enumerate(TOTALS)}
_parent: Final = innermost.get
_nano: Final = time.monotonic_ns
_traceback_of: Final = BaseException.__dict__["__traceback__"].__get__
# Python's own alone: a class of somebody else's may say that it is in their module.
_SILENT_TYPES: Final = frozenset(
    kind for kind in vars(builtins).values()
    if type(kind) is type and issubclass(kind, BaseException)
    and not issubclass(kind, BaseExceptionGroup)
)  # fmt: skip


class Guard:
    """The numbers of a dependency's policies, and the cell that its processes share.

    ``policy`` is asked where these do not say it all: ``policy.delay(error, answer, attempt,
    previous)`` gives the seconds to wait before the next try, less than 0 for none,
    ``policy.sleep(seconds)`` waits, ``policy.reclaim(cell)`` looks for the dead, and
    ``policy.open``, ``policy.full``, ``policy.rated`` and ``policy.exhausted`` are the types that a
    rejection raises, made of the operation and the seconds to wait. ``policy.deadline`` is the
    context variable that says when all must have ended, None = never. ``policy.reason(error,
    answer)`` is the word that the outcome of a retry is counted for (`Cell.retried`).
    """

    def __init__(self, cell: Cell, operation: str, policy: Any) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a Cell, got {type(cell).__name__}")
        if not isinstance(operation, str):
            raise TypeError(f"operation must be a str, got {type(operation).__name__}")
        self.cell, self.operation, self.policy = cell, operation, policy
        self._text = utf8_of(operation)
        self._attempts = 1
        self._breaker = self._budget = self._limit = self._rate = self._asks = False
        self._learns = False
        self._on: tuple[type[BaseException], ...] | None = None
        self._reclaim_at = 0.0

    def configure(
        self,
        *,
        attempts: int,
        breaker: bool,
        budget: bool,
        limit: bool,
        asks: bool,
        on: tuple[type[BaseException], ...] | None = None,
        learns: bool = False,
        rate: bool = False,
    ) -> None:
        """Say what is guarded and how.

        ``attempts`` tries at most, 1 to 65,535; a ``breaker``, a ``budget``, a ``limit`` and a
        ``rate`` there are or not; ``asks`` has the policy say how long to wait before each retry,
        else it is asked only after errors that may say it themselves, and there is no wait after
        others; ``on`` the types of exception that are tried again, None = those whose
        classification is retryable; ``learns`` has what comes of retries counted. Raises ValueError
        for a number out of bounds.
        """
        if not 1 <= attempts <= ATTEMPT_MAX:
            raise ValueError(f"attempts must be 1 to {ATTEMPT_MAX}, got {attempts}")
        self._attempts = attempts
        self._breaker, self._budget, self._limit, self._rate = breaker, budget, limit, rate
        self._asks, self._on = asks, on
        self._learns = learns

    def begin(self, attempt: int = 1, look: bool = False) -> Call:
        """Let a call begin; what it is told of is the `Call` that this gives.

        ``attempt``: the number of its try, 1 to 65,535, where those before it were made elsewhere.
        ``look``: whoever asks waits for a permit, and that there is none is not counted as full.
        Raises what the policy rejects with, if it is not to be made.
        """
        if not 1 <= attempt <= ATTEMPT_MAX:
            raise ValueError(f"attempt must be 1 to {ATTEMPT_MAX}, got {attempt}")
        call = Call(self)
        call.attempt = attempt
        self._begin(call, look=look)
        return call

    def wrap(self, function: Callable[..., Any]) -> Guarded:
        """Give ``function`` with each call of it guarded."""
        return Guarded(self, function)

    # ----------------------------------------------------------------------------- one try

    def _begin(self, call: Call, *, look: bool = False) -> None:
        cell = self.cell
        call.permit, ticket = False, REJECTED
        if not (self._limit or self._rate):
            brings = self._budget and call.attempt == 1
            ticket = cell._let_through(brings=brings)  # noqa: SLF001 - as below: of one core
        if ticket < 0:
            ticket = self._let_through(call, look)
        call.ticket = ticket if self._breaker else TICKET_UNCOUNTED
        call.epoch, call.under_way = cell.epoch, True
        call.start_nano = _nano()
        call.token = take(self._text, _parent())

    def _let_through(self, call: Call, look: bool) -> int:
        """The ticket of a call that something may be in the way of; raises what it is rejected."""
        cell, ticket = self.cell, TICKET_UNCOUNTED
        if self._breaker:
            ticket = cell._ask(None, (REJECTED,))  # noqa: SLF001 - what is full may have room yet
            if ticket == FULL:
                if self._look_for_dead():
                    ticket = cell.admit()
                else:
                    cell.total(_TOTAL["rejected"])
            if ticket < 0:
                raise self.policy.open(self.operation, cell.wait_ms() / 1000)
        if self._rate and not cell.rate_take():
            cell.unmade(ticket)
            if not look:
                cell.total(_TOTAL["rate_limited"])
            raise self.policy.rated(self.operation, cell.rate_wait_ms() / 1000)
        if self._limit:
            ticket = self._take(call, ticket, look)
        if self._budget and call.attempt == 1:
            cell.deposit()
        return ticket

    def _take(self, call: Call, ticket: int, look: bool) -> int:
        """Take a permit, or have the try rejected; the ticket that it then has."""
        cell, epoch = self.cell, self.cell.epoch
        goes_without = False
        try:
            call.permit = cell.take() or (self._look_for_dead() and cell.take())
        except Unheard:
            goes_without = True  # as if nobody shared it
        finally:
            if cell.epoch != epoch:
                # Forked, or gone to another domain, since it was let through: that was not here.
                ticket = TICKET_UNCOUNTED
            if not call.permit and not goes_without:
                cell.unmade(ticket)
        if not call.permit and not goes_without:
            if not look:
                cell.total(_TOTAL["full"])
            if self._rate:
                cell.rate_give()
            raise self.policy.full(self.operation, 0.0)
        return ticket

    def _look_for_dead(self) -> bool:
        """Have the store look whose owners died holding something; whether anything came back."""
        at = time.monotonic()
        if at < self._reclaim_at:
            return False
        self._reclaim_at = at + RECLAIM_SECONDS
        return bool(self.policy.reclaim(self.cell))

    def _is_here(self, call: Call) -> bool:
        """Whether the cell is still the one that the try began in: not after a fork, for one."""
        return call.epoch == recorder.place_epoch and bool(recorder.image[0])

    def _over(self, call: Call) -> bool:
        """It runs no longer: slot and permit are others'. Whether the cell is still its own."""
        call.under_way = False
        leave(call.token)
        here = self._is_here(call)
        if here and call.permit:
            self.cell.give()
        return here

    def _succeeded(self, call: Call) -> None:
        if not self._over(call):
            return
        if call.attempt > 1:
            self.cell.total(_TOTAL["recovered"])
            self._learn(call, helped=True)
        if call.ticket != TICKET_UNCOUNTED:
            self.cell._went_well(call.ticket, call.start_nano)  # noqa: SLF001

    def _learn(self, call: Call, *, helped: bool) -> None:
        """Count what came of a retry for what it was made for."""
        if self._learns and call.reason:
            micros = (_nano() - call.start_nano) // 1000 + 1 if helped else 0
            self.cell.retried(call.reason, helped, micros)

    def _is_slow(self, call: Call) -> bool:
        bound = self.cell.slow_call_nano
        return bound != 0 and _nano() - call.start_nano > bound

    def _ignored(self, call: Call) -> None:
        if call.under_way and self._over(call):
            self.cell.ignored(call.ticket)

    def _failed(self, call: Call, error: BaseException, last: bool = False) -> float:
        """Tell what came of a try; the seconds until the next, less than 0 where there is none."""
        kind = type(error)
        ends = (StopIteration, StopAsyncIteration)
        if not issubclass(kind, Exception) or issubclass(kind, ends):
            self._ignored(call)
            return -1.0
        if not call.under_way:
            return -1.0
        duration_nano = _nano() - call.start_nano
        answer = classify(error)
        counts = answer.counts_as == "failure"
        if answer.counts_as == "ignored":
            self._ignored(call)
        elif self._over(call):
            asked_ms = int((answer.retry_after or 0) * 1000 + 0.5)
            self.cell.ended(call.ticket, counts, self._is_slow(call), None, asked_ms)
            if call.attempt > 1:
                self._learn(call, helped=not counts)
        wait = -1.0 if last else self._next_wait(call, error, answer)
        if counts and not seen(error):
            record(error, self.operation, call.attempt - 1, duration_nano, None, wait >= 0)
        return wait

    def _next_wait(self, call: Call, error: BaseException, answer: Any) -> float:
        """Seconds until the next try; a token is held for it then."""
        if self._attempts == 1:
            return -1.0
        if not (answer.retryable if self._on is None else issubclass(type(error), self._on)):
            return -1.0
        if call.attempt >= self._attempts:
            self.cell.total(_TOTAL["gave_up"])
            return -1.0
        wait = 0.0
        if (
            self._asks
            or answer.retry_after is not None
            or not _says_nothing(error)
            or self.policy.deadline.get() is not None
        ):
            wait = self.policy.delay(error, answer, call.attempt, call.previous)
            if not wait >= 0.0:
                return -1.0
        call.reason = self.policy.reason(error, answer) if self._learns else 0
        if self._budget:
            cell = self.cell
            hold = cell._hold  # noqa: SLF001 - counted as exhausted once, whoever was looked for
            if not hold(None) and not (self._look_for_dead() and hold(None)):
                cell.total(_TOTAL["budget_exhausted"])
                return -1.0
            call.held, call.held_epoch = True, cell.epoch
        call.previous = wait
        return wait

    def _holds(self, call: Call) -> bool:
        """Whether a token is held of the cell that there is."""
        return call.held and call.held_epoch == recorder.place_epoch and bool(recorder.image[0])

    def _pay(self, call: Call) -> bool:
        """Pay for a try that was let through; whether it was paid for. Else it has not begun.

        After it was let through: what the breaker rejects is no retry, and costs nothing.
        """
        if self._paid(call):
            return True
        if self._over(call):
            self.cell.unmade(call.ticket)
        return False

    def _paid(self, call: Call) -> bool:
        """Whether a retry is paid for, with the token that is held where there is a budget."""
        if not call.held:
            if self._is_here(call):
                self.cell.total(_TOTAL["retries"])
            return True
        there = self._holds(call)
        call.held = False
        return there and self.cell.send()

    def _give_up(self, call: Call) -> None:
        """No other try goes out after all."""
        if self._holds(call):
            self.cell.let_go()
        call.held = False

    def _goes_on(self, call: Call, error: BaseException) -> bool:
        """Whether there is another try after a failure, which has begun when this returns."""
        try:
            wait = self._failed(call, error)
            if wait > 0.0:
                self.policy.sleep(wait)
        except BaseException:
            # A signal handler's, or the clock's: what was to come is not made.
            self._ignored(call)
            self._give_up(call)
            raise
        if wait < 0.0:
            return False
        try:
            self._begin_again(call)
        except Rejected:  # what was raised before it counts
            return False
        return True

    def _begin_again(self, call: Call) -> None:
        """Begin the next try, and pay for it; raises as `begin` does."""
        call.attempt += 1
        try:
            self._begin(call)
        except BaseException:
            self._give_up(call)
            raise
        if not self._pay(call):
            raise self.policy.exhausted(self.operation, 0.0)


class Call:
    """A guarded call under way, for who makes its tries himself; made by `Guard.begin`.

    One that is dropped without a word counts as ignored, and what it held is given back.
    """

    __slots__ = (
        "_guard",
        "attempt",
        "epoch",
        "held",
        "held_epoch",
        "permit",
        "previous",
        "reason",
        "start_nano",
        "ticket",
        "token",
        "under_way",
    )

    if TYPE_CHECKING:  # what the guard sets when it begins
        epoch: int
        held_epoch: int
        start_nano: int
        ticket: int

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.attempt, self.token, self.reason = 1, 0, 0
        self.under_way = self.permit = self.held = False
        self.previous = 0.0

    def succeeded(self) -> None:
        """The try ended well."""
        if self.under_way:
            self._guard._succeeded(self)  # noqa: SLF001 - of its own guard, as all here

    def failed(self, error: BaseException, last: bool = False) -> float:
        """The try raised ``error``; the seconds until the next try, less than 0 = there is none.

        ``last``: there is no other, whatever the policy says.
        """
        return self._guard._failed(self, error, last)  # noqa: SLF001

    def ignored(self) -> None:
        """The try says nothing of the other side, and there is no other."""
        self._guard._ignored(self)  # noqa: SLF001
        self._guard._give_up(self)  # noqa: SLF001

    def again(self) -> None:
        """Begin the next try; raises as `Guard.begin` does. One under way ends, as ignored."""
        self._guard._ignored(self)  # noqa: SLF001
        self._guard._begin_again(self)  # noqa: SLF001

    def hand_on(self) -> bool:
        """Pay for the next try, which is made elsewhere; whether it may be made.

        Whoever makes it begins with its number. Said of a try that failed, and is to be followed.
        """
        return self._guard._paid(self)  # noqa: SLF001

    def __del__(self) -> None:
        # One that a signal handler kept from being made has neither.
        if getattr(self, "under_way", False) or getattr(self, "held", False):
            self.ignored()


class Guarded:
    """A function each call of which is guarded; made by `Guard.wrap`.

    It is called, bound to an instance, pickled and looked at as the function is.
    """

    __qualname__: str

    def __init__(self, guard: Guard, function: Callable[..., Any]) -> None:
        self.guard = guard
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        guard = self.guard
        call = Call(guard)
        try:
            guard._begin(call)  # noqa: SLF001 - what a guarded call is belongs together
        except BaseException as error:
            BaseException.with_traceback(error, None)  # which has frames of ours alone
            raise
        while True:
            try:
                result = self._function(*args, **kwargs)
            except BaseException as error:
                _without_frame(error)
                if not guard._goes_on(call, error):  # noqa: SLF001
                    raise
            else:
                guard._succeeded(call)  # noqa: SLF001
                return result

    def __get__(self, instance: object, owner: object = None, /) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<guarded {self._function!r}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _says_nothing(error: BaseException) -> bool:
    """Whether nothing can be found on it of when to come back: a built-in error, alone."""
    return (
        type(error) in _SILENT_TYPES
        and not error.__dict__
        and error.__cause__ is None
        and error.__context__ is None
    )


def _without_frame(error: BaseException) -> None:
    """Take our own entry off the traceback: what users see is what they wrote."""
    traceback = _traceback_of(error)
    if traceback is not None:
        # Through the base class: an exception may forbid assignment, as frozen dataclasses do.
        BaseException.with_traceback(error, traceback.tb_next)
