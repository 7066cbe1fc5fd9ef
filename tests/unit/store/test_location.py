"""Where domains live, and who may be trusted with them."""

from __future__ import annotations

import os
import stat

import pytest

from faultplane.errors import InvalidName, StorageError, UnsafeDirectory
from faultplane.store import location


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("name", ["a", "default", "A.b-c_9", "9", "x" * 64])
def test_names_within_bounds_are_taken(name):
    assert location.check_domain_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "x" * 65, "-a", "_a", "a\0", "é", "a b", "tmp-1", "a\n", 5, b"a"]
)
def test_names_out_of_bounds_are_refused_with_the_name(name):
    with pytest.raises(InvalidName, match="domain must") as caught:
        location.check_domain_name(name)
    assert "tmp-" in str(caught.value) or repr(name) in str(caught.value)


def test_service_names_have_bounds():
    assert location.check_service_name("é" * 127) == "é" * 127
    with pytest.raises(InvalidName, match="at most 255 bytes, got 256"):
        location.check_service_name("é" * 128)
    for bad in ("", "a\nb", 5, b"a"):
        with pytest.raises(InvalidName, match="printable"):
            location.check_service_name(bad)


def test_a_base_that_was_asked_for_is_made_private(tmp_path):
    path = tmp_path / "deep" / "base"
    assert location.writable_base(str(path)) == location.Base(str(path), "given")
    assert mode(path) == 0o700


def test_a_group_readable_base_is_readable_by_the_group_and_nobody_else(tmp_path):
    location.writable_base(str(tmp_path / "base"), group_readable=True)
    assert mode(tmp_path / "base") == 0o750


def test_a_base_keeps_the_mode_it_had(tmp_path):
    (tmp_path / "base").mkdir(mode=0o711)
    os.chmod(tmp_path / "base", 0o711)
    location.writable_base(str(tmp_path / "base"))
    assert mode(tmp_path / "base") == 0o711


def test_a_link_is_not_a_base(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UnsafeDirectory, match="got a link"):
        location.writable_base(str(tmp_path / "link"))
    assert list((tmp_path / "real").iterdir()) == []


def test_a_file_is_not_a_base(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be opened"):
        location.writable_base(str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be made"):
        location.writable_base(str(tmp_path / "file" / "below"))


def test_another_users_directory_is_refused_for_writers(tmp_path, monkeypatch):
    (tmp_path / "base").mkdir(mode=0o700)
    owner = os.stat(tmp_path / "base").st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4321)
    descriptor = location.open_directory(str(tmp_path / "base"))
    with pytest.raises(UnsafeDirectory, match=f"must belong to uid {owner + 4321}, got uid"):
        location.check_safe(descriptor, "base")
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_base_of_a_third_user_is_refused_even_when_asked_for(tmp_path):
    (tmp_path / "base").mkdir()
    os.chown(tmp_path / "base", 4321, 4321)
    with pytest.raises(UnsafeDirectory, match="got uid 4321"):
        location.writable_base(str(tmp_path / "base"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has directories of root")
def test_a_volume_of_root_that_was_asked_for_is_accepted_but_not_one_that_was_guessed(
    tmp_path, monkeypatch
):
    (tmp_path / "volume").mkdir()
    os.chmod(tmp_path / "volume", 0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert location.writable_base(str(tmp_path / "volume")).origin == "given"
    monkeypatch.setattr(location, "SHARED_MEMORY", str(tmp_path))
    (tmp_path / "faultplane-4321").mkdir()
    assert location.writable_base(None, str(tmp_path / "volume")).origin != "shared memory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_base_of_ones_own_that_others_may_change_is_refused_even_when_asked_for(
    tmp_path, monkeypatch
):
    (tmp_path / "base").mkdir()
    os.chown(tmp_path / "base", 4321, 4321)
    os.chmod(tmp_path / "base", 0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(UnsafeDirectory, match="got mode 0777"):
        location.writable_base(str(tmp_path / "base"))
    os.chmod(tmp_path / "base", 0o1777)  # nobody can take away what another one made
    assert location.writable_base(str(tmp_path / "base")).origin == "given"


def test_a_directory_that_others_can_write_to_is_refused(tmp_path):
    (tmp_path / "domain").mkdir()
    os.chmod(tmp_path / "domain", 0o720)
    with pytest.raises(UnsafeDirectory, match="got mode 0720"):
        descriptor = location.open_directory(str(tmp_path / "domain"))
        try:
            location.check_safe(descriptor, "domain")
        finally:
            os.close(descriptor)


def test_places_are_tried_in_order_and_readers_look_in_the_same(tmp_path, monkeypatch):
    shared, runtime = tmp_path / "shm", tmp_path / "run"
    shared.mkdir()
    runtime.mkdir()
    monkeypatch.setattr(location, "SHARED_MEMORY", str(shared))
    first = location.writable_base(None, str(runtime))
    assert first == location.Base(f"{shared}/faultplane-{os.geteuid()}", "shared memory")
    # Somebody else was there first: a link stands for anything that is not ours.
    os.rmdir(first.path)
    os.symlink(str(tmp_path), first.path)
    second = location.writable_base(None, str(runtime))
    assert second == location.Base(str(runtime / "faultplane"), "runtime")
    assert location.readable_bases(None, str(runtime)) == [second.path]
    last = location.writable_base(None, None, temporary_directory=str(tmp_path))
    assert last.private
    assert os.path.dirname(last.path) == str(tmp_path)
    assert mode(last.path) == 0o700
    monkeypatch.setattr(location, "TEMPORARY_DIRECTORIES", (str(runtime),))
    third = location.writable_base(None, None, temporary_directory=str(tmp_path / "missing"))
    assert os.path.dirname(third.path) == str(runtime)


def test_a_reader_takes_the_directory_it_is_told_of(tmp_path):
    assert location.readable_bases(str(tmp_path / "x")) == [str(tmp_path / "x")]


def test_nowhere_to_write_is_one_storage_error(monkeypatch, tmp_path):
    monkeypatch.setattr(location, "SHARED_MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr(location, "TEMPORARY_DIRECTORIES", (str(tmp_path / "nowhere"),))
    with pytest.raises(StorageError, match=r"no directory can be made: .*nowhere"):
        location.writable_base(None)


def test_long_lived_descriptors_have_high_numbers_and_stay_open_across_nothing_else(tmp_path):
    low = location.open_directory(str(tmp_path))
    high = location.raise_descriptor(low)
    assert high >= location.HIGH_DESCRIPTOR
    assert os.get_inheritable(high) is False
    assert location.same_place(high, str(tmp_path))
    with pytest.raises(OSError):
        os.fstat(low)
    os.close(high)


def test_a_descriptor_keeps_its_number_where_the_limit_is_low(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(location.fcntl, "fcntl", refuse)
    low = location.open_directory(str(tmp_path))
    assert location.raise_descriptor(low) == low
    os.close(low)


def test_a_place_that_was_removed_or_replaced_is_not_the_same(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    descriptor = location.open_directory(str(path))
    assert location.same_place(descriptor, str(path))
    path.rename(tmp_path / "other")
    assert not location.same_place(descriptor, str(path))
    path.mkdir()
    assert not location.same_place(descriptor, str(path))
    os.close(descriptor)
    assert not location.same_place(descriptor, str(path))
