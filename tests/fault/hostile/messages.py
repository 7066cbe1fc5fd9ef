"""Texts that an exception may have, and arguments that are none."""

from __future__ import annotations

import itertools

from faultplane import schema

from .ledger import READ, caught, raised, shown, throw

CUT = schema.MESSAGE_BYTES_MAX
MEGABYTES = 10_000_000


def ten_megabytes(ledger):
    for unit in ("m", "é", "🎉", "\ud800", "\0", "<&\n"):
        size = len(unit.encode("utf-8", "replace"))
        ledger.record(raised(ValueError, unit * (MEGABYTES // size)))
    ledger.record(raised(ValueError, bytes(MEGABYTES)))
    ledger.record(raised(ValueError, "one", "m" * MEGABYTES))
    ledger.record(raised(OSError, 5, "r" * MEGABYTES, "f" * MEGABYTES))
    ledger.record(raised(KeyError, "k" * MEGABYTES))


def ten_megabytes_of_one_secret(ledger):
    """Runs whose end a redactor may look for again and again."""
    hidden = {
        "password=": "x", "Authorization: Bearer ": "a.b", "token: '": "\\'", "": "4111 ",
        "x@": "a.", "http://u:": "p@", "secret ": "\"'", "a": "://", "api_key": "=",
    }  # fmt: skip
    for start, unit in hidden.items():
        error = raised(ValueError, start + unit * (MEGABYTES // len(unit)))
        ledger.record(error, None)
    for unit in ("a@", "http://", "eyJ", "%", "password=", "secret:", "-", "4", "é@"):
        ledger.record(raised(ValueError, unit * (MEGABYTES // len(unit))), None)


def surrogates_at_every_cut(ledger):
    """Before, on and behind the places where a message is cut and where it is looked at."""
    lone = ("\ud800", "\udfff", "\ud83c\udf89", "\udf89\ud83c")
    for edge, ahead, text in itertools.product((4, CUT, READ), range(-4, 3), lone):
        ledger.record(raised(ValueError, "m" * (edge + ahead) + text + "tail"))
        ledger.record(raised(ValueError, "é" * ((edge + ahead) // 2) + text + "tail"))


def odd_characters(ledger):
    for text in (
        "\0", "a\0b", "\ufeffmark", "\u202eright to left", "e\u0301" * 700, "\uffff", "\U0010ffff",
        "\x7f\x80\x9f", "\r\n\t\v\f", "\x1b[31mred", "\x1e\x1f", "𝒂" * 300,
    ):  # fmt: skip
        ledger.record(raised(ValueError, text))
        ledger.record(raised(KeyError, text))
        ledger.record(raised(OSError, 2, text, text))


class Text(str):
    """A str that says something else wherever it can."""

    __slots__ = ()

    def _lie(self, *_args, **_named):
        raise AssertionError("asked")

    encode = __format__ = __getitem__ = __iter__ = __add__ = __hash__ = __eq__ = _lie

    def __len__(self):
        return 3

    def __str__(self):
        return "of its own"


def odd_arguments(ledger):
    ledger.record(raised(ValueError, Text("sub")), "of its own")
    for args in (
        (b"\xff\xfe",), (None,), (1.5,), (object,), ([],), ((),), (ValueError("inner"),),
        ({"k": "v"},), (range(3),), ("a", "b"), (b"", ""),
    ):  # fmt: skip
        for kind in (ValueError, KeyError, OSError, StopIteration, SystemExit, ImportError):
            ledger.record(raised(kind, *args))
    ledger.record(raised(OSError, 2**70, "large"))
    ledger.record(raised(OSError, -(2**31), "small"))
    ledger.record(raised(OSError, True, "yes"))
    ledger.record(raised(OSError, 2, 7, 8))
    ledger.record(raised(UnicodeDecodeError, "utf-8", b"\xff" * 3, 0, 1, "bad"))
    ledger.record(raised(SyntaxError, "bad", ("file", 3, 5, "line\n")))
    error = raised(OSError, 2, "gone", "name")
    error.errno = error.strerror = error.filename = Text("x")
    ledger.record(error, None)
    error = raised(UnicodeDecodeError, "utf-8", b"\xff", 0, 1, "bad")
    error.start, error.end = -5, 1 << 40
    ledger.record(error, None)
    ledger.record(UnicodeDecodeError.__new__(UnicodeDecodeError), None)
    ledger.record(OSError.__new__(OSError), None)


def notes(ledger):
    many = raised(ValueError, "many")
    for i in range(10_000):
        many.add_note(f"note {i}" * 10)
    ledger.record(many)
    for odd in (7, "text", None, [b"bytes", 7, None], {}):
        error = raised(ValueError, "odd")
        error.__notes__ = odd
        ledger.record(error)


class Fields(Exception):
    """Properties in the place of every field of an exception."""

    def _asked(self):
        raise AssertionError("asked")

    args = property(_asked)
    __traceback__ = property(_asked)
    __cause__ = property(_asked)
    __context__ = property(_asked)
    __suppress_context__ = property(_asked)
    __notes__ = property(_asked)
    __dict__ = property(_asked)
    __class__ = property(lambda _: int)


class Slots(Exception):
    __slots__ = ("args", "errno")

    def __getattribute__(self, name):
        raise SystemExit(name)


def fields_of_their_own(ledger):
    ledger.record(raised(Fields, "shown all the same"), "shown all the same")
    ledger.record(raised(Slots, "shown all the same"), "shown all the same")

    class Group(ExceptionGroup):
        exceptions = property(lambda _: (7, object()))

    ledger.record(caught(throw, Group("several", [ValueError(1), KeyError(2)])))


class Told(dict):
    """Attributes whose encoding does something to the exception."""

    def __init__(self, error, do):
        super().__init__(k="v")
        self.error, self.do = error, do

    def items(self):
        self.do(self.error)
        return super().items()


def changed_by_attributes(ledger):
    def forget(error):
        error.args = ()
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error.__dict__.clear()

    def replace(error):
        forget(error)
        error.args = ("another",)
        error.__class__ = KeyError if type(error) is ValueError else type(error)

    for do in (forget, replace):
        error = raised(ValueError, "".join(["the first message ", "a" * 700]))
        error.__cause__ = raised(KeyError, "cause")
        first = shown(str(error))
        ledger.record(error, first, "", 0, attributes=Told(error, do))
