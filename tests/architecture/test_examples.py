"""Every example in a docstring runs, in a process of its own, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from faultplane.settings import INTEGRATIONS

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "faultplane"
LIBRARIES = {*INTEGRATIONS, "httpx", "redis", "requests", "sqlalchemy"}
"""What an integration is for, by its name."""
RUN = """
import doctest, importlib, sys
module = importlib.import_module(sys.argv[1])
failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
print(tried, "examples")
sys.exit(1 if failed or not tried else 0)
"""


def modules():
    """Modules with an example; the bootstrap folder holds no modules of the package."""
    return [
        ".".join(("faultplane", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_bootstrap" not in path.parts and ">>> " in path.read_text()
    ]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(run_python, name):
    name = name.removesuffix(".__init__")
    library = name.removeprefix("faultplane.integrations.")
    library = library.removesuffix("_client").removesuffix("_retries")
    if library in LIBRARIES:
        pytest.importorskip(library)  # `make interop` has them all
    done = run_python(RUN, name, flags=["-W", "ignore::ImportWarning"])
    assert done.stdout.endswith("examples\n")


def test_a_wrong_example_fails(run_python, tmp_path):
    """Negative control."""
    (tmp_path / "wrong.py").write_text('"""Wrong.\n\n>>> 1 + 1\n3\n"""\n')
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + RUN
    assert run_python(code, "wrong", check=False).returncode == 1
