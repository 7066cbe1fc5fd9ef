"""Children whose exceptions, and what is recorded with them, do not hold still."""

from __future__ import annotations

import sys
import weakref

import raising
from children import bound, kept, raised


def args_replaced(core, path):
    """Encoding the attributes gives the exception another message, and uses the memory again."""
    bound(core, path)
    error = ValueError("".join(["the first message ", "a" * 700]))
    used_again = []

    class Attributes(dict):
        def items(self):
            error.args = ()
            used_again.extend("z" * n for n in range(600, 800) for _ in range(3))
            return super().items()

    core.record(error, attributes=Attributes(k="v"))
    return len(used_again)


def chain_replaced(core, path):
    """Asking for the name of a cause's type takes the cause away."""
    bound(core, path)

    class Asked(type):
        def __getattribute__(cls, name):
            error.__cause__ = None
            return super().__getattribute__(name)

    class CauseError(ValueError, metaclass=Asked):
        pass

    error = raised(KeyError, "outer")
    error.__cause__ = CauseError("inner")
    core.record(error)


def names_of_their_own(core, path):
    bound(core, path)

    class Name(str):
        __slots__ = ()

        def encode(self, *_):
            return [0] * 1000

        def __format__(self, _):
            return Name(self)

    for module in ("builtins", "shop", 5):
        kind = type("Error", (ValueError,), {"__module__": module})
        kind.__qualname__ = Name("Charge.Error")
        core.record(raised(kind, "x"))


def innermost_of_deep_stacks(core, path):
    """Two errors whose outermost five thousand frames are the same."""
    bound(core, path)
    sys.setrecursionlimit(20_000)

    def down(n, last):
        return down(n - 1, last) if n else last()

    ends = (lambda: raising.deep(0), lambda: raising.mutual(0))
    errors = [raising.caught(down, 5000, end) for end in ends]
    for error in errors:
        core.record(error)
    return [core.fingerprint(error) for error in errors]


def records_while_binding(core, path):
    """Forgetting a code object, as bind() does, runs a callback that records."""
    scope = {}
    exec(compile("def forgotten():\n raise KeyError", "forgotten", "exec"), scope)
    late = kept(1)[0]
    calls = []

    def record_late(_):
        calls.append(core.bound())
        core.record(late)

    guard = weakref.ref(scope["forgotten"].__code__, record_late)
    core.record(raising.caught(scope.pop("forgotten")))
    bound(core, path)
    del guard
    core.record(late)
    return [calls, core.bound()]
