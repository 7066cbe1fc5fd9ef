"""Users stand in records as keyed hashes: only where a key was given, and each with their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

KEY = "a key of sixteen or more bytes"

PROGRAM = """
import asyncio, contextvars, json, os, threading
from hashlib import blake2b
import faultplane as fp
domain = fp.init(service="test")

def hashed(text, key=os.environ.get("FAULTPLANE_USER_KEY", "")):
    told = blake2b(text.encode(), key=key.encode(), digest_size=8, person=b"faultplane").digest()
    return int.from_bytes(told, "little")

def fail(handled=True):
    try:
        raise ValueError("broken")
    except ValueError as error:
        fp.record(error, handled=handled)

def say(*users):
    rows = domain.records().to_pyarrow()["user"].to_pylist()
    names = {hashed(user): user for user in users} | {0: None}
    print(json.dumps([names.get(row, "unknown") for row in rows]))
"""


@pytest.fixture
def told(run_python: Any, core_name: str) -> Callable[..., list[Any]]:
    """Function: whose the records of a program are, by the names that it knows."""

    def run(code: str, key: str | None = KEY) -> list[Any]:
        done = run_python(PROGRAM + code, core=core_name, FAULTPLANE_USER_KEY=key)
        return json.loads(done.stdout)

    return run


def test_records_have_the_keyed_hash_of_the_user_who_was_set(told):
    assert told("""
fail()
fp.set_user("alice"); fail()
fp.set_user(42); fail()
fp.set_user(None); fail()
say("alice", "42")
""") == [None, "alice", "42", None]  # fmt: skip


def test_without_a_key_nothing_is_kept(told):
    assert told('fp.set_user("alice"); fail(); print("[]" if not any(domain.records()'
                '.to_pyarrow()["user"].to_pylist()) else "kept")', key=None) == []  # fmt: skip


def test_a_key_that_is_too_short_keeps_nothing_and_is_not_told(run_python, core_name):
    done = run_python(
        PROGRAM + 'fp.set_user("a"); fail(); from faultplane import settings; '
        "print(json.dumps([domain.records().to_pyarrow()['user'].to_pylist(),"
        " settings.load().problems]))",
        core=core_name,
        FAULTPLANE_USER_KEY="fifteen bytes..",
    )
    users, problems = json.loads(done.stdout)
    assert users == [0]
    assert problems == ["FAULTPLANE_USER_KEY must be 16 to 64 bytes, got 15; using none"]


def test_another_key_gives_another_hash(told):
    assert told('fp.set_user("alice"); fail(); say("alice")', key=KEY[::-1]) == ["alice"]
    assert told('fp.set_user("alice"); fail(); print(json.dumps(hashed("alice", "x" * 16) in '
                'domain.records().to_pyarrow()["user"].to_pylist()))') is False  # fmt: skip


def test_a_user_is_that_of_the_outermost_block_and_of_all_that_works_for_it(told):
    assert told("""
def request(user):
    with fp.capture("request"):
        def sign_in():
            with fp.capture("inner"):
                fp.set_user(user)
        # A thread of a pool runs in a copy of the request's context, as frameworks see to.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(sign_in,))
        thread.start()
        thread.join()
        fail()
request("alice")
fail()
with fp.capture("request"):
    fail()
request("bob")
say("alice", "bob")
""") == ["alice", None, None, "bob"]  # fmt: skip


@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_decorated_function_is_a_block_of_its_own(told, form):
    call = "asyncio.run(task())" if form == "async" else "task()"
    prefix = "async " if form == "async" else ""
    assert told(f"""
@fp.capture("task")
{prefix}def task():
    fail()
    fp.set_user("alice")
    fail()
    raise KeyError
for _ in range(2):
    try:
        {call}
    except KeyError:
        pass
fp.set_user("bob"); fail()
try:
    {call}
except KeyError:
    pass
fail()
say("alice", "bob")
""") == [
        *(None, "alice", "alice", None),
        *("alice", "alice", "bob"),
        *("bob", "alice", "alice", "bob"),
    ]


def test_requests_that_run_at_once_keep_their_users_apart(told):
    assert told("""
async def request(user):
    with fp.capture("request"):
        fp.set_user(user)
        for _ in range(5):
            await asyncio.sleep(0)
            fail()
async def main():
    await asyncio.gather(*(request(user) for user in ("alice", "bob")))
asyncio.run(main())
say("alice", "bob")
""") == ["alice", "bob"] * 5  # fmt: skip


def test_who_is_suggested_counts_only_where_nobody_was_set(told):
    assert told("""
def suggested(user, before=None):
    block = fp.capture("request").enter()
    fp.set_user(before)
    block.leave(ValueError("x"), user=user)
suggested(lambda: "alice")
suggested(lambda: "alice", "bob")
suggested(lambda: None)
suggested(lambda: 1 / 0)
suggested(lambda: 1.5)
fail()
say("alice", "bob")
""") == ["alice", "bob", None, None, None, None]  # fmt: skip


def test_a_block_that_is_entered_again_keeps_the_user_of_around_it(told):
    assert told("""
block = fp.capture("again")
fp.set_user("alice")
with block:
    fp.set_user("bob")
    with block:
        fail()
    fail()
fail()
say("alice", "bob")
""") == ["bob", "bob", "alice"]  # fmt: skip


@pytest.mark.parametrize("user", [1.5, True, b"alice", object()])
def test_what_is_no_user_is_refused_with_and_without_a_key(user):
    import faultplane as fp

    with pytest.raises(TypeError, match="user must be a str, an int or None, got "):
        fp.set_user(user)


@pytest.mark.parametrize("user", ["é" * 513, 10**1025, -(10**1024)])
def test_a_user_of_too_many_bytes_is_refused(user):
    import faultplane as fp

    with pytest.raises(ValueError, match="user must have at most 1024 bytes, got "):
        fp.set_user(user)


def test_a_forked_child_keeps_the_user_of_the_request(told):
    assert told("""
with fp.capture("request"):
    fp.set_user("alice")
    pid = os.fork()
    if not pid:
        fail()
        os._exit(0)
    os.waitpid(pid, 0)
    fail()
say("alice")
""") == ["alice", "alice"]  # fmt: skip


def test_a_block_that_ends_in_another_thread_leaves_no_user_to_what_comes_next(told):
    """As a body may that a server closes in another thread than it was begun in."""
    assert told("""
def request(user):
    with fp.capture("request", reraise=False):
        if user is not None:
            fp.set_user(user)
        raise ValueError("broken")
block = fp.capture("streamed").enter()
fp.set_user("alice")
closing = threading.Thread(target=block.leave)
closing.start()
closing.join()
fail()
request("bob")
request(None)
fail()
say("alice", "bob")
""") == [None, "bob", None, None]  # fmt: skip


def test_blocks_without_a_slot_share_the_user_of_the_outermost_too(told):
    """More in flight than can be shown: 256 slots, two for each request."""
    assert told("""
async def request(number):
    with fp.capture("request", reraise=False):
        with fp.capture("sign in"):
            await asyncio.sleep(0)
            fp.set_user(number)
        await all_in.wait()
        raise ValueError("broken")
async def main():
    global all_in
    all_in = asyncio.Barrier(300)
    await asyncio.gather(*(request(number) for number in range(300)))
asyncio.run(main())
users = domain.records().to_pyarrow()["user"].to_pylist()
print(json.dumps([len(set(users)), 0 in users]))
""") == [300, False]  # fmt: skip


def test_a_task_that_outlives_its_request_keeps_the_user(told):
    assert told("""
async def later():
    await gone.wait()
    fail()
    with fp.capture("later", reraise=False):
        raise ValueError("broken")
async def main():
    global gone
    gone = asyncio.Event()
    with fp.capture("request"):
        fp.set_user("alice")
        task = asyncio.create_task(later())
    fail()
    gone.set()
    await task
asyncio.run(main())
say("alice")
""") == [None, "alice", "alice"]  # fmt: skip
