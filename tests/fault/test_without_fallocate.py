"""Reserving the bytes of a file where the system has no call for it, as macOS has none."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "src" / "faultplane" / "_core"
WAYS = {
    "pure": "from faultplane._pure.files import reserve; reserve(fd, offset, size)",
    "store": "from faultplane.store.files import reserve; reserve(fd, offset + size)",
}
PROGRAM = """
import os, sys
del os.posix_fallocate
path, offset, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
try:
    {way}
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


@pytest.fixture(params=["compiled", *WAYS])
def reserve(request, tmp_path, child_environment):
    """Function ``(path, offset, size) -> errno``, once for each of those who reserve."""
    if request.param == "compiled":
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler is there")
        words = [tmp_path / "reserve"]
        source = HERE / "reserve.c"
        subprocess.run([compiler, "-I", CORE, "-o", words[0], source], check=True)
    else:
        words = [sys.executable, "-c", PROGRAM.format(way=WAYS[request.param])]

    def run(path, offset, size):
        done = subprocess.run(
            [*words, path, str(offset), str(size)],
            env=child_environment(), capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return int(done.stdout)

    return run


def test_a_file_grows_to_the_end_of_what_is_reserved_and_keeps_what_it_has(reserve, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    assert reserve(path, 0, 200_001) == 0
    data = path.read_bytes()
    assert (len(data), data[:4], set(data[4:])) == (200_001, b"kept", {0})
    # The blocks are there: a file that was only made longer has next to none.
    assert path.stat().st_blocks * 512 >= 200_001


def test_a_file_is_never_made_shorter(reserve, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"k" * 5000)
    assert reserve(path, 0, 100) == 0
    assert path.read_bytes() == b"k" * 5000


def test_a_full_file_system_refuses_it(reserve, small_disk):
    path = small_disk(2) / "file"
    assert reserve(path, 0, 1 << 20) == 0
    assert reserve(path, 1 << 20, 2 << 20) == errno.ENOSPC
    assert os.path.getsize(path) <= 2 << 20
