"""Files appear whole or not at all, and are believed after a look."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from faultplane import schema
from faultplane.errors import (
    CorruptFile,
    DomainNotFound,
    LayoutMismatch,
    StorageError,
    StorageFull,
)
from faultplane.store import files


@pytest.fixture
def directory(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_a_file_has_its_size_its_parts_and_its_mode(directory, tmp_path):
    os.chmod(tmp_path, 0o700)
    os.close(files.create(directory, "a", 10_000, [(0, b"head"), (9_000, b"tail")]))
    data = (tmp_path / "a").read_bytes()
    assert (len(data), data[:4], data[9_000:9_004]) == (10_000, b"head", b"tail")
    assert data[4:9_000].strip(b"\0") == b""
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert (tmp_path / "a").stat().st_blocks * 512 >= 10_000  # reserved, not a hole
    assert os.listdir(tmp_path) == ["a"]


def test_files_of_a_group_readable_directory_are_group_readable(directory, tmp_path):
    os.chmod(tmp_path, 0o750)
    os.close(files.create(directory, "a", 1))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_first_of_two_creators_wins_unless_told_to_replace(directory, tmp_path):
    os.close(files.create(directory, "a", 3, [(0, b"one")]))
    with pytest.raises(FileExistsError):
        files.create(directory, "a", 3, [(0, b"two")])
    assert (tmp_path / "a").read_bytes() == b"one"
    os.close(files.create(directory, "a", 3, [(0, b"two")], replace=True))
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_and_leaves_no_file(directory, tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFull, match="a cannot be made"):
        files.create(directory, "a", 10)
    assert os.listdir(tmp_path) == []


def test_a_creator_that_was_tidied_away_tries_again(directory, tmp_path, monkeypatch):
    link, calls = os.link, []

    def late(source, *args, **kwargs):
        calls.append(source)
        if len(calls) == 1:
            os.unlink(tmp_path / source)
        link(source, *args, **kwargs)

    monkeypatch.setattr(os, "link", late)
    os.close(files.create(directory, "a", 1))
    assert os.listdir(tmp_path) == ["a"]
    assert len(calls) == 2


def test_where_the_system_cannot_reserve_the_size_is_set(directory, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    os.close(files.create(directory, "a", 123))
    assert (tmp_path / "a").stat().st_size == 123


def test_what_is_not_a_regular_file_is_refused(directory, tmp_path):
    (tmp_path / "target").write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(CorruptFile, match=f"{name} must be a regular file"):
            files.open_file(directory, name)
        with pytest.raises(StorageError):
            files.open_file(directory, name, writable=True)
    with pytest.raises(DomainNotFound, match="nothing does not exist"):
        files.open_file(directory, "nothing")


def test_a_file_larger_than_any_of_ours_is_refused(directory, tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(files.FILE_BYTES_MAX + 1)
    with pytest.raises(CorruptFile, match="1073741825 bytes"):
        files.open_file(directory, "huge")


def test_a_system_call_that_fails_is_a_storage_error(directory, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="a cannot be opened: Permission denied"):
        files.open_file(directory, "a")


def test_headers_are_refused_when_any_byte_of_them_changed():
    good = files.header(schema.SEGMENT, "segment", lanes=4, number=7)
    files.check_header(good, schema.SEGMENT, "segment", "seg-7", len(good))
    for position in range(schema.SEGMENT.offset["crc"] + 4):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises((CorruptFile, LayoutMismatch)):
            files.check_header(bad, schema.SEGMENT, "segment", "seg-7", len(bad))


def test_headers_of_another_kind_version_or_size_say_so():
    good = files.header(schema.AGGREGATE, "aggregate")
    with pytest.raises(CorruptFile, match="must start with b'FPLANEs"):
        files.check_header(good, schema.AGGREGATE, "segment", "x", len(good))
    with pytest.raises(CorruptFile, match="at least 256 bytes, got 255"):
        files.check_header(good, schema.AGGREGATE, "aggregate", "x", 255)
    schema.AGGREGATE.write(good, 0, layout_version=schema.LAYOUT_VERSION + 1)
    with pytest.raises(LayoutMismatch, match="layout version of x must be 1, got 2"):
        files.check_header(good, schema.AGGREGATE, "aggregate", "x", len(good))


def test_only_old_temporary_files_are_tidied_away(directory, tmp_path):
    for name in ("tmp-1-a", "tmp-2-b", "tmp-ready", "tmp-next-3", "tmp-next-m77", "tmp-pub-0",
                 "tmp-dict-2-5", "seg-1"):  # fmt: skip
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "tmp-3-c").mkdir()
    young = (tmp_path / "tmp-2-b").stat().st_mtime
    os.utime(tmp_path / "tmp-2-b", (young + 30, young + 30))
    removed = files.remove_stale(directory, young + files.TEMPORARY_AGE_SECONDS + 1)
    assert removed == ["tmp-1-a", "tmp-next-m77"]
    assert files.remove_of_slot(directory, 3) == ["tmp-next-3"]
    assert files.remove_of_slot(directory, 5) == ["tmp-dict-2-5"]
    assert files.remove_of_slot(directory, 1) == []
    assert "tmp-ready" in os.listdir(tmp_path)
