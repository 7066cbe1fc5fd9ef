"""``faultplane run``: any Python program, and its Python children, with hooks on.

The program is started by ``exec`` with a directory on PYTHONPATH that holds a ``sitecustomize``
(``_bootstrap/``). Python imports it at the start of each process, where it imports the
``sitecustomize`` that would have come instead, calls `begin` and `install_hooks`, and takes its
directory off ``sys.path``. The program's files are not touched, and PYTHONPATH stays for its
children.

Not reached: interpreters started with ``-I``, ``-E`` or ``-S`` (they do not read PYTHONPATH, or no
``sitecustomize``), and children whose environment was replaced. Children that are no Python, or a
Python without faultplane, run as ever; the program itself says in one line on stderr why it is not
recorded, if its Python has no faultplane. ``FAULTPLANE_RUN_VERBOSE=1`` makes each Python process
say what it does; ``FAULTPLANE_DISABLED=1`` in a child's environment leaves it alone.

``ddtrace-run`` works before or after ``faultplane run``. ``opentelemetry-instrument`` does not
import the next ``sitecustomize``; started below us it loads our entry point
``opentelemetry_pre_instrument`` instead, which needs faultplane installed as a package. Where both
are used, we come before the second: it puts itself first on the PYTHONPATH of what a process that
it instruments becomes, so that behind both of them we would lose ``ddtrace-run`` to it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from faultplane import settings

__all__ = [
    "BOOTSTRAP_DIRECTORY",
    "child_environment",
    "program_name",
    "resolve_command",
    "run",
    "service_name",
    "start",
]

BOOTSTRAP_DIRECTORY: Final = str(Path(__file__).resolve().parent / "_bootstrap")

EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127
"""What shells answer for a command that cannot be run, or is not there."""

_OPTIONS_WITH_VALUE: Final = "WX"
_SERVERS: Final = frozenset(
    {"daphne", "granian", "gunicorn", "hypercorn", "uvicorn", "waitress-serve"}
)
_LAUNCHERS: Final = frozenset({"ddtrace-run", "env", "nice", "nohup", "opentelemetry-instrument"})
_APPLICATION: Final = r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(\(.*\))?"
_PYTHON: Final = r"(python|pypy)[0-9.]*t?(\.exe)?"

LEFT_ALONE: Final = frozenset(
    {
        "conda",
        "ensurepip",
        "faultplane",
        "multiprocessing.resource_tracker",
        "pip",
        "pip3",
        "pipx",
        "poetry",
        "uv",
        "venv",
        "virtualenv",
    }
)
"""Programs that start no recording although they are Python below ``faultplane run``: they install
or watch, and their failures are not the program's."""


def run(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    service: str | None = None,
    domain: str | None = None,
    directory: str | None = None,
    hooks: Sequence[str] | None = None,
) -> NoReturn:
    """Replace this process by ``command`` with recording on; returns only by ``SystemExit``.

    ``environ`` is what the command's environment is made from. ``hooks`` are names of
    `settings.HOOKS`; None leaves FAULTPLANE_HOOKS as it is, and all hooks on where it is unset.
    Exits with 127 for a command that is not found and 126 for one that cannot be executed, as a
    shell does.
    """
    resolved = resolve_command(command)
    environment = child_environment(
        environ,
        resolved,
        service=service,
        domain=domain,
        directory=directory,
        hooks=hooks,
    )
    # Kept by exec: which process is the program, and which are its children.
    environment["FAULTPLANE_RUN_PID"] = str(os.getpid())
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(resolved[0], resolved, environment)
    except (FileNotFoundError, NotADirectoryError):
        print(f"faultplane run: {resolved[0]}: not found", file=sys.stderr)
        raise SystemExit(EXIT_NOT_FOUND) from None
    except OSError as error:
        print(f"faultplane run: {resolved[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(EXIT_NOT_EXECUTABLE) from None


def resolve_command(command: Sequence[str]) -> list[str]:
    """``command`` as it can be executed.

    This interpreter runs what starts with ``-m`` or ``-c``, and a ``.py`` file that is not
    executable itself.

    >>> resolve_command(["gunicorn", "shop:app"])
    ['gunicorn', 'shop:app']
    >>> resolve_command(["-m", "http.server"])[1:]
    ['-m', 'http.server']
    """
    if not command:
        raise ValueError("command must have at least 1 word, got 0")
    first = command[0]
    is_plain_script = (
        first.endswith(".py") and os.path.isfile(first) and not os.access(first, os.X_OK)
    )
    if first in ("-m", "-c") or is_plain_script:
        return [sys.executable, *command]
    return list(command)


def child_environment(
    environ: Mapping[str, str],
    command: Sequence[str],
    *,
    service: str | None = None,
    domain: str | None = None,
    directory: str | None = None,
    hooks: Sequence[str] | None = None,
) -> dict[str, str]:
    """``environ`` for ``command`` and everything it starts.

    The service is, in this order, ``service``, what the environment says (FAULTPLANE_SERVICE,
    OTEL_SERVICE_NAME), and a name made from the command (`service_name`).
    """
    environment = dict(environ)
    before = environ.get("PYTHONPATH")
    entries = before.split(os.pathsep) if before else []
    rest = [entry for entry in entries if entry != BOOTSTRAP_DIRECTORY]
    environment["PYTHONPATH"] = os.pathsep.join([BOOTSTRAP_DIRECTORY, *rest])
    loaded = settings.load(environ)
    if service is None and "service" not in loaded.given:
        service = service_name(command)
    if hooks is None and "hooks" not in loaded.given:
        hooks = settings.HOOKS
    asked = {
        "FAULTPLANE_SERVICE": service,
        "FAULTPLANE_DOMAIN": domain,
        "FAULTPLANE_DIR": None if directory is None else os.path.abspath(directory),
        "FAULTPLANE_HOOKS": None if hooks is None else ",".join(hooks) or "none",
    }
    environment.update({name: value for name, value in asked.items() if value is not None})
    return environment


def program_name(argv: Sequence[str]) -> str:
    """Script or module that an interpreter's ``argv`` runs, without directory and ``.py``.

    >>> program_name(["python3", "-X", "dev", "-m", "shop.worker", "--fast"])
    'shop.worker'
    >>> program_name(["/usr/bin/python", "-u", "/srv/shop/serve.py"])
    'serve'
    >>> program_name(["python", "-c", "print()"])
    'python'
    """
    words = list(argv[1:])
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            return _stem(word) if word != "-" else "python"
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                del words[:1]
            continue
        for position, letter in enumerate(word[1:], 2):
            value = word[position:]
            if letter in _OPTIONS_WITH_VALUE:
                if not value:
                    del words[:1]
                break
            if letter == "m":
                return value or (words[0] if words else "python")
            if letter == "c":
                return _inline_name(value or (words[0] if words else ""))
    return "python"


def _inline_name(code: str) -> str:
    """Name for ``python -c``; multiprocessing starts its processes so."""
    match = re.match(r"from (multiprocessing\.\w+) import main", code)
    return match[1] if match else "python"


def service_name(command: Sequence[str]) -> str:
    """Name of the service that ``command`` runs, for want of a better one.

    >>> service_name(["gunicorn", "-w", "4", "shop.wsgi:app"])
    'shop.wsgi'
    >>> service_name(["python", "serve.py"]), service_name(["ddtrace-run", "./worker"])
    ('serve', 'worker')
    """
    words = list(command)
    while len(words) > 1 and _stem(words[0]) in _LAUNCHERS:
        words.pop(0)
        while len(words) > 1 and (words[0].startswith("-") or "=" in words[0]):
            words.pop(0)
    name = _stem(words[0])
    if re.fullmatch(_PYTHON, os.path.basename(words[0])):
        name = program_name(words)
    if name in _SERVERS:
        for word in words[1:]:
            match = re.fullmatch(_APPLICATION, word)
            if match:
                return match[1]
    return name


def _stem(path: str) -> str:
    return os.path.basename(path).removesuffix(".exe").removesuffix(".py")


def start() -> str:
    """Begin recording in a process below ``faultplane run``; a sentence about what was done.

    ``sitecustomize`` calls this in each process, and so does OpenTelemetry's
    ``opentelemetry_pre_instrument`` entry point. A second call changes nothing.
    """
    loaded = settings.load()
    if loaded.disabled:
        return "not recording: FAULTPLANE_DISABLED is set"
    name = program_name(sys.orig_argv)
    if name in _LAUNCHERS:
        # It would be a death by exec, of a process that has done nothing yet.
        return f"not recording: {name} becomes another program"
    if name in LEFT_ALONE:
        return f"not recording: {name} is left alone"
    from faultplane.capture.hooks import install_hooks
    from faultplane.capture.start import begin
    from faultplane.capture.wiring import wire

    begin()
    hooks = install_hooks()
    wire(loaded.integrations)
    wired = ", ".join(loaded.integrations) or "none"
    return f"recording {name}, hooks: {', '.join(hooks) or 'none'}, frameworks: {wired}"


def start_with_opentelemetry() -> None:
    """Entry point ``opentelemetry_pre_instrument``: `start`, but only below ``faultplane run``.

    There our directory is still on ``sys.path``, because our ``sitecustomize`` did not run.
    """
    if BOOTSTRAP_DIRECTORY in sys.path:
        sys.path[:] = [entry for entry in sys.path if entry != BOOTSTRAP_DIRECTORY]
        start()
