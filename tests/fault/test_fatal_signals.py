"""Processes die of real signals; what their fatal slot says is read from the bytes they left.

Each child joins a domain, arms the handler and dies in a function named ``deep``. The compiled
core's handler writes head and frames; the pure core has faulthandler write the frames alone.
"""

from __future__ import annotations

import signal

import pytest
from dying import (
    ARMED,
    COMPLETE,
    DIE,
    FAULTHANDLER_IN_USE,
    JOIN,
    PRELUDE,
    PRINTS_FRAMES,
    WAYS,
    names,
)

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("way", WAYS)
def test_a_fatal_signal_leaves_its_slot_complete(die, compiled, way):
    code, number = WAYS[way]
    death = die(ARMED + DIE.format(way=code))
    assert death.status == -number
    head = death.fatal()
    assert (head["word"], head["signal"]) == (COMPLETE, number)
    assert death.span[0] <= head["time_unix_nano"] <= death.span[1]
    assert head["thread_id"] == death.said[0]["thread"]
    from_kernel = head["code"] > 0
    assert from_kernel == (not way.startswith("sent") and way not in ("abort", "raised"))
    assert from_kernel or head["address"] == 0
    assert names(death.frames())[-3:] == ["deep", "work", "<module>"]
    assert all(line.startswith('File "') for line in death.frames())


@pytest.mark.parametrize("way", WAYS)
def test_the_exit_status_is_that_of_a_process_without_a_handler(die, way):
    code, number = WAYS[way]
    assert die(JOIN + DIE.format(way=code)).status == die(ARMED + DIE.format(way=code)).status
    assert die(PRELUDE + "core.install_fatal_handler()\n" + code).status == -number


def test_without_the_handler_the_slot_stays_empty(die):
    """Negative control."""
    death = die(JOIN + DIE.format(way="os.abort()"))
    assert death.fatal()["word"] == 0
    assert death.frames() == []


def test_the_thread_that_failed_is_the_one_shown(die, compiled):
    code = """
def deep():
    say()
    ctypes.string_at(0)

thread = threading.Thread(target=deep)
thread.start()
thread.join()
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE
    assert death.fatal()["thread_id"] == death.said[0]["thread"] != death.said[0]["pid"]
    assert names(death.frames())[1:3] == ["deep", "run"]


def test_threads_that_fail_at_once_leave_one_complete_slot(die, compiled):
    code = """
barrier = threading.Barrier(4)

def deep():
    barrier.wait()
    ctypes.CDLL(None).strlen(ctypes.c_void_p(8))

say()
threads = [threading.Thread(target=deep) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGSEGV
    assert (death.fatal()["word"], death.fatal()["address"]) == (COMPLETE, 8)


@pytest.mark.parametrize("use", FAULTHANDLER_IN_USE)
def test_faulthandler_enabled_later_keeps_working(die, compiled, use):
    death = die(ARMED + use + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, signal.SIGSEGV)
    assert "Fatal Python error: Segmentation fault" in death.stderr
    assert death.stderr.count("Fatal Python error") == 1
    assert "in deep" in death.stderr
    if PRINTS_FRAMES:
        assert "deep" in names(death.frames())


def test_faulthandler_enabled_before_keeps_working(die, compiled):
    code = JOIN + "faulthandler.enable()\ncore.install_fatal_handler()\n"
    death = die(code + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE
    assert "in deep" in death.stderr
    if PRINTS_FRAMES:
        assert "deep" in names(death.frames())


@pytest.mark.parametrize(
    "use",
    [
        "faulthandler.enable(); faulthandler.disable()",
        "faulthandler.enable(); core.rearm_fatal_handler(); faulthandler.disable()",
        "faulthandler.disable()",
    ],
)
def test_faulthandler_disabled_again_does_not_leave_a_process_that_cannot_die(die, compiled, use):
    death = die(ARMED + use + DIE.format(way="ctypes.string_at(0)"), timeout=30)
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE
    assert death.stderr == ""


def test_a_handler_that_was_there_is_called(die, compiled):
    code = """
signal.signal(signal.SIGFPE, lambda *_: say(heard="SIGFPE"))
core.install_fatal_handler()
send(signal.SIGFPE)
say(alive=True)
deep = lambda: ctypes.string_at(0)
deep()
"""
    death = die(JOIN + code)
    assert [said.get("heard", said.get("alive")) for said in death.said] == ["SIGFPE", True]
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["signal"] == signal.SIGSEGV


def test_a_signal_that_was_survived_is_withdrawn(die, compiled):
    code = """
signal.signal(signal.SIGFPE, lambda *_: None)
core.rearm_fatal_handler()
send(signal.SIGFPE)
say()
send(signal.SIGKILL)
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGKILL
    assert death.fatal()["word"] == 0
    assert death.frames() == []


def test_a_worker_that_hangs_when_asked_to_abort_leaves_its_frames(die, compiled):
    """As gunicorn does it: SIGABRT, which Python answers too late, and then SIGKILL."""
    code = """
signal.signal(signal.SIGABRT, lambda *_: None)
core.rearm_fatal_handler()
say()

def deep():
    send(signal.SIGABRT)
    send(signal.SIGKILL)

deep()
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGKILL
    head = death.fatal()
    assert (head["word"], head["signal"], head["code"]) == (COMPLETE, signal.SIGABRT, 0)
    if PRINTS_FRAMES:
        assert "deep" in names(death.frames())


def test_a_later_signal_overwrites_an_abort_that_was_survived(die, compiled):
    code = """
signal.signal(signal.SIGABRT, lambda *_: None)
core.rearm_fatal_handler()
say()
send(signal.SIGABRT)
ctypes.string_at(0)
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGSEGV
    assert (death.fatal()["word"], death.fatal()["signal"]) == (COMPLETE, signal.SIGSEGV)


def test_an_ignored_signal_stays_ignored(die, compiled):
    code = """
signal.signal(signal.SIGFPE, signal.SIG_IGN)
core.rearm_fatal_handler()
send(signal.SIGFPE)
say()
"""
    death = die(ARMED + code)
    assert death.status == 0
    assert death.fatal()["word"] == 0


FORKED = """
say()
child = {fork}
if child == 0:
    ctypes.string_at(0)
_, status = os.waitpid(child, 0)
say(child=child, status=os.waitstatus_to_exitcode(status))
os._exit(0)
"""


def test_a_forked_child_writes_into_its_own_slot(die, compiled):
    death = die(ARMED + FORKED.format(fork="os.fork()"))
    child = death.said[1]["child"]
    assert (death.status, death.said[1]["status"]) == (0, -signal.SIGSEGV)
    assert death.fatal(child)["word"] == COMPLETE
    assert death.fatal(child)["thread_id"] == child
    assert death.fatal()["word"] == 0


def test_a_child_that_no_fork_handler_saw_leaves_its_parents_slot_alone(die, compiled):
    death = die(ARMED + FORKED.format(fork="ctypes.CDLL(None).fork()"))
    assert (death.status, death.said[1]["status"]) == (0, -signal.SIGSEGV)
    assert death.fatal()["word"] == 0


def test_a_stack_overflow_is_told_on_a_stack_of_its_own(die, compiled):
    code = """
say()
sys.setrecursionlimit(10**9)

def deep():
    return sorted([1], key=lambda _: deep())

deep()
"""
    death = die(ARMED + code)
    if "RecursionError" in death.stderr:  # CPython 3.12 and later count their own calls in C
        pytest.skip("this interpreter bounds its own use of the stack")
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE
    if PRINTS_FRAMES:
        assert names(death.frames())[0] in ("deep", "<lambda>")


def test_a_process_without_descriptors_leaves_its_slot_complete(die, compiled):
    code = """
import resource
say()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
ctypes.string_at(0)
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == COMPLETE


@pytest.mark.parametrize("closed", ["os.closerange(3, 1024)", "for fd in range(3): os.close(fd)"])
def test_closed_descriptors_are_not_written_to(die, tmp_domain_dir, closed):
    """An application that becomes a daemon closes them all, and opens its own in their place."""
    code = f"""
say()
{closed}
names = [os.path.join(os.environ["FAULTPLANE_DIR"], f"mine-{{n}}") for n in range(40)]
mine = [os.open(name, os.O_RDWR | os.O_CREAT) for name in names]
ctypes.string_at(0)
"""
    death = die(ARMED + code)
    assert death.status == -signal.SIGSEGV
    assert {path.stat().st_size for path in tmp_domain_dir.glob("mine-*")} == {0}


def test_a_process_that_has_no_domain_dies_as_ever(die, tmp_domain_dir):
    death = die(PRELUDE + "core.install_fatal_handler()\nctypes.string_at(0)\n")
    assert death.status == -signal.SIGSEGV
    assert death.files == {}


def test_the_handler_may_come_before_the_domain(die):
    code = PRELUDE + 'core.install_fatal_handler()\nfp.init(service="fatal")\n'
    death = die(code + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert "deep" in names(death.frames()) or not PRINTS_FRAMES


def test_the_death_record_names_signal_and_frames(die, deaths):
    death = die(ARMED + DIE.format(way="ctypes.string_at(0)"))
    (found,) = deaths()
    assert found["pid"] == death.said[0]["pid"]
    assert (found["how"], found["signal_name"]) == ("signal", "SIGSEGV")
    assert any("in deep" in frame for frame in found["frames"])
    assert [entry["operation"] for entry in found["in_flight"]] == ["charge"]


# ---------------------------------------------------------------------------- the pure core


def test_the_pure_core_leaves_frames_and_no_head(die, pure):
    death = die(ARMED + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert death.fatal()["word"] == 0
    assert death.frames()[0] == "Fatal Python error: Segmentation fault"
    assert "deep" in names(death.frames())
    assert death.stderr == ""


def test_the_pure_core_leaves_an_application_its_faulthandler(die, pure):
    code = JOIN + "faulthandler.enable()\ncore.install_fatal_handler()\n"
    death = die(code + DIE.format(way="ctypes.string_at(0)"))
    assert death.status == -signal.SIGSEGV
    assert death.frames() == []
    assert "in deep" in death.stderr


def test_the_pure_core_gives_a_forked_child_its_own_file(die, pure):
    death = die(ARMED + FORKED.format(fork="os.fork()"))
    child = death.said[1]["child"]
    assert death.said[1]["status"] == -signal.SIGSEGV
    assert death.frames(child)[0] == "Fatal Python error: Segmentation fault"
    assert death.frames() == []


def test_the_pure_core_writes_nowhere_once_it_left(die, pure):
    death = die(ARMED + "say()\ncore.unbind()\nctypes.string_at(0)\n")
    assert death.status == -signal.SIGSEGV
    assert death.frames() == []
