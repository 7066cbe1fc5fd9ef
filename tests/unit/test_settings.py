"""settings.py: every variable is read, bounded and explained, and nothing in it raises."""

from __future__ import annotations

import re
import sys

import pytest

from faultplane import schema, settings


def load(**environ):
    return settings.load(environ)


def test_an_empty_environment_gives_the_defaults():
    found = load()
    assert found.problems == ()
    assert found.given == frozenset()
    for variable in settings.VARIABLES:
        assert getattr(found, variable.field) == variable.default


def test_every_variable_has_a_field_and_every_field_is_declared():
    fields = set(settings.Settings._fields)
    declared = [variable.field for variable in settings.VARIABLES]
    assert len(set(declared)) == len(declared)
    computed = {
        "runtime_directory",
        "temporary_directory",
        "resource_attributes",
        "given",
        "problems",
    }
    assert fields == set(declared) | computed


def test_every_variable_is_documented():
    for variable in settings.VARIABLES:
        assert variable.name.startswith(settings.PREFIX)
        assert variable.unit
        assert variable.bounds
        assert variable.doc.endswith(".")


def test_the_documented_bounds_of_a_domain_name_say_how_it_starts():
    (domain,) = [v for v in settings.VARIABLES if v.name == "FAULTPLANE_DOMAIN"]
    assert domain.bounds.endswith("the first a letter or digit")


GOOD = [
    ("FAULTPLANE_DIR", "/tmp/x", "directory", "/tmp/x"),
    ("FAULTPLANE_DOMAIN", "a" * 64, "domain", "a" * 64),
    ("FAULTPLANE_SERVICE", "s" * 255, "service", "s" * 255),
    ("FAULTPLANE_VERSION", "1.2", "version", "1.2"),
    ("FAULTPLANE_ENVIRONMENT", "production", "environment", "production"),
    ("FAULTPLANE_INSTANCE", "i-1", "instance", "i-1"),
    ("FAULTPLANE_CORE", "python", "core", "python"),
    ("FAULTPLANE_BUDGET_BYTES", str(schema.BUDGET_BYTES_MIN), "budget_bytes", 2 << 20),
    ("FAULTPLANE_BUDGET_BYTES", "16MiB", "budget_bytes", 16 << 20),
    ("FAULTPLANE_BUDGET_BYTES", " 1 GiB ", "budget_bytes", 1 << 30),
    ("FAULTPLANE_BUDGET_BYTES", "1024GiB", "budget_bytes", settings.BUDGET_BYTES_MAX),
    ("FAULTPLANE_BUDGET_BYTES", "1TiB", "budget_bytes", settings.BUDGET_BYTES_MAX),
    ("FAULTPLANE_DETAIL_PER_SECOND", "0", "detail_per_second", 0),
    ("FAULTPLANE_DETAIL_PER_SECOND", "1000000", "detail_per_second", 1_000_000),
    ("FAULTPLANE_MESSAGES", "raw", "messages", "raw"),
    ("FAULTPLANE_DISABLED", "TRUE", "disabled", True),
    ("FAULTPLANE_DISABLED", "0", "disabled", False),
    ("FAULTPLANE_HOOKS", "none", "hooks", ()),
    ("FAULTPLANE_HOOKS", "all", "hooks", settings.HOOKS),
    ("FAULTPLANE_HOOKS", "logging, excepthook,logging", "hooks", ("logging", "excepthook")),
    ("FAULTPLANE_IGNORE", "builtins.KeyError, a.b.C", "ignore", ("builtins.KeyError", "a.b.C")),
    ("FAULTPLANE_GROUP_READABLE", "yes", "group_readable", True),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), GOOD)
def test_a_value_within_bounds_is_taken(name, text, field, value):
    found = load(**{name: text})
    assert found.problems == ()
    assert getattr(found, field) == value
    assert found.given == {field}


BAD = [
    ("FAULTPLANE_DIR", "relative/path", "absolute path"),
    ("FAULTPLANE_DOMAIN", "a" * 65, "1 to 64"),
    ("FAULTPLANE_DOMAIN", "../etc", "1 to 64"),
    ("FAULTPLANE_DOMAIN", "a/b", "1 to 64"),
    ("FAULTPLANE_DOMAIN", ".x", "starting with a letter or digit, got '.x'"),
    ("FAULTPLANE_DOMAIN", "-x", "starting with a letter or digit, got '-x'"),
    ("FAULTPLANE_SERVICE", "é" * 128, "at most 255 bytes, got 256"),
    ("FAULTPLANE_SERVICE", "a\x07b", "printable"),
    ("FAULTPLANE_CORE", "rust", "one of auto, cython, python, got 'rust'"),
    ("FAULTPLANE_BUDGET_BYTES", str((2 << 20) - 1), "at least 2097152 bytes, got 2097151"),
    ("FAULTPLANE_BUDGET_BYTES", str((1 << 40) + 1), "at most 1099511627776 bytes, got"),
    ("FAULTPLANE_BUDGET_BYTES", "-1", "number of bytes"),
    ("FAULTPLANE_BUDGET_BYTES", "64MB", "number of bytes"),
    ("FAULTPLANE_BUDGET_BYTES", "64mib", "of KiB, MiB, GiB, TiB such as 64MiB, got '64mib'"),
    ("FAULTPLANE_BUDGET_BYTES", "2TiB", "at most 1099511627776 bytes, got 2199023255552"),
    ("FAULTPLANE_DETAIL_PER_SECOND", "-1", "0 to 1000000"),
    ("FAULTPLANE_DETAIL_PER_SECOND", "1000001", "0 to 1000000"),
    ("FAULTPLANE_DETAIL_PER_SECOND", "٣", "0 to 1000000"),
    ("FAULTPLANE_MESSAGES", "RAW", "one of redact, template, raw"),
    ("FAULTPLANE_DISABLED", "maybe", "must be 1 or 0"),
    ("FAULTPLANE_HOOKS", "excepthook,nothing", "got 'nothing'"),
    ("FAULTPLANE_IGNORE", "KeyError,a b", "got 'a b'"),
    ("FAULTPLANE_IGNORE", ",".join(f"t{i}" for i in range(257)), "at most 256 types, got 257"),
    ("FAULTPLANE_GROUP_READABLE", "2", "must be 1 or 0"),
]


@pytest.mark.parametrize(("name", "text", "says"), BAD)
def test_a_value_out_of_bounds_gives_the_default_and_one_sentence(name, text, says):
    found = load(**{name: text})
    (problem,) = found.problems
    assert problem.startswith(f"{name} must ")
    assert says in problem
    assert "using " in problem
    assert found._replace(problems=()) == load()


def test_an_empty_value_counts_as_unset():
    assert load(**{variable.name: "  " for variable in settings.VARIABLES}) == load()


def test_a_misspelt_name_is_reported_with_the_nearest():
    (problem,) = load(FAULTPLANE_BUGDET_BYTES="1").problems
    assert problem == (
        "FAULTPLANE_BUGDET_BYTES is not a setting; did you mean FAULTPLANE_BUDGET_BYTES?"
    )
    assert load(FAULTPLANE_XYZ="1").problems == ("FAULTPLANE_XYZ is not a setting",)


def test_names_for_the_build_and_for_children_are_not_misspelt():
    assert load(FAULTPLANE_REQUIRE_CORE="1", FAULTPLANE_RUN_HOOKS="1").problems == ()


def test_opentelemetry_names_the_service_where_nothing_nearer_does():
    attributes = "service.name=from%20attributes,service.version=2,deployment.environment=old"
    found = load(OTEL_RESOURCE_ATTRIBUTES=attributes)
    assert (found.service, found.version, found.environment) == ("from attributes", "2", "old")
    assert found.resource_attributes[0] == ("service.name", "from attributes")
    found = load(OTEL_RESOURCE_ATTRIBUTES=attributes, OTEL_SERVICE_NAME="otel")
    assert found.service == "otel"
    found = load(OTEL_SERVICE_NAME="otel", FAULTPLANE_SERVICE="own")
    assert found.service == "own"


def test_malformed_resource_attributes_are_reported_and_the_others_kept():
    found = load(OTEL_RESOURCE_ATTRIBUTES="a=1,broken,=x,b=")
    assert found.resource_attributes == (("a", "1"), ("b", ""))
    assert len(found.problems) == 2
    many = ",".join(f"k{i}=v" for i in range(65))
    found = load(OTEL_RESOURCE_ATTRIBUTES=many)
    assert len(found.resource_attributes) == settings.RESOURCE_ATTRIBUTES_MAX
    assert "at most 64 pairs, got 65" in found.problems[0]


def test_a_refused_fallback_names_where_the_value_came_from():
    (problem,) = load(OTEL_SERVICE_NAME="x" * 256).problems
    assert problem.startswith("OTEL_SERVICE_NAME must be at most 255 bytes, got 256")


def test_the_runtime_directory_is_taken_when_absolute():
    assert load(XDG_RUNTIME_DIR="/run/user/1").runtime_directory == "/run/user/1"
    assert load(XDG_RUNTIME_DIR="run").runtime_directory is None
    assert load(TMPDIR="/scratch").runtime_directory is None


def test_on_macos_the_temporary_directory_stands_in_since_it_is_the_users_own(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert load(TMPDIR="/var/folders/x/T").runtime_directory == "/var/folders/x/T"
    assert load(TMPDIR="/scratch", XDG_RUNTIME_DIR="/run/user/1").runtime_directory == "/run/user/1"


def test_the_temporary_directory_is_taken_when_absolute():
    assert load(TMPDIR="/scratch").temporary_directory == "/scratch"
    assert load(TMPDIR="tmp").temporary_directory is None


def test_bytes_that_are_not_utf8_are_refused_not_raised():
    found = load(FAULTPLANE_SERVICE="a\udcff")
    assert found.service == "unknown_service:python"
    assert len(found.problems) == 1


def test_the_process_environment_is_the_default_source(monkeypatch):
    monkeypatch.setenv("FAULTPLANE_DOMAIN", "other")
    assert settings.load().domain == "other"


def test_problems_print_without_control_characters():
    for name, text, _ in BAD:
        (problem,) = load(**{name: text}).problems
        assert not re.search(r"[\x00-\x1f]", problem)
