"""What the documents name is there: tests, scenes, files, and the verbs of the Makefile."""

from __future__ import annotations

import re

import pytest

TEST = re.compile(r"\btest_\w+\b")
OF_FRAMEWORKS = {"test_client", "test_utils"}
"""What pages about frameworks call by names that look like tests."""

DEFINED = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)
# A path from the top, as text between backticks; what has a star or a variable stands for many.
FILE = re.compile(r"`((?:src|examples|tests|tools|docs|native|benchmarks|changes)/[\w./@-]+)")
VERB = re.compile(r"\bmake ([a-z]+)\b(?=[` ]*(?:$|[`#A-Z.,;:)]))", re.MULTILINE)
SCENE = re.compile(r"(?<![*\w])\*(\w+)\*(?![*\w])")
SCENES = re.compile(r"^SCENES = \((.*?)\)", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def documents(root, tree_files):
    """Path from the top and text of every document, fragments of the change log included."""
    found = [path for path in tree_files if path.suffix == ".md"]
    return {str(path.relative_to(root)): path.read_text() for path in found}


@pytest.fixture(scope="module")
def tests(root, tree_files):
    """Names of all tests, and of the modules that hold them."""
    modules = [
        path for path in tree_files if path.suffix == ".py" and root / "tests" in path.parents
    ]
    names = {path.stem for path in modules}
    for path in modules:
        names.update(DEFINED.findall(path.read_text()))
    return names


def unknown(documents, pattern, known):
    """What the documents name and is not among what is ``known``."""
    named = [(place, name) for place, text in documents.items() for name in pattern.findall(text)]
    assert named, f"nothing looks like {pattern.pattern}"
    return sorted({f"{place}: {name}" for place, name in named if not known(name)})


def test_tests_that_documents_name_exist(documents, tests):
    assert unknown(documents, TEST, (tests | OF_FRAMEWORKS).__contains__) == []


def test_files_that_documents_name_exist(documents, root):
    assert unknown(documents, FILE, lambda name: (root / name).exists()) == []


def test_verbs_that_documents_name_are_in_the_makefile(documents, root):
    text = (root / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    assert unknown(documents, VERB, verbs.__contains__) == []


def test_what_is_installed_by_the_name_of_the_package_is_told_for_a_checkout_too(documents):
    lines = [line for text in documents.values() for line in text.splitlines()]
    named = [line for line in lines if "pip install 'faultplane[" in line]
    assert named
    assert [line for line in named if "pip install '.[" not in line] == []


def test_a_page_that_runs_asv_says_where_it_comes_from(documents):
    pages = {place: text for place, text in documents.items() if "`asv run" in text}
    assert pages
    assert [place for place, text in pages.items() if "pip install '.[bench]'" not in text] == []


def matrix(documents):
    """(Rows of the crash matrix without their heads, names of scenes that it has)."""
    text = documents["docs/protocol.md"]
    text = text[text.index("\n## Crash matrix\n") : text.index("\n## What is proved\n")]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith(("| it died", "| ---"))]
    return rows, set(SCENE.findall("\n".join(rows)))


def test_each_row_of_the_crash_matrix_says_what_shows_it(documents):
    rows, _ = matrix(documents)
    assert len(rows) > 50
    last = [row.rstrip("| ").rpartition(" | ")[2] for row in rows]
    assert [
        r for r, c in zip(rows, last, strict=True) if not (TEST.search(c) or SCENE.search(c))
    ] == []


def test_the_crash_matrix_has_every_scene_and_no_other(documents, root):
    text = (root / "tests/verification/test_kill_at_each_step.py").read_text()
    scenes = set(re.findall(r'"(\w+)"', SCENES.search(text)[1]))
    assert len(scenes) > 10
    assert matrix(documents)[1] == scenes


def test_a_name_that_nothing_has_is_found_out(documents, tests, root):
    """Negative control, for each."""
    wrong = {"a.md": "`test_of_nothing`, `tests/fault/nothing.py`, `make nothing`, `make test`"}
    assert unknown(wrong, TEST, tests.__contains__) == ["a.md: test_of_nothing"]
    known = unknown(wrong, FILE, lambda name: (root / name).exists())
    assert known == ["a.md: tests/fault/nothing.py"]
    assert unknown(wrong, VERB, {"test"}.__contains__) == ["a.md: nothing"]
