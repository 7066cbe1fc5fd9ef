"""Mappings: the few operations that maintenance is made of, alike in both cores."""

from __future__ import annotations

import fcntl
import os

import pytest

from faultplane import schema
from faultplane.errors import StorageError

TOP = (1 << 64) - 1


@pytest.fixture
def file(tmp_path):
    """(Descriptor, path) of a file of one page."""
    path = tmp_path / "page"
    path.write_bytes(bytes(4096))
    fd = os.open(path, os.O_RDWR)
    yield fd, path
    os.close(fd)


def test_words_are_loaded_stored_swapped_and_added(core, file):
    mapping = core.Mapping(file[0], 4096, True)
    mapping.store(8, TOP)
    assert (mapping.load(8), mapping.load(0), mapping.load(16)) == (TOP, 0, 0)
    assert not mapping.cas(8, 0, 5) and mapping.load(8) == TOP
    assert mapping.cas(8, TOP, 5) and mapping.load(8) == 5
    assert mapping.add(8, 3) == 5 and mapping.load(8) == 8
    assert mapping.add(8, TOP) == 8 and mapping.load(8) == 7
    mapping.store32(4092, 0xFFFF_FFFF)
    assert mapping.load32(4092) == 0xFFFF_FFFF and mapping.load(4088) == 0xFFFF_FFFF << 32
    assert file[1].read_bytes()[8:16] == (7).to_bytes(8, "little")
    mapping.close()


@pytest.mark.parametrize("offset", [-8, 4, 4089, 4096, 1 << 40])
def test_words_out_of_range_are_refused_and_the_bound_is_named(core, file, offset):
    mapping = core.Mapping(file[0], 4096, True)
    for call in (
        lambda: mapping.load(offset),
        lambda: mapping.store(offset, 1),
        lambda: mapping.cas(offset, 0, 1),
        lambda: mapping.add(offset, 1),
    ):
        with pytest.raises(IndexError, match=rf"multiple of 8 from 0 to 4088, got {offset}$"):
            call()
    with pytest.raises(IndexError, match="multiple of 4 from 0 to 4092, got 4096"):
        mapping.load32(4096)
    for value in (-1, TOP + 1):
        with pytest.raises(OverflowError):
            mapping.store(0, value)
    assert file[1].read_bytes() == bytes(4096)
    mapping.close()


def test_a_read_only_mapping_refuses_to_be_written(core, file):
    mapping = core.Mapping(file[0], 4096, False)
    for call in (
        lambda: mapping.store(0, 1),
        lambda: mapping.store32(0, 1),
        lambda: mapping.cas(0, 0, 1),
        lambda: mapping.add(0, 1),
    ):
        with pytest.raises(TypeError, match="the mapping is read-only"):
            call()
    assert memoryview(mapping).readonly and not mapping.writable
    assert mapping.load(0) == 0


def test_a_mapping_outlives_its_descriptor_and_shares_the_file(core, file):
    fd = os.dup(file[0])
    mapping = core.Mapping(fd, 4096, True)
    os.close(fd)
    mapping.store(0, 77)
    other = core.Mapping(file[0], 4096, False)
    assert other.load(0) == 77 and len(memoryview(other)) == mapping.size == 4096
    assert mapping.address != other.address != 0
    with memoryview(mapping) as view:
        view[8:16] = b"12345678"
        assert bytes(memoryview(other)[8:16]) == b"12345678"
        with pytest.raises(BufferError, match="exported buffers"):
            mapping.close()
    mapping.close()
    mapping.close()
    with pytest.raises(ValueError, match="the mapping is closed"):
        mapping.load(0)


def test_the_address_is_where_the_memory_is(core, file):
    import ctypes

    for writable in (True, False):
        mapping = core.Mapping(file[0], 4096, writable)
        os.pwrite(file[0], b"here", 100)
        assert ctypes.string_at(mapping.address + 100, 4) == b"here"


def test_a_mapping_grows_with_its_file(core, file):
    mapping = core.Mapping(file[0], 4096, True, reserve=3 * 4096)
    assert (mapping.size, mapping.reserve) == (4096, 3 * 4096)
    os.ftruncate(file[0], 8192)
    for size in (4095, 3 * 4096 + 1):
        with pytest.raises(ValueError, match=rf"size must be 4096 to 12288 bytes, got {size}"):
            mapping.resize(size)
    mapping.resize(8192)
    mapping.store(8184, 9)
    assert mapping.size == 8192 and os.pread(file[0], 1, 8184) == b"\x09"
    mapping.close()


def test_anonymous_memory_is_private_zeroed_and_writable(core):
    mapping = core.Mapping.anonymous(8192)
    assert (mapping.size, mapping.writable, mapping.load(8184)) == (8192, True, 0)
    assert mapping.add(0, 2) == 0 and mapping.cas(0, 2, 3)
    with pytest.raises(ValueError, match="size must be at least 1 byte, got 0"):
        core.Mapping.anonymous(0)


def test_lane_words_are_those_of_the_first_lanes(core):
    mapping = core.Mapping.anonymous(3 * 4096)
    for lane in range(4):
        mapping.store(schema.LANE_WORDS_OFFSET + lane * schema.LANE_WORD_STRIDE, TOP - lane)
    assert core.lane_words(mapping, 4) == [TOP, TOP - 1, TOP - 2, TOP - 3]
    assert core.lane_words(mapping, 0) == []
    with pytest.raises(IndexError):
        core.lane_words(mapping, 65)


def test_adds_of_several_processes_are_all_counted(core, tmp_path):
    (tmp_path / "locks").touch()
    (tmp_path / "page").write_bytes(bytes(4096))
    fd = os.open(tmp_path / "page", os.O_RDWR)
    locks_fd = os.open(tmp_path / "locks", os.O_RDWR)
    mapping = core.Mapping(fd, 4096, True, locks_fd=locks_fd)
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            for _ in range(500):
                mapping.add(64, 1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert mapping.load(64) == 1500
    os.close(fd)
    os.close(locks_fd)


def test_a_word_is_changed_under_the_lock_of_its_own_store(core, core_name, tmp_path):
    """Another store that the process opened later changes nothing about that."""
    mappings, locks = [], []
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(bytes(4096))
        (tmp_path / f"{name} locks").touch()
        locks.append(os.open(tmp_path / f"{name} locks", os.O_RDWR))
        fd = os.open(tmp_path / name, os.O_RDWR)
        mappings.append(core.Mapping(fd, 4096, True, locks_fd=locks[-1]))
        os.close(fd)
    waits, says = os.pipe()
    ends, ending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ending)
        fcntl.lockf(locks[0], fcntl.LOCK_EX, 1, schema.LOCK_CLAIM)
        os.write(says, b"1")
        os.read(ends, 1)
        os._exit(0)
    os.read(waits, 1)
    first, second = mappings
    assert second.add(64, 1) == 0
    if core_name == "python":
        with pytest.raises(StorageError, match="of the lock file was held for"):
            first.add(64, 1)
    os.close(ending)
    os.waitpid(pid, 0)
    assert first.add(64, 1) == 0
    for descriptor in (*locks, waits, says, ends):
        os.close(descriptor)
