"""One rate limit for all processes of the host, to the token, also where some are killed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.fault

PROGRAM = """
import json, multiprocessing, os, random, signal, sys, time
import faultplane as fp

RATE, BURST, SECONDS, PROCESSES = 400.0, 20.0, 1.5, 8
kill, bound = sys.argv[1] == "kill", sys.argv[2] == "bound"
fp.init(service="shop")
pay = fp.Dependency("pay", rate=fp.RateLimit(RATE, burst=BURST) if bound else None)
context = multiprocessing.get_context("fork")
made = context.RawArray("Q", PROCESSES)
ready, begins = context.Semaphore(0), context.Event()


def work(index):
    def call():
        made[index] += 1

    ready.release()
    begins.wait()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            pay.call(call)
        except fp.errors.RateLimited:
            time.sleep(random.random() / 500)


processes = [context.Process(target=work, args=(n,)) for n in range(PROCESSES)]
for process in processes:
    process.start()
for _ in processes:
    ready.acquire()
begun = time.monotonic()
begins.set()
if kill:
    for process in processes[::2]:
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
for process in processes:
    process.join()
seconds = time.monotonic() - begun
(row,) = fp.attach("default").dependencies_rows()
calls = sum(made)
print(json.dumps({
    "calls": calls, "seconds": seconds, "most": BURST + RATE * seconds, "rows": row,
    "busy": [count > 0 for count in made],
}))
"""


@pytest.mark.parametrize("how", ["live", "kill"])
def test_processes_together_make_as_many_calls_as_may_be(run_python, core_name, how):
    done = run_python(PROGRAM, how, "bound", core=core_name, timeout=110)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["calls"] <= found["most"]
    # The bucket is asked again and again: nearly all of it goes out.
    assert found["calls"] > 0.8 * 400 * 1.5
    assert found["rows"]["rate_limited"] > 0
    assert sum(found["busy"]) > 1


def test_without_a_limit_they_make_more(run_python, core_name):
    """Negative control: else the bound would say nothing."""
    done = run_python(PROGRAM, "live", "free", core=core_name, timeout=110)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["calls"] > 2 * found["most"]
