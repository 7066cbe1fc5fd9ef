"""Light spellings of one policy: `retry` as stamina has it, `circuit_breaker` as pybreaker has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

from faultplane.resilience.backoff import Backoff
from faultplane.resilience.dependency import Dependency
from faultplane.resilience.policy import BACKOFF, Breaker, On, Retry, RetryBudget

P = ParamSpec("P")
R = TypeVar("R")


def retry(
    *,
    on: On,
    attempts: int = 10,
    timeout: float | None = 45.0,
    backoff: Backoff | None = None,
    budget: RetryBudget | None = None,
    name: str | None = None,
    scope: Literal["host", "process"] = "process",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that it is tried again, ``attempts`` times at most.

    ``on`` has no default: who retries must say what. ``timeout`` bounds all tries together, in
    seconds. ``backoff`` is full jitter from 0.1 to 5 seconds where it is left out. ``name`` is the
    function's own, with its module, where it is left out; with ``scope="host"`` and a ``budget``,
    all functions of that name share it.

    >>> from faultplane.resilience.backoff import constant
    >>> answers = iter([TimeoutError(), "answer"])
    >>> @retry(on=TimeoutError, attempts=3, backoff=constant(0))
    ... def ask():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> ask()
    'answer'

    Raises InvalidSetting for what is out of bounds.
    """
    policy = Retry(
        attempts=attempts,
        on=on,
        backoff=BACKOFF if backoff is None else backoff,
        budget=budget,
    )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        guard = Dependency(
            name or named_after(function), retry=policy, deadline=timeout, scope=scope
        )
        return guard(function)

    return decorate


def circuit_breaker(
    *,
    fail_max: int = 5,
    reset_timeout: float = 60.0,
    name: str | None = None,
    scope: Literal["host", "process"] = "host",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that it is not called for a while once it failed again and again.

    ``fail_max`` failures in a row open the breaker for ``reset_timeout`` seconds; then one call is
    let through, which closes it or opens it again. Every process of the host whose breaker has this
    ``name`` shares it; it is the function's own, with its module, where it is left out.

    >>> @circuit_breaker(fail_max=1, name="doctest")
    ... def ask():
    ...     raise TimeoutError("no answer")
    >>> for _ in range(2):
    ...     try:
    ...         ask()
    ...     except Exception as error:
    ...         print(type(error).__name__)
    TimeoutError
    BreakerOpen

    Raises InvalidSetting for what is out of bounds.
    """
    breaker = Breaker(
        failure_rate=None,
        consecutive=fail_max,
        open_for=reset_timeout,
        open_factor=1.0,
        probes=1,
        window_calls=1,
        calls_min=1,
    )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return Dependency(name or named_after(function), breaker=breaker, scope=scope)(function)

    return decorate


def named_after(function: Callable[..., object]) -> str:
    """The name of a dependency that is one function: its module and qualified name."""
    module = getattr(function, "__module__", None) or "unknown"
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"[:255]
