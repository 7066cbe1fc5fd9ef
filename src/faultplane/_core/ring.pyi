"""Segments and lanes: claim, commit, close, prepare, publish, retire."""

from .memory import Mapping

class Ring:
    """Segments of one domain directory, for maintenance by whoever is there.

    The descriptors and the registry must stay open as long as the Ring. ``writable=False``
    makes every method do nothing.
    """

    def __init__(
        self,
        directory_fd: int,
        locks_fd: int,
        registry: Mapping,
        lanes_per_segment: int,
        segments_max: int,
        dictionary_bytes: int,
        writable: bool = True,
        tag: str = "",
    ) -> None: ...
    @property
    def writable(self) -> bool: ...
    def prepare(self) -> bool:
        """Prepare the next segment wholly unless one is ready; say whether one is.

        Raises OSError when there is no room for it.
        """

    def retire_over_budget(self) -> int:
        """Retire the oldest segments until the budget holds; how many were retired."""

    def close_lanes_of(self, slot: int, generation: int) -> int:
        """Close every open lane of a dead owner; how many rows they hold.

        Safe at any time: an owner that is alive after all finds out at its next commit and
        writes the record again into a new lane.
        """
