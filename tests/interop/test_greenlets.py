"""greenlet and gevent: a record in the middle of another one's text, on the same thread."""

from __future__ import annotations

import json
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


GREENLETS = """
import json, sys
import faultplane as fp
import gevent
from gevent import monkey
monkey.patch_all()
domain = fp.init(service="greenlets")

class Switching(Exception):
    def __str__(self):
        gevent.sleep(0)
        return self.args[0]

def work(line):
    for number in range(1, 51):
        with fp.capture(f"outer {line}"):
            gevent.sleep(0)
            with fp.capture("inner", reraise=False):
                raise Switching(f"{line} {number}")

gevent.joinall([gevent.spawn(work, line) for line in range(64)], raise_error=True)
table = domain.records().to_pyarrow(compat=True)
print(json.dumps([table["message"].to_pylist(), table["seq"].to_pylist(),
                  sum(row["count"] for row in domain.counts_rows())]))
"""


def test_greenlets_that_switch_inside_of_a_message_are_exact(run_python, core, core_name):
    done = run_python(GREENLETS, core=core_name, timeout=110, flags=("-W", "ignore"))
    messages, seqs, counted = json.loads(done.stdout)
    wanted = {f"{line} {number}" for line in range(64) for number in range(1, 51)}
    assert len(messages) == len(wanted) == counted and set(messages) == wanted
    assert sorted(seqs) == list(range(1, len(wanted) + 1))
