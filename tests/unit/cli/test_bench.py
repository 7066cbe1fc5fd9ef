"""``faultplane bench`` as users call it: real cores, real peers, few rounds."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import faultplane
from faultplane import cli
from faultplane.cli import bench
from faultplane.cli.bench import guarded, ours, peers, report, scrape, stalls

ROOT = Path(__file__).resolve().parents[3]
PYTHON = sys.executable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def children():
    """The children of a command that runs in this process find the same package."""
    source = str(Path(next(iter(faultplane.__path__))).parent)
    with pytest.MonkeyPatch.context() as patch:
        searched = [source, os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in searched if path))
        yield


@pytest.fixture(scope="module")
def measured(children):
    """Everything measured once, as ``--json`` prints it."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = cli.main(["bench", "--quick", "--json"])
    found = json.loads(out.getvalue())
    assert found["failed"] == []
    assert status == 0
    return found


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Function ``(lines)``: a shell script in the place of the interpreter of children."""

    def put(*lines):
        path = tmp_path / "child"
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def installed(figures):
    return {name: peer for name, peer in figures.items() if "missing" not in peer}


def test_every_case_is_measured_on_every_core_and_rows_are_the_calls(measured):
    assert list(measured["cores"]) == bench.cores()
    for figures in measured["cores"].values():
        assert {*ours.RAW_CASES, *ours.REDACTED_CASES} <= set(figures["cases"])
        # What is left of a few nanoseconds may be less than nothing on a busy machine.
        assert all(timing["whole"] > 0 for timing in figures["cases"].values())
        assert figures["calls"] == figures["rows"] == figures["counted"] > 0
        raised = figures["cases"]["raw"]
        assert raised["floor"] > 0
        assert raised["minimum"] == pytest.approx(max(raised["whole"] - raised["floor"], 0))


def test_guarded_calls_are_measured_on_every_core_in_a_domain_and_without(measured):
    assert list(measured["guarded"]) == bench.cores()
    for places in measured["guarded"].values():
        assert list(places) == list(bench.PLACES)
        for figures in places.values():
            assert list(figures["cases"]) == list(guarded.CASES)
            assert all(timing["whole"] > 0 for timing in figures["cases"].values())


def test_every_peer_recorded_every_call(measured):
    assert list(measured["peers"]) == list(peers.PEERS)
    for name, peer in installed(measured["peers"]).items():
        assert peer["recorded"] == peer["calls_made"] > 0, name
        assert peer["whole"] > 0


def test_lane_claims_and_segment_switches_are_told_apart(measured):
    for figures in measured["stalls"].values():
        places = figures["places"]
        assert set(places) == {
            stalls.ORDINARY, stalls.UPKEEP, stalls.CLAIM, stalls.NOTHING, stalls.SWITCH,
            stalls.AFTER_SWITCH,
        }  # fmt: skip
        nothing = places[stalls.NOTHING]
        assert nothing["samples"] == places[stalls.CLAIM]["samples"]
        assert nothing["wall"]["p50"] > 0.9 * stalls.NOTHING_NANO
        chunks = places[stalls.ORDINARY]["samples"]
        assert sum(found["samples"] for found in places.values()) == 2 * chunks + nothing["samples"]
        claimed = places[stalls.CLAIM]["samples"] + places[stalls.SWITCH]["samples"]
        assert claimed == chunks * stalls.CHUNK_ROWS // stalls.LANE_ROWS
        assert figures["calls"] == figures["rows"] == figures["counted"]


def test_all_ways_to_another_process_are_measured(measured):
    names = [name for name in measured["handover"] if name.startswith("faultplane")]
    assert len(names) == 4
    for name, way in installed(measured["handover"]).items():
        assert way["per_second"] > 0, name


def test_every_way_of_scraping_tells_what_was_counted(measured):
    (ways,) = measured["scrape"].values()
    assert list(ways) == list(scrape.WAYS)
    for name, figures in installed(ways).items():
        assert figures["first_nano"] > 0, name
        assert figures["files"] >= figures["workers"]
    ours = ways["faultplane"]
    assert ours["dead_files"] == 1
    assert ours["body_bytes"] < ways["faultplane, every group shown"]["body_bytes"] / 2


@pytest.mark.parametrize("columns", [80, 100])
def test_the_tables_fit_the_terminal_and_show_every_part(measured, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    report.print_report(measured)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert "…" not in text
    names = [*ours.RAW_CASES, *guarded.CASES, stalls.CLAIM]
    names += [*measured["peers"], *measured["handover"]]
    names += installed(next(iter(measured["scrape"].values())))
    assert [name for name in names if f"\n{name}" not in text] == []


def test_what_is_missing_or_failed_is_said(measured, monkeypatch, capsys):
    found = copy.deepcopy(measured)
    del found["cores"][bench.cores()[0]]
    found["cores"].setdefault("python", measured["cores"]["python"])
    found["peers"]["loguru"] = {**found["peers"]["loguru"], "missing": "no loguru here"}
    found["handover"]["pyzmq PUSH"] = {"missing": "no zmq here"}
    for figures in found["stalls"].values():
        figures["places"][stalls.SWITCH]["not_preempted"] = None
    found["failed"] = ["ours: it fell over"]
    report.print_report(found)
    text = capsys.readouterr().out
    assert "loguru: no loguru here" in text
    assert "pyzmq PUSH" in text
    assert "not installed" in text
    assert text.splitlines()[-1] == "! ours: it fell over"


def test_a_part_by_itself_prints_its_table_only(children, capsys):
    assert cli.main(["bench", "--quick", "--only", "stalls"]) == 0
    text = capsys.readouterr().out
    assert "lane claim" in text
    assert "one call" not in text
    assert "sentry" not in text


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["echo first >&2", "echo fell over >&2", "exit 3"], "fell over"),
        (["exit 3"], "no reason given"),
        (["echo this is no JSON"], "Expecting value"),
        (["true"], "list index out of range"),
        (["exec sleep 60"], "timed out"),
    ],
)
def test_children_that_fail_are_told_with_their_last_words(
    program, lines, told, monkeypatch, capsys
):
    program(*lines)
    monkeypatch.setattr(bench, "SECONDS_MAX", 10 if told != "timed out" else 0.3)
    assert cli.main(["bench", "--quick", "--only", "stalls"]) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "!"]
    assert len(failures) == len(bench.cores())
    assert all(line.startswith("! stalls: ") for line in failures)
    assert all(told in line for line in failures)


def test_failed_parts_leave_the_rest_of_a_report(program, capsys):
    program("exit 1")
    assert cli.main(["bench", "--quick", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["cores"] == found["peers"] == found["stalls"] == found["handover"] == {}
    assert found["scrape"] == found["guarded"] == {}
    ways = len(peers.PEERS) + len(scrape.WAYS)
    assert len(found["failed"]) == (2 + len(bench.PLACES)) * len(bench.cores()) + ways + 7


def test_progress_is_shown_on_a_terminal(program, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    program("exit 1")
    cli.main(["bench", "--quick", "--only", "stalls"])
    assert "stalls: python core" in sys.stderr.getvalue()


def test_several_turns_keep_the_least_block_and_the_least_floor(measured):
    core = bench.cores()[0]
    first = copy.deepcopy(measured["cores"][core])
    second = copy.deepcopy(first)
    first["cases"]["raw"] |= {"whole": 1000.0, "floor": 700.0, "minimum": 300.0, "median": 400.0}
    second["cases"]["raw"] |= {"whole": 1100.0, "floor": 900.0, "minimum": 200.0, "median": 350.0}
    second["run"]["own"] = first["run"]["own"] - 1
    found = {}
    for answer in (first, None, second):
        bench._keep_best_core(found, core, answer)
    kept = found[core]["cases"]["raw"]
    assert (kept["minimum"], kept["whole"], kept["floor"], kept["median"]) == (300, 1000, 700, 350)
    assert found[core]["run"] == second["run"]


def test_several_turns_keep_the_better_guarded_call(measured):
    core = bench.cores()[0]
    first, second = (copy.deepcopy(measured["guarded"][core]["alone"]) for _ in range(2))
    case = guarded.CASES[0]
    first["cases"][case] |= {"whole": 90.0, "floor": 30.0, "median": 70.0}
    second["cases"][case] |= {"whole": 80.0, "floor": 40.0, "median": 60.0}
    found = {}
    for answer in (first, None, second):
        bench._keep_best_cases(found, core, "alone", answer)
    kept = found[core]["alone"]["cases"][case]
    assert (kept["minimum"], kept["whole"], kept["floor"], kept["median"]) == (50, 80, 30, 60)


def test_several_turns_keep_the_fastest_and_the_better():
    found = {}
    for answer in ({"per_second": 2}, None, {"per_second": 3}, {"missing": "it"}):
        bench._keep_fastest(found, "queue", answer)
    assert found == {"queue": {"per_second": 3}}
    timing = {"whole": 9, "floor": 2, "median": 8, "minimum": 7}
    for answer in (timing, None, {**timing, "whole": 8}):
        bench._keep_better(found, "loguru", answer)
    bench._keep_better(found, "structlog", {"missing": "it"})
    bench._keep_better(found, "structlog", {"missing": "it"})
    assert found["loguru"]["minimum"] == 6
    assert found["structlog"] == {"missing": "it"}


def test_without_a_compiled_core_the_pure_one_is_measured(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    assert bench.cores() == ["python"]


def test_a_child_refuses_what_it_does_not_know():
    with pytest.raises(AssertionError, match="nothing is called"):
        cli.main(["bench", "--child", "nonsense"])


@pytest.fixture(scope="module")
def readme_table():
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "tools/readme_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_a_line_for_all_that_is_measured(measured, readme_table, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps(measured))
    assert readme_table.main(["--print", str(figures)]) == 0
    text = capsys.readouterr().out
    titles = [
        title
        for case, title in readme_table.CASES.items()
        if case in measured["cores"]["python"]["cases"]
    ]
    titles += [*readme_table.PARTS, *installed(measured["peers"]), *installed(measured["handover"])]
    assert len(titles) >= len(readme_table.CASES)
    assert [title for title in titles if f"| {title}" not in text] == []
    if "cython" in measured["stalls"]:
        assert f"| {stalls.CLAIM} |" in text
    old = "a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb"
    filled = readme_table.filled(old, "new", readme_table.BENCH)
    assert filled == "a\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nb"


def test_the_readme_has_a_column_for_each_way_that_a_call_is_measured(
    readme_table, tmp_path, capsys
):
    figures = {"minimum": 40.0, "times_net": 25.0}
    cases = dict.fromkeys(guarded.CASES, figures)
    found = {
        "ours": {"version": "1", "cases": cases},
        "a peer": {"version": "2", "cases": {guarded.SUCCEEDS: figures}},
        "none": {"version": "", "cases": {}},
    }
    report = tmp_path / "guarded.json"
    report.write_text(json.dumps({"machine": "m", "load": [1, 2], "found": found}, indent=2))
    assert readme_table.main(["--print", str(report)]) == 0
    *_, head, _, ours, peer = capsys.readouterr().out.splitlines()
    assert head.count("|") == ours.count("|") == len(guarded.CASES) + 2
    assert ours.endswith("| 40 | 40 | 40 | 40 |")
    assert peer == "| a peer 2 | 40 (25×) | – | – | – |"


def test_the_readme_takes_no_run_that_failed_in_part(measured, readme_table):
    with pytest.raises(SystemExit, match="it fell over"):
        readme_table.render({**measured, "failed": ["it fell over"]})
    with pytest.raises(SystemExit, match="once each"):
        readme_table.filled("no marks", "new", readme_table.BENCH)


TERMINATED = """
import sys
from faultplane.cli import bench, main

_, directory, sys.executable = sys.argv
bench._shared = lambda: directory
sys.exit(main(["bench", "--only", "record"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_ends_it_leaves_no_files_in_memory(child_environment, tmp_path, program, number):
    started, place = tmp_path / "started", tmp_path / "place"
    place.mkdir()
    os.mkfifo(started)
    program(f"echo $FAULTPLANE_DIR > {started}", "exec sleep 60")
    words = ["-c", TERMINATED, place, sys.executable]
    with subprocess.Popen([PYTHON, *words], env=child_environment()) as running:
        kept = Path(started.read_text().strip())
        assert kept.is_relative_to(place)
        assert kept.is_dir()
        running.send_signal(number)
        assert running.wait(60) == (130 if number == signal.SIGINT else 128 + number)
    assert list(place.iterdir()) == []
