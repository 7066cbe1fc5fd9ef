"""What the tests of this directory do in child processes: one function each, in other modules."""

from __future__ import annotations

import importlib
import json
import sys

import domain_fixture

KINDS = ("rows", "counts", "lanes", "processes", "script", "hostile", "damage")
MODULES = tuple(f"children_{kind}" for kind in KINDS)
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
    for module in MODULES:
        function = getattr(importlib.import_module(module), name, None)
        if function is not None:
            sys.stdout.write(json.dumps(function(core, *json.loads(text))))
            return
    raise LookupError(name)


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
