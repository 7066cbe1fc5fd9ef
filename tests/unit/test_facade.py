"""The facade: which names there are, that they cost nothing, and that they are what they say."""

from __future__ import annotations

import ast
import inspect
import os
import types
from pathlib import Path
from typing import Any

import pytest

import faultplane as fp
from faultplane import _backend

PROMISED = {
    "init", "install_hooks", "record", "classify", "capture", "counter", "attach", "core",
    "Classification", "set_active", "rule", "register_rule", "RecordingHandler",
}  # fmt: skip


def test_every_promised_name_is_there_and_listed() -> None:
    assert set(fp.__all__) >= PROMISED
    assert list(fp.__all__) == sorted(fp.__all__, key=str)
    for name in fp.__all__:
        assert getattr(fp, name) is not None
    assert set(fp.__all__) <= set(dir(fp))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'faultplane' has no attribute 'nothing'"):
        fp.nothing


def test_the_hot_names_are_the_cores_own_objects() -> None:
    assert fp.record is _backend.core.record
    assert fp.classify is _backend.core.classify
    assert fp.counter is _backend.core.Counter
    assert fp.core == _backend.CORE_NAME == _backend.core.NAME
    if fp.core == "cython":
        assert isinstance(fp.record, types.BuiltinFunctionType)


def test_functions_stay_functions_when_packages_of_the_same_name_are_imported(
    run_python: Any,
) -> None:
    run_python("""
import faultplane as fp
import faultplane.capture.run, faultplane.classify.rules
from faultplane.capture import hooks, start
from faultplane.classify import kinds
import importlib, pickle
importlib.import_module("faultplane.capture.attributes")
assert isinstance(fp.capture, type) and fp.capture.__name__ == "capture"
answer = fp.classify(KeyError("x"))
assert pickle.loads(pickle.dumps(answer)) == answer
assert hooks.install_hooks is fp.install_hooks and start.init is fp.init
""")


@pytest.mark.parametrize(
    "first", ["faultplane.capture.block", "faultplane.classify.rules", "faultplane.schema"]
)
def test_the_order_of_imports_does_not_matter(first: str, run_python: Any) -> None:
    run_python(f"""
import {first}
import faultplane as fp
fp.classify(KeyError("x"))
with fp.capture("x", reraise=False):
    raise KeyError
""")


def unmeasured() -> dict[str, None]:
    """Variables to leave out, or a child would import what coverage needs."""
    return {name: None for name in os.environ if name.startswith("COVERAGE_")}


# Names from Python's library that importing brings; private ones and those of the interpreter's own
# start are left out, because they differ between versions.
AT_IMPORT = {
    "cython": {"importlib", "warnings"},
    "python": {
        "atexit", "collections", "contextlib", "contextvars", "copyreg", "enum", "errno",
        "faulthandler", "fcntl", "functools", "importlib", "itertools", "keyword", "mmap",
        "operator", "re", "reprlib", "string", "struct", "threading", "types", "typing",
        "warnings", "zlib",
    },
}  # fmt: skip
AT_INIT = {
    "atexit", "collections", "contextlib", "contextvars", "copyreg", "enum", "errno",
    "faulthandler", "fcntl", "functools", "importlib", "itertools", "json", "keyword", "math",
    "operator", "re", "reprlib", "signal", "struct", "threading", "types", "typing",
    "warnings", "zlib",
}  # fmt: skip
# Said before the first import, in a child that nothing else has been imported into.
WATCH = """
import sys
before = set(sys.modules)
def imported():
    names = {name.partition(".")[0] for name in set(sys.modules) - before}
    return {n for n in names if n in sys.stdlib_module_names and n[0] != "_"}
"""


def test_importing_is_small_and_leaves_no_trace(
    core_name: str, run_python: Any, tmp_domain_dir: Path
) -> None:
    run_python(
        f"""{WATCH}
import faultplane as fp
assert fp.core == {core_name!r}
assert imported() <= {AT_IMPORT[core_name]!r}, imported() - {AT_IMPORT[core_name]!r}
assert not any(name.startswith("faultplane.store") for name in sys.modules)
import threading
assert threading.active_count() == 1
assert sys.excepthook is sys.__excepthook__
""",
        core=core_name,
        **unmeasured(),
    )
    assert list(tmp_domain_dir.iterdir()) == []


def test_initialising_imports_nothing_big_and_starts_no_thread(
    core_name: str, run_python: Any
) -> None:
    allowed = AT_INIT | AT_IMPORT[core_name]
    run_python(
        f"""{WATCH}
import faultplane as fp
fp.init(service="test")
assert imported() <= {allowed!r}, imported() - {allowed!r}
fp.install_hooks()
assert imported() <= {allowed!r}, imported() - {allowed!r}
import threading
assert threading.active_count() == 1
""",
        core=core_name,
        **unmeasured(),
    )


def test_no_annotation_is_compiled_at_the_start(run_python: Any) -> None:
    """Annotations that are text become code objects in a NamedTuple: 0.3 MiB in all."""
    run_python("""
import sys, typing
import faultplane as fp
fp.init(service="test")
found = [
    (each, name)
    for module in list(sys.modules.values()) if module.__name__.startswith("faultplane")
    for each in vars(module).values() if isinstance(each, type)
    for name, kind in getattr(each, "__annotations__", {}).items()
    if type(kind) is typing.ForwardRef
]
assert not found, found
""")


def test_no_error_imports_anything_after_init(core_name: str, run_python: Any) -> None:
    """An error may be about too many open files, or come after a change of the root directory."""
    run_python(
        """
import sys, urllib.error, sqlite3
import faultplane as fp
fp.init(service="test")
capture = fp.capture
errors = [KeyError("x"), OSError(24, "too many open files"), TimeoutError(), RuntimeError("a"),
          ExceptionGroup("two", [ValueError("b"), OSError(111, "c")]), UnicodeError("d"),
          urllib.error.URLError(OSError(2, "e")), sqlite3.OperationalError("f")]
errors[3].__cause__ = ConnectionResetError(104, "reset")
before = set(sys.modules)
for error in errors:
    assert fp.classify(error).rule != "default"
    fp.record(error, operation="test", attributes={"order": 7, "state": "new"})
with capture("test", reraise=False):
    raise EOFError
assert set(sys.modules) == before, set(sys.modules) - before
""",
        core=core_name,
        **unmeasured(),
    )


def test_the_first_error_may_be_that_no_file_can_be_opened(core_name: str, run_python: Any) -> None:
    run_python(
        """
import faultplane as fp, os, resource
fp.init(service="test")
held = os.open("/", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (held, held))
try:
    open("/dev/null")
except OSError as error:
    answer = fp.record(error)
assert answer.rule == "OSError[EMFILE]", answer
""",
        core=core_name,
        **unmeasured(),
    )


def test_an_error_before_init_is_classified_as_well(core_name: str, run_python: Any) -> None:
    run_python(
        """
import faultplane as fp
answer = fp.record(TimeoutError())
assert (answer.kind.value, answer.rule) == ("Timeout", "TimeoutError"), answer
""",
        core=core_name,
    )


def stated() -> dict[str, ast.arguments]:
    """Arguments of the functions that only type checkers read."""
    tree = ast.parse(Path(fp.__file__ or "").read_text())
    return {
        node.name: node.args
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.FunctionDef)
    }


def test_what_type_checkers_read_is_what_the_core_takes() -> None:
    facade = stated()
    assert set(facade) == {"record", "classify", "counter"}
    for name in ("record", "classify"):
        try:
            signature = inspect.signature(getattr(_backend.core, name))
        except ValueError:
            pytest.skip(f"the {fp.core} core does not say its signatures")
        arguments = facade[name].args
        assert [a.arg for a in arguments] == list(signature.parameters)
        defaults = [ast.literal_eval(default) for default in facade[name].defaults]
        taken = [p.default for p in signature.parameters.values() if p.default is not p.empty]
        assert defaults == taken


def test_recording_before_init_is_counted_and_handed_over(run_python: Any) -> None:
    done = run_python("""
import faultplane as fp
early = fp.counter("early")
early.add(3)
for _ in range(5):
    fp.record(KeyError("x"), operation="start")
domain = fp.init(service="test")
early.add(4)
fp.record(KeyError("x"), operation="start")
print([(r["operation"], r["type"], r["count"]) for r in domain.counts_rows()])
print([(r["name"], r["value"]) for r in domain.counters_rows()])
print(len(domain.records()))
""")
    assert done.stdout.splitlines() == ["[('start', 'KeyError', 6)]", "[('early', 7)]", "1"]
