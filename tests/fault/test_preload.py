"""gunicorn with ``--preload``: workers are forked from a master that records, and are replaced.

Every request records; a worker acknowledges in the ledger before it answers.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from ledger import Ledger, problems

import faultplane as fp

pytestmark = pytest.mark.fault

HERE = Path(__file__).parent
REQUESTS = 40


@pytest.fixture
def server(child_environment, core_name, tmp_path):
    """URL of a gunicorn whose workers are replaced every few requests; it has ended afterwards."""
    pytest.importorskip("gunicorn")  # of the extra `demo`, and so of `test`
    environment = child_environment(core_name, LEDGER=str(tmp_path / "ledger"))
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(HERE)])
    listener = socket.create_server(("127.0.0.1", 0))
    log = (tmp_path / "gunicorn.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3", "--max-requests", "5",
         "--max-requests-jitter", "3", "--bind", f"fd://{listener.fileno()}",
         "fork_programs:application"],
        env=environment,
        stderr=log,
        pass_fds=[listener.fileno()],
    )  # fmt: skip
    port = listener.getsockname()[1]
    listener.close()

    def end():
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    try:
        yield f"http://127.0.0.1:{port}", end
    finally:
        end()
        log.seek(0)
        print(log.read())
        log.close()


def test_workers_of_a_preloaded_application_are_exact(server, tmp_path, tmp_domain_dir, core):
    url, end = server
    workers = set()
    for _ in range(REQUESTS):
        with urllib.request.urlopen(url, timeout=60) as answer:
            workers.add(int(answer.read()))
    end()
    ledger = Ledger(tmp_path / "ledger")
    said = ledger.records()
    assert len(workers) >= REQUESTS // 8  # each was replaced after 8 requests at most
    assert max(said.values()) <= 2 * 9 and sum(said.values()) == 3 + 2 * REQUESTS
    with fp.attach(directory=str(tmp_domain_dir)) as domain:
        found = problems(ledger, domain)
        assert not found, "\n".join(found)
