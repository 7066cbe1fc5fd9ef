"""A store is made whole, opened after a look, and made once however many make it."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from faultplane import schema
from faultplane._backend import CORE_NAME
from faultplane.errors import (
    CorruptFile,
    DomainNotFound,
    InvalidName,
    LayoutMismatch,
    StorageError,
    StorageFull,
    UnsafeDirectory,
)
from faultplane.store import cgroup, domain, host, location, owners
from faultplane.store.domain import Store

MIN = schema.BUDGET_BYTES_MIN


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_store_has_its_geometry_from_the_budget(make_store):
    store = make_store(budget_bytes=16 << 20)
    shape = schema.geometry(16 << 20)
    assert store.header.budget_bytes == 16 << 20
    for name in ("lanes_per_segment", "segments_max", "owner_slots", "dictionary_bytes"):
        assert getattr(store.header, name) == getattr(shape, name)
    assert store.header.boot_id == host.boot_id()
    assert store.load("incarnation_next") == 1
    assert store.load("segment_newest") == 0
    assert store.segments() == []
    assert owners.read_owners(store) == []
    assert set(os.listdir(store.path)) == {"registry", "owners", "locks", "agg-retired"}


def test_modes_are_private_or_of_the_group(make_store):
    private, shared = make_store("a"), make_store("b", group_readable=True)
    assert (mode(private.path), mode(private.domain_path)) == (0o700, 0o700)
    assert (mode(shared.path), mode(shared.domain_path)) == (0o750, 0o750)
    assert {mode(f"{private.path}/{name}") for name in os.listdir(private.path)} == {0o600}
    assert {mode(f"{shared.path}/{name}") for name in os.listdir(shared.path)} == {0o640}


def test_opening_again_finds_the_same_store(make_store):
    assert os.fstat(make_store().directory_fd).st_ino == os.fstat(make_store().directory_fd).st_ino


RACE = """
import os, random, sys
from faultplane._backend import CORE_NAME
from faultplane.store import domain, location
base, rounds, makers = location.Base(sys.argv[1], "given"), int(sys.argv[2]), 4
for n in range(rounds):
    start, go = os.pipe()
    answer, say = os.pipe()
    children = []
    for _ in range(makers):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(start, 1)
            store = domain.open_or_create(base, f"d{n}", CORE_NAME, 2 << 20, False)
            old = store.registry.add(128 * 100, 0)
            os.write(say, b"%d\\n" % os.fstat(store.directory_fd).st_ino)
            os._exit(0)
        children.append(child)
    os.close(start)
    os.close(go)  # all at once
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    os.close(say)
    with os.fdopen(answer) as lines:
        inodes = lines.read().split()
    assert len(inodes) == makers and len(set(inodes)) == 1, inodes
    assert os.listdir(os.path.join(sys.argv[1], f"d{n}")) == ["1-" + CORE_NAME]
print("one each")
"""


def test_creators_at_once_end_with_one_store(run_python, tmp_domain_dir):
    code = RACE.replace("old = store.registry.add(128 * 100, 0)\n            ", "")
    assert run_python(code, tmp_domain_dir, 25).stdout == "one each\n"


def test_a_budget_is_capped_by_a_quarter_of_what_is_left(tmp_path, monkeypatch):
    descriptor = location.open_directory(str(tmp_path))
    monkeypatch.setattr(cgroup, "memory_left_bytes", lambda: -1)
    left = os.fstatvfs(descriptor)
    space = left.f_bavail * left.f_frsize
    assert domain.budget_allowed(descriptor, MIN) == MIN
    assert domain.budget_allowed(descriptor, 1 << 60) == space // 4
    monkeypatch.setattr(cgroup, "memory_left_bytes", lambda: 40 << 20)
    assert domain.budget_allowed(descriptor, 64 << 20) == min(10 << 20, space // 4)
    monkeypatch.setattr(cgroup, "memory_left_bytes", lambda: 4 * MIN - 4)
    told = f"needs {MIN} bytes, a quarter of what the memory cgroup has left is {MIN - 1}"
    with pytest.raises(StorageFull, match=told):
        domain.budget_allowed(descriptor, 64 << 20)
    os.close(descriptor)


def test_a_full_disk_leaves_nothing_behind(make_store, tmp_domain_dir, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFull):
        make_store()
    assert os.listdir(tmp_domain_dir / "default") == []


def test_a_second_kind_of_store_gets_half_the_budget(make_store, tmp_domain_dir):
    first = make_store(budget_bytes=32 << 20)
    base = location.Base(str(tmp_domain_dir), "given")
    other = "python" if first.core_name == "cython" else "cython"
    with domain.open_or_create(base, "default", other, 32 << 20, False) as second:
        assert second.header.budget_bytes == 16 << 20
    assert [os.path.basename(path) for path in domain.store_paths(first.domain_path)] == [
        "1-cython",
        "1-python",
    ]


def test_a_store_that_was_emptied_is_no_other_that_shares_the_budget(make_store, tmp_domain_dir):
    first = make_store(budget_bytes=32 << 20)
    other = "1-python" if first.core_name == "cython" else "1-cython"
    (tmp_domain_dir / "default" / other).mkdir()  # emptied as well
    for entry in Path(first.path).iterdir():
        entry.unlink()
    again = make_store(budget_bytes=32 << 20)
    assert again.header.budget_bytes == 32 << 20


def test_what_a_killed_creator_left_is_removed_after_a_minute(make_store, tmp_domain_dir):
    path = tmp_domain_dir / "default"
    path.mkdir()
    (path / "tmp-99-dead").mkdir()
    (path / "tmp-99-dead" / "registry").write_bytes(b"half")
    descriptor = location.open_directory(str(path))
    made = (path / "tmp-99-dead").stat().st_mtime
    assert domain.remove_stale_directories(descriptor, made + 59) == []
    assert domain.remove_stale_directories(descriptor, made + 61) == ["tmp-99-dead"]
    os.close(descriptor)
    assert os.listdir(path) == []


@pytest.mark.parametrize("name", ["registry", "owners", "locks"])
def test_a_link_in_the_place_of_a_file_is_not_followed(make_store, tmp_path, name):
    store = make_store()
    target = tmp_path / "target"
    target.write_bytes(b"\0" * 100_000)
    os.unlink(f"{store.path}/{name}")
    os.symlink(target, f"{store.path}/{name}")
    store.close()
    with pytest.raises(CorruptFile, match=f"{name} must be a regular file"):
        Store.open(store.path, writable=True)
    assert target.read_bytes() == b"\0" * 100_000


def test_a_link_in_the_place_of_a_directory_is_not_followed(make_store, tmp_domain_dir):
    store = make_store()
    (tmp_domain_dir / "other").symlink_to("default")
    with pytest.raises(UnsafeDirectory, match="got a link"):
        make_store("other")
    os.rename(store.path, tmp_domain_dir / "away")
    os.symlink(tmp_domain_dir / "away", store.path)
    with pytest.raises(UnsafeDirectory, match="got a link"):
        Store.open(store.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_writer_refuses_a_domain_of_another_user_and_a_reader_takes_it(make_store):
    store = make_store()
    for path in (store.path, store.domain_path):
        os.chown(path, 4321, 4321)
        with pytest.raises(UnsafeDirectory, match="got uid 4321"):
            make_store()
    with Store.open(store.path) as reader:
        assert not reader.writable


def test_each_damage_to_a_registry_is_refused(make_store):
    store = make_store()
    path = f"{store.path}/registry"
    good = Path(path).read_bytes()
    store.close()

    def opened(data):
        with open(path, "wb") as file:
            file.write(data)
        return Store.open(store.path)

    def changed(field, value):
        data = bytearray(good)
        schema.REGISTRY.write(data, 0, **{field: value})
        crc = schema.REGISTRY.offset["crc"]
        struct.pack_into("<I", data, crc, domain.files.crc32(data[:crc]))
        return bytes(data)

    with pytest.raises(CorruptFile, match="crc"):
        opened(good[:40] + b"\xff" + good[41:])
    with pytest.raises(CorruptFile, match="at least"):
        opened(good[:-1])
    with pytest.raises(CorruptFile, match="must start with"):
        opened(bytes(len(good)))
    with pytest.raises(LayoutMismatch, match="schema hash"):
        opened(changed("schema_hash", 1))
    with pytest.raises(LayoutMismatch, match="layout version of registry must be 1, got 9"):
        opened(changed("layout_version", 9))
    for field in ("lanes_per_segment", "owner_slots", "segments_max"):
        with pytest.raises(CorruptFile, match=f"{field} of registry must be 1 to"):
            opened(changed(field, 0))
    opened(good).close()


def test_one_bad_store_never_hides_the_rest(make_store):
    store = make_store()
    os.mkdir(f"{store.domain_path}/7-cython")
    os.mkdir(f"{store.domain_path}/1-{'python' if CORE_NAME == 'cython' else 'cython'}")
    stores, problems = domain.open_stores(store.domain_path)
    assert [found.name for found in stores] == [store.name]
    assert len(problems) == 2
    assert any("layout version of" in problem for problem in problems)
    stores[0].close()


def test_a_domain_is_found_where_writers_put_it(make_store, tmp_domain_dir):
    store = make_store("shop")
    assert domain.find("shop", str(tmp_domain_dir)) == store.domain_path
    with pytest.raises(DomainNotFound, match="domain 'nope' was not found; looked in"):
        domain.find("nope", str(tmp_domain_dir))
    with pytest.raises(InvalidName):
        domain.find("../shop", str(tmp_domain_dir))
    with pytest.raises(DomainNotFound):
        Store.open(f"{store.domain_path}/1-nothing")
    with pytest.raises(DomainNotFound):
        domain.store_paths(f"{tmp_domain_dir}/nope")
    with pytest.raises(CorruptFile, match="must be named"):
        Store.open(store.domain_path)


def test_a_closed_store_gives_its_descriptors_back(make_store):
    store = make_store()
    descriptor = store.directory_fd
    store.close()
    store.close()
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_store_that_was_moved_is_not_in_place(make_store):
    store = make_store()
    assert store.in_place()
    os.rename(store.path, f"{store.domain_path}/elsewhere")
    assert not store.in_place()


READ_ONLY = """
import os, sys
from faultplane.errors import StorageError
from faultplane.store import counts, deaths, domain, owners
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
with domain.Store.open(sys.argv[1]) as store:
    row, = owners.read_owners(store)
    print(row.state, owners.life(store, row).value, counts.read_counters(store)[0].value,
          [death["how"] for death in deaths.read_deaths(store)])
    for change in (lambda: owners.set_fence(store, 0), lambda: store.locks.try_take(1 << 19)):
        try:
            change()
        except (TypeError, StorageError):
            continue
        print("changed")
try:
    domain.Store.open(sys.argv[1], writable=True)
except StorageError:
    print("refused")
"""


def test_readers_need_permission_to_read_only(make_store, own_class, run_python, tmp_domain_dir):
    store = make_store(group_readable=True)
    died = own_class(store, hits=3)
    died.write(pid=0)
    died.die()
    for path in (tmp_domain_dir, store.domain_path, store.path):
        os.chmod(path, 0o555)
    for name in os.listdir(store.path):
        os.chmod(f"{store.path}/{name}", 0o444)
    done = run_python(READ_ONLY, store.path)
    for path in (tmp_domain_dir, store.domain_path, store.path):
        os.chmod(path, 0o755)
    assert done.stdout == "live gone 3 ['unknown']\nrefused\n"


def test_a_removal_in_the_middle_of_creation_starts_over(make_store, monkeypatch, tmp_domain_dir):
    make, calls = location.make_directory, []

    def late(*args, **kwargs):
        descriptor = make(*args, **kwargs)
        if args[1] == "default":
            calls.append(args)
            if len(calls) == 1:
                os.rmdir(tmp_domain_dir / "default")
        return descriptor

    monkeypatch.setattr(location, "make_directory", late)
    assert make_store().in_place()
    assert len(calls) == 2


def test_a_removal_at_every_attempt_is_an_error(make_store, monkeypatch, tmp_domain_dir):
    make = location.make_directory

    def late(*args, **kwargs):
        descriptor = make(*args, **kwargs)
        if args[1] == "default":
            os.rmdir(tmp_domain_dir / "default")
        return descriptor

    monkeypatch.setattr(location, "make_directory", late)
    with pytest.raises(StorageError, match="was removed while it was made"):
        make_store()


def test_memory_that_somebody_looks_at_outlives_its_store(make_store):
    store = make_store()
    view = memoryview(store.owners)
    store.close()
    assert bytes(view[:8]) == bytes(8)
    view.release()


def test_a_store_changes_its_words_whatever_others_are_opened_and_closed(make_store):
    first, second = make_store("a"), make_store("b")
    second.close()
    assert first.registry.add(schema.REGISTRY.offset["incarnation_next"], 1) == 1
    assert first.registry.load(schema.REGISTRY.offset["incarnation_next"]) == 2


def test_without_its_lock_the_pure_core_changes_no_word(make_store):
    """The application has closed the lock file: others would not see that it is changed."""
    if CORE_NAME != "python":
        pytest.skip("the compiled core takes no lock for it")
    store = make_store("a")
    os.close(store.locks.descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.registry.add(schema.REGISTRY.offset["incarnation_next"], 1)
    assert store.registry.load(schema.REGISTRY.offset["incarnation_next"]) == 1


def test_a_file_system_without_a_limit_has_room_for_any_budget(small_disk, monkeypatch):
    monkeypatch.setattr(cgroup, "memory_left_bytes", lambda: -1)
    descriptor = location.open_directory(str(small_disk(0)))
    assert os.fstatvfs(descriptor).f_blocks == 0
    assert domain.budget_allowed(descriptor, 1 << 60) == 1 << 60
    os.close(descriptor)


def test_a_creation_that_is_interrupted_leaves_nothing_behind(
    make_store, tmp_domain_dir, monkeypatch
):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "boot_id", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_store()
    assert os.listdir(tmp_domain_dir / "default") == []


def test_a_tree_is_removed_without_following_links_and_one_level_deep(tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(bytes(10_000))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(bytes(10_000))
    (tree / "link").symlink_to(kept)
    descriptor = location.open_directory(str(tmp_path))
    held = domain.remove_tree(descriptor, "tree")
    assert 10_000 <= held < 20_000
    assert kept.exists()
    assert not tree.exists()
    assert domain.remove_tree(descriptor, "tree") == 0
    (tree / "deeper" / "still").mkdir(parents=True)
    with pytest.raises(StorageError, match="tree cannot be removed"):
        domain.remove_tree(descriptor, "tree")
    os.close(descriptor)


def test_only_directories_that_nobody_works_in_are_stale(tmp_path):
    (tmp_path / "tmp-file").write_bytes(b"not a directory")
    (tmp_path / "tmp-deep" / "deeper" / "still").mkdir(parents=True)
    (tmp_path / "tmp-dead").mkdir()
    descriptor = location.open_directory(str(tmp_path))
    later = os.stat(tmp_path).st_mtime + 1000
    assert domain.remove_stale_directories(descriptor, later) == ["tmp-dead"]
    assert sorted(os.listdir(tmp_path)) == ["tmp-deep", "tmp-file"]
    os.close(descriptor)
