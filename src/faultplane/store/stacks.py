"""Stacks as they were interned at the first sighting of an error, with source lines added here.

The process that failed stores file names and line numbers only. Whoever looks at them reads the
source, where that costs nobody: it is the source as it is now, on this host.
"""

from __future__ import annotations

import linecache
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from faultplane import schema
from faultplane.store.dictionaries import DictionaryFile

SOURCE_BYTES_MAX: Final = 16 << 20
PARTS_MAX: Final = 1 + schema.CHAIN_MAX + schema.GROUP_MAX**2
_FIELD: Final = "\x1f"
_MARK: Final = "\x1e"
_RELATIONS: Final = {
    "cause": "The above exception was the direct cause of the following exception:",
    "context": "During handling of the above exception, another exception occurred:",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack. ``source`` is the text of its line, "" where it cannot be read.

    ``elided`` counts the frames left out in its place; the other fields are empty then.
    """

    filename: str = ""
    qualname: str = ""
    line: int = 0
    module: str = ""
    source: str = ""
    elided: int = 0

    def __str__(self) -> str:
        if self.elided:
            return f"  [{self.elided} frames left out]"
        text = f'  File "{self.filename}", line {self.line}, in {self.qualname}'
        return f"{text}\n    {self.source}" if self.source else text


@dataclass(frozen=True, slots=True)
class Part:
    """One exception of a chain or group; ``relation`` to the one before: cause, context, member.

    The first has the relation "". Messages are kept for the first only.
    """

    relation: str
    type: str
    frames: tuple[Frame, ...]

    def lines(self, message: str = "") -> Iterator[str]:
        """The lines that a traceback prints for it."""
        if self.frames:
            yield "Traceback (most recent call last):"
            yield from map(str, self.frames)
        name = self.type.removeprefix("builtins.")
        yield f"{name}: {message}" if message else name


@dataclass(frozen=True, slots=True)
class Stack:
    """What one error looks like: ``str()`` of it reads like a traceback.

    ``message`` is the first one that was seen, ``template`` what messages have in common.
    """

    fingerprint: int
    type: str
    site: str
    template: str
    message: str
    parts: tuple[Part, ...]

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Frames of the exception itself, outermost first."""
        return self.parts[0].frames

    def __str__(self) -> str:
        chain = [part for part in self.parts if part.relation != "member"]
        members = [part for part in self.parts if part.relation == "member"]
        lines: list[str] = []
        # As Python prints them: what came first is printed first.
        for part in reversed(chain):
            lines += part.lines(self.message if not part.relation else "")
            if part.relation:
                lines += ["", _RELATIONS.get(part.relation, part.relation), ""]
        for number, part in enumerate(members, 1):
            lines.append(f"  +---------------- {number} ----------------")
            for text in part.lines():
                lines += [f"  | {line}" for line in text.split("\n")]
        return "\n".join(lines)


def parse(fingerprint: int, data: bytes) -> Stack:
    r"""The stack that an entry of a stack dictionary holds; what is missing is empty.

    >>> frame = b"shop.py\x1fbuy\x1f3\x1fshop"
    >>> print(parse(7, b"KeyError\nshop:buy:3\n'<text>'\n'sku'\n" + frame))
    Traceback (most recent call last):
      File "shop.py", line 3, in buy
    KeyError: 'sku'
    """
    lines = data.decode("utf-8", "replace").split("\n")
    name, site, template, message = (*lines[:4], "", "", "", "")[:4]
    parts: list[tuple[str, str, list[Frame]]] = [("", name, [])]
    for line in filter(None, lines[4:]):
        if not line.startswith(_MARK):
            parts[-1][2].append(_frame(line))
            continue
        word, _, rest = line[1:].partition(_FIELD)
        if word == "elided":
            parts[-1][2].append(Frame(elided=_number(rest)))
        elif len(parts) < PARTS_MAX:
            parts.append((word, rest, []))
    return Stack(
        fingerprint,
        name,
        site,
        _unescape(template),
        _unescape(message),
        tuple(Part(relation, kind, tuple(frames)) for relation, kind, frames in parts),
    )


def _frame(line: str) -> Frame:
    filename, qualname, number, module = (*line.split(_FIELD), "", "", "", "")[:4]
    return Frame(filename, qualname, _number(number), module)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n")


def with_source(stack: Stack) -> Stack:
    """The same stack with the source text of each frame, as far as its file can be read."""
    parts = tuple(
        replace(part, frames=tuple(replace(f, source=_source(f)) for f in part.frames))
        for part in stack.parts
    )
    return replace(stack, parts=parts)


def _source(frame: Frame) -> str:
    """The line of a frame; "" unless it is in a regular file of at most 16 MiB."""
    if not frame.line or not frame.filename:
        return ""
    try:
        status = os.stat(frame.filename)
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(status.st_mode) or status.st_size > SOURCE_BYTES_MAX:
        return ""
    linecache.checkcache(frame.filename)
    return linecache.getline(frame.filename, frame.line).strip()


# ---------------------------------------------------------------------------------- dictionary


def find(file: DictionaryFile, fingerprint: int) -> Stack | None:
    """The first stack of that fingerprint in a dictionary, without source."""
    for code, key in enumerate(file.keys()):
        if key == fingerprint and (data := file.get(code)):
            return parse(fingerprint, data)
    return None


def read_all(file: DictionaryFile) -> Iterator[Stack]:
    """Every stack in a dictionary, without source.

    A writer hands each byte out once: entries that together are longer than the file are damaged,
    and would be a thousand times its size when they are read.
    """
    left = file.bytes_max
    for code, key in enumerate(file.keys()):
        if data := file.get(code):
            left -= len(data)
            if left < 0:
                return
            yield parse(key, data)
