"""_backend.py: a core asked for by name fails loudly; auto hides no broken build.

Each case runs in a child with a package of its own making, whose cores are a line each.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import faultplane

SOURCE = Path(next(iter(faultplane.__path__)))
ASK = "import faultplane._backend as b\nprint(b.CORE_NAME, b.core.__name__)\n"


@pytest.fixture
def ask(tmp_path):
    """Function ``(core, compiled, files=()) -> CompletedProcess`` over a package of its own."""
    package = tmp_path / "faultplane"

    def run(wanted, compiled, *, files=(), words=(), before=""):
        (package / "_core").mkdir(parents=True)
        (package / "_pure").mkdir()
        (package / "__init__.py").write_text("")
        for name in ("schema.py", "errors.py", "settings.py", "_backend.py"):
            shutil.copy(SOURCE / name, package / name)
        (package / "_pure" / "__init__.py").write_text('NAME = "python"\nBlock = object\n')
        (package / "_core" / "__init__.py").write_text(
            compiled + '\nNAME = "cython"\nBlock = object\n'
        )
        for name in files:
            (package / "_core" / name).write_bytes(b"not an object file")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "FAULTPLANE_CORE": wanted}
        return subprocess.run(
            [sys.executable, "-P", *words, "-c", before + ASK],
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


MISSING = "from faultplane._core import memory"
EXTENSION = "memory" + importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.mark.parametrize(
    ("wanted", "compiled", "answer"),
    [
        ("auto", "", "cython faultplane._core"),
        ("", "", "cython faultplane._core"),
        ("cython", "", "cython faultplane._core"),
        ("python", "", "python faultplane._pure"),
        ("python", "raise SystemError", "python faultplane._pure"),
        ("auto", "from faultplane._core.memory import x", "python faultplane._pure"),
    ],
)
def test_the_core_that_was_asked_for_runs(ask, wanted, compiled, answer):
    done = ask(wanted, compiled)
    assert (done.stdout.strip(), done.stderr) == (answer, "")


@pytest.mark.parametrize(
    ("wanted", "compiled", "files", "says"),
    [
        ("rust", "", (), "FAULTPLANE_CORE must be one of auto, cython, python, got 'rust'"),
        ("cython", "import faultplane._core.memory", (), "the compiled core was not built"),
        ("auto", "import faultplane._core.memory", (EXTENSION,), "ImportError"),
        ("auto", "import faultplane._core.ring", (EXTENSION,), "faultplane._core.ring"),
        ("auto", "import nowhere", (), "No module named 'nowhere'"),
        ("auto", "raise SystemError('broken')", (), "SystemError: broken"),
        ("auto", "raise ImportError('undefined symbol')", (), "undefined symbol"),
    ],
)
def test_what_cannot_run_is_an_error(ask, wanted, compiled, files, says):
    done = ask(wanted, compiled, files=files)
    assert done.returncode == 1
    assert says in done.stderr


FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
SAYS_SO = """
import sys
class Flags:
    gil = 0
    def __getattr__(self, name, flags=sys.flags):
        return getattr(flags, name)
sys.flags = Flags()
"""
NO_GIL = {"words": ("-X", "gil=0")} if FREE_THREADED else {"before": SAYS_SO}
"""Another interpreter cannot be told to, and says of itself what one would that was."""


def test_where_the_gil_is_kept_off_the_pure_core_runs(ask):
    assert ask("auto", "", **NO_GIL).stdout.strip() == "python faultplane._pure"


def test_the_compiled_core_is_refused_where_the_gil_is_kept_off(ask):
    done = ask("cython", "", **NO_GIL)
    assert done.returncode == 1
    assert (
        "CoreNotFound: FAULTPLANE_CORE=cython, but the compiled core needs the GIL" in done.stderr
    )


def test_an_extension_for_another_interpreter_does_not_count(ask):
    done = ask("auto", "import faultplane._core.memory", files=("memory.cpython-27-x.so",))
    assert done.stdout.strip() == "python faultplane._pure"


def test_the_hash_of_texts_is_the_same_where_the_module_behind_it_is_missing(run_python):
    code = """
import hashlib, sys
sys.modules["_blake2"] = None  # as in another interpreter than CPython
from faultplane._pure import digest
assert digest.blake2b is hashlib.blake2b
print(digest.digest_of(b""), digest.digest_of(b"text"))
"""
    plain = code.replace('sys.modules["_blake2"] = None', "").replace("assert", "#")
    assert run_python(code, core="python").stdout == run_python(plain, core="python").stdout
