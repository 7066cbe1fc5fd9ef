"""Disks that are full, read-only or somebody else's; hosts that were restarted, clocks set back.

Whoever records goes on and loses no count; whoever looks is told what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import time
from zlib import crc32

import pytest
from worker import expected, found, settle

from faultplane import schema
from faultplane.store import gc

pytestmark = pytest.mark.fault

NOBODY = 65_534
# They mount file systems, or take another user's place.
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


def mount(*words):
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:  # a container may mount nothing, and not every kernel has quotas in memory
        pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def command(core_name, core, child_environment):
    """Function ``(*words, **variables) -> CompletedProcess``: ``faultplane`` as users call it."""

    def run(*words, status=None, **variables):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "faultplane", *map(str, words)],
            env=child_environment(core_name, NO_COLOR="1", **variables),
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in ((0, 1, 2) if status is None else (status,)), done
        return done

    return run


# --------------------------------------------------------------------------------------- disks


@AS_ROOT
def test_a_read_only_disk_is_read_and_counts_wait_until_it_is_writable(worker, command, small_disk):
    disk = small_disk(16)
    before = worker(FAULTPLANE_DIR=str(disk))
    before.do("record", 10)
    before.end()
    mount("-o", "remount,ro", disk)
    one = worker(FAULTPLANE_DIR=str(disk))
    one.do("record", 5)
    one.do("add", 5)
    assert found(disk) == (10, 0)
    for words in (["doctor"], ["deaths"], ["tail", "--no-follow"], ["top", "--once", "--json"]):
        command(*words, FAULTPLANE_DIR=str(disk))
    assert "kept" in command("gc", FAULTPLANE_DIR=str(disk)).stdout
    mount("-o", "remount,rw", disk)
    settle_all(disk, before, one)
    one.kill()


@AS_ROOT
def test_a_disk_that_becomes_read_only_under_those_who_write_costs_no_count(worker, small_disk):
    """By itself it cannot: the kernel refuses while anybody maps a file of it to write.

    What can be is that a read-only view of it is put in its place, which those who have it open
    never see, and everybody who comes later does.
    """
    disk = small_disk(16)
    one, last = (worker(FAULTPLANE_DIR=str(disk)) for _ in range(2))
    one.do("record", 700)
    last.do("record", 1)
    for what in ("remount,ro", "remount,bind,ro"):
        words = ["mount", "-o", what, str(disk)]
        done = subprocess.run(words, capture_output=True, check=False)
        assert done.returncode, f"{what}: a disk that is written to became read-only"
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    try:
        mount("-o", "remount,bind,ro", disk)
        one.do("record", 5_000)  # segments are switched
        one.do("add", 5)
        late = worker(FAULTPLANE_DIR=str(disk))
        late.do("record", 300)
        late.do("add", 5)
        assert found(disk) == expected(one, last)
        assert last.end() == ""
    finally:
        subprocess.run(["umount", disk], check=True)
    settle_all(disk, last, one, late)
    assert (one.end(), late.end()) == ("", "")
    assert found(disk) == expected(last, one, late)


REASON = """
import faultplane as fp
from faultplane.store import lifecycle
fp.init()
print(end=lifecycle.status().reason)
"""


@AS_ROOT
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("fault", ["read-only", "full", "no names left", "somebody else's"])
def test_doctor_tells_what_a_recorder_would_run_into(
    worker, command, run_python, core_name, small_disk, fault, existing
):
    disk = small_disk(16)
    if existing:
        first = worker(FAULTPLANE_DIR=str(disk))
        first.do("record", 3)
        first.end()
    if fault == "read-only":
        mount("-o", "remount,ro", disk)
    elif fault == "full":
        with open(disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
    elif fault == "no names left":
        mount("-o", f"remount,nr_inodes={1 + sum(1 for _ in disk.rglob('*'))}", disk)
    else:
        os.chown(disk, NOBODY, NOBODY)
    before = sorted(disk.rglob("*"))
    told = command("doctor", status=1, FAULTPLANE_DIR=str(disk)).stdout
    assert sorted(disk.rglob("*")) == before
    (line,) = (line for line in told.splitlines() if "init()" in line)
    assert line.startswith("! a process that calls init() here finds no storage: ")
    said = run_python(REASON, core=core_name, FAULTPLANE_DIR=str(disk)).stdout
    assert said
    assert line.endswith(said.rpartition(": ")[2]), said


def settle_all(disk, gone, *living):
    """Like `settle`, for one that has ended and others that go on."""
    end = time.monotonic() + 60
    while found(disk) != expected(gone, *living):
        assert time.monotonic() < end, (found(disk), expected(gone, *living))
        for one in living:
            one.do("record", 1)


@AS_ROOT
@pytest.mark.parametrize("inodes", [3, 5, 8, 11, 14, 17])
def test_a_disk_without_names_left_costs_no_count(worker, small_disk, inodes):
    disk = small_disk(16)
    mount("-o", f"remount,nr_inodes={inodes}", disk)
    workers = [worker(FAULTPLANE_DIR=str(disk)) for _ in range(2)]
    for one in workers:
        one.do("record", 2_500)  # a segment is switched
        one.do("add", 5)
    mount("-o", "remount,nr_inodes=1000", disk)
    settle(disk, *workers)
    assert [one.end() for one in workers] == ["", ""]
    assert found(disk) == expected(*workers)


@AS_ROOT
def test_a_quota_costs_no_count(worker, tmp_path):
    disk = tmp_path / "quota"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m,usrquota,usrquota_block_hardlimit=3m", "quota", disk)
    try:
        os.chown(disk, NOBODY, NOBODY)
        tmp_path.chmod(0o711)
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o711)
        one = worker(NOBODY, FAULTPLANE_DIR=str(disk))
        one.do("record", 9_000)
        one.do("add", 5)
        assert found(disk) == expected(one)
        assert one.end() == ""
        assert found(disk) == expected(one)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@AS_ROOT
def test_rights_that_are_taken_away_cost_no_count(worker, tmp_domain_dir):
    base = tmp_domain_dir / "base"
    base.mkdir()
    os.chown(base, NOBODY, NOBODY)
    tmp_domain_dir.chmod(0o755)
    one = worker(NOBODY, FAULTPLANE_DIR=str(base))
    one.do("record", 100)
    (base / "default").chmod(0o000)
    one.do("record", 5_000)  # segments could be switched, but for the rights
    one.do("add", 5)
    late = worker(NOBODY, FAULTPLANE_DIR=str(base))
    late.do("record", 3)
    (base / "default").chmod(0o700)
    settle(base, one, late)
    assert (one.end(), late.end()) == ("", "")
    assert found(base) == expected(one, late)


@AS_ROOT
def test_a_domain_of_somebody_else_is_refused_by_name_and_untouched(
    worker, command, tmp_domain_dir
):
    base = tmp_domain_dir / "base"
    theirs = worker(FAULTPLANE_DIR=str(base))
    theirs.do("record", 10)
    theirs.end()
    base.chmod(0o777)
    tmp_domain_dir.chmod(0o755)
    mine = worker(NOBODY, FAULTPLANE_DIR=str(base))
    mine.do("record", 7)
    said = mine.end()
    assert "counted and kept nowhere: 7 errors" in said
    assert f"{base}/default cannot be opened: Permission denied" in said
    (base / "default").chmod(0o755)
    other = worker(NOBODY, FAULTPLANE_DIR=str(base))
    other.do("record", 7)
    assert f"{base}/default must belong to uid {NOBODY}, got uid 0" in other.end()
    assert found(base) == expected(theirs)


def test_a_link_in_the_place_of_a_directory_is_refused_by_name(worker, command, tmp_domain_dir):
    elsewhere = tmp_domain_dir / "elsewhere"
    theirs = worker(FAULTPLANE_DIR=str(elsewhere))
    theirs.do("record", 10)
    theirs.end()
    (store,) = (elsewhere / "default").iterdir()
    base = tmp_domain_dir / "base"
    (base / "default").mkdir(parents=True, mode=0o700)
    (base / "default" / store.name).symlink_to(store)
    one = worker(FAULTPLANE_DIR=str(base))
    one.do("record", 3)
    assert "must be a directory, got a link" in one.end()
    told = command("doctor", status=1, FAULTPLANE_DIR=str(base)).stdout
    assert f"{store.name} must be a directory, got a link" in told
    assert found(elsewhere) == expected(theirs)


# ---------------------------------------------------------------------------- boots and clocks


def test_files_of_another_boot_are_read_and_folded(worker, command, core_name, tmp_domain_dir):
    old = [worker() for _ in range(3)]
    for one in old:
        one.do("record", 40)
        one.do("add", 3)
    for one in old:
        one.kill()
    store = tmp_domain_dir / "default" / f"1-{core_name}"
    with open(store / "registry", "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        schema.REGISTRY.write(data, 0, boot_id=b"another boot ...")
        crc = schema.REGISTRY.offset["crc"]
        struct.pack_into("<I", data, crc, crc32(data[:crc]))
    with open(store / "owners", "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for slot in range(3):
            at = slot * schema.OWNER.size
            random_id = schema.OWNER.read(data, at, "random_id")
            # Also a process that runs, of the same id and start: this one.
            schema.OWNER.write(data, at, random_id=b"another " + random_id[8:], pid=os.getpid())
    assert found(tmp_domain_dir) == expected(*old) == (120, 18)
    assert "is from before the last start of this host" in command("doctor", status=1).stdout
    told = [json.loads(line) for line in command("deaths", "--json").stdout.splitlines()]
    assert [death["summary"] for death in told] == ["the host was restarted"] * 3
    new = worker()
    new.do("record", 5)
    assert found(tmp_domain_dir) == expected(*old, new)
    assert not list(store.glob("agg-[0-2]"))
    assert new.end() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="preloads the library that sets the clock")
def test_a_clock_that_is_set_back_harms_nobody(
    worker, command, refuser, tmp_path, tmp_domain_dir, core_name
):
    words = tmp_path / "words"
    words.write_bytes(bytes(4096))
    clock = {
        "LD_PRELOAD": str(refuser), "REFUSE_WORDS": str(words), "REFUSE_DIRECTORY": "/nowhere"
    }  # fmt: skip

    def set_clock(seconds):
        with open(words, "r+b") as file:
            file.seek(48)
            file.write(struct.pack("<q", seconds))

    one = worker(**clock)
    one.do("record", 3)
    stale = tmp_domain_dir / "default" / f"1-{core_name}" / "tmp-of-somebody"
    stale.write_bytes(b"x")
    set_clock(-7200)
    one.do("record", 3)
    late = worker(**clock)
    late.do("record", 2)
    one.kill()
    assert found(tmp_domain_dir) == expected(one, late)
    told = command("deaths", "--json", **clock).stdout
    assert not re.search(r'_seconds": -', told), told
    rows = command("top", "--once", "--json", **clock).stdout.splitlines()
    assert sum(json.loads(row)["count"] for row in rows) == 8
    assert not re.search(r'(rate|age|per_second)[a-z_]*": -', "".join(rows)), rows
    for words_of in (["doctor"], ["tail", "--no-follow"], ["top", "--once"], ["deaths"]):
        text = command(*words_of, **clock).stdout
        assert not re.search(r"(^|\s)-\d", text), text
    assert not stale.exists(), "what was left in a future that was taken back goes, too"
    late.do("record", 1)
    assert late.end() == ""
    assert found(tmp_domain_dir) == expected(one, late)


# ------------------------------------------------------------------------------- many domains


@pytest.mark.slow
def test_ten_thousand_domains_are_listed_in_part_and_collected_whole(
    worker, command, tmp_domain_dir, core_name
):
    one = worker()
    one.do("record", 5)
    one.end()
    base = tmp_domain_dir / "many"
    base.mkdir(mode=0o700)
    (store,) = (tmp_domain_dir / "default").iterdir()
    names = ("registry", "owners", "locks", "agg-retired")
    for number in range(10_000):  # links: as many files would fill a small host
        place = base / f"d{number:05}" / store.name
        place.mkdir(parents=True, mode=0o700)
        for name in names:
            os.link(store / name, place / name)
    live = worker(FAULTPLANE_DIR=str(base), FAULTPLANE_DOMAIN="live")
    live.do("record", 5)
    assert found(base, "live") == (5, 0)
    doctor = command("doctor", "-d", "live", FAULTPLANE_DIR=str(base)).stdout
    assert "and 9,981 more" in doctor
    assert len(doctor) < 5_000
    absent = command("tail", "-d", "absent", status=2, FAULTPLANE_DIR=str(base)).stderr
    assert "and 9,981 more" in absent
    removed = gc.gc(str(base))
    kept = [removal for removal in removed if removal.action != "removed"]
    assert len(removed) == 10_001
    assert [removal.domain for removal in kept] == ["live"]
    assert os.listdir(base) == ["live"]


def test_domains_past_the_bound_of_a_collection_are_told(monkeypatch, tmp_domain_dir):
    for number in range(4):
        (tmp_domain_dir / f"d{number}").mkdir()
    # The number alone: 65,537 directories take ten seconds to come and go, to the same effect.
    monkeypatch.setattr(gc, "DOMAINS_MAX", 3)
    (told,) = gc.gc(str(tmp_domain_dir))
    assert (told.action, told.reason) == ("not looked at", "1 more than the 3 looked at in one go")
