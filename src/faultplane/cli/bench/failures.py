"""The errors that every candidate is given, raised anew each time from the same frames.

An order is paid for, in functions with the few locals that such functions have. A function to
measure takes a running number and raises; its caller's frame is the first of those counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

MESSAGE: Final = "order 1718 was declined by the bank: limit of day is up"
"""55 characters, as exceptions carry them."""
MESSAGE_ANEW: Final = "order %7d was declined by the bank: limit of day up"
"""As long, with a number that differs each time."""

Fail = Callable[[int], Any]
"""Takes a running number and raises."""


class PaymentError(ValueError):
    """An error of an application."""


def pay(number: int) -> int:
    """Raise PaymentError through 6 frames, its message always the same."""
    return _check_out(number, "alice", MESSAGE)


def pay_anew(number: int) -> int:
    """The same with a message that differs each time."""
    return _check_out(number, "alice", MESSAGE_ANEW % number)


def _check_out(number: int, user: str, answer: str) -> int:
    order = {"number": number, "sku": "A-1", "quantity": 3}
    return _charge(user, order, answer)


def _charge(user: str, order: dict[str, Any], answer: str) -> int:
    retries = 3
    return retries + _authorize(order, answer)


def _authorize(order: dict[str, Any], answer: str) -> int:
    total = order["quantity"] * 1299
    return _ask_bank(order["number"], total, answer)


def _ask_bank(number: int, total: int, answer: str) -> NoReturn:
    reason = answer or f"{number} of {total}"
    raise PaymentError(reason)


def falling(frames: int, end: Callable[[], NoReturn]) -> Fail:
    """A function whose error, raised by ``end``, has so many frames, at least 4."""

    def fail(_: int) -> None:
        _fall(frames - 4, end)

    return fail


def _fall(depth: int, end: Callable[[], NoReturn]) -> NoReturn:
    if depth:
        _fall(depth - 1, end)
    else:
        end()


def decline() -> NoReturn:
    """What most cases end in."""
    raise PaymentError(MESSAGE)


def tell_secrets() -> NoReturn:
    """An error whose message says what nobody should read."""
    raise PaymentError("login of alice@example.org failed, password=hunter2 was refused")


def miss_key() -> NoReturn:
    """A message that is no text."""
    raise KeyError("order")


def be_refused() -> NoReturn:
    """A message that is formatted from a number and a text."""
    raise ConnectionRefusedError(111, "Connection refused")


def decline_because() -> NoReturn:
    """An error with a cause of 4 frames."""
    try:
        _fall(1, miss_key)
    except KeyError as error:
        raise PaymentError(MESSAGE) from error


def caught(fail: Fail) -> Exception:
    """What ``fail`` raises, kept with its traceback."""
    try:
        fail(1718)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is asked for
        return error
    raise AssertionError


def new_places(count: int) -> list[BaseException]:
    """Errors from so many places that nobody has seen: each its own module and functions."""
    source = (
        "def f0(n): raise ValueError('order %d was declined by the bank: limit of day is' % n)\n"
        + "".join(f"def f{i}(n): f{i - 1}(n)\n" for i in range(1, 5))
        + "def fail(n):\n    try: f4(n)\n    except ValueError as error: return error\n"
    )
    found = []
    for number in range(count):
        scope: dict[str, Any] = {"__name__": f"shop.module_{number}"}
        exec(compile(source, f"/srv/shop/module_{number}.py", "exec"), scope)  # noqa: S102
        fail: Callable[[int], BaseException] = scope["fail"]
        found.append(fail(number))
    return found
