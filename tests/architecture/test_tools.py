"""What the repository's own commands promise."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest


@pytest.fixture
def load_tool(root, monkeypatch):
    """Function ``(name) -> module``: a file of ``tools``."""
    monkeypatch.syspath_prepend(root / "tools")

    def load(name):
        spec = importlib.util.spec_from_file_location(f"tool_{name}", root / f"tools/{name}.py")
        # Where dataclasses look for the module of their annotations.
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in [name for name in sys.modules if name.startswith("tool_")]:
        del sys.modules[name]


def test_coverage_of_killed_processes_does_not_hide_that_of_others(load_tool, tmp_path, capsys):
    tests_tool = load_tool("tests")
    pytest.importorskip("coverage")
    environment = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}

    def coverage(*words):
        return subprocess.run(
            [sys.executable, "-m", "coverage", *words],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    (tmp_path / ".coveragerc").write_text("[run]\nbranch = true\nparallel = true\n")
    # Large enough that its data has pages in the middle.
    program = "".join(f"def f{n}():\n    return {n}\n" for n in range(3000))
    for name in ("early", "middle", "late"):
        (tmp_path / f"{name}.py").write_text(f"{program}\nprint('{name}')\n")
        coverage("run", f"{name}.py")
    good = sorted(tmp_path.glob(".coverage.*"))
    assert len(good) == 3
    whole = good[1].read_bytes()
    half = len(whole) // 2
    torn = whole[:half] + b"\xa5" * 4096 + whole[half + 4096 :]
    for number, data in enumerate((b"", whole[:half], torn, b"no data at all")):
        (tmp_path / f".coverage.0killed{number}").write_bytes(data)
    assert [tests_tool.is_whole(path) for path in good] == [True] * 3
    assert tests_tool.combine(tmp_path) == 0
    assert "4 processes" in capsys.readouterr().out
    report = coverage("report")
    assert all(f"{name}.py" in report for name in ("early", "middle", "late"))


def test_what_is_not_installed_as_it_was_written_is_found(load_tool, tmp_path):
    """And what is compiled is nobody's business here."""
    differences = load_tool("wheels").differences
    places = [tmp_path / "installed", tmp_path / "source"]
    for place in places:
        (place / "store").mkdir(parents=True)
        for name in ("__init__.py", "store/gc.py", "top.tcss", "py.typed"):
            (place / name).write_text(f"{name}\n")
    installed, source = places
    (installed / "ring.cpython-311-x86_64-linux-gnu.so").touch()
    (source / "ring.pyx").touch()
    assert differences(installed, source) == []
    (installed / "store/gc.py").write_text("store/gc.pY\n")
    (installed / "py.typed").unlink()
    (installed / "more.py").touch()
    assert differences(installed, source) == ["more.py", "py.typed", "store/gc.py"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/<pid>/smaps")
def test_the_table_of_memory_is_printed_for_any_number_of_workers(root):
    words = [sys.executable, root / "tools/worker_memory.py", "--workers", "2", "--errors", "30"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    if not list((root / "src/faultplane/_core").glob("record.*.so")):
        words += ["--core", "python"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line[:3] == "| 2"]
    assert [row[0].strip() for row in rows] == ["2 started", "2 forked"]
    for row in rows:
        own, mapped, share, both, domain = map(float, row[1:])
        assert 0 < own < 50
        assert 0 < share <= mapped
        assert domain > 0
        assert both > own
