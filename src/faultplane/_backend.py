"""Which core this process runs, decided once, when this module is imported.

``FAULTPLANE_CORE=auto`` (the default) takes the compiled core where it was built and the pure one
where it was not. ``cython`` and ``python`` ask for one by name, and an answer that is not that
core is an error. A compiled core that is there but cannot be loaded is an error in each case: to
fall back would hide a broken build.

A core is the state of a process, whose locks and lane it has: the compiled one belongs to the first
interpreter that imports it, the pure one, of which each interpreter would have its own, to the main
interpreter. Any other is refused, and gets no core of another kind.

The compiled core works under the GIL. A free-threaded interpreter turns it on to load it; one that
was told to keep it off (``PYTHON_GIL=0``) runs the pure core, which takes a lock.

``core`` is the module, ``CORE_NAME`` its name: ``"cython"`` or ``"python"``, and ``Block`` that of
its classes which has a subclass.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False  # importing `typing` takes longer than importing a core
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Final

__all__ = ["CORE_NAME", "Block", "core"]

_PACKAGES: Final = {"cython": "faultplane._core", "python": "faultplane._pure"}


def _choose(wanted: str) -> ModuleType:
    """The core that ``wanted`` (auto, cython or python) names."""
    if wanted != "auto" and wanted not in _PACKAGES:
        from faultplane import settings
        from faultplane.errors import CoreNotFound

        raise CoreNotFound(
            f"FAULTPLANE_CORE must be one of {', '.join(settings.CORES)}, got {wanted!r}"
        )
    if wanted == "python" or (wanted == "auto" and _keeps_gil_off()):
        return _pure()
    if _keeps_gil_off():
        from faultplane.errors import CoreNotFound

        raise CoreNotFound(
            "FAULTPLANE_CORE=cython, but the compiled core needs the GIL and this process was told "
            "to keep it off: leave out PYTHON_GIL=0 and -X gil=0, or take FAULTPLANE_CORE=python"
        )
    try:
        return import_module(_PACKAGES["cython"])
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not missing.startswith(_PACKAGES["cython"]) or _compiled_modules():
            raise
        if wanted == "cython":
            from faultplane.errors import CoreNotFound

            raise CoreNotFound(
                f"FAULTPLANE_CORE=cython, but the compiled core was not built ({missing} is "
                "missing): install a C compiler and reinstall with FAULTPLANE_REQUIRE_CORE=1"
            ) from error
    except ImportError as error:
        # What Cython and the interpreter say of it names no way out.
        if _in_main_interpreter() and "nterpreter" not in str(error):
            raise
        from faultplane.errors import WrongInterpreter

        raise WrongInterpreter("the first that imports it") from error
    return _pure()


def _keeps_gil_off() -> bool:
    """Whether this interpreter is free-threaded and turns the GIL on for no module."""
    return getattr(sys.flags, "gil", None) == 0


def _pure() -> ModuleType:
    """The pure core, where no other interpreter can have it."""
    if not _in_main_interpreter():
        from faultplane.errors import WrongInterpreter

        raise WrongInterpreter("the main one where it is pure Python")
    return import_module(_PACKAGES["python"])


def _in_main_interpreter() -> bool:
    """Whether this is the interpreter that the process started with."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from 3.13 on, and before
        try:
            module = import_module(name)
        except ImportError:
            continue
        return bool(module.get_current() == module.get_main())
    return True


def _compiled_modules() -> list[str]:
    """Extension modules of the compiled core that this interpreter could load."""
    from importlib.machinery import EXTENSION_SUFFIXES

    names = []
    directory = os.path.join(os.path.dirname(__file__), "_core")
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        stem, dot, rest = name.partition(".")
        if dot and f".{rest}" in EXTENSION_SUFFIXES:
            names.append(stem)
    return sorted(names)


core: Final = _choose(os.environ.get("FAULTPLANE_CORE", "").strip() or "auto")
CORE_NAME: Final[str] = core.NAME
if TYPE_CHECKING:
    from faultplane._pure.block import Block
else:
    Block = core.Block
