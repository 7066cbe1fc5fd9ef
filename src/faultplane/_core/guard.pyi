"""Guarded calls: a try is let through, is in flight, and what came of it is told."""

from collections.abc import Callable
from typing import Any, Self

from .control import Cell

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

    def __init__(self, cell: Cell, operation: str, policy: Any) -> None: ...
    @property
    def cell(self) -> Cell: ...
    @property
    def operation(self) -> str: ...
    @property
    def policy(self) -> Any: ...
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

    def begin(self, attempt: int = 1, look: bool = False) -> Call:
        """Let a call begin; what it is told of is the `Call` that this gives.

        ``attempt``: the number of its try, 1 to 65,535, where those before it were made elsewhere.
        ``look``: whoever asks waits for a permit, and that there is none is not counted as full.
        Raises what the policy rejects with, if it is not to be made.
        """

    def wrap(self, function: Callable[..., Any]) -> Guarded:
        """Give ``function`` with each call of it guarded."""

class Call:
    """A guarded call under way, for who makes its tries himself; made by `Guard.begin`.

    One that is dropped without a word counts as ignored, and what it held is given back.
    """

    @property
    def attempt(self) -> int:
        """Number of the try, from 1."""

    def succeeded(self) -> None:
        """The try ended well."""

    def failed(self, error: BaseException, last: bool = False) -> float:
        """The try raised ``error``; the seconds until the next try, less than 0 = there is none.

        ``last``: there is no other, whatever the policy says.
        """

    def ignored(self) -> None:
        """The try says nothing of the other side, and there is no other."""

    def again(self) -> None:
        """Begin the next try; raises as `Guard.begin` does. One under way ends, as ignored."""

    def hand_on(self) -> bool:
        """Pay for the next try, which is made elsewhere; whether it may be made.

        Whoever makes it begins with its number. Said of a try that failed, and is to be followed.
        """

class Guarded:
    """A function each call of which is guarded; made by `Guard.wrap`.

    It is called, bound to an instance, pickled and looked at as the function is.
    """

    def __init__(self, guard: Guard, function: Callable[..., Any]) -> None: ...
    @property
    def guard(self) -> Guard: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, owner: object = None, /) -> Any: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Self: ...
