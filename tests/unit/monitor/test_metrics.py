"""What a domain has counted, as metrics: exact, bounded, complete."""

from __future__ import annotations

import os
import shutil

import pytest

from faultplane import schema
from faultplane.errors import InvalidSetting
from faultplane.monitor.catalogue import METRICS
from faultplane.monitor.metrics import LIMIT_MAX, Limits, Metrics
from faultplane.store import Domain

SERVICE = """
import sys
import faultplane as fp
fp.init(service=sys.argv[1])
for number, times in enumerate(map(int, sys.argv[2:])):
    for _ in range(times):
        error = type(f"E{number}", (Exception,), {})("x")
        fp.record(error, f"op{number}")
fp.counter("orders").add(len(sys.argv))
"""
HOSTILE = r"""
import faultplane as fp
fp.init(service='a"b\\c')
for text in ('say "no"\\', "two\nlines", "\x00\x1b[31m\u202e", "\ud800" * 3, "x" * 1_000_000, ""):
    fp.record(type('E"\n', (Exception,), {})(text), text)
    if text:
        fp.counter(text[:200].encode("utf-8", "replace").decode()).add()
"""


def collected(domain, **limits):
    metrics = Metrics(domain, Limits(**limits))
    found = metrics.collect()
    assert metrics.problems == []
    metrics.close()
    return found


def value(found, metric, /, **labels):
    return found[metric, tuple(sorted(labels.items()))]


def total(found, name):
    return sum(n for (known, _), n in found.items() if known == name)


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


def test_errors_are_told_by_service_operation_kind_and_fingerprint(run_python, attached, valid):
    run_python(SERVICE, "shop", 3, 5)
    run_python(SERVICE, "bank", 2)
    domain = attached()
    found = valid(collected(domain))
    assert value(found, "faultplane_service_errors_total", service="shop") == 8
    labels = {"service": "shop", "operation": "op1", "kind": "Internal"}
    assert value(found, "faultplane_errors_total", **labels) == 5
    rows = {(row["service"], row["fingerprint"]): row for row in domain.counts_rows()}
    for (name, labels), count in found.items():
        if name == "faultplane_fingerprint_errors_total":
            told = dict(labels)
            row = rows.pop((told["service"], int(told["fingerprint"], 16)))
            assert (row["type"], row["kind"], row["count"]) == (told["type"], told["kind"], count)
    assert rows == {}
    assert value(found, "faultplane_events_total", service="shop", name="orders") == 4


def test_every_metric_of_the_catalogue_is_there_and_no_other(run_python, attached):
    run_python(SERVICE, "shop", 1)
    families = collected(attached())
    assert [family.name for family in families] == [metric.name for metric in METRICS]
    for family, metric in zip(families, METRICS, strict=True):
        assert (family.kind, family.unit, family.help) == (metric.kind, metric.unit, metric.help)
        for labels, _ in family.samples:
            if metric.name != "faultplane_service":
                assert tuple(labels.pairs) == metric.labels


def test_past_a_limit_the_rest_is_other_and_sums_stay_exact(run_python, attached, valid):
    for number in range(4):
        run_python(SERVICE, f"s{number}", *range(1, 7 + number))
    domain = attached()
    whole = valid(collected(domain))
    found = valid(collected(domain, services=2, operations=3, fingerprints=2, events=1))
    for name in ("service_errors", "errors", "fingerprint_errors", "events"):
        metric = f"faultplane_{name}_total"
        assert total(found, metric) == total(whole, metric) > 0
    labels = {"service": "s3", "operation": "other", "kind": "other"}
    assert value(found, "faultplane_errors_total", **labels) == sum(range(1, 7))
    assert value(found, "faultplane_service_errors_total", service="other") == 21 + 28
    hidden = {"metric": "faultplane_errors_total"}
    assert value(whole, "faultplane_hidden_series", **hidden) == 0
    assert value(found, "faultplane_hidden_series", **hidden) == 6 + 7 + 8 + 9 - 2 * 3


def test_hostile_names_are_bounded_and_valid(run_python, attached, valid):
    run_python(HOSTILE)
    found = valid(collected(attached()))
    assert value(found, "faultplane_service_errors_total", service='a"b\\c') == 6
    operations = {dict(labels)["operation"] for name, labels in found if "operation" in str(labels)}
    assert {'say "no"\\', "two\nlines", "\ufffd\ufffd[31m\ufffd", "\ufffd" * 3, "x" * 255, ""} == (
        operations
    )
    assert total(found, "faultplane_events_total") == 5


def test_the_size_is_bounded_whatever_is_counted(run_python, attached):
    code = """
import faultplane as fp
fp.init(service="s" * 255)
for number in range(3000):
    fp.record(ValueError("x"), '"' * 250 + f"{number}")
"""
    run_python(code)
    from faultplane.monitor import exposition

    families = collected(attached(), operations=10)
    assert sum(len(family.samples) for family in families) < 120
    assert len(exposition.text(families)) < 64 << 10
    errors = next(family for family in families if family.name == "faultplane_errors")
    assert sum(count for _, count in errors.samples) == 3000


def test_counts_that_have_no_cell_of_their_own_are_other_by_kind(run_python, attached, valid):
    code = f"""
import faultplane as fp
fp.init(service="shop")
for number in range({schema.SERIES_MAX} + 10):
    fp.record(TimeoutError("x"), f"op{{number}}")
"""
    run_python(code)
    found = valid(collected(attached()))
    labels = {"service": "other", "operation": "other", "kind": "Timeout"}
    past = value(found, "faultplane_errors_total", **labels)
    assert past >= 10
    assert value(found, "faultplane_service_errors_total", service="other") == past
    assert total(found, "faultplane_errors_total") == schema.SERIES_MAX + 10
    assert value(found, "faultplane_drops_total", reason="series_overflow") == past


def test_both_cores_are_one_sum(run_python, attached, valid):
    for core in ("cython", "python"):
        run_python(SERVICE, "shop", 3, core=core)
    domain = attached()
    found = valid(collected(domain))
    assert value(found, "faultplane_service_errors_total", service="shop") == 6
    stores = {dict(labels)["store"] for name, labels in found if name == "faultplane_store_bytes"}
    assert stores == {"1-cython", "1-python"}
    fingerprints = [name for name, _ in found if name == "faultplane_fingerprint_errors_total"]
    assert len(fingerprints) == 1


def test_fill_of_a_store_is_what_its_files_say(run_python, attached, valid):
    run_python(SERVICE, "shop", 700)
    domain = attached()
    found = valid(collected(domain))
    (name,) = [os.path.basename(store.path) for store in domain.stores()]
    rows = len(domain.records())
    assert rows == 700
    assert value(found, "faultplane_store_rows", store=name) == rows
    assert value(found, "faultplane_store_rows_max", store=name) >= rows
    assert 0 < value(found, "faultplane_store_bytes", store=name) <= 64 << 20
    assert value(found, "faultplane_store_budget_bytes", store=name) == 64 << 20
    assert value(found, "faultplane_store_available_bytes", store=name) > 0
    assert value(found, "faultplane_owner_slots", store=name) == 1024
    assert value(found, "faultplane_store_rows_retired_total", store=name) == 0


def test_a_domain_that_is_removed_is_down_and_not_zero(run_python, attached):
    run_python(SERVICE, "shop", 3)
    domain = attached()
    metrics = Metrics(domain)
    assert metrics.collect()[0].samples[0][1] == 1
    for store in domain.stores():
        shutil.rmtree(store.path)
    found = metrics.collect()
    assert [family.name for family in found] == ["faultplane_up", "faultplane_build"]
    assert found[0].samples[0][1] == 0


@pytest.mark.parametrize("bad", [0, -1, LIMIT_MAX + 1, "7", None])
def test_limits_have_bounds(bad):
    for name in Limits._fields:
        with pytest.raises(InvalidSetting, match=f"{name} must be 1 to 10000, got"):
            Limits(**{name: bad}).check()
    assert Limits(*[1] * 4).check()
    assert Limits(*[LIMIT_MAX] * 4).check()


CHURN = """
import os, sys
import faultplane as fp
fp.init(service="shop", domain=sys.argv[1])
for number in range(50):
    fp.record(ValueError("x"), f"op{number}")
"""


def test_a_domain_that_is_removed_and_made_again_meanwhile_is_read(run_python, tmp_domain_dir):
    """``gc`` in the middle of scrapes: down, or what is there, and never a sum of both."""
    from faultplane.monitor.metrics_app import MetricsApp
    from faultplane.store import gc

    app = MetricsApp("churn", str(tmp_domain_dir))
    for _ in range(3):
        run_python(CHURN, "churn")
        text = app.text()
        assert 'faultplane_service_errors_total{service="shop"} 50' in text
        assert [one.action for one in gc.gc(str(tmp_domain_dir), "churn")] == ["removed"]
        assert "faultplane_up 0" in app.text()
        assert "errors_total" not in app.text()
    app.close()


def test_scrapes_while_the_domain_is_emptied_and_filled_never_raise(run_python, tmp_domain_dir):
    import threading

    from faultplane.monitor.metrics_app import MetricsApp

    run_python(CHURN, "default")
    app = MetricsApp(directory=str(tmp_domain_dir))
    done, texts, failed = threading.Event(), [], []

    def scrape():
        while not done.is_set():
            try:
                texts.append(app.text())
            except BaseException as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        for path in sorted((tmp_domain_dir / "default").rglob("*")):
            if path.is_file():
                path.unlink()
        shutil.rmtree(tmp_domain_dir / "default", ignore_errors=True)
        run_python(CHURN, "default")
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {int(text.partition("\nfaultplane_up ")[2][0]) for text in texts} <= {0, 1}
    assert 'faultplane_service_errors_total{service="shop"} 50' in app.text()
    app.close()


def test_a_process_out_of_descriptors_tells_what_it_told(run_python, tmp_domain_dir):
    """For real: no descriptor is left, and no counter goes down."""
    run_python(SERVICE, "shop", 3, 5)
    code = """
import os, resource
import faultplane as fp
from faultplane.store import lifecycle

def errors():
    lines = fp.metrics_app.text().splitlines()
    return [line for line in lines if line.startswith("faultplane_service_errors")]

before = errors()
resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
assert errors() == before, errors()
assert fp.metrics_app.problems, "it must say so"
print(fp.metrics_app.problems)
for one in held:
    os.close(one)
assert errors() == before
assert fp.metrics_app.problems == []
"""
    run_python(code)
