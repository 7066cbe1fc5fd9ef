"""The memory cgroup of the demo: the kernel kills in it, or what refuses it is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from faultplane.cli.demo.memory_cgroup import MemoryCgroup, NotPermitted

HOARD = "kept = [b'x' * (1 << 20) for _ in range(int(__import__('sys').argv[1]))]"
TRY = """
from faultplane.cli.demo.memory_cgroup import MemoryCgroup, NotPermitted
try:
    MemoryCgroup("faultplane-test-refused", 64 << 20)
except NotPermitted as error:
    print("not permitted:", error)
"""


@pytest.mark.parametrize(("mib", "code"), [(256, -signal.SIGKILL), (1, 0)])
def test_who_takes_more_than_the_limit_is_killed_and_the_group_is_gone_afterwards(mib, code):
    try:
        group = MemoryCgroup(f"faultplane-test-{os.getpid()}", 96 << 20)
    except NotPermitted as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    with group:
        words = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.entrance)]
        done = subprocess.run([*words, sys.executable, "-c", HOARD, str(mib)], timeout=60)
        assert group.path.is_dir()
    assert done.returncode == code
    assert not group.path.exists()


def test_where_none_can_be_made_what_refused_it_is_said(read_only_cgroups, child_environment):
    if not read_only_cgroups:
        pytest.skip("no file system can be made read-only for a process here")
    done = subprocess.run(
        [*read_only_cgroups, sys.executable, "-c", TRY],
        env=child_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("not permitted: /sys/fs/cgroup")
    assert done.stdout.endswith(": Read-only file system\n")
