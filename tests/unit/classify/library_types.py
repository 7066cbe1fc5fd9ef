"""Program: exception types of the standard library that only ``Exception`` answers for, as JSON.

Run without site-packages (``python -S``): what is installed there may replace parts of the library.
"""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
import sys
import warnings

# Not part of what a program can meet: the modules' own tests, and programs.
LEFT_OUT = {"__main__", "antigravity", "this", "idlelib", "lib2to3", "test", "turtledemo"}


def load(name):
    try:
        module = importlib.import_module(name)
    except BaseException:
        return
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if inner.name not in {"__main__", "test", "tests"}:
            load(f"{name}.{inner.name}")


def below(cls, found):
    for sub in type.__subclasses__(cls):
        if sub not in found:
            found.add(sub)
            below(sub, found)
    return found


def library_types():
    """Every exception type of every module of the library that can be imported here."""
    old = sys.stdout, sys.stdin
    sys.stdout, sys.stdin = io.StringIO(), io.StringIO()
    try:
        for name in sorted(sys.stdlib_module_names - LEFT_OUT):
            if not name.startswith("_test"):
                load(name)
    finally:
        sys.stdout, sys.stdin = old
    found = below(BaseException, set())
    return {cls for cls in found if cls.__module__.partition(".")[0] in sys.stdlib_module_names}


def main():
    from faultplane.classify import type_name
    from faultplane.classify.stdlib import BUILT_IN

    warnings.simplefilter("ignore")
    types = library_types()
    unknown = []
    for cls in types:
        row = next(base for base in cls.__mro__ if type_name(base) in BUILT_IN)
        if row in {Exception, BaseException} and cls is not row:
            unknown.append(type_name(cls))
    print(json.dumps({"seen": len(types), "unknown": sorted(unknown)}))


if __name__ == "__main__":
    main()
