"""Where a process runs: its file systems, and what a logout would take away."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from faultplane.store import host, surroundings

USER = 4321


@pytest.fixture
def logind(tmp_path, monkeypatch):
    """Function ``(path, text)`` that fills a host with a systemd of its own, which is running."""
    monkeypatch.setattr(surroundings, "LOGIND", str(tmp_path / "seats"))
    monkeypatch.setattr(surroundings, "LINGER", str(tmp_path / "linger"))
    monkeypatch.setattr(surroundings, "LOGIN_DEFINITIONS", str(tmp_path / "login.defs"))
    settings = [
        str(tmp_path / name) for name in ("usr.conf", "etc.conf", "usr.d", "run.d", "etc.d")
    ]
    monkeypatch.setattr(surroundings, "LOGIND_SETTINGS", settings)
    (tmp_path / "seats").mkdir()

    def write(path, text):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def removed(path="/dev/shm/faultplane-4321", uid=USER):
    return surroundings.removed_at_logout(path, uid)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="Linux's")
def test_what_a_user_has_in_shared_memory_is_removed_at_logout_unless_told_otherwise(logind):
    assert removed()
    assert not removed("/dev/shmx/faultplane-4321")
    assert not removed("/run/user/4321/faultplane")
    assert not removed("/dev/shm")
    logind("etc.conf", "[Login]\n#RemoveIPC=no\n")
    assert removed()
    logind("etc.conf", "[Login]\n removeipc = No\n")
    assert not removed()
    logind("run.d/a.conf", "[Login]\nRemoveIPC=yes\n")
    assert removed()
    logind("etc.d/z.conf", "[Login]\nRemoveIPC=0\n")
    logind("etc.d/a.conf", "[Login]\nRemoveIPC=1\n")
    logind("etc.d/zz.txt", "[Login]\nRemoveIPC=1\n")
    assert not removed()


def test_users_of_the_system_are_spared(logind):
    users = [0, 1, 999, 61_184, 65_519, 65_534]
    assert [removed(uid=uid) for uid in users] == [False] * 6
    assert [removed(uid=uid) for uid in (1000, 61_183, 65_520)] == [True] * 3
    logind("login.defs", "UID_MIN 5000\nSYS_UID_MAX 4999\n")
    assert not removed()


def test_users_that_linger_are_spared(logind):
    import pwd

    users = [entry for entry in pwd.getpwall() if removed(uid=entry.pw_uid)]
    if not users:
        pytest.skip("nobody but system users here")
    logind(f"linger/{users[0].pw_name}", "")
    assert not removed(uid=users[0].pw_uid)


def test_where_no_logind_runs_nothing_is_removed(logind, tmp_path):
    (tmp_path / "seats").rmdir()
    assert not removed()


def test_a_file_system_is_described_before_the_directory_is_there(tmp_path):
    found = surroundings.file_system(str(tmp_path / "a" / "b"))
    here = os.statvfs(tmp_path)
    assert found.size_bytes == here.f_blocks * here.f_frsize
    if shutil.which("stat") is None:
        pytest.skip("stat is not there")
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True)
    if os.path.isdir("/proc/self") and kind.stdout.strip() in ("tmpfs", "xfs", "btrfs"):
        assert found.kind == kind.stdout.strip()


def test_the_mount_that_a_path_is_in_is_the_longest_and_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "PROC", str(tmp_path))
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(
        "1 0 0:5 / / rw,relatime - ext4 /dev/root rw\n"
        "2 1 0:6 / /srv/a\\040b rw,nosuid,noexec shared:1 - tmpfs tmpfs rw\n"
        "3 1 0:6 / /srv rw - tmpfs tmpfs rw\n"
        "4 1 0:6 /x /srv/a\\040b ro,nodev - overlay overlay rw\n"
        "broken\n"
    )
    assert surroundings._mount("/srv/a b/c", "0:6") == ("overlay", ("ro", "nodev"))
    assert surroundings._mount("/srv/a", "0:6") == ("tmpfs", ())
    assert surroundings._mount("/srv/a", "0:9") == ("", ())


def test_facts_are_numbers_and_text():
    found = surroundings.facts()
    assert found["uid"] == os.geteuid()
    assert found["memory_left_bytes"] >= -1
    assert found["oom_kills"] >= 0
