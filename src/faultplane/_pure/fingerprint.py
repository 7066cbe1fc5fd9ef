"""Which error is this: process-local keys on the hot path, the stable fingerprint behind them.

The hot path keys on (code object, instruction) of every frame. Only the first sighting of a key
makes the stable fingerprint, which is the BLAKE2b hash of a text that anybody can rebuild from a
printed traceback, and renders the stack once.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from faultplane.schema import (
    CHAIN_MAX,
    FINGERPRINT_VERSION,
    GROUP_MAX,
    STACK_FRAMES_MAX,
    STRING_BYTES_MAX,
)

from .digest import Digest
from .message import cut_utf8

__all__ = ["fingerprint"]

WALK_FRAMES: Final = range(4096)
GROUP_DEPTH_MAX: Final = 4
NAME_BYTES: Final = 512
TYPE_NAME_BYTES: Final = 500
SITE_NAME_BYTES: Final = 400
HEAD_BYTES: Final = 4096
"""Of the stack text, kept free for its first four lines."""
HEAD_LINE_BYTES: Final = 1024

# The fields of the exception itself: a subclass may define properties of the same names.
traceback_of: Final[Any] = BaseException.__dict__["__traceback__"].__get__
cause_of: Final[Any] = BaseException.__dict__["__cause__"].__get__
context_of: Final[Any] = BaseException.__dict__["__context__"].__get__
suppresses_context: Final[Any] = BaseException.__dict__["__suppress_context__"].__get__
_exceptions_of: Final[Any] = BaseExceptionGroup.__dict__["exceptions"].__get__


def chained(exception: BaseException) -> BaseException | None:
    """The cause, else the context unless it is suppressed; None at the end."""
    cause: BaseException | None = cause_of(exception)
    if cause is not None:
        return cause
    return None if suppresses_context(exception) else context_of(exception)


def members(exception: BaseException) -> tuple[BaseException, ...]:
    """The first members of an ExceptionGroup; none of any other exception."""
    if not issubclass(type(exception), BaseExceptionGroup):  # isinstance asks for __class__
        return ()
    found = _exceptions_of(exception)
    return found[:GROUP_MAX] if isinstance(found, tuple) else ()


# ---------------------------------------------------------------------------------- hot keys


def walk(exception: BaseException, key: list[object]) -> None:
    """Add code object and instruction of every frame to ``key``.

    Addresses stand for code objects: every entry keeps those of its key alive, so an address that
    is found is the object it was. (A code object's own hash reads all of it.)
    """
    entry = traceback_of(exception)
    for _ in WALK_FRAMES:
        if entry is None:
            break
        key += id(entry.tb_frame.f_code), entry.tb_lasti
        entry = entry.tb_next
    if entry is not None:
        key.append(rest(entry))


def rest(entry: Any) -> int:
    """What stands for the frames of a stack that is deeper than a key shall be long."""
    frames: list[int] = []
    while entry is not None:
        frames += id(entry.tb_frame.f_code), entry.tb_lasti
        entry = entry.tb_next
    return hash(tuple(frames))


def walk_chain(exception: BaseException, key: list[object]) -> None:
    """Add the causes and contexts of an exception to ``key``."""
    for relation, linked in _chain(exception):
        key += relation, id(type(linked))
        walk(linked, key)


def walk_group(exception: BaseException, key: list[object], depth: int = 0) -> None:
    """Add the first members of an ExceptionGroup to ``key``."""
    if depth <= GROUP_DEPTH_MAX:
        for member in members(exception):
            key += "member", id(type(member))
            walk(member, key)
            walk_group(member, key, depth + 1)
            key.append("end")


def _chain(exception: BaseException) -> Iterator[tuple[str, BaseException]]:
    """(Relation, exception) of the causes and contexts, at most `CHAIN_MAX`, a cycle once."""
    current = exception
    for _ in range(CHAIN_MAX):
        linked = chained(current)
        if linked is None or linked is exception:
            return
        yield "context" if cause_of(current) is None else "cause", linked
        current = linked


def references(exception: BaseException) -> tuple[object, ...]:
    """Every object whose address is part of the hot key."""
    kept: dict[int, object] = {}
    _add_codes(exception, kept)
    for _, linked in _chain(exception):
        _add_codes(linked, kept)
    _add_members(exception, kept, 0)
    return tuple(kept.values())


def _add_codes(exception: BaseException, kept: dict[int, object]) -> None:
    kept[id(type(exception))] = type(exception)
    entry = traceback_of(exception)
    while entry is not None:
        code = entry.tb_frame.f_code
        kept[id(code)] = code
        entry = entry.tb_next


def _add_members(exception: BaseException, kept: dict[int, object], depth: int) -> None:
    if depth <= GROUP_DEPTH_MAX:
        for member in members(exception):
            _add_codes(member, kept)
            _add_members(member, kept, depth + 1)


# --------------------------------------------------------------------------- first sighting


class _Text:
    """Bytes under construction, at most ``limit``; they end with the last part that fits."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit
        self._is_full = False

    def add(self, *parts: bytes) -> None:
        for part in parts:
            self._is_full = self._is_full or len(self.data) + len(part) > self._limit
            if not self._is_full:
                self.data += part

    def add_line(self, line: bytes) -> None:
        """Add a line, newlines inside it escaped, as much of it as fits."""
        for byte in line:
            self.add(b"\\n" if byte == 0x0A else bytes((byte,)))
        self.add(b"\n")


class Portrait:
    """What the first sighting of an error finds out about it.

    ``fingerprint``; ``type`` and ``site`` as UTF-8 bytes; `stack` renders the rest.
    """

    def __init__(self, exception: BaseException) -> None:
        self.type = type_name(exception)
        self.site = b""
        self._frames = _Text(STRING_BYTES_MAX - HEAD_BYTES)
        self._digest = Digest(b"%d\n%s" % (FINGERPRINT_VERSION, self.type))
        self._add_frames(exception, is_subject=True)
        for relation, linked in _chain(exception):
            self._add_part(relation.encode(), linked)
        self._add_members(exception, 0)
        self.fingerprint = self._digest.value() or 1

    def _add_part(self, relation: bytes, exception: BaseException) -> None:
        """A cause, context or member: its relation, its type, its frames."""
        name = type_name(exception)
        self._digest.update(b"\n%s\n%s" % (relation, name))
        self._frames.add_line(b"\x1e%s\x1f%s" % (relation, name))
        self._add_frames(exception)

    def _add_members(self, exception: BaseException, depth: int) -> None:
        if depth <= GROUP_DEPTH_MAX:
            for member in members(exception):
                self._add_part(b"member", member)
                self._add_members(member, depth + 1)

    def _add_frames(self, exception: BaseException, *, is_subject: bool = False) -> None:
        """The outermost and the innermost frames, half of `STACK_FRAMES_MAX` each."""
        entries = []
        entry: TracebackType | None = traceback_of(exception)
        while entry is not None:
            entries.append(entry)
            entry = entry.tb_next
        half = STACK_FRAMES_MAX // 2
        elided = len(entries) - STACK_FRAMES_MAX
        last = b""
        for i, entry in enumerate(entries):
            if elided <= 0 or i < half or i >= len(entries) - half:
                last = self._add_frame(entry, last)
            elif i == half:
                self._frames.add(b"\x1eelided\x1f%d\n" % elided)
        if is_subject and entries:
            self.site = _site(entries[-1])

    def _add_frame(self, entry: TracebackType, last: bytes) -> bytes:
        """One frame, into the digest unless it equals the ``last`` line, and the stack text."""
        code = entry.tb_frame.f_code
        module, qualname = _module(entry.tb_frame), _utf8(code.co_qualname)
        number = line_number(code, entry.tb_lasti)
        line = b"\n%s\x1f%s\x1f%d" % (
            cut_utf8(module, NAME_BYTES),
            cut_utf8(qualname, NAME_BYTES),
            number - code.co_firstlineno,
        )
        if line != last:
            self._digest.update(line)
        self._frames.add(
            _utf8(code.co_filename), b"\x1f", qualname, b"\x1f%d\x1f" % number, module, b"\n"
        )
        return line

    def stack(self, message: bytes, template: bytes) -> bytes:
        """The stack text: type, site, template and first message, a line each, then the frames."""
        text = _Text(STRING_BYTES_MAX)
        for line in (self.type, self.site, template[:HEAD_LINE_BYTES], message[:HEAD_LINE_BYTES]):
            text.add_line(line)
        text.add(bytes(self._frames.data))
        return bytes(text.data)


def type_name(exception: BaseException) -> bytes:
    """``module.qualname`` of the type, ``builtins`` left off; never fails."""
    try:
        kind = type(exception)
        module = kind.__module__
        name = str.__str__(kind.__qualname__)  # a str of a subclass encodes as it likes
        if type(module) is str and module != "builtins":
            name = f"{module}.{name}"
        return cut_utf8(name.encode("utf-8", "replace"), TYPE_NAME_BYTES)
    except BaseException:  # noqa: BLE001 - a metaclass may raise anything
        return b"?"


def line_number(code: CodeType, instruction: int) -> int:
    """Line of the instruction at byte ``instruction``; -1 where it has none."""
    if instruction < 0:
        return code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return -1 if line is None else line
    return -1


def _site(entry: TracebackType) -> bytes:
    """``module:qualname:line``."""
    code = entry.tb_frame.f_code
    return b"%s:%s:%d" % (
        cut_utf8(_module(entry.tb_frame), SITE_NAME_BYTES),
        cut_utf8(_utf8(code.co_qualname), SITE_NAME_BYTES),
        line_number(code, entry.tb_lasti),
    )


def _module(frame: FrameType) -> bytes:
    return _utf8(dict.get(frame.f_globals, "__name__"))


def _utf8(text: object) -> bytes:
    """UTF-8 of a str; ``?`` stands for what has none."""
    return str.encode(text, "utf-8", "replace") if isinstance(text, str) else b"?"


def fingerprint(exc: BaseException) -> int:
    """Stable fingerprint of an exception, computed the slow way: a u64, never 0.

    The same in every process, whatever the addresses, the message or the line a function starts
    at. Raises TypeError for anything but an exception.

    >>> fingerprint(ValueError("a")) == fingerprint(ValueError("b"))
    True
    """
    if not issubclass(type(exc), BaseException):
        raise TypeError(f"exc must be an exception, got {type(exc).__name__}")
    return Portrait(exc).fingerprint
