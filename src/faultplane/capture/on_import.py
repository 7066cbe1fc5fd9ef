"""Call a function with a module once it is imported, without importing it.

Importing ``asyncio`` to hook it would cost a process that never uses it more than everything else
this library does at start. So the hooks of modules that are not there yet wait here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # importing it brings zipfile, tempfile and more along
    from importlib.machinery import ModuleSpec

__all__ = ["forget", "when_imported"]

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback`` with module ``name``: now if it is imported, else right after it is.

    What the callback raises reaches whoever imports the module.
    """
    module = sys.modules.get(name)
    if module is not None and not _is_initialising(module):
        callback(module)
        return
    _finder.waiting.setdefault(name, []).append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget(name: str, callback: Callback) -> None:
    """Take back a `when_imported` that has not happened yet; otherwise do nothing."""
    callbacks = _finder.waiting.get(name, [])
    if callback in callbacks:
        callbacks.remove(callback)
    if not callbacks:
        _finder.waiting.pop(name, None)
    _finder.leave_when_idle()


def _is_initialising(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Finder:
    """Stands first in ``sys.meta_path`` while something waits, and finds nothing itself.

    It asks the other finders for a module somebody waits for, and has the loader call back.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callback]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        spec = self._ask_others(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _CallingLoader(spec.loader, fullname))
        return spec

    def _ask_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if finder is self or find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(fullname, path, target)
            if spec is not None:
                return spec
        return None

    def leave_when_idle(self) -> None:
        """An import of anything else pays for this finder, so it goes when nobody waits."""
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)

    def call_back(self, name: str, module: ModuleType) -> None:
        callbacks = self.waiting.pop(name, [])
        self.leave_when_idle()
        for callback in callbacks:
            callback(module)


class _CallingLoader:
    """The loader of one module, which is gone from its spec once the module runs."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _finder.call_back(self._name, sys.modules.get(self._name, module))


_finder: Final = _Finder()
