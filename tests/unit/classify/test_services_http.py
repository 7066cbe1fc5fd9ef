"""What HTTP clients, gRPC, frameworks and task queues raise: a corpus written before the tables."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from faultplane.classify import (
    KINDS,
    Category,
    CountsAs,
    Kind,
    Origin,
    ReachedServer,
    RecoveryStrategy,
    classify_for_core,
    libraries,
    type_name,
)
from faultplane.classify.judgement import NEVER
from faultplane.classify.stdlib import BUILT_IN

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

corpus = importlib.import_module("corpus_services_http")
corpus.load()
NAMES = list(corpus.ENTRIES)
TRAITS = {"retry": (True, True), "later": (False, True), "final": (False, False)}
FIELDS = {
    "recovery_strategy": RecoveryStrategy,
    "reached_server": ReachedServer,
    "counts_as": CountsAs,
    "origin": Origin,
}
WORDS = {word.value: field for field, vocabulary in FIELDS.items() for word in vocabulary}


def expected(text):
    """The fields that the words of an entry stand for."""
    kind, *words = text.split()
    implied = KINDS[Kind(kind)]
    said = {"kind": kind, "category": implied.category, "retry_after": None}
    said |= {name: getattr(implied, name) for name in FIELDS}
    said |= {"retryable": implied.retryable, "temporary": implied.temporary}
    for word in words:
        name, _, value = word.partition("=")
        if name == "after":
            said["retry_after"] = float(value)
        elif name == "category":
            said["category"] = Category(value)
        elif word in TRAITS:
            said["retryable"], said["temporary"] = TRAITS[word]
        else:
            said[WORDS[word]] = word
    return said


def failed(name):
    pytest.importorskip(corpus.ENTRIES[name].library)
    return corpus.caught(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_is_what_its_documentation_says(name, classify):
    error = failed(name)
    answer = classify(error)
    wanted = expected(corpus.ENTRIES[name].expected)
    assert {field: getattr(answer, field) for field in wanted} == wanted, answer
    # Again, from the core's memory.
    assert classify(error) is answer
    told, remembered = classify_for_core(error)
    assert told == answer
    if type(remembered) is tuple:
        read, key = remembered
        assert read(error) == key
    if remembered != NEVER:
        assert classify_for_core(error)[0] is told


# ------------------------------------------------------------------------------------- tables

OURS = ("http_clients", "web_frameworks", "grpc_status", "task_queues", "data_formats")
# Names that the versions tested with do not have, and who has them.
ELSEWHERE = {
    "aiohttp.http_websocket.WebSocketError": "aiohttp before 3.11",
    "pydantic.error_wrappers.ValidationError": "pydantic 1",
    "pydantic.env_settings.SettingsError": "pydantic 1",
    "pydantic.errors.PydanticValueError": "pydantic 1",
    "pydantic.errors.PydanticTypeError": "pydantic 1",
    "pydantic.errors.ConfigError": "pydantic 1",
    "pydantic_settings.sources.SettingsError": "pydantic-settings before 2.8",
    "django.db.utils.ConnectionDoesNotExist": "Django before 3.2",
}


def tables():
    return {module: libraries.table_named(module) for module in OURS}


def attribute(owner, name):
    try:
        return getattr(owner, name, None)
    except Exception:  # pydantic raises for what it no longer has
        return None


def exists(name):
    """Whether the installed version has the type of that name; None where the library is absent."""
    parts = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(parts[0])
        except ImportError:
            return None
        for depth in range(len(parts) - 1, 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:depth]))
            except ImportError:
                continue
            for part in parts[depth:]:
                found = attribute(found, part)
            # anyio renames a type when it is first asked for by its short name.
            moving = name.startswith("anyio.")
            return isinstance(found, type) and (moving or type_name(found) == name)
    return False


@pytest.mark.parametrize("module", OURS)
def test_every_name_of_a_table_is_a_type_of_the_library_or_of_another_version(module):
    wrong = [name for name in tables()[module] if name not in ELSEWHERE and exists(name) is False]
    assert wrong == []


def test_no_name_is_said_to_be_elsewhere_that_is_here():
    assert [name for name in ELSEWHERE if exists(name)] == []
    named = {name for table in tables().values() for name in table}
    assert set(ELSEWHERE) - named == set()


def test_the_check_of_names_sees_a_name_that_is_wrong():
    pytest.importorskip("requests")
    assert exists("requests.exceptions.Timeout")
    assert exists("requests.exceptions.Timeouts") is False
    assert exists("requests.api.Timeout") is False
    assert exists("nobody_has_this.Error") is None


@pytest.fixture
def written():
    """Names that have one answer together, of every table."""
    found = {}
    for module in OURS:
        for prefix, rows in importlib.import_module(f"{libraries.__name__}.{module}").GROUPS:
            for names, row in rows.items():
                full = [f"{prefix}.{name}" for name in names.split()]
                found.setdefault(id(row[1]), []).extend(full)
    return list(found.values())


def test_no_name_is_in_the_tables_twice(written):
    names = [*BUILT_IN, *(name for together in written for name in together)]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert len(names) > 600


def test_every_table_is_found_by_the_names_in_it():
    for module, table in tables().items():
        for name in table:
            assert libraries.row_of(name) is table[name], (module, name)


def test_every_row_is_reached_by_the_corpus(written, classify):
    """By one of its names: the first base of what fails that has a row is that row's."""
    reached = set()
    for name, entry in corpus.ENTRIES.items():
        pytest.importorskip(entry.library)
        error = corpus.caught(name)
        while error is not None:
            line = (type_name(cls) for cls in type(error).__mro__)
            reached.add(next(n for n in line if n in BUILT_IN or libraries.row_of(n)))
            error = error.__cause__
    unreached = [" ".join(together) for together in written if not reached & set(together)]
    assert not unreached, "\n".join(unreached)
