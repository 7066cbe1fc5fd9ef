"""How ``faultplane run`` reads a command and what environment it makes. No process is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from faultplane import settings
from faultplane.capture.run import (
    BOOTSTRAP_DIRECTORY,
    child_environment,
    program_name,
    resolve_command,
    run,
    service_name,
)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["python", "serve.py", "--port", "80"], "serve"),
        (["/usr/bin/python3.12", "-u", "/srv/shop/serve.py"], "serve"),
        (["python", "-m", "shop.worker"], "shop.worker"),
        (["python", "-mshop.worker"], "shop.worker"),
        (["python", "-Im", "shop.worker"], "shop.worker"),
        (["python", "-X", "dev", "-W", "error", "app.py"], "app"),
        (["python", "-Xdev", "-Werror", "app.py"], "app"),
        (["python", "-bbEX", "dev", "app.py"], "app"),
        (["python", "--check-hash-based-pycs", "never", "app.py"], "app"),
        (["python", "--help-all", "app.py"], "app"),
        (["python", "-c", "print()"], "python"),
        (["python", "-cprint()"], "python"),
        (
            ["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"],
            "multiprocessing.resource_tracker",
        ),
        (["python", "-"], "python"),
        (["python"], "python"),
        (["python", "-m"], "python"),
        (["python", "/venv/bin/gunicorn", "shop:app"], "gunicorn"),
    ],
)
def test_the_program_of_an_interpreter_is_found(argv: list[str], name: str) -> None:
    assert program_name(argv) == name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python3", "serve.py"], "serve"),
        (["./serve.py"], "serve"),
        (["gunicorn", "-w", "4", "shop.wsgi:app"], "shop.wsgi"),
        (["gunicorn", "-b", "0.0.0.0:8000", "shop.wsgi:create_app()"], "shop.wsgi"),
        (["python", "-m", "uvicorn", "shop.asgi:app", "--port", "80"], "shop.asgi"),
        (["gunicorn", "-c", "gunicorn.conf.py"], "gunicorn"),
        (["celery", "-A", "shop", "worker"], "celery"),
        (["ddtrace-run", "python", "serve.py"], "serve"),
        (["opentelemetry-instrument", "--traces_exporter=none", "gunicorn", "a.b:c"], "a.b"),
        (["env", "A=1", "B=2", "python", "serve.py"], "serve"),
        (["python"], "python"),
    ],
)
def test_a_service_gets_a_name_from_its_command(command: list[str], name: str) -> None:
    assert service_name(command) == name


def test_python_sources_that_are_not_executable_run_in_this_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text("")
    assert resolve_command([str(script), "x"]) == [sys.executable, str(script), "x"]
    script.chmod(0o755)
    assert resolve_command([str(script), "x"]) == [str(script), "x"]
    assert resolve_command(["-m", "shop"]) == [sys.executable, "-m", "shop"]
    assert resolve_command(["-c", "1"]) == [sys.executable, "-c", "1"]
    assert resolve_command(["serve.py"]) == ["serve.py"]


def test_a_command_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 word, got 0"):
        resolve_command([])


def test_the_environment_keeps_what_was_there_and_adds_ours_first() -> None:
    before = {"PATH": "/bin", "PYTHONPATH": os.pathsep.join(["/a", "", "/b"])}
    after = child_environment(before, ["python", "serve.py"])
    assert after["PYTHONPATH"].split(os.pathsep) == [BOOTSTRAP_DIRECTORY, "/a", "", "/b"]
    assert after["PATH"] == "/bin"
    assert after["FAULTPLANE_SERVICE"] == "serve"
    assert after["FAULTPLANE_HOOKS"] == ",".join(settings.HOOKS)
    assert before == {"PATH": "/bin", "PYTHONPATH": os.pathsep.join(["/a", "", "/b"])}


def test_running_twice_adds_the_directory_once() -> None:
    once = child_environment({}, ["python", "serve.py"])
    assert once["PYTHONPATH"] == BOOTSTRAP_DIRECTORY
    assert child_environment(once, ["python", "serve.py"]) == once


def test_what_the_user_says_beats_what_the_command_suggests() -> None:
    given = child_environment({"OTEL_SERVICE_NAME": "shop"}, ["python", "serve.py"])
    assert "FAULTPLANE_SERVICE" not in given
    given = child_environment({"FAULTPLANE_SERVICE": "old"}, ["serve"], service="new")
    assert given["FAULTPLANE_SERVICE"] == "new"
    given = child_environment(
        {"FAULTPLANE_HOOKS": "asyncio"}, ["serve"], domain="d", directory="relative"
    )
    assert given["FAULTPLANE_HOOKS"] == "asyncio"
    assert given["FAULTPLANE_DOMAIN"] == "d"
    assert given["FAULTPLANE_DIR"] == os.path.abspath("relative")
    assert child_environment({}, ["serve"], hooks=())["FAULTPLANE_HOOKS"] == "none"
    assert child_environment({}, ["serve"], hooks=("fatal",))["FAULTPLANE_HOOKS"] == "fatal"


def test_a_command_that_is_not_there_ends_like_in_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run([str(tmp_path / "missing")], {"PATH": "/bin"})
    assert ended.value.code == 127
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(SystemExit) as ended:
        run([str(plain)], {"PATH": "/bin"})
    assert ended.value.code == 126
    said = capsys.readouterr().err
    assert "missing: not found" in said
    assert "Permission denied" in said
