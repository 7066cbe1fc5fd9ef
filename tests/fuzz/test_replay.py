"""Every case that is kept goes through every reader, and what a fuzzer must find is found."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import os
import textwrap
import zlib

import pytest

from faultplane import cli
from faultplane._backend import CORE_NAME
from faultplane.errors import FaultplaneError
from faultplane.store import reader, reading
from fuzz import cases, seeds
from fuzz.bases import CORES, load
from fuzz.kinds import KINDS
from fuzz.mutation import Mutator
from fuzz.scene import Scene
from fuzz.target import Target

READ = [kind for kind in KINDS if not kind.startswith("pure-")]
WHOLE = 12
"""So many cases of each kind go through a whole domain; those that failed once all do."""
COMMANDS = (
    ["doctor"],
    ["tail", "--no-follow"],
    ["deaths", "--all"],
    ["deaths", "--all", "--json"],
    ["breakers", "--json"],
    ["why", "bank"],
)
TABLES = (
    "counts", "counters", "drops", "deaths", "owners", "stacks", "dependencies", "transitions",
)  # fmt: skip


def some(kind: str) -> list[bytes]:
    """Cases that failed, and some of the others, always the same."""
    failed = seeds.failed(kind)
    others = sorted(set(seeds.load(kind)) - set(failed), key=zlib.crc32)
    return [*failed, *others[:WHOLE]]


def damaged(kind: str, case: bytes, target: Target) -> tuple[str, str]:
    """(Core, name) of the file that a case has just changed in the scenes of ``target``."""
    index, damage = cases.apply(cases.decode(case), target.files.contents, target.kind.repair)
    core, name = target.files.names[index]
    target.scenes[core].put(name, damage)
    return core, name


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_read_or_refused(kind):
    with Target(kind, thorough=True) as target:
        for case in [b"", *seeds.load(kind)]:
            try:
                target.run(case)
            except Exception as error:
                error.add_note(f"{kind} {case.hex()}")
                raise
        assert target.executions > 1, "there is a corpus"


@pytest.mark.parametrize("kind", KINDS)
def test_every_base_is_read_as_it_is(kind):
    """Else the fuzzer looks at refusals alone: python -m fuzz.bases makes them anew."""
    with Target(kind) as target:
        for base in range(len(target.files.names)):
            target.execute(cases.Case(base, 0, -1, ()))
            assert target.was_read, target.files.names[base]


@pytest.mark.parametrize("kind", READ)
def test_a_domain_with_a_damaged_file_is_read_as_far_as_it_goes(kind):
    with Target(kind) as target:
        for case in some(kind):
            core, name = damaged(kind, case, target)
            try:
                _read_domain(str(target.scenes[core].domain))
            except Exception as error:
                error.add_note(f"{kind} {name} {case.hex()}")
                raise
            target.scenes[core].put(name, None)


def _read_domain(path: str) -> None:
    """What a program asks of a domain, each part refused by an error of the library at most."""
    with reading.Domain(path) as domain:
        with contextlib.suppress(FaultplaneError):
            records = domain.records()
            records.rows(last=5)
            domain.records(since=str(records.cursor))
        for name in TABLES:
            with contextlib.suppress(FaultplaneError):
                getattr(domain, name)()
        assert all(domain.problems())


@pytest.mark.parametrize("kind", READ)
def test_the_commands_show_a_domain_with_a_damaged_file(kind, monkeypatch):
    with Target(kind) as target:
        for case in some(kind)[:8]:
            core, name = damaged(kind, case, target)
            base = str(target.scenes[core].domain.parent)
            for words in COMMANDS:
                out = io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                    code = cli.main([*words, "--domain", "fuzz", "--directory", base])
                assert code in {0, 1, 2}, (  # nothing, a problem, a domain that cannot be read
                    words,
                    code,
                    name,
                    case.hex(),
                    out.getvalue(),
                )
                told = out.getvalue()
                assert code != 2 or "cannot be read" in told or "has no dependency" in told
                out.getvalue().encode()
            target.scenes[core].put(name, None)


RECORD = """
import sys
import faultplane as fp
from faultplane._backend import core
from faultplane.store import lifecycle, maintain
fp.init(domain="fuzz")
for n in range(3):
    try:
        raise LookupError(f"a message that does not fit into twelve bytes, {n}")
    except LookupError as error:
        fp.record(error, "charge")
fp.counter("orders").add(2)
for report in maintain.maintain(sys.argv[1]):
    str(report)
rows = [row for row in fp.init(domain="fuzz").counts_rows() if row["type"].endswith("LookupError")]
core.unbind(True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", READ)
def test_who_records_beside_a_damaged_file_goes_on(kind, run_python):
    """With real processes: an application must not notice."""
    with Target(kind) as target:
        chosen = [case for case in some(kind) if _core_of(target, case) == CORE_NAME][:3]
        for case in chosen:
            with Scene(CORE_NAME) as scene:
                index, damage = cases.apply(
                    cases.decode(case), target.files.contents, target.kind.repair
                )
                scene.put(target.files.names[index][1], damage)
                done = run_python(
                    RECORD, scene.domain, core=CORE_NAME, FAULTPLANE_DIR=str(scene.domain.parent)
                )
                assert "Traceback" not in done.stderr


def _core_of(target: Target, case: bytes) -> str:
    return target.files.names[cases.decode(case).base % len(target.files.names)][0]


def executions_until_a_failure(kind: str, rng, most: int) -> int:
    """How many cases of a blind run it takes; ``most`` when none fails."""
    with Target(kind) as target:
        files = target.files
        mutator = Mutator(files.contents, files.places, rng, target.kind.is_text)
        for number in range(most):
            case = b""
            for _ in range(rng.randrange(1, 4)):
                case = mutator.mutate(case, 512, lambda raw: rng.randbytes(len(raw)))
            try:
                target.run(case)
            except Exception:
                return number
    return most


def without(function, text: str, instead: str):
    """A copy of a function with a piece of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(text) == 1
    names = dict(vars(inspect.getmodule(function)))
    exec(source.replace(text, instead), names)
    return names[function.__name__]


@pytest.mark.parametrize(
    ("kind", "where", "name", "bound", "instead"),
    [
        ("segment", reader.Segment, "counts", "max(counts) > _ROWS", "max(counts) < 0"),
        ("registry", reader.StoreReader, "_numbers", "newest <= bound", "newest >= 0"),
    ],
)
def test_a_reader_without_a_bound_is_found_out(kind, where, name, bound, instead, monkeypatch, rng):
    """Negative control: the same cases find nothing in the reader as it is."""
    most = 3000
    function = getattr(where, name)
    monkeypatch.setattr(where, name, without(function, bound, instead))
    assert executions_until_a_failure(kind, rng, most) < most
    monkeypatch.setattr(where, name, function)
    assert executions_until_a_failure(kind, rng, 300) == 300


@pytest.mark.parametrize("kind", ["counts", "deaths", "dictionary", "segment"])
def test_a_file_that_is_changed_in_place_is_what_the_bytes_of_the_case_say(kind, rng):
    """So the case that a blind run keeps, as bytes, is the file that a reader failed on."""
    with Target(kind) as target:
        files = target.files
        mutator = Mutator(files.contents, files.places, rng, target.kind.is_text)
        known = [cases.Case(0, cases.REPAIRED, -1, ()), *map(cases.decode, seeds.load(kind))]
        for case in itertools.islice(mutator.walk(known, lambda: target.was_read), 400):
            target.execute(case)
            told = cases.decode(cases.encode(case))
            index, damage = cases.apply(told, files.contents, target.kind.repair)
            core, name = files.names[index]
            assert (target.scenes[core].path / name).read_bytes() == damage.data, case


def test_any_bytes_are_a_case_and_a_case_is_its_bytes(rng):
    for _ in range(300):
        case = cases.decode(rng.randbytes(rng.randrange(60)))
        assert cases.decode(cases.encode(case)) == case


def test_the_bases_have_every_kind_of_both_cores_and_are_small():
    for core in CORES:
        names = load(core)
        for kind in KINDS.values():
            assert any(name.startswith(kind.prefix) for name in names), (core, kind.name)
    total = sum(path.stat().st_size for path in seeds.CORPUS.rglob("*") if path.is_file())
    assert total < 512 << 10
    assert os.path.exists(seeds.FAILED)
