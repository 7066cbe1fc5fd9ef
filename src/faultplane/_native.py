"""The native kernels, ``faultplane-native``: the only module that imports them, and only on demand.

The two distributions come in one version. Another one is refused when a kernel is wanted, since a
kernel of another version could give other answers than the core beside it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final

from faultplane.errors import NativeMismatch

__all__ = ["VERSION", "kernels", "native_build"]

VERSION: Final = "0.1.0"
"""The version of both distributions."""

MODULE: Final = "faultplane_native"


@cache
def kernels() -> ModuleType | None:
    """The module of the native kernels, None where it is not installed.

    Raises:
        NativeMismatch: it is installed in another version than `VERSION`.
        ImportError: it is installed and cannot be loaded. To go on without it would hide a broken
            build.
    """
    try:
        module = import_module(MODULE)
    except ModuleNotFoundError as error:
        if error.name != MODULE:
            raise
        return None
    version = getattr(module, "__version__", "no version")
    if version != VERSION:
        raise NativeMismatch(expected=VERSION, got=version)
    return module


def native_build() -> str | None:
    """Version and build profile of the native kernels, None where they are not installed.

    The profile is ``release`` or ``debug``. Raises what `kernels` raises.
    """
    module = kernels()
    return None if module is None else f"{module.__version__} {module.BUILD_PROFILE}"
