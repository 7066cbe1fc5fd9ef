"""Files beside a free slot: removed when nobody counted into them, told when somebody did."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.store import Domain, maintain, owners, unowned

KILLED_AT = """
import os, sys
from faultplane.store import domain, owners
store = domain.Store.open(sys.argv[1], writable=True)
owners.register(store, "{}", lambda step: os._exit(7) if step == "swap" else None)
"""


def slot_files(store):
    return {name for name in os.listdir(store.path) if name.startswith(("agg-", "breath-"))}


def test_files_of_one_that_was_killed_before_it_owned_its_slot_are_removed(store, run_python):
    assert owners.register(store, "{}").slot == 0
    before = slot_files(store)
    assert run_python(KILLED_AT, store.path, check=False).returncode == 7
    assert slot_files(store) - before == {"agg-1", "breath-1"}
    os.mkdir(f"{store.path}/agg-3")
    report = maintain.maintain_store(store)
    assert (report.removed, report.problems) == (["agg-1", "breath-1"], [])
    os.rmdir(f"{store.path}/agg-3")
    assert slot_files(store) == before
    assert owners.register(store, "{}").slot == 1


STOPPED_AT = """
import sys
from faultplane.store import domain, owners
store = domain.Store.open(sys.argv[1], writable=True)

def step(name):
    if name == sys.argv[2]:
        print(name, flush=True)
        sys.stdin.readline()

print(owners.register(store, "{}", step).slot)
"""


@pytest.mark.parametrize("step", ["swap", "done"])
def test_files_of_one_that_is_registering_stay(store, child_environment, step):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    words = [sys.executable, "-c", STOPPED_AT, store.path, step]
    with subprocess.Popen(words, env=child_environment(CORE_NAME), **pipes) as child:
        assert child.stdout.readline() == f"{step}\n"
        assert maintain.maintain_store(store).removed == []
        assert {"agg-0", "breath-0"} <= slot_files(store)
        assert child.communicate("go on\n")[0] == "0\n"


def test_counts_beside_a_free_slot_stay_and_are_told(store, owner):
    one, other = owner(hits=3), owner()
    for registration in (one.registration, other.registration):
        store.owners.store(registration.slot * schema.OWNER.size, 0)  # damage, or an old copy
        store.locks.release(registration.slot)
    told = f"{store.path}: agg-0 has counts that are in no sum, "
    told += "since owners says that slot 0 is free"
    assert unowned.problems(store) == [told]
    with Domain.attach("default", os.path.dirname(store.domain_path)) as domain:
        assert domain.problems() == [told]
    assert maintain.maintain_store(store).removed == ["agg-1", "breath-1"]
    assert slot_files(store) - {"agg-retired"} == {"agg-0", "breath-0"}
