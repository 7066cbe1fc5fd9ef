"""Rules that installed packages bring along: loaded when asked, once, where there are any."""

from __future__ import annotations

import pytest

PACKAGE = """
from faultplane.classify import register_rule
calls = []
class Declined(Exception):
    pass
def register():
    calls.append(1)
    register_rule(Declined, kind="BusinessLogic")
def broken():
    raise RuntimeError("no good")
"""


@pytest.fixture
def site(tmp_path):
    """A package ``shop``: ``site(text)`` installs it with those entry points, gives the place."""
    (tmp_path / "shop.py").write_text(PACKAGE)

    def install(text):
        metadata = tmp_path / "shop-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(text)
        return tmp_path

    return install


LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
from faultplane.classify import load_entry_points, registered_rules
assert "shop" not in sys.modules and registered_rules() == []
print(load_entry_points(), load_entry_points())
"""


def test_a_function_of_the_group_is_called_once(site, run_python):
    directory = site("[console_scripts]\nx = x:x\n[faultplane.rules]\nshop = shop:register\n")
    done = run_python(
        LOAD
        + """
import shop
from faultplane.classify import classify
assert shop.calls == [1]
print(classify(shop.Declined()).kind.value)
""",
        directory,
    )
    assert done.stdout == "['shop'] ['shop']\nBusinessLogic\n"


def test_one_that_fails_is_warned_of_and_passed_over(site, run_python):
    directory = site(
        "[faultplane.rules]\na = shop:broken\nb = shop:missing\nc = nowhere:x\nd = shop:register\n"
    )
    done = run_python(
        """
import sys, warnings
sys.path.insert(0, sys.argv[1])
from faultplane.classify import load_entry_points
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(load_entry_points())
for warning in caught:
    print(warning.category.__name__, warning.message)
""",
        directory,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "['d']"
    assert len(lines) == 4
    assert lines[1].startswith("RuntimeWarning entry point a = shop:broken of faultplane.rules")
    assert lines[1].endswith("RuntimeError: no good")


def test_where_no_package_names_the_group_metadata_is_not_imported(site, run_python):
    directory = site("[console_scripts]\nx = x:x\n")
    done = run_python(LOAD + "print('importlib.metadata' in sys.modules)", directory)
    assert done.stdout == "[] []\nFalse\n"


def test_places_that_cannot_be_read_are_passed_over(tmp_path, run_python):
    file = tmp_path / "file"
    file.touch()
    odd = tmp_path / "odd-1.0.dist-info"
    (odd / "entry_points.txt").mkdir(parents=True)
    done = run_python(
        LOAD.replace("sys.path.insert(0, sys.argv[1])", "sys.path[:0] = ['', *sys.argv[1:]]"),
        file, tmp_path, tmp_path / "nowhere",
    )  # fmt: skip
    assert done.stdout == "[] []\n"
