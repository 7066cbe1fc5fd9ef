"""``faultplane run`` and hooks around programs that use multiprocessing, by every start method."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from launching import same


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_are_recorded(
    method: str, launch: Any, script: Any, recorded: Any
) -> None:
    path = script(
        f"""
        import logging, multiprocessing
        def work():
            try:
                raise KeyError("x")
            except KeyError:
                logging.exception("in a child")
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            child = context.Process(target=work)
            child.start()
            child.join()
            assert child.exitcode == 0
        """
    )
    done = launch(path)
    assert done.returncode == 0, done.stderr
    assert "ERROR:root:in a child" in done.stderr
    assert recorded() == {("shop", "root", "KeyError"): 1}


ENDING = """
import multiprocessing, sys
HOOKS
def fail():
    TARGET
    raise KeyError("target")
def leave(code):
    sys.exit(code)
def seen():
    import faultplane
    try:
        raise TypeError
    except TypeError as error:
        faultplane.record(error, "seen")
        raise
class Worker(multiprocessing.get_context(METHOD).Process):
    def run(self):
        raise ValueError("overridden")
if __name__ == "__main__":
    def end(child):
        child.start()
        child.join()
        print(child.exitcode, flush=True)
    start = multiprocessing.get_context(METHOD).Process
    try:
        raise OSError
    except OSError:
        end(start(target=fail))  # a forked child inherits what its parent handles
        end(start(target=print, args=("fine",)))
    end(Worker())
    end(start(target=leave, args=(3,)))
    end(start(target=seen))
"""
ENDED = {("", "KeyError"): 1, ("", "ValueError"): 1, ("seen", "TypeError"): 1}


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_what_ends_a_process_of_multiprocessing_is_recorded_and_printed_as_before(
    method: str, launch: Any, script: Any, recorded: Any
) -> None:
    code = ENDING.replace("METHOD", repr(method)).replace("HOOKS", "").replace("TARGET", "")
    path = script(code)
    done = launch(sys.executable, path)
    assert same(done, launch(sys.executable, path, plain=True))
    assert done.stdout.split() == ["1", "fine", "0", "1", "3", "1"], done.stderr
    assert done.stderr.count("Process ") == 3
    assert "KeyError: 'target'" in done.stderr
    assert {key[1:]: count for key, count in recorded().items()} == ENDED


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("where", ["HOOKS", "TARGET"])
def test_hooks_of_the_programs_own_see_what_ends_its_processes(
    where: str, method: str, launch: Any, script: Any, recorded: Any
) -> None:
    code = ENDING.replace("METHOD", repr(method))
    code = code.replace(where, "import faultplane as fp; fp.init(); fp.install_hooks()")
    path = script(code.replace("HOOKS", "").replace("TARGET", ""))
    done = launch(sys.executable, path, plain=True)
    assert done.stdout.split() == ["1", "fine", "0", "1", "3", "1"], done.stderr
    found = {key[1:]: count for key, count in recorded().items()}
    assert found == (ENDED if where == "HOOKS" else {("", "KeyError"): 1})
