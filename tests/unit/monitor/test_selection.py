"""Bounded, exact, and never less than before: whoever comes among the largest, or leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faultplane import schema
from faultplane.monitor.catalogue import METRICS
from faultplane.monitor.grouping import Grouping
from faultplane.monitor.metrics import _of_operation
from faultplane.monitor.selection import leading
from faultplane.store.aggregate import Series

METRIC = next(metric for metric in METRICS if metric.name == "faultplane_errors")
# Which of 24 series grows, and by how much, between two scrapes.
GROWTH = st.lists(
    st.lists(st.tuples(st.integers(0, 23), st.integers(1, 1000)), max_size=6), max_size=12
)


def all_series():
    return [
        Series(schema.SERIES_ERROR, 1 + n % 3, n, b"s%d" % (n % 4), b"op%d" % n, b"E")
        for n in range(24)
    ]


def scrapes(growth, choose):
    """What is shown after each step of growth, from a grouping that begins anew each time."""
    totals = [0] * 24
    for step in growth:
        for number, more in step:
            totals[number] += more
        yield sum(totals), dict(choose(totals))


def chosen(services_max, each_max):
    def choose(totals):
        grouping = Grouping(METRIC, _of_operation, services_max, each_max)
        for number, series in enumerate(all_series()):
            grouping.add(number, series)
        return [(str(labels), n) for labels, n in grouping.family(totals).samples]

    return choose


def falls(growth, choose):
    """Series that were shown with less than the last time that they were."""
    known, fell = {}, []
    for _, shown in scrapes(growth, choose):
        fell += [name for name, value in shown.items() if value < known.get(name, 0)]
        known.update(shown)
    return fell


@given(GROWTH, st.integers(1, 5), st.integers(1, 7))
def test_no_series_goes_down_and_their_sum_is_exact(growth, services_max, each_max):
    choose = chosen(services_max, each_max)
    assert falls(growth, choose) == []
    for total, shown in scrapes(growth, choose):
        assert sum(shown.values()) == total
        assert len(shown) <= services_max * (each_max + 1) + 1


def test_a_choice_by_name_has_its_rest_go_down():
    """Negative control: the rest of what is chosen by anything but size shrinks."""

    def choose(totals):
        shown = [(str(n), total) for n, total in enumerate(totals) if total][-2:]
        return [*shown, ("other", sum(totals) - sum(n for _, n in shown))]

    assert falls([[(0, 5)], [(1, 5), (2, 5)]], choose) == []
    assert falls([[(0, 5), (1, 9), (2, 5)], [(3, 1), (2, 5)], [(0, 1), (23, 9)]], choose) == []
    growth = [[(0, 100), (5, 1)], [(9, 1)], [(0, 1), (9, 1)]]

    def newest(totals):
        top = max((n for n, total in enumerate(totals) if total), default=0)
        return [(str(top), totals[top]), ("other", sum(totals) - totals[top])]

    assert falls(growth, newest) == []
    back = [[(9, 7)], [(5, 50), (9, 1)], [(3, 1)]]

    def middle(totals):
        found = sorted(n for n, total in enumerate(totals) if total)
        kept = found[len(found) // 2]
        return [(str(kept), totals[kept]), ("other", sum(totals) - totals[kept])]

    assert falls(back, middle) == ["other"]


def test_the_largest_are_chosen_and_ties_are_broken_by_name():
    assert leading([], [], 3) == ([], 0, 0)
    assert leading(["b", "a"], [1, 1], 2) == ([("a", 1), ("b", 1)], 0, 0)
    assert leading(["c", "b", "a"], [1, 1, 1], 2) == ([("a", 1), ("b", 1)], 1, 1)
    assert leading(["c", "b", "a"], [0, 7, 3], 1) == ([("b", 7)], 3, 2)
