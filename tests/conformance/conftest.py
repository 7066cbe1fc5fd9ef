"""Each claim is checked in a child process of its own, which runs the core that it is about.

A recorder is the state of a process: two tests in one would see each other's counts.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import domain_fixture  # noqa: E402


@pytest.fixture
def reader(tmp_domain_dir):
    """The domain directory that `child` works in, made, as any process reads it."""
    return domain_fixture.Reader(domain_fixture.make(tmp_domain_dir / "1-core", lanes=16))


@pytest.fixture
def child(run_python):
    """Function ``(core, name, *args) -> result``: run ``children.<name>(core module, *args)``.

    Arguments and result travel as JSON.
    """

    def run(core_name, name, *args, **options):
        code = (
            f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
            "import children; children.main(*sys.argv[1:])"
        )
        text = json.dumps(args, default=os.fspath)
        done = run_python(code, core_name, name, text, core=core_name, **options)
        return json.loads(done.stdout)

    return run


@pytest.fixture
def both_cores(request):
    """The names of both cores; skips, or fails where it is required, when one is not there."""
    names = ("cython", "python")
    for name in names:
        try:
            importlib.import_module(f"faultplane._{'core' if name == 'cython' else 'pure'}")
        except ModuleNotFoundError as error:
            if os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
                pytest.fail(f"the {name} core is required and not there: {error}", pytrace=False)
            pytest.skip(f"the {name} core is not there: {error}")
    return names
