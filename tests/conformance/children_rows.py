"""Children that write rows, and that are refused."""

from __future__ import annotations

import errno

import raising
from children import Class, bound, kept, raised

# --------------------------------------------------------------------------------------- rows


def every_field(core, path):
    core.configure(classify=lambda exc: (Class(1, 2, 13, 6), True))
    bound(core, path)
    core.record(
        raised(ConnectionError, "lost"),
        operation="charge",
        attempt=65_535,
        duration_nano=2**63 - 1,
        attributes={"a": "b" * 20},
        handled=False,
    )
    core.record(raised(ValueError, "twelve bytes"))
    core.record(raised(ValueError, "thirteen byte"), attributes={"k": 1})


def messages(core, path):
    bound(core, path)
    for _, error in raising.messages():
        core.record(error)


def messages_by_mode(core, path):
    bound(core, path)
    texts = raising.texts_to_redact()
    for mode in ("raw", "redact", "template"):
        core.configure(messages=mode)
        for i, text in enumerate(texts):
            # A site keeps one template: here each text is a site of its own.
            core.record(raised(ValueError, text), operation=f"text {i}")
    core.configure(messages="redact", redact_more=lambda text: text.replace("Alice", "***"))
    core.record(raised(ValueError, "no such user Alice"))
    core.configure(redact_more=lambda text: 1 / 0)
    core.record(raised(ValueError, "no such user Bob"))
    core.configure(redact_more=lambda text: text * 100)
    core.record(raised(ValueError, "grows to more than a thousand bytes"))


def portraits(core, path):
    bound(core, path)
    result = {}
    for name, error in raising.shapes().items():
        core.record(error)
        result[name] = core.fingerprint(error)
    return result


def deep_first(core, path):
    bound(core, path)
    error = raising.caught(raising.deep, 199)
    core.record(error)
    return [core.fingerprint(error)]


def dictionary_codes(core, path):
    bound(core, path)
    for _ in range(3):
        for error in kept(3):
            core.record(error, operation="a")
            core.record(error, operation="b")


def attributes(core, path):
    bound(core, path)
    error = raised(ValueError, "x")
    core.record(error, attributes={})
    core.record(error, attributes={"k": "v" * 4094})
    core.record(error, attributes={"k": "v" * 4095})
    core.configure(encode_attributes=lambda found: 1 / 0)
    core.record(error, attributes={"k": "v"})
    core.configure(encode_attributes=lambda found: "not bytes")
    core.record(error, attributes={"k": "v"})


def traced(core, path):
    bound(core, path)
    error = raised(ValueError, "x")
    core.record(error)
    from opentelemetry import trace

    core.record(error)
    context = trace.SpanContext(
        0x0102030405060708090A0B0C0D0E0F10, 0x1112131415161718, is_remote=False
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        core.record(error)
        token = core.enter("charge")
    core.record(error)
    return token


def classified(core, path):
    """Classifications that hold for a type, that do not, and absurd ones."""
    bound(core, path)
    core.record(kept()[0])  # the first record of a domain makes its dictionary, which flushes
    asked = []

    def classify(exc):
        asked.append(type(exc).__name__)
        if isinstance(exc, OSError):
            return Class(kind=exc.errno % 16), True
        if isinstance(exc, KeyError):
            return Class(kind=len(exc.args)), False
        if isinstance(exc, IndexError):
            return Class(kind=300), True
        if isinstance(exc, RuntimeError):
            raise SystemExit
        return Class(kind=9, severity=21), True

    core.configure(classify=classify)
    answers = []
    for error in (
        *(raised(OSError, code, "no") for code in (errno.ENOENT, errno.EPIPE, errno.ENOENT)),
        *(raised(KeyError, *args) for args in (("a",), ("a", "b"), ("a",))),
        *kept(2, IndexError),
        *kept(2, RuntimeError),
        *kept(2, ZeroDivisionError),
    ):
        answers.append(core.record(error).kind_code)
        answers.append(core.classify(error).kind_code)
    before = len(asked)
    core.flush_caches()
    core.record(kept(1, ZeroDivisionError)[0])
    return {"answers": answers, "asked": asked, "asked_after_flush": len(asked) - before}


def ignored(core, path):
    bound(core, path)
    core.configure(ignore=(LookupError,))
    answer = core.record(raised(KeyError, "x")).kind_code
    core.record(raised(ValueError, "x"))
    core.configure(active=False)
    core.record(raised(ValueError, "x"))
    core.Counter("n").add()
    core.configure(active=True, ignore=())
    core.record(raised(KeyError, "x"))
    return answer


def types_that_come_and_go(core, path):
    """Types and code objects whose addresses are used again never lend their identity."""
    bound(core, path)
    wrong = 0
    for i in range(3000):
        scope = {"__name__": f"module_{i}"}
        exec(f"class Error_{i}(Exception): pass\ndef f(): raise Error_{i}", scope)
        try:
            scope["f"]()
        except Exception as error:
            core.record(error)
            wrong += not core.seen(error)
    return [wrong, core.writer_state()["sites_cached"]]


def modules_without_a_name(core, path):
    """Frames whose globals say nothing, something absurd, or not text."""
    return portraits_of(core, path, [{}, {"__name__": 7}, {"__name__": "a\ud800b"}])


def portraits_of(core, path, scopes):
    bound(core, path)
    found = []
    for scope in scopes:
        code = compile("def f(): raise ValueError('x')\nf()", "<made>", "exec")
        try:
            exec(code, scope)
        except ValueError as error:
            core.record(error)
            found.append(core.fingerprint(error))
    return found


# ---------------------------------------------------------------------------------- refusals


def refusals(core, path):
    bound(core, path)
    error = raised(ValueError, "x")
    counter = core.Counter("n")
    found = []

    def attempt(call, *args, **options):
        try:
            call(*args, **options)
        except (TypeError, ValueError) as refused:
            found.append([type(refused).__name__, str(refused)])
        else:
            found.append(None)

    attempt(core.record, "no exception")
    attempt(core.record, ValueError)
    attempt(core.record, error, operation=7)
    for value in (-1, 0, 65_535, 65_536, 1.0, "1", None, True):
        attempt(core.record, error, attempt=value)
    for value in (-1, 0, 2**63 - 1, 2**63, 0.5):
        attempt(core.record, error, duration_nano=value)
    for value in (-1, 0, 2**63 - 1, 2**63, 1.5, "1"):
        attempt(counter.add, value)
    attempt(core.classify, "no exception")
    attempt(core.fingerprint, "no exception")
    attempt(core.Counter, "")
    attempt(core.Counter, "n" * 255)
    attempt(core.Counter, "é" * 128)
    attempt(core.configure, messages="loud")
    attempt(core.configure, detail_per_second=-1)
    attempt(core.configure, detail_per_second=2**32)
    attempt(core.configure, ignore=(int,))
    return found


def call_forms(core, path):
    """The same call in every form that Python has, then calls that are none; their errors."""
    bound(core, path)
    e = raised(ValueError, "x")
    not_interned = b"operation".decode()
    core.record(e, "a", 3)
    core.record(e, "a", attempt=3)
    core.record(e, operation="a", attempt=3)
    core.record(e, attempt=3, operation="a")
    core.record(e, **{not_interned: "a", "attempt": 3})
    core.record(e, type("Name", (str,), {})("a"), type("Number", (int,), {})(3))
    core.record(exc=e, operation="a", attempt=3)
    core.record(e, "a", 3, 0, None, True)
    core.record(e)
    core.record(e, None)
    core.record(e, None, False)
    core.record(e, attempt=0)
    found = []
    for args, named in (
        ((), {}),
        ((), {"operation": "a", "attempt": 3}),
        ((e, "a"), {"operation": "a"}),
        ((e, "a", 3), {"attempt": 3}),
        ((e, "a"), {"exc": e}),
        ((e,), {"operations": "a"}),
        ((e,), {"attempt": 1 << 70}),
        ((e,), {"attempt": -1}),
        ((e, b"a"), {}),
        ((ValueError, "a"), {}),
        ((e, "a", 3, 0, None, True, 0), {}),
    ):
        try:
            core.record(*args, **named)
        except (TypeError, ValueError) as refused:
            found.append(type(refused).__name__)
        else:
            found.append(None)
    return found


def operation_names(core, path):
    class Text(str):
        def __str__(self):
            raise AssertionError

    bound(core, path)
    error = raised(ValueError, "x")
    long = "é" * 127 + "ab", "é" * 130
    for name in ("", *long, Text("sub"), "?", "\ud800", "a\udfff", "x" + "é" * 512):
        core.record(error, operation=name)
        core.enter(name)


def counter_names(core, path):
    bound(core, path)
    for n, name in enumerate(("?", "\ud800", "\udfff", "\ud83c\udf89")):
        core.Counter(name).add(1 << n)
    try:
        core.Counter("\ud800" * 86)
    except ValueError as refused:
        assert "got 258" in str(refused)
    else:
        raise AssertionError


def counter_values(core, path):
    bound(core, path)
    names = "below", "at", "above"
    for n, name in enumerate(names):
        counter = core.Counter(name)
        for value in (2**63 - 1, 2**63 - 1, n):
            counter.add(value)
        counter.add()
