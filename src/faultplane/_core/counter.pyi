"""Counters that all processes of a domain share, exact."""

class Counter:
    """An exact count that all processes of a domain share.

    ``name`` is 1 to 255 bytes of UTF-8. Counters of the same name are one, in every process.
    """

    def __init__(self, name: str) -> None: ...
    @property
    def name(self) -> str: ...
    def add(self, n: int = 1) -> None:
        """Add ``n``, 0 to 2**63 - 1. Exact; raises ValueError or TypeError and adds nothing."""
