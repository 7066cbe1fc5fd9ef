"""How the documentation is built: `make docs`."""

from __future__ import annotations

import tomllib
from pathlib import Path

with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
    _project = tomllib.load(file)["project"]

project = _project["name"]
author = "The faultplane authors"
copyright = "The faultplane authors"
version = release = _project["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
default_role = "code"  # docstrings name things in single backticks
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autoclass_content = "class"

# Docstrings' examples run in tests/architecture/test_examples.py, with their module's names.
doctest_test_doctest_blocks = ""
# Pages' examples ({doctest}, {testcode}) run against a domain of their own.
doctest_global_setup = """
import os, shutil, tempfile
_shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_directory = tempfile.mkdtemp(prefix="faultplane-docs-", dir=_shared)
os.environ["FAULTPLANE_DIR"] = _directory
"""
# A process records into one domain, and all pages run in one: each leaves as it came.
doctest_global_cleanup = """
from faultplane.store import lifecycle
lifecycle._leave(0)
lifecycle._process = lifecycle._Process()
shutil.rmtree(_directory, ignore_errors=True)
"""

html_theme = "furo"
html_title = f"faultplane {release}"
html_copy_source = False
templates_path: list[str] = []
