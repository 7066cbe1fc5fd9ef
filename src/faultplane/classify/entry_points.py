"""Rules that installed packages bring along, by the entry point group ``faultplane.rules``.

An entry point names a function without arguments that registers rules::

    [project.entry-points."faultplane.rules"]
    shop = "shop.faults:register"

Reading the metadata of every installed distribution with ``importlib.metadata`` takes tens of
milliseconds and megabytes, which is too much for a process that has no such entry point. So the
``entry_points.txt`` files are looked through first, and ``importlib.metadata`` is imported only
where one names the group. Distributions in a zip file or behind an import hook of their own are
not seen; such a program calls the function itself.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import Final

__all__ = ["GROUP", "load_entry_points"]

GROUP: Final = "faultplane.rules"
ENTRY_POINTS_BYTES_MAX: Final = 1 << 20
"""Of an ``entry_points.txt``, how much is looked through."""

_lock: Final = threading.Lock()
_loaded: list[str] | None = None


def load_entry_points() -> list[str]:
    """Call the functions of the group, once a process; returns the names of those that worked.

    One that cannot be imported or that raises is warned of and passed over. A second call does
    nothing and returns the same names.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load() if any(map(_names_group, _metadata_files(sys.path))) else []
        return list(_loaded)


def _load() -> list[str]:
    from importlib.metadata import entry_points

    names = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            point.load()()
        except Exception as error:  # noqa: BLE001 - another package's fault must not stop this one
            warnings.warn(
                f"entry point {point.name} = {point.value} of {GROUP} failed and is passed over: "
                f"{type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=3,
            )
        else:
            names.append(point.name)
    return names


def _metadata_files(search_path: Iterable[str]) -> Iterable[str]:
    """Every ``entry_points.txt`` of a distribution in a directory of ``search_path``."""
    for directory in dict.fromkeys(search_path):
        try:
            with os.scandir(directory or ".") as entries:
                found = [e.path for e in entries if e.name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue  # not a directory, or not ours to read
        for path in found:
            yield os.path.join(path, "entry_points.txt")


def _names_group(path: str) -> bool:
    """Whether the file has a section for the group; a file that is not there has none."""
    try:
        with open(path, "rb") as file:
            return GROUP.encode() in file.read(ENTRY_POINTS_BYTES_MAX)
    except OSError:
        return False
