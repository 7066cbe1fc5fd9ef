"""The full-screen form of ``faultplane top``, driven by keys in a terminal without a screen."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("textual", reason="the top extra is not installed")

from textual.widgets import DataTable, Static

import faultplane as fp
from faultplane.cli.top_screen import GroupScreen, Top
from faultplane.cli.top_view import View

RECORD = (
    "import faultplane as fp; fp.init(service='shop')\n"
    "for e in (KeyError('a'), KeyError('b'), TimeoutError('<b>no markup</b> [red]')):\n"
    "    try: raise e\n"
    "    except Exception as error: fp.record(error, 'pay')\n"
)


@pytest.fixture
def domain(run_python, tmp_domain_dir):
    run_python(RECORD)
    with fp.attach("default", str(tmp_domain_dir)) as attached:
        yield attached


def test_keys_change_the_order_pause_and_show_a_group(domain):
    async def drive():
        program = Top(View(domain, "rate"), 0.1, None)
        async with program.run_test(size=(80, 24)) as pilot:
            groups = program.query_one("#groups", DataTable)
            assert groups.row_count == 2
            await pilot.press("s")
            assert "by count" in str(program.query_one("#summary", Static).content)
            assert str(groups.get_row_at(0)[1]).strip() == "2"
            await pilot.press("p")
            assert "PAUSED" in str(program.query_one("#summary", Static).content)
            await pilot.press("enter")
            assert isinstance(program.screen, GroupScreen)
            await pilot.press("escape")
            await pilot.press("q")
        return program.return_code

    assert asyncio.run(drive()) in (0, None)


def test_groups_of_several_services_get_a_column_that_fits(domain, run_python):
    async def drive():
        program = Top(View(domain, "count"), 60, None)
        async with program.run_test(size=(80, 24)) as pilot:
            groups = program.query_one("#groups", DataTable)
            assert "service" not in groups.columns
            others = RECORD.replace("'shop'", "'a-service-of-a-long-name'")
            others = others.replace("'pay'", "'a long operation'")
            await asyncio.to_thread(run_python, others)
            program._look()  # as its timer does
            await pilot.pause()
            assert groups.virtual_size.width <= 80
            return {str(cell).strip() for cell in groups.get_column("service")}

    assert asyncio.run(drive()) == {"shop", "a-servic…"}


def test_a_paused_table_stands_still_and_goes_on_afterwards(domain, run_python):
    async def drive():
        program = Top(View(domain, "count"), 0.1, None)
        async with program.run_test(size=(120, 24)) as pilot:
            groups = program.query_one("#groups", DataTable)
            await pilot.press("p")
            await asyncio.to_thread(run_python, RECORD)
            program._look()  # as its timer does
            assert str(groups.get_row_at(0)[1]).strip() == "2"
            await pilot.press("p")
            while str(groups.get_row_at(0)[1]).strip() != "4":
                await pilot.pause(0.05)

    asyncio.run(drive())


def test_a_group_whose_stack_was_not_kept_says_so(domain, tmp_domain_dir):
    for path in tmp_domain_dir.glob("default/*/stacks-*"):
        path.unlink()

    async def drive():
        program = Top(View(domain), 60, None)
        async with program.run_test() as pilot:
            await pilot.press("enter")
            return str(program.screen.query_one(Static).content)

    assert "keeps no stack of" in asyncio.run(drive())


def test_a_domain_without_errors_shows_an_empty_table(run_python, tmp_domain_dir):
    run_python("import faultplane as fp; fp.init()")

    async def drive(domain):
        program = Top(View(domain), 60, None)
        async with program.run_test() as pilot:
            await pilot.press("enter", "s")
            assert not isinstance(program.screen, GroupScreen)
            owners = str(program.query_one("#owners", Static).content)
            return program.query_one("#groups", DataTable).row_count, owners

    with fp.attach("default", str(tmp_domain_dir)) as domain:
        assert asyncio.run(drive(domain)) == (0, "no process records here")
