"""gRPC servers and task queues below ``faultplane run``: every error once, by its name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import LAUNCH, Processes, ended, unused_port

SERVICES = Path(__file__).parent / "services"
EACH = 20
START_SECONDS_MAX = 40
pytestmark = pytest.mark.slow


@pytest.fixture
def started(processes: Processes) -> Callable[..., subprocess.Popen[bytes]]:
    """Function: start a Python program below ``faultplane run``."""

    def start(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        environment = {**environment, "PROGRAM_PYTHONPATH": environment["PYTHONPATH"]}
        words = [sys.executable, "-c", LAUNCH, sys.executable, *words]
        with log.open("wb") as file:
            return processes.start(words, environment, stdout=file, stderr=file)

    return start


def counted(recorded: Any) -> dict[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for (_, operation, kind), count in recorded().items():
        found[operation, kind] += count
    return dict(found)


@pytest.mark.parametrize("way", ["sync", "aio"])
def test_what_a_grpc_method_raises_is_recorded_and_an_abort_is_not(
    way, started, environment, recorded, tmp_path
):
    grpc = pytest.importorskip("grpc")
    port = unused_port()
    log = tmp_path / "log"
    words = [f"{SERVICES}/grpc_service.py", str(port), way]
    server = started(words, environment(SERVICES), log)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(START_SECONDS_MAX)
        one = channel.unary_unary("/shop.Orders/One")
        many = channel.unary_stream("/shop.Orders/Many")
        answers: Counter[object] = Counter()
        for n in range(EACH):
            for what in ("ok", "fail", "refused"):
                for call in (one, lambda text: list(many(text))):
                    try:
                        call(f"{what} {n}".encode())
                        answers[what] += 1
                    except grpc.RpcError as error:
                        answers[what, error.code().name] += 1
    ended(server)
    twice = 2 * EACH
    assert answers == {
        "ok": twice, ("fail", "UNKNOWN"): twice, ("refused", "PERMISSION_DENIED"): twice
    }  # fmt: skip
    assert counted(recorded) == {
        ("/shop.Orders/One", "KeyError"): EACH, ("/shop.Orders/Many", "KeyError"): EACH
    }  # fmt: skip
    assert "faultplane" not in log.read_text()


def test_what_celery_tasks_raise_is_recorded_attempt_by_attempt(
    started, environment, recorded, deaths, tmp_path
):
    pytest.importorskip("celery")
    variables = environment(SERVICES, BROKER=str(tmp_path))
    words = ["-m", "celery", "-A", "celery_service", "worker", "-c", "2", "-l", "WARNING"]
    server = started(words, variables, tmp_path / "log")
    send = (
        "import sys, celery_service as s\n"
        f"results = [t.delay(n) for n in range({EACH}) for t in (s.ok, s.fail, s.retried, "
        "s.ignored, s.rejected, s.inside)]\n"
        "results += [s.late.delay(0), s.killed.delay(0)]\n"
    )
    subprocess.run([sys.executable, "-c", send], env=variables, check=True, timeout=60)
    wanted = {
        ("shop.fail", "KeyError"): EACH,
        ("shop.retried", "ConnectionError"): 3 * EACH,
        ("inside", "TimeoutError"): EACH,
        ("shop.late", "billiard.exceptions.TimeLimitExceeded"): 1,
        ("shop.killed", "billiard.exceptions.WorkerLostError"): 1,
    }
    deadline = time.monotonic() + 60
    while counted(recorded) != wanted and time.monotonic() < deadline:
        assert server.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.2)
    time.sleep(1)  # nothing comes after it
    ended(server)
    assert counted(recorded) == wanted, (tmp_path / "log").read_text()
    # That of the killed task; the child of the late one is told to end, and else is killed too.
    assert deaths() in ({"unknown": 1}, {"unknown": 2})
    assert "faultplane" not in (tmp_path / "log").read_text()


def test_what_rq_jobs_raise_is_recorded_and_their_processes_end_in_order(
    processes, started, environment, recorded, deaths, tmp_path
):
    pytest.importorskip("rq")
    redis = pytest.importorskip("redis")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not there")
    import rq

    port = unused_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    processes.start(words, stdout=subprocess.DEVNULL, cwd=tmp_path)
    connection = redis.Redis(port=port)
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            connection.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    queue = rq.Queue(connection=connection)
    for n in range(EACH):
        queue.enqueue("rq_service.ok", n)
        queue.enqueue("rq_service.fail", n)
    worker = ["-m", "rq.cli", "worker", "--burst", "--url", f"redis://127.0.0.1:{port}"]
    done = started(worker, environment(SERVICES), tmp_path / "log")
    assert done.wait(100) == 0, (tmp_path / "log").read_text()
    assert len(queue.failed_job_registry) == EACH
    connection.close()
    assert counted(recorded) == {("rq_service.fail", "KeyError"): EACH}
    assert deaths() == Counter()
    assert "faultplane" not in (tmp_path / "log").read_text()
