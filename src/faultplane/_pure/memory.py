"""A file mapped whole, with the few atomic operations that maintenance in Python needs.

Python has no compare-and-swap. A read-modify-write takes a lock twice over: one inside the process
and, for memory that other processes share, one byte of the domain's lock file. Loads and stores
of aligned words are single machine instructions, as memoryview does them; where the machine may
reorder them, `order` stands between.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Self

from faultplane.errors import StorageError
from faultplane.schema import LANE_WORD_STRIDE, LANE_WORDS_OFFSET, LOCK_CLAIM

__all__ = ["Mapping", "lane_words"]

WAIT_SECONDS_MAX: Final = 1.0
"""Longest wait for a lock byte: its holders need microseconds, unless they were stopped."""

FORKED: Final = "forked in the middle of a change, which the parent makes"

Code = Literal["Q", "I"]
_WORD_MAX: Final = (1 << 64) - 1
_KEEPS_STORE_ORDER: Final = os.uname().machine in ("x86_64", "AMD64", "i686", "i386")

_MADV_WIPEONFORK: Final = 18
_CAN_FORGET_DESCRIPTOR: Final = sys.version_info >= (3, 13)

process_lock = threading.RLock()
"""Held by whoever changes shared memory or the recorder's own state; new in a forked child."""

forks = 0
"""Grows in a forked child. A signal handler that forks comes into some call, which goes on in the
child as well: what it has begun is the parent's. It looks here, and calls nothing from there to the
end of what it changes: no handler comes in between."""

_held: dict[tuple[int, int], int] = {}
_barrier = threading.Lock()


def page_wiped_on_fork() -> memoryview:
    """Words of a private page that read as zero in every forked child, however it was forked.

    Where the kernel knows nothing of this, only the handlers of `os.fork` clear them.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        try:
            page.madvise(_MADV_WIPEONFORK)
        except OSError:  # pragma: no cover  # before Linux 4.14
            pass
    return memoryview(page).cast("Q")


def let_go(*held: memoryview | mmap.mmap) -> None:
    """Release views, then what they are of, as far as nobody is in the middle of using them.

    Somebody is in a child that a signal handler forked: the call that the handler came into. It
    finds that what it works on was taken away, and the last one who lets go unmaps.
    """
    for one in held:
        try:
            if isinstance(one, memoryview):
                one.release()
            else:
                one.close()
        except BufferError:
            pass


def order() -> None:
    """Keep the stores before this call before those after it, and the loads too.

    Only the holder of `process_lock` calls it. Nothing to do where the machine keeps that order.
    """
    if not _KEEPS_STORE_ORDER:
        fence()
        return
    # A call as deep as those of fence(): where the stack ends, it ends before a commit, not after.
    _barrier.locked()


def fence() -> None:
    """Let the stores before this call be seen before the loads after it are made.

    Only the holder of `process_lock` calls it.
    """
    if _KEEPS_STORE_ORDER:
        # One atomic instruction does it, whichever of the two this is.
        if not _barrier.acquire(blocking=False):
            _barrier.release()
        return
    # To release is to finish what came before; to take again is to start nothing that comes after.
    with _barrier:
        pass
    with _barrier:
        pass


class FileLock:
    """One byte of a lock file. A ``fd`` of -1 stands for no file: the process lock is enough."""

    __slots__ = ("_byte", "_fd")

    def __init__(self, fd: int, byte: int) -> None:
        self._fd = fd
        self._byte = byte

    @contextmanager
    def held(self, wait_seconds_max: float | None = None) -> Iterator[None]:
        """Hold the byte, and the process lock with it; the same thread may do so again.

        Raises StorageError after ``wait_seconds_max``, None = `WAIT_SECONDS_MAX`. A signal handler
        that raises leaves nothing taken.
        """
        with process_lock:
            depth = _held.get((self._fd, self._byte), 0)
            try:
                self._wait(WAIT_SECONDS_MAX if wait_seconds_max is None else wait_seconds_max)
                yield
            finally:
                try:
                    self._give_back_to(depth)
                except BaseException:  # a signal handler's, in the middle of it
                    self._give_back_to(depth)
                    raise

    def _wait(self, seconds_max: float) -> None:
        deadline = 0.0
        pause_seconds = 0.00002
        while not self._take():
            now = time.monotonic()
            deadline = deadline or now + seconds_max
            if now >= deadline:
                raise StorageError(
                    f"byte {self._byte} of the lock file was held for {seconds_max} s"
                )
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, 0.002)

    def _take(self) -> bool:
        key = self._fd, self._byte
        depth = _held.get(key, 0)
        if depth == 0 and self._fd >= 0:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
            except (BlockingIOError, PermissionError):
                return False
        _held[key] = depth + 1
        return True

    def _give_back_to(self, depth: int) -> None:
        key = self._fd, self._byte
        if depth:
            _held[key] = depth
        else:
            _held.pop(key, None)
            if self._fd >= 0:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)

    def try_take(self) -> bool:
        """Take the byte without waiting, to be given back by `give_back`; whether it was free.

        Free means that nobody holds it, not this process either.
        """
        with process_lock:
            return (self._fd, self._byte) not in _held and self._take()

    def give_back(self) -> None:
        """Undo `try_take`."""
        with process_lock:
            self._give_back_to(0)


class Mapping(mmap.mmap):
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

    writable: bool
    reserve: int
    _bytes: int
    _locks_fd: int

    def __new__(
        cls, fd: int, size: int, writable: bool, reserve: int = 0, locks_fd: int = -1
    ) -> Self:
        if size < 1:
            raise ValueError(f"size must be at least 1 byte, got {size}")
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        flags = mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        # A file cannot be mapped beyond its end here, so `resize` maps what has been added. Where
        # the descriptor is not needed for that, none is kept: an application may close them all.
        options = {"trackfd": False} if _CAN_FORGET_DESCRIPTOR and reserve <= size else {}
        self = super().__new__(cls, fd, size, flags=flags, prot=protection, **options)
        self.writable = bool(writable)
        self.reserve = max(reserve, size)
        self._bytes = size
        self._locks_fd = locks_fd
        return self

    @classmethod
    def anonymous(cls, size: int) -> Mapping:
        """Private zeroed memory of ``size`` bytes that no file backs."""
        return cls(-1, size, True)

    @property
    def size(self) -> int:  # type: ignore[override]
        """Bytes that may be touched."""
        return self._bytes

    @property
    def address(self) -> int:
        """Where the memory starts."""
        return 0 if self.closed else _address(self)

    def _check(self, offset: int, width: int) -> None:
        if self.closed:
            raise ValueError("the mapping is closed")
        if offset < 0 or offset + width > self._bytes or offset % width:
            raise IndexError(
                f"offset must be a multiple of {width} from 0 to {self._bytes - width}, "
                f"got {offset}"
            )

    def _check_writable(self) -> None:
        if not self.writable:
            raise TypeError("the mapping is read-only")

    def _get(self, offset: int, width: int, code: Code) -> int:
        self._check(offset, width)
        with memoryview(self) as view, view[offset : offset + width].cast(code) as words:
            value: int = words[0]
        with process_lock:
            order()
        return value

    def _put(
        self, offset: int, width: int, code: Code, value: int, begun: int | None = None
    ) -> None:
        self._check_writable()
        if not 0 <= value < 1 << 8 * width:
            raise OverflowError(f"value must be 0 to {(1 << 8 * width) - 1}, got {value}")
        self._check(offset, width)
        with process_lock:
            order()
        with memoryview(self) as view, view[offset : offset + width].cast(code) as words:
            if begun is not None and begun != forks:
                raise StorageError(FORKED)
            words[0] = value

    def load(self, offset: int) -> int:
        """The u64 at ``offset``, with acquire order."""
        return self._get(offset, 8, "Q")

    def load_again(self, offset: int) -> int:
        """The u64 at ``offset``, loaded after whatever this thread has read before."""
        with process_lock:
            order()
        return self._get(offset, 8, "Q")

    def store(self, offset: int, value: int) -> None:
        """Store a u64 at ``offset``, with release order."""
        self._put(offset, 8, "Q", value)

    def load32(self, offset: int) -> int:
        """The u32 at ``offset``, with acquire order."""
        return self._get(offset, 4, "I")

    def store32(self, offset: int, value: int) -> None:
        """Store a u32 at ``offset``, with release order."""
        self._put(offset, 4, "I", value)

    def _exclusive(self) -> FileLock:
        return FileLock(self._locks_fd, LOCK_CLAIM)

    @contextmanager
    def _changed(self, offset: int) -> Iterator[memoryview]:
        """The word at ``offset`` alone, for a change that nobody comes in between.

        A child that a signal handler forked meanwhile does not have the lock, and must not change
        it: whoever does, looks.
        """
        self._check_writable()
        self._check(offset, 8)
        with self._exclusive().held():
            order()
            with memoryview(self) as view, view[offset : offset + 8].cast("Q") as word:
                yield word
            order()

    def cas(self, offset: int, expected: int, new: int) -> bool:
        """Replace the u64 at ``offset`` by ``new`` if it is ``expected``; say whether it was."""
        if not 0 <= new <= _WORD_MAX:
            raise OverflowError(f"value must be 0 to {_WORD_MAX}, got {new}")
        begun = forks
        with self._changed(offset) as word:
            # From here on nothing is called, so no signal handler comes in.
            if begun != forks:
                raise StorageError(FORKED)
            if word[0] != expected:
                return False
            word[0] = new
        return True

    def add(self, offset: int, value: int) -> int:
        """Add ``value`` to the u64 at ``offset``; give the value before."""
        begun = forks
        with self._changed(offset) as word:
            if begun != forks:
                raise StorageError(FORKED)
            before: int = word[0]
            word[0] = before + value & _WORD_MAX
        return before

    def resize(self, size: int) -> None:
        """Say that the file has grown to ``size`` bytes, at most ``reserve``."""
        if size < self._bytes or size > self.reserve:
            raise ValueError(f"size must be {self._bytes} to {self.reserve} bytes, got {size}")
        if size > self._bytes:
            super().resize(size)
            self._bytes = size

    def close(self) -> None:
        """Unmap; raises BufferError while a buffer is exported. Idempotent."""
        try:
            super().close()
        except BufferError as error:
            raise BufferError("the mapping has exported buffers") from error


def words_of(mapping: Mapping) -> memoryview:
    """The memory as 64-bit words; whole pages only."""
    return memoryview(mapping).cast("Q")


def lock_of(mapping: Mapping, byte: int) -> FileLock:
    """A byte of the lock file that serialises changes of the mapping between processes."""
    return FileLock(mapping._locks_fd, byte)  # noqa: SLF001


def store_unless_forked(mapping: Mapping, offset: int, value: int, begun: int) -> None:
    """``mapping.store``, but StorageError in a child forked since `forks` was ``begun``.

    The call that it goes on with has no lock there, and what it is about to store is old.
    """
    mapping._put(offset, 8, "Q", value, begun)  # noqa: SLF001


def lane_words(mapping: Mapping, lanes: int) -> list[int]:
    """The words of the first ``lanes`` lanes of a segment, each loaded with acquire order."""
    if lanes < 1:
        return []
    mapping.load(LANE_WORDS_OFFSET + (lanes - 1) * LANE_WORD_STRIDE)  # names the bound
    end = LANE_WORDS_OFFSET + (lanes - 1) * LANE_WORD_STRIDE + 8
    with memoryview(mapping) as view, view[LANE_WORDS_OFFSET:end].cast("Q") as words:
        found = words[:: LANE_WORD_STRIDE // 8].tolist()
    with process_lock:
        order()
    return found


def _address(buffer: object) -> int:
    """Where the memory of ``buffer`` starts. ctypes is imported by those who ask."""
    import ctypes

    class Buffer(ctypes.Structure):
        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.py_object),
            ("len", ctypes.c_ssize_t),
            ("rest", ctypes.c_byte * 64),
        )

    view = Buffer()
    api: Any = getattr(ctypes, "pythonapi", None)
    if api is None:  # pragma: no cover  # PyPy, which brings cffi along
        from importlib import import_module

        ffi = import_module("cffi").FFI()
        return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))
    api.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    address = int(view.buf or 0)
    api.PyBuffer_Release(ctypes.byref(view))
    return address


def refuse_forked(begun: int) -> None:
    """Raise OSError in a child that was forked since `forks` was ``begun``.

    From its return to the next call no signal handler comes in.
    """
    if begun != forks:
        raise OSError(FORKED)


def forget_parent() -> None:
    """In a forked child: no lock byte is inherited, and who held the lock is not there."""
    global process_lock, _barrier, forks
    forks += 1
    process_lock = threading.RLock()
    _barrier = threading.Lock()
    _held.clear()
