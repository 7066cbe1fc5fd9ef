"""What the kernel says, and what is assumed where it says nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faultplane.store import host

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Function ``(path, text)`` that fills a made-up /proc."""
    monkeypatch.setattr(host, "PROC", str(tmp_path / "proc"))

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


@linux
def test_this_process_is_not_gone_and_another_start_time_is():
    me = host.this_process()
    assert (me.pid, me.start_ticks > 0, me.pid_namespace > 0) == (os.getpid(), True, True)
    assert not host.is_gone(me)
    assert host.is_gone(host.Process(me.pid, me.start_ticks + 1, me.pid_namespace))
    assert host.is_gone(host.Process(0, 0, me.pid_namespace))


@linux
def test_a_killed_process_is_gone_before_its_parent_collects_it():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = host.Process(child.pid, host.start_ticks(child.pid), host.pid_namespace())
    assert not host.is_gone(known)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still there as a zombie
    assert host.is_gone(known)
    child.communicate()
    assert host.is_gone(known)


def test_a_name_with_parentheses_does_not_confuse_the_start_time(kernel):
    fields = " ".join(str(number) for number in range(3, 53))
    kernel("proc/7/stat", f"7 (a) b (c) S {fields}")
    assert host.start_ticks(7) == 21
    kernel("proc/8/stat", f"8 (x) Z {fields}")
    assert host.start_ticks(8) == 0
    kernel("proc/9/stat", "9 (x) S 1 2")
    assert host.start_ticks(9) == 0


def test_without_proc_a_signal_that_does_nothing_tells(kernel):
    assert not host.is_gone(host.Process(os.getpid(), 5, 0))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert host.is_gone(host.Process(child.pid, 5, 0))


def test_without_proc_nothing_is_known(kernel):
    assert host.pid_namespace() == 0
    assert host.container_id() == ""
    host.boot_id.cache_clear()
    assert host.boot_id() == bytes(16)
    host.boot_id.cache_clear()


def test_a_process_maps_a_file_by_inode_or_by_name(kernel):
    line = "7f00-7f01 rw-s 00000000 00:1a 4711                       /dev/shm/d/x/1-cython/owners"
    kernel("proc/7/maps", f"55-56 r-xp 00000000 fe:00 12    /usr/bin/python3\n{line} (deleted)\n")
    assert host.maps_file(7, 4711, "/elsewhere")
    assert host.maps_file(7, 1, "/1-cython/owners")
    assert not host.maps_file(7, 1, "/2-cython/owners")
    assert host.maps_file(8, 1, "/1-cython/owners"), "unknown counts as yes"


def test_locks_of_a_process_are_found_by_file_and_byte(kernel):
    assert host.holds_lock(7, 4711, 3), "unknown counts as yes"
    kernel(
        "proc/locks",
        "1: POSIX  ADVISORY  WRITE 7 00:1a:4711 3 3\n"
        "2: FLOCK  ADVISORY  WRITE 7 00:1a:4711 0 EOF\n",
    )
    assert host.holds_lock(7, 4711, 3)
    for pid, inode, byte in ((8, 4711, 3), (7, 471, 3), (7, 4711, 0)):
        assert not host.holds_lock(pid, inode, byte)


def test_a_container_is_named_by_its_cgroup_or_its_mounts(kernel):
    name = "0123456789abcdef" * 4
    kernel("proc/self/cgroup", f"0::/docker/{name}\n")
    assert host.container_id() == name
    kernel("proc/self/cgroup", "0::/\n")
    kernel(
        "proc/self/mountinfo",
        "1 2 0:5 / / rw - x\n"
        f"3 4 8:1 /var/lib/docker/containers/{name}/hostname /etc/hostname rw\n",
    )
    assert host.container_id() == name


@linux
def test_the_boot_has_an_id():
    assert len(host.boot_id()) == 16
    assert any(host.boot_id())
