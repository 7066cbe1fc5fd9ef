"""The recorded demo: a cast that players take, and the picture that is drawn from it."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest


@pytest.fixture(scope="module")
def cast_tool(root):
    """``tools/cast.py`` as a module."""
    pytest.importorskip("pty")
    spec = importlib.util.spec_from_file_location("cast_tool", root / "tools" / "cast.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cast_is_an_asciicast_of_four_deaths_within_its_bound(cast_tool):
    text = cast_tool.CAST.read_text()
    assert len(text) <= cast_tool.BYTES_MAX
    head, *events = map(json.loads, text.splitlines())
    assert (head["version"], head["width"], head["height"]) == (2, 100, 34)
    times = [seconds for seconds, _, _ in events]
    assert times == sorted(times)
    assert {kind for _, kind, _ in events} == {"o"}
    shown = "".join(data for _, _, data in events)
    told = ("4 workers died", "killed, out of memory", "killed by SIGSEGV", "killed by SIGABRT",
            "not out of memory")  # fmt: skip
    assert [words for words in told if words not in shown] == []
    # Where it ran is nobody's business.
    assert re.findall(r"/(?:root|home|tmp|usr|work|Users)/", shown) == []


def test_the_picture_is_drawn_from_the_cast(cast_tool):
    events = cast_tool.read_cast(cast_tool.CAST)
    assert cast_tool.draw(events) == cast_tool.PICTURE.read_text()
    assert cast_tool.draw(events[:-1]) != cast_tool.PICTURE.read_text()


def test_lines_are_broken_and_styled_as_a_terminal_does(cast_tool):
    rows = cast_tool.wrapped("\x1b[1m" + "a" * 99 + "\x1b[0mbc")
    assert rows == [
        [(frozenset({"b"}), "a" * 99), (frozenset(), "b")],
        [(frozenset(), "c")],
    ]


def test_what_is_of_the_machine_is_cut_and_a_cast_that_is_too_large_refused(cast_tool, tmp_path):
    line = f'  File "/srv/app/shop/views.py", line 7 in charge\r\n  {cast_tool.sys.executable} -m x'
    assert cast_tool.shortened(line) == '  File "shop/views.py", line 7 in charge\r\n  python -m x'
    event = cast_tool.Event(0.0, "x" * cast_tool.BYTES_MAX)
    with pytest.raises(SystemExit, match="at most 262144 bytes, got"):
        cast_tool.write_cast([event], tmp_path / "large.cast")
    assert not (tmp_path / "large.cast").exists()
