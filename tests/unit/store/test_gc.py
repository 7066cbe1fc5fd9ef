"""Domains that nobody writes to go; all others stay."""

from __future__ import annotations

import os

import pytest

from faultplane.errors import DomainBusy, DomainNotFound, InvalidName, StorageError
from faultplane.store import gc, location, owners


def actions(removals):
    return {removal.domain: removal.action for removal in removals}


def test_dead_domains_go_and_live_ones_stay(make_store, own_class, tmp_domain_dir):
    live, dead, empty = make_store("live"), make_store("dead"), make_store("empty")
    own_class(live)
    own_class(dead).die()
    planned = gc.gc(str(tmp_domain_dir), dry_run=True)
    assert actions(planned) == {
        "dead": "would be removed",
        "empty": "would be removed",
        "live": "kept",
    }
    assert sorted(os.listdir(tmp_domain_dir)) == ["dead", "empty", "live"]
    done = gc.gc(str(tmp_domain_dir))
    assert actions(done) == {"dead": "removed", "empty": "removed", "live": "kept"}
    assert os.listdir(tmp_domain_dir) == ["live"]
    assert {one.domain: one.bytes_held for one in done} == {
        one.domain: one.bytes_held for one in planned
    }
    kept = next(one for one in done if one.domain == "live")
    assert kept.reason == f"has 1 live owner: pid {os.getpid()}"
    assert not dead.in_place()
    assert not empty.in_place()


def test_an_exited_owner_that_still_runs_counts_as_living(store, owner, tmp_domain_dir):
    owners.say_exited(store, owner().registration, 0)
    assert actions(gc.gc(str(tmp_domain_dir))) == {"default": "kept"}


def test_what_is_kept_has_its_size_too(make_store, own_class, tmp_domain_dir):
    own_class(live := make_store("live"))
    damaged = make_store("damaged")
    (tmp_domain_dir / "damaged" / damaged.name / "registry").write_bytes(b"")
    for dry_run in (True, False):
        held = {one.domain: one.bytes_held for one in gc.gc(str(tmp_domain_dir), dry_run=dry_run)}
        for store in (live, damaged):
            blocks = [entry.stat().st_blocks for entry in os.scandir(store.path)]
            assert held[store.path.split(os.sep)[-2]] == 512 * sum(blocks) > 0


def test_one_domain_can_be_named(make_store, tmp_domain_dir):
    make_store("a")
    make_store("b")
    assert actions(gc.gc(str(tmp_domain_dir), "a")) == {"a": "removed"}
    assert os.listdir(tmp_domain_dir) == ["b"]
    with pytest.raises(DomainNotFound, match="domain 'a' was not found"):
        gc.gc(str(tmp_domain_dir), "a")
    with pytest.raises(InvalidName):
        gc.gc(str(tmp_domain_dir), "..")
    with pytest.raises(StorageError):
        gc.gc(str(tmp_domain_dir / "nowhere"))


def test_links_and_strangers_are_left_alone(make_store, tmp_domain_dir, tmp_path):
    make_store("a")
    (tmp_path / "precious").write_text("x")
    (tmp_domain_dir / "link").symlink_to(tmp_path)
    (tmp_domain_dir / "file").write_text("")
    (tmp_domain_dir / "strange").mkdir()
    (tmp_domain_dir / "strange" / "data").mkdir()
    (tmp_domain_dir / "strange" / "9-cython").mkdir()
    found = gc.gc(str(tmp_domain_dir))
    assert actions(found) == {"a": "removed", "strange": "kept"}
    assert sorted(os.listdir(tmp_domain_dir)) == ["file", "link", "strange"]
    assert (tmp_path / "precious").exists()
    assert gc.gc(str(tmp_domain_dir), "link")[0].action == "kept"


def test_a_store_that_was_replaced_meanwhile_is_kept(make_store, monkeypatch):
    store = make_store()
    descriptor = location.open_directory(store.domain_path)
    monkeypatch.setattr(gc.Store, "in_place", lambda self: False)
    with pytest.raises(DomainBusy, match="was replaced meanwhile"):
        gc.remove_store(descriptor, store.path)
    os.close(descriptor)
    assert os.path.isdir(store.path)


RACE = """
import os, sys
from faultplane._backend import CORE_NAME
from faultplane.errors import DomainNotFound
from faultplane.store import domain, gc, location, owners
base, rounds = location.Base(sys.argv[1], "given"), int(sys.argv[2])
joined = 0
for n in range(rounds):
    start, go = os.pipe()
    said, say = os.pipe()
    hold, release = os.pipe()
    domain.open_or_create(base, "d", CORE_NAME, 2 << 20, False).close()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.close(release)
        os.read(start, 1)
        while True:
            store = domain.open_or_create(base, "d", CORE_NAME, 2 << 20, False)
            try:
                registration = owners.register(store, "{}")
                break
            except DomainNotFound:
                store.close()
        os.write(say, b"%d" % os.fstat(store.directory_fd).st_ino)
        os.read(hold, 1)
        os._exit(0)
    os.close(start)
    os.close(hold)
    os.close(go)
    os.close(say)
    removals = gc.gc(sys.argv[1])
    inode = int(os.read(said, 32))
    # Whoever came first: the owner is in the store that the path names.
    with domain.Store.open(os.path.join(sys.argv[1], "d", "1-" + CORE_NAME)) as store:
        assert os.fstat(store.directory_fd).st_ino == inode, (n, removals)
        assert child in [row.pid for row in owners.read_owners(store)]
    joined += removals[0].action == "removed"
    os.close(release)
    os.waitpid(child, 0)
    os.close(said)
print("consistent")
"""


def test_an_owner_that_comes_while_its_domain_goes_is_in_the_new_one(run_python, tmp_domain_dir):
    assert run_python(RACE, tmp_domain_dir, 40).stdout == "consistent\n"
