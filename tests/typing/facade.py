"""The public names as a user's type checker sees them. Read by mypy and pyright, never run."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import faultplane as fp


class Declined(Exception):
    """Raised where the example needs an exception."""


def recording(error: Exception) -> None:
    """What records keeps its types."""
    answer = fp.record(error, operation="charge", attempt=1, attributes={"order": 7})
    assert_type(answer, fp.Classification)
    assert_type(fp.classify(error), fp.Classification)
    assert_type(fp.core, str)
    declined = fp.counter("charge.declined")
    declined.add()
    declined.add(2)
    assert_type(declined.name, str)


@fp.capture("charge")
def charge(amount: int) -> bool:
    """A decorated function keeps its parameters and its result."""
    return amount > 0


@fp.capture("refund")
async def refund(amount: int) -> bool:
    """So does a coroutine function."""
    return amount > 0


def calling() -> None:
    """What is decorated is called as before."""
    assert_type(charge(3), bool)
    charge("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fp.record("not an exception")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def swallowing() -> int:
    """A block that may swallow does not end the function for a type checker."""
    with fp.capture("charge", reraise=False):
        raise Declined
    return 1


pay = fp.Dependency(
    "payments",
    retry=fp.Retry(attempts=4, backoff=fp.full_jitter(0.1, 5.0), budget=fp.RetryBudget.finagle()),
    breaker=fp.Breaker(failure_rate=0.5),
    limit=fp.Bulkhead(20),
    fallback=fp.Fallback.stale(),
)

search = fp.Dependency("search", hedge=fp.Hedge(after=fp.quantile(0.95), most=2))
soon = fp.Dependency("search", hedge=0.05)
sms = fp.Dependency("sms", rate=fp.RateLimit(10, burst=3, wait_max=1.0))
mail = fp.Dependency("mail", rate=10)


@pay
def pay_for(order: str, amount: int = 1) -> bool:
    """A guarded function keeps its parameters and its result."""
    return bool(order) and amount > 0


@pay
async def pay_later(order: str) -> bool:
    """So does a coroutine function."""
    return bool(order)


@pay
def payments(since: int) -> Iterator[str]:
    """And a generator."""
    yield str(since)


@pay
async def payments_later(since: int) -> AsyncIterator[str]:
    """And an asynchronous one."""
    yield str(since)


class Shop:
    """A method is bound as before."""

    @pay
    def charge(self, order: str) -> int:
        """One parameter for who calls it."""
        return len(order)


@fp.retry(on=TimeoutError, attempts=3)
def ask(question: str) -> str:
    """The light spelling keeps them, too."""
    return question


@fp.circuit_breaker(fail_max=3)
def ask_again(question: str) -> str:
    """And the other one."""
    return question


async def guarding() -> None:
    """What is guarded is called as before."""
    assert_type(pay_for("A-17", amount=2), bool)
    pay_for(17)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await pay_later("A-17"), bool)
    assert_type(payments(1), Iterator[str])
    assert_type(payments_later(1), AsyncIterator[str])
    assert_type(Shop().charge("A-17"), int)
    assert_type(ask("why"), str)
    assert_type(ask_again("why"), str)
    assert_type(pay.call(len, "A-17"), int)
    assert_type(await pay.acall(pay_later, "A-17"), bool)
    assert_type(pay.for_key("eu-1"), fp.Dependency)
    assert_type(pay.state, str)
    for attempt in pay.attempts():
        with attempt:
            assert_type(attempt.number, int)
    fp.retry()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with fp.deadline(2.0):
        assert_type(fp.time_left(), float | None)
