"""The cell of a dependency: breaker, retry budget and permits that processes share (control.h)."""

from collections.abc import Callable

from .memory import Mapping

class Cell:
    """What the processes of a host share of one dependency, or what one process has for itself.

    ``attach`` is called with the cell whenever it needs memory: at first, after a fork, and after
    this process has joined a domain or left one. It gives it some with `use`. Times are
    milliseconds of the monotonic clock, ``now_ms`` its present where it is left out. ``unheard``
    counts changes that had to wait for longer than is waited: 0 in the compiled core.
    """

    def __init__(self, attach: Callable[[Cell], object]) -> None: ...
    @property
    def epoch(self) -> int: ...
    @property
    def unheard(self) -> int: ...
    @property
    def slow_call_nano(self) -> int:
        """A call that takes longer is slow; 0 = none is."""

    def is_current(self) -> bool:
        """Whether this process has its cells where they were when this one was given memory."""

    def use(
        self,
        mapping: Mapping,
        cell: int,
        leases: int,
        slots: int,
        owners_high: int,
        slot: int,
        incarnation: int,
    ) -> None:
        """Work in ``mapping``: the cell at that offset, with leases of so many owner slots.

        ``owners_high`` is the offset of the word that says how many slots are in use; ``slot`` and
        ``incarnation`` are this process's. Raises ValueError for a slot there is no lease of, and
        IndexError for offsets that are not within the memory.
        """

    def admit(self, now_ms: int | None = None) -> int:
        """Whether a call may go ahead: its ticket; -1 the breaker is open, -2 probes are out."""

    def ended(
        self,
        ticket: int,
        failed: bool,
        slow: bool = False,
        now_ms: int | None = None,
        asked_ms: int = 0,
    ) -> None:
        """Say how the call with that ticket ended; how long the other side asked to be left."""

    def ignored(self, ticket: int) -> None:
        """Say that the call with that ticket says nothing about the other side."""

    def unmade(self, ticket: int) -> None:
        """Say that the call with that ticket was not made after all."""

    def state(self) -> int:
        """Code of the breaker's state."""

    def wait_ms(self, now_ms: int | None = None) -> int:
        """How long the breaker stays open yet; 0 where it is not open."""

    def window(self, now_ms: int | None = None) -> tuple[int, int, int]:
        """(Calls, failures, slow calls) in the window of the breaker as it is."""

    def open_for(self, ms: int, cause: int, now_ms: int | None = None) -> bool:
        """Open for so long, because of ``cause``, where it is closed; whether it was."""

    def move(self, state: int, cause: int, until_ms: int = 0) -> int:
        """Have the breaker in another state, whatever it is in; its word before."""

    def deposit(self, now_ms: int | None = None) -> None:
        """Bring the retry budget what a first try does."""

    def hold(self, now_ms: int | None = None) -> bool:
        """Hold a token of the retry budget until `send` or `let_go`; whether there was one."""

    def send(self) -> bool:
        """Pay with the token that is held, so that the retry goes out; False where it is gone."""

    def let_go(self) -> None:
        """Give back the token that is held: no retry goes out."""

    def tokens(self, now_ms: int | None = None) -> int:
        """Tokens in the retry budget, in thousandths."""

    def rate_take(self, now_ms: int | None = None) -> bool:
        """Take a token of the rate limit; whether there was one."""

    def rate_give(self) -> None:
        """Put the token back: the call was not made."""

    def rate_wait_ms(self, now_ms: int | None = None) -> int:
        """Until there is a token of the rate limit; 0 where there is one."""

    def take(self) -> bool:
        """Take a permit; whether there was one."""

    def give(self) -> None:
        """Give the permit back."""

    def total(self, total: int, n: int = 1) -> None:
        """Add to an exact total, one of `control_schema.TOTALS` by its index."""

    def retried(
        self, reason: int, helped: bool, micros: int = 0, now_ms: int | None = None
    ) -> None:
        """Say that a retry has ended that was made for ``reason``, and whether it helped.

        ``reason`` is a word of `control_schema`: a kind, a type, or both. ``micros`` is how long it
        took, 0 = not to be counted.
        """

    def retries_of_kind(self, kind: int, now_ms: int | None = None) -> tuple[int, int]:
        """Retries after errors of that kind, by its code, that helped lately, and that did not."""

    def retries_of_type(self, tag: int, now_ms: int | None = None) -> tuple[int, int]:
        """The same of a type of error, by its `control_schema.type_tag`."""

    def retry_micros(self) -> tuple[int, int]:
        """Microseconds that retries which ended well took, lately and usually; zeros = none did."""

    def forget_retries(self) -> None:
        """Have all of this begin anew."""

    def reclaim(self, slot: int, incarnation: int) -> int:
        """End what the dead owner of ``slot`` held here; how many leases that were.

        Raises ValueError for a slot there is no lease of.
        """
