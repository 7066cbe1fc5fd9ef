"""greenlet and gevent: a record in the middle of another one's text, on the same thread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FAULT = Path(__file__).parents[1] / "fault"
sys.path.insert(0, str(FAULT))

from playing import played, scenes  # noqa: E402

pytest.importorskip("greenlet")
pytest.importorskip("gevent")


@pytest.mark.parametrize(("module", "scene"), list(scenes("greenlets")))
def test_a_greenlet_that_switches_in_its_text_is_recorded_whole(
    run_python, tmp_domain_dir, core, core_name, module, scene
):
    played(run_python, tmp_domain_dir, core_name, module, scene).check()
