"""Hooks, each in a process of its own: what they record, and that what was there still runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

PRELUDE = """
import json, sys
import faultplane as fp
from faultplane import schema
from faultplane._backend import core
from faultplane.store import aggregate

def counted():
    found = {}
    for series, tally in aggregate.parse(core.own_cells(), "own").tallies.items():
        if series.series == schema.SERIES_ERROR and tally.count:
            key = series.operation.decode() + "/" + series.name.decode()
            found[key] = found.get(key, 0) + tally.count
    return found

def tell():
    print("counted", json.dumps(counted()))
"""

Run = Callable[..., tuple[dict[str, int], Any]]


@pytest.fixture
def run(run_python: Any) -> Run:
    """Function: run code after the prelude; (what ``tell()`` printed last, the process)."""

    def run(code: str, check: bool = True, flags: tuple[str, ...] = ()) -> Any:
        done = run_python(PRELUDE + code, check=check, flags=flags)
        lines = [line for line in done.stdout.splitlines() if line.startswith("counted ")]
        return (json.loads(lines[-1].removeprefix("counted ")) if lines else {}), done

    return run


# ---------------------------------------------------------------------------------- installing


def test_nothing_is_hooked_before_it_is_asked_for(run: Run) -> None:
    run("""
import threading
assert sys.excepthook is sys.__excepthook__
assert sys.unraisablehook is sys.__unraisablehook__
assert threading.excepthook is threading.__excepthook__
assert fp.installed_hooks() == ()
""")


def test_hooks_follow_the_arguments_then_the_environment_then_the_default(run_python: Any) -> None:
    code = "import faultplane as fp; print(*fp.install_hooks(**eval(input())))"

    def installed(arguments: str, **variables: str) -> str:
        return str(run_python(code, stdin=arguments, **variables).stdout.strip())

    assert installed("{}") == "excepthook threading multiprocessing unraisable asyncio fatal"
    assert installed("{'logging': True, 'multiprocessing': False}") == (
        "excepthook threading unraisable asyncio logging fatal"
    )
    assert installed("{'fatal': False, 'asyncio': False}") == (
        "excepthook threading multiprocessing unraisable"
    )
    assert installed("{}", FAULTPLANE_HOOKS="logging") == "logging"
    assert installed("{}", FAULTPLANE_HOOKS="none") == ""
    assert installed("{'asyncio': True}", FAULTPLANE_HOOKS="none") == "asyncio"


def test_a_hook_is_asked_for_by_name_only(run_python: Any) -> None:
    done = run_python("import faultplane; faultplane.install_hooks('logging')", check=False)
    assert "TypeError: install_hooks() takes 0 positional arguments but 1 was given" in done.stderr


def test_installing_twice_is_installing_once(run: Run) -> None:
    run("""
fp.install_hooks()
first = sys.excepthook
assert fp.install_hooks(logging=True) == fp.installed_hooks()
assert sys.excepthook is first
assert "logging" in fp.installed_hooks()
""")


def test_installing_imports_none_of_the_modules_it_waits_for(run: Run) -> None:
    run("""
before = set(sys.modules)
fp.install_hooks(logging=True)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not new & {"asyncio", "logging", "multiprocessing", "uvloop"}, new
""")


def test_uninstalling_restores_what_was_there(run: Run) -> None:
    run("""
import asyncio.base_events, logging, multiprocessing.util as util, signal, threading

def state():
    return (
        list(util._finalizer_registry), list(util._afterfork_registry),
        sys.excepthook, sys.unraisablehook, threading.excepthook, signal.signal,
        signal.raise_signal, logging.getLogRecordFactory(),
        asyncio.base_events.BaseEventLoop.call_exception_handler,
    )

before = state()
fp.install_hooks(logging=True)
assert all(now is not then for now, then in zip(state(), before))
fp.uninstall_hooks()
assert state() == before
assert fp.installed_hooks() == ()
fp.uninstall_hooks()
""")


def test_uninstalling_what_is_still_awaited_forgets_it(run: Run) -> None:
    run("""
before = list(sys.meta_path)
fp.install_hooks(logging=True)
assert sys.meta_path != before
fp.uninstall_hooks()
assert sys.meta_path == before
import asyncio.base_events
assert asyncio.base_events.BaseEventLoop.call_exception_handler.__module__ == "asyncio.base_events"
""")


def test_a_hook_that_was_wrapped_since_passes_on_after_uninstalling(run: Run) -> None:
    counted, done = run(
        """
fp.install_hooks()
ours = sys.excepthook
def theirs(*args):
    print("theirs")
    ours(*args)
    tell()
sys.excepthook = theirs
fp.uninstall_hooks()
assert sys.excepthook is theirs
raise KeyError("x")
""",
        check=False,
    )
    assert "theirs" in done.stdout
    assert "KeyError: 'x'" in done.stderr
    assert counted == {}


# ---------------------------------------------------------------------------------- excepthook


def test_what_ends_the_main_thread_is_recorded_and_printed_as_before(
    run: Run, run_python: Any
) -> None:
    code = """
import atexit
atexit.register(tell)
def work():
    raise KeyError("x")
work()
"""
    counted, done = run("fp.install_hooks()" + code, check=False)
    _, plain = run("pass" + code, check=False)
    assert counted == {"/KeyError": 1}
    assert done.returncode == plain.returncode == 1
    assert done.stderr == plain.stderr
    assert "KeyError: 'x'" in done.stderr


def test_the_hook_that_was_there_is_called_with_the_same_arguments(run: Run) -> None:
    counted, done = run(
        """
def before(*args):
    print("before", args[0].__name__, args[1], args[2].tb_lineno == args[1].__traceback__.tb_lineno)
    tell()
sys.excepthook = before
fp.install_hooks()
raise ValueError("x")
""",
        check=False,
    )
    assert "before ValueError x True" in done.stdout
    assert counted == {"/ValueError": 1}
    assert done.stderr == ""


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise KeyboardInterrupt"])
def test_leaving_on_purpose_is_not_recorded(run: Run, ending: str) -> None:
    counted, done = run(f"import atexit\natexit.register(tell)\nfp.install_hooks()\n{ending}\n",
                        check=False)  # fmt: skip
    assert done.returncode != 0
    assert counted == {}


def test_what_was_recorded_is_not_recorded_again_by_a_hook(run: Run) -> None:
    counted, _ = run(
        """
import atexit
atexit.register(tell)
fp.install_hooks()
try:
    raise KeyError("x")
except KeyError as error:
    fp.record(error, operation="by hand")
    raise
""",
        check=False,
    )
    assert counted == {"by hand/KeyError": 1}


# ----------------------------------------------------------------------- threads and unraisables


def test_what_ends_a_thread_is_recorded_whenever_threading_was_imported(run: Run) -> None:
    code = """
def work():
    raise KeyError("x")
thread = threading.Thread(target=work)
thread.start()
thread.join()
tell()
"""
    for start in (
        "import threading\nfp.install_hooks()\n",
        "fp.install_hooks()\nimport threading\n",
    ):
        counted, done = run(start + code)
        assert counted == {"/KeyError": 1}
        assert "Exception in thread" in done.stderr


def test_the_hook_of_threads_that_was_there_is_called(run: Run) -> None:
    counted, done = run("""
import threading
def before(args):
    print("before", args.exc_type.__name__, args.thread.name)
threading.excepthook = before
fp.install_hooks()
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
thread = threading.Thread(target=sys.exit)
thread.start()
thread.join()
tell()
""")
    assert "before ZeroDivisionError worker" in done.stdout
    assert counted == {"/ZeroDivisionError": 1}


def test_what_cannot_be_raised_is_recorded(run: Run) -> None:
    counted, done = run("""
import _thread, time
class Bad:
    def __del__(self):
        raise KeyError("x")
fp.install_hooks()
Bad()
tell()
""")
    assert counted == {"/KeyError": 1}
    assert "Exception ignored in" in done.stderr


# --------------------------------------------------------------------------------------- asyncio

TASKS = """
import asyncio, gc

async def fails():
    raise KeyError("x")

async def main():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    await asyncio.sleep(0)
"""
FOUND = {"/KeyError": 1, "/ZeroDivisionError": 1}


def test_what_nobody_awaits_is_recorded_in_loops_of_later(run: Run) -> None:
    counted, done = run("fp.install_hooks()\n" + TASKS + "asyncio.run(main())\ntell()\n")
    assert counted == FOUND
    assert "Task exception was never retrieved" in done.stderr


def test_a_running_loop_is_covered(run: Run) -> None:
    counted, _ = run(TASKS + """
async def outer():
    fp.install_hooks()
    await main()
asyncio.run(outer())
tell()
""")  # fmt: skip
    assert counted == FOUND


def test_a_handler_of_the_applications_own_still_runs(run: Run) -> None:
    counted, done = run("fp.install_hooks()\n" + TASKS + """
async def outer():
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: print("own", type(context.get("exception")).__name__)
    )
    await main()
asyncio.run(outer())
tell()
""")  # fmt: skip
    assert counted == FOUND
    assert "own KeyError" in done.stdout
    assert done.stderr == ""


def test_a_silenced_logger_hides_nothing(run: Run) -> None:
    counted, done = run("fp.install_hooks()\n" + TASKS + """
import logging
logging.getLogger("asyncio").disabled = True
asyncio.run(main())
tell()
""")  # fmt: skip
    assert counted == FOUND
    assert done.stderr == ""


@pytest.mark.parametrize(
    "order", ["import uvloop; fp.install_hooks()", "fp.install_hooks(); import uvloop"]
)
def test_uvloop_is_covered(run: Run, order: str) -> None:
    pytest.importorskip("uvloop")
    counted, done = run(f"""
{order}
{TASKS}
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
tell()
""")
    assert counted == FOUND
    assert "Task exception was never retrieved" in done.stderr


def test_a_cancelled_task_is_not_recorded(run: Run) -> None:
    counted, _ = run("""
fp.install_hooks()
import asyncio
async def main():
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    task.cancel()
    asyncio.get_running_loop().call_exception_handler(
        {"message": "x", "exception": asyncio.CancelledError()}
    )
asyncio.run(main())
tell()
""")
    assert counted == {}


# --------------------------------------------------------------------------------------- logging

LOGGED = """
def work():
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("shop").exception("went wrong")
        logging.getLogger("shop").warning("again", exc_info=True)
"""


@pytest.mark.parametrize("order", ["import logging; fp.install_hooks(logging=True)",
                                   "fp.install_hooks(logging=True); import logging"])  # fmt: skip
def test_exceptions_in_the_log_are_recorded_once(run: Run, order: str) -> None:
    counted, done = run(order + LOGGED + "work()\ntell()\n")
    assert counted == {"shop/KeyError": 1}
    assert done.stderr.count("went wrong") == 1


def test_logging_is_configured_and_printed_as_without_us(run: Run) -> None:
    code = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
logging.getLogger("a").error("with %s", "text")
logging.error("root")
logging.getLogger("a.b").exception("none")
""" + LOGGED + "work()\n"  # fmt: skip
    _, hooked = run("fp.install_hooks(logging=True)\n" + code)
    _, plain = run("pass\n" + code)
    assert hooked.stderr == plain.stderr
    assert "went wrong" in hooked.stderr


def test_the_level_and_missing_exceptions_are_respected(run: Run) -> None:
    counted, _ = run("""
import logging
fp.install_hooks(logging=True)
logger = logging.getLogger("shop")
try:
    raise KeyError("x")
except KeyError:
    logger.warning("only a warning", exc_info=True)
    logging.makeLogRecord({"msg": "from a socket", "level": None})
logger.error("without")
logger.error("nothing handled", exc_info=True)
tell()
""")
    assert counted == {}


def test_a_handler_can_be_added_by_hand(run: Run) -> None:
    counted, _ = run("""
import logging
logger = logging.getLogger("shop")
logger.addHandler(fp.RecordingHandler())
other = logging.getLogger("other")
other.addHandler(fp.RecordingHandler(logging.DEBUG))
for name, level in (("shop", logging.WARNING), ("shop", logging.ERROR), ("other", logging.INFO)):
    logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        raise KeyError(level)
    except KeyError:
        logging.getLogger(name).log(level, "x", exc_info=True)
tell()
""")
    assert counted == {"shop/KeyError": 1, "other/KeyError": 1}


def test_logging_while_recording_does_not_loop(run: Run) -> None:
    counted, done = run("""
import logging
fp.install_hooks(logging=True)
logger = logging.getLogger("shop")
logger.propagate = False
logger.addHandler(fp.RecordingHandler())

class Chatty(Exception):
    asked = 0
    def __str__(self):
        Chatty.asked += 1
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("while being recorded")
        return "chatty"

try:
    raise Chatty
except Chatty:
    logger.error("x", exc_info=True)
print("asked", Chatty.asked)
tell()
""")
    assert counted == {"shop/__main__.Chatty": 1}
    assert "asked 1" in done.stdout


# ----------------------------------------------------------------------------------------- fatal


@pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")
def test_a_fatal_signal_still_kills_the_process_as_it_did(run: Run) -> None:
    import signal

    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE):
        _, done = run(
            f"fp.install_hooks()\nimport os\nos.kill(os.getpid(), {number:d})\n", check=False
        )
        assert done.returncode == -number


def test_a_handler_set_later_gets_its_signal(run: Run) -> None:
    _, done = run("""
fp.install_hooks()
import os, signal
before = signal.signal(signal.SIGABRT, lambda number, frame: print("own handler", number))
assert signal.signal(signal.SIGUSR1, signal.SIG_IGN) == signal.SIG_DFL
os.kill(os.getpid(), signal.SIGABRT)
signal.signal(signal.SIGABRT, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGABRT)
print("alive")
""")
    assert "own handler 6" in done.stdout
    assert "alive" in done.stdout


def test_signal_keeps_its_name_and_signature(run: Run) -> None:
    run("""
import inspect, signal
def told():
    both = signal.signal, signal.raise_signal
    return [(inspect.signature(function), function.__doc__) for function in both]
before = told()
fp.install_hooks()
assert told() == before
""")


ENDS = """
import signal, threading
import faultplane as fp
fp.init(service="shop", domain="ends")
fp.install_hooks({hooks})
{before}
signal.raise_signal(signal.SIGTERM)
"""
DEATHS = """
import faultplane as fp
with fp.attach("ends") as domain:
    print(*(row["summary"].partition(",")[0] for row in domain.deaths_rows()))
"""


@pytest.mark.parametrize(
    ("hooks", "before", "told"),
    [
        ("", "", ""),
        ("", "block = fp.capture('job').enter()", "left in order with exit code 143"),
        ("fatal=False", "", "left without a word"),
        ("", "fp.uninstall_hooks()", "left without a word"),
    ],
)
def test_a_process_that_raises_its_own_end_has_left_in_order(run_python, hooks, before, told):
    done = run_python(ENDS.format(hooks=hooks, before=before), check=False)
    assert done.returncode == -15, done.stderr
    assert run_python(DEATHS).stdout.strip() == told


def test_a_signal_that_ends_nothing_is_no_end(run_python):
    before = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.raise_signal(signal.SIGTERM)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
signal.signal(signal.SIGTERM, lambda *_: None)
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGURG)
import os
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_python(ENDS.format(hooks="", before=before), check=False).returncode == -9
    assert run_python(DEATHS).stdout.strip() == "left without a word"


def test_development_mode_has_nothing_to_complain_about(run: Run) -> None:
    _, done = run("fp.install_hooks(logging=True)\nimport asyncio, logging, signal, threading\n",
                  flags=("-X", "dev"))  # fmt: skip
    assert done.stderr == ""
