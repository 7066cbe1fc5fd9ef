"""Programs below ``faultplane run``, and what they have recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import faultplane as fp
from faultplane.store import counts, domain

sys.path.insert(0, str(Path(__file__).parent))

from launching import LAUNCH, Launch, Processes


@pytest.fixture
def environment(child_environment: Any) -> Callable[..., dict[str, str]]:
    """Function: environment for a program, with directories to look in first."""

    def build(*path: object, **variables: str | None) -> dict[str, str]:
        built: dict[str, str] = child_environment(**variables)
        built["PYTHONPATH"] = os.pathsep.join([*map(str, path), built["PYTHONPATH"]])
        built["PYTHONDONTWRITEBYTECODE"] = "1"
        return built

    return build


@pytest.fixture
def launch(environment: Any) -> Launch:
    """Function: run a command below ``faultplane run``, or without (``plain=True``)."""

    def start(
        *command: object, plain: bool = False, path: tuple[Any, ...] = (), **variables: Any
    ) -> Any:
        words = [*map(str, command)]
        variables = environment(*path, **variables)
        if not plain:
            words = [sys.executable, "-c", LAUNCH, *words]
            variables["PROGRAM_PYTHONPATH"] = variables["PYTHONPATH"]
            variables["PYTHONPATH"] = environment()["PYTHONPATH"]
        return subprocess.run(
            words,
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            input="typed in\n",
        )

    return start


@pytest.fixture
def processes(tmp_domain_dir: Path) -> Iterator[Processes]:
    """What the test starts, ended after it and before its directory is removed."""
    started = Processes()
    yield started
    started.end()


@pytest.fixture
def recorded(tmp_domain_dir: Path) -> Callable[[], dict[tuple[str, str, str], int]]:
    """Function: (service, operation, type) -> count, over all processes so far."""

    def read() -> dict[tuple[str, str, str], int]:
        found: Counter[tuple[str, str, str]] = Counter()
        if (tmp_domain_dir / "default").exists():
            for path in domain.store_paths(str(tmp_domain_dir / "default")):
                with domain.Store.open(path) as store:
                    for row in counts.read_counts(store):
                        found[row.service, row.operation, row.type] += row.count
        return dict(found)

    return read


@pytest.fixture
def deaths(tmp_domain_dir: Path) -> Callable[[], Counter[str]]:
    """Function: how the processes of the default domain died that did not leave in order."""

    def read() -> Counter[str]:
        with fp.attach(directory=str(tmp_domain_dir)) as found:
            return Counter(row["how"] for row in found.deaths_rows() if row["how"] != "exit")

    return read


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """Function: write a program and return its path."""

    def write(code: str, name: str = "shop.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code))
        return path

    return write


@pytest.fixture
def entry_point(tmp_path: Path) -> Path:
    """A directory with the entry points of this distribution, as an installation has them."""
    from importlib.metadata import entry_points

    if entry_points(group="opentelemetry_pre_instrument", name="faultplane"):
        return tmp_path
    information = tmp_path / "faultplane-0.0.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: faultplane\nVersion: 0.0.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[opentelemetry_pre_instrument]\n"
        "faultplane = faultplane.capture.run:start_with_opentelemetry\n"
    )
    return tmp_path
