"""Types whose metaclass lies, fails or changes its mind."""

from __future__ import annotations

import gc

from .ledger import raised


class Asked(type):
    """Fails whenever Python asks the class something."""

    def _fail(cls, *_args, **_named):
        raise RuntimeError("asked")

    __eq__ = __hash__ = __getattribute__ = __instancecheck__ = __call__ = _fail
    __repr__ = __str__ = __dir__ = __bool__ = __len__ = __iter__ = __subclasses__ = _fail


class AskedMore(Asked):
    __subclasscheck__ = Asked._fail  # the interpreter asks it in a ``raise``


def metaclass_that_fails(ledger):
    raised_ones = (raised(type.__call__, Asked("Failing", (ValueError,), {}), "x") for _ in "abc")
    for error in (*raised_ones, type.__call__(AskedMore("Failing", (ValueError,), {}), "x")):
        for _ in range(3):
            ledger.record(error, "x", "?")


def names_that_are_none(ledger):
    """What ``__name__``, ``__qualname__`` and ``__module__`` may be."""

    class Named(type):
        def __getattribute__(cls, name):
            if name in ("__module__", "__qualname__", "__name__"):
                return type.__getattribute__(cls, "said")
            return super().__getattribute__(name)

    for said in (None, 7, b"bytes", "", "n" * 10_000_000, "é" * 600, "\ud800", "a\0b", "a\nb", []):
        kind = Named("Kind", (ValueError,), {"said": said})
        error = raised(kind, "x")
        for _ in range(2):
            ledger.record(error, "x", "")
    for module in (None, 7, "", "m" * 100_000, "\ud800", "a\0b", "a\nb"):
        kind = type("Kind", (ValueError,), {"__module__": module})
        ledger.record(raised(kind, "x"), "x", "")


def names_that_change(ledger):
    """A row has the name that its type had at first sight, and the counts have one series."""
    ledger.record(raised(ValueError, "the first of a domain, which makes its dictionary"))
    kind = type("First", (ValueError,), {"__module__": "shop"})
    error = raised(kind, "x")
    ledger.record(error, "x", "shop.First")
    before = ledger.entries[-1][2]
    kind.__qualname__, kind.__module__ = "Second", "other"
    ledger.record(error, "x", "shop.First", before)


def metaclass_that_meddles(ledger):
    """Asking for a name takes away what is being looked at."""

    class Meddling(type):
        def __getattribute__(cls, name):
            if victims:
                victim = victims.pop()
                victim.__traceback__ = victim.__cause__ = victim.__context__ = None
                victim.args = ()
                kept.append([bytes(n) for n in range(16, 600)])
                gc.collect()
            return super().__getattribute__(name)

    victims, kept = [], []
    for how in ("itself", "cause", "context", "member"):
        kind = Meddling("Meddling", (ValueError,), {})
        inner = raised(kind, "inner")
        if how == "itself":
            error = inner
        elif how == "member":
            error = raised(lambda inner=inner: ExceptionGroup("several", [inner, raised(KeyError)]))
        else:
            error = raised(KeyError, "outer")
            setattr(error, f"__{how}__", inner)
            inner.__cause__ = raised(OSError, 2, "innermost")
        for victim in (error, inner):
            victims.append(victim)
            ledger.record(error, None, fingerprint=0, name="")
        for _ in range(3):
            ledger.record(error, None)


def class_that_lies(ledger):
    class Liar(ValueError):
        __class__ = property(lambda _: KeyError)

    ledger.record(raised(Liar, "x"), "x")

    class Changing(ValueError):
        pass

    error = raised(Changing, "x")
    ledger.record(error, "x")
    error.__class__ = type("Changed", (ValueError,), {})
    ledger.record(error, "x")


def records_when_asked_for_its_name(ledger):
    class Recording(type):
        def __getattribute__(cls, name):
            if name == "__module__" and len(asked) < 2:
                asked.append(name)
                ledger.record(raised(KeyError, "from the metaclass"), row=False)
            return super().__getattribute__(name)

    asked = []
    ledger.record(raised(ValueError, "the first of a domain, which makes its dictionary"))
    ledger.record(raised(Recording("Recording", (ValueError,), {}), "x"), "x", fingerprint=0)
