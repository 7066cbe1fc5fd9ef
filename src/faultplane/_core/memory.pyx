"""A file mapped whole, with the few atomic operations that maintenance in Python needs."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport strerror

from .atomics cimport (
    fp_add,
    fp_cas,
    fp_load32_acquire,
    fp_load_acquire,
    fp_load_again,
    fp_store32_release,
    fp_store_release,
)
from .layout cimport LANE_WORD_STRIDE, LANE_WORDS_OFFSET

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t size)
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS
    void* MAP_FAILED


cdef class Mapping:
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

    def __cinit__(
        self, int fd, Py_ssize_t size, bint writable, Py_ssize_t reserve=0, int locks_fd=-1
    ):
        if size < 1:
            raise ValueError(f"size must be at least 1 byte, got {size}")
        self.reserve = <size_t>(reserve if reserve > size else size)
        cdef int protection = PROT_READ | PROT_WRITE if writable else PROT_READ
        cdef int flags = MAP_SHARED if fd >= 0 else MAP_PRIVATE | MAP_ANONYMOUS
        cdef void* base = mmap(NULL, self.reserve, protection, flags, fd, 0)
        if base == MAP_FAILED:
            raise OSError(errno, strerror(errno).decode())
        self.base = <uint8_t*>base
        self.size = <size_t>size
        self.writable = writable

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.reserve)

    @classmethod
    def anonymous(cls, Py_ssize_t size):
        """Private zeroed memory of ``size`` bytes that no file backs."""
        return cls(-1, size, True)

    cdef uint8_t* at(self, Py_ssize_t offset, size_t width) except NULL:
        if self.base == NULL:
            raise ValueError("the mapping is closed")
        if offset < 0 or <size_t>offset + width > self.size or offset % <Py_ssize_t>width:
            raise IndexError(
                f"offset must be a multiple of {width} from 0 to "
                f"{<Py_ssize_t>self.size - <Py_ssize_t>width}, got {offset}"
            )
        return self.base + offset

    cdef int writing(self) except -1:
        if not self.writable:
            raise TypeError("the mapping is read-only")
        return 0

    @property
    def address(self):
        """Where the memory starts."""
        return <size_t>self.base

    def load(self, Py_ssize_t offset):
        """The u64 at ``offset``, with acquire order."""
        return fp_load_acquire(<uint64_t*>self.at(offset, 8))

    def load_again(self, Py_ssize_t offset):
        """The u64 at ``offset``, loaded after whatever this thread has read before."""
        return fp_load_again(<uint64_t*>self.at(offset, 8))

    def store(self, Py_ssize_t offset, uint64_t value):
        """Store a u64 at ``offset``, with release order."""
        self.writing()
        fp_store_release(<uint64_t*>self.at(offset, 8), value)

    def load32(self, Py_ssize_t offset):
        """The u32 at ``offset``, with acquire order."""
        return fp_load32_acquire(<uint32_t*>self.at(offset, 4))

    def store32(self, Py_ssize_t offset, uint32_t value):
        """Store a u32 at ``offset``, with release order."""
        self.writing()
        fp_store32_release(<uint32_t*>self.at(offset, 4), value)

    def cas(self, Py_ssize_t offset, uint64_t expected, uint64_t new):
        """Replace the u64 at ``offset`` by ``new`` if it is ``expected``; say whether it was."""
        self.writing()
        return bool(fp_cas(<uint64_t*>self.at(offset, 8), expected, new))

    def add(self, Py_ssize_t offset, uint64_t value):
        """Add ``value`` to the u64 at ``offset``; give the value before."""
        self.writing()
        return fp_add(<uint64_t*>self.at(offset, 8), value)

    def resize(self, Py_ssize_t size):
        """Say that the file has grown to ``size`` bytes, at most ``reserve``."""
        if size < <Py_ssize_t>self.size or <size_t>size > self.reserve:
            raise ValueError(f"size must be {self.size} to {self.reserve} bytes, got {size}")
        self.size = <size_t>size

    def close(self):
        """Unmap; raises BufferError while a buffer is exported. Idempotent."""
        if self.exports:
            raise BufferError(f"the mapping has {self.exports} exported buffers")
        if self.base != NULL:
            munmap(self.base, self.reserve)
            self.base = NULL

    def __getbuffer__(self, Py_buffer* view, int flags):
        if self.base == NULL:
            raise ValueError("the mapping is closed")
        PyBuffer_FillInfo(view, self, self.base, <Py_ssize_t>self.size, not self.writable, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* view):
        self.exports -= 1


def lane_words(Mapping mapping, Py_ssize_t lanes):
    """The words of the first ``lanes`` lanes of a segment, each loaded with acquire order."""
    cdef Py_ssize_t lane
    cdef list words = []
    if lanes < 1:
        return words
    cdef uint8_t* last = mapping.at(LANE_WORDS_OFFSET + (lanes - 1) * LANE_WORD_STRIDE, 8)
    cdef uint8_t* first = last - (lanes - 1) * LANE_WORD_STRIDE
    for lane in range(lanes):
        words.append(fp_load_acquire(<uint64_t*>(first + lane * LANE_WORD_STRIDE)))
    return words
