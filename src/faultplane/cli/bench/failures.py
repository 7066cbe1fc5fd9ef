"""The errors that every candidate is given: the same frames and the same message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

MESSAGE: Final = "order 1718 was declined by the bank: limit of day is used"
"""55 characters, as exceptions carry them."""


class PaymentError(ValueError):
    """An error of an application."""


def raised(error: BaseException, frames: int) -> BaseException:
    """``error`` with a traceback of so many frames."""

    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise error

    try:
        fall(frames - 2)
    except BaseException as caught:  # noqa: BLE001 - whatever was handed in
        return caught
    raise AssertionError


def chained() -> BaseException:
    """An error of 6 frames with a cause of 4."""
    try:
        raise raised(PaymentError(MESSAGE), 5) from raised(KeyError("order"), 4)
    except PaymentError as caught:
        return caught


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
