"""The native kernels: only in their own version, on any string column, or not at all."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from faultplane import _backend, _native, errors, schema, templates

pa = pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = ["user 42", None, "", "0x7f at 10.0.0.7:80", "nothing to replace", "用户123"]
TEMPLATES = ["user <num>", None, "", "<hex> at <ip>", "nothing to replace", "用户<num>"]


@pytest.fixture
def kernels():
    """The module of the native kernels; skips where it is not, fails where it is required."""
    try:
        return importlib.import_module("faultplane_native")
    except ModuleNotFoundError:
        if os.environ.get("FAULTPLANE_REQUIRE_NATIVE") == "1":
            pytest.fail("FAULTPLANE_REQUIRE_NATIVE=1, and it is not there", pytrace=False)
        pytest.skip("faultplane-native is not there")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Function ``(text)``: install a ``faultplane_native`` of that source before any other."""
    found = sys.modules.pop("faultplane_native", None)
    monkeypatch.syspath_prepend(tmp_path)
    _native.kernels.cache_clear()
    yield (tmp_path / "faultplane_native.py").write_text
    _native.kernels.cache_clear()
    sys.modules.pop("faultplane_native", None)
    if found is not None:
        sys.modules["faultplane_native"] = found


@pytest.fixture
def absent(installed):
    """As if ``faultplane-native`` had not been installed."""
    installed("raise ModuleNotFoundError(name='faultplane_native')")


def columns():
    array = pa.array(MESSAGES)
    return {
        "utf8": array,
        "large_utf8": array.cast(pa.large_string()),
        "utf8_view": array.cast(pa.string_view()),
        "chunks": pa.chunked_array([array[:2], array[:0], array[2:]]),
        "chunks of views": pa.chunked_array([array[:2], array[2:]]).cast(pa.string_view()),
        "a slice": pa.concat_arrays([pa.array(["5", None]), array]).slice(2),
        "a slice of views": pa.concat_arrays([pa.array(["5"]), array])
        .cast(pa.string_view())
        .slice(1),
    }


# ------------------------------------------------------------------------------- version


def test_every_place_names_the_same_version():
    main = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    native = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]
    crate = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["package"]
    assert main["version"] == native["version"] == crate["version"] == _native.VERSION
    assert f"faultplane-native=={_native.VERSION}" in main["optional-dependencies"]["native"]


def test_the_installed_kernels_are_of_this_version(kernels):
    assert kernels.__version__ == _native.VERSION
    assert kernels.BUILD_PROFILE in {"release", "debug"}
    assert kernels.MESSAGE_BYTES_MAX == schema.MESSAGE_BYTES_MAX
    assert _native.native_build() == f"{_native.VERSION} {kernels.BUILD_PROFILE}"


@pytest.mark.parametrize(
    "ask", [_native.native_build, lambda: templates.templates(pa.array(["a"]))]
)
def test_another_version_is_refused_by_name(installed, ask):
    installed("__version__ = '9.9.9'\nBUILD_PROFILE = 'release'")
    expected = f"faultplane-native must be {_native.VERSION}, got 9.9.9"
    for _ in range(2):
        with pytest.raises(errors.NativeMismatch, match=expected) as caught:
            ask()
        assert (caught.value.expected, caught.value.got) == (_native.VERSION, "9.9.9")


def test_kernels_without_a_version_are_refused(installed):
    installed("")
    with pytest.raises(errors.NativeMismatch, match="got no version"):
        _native.kernels()


@pytest.mark.parametrize(
    "source", ["raise ImportError('undefined symbol')", "import no_such_module_of_theirs"]
)
def test_a_broken_build_is_not_hidden(installed, source):
    installed(source)
    with pytest.raises(ImportError):
        _native.native_build()


def test_importing_the_package_does_not_import_the_kernels(run_python):
    run_python(
        "import sys, faultplane, faultplane._native, faultplane.templates\n"
        "assert 'faultplane_native' not in sys.modules"
    )


# ------------------------------------------------------------------------------- fallback


def test_without_the_kernels_the_core_answers(absent):
    assert _native.kernels() is None
    assert _native.native_build() is None
    assert templates.implementation() == _backend.CORE_NAME
    for name, column in columns().items():
        result = pa.array(templates.templates(column))
        assert result.to_pylist() == TEMPLATES, name


def test_the_kernels_are_used_where_they_are(kernels):
    assert templates.implementation() == "native"
    assert isinstance(templates.templates(pa.array(["a"])), kernels.Templates)


def test_without_kernels_and_pyarrow_the_way_out_is_named(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.MissingExtra, match=r"pip install 'faultplane\[native\]'"):
        templates.templates(pa.array(["a"]))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "__arrow_c_array__ or __arrow_c_stream__, got int"),
        (["a"], "__arrow_c_array__ or __arrow_c_stream__, got list"),
        (pa.array([1]), "utf8, large_utf8 or utf8_view, got (?i:int64)"),
        (pa.array([b"a"]), "utf8, large_utf8 or utf8_view, got (?i:binary)"),
        (pa.chunked_array([[1.5]]), "utf8, large_utf8 or utf8_view, got (float64|double|Float64)"),
    ],
)
@pytest.mark.parametrize("implementation", ["kernels", "absent"])
def test_what_is_not_a_string_column_is_refused(request, implementation, value, said):
    request.getfixturevalue(implementation)
    with pytest.raises(TypeError, match=f"column must (be|have) {said}"):
        templates.templates(value)


# -------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("name", columns())
def test_every_string_column_gives_the_same_rows(kernels, name):
    column = columns()[name]
    made = kernels.templates(column)
    result = pa.array(made)
    result.validate(full=True)
    assert result.to_pylist() == TEMPLATES
    assert result.type == (pa.large_string() if name == "large_utf8" else pa.string())
    assert len(made) == len(column)


def test_an_empty_column_gives_an_empty_one(kernels):
    for column in (pa.array([], pa.string()), pa.chunked_array([], pa.string())):
        assert pa.array(kernels.templates(column)).to_pylist() == []


def test_a_column_of_nulls_gives_nulls(kernels):
    column = pa.array([None] * 9, pa.string())
    assert pa.array(kernels.templates(column)).null_count == 9


def test_polars_columns_go_in_and_out(kernels):
    pl = pytest.importorskip("polars")
    column = pl.Series(MESSAGES)
    assert pl.Series(kernels.templates(column)).to_list() == TEMPLATES
    assert pl.Series(kernels.templates(column.slice(3, 2))).to_list() == TEMPLATES[3:5]


def test_a_result_can_be_exported_again_and_outlives_its_column(kernels):
    column = pa.array(MESSAGES * 100)
    made = kernels.templates(column)
    del column
    first, second = pa.array(made), pa.array(made)
    del made
    assert first.equals(second)
    assert first.to_pylist() == TEMPLATES * 100


def test_a_column_keeps_its_bytes(kernels):
    column = pa.array(MESSAGES)
    kernels.templates(column)
    assert column.to_pylist() == MESSAGES


class Stream(ctypes.Structure):
    """An ArrowArrayStream of strings that gives ``chunks``, then fails with ``reason``."""

    _fields_ = (
        ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)),
        ("release", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("private_data", ctypes.c_void_p),
    )

    def __init__(self, chunks, reason):
        super().__init__()
        types = {name: kind for name, kind, *_ in self._fields_}
        left = list(chunks)
        self.text = ctypes.create_string_buffer(reason) if reason else None
        self.releases = 0

        def get_schema(stream, out):
            pa.string()._export_to_c(out)
            return 0

        def get_next(stream, out):
            if not left:
                return 5
            left.pop(0)._export_to_c(out)
            return 0

        def release(stream):
            self.releases += 1
            Stream.from_address(stream).release = types["release"]()

        self.get_schema = types["get_schema"](get_schema)
        self.get_next = types["get_next"](get_next)
        self.release = types["release"](release)
        if self.text:
            said = ctypes.addressof(self.text)
            self.get_last_error = types["get_last_error"](lambda stream: said)

    def __arrow_c_stream__(self, requested_schema=None):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self), b"arrow_array_stream", None)


@pytest.mark.parametrize("reason", [b"the source went away", b""])
def test_a_stream_that_fails_says_why_and_is_released(kernels, reason):
    stream = Stream([pa.array(["a"]), pa.array(["b"])], reason)
    said = reason.decode() or "no reason given"
    with pytest.raises(ValueError, match=f"the Arrow stream failed with errno 5: {said}"):
        kernels.templates(stream)
    assert stream.releases == 1


def test_a_stream_is_read_once(kernels):
    stream = Stream([], b"")
    with pytest.raises(ValueError, match="errno 5"):
        kernels.templates(stream)
    with pytest.raises(ValueError, match="consumed before"):
        kernels.templates(stream)


@pytest.mark.parametrize("answer", [None, 1, (), ("a", "b")])
def test_a_column_that_exports_something_else_is_refused(kernels, answer):
    class Column:
        def __arrow_c_array__(self, requested_schema=None):
            return answer

    with pytest.raises((TypeError, ValueError)):
        kernels.templates(Column())


def test_a_capsule_of_another_kind_is_refused(kernels):
    class Column:
        def __arrow_c_array__(self, requested_schema=None):
            schema_capsule, array_capsule = pa.array(["a"]).__arrow_c_array__()
            return array_capsule, schema_capsule

    with pytest.raises(ValueError, match="incorrect name"):
        kernels.templates(Column())


def test_an_array_that_was_consumed_is_refused(kernels):
    capsules = pa.array(["a 5"]).__arrow_c_array__()

    class Column:
        def __arrow_c_array__(self, requested_schema=None):
            return capsules

    assert pa.array(kernels.templates(Column())).to_pylist() == ["a <num>"]
    with pytest.raises(ValueError, match="consumed before"):
        kernels.templates(Column())


def broken_view(length, buffer, offset):
    """A one-row utf8_view array whose view points where it says."""
    view = length.to_bytes(4, "little") + b"abcd" + buffer.to_bytes(4, "little")
    views = pa.py_buffer(view + offset.to_bytes(4, "little"))
    return pa.Array.from_buffers(pa.string_view(), 1, [None, views, pa.py_buffer(b"x" * 64)])


@pytest.mark.parametrize(
    "view",
    [
        (20, 1, 0),
        (65, 0, 0),
        (20, 0, 45),
        (0xFFFF_FFFF, 0, 0),
        (20, 0xFFFF_FFFF, 0xFFFF_FFFF),
    ],
)
def test_a_view_outside_its_buffers_is_refused(kernels, view):
    with pytest.raises(ValueError, match="row 0 lies outside its buffers"):
        kernels.templates(broken_view(*view))
    assert pa.array(kernels.templates(broken_view(20, 0, 44))).to_pylist() == ["x" * 20]


def test_bytes_that_are_not_utf_8_are_refused(kernels):
    offsets = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    with pytest.raises(ValueError, match="not a valid Arrow array"):
        kernels.templates(column)


def test_other_threads_run_while_a_column_is_read(kernels):
    column = pa.array(["user 8123 not found at 10.0.0.7:5432 after 3.25 s"] * 300_000)
    interval = sys.getswitchinterval()
    # Nothing but a release of the GIL lets this thread on while the other one works.
    sys.setswitchinterval(1000)
    try:
        for _ in range(5):
            finished = []
            worker = threading.Thread(target=lambda: finished.append(kernels.templates(column)))
            worker.start()
            ran_meanwhile = not finished
            worker.join()
            if ran_meanwhile:
                return
    finally:
        sys.setswitchinterval(interval)
    pytest.fail("the GIL was held to the end, five times")
