"""What a core needs to write: the mappings, descriptors and numbers of one registered owner."""

from typing import Any, NamedTuple


class Binding(NamedTuple):
    """Handed to ``core.bind``; the descriptors and mappings stay open while it is bound.

    ``registry``, ``owners``, ``aggregate`` and ``breath`` are the core's ``Mapping`` objects,
    writable; ``aggregate`` reserves 1 MiB of addresses for a file that grows.
    """

    directory_fd: int
    locks_fd: int
    registry: Any
    owners: Any
    owner_slot: int
    incarnation: int
    generation: int
    aggregate: Any
    aggregate_fd: int
    breath: Any
    service: str
    resource: str
    lanes_per_segment: int
    segments_max: int
    dictionary_bytes: int
    aggregate_path: str
    """Where others look for the counts of this process."""
    pid: int
    """Whose it is: a child that a signal handler forks meanwhile must not bind to it."""
