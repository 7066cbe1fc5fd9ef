"""What every test may ask for: a core, a child process with a core, a directory for domains.

``--core=cython|python`` chooses the core of this process and of the ``core`` fixture; without it
the process runs whatever ``auto`` gives and the fixture gives both. A core that is not there skips
its tests, unless ``FAULTPLANE_REQUIRE_CORE=1`` makes that a failure.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import os
import pty
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pytest
from hypothesis import settings

CORES = ("cython", "python")
PACKAGES = {"cython": "faultplane._core", "python": "faultplane._pure"}
KEPT_VARIABLES = {
    "FAULTPLANE_CORE",
    "FAULTPLANE_DEBUG",
    "FAULTPLANE_REQUIRE_CORE",
    "FAULTPLANE_REQUIRE_NATIVE",
}
SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1 << 32))
os.environ["TEST_SEED"] = str(SEED)  # the same in every worker of pytest-xdist

# A shell that runs this in the background has SIGINT ignored, and so would every child: those that
# a test interrupts would go on until its time limit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits belong to pytest-timeout: an example that takes long is not a failure.
settings.register_profile("default", deadline=None, print_blob=True, max_examples=50)
settings.register_profile("ci", deadline=None, print_blob=True, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def core_asked_for(words):
    """What ``--core`` says on a command line; None where it says nothing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--core")
    return parser.parse_known_args(words)[0].core


# The conftest of a directory that is named on the command line is imported before any hook is
# called, and with it the package, which chooses its core then.
if _asked := core_asked_for(sys.argv[1:]):
    os.environ["FAULTPLANE_CORE"] = _asked


def pytest_addoption(parser):
    parser.addoption("--core", choices=CORES, help="the core to test (default: both)")
    parser.addoption("--no-skip", action="store_true", help="a test that would be skipped fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return _unskipped(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _unskipped(collector.config, (yield))


def _unskipped(config, report):
    if report.outcome == "skipped" and config.getoption("--no-skip"):
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


def pytest_configure(config):
    if name := config.getoption("--core"):
        os.environ["FAULTPLANE_CORE"] = name
        loaded = getattr(sys.modules.get("faultplane"), "core", name)
        if loaded != name:
            raise pytest.UsageError(f"--core={name}, but this process runs the {loaded} core")
    for variable in [name for name in os.environ if name.startswith("FAULTPLANE_")]:
        if variable not in KEPT_VARIABLES:
            del os.environ[variable]
    # A test that forgets to say where gets a place that nobody else looks at.
    config._faultplane_directory = _make_directory()
    os.environ["FAULTPLANE_DIR"] = str(config._faultplane_directory)


def pytest_unconfigure(config):
    if directory := getattr(config, "_faultplane_directory", None):
        shutil.rmtree(directory, ignore_errors=True)


def pytest_report_header(config):
    core = config.getoption("--core") or os.environ.get("FAULTPLANE_CORE") or "auto"
    return f"core: {core}, seed: {SEED} (again with TEST_SEED={SEED})"


def pytest_generate_tests(metafunc):
    if "core_name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--core")
        metafunc.parametrize("core_name", [chosen] if chosen else CORES, scope="session")


def _make_directory() -> Path:
    """A fresh directory in memory where the host has one, else wherever temporary files go."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="faultplane-test-", dir=shared))


def _load(name: str):
    """The core module of that name; a missing one skips, or fails where it is required."""
    try:
        return importlib.import_module(PACKAGES[name])
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("faultplane"):
            raise
        if os.environ.get("FAULTPLANE_REQUIRE_CORE") == "1":
            pytest.fail(f"the {name} core is required and not there: {error}", pytrace=False)
        pytest.skip(f"the {name} core is not there: {error}")


@pytest.fixture
def core(core_name):
    """A core as a module, once for each core; not necessarily the one this process records with."""
    return _load(core_name)


@pytest.fixture
def tmp_domain_dir():
    """A directory for domains (``FAULTPLANE_DIR``), removed afterwards."""
    directory = _make_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def disk_in_memory(tmp_path):
    """Function ``(mount options) -> path`` of a tmpfs; needs root."""
    mounted = []

    def mount(options):
        if shutil.which("mount") is None:
            pytest.skip("mount is not there")
        where = tmp_path / f"disk-{len(mounted)}"
        where.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", options, "faultplane", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield mount
    for where in mounted:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture
def small_disk(disk_in_memory):
    """Function ``(MiB) -> path`` of a file system of that size; needs root."""
    return lambda size: disk_in_memory(f"size={size}m")


@pytest.fixture
def rng(request):
    """A random source of its own for each test; the seed is in the header of the run."""
    return random.Random(f"{SEED}:{request.node.nodeid}")


@pytest.fixture
def child_environment(tmp_domain_dir, request):
    """Function ``(core=None, **variables) -> dict``: the environment of a child process.

    The child finds the same package, runs the named core (default: that of ``--core``, else auto),
    and keeps its domains in this test's own directory. A variable of value None is left out. Where
    a test is marked as ``fault`` or ``unmeasured``, its coverage is not measured: what measures is
    crashed by code that is made to be odd, is killed with the child while it writes, and does not
    load in a second interpreter.
    """
    import faultplane

    chosen = request.config.getoption("--core") or "auto"
    source = str(Path(next(iter(faultplane.__path__))).parent)
    marks = {mark.name for mark in request.node.iter_markers()}
    left_out = ("FAULTPLANE_", "COVERAGE_") if marks & {"fault", "unmeasured"} else "FAULTPLANE_"

    def build(core: str | None = None, **variables: str | None) -> dict[str, str]:
        if core in CORES:
            _load(core)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        environment.pop("COLUMNS", None)  # pytest-xdist's own: what is piped has no width
        searched = [source, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in searched if path)
        environment["FAULTPLANE_CORE"] = core or chosen
        environment["FAULTPLANE_DIR"] = str(tmp_domain_dir)
        for name, value in variables.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        return environment

    return build


@pytest.fixture
def run_python(child_environment):
    """Function ``(code, *args, core=None, check=True, timeout=60, …)``: run Python in a child.

    Warnings are errors there too. Returns the ``subprocess.CompletedProcess`` with text output;
    with ``check``, a child that fails fails the test with what it wrote.
    """

    def run(code, *args, core=None, check=True, timeout=60, flags=(), stdin=None, **variables):
        done = subprocess.run(
            [sys.executable, "-W", "error", *flags, "-c", code, *map(str, args)],
            env=child_environment(core, **variables),
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"child exited with {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False
            )
        return done

    return run


class Terminal:
    """A command in a terminal of its own; ``shown`` is all that it has written.

    ``below`` are the words of a program that starts it.
    """

    def __init__(self, words, environment, columns=100, rows=30, below=()):
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.child = subprocess.Popen(
            [*below, sys.executable, "-W", "error", "-m", "faultplane", *map(str, words)],
            env={**environment, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text, seconds=60):
        """Read until ``text`` is shown by what comes from now on."""
        end, start = time.monotonic() + seconds, len(self.shown)
        while text not in self.shown[start:]:
            assert time.monotonic() < end, f"{text!r} is not shown:\n{self.shown}"
            assert self._read(), f"ended without {text!r}:\n{self.shown}"

    def press(self, keys):
        os.write(self._screen, keys.encode())

    def finish(self, seconds=60):
        """Read to the end; the exit status."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, f"still running:\n{self.shown}"
        return self.child.wait(seconds)

    def close(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, 9)
        self.child.wait()
        os.close(self._screen)

    def _read(self):
        if not select.select([self._screen], [], [], 0.2)[0]:
            return self.child.poll() is None
        try:
            data = os.read(self._screen, 65_536)
        except OSError:  # Linux says so when nobody has the other side
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def terminal(child_environment):
    """Function ``(*words, below=(), **variables) -> Terminal``: ``faultplane`` as it is seen."""
    opened = []

    def run(*words, below=(), **variables):
        opened.append(Terminal(words, child_environment(**variables), below=below))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


@pytest.fixture
def read_only_cgroups():
    """Words that start a program where cgroups are read-only, as in a container; () if they cannot.

    Needs root and mount namespaces.
    """
    version_1 = "/sys/fs/cgroup/memory"
    where = version_1 if os.path.isdir(version_1) else "/sys/fs/cgroup"
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    words = ["unshare", "-m", "/bin/sh", "-c", mounts, where]
    try:
        done = subprocess.run([*words, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return () if done.returncode else words
