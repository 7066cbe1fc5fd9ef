"""Exceptions of many shapes, raised for real. Line numbers matter: both cores run this file."""

from __future__ import annotations

import types


def caught(function, *args):
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("did not raise")


def throw(error):
    raise error


# -------------------------------------------------------------------------------------- messages


class Failing(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Exiting(Exception):
    def __str__(self):
        raise SystemExit


class Recursing(Exception):
    def __str__(self):
        return str(self)


class NotText(Exception):
    def __str__(self):
        return 7  # noqa: PLE0307


class OddText(str):
    def encode(self, *args):
        raise AssertionError("the text's own method must not run")


class Odd(Exception):
    def __str__(self):
        return OddText("odd")


class Mine(Exception):
    def __str__(self):
        return f"mine: {self.args}"


def messages():
    """(Text that a row must show, exception)."""
    cut = "<exception str() failed>"
    found = [
        ("", ValueError()),
        ("plain", ValueError("plain")),
        ("('two', 'arguments')", ValueError("two", "arguments")),
        ("7", ValueError(7)),
        ("'key'", KeyError("key")),
        ('"it\'s"', KeyError("it's")),
        ("7", KeyError(7)),
        ("('a', 'b')", KeyError("a", "b")),
        ("", KeyError()),
        ("[Errno 2] No such file or directory", OSError(2, "No such file or directory")),
        ("[Errno 2] gone: 'a/b'", OSError(2, "gone", "a/b")),
        ("[Errno 2] gone: 'a' -> 'b'", OSError(2, "gone", "a", None, "b")),
        ("[Errno 2] gone: b'raw'", OSError(2, "gone", b"raw")),
        ('[Errno 2] gone: "it\'s"', OSError(2, "gone", "it's")),
        ("[Errno 2] gone: 'ü'", OSError(2, "gone", "ü")),
        ("[Errno -3] odd", OSError(-3, "odd")),
        ("[Errno 123456] large", OSError(123_456, "large")),
        ("only text", OSError("only text")),
        ("[Errno x] y", OSError("x", "y")),
        ("grüße, 你好, 🎉", ValueError("grüße, 你好, 🎉")),
        ("a\ufffdb", ValueError("a\ud800b")),
        ("a\ufffdb", ValueError("a\udfffb")),
        ("🎉", ValueError("\ud83c\udf89")),
        ("'\\ud800'", KeyError("\ud800")),
        ("nul\x00inside", ValueError("nul\x00inside")),
        ("two\nlines", ValueError("two\nlines")),
        (cut, Failing()),
        (cut, Exiting()),
        (cut, Recursing()),
        (cut, NotText()),
        ("odd", Odd()),
        ("odd", ValueError(OddText("odd"))),
        ("mine: ('x',)", Mine("x")),
        ("m" * 1024, ValueError("m" * 1024)),
        ("m" * 1024, ValueError("m" * 1025)),
        ("m" * 1023, ValueError("m" * 1023 + "é")),
        ("é" * 512, ValueError("é" * 512)),
        ("é" * 512, ValueError("é" * 5000)),
        ("m" * 1024, ValueError("m" * 10_000_000)),
        ("🎉" * 256, ValueError("🎉" * 3_000_000)),
        ("x" + "\ufffd" * 341, ValueError("x" + "\ud800" * 5000)),
        ("🎉" * 256, ValueError("\ud83c\udf89" * 4096)),
        ("x" + "🎉" * 255, ValueError("x" + "\ud83c\udf89" * 4096)),
    ]  # fmt: skip
    return [(text, caught(throw, error)) for text, error in found]


def texts_to_redact():
    """Messages with and without something to hide, at the edges of their length."""
    return [
        "nothing to hide here",
        "cannot connect to postgresql://app:hunter2@db/orders",
        "card 4111 1111 1111 1111 was declined, token=abcdef0123456789",
        "mail to alice@example.com failed: 550",
        "password=hunter2 " * 100,
        "x" * 1010 + " password=hunter2secret",
        "x" * 1100 + " password=hunter2secret",
        "é" * 600 + " password=hunter2secret",
        "user 17 of 4096 at 0x7f00deadbeef in /var/lib/x/y.db",
        "",
    ]


# ---------------------------------------------------------------------------------------- shapes


def deep(n):
    if n:
        deep(n - 1)
    raise ValueError("deep")


def mutual(n):
    mutual_back(n)


def mutual_back(n):
    if n == 0:
        raise ValueError("mutual")
    mutual(n - 1)


def with_cause():
    try:
        deep(2)
    except ValueError as error:
        raise RuntimeError("outer") from error


def with_context():
    try:
        deep(2)
    except ValueError:
        raise RuntimeError("outer")


def suppressed():
    try:
        deep(2)
    except ValueError:
        raise RuntimeError("outer") from None


def chain(n):
    if n == 0:
        raise ValueError("first")
    try:
        chain(n - 1)
    except ValueError as error:
        raise ValueError(f"{n}") from error


def cycle():
    a, b = caught(deep, 1), caught(deep, 2)
    a.__cause__, b.__cause__ = b, a
    return a


def cycle_beyond():
    first = cycle()
    top = caught(deep, 0)
    top.__cause__ = first
    return top


def self_context():
    error = caught(deep, 0)
    error.__cause__ = error
    return error


def group():
    raise ExceptionGroup("several", [caught(deep, 1), caught(with_cause), ValueError("bare")])


def nested_group(depth):
    error = caught(deep, 0)
    for _ in range(depth):
        error = caught(throw, ExceptionGroup("nested", [error, KeyError("k")]))
    return error


def wide_group():
    raise BaseExceptionGroup("wide", [caught(throw, KeyError(i)) for i in range(40)])


def executed(name):
    code = compile("def f():\n  raise ValueError('x')\n\nf()", "<made>", "exec")
    scope = {} if name is None else {"__name__": name}
    return caught(exec, code, scope)


def in_class():
    class Inner:
        def method(self):
            return [self.thrower() for _ in range(1)]

        @staticmethod
        def thrower():
            (lambda: throw(Local("x")))()  # noqa: PLC3002

    class Local(Exception):
        pass

    return caught(Inner().method)


def other_line():
    """A traceback that somebody rewrote, as template engines do."""
    error = caught(deep, 1)
    entry = error.__traceback__
    frame = entry.tb_next.tb_frame
    return error.with_traceback(types.TracebackType(None, frame, entry.tb_next.tb_lasti, 7))


def no_line():
    """A traceback of an instruction that no line stands for: the end of an except block."""
    error = caught(with_cause)
    frame = error.__traceback__.tb_next.tb_frame
    starts = [start for start, _, line in frame.f_code.co_lines() if line is None]
    return error.with_traceback(types.TracebackType(None, frame, (starts or [-1])[-1], 1))


class Meta(type):
    @property
    def __module__(cls):
        raise RuntimeError("no module")


class Unnamed(Exception, metaclass=Meta):
    pass


class Overridden(Exception):
    """Properties in the place of an exception's own fields must not be asked."""

    @property
    def __traceback__(self):
        raise AssertionError

    @property
    def __cause__(self):
        raise AssertionError

    @property
    def args(self):
        raise AssertionError


def overridden():
    try:
        raise Overridden("x")
    except Overridden as error:
        return error


def long_names():
    name = "f" * 3000
    scope = {"__name__": "m" * 3000}
    code = compile(f"def {name}():\n  raise ValueError('x')\n\n{name}()", "p" * 3000, "exec")
    return caught(exec, code, scope)


def many_long_frames():
    scope = {"__name__": "m" * 100}
    text = "def f(n):\n  if n: f(n - 1)\n  raise ValueError('x')\n\nf(60)"
    return caught(exec, compile(text, "p" * 300, "exec"), scope)


def multi_line_message():
    return caught(throw, ValueError("first\nsecond\\n\n" + "third " * 300))


def shapes():
    """Every shape by name; each exception is raised at a place of its own."""
    return {
        "nested": caught(deep, 5),
        "64 deep": caught(deep, 61),
        "65 deep": caught(deep, 62),
        "66 deep": caught(deep, 63),
        "200 deep": caught(deep, 200),
        "mutual": caught(mutual, 50),
        "cause": caught(with_cause),
        "context": caught(with_context),
        "suppressed": caught(suppressed),
        "chain of 8": caught(chain, 8),
        "chain of 12": caught(chain, 12),
        "cycle": cycle(),
        "cycle beyond": cycle_beyond(),
        "own cause": self_context(),
        "group": caught(group),
        "nested group": nested_group(3),
        "very nested group": nested_group(8),
        "wide group": caught(wide_group),
        "never raised": ValueError("bare"),
        "never raised, with a cause": _with_cause(ValueError("bare"), caught(deep, 1)),
        "executed": executed("plugin"),
        "executed without a name": executed(None),
        "in a class": in_class(),
        "other line": other_line(),
        "no line": no_line(),
        "unnamed": caught(throw, Unnamed("x")),
        "overridden": overridden(),
        "long names": long_names(),
        "many long frames": many_long_frames(),
        "multi-line message": multi_line_message(),
        "system exit": caught(throw, SystemExit(3)),
    }


def _with_cause(error, cause):
    error.__cause__ = cause
    return error
