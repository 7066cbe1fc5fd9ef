"""Byte locks: one descriptor a process, told apart by process and by thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from faultplane.errors import DomainNotFound, StorageError
from faultplane.store.locks import LockFile

HOLD = """
import sys
from faultplane.store import location, locks
directory = location.open_directory(sys.argv[1])
lock_file = locks.LockFile.open(directory, True)
assert lock_file.try_take(int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "locks").write_bytes(b"")
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def holder(child_environment, tmp_path):
    """Function ``(byte) -> Popen``: another process that holds it until it is killed."""
    started = []

    def start(byte):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(byte)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_of_another_process_is_seen_and_goes_with_it(directory, holder):
    reading = LockFile.open(directory, False)
    writing = LockFile.open(directory, True)
    process = holder(5)
    assert reading.is_held(5)
    assert not reading.is_held(6)
    assert not writing.try_take(5)
    waiting = writing.held(5, wait_seconds_max=0.05)
    with pytest.raises(StorageError, match=r"byte 5 of locks was held for 0\.05 s"), waiting:
        raise AssertionError("not reached")
    process.kill()
    process.wait()
    assert not reading.is_held(5)
    assert writing.try_take(5)
    writing.release(5)
    writing.close()
    reading.close()


def test_threads_of_one_process_exclude_each_other(directory):
    lock_file = LockFile.open(directory, True)
    taken = []
    with lock_file.held(9):
        thread = threading.Thread(target=lambda: taken.append(lock_file.try_take(9)))
        thread.start()
        thread.join()
    assert taken == [False]
    assert lock_file.try_take(9)
    lock_file.release(9)
    lock_file.close()


def test_closing_one_use_keeps_the_locks_of_another(directory, holder, run_python, tmp_path):
    """A second descriptor of the file, closed, would drop them: there is never one."""
    first, second = LockFile.open(directory, True), LockFile.open(directory, True)
    assert first is second
    reader = LockFile.open(directory, False)
    assert first.try_take(3)
    second.close()
    reader.close()
    probe = (
        "import os, sys\nfrom faultplane.store.locks import LockFile\n"
        "d = os.open(sys.argv[1], os.O_RDONLY)\nprint(LockFile.open(d, False).is_held(3))"
    )
    assert run_python(probe, tmp_path).stdout == "True\n"
    # Negative control: a descriptor that goes past the table drops the lock.
    os.close(os.open(tmp_path / "locks", os.O_RDWR))
    assert run_python(probe, tmp_path).stdout == "False\n"
    first.close()


def test_a_reader_that_turns_writer_keeps_both_descriptors(directory):
    reading = LockFile.open(directory, False)
    assert not reading.writable
    writing = LockFile.open(directory, True)
    assert writing is reading
    assert reading.writable
    assert writing.try_take(1)
    writing.release(1)
    reading.close()
    writing.close()


def test_a_file_that_is_used_by_nobody_is_closed_unless_it_is_kept(directory):
    lock_file = LockFile.open(directory, True)
    descriptor = lock_file.descriptor
    lock_file.close()
    with pytest.raises(OSError):
        os.fstat(descriptor)
    kept = LockFile.open(directory, True)
    kept.keep()
    kept.close()
    assert kept.descriptor
    assert LockFile.open(directory, True) is kept


def test_a_descriptor_that_the_application_closed_is_noticed_even_if_reused(directory, tmp_path):
    lock_file = LockFile.open(directory, True)
    descriptor = lock_file.descriptor
    os.close(descriptor)
    with pytest.raises(StorageError, match="closed by the application"):
        lock_file.try_take(1)
    other = os.open(tmp_path, os.O_RDONLY)
    os.dup2(other, descriptor)
    with pytest.raises(StorageError, match="closed by the application"):
        lock_file.is_held(1)
    os.close(other)
    lock_file.close()


def test_a_missing_lock_file_is_a_missing_domain(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(DomainNotFound):
        LockFile.open(descriptor, False)
    os.close(descriptor)


def test_a_forked_child_holds_nothing_of_its_parent(run_python, tmp_path):
    (tmp_path / "locks").write_bytes(b"")
    code = """
import os, sys
from faultplane.store.locks import LockFile
lock_file = LockFile.open(os.open(sys.argv[1], os.O_RDONLY), True)
assert lock_file.try_take(4)
child = os.fork()
if child == 0:
    held = lock_file.is_held(4) and not lock_file.try_take(4)
    os._exit(0 if held and lock_file.try_take(8) else 1)
print(os.waitpid(child, 0)[1], lock_file.is_held(8), lock_file.try_take(8))
"""
    assert run_python(code, tmp_path).stdout == "0 False True\n"
