"""The ends and edges of an owner's life: storage that is short, forks unseen, who goes last."""

from __future__ import annotations

import os
import sys
from textwrap import dedent

import pytest

from faultplane import schema
from faultplane.store import counts, deaths, domain, owners

SPAWNED = """
import multiprocessing
sys.path.insert(0, sys.argv[1])
from worker_of_test import work
if __name__ == "__main__":
    lifecycle.init()
    children, (hold, release) = [], os.pipe()
    for _ in range(31):
        ready, say = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(release)
            os.write(say, b"x")
            os.read(hold, 1)
            os._exit(0)
        os.read(ready, 1)
        children.append(child)
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    print(hits())
    os.close(release)
    for child in children:
        wait(child)
"""


def total(store):
    return sum(row.value for row in counts.read_counters(store) if row.name in ("", "hits"))


def test_a_spawned_child_without_a_slot_hands_its_counts_over_once(run, tmp_path, stores):
    (tmp_path / "worker_of_test.py").write_text(
        "def work():\n"
        "    from faultplane._backend import core\n"
        "    from faultplane.store import lifecycle\n"
        "    import os\n"
        "    os.environ['FAULTPLANE_DOMAIN'] = 'free'\n"
        "    assert lifecycle.init().bound  # so that it has told multiprocessing of its end\n"
        "    assert not lifecycle.init(domain='default').bound\n"
        "    core.Counter('hits').add(5)\n"
    )
    run(SPAWNED, tmp_path, FAULTPLANE_BUDGET_BYTES="2MiB")
    assert total(stores()) == 5


def test_trying_storage_again_changes_nothing_where_there_is_nothing_to_try(run, tmp_domain_dir):
    code = """
    lifecycle._rebind()
    assert lifecycle.status() == lifecycle.Status()
    assert os.listdir(sys.argv[1]) == []
    first = lifecycle.init()
    lifecycle._rebind()
    assert lifecycle.status() == first
    import threading
    inside, leave = threading.Event(), threading.Event()
    def hold():
        with lifecycle._process.lock:
            inside.set()
            leave.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    owners.set_fence(lifecycle._process.store, first.owner_slot)
    lifecycle._rebind()  # does not wait for the other thread
    assert lifecycle.status() == first
    leave.set()
    thread.join()
    lifecycle.shutdown()
    lifecycle._rebind()  # neither does a process that ends register again
    assert lifecycle.status() == first
    """
    run(code, tmp_domain_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork")
def test_a_child_that_no_handler_saw_does_not_say_that_its_parent_left(run, stores):
    code = """
    import ctypes
    lifecycle.init()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        sys.exit(0)
    wait(child)
    print([row.state for row in owners.read_owners(lifecycle._process.store)])
    """
    assert run(code) == "['live']\n"
    assert [row.state for row in owners.read_owners(stores())] == ["exited"]


INSIDE = """
from faultplane.store import Domain, fold, resource
LIBRARY = os.path.dirname(lifecycle.__file__)
fail()  # so that all is imported that a record needs

def joined(base, at):
    "Join twice, record at line ``at`` of what that runs; (lines, descriptors), and check the rest."
    os.mkdir(base)
    os.environ["FAULTPLANE_DIR"] = base
    lines = 0
    def trace(frame, event, _):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                fail()
        return trace
    sys.settrace(trace)
    lifecycle.init()
    lifecycle.init(domain="other")
    sys.settrace(None)
    fail()
    mine = [os.readlink(f"/proc/self/fd/{fd.name}") for fd in os.scandir("/proc/self/fd")]
    found = states = 0
    for name in ("default", "other"):
        with Domain.attach(name, base) as there:
            found += sum(row["count"] for row in there.counts_rows())
            states += sum(row["state"] == "live" for row in there.owners_rows())
    assert lifecycle.status().bound and states == 1, (at, states)
    assert found == 1 + (0 < at <= lines), (at, found)
    return lines, sum(path.startswith(base) for path in mine)

def forked(at):
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say, b"%d %d" % joined(f"{sys.argv[1]}/{at}", at))
        os._exit(0)
    os.close(say)
    with os.fdopen(said) as file:
        told = file.read()
    wait(child)
    return [int(word) for word in told.split()]

lines, opened = forked(0)
assert lines > 500
for at in range(1 + int(sys.argv[2]), lines, 96):
    assert forked(at)[1] == opened, (at, opened)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel what is open")
def test_what_is_recorded_while_a_process_registers_takes_no_slot_of_its_own(
    run, tmp_domain_dir, rng
):
    """A signal handler, or a finalizer, that comes in there would wait for itself, or leak."""
    run(INSIDE, tmp_domain_dir, rng.randrange(96), FAULTPLANE_BUDGET_BYTES="2MiB", timeout=110)


MANY = """
from faultplane import schema
from faultplane.store import Domain
assert not lifecycle.init().bound
for n in range(schema.SERIES_MAX + 200):
    core.Counter(f"counter {n}").add(2)
fail(7)
with Domain.own() as own:
    print(sum(row["value"] for row in own.counters_rows()))
    print(sum(row["count"] for row in own.counts_rows()))
import contextlib
with contextlib.redirect_stderr(sys.stdout):
    lifecycle.shutdown()
"""


def test_what_has_no_series_of_its_own_is_told_by_a_process_without_storage(run, tmp_domain_dir):
    (tmp_domain_dir / "file").write_bytes(b"")
    told = run(MANY, FAULTPLANE_DIR=str(tmp_domain_dir / "file"))
    hits = 2 * (schema.SERIES_MAX + 200)
    assert told.split()[:2] == [str(hits), "7"]
    assert f": 7 errors, {hits:,} in " in told, told


LEFT = """
# Another thread leaves the domain at one instruction of the look whether this one may write.
import threading
from faultplane._pure import memory
from faultplane._pure.recorder import state
lifecycle.init()
fail()
for at in range(1, 17):
    seen = 0
    def trace(frame, event, _):
        global seen
        if frame.f_code.co_name != "may_write" or memory.process_lock._is_owned():
            return None
        frame.f_trace_opcodes = True
        seen += event == "opcode"
        if event == "opcode" and seen == at:
            thread = threading.Thread(target=core.unbind)
            thread.start()
            thread.join()
        return trace
    core.unbind()
    state._rebind_mono_nano = lifecycle._process.retry_at = 0
    sys._getframe().f_trace_opcodes = True  # 3.12 forgets otherwise to ask frames for theirs
    sys.settrace(trace)
    fail()
    sys.settrace(None)
    assert seen > 4
lifecycle.init()
store = lifecycle._process.store
assert errors(store) == 17
print({row.reason for row in counts.read_drops(store) if row.count})
"""


def test_a_thread_that_leaves_the_domain_costs_another_no_more_than_a_row(run):
    """In the pure core: between two looks of the compiled one no other thread runs."""
    assert set(eval(run(LEFT, core="python"))) <= {"no_storage"}


SHORT = """
lifecycle.init()
fail()
lifecycle._leave(0)
lifecycle._process.retry_at = float("inf")  # not before the disk is full
for n in range(1000):  # twice what the first piece of a file of counts holds
    core.Counter(f"counter {n}").add(n)
filler = os.path.join(os.environ["FAULTPLANE_DIR"], "filler")
space = os.statvfs(os.environ["FAULTPLANE_DIR"])
with open(filler, "wb") as file:
    file.write(bytes(space.f_bavail * space.f_frsize - (512 << 10)))
lifecycle._join(0)
status = lifecycle.status()
assert not status.bound and "do not fit" in status.reason, status
states = [row.state for row in owners.read_owners(lifecycle._process.store)]
assert "live" not in states, states
core.Counter("hits").add(5)
os.unlink(filler)
lifecycle._process.retry_at = 0.0
lifecycle._rebind()
assert lifecycle.status().bound, lifecycle.status()
assert hits() == 5
rows = counts.read_counters(lifecycle._process.store)
assert sum(row.value for row in rows if row.name.startswith("counter ")) == sum(range(1000))
"""


@pytest.mark.fault
def test_counts_that_do_not_fit_on_a_full_disk_are_kept_and_the_slot_is_given_back(run, small_disk):
    run(SHORT, FAULTPLANE_DIR=str(small_disk(16)), FAULTPLANE_BUDGET_BYTES="2MiB")


# -------------------------------------------------------------------------- the private directory


PRIVATE = """
from faultplane.store import location
location.SHARED_MEMORY = "/proc/nonexistent"
assert lifecycle.init().base_origin == "private"
"""
NOWHERE = {"FAULTPLANE_DIR": None, "XDG_RUNTIME_DIR": None}


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is no child")
@pytest.mark.parametrize("last", ["parent", "child"])
def test_a_private_directory_goes_with_its_last_process(run, tmp_path, last):
    code = """
    import select
    fail()
    parent = os.pidfd_open(os.getpid())
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say, b"x")
        if sys.argv[1] == "child":
            poll = select.poll()
            poll.register(parent, select.POLLIN)
            poll.poll()
            assert errors() == 1
        fail()
        sys.exit(0)
    os.read(ready, 1)
    if sys.argv[1] == "parent":
        wait(child)
        assert errors() == 2
    """
    # The output is read to its end: until the last of the two has closed it.
    run(PRIVATE + dedent(code), last, **NOWHERE, TMPDIR=str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_private_directory_goes_when_its_process_is_told_of_another(run, tmp_path):
    code = """
    fail(2)
    status = lifecycle.init(directory=os.path.join(os.environ["TMPDIR"], "later"))
    assert status.bound and status.base_origin == "given", status
    fail(3)
    assert errors() == 3
    """
    run(PRIVATE + dedent(code), **NOWHERE, TMPDIR=str(tmp_path))
    assert os.listdir(tmp_path) == ["later"]


def test_what_somebody_else_put_into_a_private_directory_stays(run, tmp_path):
    code = """
    with open(os.path.join(lifecycle.status().base_path, "mine"), "w") as file:
        file.write("kept")
    """
    run(PRIVATE + dedent(code), **NOWHERE, TMPDIR=str(tmp_path))
    assert [path.read_text() for path in tmp_path.glob("*/mine")] == ["kept"]


def test_a_private_directory_that_was_taken_away_is_replaced(run, tmp_path):
    code = """
    import shutil
    first = lifecycle.status().base_path
    shutil.rmtree(first)
    fail()
    lifecycle._rebind()
    status = lifecycle.status()
    assert status.bound and status.base_path != first, status
    fail(2)
    assert errors() == 3
    """
    run(PRIVATE + dedent(code), **NOWHERE, TMPDIR=str(tmp_path))
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------ a second domain


def test_a_process_that_changes_its_domain_is_dead_in_neither(run, stores):
    run("lifecycle.init(); fail(2); lifecycle.init(domain='other'); fail(3)")
    for name, expected in (("default", 2), ("other", 3)):
        store = stores(name)
        assert [row.count for row in counts.read_counts(store)] == [expected]
        assert deaths.read_deaths(store) == []


@pytest.mark.parametrize("way", ["call", "removed"])
def test_a_directory_that_is_named_later_is_moved_to_at_once(run, tmp_domain_dir, way):
    """Not at the next change of the domain, nor when the store is lost and made anew."""
    code = """
    before = lifecycle.init()
    core.Counter("hits").add(1)
    status = lifecycle.init(directory=sys.argv[1])
    assert status.bound and status.domain_path == os.path.join(sys.argv[1], "default"), status
    assert lifecycle.init(directory=sys.argv[1]) == lifecycle.init() == status
    core.Counter("hits").add(2)
    if sys.argv[2] == "removed":
        import shutil
        shutil.rmtree(before.domain_path)
        lifecycle._rebind()
        assert lifecycle.status() == status
    try:
        lifecycle.init(directory=os.path.dirname(before.domain_path), domain="other")
    except InvalidSetting as error:
        print(str(error).split()[0])
    assert lifecycle.status() == status
    """
    later = os.path.join(tmp_domain_dir, "later")
    assert run(dedent(code), later, way) == "directory\n"
    found = {}
    for base in (str(tmp_domain_dir), later) if way == "call" else (later,):
        (path,) = domain.store_paths(domain.find("default", base))
        with domain.Store.open(path) as store:
            found[base] = {row.name: row.value for row in counts.read_counters(store)}
            assert deaths.read_deaths(store) == []
    assert [found.get(base) for base in (str(tmp_domain_dir), later)] == [
        {"hits": 1} if way == "call" else None,
        {"hits": 2},
    ]


def test_a_directory_that_cannot_be_had_is_told_and_takes_no_record_elsewhere(run, stores):
    code = """
    lifecycle.init()
    fail(2)
    status = lifecycle.init(directory="/proc/nowhere")
    assert not status.bound and "/proc/nowhere" in status.reason, status
    fail(3)
    rows = counts.count_rows(lifecycle.own_counts().tallies)
    assert [row.count for row in rows] == [3], rows
    """
    run(dedent(code))
    assert [row.count for row in counts.read_counts(stores())] == [2]


# ------------------------------------------------------------------------------- the last breath


def test_an_application_that_closes_every_descriptor_may_die_later_and_goes_on(run):
    code = """
    core.install_fatal_handler()
    lifecycle.init()
    fail(2)
    os.closerange(3, 4096)
    core.rearm_fatal_handler()
    lifecycle._rebind()
    core.rearm_fatal_handler()
    assert lifecycle.status().bound, lifecycle.status()
    fail(2)
    assert errors() == 4
    """
    run(code)


DIES = """
def die():
    import ctypes
    ctypes.string_at(0)

child = os.fork()
if child == 0:
    fail()
    die()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -11
(death,) = deaths.read_deaths(lifecycle._process.store)
assert (death["how"], death["signal_name"]) == ("signal", "SIGSEGV"), death
assert any(frame.endswith(" in die") for frame in death["frames"]), death
"""


@pytest.mark.fault
def test_with_few_descriptors_the_frames_of_a_crash_are_kept_too(run):
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))  # no number from 512 on
    lifecycle.init()
    core.install_fatal_handler()
    """
    run(dedent(code) + DIES)


@pytest.mark.fault
def test_a_handler_that_is_installed_while_the_domain_is_gone_works_in_the_next_one(run):
    code = """
    import shutil
    shutil.rmtree(lifecycle.init().domain_path)
    core.install_fatal_handler()
    fail()
    lifecycle._rebind()
    assert lifecycle.status().bound, lifecycle.status()
    """
    run(dedent(code) + DIES)


def test_files_of_a_domain_for_the_group_are_readable_by_it_all_of_them(run, stores):
    run("os.umask(0o077); lifecycle.init(); fail(70)", FAULTPLANE_GROUP_READABLE="1")
    store = stores()
    modes = {
        name: os.stat(f"{store.path}/{name}").st_mode & 0o777 for name in os.listdir(store.path)
    }
    assert {name.partition("-")[0] for name in modes} >= {"seg", "dict", "stacks", "agg", "breath"}
    assert set(modes.values()) == {0o640}, modes
