"""What the tests of this directory do in child processes: one function each."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import threading

import domain_fixture
import raising

PACKAGES = {"cython": "faultplane._core", "python": "faultplane._pure"}


class Class:
    """A classification as the cores see it."""

    def __init__(self, kind=10, category=10, severity=17, flags=0):
        self.kind_code, self.category_code = kind, category
        self.severity_number, self.flag_bits = severity, flags


def main(core_name, name, text):
    core = importlib.import_module(PACKAGES[core_name])
    one = Class()
    core.configure(messages="raw", classify=lambda exc: (one, True), encode_attributes=encode_pairs)
    core.configure(rebind=lambda: None)
    result = globals()[name](core, *json.loads(text))
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    # Without the exit handlers of the package: the directory is the test's.
    os._exit(0)


def encode_pairs(attributes):
    return b";".join(f"{k}={v}".encode() for k, v in attributes.items())


def bound(core, path, **options):
    files = domain_fixture.Files(path, core)
    core.bind(files.binding(**options))
    return files


def raised(make, *args):
    try:
        raise make(*args)
    except BaseException as error:
        return error


def kept(count=1, make=ValueError):
    return [raised(make, f"number {i}") for i in range(count)]


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


# ------------------------------------------------------------------------------------- refusals


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


def operation_names(core, path):
    class Text(str):
        def __str__(self):
            raise AssertionError

    bound(core, path)
    error = raised(ValueError, "x")
    for name in ("", "é" * 127 + "ab", "é" * 130, Text("sub"), "\ud800"):
        core.record(error, operation=name)


# --------------------------------------------------------------------------------------- counts


def before_bind(core, path):
    counter = core.Counter("early")
    for error in kept(3):
        core.record(error, operation="op")
    counter.add(5)
    first = domain_fixture.read_cells(core.own_cells())
    bound(core, path)
    core.record(kept()[0], operation="op")
    counter.add(7)
    core.Counter("early").add()
    core.unbind(False)
    core.record(kept()[0], operation="op")
    last = domain_fixture.read_cells(core.own_cells())
    return [[domain_fixture.drops(cells), counters_and_errors(cells)] for cells in (first, last)]


def counters_and_errors(cells):
    found = {"/".join(key): n for key, n in domain_fixture.errors(cells).items()}
    return found | domain_fixture.counters(cells)


def many_series(core, path, count):
    bound(core, path)
    error = raised(ValueError, "x")
    for i in range(count):
        core.record(error, operation=f"operation number {i:05}")
    core.record(error, operation="operation number 00000")
    core.record(error, operation=f"operation number {count - 1:05}")
    late = core.Counter("late")
    late.add(3)


def budgeted(core, path, rows_per_second, records):
    bound(core, path)
    one, other = raised(ValueError, "x"), raised(KeyError, "x")
    core.record(raised(IndexError, "the first record of a domain makes its dictionary"))
    core.configure(detail_per_second=rows_per_second)
    for _ in range(records):
        core.record(one)
        core.record(other)
    core.configure(detail_per_second=0)


def seen_marks(core):
    import copy
    import pickle

    class Frozen(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    first, second, third = raised(ValueError, "a"), raised(Frozen), raised(ValueError, "b")
    for error in (first, second):
        core.record(error)
    copied = pickle.loads(pickle.dumps(first))
    return [core.seen(error) for error in (first, second, third, "x", None)] + [
        core.seen(copied),
        core.seen(copy.copy(first)),
    ]


def reentrant(core, path):
    """Records made while a record is made: by ``__str__``, and by a signal handler."""
    bound(core, path)
    inner = raised(KeyError, "inner")

    class Chatty(Exception):
        def __str__(self):
            core.record(inner)
            return "chatty"

    core.record(raised(Chatty))
    counts = [0]

    def handler(number, frame):
        counts[0] += 1
        core.record(inner, operation="signal")

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    outer = raised(ValueError, "outer")
    for _ in range(20_000):
        core.record(outer)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return counts[0]


def interrupted(core, path):
    """Signal handlers that raise, anywhere inside a record."""
    bound(core, path)

    class Interrupt(BaseException):
        pass

    def handler(number, frame):
        raise Interrupt

    signal.signal(signal.SIGALRM, handler)
    errors = kept(4)
    acknowledged = attempted = 0
    for i in range(3000):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00001 + i % 60 * 0.000003)
            attempted += 1
            core.record(errors[i % 4], attributes={"i": i} if i % 3 else None)
            acknowledged += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            continue
    return [acknowledged, attempted]


def threads(core, path, count, records):
    bound(core, path)
    counter = core.Counter("n")

    def work(name):
        error = raised(ValueError, name)
        for _ in range(records):
            core.record(error, operation=name)
            counter.add(2)

    workers = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


# -------------------------------------------------------------------------------- lanes, segments


def fill(core, path, records, slot=0, start=0):
    bound(core, path, slot=slot)
    error = raised(ValueError, "filling")
    for i in range(start, start + records):
        core.record(error, duration_nano=i)
    return core.writer_state()


def fill_arena(core, path):
    bound(core, path)
    long = raised(ValueError, "m" * 1000)
    for _ in range(200):
        core.record(long, attributes={"k": "v" * 3000})
    return core.writer_state()["lanes_claimed"]


def closed_under_us(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    for _ in range(10):
        core.record(error)
    ring = files.ring()
    rows = ring.close_lanes_of(0, 1)
    again = ring.close_lanes_of(0, 1)
    for _ in range(10):
        core.record(error)
    return [rows, again, core.writer_state()["rehomed"]]


def sealed_under_us(core, path):
    """The writer's own segment is retired by somebody else between two records."""
    files = bound(core, path)
    error = raised(ValueError, "x")
    for i in range(10):
        core.record(error, duration_nano=i)
    newest = domain_fixture.schema.REGISTRY.offset["segment_newest"]
    files.registry.store(newest, 1 + files.geometry["segments_max"])
    retired = files.ring().retire_over_budget()
    for i in range(10):
        core.record(error, duration_nano=10 + i)
    return [retired, core.writer_state()["rehomed"]]


def prepared_ahead(core, path):
    files = bound(core, path)
    ring = files.ring("maintainer")
    first, second = ring.prepare(), ring.prepare()
    core.record(kept()[0])
    names = sorted(os.listdir(path))
    core.unbind(False)
    return [first, second, names]


def dictionary_generations(core, path, names):
    bound(core, path)
    error = raised(ValueError, "x")
    for i in range(names):
        core.record(error, operation=f"operation-{i:05}-" + "y" * 60)


def foreign_segment(core, path):
    """A file in the place of the next segment that no writer of this layout made."""
    with open(f"{path}/seg-1", "wb") as file:
        file.write(b"garbage")
    bound(core, path)
    for error in kept(3):
        core.record(error)


def no_space(core, path, records):
    bound(core, path)
    error = raised(ValueError, "x" * 90)
    for _ in range(records):
        core.record(error)
    return core.writer_state()


def storage_comes_back(core, path):
    """Refused once, tried again at most once a second, and then used."""
    files = bound(core, path)
    os.rename(path, f"{path}-away")
    os.rename(f"{path}-away", path)
    error = raised(ValueError, "x")
    core.record(error)
    return files.geometry


# ------------------------------------------------------------------------------------- processes


def two_writers(core, path, records):
    """Two processes interleave in one domain; both are children, so that neither is special."""
    children = []
    for slot in (1, 2):
        pid = os.fork()
        if pid == 0:
            fill(core, path, records, slot=slot)
            core.unbind(True)
            os._exit(0)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def forked(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    early = core.Counter("n")
    for _ in range(5):
        core.record(error)
    early.add(5)

    def rebind():
        # What the store does: a slot of its own, and bind.
        core.bind(files.binding(slot=1))

    core.configure(rebind=rebind)
    pid = os.fork()
    if pid == 0:
        states = [core.bound(), core.seen(error)]
        core.record(error)
        early.add(7)
        states.append(core.bound())
        core.record(error)
        core.unbind(True)
        os.write(1, b"") if states[0] is False and states[2] else os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    core.record(error)
    return os.waitstatus_to_exitcode(status)


def forked_before_bind(core, path):
    error = raised(ValueError, "x")
    for _ in range(5):
        core.record(error)
    pid = os.fork()
    if pid == 0:
        bound(core, path, slot=1)
        core.record(error)
        core.unbind(True)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    bound(core, path, slot=0)
    core.unbind(True)
    return os.waitstatus_to_exitcode(status)


def fenced(core, path):
    files = bound(core, path)
    error = raised(ValueError, "x")
    counter = core.Counter("n")
    core.record(error)
    counter.add()
    calls = []

    def rebind():
        calls.append(core.bound())
        core.bind(files.binding(slot=1))

    core.configure(rebind=rebind)
    files.fence(0)
    counter.add(10)
    core.record(error)
    return calls


def rebind_refused(core, path):
    """The hook fails: it is asked at most once a second, and counting goes on."""
    files = bound(core, path)
    calls = []

    def rebind():
        calls.append(1)
        raise OSError("no")

    core.configure(rebind=rebind)
    files.fence(0)
    error = raised(ValueError, "x")
    for _ in range(50):
        core.record(error)
    cells = domain_fixture.read_cells(core.own_cells())
    return [len(calls), domain_fixture.drops(cells), counters_and_errors(cells)]


def inflight(core, path):
    bound(core, path)
    outer = core.enter("outer")
    inner = core.enter("é" * 40, outer)
    tokens = [core.enter("more") for _ in range(255)]
    free = [token for token in tokens if token]
    core.leave(inner)
    core.leave(inner)
    core.leave(0)
    core.leave(99_999)
    for token in free:
        core.leave(token)
    again = core.enter("again", outer)
    return [outer, len(free), tokens.count(0), again]


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


def run_script(core, path):
    import script

    del core
    return script.main(path)
