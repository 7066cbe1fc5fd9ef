"""Prometheus itself scrapes a service that runs, its rules fire, and the dashboard shows something.

The rules and the dashboard are those of ``examples/``; only how long an alert waits is cut.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from launching import LAUNCH, unused_port

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "examples" / "prometheus" / "faultplane.rules.yml"
DASHBOARD = ROOT / "examples" / "grafana" / "faultplane.json"
SERVICES = Path(__file__).parent / "services"
SECONDS_MAX = 60
BURST = 900


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not there (Debian: apt install prometheus)")
    return found


def until(found, what):
    """What ``found()`` gives once it is true."""
    deadline = time.monotonic() + SECONDS_MAX
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX} s: {what}"
        time.sleep(0.1)
    return answer


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    except http.client.HTTPException:
        return -1, b""
    finally:
        connection.close()


class Prometheus:
    """A Prometheus that scrapes every second, and what it answers."""

    def __init__(self, processes, place, targets, rules):
        self._port = unused_port()
        rules_file = place / "rules.yml"
        rules_file.write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules_file)],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        (place / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        with (place / "prometheus.log").open("wb") as log:
            processes.start(
                [
                    program("prometheus"),
                    f"--config.file={place}/prometheus.yml",
                    f"--storage.tsdb.path={place}/data",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        until(lambda: get(self._port, "/-/ready")[0] == 200, "Prometheus is ready")

    def ask(self, path, **arguments):
        status, body = get(self._port, f"/api/v1/{path}?{urllib.parse.urlencode(arguments)}")
        answer = json.loads(body or b"{}")
        assert status == 200, answer
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, query):
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def firing(self):
        return {
            alert["labels"]["alertname"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@pytest.fixture
def service(processes, environment, tmp_path):
    """(Port of a gunicorn below ``faultplane run``, port of ``faultplane metrics``)."""
    pytest.importorskip("gunicorn")
    variables = environment(SERVICES, FAULTPLANE_SERVICE="shop")
    port = unused_port()
    command = [
        *f"{sys.executable} -m gunicorn -w 2 --no-control-socket".split(),
        *f"-b 127.0.0.1:{port} metered_service:application".split(),
    ]
    variables["PROGRAM_PYTHONPATH"] = variables["PYTHONPATH"]
    with (tmp_path / "service.log").open("wb") as log:
        processes.start([sys.executable, "-c", LAUNCH, *command], variables, stderr=log)
    until(lambda: get(port, "/ok/0")[0] == 200, "the service answers")
    words = [sys.executable, "-m", "faultplane", "metrics", "--serve", "0"]
    metrics = processes.start(words, environment(), stderr=subprocess.PIPE, text=True)
    url = metrics.stderr.readline().split()[1]
    return port, urllib.parse.urlsplit(url).port


def queries():
    """(Title, query) of every target of the dashboard, its variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {v["name"]: v.get("allValue", "") for v in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m")
            for name, value in variables.items():
                query = query.replace(f"${name}", value)
            assert "$" not in query, query
            yield panel["title"], query


@pytest.mark.slow
def test_prometheus_scrapes_a_service_and_its_rules_fire_on_a_burst(service, processes, tmp_path):
    port, metrics_port = service
    rules = re.sub(r"\bfor: \w+", "for: 0s", RULES.read_text())
    prometheus = Prometheus(
        processes, tmp_path, {"faultplane": metrics_port, "service": port}, rules
    )
    errors = 'sum(faultplane_service_errors_total{job="faultplane",service="shop"})'
    until(lambda: prometheus.value(errors) == 0, "a service without errors is 0")
    until(lambda: prometheus.value('sum(faultplane_owners{job="faultplane",state="alive"})'), "up")
    # Before the first scrape there was no target.
    until(lambda: "FaultplaneScrapeAbsent" not in prometheus.firing(), "the target is seen")
    assert not prometheus.firing() & {"FaultplaneErrorBurst", "FaultplaneWorkerDied"}

    for _ in range(3):
        assert get(port, f"/burst/{BURST // 3}")[0] == 200
    assert get(port, "/kill/0")[0] != 200
    # One scrape tells the whole host, whoever is asked: exact, and the same from a worker.
    until(lambda: prometheus.value(errors) == BURST, "every error is counted")
    of_worker = errors.replace('job="faultplane"', 'job="service"')
    until(lambda: prometheus.value(of_worker) == BURST, "a worker answers for all")
    died = 'faultplane_deaths_total{job="faultplane",how="unknown",service="shop"}'
    until(lambda: prometheus.value(died) == 1, "the death is counted")
    expected = {"FaultplaneErrorBurst", "FaultplaneWorkerDied", "FaultplaneNewError"}
    until(lambda: prometheus.firing() >= expected, f"{expected} fire")
    told = {alert["labels"]["alertname"]: alert for alert in prometheus.ask("alerts")["alerts"]}
    assert told["FaultplaneErrorBurst"]["labels"]["service"] == "shop"
    assert told["FaultplaneWorkerDied"]["labels"]["how"] == "unknown"
    assert not prometheus.firing() & {
        "FaultplaneScrapeAbsent", "FaultplaneDomainUnreadable", "FaultplaneReadProblems",
        "FaultplaneNoOwners", "FaultplaneDetailsDropped", "FaultplaneSeriesHidden",
    }  # fmt: skip

    asked = list(queries())
    assert len(asked) > 20
    for title, query in asked:
        until(lambda q=query: prometheus.ask("query", query=q)["result"], f"{title}: {query}")
    for rule in [r for g in prometheus.ask("rules")["groups"] for r in g["rules"]]:
        assert rule["health"] == "ok", rule


def test_the_rules_pass_their_tests_and_the_configuration_is_valid():
    folder = RULES.parent
    for words in (
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "faultplane.rules.test.yml"],
    ):
        done = subprocess.run(
            [program("promtool"), *words], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


WRONG = (
    ('how!="exit"', 'how="exit"'),
    ('state="alive"}) == 0', 'state="gone"}) == 0'),
    ("errors:rate5m > 1\n", "errors:rate5m > 100\n"),
    ("< 600\n        labels", "< 0\n        labels"),
    (' or absent(up{job="faultplane"})', ""),
    ('state=~"open|half-open"', 'state="closed"'),
    ('state=~"forced-open|disabled', 'state=~"disabled'),
    ('{state="open"}[30m]', '{state="closed"}[30m]'),
    ('{reason!="breaker"}', '{reason="limit"}'),
    ("healthy == 0", "healthy == 1"),
    ("tokens_max < 0.1", "tokens_max < 0.01"),
)


def test_rules_that_do_not_fire_are_found_out(processes, tmp_path):
    """Negative control: the tests of the rules fail for rules that are wrong."""
    text, started = RULES.read_text(), []
    for number, (right, wrong) in enumerate(WRONG):
        place = tmp_path / str(number)
        shutil.copytree(RULES.parent, place)
        assert text.count(right) == 1
        (place / RULES.name).write_text(text.replace(right, wrong))
        words = [program("promtool"), "test", "rules", str(place / "faultplane.rules.test.yml")]
        started.append(processes.start(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    for promtool in started:
        said, _ = promtool.communicate(timeout=60)
        assert promtool.returncode == 1, said


def test_every_metric_that_examples_name_exists():
    from faultplane.monitor.catalogue import METRICS
    from faultplane.monitor.exposition import Family

    known = {Family(m.name, m.kind, "", []).sample_name for m in METRICS}
    texts = [RULES.read_text(), RULES.with_name("faultplane.rules.test.yml").read_text()]
    texts += [query for _, query in queries()]
    named = {
        name
        for text in texts
        for name in re.findall(r"(?<![\w:])faultplane_\w+(?=[\[{) ,<>=/]|$)", text)
    }
    assert named - known == set()
    # What is left is looked at by people alone.
    assert known - named <= {"faultplane_build_info"}
