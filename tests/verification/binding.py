"""What holds the real cores against the steps of the models: the steps as functions, the tracer,
and processes that it is preloaded into.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from exhaustive import HERE, run, tool

HEADER = HERE.parents[1] / "src" / "faultplane" / "_core"
STEP = re.compile(r"^#define ([A-Z]+_[A-Z]+)\(([\w, ]+)\)", re.MULTILINE)
MAKE_STORE = """
import sys
from faultplane._backend import CORE_NAME
from faultplane.store import domain, location
store = domain.open_or_create(
    location.writable_base(sys.argv[1]), "default", CORE_NAME, 2 << 20, False
)
print(store.path)
"""
Steps = dict[str, Any]


def compiled_steps(header: str, place: Path) -> Steps:
    """The macros of a header of the models, each a function of its name."""
    text = (HERE / header).read_text()
    functions = [f'#include "{header}"']
    for name, parameters in STEP.findall(text):
        longs = ", ".join(f"long {one.strip()}" for one in parameters.split(","))
        functions.append(f"int may_{name}({longs}) {{ return {name}({parameters}); }}")
    (place / "steps.c").write_text("\n".join(functions) + "\n")
    shared = [tool("gcc"), "-O2", "-w", "-shared", "-fPIC"]
    run(*shared, f"-I{HERE}", "-o", "steps.so", "steps.c", cwd=place)
    library = ctypes.CDLL(str(place / "steps.so"))
    steps = {}
    for name, parameters in STEP.findall(text):
        function = getattr(library, f"may_{name}")
        function.argtypes = [ctypes.c_long] * len(parameters.split(","))
        steps[name] = function
    return steps


def compiled_tracer(place: Path) -> Path:
    """The tracer, to be preloaded."""
    shared = [tool("gcc"), "-O2", "-w", "-shared", "-fPIC"]
    run(*shared, f"-I{HEADER}", "-o", "tracer.so", HERE / "tracer.c", cwd=place)
    return place / "tracer.so"


def run_traced(scene: str, log: Path, path: str, tracer: Path, environment: Any) -> str:
    """Run a scene of scenes.py in a process that is traced; what was written down.

    One that is called ``die`` something kills itself.
    """
    command = [sys.executable, HERE / "scenes.py", *scene.split()]
    done = subprocess.run(
        command,
        env=environment(TRACE_DIRECTORY=path, TRACE_FILE=str(log), LD_PRELOAD=str(tracer)),
        capture_output=True,
        text=True,
        timeout=100,
    )
    expected = -signal.SIGKILL if scene.startswith("die") else 0
    assert done.returncode == expected, done.stdout + done.stderr
    return log.read_text()


def new_store(run_python: Any, directory: Path, core: str) -> str:
    """The path of a store that nobody has used."""
    shutil.rmtree(directory / "default", ignore_errors=True)
    return str(run_python(MAKE_STORE, directory, core=core).stdout.strip())
