"""Every command on a real domain: as a table, as JSON, and when there is nothing to show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from faultplane.cli import COMMANDS


def rows(answer):
    return [json.loads(line) for line in answer.lines]


def test_help_lists_every_command(command):
    text = command("--help").out
    for name in COMMANDS:
        assert name in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_examples(command, name):
    text = command(name, "--help").out
    assert f"examples:\n  faultplane {name}" in text


def test_defaults_of_domain_and_directory_are_named_alike(command):
    said = {}
    for name in COMMANDS:
        text = " ".join(command(name, "--help").out.split())
        if "--directory" in text:
            _, _, said[name] = text.partition("base directory of domains (default: ")
            assert name == "gc" or "(default: FAULTPLANE_DOMAIN, else default)" in text
    assert {"run", "gc", "tail"} <= set(said)
    first = "FAULTPLANE_DIR, else /dev/shm/faultplane-<uid>, else"
    assert all(text.startswith(first) for text in said.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tail", "-n", "-1"), "must be a whole number from 0 on, got '-1'"),
        (("show", "7f", "--samples", "-1"), "must be a whole number from 0 on, got '-1'"),
        (("deaths", "--last", "0"), "must be a whole number from 1 on, got '0'"),
        (("bench", "--repeat", "0"), "must be a whole number from 1 on, got '0'"),
        (("demo", "--seconds", "15"), "must be a whole number from 16 on, got '15'"),
        (("tail", "-n", "ten"), "must be a whole number from 0 on, got 'ten'"),
        (("top", "--interval", "0.09"), "must be 0.1 to 31536000 seconds, got '0.09'"),
        (("top", "--seconds", "31536001"), "must be 0.1 to 31536000 seconds, got '31536001'"),
        (("tail", "--seconds", "-0.1"), "must be 0 to 31536000 seconds, got '-0.1'"),
        (("tail", "--seconds", "nan"), "must be 0 to 31536000 seconds, got 'nan'"),
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_bound(command, words, told):
    assert told in command(*words, status=2).err


def test_numbers_at_their_bounds_are_taken(command, shop):
    assert command("tail", "-n", "0", "--seconds", "0").out == ""
    assert len(command("deaths", "--last", "1", "--json").lines) == 1
    assert "errors 64" in command("top", "--once", "--interval", "0.1").out


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc")
def test_tail_waits_for_a_domain_that_is_not_there_yet(
    child_environment, run_python, tmp_domain_dir
):
    words = [sys.executable, "-m", "faultplane", "tail", "--wait", "--json", "-n", "99"]
    with subprocess.Popen(
        words, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        end = time.monotonic() + 60
        while not _catches(tail.pid, signal.SIGTERM):
            assert time.monotonic() < end
        told = tail.stderr.readline()
        assert told.startswith("faultplane tail: waiting: domain 'default' was not found")
        assert not list(tmp_domain_dir.iterdir())
        run_python("import faultplane as fp\nfp.init()\nfp.record(ValueError('late'), 'op')")
        assert json.loads(tail.stdout.readline())["message"] == "late"
        tail.terminate()
        assert tail.wait(60) == 143
        assert tail.stderr.read() == ""


def _catches(pid, number):
    with open(f"/proc/{pid}/status") as file:
        (mask,) = (line.split()[1] for line in file if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_an_option_that_there_is_not_is_refused_with_the_usage_of_the_command(command):
    error = command("tail", "--colour", status=2).err
    assert error.startswith("usage: faultplane tail ")
    assert error.endswith("faultplane tail: error: unrecognized arguments: --colour\n")


def test_no_command_is_a_usage_error_that_shows_the_help(command):
    assert "COMMAND" in command(status=2).out


def test_the_command_that_runs_is_named_as_a_shell_finds_it(child_environment, tmp_path):
    installed = tmp_path / "bin of mine" / "faultplane"
    installed.parent.mkdir()
    installed.write_text(
        f"#!{sys.executable}\nfrom faultplane.cli import this_command\nprint(this_command())\n"
    )
    installed.chmod(0o755)
    module = "import sys; from faultplane.cli import this_command; print(this_command())"

    def named(*words, path="/usr/bin"):
        environment = child_environment(PATH=path)
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert named(installed) == f"'{installed}'"
    assert named(installed, path=f"/usr/bin:{installed.parent}") == "faultplane"
    assert named(sys.executable, "-c", module) == f"{sys.executable} -m faultplane"


def test_a_missing_domain_is_named_with_those_there_are(command, shop):
    error = command("tail", "--domain", "nope", status=2).err
    assert "'nope'" in error
    assert "default" in error


def test_tail_shows_the_newest_records(command, shop):
    shown = command("tail", "--no-follow", "-n", "3").lines
    assert len(shown) == 3
    assert "parse  ValueError: invalid" in shown[-1]
    assert "\x1b" not in "".join(shown)


def test_tail_filters_by_kind_and_prints_json(command, shop):
    found = rows(command("tail", "--no-follow", "-n", "100", "--kind", "transport", "--json"))
    assert len(found) == 60
    assert {row["kind"] for row in found} == {"Transport"}
    assert {row["operation"] for row in found} == {"charge"}


def test_tail_refuses_a_kind_that_there_is_not_and_names_those_there_are(command, shop):
    error = command("tail", "--no-follow", "--kind", "Timout", status=2).err
    assert "invalid choice: 'Timout'" in error
    assert "Timeout" in error


@pytest.mark.parametrize("columns", [None, "80"])
def test_tail_has_its_columns_below_each_other_whatever_the_kind(command, run_python, columns):
    code = """
import faultplane as fp
fp.init()
for error in (TimeoutError(), EOFError(), MemoryError(), KeyError("x")):
    fp.record(error, "here")
"""
    run_python(code)
    shown = command("tail", "--no-follow", COLUMNS=columns).lines
    kinds = {row["kind"] for row in rows(command("tail", "--no-follow", "--json"))}
    assert kinds >= {"Serialization", "ResourceExhausted"}
    assert len({line.index("  here  ") for line in shown}) == 1
    assert columns is None or max(map(len, shown)) <= 80


def test_tail_follows_until_its_time_is_up(command, shop):
    assert len(command("tail", "-n", "2", "--seconds", "0.2").lines) == 2


def test_tail_shows_records_that_come_while_it_follows(terminal, run_python, shop):
    tail = terminal("tail", "--kind", "DataValidation", "--json")
    tail.wait_for("invalid literal")
    run_python(
        "import faultplane as fp; fp.init(service='late')\n"
        "for error in (TimeoutError('not this'), ValueError('but this')): fp.record(error)"
    )
    tail.wait_for("but this")
    tail.press("\x03")
    assert tail.finish() == 130
    assert "not this" not in tail.shown
    assert "Traceback" not in tail.shown


def test_tail_says_how_many_records_came_and_went_while_it_was_stopped(
    child_environment, run_python
):
    burst = """
import sys
import time
import faultplane as fp
fp.init()
error = ValueError("burst")
for _ in range(int(sys.argv[1])):
    fp.record(error)
"""
    small = {"FAULTPLANE_BUDGET_BYTES": "2MiB"}
    run_python(burst, 1, **small)
    tail = subprocess.Popen(
        [sys.executable, "-m", "faultplane", "tail", "--json"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = json.loads(tail.stdout.readline())
    os.kill(tail.pid, signal.SIGSTOP)
    run_python(burst, 20_000, **small)
    os.kill(tail.pid, signal.SIGCONT)
    seen = [0]
    while seen[-1] < 20_000:
        line = tail.stdout.readline()
        assert line, (seen[-3:], tail.communicate(timeout=60))
        seen.append(json.loads(line)["seq"])
    tail.send_signal(signal.SIGINT)
    rest, told = tail.communicate(timeout=60)
    # Stopped between two looks at the domain it says so once, else of each part.
    words = [line.split() for line in told.splitlines()]
    lost = sum(int(number) for _, number, *_ in words)
    assert {" ".join(word[2:]) for word in words} == {"records were retired unread"}, told
    assert first["message"] == "burst"
    assert seen == sorted(set(seen))
    assert lost > 0
    assert lost + len(seen) - 1 == 20_000, (told, rest, seen[:3], seen[-3:])


def test_top_once_shows_groups_with_exact_counts(command, shop):
    found = rows(command("top", "--once", "--json", "--sort", "count"))
    assert [(g["operation"], g["count"]) for g in found] == [("charge", 60), ("parse", 4)]
    text = command("top", "--once", "--interval", "0.1", "--sort", "count").out
    assert "errors 64" in text
    assert text.index("Connection") < text.index("ValueError")


def test_top_repeats_where_it_is_no_terminal_until_its_time_is_up(command, child_environment, shop):
    assert "errors 64" in command("top", "--interval", "0.1", "--seconds", "0.3").out
    top = subprocess.Popen(
        [sys.executable, "-m", "faultplane", "top", "--interval", "0.1"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    tables = 0
    while tables < 2:
        tables += "errors 64" in top.stdout.readline()
    top.send_signal(signal.SIGINT)
    top.communicate(timeout=60)
    assert top.returncode == 130


def test_show_finds_a_group_by_the_start_of_its_fingerprint(command, shop):
    group = next(g for g in rows(command("top", "--once", "--json")) if g["count"] == 60)
    text = command("show", group["fingerprint"][:6]).out
    assert "60 times" in text
    assert "in charge" in text
    assert "ConnectionResetError: [Errno 104]" in text
    (report,) = rows(command("show", group["fingerprint"], "--json", "--samples", "2"))
    assert report["count"] == 60
    assert len(report["samples"]) == 2
    assert {row["fingerprint"] for row in report["samples"]} == {group["fingerprint"]}
    assert sum(report["rows_by_owner"].values()) == 60


def test_show_says_when_no_group_or_several_start_so(command, shop):
    assert "no group" in command("show", "zz", status=1).err
    for nothing in ("", "0x"):
        error = command("show", nothing, status=2).err
        assert f"argument fingerprint: must have 1 digit at least, got {nothing!r}" in error


def test_show_names_the_groups_that_start_alike(command, run_python):
    run_python(
        "import faultplane as fp; fp.init()\n"
        "for n in range(17): fp.record(type(f'Error{n}', (Exception,), {})(), f'operation {n}')"
    )
    firsts = [group["fingerprint"][0] for group in rows(command("top", "--once", "--json"))]
    assert len(firsts) == 17  # more than there are digits
    digit = max(firsts, key=firsts.count)
    assert f"several groups start with {digit}: " in command("show", digit, status=1).err


def test_show_of_a_group_without_stack_and_rows_shows_what_there_is(
    command, run_python, tmp_domain_dir
):
    code = """
import faultplane as fp
from faultplane._backend import core
fp.init(service="terse")
core.configure(detail_per_second=1)
error = ValueError("again")
for _ in range(50):
    fp.record(error)
"""
    run_python(code)
    (group,) = rows(command("top", "--once", "--json"))
    whole = command("show", group["fingerprint"]).out
    assert "50 times" in whole
    assert f"{group['suppressed']} of them without a row" in whole
    assert "rows kept" in whole and "template: again" in whole
    short = command("show", group["fingerprint"], "--samples", "0").out
    assert "trace" not in short
    (store,) = (tmp_domain_dir / "default").iterdir()
    for path in [*store.glob("seg-*"), *store.glob("stacks-*")]:
        path.unlink()
    bare = command("show", group["fingerprint"], status=1).out
    assert "50 times" in bare
    assert f"! the stack cannot be read: {store.name}: stacks-1 does not exist" in bare
    assert "rows kept" not in bare
    assert "template: \n" in bare
    (report,) = rows(command("show", group["fingerprint"], "--json", status=1))
    assert (report["stack"], report["samples"], report["rows_by_owner"]) == ("", [], {})


@pytest.mark.parametrize("length", [0, 100, 4096, None])
def test_stacks_that_are_damaged_are_told_by_show_and_by_doctor(
    command, shop, tmp_domain_dir, length
):
    group = rows(command("top", "--once", "--json"))[0]["fingerprint"]
    (store,) = (tmp_domain_dir / "default").iterdir()
    if length is None:
        (store / "stacks-1").unlink()
    else:
        os.truncate(store / "stacks-1", length)
    shown = command("show", group, status=1)
    assert f"! the stack cannot be read: {store.name}: " in shown.out
    (report,) = rows(command("show", group, "--json", status=1))
    assert len(report["problems"]) == 1 and "stacks-1" in report["problems"][0]
    (report,) = rows(command("doctor", "--json", status=1))
    (told,) = report["problems"]
    assert told.startswith(f"{store.name}: ") and "stacks-1" in told


def test_deaths_names_what_was_in_flight(command, shop):
    text = command("deaths").out
    assert "GET /pay" in text
    assert "SIGKILL" in text
    assert "ValueError" in text
    (death,) = rows(command("deaths", "--json", "--last", "1"))
    assert death["service"] == "shop"
    assert death["in_flight"][0]["operation"] == "GET /pay"
    assert {len(row["fingerprint"]) for row in death["records"]} == {16}


def test_deaths_without_a_trace_say_so(command, run_python):
    run_python("import faultplane as fp; fp.init()")
    assert command("deaths").out == "No process has died out of order.\n"
    run_python("import os, faultplane as fp; fp.init(); os.kill(os.getpid(), 9)", check=False)
    text = command("deaths").out
    assert "in flight: nothing" in text
    assert "frames" not in text
    assert "last errors" not in text


def test_deaths_in_order_are_shown_when_all_are_asked_for(command, run_python):
    run_python("import faultplane as fp; fp.init(); block = fp.capture('tidying up').enter()")
    assert command("deaths").out == "No process has died out of order.\n"
    text = command("deaths", "--all").out
    assert "left in order" in text
    assert "tidying up" in text


def test_deaths_of_a_domain_in_which_nobody_died_say_so(command, run_python):
    run_python("import faultplane as fp; fp.init(); fp.record(ValueError('x'))")
    assert command("deaths", "--all").out == "No process has died.\n"


def test_deaths_shows_the_innermost_frames_and_how_many_more_there_are(command, run_python):
    code = """
import ctypes
import faultplane as fp
fp.init()
fp.install_hooks()
def down(n):
    down(n - 1) if n else ctypes.string_at(0)
down(20)
"""
    run_python(code, check=False)
    (death,) = rows(command("deaths", "--json"))
    frames = [line.strip() for line in command("deaths").lines if " in down" in line]
    assert frames == [frame for frame in death["frames"][:8] if " in down" in frame]
    assert f"… {len(death['frames']) - 8} more" in command("deaths").out


def test_query_answers_over_the_records_of_the_dead(command, shop):
    sql = "select kind_name, count(*) as n from records group by 1 order by 1"
    assert rows(command("query", "--json", sql)) == [
        {"kind_name": "DataValidation", "n": 4},
        {"kind_name": "Transport", "n": 60},
    ]
    assert command("query", sql).lines[0].split() == ["kind_name", "n"]


def test_what_a_record_carries_reads_alike_from_every_command(command, run_python):
    done = run_python(
        "import faultplane as fp; fp.init()\n"
        "try: raise TimeoutError('slow')\n"
        "except TimeoutError as e:\n"
        "    fp.record(e, attributes={'order': 4711, 'tags': ['a', b'\\x00'], 'who': 'x\\x1b'})\n"
        "print(fp.attach().records().rows()[0]['time_unix_nano'])"
    )
    told = {"order": 4711, "tags": ["a", "00"], "who": "x\x1b"}
    (tailed,) = rows(command("tail", "--no-follow", "--json"))
    (queried,) = rows(command("query", "--json", "from records"))
    (shown,) = rows(command("show", tailed["fingerprint"], "--json"))
    for row in (tailed, queried, *shown["samples"]):
        assert row["attributes"] == told
        assert row["time_unix_nano"] == int(done.stdout)
        assert row["fingerprint"] == tailed["fingerprint"]
    for text in (
        command("show", tailed["fingerprint"]).out,
        command("query", "select fingerprint, attributes from records").out,
    ):
        assert tailed["fingerprint"] in text
        assert 'order=4711 tags=["a", "00"] who=x\\x1b' in text


def test_query_explains_what_it_cannot_run(command, shop):
    error = command("query", "select * from nothing", status=2).err
    assert "nothing" in error
    assert error.splitlines()[-1].startswith("(tables and views: records, counts, ")


def test_query_explains_what_goes_wrong_in_the_rows(command, shop):
    done = command("query", "select cast(message as integer) from records", status=2)
    assert done.err.startswith("faultplane query: Conversion Error")
    assert "Traceback" not in done.err


def test_a_query_without_an_answer_prints_nothing(command, shop):
    assert command("query", "--json", "set threads = 1").out == ""


@pytest.mark.parametrize("sql", ["", "  ", ";", "-- only a comment"])
def test_a_query_without_a_statement_is_refused(command, shop, sql):
    error = command("query", sql, status=2).err
    assert error == f"faultplane query: sql must have a statement, got none in {sql!r}\n"


def test_doctor_names_core_directory_and_limits(command, shop):
    text = command("doctor").out
    assert "core " in text
    assert "segments of" in text


def test_doctor_says_what_is_wrong(command):
    (report,) = rows(command("doctor", "--json", status=1, FAULTPLANE_BUDGET_BYTES="7"))
    assert any("FAULTPLANE_BUDGET_BYTES" in problem for problem in report["problems"])


def test_gc_removes_dead_domains_only_when_told(command, shop):
    assert "would be removed" in command("gc", "--dry-run").out
    assert "removed" in command("gc").out
    assert command("gc").lines[0].startswith("There are no domains")


def test_gc_names_every_store_in_json_and_says_where_it_looked(command, shop, tmp_path):
    (kept,) = rows(command("gc", "--dry-run", "--json"))
    assert (kept["domain"], kept["action"]) == ("default", "would be removed")
    assert kept["bytes_held"] > 0
    (removed,) = rows(command("gc", "--domain", "default", "--json"))
    assert {**kept, "action": "removed"} == removed
    assert command("gc", "--directory", tmp_path).out == f"There are no domains in {tmp_path}.\n"
    assert "was not found" in command("gc", "--domain", "default", status=2).err


def test_gc_finds_a_domain_in_any_of_the_directories(run_python, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    code = """
import sys
import time
from faultplane.store import location
location.SHARED_MEMORY = sys.argv[1]  # as on another host
{}
"""
    environment = {"FAULTPLANE_DIR": None, "XDG_RUNTIME_DIR": str(runtime)}
    run_python(
        code.format("import faultplane as fp; fp.init(domain='late')"), "/none", **environment
    )
    here = tmp_path / "shm"
    here.mkdir()
    run_python(code.format("import faultplane as fp; fp.init(domain='soon')"), here, **environment)
    collect = code.format("from faultplane.cli import main; sys.exit(main(sys.argv[2:]))")
    done = run_python(collect, here, "gc", "--domain", "late", "--json", **environment)
    (removed,) = map(json.loads, done.stdout.splitlines())
    assert (removed["domain"], removed["action"]) == ("late", "removed")
    done = run_python(collect, here, "gc", "--domain", "late", check=False, **environment)
    assert done.returncode == 2
    assert "'late' was not found" in done.stderr


def test_run_starts_a_program_with_recording_on(command, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("raise KeyError('nobody catches this')\n")
    command("run", "--service", "batch", "--", program, status=1)
    (group,) = rows(command("top", "--once", "--json"))
    assert (group["service"], group["type"], group["count"]) == ("batch", "KeyError", 1)


def test_run_refuses_what_it_does_not_know(command):
    assert "command to start is missing" in command("run", status=2).err
    assert "hooks must be of" in command("run", "--hooks", "x", "--", "true", status=2).err
    for option, wrong in (
        ("domain", "a/b"),
        ("domain", ""),
        ("service", ""),
        ("service", 256 * "x"),
    ):
        error = command("run", f"--{option}", wrong, "--", "true", status=2).err
        assert error.startswith(f"faultplane run: {option} must be ")


def test_a_reader_that_goes_away_is_no_error(child_environment, shop):
    import subprocess
    import sys

    line = f"{sys.executable} -m faultplane tail --no-follow -n 1000 --json | /usr/bin/head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=child_environment(), capture_output=True, text=True
    )
    assert json.loads(done.stdout)["seq"] > 0
    assert done.stderr == ""


OUTPUTS = {
    "closed": (">&-", 0, ""),
    "full": (">/dev/full", 2, "faultplane counted: [Errno 28] No space left on device\n"),
    "ascii": ("", 0, ""),
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_takes_nothing_or_no_accents_is_no_traceback(
    child_environment, run_python, output
):
    run_python("import faultplane as fp; fp.init(service='café'); fp.record(ValueError('é'))")
    redirection, status, complaint = OUTPUTS[output]
    environment = child_environment(LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    words = (
        ["tail", "--no-follow"],
        ["deaths"],
        ["doctor"],
        ["query", "select message from records"],
    )
    for command in words:
        program = [sys.executable, "-m", "faultplane", *command]
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {redirection}', "-", *program],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.stderr == complaint.replace("counted", command[0])
        assert done.returncode == status
        assert done.stdout.isascii()
