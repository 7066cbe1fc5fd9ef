"""pytest: what a test recorded is shown when it fails, and can be asked for.

Loaded by name and switched on, on the command line or for good in the configuration:

.. code-block:: toml

    [tool.pytest.ini_options]
    addopts = ["-p", "faultplane.integrations.pytest", "--faultplane"]

It is no entry point: pytest would load it into every run of an environment that has faultplane,
and rewrite the assertions of the whole package for it.

Each run then has a domain of its own in a directory that goes when it ends. A test that fails says
which errors were recorded while it ran, in this process and in those that it started; the fixture
``faultplane_recorded`` gives them:

.. code-block:: python

    def test_charge(faultplane_recorded):
        shop.charge(order)
        (row,) = faultplane_recorded()
        assert (row["operation"], row["type"]) == ("charge", "TimeoutError")
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import faultplane as fp  # imported when asked for: without its switch this does nothing

SHOWN_MAX: Final = 20
"""Errors that the report of a failed test shows."""

_domain_key: pytest.StashKey[fp.Domain] = pytest.StashKey()
_cursor_key: pytest.StashKey[Any] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """pytest's: our switch."""
    group = parser.getgroup("faultplane")
    group.addoption(
        "--faultplane",
        action="store_true",
        help="record the errors of this run and show those of a test that fails",
    )


def pytest_configure(config: pytest.Config) -> None:
    """pytest's: begin to record, before anything of the application is imported."""
    if not config.getoption("--faultplane"):
        return
    import faultplane as fp

    directory = tempfile.mkdtemp(prefix="faultplane-pytest-")
    before = os.environ.get("FAULTPLANE_DIR")
    os.environ["FAULTPLANE_DIR"] = directory  # for the processes that tests start
    # Registered before ours, so that it comes after: what is bound looks for its directory.
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    config.stash[_domain_key] = fp.init()

    def restore() -> None:
        if before is None:
            os.environ.pop("FAULTPLANE_DIR", None)
        else:
            os.environ["FAULTPLANE_DIR"] = before

    config.add_cleanup(restore)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """pytest's: from here on what is recorded belongs to ``item``."""
    domain = item.config.stash.get(_domain_key, None)
    if domain is not None:
        item.stash[_cursor_key] = domain.cursor()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """pytest's: add the recorded errors to the report of a test that failed."""
    report: Any = yield
    if report.failed and (rows := _recorded(item)):
        lines = [
            f"{row['operation'] or '-'}: {row['type']}: {row['message']} ({row['kind']})"
            for row in rows[:SHOWN_MAX]
        ]
        if len(rows) > SHOWN_MAX:
            lines.append(f"and {len(rows) - SHOWN_MAX} more")
        report.sections.append(("Recorded by faultplane", "\n".join(lines)))
    return report


@pytest.fixture
def faultplane_recorded(request: pytest.FixtureRequest) -> Callable[[], list[dict[str, Any]]]:
    """Function: the rows that were recorded since this test began, oldest first."""
    if request.config.stash.get(_domain_key, None) is None:
        pytest.fail("faultplane_recorded needs --faultplane", pytrace=False)
    return lambda: _recorded(request.node)


def _recorded(item: pytest.Item) -> list[dict[str, Any]]:
    domain = item.config.stash.get(_domain_key, None)
    if domain is None or _cursor_key not in item.stash:
        return []
    return list(domain.records(since=item.stash[_cursor_key]).rows())
