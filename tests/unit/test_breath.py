"""In-flight slots, read from the bytes: tokens free what they stand for and nothing else."""

from __future__ import annotations

import json
import time

import pytest

from faultplane import schema

PRELUDE = """
import json, os, sys, threading
import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import lifecycle

def slots():
    "Entries in flight by slot, as any process reads them."
    store = lifecycle._process.store
    slot = lifecycle._process.registration.slot
    with open(os.path.join(store.path, f"breath-{slot}"), "rb") as file:
        data = file.read()
    found = {}
    for slot in range(schema.INFLIGHT_SLOTS):
        base = schema.BREATH_INFLIGHT_OFFSET + slot * schema.INFLIGHT.size
        entry = schema.INFLIGHT.read_all(data, base)
        if entry["word"]:
            size = entry.pop("operation_bytes")
            entry["operation"] = entry["operation"][:size].decode()
            entry["trace_id"] = entry["trace_id"].hex()
            found[slot] = entry
    return found

def operations():
    return sorted(entry["operation"] for entry in slots().values())

fp.init(service="breath")
"""


@pytest.fixture
def run(run_python, core, core_name):
    """Function ``(code) -> what it printed``."""

    def run(code):
        return json.loads(run_python(PRELUDE + code, core=core_name).stdout)

    return run


def test_an_entry_says_what_when_and_where(run):
    before = time.time_ns(), time.monotonic_ns()
    code = """
token = core.enter("charge")
(entry,) = slots().values()
print(json.dumps([token, entry, threading.get_native_id()]))
"""
    token, entry, thread = run(code)
    assert token > 0
    assert entry["operation"] == "charge"
    assert before[0] - 1_000_000 <= entry["start_unix_nano"] <= time.time_ns()
    assert before[1] <= entry["start_mono_nano"] <= time.monotonic_ns()
    assert (entry["thread_id"], entry["parent"], entry["trace_id"]) == (thread, 0, "00" * 16)


def test_each_thread_enters_under_its_own_id(run):
    code = """
def enter(name):
    core.enter(name)
    known[name] = threading.get_native_id()

known = {}
enter("main")
for name in ("first", "second"):
    thread = threading.Thread(target=enter, args=(name,))
    thread.start()
    thread.join()
print(json.dumps([known, {e["operation"]: e["thread_id"] for e in slots().values()}]))
"""
    known, shown = run(code)
    assert known == shown


def test_a_token_frees_its_entry_once(run):
    code = """
first = core.enter("first")
core.leave(first)
second = core.enter("second")
core.leave(first)
print(json.dumps([first, second, operations()]))
"""
    first, second, operations = run(code)
    assert first != second
    assert operations == ["second"]


@pytest.mark.parametrize("token", [0, 1, 511, 512, 2**31, 2**32 - 1])
def test_a_token_that_was_never_given_frees_nothing(run, token):
    code = f"""
core.enter("charge")
core.leave({token})
print(json.dumps(operations()))
"""
    assert run(code) == ["charge"]


def test_a_forked_child_frees_none_of_its_own_by_its_parents_tokens(run):
    code = """
inherited = core.enter("parent")
child = os.fork()
if child == 0:
    token = core.enter("child")
    core.leave(inherited)
    (entry,) = slots().values()
    print(json.dumps([inherited, token, entry, os.getpid()]))
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
"""
    inherited, token, entry, pid = run(code)
    assert inherited != token
    assert (entry["operation"], entry["thread_id"]) == ("child", pid)


def test_the_parent_is_a_slot_that_is_still_entered(run):
    code = """
outer = core.enter("outer")
inner = core.enter("inner", outer)
orphan_of = core.enter("gone")
core.leave(orphan_of)
core.enter("orphan", orphan_of)
found = {e["operation"]: [slot, e["parent"]] for slot, e in slots().items()}
print(json.dumps(found))
"""
    found = run(code)
    assert found["inner"][1] == found["outer"][0] + 1
    assert found["orphan"][1] == 0


def test_a_slot_that_is_used_again_keeps_nothing_of_its_last_entry(run):
    code = """
token = core.enter("a long name of an operation")
core.leave(token)
core.enter("b")
print(json.dumps(list(slots().values())))
"""
    (entry,) = run(code)
    assert (entry["operation"], entry["word"]) == ("b", 2)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("x" * 64, "x" * 64), ("x" * 65, "x" * 64), ("x" * 63 + "é", "x" * 63), ("", "")],
)
def test_an_operation_is_cut_at_a_code_point(run, name, kept):
    assert len(kept.encode()) <= schema.INFLIGHT.width("operation")
    assert run(f"core.enter({name!r})\nprint(json.dumps(operations()))") == [kept]


def test_past_the_last_slot_there_is_none_until_one_is_left(run):
    code = """
tokens = [core.enter(f"n{n}") for n in range(schema.INFLIGHT_SLOTS)]
refused = core.enter("refused")
core.leave(tokens[7])
again = core.enter("again")
print(json.dumps([len(set(tokens)), refused, again > 0, len(operations())]))
"""
    assert run(code) == [schema.INFLIGHT_SLOTS, 0, True, schema.INFLIGHT_SLOTS]
