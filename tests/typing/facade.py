"""The public names as a user's type checker sees them. Read by mypy and pyright, never run."""

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
