"""A file mapped whole, with the few atomic operations that maintenance in Python needs."""

class Mapping:
    """A file mapped whole and shared.

    ``fd`` may be closed afterwards. ``size`` is in bytes; ``reserve`` maps more address space
    than the file has, for a file that grows (``resize`` says how much of it may be touched).
    ``locks_fd`` is the file whose lock serialises `cas` and `add` between processes, -1 where no
    other process changes the same words; it must stay open. The compiled core needs none.
    Raises OSError when the kernel refuses, ValueError for a size below one. Offsets out of range
    raise IndexError and name the bound. Supports the buffer protocol, read-only unless
    ``writable``; the memory stays mapped while a buffer is exported.

    >>> m = Mapping.anonymous(4096)
    >>> m.store(8, 41); m.add(8, 1); m.load(8)
    41
    42
    """

    def __init__(
        self, fd: int, size: int, writable: bool, reserve: int = 0, locks_fd: int = -1
    ) -> None: ...
    @property
    def address(self) -> int:
        """Where the memory starts."""

    @property
    def size(self) -> int: ...
    @property
    def reserve(self) -> int: ...
    @property
    def writable(self) -> bool: ...
    @classmethod
    def anonymous(cls, size: int) -> Mapping:
        """Private zeroed memory of ``size`` bytes that no file backs."""

    def load(self, offset: int) -> int:
        """The u64 at ``offset``, with acquire order."""

    def load_again(self, offset: int) -> int:
        """The u64 at ``offset``, loaded after whatever this thread has read before."""

    def store(self, offset: int, value: int) -> None:
        """Store a u64 at ``offset``, with release order."""

    def load32(self, offset: int) -> int:
        """The u32 at ``offset``, with acquire order."""

    def store32(self, offset: int, value: int) -> None:
        """Store a u32 at ``offset``, with release order."""

    def cas(self, offset: int, expected: int, new: int) -> bool:
        """Replace the u64 at ``offset`` by ``new`` if it is ``expected``; say whether it was."""

    def add(self, offset: int, value: int) -> int:
        """Add ``value`` to the u64 at ``offset``; give the value before."""

    def resize(self, size: int) -> None:
        """Say that the file has grown to ``size`` bytes, at most ``reserve``."""

    def close(self) -> None:
        """Unmap; raises BufferError while a buffer is exported. Idempotent."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

def lane_words(mapping: Mapping, lanes: int) -> list[int]:
    """The words of the first ``lanes`` lanes of a segment, each loaded with acquire order."""
