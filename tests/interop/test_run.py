"""``faultplane run`` around real programs: what is recorded, and that they behave as without it."""

from __future__ import annotations

import ast
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launching import LAUNCH, same

import faultplane as fp
from faultplane.capture.run import BOOTSTRAP_DIRECTORY
from faultplane.store import counts, domain, owners

FAILING = """
import sys
def work(argument):
    print("working on", argument, sys.stdin.readline().strip(), flush=True)
    raise KeyError(argument)
if __name__ == "__main__":
    work(sys.argv[1])
"""


# ------------------------------------------------------------------------------- what is started


def test_a_script_is_recorded_and_behaves_as_without(
    launch: Any, script: Any, recorded: Any
) -> None:
    path = script(FAILING)
    plain = launch(sys.executable, path, "x", plain=True)
    assert recorded() == {}
    assert same(launch(sys.executable, path, "x"), plain)
    assert plain.returncode == 1
    assert "KeyError: 'x'" in plain.stderr
    assert recorded() == {("shop", "", "KeyError"): 1}


def test_scripts_and_modules_run_without_naming_an_interpreter(
    launch: Any, script: Any, recorded: Any
) -> None:
    path = script(FAILING)
    assert launch(path, "x").returncode == 1
    assert launch("-m", "shop", "y", path=(path.parent,)).returncode == 1
    assert recorded() == {("shop", "", "KeyError"): 2}


def test_a_console_script_is_recorded(launch: Any, script: Any, recorded: Any) -> None:
    path = script(f"#!{sys.executable}\n" + FAILING, "bin/serve-shop")
    path.chmod(0o755)
    assert same(launch(path, "x"), launch(path, "x", plain=True))
    assert recorded() == {("serve-shop", "", "KeyError"): 1}


def test_exit_codes_and_signals_are_the_programs(launch: Any, recorded: Any) -> None:
    assert launch(sys.executable, "-c", "raise SystemExit(7)").returncode == 7
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert launch(sys.executable, "-c", kill).returncode == -signal.SIGTERM
    assert launch(sys.executable, "-c", "import os; os.abort()").returncode == -signal.SIGABRT
    assert launch("/bin/sh", "-c", "exit 5").returncode == 5
    assert recorded() == {}


def test_python_children_of_any_generation_are_recorded(
    launch: Any, script: Any, recorded: Any
) -> None:
    script("raise ValueError('grandchild')", "grandchild.py")
    script(
        """
        import os, subprocess, sys
        directory = os.path.dirname(os.path.abspath(__file__))
        subprocess.run(["/bin/sh", "-c", f"{sys.executable} {directory}/grandchild.py"])
        raise TypeError("child")
        """,
        "child.py",
    )
    path = script(
        """
        import os, subprocess, sys
        directory = os.path.dirname(os.path.abspath(__file__))
        subprocess.run([sys.executable, directory + "/child.py"])
        if os.fork() == 0:
            raise OSError("forked")
        os.wait()
        raise KeyError("parent")
        """
    )
    launch(path)
    assert recorded() == {
        ("shop", "", "KeyError"): 1,
        ("shop", "", "TypeError"): 1,
        ("shop", "", "ValueError"): 1,
        ("shop", "", "OSError"): 1,
    }


# --------------------------------------------------------------------------------- what is kept

STATE = """
import json, sys
print(json.dumps([sys.path, sys.argv, list(sys.flags), __name__, sys.stdin.readline()]))
"""


def test_the_program_sees_its_own_path_and_arguments(
    launch: Any, script: Any, tmp_path: Path
) -> None:
    path = script(STATE)
    extra = tmp_path / "extra"
    extra.mkdir()
    for command in ([sys.executable, path, "a b"], [sys.executable, "-c", STATE, "-x"]):
        plain = launch(*command, plain=True, path=(extra,))
        assert same(launch(*command, path=(extra,)), plain)
        assert str(extra) in plain.stdout


@pytest.fixture
def customised(tmp_path: Path) -> Callable[[str], Path]:
    """Function: a directory with a sitecustomize of that source."""

    def write(source: str, name: str = "theirs") -> Path:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(textwrap.dedent(source))
        return directory

    return write


def test_an_existing_sitecustomize_is_imported(launch: Any, customised: Any, recorded: Any) -> None:
    theirs = customised("""
        import sys
        print("theirs", __name__, __file__)
        sys.customised = True
        sys.excepthook = lambda *args: print("their hook", args[0].__name__)
    """)
    code = "import sys, sitecustomize as s; print(s.__file__, sys.customised); raise KeyError('x')"
    done = launch(sys.executable, "-c", code, path=(theirs,))
    assert same(done, launch(sys.executable, "-c", code, path=(theirs,), plain=True))
    assert done.stdout.count("theirs sitecustomize") == 1
    assert "their hook KeyError" in done.stdout
    assert list(recorded().values()) == [1]


def test_only_the_first_of_several_is_imported_as_ever(launch: Any, customised: Any) -> None:
    first, second = (customised(f"print({name!r})", name) for name in ("first", "second"))
    done = launch(sys.executable, "-c", "pass", path=(first, second))
    assert done.stdout == "first\n"


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('broken')", "import missing_package", "import sitecustomize.x", "1 +"],
)
def test_a_sitecustomize_that_fails_is_reported_as_ever(
    source: str, launch: Any, customised: Any, recorded: Any
) -> None:
    theirs = customised(source)
    done = launch(sys.executable, "-c", "raise KeyError", path=(theirs,))
    assert same(done, launch(sys.executable, "-c", "raise KeyError", path=(theirs,), plain=True))
    assert "Error in sitecustomize" in done.stderr
    assert list(recorded().values()) == [1]


def test_without_one_the_name_stays_free_of_surprises(launch: Any) -> None:
    code = "import sitecustomize; print(sitecustomize.__file__)"
    plain = launch(sys.executable, "-c", code, plain=True)
    done = launch(sys.executable, "-c", code)
    if plain.returncode:
        assert done.stdout.strip() == f"{BOOTSTRAP_DIRECTORY}/sitecustomize.py"
    else:
        assert same(done, plain)  # the host has one


def test_development_mode_and_warnings_as_errors_are_clean(launch: Any) -> None:
    done = launch(sys.executable, "-X", "dev", "-W", "error", "-c", "import asyncio, logging")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ----------------------------------------------------------------------------- what is left alone


def test_switched_off_nothing_is_made(launch: Any, tmp_domain_dir: Path) -> None:
    done = launch(sys.executable, "-c", "raise KeyError", FAULTPLANE_DISABLED="1")
    assert "KeyError" in done.stderr
    assert list(tmp_domain_dir.iterdir()) == []


def test_hooks_can_be_left_out(launch: Any, recorded: Any) -> None:
    launch(sys.executable, "-c", "raise KeyError", FAULTPLANE_HOOKS="none")
    assert recorded() == {}
    code = "import faultplane as fp; fp.record(KeyError('x'))"
    launch(sys.executable, "-c", code, FAULTPLANE_HOOKS="none")
    assert recorded() == {("python", "", "KeyError"): 1}


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_isolated_interpreters_run_as_ever(flag: str, launch: Any, recorded: Any) -> None:
    command = [sys.executable, flag, "-c", "import sys; print(sys.path); raise KeyError('x')"]
    done = launch(*command)
    assert done.returncode == 1
    assert done.stderr == launch(*command, plain=True).stderr
    assert recorded() == {}


def test_installers_are_left_alone_and_say_so_when_asked(launch: Any, tmp_domain_dir: Path) -> None:
    pytest.importorskip("pip")
    command = [sys.executable, "-m", "pip", "--version"]
    assert same(launch(*command), launch(*command, plain=True))
    assert list(tmp_domain_dir.iterdir()) == []
    done = launch(*command, FAULTPLANE_RUN_VERBOSE="1")
    assert "not recording: pip is left alone" in done.stderr


def test_each_process_says_what_it_does_when_asked(launch: Any) -> None:
    done = launch(sys.executable, "-c", "pass", FAULTPLANE_RUN_VERBOSE="1")
    assert "recording python, hooks: excepthook, threading" in done.stderr


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter that cannot import faultplane."""
    venv.create(tmp_path / "other", with_pip=False, symlinks=True)
    return str(tmp_path / "other" / "bin" / "python")


def test_an_interpreter_without_faultplane_runs_as_ever(bare_python: str, environment: Any) -> None:
    variables = environment()
    variables["PYTHONPATH"] = BOOTSTRAP_DIRECTORY

    def run(**more: str) -> Any:
        code = "import sys; print(sys.argv); raise KeyError('x')"
        return subprocess.run(
            [bare_python, "-c", code],
            env=variables | more,
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = run()
    assert done.stdout == "['-c']\n"
    assert done.stderr.splitlines()[-1] == "KeyError: 'x'"
    assert "faultplane" not in done.stderr
    assert "not recording: No module named 'faultplane'" in run(FAULTPLANE_RUN_VERBOSE="1").stderr


def test_a_program_that_cannot_be_recorded_says_so_once_and_its_children_do_not(
    bare_python: str, environment: Any
) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'], check=True)"

    def run(**more: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", LAUNCH, bare_python, "-c", code],
            env=environment(PROGRAM_PYTHONPATH="", **more),
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = run()
    assert (done.returncode, done.stdout) == (0, "1\n")
    why = f"not recording: No module named 'faultplane' in {bare_python}\n"
    assert done.stderr == f"faultplane: {why}"
    assert run(FAULTPLANE_RUN_VERBOSE="1").stderr.count(f": {why}") == 2
    assert run(FAULTPLANE_DISABLED="1").stderr == ""


def test_the_file_that_every_interpreter_reads_is_plain_old_python() -> None:
    source = (Path(BOOTSTRAP_DIRECTORY) / "sitecustomize.py").read_text()
    tree = ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign))]


def test_only_one_owner_is_registered_when_the_program_calls_init_too(
    launch: Any, tmp_domain_dir: Path, recorded: Any
) -> None:
    code = "import faultplane as fp; fp.init(); fp.install_hooks(); raise KeyError('x')"
    launch(sys.executable, "-c", code)
    assert recorded() == {("python", "", "KeyError"): 1}
    (path,) = domain.store_paths(str(tmp_domain_dir / "default"))
    with domain.Store.open(path) as store:
        assert len(owners.read_owners(store)) == 1


# ----------------------------------------------------------------------------------- other tools


def tool(name: str) -> str:
    """Path of a console script beside this interpreter, else a skip."""
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed beside this interpreter")
    return path


OTEL_QUIET = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_PYTHON_CONFIGURATOR": "none",
}
OTEL_CHECK = """
import sys
assert "opentelemetry.instrumentation.auto_instrumentation" in sys.modules
assert "faultplane.capture.hooks" in sys.modules
raise KeyError("x")
"""


def assert_nothing_died_by_exec(directory: Path) -> None:
    """Who becomes the program is no process of the service."""
    with fp.attach(directory=str(directory)) as domain:
        assert [row["summary"] for row in domain.deaths_rows() if row["how"] == "exec"] == []


def test_opentelemetry_instrument_below_us(
    launch: Any, script: Any, recorded: Any, entry_point: Path, tmp_domain_dir: Path
) -> None:
    path = script(OTEL_CHECK)
    instrument = tool("opentelemetry-instrument")
    done = launch(instrument, sys.executable, path, path=(entry_point,), **OTEL_QUIET)
    assert done.stderr.splitlines()[-1] == "KeyError: 'x'", done.stderr
    assert recorded() == {("shop", "", "KeyError"): 1}
    assert_nothing_died_by_exec(tmp_domain_dir)


def test_opentelemetry_instrument_above_us(
    environment: Any, script: Any, recorded: Any, entry_point: Path
) -> None:
    path = script(OTEL_CHECK)
    done = subprocess.run(
        [tool("opentelemetry-instrument"), sys.executable, "-c", LAUNCH, sys.executable, path],
        env=environment(entry_point, **OTEL_QUIET),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.splitlines()[-1] == "KeyError: 'x'", done.stderr
    assert recorded() == {("shop", "", "KeyError"): 1}


def test_the_entry_point_does_nothing_elsewhere(run_python: Any, tmp_domain_dir: Path) -> None:
    run_python(
        "from faultplane.capture.run import start_with_opentelemetry as start; start(); start()"
    )
    assert list(tmp_domain_dir.iterdir()) == []


DATADOG_QUIET = {
    "DD_TRACE_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}
DATADOG_CHECK = """
import sys
assert "ddtrace.bootstrap.preload" in sys.modules
assert "faultplane.capture.hooks" in sys.modules
raise KeyError("x")
"""


@pytest.mark.parametrize("order", ["below", "above"])
def test_ddtrace_run_below_and_above_us(
    order: str, launch: Any, script: Any, recorded: Any, customised: Any, tmp_domain_dir: Path
) -> None:
    path = script(DATADOG_CHECK)
    ddtrace = tool("ddtrace-run")
    ours = [sys.executable, "-c", LAUNCH]
    command = [*ours, ddtrace] if order == "below" else [ddtrace, *ours]
    theirs = customised("print('theirs')")
    done = launch(*command, sys.executable, path, plain=True, path=(theirs,), **DATADOG_QUIET)
    assert done.stderr.splitlines()[-1] == "KeyError: 'x'", done.stderr
    assert "theirs" in done.stdout
    assert recorded() == {("shop", "", "KeyError"): 1}
    assert_nothing_died_by_exec(tmp_domain_dir)


# -------------------------------------------------------------------------------------- gunicorn

APPLICATION = """
import os, threading

def application(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise KeyError("no such thing")
    if environ["PATH_INFO"] == "/thread":
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def gunicorn(environment: Any, script: Any, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """(URL, process) of a gunicorn with two workers, started below ``faultplane run``."""
    pytest.importorskip("gunicorn")
    directory = script(APPLICATION, "shop_web.py").parent
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    log = (tmp_path / "gunicorn.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, sys.executable, "-m", "gunicorn", "-w", "2",
         "--bind", f"fd://{listener.fileno()}", "shop_web:application"],
        env=environment(directory),
        stderr=log,
        pass_fds=[listener.fileno()],
    )  # fmt: skip
    listener.close()
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.seek(0)
        print(log.read())
        log.close()


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_gunicorn_service_is_recorded_without_a_line_of_its_code(
    gunicorn: tuple[str, Any], recorded: Any, tmp_domain_dir: Path
) -> None:
    url, process = gunicorn
    assert [status_of(url + "/fail") for _ in range(7)] == [500] * 7
    assert [status_of(url + "/thread") for _ in range(3)] == [200] * 3
    process.terminate()
    assert process.wait(30) == 0
    assert recorded() == {
        ("shop_web", "gunicorn.error", "KeyError"): 7,
        ("shop_web", "", "ZeroDivisionError"): 3,
    }


# ---------------------------------------------------------------------------------- command line


def test_the_command_hands_its_options_over(environment: Any, script: Any, tmp_path: Path) -> None:
    path = script(FAILING)
    command = "import sys; from faultplane.cli import main; sys.exit(main())"
    words = ["run", "--service", "till", "-d", "night", "--directory", str(tmp_path / "base"),
             "--hooks", "excepthook", "--", sys.executable, str(path), "x"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", command, *words],
        env=environment(FAULTPLANE_RUN_VERBOSE="1"),
        capture_output=True,
        text=True,
        timeout=60,
        input="typed in\n",
    )
    assert done.returncode == 1
    assert "recording shop, hooks: excepthook, frameworks: " in done.stderr
    (store,) = domain.store_paths(str(tmp_path / "base" / "night"))
    with domain.Store.open(store) as opened:
        assert [(row.service, row.type) for row in counts.read_counts(opened)] == [
            ("till", "KeyError")
        ]
