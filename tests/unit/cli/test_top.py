"""``faultplane top`` in a terminal and out of it, and the view behind both."""

from __future__ import annotations

import importlib.util

import pytest

import faultplane as fp
from faultplane.cli import top_view

CLEAR = "\x1b[H\x1b[2J"


@pytest.fixture
def view(run_python, tmp_domain_dir):
    """Function ``(groups, order="rate") -> View`` of a domain with so many groups of errors."""
    opened = []

    def make(groups, order="rate"):
        run_python(
            "import sys, faultplane as fp; fp.init(service='shop')\n"
            "for n in range(int(sys.argv[1])): fp.record(ValueError(n), f'operation {n}')",
            groups,
        )
        if not opened:
            opened.append(fp.attach("default", str(tmp_domain_dir)))
        return top_view.View(opened[0], order)

    yield make
    for domain in opened:
        domain.close()


def test_before_the_first_look_there_is_nothing(view):
    before = view(2)
    assert before.groups() == []
    assert (before.total, before.rate) == (0, None)


def test_the_rate_is_that_of_the_time_looked_at(view, monkeypatch):
    monkeypatch.setattr(top_view, "RATE_SECONDS", 0.0)  # so only the two last looks count
    watched = view(2)
    watched.look()
    assert (watched.total, watched.rate) == (2, None)
    assert {group["rate_per_second"] for group in watched.groups()} == {None}
    head, _, _, *shown = top_view.lines(watched)
    assert "  -/s  " in head
    assert {line.split()[0] for line in shown} == {"-"}
    view(2)
    watched.look()
    assert watched.total == 4
    assert {group["count"] for group in watched.groups()} == {2}
    assert all(group["rate_per_second"] > 0 for group in watched.groups())
    watched.look()
    assert watched.rate == 0
    assert "  0.0/s  " in top_view.lines(watched)[0]


def test_groups_of_several_services_are_told_apart_in_80_columns(view, run_python, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    watched = view(1)
    watched.look()
    assert "service" not in top_view.lines(watched)[2].split()
    run_python(
        "import faultplane as fp; fp.init(service='a-service-with-a-long-name')\n"
        "fp.record(ValueError(0), 'operation 0'); fp.record(ModuleNotFoundError(0), 'long ' * 9)"
    )
    watched.look()
    _, _, heads, *rows = top_view.lines(watched)
    at = heads.index("service")
    assert {row[at:].split()[0] for row in rows} > {"shop"}
    assert max(map(len, [heads, *rows])) <= 80
    assert len(rows) == len({row[at:] for row in rows}) == 3


def test_what_does_not_fit_is_told(view):
    watched = view(top_view.GROUPS_SHOWN)
    watched.look()
    assert "more groups" not in top_view.lines(watched)[-1]
    view(top_view.GROUPS_SHOWN + 3)
    watched.look()
    shown = top_view.lines(watched)
    assert shown[-1] == "… 3 more groups"
    assert len(shown) == 3 + top_view.GROUPS_SHOWN + 1


def test_a_table_is_repeated_in_place_in_a_terminal(terminal, shop):
    screen = terminal("top", "--plain", "--interval", "0.1")
    screen.wait_for("\x1b[1mdefault")
    while screen.shown.count(CLEAR) < 3:
        screen.wait_for(CLEAR)
    screen.press("\x03")
    assert screen.finish() == 130
    assert all("errors 64" in table for table in screen.shown.split(CLEAR)[1:3])


def test_a_terminal_without_colours_gets_none(terminal, shop):
    screen = terminal("top", "--plain", "--seconds", "0.1", NO_COLOR="1")
    assert screen.finish() == 0
    assert "\x1b" not in screen.shown
    assert "errors 64" in screen.shown


@pytest.mark.skipif(
    importlib.util.find_spec("textual") is None, reason="the top extra is not installed"
)
@pytest.mark.parametrize("way", ["q", "time"])
def test_a_terminal_gets_the_full_screen_which_ends_by_key_or_by_time(terminal, shop, way):
    words = ("--seconds", "0.2") if way == "time" else ()
    screen = terminal("top", *words)
    if way == "q":
        screen.wait_for("charge")
        screen.press("q")
    assert screen.finish() == 0
    # The screen that was there before is shown again.
    assert "\x1b[?1049l" in screen.shown
