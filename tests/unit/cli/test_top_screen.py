"""The full-screen form of ``faultplane top``, driven by keys in a terminal without a screen."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

pytest.importorskip("textual", reason="the top extra is not installed")

from textual.widgets import DataTable, Static

import faultplane as fp
from faultplane.cli.top import View
from faultplane.cli.top_screen import GroupScreen, Top


@pytest.fixture
def domain(child_environment, tmp_domain_dir):
    code = (
        "import faultplane as fp; fp.init(service='shop')\n"
        "for e in (KeyError('a'), KeyError('b'), TimeoutError('<b>no markup</b> [red]')):\n"
        "    try: raise e\n"
        "    except Exception as error: fp.record(error, 'pay')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True, timeout=60)
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
