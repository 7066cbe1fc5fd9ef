"""Where a process may die, and who else handles it: in C, in malloc, on threads of all sorts.

``dying.c`` is compiled into a library that children call through ctypes.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dying import ARMED, COMPLETE, DIE, JOIN, PRELUDE, PRINTS_FRAMES, names

pytestmark = pytest.mark.fault

ROUNDS = int(os.environ.get("FATAL_ROUNDS") or 8)
SIGNALS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT")


@pytest.fixture
def c(library):
    """Code that loads ``dying.c`` as ``c``, for a child."""
    return f"c = ctypes.CDLL({str(library('dying', '-O0', '-w', '-pthread'))!r})\n"


PLACES = {
    "malloc finds its heap spoilt": ("c.corrupt_the_top_of_the_heap()", signal.SIGABRT),
    "free is called twice": ("c.free_twice()", signal.SIGABRT),
    "a thread of C": ("c.die_on_a_thread(signal.SIGSEGV, 1 << 20)", signal.SIGSEGV),
    "a thread of C that aborts": ("c.die_on_a_thread(signal.SIGABRT, 1 << 20)", signal.SIGABRT),
    "a thread of C with a tiny stack": ("c.die_on_a_thread(signal.SIGSEGV, 16384)", signal.SIGSEGV),
    "a thread of C, SIGFPE": ("c.die_on_a_thread(signal.SIGFPE, 16384)", signal.SIGFPE),
    "a stack overflow in C": ("c.overflow(0)", signal.SIGSEGV),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_death_outside_python_is_told(die, compiled, deaths, c, place):
    way, number = PLACES[place]
    death = die(ARMED + c + DIE.format(way=way), timeout=60)
    assert death.status == -number
    head = death.fatal()
    assert (head["word"], head["signal"]) == (COMPLETE, number)
    on_thread_of_c = "a thread of C" in place
    assert (head["thread_id"] != death.said[0]["thread"]) == on_thread_of_c
    if on_thread_of_c:
        assert death.frames() == []
    elif PRINTS_FRAMES:
        assert names(death.frames())[0] == "deep"
    (found,) = deaths()
    assert (found["how"], found["signal_name"]) == ("signal", signal.Signals(number).name)
    assert [entry["operation"] for entry in found["in_flight"]] == ["charge"]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_death_inside_malloc_is_told_every_time(die, compiled, deaths, rng, c, name):
    """Threads that do nothing but malloc() and free(), killed at a moment that nobody chose."""
    number = getattr(signal, name)
    code = f"""
say()
for rounds in {[rng.randrange(20_000) for _ in range(ROUNDS)]}:
    child = os.fork()
    if child == 0:
        core.enter("charge")
        c.die_in_malloc(signal.{name}, rounds)
    _, status = os.waitpid(child, 0)
    say(child=child, status=os.waitstatus_to_exitcode(status))
"""
    death = die(ARMED + c + code, timeout=100)
    assert [said["status"] for said in death.said[1:]] == [-number] * ROUNDS
    found = deaths()
    assert sorted(one["pid"] for one in found) == sorted(said["child"] for said in death.said[1:])
    for one in found:
        assert (one["how"], one["signal_name"], one["frames"]) == ("signal", name, [])
        assert [entry["operation"] for entry in one["in_flight"]] == ["charge"]


def test_a_death_inside_record_leaves_rows_and_slot_whole(die, compiled, deaths, run_python, rng):
    """The signal comes while rows are written, first sightings and new segments among them."""
    code = f"""
import random, time
sys.setswitchinterval(1e-4)
say()
for seed in {[rng.randrange(1 << 30) for _ in range(ROUNDS)]}:
    child = os.fork()
    if child == 0:
        def kill(chance=random.Random(seed)):
            time.sleep(chance.uniform(0, 0.05))  # the moment, whatever happens in it
            os.kill(os.getpid(), chance.choice([signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE]))
        threading.Thread(target=kill).start()
        while True:
            kind = type(f"Kind{{time.monotonic_ns() % 5000}}", (ValueError,), {{}})
            for _ in range(50):
                fp.record(kind("in the middle"), "charge")
    _, status = os.waitpid(child, 0)
    say(child=child, status=os.waitstatus_to_exitcode(status))
"""
    death = die(ARMED + code, timeout=100)
    found = {one["pid"]: one["signal_name"] for one in deaths()}
    for said in death.said[1:]:
        assert found[said["child"]] == signal.Signals(-said["status"]).name
    code = """
import collections, faultplane as fp
with fp.attach() as domain:
    rows = domain.records().to_pyarrow()
    rows.validate(full=True)
    assert set(rows["message"].to_pylist()) == {"in the middle"}
    seqs = collections.defaultdict(list)
    for owner, seq in zip(rows["owner"].to_pylist(), rows["seq"].to_pylist()):
        seqs[owner].append(seq)
    for found in seqs.values():
        assert sorted(found) == list(range(min(found), max(found) + 1))
    counted = sum(row["count"] for row in domain.counts_rows())
    print(counted >= sum(map(len, seqs.values())) > 0)
"""
    assert run_python(code, FAULTPLANE_BUDGET_BYTES=None).stdout == "True\n"


def test_of_two_threads_that_die_at_once_one_is_told_whole(die, compiled, deaths, c):
    code = """
say()
for _ in range(10):
    child = os.fork()
    if child == 0:
        c.die_twice(signal.SIGSEGV, signal.SIGABRT)
    _, status = os.waitpid(child, 0)
    say(child=child, status=os.waitstatus_to_exitcode(status))
"""
    death = die(ARMED + c + code, timeout=100)
    assert {said["status"] for said in death.said[1:]} <= {-signal.SIGSEGV, -signal.SIGABRT}
    found = deaths()
    assert len(found) == 10
    assert {one["signal_name"] for one in found} <= {"SIGSEGV", "SIGABRT"}


def test_a_stack_overflow_on_a_thread_that_captures_is_told(die, compiled, c):
    code = """
def deep():
    c.overflow(0)

def work():
    with fp.capture("charge"):
        say()
        deep()

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    death = die(ARMED + c + code)
    assert death.status == -signal.SIGSEGV
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, signal.SIGSEGV)
    assert death.fatal()["thread_id"] == death.said[0]["thread"]
    if PRINTS_FRAMES:
        assert "work" in names(death.frames())


def test_threads_give_their_stacks_back(die, compiled):
    code = """
def work():
    with fp.capture("charge"):
        pass

def mappings():
    with open("/proc/self/maps") as maps:
        return sum(1 for _ in maps)

seen = []
for _ in range(200):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    seen.append(mappings())
say(grown=seen[-1] - seen[20])
"""
    death = die(ARMED + code)
    assert death.status == 0
    assert death.said[0]["grown"] < 20


# ------------------------------------------------------------------------------------- others

BEFORE = "c.install_theirs({number}, {fails})\ncore.install_fatal_handler()\n"
AFTER = "core.install_fatal_handler()\nc.install_theirs({number}, {fails})\n"


@pytest.mark.parametrize("order", [BEFORE, AFTER], ids=["before", "after"])
@pytest.mark.parametrize("way", ["ctypes.string_at(0)", "os.abort()", "send(signal.SIGFPE)"])
def test_a_handler_in_c_runs_beside_ours(die, compiled, c, order, way):
    number = {"c": signal.SIGSEGV, "o": signal.SIGABRT, "s": signal.SIGFPE}[way[0]]
    install = order.format(number=int(number), fails=0)
    death = die(JOIN + c + install + DIE.format(way=way))
    assert death.status == -number
    assert death.stderr == "theirs\n"
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, number)


@pytest.mark.parametrize("order", [BEFORE, AFTER], ids=["before", "after"])
def test_a_handler_that_fails_itself_hides_no_death(die, compiled, c, order):
    install = order.format(number=int(signal.SIGABRT), fails=1)
    death = die(JOIN + c + install + DIE.format(way="os.abort()"), timeout=60)
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE
    assert death.stderr == "theirs\n"


@pytest.mark.parametrize(
    "use",
    [
        "faulthandler.enable(open('dump', 'w'))",
        "faulthandler.enable(open('dump', 'w'), all_threads=False)",
        "faulthandler.enable(open('dump', 'w')); faulthandler.register(signal.SIGUSR1, chain=True)",
        "faulthandler.enable(open('dump', 'w')); faulthandler.dump_traceback_later(600)",
    ],
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_faulthandler_writes_its_file_too(die, compiled, tmp_path, use, order):
    arm = "core.install_fatal_handler()\n"
    code = use + "\n" + arm if order == "before" else arm + use + "\n"
    change = f"os.chdir({str(tmp_path)!r})\n"
    death = die(JOIN + change + code + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, signal.SIGSEGV)
    dump = (tmp_path / "dump").read_text()
    assert dump.count("Fatal Python error: Segmentation fault") == 1
    assert "in deep" in dump


def test_a_worker_of_gunicorn_that_is_told_to_abort_calls_its_hook(die, compiled):
    """As gunicorn's workers do: a handler of Python that exits."""
    code = """
fp.install_hooks(fatal=True)
def abort(number, frame):
    say(hook=True)
    sys.exit(1)
signal.signal(signal.SIGABRT, abort)
core.enter("request")
say()
send(signal.SIGABRT)
"""
    death = die(ARMED + code)
    assert (death.status, death.said[1].get("hook")) == (1, True)
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, signal.SIGABRT)


# ------------------------------------------------------------------------------------- cores

DUMPED = {
    "segmentation fault": ("ctypes.string_at(0)", signal.SIGSEGV),
    "abort": ("os.abort()", signal.SIGABRT),
    "malloc": ("c.corrupt_the_top_of_the_heap()", signal.SIGABRT),
    "sent": ("send(signal.SIGBUS)", signal.SIGBUS),
}


@pytest.mark.parametrize("how", DUMPED)
def test_the_core_dump_is_that_of_a_process_without_a_handler(
    child_environment, core, core_name, tmp_path, c, how
):
    """The flag of waitpid(), and the file itself where the kernel puts it beside the process."""
    way, number = DUMPED[how]
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("the hard limit is 0, so this user may dump no core")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    found = []
    for arm in ("", "core.install_fatal_handler()\n"):
        where = tmp_path / ("armed" if arm else "plain")
        where.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", JOIN + c + arm + way],
            env=child_environment(core_name),
            cwd=where,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
        )
        _, status = os.waitpid(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        files = [path for path in where.iterdir() if path.read_bytes()[:4] == b"\x7fELF"]
        found.append((child.returncode, os.WCOREDUMP(status), len(files)))
        for path in files:
            path.unlink()
    assert found[0] == found[1]
    assert found[0][:2] == (-number, True)
    if not pattern.startswith("|") and "/" not in pattern:
        assert found[0][2] == 1


def test_without_a_limit_there_is_no_core(child_environment, core_name, tmp_path):
    """Negative control: the flag is that of the kernel."""
    child = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + "os.abort()"],
        env=child_environment(core_name),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    _, status = os.waitpid(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert not os.WCOREDUMP(status) and child.returncode == -signal.SIGABRT
