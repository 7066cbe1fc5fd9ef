"""Metrics of dependencies: what the cells say, exact, bounded, and never going down."""

from __future__ import annotations

import os

import pytest

from faultplane import control_schema as layout
from faultplane.monitor.catalogue import METRICS
from faultplane.monitor.metrics import Limits, Metrics
from faultplane.store import Domain

SHOP = """
import sys
import faultplane as fp
fp.init(service="shop")
budget = fp.RetryBudget(floor=0, capacity=2)
for number, times in enumerate(map(int, sys.argv[1:])):
    one = fp.Dependency(
        f"d{number}",
        retry=fp.Retry(attempts=2, backoff=fp.constant(0), budget=budget),
        breaker=fp.Breaker(calls_min=8, open_for=600), limit=1, health=fp.Health(lambda: True),
    )
    fp.HealthChecks(one).look()
    def call(fail):
        if fail:
            raise TimeoutError("x")
    for fail in [False] + [True] * times:
        try:
            one.call(call, fail)
        except (TimeoutError, fp.errors.Rejected):
            pass
    try:
        with one:  # which has the only permit
            one.call(call, False)
    except fp.errors.Rejected:
        pass
    one.cell.window()  # what the pure core has not told yet
"""


@pytest.fixture
def attached(tmp_domain_dir):
    """Function: the domain of this test, closed afterwards."""
    domains = []

    def attach():
        domains.append(Domain.attach("default", str(tmp_domain_dir)))
        return domains[-1]

    yield attach
    for domain in domains:
        domain.close()


@pytest.fixture
def collect(attached):
    """Function ``(**limits)``: families of the domain, of which everything could be read."""

    def run(**limits):
        metrics = Metrics(attached(), Limits(**limits))
        found = metrics.collect()
        assert metrics.problems == []
        metrics.close()
        return found

    return run


def value(found, metric, /, **labels):
    return found[f"faultplane_{metric}", tuple(sorted(labels.items()))]


def total(found, name):
    return sum(n for (known, _), n in found.items() if known == f"faultplane_{name}")


def names(found):
    return {dict(labels).get("dependency") for _, labels in found} - {None}


def test_each_is_what_the_cell_says(core_name, run_python, attached, collect, valid):
    # d0: eight failing tries open it, with the two retries that the budget has; d1 stays closed.
    run_python(SHOP, 12, 2, core=core_name)
    found = valid(collect())
    for row in attached().dependencies_rows():
        name = row["name"]
        for state in layout.BREAKER_STATES:
            told = value(found, "breaker_state", dependency=name, state=state)
            assert told == (state == row["state"])
        for state, field in (("open", "opened"), ("closed", "closed")):
            labels = {"dependency": name, "state": state}
            assert value(found, "breaker_transitions_total", **labels) == row[field]
        for reason, field in (
            ("breaker", "rejected"), ("limit", "full"), ("budget", "budget_exhausted"),
        ):  # fmt: skip
            labels = {"dependency": name, "reason": reason}
            assert value(found, "dependency_rejections_total", **labels) == row[field]
        for metric in ("failures", "retries"):
            assert value(found, f"dependency_{metric}_total", dependency=name) == row[metric]
        assert value(found, "retry_budget_tokens", dependency=name) == row["tokens"]
        assert value(found, "retry_budget_tokens_max", dependency=name) == 2
    assert value(found, "breaker_state", dependency="d0", state="open") == 1
    assert value(found, "breaker_state", dependency="d1", state="closed") == 1
    # Each of the metrics was driven to something.
    for metric in (
        "breaker_transitions_total", "dependency_failures_total", "dependency_retries_total",
        "retry_budget_tokens",
    ):  # fmt: skip
        assert total(found, metric) > 0
    for reason in ("breaker", "limit", "budget"):
        told = [
            value(found, "dependency_rejections_total", dependency=d, reason=reason)
            for d in names(found)
        ]
        assert sum(told) > 0


def test_counters_are_0_from_the_first_call_on(run_python, collect, valid):
    run_python(
        "import faultplane as fp; fp.init(); fp.Dependency('d', breaker=fp.Breaker()).call(len, '')"
    )
    found = valid(collect())
    for metric in ("breaker_transitions", "dependency_failures", "dependency_retries"):
        told = [n for (name, _), n in found.items() if name == f"faultplane_{metric}_total"]
        assert told == [0] * (2 if metric == "breaker_transitions" else 1)
    reasons = [n for (name, _), n in found.items() if name.endswith("rejections_total")]
    assert reasons == [0, 0, 0, 0]


def test_what_a_dependency_does_not_have_is_not_told_of(run_python, collect, valid):
    run_python("import faultplane as fp; fp.init(); fp.Dependency('d', limit=1).call(len, '')")
    told = {name for name, labels in valid(collect()) if "dependency" in dict(labels)}
    assert told == {
        "faultplane_dependency_failures_total", "faultplane_dependency_retries_total",
        "faultplane_dependency_rejections_total",
    }  # fmt: skip


def test_the_health_of_what_was_checked_is_told(run_python, collect, valid):
    run_python(
        "import faultplane as fp; fp.init()\n"
        "for name, answer in (('d0', True), ('d1', False), ('d2', None)):\n"
        "    health = None if answer is None else fp.Health(lambda: answer, fall=1)\n"
        "    dependency = fp.Dependency(name, health=health)\n"
        "    dependency.call(len, '')\n"
        "    if health: fp.HealthChecks(dependency).look()\n"
    )
    found = valid(collect())
    told = {dict(labels)["dependency"]: value for (name, labels), value in found.items()
            if name == "faultplane_dependency_healthy"}  # fmt: skip
    assert told == {"d0": 1, "d1": 0}


def test_every_metric_has_the_labels_of_the_catalogue(run_python, collect):
    run_python(SHOP, 1)
    known = {metric.name: metric for metric in METRICS if "dependency" in metric.labels}
    found = [family for family in collect() if family.name in known]
    assert len(found) == len(known) == 8
    for family in found:
        assert family.samples
        assert (family.kind, family.help) == (known[family.name].kind, known[family.name].help)
        for labels, _ in family.samples:
            assert tuple(labels.pairs) == known[family.name].labels


def test_a_domain_of_both_cores_has_two_breakers_and_their_sums(run_python, collect, valid):
    run_python(SHOP, 12, core="cython")
    run_python(SHOP, 1, core="python")
    found = valid(collect())
    assert value(found, "breaker_state", dependency="d0", state="open") == 1
    assert value(found, "breaker_state", dependency="d0", state="closed") == 1
    assert value(found, "retry_budget_tokens_max", dependency="d0") == 4


def test_past_the_limit_the_rest_is_other_and_sums_stay_exact(run_python, collect, valid):
    run_python(SHOP, 1, 2, 3, 12)
    whole, found = valid(collect()), valid(collect(dependencies=2))
    assert names(found) == {"d0", "d1", "other"}
    assert names(whole) == {"d0", "d1", "d2", "d3"}
    for metric in METRICS:
        if "dependency" in metric.labels:
            name = metric.name.removeprefix("faultplane_") + "_total" * (metric.kind == "counter")
            assert total(found, name) == pytest.approx(total(whole, name)) != 0
    assert value(found, "breaker_state", dependency="other", state="open") == 1
    assert value(found, "breaker_state", dependency="other", state="closed") == 1
    hidden = {"metric": "faultplane_dependency_rejections_total"}
    assert value(found, "hidden_series", **hidden) == 2 * 4
    assert value(whole, "hidden_series", **hidden) == 0
    assert value(found, "hidden_series", metric="faultplane_breaker_state") == 2 * 6


def test_no_series_goes_down_as_dependencies_come(run_python, attached, valid):
    """Whatever comes, and in whatever store, what was counted where stays there."""
    before = {}
    for core, times in (
        ("python", (1, 2)), ("python", (0, 0, 9)), ("cython", (9, 0, 0, 3)), ("python", (1,) * 6),
    ):  # fmt: skip
        run_python(SHOP, *times, core=core)
        metrics = Metrics(attached(), Limits(dependencies=2))
        found = valid(metrics.collect())
        metrics.close()
        counters = {key: n for key, n in found.items() if key[0].endswith("_total")}
        for key, n in before.items():
            assert counters.get(key, -1) >= n, key
        before = {key: n for key, n in counters.items() if "dependency" in dict(key[1])}
    assert len({dict(labels)["dependency"] for _, labels in before}) == 3


def test_what_cannot_be_read_counts_as_it_did_and_is_a_problem(run_python, attached, valid):
    run_python(SHOP, 12, 2)
    domain = attached()
    metrics = Metrics(domain)
    before = valid(metrics.collect())
    (store,) = domain.stores()
    path = os.path.join(store.path, "control")
    with open(path, "r+b") as file:
        file.write(b"nothing")
    found = valid(metrics.collect())
    (problem,) = metrics.problems
    assert "control must start with" in problem
    assert found["faultplane_read_problems", ()] == 1
    os.unlink(path)
    gone = valid(metrics.collect())
    for key, n in before.items():
        if "dependency" in dict(key[1]):
            assert found[key] == gone[key] == n, key
    assert metrics.problems == []
    metrics.close()
    fresh = Metrics(domain)
    assert names(valid(fresh.collect())) == set()


def test_names_that_somebody_wrote_are_valid_and_bounded(run_python, attached, collect, valid):
    run_python(SHOP, 1, 1, 1)
    (store,) = attached().stores()
    hostile = [b'say "no"\\\n', b"\x00\x1b[31m\xff" * 20, b"other"]
    last = (1 << 64) - 1
    with open(os.path.join(store.path, "control"), "r+b") as file:
        for index, name in enumerate(hostile):
            base = layout.CONTROL.size + index * layout.CONTROL_CELL.size
            for field, data in (
                ("name", name.ljust(16, b"x")), ("name_bytes", len(name).to_bytes(4, "little")),
                ("totals", last.to_bytes(8, "little") * len(layout.TOTALS)),
                ("breaker", last.to_bytes(8, "little")),
            ):  # fmt: skip
                file.seek(base + layout.CONTROL_CELL.offset[field])
                file.write(data)
    found = valid(collect(dependencies=2))
    assert names(found) == {'say "no"\\\n', "\ufffd\ufffd[31m\ufffd" * 20, "other"}
    assert max(found.values()) == last
    # A state that there is not is none.
    assert total(found, "breaker_state") == 0
    # What adds up to more than there is room for is as much as there is room for.
    assert max(valid(collect(dependencies=1)).values()) == last


def test_names_that_look_alike_when_they_are_clean_are_one_series(
    run_python, attached, collect, valid
):
    run_python(SHOP, 1, 2)
    failures = total(valid(collect()), "dependency_failures_total")
    (store,) = attached().stores()
    with open(os.path.join(store.path, "control"), "r+b") as file:
        for index, name in enumerate((b"d\x01", b"d\x02")):
            base = layout.CONTROL.size + index * layout.CONTROL_CELL.size
            file.seek(base + layout.CONTROL_CELL.offset["name"])
            file.write(name)
    found = valid(collect())
    assert names(found) == {"d\ufffd"}
    assert value(found, "dependency_failures_total", dependency="d\ufffd") == failures > 0
