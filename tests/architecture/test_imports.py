"""Who may know whom: the table of rooms, held against every import in the package."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "faultplane"
FACADE = "__init__"

# A room may import the rooms it names, and what those may import.
TABLE: dict[str, set[str]] = {
    "schema": set(),
    "errors": {"schema"},
    "settings": {"schema"},
    "control_schema": {"schema"},
    "_core": {"schema", "control_schema", "errors"},
    "_pure": {"schema", "control_schema", "errors"},
    "_backend": {"_core", "_pure", "settings"},
    "_native": {"errors", "settings"},
    "templates": {"_native", "_backend"},
    "arrow": {"schema"},
    "store": {"_backend", "arrow", "settings"},
    "classify": {"schema", "_backend", "store"},
    "capture": {"_backend", "store", "classify"},
    "resilience": {"_backend", "store", "classify", "capture"},
    "monitor": {"arrow", "store", "classify", "_native"},
    "predict": {"arrow", "store", "classify"},
    "otlp": {"arrow", "store", "_native"},
    "cluster": {"arrow", "store", "resilience"},
    "testing": {"capture", "resilience"},
    "integrations": {FACADE},
    "__main__": {"cli"},
}
ALL_ROOMS = {*TABLE, FACADE, "cli"}
CORES = {"_core", "_pure"}
# The wish to load either core, in words: what importlib would be given.
CORE_NAME = re.compile(r"\bfaultplane\._(core|pure)\b")
# Rooms that exist for a third-party package, or start as a process of their own.
THIRD_PARTY_ROOMS = {"integrations", "cli"}
# Readers of the environment other than settings and _backend, with the reason.
ENVIRONMENT_READERS = {
    "settings.py": "the declared reader",
    "_backend.py": "decides before anything else is imported",
    "capture/run.py": "hands the environment on to the program it becomes",
    "capture/_bootstrap/sitecustomize.py": "runs in a child before anything else",
    "integrations/pytest.py": "names the directory to what tests start",
    "cli/demo/__init__.py": "makes the environment of the service it starts",
}


def allowed(room: str) -> set[str]:
    """Rooms that ``room`` may import, those of its own imports included."""
    if room == "cli":
        return ALL_ROOMS
    if room == FACADE:
        return ALL_ROOMS - {"cli"}
    found: set[str] = set()
    waiting = list(TABLE[room])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(TABLE.get(name, ()))
    # _backend stands before the cores so that nobody else names them.
    return found if room == "_backend" else found - CORES


def room_of(path: Path) -> str:
    """The room that a file of the package lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    """Every Python and Cython file of the package."""
    found = [
        path for suffix in ("py", "pyi", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}")
    ]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def imported(path: Path) -> list[tuple[str, int]]:
    """(Dotted name, line) of every import in a file, relative ones resolved."""
    text = path.read_text()
    parts = ["faultplane", *path.relative_to(PACKAGE).with_suffix("").parts]
    if path.suffix in {".pyx", ".pxd"}:
        return list(imported_by_cython(text, parts))
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def imported_by_cython(text: str, parts: list[str]):
    """The same for Cython, whose cimports Python's parser does not know."""
    pattern = re.compile(r"^\s*(?:from\s+([.\w]+)\s+)?c?import\s+\(?([\w., *]+)")
    for number, line in enumerate(text.splitlines(), 1):
        if not (match := pattern.match(line)):
            continue
        base, names = match.groups()
        for name in re.split(r"\s*,\s*", names.split("#")[0].strip(" ,")):
            plain = name.split(" as ")[0].strip()
            if base is None:
                yield plain, number
                continue
            dots = len(base) - len(base.lstrip("."))
            stem = base.lstrip(".")
            if dots:
                stem = ".".join([*parts[: len(parts) - dots], *filter(None, [stem])])
            yield f"{stem}.{plain}", number


def room_named(dotted: str) -> str | None:
    """The room that an imported name belongs to; None outside the package."""
    first, _, rest = dotted.partition(".")
    if first != "faultplane":
        return None
    room = rest.partition(".")[0]
    return room if room in ALL_ROOMS or (room and (PACKAGE / room).is_dir()) else FACADE


def test_every_room_is_in_the_table():
    rooms = {room_of(path) for path in sources()} | {
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and path.name != "__pycache__" and any(path.iterdir())
    }
    assert rooms - ALL_ROOMS == set()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_table_allows(path):
    room = room_of(path)
    known = allowed(room) | {room}
    wrong = [
        f"line {line}: {room} imports {name}"
        for name, line in imported(path)
        if (target := room_named(name)) is not None and target not in known
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_but_the_backend_names_a_core(path):
    room = room_of(path)
    if room in CORES | {"_backend"}:
        pytest.skip("the cores and the backend name them")
    wrong = [f"line {line}: {name}" for name, line in imported(path) if room_named(name) in CORES]
    if path.suffix in {".py", ".pyi"}:
        tree = ast.parse(path.read_text())
        wrong += [
            f"line {node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and CORE_NAME.fullmatch(node.value.partition(":")[0])
        ]
    assert not wrong, "\n".join(wrong)


def private_to_another(path: Path) -> list[str]:
    """Imports of a name with an underscore; a module of that kind is private to the package."""
    return [
        f"line {line}: {name}"
        for name, line in imported(path)
        if re.match(r"faultplane\.\w.*\._(?!_)\w+$", name)
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_what_is_private_to_another(path):
    assert not private_to_another(path)


def module_level(tree: ast.Module):
    """Statements that run when a module is imported; not those that only type checkers read."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_importing_a_module_needs_no_third_party_package(path):
    room = room_of(path)
    if room in THIRD_PARTY_ROOMS and path.name != "__init__.py":
        pytest.skip("exists for a third-party package")
    known = set(sys.stdlib_module_names) | {"faultplane"}
    wrong = []
    for node in module_level(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        wrong += [f"line {node.lineno}: {n}" for n in names if n.partition(".")[0] not in known]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_environment_is_read_in_one_place(path):
    if str(path.relative_to(PACKAGE)) in ENVIRONMENT_READERS:
        pytest.skip(ENVIRONMENT_READERS[str(path.relative_to(PACKAGE))])
    # A command may look at NO_COLOR and hand the environment on; our own names are settings.
    wanted = "FAULTPLANE_" if room_of(path) == "cli" else ""
    text = path.read_text()
    wrong = [
        f"line {node.lineno}: {source}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Call))
        and re.match(r"os\.(environb?|getenv)\b", source := ast.unparse(node))
        and wanted in source
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_a_forbidden_import(tmp_path, monkeypatch):
    """Negative control: each way of writing a wrong import is found."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "store").mkdir()
    module = tmp_path / "store" / "x.py"
    module.write_text(
        "import faultplane.cli\nfrom faultplane import monitor\nfrom ..cli import main\n"
        "def f():\n    from .. import resilience\n"
    )
    rooms = [room_named(name) for name, _ in imported(module)]
    assert rooms == ["cli", "monitor", "cli", "resilience"]
    (tmp_path / "_core").mkdir()
    cython = tmp_path / "_core" / "x.pyx"
    cython.write_text(
        "from faultplane.store cimport y\nfrom ..cli import main as m\ncimport faultplane.arrow\n"
        "from .layout cimport *\nfrom libc.stdint cimport uint64_t\n"
    )
    rooms = [room_named(name) for name, _ in imported(cython)]
    assert rooms == ["store", "cli", "arrow", "_core", None]
    module.write_text("from faultplane import _backend\nfrom faultplane.store.y import _z, w\n")
    assert private_to_another(module) == ["line 2: faultplane.store.y._z"]
    assert "cli" not in allowed("store")
    assert "_core" not in allowed("store")
