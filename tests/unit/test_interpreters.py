"""A process with several interpreters: one of them records, the others are refused in clear words.

A core is the state of a process: its fcntl locks, its lane, its counts. A second one beside it, of
the same kind or the other, would obtain all of its locks.
"""

from __future__ import annotations

import importlib.util
import json

import pytest

MODULES = [
    name for name in ("_interpreters", "_xxsubinterpreters") if importlib.util.find_spec(name)
]

pytestmark = [
    pytest.mark.skipif(not MODULES, reason="this Python makes no other interpreters"),
    pytest.mark.unmeasured,
]

START = """
import importlib, json, os, sys
interpreters = importlib.import_module(sys.argv[1])

def interpreter(kind):
    "One that shares the GIL with this one, or, from 3.12 on, has its own."
    if hasattr(interpreters, "new_config"):  # from 3.13 on
        return interpreters.create(kind)
    return interpreters.create(isolated=kind == "isolated")

IMPORT = '''
import os
try:
    import faultplane
    answer = "imported " + faultplane.core
except ImportError as error:
    answer = type(error).__module__ + "." + type(error).__name__ + ": " + str(error)
os.write(SAID, (answer + chr(10)).encode())
'''

def ask(kind):
    said, say = os.pipe()
    interpreters.run_string(interpreter(kind), IMPORT.replace("SAID", str(say)))
    os.close(say)
    with open(said) as file:
        return file.read().strip()
"""
REFUSED = "faultplane.errors.WrongInterpreter: faultplane records in one interpreter of a process"


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_another_interpreter_of_a_process_that_records_is_refused(run_python, core_name, kind):
    code = f"""
import faultplane as fp
fp.init()
{START}
answer = ask({kind!r})
try:
    raise ValueError
except ValueError as error:
    fp.record(error)
print(json.dumps([answer, sum(row["count"] for row in fp.attach().counts_rows())]))
"""
    done = run_python(code, MODULES[0], core=core_name)
    answer, counted = json.loads(done.stdout)
    assert answer.startswith(REFUSED), answer
    assert "WSGIApplicationGroup %{GLOBAL}" in answer
    assert counted == 1 and done.stderr == ""


def test_auto_gives_another_interpreter_no_core_of_another_kind(run_python, core):
    code = f"""
import faultplane
{START}
print(ask("legacy"))
"""
    done = run_python(code, MODULES[0], FAULTPLANE_CORE="auto")
    assert done.stdout.startswith(REFUSED)


def test_the_pure_core_stays_out_of_all_but_the_main_interpreter(run_python):
    """Each interpreter would have one of its own: which came first cannot be told."""
    code = f"""{START}
print(ask("legacy"))
import faultplane
print(faultplane.core)
"""
    done = run_python(code, MODULES[0], core="python")
    refused, core = done.stdout.splitlines()
    assert refused.startswith(REFUSED) and core == "python"


def test_the_first_interpreter_has_the_compiled_core_and_the_main_one_is_refused(
    run_python, core_name
):
    """As a server has it that runs its one application in an interpreter of its own."""
    if core_name != "cython":
        pytest.skip("about the compiled core")
    code = f"""{START}
print(ask("legacy"))
try:
    import faultplane
except ImportError as error:
    print(type(error).__module__ + "." + type(error).__name__ + ": " + str(error))
"""
    done = run_python(code, MODULES[0], core="cython")
    first, refused = done.stdout.splitlines()
    assert first == "imported cython" and refused.startswith(REFUSED)
