"""How processes died that left no word: what the counts of their cgroup allow to be said."""

from __future__ import annotations

import pytest

from faultplane.store import cgroup, deaths, host, maintain, owners

HERE, ELSEWHERE = b"here", b"else"


@pytest.fixture
def counts(monkeypatch):
    """What cgroups count, by signature: for tests to change. This process is in HERE."""
    found = {HERE: 5}
    monkeypatch.setattr(cgroup, "own_kills", lambda: cgroup.Kills(HERE, found[HERE]))
    monkeypatch.setattr(cgroup, "kills_of", lambda signature: found.get(signature, -1))
    return found


@pytest.fixture
def lost(owner):
    """Function ``(n)``: so many owners that live until they are told ``die()``."""

    def start(number):
        started = [owner() for _ in range(number)]
        for one in started:
            one.write(pid=0)
        return started

    return start


def hows(store):
    return [(death["how"], death["oom_kills_since"]) for death in deaths.read_deaths(store)]


def test_a_kill_for_want_of_memory_is_told_from_another(store, lost, counts):
    one, two = lost(2)
    one.die()
    assert hows(store) == [("unknown", 0)]
    (death,) = deaths.read_deaths(store)
    assert death["summary"].endswith("not out of memory: its cgroup counted no such kill")
    counts[HERE] = 6
    assert hows(store) == [("oom", 1)]
    (death,) = deaths.read_deaths(store)
    assert death["summary"].startswith("killed, out of memory: its cgroup counted a kill")
    assert (death["oom_kills"], death["memory_cgroup"]) == (6, int.from_bytes(HERE, "little"))
    maintain.maintain_store(store)
    two.die()
    assert hows(store) == [("oom", 1), ("unknown", 0)], "one kill is not taken for two deaths"
    maintain.maintain_store(store)
    assert hows(store) == [("oom", 1), ("unknown", 0)]


def test_fewer_kills_than_deaths_are_said_and_none_is_claimed(store, lost, counts):
    for one in lost(3):
        one.die()
    counts[HERE] = 7
    found = deaths.read_deaths(store)
    assert [death["how"] for death in found] == ["unknown"] * 3
    (summary,) = {death["summary"] for death in found}
    assert summary.endswith("3 processes of its cgroup did, 2 were killed for that")
    counts[HERE] = 8
    assert hows(store) == [("oom", 3)] * 3


def test_deaths_that_were_stored_one_by_one_share_the_kill_all_the_same(store, lost, counts):
    """A maintainer that is killed between two appends leaves the second to the next."""
    for one in lost(2):
        one.die()
    counts[HERE] = 6

    class Killed(BaseException):
        pass

    def step(name):
        if name == "recorded":
            raise Killed

    with pytest.raises(Killed):
        maintain.maintain_store(store, step)
    assert len(deaths.read_deaths(store, compute_missing=False)) == 1
    maintain.maintain_store(store)
    assert hows(store) == [("unknown", 1)] * 2


def test_a_cgroup_that_cannot_be_seen_leaves_it_open(store, lost, counts):
    (one,) = lost(1)
    one.write(random_id=host.boot_id()[:8] + ELSEWHERE + bytes(4), oom_kills_at_start=0)
    one.die()
    (death,) = deaths.read_deaths(store)
    assert (death["how"], death["oom_kills"], death["oom_kills_since"]) == ("unknown", 0, -1)
    assert "(SIGKILL, out of memory, unhandled SIGTERM, os._exit or exec)" in death["summary"]
    counts[ELSEWHERE] = 1
    assert hows(store) == [("oom", 1)]


def test_who_was_buried_unseen_may_have_been_the_victim(store, lost, counts):
    one, two = lost(2)
    for each in (one, two):
        each.write(random_id=host.boot_id()[:8] + ELSEWHERE + bytes(4), oom_kills_at_start=0)
    one.die()
    maintain.maintain_store(store)  # by a process that does not see that cgroup
    counts[ELSEWHERE] = 1
    two.die()
    assert hows(store) == [("unknown", -1), ("unknown", 1)]


def test_other_cgroups_share_no_kills(store, lost, counts):
    one, two = lost(2)
    counts[ELSEWHERE] = 3
    two.write(random_id=host.boot_id()[:8] + ELSEWHERE + bytes(4), oom_kills_at_start=3)
    counts[HERE] = 6
    one.die()
    two.die()
    assert sorted(hows(store)) == [("oom", 1), ("unknown", 0)]


def test_who_dies_while_the_counts_are_read_is_found_at_the_same_look(
    store, lost, counts, monkeypatch
):
    """Else the kill would be held against a process that was judged alive before it."""
    one, two = lost(2)
    one.die()
    counts[HERE] = 6

    def read(signature):
        if not two.died:
            two.died = True
            two.die()
            counts[HERE] = 7
        return counts[signature]

    two.died = False
    monkeypatch.setattr(cgroup, "kills_of", read)
    report = maintain.maintain_store(store)
    assert [death["how"] for death in report.died] == ["oom", "oom"]


def test_a_kill_that_was_counted_before_it_came_is_not_its_own(store, lost, counts):
    counts[HERE] = 9
    (one,) = lost(1)
    one.die()
    assert hows(store) == [("unknown", 0)]


def test_who_lives_when_kills_are_counted_is_not_taken_for_one_of_them(store, lost, counts):
    """The victim was no owner: a child of a service. One look meanwhile is enough."""
    one, two, other = lost(3)
    other.write(random_id=host.boot_id()[:8] + ELSEWHERE + bytes(4), oom_kills_at_start=0)
    counts[HERE] = 7
    maintain.maintain_store(store)
    assert [row.oom_kills_at_start for row in owners.read_owners(store)] == [7, 7, 0]
    one.die()
    assert hows(store) == [("unknown", 0)]
    maintain.maintain_store(store)
    counts[HERE] = 8
    two.die()
    assert hows(store) == [("unknown", 0), ("oom", 1)]
