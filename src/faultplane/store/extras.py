"""Packages that reading can use where they are installed, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from faultplane.errors import MissingExtra

_EXTRA_OF: Final = {"pyarrow": "arrow", "polars": "query", "duckdb": "query"}


def require(package: str, feature: str) -> Any:
    """The module of ``package``; MissingExtra, naming ``feature``, when it is not installed.

    A package that is there but broken raises what it raises: that is not ours to hide.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtra(feature, package=package, extra=_EXTRA_OF[package]) from error
