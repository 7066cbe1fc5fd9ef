"""What memory cgroups say of themselves, in both versions, nested and seen from elsewhere."""

from __future__ import annotations

import os

import pytest

from faultplane.store import cgroup, host

GB = 1 << 30


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Function ``(path, text)`` that fills a made-up /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(host, "PROC", str(tmp_path / "proc"))
    monkeypatch.setattr(cgroup, "CGROUP", str(tmp_path / "cgroup"))

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path / path

    return write


def signature(path):
    return (os.stat(path).st_ino & 0xFFFF_FFFF).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"a/b": (4 * GB, GB, 0)}, 3 * GB),
        ({"a/b": (4 * GB, GB, 0), "a": (2 * GB, GB, 0)}, GB),
        ({"a/b": (4 * GB, 4 * GB, GB)}, GB),
        ({"a/b": ("max", GB, 0)}, -1),
        ({"a/b": (GB, 2 * GB, 0)}, 0),
    ],
)
def test_memory_left_is_the_least_of_all_levels_page_cache_aside(kernel, limits, expected):
    kernel("proc/self/cgroup", "0::/a/b\n")
    for path, (most, used, cache) in limits.items():
        kernel(f"cgroup/{path}/memory.max", f"{most}\n")
        kernel(f"cgroup/{path}/memory.current", f"{used}\n")
        kernel(f"cgroup/{path}/memory.stat", f"anon 5\ninactive_file {cache}\n")
    assert cgroup.memory_left_bytes() == expected


def test_the_first_version_of_cgroups_is_read_too(kernel):
    kernel("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x/../y\n0::/\n")
    kernel("cgroup/memory/x/y/memory.limit_in_bytes", str(3 * GB))
    kernel("cgroup/memory/x/y/memory.usage_in_bytes", str(GB))
    file = kernel("cgroup/memory/x/y/memory.oom_control", "under_oom 0\noom_kill 4\n")
    kernel("cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert cgroup.memory_left_bytes() == 2 * GB
    assert cgroup.own_kills() == (signature(file.parent), 4)


def test_usage_of_the_first_version_is_less_the_cache_of_the_groups_in_it(kernel):
    kernel("proc/self/cgroup", "4:memory:/x\n")
    kernel("cgroup/memory/x/memory.limit_in_bytes", str(2 * GB))
    kernel("cgroup/memory/x/memory.usage_in_bytes", str(2 * GB))
    kernel("cgroup/memory/x/memory.stat", f"inactive_file 5\ntotal_inactive_file {GB}\n")
    assert cgroup.memory_left_bytes() == GB


def test_a_container_that_is_told_the_path_of_the_host_is_limited_by_what_it_sees(kernel):
    kernel("proc/self/cgroup", "4:memory:/docker/0123\n")
    kernel("cgroup/memory/memory.limit_in_bytes", str(GB))
    kernel("cgroup/memory/memory.usage_in_bytes", "0")
    assert cgroup.memory_left_bytes() == GB


def test_kills_are_those_of_the_cgroup_or_else_of_the_host(kernel):
    kernel("proc/vmstat", "nr_free 1\noom_kill 9\n")
    assert cgroup.own_kills() == (cgroup.OF_HOST, 9)
    assert cgroup.kills_of(cgroup.OF_HOST) == 9
    kernel("proc/self/cgroup", "0::/a\n")
    file = kernel("cgroup/a/memory.events", "low 0\noom 3\noom_kill 2\n")
    assert cgroup.own_kills() == (signature(file.parent), 2)


def test_kills_in_groups_further_down_are_not_those_of_the_group(kernel):
    kernel("proc/self/cgroup", "0::/a\n")
    kernel("cgroup/a/memory.events", "oom_kill 7\n")
    kernel("cgroup/a/memory.events.local", "oom_kill 1\n")
    assert cgroup.own_kills().killed == 1


def test_a_group_without_the_memory_controller_is_counted_in_the_one_around_it(kernel):
    kernel("proc/self/cgroup", "0::/a/b\n")
    file = kernel("cgroup/a/memory.events", "oom_kill 3\n")
    kernel("cgroup/a/b/cgroup.procs", "1\n")
    assert cgroup.own_kills() == (signature(file.parent), 3)


@pytest.mark.parametrize("root", ["cgroup", "cgroup/memory"])
def test_the_count_of_another_group_is_found_where_it_can_be_seen(kernel, root):
    name = "memory.oom_control" if root.endswith("memory") else "memory.events"
    kernel("proc/self/cgroup", "0::/mine\n4:memory:/mine\n")
    kernel(f"{root}/mine/{name}", "oom_kill 1\n")
    if root == "cgroup":
        kernel("cgroup/cgroup.controllers", "memory\n")
        kernel("cgroup/memory/memory.events", "oom_kill 9\n")  # a group that is called so
    theirs = kernel(f"{root}/pods/one/app/{name}", "oom_kill 5\n").parent
    known = signature(theirs)
    assert cgroup.kills_of(known) == 5
    theirs.rename(theirs.parent.parent / "moved")
    assert cgroup.kills_of(known) == 5, "by its inode, whatever the path is from here"
    assert cgroup.kills_of(b"\xff\xff\xff\xfe") == -1


def test_a_search_of_too_many_groups_ends(kernel, monkeypatch):
    kernel("proc/self/cgroup", "0::/mine\n")
    kernel("cgroup/cgroup.controllers", "memory\n")
    known = signature(kernel("cgroup/z/z/memory.events", "oom_kill 5\n").parent)
    monkeypatch.setattr(cgroup, "DIRECTORIES_MAX", 3)
    assert cgroup.kills_of(known) == 5
    monkeypatch.setattr(cgroup, "DIRECTORIES_MAX", 2)
    assert cgroup.kills_of(known) == -1


def test_without_proc_nothing_is_known(kernel):
    assert cgroup.memory_left_bytes() == -1
    assert cgroup.own_kills() == (cgroup.OF_HOST, 0)
