"""Fingerprint, type, site and stack text of errors of every shape, in both cores."""

from __future__ import annotations

from hashlib import blake2b

import domain_fixture
import pytest
import raising

from faultplane import schema


def portraits(child, path, core_name):
    reader = domain_fixture.Reader(domain_fixture.make(path))
    fingerprints = child(core_name, "portraits", reader.path)
    return reader, fingerprints


@pytest.fixture
def shapes(core_name, child, tmp_domain_dir):
    """(Reader, fingerprint by name, row by name) of every shape."""
    reader, fingerprints = portraits(child, tmp_domain_dir / "one", core_name)
    return reader, fingerprints, dict(zip(fingerprints, reader.rows(), strict=True))


def test_recorded_and_computed_fingerprints_agree(shapes):
    _, fingerprints, rows = shapes
    assert {name: row["fingerprint"] for name, row in rows.items()} == fingerprints
    assert all(0 < value < 1 << 64 for value in fingerprints.values())


def test_the_fingerprint_is_the_hash_of_a_text_that_anybody_can_rebuild(shapes):
    _, fingerprints, _ = shapes
    first = raising.deep.__code__.co_firstlineno
    calls = raising.caught.__code__

    def of(*lines):
        text = "\n".join(["1", *lines])
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def line(function, source):
        return f"raising\x1f{function.__code__.co_qualname}\x1f{source}"

    outer = line(raising.caught, 2)
    assert calls.co_firstlineno + 2 and first
    assert fingerprints["nested"] == of(
        "ValueError", outer, line(raising.deep, 2), line(raising.deep, 3)
    )
    assert fingerprints["never raised"] == of("ValueError")
    assert fingerprints["cause"] == of(
        "RuntimeError", outer, line(raising.with_cause, 4), "cause", "ValueError",
        line(raising.with_cause, 2), line(raising.deep, 2), line(raising.deep, 3),
    )  # fmt: skip
    assert fingerprints["suppressed"] == of("RuntimeError", outer, line(raising.suppressed, 4))


def test_recursion_does_not_make_another_error(shapes):
    _, found, _ = shapes
    assert found["nested"] == found["64 deep"] == found["65 deep"] == found["200 deep"]
    assert len(set(found.values())) >= len(found) - 5


def test_stack_text_has_its_four_lines_and_a_line_a_frame(shapes):
    reader, fingerprints, rows = shapes
    stacks = reader.stacks(1)
    for name, row in rows.items():
        head = stacks[fingerprints[name]].split("\n")[:4]
        assert head[:2] == [row["type"], row["site"]], name
    nested = stacks[fingerprints["nested"]].split("\n")
    assert nested[2:4] == ["deep", "deep"]
    file, qualname, number, module = nested[-2].split("\x1f")
    assert (qualname, module) == ("deep", "raising") and file.endswith("raising.py")
    assert int(number) == raising.deep.__code__.co_firstlineno + 3
    assert nested[-1] == "" and len(nested) == 4 + 7 + 1
    caused = stacks[fingerprints["cause"]]
    assert "\x1ecause\x1fValueError\n" in caused
    assert "\x1econtext\x1fValueError\n" in stacks[fingerprints["context"]]
    assert "\x1e" not in stacks[fingerprints["suppressed"]]
    assert stacks[fingerprints["wide group"]].count("\x1emember\x1fKeyError") == schema.GROUP_MAX
    assert stacks[fingerprints["chain of 12"]].count("\x1ecause") == schema.CHAIN_MAX
    assert stacks[fingerprints["multi-line message"]].split("\n")[3].startswith("first\\nsecond")
    assert all(len(text.encode()) <= schema.STRING_BYTES_MAX for text in stacks.values())


def test_the_middle_of_a_deep_stack_is_elided_and_counted(core_name, child, reader):
    reader, fingerprints = reader, child(core_name, "deep_first", reader.path)
    (text,) = [reader.stacks(1)[value] for value in fingerprints]
    lines = text.split("\n")[4:-1]
    assert len(lines) == schema.STACK_FRAMES_MAX + 1
    assert lines[32] == "\x1eelided\x1f137"


def test_sites_name_module_function_and_line(shapes):
    _, _, rows = shapes
    line = raising.deep.__code__.co_firstlineno + 3
    assert rows["nested"]["site"] == f"raising:deep:{line}"
    assert rows["never raised"]["site"] == ""
    assert rows["never raised, with a cause"]["site"] == ""
    assert rows["executed"]["site"] == "plugin:f:2"
    assert rows["executed without a name"]["site"].endswith(":f:2")
    assert rows["in a class"]["type"] == "raising.in_class.<locals>.Local"
    assert rows["unnamed"]["type"] == "?"
    assert rows["other line"]["site"] == f"raising:deep:{line - 1}"  # the instruction's own
    assert rows["no line"]["site"] == "raising:with_cause:-1"


def test_both_cores_paint_the_same_portraits(child, tmp_domain_dir, both_cores):
    (one, ours), (other, theirs) = (
        portraits(child, tmp_domain_dir / name, name) for name in both_cores
    )
    assert ours == theirs
    stacks, others = one.stacks(1), other.stacks(1)
    for name, value in ours.items():
        assert stacks[value] == others[value], name
    assert one.names(1) == other.names(1)


def test_modules_without_a_usable_name_are_question_marks(core_name, child, reader):
    child(core_name, "modules_without_a_name", reader.path)
    assert [row["site"] for row in reader.rows()] == ["?:f:1", "?:f:1", "a?b:f:1"]


def test_addresses_that_are_used_again_never_lend_their_identity(core_name, child, reader):
    wrong, cached = child(core_name, "types_that_come_and_go", reader.path)
    assert wrong == 0 and cached <= 3072
    cells = [one for one in reader.cells() if one["series"] == schema.SERIES_ERROR]
    assert sorted(one["name"] for one in cells) == sorted(
        f"module_{i}.Error_{i}" for i in range(3000)
    )
    assert {one["count"] for one in cells} == {1}
