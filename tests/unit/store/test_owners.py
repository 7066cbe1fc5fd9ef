"""Owners: a slot a process, numbers never used twice, and who counts as alive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane.errors import DomainNotFound, StorageFull
from faultplane.store import cgroup, host, owners
from faultplane.store.owners import Life, OwnerRow

DEAD_PID = 2**22 + 5  # above the kernel's largest


def test_the_structure_has_no_gaps_so_that_it_is_read_at_once():
    position = 0
    for field in schema.OWNER.fields:
        assert schema.OWNER.offset[field.name] == position
        position += schema.OWNER.width(field.name)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1), st.sampled_from(range(5))
)  # fmt: skip
def test_a_word_holds_incarnation_generation_and_state(incarnation, generation, state):
    word = owners.pack_word(incarnation, generation, state)
    row = OwnerRow(0, word, b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, "")
    assert (row.incarnation, row.generation, row.state_code) == (incarnation, generation, state)
    assert row.state == schema.OWNER_STATES[state]
    assert word < 1 << 64


def test_an_unknown_state_has_a_name_too():
    assert OwnerRow(0, 9, b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, "").state == "state 9"


def test_a_new_owner_says_who_it_is(store):
    registration = owners.register(store, '{"service.name":"checkout"}')
    row = owners.read_owner(store, registration.slot)
    assert owners.read_owners(store) == [row]
    assert (row.slot, row.incarnation, row.generation, row.state) == (0, 1, 0, "live")
    assert row.word == registration.word
    assert row.process == host.this_process()
    assert row.boot == host.boot_id()[:8]
    assert (row.cgroup, row.oom_kills_at_start) == cgroup.own_kills()
    assert row.service == "checkout"
    assert row.attributes == {"service.name": "checkout"}
    assert (row.fence, row.end_unix_nano, row.exit_code) == (1, 0, 0)
    assert row.start_unix_nano >= store.header.created_unix_nano
    assert owners.life(store, row) is Life.ALIVE
    assert registration.aggregate.load(schema.AGGREGATE.offset["incarnation"]) == 1
    assert registration.breath.load(schema.BREATH.offset["incarnation"]) == 1
    assert os.path.getsize(f"{store.path}/agg-0") == 64 << 10
    assert os.path.getsize(f"{store.path}/breath-0") == schema.BREATH_BYTES


def test_attributes_that_are_no_json_object_are_none(owner):
    row = owner().row
    for text in ("", "{", "[1]"):
        assert row._replace(resource=text).attributes == {}


def test_a_resource_that_does_not_fit_is_refused_before_anything_is_written(store):
    with pytest.raises(ValueError, match="at most 384 bytes, got 385"):
        owners.register(store, "x" * 385)
    assert store.load("incarnation_next") == 1


def test_a_table_that_is_full_takes_nobody_until_a_slot_is_free(store, owner):
    taken = [owner() for _ in range(store.header.owner_slots)]
    assert [one.registration.slot for one in taken] == list(range(32))
    assert owners.register(store, "{}") is None
    row = taken[7].die()
    for state in (schema.OWNER_DEAD, schema.OWNER_FOLDED, schema.OWNER_FREE):
        row = owners.change_state(store, row, state)
    again = owners.register(store, "{}")
    assert (again.slot, again.generation, again.incarnation) == (7, 1, 33)


def test_a_step_taken_on_an_old_reading_fails(store, owner):
    one = owner()
    old = one.row
    assert owners.say_exited(store, one.registration, 3)
    assert (one.row.state, one.row.exit_code) == ("exited", 3)
    assert owners.change_state(store, old, schema.OWNER_DEAD) is None
    assert not owners.say_exited(store, one.registration, 4)
    assert (one.row.state, one.row.exit_code) == ("exited", 3)


def test_registration_on_a_store_that_was_removed_is_refused(store):
    os.rename(store.path, f"{store.domain_path}/away")
    with pytest.raises(DomainNotFound, match="was removed"):
        owners.register(store, "{}")


def test_a_full_disk_leaves_the_slot_free(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFull):
        owners.register(store, "{}")
    monkeypatch.undo()
    assert owners.read_owners(store) == []
    assert owners.register(store, "{}").slot == 0


def test_the_breath_that_does_not_fit_leaves_the_slot_free(store, monkeypatch):
    reserve, calls = os.posix_fallocate, []

    def full(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        reserve(*args)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFull):
        owners.register(store, "{}")
    assert owners.read_owners(store) == []


# ----------------------------------------------------------------------------------- liveness


def test_a_program_that_took_the_place_of_an_owner_is_not_it(store, owner):
    """Same pid, same start time, as after exec: but this image did not register."""
    one = owner()
    assert owners.life(store, one.row) is Life.ALIVE
    assert owners.life(store, one.die()) is Life.GONE


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_owner_of_another_interpreter_in_this_process_lives(store, owner, monkeypatch):
    one = owner()
    monkeypatch.setattr(owners, "_own", {})
    assert owners.life(store, one.row) is Life.ALIVE
    store.locks.release(one.registration.slot)
    assert owners.life(store, one.row) is Life.GONE


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_pid_that_was_given_to_another_process_is_not_the_owner(store, owner):
    one = owner()
    one.write(pid=os.getppid(), pid_start_ticks=host.start_ticks(os.getppid()) - 1)
    assert owners.life(store, one.die()) is Life.GONE


def test_an_owner_of_another_boot_is_gone_whatever_its_pid_says(store, owner):
    one = owner()
    one.write(random_id=b"another!" + bytes(8))
    assert owners.life(store, one.die()) is Life.GONE


@pytest.mark.parametrize("who", ["the owner", "who looks"])
def test_an_owner_of_an_unknown_boot_is_judged_by_its_lock(store, owner, monkeypatch, who):
    """One of the two has no /proc."""
    one = owner()
    one.write(pid_namespace=7)
    if who == "the owner":
        one.write(random_id=bytes(16))
    else:
        monkeypatch.setattr(host, "boot_id", lambda: bytes(16))
    monkeypatch.setattr(owners, "_own", {})
    monkeypatch.setattr(store.locks, "is_held", lambda _: True)
    assert owners.life(store, one.row) is Life.ALIVE
    monkeypatch.setattr(store.locks, "is_held", lambda _: False)
    assert owners.life(store, one.row) is Life.SILENT


def test_where_proc_is_of_another_namespace_the_lock_alone_is_asked(store, owner, monkeypatch):
    one = owner()
    row = one.die()
    assert owners.life(store, row) is Life.GONE
    monkeypatch.setattr(host, "proc_is_foreign", lambda: True)
    assert owners.life(store, row) is Life.SILENT


def test_an_owner_of_another_pid_namespace_is_silent_when_its_lock_is_free(store, owner):
    one = owner()
    one.write(pid_namespace=7)
    assert owners.life(store, one.die()) is Life.SILENT


def test_silent_owners_get_a_second_from_the_fence_on_and_a_clock_set_back_is_no_reason(owner):
    row = owner().row._replace(fence=0, end_unix_nano=10**18)
    settled = [
        owners.is_settled(row, Life.SILENT, 10**18 + offset)
        for offset in (0, 999_999_999, 1_000_000_000, -1)
    ]
    assert settled == [False, False, True, True]
    assert not owners.is_settled(row._replace(fence=row.incarnation), Life.SILENT, 2 * 10**18)
    assert owners.is_settled(row, Life.GONE, 10**18)
    assert not owners.is_settled(row, Life.ALIVE, 2 * 10**18)


LIVE = """
import os, sys
from faultplane.store import domain, owners
store = domain.Store.open(sys.argv[1], writable=True)
registration = owners.register(store, "{}")
if "close" in sys.argv:
    os.closerange(3, 4096)
if "exec" in sys.argv:
    os.execv(sys.executable, [sys.executable, "-c", "print('ready', flush=True); input()"])
print("ready", flush=True)
input()
"""


@pytest.fixture
def live_owner(store, child_environment):
    """Function ``(how) -> (Popen, row)``: an owner in another process."""
    started = []

    def start(*how):
        process = subprocess.Popen(
            [sys.executable, "-c", LIVE, store.path, *how],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process, owners.read_owners(store)[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_lives_until_it_is_killed(store, live_owner):
    process, row = live_owner()
    assert row.pid == process.pid
    assert owners.life(store, row) is Life.ALIVE
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owners.life(store, row) is Life.GONE


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_closed_every_descriptor_lost_its_lock_but_lives(store, live_owner):
    process, row = live_owner("close")
    assert not store.locks.is_held(row.slot)
    assert owners.life(store, row) is Life.ALIVE
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owners.life(store, row) is Life.GONE


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_became_another_program_is_gone_while_its_pid_lives(store, live_owner):
    _, row = live_owner("exec")
    assert not host.is_gone(row.process)
    assert owners.life(store, row) is Life.GONE


CRASH = """
import os, sys
from faultplane.store import domain, owners
store = domain.Store.open(sys.argv[1], writable=True)
names = []
child = os.fork()
assert child or owners.register(store, "{}", names.append) or True
if child == 0:
    os.write(int(sys.argv[2]) if len(sys.argv) > 2 else 1, " ".join(names).encode())
    os._exit(0)
os.waitpid(child, 0)
"""

CRASH_AT = """
import os, sys
from faultplane.store import domain, owners
store = domain.Store.open(sys.argv[1], writable=True)
for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        owners.register(store, "{}", lambda step: os._exit(7) if step == name else None)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    row = [(row.slot, row.state) for row in owners.read_owners(store)]
    registration = owners.register(store, "{}")
    print(name, row, registration.slot, flush=True)
    counts = registration.aggregate
    assert counts.load(16) == registration.incarnation
"""


def test_a_crash_at_any_step_of_registration_leaves_the_slot_to_the_next(store, run_python):
    steps = run_python(CRASH, store.path).stdout.split()
    assert steps == ["fields", "files", "swap", "done"]
    before = {row.slot for row in owners.read_owners(store)}
    lines = run_python(CRASH_AT, store.path, *steps).stdout.splitlines()
    assert len(before) == 1
    # Each of the first three leaves a free slot; the last an owner that is dead.
    taken = [line.rpartition(" ")[2] for line in lines]
    assert taken == ["1", "2", "3", "5"]
    assert [row.slot for row in owners.read_owners(store)] == [0, 1, 2, 3, 4, 5]
