"""Changes that know the structure of a file: fields get values that decide, parts change places.

libFuzzer's own mutations (of the bytes of a case) are one way among others; all take the random
numbers from ``rng``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from fuzz.cases import (
    COPY,
    CUT,
    FILL,
    GROWTH_MAX,
    INSERT,
    REPAIRED,
    RESIZED,
    WRITE,
    Case,
    Change,
    decode,
    encode,
)
from fuzz.places import Place

TEXTS: Final = (
    b"null", b"true", b"[]", b"{}", b"[1]", b'{"a":1}', b'""', b'"x"', b'"\\ud800"', b'"\\u0000"',
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"1" * 40, b"9" * 120,
    b"18446744073709551615", b"18446744073709551616", b"9223372036854775808", b"[" * 200,
    b'{"a":' * 40, b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\n", b"\x1f", b"\x1e", b"\x1b[31m",
    b'{"incarnation":1,', b'{"service.name":', b'File "x", line 3 in f', b"\\n", b"elided\x1f7",
    b"Fatal Python error: Segmentation fault\n", b"\xf0\x9f\x92\xa5", b",", b"}", b"]",
)  # fmt: skip
"""What texts of the files hold, and what JSON readers stumble over."""
FOREIGN_SHARE: Final = 1 / 32
WALK_GOES_ON: Final = 0.8
RESIZED_KEPT: Final = 0.1
FILLED: Final = (8, 64, 512) * 4 + (4096, 4096, 20_000, 65_535)
"""Bytes that are filled: seldom many, which make entries by the hundred, one like the other."""
FILLED_MUCH: Final = 2048


def _fills_much(case: Case) -> bool:
    return sum(change.length for change in case.changes) > FILLED_MUCH


class Mutator:
    """Changes cases of one kind of file. ``places`` has those of each of the ``bases``."""

    def __init__(
        self,
        bases: Sequence[bytes],
        places: Sequence[Sequence[Place]],
        rng: random.Random,
        is_text: bool,
    ) -> None:
        self._bases = bases
        self._places = places
        self._rng = rng
        self._random = rng.random
        self._is_text = is_text
        steps: list[tuple[int, Callable[[Case], Case]]] = [
            (8, self._set_field),
            (2, self._change_value),
            (2, self._drop),
            (2, self._copy),
            (1, self._fill),
            (1, self._resize),
            (1, self._other_base),
            (1, self._flip_repair),
            (6 if is_text else 1, self._set_text),
        ]
        self._steps = [step for weight, step in steps for _ in range(weight)]

    def mutate(self, data: bytes, max_size: int, foreign: Callable[[bytes], bytes]) -> bytes:
        """Another case; ``foreign`` is a mutation that knows nothing of cases."""
        rng = self._rng
        if data and rng.random() < 0.1:
            return foreign(data)[:max_size]
        case = decode(data) if data else Case(rng.randrange(len(self._bases)), REPAIRED, -1, ())
        for _ in range(1 if rng.random() < 0.6 else rng.randrange(2, 5)):
            case = self._pick(self._steps)(case)
        return encode(case)[:max_size]

    def walk(self, known: Sequence[Case], is_read: Callable[[], bool]) -> Iterator[Case]:
        """Cases without end, each a step from the one before until a walk from a known one ends.

        That is by chance, or when the case before was refused (``is_read`` says): whatever comes
        of it would be refused as well. Bytes that may mean anything are one case in 32.
        """
        rng, random = self._rng, self._random
        while True:
            if random() < FOREIGN_SHARE:
                yield decode(rng.randbytes(rng.randrange(2, 64)))
                continue
            case = self._pick(known)
            for _ in range(rng.randrange(1, 4)):
                case = self._pick(self._steps)(case)
            yield self._of_its_size(case)
            while random() < WALK_GOES_ON and is_read() and not _fills_much(case):
                case = self._of_its_size(self._pick(self._steps)(case))
                yield case

    def _of_its_size(self, case: Case) -> Case:
        """The case, most times without another size: most readers refuse that at first sight."""
        if self._is_text or not case.flags & RESIZED or self._random() < RESIZED_KEPT:
            return case
        return case._replace(flags=case.flags & ~RESIZED, size=-1)

    def cross(self, one: bytes, other: bytes, max_size: int) -> bytes:
        """Some changes of two cases, on the base of the first."""
        first, second = decode(one), decode(other)
        changes = first.changes + second.changes
        kept = tuple(c for c in changes if self._rng.random() < 0.7)
        return encode(first._replace(changes=kept))[:max_size]

    # ---------------------------------------------------------------------------------- steps

    def _pick(self, of: Sequence[Any]) -> Any:
        """As ``random.choice``, which takes four times as long."""
        return of[int(self._random() * len(of))]

    def _index(self, case: Case) -> int:
        return case.base % len(self._bases)

    def _place(self, case: Case) -> Place:
        index = self._index(case)
        if self._random() < 0.9:
            return self._pick(self._places[index])
        return Place(int(self._random() * len(self._bases[index])), self._pick((1, 2, 4, 8)))

    def _value(self, index: int, place: Place) -> bytes:
        """Bytes for a field: near what is there, at a bound, or anything."""
        rng, width, base = self._rng, place.width, self._bases[index]
        if width not in (1, 2, 4, 8):
            return rng.randbytes(width) if rng.random() < 0.7 else bytes(width)
        now = int.from_bytes(base[place.offset : place.offset + width], "little")
        bits = 8 * width
        choice = int(self._random() * 7)
        if choice == 0:
            value = now + self._pick((-64, -16, -8, -1, 1, 8, 16, 64, 4096, 512))
        elif choice == 1:
            value = now ^ 1 << int(self._random() * bits)
        elif choice == 2:
            value = self._pick((0, 1, 2, 3, 64, 255, 512, 513, 4096, 16_383, 16_384, 65_535))
        elif choice == 3:
            value = (1 << int(self._random() * (bits + 1))) - int(self._random() * 3)
        elif choice == 4:
            value = len(base) + self._pick((-8, -1, 0, 1, 8, 4096))
        elif choice == 5:
            other = self._pick(self._places[index])
            value = int.from_bytes(base[other.offset : other.offset + width], "little")
        else:
            value = rng.getrandbits(bits)
        return (value & (1 << bits) - 1).to_bytes(width, "little")

    def _add(self, case: Case, *changes: Change) -> Case:
        kept = case.changes if len(case.changes) < 16 else case.changes[-8:]
        return Case(case.base, case.flags, case.size, (*kept, *changes))

    def _set_field(self, case: Case) -> Case:
        if self._is_text:
            return self._set_text(case)
        place = self._place(case)
        return self._add(
            case, Change(WRITE, place.offset, data=self._value(self._index(case), place))
        )

    def _change_value(self, case: Case) -> Case:
        written = [n for n, c in enumerate(case.changes) if c.operation == WRITE and c.data]
        if not written:
            return self._set_field(case)
        at = self._rng.choice(written)
        change = case.changes[at]
        place = Place(change.offset % len(self._bases[self._index(case)]), len(change.data))
        new = change._replace(data=self._value(self._index(case), place))
        return case._replace(changes=(*case.changes[:at], new, *case.changes[at + 1 :]))

    def _drop(self, case: Case) -> Case:
        if not case.changes:
            return self._set_field(case)
        at = self._rng.randrange(len(case.changes))
        return case._replace(changes=case.changes[:at] + case.changes[at + 1 :])

    def _copy(self, case: Case) -> Case:
        target, source = self._place(case), self._place(case)
        length = self._pick((target.width, 16, 64, 128, 512, 4096))
        return self._add(case, Change(COPY, target.offset, source.offset, length))

    def _fill(self, case: Case) -> Case:
        value = self._pick((b"\0", b"\xff", b"\x01", b"[", b"{", b'"'))
        length = self._pick(FILLED)
        return self._add(case, Change(FILL, self._place(case).offset, 0, length, value))

    def _resize(self, case: Case) -> Case:
        if case.flags & RESIZED and self._rng.random() < 0.5:
            return case._replace(flags=case.flags & ~RESIZED, size=-1)
        size = len(self._bases[self._index(case)])
        near = self._pick((size, 4096, 0, self._place(case).offset))
        wanted = max(near + self._pick((-4096, -8, -1, 0, 1, 8, 4096)), 0)
        return case._replace(flags=case.flags | RESIZED, size=wanted % (size + GROWTH_MAX))

    def _other_base(self, case: Case) -> Case:
        return case._replace(base=self._rng.randrange(len(self._bases)))

    def _flip_repair(self, case: Case) -> Case:
        if case.flags & REPAIRED and self._rng.random() < 0.8:
            return self._set_field(case)
        return case._replace(flags=case.flags ^ REPAIRED)

    def _set_text(self, case: Case) -> Case:
        """A text in the place of a value: what was there is cut away, where lengths may change."""
        text = self._pick(TEXTS)
        place = self._place(case)
        if not self._is_text:
            return self._add(case, Change(WRITE, place.offset, data=text))
        base = self._bases[self._index(case)]
        ends = [
            at for mark in b',]}"\n' if (at := base.find(bytes((mark,)), place.offset)) >= 0
        ]  # fmt: skip
        length = min(ends, default=place.offset) - place.offset
        changes = [Change(INSERT, place.offset, data=text)]
        if self._rng.random() < 0.8:
            changes.insert(0, Change(CUT, place.offset, 0, min(length, 0xFFFF)))
        return self._add(case, *changes)
