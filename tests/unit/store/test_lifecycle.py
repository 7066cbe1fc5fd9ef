"""This process as an owner: from init() to its end, through forks, fences and lost storage."""

from __future__ import annotations

import os
import sys

import pytest

from faultplane import schema
from faultplane.store import counts, deaths, domain, owners


def values(store):
    return {row.name: row.value for row in counts.read_counters(store)}


# --------------------------------------------------------------------------------------- init


def test_init_registers_once_and_says_where(run, stores):
    code = """
    assert lifecycle.status() == lifecycle.Status()
    first = lifecycle.init(service="checkout")
    assert first.bound and first.initialised and first.reason == "", first
    assert lifecycle.init() == lifecycle.init(service="checkout") == first == lifecycle.status()
    assert [row.state for row in owners.read_owners(lifecycle._process.store)] == ["live"]
    assert first.base_path == os.environ["FAULTPLANE_DIR"] and first.base_origin == "given"
    print(first.service, first.domain, first.owner_slot, first.incarnation)
    """
    assert run(dedent(code)) == "checkout default 0 1\n"
    (row,) = owners.read_owners(stores())
    assert (row.state, row.service, row.exit_code) == ("exited", "checkout", 0)


def dedent(code):
    import textwrap

    return textwrap.dedent(code)


def test_importing_creates_nothing_and_init_starts_no_thread(run, tmp_domain_dir):
    code = """
    import threading
    assert os.listdir(sys.argv[1]) == []
    lifecycle.init()
    assert os.listdir(sys.argv[1]) == ["default"]
    assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    assert "pyarrow" not in sys.modules and "numpy" not in sys.modules
    """
    run(dedent(code), tmp_domain_dir)


def test_what_was_counted_before_init_is_handed_over(run, stores):
    run(
        "core.Counter('hits').add(5); fail(3); lifecycle.init();core.Counter('hits').add(2); fail()"
    )
    assert values(stores()) == {"hits": 7}
    assert [row.count for row in counts.read_counts(stores())] == [4]
    assert [row.service for row in counts.read_counters(stores())] == ["unknown_service:python"]
    drops = {row.reason: row.count for row in counts.read_drops(stores())}
    assert drops["not_initialised"] == 3


def test_settings_come_from_the_environment_and_callers_go_first(run, stores):
    code = """
    status = lifecycle.init()
    assert (status.service, status.domain) == ("env", "envs")
    core.Counter("hits").add(1)
    status = lifecycle.init(service="mine", domain="own")
    assert (status.service, status.domain, status.bound) == ("mine", "own", True), status
    core.Counter("hits").add(2)
    for other in ({"domain": "x"}, {"service": "x"}, {"directory": "/dev/shm/x"}):
        try:
            lifecycle.init(**{**other, "directory": other.get("directory", sys.argv[1])})
        except InvalidSetting as error:
            print(str(error).split()[0])
    assert lifecycle.status() == status
    """
    out = run(
        dedent(code).replace('domain="own")', 'domain="own", directory=sys.argv[1])'),
        os.environ["FAULTPLANE_DIR"],
        FAULTPLANE_SERVICE="env",
        FAULTPLANE_DOMAIN="envs",
        FAULTPLANE_DIR=os.environ["FAULTPLANE_DIR"],
    )
    assert out == "domain\nservice\ndirectory\n"
    base = os.environ["FAULTPLANE_DIR"]
    found = {}
    for name in ("envs", "own"):
        (path,) = domain.store_paths(domain.find(name, base))
        with domain.Store.open(path) as store:
            found[name] = values(store)
    assert found == {"envs": {"hits": 1}, "own": {"hits": 2}}


def test_bad_arguments_are_refused_and_leave_no_trace(run, tmp_domain_dir):
    code = """
    for bad in ({"domain": "a/b"}, {"service": ""}, {"directory": 5}):
        try:
            lifecycle.init(**bad)
        except (InvalidName, InvalidSetting) as error:
            print(type(error).__name__)
    assert lifecycle.status() == lifecycle.Status() and not core.bound()
    """
    assert run(dedent(code)) == "InvalidName\nInvalidName\nInvalidSetting\n"
    assert os.listdir(tmp_domain_dir) == []


def test_a_second_init_does_not_undo_what_the_program_has_set(run):
    code = """
    lifecycle.init()
    core.configure(active=False)
    lifecycle.init(service="late")
    fail(3)
    print(errors())
    """
    assert run(dedent(code)) == "0\n"


def test_switched_off_nothing_is_created_or_counted(run, tmp_domain_dir):
    code = """
    status = lifecycle.init()
    assert not status.bound and "FAULTPLANE_DISABLED" in status.reason
    core.Counter("hits").add(1)
    child = os.fork()
    if child == 0:
        os._exit(lifecycle.status().bound)
    wait(child)
    """
    run(dedent(code), FAULTPLANE_DISABLED="1")
    assert os.listdir(tmp_domain_dir) == []


# ------------------------------------------------------------------------------------ storage


def test_without_storage_it_counts_by_itself_says_why_and_tries_again(run, tmp_domain_dir, stores):
    (tmp_domain_dir / "base").symlink_to("/proc/nonexistent")
    code = """
    status = lifecycle.init(directory=sys.argv[1])
    assert not status.bound and "must be a directory, got a link" in status.reason, status
    core.Counter("hits").add(3)
    fail(2)
    own = lifecycle.own_counts().tallies
    assert sum(row.value for row in counts.counter_rows(own)) == 3
    assert sum(row.count for row in counts.count_rows(own)) == 2
    os.unlink(sys.argv[1])
    lifecycle._process.retry_at = time.monotonic() + 100
    lifecycle._rebind()
    assert not core.bound(), "not yet"
    lifecycle._process.retry_at = 0.0
    lifecycle._rebind()
    assert lifecycle.status().bound and lifecycle.status().reason == ""
    core.Counter("hits").add(1)
    assert hits() == 4 and errors() == 2
    assert lifecycle.own_counts().tallies == {}
    """
    run(dedent(code), tmp_domain_dir / "base")


def test_the_wait_between_two_attempts_doubles_up_to_a_minute(run, tmp_domain_dir):
    (tmp_domain_dir / "base").symlink_to("/proc/nonexistent")
    code = """
    lifecycle.init(directory=sys.argv[1])
    waits = []
    for _ in range(8):
        waits.append(lifecycle._process.retry_seconds)
        lifecycle._process.retry_at = 0.0
        lifecycle._rebind()
    print(*waits)
    """
    expected = "2.0 4.0 8.0 16.0 32.0 60.0 60.0 60.0\n"
    assert run(dedent(code), tmp_domain_dir / "base") == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused_without_raising(run, tmp_domain_dir):
    (tmp_domain_dir / "default").mkdir()
    os.chown(tmp_domain_dir / "default", 4321, 4321)
    code = """
    status = lifecycle.init()
    fail()
    print(status.bound, status.reason.partition(" must ")[2])
    """
    assert run(dedent(code)) == "False belong to uid 0, got uid 4321\n"


def test_a_directory_that_cannot_be_written_to_raises_nothing(run, tmp_domain_dir):
    code = """
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    status = lifecycle.init()
    core.Counter("hits").add(2)
    fail(2)
    own = lifecycle.own_counts().tallies
    print(status.bound, status.reason.rpartition(": ")[2], len(counts.count_rows(own)))
    """
    os.chmod(tmp_domain_dir, 0o555)
    out = run(dedent(code))
    os.chmod(tmp_domain_dir, 0o700)
    assert out == "False Permission denied 1\n"


@pytest.mark.parametrize("way", ["init", "rebind"])
def test_a_domain_that_is_removed_under_a_process_is_made_anew(run, stores, way):
    code = """
    import shutil
    lifecycle.init()
    fail(3)
    shutil.rmtree(lifecycle.status().domain_path)
    fail(3)
    {"init": lifecycle.init, "rebind": lifecycle._rebind}[sys.argv[1]]()
    status = lifecycle.status()
    assert status.bound and os.path.isdir(status.store_path)
    core.Counter("hits").add(2)
    fail(4)
    """
    run(dedent(code), way)
    assert values(stores()) == {"hits": 2}
    assert [row.count for row in counts.read_counts(stores())] == [10]


def test_an_application_that_closes_every_descriptor_goes_on_and_registers_again(run, stores):
    code = """
    lifecycle.init()
    fail(2)
    os.closerange(3, 4096)
    fail(2)
    lifecycle._rebind()
    assert lifecycle.status().bound, lifecycle.status()
    fail(2)
    assert errors() == 6
    """
    run(dedent(code))
    assert [row.count for row in counts.read_counts(stores())] == [6]


def test_a_private_directory_goes_with_its_process(run, tmp_path):
    code = """
    from faultplane.store import location
    location.SHARED_MEMORY = "/proc/nonexistent"
    status = lifecycle.init()
    assert status.base_origin == "private" and status.bound, status
    fail()
    child = os.fork()
    if child == 0:
        assert lifecycle.status().base_path == status.base_path and lifecycle.status().bound
        os._exit(0)
    wait(child)
    maintain.maintain(status.domain_path)
    assert errors() == 1
    """
    nowhere = {"FAULTPLANE_DIR": None, "XDG_RUNTIME_DIR": None, "TMPDIR": str(tmp_path)}
    run(dedent(code), **nowhere)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("times", [1, 9])
def test_a_gc_between_opening_and_registering_is_met_by_another_attempt(run, times):
    code = """
    register, calls = owners.register, []
    def late(store, text):
        calls.append(store)
        if len(calls) <= int(sys.argv[1]):
            assert gc.gc(os.environ["FAULTPLANE_DIR"])[0].action == "removed"
        return register(store, text)
    owners.register = late
    status = lifecycle.init()
    print(status.bound, len(calls), status.reason.endswith("was removed"))
    """
    assert run(dedent(code), times) == ("True 2 False\n" if times == 1 else "False 3 True\n")


# ---------------------------------------------------------------------------------- owner slots


FULL = """
def others(n):
    children = []
    said, say = os.pipe()
    hold, release = os.pipe()
    for _ in range(n):
        child = os.fork()
        if child == 0:
            os.close(release)
            assert lifecycle.status().bound, lifecycle.status()
            os.write(say, b"x")
            os.read(hold, 1)
            os._exit(0)
        children.append(child)
    ready = b""
    while len(ready) < n:
        ready += os.read(said, n)
    os.close(hold)
    return children, release
"""


def test_past_the_last_slot_counts_stay_in_the_process_and_go_to_the_shared_cells_at_its_end(
    run, stores
):
    code = """
    slots = lifecycle.init().owner_slot + 1
    children, release = others(32 - slots)
    child = os.fork()
    if child == 0:
        status = lifecycle.status()
        assert not status.bound and "all 32 owner slots" in status.reason, status
        core.Counter("hits").add(5)
        fail(4)
        os.close(release)
        sys.exit(0)  # not os._exit: this one says what it has counted
    wait(child)
    assert (hits(), errors()) == (0, 4)
    assert [row.value for row in counts.read_counters(lifecycle._process.store)] == [5]
    os.close(release)
    for child in children:
        wait(child)
    """
    run(FULL + dedent(code), FAULTPLANE_BUDGET_BYTES="2MiB")
    assert sum(row.value for row in counts.read_counters(stores())) == 5


def test_slots_of_the_dead_are_given_back_when_the_table_is_full(run):
    code = """
    lifecycle.init()
    children, release = others(31)
    os.close(release)
    for child in children:
        wait(child)
    states = [row.state for row in owners.read_owners(lifecycle._process.store)]
    assert states == ["live"] * 32
    child = os.fork()
    if child == 0:
        os._exit(not lifecycle.status().bound)
    wait(child)
    """
    run(FULL + dedent(code), FAULTPLANE_BUDGET_BYTES="2MiB")


def test_a_process_that_is_declared_dead_registers_anew_and_loses_nothing(run, stores):
    code = """
    first = lifecycle.init()
    fail(3)
    store = lifecycle._process.store
    owners.set_fence(store, first.owner_slot)
    row = owners.read_owner(store, first.owner_slot)
    owners.write_fields(store, row.slot, end_unix_nano=1)
    assert owners.change_state(store, row, 3)
    fail(4)
    second = lifecycle.status()
    assert second.bound and second.incarnation == 2, second
    assert errors() == 7
    maintain.maintain_store(store)
    assert errors() == 7
    print([row.incarnation for row in owners.read_owners(store)])
    """
    assert run(dedent(code)) == "[2]\n"
    assert [row.count for row in counts.read_counts(stores())] == [7]


def test_one_that_slept_until_its_slot_had_another_owner_registers_anew_and_loses_nothing(
    run, stores
):
    """As a quiet daemon does that closed its descriptors, declared dead from another container."""
    code = """
    first = lifecycle.init()
    fail(3)
    store = lifecycle._process.store
    owners.set_fence(store, first.owner_slot)
    row = owners.read_owner(store, first.owner_slot)
    owners.write_fields(store, row.slot, end_unix_nano=1)
    assert owners.change_state(store, row, 3)
    assert maintain.maintain_store(store).folded == 1
    store.locks.release(first.owner_slot)
    other = owners.register(store, "{}")
    assert (other.slot, other.generation, other.incarnation) == (first.owner_slot, 1, 2)
    fail(4)
    assert errors() == 7, errors()
    second = lifecycle.status()
    assert second.bound and second.incarnation == 3, second
    """
    run(dedent(code))
    assert [row.count for row in counts.read_counts(stores())] == [7]


# --------------------------------------------------------------------------------------- fork


def test_a_forked_child_is_an_owner_of_its_own_and_inherits_no_count(run, stores):
    code = """
    lifecycle.init()
    core.Counter("hits").add(10)
    fail(10)
    child = os.fork()
    if child == 0:
        status = lifecycle.status()
        assert status.bound and status.incarnation == 2, status
        core.Counter("hits").add(1)
        fail(1)
        grandchild = os.fork()
        if grandchild == 0:
            core.Counter("hits").add(100)
            fail(100)
            os._exit(0)
        wait(grandchild)
        sys.exit(0)
    wait(child)
    core.Counter("hits").add(1000)
    assert (hits(), errors()) == (1111, 111)
    """
    run(dedent(code))
    assert values(stores()) == {"hits": 1111}
    assert [row.count for row in counts.read_counts(stores())] == [111]


def test_a_child_of_a_process_without_storage_inherits_no_count_either(run, tmp_domain_dir):
    (tmp_domain_dir / "base").symlink_to("/proc/nonexistent")
    code = """
    lifecycle.init(directory=sys.argv[1])
    core.Counter("hits").add(10)
    fail(10)
    os.unlink(sys.argv[1])
    child = os.fork()
    if child == 0:
        assert lifecycle.status().bound, lifecycle.status()
        core.Counter("hits").add(1)
        fail(1)
        assert (hits(), errors()) == (1, 1), (hits(), errors())
        os._exit(0)
    wait(child)
    lifecycle._process.retry_at = 0.0
    lifecycle._rebind()
    assert (hits(), errors()) == (11, 11), (hits(), errors())
    """
    run(dedent(code), tmp_domain_dir / "base")


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork")
def test_a_fork_past_all_handlers_is_noticed(run, stores):
    code = """
    import ctypes
    lifecycle.init()
    fail(10)
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        fail(5)
        os._exit(not (lifecycle.status().bound and lifecycle.status().incarnation == 2))
    wait(child)
    assert errors() == 10 + 5
    """
    run(dedent(code))


def test_a_fork_past_all_handlers_makes_no_cell_in_its_parents_counts(run, stores):
    """It made one where its parent had made another, whose counts went to the wrong name."""
    code = """
    import ctypes
    lifecycle.init()
    core.Counter("before").add()
    heard, tell = os.pipe()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os.read(heard, 1)
        core.Counter("child").add()
        os._exit(not lifecycle.status().bound)
    fail(7)
    core.Counter("parent").add(5)
    os.write(tell, b"x")
    wait(child)
    fail(2)
    assert errors() == 9, errors()
    found = {row.name: row.value for row in counts.read_counters(lifecycle._process.store)}
    assert found == {"before": 1, "parent": 5, "child": 1}, found
    """
    run(dedent(code))


def test_a_fork_while_another_thread_is_in_init_goes_on(run):
    code = """
    import threading
    lifecycle.init()
    inside, leave = threading.Event(), threading.Event()
    def hold():
        with lifecycle._process.lock, lifecycle._process.store.locks._guard:
            inside.set()
            leave.wait()
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    inside.wait()
    import warnings
    warnings.simplefilter("ignore")
    child = os.fork()
    if child == 0:
        fail()
        os._exit(not lifecycle.status().bound)
    wait(child)
    leave.set()
    thread.join()
    """
    run(dedent(code))


# --------------------------------------------------------------------------------------- exit


def test_what_happens_after_the_exit_was_said_is_still_recorded(run, stores):
    code = """
    import atexit
    atexit.register(fail, 3)  # runs after ours: registered before it
    lifecycle.init()
    fail(2)
    """
    run(dedent(code))
    assert [row.count for row in counts.read_counts(stores())] == [5]
    assert [row.state for row in owners.read_owners(stores())] == ["exited"]


def test_an_uncaught_exception_is_an_exit_with_code_one(run, stores):
    run("lifecycle.init(); raise KeyError(1)", check=False)
    (row,) = owners.read_owners(stores())
    assert (row.state, row.exit_code) == ("exited", 1)


def test_leaving_by_os_exit_is_leaving_without_a_word(run, stores):
    run("lifecycle.init(); core.enter('charge'); sys.stdout.flush(); os._exit(0)")
    (death,) = deaths.read_deaths(stores())
    assert death["how"] == "unknown"
    assert [entry["operation"] for entry in death["in_flight"]] == ["charge"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_leave_in_order(run, tmp_path, stores, method):
    code = """
    import multiprocessing, runpy
    sys.path.insert(0, sys.argv[1])
    from worker_of_test import work
    if __name__ == "__main__":
        lifecycle.init()
        context = multiprocessing.get_context(sys.argv[2])
        child = context.Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        states = sorted((row.pid == os.getpid(), row.state) for row in
                        owners.read_owners(lifecycle._process.store))
        print(states, hits())
    """
    (tmp_path / "worker_of_test.py").write_text(
        "def work():\n"
        "    from faultplane._backend import core\n"
        "    from faultplane.store import lifecycle\n"
        "    lifecycle.init()\n"
        "    core.Counter('hits').add(4)\n"
    )
    out = run(dedent(code), tmp_path, method, PYTHONPATH_EXTRA=None)
    assert out == "[(False, 'exited'), (True, 'live')] 4\n"
    assert values(stores()) == {"hits": 4}
    assert deaths.read_deaths(stores()) == []


def test_two_programs_share_a_domain(run, stores):
    for number in (1, 2):
        run(f"lifecycle.init(service='s{number}'); core.Counter('hits').add({number})")
    found = {row.service: row.value for row in counts.read_counters(stores())}
    assert found == {"s1": 1, "s2": 2}
    assert stores().load("incarnation_next") == 3
    assert schema.LAYOUT_VERSION == 1
