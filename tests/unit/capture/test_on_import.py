"""Calling back after an import: at once, later, never, and beside others who do the same."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from faultplane.capture import on_import
from faultplane.capture.on_import import forget, when_imported


@pytest.fixture
def module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "imported_late"
    (tmp_path / f"{name}.py").write_text("value = 41\nvalue += 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield name
    sys.modules.pop(name, None)
    assert not on_import._finder.waiting
    assert on_import._finder not in sys.meta_path


def test_a_module_that_is_imported_is_handed_over_at_once() -> None:
    seen: list[ModuleType] = []
    when_imported("sys", seen.append)
    assert seen == [sys]
    assert on_import._finder not in sys.meta_path


def test_a_module_is_handed_over_when_it_has_run(module_name: str) -> None:
    values: list[int] = []
    when_imported(module_name, lambda module: values.append(module.value))
    assert values == []
    module = importlib.import_module(module_name)
    assert values == [42]
    importlib.reload(module)
    assert values == [42]


def test_the_module_keeps_its_own_loader(module_name: str) -> None:
    loaders: list[object] = []
    when_imported(module_name, lambda module: loaders.append(module.__spec__.loader))
    module = importlib.import_module(module_name)
    assert loaders == [module.__loader__]
    assert type(module.__loader__).__module__.startswith(("importlib", "_frozen_importlib"))
    assert Path(module.__file__ or "").name == f"{module_name}.py"


def test_a_module_that_is_looked_up_but_not_imported_answers_as_ever(module_name: str) -> None:
    calls: list[ModuleType] = []
    when_imported(module_name, calls.append)
    spec = importlib.util.find_spec(module_name)
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_source(module_name) == "value = 41\nvalue += 1\n"
    assert calls == []
    forget(module_name, calls.append)


def test_all_who_wait_are_called_in_order(module_name: str) -> None:
    calls: list[str] = []
    when_imported(module_name, lambda _: calls.append("first"))
    when_imported(module_name, lambda _: calls.append("second"))
    importlib.import_module(module_name)
    assert calls == ["first", "second"]


def test_what_is_forgotten_is_not_called(module_name: str) -> None:
    calls: list[ModuleType] = []
    when_imported(module_name, calls.append)
    forget(module_name, calls.append)
    forget(module_name, calls.append)
    assert on_import._finder not in sys.meta_path
    importlib.import_module(module_name)
    assert calls == []


def test_a_module_that_is_not_there_raises_what_it_always_raised() -> None:
    calls: list[ModuleType] = []
    when_imported("no_such_module_here", calls.append)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_here'"):
        importlib.import_module("no_such_module_here")
    forget("no_such_module_here", calls.append)
    assert calls == []


def test_a_module_that_raises_is_not_handed_over(module_name: str, tmp_path: Path) -> None:
    (tmp_path / f"{module_name}.py").write_text("raise RuntimeError('broken')\n")
    importlib.invalidate_caches()
    calls: list[ModuleType] = []
    when_imported(module_name, calls.append)
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module(module_name)
    assert calls == []
    forget(module_name, calls.append)


def test_another_finder_that_asks_everybody_does_not_loop(
    module_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asking:
        """Looks a module up through all finders, as other libraries that wait do."""

        asked: list[str] = []
        found: list[str] = []
        inside = False

        def find_spec(self, name: str, path: object = None, target: object = None) -> object:
            if self.inside:
                return None
            self.asked.append(name)
            self.inside = True
            try:
                spec = importlib.util.find_spec(name)
                assert spec is not None
                self.found.append(type(spec.loader).__name__)
                return spec
            finally:
                self.inside = False

    other = Asking()
    calls: list[ModuleType] = []
    when_imported(module_name, calls.append)
    monkeypatch.setattr(sys, "meta_path", [other, *sys.meta_path])
    module = importlib.import_module(module_name)
    assert calls == [module]
    assert other.asked == [module_name]
    assert other.found == ["_CallingLoader"]


def test_a_submodule_of_a_package_is_found(tmp_path: Path, module_name: str) -> None:
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("x = 1\n")
    importlib.invalidate_caches()
    calls: list[ModuleType] = []
    when_imported("late_package.inner", calls.append)
    inner = importlib.import_module("late_package.inner")
    assert calls == [inner]
    for name in ("late_package", "late_package.inner"):
        del sys.modules[name]
