"""The two cores have one face: names, parameters, defaults and docstrings are equal.

The compiled core's face is its ``.pyi``; stubtest (``make lint``) compares that with the compiled
modules, and this compares it with the pure core's sources.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "faultplane"
FACES = sorted(path.stem for path in (PACKAGE / "_core").glob("*.pyi") if path.stem != "__init__")

# A table that only one core needs is nobody else's business.
CONSTANT = (ast.Assign, ast.AnnAssign)


def public(names):
    return {name for name in names if not name.startswith("_") or name == "__init__"}


def parameters(node: ast.FunctionDef) -> list[str]:
    """Names, kinds and defaults, as one writes them, annotations left out."""
    spec = node.args
    bare = ast.arguments(
        posonlyargs=[ast.arg(a.arg) for a in spec.posonlyargs],
        args=[ast.arg(a.arg) for a in spec.args],
        vararg=ast.arg(spec.vararg.arg) if spec.vararg else None,
        kwonlyargs=[ast.arg(a.arg) for a in spec.kwonlyargs],
        kw_defaults=spec.kw_defaults,
        kwarg=ast.arg(spec.kwarg.arg) if spec.kwarg else None,
        defaults=spec.defaults,
    )
    return [name for name in ast.unparse(bare).split(", ") if name not in {"self", "cls"}]


def members(tree: ast.Module | ast.ClassDef) -> dict[str, ast.AST]:
    """Definitions of a module or class by name; an import is not a definition."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
    if "__new__" in found:  # which of the two makes an object is its class's own business
        found.setdefault("__init__", found["__new__"])
    return found


def attributes(tree: ast.ClassDef) -> set[str]:
    """Names that methods of the class set on ``self``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and isinstance(node.ctx, ast.Store)
    }


def is_property(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list
    )


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def declared(tree: ast.Module) -> set[str]:
    """The public names of a module: ``__all__`` where it has one."""
    found = members(tree)
    if isinstance(listed := found.get("__all__"), (ast.Assign, ast.AnnAssign)) and listed.value:
        return set(ast.literal_eval(listed.value))
    return public(found)


def compare(where: str, compiled: ast.AST, pure: ast.AST | None, extra=frozenset()) -> list[str]:
    """What differs between two definitions of one name."""
    if pure is None:
        return [] if where.rpartition(".")[2] in extra else [f"{where} is not in _pure"]
    wrong = []
    if isinstance(compiled, ast.ClassDef):
        if not isinstance(pure, ast.ClassDef):
            return [f"{where} is a class in one core only"]
        inner, other = members(compiled), members(pure)
        for name in sorted(public(inner)):
            wrong += compare(f"{where}.{name}", inner[name], other.get(name), attributes(pure))
        missing = public(other) - public(inner) - {"__init__"}
        wrong += [f"{where}.{name} is not in _core" for name in sorted(missing)]
    elif isinstance(compiled, ast.FunctionDef) and not is_property(compiled):
        if not isinstance(pure, ast.FunctionDef):
            return [f"{where} is a function in one core only"]
        if parameters(compiled) != parameters(pure):
            wrong.append(f"{where}: {parameters(compiled)} in _core, {parameters(pure)} in _pure")
    if isinstance(compiled, (ast.FunctionDef, ast.ClassDef)) and not is_property(compiled):
        if where.endswith(".__init__"):
            return wrong
        ours, theirs = ast.get_docstring(compiled), ast.get_docstring(pure)
        if ours != theirs or not ours:
            wrong.append(f"{where}: docstrings differ or are missing: {ours!r} and {theirs!r}")
    return wrong


@pytest.mark.parametrize("name", FACES)
def test_a_module_of_one_core_has_its_twin(name):
    compiled = parse(PACKAGE / "_core" / f"{name}.pyi")
    if not declared(compiled):
        return  # for other modules of the compiled core only
    twin = PACKAGE / "_pure" / f"{name}.py"
    assert twin.is_file(), f"_pure/{name}.py is missing"
    pure = parse(twin)
    ours, theirs = members(compiled), members(pure)
    definitions = {n for n in declared(pure) if not isinstance(theirs.get(n), CONSTANT)}
    wrong = [f"{n} is not in _core/{name}.pyi" for n in sorted(definitions - declared(compiled))]
    for public_name in sorted(declared(compiled)):
        wrong += compare(f"{name}.{public_name}", ours[public_name], theirs.get(public_name))
    assert not wrong, "\n".join(wrong)


def test_every_compiled_module_has_declaration_and_face():
    modules = {path.stem for path in (PACKAGE / "_core").glob("*.pyx")}
    assert modules - {path.stem for path in (PACKAGE / "_core").glob("*.pxd")} == set()
    assert modules - set(FACES) == set()


def test_the_packages_export_the_same_names():
    pure = importlib.import_module("faultplane._pure")
    modules = {"annotations", *(n for n, v in vars(pure).items() if isinstance(v, ModuleType))}
    names = public(vars(pure)) - modules
    exported = {
        alias.asname or alias.name
        for node in ast.walk(parse(PACKAGE / "_core" / "__init__.py"))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | set(members(parse(PACKAGE / "_core" / "__init__.py")))
    assert public(exported) - modules - (set(FACES) - names) == names


@pytest.mark.parametrize("name", FACES)
def test_compiled_docstrings_are_those_of_the_face(name):
    try:
        module = importlib.import_module(f"faultplane._core.{name}")
    except ModuleNotFoundError as error:
        pytest.skip(f"the compiled core is not there: {error}")
    tree = parse(PACKAGE / "_core" / f"{name}.pyi")
    wrong = []
    for public_name in declared(tree):
        node = members(tree)[public_name]
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        text = getattr(module, public_name).__doc__ or ""
        if (ast.get_docstring(node) or "") not in ast.get_docstring(
            ast.parse(f"def f():\n    {text!r}").body[0]
        ):
            wrong.append(f"{name}.{public_name}: {text!r}")
    assert not wrong, "\n".join(wrong)


FACE = '''
def f(a, b=1):
    """Does."""
class C:
    """Is."""
    def g(self):
        """Goes."""
'''


@pytest.mark.parametrize(
    ("before", "after", "differences"),
    [
        ("", "", 0),
        ("def f", "def h", 1),
        ("b=1", "c=1", 1),
        ("b=1", "b=2", 1),
        ("Does.", "Did.", 1),
        ("g(self)", "g(self, x)", 1),
        ("def g", "def k", 2),
        ("Goes.", "", 1),
    ],
)
def test_the_comparison_sees_each_difference(before, after, differences):
    """Negative control: a changed name, parameter, default, docstring and method are seen."""
    ours, theirs = (members(ast.parse(text)) for text in (FACE, FACE.replace(before, after)))
    found = [line for name in ours for line in compare(name, ours[name], theirs.get(name))]
    assert len(found) == differences
