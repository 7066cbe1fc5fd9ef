"""Nothing is warned of, left open or said: ``python -X dev -W error`` over a process's whole life.

Development mode checks allocations and what is called without the GIL, shows resources that were
left to the garbage collector, and turns faulthandler on. Here every warning is an error besides,
and a word on standard error fails the test.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.fault

FLAGS = ("-X", "dev", "-b")

LIFE = """
import gc, json, os, signal, subprocess, sys, threading
import faultplane as fp
from faultplane._backend import core

class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")

def fail(error, operation="work"):
    try:
        raise error
    except type(error) as caught:
        fp.record(caught, operation, attributes={"shop.id": 3, "names": ["a", "b"]})

fail(ValueError("early"))
domain = fp.init(service="dev", redact=lambda text: text.replace("x", "y"))
core.install_fatal_handler()
fp.install_hooks()
fp.counter("hits").add(2)
for number in range(700):
    fail(ValueError(f"number {number} password=hunter2"))
for error in (KeyError("k"), OSError(2, "no", "file"), Odd(), ExceptionGroup("g", [ValueError(1)]),
              UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), ValueError("\\ud800"), MemoryError()):
    fail(error)
with fp.capture("outer"):
    with fp.capture("inner", reraise=False):
        raise TimeoutError("swallowed")

def thread():
    for _ in range(50):
        fail(TypeError("in a thread"))

running = [threading.Thread(target=thread) for _ in range(4)]
for one in running:
    one.start()
for one in running:
    one.join()
for ending in ("return", "exit", "kill", "abort"):
    # Threads have ended: what dev mode says of forks with threads is not about us.
    child = os.fork()
    if child == 0:
        fail(RuntimeError(ending))
        if ending == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if ending == "abort":
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of faulthandler, which dev mode turns on
            os.abort()
        if ending == "exit":
            os._exit(3)
        sys.exit(0)
    os.waitpid(child, 0)
subprocess.run([sys.executable, "-c", "import faultplane as fp; fp.init(); fp.attach().close()"],
               check=True)
records = domain.records()
table = records.to_pyarrow(compat=True)
with fp.attach() as other:
    again = other.records(since=records.cursor)
    found = [table.num_rows, len(other.counts_rows()) > 5, len(other.deaths_rows()),
             other.problems(), other.records().lost]
del table, records, again
fp.set_active(False)
fail(ValueError("not recorded"))
fp.set_active(True)
fp.uninstall_hooks()
gc.collect()
print(json.dumps(found))
"""


def test_development_mode_has_nothing_to_say(run_python, core, core_name):
    done = run_python(LIFE, core=core_name, flags=FLAGS, timeout=110)
    assert done.stderr == ""
    rows = 700 + 7 + 1 + 200 + 4
    assert done.stdout == f"[{rows}, true, 3, [], 0]\n"


def test_what_is_left_open_is_found_out(run_python, core, core_name):
    """Negative control."""
    leak = "import faultplane as fp, os; fp.init(); open(os.devnull); fp.attach().close()"
    done = run_python(leak, core=core_name, flags=FLAGS)
    assert "ResourceWarning" in done.stderr


EXIT = """
import os, sys
import faultplane as fp
fp.init(service="exit")
fp.install_hooks()

class Late:
    def __del__(self):
        try:
            raise KeyError("while the interpreter goes down")
        except KeyError as error:
            fp.record(error, "late")

late = Late()
sys.modules["kept until the end"] = late
"""


def test_a_record_at_the_very_end_warns_of_nothing(run_python, core, core_name, tmp_domain_dir):
    import faultplane as fp

    done = run_python(EXIT, core=core_name, flags=FLAGS)
    assert done.stderr == ""
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        assert [row["count"] for row in domain.counts_rows()] == [1]
