"""Death records: how it died, what was in flight, stored once, believed only when whole."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from zlib import crc32

import pytest

from faultplane import schema
from faultplane.store import deaths, maintain, owners

FRAMES = b'  File "a.py", line 3 in f\n  File "b.py", line 7 in g\n'


def enter(one, slot=0, operation=b"charge", age_seconds=2.0, trace=b"\x11" * 16, parent=0):
    """An operation in flight, as a core leaves it."""
    base = schema.BREATH_INFLIGHT_OFFSET + slot * schema.INFLIGHT.size
    with memoryview(one.registration.breath) as view:
        schema.INFLIGHT.write(
            view,
            base,
            start_unix_nano=time.time_ns() - int(age_seconds * 1e9),
            thread_id=42,
            trace_id=trace,
            parent=parent,
            operation_bytes=len(operation),
            operation=operation,
        )
    one.registration.breath.store(base, slot + 1)


def crash(one, number=signal.SIGSEGV, frames=FRAMES, word=2):
    """What the handler of a fatal signal writes."""
    base = schema.BREATH_FATAL_OFFSET
    with memoryview(one.registration.breath) as view:
        schema.FATAL.write(
            view,
            base,
            signal=number,
            code=1,
            time_unix_nano=time.time_ns(),
            thread_id=43,
            address=0xDEAD,
            frames_bytes=len(frames),
        )
        start = base + schema.FATAL_HEAD_BYTES
        view[start : start + len(frames)] = frames
    one.registration.breath.store(base, word)


def gone(one):
    """Dead in a way that leaves nothing else to be found."""
    one.write(pid=0)
    return one.die()


def test_a_record_has_the_declared_fields(store, owner):
    death = deaths.describe(store, gone(owner()))
    assert next(iter(death)) == "incarnation"
    assert set(death) == set(deaths.FIELDS)
    json.dumps(death)


def test_a_signal_is_named_with_its_frames_thread_and_moment(store, owner):
    one = owner()
    crash(one)
    death = deaths.describe(store, gone(one))
    assert (death["how"], death["signal"], death["signal_name"]) == ("signal", 11, "SIGSEGV")
    assert death["summary"] == "killed by SIGSEGV"
    assert death["frames"] == ['File "a.py", line 3 in f', 'File "b.py", line 7 in g']
    assert (death["thread_id"], death["fault_address"]) == (43, 0xDEAD)
    assert death["time_is_exact"]
    assert death["time_unix_nano"] <= death["found_unix_nano"]


def test_a_signal_handler_that_was_cut_short_still_says_which_signal(store, owner):
    one = owner()
    crash(one, signal.SIGABRT, FRAMES[:-11], word=1)
    death = deaths.describe(store, gone(one))
    frames = ['File "a.py", line 3 in f', 'File "b.py", l']
    assert (death["signal_name"], death["frames"]) == ("SIGABRT", frames)


def test_a_number_that_is_no_signal_of_this_host_is_shown_as_it_is(store, owner):
    one = owner()
    crash(one, 999)
    assert deaths.describe(store, gone(one))["signal_name"] == "signal 999"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fatal Python error: Segmentation fault", "SIGSEGV"),
        ("Fatal Python error: Bus error", "SIGBUS"),
        ("Fatal Python error: Floating-point exception", "SIGFPE"),
        ("Fatal Python error: Illegal instruction", "SIGILL"),
        ("Fatal Python error: Aborted", "SIGABRT"),
        ("Something else", ""),
    ],
)
def test_the_text_of_faulthandler_is_understood(store, owner, text, name):
    one = owner()
    body = f'{text}\n\nCurrent thread 0x01 (most recent call first):\n  File "a.py", line 3 in f\n'
    start = schema.BREATH_FATAL_OFFSET + schema.FATAL_HEAD_BYTES
    with memoryview(one.registration.breath) as view:
        view[start : start + len(body)] = body.encode()
    death = deaths.describe(store, gone(one))
    assert death["signal_name"] == name
    assert death["how"] == ("signal" if name else "unknown")
    assert death["frames"] == ['File "a.py", line 3 in f']
    assert death["time_is_exact"] is bool(name)


def test_operations_in_flight_come_oldest_first_with_age_trace_and_parent(store, owner):
    one = owner()
    enter(one, 0, b"request", 5.0)
    enter(one, 3, b"charge", 2.0, trace=bytes(16), parent=1)
    death = deaths.describe(store, gone(one))
    first, second = death["in_flight"]
    assert (first["operation"], first["trace_id"], first["parent"]) == ("request", "11" * 16, -1)
    assert (second["operation"], second["trace_id"], second["parent"]) == ("charge", "", 0)
    assert (second["slot"], second["thread_id"]) == (3, 42)
    assert 5.0 <= first["age_seconds"] < 60
    assert death["in_flight_count"] == 2


def test_more_operations_than_are_listed_are_counted(store, owner):
    one = owner()
    for slot in range(100):
        enter(one, slot)
    death = deaths.describe(store, gone(one))
    assert (len(death["in_flight"]), death["in_flight_count"]) == (64, 100)


def test_without_a_word_or_signal_it_says_so(store, owner):
    death = deaths.describe(store, gone(owner()))
    assert death["how"] == "unknown"
    said = "left without a word, no signal seen (SIGKILL, unhandled SIGTERM, os._exit"
    assert death["summary"].startswith(said)
    assert not death["time_is_exact"]


def test_a_program_that_took_over_the_process_is_told_apart(store, owner):
    death = deaths.describe(store, owner().die())
    assert (death["how"], death["summary"]) == (
        "exec",
        "became another program (exec) without a word",
    )


def test_an_orderly_exit_says_when_and_with_what_code(store, owner):
    one = owner()
    owners.say_exited(store, one.registration, 1)
    row = gone(one)
    death = deaths.describe(store, row)
    assert (death["how"], death["summary"]) == ("exit", "left in order with exit code 1")
    assert death["time_is_exact"]
    assert death["time_unix_nano"] == row.end_unix_nano


def test_a_restarted_host_is_said(store, owner):
    one = owner()
    one.write(random_id=b"x" * 16)
    assert deaths.describe(store, gone(one))["summary"] == "the host was restarted"


@pytest.mark.parametrize("damage", ["missing", "short", "garbage", "another"])
def test_a_bad_breath_file_costs_what_was_in_it_only(store, owner, damage):
    one = owner()
    enter(one)
    row = gone(one)
    path = f"{store.path}/breath-0"
    if damage == "missing":
        os.unlink(path)
    elif damage == "short":
        os.truncate(path, 100)
    else:
        with open(path, "r+b") as file:
            file.seek(0 if damage == "garbage" else schema.BREATH.offset["incarnation"])
            file.write(struct.pack("<Q", 99))
    death = deaths.describe(store, row)
    assert (death["in_flight"], death["how"], death["service"]) == ([], "unknown", "svc")


# ------------------------------------------------------------------------------------ storing


def test_readers_compute_what_nobody_has_stored_and_maintainers_store_it_once(store, owner):
    one = owner()
    enter(one)
    gone(one)
    (computed,) = deaths.read_deaths(store)
    assert computed["stored"] is False
    assert deaths.read_deaths(store, compute_missing=False) == []
    assert not os.path.exists(f"{store.path}/deaths")
    report = maintain.maintain_store(store)
    (stored,) = deaths.read_deaths(store)
    assert stored["stored"] is True
    assert [death["incarnation"] for death in report.died] == [computed["incarnation"]]
    assert stored["in_flight"][0]["operation"] == computed["in_flight"][0]["operation"]
    assert maintain.maintain_store(store).died == []
    assert store.load("deaths_recorded") == 1
    assert deaths.recorded(store) == {1}


def test_an_orderly_exit_is_a_death_only_when_it_left_operations_behind(store, owner):
    quiet, busy = owner(), owner()
    enter(busy)
    for one in (quiet, busy):
        owners.say_exited(store, one.registration, 0)
        gone(one)
    assert [death["incarnation"] for death in deaths.read_deaths(store)] == [2]
    maintain.maintain_store(store)
    assert [death["incarnation"] for death in deaths.read_deaths(store)] == [2]
    assert owners.read_owners(store) == []


def test_living_owners_have_no_death(store, owner):
    owner()
    assert deaths.read_deaths(store) == []


def death(number, **more):
    return {"incarnation": number, "time_unix_nano": number, "oom_kills": number, **more}


def test_records_behind_a_torn_line_are_whole(store):
    deaths.append(store, death(1))
    with open(f"{store.path}/deaths", "ab") as file:
        file.write(b'0bad0bad {"incarnation":2,"time_unix')
    deaths.append(store, death(3))
    assert [found["incarnation"] for found in deaths.read_deaths(store)] == [1, 3]
    assert deaths.recorded(store) == {1, 3}


def test_lines_that_do_not_check_or_are_no_records_are_not_believed(store):
    deaths.append(store, death(1))
    lines = [b'{"incarnation":9}', b"[1]", b'{"incarnation":"x"}', b"{"]
    with open(f"{store.path}/deaths", "ab") as file:
        file.write(b'00000000 {"incarnation":8,"x":1}\n')
        file.writelines(b"%08x %s\n" % (crc32(line), line) for line in lines)
    assert [found["incarnation"] for found in deaths.read_deaths(store)] == [9, 1]


def test_the_file_is_bounded_and_one_old_one_is_kept(store):
    for number in range(1, 7):
        deaths.append(store, death(number, text="x" * 400_000))
    assert os.path.getsize(f"{store.path}/deaths") <= deaths.DEATHS_BYTES_MAX
    assert os.path.getsize(f"{store.path}/deaths-old") <= deaths.DEATHS_BYTES_MAX
    assert [found["incarnation"] for found in deaths.read_deaths(store)] == [3, 4, 5, 6]
    assert store.load("deaths_recorded") == 6


def test_a_record_that_does_not_fit_the_disk_leaves_the_file_as_it_was(store, monkeypatch):
    deaths.append(store, death(1))
    before = open_bytes(store)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(OSError, match="no room for a death record"):
        deaths.append(store, death(2))
    monkeypatch.undo()
    assert open_bytes(store) == before
    assert store.load("deaths_recorded") == 1


def open_bytes(store):
    with open(f"{store.path}/deaths", "rb") as file:
        return file.read()


def test_a_link_in_the_place_of_the_file_is_not_written_through(store, tmp_path):
    os.symlink(tmp_path / "target", f"{store.path}/deaths")
    with pytest.raises(OSError):
        deaths.append(store, death(1))
    assert not (tmp_path / "target").exists()
    assert deaths.read_deaths(store) == []
