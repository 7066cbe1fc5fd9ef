"""Services in containers: small, read-only, of other users, in namespaces that share a directory.

Each works, or degrades to counts of its own; nothing raises, and `doctor` names what there is.
"""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from container import Container, several_users
from memory_cgroup import MemoryCgroup

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"),
]

APP, READER, GROUP = 4321, 5432, 7777
MIB = 1 << 20


@pytest.fixture
def group():
    """A memory cgroup of 160 MiB; asked for before `contained`, whose processes leave it first."""
    try:
        made = MemoryCgroup(f"faultplane-test-{os.getpid()}", 160 * MIB)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield made
    made.remove()


@pytest.fixture
def contained(container_environment):
    """Function ``(**options) -> Container``; the core of the test, no directory unless given."""
    started = []

    def start(variables=(), **options):
        started.append(Container(container_environment, variables=variables, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def volume(tmp_domain_dir):
    """A directory that root made for others, as a mounted volume is."""
    tmp_domain_dir.chmod(0o755)
    path = tmp_domain_dir / "volume"
    path.mkdir()
    path.chmod(0o777)
    return path


def shm(size, options="mode=1777"):
    return f"mount -t tmpfs -o size={size},{options} tmpfs /dev/shm"


READ_ONLY_ROOT = "mount -o remount,bind,ro /"
# With what is in them: the package and its interpreter may lie there.
NOTHING_WRITABLE = (
    "for d in /tmp /var/tmp; do mount --bind $d $d; mount -o remount,bind,ro $d; done; "
    "mount -t tmpfs -o ro tmpfs /dev/shm; " + READ_ONLY_ROOT
)


def status(one):
    """(Whether it has storage, why not, origin and path of the base)."""
    return one.ask(
        "(lambda s: [s.bound, s.reason, s.base_origin, s.base_path])(lifecycle.status())"
    )


# ---------------------------------------------------------------------------------------- sizes


def test_a_shared_memory_of_64_mib_gives_a_quarter_and_is_never_filled(contained):
    one = contained(setup=shm("64m"))
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert "free of 64.0 MiB (tmpfs" in said
    assert "a domain made here gets a budget of 16.0 MiB, not of 64.0 MiB" in said
    one.do("fp.init('shop'); fail(60_000)")
    assert status(one)[0]
    said, code = one.ask("command('doctor', '--json')")
    (report,) = [json.loads(line) for line in said.splitlines()]
    (store,) = report["stores"]
    assert store["budget_bytes"] == 16 * MIB
    assert store["bytes_held"] <= 16 * MIB
    assert store["rows_retired"] > 0
    assert not report["drops"].get("no_space")
    assert any("has a budget of 16.0 MiB, not of 64.0 MiB" in note for note in report["notes"])
    assert one.ask("seen()[0]") == 60_000
    assert one.end() == ""


def test_an_even_smaller_one_counts_without_rows_and_says_which_limit_it_was(contained):
    one = contained(setup=shm("7m"))
    one.do("fp.init('shop'); fail(10)")
    bound, reason, _, _ = status(one)
    assert not bound
    assert "needs 2097152 bytes, a quarter of what the file system has left is 1835008" in reason
    said, code = one.ask("command('doctor')")
    assert code == 1
    assert f"finds no storage: {reason}" in said
    assert "counted and kept nowhere: 10 errors" in one.end()


def test_a_cgroup_at_its_limit_counts_without_rows_and_says_that_it_was_the_cgroup(
    group, contained, tmp_domain_dir
):
    variables = {"FAULTPLANE_DIR": str(tmp_domain_dir)}
    one = contained(setup=f"echo 0 > {group.entrance}", variables=variables)
    one.do("from faultplane.store import cgroup; left = cgroup.memory_left_bytes")
    wanted = one.ask("left()")
    assert 0 < wanted < 160 * MIB
    one.do("held = bytearray(left() - (6 << 20)); held[::4096] = bytes(len(held[::4096]))")
    one.do("fp.init('shop'); fail(10)")
    bound, reason, _, _ = status(one)
    assert not bound
    assert "a quarter of what the memory cgroup has left" in reason
    assert " left in the memory cgroup\n" in one.ask("command('doctor')")[0]
    said, code = one.ask("command('doctor')")
    assert code == 1
    assert "finds no storage: a domain needs 2097152 bytes, a quarter of what the m" in said
    # Room again: the domain is made, as large as it may be, and what was counted is in it.
    one.do("del held")
    end, failed = time.monotonic() + 60, 10
    while not status(one)[0]:
        assert time.monotonic() < end, status(one)
        one.do("lifecycle._process.retry_at = 0; fail(1)")
        failed += 1
    assert one.ask("seen()[0]") == failed
    budget = one.ask("lifecycle._process.store.header.budget_bytes")
    assert 2 * MIB <= budget <= wanted // 4
    assert group.kills() == 0


# --------------------------------------------------------------------------------------- mounts


def test_a_read_only_root_is_no_hindrance_where_shared_memory_is(contained):
    one = contained(setup=f"{shm('256m')}; {READ_ONLY_ROOT}")
    one.do("import subprocess")
    words = "['touch', '/root-is-writable'], capture_output=True, text=True"
    assert "Read-only file system" in one.ask(f"subprocess.run({words}).stderr"), "a control"
    one.do("fp.init('shop'); fail(100)")
    assert status(one)[0]
    assert one.ask("seen()") == [100, 100, 0, 0]
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert ", read-only root" in said
    assert one.end() == ""


def test_where_nothing_is_writable_it_counts_by_itself_and_says_why(contained):
    one = contained(setup=NOTHING_WRITABLE)
    one.do("fp.init('shop'); fail(3); fp.counter('hits').add(2)")
    bound, reason, _, _ = status(one)
    assert not bound
    assert "no directory can be made" in reason
    assert "Read-only file system" in reason
    assert one.ask("sum(row['count'] for row in fp.init().counts_rows())") == 3
    said, code = one.ask("command('doctor')")
    assert code == 1
    assert "no shared directory" in said
    assert "Read-only file system" in one.end()


WITHOUT_SHM = "mount -t tmpfs tmpfs /dev"


def test_without_shared_memory_the_runtime_directory_takes_its_place(contained, tmp_path):
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    one, two = (contained(setup=WITHOUT_SHM, variables=runtime) for _ in range(2))
    one.do("fp.init('shop'); fail(3)")
    two.do("fp.init('shop'); fail(4)")
    assert status(one)[1:] == ["", "runtime", f"{tmp_path}/faultplane"]
    assert one.ask("seen()[0]") == two.ask("seen()[0]") == 7
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert f"/dev/shm is not there: {tmp_path}/faultplane takes its place" in said


def test_without_any_place_to_share_a_process_has_a_directory_to_itself(contained, tmp_path):
    one = contained(setup=WITHOUT_SHM, variables={"TMPDIR": str(tmp_path)})
    one.do("fp.init('shop'); fail(3)")
    bound, _, origin, path = status(one)
    assert (bound, origin) == (True, "private")
    assert path.startswith(f"{tmp_path}/faultplane-")
    assert one.ask("len(fp.init().records())") == 3
    said, code = one.ask("command('doctor')")
    assert code == 1
    assert "no shared directory: each process keeps its counts to itself" in said
    assert os.listdir(tmp_path) == [os.path.basename(path)]
    assert "counted and kept nowhere: 3 errors" in one.end()


def test_mounts_that_run_no_programs_hold_a_domain_like_others(contained, tmp_domain_dir):
    options = "nosuid,nodev,noexec,mode=1777"
    one = contained(setup=shm("64m", options))
    one.do("fp.init('shop'); fp.install_hooks(fatal=True); fail(600)")
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert "(tmpfs, nosuid, nodev, noexec)" in said
    one.do("""
child = os.fork()
if not child:
    with fp.capture("GET /pay"):
        os.kill(os.getpid(), 11)
os.waitpid(child, 0)
""")
    (death,) = one.ask("fp.attach().deaths_rows()")
    assert (death["how"], death["signal_name"]) == ("signal", "SIGSEGV")
    assert death["frames"]
    assert one.ask("seen()[:2]") == [600, 600]


# ---------------------------------------------------------------------------------------- users


@several_users
def test_a_user_who_is_not_root_has_a_place_of_its_own(contained):
    one = contained(setup=f"{shm('256m')}; {READ_ONLY_ROOT}", user=(APP, APP), umask=0o027)
    one.do("fp.init('shop'); fail(5)")
    assert status(one)[3] == f"/dev/shm/faultplane-{APP}"
    assert one.ask("seen()") == [5, 5, 0, 0]
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert f"\nuid {APP}, gid {APP}, umask 027, read-only root" in said


GROUP_READABLE = {"FAULTPLANE_GROUP_READABLE": "1", "FAULTPLANE_BUDGET_BYTES": "2MiB"}


@several_users
@pytest.mark.parametrize(("mode", "umask"), [(0o2777, 0o022), (0o2770, 0o077), (0o3777, 0o077)])
def test_another_uid_of_the_volumes_group_reads_all_whatever_the_umask_is(
    contained, volume, mode, umask
):
    """As ``fsGroup`` has it, and ``d /run/faultplane 3777`` of tmpfiles: the group is inherited,
    neither user's own is that."""
    os.chown(volume, 0, GROUP)
    volume.chmod(mode)
    variables = {"FAULTPLANE_DIR": str(volume), **GROUP_READABLE}
    app, dies = (
        contained(user=(APP, APP, GROUP), umask=umask, variables=variables) for _ in range(2)
    )
    app.do("fp.init('shop'); fail(600); fp.counter('hits').add(5)")
    dies.do("fp.init('shop'); fail(7); block = fp.capture('GET /pay'); block.__enter__()")
    dies.kill()
    reader = contained(user=(READER, READER, GROUP))
    place = f"'default', {str(volume)!r}"
    assert reader.ask(f"seen({place})") == [607, 607, 5, 1]
    (death,) = reader.ask(f"fp.attach({place}).deaths_rows()")
    assert [entry["operation"] for entry in death["in_flight"]] == ["GET /pay"]
    assert not death["stored"]
    said, code = reader.ask(f"command('doctor', '--directory', {str(volume)!r})")
    assert code == 0, said
    assert f"uid {READER} can read this domain and not record into it" in said
    app.do("fail(600)")  # segments and dictionaries that come later are readable too
    assert reader.ask(f"seen({place})")[:2] == [1207, 1207]
    app.do("maintain.maintain(lifecycle.status().domain_path)")
    assert [death["stored"] for death in reader.ask(f"fp.attach({place}).deaths_rows()")] == [True]
    found = [path.stat() for path in (volume / "default").rglob("*")]
    assert {(one.st_gid, one.st_mode & 0o007) for one in found} == {(GROUP, 0)}, "by nobody else"


@several_users
def test_who_is_of_no_common_group_reads_nothing_and_is_told(contained, volume):
    variables = {"FAULTPLANE_DIR": str(volume), **GROUP_READABLE}
    app = contained(user=(APP, APP), variables=variables)
    app.do("fp.init('shop'); fail(6)")
    reader = contained(user=(READER, READER), variables={"FAULTPLANE_DIR": str(volume)})
    said, code = reader.ask(f"command('doctor', '--directory', {str(volume)!r})")
    assert code == 1
    assert "Permission denied" in said
    (volume / "default").chmod(0o700)
    volume.chmod(0o700)
    said, code = reader.ask(f"command('doctor', '--directory', {str(volume)!r})")
    assert code == 1
    assert f"looked in {volume} (Permission denied)" in said


@several_users
def test_a_domain_that_was_made_before_it_was_to_be_readable_is_told(contained, volume):
    variables = {"FAULTPLANE_DIR": str(volume / "deep"), "FAULTPLANE_BUDGET_BYTES": "2MiB"}
    first = contained(user=(APP, APP), variables=variables)
    first.do("fp.init('shop')")
    one = contained(user=(APP, APP), variables={**variables, "FAULTPLANE_GROUP_READABLE": "1"})
    one.do("fp.init('shop')")
    said, code = one.ask("command('doctor')")
    assert code == 1
    for path in ("deep", "deep/default"):
        assert f"FAULTPLANE_GROUP_READABLE is set, and {volume}/{path} has mode 0700" in said
    one.do(f"os.system('chmod -R g+rX {volume}/deep')")
    said, code = one.ask("command('doctor')")
    assert code == 0, said


@several_users
def test_directories_above_are_made_for_the_group_too(contained, volume):
    variables = {"FAULTPLANE_DIR": str(volume / "a" / "b"), **GROUP_READABLE}
    contained(user=(APP, GROUP), umask=0o077, variables=variables).do("fp.init('shop'); fail(1)")
    reader = contained(user=(READER, GROUP), variables={"FAULTPLANE_DIR": f"{volume}/a/b"})
    assert reader.ask("seen()") == [1, 1, 0, 0]


# ----------------------------------------------------------------------------- PID namespaces


def alive(one):
    return one.ask("[row['life'] for row in fp.attach().owners_rows()]")


@pytest.mark.parametrize("proc", ["its own", "that of the host"])
def test_processes_of_two_pid_namespaces_share_a_directory(
    contained, tmp_domain_dir, core_name, proc, run_python
):
    """Each is pid 1 where it is. Nobody who lives is declared dead, and each death is told once,
    whoever looks: from either namespace, or from the host's."""
    namespaces = {} if proc == "its own" else {"namespaces": ("--mount", "--pid", "--fork")}
    variables = {"FAULTPLANE_DIR": str(tmp_domain_dir), "FAULTPLANE_BUDGET_BYTES": "2MiB"}
    one, two, three = (contained(variables=variables, **namespaces) for _ in range(3))
    for worker in (one, two, three):
        worker.do("fp.init('shop'); fail(10); fp.counter('hits').add(1)")
        assert worker.ask("os.getpid()") == 1
    look = "from faultplane.store import maintain; import sys; maintain.maintain(sys.argv[1])"
    for _ in range(3):
        for worker in (one, two, three):
            worker.do("maintain.maintain(lifecycle.status().domain_path)")
            assert alive(worker) == ["alive"] * 3
        run_python(look, tmp_domain_dir / "default", core=core_name)
    assert one.ask("seen()") == [30, 30, 3, 0]
    two.do("block = fp.capture('GET /pay'); block.__enter__()")
    two.kill()
    end = time.monotonic() + 60
    while one.ask("[len(fp.attach().owners_rows()), seen()]") != [2, [30, 30, 3, 1]]:
        assert time.monotonic() < end, one.ask("fp.attach().owners_rows()")
        for worker in (one, three):
            worker.do("maintain.maintain(lifecycle.status().domain_path)")
        run_python(look, tmp_domain_dir / "default", core=core_name)
    for worker in (one, three):
        assert alive(worker) == ["alive"] * 2
        (death,) = worker.ask("fp.attach().deaths_rows()")
        assert death["stored"]
        assert [entry["operation"] for entry in death["in_flight"]] == ["GET /pay"]
        worker.do("fail(5)")
    assert one.ask("seen()") == three.ask("seen()") == [40, 40, 3, 1]
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert "1 process alive in other PID namespaces, known by their locks" in said
    assert ("/proc is that of another PID namespace" in said) is (proc != "its own")


def test_a_worker_beside_it_that_dies_is_told_where_proc_is_that_of_the_host(
    contained, tmp_domain_dir
):
    """There its pid is the name of another process, which lives."""
    variables = {"FAULTPLANE_DIR": str(tmp_domain_dir), "FAULTPLANE_BUDGET_BYTES": "2MiB"}
    one = contained(variables=variables, namespaces=("--mount", "--pid", "--fork"))
    one.do("fp.init('shop'); child = os.fork() or os.kill(os.getpid(), 9)")
    one.do("os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)")
    (death,) = one.ask("fp.attach().deaths_rows()")
    assert (death["pid"], death["how"]) == (one.ask("child"), "unknown")


# ------------------------------------------------------------------------- files that are kept away


FILES = ["registry", "agg-retired", "agg-0", "seg-1"]
MORE_FILES = ["owners", "locks", "breath-0", "dict-1", "stacks-1", "deaths"]


@several_users
@pytest.mark.parametrize("name", FILES + (MORE_FILES if os.environ.get("SWEEP") == "all" else []))
def test_a_file_that_the_host_keeps_away_costs_no_count_and_is_named(contained, volume, name):
    """As SELinux does by a label; here by a mode that refuses its own user."""
    variables = {"FAULTPLANE_DIR": str(volume), "FAULTPLANE_BUDGET_BYTES": "2MiB"}
    start = {"user": (APP, APP), "variables": variables}
    one = contained(**start)
    one.do("fp.init('shop'); fail(3); child = os.fork() or os.kill(os.getpid(), 9)")
    one.do("os.waitpid(child, 0); maintain.maintain(lifecycle.status().domain_path)")
    (store,) = (volume / "default").iterdir()
    assert (store / name).exists(), sorted(os.listdir(store))
    (store / name).chmod(0)
    one.do("fail(600)")  # segments are switched
    two = contained(**start)
    two.do("fp.init('shop'); fail(5); fp.counter('hits').add(1)")
    said, code = two.ask("command('doctor')")
    assert code == 1, said
    assert any(name in line and "Permission denied" in line for line in said.splitlines()), said
    for words in (["deaths"], ["tail", "--no-follow"], ["top", "--once"], ["gc"]):
        two.do(f"""
try:
    answer = command(*{words!r})
except SystemExit:
    pass
""")
    (store / name).chmod(0o600)
    end = time.monotonic() + 60
    told = [603 + 5, 1]
    while (found := two.ask("(lambda s: [s[0], s[2]])(seen())")) != told:
        assert time.monotonic() < end, (found, told)
        for worker, errors in ((one, 1), (two, 1)):
            worker.do("lifecycle._process.retry_at = 0; fail(1)")
            told[0] += errors
    assert "kept nowhere" not in one.end() + two.end()


# --------------------------------------------------------------------------------------- logout


LOGIND = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/seats"


@several_users
def test_what_a_logout_takes_away_is_made_anew_and_no_count_is_lost(contained):
    """systemd-logind unlinks what belongs to the user in /dev/shm, from under its services."""
    one = contained(setup=f"{shm('256m')}; {LOGIND}", user=(APP, APP))
    one.do("fp.init('shop'); fail(700)")
    said, code = one.ask("command('doctor')")
    assert code == 0, said
    assert f"systemd-logind removes /dev/shm/faultplane-{APP} when uid {APP} logs out" in said
    one.do("""
import shutil
for name in os.listdir("/dev/shm"):
    if os.stat(f"/dev/shm/{name}").st_uid == os.getuid():
        shutil.rmtree(f"/dev/shm/{name}")
""")
    one.do("fail(5)")
    end, failed = time.monotonic() + 60, 705
    look = "os.path.isdir(lifecycle.status().store_path) and seen()[0]"
    while (found := one.ask(look)) != failed:
        assert time.monotonic() < end, (found, failed)
        one.do("fail(1)")
        failed += 1
    assert one.end() == ""


@several_users
@pytest.mark.parametrize("spared", ["setting", "system user", "elsewhere", "no logind"])
def test_who_is_spared_at_logout_is_not_warned(contained, spared):
    setup = [shm("256m"), LOGIND]
    user, variables = (APP, APP), {}
    if spared == "setting":
        place = "/run/systemd/logind.conf.d"
        setup.append(f"mkdir -p {place}; printf '[Login]\\nRemoveIPC=no\\n' > {place}/k.conf")
    elif spared == "system user":
        user = (321, 321)
    elif spared == "elsewhere":
        setup.append("mount -t tmpfs -o mode=1777 tmpfs /mnt")
        variables["FAULTPLANE_DIR"] = "/mnt"
    else:
        setup.append("rmdir /run/systemd/seats")
    one = contained(setup="; ".join(setup), user=user, variables=variables)
    one.do("fp.init('shop')")
    said, _ = one.ask("command('doctor')")
    assert "logind" not in said
