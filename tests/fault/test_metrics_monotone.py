"""What is scraped never goes down: workers are killed, and so is the scraper."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault
HERE = Path(__file__).parent
WORKERS = 4
DEATHS = int(os.environ.get("METRICS_DEATHS", "200"))
SCRAPER_EVERY = 40
LIMITS = ("--services", "2", "--operations", "4", "--fingerprints", "3")
SERIES_MAX = 160


class Scraper:
    """``faultplane metrics --serve``, which may be killed."""

    def __init__(self, environment, *words):
        command = [sys.executable, "-W", "error", "-m", "faultplane", "metrics", "--serve", "0"]
        self.child = subprocess.Popen(
            [*command, *LIMITS, *words], env=environment, stderr=subprocess.PIPE, text=True
        )
        self.url = self.child.stderr.readline().split()[1]

    def scrape(self, openmetrics=False):
        accept = "application/openmetrics-text;version=1.0.0" if openmetrics else "text/plain"
        request = urllib.request.Request(self.url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stderr.close()


class Watch:
    """Holds each scrape against all that were before it, whoever made them."""

    def __init__(self):
        pytest.importorskip("prometheus_client", reason="prometheus_client is not there")
        from prometheus_client import parser
        from prometheus_client.openmetrics import parser as openmetrics

        self._parsers = {
            True: openmetrics.text_string_to_metric_families,
            False: parser.text_string_to_metric_families,
        }
        self.known, self.fell, self.most = {}, [], 0

    def look(self, text, openmetrics=False):
        found = {}
        for family in self._parsers[openmetrics](text):
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in found
                found[key] = sample.value
                if family.type == "counter" and sample.value < self.known.get(key, 0):
                    self.fell.append((key, self.known[key], sample.value))
        assert found["faultplane_up", ()] == 1
        assert found["faultplane_read_problems", ()] == 0
        self.known.update(found)
        self.most = max(self.most, len(found))
        return found


def total(found, name):
    return sum(value for (metric, _), value in found.items() if metric == name)


class Workers:
    def __init__(self, environment, path):
        path.write_bytes(bytes(8 << 16))
        self._path = path
        self._child = subprocess.Popen(
            [sys.executable, HERE / "metrics_workers.py", path, str(WORKERS)],
            env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._child.stdout.readline() == "ok\n"

    def kill(self, slot):
        self._child.stdin.write(f"{slot}\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "ok\n"

    def stop(self):
        """Whatever happened, leave nobody behind: workers end with their parent."""
        self._child.kill()
        self._child.wait()
        self._child.stdin.close()
        self._child.stdout.close()

    def end(self):
        """Kill the rest; (attempted, acknowledged) over all that ever were."""
        self._child.stdin.close()
        assert self._child.wait(60) == 0
        words = struct.iter_unpack("<QQ", self._path.read_bytes())
        return tuple(map(sum, zip(*words, strict=True)))


def run(environment, path, rng, deaths, *words):
    """(Watch, last scrape, attempted, acknowledged) after so many deaths."""
    watch, workers, scraper = Watch(), Workers(environment, path), None
    try:
        scraper = Scraper(environment, *words)
        for death in range(deaths):
            if death % SCRAPER_EVERY == SCRAPER_EVERY - 1:
                scraper.kill()
                scraper = Scraper(environment, *words)
            openmetrics = death % 2 == 1
            watch.look(scraper.scrape(openmetrics), openmetrics)
            workers.kill(rng.randrange(WORKERS))
        attempted, acknowledged = workers.end()
        found = watch.look(scraper.scrape())
    finally:
        workers.stop()
        if scraper is not None:
            scraper.kill()
    return watch, found, attempted, acknowledged


def test_no_counter_goes_down_while_workers_and_scrapers_are_killed(
    core, core_name, child_environment, rng, tmp_path
):
    environment = child_environment(core_name, FAULTPLANE_BUDGET_BYTES="8MiB")
    watch, found, attempted, acknowledged = run(
        environment, tmp_path / "words", rng, DEATHS if core_name == "cython" else DEATHS // 10
    )
    deaths = DEATHS if core_name == "cython" else DEATHS // 10
    assert watch.fell == []
    assert watch.most <= SERIES_MAX
    counted = total(found, "faultplane_errors_total")
    assert acknowledged <= counted <= attempted
    for name in ("service_errors", "fingerprint_errors"):
        assert total(found, f"faultplane_{name}_total") == counted
    # An error that the worker was killed behind may not have its hit.
    assert acknowledged <= total(found, "faultplane_events_total") <= attempted
    assert total(found, "faultplane_deaths_total") == deaths + WORKERS
    assert total(found, "faultplane_owners") == 0


def test_a_reader_that_has_nobody_tidy_up_sees_the_same(
    core, core_name, child_environment, rng, tmp_path
):
    environment = child_environment(core_name, FAULTPLANE_BUDGET_BYTES="8MiB")
    watch, found, attempted, acknowledged = run(
        environment, tmp_path / "words", rng, 12, "--read-only"
    )
    assert watch.fell == []
    assert acknowledged <= total(found, "faultplane_errors_total") <= attempted
    # Those that joined buried the others; nobody joined after the last.
    gone = total(found, "faultplane_owners")
    assert 0 < gone <= WORKERS + 1
    assert total(found, "faultplane_deaths_total") == 12 + WORKERS - gone


def test_a_sum_over_the_living_alone_is_found_out(child_environment, rng, tmp_path):
    """Negative control: a scraper that leaves out what was folded, and one that counts it twice."""
    environment = child_environment(FAULTPLANE_BUDGET_BYTES="8MiB")
    code = tmp_path / "sitecustomize.py"
    code.write_text(
        "import sys\n"
        "if 'metrics' in sys.orig_argv:\n"
        "    from faultplane.store import counting\n"
        "    counting._RetiredFile.add_to = lambda self, totals: None\n"
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    watch, *_ = run(environment, tmp_path / "words", rng, 8)
    assert watch.fell
