"""Nothing is imported once a process records: a signal handler may have come into an import.

An import inside of another one of the same thread finds a module half made, breaks the one around
it (``KeyError`` out of importlib, up to Python 3.11), or waits for itself for ever.
"""

from __future__ import annotations

import json

import pytest

WATCH = """
import json, os, signal, sys, types
import faultplane as fp
from faultplane.store import lifecycle, maintain

imported = []

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        imported.append(name)

def record(n=1):
    for _ in range(n):
        try:
            raise KeyError("x")
        except KeyError as error:
            fp.record(error, operation="op", attributes={"api.key": 1, "l": [1, 2.0, {"a": {1}}]})

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os.write(answers[1], json.dumps(imported).encode() + b"\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
"""

RECORDS = """
fp.init(service="x")
sys.meta_path.insert(0, Watch)
answers = os.pipe()
record(70)  # more than one lane
fp.record(OSError(2, "x"), attributes=types.MappingProxyType({"z": object()}))
fp.counter("hits").add(2)
with fp.capture("block", reraise=False):
    raise ExceptionGroup("group", [ValueError("y"), ConnectionResetError("z")])
fp.classify(TimeoutError())
for _ in range(3):  # each child after the first buries the one before it, who left rows
    child(record)
child(lambda: [maintain.maintain_store(lifecycle._process.store), record()])
os.rename(path := lifecycle.status().domain_path, path + ".gone")
lifecycle._process.retry_at = 0.0
lifecycle._rebind()
assert lifecycle.status().bound
record()
os.close(answers[1])
with os.fdopen(answers[0]) as file:
    children = [json.loads(line) for line in file]
assert len(children) == 4
print(json.dumps([imported, children]))
"""

WITHOUT_STORAGE = """
from faultplane.store import location
location.SHARED_MEMORY = "/proc/nonexistent"
sys.meta_path.insert(0, Watch)
lifecycle.init(service="x")
assert lifecycle.status().base_origin == "private"
print(json.dumps(imported))
"""

CONTROL = """
sys.meta_path.insert(0, Watch)
fp.init(service="x")
print(json.dumps(imported))
"""


@pytest.fixture
def run(run_python, core_name):
    def start(code, **environment):
        return json.loads(run_python(WATCH + code, core=core_name, **environment).stdout)

    return start


def test_who_records_forks_and_buries_imports_nothing(run, tmp_domain_dir):
    del tmp_domain_dir
    assert run(RECORDS) == [[], [[], [], [], []]]


def test_the_last_resort_for_a_directory_imports_nothing(run, tmp_path):
    nowhere = {"FAULTPLANE_DIR": None, "XDG_RUNTIME_DIR": None, "TMPDIR": str(tmp_path)}
    assert run(WITHOUT_STORAGE, **nowhere) == []


def test_the_watch_sees_imports(run, tmp_domain_dir):
    """Negative control: `init` itself imports what reads the rules."""
    del tmp_domain_dir
    assert "faultplane.classify.rules" in run(CONTROL)


INSIDE = """
seen = []

class Inside:
    # As a signal handler that comes while the rules are read.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(Inside)
            before = len(imported)
            sys.meta_path.insert(0, Watch)
            record()
            seen.extend(imported[before:])
            sys.meta_path.remove(Watch)

sys.meta_path.insert(0, Inside)
fp.init(service="x")
assert Inside not in sys.meta_path
record()
rows = fp.attach().counts_rows()
print(json.dumps([seen, [[row["kind"], row["count"]] for row in rows]]))
"""


@pytest.mark.parametrize("module", ["faultplane.classify.judges", "faultplane.classify.rules"])
def test_what_is_recorded_while_the_rules_are_read_is_unknown_and_imports_nothing(
    run_python, core_name, tmp_domain_dir, module
):
    del tmp_domain_dir
    seen, counted = json.loads(run_python(WATCH + INSIDE, module, core=core_name).stdout)
    assert seen == []
    assert sum(count for _, count in counted) == 2
    assert ["Internal", 1] in counted
