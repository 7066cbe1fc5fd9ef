"""What is built is what is in the tree, in one version, small, and importable without effects."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

WHEEL_BYTES_MAX = 3 << 20
IMPORTED_MODULES_MAX = 90


def project(root):
    with (root / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_the_extension_list_equals_the_tree(root, package):
    """setup.py builds one extension for each .pyx, and each of them lies in _core."""
    code = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **k: print(json.dumps([e.name for e in k['ext_modules']]))\n"
        "runpy.run_path('setup.py')\n"
    )
    pytest.importorskip("setuptools")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = set(json.loads(done.stdout))
    in_tree = {
        "faultplane." + ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.pyx")
    }
    assert listed == in_tree
    assert all(name.startswith("faultplane._core.") for name in listed)


def test_one_version_everywhere(root, package):
    version = project(root)["project"]["version"]
    facade = ast.parse((package / "__init__.py").read_text())
    written = {
        target.id: ast.literal_eval(node.value)
        for node in facade.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == "__version__" and node.value
    }
    assert written == {"__version__": version}
    extras = project(root)["project"]["optional-dependencies"]
    assert extras["native"] == [f"faultplane-native=={version}"]
    if (root / "native" / "Cargo.toml").is_file():
        with (root / "native" / "Cargo.toml").open("rb") as file:
            assert tomllib.load(file)["package"]["version"] == version
    assert f"## {version}" in (root / "CHANGELOG.md").read_text()


def test_a_bare_installation_needs_nothing(root):
    assert project(root)["project"]["dependencies"] == []


def test_every_extra_in_all_exists(root):
    extras = project(root)["project"]["optional-dependencies"]
    for name, requirements in extras.items():
        for requirement in requirements:
            if match := re.fullmatch(r"faultplane\[([\w,]+)\]", requirement):
                assert set(match[1].split(",")) <= set(extras), name


def test_an_installation_is_small(package):
    """Everything that a wheel could hold, the compiled core of this tree included."""
    kept = {".py", ".pyi", ".so", ".typed", ".tcss"}
    size = sum(path.stat().st_size for path in package.rglob("*") if path.suffix in kept)
    assert size <= WHEEL_BYTES_MAX, f"{size} bytes"


def test_importing_has_no_effects(run_python, tmp_domain_dir, tmp_path):
    """No numpy, no pyarrow, no thread, no file, and a bounded number of modules."""
    code = (
        "import sys, json\n"
        "before = set(sys.modules)\n"
        "import faultplane, threading\n"
        "loaded = sorted(set(sys.modules) - before)\n"
        "print(json.dumps([loaded, threading.active_count()]))\n"
    )
    done = run_python(code, flags=["-B"], HOME=str(tmp_path), TMPDIR=str(tmp_path))
    loaded, threads = json.loads(done.stdout)
    heavy = {
        "numpy",
        "pyarrow",
        "polars",
        "duckdb",
        "asyncio",
        "logging",
        "textual",
        "opentelemetry",
    }
    assert heavy & {name.partition(".")[0] for name in loaded} == set()
    assert threads == 1
    assert list(tmp_domain_dir.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
    assert len(loaded) <= IMPORTED_MODULES_MAX, loaded


def test_the_facade_holds_names_only(package):
    """No function, class, loop or exception handler: the facade is a list of names."""
    tree = ast.parse((package / "__init__.py").read_text())
    logic = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.With)
    # Lazy names need the module's own __getattr__ and __dir__, and nothing else.
    found = [
        f"line {node.lineno}"
        for node in tree.body
        if isinstance(node, logic) and getattr(node, "name", "") not in {"__getattr__", "__dir__"}
    ]
    assert found == []


def test_the_typed_marker_is_there(package):
    assert (package / "py.typed").is_file()


def test_make_lists_its_commands(root):
    if not shutil.which("make") or not shutil.which("awk"):
        pytest.skip("needs make and awk")
    done = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True)
    listed = re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)
    commands = ["demo", "test", "quick", "torture", "fuzz", "sanitize", "interop", "bench"]
    commands += ["lint", "docs", "wheels", "generate", "clean"]
    assert listed == ["help", "install", *commands]


def test_the_scripts_of_the_house_parse(root):
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    if shell := shutil.which("bash"):
        assert subprocess.run([shell, "-n", str(script)]).returncode == 0
    configuration = json.loads((root / "asv.conf.json").read_text())
    assert configuration["project"] == "faultplane"


def test_every_page_is_reachable(root):
    """A page that no table of contents names is one that nobody finds."""
    pages = {path.stem for path in (root / "docs").glob("*.md")} - {"index"}
    listed = set(re.findall(r"^([\w-]+)$", (root / "docs" / "index.md").read_text(), re.MULTILINE))
    assert pages == listed
