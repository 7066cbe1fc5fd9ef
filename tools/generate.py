#!/usr/bin/env python3
"""Write every file that follows from ``schema.py`` and ``settings.py``, or check them.

    python tools/generate.py            write the files
    python tools/generate.py --check    compare byte for byte; exit 1 and name those that differ

Needs nothing but the standard library, so it runs before anything is built.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "faultplane"


def _load(name: str) -> Any:
    """The module ``faultplane.<name>`` by its path, without importing the package."""
    qualified = f"faultplane.{name}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    if "faultplane" not in sys.modules:
        package = ModuleType("faultplane")
        package.__path__ = [str(PACKAGE)]
        sys.modules["faultplane"] = package
    spec = importlib.util.spec_from_file_location(qualified, PACKAGE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    spec.loader.exec_module(module)
    return module


schema = _load("schema")
control_schema = _load("control_schema")
settings = _load("settings")

NOTICE = (
    "Generated from schema.py and control_schema.py by tools/generate.py. Do not edit: "
    "run `make generate`."
)

# ------------------------------------------------------------------------------ C and Cython

INT_MAX = 2**31 - 1

LAYOUTS = (*schema.LAYOUTS, *control_schema.LAYOUTS)

WIDE = frozenset(
    {
        *(
            name
            for name in vars(control_schema)
            if name.startswith(("BREAKER_", "BUCKET_", "BUDGET_", "LEASE_"))
            and type(getattr(control_schema, name)) is int
        ),
        "BUDGET_BYTES_DEFAULT",
        "BUDGET_BYTES_MIN",
        "LANE_CLOSED",
        "LANE_COUNT_MASK",
        "LANE_FREE",
        "LANE_GENERATION_MASK",
        "LANE_OPEN",
        "LANE_OWNER_MASK",
        "OWNER_DEAD",
        "OWNER_EXITED",
        "OWNER_FOLDED",
        "OWNER_FREE",
        "OWNER_LIVE",
        "CONTROL_HASH",
        "SCHEMA_HASH",
        "SEGMENT_ACTIVE",
        "SEGMENT_SEALED",
        "SEGMENT_SEALING",
    }
)
"""Constants that meet 64-bit words: they are uint64_t, so that a shift of one keeps its bits."""

C_TYPES = {"B": "uint8_t", "I": "uint32_t", "i": "int32_t", "Q": "uint64_t", "q": "int64_t"}

Constants = list[tuple[str, int]]
Section = tuple[str, Constants]


def _upper(name: str) -> str:
    """``RateLimit`` as ``RATE_LIMIT``; ``not_initialised`` as ``NOT_INITIALISED``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _vocabulary() -> Iterator[Section]:
    for title, prefix, terms in (
        ("Kinds", "KIND", schema.KINDS),
        ("Categories", "CATEGORY", schema.CATEGORIES),
        ("Recovery strategies", "STRATEGY", schema.STRATEGIES),
        ("Drop reasons", "DROP", schema.DROP_REASONS),
    ):
        constants = [(f"{prefix}_{_upper(term.name)}", term.code) for term in terms]
        yield f"{title} (codes on disk)", [*constants, (f"{prefix}_COUNT", len(terms))]
    totals = [(f"TOTAL_{name.upper()}", i) for i, name in enumerate(control_schema.TOTALS)]
    totals.append(("TOTALS_COUNT", len(totals)))
    yield "Totals of a control cell (index)", totals
    severities = [(f"SEVERITY_{_upper(s.name)}", s.number) for s in schema.SEVERITIES]
    yield "Severities (OpenTelemetry severity numbers)", severities


def _columns() -> Iterator[Section]:
    names = [_upper(column.name) for column in schema.COLUMNS]
    yield (
        "Columns (index into column_offsets and COLUMN_WIDTHS)",
        [
            *((f"COLUMN_{name}", index) for index, name in enumerate(names)),
            ("COLUMN_COUNT", len(names)),
        ],
    )
    widths = zip(names, (column.width for column in schema.COLUMNS), strict=True)
    yield "Columns (bytes a row)", [(f"COLUMN_{name}_WIDTH", width) for name, width in widths]


def _structures() -> Iterator[Section]:
    for layout in LAYOUTS:
        prefix = _upper(layout.name)
        constants = [(f"{prefix}_SIZE", layout.size)]
        for field in layout.fields:
            name = f"{prefix}_{_upper(field.name)}"
            constants.append((f"{name}_OFFSET", layout.offset[field.name]))
            if field.code.endswith("s"):
                constants.append((f"{name}_WIDTH", layout.width(field.name)))
        yield f"Structure: {layout.name}", constants


def _plain() -> Section:
    """Every integer constant of the schema, in the order it is declared."""
    constants = [
        (name, value)
        for name, value in {**vars(control_schema), **vars(schema)}.items()
        if name.isupper() and type(value) is int and not name.startswith("_")
    ]
    return "Limits, states, masks, locks, geometry", constants


def _derived() -> Section:
    shift = schema.LANE_STATE_SHIFT
    words = [
        ("LANE_OPEN_WORD", schema.LANE_OPEN << shift),
        ("LANE_CLOSED_WORD", schema.LANE_CLOSED << shift),
        ("LANE_STATE_MASK_WORD", 3 << shift),
    ]
    magic = [
        (f"MAGIC_{name.upper()}", int.from_bytes(value, "little"))
        for name, value in schema.MAGIC.items()
    ]
    return "Lane states in place, and magics as little-endian u64", words + magic


def sections() -> list[Section]:
    """Every constant of the compiled core, grouped; a name never has two values."""
    seen: dict[str, int] = {}
    grouped: list[Section] = []
    for title, constants in (
        _plain(),
        _derived(),
        *_vocabulary(),
        *_columns(),
        *_structures(),
    ):
        fresh = []
        for name, value in constants:
            if seen.setdefault(name, value) != value:
                raise ValueError(f"{name} is both {seen[name]} and {value}")
            if name not in {known for _, group in grouped for known, _ in group}:
                fresh.append((name, value))
        grouped.append((title, fresh))
    return grouped


def _is_wide(name: str, value: int) -> bool:
    return name in WIDE or value > INT_MAX


def _c_value(name: str, value: int) -> str:
    if not _is_wide(name, value):
        return str(value)
    return f"UINT64_C(0x{value:X})" if value > 9 else f"UINT64_C({value})"


def _members(layout: Any) -> Iterator[tuple[str, str, str]]:
    """(C type, name, array part) of every member, padding left to the compiler."""
    for field in layout.fields:
        count, code = field.code[:-1], field.code[-1]
        kind = "uint8_t" if code == "s" else C_TYPES[code]
        yield kind, field.name, f"[{count}]" if count else ""


def _c_struct(layout: Any) -> list[str]:
    name = f"{layout.name}_t"
    lines = ["typedef struct {"]
    end = 0
    for (kind, member, array), field in zip(_members(layout), layout.fields, strict=True):
        hot = "_Alignas(128) " if field.code == schema.HOT_WORD else ""
        lines.append(f"    {hot}{kind} {member}{array};")
        end = layout.offset[member] + layout.width(member)
    if end < layout.size:
        lines.append(f"    uint8_t reserved[{layout.size - end}];")
    lines.append(f"}} {name};")
    prefix = _upper(layout.name)
    lines.append(f'_Static_assert(sizeof({name}) == {prefix}_SIZE, "size of {name}");')
    for field in layout.fields:
        constant = f"{prefix}_{_upper(field.name)}_OFFSET"
        lines.append(f"_Static_assert(offsetof({name}, {field.name}) == {constant},")
        lines.append(f'               "{name}.{field.name}");')
    return [*lines, ""]


def layout_header() -> str:
    """``_core/layout.h``: constants as macros, structures with their offsets asserted."""
    lines = [
        f"/* {NOTICE} */",
        "#ifndef FAULTPLANE_LAYOUT_H",
        "#define FAULTPLANE_LAYOUT_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__",
        '#error "the files of a domain are little-endian, and so must the machine be"',
        "#endif",
        "",
    ]
    for title, constants in sections():
        lines.append(f"/* {title} */")
        lines.extend(f"#define {name} {_c_value(name, value)}" for name, value in constants)
        lines.append("")
    widths = ", ".join(str(column.width) for column in schema.COLUMNS)
    lines.append(f"static const uint8_t COLUMN_WIDTHS[COLUMN_COUNT] = {{{widths}}};")
    most = [control_schema.CONFIG_MAX[field.name] for field in control_schema.CONFIG_FIELDS]
    bounds = "".join(f"    UINT64_C({number}),\n" for number in most)
    lines.append(f"static const uint64_t CONFIG_MAX[CONFIG_WORDS] = {{\n{bounds}}};")
    reasons = "".join(f'    "{reason.name}",\n' for reason in schema.DROP_REASONS)
    lines.append(f"static const char *const DROP_NAMES[DROP_COUNT] = {{\n{reasons}}};")
    lines.append("")
    for layout in LAYOUTS:
        lines.extend(_c_struct(layout))
    total = " + ".join(f"COLUMN_{_upper(c.name)}_WIDTH" for c in schema.COLUMNS)
    wrapped = total.replace(" + COLUMN_T", "\n               + COLUMN_T")
    lines.append(f"_Static_assert({wrapped} == ROW_BYTES,")
    lines.append('               "the columns fill a row");')
    lines.append("_Static_assert(LANE_ROWS % CACHE_LINE_BYTES == 0,")
    lines.append('               "no two lanes share a cache line");')
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def layout_declarations() -> str:
    """``_core/layout.pxd``: what ``layout.h`` defines, for ``cimport``."""
    lines = [
        f"# {NOTICE}",
        '"""Constants and structures of the files of a domain, for ``cimport``."""',
        "",
        "from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t",
        "",
        'cdef extern from "layout.h" nogil:',
    ]
    for title, constants in sections():
        narrow = [name for name, value in constants if not _is_wide(name, value)]
        wide = [name for name, value in constants if _is_wide(name, value)]
        if narrow or wide:
            lines.append(f"    # {title}")
        if narrow:
            lines.append("    enum:")
            lines.extend(f"        {name}" for name in narrow)
        lines.extend(f"    const uint64_t {name}" for name in wide)
        lines.append("")
    lines.append(f"    const uint8_t COLUMN_WIDTHS[{len(schema.COLUMNS)}]")
    lines.append(f"    const char* DROP_NAMES[{len(schema.DROP_REASONS)}]")
    lines.append("")
    for layout in LAYOUTS:
        lines.append(f"    ctypedef struct {layout.name}_t:")
        lines.extend(f"        {kind} {name}{array}" for kind, name, array in _members(layout))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


# ------------------------------------------------------------------------------------ the docs


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        cells = (str(cell).replace("|", r"\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _record_table() -> str:
    how = {"plain": "", "dictionary": "code into the dictionary", "view": "view into the arena"}
    rows = [(f"`{c.name}`", c.width, f"`{c.arrow}`", how[c.logical], c.doc) for c in schema.COLUMNS]
    return _table(("column", "bytes", "Arrow", "stored as", "meaning"), rows)


def _vocabulary_tables() -> str:
    parts = []
    for title, intro, terms in (
        ("Kinds", "What went wrong.", schema.KINDS),
        ("Categories", "Where it belongs.", schema.CATEGORIES),
        ("Recovery strategies", "What helps.", schema.STRATEGIES),
        ("Drop reasons", "Why a detail was not written. No count is lost.", schema.DROP_REASONS),
    ):
        rows = [(term.code, f"`{term.name}`", term.doc) for term in terms]
        parts += [f"### {title}", intro, _table(("code", "name", "meaning"), rows)]
    severities = [(s.number, s.name, f"`{s.text}`") for s in schema.SEVERITIES]
    parts += ["### Severities", "Named as OpenTelemetry's severity numbers and texts."]
    parts.append(_table(("severity_number", "name", "severity_text"), severities))
    return "\n\n".join(parts)


def _structure_tables() -> str:
    parts = []
    for layout in LAYOUTS:
        rows = [
            (layout.offset[f.name], f"`{f.name}`", layout.width(f.name), f"`{f.code}`", f.doc)
            for f in layout.fields
        ]
        parts.append(f"### `{layout.name}`, {layout.size} bytes")
        parts.append(_table(("offset", "field", "bytes", "struct code", "meaning"), rows))
    return "\n\n".join(parts)


def _files_table() -> str:
    rows: list[tuple[object, ...]] = [
        ("`registry`", f"{schema.REGISTRY_BYTES} bytes", "`registry`, overflow cells, segments"),
        ("`owners`", f"owner slots × {schema.OWNER.size} bytes", "`owner` each"),
        ("`locks`", "empty", "its bytes are locked, never written"),
        ("`dict-<generation>`", "see geometry", "`dictionary`, `dictionary_entry` each, text"),
        ("`stacks-<generation>`", "see geometry", "the same, keyed by fingerprint"),
        ("`seg-<number>`", "see geometry", "`segment`, lane words, columns, arena"),
        ("`agg-<slot>`", "64 KiB to 1 MiB", "`aggregate`, `cell` each with its names"),
        ("`agg-retired`", "grows", "the same, of processes that are gone"),
        ("`breath-<slot>`", f"{schema.BREATH_BYTES} bytes", "`breath`, `inflight` each, `fatal`"),
        ("`deaths`", "at most 1 MiB", "a line each: crc32 in hex, a space, JSON"),
        ("`control`", "sparse", "`control`, `control_cell` each, `lease` of each owner"),
    ]
    return _table(("file", "size", "structures"), rows)


def _geometry_table() -> str:
    rows: list[tuple[object, ...]] = []
    for mebibytes in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        plan = schema.geometry(mebibytes << 20)
        shape = schema.segment_shape(plan.lanes_per_segment)
        numbers = (plan.segments_max, plan.lanes_per_segment, shape.file_bytes)
        kept = (shape.rows * plan.segments_max, plan.owner_slots)
        row = (f"{number:,}" for number in numbers + kept)
        rows.append((f"{mebibytes} MiB", *row, f"{plan.dictionary_bytes >> 10:,} KiB"))
    header = ("budget", "segments", "lanes each", "bytes each", "rows", "processes", "dictionary")
    return _table(header, rows)


RECORD_PAGE = """\
<!-- {notice} -->

# The record and its files

Layout version {version}, schema hash `{hash}`. All integers are little-endian and naturally
aligned.

## The record

A record is one row of {columns} columns, {row_bytes} bytes, and on average at most {arena_bytes}
bytes of text in the arena. The Arrow column is the format string of the Arrow C data interface; a
dictionary column is an `i` of codes, a view column holds 16 bytes a row.

{record}

A row of zeros is a valid row: code 0 and zero ids mean that a value is absent.

### Flags

{flags}

## Vocabulary

{vocabulary}

## Files of a domain

They lie in `<base>/<domain>/<layout version>-<core>/`. Names that start with `tmp-` are unfinished
and never read.

{files}

## Geometry

What follows from `FAULTPLANE_BUDGET_BYTES`. A lane is {lane_rows} rows, {lane_bytes} bytes with its
arena; one writer owns it.

{geometry}

## Structures

Struct codes are those of Python's `struct`. A field of code `16Q` is one 64-bit word that several
processes change, alone on two cache lines.

{structures}
"""

ENVIRONMENT_PAGE = """\
<!-- {notice} -->

# Environment variables

Read once, when a process initialises; what a call gives in code wins. A value out of bounds is not
used: the default is taken, and `faultplane doctor` names variable, bound and value. An empty value
counts as unset.

{variables}

## Build and test

{build_variables}
"""


def record_page() -> str:
    """``docs/record.md``: the record, the vocabulary, the files and their geometry."""
    flags = [(bit, f"`{name}`") for name, bit in schema.FLAGS.items()]
    return RECORD_PAGE.format(
        notice=NOTICE,
        version=schema.LAYOUT_VERSION,
        hash=f"0x{schema.SCHEMA_HASH:016x}",
        columns=len(schema.COLUMNS),
        row_bytes=schema.ROW_BYTES,
        arena_bytes=schema.ARENA_BYTES_PER_ROW,
        record=_record_table(),
        flags=_table(("bit", "name"), flags),
        vocabulary=_vocabulary_tables(),
        files=_files_table(),
        lane_rows=schema.LANE_ROWS,
        lane_bytes=f"{schema.LANE_BYTES:,}",
        geometry=_geometry_table(),
        structures=_structure_tables(),
    )


def _fallback(name: str) -> str:
    if name.startswith("otel:"):
        return f"`{name.removeprefix('otel:')}` of `OTEL_RESOURCE_ATTRIBUTES`"
    return f"`{name}`"


def environment_page() -> str:
    """``docs/environment.md``: every variable with its default, unit, bounds and meaning."""
    rows = []
    for v in settings.VARIABLES:
        default = ",".join(v.default) if isinstance(v.default, tuple) else v.default
        default = int(default) if isinstance(default, bool) else default
        shown = "" if default in (None, "") else f"`{default}`"
        fallbacks = ", then ".join(map(_fallback, v.fallbacks))
        doc = f"{v.doc} Falls back on {fallbacks}." if fallbacks else v.doc
        rows.append((f"`{v.name}`", shown, v.unit, v.bounds, doc))
    build = [(f"`{v.name}`", v.doc) for v in settings.BUILD_VARIABLES]
    return ENVIRONMENT_PAGE.format(
        notice=NOTICE.replace("schema.py and control_schema.py", "settings.py"),
        variables=_table(("variable", "default", "unit", "bounds", "meaning"), rows),
        build_variables=_table(("variable", "meaning"), build),
    )


# ---------------------------------------------------------------------------------- the files

OUTPUTS: dict[str, Callable[[], str]] = {
    "src/faultplane/_core/layout.h": layout_header,
    "src/faultplane/_core/layout.pxd": layout_declarations,
    "docs/record.md": record_page,
    "docs/environment.md": environment_page,
}


def stale(root: Path = ROOT) -> list[str]:
    """Paths, relative to ``root``, that are missing or differ from what would be written."""
    return [
        path
        for path, build in OUTPUTS.items()
        if not (root / path).is_file() or (root / path).read_bytes() != build().encode()
    ]


def main(arguments: Iterable[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description="write or check the generated files")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if any differs")
    options = parser.parse_args(None if arguments is None else list(arguments))
    paths = stale()
    for path in paths:
        if options.check:
            print(f"not current: {path} (run `make generate`)", file=sys.stderr)
            continue
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(OUTPUTS[path]().encode())
        print(f"wrote {path}")
    return 1 if options.check and paths else 0


if __name__ == "__main__":
    sys.exit(main())
