"""Every ``FAULTPLANE_*`` variable: its name, default, unit, bounds and meaning, as data.

This module and `_backend` are the only readers of ``os.environ``. A bad value never raises: the
default is taken and `Settings.problems` says what was wrong, which ``faultplane doctor`` prints.

>>> settings = load({"FAULTPLANE_BUDGET_BYTES": "1"})
>>> settings.budget_bytes
67108864
>>> print(settings.problems[0])
FAULTPLANE_BUDGET_BYTES must be at least 2097152 bytes, got 1; using 67108864
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from faultplane import schema

PREFIX: Final = "FAULTPLANE_"
BUDGET_BYTES_MAX: Final = 1 << 40
DETAIL_PER_SECOND_MAX: Final = 1_000_000
IGNORE_TYPES_MAX: Final = 256
RESOURCE_ATTRIBUTES_MAX: Final = 64
USER_KEY_BYTES: Final = (16, 64)
DOMAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

CORES: Final = ("auto", "cython", "python")
MESSAGE_MODES: Final = ("redact", "template", "raw")
HOOKS: Final = (
    "excepthook",
    "threading",
    "multiprocessing",
    "unraisable",
    "asyncio",
    "logging",
    "fatal",
)
INTEGRATIONS: Final = (
    "aiohttp",
    "celery",
    "django",
    "fastapi",
    "flask",
    "grpc",
    "rq",
    "starlette",
)

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_UNITS: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Refused(ValueError):
    """A value that a parser turned down; the text says what it must be."""


# ------------------------------------------------------------------------------------ parsers


def _parse_text(text: str) -> str:
    if (size := len(text.encode("utf-8", "surrogateescape"))) > schema.NAME_BYTES_MAX:
        raise Refused(f"must be at most {schema.NAME_BYTES_MAX} bytes, got {size}")
    if not text.isprintable():
        raise Refused(f"must be printable text, got {text!r}")
    return text


def _parse_directory(text: str) -> str:
    if not os.path.isabs(text):
        raise Refused(f"must be an absolute path, got {text!r}")
    return text


def _parse_domain(text: str) -> str:
    if not DOMAIN_NAME.fullmatch(text):
        raise Refused(
            "must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or "
            f"digit, got {text!r}"
        )
    return text


def _parse_budget(text: str) -> int:
    match = re.fullmatch(rf"([0-9]{{1,16}})\s*({'|'.join(_UNITS)})", text)
    if match is None:
        raise Refused(
            "must be a number of bytes such as 67108864, or of "
            f"{', '.join(filter(None, _UNITS))} such as 64MiB, got {text!r}"
        )
    value = int(match[1]) * _UNITS[match[2]]
    if value < schema.BUDGET_BYTES_MIN:
        raise Refused(f"must be at least {schema.BUDGET_BYTES_MIN} bytes, got {value}")
    if value > BUDGET_BYTES_MAX:
        raise Refused(f"must be at most {BUDGET_BYTES_MAX} bytes, got {value}")
    return value


def _parse_rate(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > DETAIL_PER_SECOND_MAX:
        raise Refused(f"must be 0 to {DETAIL_PER_SECOND_MAX}, got {text!r}")
    return int(text)


def _parse_key(text: str) -> bytes:
    low, high = USER_KEY_BYTES
    key = text.encode("utf-8", "surrogateescape")
    if not low <= len(key) <= high:
        # A key is a secret: its length is all that is told of it.
        raise Refused(f"must be {low} to {high} bytes, got {len(key)}")
    return key


def _parse_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise Refused(f"must be 1 or 0 (true, yes, on, false, no, off), got {text!r}")


def _choice(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise Refused(f"must be one of {', '.join(choices)}, got {text!r}")
        return text

    return parse


def _some_of(choices: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        if text in ("all", "none"):
            return choices if text == "all" else ()
        names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if unknown := [name for name in names if name not in choices]:
            raise Refused(f"must be all, none or some of {', '.join(choices)}, got {unknown[0]!r}")
        return names

    return parse


def _parse_types(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if len(names) > IGNORE_TYPES_MAX:
        raise Refused(f"must name at most {IGNORE_TYPES_MAX} types, got {len(names)}")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise Refused(f"must be dotted names such as builtins.KeyError, got {name!r}")
    return names


# ---------------------------------------------------------------------------------- variables


class Variable(NamedTuple):
    """One environment variable.

    ``fallbacks`` are asked in order when it is unset; ``otel:<key>`` is a key of
    ``OTEL_RESOURCE_ATTRIBUTES``.
    """

    name: str
    field: str
    default: Any
    unit: str
    bounds: str
    parse: Callable[[str], Any]
    doc: str
    fallbacks: tuple[str, ...] = ()


VARIABLES: Final = (
    Variable(
        "FAULTPLANE_DIR",
        "directory",
        None,
        "path",
        "absolute",
        _parse_directory,
        "Directory that holds the domains. Unset: `/dev/shm/faultplane-<uid>`, else "
        "`$XDG_RUNTIME_DIR/faultplane` (on macOS `$TMPDIR/faultplane`), else a private directory "
        "that only this process sees.",
    ),
    Variable(
        "FAULTPLANE_DOMAIN",
        "domain",
        "default",
        "name",
        "1 to 64 of `A-Za-z0-9._-`, the first a letter or digit",
        _parse_domain,
        "Domain to record into. Processes of one domain share counts and records.",
    ),
    Variable(
        "FAULTPLANE_SERVICE",
        "service",
        "unknown_service:python",
        "name",
        f"at most {schema.NAME_BYTES_MAX} bytes",
        _parse_text,
        "`service.name` of this process, where `init(service=…)` does not give it.",
        ("OTEL_SERVICE_NAME", "otel:service.name"),
    ),
    Variable(
        "FAULTPLANE_VERSION",
        "version",
        "",
        "name",
        f"at most {schema.NAME_BYTES_MAX} bytes",
        _parse_text,
        "`service.version` of this process.",
        ("otel:service.version",),
    ),
    Variable(
        "FAULTPLANE_ENVIRONMENT",
        "environment",
        "",
        "name",
        f"at most {schema.NAME_BYTES_MAX} bytes",
        _parse_text,
        "`deployment.environment.name` of this process, such as `production`.",
        ("otel:deployment.environment.name", "otel:deployment.environment"),
    ),
    Variable(
        "FAULTPLANE_INSTANCE",
        "instance",
        "",
        "name",
        f"at most {schema.NAME_BYTES_MAX} bytes",
        _parse_text,
        "`service.instance.id` of this process.",
        ("otel:service.instance.id",),
    ),
    Variable(
        "FAULTPLANE_CORE",
        "core",
        "auto",
        "choice",
        "`auto`, `cython` or `python`",
        _choice(CORES),
        "Which core runs. `auto` takes the compiled one where it was built. A core asked for by "
        "name that cannot run is an ImportError, and so is an unknown name.",
    ),
    Variable(
        "FAULTPLANE_BUDGET_BYTES",
        "budget_bytes",
        schema.BUDGET_BYTES_DEFAULT,
        "bytes",
        f"{schema.BUDGET_BYTES_MIN} to {BUDGET_BYTES_MAX}, as a number or with "
        + ", ".join(f"`{unit}`" for unit in _UNITS if unit),
        _parse_budget,
        "Most that a domain takes of its file system, decided by the process that creates it. At "
        "most a quarter of what the file system and the cgroup have left is used.",
    ),
    Variable(
        "FAULTPLANE_DETAIL_PER_SECOND",
        "detail_per_second",
        0,
        "rows/s",
        f"0 to {DETAIL_PER_SECOND_MAX}",
        _parse_rate,
        "Most rows a second that one process writes for one fingerprint; 0 = no bound. What is "
        "not written is still counted exactly.",
    ),
    Variable(
        "FAULTPLANE_MESSAGES",
        "messages",
        "redact",
        "choice",
        "`redact`, `template` or `raw`",
        _choice(MESSAGE_MODES),
        "What is kept of `str(exception)`: the text with secrets blanked, its template only, or "
        "the text as it is.",
    ),
    Variable(
        "FAULTPLANE_DISABLED",
        "disabled",
        False,
        "flag",
        "`1` or `0`",
        _parse_flag,
        "Off switch: nothing is recorded, counted or created.",
    ),
    Variable(
        "FAULTPLANE_HOOKS",
        "hooks",
        HOOKS,
        "list",
        "`all`, `none`, or a comma-separated list",
        _some_of(HOOKS),
        "Hooks that `install_hooks()` and `faultplane run` install: "
        + ", ".join(HOOKS)
        + ". Unset, `install_hooks()` leaves `logging` out.",
    ),
    Variable(
        "FAULTPLANE_INTEGRATIONS",
        "integrations",
        INTEGRATIONS,
        "list",
        "`all`, `none`, or a comma-separated list",
        _some_of(INTEGRATIONS),
        "Frameworks that `faultplane run` wires when a program imports them: "
        + ", ".join(INTEGRATIONS)
        + ".",
    ),
    Variable(
        "FAULTPLANE_IGNORE",
        "ignore",
        (),
        "list",
        f"at most {IGNORE_TYPES_MAX} dotted names, comma-separated",
        _parse_types,
        "Exception types, with their subclasses, that are never recorded.",
    ),
    Variable(
        "FAULTPLANE_GROUP_READABLE",
        "group_readable",
        False,
        "flag",
        "`1` or `0`",
        _parse_flag,
        "Make the files readable by the group (modes 0750 and 0640), for a sidecar that runs as "
        "another user.",
    ),
    Variable(
        "FAULTPLANE_USER_KEY",
        "user_key",
        None,
        "secret",
        f"{USER_KEY_BYTES[0]} to {USER_KEY_BYTES[1]} bytes",
        _parse_key,
        "Key of the hash under which the users of `set_user()` stand in records. Unset, no user is "
        "kept. Processes with the same key give a user the same hash.",
    ),
)
"""Read when a process initialises; a change later has no effect on it."""


class BuildVariable(NamedTuple):
    """A variable that the build or the tests read."""

    name: str
    doc: str


BUILD_VARIABLES: Final = (
    BuildVariable(
        "FAULTPLANE_REQUIRE_CORE",
        "`1`: a compiled core that cannot be built fails the installation, and one that is "
        "missing fails the tests instead of skipping them.",
    ),
    BuildVariable("FAULTPLANE_SKIP_CORE", "`1`: install the pure-Python core only."),
    BuildVariable(
        "FAULTPLANE_DEBUG",
        "`1`: build the compiled core with assertions, bounds checks and symbols, unoptimised.",
    ),
)

RUN_PREFIX: Final = "FAULTPLANE_RUN"
"""Names that ``faultplane run`` hands to its children; not for users."""


class Settings(NamedTuple):
    """What the environment asks for, checked. See ``docs/environment.md`` for each field."""

    directory: str | None
    domain: str
    service: str
    version: str
    environment: str
    instance: str
    core: str
    budget_bytes: int
    detail_per_second: int
    messages: str
    disabled: bool
    hooks: tuple[str, ...]
    integrations: tuple[str, ...]
    ignore: tuple[str, ...]
    group_readable: bool
    user_key: bytes | None
    runtime_directory: str | None = None
    """``$XDG_RUNTIME_DIR``, where it is an absolute path; on macOS else ``$TMPDIR``, which is the
    user's own there."""
    temporary_directory: str | None = None
    """``$TMPDIR``, where it is an absolute path."""
    resource_attributes: tuple[tuple[str, str], ...] = ()
    """Pairs of ``OTEL_RESOURCE_ATTRIBUTES``, percent-decoded, at most 64."""
    given: frozenset[str] = frozenset()
    """Names of the fields that the environment decided."""
    problems: tuple[str, ...] = ()
    """What was wrong, a sentence each, naming variable, bound and value."""


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings that ``environ`` (default: ``os.environ``) asks for; never raises for a value.

    An empty value counts as unset. Unknown names that start with ``FAULTPLANE_`` are reported.
    """
    source = os.environ if environ is None else environ
    problems: list[str] = []
    attributes = _resource_attributes(source.get("OTEL_RESOURCE_ATTRIBUTES", ""), problems)
    values: dict[str, Any] = {}
    given: set[str] = set()
    for variable in VARIABLES:
        values[variable.field] = variable.default
        name, text = _lookup(variable, source, dict(attributes))
        if not text:
            continue
        try:
            values[variable.field] = variable.parse(text)
            given.add(variable.field)
        except Refused as refusal:
            instead = "none" if variable.unit == "secret" else _shown(variable.default)
            problems.append(f"{name} {refusal}; using {instead}")
    problems.extend(_unknown_names(source))
    runtime, temporary = source.get("XDG_RUNTIME_DIR", ""), source.get("TMPDIR", "")
    if sys.platform == "darwin":
        runtime = runtime or temporary
    return Settings(
        **values,
        runtime_directory=runtime if os.path.isabs(runtime) else None,
        temporary_directory=temporary if os.path.isabs(temporary) else None,
        resource_attributes=attributes,
        given=frozenset(given),
        problems=tuple(problems),
    )


def _lookup(
    variable: Variable, source: Mapping[str, str], attributes: Mapping[str, str]
) -> tuple[str, str]:
    """(Name that decided, its text) of a variable; the text is empty when nothing did."""
    for name in (variable.name, *variable.fallbacks):
        key = name.removeprefix("otel:")
        text = attributes.get(key, "") if key != name else source.get(name, "").strip()
        if text:
            return (name if key == name else f"OTEL_RESOURCE_ATTRIBUTES {key}"), text
    return variable.name, ""


def _resource_attributes(text: str, problems: list[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of ``key=value,key=value``, percent-decoded, as OpenTelemetry specifies them."""
    if not text:
        return ()
    from urllib.parse import unquote  # 3 ms that most processes need not spend

    pairs: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip():
            pairs[key.strip()] = unquote(value.strip())
        elif part.strip():
            problems.append(
                f"OTEL_RESOURCE_ATTRIBUTES must be key=value pairs, got {part.strip()!r}; "
                "using the others"
            )
    if len(pairs) > RESOURCE_ATTRIBUTES_MAX:
        problems.append(
            f"OTEL_RESOURCE_ATTRIBUTES must have at most {RESOURCE_ATTRIBUTES_MAX} pairs, got "
            f"{len(pairs)}; using the first {RESOURCE_ATTRIBUTES_MAX}"
        )
    return tuple(pairs.items())[:RESOURCE_ATTRIBUTES_MAX]


def _unknown_names(source: Mapping[str, str]) -> list[str]:
    """A sentence for each ``FAULTPLANE_*`` name that nothing reads."""
    known = {variable.name for variable in VARIABLES} | {v.name for v in BUILD_VARIABLES}
    unknown = sorted(
        name
        for name in source
        if name.startswith(PREFIX) and name not in known and not name.startswith(RUN_PREFIX)
    )
    if not unknown:
        return []
    from difflib import get_close_matches  # only needed to word a complaint

    words = [name.removeprefix(PREFIX) for name in sorted(known)]
    sentences = []
    for name in unknown:
        close = get_close_matches(name.removeprefix(PREFIX), words, n=1, cutoff=0.7)
        hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
        sentences.append(f"{name} is not a setting{hint}")
    return sentences


def _shown(default: Any) -> str:
    if default is None or default == "":
        return "the default"
    return ",".join(default) if isinstance(default, tuple) else str(default)
