"""A module holds one idea, a function fits a screen, a line 100 columns."""

from __future__ import annotations

import ast
import re
from pathlib import Path

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 100
FORBIDDEN_NAMES = {"common", "helper", "helpers", "misc", "shared", "util", "utils"}
GENERATED = {"src/faultplane/_core/layout.h", "src/faultplane/_core/layout.pxd"}
CODE_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".h", ".rs"}
TOP_LEVEL = {
    ".ci", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
    "Makefile", "README.md", "SECURITY.md", "asv.conf.json", "benchmarks", "changes", "docs",
    "examples", "native", "pyproject.toml", "setup.py", "src", "tests", "tools",
}  # fmt: skip
CYTHON_FUNCTION = re.compile(r"^(\s*)(?:async\s+)?(?:def|cdef|cpdef)\b[^=]*\(")
MACHINE_PATHS = re.compile(r"/(?:work|root|home/\w+)/|/tmp/venv")


def code(root, tree_files):
    return [
        path
        for path in tree_files
        if path.suffix in CODE_SUFFIXES and str(path.relative_to(root)) not in GENERATED
    ]


def python_functions(text: str):
    """(Name, line, lines) of every function, decorators left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def cython_functions(text: str):
    """The same for Cython, by indentation."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if not (match := CYTHON_FUNCTION.match(line)) or line.rstrip().endswith(";"):
            continue
        indent = len(match[1])
        end = start
        depth = line.count("(") - line.count(")")
        for number in range(start + 1, len(lines)):
            text = lines[number]
            if depth > 0:
                depth += text.count("(") - text.count(")")
                end = number
                continue
            if text.strip() and len(text) - len(text.lstrip()) <= indent:
                break
            end = number if text.strip() else end
        yield line.strip(), start + 1, end - start + 1


def test_modules_hold_one_idea(root, tree_files):
    long = {
        str(path.relative_to(root)): lines
        for path in code(root, tree_files)
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES_MAX
    }
    assert not long, "\n".join(f"{name}: {lines} lines" for name, lines in long.items())


def test_functions_fit_a_screen(root, tree_files):
    long = []
    for path in code(root, tree_files):
        if path.suffix in {".py", ".pyi"}:
            found = python_functions(path.read_text())
        elif path.suffix == ".pyx":
            found = cython_functions(path.read_text())
        else:
            continue
        long += [
            f"{path.relative_to(root)}:{line} {name}: {lines} lines"
            for name, line, lines in found
            if lines > FUNCTION_LINES_MAX
        ]
    assert not long, "\n".join(long)


def test_lines_fit_a_hundred_columns(root, tree_files):
    wide = [
        f"{path.relative_to(root)}:{number}: {len(line)}"
        for path in code(root, tree_files)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LINE_COLUMNS_MAX
    ]
    assert not wide, "\n".join(wide)


def test_no_module_is_named_after_nothing(root, tree_files):
    vague = [
        str(path.relative_to(root))
        for path in code(root, tree_files)
        if FORBIDDEN_NAMES & {part.partition(".")[0] for part in path.relative_to(root).parts}
    ]
    assert not vague, "\n".join(vague)


def test_the_top_level_holds_what_it_should(root, tree_files):
    assert {path.relative_to(root).parts[0] for path in tree_files} - TOP_LEVEL == set()


def test_no_file_names_a_path_of_one_machine(root, tree_files):
    here = Path(__file__)
    named = []
    for path in tree_files:
        if path == here or path.suffix in {".png", ".svg", ".lock", ".bin"}:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        named += [
            f"{path.relative_to(root)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if MACHINE_PATHS.search(line)
        ]
    assert not named, "\n".join(named)


def test_the_function_counters_count():
    """Negative control: both counters see a function of 71 lines, and not one of 70."""
    body = "    x = 1\n"
    for signature, count in (
        ("def f():\n", python_functions),
        ("cdef int f(int a):\n", cython_functions),
    ):
        assert [n for _, _, n in count(signature + body * 69 + "\ny = 1\n")] == [70]
        assert [n for _, _, n in count("z = 1\n" + signature + body * 70)] == [71]
    wrapped = "cdef int f(\n    int a,\n) noexcept nogil:\n" + body * 3 + "\ncdef int g()\n"
    assert next(cython_functions(wrapped))[2] == 6
