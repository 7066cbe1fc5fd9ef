"""The store is taken away under processes that live: their counts come along, exactly once.

A worker does what it is told through a pipe. Its directory, its domain, its base or single files
of it are removed or moved; whoever looks at the place afterwards finds everything that the worker
counted, before and after, once: as soon as it has noticed, or has ended.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest
from worker import expected, found, settle

from faultplane.store import Domain, maintain

pytestmark = pytest.mark.fault


def remove_store(directory, name):
    shutil.rmtree(directory / "default" / name)


def remove_domain(directory, name):
    shutil.rmtree(directory / "default")


def remove_base(directory, name):
    shutil.rmtree(directory)


def remove_files(directory, name):
    for path in (directory / "default" / name).iterdir():
        path.unlink()


def remove_counts(directory, name):
    for path in (directory / "default" / name).glob("agg-[0-9]*"):
        path.unlink()


def move_store(directory, name):
    (directory / "default" / name).rename(directory / "default" / "kept")


def move_domain(directory, name):
    (directory / "default").rename(directory / "other")


WAYS = (
    remove_store, remove_domain, remove_base, remove_files, remove_counts, move_store, move_domain
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_counts_of_the_living_outlive_their_store_exactly_once(
    way, worker, core_name, tmp_domain_dir
):
    workers = [worker(), worker()]
    for number, one in enumerate(workers, 1):
        one.do("record", 700 * number)  # more than a lane
        one.do("add", 30)
    assert found(tmp_domain_dir) == expected(*workers) == (2100, 120)
    way(tmp_domain_dir, f"1-{core_name}")
    settle(tmp_domain_dir, *workers)
    for one in workers:
        one.do("record", 20)
        one.do("add", 20)
    assert found(tmp_domain_dir) == expected(*workers)
    workers[0].kill()
    for report in maintain.maintain(str(tmp_domain_dir / "default")):
        assert report.problems == [] or way is remove_counts, report
    assert workers[1].end() == ""
    assert found(tmp_domain_dir) == expected(*workers)
    if way is move_domain:
        assert found(tmp_domain_dir, "other") == (0, 0), "they are told in one place"


def test_a_domain_that_is_moved_away_and_back_has_every_count_once(worker, tmp_domain_dir):
    one = worker()
    one.do("record", 100)
    one.do("add", 5)
    (tmp_domain_dir / "default").rename(tmp_domain_dir / "away")
    settle(tmp_domain_dir, one)
    shutil.rmtree(tmp_domain_dir / "default")
    (tmp_domain_dir / "away").rename(tmp_domain_dir / "default")
    settle(tmp_domain_dir, one)
    one.do("record", 3)
    assert found(tmp_domain_dir) == expected(one)


@pytest.mark.parametrize("way", [remove_domain, move_domain], ids=lambda way: way.__name__)
def test_who_is_killed_before_it_notices_takes_nobody_elses_counts_away(
    way, worker, core_name, tmp_domain_dir
):
    """Its own are where its store is: gone, or moved away with it."""
    victim, other = worker(), worker()
    for one in (victim, other):
        one.do("record", 100)
        one.do("add", 10)
    assert found(tmp_domain_dir) == expected(victim, other)
    way(tmp_domain_dir, f"1-{core_name}")
    victim.kill()  # it has recorded nothing since, so it has not looked
    settle(tmp_domain_dir, other)
    other.do("record", 5)
    assert found(tmp_domain_dir) == expected(other)
    assert found(tmp_domain_dir, "other") == (expected(victim) if way is move_domain else None)


@pytest.mark.parametrize(
    "way", [remove_store, remove_base, move_domain], ids=lambda way: way.__name__
)
def test_who_follows_goes_on_in_the_store_that_is_made_anew(
    way, worker, core_name, child_environment, tmp_domain_dir
):
    """``tail`` reads, prepares segments and buries the dead."""
    one = worker()
    one.do("record", 5)
    words = [sys.executable, "-W", "error", "-m", "faultplane", "tail", "--json", "-n", "1000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    tail = subprocess.Popen(words, env=child_environment(core_name), **pipes)
    try:
        owners = {json.loads(tail.stdout.readline())["owner"] for _ in range(5)}
        way(tmp_domain_dir, f"1-{core_name}")
        settle(tmp_domain_dir, one)
        store = tmp_domain_dir / "default" / f"1-{core_name}"
        before = store.stat().st_ino
        with Domain.attach("default", tmp_domain_dir) as domain:
            wait_for_rows(tail, one, domain)
        assert store.stat().st_ino == before
        assert tail.poll() is None
    finally:
        tail.kill()
        assert "Traceback" not in tail.communicate()[1]
    assert owners == {1}


def wait_for_rows(tail, one, domain):
    """Until the one who follows shows a row that was written into the new store."""
    one.do("record", 1)  # counts may be there before the first row is
    start = domain.records().to_pyarrow().column("time_unix_nano")[0].value
    end = time.monotonic() + 60
    while json.loads(tail.stdout.readline())["time_unix_nano"] < start:
        assert time.monotonic() < end
        one.do("record", 1)


def test_who_only_counts_notices_too(worker, tmp_domain_dir):
    one = worker()
    one.do("add", 100)
    shutil.rmtree(tmp_domain_dir / "default")
    settle(tmp_domain_dir, one, word="add", times=500)
    assert found(tmp_domain_dir) == expected(one)


def test_who_is_quiet_places_its_counts_at_its_end(worker, tmp_domain_dir):
    one = worker()
    one.do("record", 10)
    one.do("add", 5)
    shutil.rmtree(tmp_domain_dir)
    assert one.end() == ""
    assert found(tmp_domain_dir) == expected(one) == (10, 10)


def test_while_there_is_no_place_counts_are_kept_and_placed_later(worker, tmp_domain_dir):
    one = worker(FAULTPLANE_DIR=str(tmp_domain_dir / "base" / "of"))
    one.do("record", 10)
    shutil.rmtree(tmp_domain_dir / "base")
    (tmp_domain_dir / "base").write_text("in the way")
    end = time.monotonic() + 3
    while time.monotonic() < end:  # long enough to notice, and to try again
        one.do("record", 1)
        one.do("add", 1)
    assert (tmp_domain_dir / "base").read_text() == "in the way"
    (tmp_domain_dir / "base").unlink()
    settle(tmp_domain_dir / "base" / "of", one)


def test_what_is_never_placed_is_told_at_the_end(worker, tmp_domain_dir):
    one = worker(FAULTPLANE_DIR=str(tmp_domain_dir / "base" / "of"))
    one.do("record", 10)
    one.do("add", 5)
    shutil.rmtree(tmp_domain_dir / "base")
    (tmp_domain_dir / "base").write_text("in the way")
    said = one.end().splitlines()
    assert len(said) == 2
    assert said[0].startswith("faultplane: counted and kept nowhere: 10 errors, 10 in 1 counter (")
    assert "cannot be made" in said[0]
    assert said[1].startswith("faultplane: 10 ValueError in charge (")
    assert said[1].endswith("), 10 hits")


def test_what_was_put_into_shared_cells_comes_along(core_name, core, run_python, tmp_domain_dir):
    """Past 4,096 series counts lie in cells of the registry, which all processes share."""
    code = """
import os, shutil, sys
import faultplane as fp
from faultplane.store import lifecycle
domain = fp.init(service="worker")
for number in range(4_200):
    fp.counter(f"series {number}").add(3)
os.rename(os.path.join(sys.argv[1], "default"), os.path.join(sys.argv[1], "other"))
fp.init()
sums = []
for name in ("default", "other"):
    with fp.attach(name) as there:
        sums.append(sum(row["value"] for row in there.counters_rows()))
print(*sums, lifecycle.status().bound)
"""
    done = run_python(code, tmp_domain_dir, core=core_name)
    assert done.stdout.split() == ["12600", "0", "True"]
